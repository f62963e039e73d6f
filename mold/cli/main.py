"""The program `mold`: reads the command line, chooses what to do, turns faults into exit codes.

Options may stand anywhere.  The first plain word is a built-in command or a verb
of the server; `server`, `agent`, `quickstart` and `dev` hand everything after
them to the program of that name.
"""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from mold.cli.faults import Fault, TimedOut, Unreachable, Usage
from mold.cli.words import choose, nearest, say

if TYPE_CHECKING:
    import click

    from mold.cli.client import Answer, Cloud, Json
    from mold.cli.model import Command, Model
    from mold.cli.profiles import Profiles

PROGRAMS = {
    "server": "mold.server.main",
    "agent": "mold.agent.main",
    "quickstart": "mold.cli.quickstart",
    "dev": "mold.server.dev",
}
DESTRUCTIVE = frozenset(
    {"delete", "destroy", "expunge", "remove", "purge", "release", "disassociate", "restore", "revert", "unmanage"}
)
JOB_SECONDS = 3600.0
REQUEST_SECONDS = 60.0
JOB_COLUMNS = ("cmd", "jobstatus", "jobprogress", "created", "account", "jobid")
JOB_STATES = {"0": "running", "1": "done", "2": "failed"}


class Options(NamedTuple):
    """The options of one call, and its plain words."""

    words: tuple[str, ...]
    output: str
    columns: str | None
    no_header: bool
    paginate: bool
    no_wait: bool
    timeout: float | None
    yes: bool
    dry_run: bool
    profile: str | None
    url: str | None
    data_dir: str | None
    cacert: str | None
    insecure: bool
    debug: bool
    lang: str | None
    help: bool
    version: bool

    @property
    def chosen_columns(self) -> list[str]:
        return [name.strip() for name in (self.columns or "").split(",") if name.strip()]


