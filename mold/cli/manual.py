"""Help, printed from the kept model: verbs, nouns, and one example for every command."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Mapping, Sequence

from mold.cli.model import Command, Model
from mold.cli.params import example, lookup_command
from mold.cli.show import clean
from mold.cli.words import say

BUILT_IN = ("login", "profile", "sync", "job", "api", "completion", "version", "quickstart", "server", "agent", "dev")
HIDDEN_VERBS = ("login", "logout")  # the built-in login comes first, logout without it makes no sense


def page_width() -> int:
    """Columns that help may take."""
    if not sys.stdout.isatty():
        return 100
    import shutil

    return max(40, min(120, shutil.get_terminal_size().columns))


def pairs(rows: Mapping[str, str]) -> list[str]:
    """Two columns, the second wrapped under itself."""
    width = min(max((len(key) for key in rows), default=0), 34)
    lines = []
    for key, text in rows.items():
        head = f"  {key.ljust(width)}  "
        wrapped = textwrap.wrap(clean(text), max(20, page_width() - width - 4)) or [""]
        lines.append((head + wrapped[0]).rstrip())
        lines += [" " * (width + 4) + line for line in wrapped[1:]]
    return lines


def root(options: Sequence[tuple[str, str]], model: Model | None) -> str:
    """What `mold --help` prints. `options` are pairs of spelling and name."""
    lines = [f"{say('usage')}: {say('usage.root')}", "", f"{say('head.builtin')}:"]
    lines += pairs({name: say(f"cmd.{name}") for name in BUILT_IN})
    if model is None:
        lines += ["", *textwrap.wrap(say("no.model"), page_width())]
    else:
        verbs = [f"{verb} ({count})" for verb, count in model.verbs().items() if verb not in HIDDEN_VERBS]
        lines += ["", f"{say('head.verbs')} {model.url}:"]
        lines += textwrap.wrap(
            ", ".join(verb.replace(" ", "\0") for verb in verbs),
            page_width() - 2,
            initial_indent="  ",
            subsequent_indent="  ",
        )
        lines = [line.replace("\0", " ") for line in lines]
    lines += ["", f"{say('head.options')}:", *pairs({spelling: say(f"opt.{name}") for spelling, name in options})]
    return "\n".join([*lines, "", say("usage.more")])


def built_in(name: str) -> str:
    """What `mold profile --help` and its kind print."""
    return f"mold {name}\n\n{say('cmd.' + name)}"


def verb(name: str, model: Model) -> str:
    """What `mold list --help` prints."""
    nouns = model.nouns(name)
    lines = [f"{say('usage')}: mold {name} NOUN [name=value ...]", "", f"{say('head.nouns', verb=name)}:"]
    return "\n".join([*lines, *pairs({noun or "-": text for noun, text in nouns.items()})])


def command(known: Command, model: Model) -> str:
    """What `mold deploy virtualmachine --help` prints: required parameters first, and an example."""
    lines = [f"mold {known.words} — {clean(known.description)}", f"API: {known.name}"]
    if known.is_async:
        lines.append(say("is.async"))
    lines += ["", f"{say('head.example')}:", f"  {example(known)}"]
    for head, is_required in (("head.required", True), ("head.optional", False)):
        rows = {}
        for param in known.params:
            if param.required == is_required:
                kind = f"{param.type}, {say('accepts.name')}" if lookup_command(known, param, model) else param.type
                spelling = f"{param.name}[0].FIELD=" if param.type == "map" else f"{param.name}="
                rows[spelling] = f"({kind}) {param.description}"
        if rows:
            lines += ["", f"{say(head)}:", *pairs(rows)]
    if known.fields:
        fields = textwrap.wrap(", ".join(known.fields), page_width() - 2, initial_indent="  ", subsequent_indent="  ")
        lines += ["", f"{say('head.fields')}:", *fields]
    return "\n".join(lines)
