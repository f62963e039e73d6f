"""The server's published commands: fetched once, kept in a file, looked up by verb and noun.

A verb is the leading lower-case run of a command's name, the noun the rest in
lower case: `deployVirtualMachine` is `deploy virtualmachine`.  The kept copy is
per server and caller, because the server shows each caller other commands.
"""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from mold.cli.client import READING, Cloud, Json
from mold.cli.faults import Refused, TimedOut, Unreachable
from mold.cli.profiles import cache_folder, keep
from mold.cli.words import say

FORMAT = 2  # of the kept copy; another one is fetched anew
FRESH_SECONDS = 86_400
VERB = re.compile(r"[a-z0-9]*")


class Param(NamedTuple):
    """One parameter of a command; `related` are the commands that know such things, `refused` is why it may not be given."""

    name: str
    type: str
    required: bool
    description: str
    related: tuple[str, ...]
    choices: tuple[str, ...] = ()
    refused: str = ""


class Command(NamedTuple):
    """One command of the server."""

    name: str
    description: str
    is_async: bool
    reads: bool
    params: tuple[Param, ...]
    fields: tuple[str, ...]

    @property
    def verb(self) -> str:
        return split_name(self.name)[0]

    @property
    def noun(self) -> str:
        return split_name(self.name)[1]

    @property
    def words(self) -> str:
        """As it is typed: verb and noun."""
        return " ".join(filter(None, split_name(self.name)))

    def param(self, name: str) -> Param | None:
        """The parameter of that lower-case name."""
        return next((param for param in self.params if param.name.lower() == name), None)


def split_name(name: str) -> tuple[str, str]:
    """Verb and noun of a command name."""
    found = VERB.match(name)
    verb = found.group() if found else ""
    return verb, name[len(verb) :].lower()


class Model:
    """The commands of one server, as the caller may see them."""

    def __init__(self, url: str, rows: dict[str, list[Json]]) -> None:
        self.url = url
        self._rows = rows  # as kept; made into a Command only when asked for

    def __len__(self) -> int:
        return len(self._rows)

    def get(self, name: str) -> Command | None:
        """The command of exactly that name."""
        row = self._rows.get(name)
        if row is None:
            return None
        description, is_async, reads, params, fields = row
        return Command(
            name,
            str(description),
            bool(is_async),
            bool(reads),
            tuple(_param(entry) for entry in _list(params) if isinstance(entry, list)),
            tuple(str(field) for field in _list(fields)),
        )

    def find(self, verb: str, noun: str) -> Command | None:
        """The command of that verb and noun."""
        wanted = (verb, noun.lower())
        return next((self.get(name) for name in self._rows if split_name(name) == wanted), None)

    def verbs(self) -> dict[str, int]:
        """Every verb and how many commands it has."""
        counts: dict[str, int] = {}
        for name in sorted(self._rows):
            verb = split_name(name)[0]
            counts[verb] = counts.get(verb, 0) + 1
        return counts

    def nouns(self, verb: str) -> dict[str, str]:
        """Every noun of `verb` with the command's description."""
        return {
            split_name(name)[1]: str(self._rows[name][0]) for name in sorted(self._rows) if split_name(name)[0] == verb
        }

    def names(self) -> Iterable[str]:
        """All command names."""
        return self._rows.keys()


def _param(entry: list[Json]) -> Param:
    name, kind, required, description, related, choices, refused = entry
    lists, words = (tuple(str(word) for word in _list(value)) for value in (related, choices))
    return Param(str(name), str(kind), bool(required), str(description), lists, words, str(refused))


def _list(value: Json) -> list[Json]:
    return value if isinstance(value, list) else []


def fetch(cloud: Cloud) -> Model:
    """Ask the server for its commands and keep the answer. Raises what `Cloud.call` raises."""
    answer = cloud.call("listApis")
    apis = answer.get("api")
    rows: dict[str, list[Json]] = {}
    for api in apis if isinstance(apis, list) else []:
        if isinstance(api, dict) and isinstance(api.get("name"), str):
            name = str(api["name"])
            declared = str(api.get("httprequesttype") or "").upper() == "GET"
            reads = declared or READING.fullmatch(name) is not None
            params, fields = _dicts(api.get("params")), _dicts(api.get("response"))
            rows[name] = [
                str(api.get("description") or ""),
                api.get("isasync") is True,
                reads,
                [_kept(param) for param in params if param.get("name")],
                [str(field["name"]) for field in fields if field.get("name")],
            ]
    if not rows:
        raise Refused(say("no.json", url=cloud.connection.url, status=200), command="listApis")
    kept = {"format": FORMAT, "url": cloud.connection.url, "commands": rows}
    keep(_file(cloud), json.dumps(kept, ensure_ascii=False, separators=(",", ":")))
    return Model(cloud.connection.url, rows)


def _dicts(value: Json) -> list[dict[str, Json]]:
    return [entry for entry in _list(value) if isinstance(entry, dict)]


def _kept(param: dict[str, Json]) -> list[Json]:
    related = param.get("related")
    words = related.split(",") if isinstance(related, str) else related if isinstance(related, list) else []
    lists = sorted({str(word).strip() for word in words if str(word).strip().startswith("list")})
    return [
        str(param["name"]),
        str(param.get("type") or "string"),
        param.get("required") is True,
        str(param.get("description") or ""),
        [*lists],
        _list(param.get("choices")),
        str(param.get("refused") or ""),
    ]


def kept(cloud: Cloud) -> tuple[Model, float] | None:
    """The kept model and its age in seconds, or None when there is none that can be read."""
    path = _file(cloud)
    try:
        age = time.time() - path.stat().st_mtime
        table = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None  # nothing there, or cut short: it is fetched again
    if not isinstance(table, dict) or table.get("format") != FORMAT:
        return None
    return Model(str(table["url"]), table["commands"]), age


def load(cloud: Cloud) -> tuple[Model, bool]:
    """The model and whether it was fetched just now. An old copy serves when the server does not answer."""
    known = kept(cloud)
    if known is None:
        return fetch(cloud), True
    model, age = known
    if age < FRESH_SECONDS:
        return model, False
    try:
        return fetch(cloud), True
    except (Unreachable, TimedOut) as problem:
        print("mold: " + say("stale", why=problem.text), file=sys.stderr)
        return model, False


def _file(cloud: Cloud) -> Path:
    return cache_folder() / f"model-{cloud.connection.fingerprint}.json"
