"""Completion of nouns, verbs, parameters, options and names in bash, zsh and fish.

All but names comes from the kept model.  Names are asked for with the commands that the model says know them
(`related`), within two seconds, and kept for a minute.  The shells hand over the line up to the cursor.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from mold.cli.client import Cloud
from mold.cli.faults import Fault
from mold.cli.manual import BUILT_IN, HIDDEN_VERBS, offered_verbs
from mold.cli.model import Command, Model, Param, kept
from mold.cli.options import syntax
from mold.cli.params import EVERYWHERE, FILTERS, LABELS, lookup_command
from mold.cli.profiles import Profiles, cache_folder, connection, keep
from mold.cli.verbs import NOUNS, verbs_of

if TYPE_CHECKING:
    import click

SHELLS = ("bash", "zsh", "fish")
SUBCOMMANDS = {
    "profile": ("list", "add", "use", "remove", "import"),
    "completion": SHELLS,
    "events": ("-f",),
}
NAMES_SECONDS = 60.0
"""How long names that the server listed are offered again without asking."""
ASKING_SECONDS = 2.0
NAMES_MOST = 500
SCRIPTS = {
    "bash": """\
_mold_completion() {
    local IFS=$'\\n'
    COMPREPLY=( $(_MOLD_COMPLETE=bash MOLD_LINE="${COMP_LINE:0:COMP_POINT}" mold 2>/dev/null) )
}
complete -o nospace -o bashdefault -F _mold_completion mold
""",
    "zsh": """\
