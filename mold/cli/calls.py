"""Commands of the server as they are typed: looked up, checked, sent, waited for, shown."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

from mold.cli.faults import TimedOut, Unreachable, Usage
from mold.cli.options import Options, open_cloud
from mold.cli.words import nearest, say

if TYPE_CHECKING:
    from mold.cli.client import Answer, Cloud, Json
    from mold.cli.model import Command, Model

DESTRUCTIVE = frozenset(
    {"delete", "destroy", "expunge", "remove", "purge", "release", "disassociate", "restore", "revert", "unmanage"}
)
JOB_SECONDS = 3600.0
JOB_COLUMNS = ("cmd", "jobstatus", "jobprogress", "created", "account", "jobid")
JOB_STATES = {"0": "running", "1": "done", "2": "failed"}


def known(model: Model, verb: str, noun: str) -> Command:
    """The command of that verb and noun. Raises Usage with the nearest names."""
    command = model.find(verb, noun)
    if command is not None:
        return command
    verbs = list(model.verbs())
    if verb not in verbs:
        raise Usage(say("bad.verb", verb=verb, suggest=nearest(verb, verbs)))
    if not noun:
        raise Usage(say("bad.noun.missing", verb=verb))
    raise Usage(say("bad.noun", verb=verb, noun=noun, suggest=nearest(noun.lower(), list(model.nouns(verb)))))


def verb(options: Options, words: list[str]) -> int:
    """`mold deploy virtualmachine name=web1`."""
    from mold.cli.model import fetch, load
    from mold.cli.params import check, read_words, resolve

    noun = words[1] if len(words) > 1 and "=" not in words[1] else ""
    params = read_words(words[2 if noun else 1 :])
    cloud = open_cloud(options)
    model, is_new = load(cloud)
    if model.find(words[0], noun) is None and not is_new:
        try:
            model = fetch(cloud)
        except (Unreachable, TimedOut) as problem:
            print("mold: " + say("stale", why=problem.text), file=sys.stderr)
    command = known(model, words[0], noun)
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


def api(options: Options, words: list[str]) -> int:
    """`mold api listZones available=true`: sent as it is, unknown words and all."""
    from mold.cli.model import kept
    from mold.cli.params import read_words

    if not words or "=" in words[0]:
        raise Usage(say("bad.subcommand", command="api", names="listZones, deployVirtualMachine, ..."))
    params = read_words(words[1:])
    cloud = open_cloud(options)
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
    job_id = answer.get("jobid")
    if isinstance(job_id, str) and "jobstatus" not in answer:
        if options.no_wait:
            _show_job_id(options, answer, job_id)
            return 0
        answer = _wait(options, cloud, job_id, name)
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


def job(options: Options, words: list[str]) -> int:
    """`mold job watch ID` and `mold job list`."""
    from mold.cli.params import every_page, read_words
    from mold.cli.show import show

    if words[:1] == ["watch"] and len(words) == 2:
        answer = _wait(options, open_cloud(options), words[1], "job")
        show(answer, form=options.output, columns=options.chosen_columns, header=not options.no_header)
        return 0
    if words[:1] != ["list"]:
        raise Usage(say("bad.subcommand", command="job", names="watch ID, list"))
    cloud, params = open_cloud(options), read_words(words[1:])
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


def sync(options: Options) -> int:
    """`mold sync`: fetch the list of commands again."""
    from mold.cli.model import fetch

    cloud = open_cloud(options)
    print("mold: " + say("synced", count=len(fetch(cloud)), url=cloud.connection.url), file=sys.stderr)
    return 0
