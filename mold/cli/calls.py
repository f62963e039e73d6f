"""Commands of the server as they are typed: looked up, checked, sent, waited for, shown."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from mold.cli.faults import Fault, JobFailed, Refused, TimedOut, Unreachable, Usage
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
    if "filter" in params and command.param("filter") is None:  # as CloudMonkey takes it: columns
        options = options._replace(columns=options.columns or params["filter"])
        params.pop("filter")
    check(command, params)

    def ask(lookup: Command, question: Mapping[str, str]) -> Answer:
        return cloud.call(lookup.name, question, reads=lookup.reads)

    call = Call(
        command.name, resolve(command, params, model, ask), params, command.reads, command.param("page") is not None
    )
    return carry_out(options, cloud, [call], model)


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
    call = Call(words[0], params, params, command.reads if command else None, pages)
    return carry_out(options, cloud, [call], found[0] if found else None)


class Call(NamedTuple):
    """One command as it is sent. `typed` are the parameters before names became ids; `reads` None: judged by the name."""

    name: str
    params: Mapping[str, str]
    typed: Mapping[str, str]
    reads: bool | None
    pages: bool


def carry_out(
    options: Options,
    cloud: Cloud,
    calls: Sequence[Call],
    model: Model | None,
    *,
    columns: Sequence[str] = (),
    confirm: bool | None = None,
) -> int:
    """Send the commands, wait for their jobs, print the answers. `confirm` None: judged by the command's verb."""
    if options.dry_run or options.explain:
        from mold.cli.explain import tell

        return tell(options, cloud, calls, model)
    answers = send(options, cloud, calls, confirm=confirm)
    if answers:
        present(options, merged(answers), calls[0], columns=columns)
    return 0


def send(options: Options, cloud: Cloud, calls: Sequence[Call], *, confirm: bool | None = None) -> list[Answer]:
    """Send the commands and wait for their jobs: all are sent before the first is waited for.

    With --no-wait the ids of jobs are printed and nothing is left to show.  When some of several fail, the others are
    seen through before the first failure is raised.
    """
    from mold.cli.jobs import Waiting
    from mold.cli.show import clean

    _confirm(options, calls, confirm)
    failed: list[Fault] = []
    sent: list[tuple[Call, Answer]] = []
    ended: list[Answer] = []
    for call in calls:
        try:
            sent.append((call, _ask(options, cloud, call)))
        except Refused as problem:
            failed.append(problem)
    jobs = [_job_of(answer) for _, answer in sent]
    for at, ((call, answer), job_id) in enumerate(zip(sent, jobs, strict=True)):
        if job_id is None:
            ended.append(answer)
        elif options.no_wait:
            _show_job_id(options, answer, job_id)
        else:
            try:
                ended.append(_wait(options, cloud, job_id, call.name))
            except JobFailed as problem:
                failed.append(problem)
            except KeyboardInterrupt as stop:
                raise Waiting([left for left in jobs[at:] if left]) from stop
    if failed and len(calls) == 1:
        raise failed[0]
    if failed:
        if ended:
            present(options, merged(ended), calls[0])
        for each in failed:
            print("mold: " + clean(each.text), file=sys.stderr)
        raise type(failed[0])(say("some.failed", failed=len(failed), all=len(calls)))
    return ended


def _job_of(answer: Answer) -> str | None:
    """The job that an answer says was started; None when it is the answer itself."""
    job = answer.get("jobid")
    return job if isinstance(job, str) and "jobstatus" not in answer else None


def _ask(options: Options, cloud: Cloud, call: Call) -> Answer:
    from mold.cli.params import every_page

    if options.wants_all and call.pages:
        return every_page(cloud, call.name, call.params, reads=call.reads)
    return cloud.call(call.name, call.params, reads=call.reads)


def merged(answers: Sequence[Answer]) -> Answer:
    """Several answers of one command as one list; a single one as it is."""
    from mold.cli.show import rows_of

    if len(answers) == 1:
        return answers[0]
    parts = [rows_of(answer) for answer in answers]
    rows: list[Json] = [row for part in parts for row in part.rows]
    return {"count": len(rows), parts[0].key or "answer": rows}


def present(options: Options, answer: Answer, call: Call, *, columns: Sequence[str] = ()) -> None:
    """Print an answer as the options say."""
    from mold.cli.show import show

    if options.filter or options.sort_by:
        from mold.cli.sift import sift

        answer = sift(answer, options.filter, options.sort_by)
    if options.query:
        from mold.cli.sift import ask, show_found

        show_found(ask(answer, options.query), options)
        return
    chosen = options.chosen_columns
    show(
        answer,
        form=options.output,
        columns=chosen,
        usual=columns,
        header=not options.no_header,
        is_list=call.name.startswith("list"),
        asked=[key for key in call.typed if not key.endswith("id")],
    )


def _confirm(options: Options, calls: Sequence[Call], wanted: bool | None) -> None:
    """Ask before something is destroyed. Raises Usage for a no, and when there is nobody to ask."""
    from mold.cli.client import masked
    from mold.cli.model import split_name

    verb, noun = split_name(calls[0].name)
    if options.yes or not (verb in DESTRUCTIVE if wanted is None else wanted):
        return
    what = " ".join(
        [noun, *(f"{key}={value}" for call in calls for key, value in masked(call.typed).items() if key != "listall")]
    )
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise Usage(say("needs.yes", verb=verb, what=what))
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


def watch(options: Options, cloud: Cloud, job_id: str) -> int:
    """Wait for a job and show what came of it."""
    call = Call("queryAsyncJobResult", {"jobid": job_id}, {}, True, False)
    present(options, _wait(options, cloud, job_id, "job"), call)
    return 0


def list_jobs(options: Options, cloud: Cloud, params: Mapping[str, str]) -> int:
    """Show jobs, for people with words instead of numbers and class names."""
    call = Call("listAsyncJobs", params, params, True, True)
    if options.dry_run:
        return carry_out(options, cloud, [call], None)
    answer = _ask(options, cloud, call)
    if options.output in ("table", "wide"):
        for row in _job_rows(answer):
            row["jobstatus"] = JOB_STATES.get(str(row.get("jobstatus")), row.get("jobstatus"))
            row["cmd"] = row.get("command") or str(row.get("cmd", "")).rpartition(".")[2]
    present(options, answer, call, columns=JOB_COLUMNS)
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