#compdef mold
_mold() {
    local -a found
    found=("${(@f)$(_MOLD_COMPLETE=plain MOLD_LINE="${(j: :)words[1,CURRENT]}" mold 2>/dev/null)}")
    compadd -S '' -- ${(M)found:#*[=.]}
    compadd -- ${found:#*[=.]}
    (( $#found && $#found[1] )) || _files
}
if [[ "$funcstack[1]" = _mold ]]; then _mold "$@"; else compdef _mold mold; fi
""",
    "fish": """\
complete --command mold --no-files --arguments \
    '(env _MOLD_COMPLETE=plain MOLD_LINE=(commandline --cut-at-cursor --current-process | string collect) mold 2>/dev/null)'
""",
}


class Source:
    """What can be offered: the kept model, and names that the server lists. Both None where nothing is known."""

    def __init__(self, cloud: Cloud | None, model: Model | None) -> None:
        self.cloud = cloud
        self.model = model

    def names(self, command: Command, param: Param) -> list[str]:
        """Names of the things that `param` may be given, from the last minute's answer or a new one."""
        if self.model is None or self.cloud is None:
            return []
        lookup = lookup_command(command, param, self.model)
        if lookup is None:
            if command.name.endswith("SSHKeyPair") or param.name.lower() in ("keypair", "keypairs"):
                lookup = self.model.get("listSSHKeyPairs")
            if lookup is None:
                return []
        path = cache_folder() / f"names-{self.cloud.connection.fingerprint}.json"
        try:
            known: dict[str, list[str]] = dict(json.loads(path.read_bytes()))
            fresh = 0 <= time.time() - float(known[lookup.name][0]) < NAMES_SECONDS
        except (OSError, ValueError, IndexError, TypeError):
            known, fresh = {}, False  # no answers kept, or no readable ones
        except KeyError:
            fresh = False
        if not fresh:
            known[lookup.name] = [str(time.time()), *self._ask(lookup)]
            keep(path, json.dumps(known, ensure_ascii=False))
        return known[lookup.name][1:]

    def _ask(self, lookup: Command) -> list[str]:
        assert self.cloud is not None
        takes = {known.name.lower() for known in lookup.params}
        question = {"listall": "true"} if "listall" in takes else {}
        question |= {which: "executable" for which in FILTERS if which in takes}
        if "page" in takes:
            question |= {"page": "1", "pagesize": str(NAMES_MOST)}
        self.cloud.request_seconds = ASKING_SECONDS
        try:
            answer = self.cloud.call(lookup.name, question, reads=True)
        except Fault:
            return []  # completion has nobody to complain to
        rows = [row for value in answer.values() if isinstance(value, list) for row in value if isinstance(row, dict)]
        labels = ("path", "name") if lookup.noun == "domains" else LABELS
        found = (next((str(row[label]) for label in labels if row.get(label)), "") for row in rows)
        return sorted({name for name in found if name and name.isprintable()})


def candidates(words: list[str], incomplete: str, source: Source) -> list[str]:
    """What may stand in place of `incomplete` after `words`, options among them."""
    plain = without_options(words)[0]
    if plain and plain[0] in NOUNS:
        found = _curated(words, incomplete, source)
    elif incomplete.startswith("-"):
        found = global_spellings()
    else:
        found = _possible(plain, incomplete, source)
    return sorted({word for word in found if word.startswith(incomplete)})


def global_spellings() -> list[str]:
    """Every option of every command."""
    return [spelling for param in syntax().params for spelling in param.opts if spelling.startswith("-")]


def _curated(words: list[str], incomplete: str, source: Source) -> list[str]:
    """`mold vm start …`: verbs, options, values of options, names."""
    from mold.cli.curated import click_options, offered, spelled

    model = source.model
    plain, _, pending = without_options(words)
    verbs = verbs_of(plain[0])
    if model is None:
        return list(verbs) if len(plain) == 1 else []
    if len(plain) < 2 and pending is None:
        return [name for name, verb in verbs.items() if offered(verb, model)]
    verb = verbs.get(plain[1]) if len(plain) > 1 else None
    command = offered(verb, model) if verb else None
    if verb is None or command is None:
        return []
    choices = spelled(verb, command)
    made = click_options(choices, command)
    plain, _, pending = without_options(words, made)
    if pending is not None:
        choice = next((choice for choice in choices if choice.spelling == pending), None)
        param = command.param(choice.param) if choice else None
        return [] if param is None or choice is None or choice.form.startswith("@") else _values(command, param, source)
    if incomplete.startswith("-"):
        return [
            *(spelling for option in made for spelling in (*option.opts, *option.secondary_opts)),
            *global_spellings(),
        ]
    at = len(plain) - 2
    several = len(verb.takes) == 1
    name = verb.takes[min(at, len(verb.takes) - 1)] if verb.takes and (several or at < len(verb.takes)) else ""
    if verb.way == "tag" and name == "resourcetype":
        from mold.cli.ways import TAGGED

        return list(TAGGED)
    param = command.param(name)
    return _values(command, param, source) if param is not None and verb.name not in ("create", "register") else []


def _values(command: Command, param: Param, source: Source) -> list[str]:
    if param.choices:
        return list(param.choices)
    return ["true", "false"] if param.type == "boolean" else source.names(command, param)


def _possible(words: list[str], incomplete: str, source: Source) -> list[str]:
    model = source.model
    verbs = [verb for verb in model.verbs() if verb not in HIDDEN_VERBS] if model else []
    if not words:
        nouns = [noun for noun in NOUNS if model is None or offered_verbs(noun, model)]
        return list(dict.fromkeys([*nouns, *BUILT_IN, *verbs]))
    if len(words) == 1 and words[0] in SUBCOMMANDS:
        return list(SUBCOMMANDS[words[0]])
    if words[0] == "profile":
        return list(Profiles.read().entries) if words[1:] and words[1] in ("use", "remove") and len(words) == 2 else []
    if model is None:
        return []
    if words[0] == "api":
        command = model.get(words[1]) if len(words) > 1 else None
        if command is None:
            return list(model.names())
    else:
        noun = words[1] if len(words) > 1 and "=" not in words[1] else ""
        command = model.find(words[0], noun)
        if command is None or (len(words) == 1 and "=" not in incomplete):
            nouns = [noun for noun in model.nouns(words[0]) if noun] if len(words) == 1 else []
            if nouns or command is None:
                return nouns
    name, has_value, _ = incomplete.partition("=")
    if has_value:
        param = command.param(name.lower())
        return [f"{name}={value}" for value in _values(command, param, source)] if param is not None else []
    given = {word.partition("=")[0].partition("[")[0].lower() for word in words}
    names = []
    for param in command.params:
        if param.refused:
            continue
        if param.type == "map":
            names.append(f"{param.name}[0].")
        elif param.name.lower() not in given:
            names.append(f"{param.name}=")
    return names + [
        f"{name}=" for name in EVERYWHERE if incomplete and name not in given and command.param(name) is None
    ]


def source_of(where: Mapping[str, str | None]) -> Source:
    """The server that the options, the environment and the profiles name; the model as it is kept, however old."""
    try:
        link = connection(
            profile=where.get("profile"),
            url=where.get("url"),
            data_dir=where.get("data_dir"),
            cacert=where.get("cacert"),
            insecure=False,
        )
    except Fault:
        return Source(None, None)  # completion has nobody to complain to
    cloud = Cloud(link)
    found = kept(cloud)
    return Source(cloud, found[0] if found else None)


def script(shell: str) -> str | None:
    """The completion script for `shell`, or None when there is none."""
    return SCRIPTS.get(shell)


def answer(instruction: str) -> int:
    """Answer a shell's question about MOLD_LINE.

    bash puts words back as they are and breaks them at `=` and `:`, so it is given the rest of the word, escaped, with the
    space that ends it; other shells (`plain`) get whole words.
    """
    line = os.environ.get("MOLD_LINE", "")
    words, incomplete = split(line)
    _, where, _ = without_options(words)
    found = candidates(words, incomplete, source_of(where))
    if instruction != "bash":
        for word in found:
            print(word)
        return 0
    cut = max(incomplete.rfind("="), incomplete.rfind(":")) + 1
    for word in found:
        print(SPECIAL.sub(r"\\\g<0>", word[cut:]) + ("" if word.endswith(("=", ".")) else " "))
    return 0


SPECIAL = re.compile(r"[^A-Za-z0-9_@%+=:,./-]")


def split(line: str) -> tuple[list[str], str]:
    """The words of a line that is being typed, without the program's, and the last one as far as it is there."""
    import shlex

    for closing in ("", "'", '"'):
        try:
            words = shlex.split(line + closing)[1:]
            break
        except ValueError:
            continue
    else:
        words = line.split()[1:]
    ended = line[-1:].isspace() and not line.endswith("\\ ")
    return (words, "") if ended or not words else (words[:-1], words[-1])


def without_options(
    words: list[str], more: Sequence[click.Option] = ()
) -> tuple[list[str], dict[str, str | None], str | None]:
    """The words that are no options, the values of those of every command, and the option whose value is to come."""
    import click

    known = {
        spelling: param
        for param in (*syntax().params, *more)
        if isinstance(param, click.Option)
        for spelling in (*param.opts, *param.secondary_opts)
    }
    plain: list[str] = []
    where: dict[str, str | None] = {}
    pending: str | None = None
    for word in words:
        spelling, has_value, value = word.partition("=")
        if pending is not None:
            where[known[pending].name or ""], pending = word, None
        elif word.startswith("-") and spelling in known:
            if has_value:
                where[known[spelling].name or ""] = value
            elif not known[spelling].is_flag:
                pending = spelling
        elif not word.startswith("-"):
            plain.append(word)
    return plain, where, pending
