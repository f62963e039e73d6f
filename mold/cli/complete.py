"""Completion of verbs, nouns, parameters and options from the kept model; the server is never asked.

bash splits words at `=`, so its script hands over the whole line and gets back
only what stands after the last `=`.  zsh and fish use click's own scripts.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from mold.cli.client import Cloud
from mold.cli.faults import Fault
from mold.cli.manual import BUILT_IN, HIDDEN_VERBS
from mold.cli.model import Model, kept
from mold.cli.params import EVERYWHERE
from mold.cli.profiles import Profiles, connection

if TYPE_CHECKING:
    import click

VARIABLE = "_MOLD_COMPLETE"
SUBCOMMANDS = {
    "profile": ("list", "add", "use", "remove", "import-cloudmonkey"),
    "job": ("watch", "list"),
    "completion": ("bash", "zsh", "fish"),
}
BASH = """\
_mold_completion() {
    local IFS=$'\\n'
    COMPREPLY=( $(_MOLD_COMPLETE=bash_line MOLD_LINE="${COMP_LINE:0:COMP_POINT}" mold 2>/dev/null) )
}
complete -o nospace -F _mold_completion mold
"""


def candidates(words: list[str], incomplete: str, model: Model | None) -> list[str]:
    """What may stand in place of `incomplete` after `words`."""
    return sorted(word for word in _possible(words, incomplete, model) if word.startswith(incomplete))


def _possible(words: list[str], incomplete: str, model: Model | None) -> list[str]:
    verbs = [verb for verb in model.verbs() if verb not in HIDDEN_VERBS] if model else []
    if not words:
        return list(dict.fromkeys([*BUILT_IN, *verbs]))
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
        return [f"{name}=true", f"{name}=false"] if param is not None and param.type == "boolean" else []
    given = {word.partition("=")[0].partition("[")[0].lower() for word in words}
    names = []
    for param in command.params:
        if param.type == "map":
            names.append(f"{param.name}[0].")
        elif param.name.lower() not in given:
            names.append(f"{param.name}=")
    return names + [
        f"{name}=" for name in EVERYWHERE if incomplete and name not in given and command.param(name) is None
    ]


def known_model(**where: str | None) -> Model | None:
    """The kept model of the server in use, whatever its age; None without one."""
    try:
        link = connection(
            profile=where.get("profile"),
            url=where.get("url"),
            data_dir=where.get("data_dir"),
            cacert=None,
            insecure=False,
        )
    except Fault:
        return None  # completion has nobody to complain to
    found = kept(Cloud(link))
    return found[0] if found else None


def script(shell: str, command: click.Command) -> str | None:
    """The completion script for `shell`, or None when there is none."""
    from click.shell_completion import get_completion_class

    if shell == "bash":
        return BASH
    kind = get_completion_class(shell) if shell in SUBCOMMANDS["completion"] else None
    return kind(command, {}, "mold", VARIABLE).source() if kind else None


def answer(instruction: str, command: click.Command) -> int:
    """Answer a shell's question, `instruction` being the value of the completion variable."""
    if instruction != "bash_line":
        from click.shell_completion import shell_complete

        return shell_complete(command, {}, "mold", VARIABLE, instruction)
    from click import Option

    line = os.environ.get("MOLD_LINE", "")
    words = line.split()[1:]
    incomplete = "" if line[-1:].isspace() or not words else words.pop()
    plain, where = _without_options(
        words, {spelling: param for param in command.params if isinstance(param, Option) for spelling in param.opts}
    )
    if incomplete.startswith("-"):
        found = [spelling for param in command.params for spelling in param.opts if spelling.startswith(incomplete)]
    else:
        found = candidates(plain, incomplete, known_model(**where))
    cut = incomplete.rfind("=") + 1
    for word in found:
        print(word[cut:] + ("" if word.endswith(("=", ".")) else " "))
    return 0


def _without_options(words: list[str], options: dict[str, click.Option]) -> tuple[list[str], dict[str, str | None]]:
    """The words that are no options, and the values of those that name a server."""
    plain: list[str] = []
    where: dict[str, str | None] = {}
    pending: str | None = None
    for word in words:
        spelling, has_value, value = word.partition("=")
        if pending is not None:
            where[pending], pending = word, None
        elif word.startswith("-") and spelling in options:
            name = options[spelling].name or ""
            if has_value:
                where[name] = value
            elif not options[spelling].is_flag:
                pending = name
        elif not word.startswith("-"):
            plain.append(word)
    return plain, where