def syntax() -> click.Command:
    """The options, as click reads them."""
    import click

    from mold.cli.show import FORMS

    def option(
        *spellings: str, kind: click.ParamType[float] | click.ParamType[str] | None = None, **more: str
    ) -> click.Option:
        return click.Option(spellings, type=kind, **more)  # type: ignore[arg-type]

    def flag(*spellings: str) -> click.Option:
        return click.Option(spellings, is_flag=True)

    def complete(context: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
        from mold.cli import complete

        where = {name: context.params.get(name) for name in ("profile", "url", "data_dir")}
        return complete.candidates(list(context.params.get("words") or ()), incomplete, complete.known_model(**where))

    return click.Command(
        "mold",
        add_help_option=False,
        params=[
            click.Argument(["words"], nargs=-1, type=click.UNPROCESSED, shell_complete=complete),
            click.Option(["-o", "--output"], type=click.Choice(FORMS), default="table"),
            option("--columns"),
            flag("--no-header"),
            flag("--paginate"),
            flag("--no-wait"),
            option("--timeout", kind=click.FloatRange(min=0, min_open=True)),
            flag("-y", "--yes"),
            flag("--dry-run"),
            option("--profile"),
            option("--url"),
            option("--data-dir"),
            option("--cacert"),
            flag("--insecure"),
            flag("--debug"),
            option("--lang", kind=click.Choice(["en", "ko"])),
            flag("-h", "--help"),
            flag("--version"),
        ],
    )


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
        job = getattr(stop, "job", None)
        print("\nmold: " + (say("job.left", job=job) if job else say("stopped")), file=sys.stderr)
        return 130


def _run(arguments: list[str]) -> int:
    if os.environ.get("_MOLD_COMPLETE"):
        from mold.cli import complete

        return complete.answer(os.environ["_MOLD_COMPLETE"], syntax())
    if arguments and arguments[0] in PROGRAMS:
        return _program(arguments[0], arguments[1:])
    options = _read(arguments)
    choose(options.lang)
    words = list(options.words)
    if options.version or words[:1] == ["version"]:
        return _version()
    if not words:
        return _root_help(options)
    if options.help:
        return _help(options, words)
    built_in: dict[str, Callable[[Options, list[str]], int]] = {
        "api": _api,
        "login": _login,
        "profile": _profile,
        "job": _job,
        "completion": _completion,
    }
    if words[0] in PROGRAMS:
        return _program(words[0], words[1:])
    if words == ["sync"]:
        return _sync(options)
    if words[0] in built_in:
        return built_in[words[0]](options, words[1:])
    return _verb(options, words)


def _read(arguments: list[str]) -> Options:
    import click

    try:
        return Options(**syntax().make_context("mold", list(arguments)).params)
    except click.ClickException as wrong:
        raise Usage(say("bad.option", text=wrong.format_message())) from wrong


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
        module = importlib.import_module(PROGRAMS[name])
        start = module.main
    except (ImportError, AttributeError) as missing:
        raise Usage(say("program.missing", name=name, why=missing)) from missing
    code = start(arguments)
    return code if isinstance(code, int) else 0


def _version() -> int:
    from importlib.metadata import PackageNotFoundError, version

    try:
        print(f"mold {version('mold-cloud')}")
    except PackageNotFoundError:
        print("mold (not installed)")
    return 0


# ---- help


def _cloud(options: Options) -> Cloud:
    from mold.cli.client import Cloud
    from mold.cli.profiles import connection

    link = connection(
        profile=options.profile,
        url=options.url,
        data_dir=options.data_dir,
        cacert=options.cacert,
        insecure=options.insecure,
    )
    seconds = min(REQUEST_SECONDS, options.timeout or REQUEST_SECONDS)
    return Cloud(link, request_seconds=seconds, shows_requests=options.debug)


def _root_help(options: Options) -> int:
    import click

    from mold.cli import complete, manual

    model = complete.known_model(profile=options.profile, url=options.url, data_dir=options.data_dir)
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
    from mold.cli.model import fetch, kept

    if words[0] in manual.BUILT_IN and not (words[0] == "api" and words[1:]) and not (words[0] == "sync" and words[1:]):
        print(manual.built_in(words[0]))
        return 0
    cloud = _cloud(options)
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
    print(manual.command(_known(model, words[0], words[1] if words[1:] and "=" not in words[1] else ""), model))
    return 0


def _known(model: Model, verb: str, noun: str) -> Command:
    command = model.find(verb, noun)
    if command is not None:
        return command
    verbs = list(model.verbs())
    if verb not in verbs:
        raise Usage(say("bad.verb", verb=verb, suggest=nearest(verb, verbs)))
    if not noun:
        raise Usage(say("bad.noun.missing", verb=verb))
    raise Usage(say("bad.noun", verb=verb, noun=noun, suggest=nearest(noun.lower(), list(model.nouns(verb)))))


# ---- commands of the server


def _verb(options: Options, words: list[str]) -> int:
    """`mold deploy virtualmachine name=web1`."""
    from mold.cli.model import fetch, load
    from mold.cli.params import check, read_words, resolve

    noun = words[1] if len(words) > 1 and "=" not in words[1] else ""
    params = read_words(words[2 if noun else 1 :])
    cloud = _cloud(options)
    model, is_new = load(cloud)
    if model.find(words[0], noun) is None and not is_new:
        try:
            model = fetch(cloud)
        except (Unreachable, TimedOut) as problem:
            print("mold: " + say("stale", why=problem.text), file=sys.stderr)
    command = _known(model, words[0], noun)
    columns = options.chosen_columns
    if "filter" in params and command.param("filter") is None:
        columns = columns or [name.strip() for name in params.pop("filter").split(",") if name.strip()]
        params.pop("filter", None)
    check(command, params)

    def ask(lookup: Command, question: Mapping[str, str]) -> Answer:
        return cloud.call(lookup.name, question, reads=lookup.reads)

    resolved = resolve(command, params, model, ask)
    pages = command.param("page") is not None
    return _send(
        options, cloud, command.name, resolved, reads=command.reads, columns=columns, pages=pages, typed=params
    )


def _api(options: Options, words: list[str]) -> int:
    """`mold api listZones available=true`: sent as it is, unknown words and all."""
    from mold.cli.model import kept
    from mold.cli.params import read_words

    if not words or "=" in words[0]:
        raise Usage(say("bad.subcommand", command="api", names="listZones, deployVirtualMachine, ..."))
    params = read_words(words[1:])
    cloud = _cloud(options)
    found = kept(cloud)
    command = found[0].get(words[0]) if found else None
    pages = command is None or command.param("page") is not None
    reads = command.reads if command else None
    return _send(
        options, cloud, words[0], params, reads=reads, columns=options.chosen_columns, pages=pages, typed=params
    )


def _send(
    options: Options,
    cloud: Cloud,
    name: str,
    params: Mapping[str, str],
    *,
    reads: bool | None,
    columns: list[str],
    pages: bool,
    typed: Mapping[str, str],
) -> int:
    """Send one command, wait for its job, print the answer. `typed` are the parameters before names became ids."""
    from mold.cli.client import masked
    from mold.cli.params import every_page
    from mold.cli.show import show

    if options.dry_run:
        show({"command": name, **masked(params)}, form=options.output)
        return 0
    _confirm(options, name, typed)
    if options.paginate and pages:
        answer = every_page(cloud, name, params, reads=reads)
    else:
        answer = cloud.call(name, params, reads=reads)
    job = answer.get("jobid")
    if isinstance(job, str) and "jobstatus" not in answer:
        if options.no_wait:
            _show_job_id(options, answer, job)
            return 0
        answer = _wait(options, cloud, job, name)
    show(
        answer,
        form=options.output,
        columns=columns,
        header=not options.no_header,
        is_list=name.startswith("list"),
        asked=[key for key in typed if not key.endswith("id")],
    )
    return 0


def _confirm(options: Options, name: str, params: Mapping[str, str]) -> None:
    """Ask before something is destroyed, when there is somebody to ask. Raises Usage for a no."""
    from mold.cli.client import masked
    from mold.cli.model import split_name

    verb, noun = split_name(name)
    if verb not in DESTRUCTIVE or options.yes or not (sys.stdin.isatty() and sys.stderr.isatty()):
        return
    what = " ".join([noun, *(f"{key}={value}" for key, value in masked(params).items())])
    print(say("confirm", verb=verb, what=what), end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes", "예"):
        raise Usage(say("not.confirmed"))


def _show_job_id(options: Options, answer: Answer, job: str) -> None:
    from mold.cli.show import show

    if options.output in ("json", "yaml"):
        show(answer, form=options.output)
    else:
        print(job)


def _wait(options: Options, cloud: Cloud, job: str, command: str) -> Answer:
    from mold.cli.jobs import wait

    return wait(cloud, job, command=command, seconds=options.timeout or JOB_SECONDS)


def _job(options: Options, words: list[str]) -> int:
    """`mold job watch ID` and `mold job list`."""
    from mold.cli.params import every_page, read_words
    from mold.cli.show import show

    if words[:1] == ["watch"] and len(words) == 2:
        answer = _wait(options, _cloud(options), words[1], "job")
        show(answer, form=options.output, columns=options.chosen_columns, header=not options.no_header)
        return 0
    if words[:1] != ["list"]:
        raise Usage(say("bad.subcommand", command="job", names="watch ID, list"))
    cloud, params = _cloud(options), read_words(words[1:])
    answer = (
        every_page(cloud, "listAsyncJobs", params, reads=True)
        if options.paginate
        else cloud.call("listAsyncJobs", params)
    )
    columns = options.chosen_columns
    if options.output in ("table", "wide"):
        columns = columns or list(JOB_COLUMNS)
        for row in _job_rows(answer):
            row["jobstatus"] = JOB_STATES.get(str(row.get("jobstatus")), row.get("jobstatus"))
            row["cmd"] = str(row.get("cmd", "")).rpartition(".")[2]
            row.setdefault("jobprogress", "")
    show(answer, form=options.output, columns=columns, header=not options.no_header, is_list=True)
    return 0


def _job_rows(answer: Answer) -> list[dict[str, Json]]:
    rows = answer.get("asyncjobs")
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


def _sync(options: Options) -> int:
    from mold.cli.model import fetch

    cloud = _cloud(options)
    print("mold: " + say("synced", count=len(fetch(cloud)), url=cloud.connection.url), file=sys.stderr)
    return 0


# ---- profiles


def _pairs(words: list[str]) -> dict[str, str]:
    """`key=value` words of profile commands. `-` takes a line from stdin, so that secrets stay out of process lists."""
    found = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            raise Usage(say("bad.word", word=word))
        found[key.lower()] = sys.stdin.readline().rstrip("\r\n") if value == "-" else value
    return found


def _login(options: Options, words: list[str]) -> int:
    """`mold login [PROFILE] url=... username=... password=...`: try, then keep, then use."""
    from mold.cli.client import Cloud
    from mold.cli.model import fetch
    from mold.cli.profiles import ENVIRONMENT, Connection, Profiles, connection, read_entry, valid_name

    name = words.pop(0) if words and "=" not in words[0] else options.profile or ""
    given = read_entry(_pairs(words))
    stored = Profiles.read()
    name = valid_name(name or stored.default() or "default")
    address = str(given.get("url") or options.url or os.environ.get("MOLD_URL") or "")
    if not address and name not in stored.entries:
        link = connection(
            profile=None, url=None, data_dir=options.data_dir, cacert=options.cacert, insecure=options.insecure
        )
        entry = {key: getattr(link, key) for key in ("url", *ENVIRONMENT, "cacert")}
    else:
        entry = dict(stored.entries.get(name, {}))
        if address and Connection("", {"url": address}).url != entry.get("url"):
            entry = {"url": Connection("", {"url": address}).url}  # another server: nothing secret goes along
        entry |= {key: os.environ[word] for key, word in ENVIRONMENT.items() if os.environ.get(word)}
    if "username" in given or "password" in given:
        entry.pop("apikey", None)
        entry.pop("secretkey", None)
    if "apikey" in given or "secretkey" in given:
        for key in ("username", "password", "domain"):
            entry.pop(key, None)
    entry |= {key: value for key, value in given.items() if key != "url"}
    if options.cacert:
        entry["cacert"] = os.path.abspath(options.cacert)
    if options.insecure:
        entry["insecure"] = True
    if not entry.get("apikey") and sys.stdin.isatty() and sys.stderr.isatty():
        from getpass import getpass

        if not entry.get("username"):
            print(say("ask.username"), end="", file=sys.stderr, flush=True)
            entry["username"] = sys.stdin.readline().strip()
        entry["password"] = entry.get("password") or getpass(say("ask.password"), stream=sys.stderr)
    link = Connection(name, entry)
    seconds = min(REQUEST_SECONDS, options.timeout or REQUEST_SECONDS)
    cloud = Cloud(link, request_seconds=seconds, shows_requests=options.debug)
    link.check()
    must_change = ""
    if not link.apikey:
        answer = cloud.sign_in()
        must_change = str(answer.get("userid") or "") if answer.get("passwordchangerequired") is True else ""
    count = len(fetch(cloud))
    stored.entries[name] = {**entry, "url": link.url}
    stored.current = name
    stored.write()
    print("mold: " + say("signed.in", url=link.url, name=name, count=count), file=sys.stderr)
    if must_change:
        print("mold: " + say("password.change", id=must_change), file=sys.stderr)
    return 0


def _profile(options: Options, words: list[str]) -> int:
    """`mold profile list|add|use|remove|import-cloudmonkey`."""
    from mold.cli.profiles import Profiles, read_entry, valid_name

    action = words[0] if words else "list"
    stored = Profiles.read()
    if action == "list" and len(words) < 2:
        return _profile_list(options, stored.entries, stored.default())
    if action == "import-cloudmonkey" and len(words) <= 2:
        return _import(stored, words[1] if words[1:] else None)
    if action not in ("add", "use", "remove") or len(words) < 2 or (action != "add" and len(words) > 2):
        raise Usage(
            say(
                "bad.subcommand",
                command="profile",
                names="list, add NAME url=..., use NAME, remove NAME, import-cloudmonkey [FILE]",
            )
        )
    name = words[1]
    if action == "add":
        entry = read_entry(_pairs(words[2:]))
        if not entry.get("url"):
            raise Usage(
                say(
                    "missing",
                    command="profile add",
                    names="url",
                    example="mold profile add lab url=https://HOST/client/api",
                )
            )
        stored.entries[valid_name(name)] = entry
        stored.current = stored.current or name
    elif action == "use":
        stored.entry(name)
        stored.current = name
    else:
        stored.entry(name)
        del stored.entries[name]
        stored.current = "" if stored.current == name else stored.current
    stored.write()
    print(
        "mold: " + say({"add": "profile.added", "use": "profile.used", "remove": "profile.removed"}[action], name=name),
        file=sys.stderr,
    )
    return 0


def _profile_list(options: Options, entries: Mapping[str, Mapping[str, str | bool]], current: str) -> int:
    from mold.cli.show import show

    rows: list[Json] = []
    for name, entry in entries.items():
        way = "apikey" if entry.get("apikey") else "password" if entry.get("username") else "none"
        user = str(entry.get("username") or "")
        rows.append(
            {"name": name, "url": entry.get("url", ""), "signin": way, "username": user, "current": name == current}
        )
    columns = options.chosen_columns or ["name", "current", "url", "signin", "username"]
    show({"count": len(rows), "profile": rows}, form=options.output, columns=columns, header=not options.no_header)
    return 0


def _import(stored: Profiles, file: str | None) -> int:
    from pathlib import Path

    from mold.cli.profiles import cloudmonkey

    path = Path(file) if file else Path.home() / ".cmk" / "config"
    current, entries = cloudmonkey(path)
    added = []
    for name, entry in entries.items():
        if name in stored.entries:
            print("mold: " + say("profile.kept", name=name), file=sys.stderr)
            continue
        stored.entries[name] = entry
        added.append(name)
    if not stored.current and current in stored.entries:
        stored.current = current
    stored.write()
    print("mold: " + say("profile.imported", names=", ".join(added) or "-", path=path), file=sys.stderr)
    return 0


def _completion(options: Options, words: list[str]) -> int:
    from mold.cli.complete import script

    text = script(words[0], syntax()) if len(words) == 1 else None
    if text is None:
        raise Usage(say("bad.shell", shell=" ".join(words)))
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
