"""The program `mold`: reads the command line, chooses what to do, turns faults into exit codes.

Options may stand anywhere.  The first plain word is a built-in command or a verb
of the server; `server`, `agent`, `quickstart` and `dev` hand everything after
them to the program of that name.
"""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Callable, Sequence

from mold.cli.faults import Fault, Usage
from mold.cli.options import Options, open_cloud, read, syntax
from mold.cli.words import choose, nearest, say

PROGRAMS = {
    "server": "mold.server.main",
    "agent": "mold.agent.main",
    "quickstart": "mold.cli.quickstart",
    "dev": "mold.server.dev",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line; the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    choose(None)
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")  # a C locale must not end in a traceback
    try:
        code = _run(arguments)
        sys.stdout.flush()
        return code
    except Fault as fault:
        _report(fault, as_json=_wants_json(arguments))
        return fault.exit_code
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # whoever read stdout has left; say nothing more
        return 0
    except KeyboardInterrupt as stop:
        told = [say("job.left", job=job) for job in getattr(stop, "jobs", ())] or [say("stopped")]
        print("\n" + "\n".join(f"mold: {line}" for line in told), file=sys.stderr)
        return 130


def _run(arguments: list[str]) -> int:
    if os.environ.get("_MOLD_COMPLETE"):
        from mold.cli import complete

        return complete.answer(os.environ["_MOLD_COMPLETE"])
    if arguments and arguments[0] in PROGRAMS:
        return _program(arguments[0], arguments[1:])
    options = read(arguments, loose=True)
    choose(options.lang)
    words = list(options.words)
    from mold.cli.verbs import NOUNS

    if words and words[0] in NOUNS:
        from mold.cli import curated

        return curated.run(options, words, arguments)
    if any(word.startswith("-") for word in words) and words[0] != "events":
        options = read(arguments)  # says what is wrong with them
        words = list(options.words)
    if options.version or words[:1] == ["version"]:
        return _version()
    if not words:
        return _root_help(options)
    if options.help:
        return _help(options, words)
    if words[0] in PROGRAMS:
        return _program(words[0], words[1:])
    if words[0] == "completion":
        return _completion(words[1:])
    from mold.cli import calls, signin

    built_in: dict[str, Callable[[Options, list[str]], int]] = {
        "api": calls.api,
        "events": _events,
        "login": signin.login,
        "profile": signin.profile,
    }
    if words == ["sync"]:  # with a noun it is a verb of the server
        return calls.sync(options)
    if words[0] in built_in:
        return built_in[words[0]](options, words[1:])
    return calls.verb(options, words)


def _events(options: Options, words: list[str]) -> int:
    from mold.cli.events import events

    return events(options, words)


def _wants_json(arguments: list[str]) -> bool:
    """Whether errors shall be JSON; known even when the options themselves are wrong."""
    spelled = [f"{first} {second}" for first, second in itertools.pairwise(arguments)]
    return any(word in ("-ojson", "--output=json", "-o json", "--output json") for word in [*arguments, *spelled])


def _report(fault: Fault, *, as_json: bool) -> None:
    from mold.cli.show import clean

    if as_json:
        import json

        facts = {"errortext": fault.text, **fault.facts, "message": fault.text, "exitcode": fault.exit_code}
        print(json.dumps(facts, ensure_ascii=False), file=sys.stderr)
        return
    code = fault.facts.get("errorcode")
    print(f"mold: {clean(fault.text)}" + (f" (errorcode {code})" if code is not None else ""), file=sys.stderr)


def _program(name: str, arguments: list[str]) -> int:
    """Hand over to another program of this distribution."""
    import importlib

    try:
        program = importlib.import_module(PROGRAMS[name])
    except ImportError as missing:
        raise Usage(say("program.missing", name=name, why=missing)) from missing
    code = program.main(arguments)
    return code if isinstance(code, int) else 0


def _version() -> int:
    from importlib.metadata import PackageNotFoundError, version

    try:
        print(f"mold {version('mold-cloud')}")
    except PackageNotFoundError:
        print("mold (not installed)")
    return 0


def _root_help(options: Options) -> int:
    import click

    from mold.cli import complete, manual

    model = complete.source_of({"profile": options.profile, "url": options.url, "data_dir": options.data_dir}).model
    spellings = [
        (", ".join(param.opts) + ("" if param.is_flag else f" {(param.name or '').upper()}"), param.name or "")
        for param in syntax().params
        if isinstance(param, click.Option)
    ]
    print(manual.root(spellings, model))
    return 0


def _help(options: Options, words: list[str]) -> int:
    """Help on a built-in, a verb or a command; from the kept model, however old."""
    from mold.cli import manual
    from mold.cli.calls import known
    from mold.cli.model import fetch, kept

    if words[0] in manual.BUILT_IN and not (words[0] == "api" and words[1:]) and not (words[0] == "sync" and words[1:]):
        print(manual.built_in(words[0]))
        return 0
    cloud = open_cloud(options)
    found = kept(cloud)
    model = found[0] if found else fetch(cloud)
    if words[0] == "api":
        command = model.get(words[1])
        if command is None:
            raise Usage(say("bad.noun", verb="api", noun=words[1], suggest=nearest(words[1], list(model.names()))))
        print(manual.command(command, model))
        return 0
    if not words[1:] and words[0] in model.verbs():
        print(manual.verb(words[0], model))
        return 0
    print(manual.command(known(model, words[0], words[1] if words[1:] and "=" not in words[1] else ""), model))
    return 0


def _completion(words: list[str]) -> int:
    from mold.cli.complete import script

    text = script(words[0]) if len(words) == 1 else None
    if text is None:
        raise Usage(say("bad.shell", shell=" ".join(words)))
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
