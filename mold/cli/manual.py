"""Help, printed from the kept model: verbs, nouns, and one example for every command."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from mold.cli import phrases
from mold.cli.model import Command, Model
from mold.cli.params import example, lookup_command
from mold.cli.show import clean
from mold.cli.verbs import NOUNS, Verb, verbs_of
from mold.cli.words import say

if TYPE_CHECKING:
    from mold.cli.curated import Spelled

BUILT_IN = (
    "login",
    "profile",
    "sync",
    "events",
    "api",
    "completion",
    "version",
    "quickstart",
    "server",
    "agent",
    "dev",
)
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
    lines = [f"{say('usage')}: {say('usage.root')}", "", f"{say('head.flows')}:"]
    lines += pairs({word: phrases.noun(word) for word in NOUNS if model is None or offered_verbs(word, model)})
    lines += ["", f"{say('head.builtin')}:"]
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


def offered_verbs(word: str, model: Model | None) -> dict[str, Verb]:
    """The curated verbs of a noun whose command the server has; all of them while no server is known."""
    known = set(model.names()) if model else None
    return {name: verb for name, verb in verbs_of(word).items() if known is None or known & set(verb.commands)}


def noun(word: str, model: Model | None) -> str:
    """What `mold vm --help` prints."""
    lines = [f"{say('usage')}: mold {word} VERB [{placeholder_of(word)}] [OPTIONS]", "", f"{phrases.noun(word)}:"]
    rows = {name: phrases.verb(word, name) for name in offered_verbs(word, model)}
    return "\n".join([*lines, *pairs(rows), "", say("usage.noun", noun=word)])


def placeholder_of(word: str) -> str:
    """What stands for the name of a noun's thing."""
    return word.upper().replace("-", "_")


def curated(of: Verb, known: Command, model: Model, choices: Sequence[Spelled]) -> str:
    """What `mold vm create --help` prints: an example, the options people look for, the rest of the parameters."""
    from mold.cli.curated import example as line
    from mold.cli.curated import placeholder

    words = " ".join(
        f"[{placeholder(name, of.noun)}]" if name in of.may else placeholder(name, of.noun) for name in of.takes
    )
    lines = [
        f"mold {of.words} — {phrases.verb(of.noun, of.name)}",
        f"{say('usage')}: mold {of.words} {words} [OPTIONS]".replace("  ", " "),
    ]
    lines.append(f"API: {known.name}. {clean(known.description)}")
    if known.is_async:
        lines.append(say("is.async"))
    lines += ["", f"{say('head.example')}:", f"  {line(of, known, choices)}"]
    rows: dict[str, str] = {}
    rest: dict[str, str] = {}
    named = {*of.takes, *(choice.param for choice in choices if choice.is_named)}
    for choice in choices:
        param = known.param(choice.param)
        if not choice.is_named and (choice.param in named or not (param is not None and param.required)):
            if choice.param not in named and choice.param not in rest:
                rest[choice.param] = choice.spelling
            continue
        takes_value = not (choice.form.startswith("=") and choice.param) and not (
            param is not None and param.type == "boolean"
        )
        meta = (
            " KEY=VALUE"
            if choice.form in ("[]", "{}")
            else " FILE"
            if choice.form.startswith("@")
            else " VALUE"
            if takes_value
            else ""
        )
        text = phrases.option(choice.spelling[2:], param.description if param else "")
        is_looked_up = (
            param is not None and not choice.form.startswith("=") and lookup_command(known, param, model) is not None
        )
        needed = (
            param is not None
            and param.required
            and choice.param not in {*of.sends, "zoneid", "podid"}
            and not choice.form.startswith("=")
        )
        notes = [say("is.required")] if needed else []
        notes += [say("accepts.name")] if is_looked_up else []
        notes += [", ".join(param.choices)] if param is not None and 0 < len(param.choices) <= 8 else []
        rows[choice.spelling + meta] = text + (f" ({'; '.join(notes)})" if notes else "")
    if rows:
        lines += ["", f"{say('head.options')}:", *pairs(rows)]
    if rest:
        lines += ["", f"{say('head.more')}:"]
        lines += textwrap.wrap(
            ", ".join(rest.values()),
            page_width() - 2,
            initial_indent="  ",
            subsequent_indent="  ",
            break_on_hyphens=False,
        )
    return "\n".join([*lines, "", say("usage.options")])


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
