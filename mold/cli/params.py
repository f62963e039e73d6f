"""`name=value` words: read, checked against the model, names turned into ids.

Parameter names are case-insensitive, but the field after a map's dot keeps its
case.  Everything wrong with a call is said before anything is sent.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping

from mold.cli.client import Answer, Cloud, Json
from mold.cli.faults import Usage
from mold.cli.model import Command, Model, Param
from mold.cli.words import nearest, say

UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
MAP_ENTRY = re.compile(r"([^\[\].=]+)\[(\d+)\]\.([^\[\]=]+)")
WHOLE = frozenset({"integer", "long", "short"})
BROKEN = frozenset({"float", "double"})
EVERYWHERE = ("customjobid", "projectid")  # the server takes them with any command
RESERVED = {
    "response": "-o",
    "command": "mold api",
    "apikey": "--profile",
    "signature": "--profile",
    "signatureversion": "--profile",
    "expires": "--timeout",
    "sessionkey": "--profile",
}
FIRST = (
    "domainid",
    "projectid",
    "zoneid",
    "vpcid",
    "virtualmachineid",
)  # looked up first, because they narrow the others
NARROWING = ("zoneid", "projectid", "virtualmachineid", "vpcid")  # passed on to a lookup that takes them
FILTERS = ("templatefilter", "isofilter")
LABELS = ("name", "username", "ipaddress", "displayname", "displaytext", "path")
PAGE = 500


def read_words(words: list[str]) -> dict[str, str]:
    """The parameters of `name=value` words. Raises Usage."""
    params: dict[str, str] = {}
    for word in words:
        name, found, value = word.partition("=")
        if not found or not name:
            raise Usage(say("bad.word", word=word))
        head, bracket, rest = name.partition("[")
        name = head.lower() + bracket + rest
        if name in params:
            raise Usage(say("bad.param.twice", name=name))
        if name in RESERVED:
            raise Usage(say("bad.param.reserved", name=name, instead=RESERVED[name]))
        if bracket and not MAP_ENTRY.fullmatch(name):
            raise Usage(say("bad.map.form", name=name))
        params[name] = value
    return params


def check(command: Command, params: Mapping[str, str]) -> None:
    """Raise Usage for unknown names, malformed values and missing requirements."""
    known = [param.name.lower() for param in command.params]
    given = set()
    for name, value in params.items():
        head = name.partition("[")[0]
        param = command.param(head)
        given.add(head)
        if param is None:
            if name in EVERYWHERE:
                continue
            raise Usage(say("bad.param", command=command.words, name=head, suggest=nearest(head, known)))
        if param.type == "map" and "[" not in name:
            raise Usage(say("bad.map", name=name))
        if param.type != "map" and "[" in name:
            raise Usage(say("bad.notmap", name=head, command=command.words))
        _check_value(param, value)
    missing = [param.name for param in command.params if param.required and param.name.lower() not in given]
    if missing:
        raise Usage(
            say("missing", command=command.words, names=", ".join(missing), example=example(command)), missing=missing
        )


def _check_value(param: Param, value: str) -> None:
    if param.required and not value:
        raise Usage(say("bad.empty", name=param.name))
    if param.type == "boolean" and value.lower() not in ("true", "false"):
        raise Usage(say("bad.boolean", name=param.name, value=value))
    if value and (param.type in WHOLE or param.type in BROKEN):
        try:
            (int if param.type in WHOLE else float)(value)
        except ValueError as problem:
            raise Usage(say("bad.number", name=param.name, value=value)) from problem


def example(command: Command) -> str:
    """A call with every required parameter, values in capitals to be replaced."""
    words = [f"mold {command.words}"]
    for param in command.params:
        if param.required:
            name = param.name.lower()
            if param.type == "map":
                words += [f"{name}[0].key=KEY", f"{name}[0].value=VALUE"]
            elif param.type == "boolean":
                words.append(f"{name}=true")
            elif param.type in WHOLE or param.type in BROKEN:
                words.append(f"{name}=1")
            else:
                stem = name if name == "id" else re.sub(r"ids?$", "", name) or name
                words.append(f"{name}={stem.upper()}")
    return " ".join(words)


# ---- names


def lookup_command(
    command: Command, param: Param, model: Model, given: Collection[str] | None = None
) -> Command | None:
    """The list command that knows what `param` names, or None when ids must be given.

    A list command that requires something is of use only when that is among `given` (None: what might be given).
    """
    name = param.name.lower()
    if not param.related or not (param.type == "uuid" or (param.type == "list" and name.endswith("ids"))):
        return None
    noun = re.sub(r"ids?$", "", name) or command.noun
    scope = {known.name.lower() for known in command.params} if given is None else given
    answerable = {*FILTERS, *(key for key in NARROWING if key in scope and key != name)}
    candidates = [
        found
        for word in param.related
        if (found := model.get(word)) is not None
        and all(known.name.lower() in answerable for known in found.params if known.required)
    ]

    def rank(found: Command) -> tuple[bool, bool, int]:
        return (found.noun not in _plurals(noun), found.noun not in _plurals(command.noun), len(found.name))

    return min(candidates, key=rank, default=None)


def _plurals(noun: str) -> tuple[str, ...]:
    return (noun, noun + "s", noun + "es", noun[:-1] + "ies")


def resolve(
    command: Command, params: Mapping[str, str], model: Model, call: Callable[[Command, Mapping[str, str]], Answer]
) -> dict[str, str]:
    """`params` with names replaced by ids, asked for with `call`. Raises Usage for none or several matches."""
    resolved = dict(params)
    for name in sorted(params, key=lambda word: FIRST.index(word) if word in FIRST else len(FIRST)):
        param = command.param(name)
        value = params[name]
        if param is None and name in EVERYWHERE:
            param = next(
                (known for entry in map(model.get, model.names()) if entry and (known := entry.param(name))), None
            )
        if param is None or not value or (lookup := lookup_command(command, param, model, params)) is None:
            continue
        words = value.split(",") if param.type == "list" else [value]
        scope = {key: word for key, word in resolved.items() if key != name}
        resolved[name] = ",".join(
            word if UUID.fullmatch(word) or word in ("", "-1") else _id_of(param, word, lookup, scope, call)
            for word in (word.strip() for word in words)
        )
    return resolved


def _id_of(
    param: Param,
    value: str,
    lookup: Command,
    scope: Mapping[str, str],
    call: Callable[[Command, Mapping[str, str]], Answer],
) -> str:
    takes = {known.name.lower() for known in lookup.params}
    question = {key: scope[key] for key in NARROWING if key in takes and key in scope}
    if "listall" in takes:
        question["listall"] = "true"
    by = next((key for key in ("name", "username", "ipaddress", "keyword") if key in takes), None)
    path = value.strip("/") if "/" in value and lookup.noun == "domains" else None
    if by:
        question[by] = path.rpartition("/")[2] if path else value
    which = next((key for key in FILTERS if key in takes), None)
    matches: list[dict[str, Json]] = []
    for kind in ("executable", "self") if which else ("",):
        rows = _rows(lookup, question | ({which: kind} if which else {}), "page" in takes, call)
        for label in LABELS:
            matches = matches or [row for row in rows if row.get(label) == value and row.get("id")]
        if path:
            matches = [row for row in rows if row.get("id") and row.get("path") in (path, f"ROOT/{path}")]
        if matches:
            break
    for owner in ("domainid", "account"):  # asking the server for an owner's things would hide what is shared
        if len(matches) > 1 and owner in scope:
            matches = [row for row in matches if row.get(owner) == scope[owner]] or matches
    found = {str(row["id"]): row for row in matches}
    if len(found) == 1:
        return next(iter(found))
    if not found:
        if value.isdigit():
            return value  # perhaps an internal number: the server knows
        raise Usage(say("name.none", value=value, name=param.name, command=lookup.words), name=param.name)
    shown = "; ".join(_distinguished(key, row) for key, row in found.items())
    raise Usage(say("name.many", value=value, name=param.name, matches=shown), name=param.name, matches=list(found))


def _distinguished(key: str, row: dict[str, Json]) -> str:
    facts = [str(row[word]) for word in ("name", "zonename", "domain", "account", "state") if row.get(word)]
    return f"{key} ({', '.join(facts)})"


def _rows(
    lookup: Command, question: Mapping[str, str], pages: bool, call: Callable[[Command, Mapping[str, str]], Answer]
) -> list[dict[str, Json]]:
    """All rows that `lookup` lists."""
    rows: list[dict[str, Json]] = []
    page = 1
    while True:
        answer = call(lookup, {**question, "page": str(page), "pagesize": str(PAGE)} if pages else question)
        part = [row for value in answer.values() if isinstance(value, list) for row in value if isinstance(row, dict)]
        rows += part
        count = answer.get("count")
        if not pages or not part or not isinstance(count, int) or len(rows) >= count:
            return rows
        page += 1


def every_page(cloud: Cloud, command: str, params: Mapping[str, str], *, reads: bool | None) -> Answer:
    """The answer of a list command with all its pages joined."""
    size = params.get("pagesize", str(PAGE))
    page = 1
    whole = cloud.call(command, {**params, "page": "1", "pagesize": size}, reads=reads)
    key = next((name for name, value in whole.items() if isinstance(value, list)), None)
    rows = whole[key] if key else None
    count = whole.get("count")
    while key and isinstance(rows, list) and isinstance(count, int) and len(rows) < count:
        page += 1
        answer = cloud.call(command, {**params, "page": str(page), "pagesize": size}, reads=reads)
        more, count = answer.get(key), answer.get("count")
        if not isinstance(more, list) or not more:
            break  # rows went away meanwhile
        rows += more
    return whole
