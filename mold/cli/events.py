"""`mold events -f`: what happens in the cloud while it happens, as the server's live stream tells it.

A stream that ends is opened again with the last event's id, and the server tells what was missed; when it no longer
knows, it says `reset` and that is said on stderr.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING, NamedTuple

from mold.cli.faults import TimedOut, Unreachable, Usage
from mold.cli.options import Options, open_cloud
from mold.cli.show import cell, clean, pick
from mold.cli.words import say

if TYPE_CHECKING:
    from collections.abc import Callable

    from mold.cli.client import Json
    from mold.cli.show import Row

SILENCE_SECONDS = 45.0
"""Three heartbeats: a stream that says nothing for longer is dead."""
RETRY_SECONDS = 3.0
LONGEST_RETRY_SECONDS = 30.0
LINE_BYTES = 1024 * 1024
LAST = 20
TOLD = ("resource", "job", "event", "alert")


class Event(NamedTuple):
    """One event of the stream."""

    id: str
    name: str
    data: str


def read(stream: IO[bytes]) -> Iterator[Event | float]:
    """The events of a stream until it ends; a number is how many seconds to wait before coming back."""
    id = name = ""
    data: list[str] = []
    from http.client import HTTPException

    while True:
        try:
            raw = stream.readline(LINE_BYTES)
        except (OSError, HTTPException):
            return  # silent for too long, or cut off: the caller comes back
        if not raw:
            return
        line = raw.decode(errors="replace").rstrip("\r\n")
        if not line:
            if data or id:
                yield Event(id, name or "message", "\n".join(data))
            name, data = "", []
            continue
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "id":
            id = value
        elif field == "event":
            name = value
        elif field == "data":
            data.append(value)
        elif field == "retry" and value.isdigit():
            yield int(value) / 1000


def events(options: Options, words: list[str]) -> int:
    """`mold events [-f]`: the last events, and with -f the live stream until Ctrl-C or --timeout."""
    follow = [word for word in words if word not in ("-f", "--follow")]
    if follow:
        raise Usage(say("bad.subcommand", command="events", names="-f"))
    if not words:
        return _last(options)
    from mold.cli.sift import condition

    tests = [condition(text) for text in options.filter]
    end = time.monotonic() + options.timeout if options.timeout else None
    last, pause, retry = "", 0.0, RETRY_SECONDS
    cloud = open_cloud(options)
    while True:
        try:
            with cloud.stream("events", last, seconds=SILENCE_SECONDS) as stream:
                for event in read(stream):
                    if isinstance(event, float):
                        retry = event
                    else:
                        last, pause = event.id or last, 0.0
                        _tell(options, event, tests)
                    if end is not None and time.monotonic() > end:
                        return 0
        except (Unreachable, TimedOut) as problem:
            if not last:
                raise  # nobody there at all
            print("mold: " + clean(problem.text), file=sys.stderr)
        if end is not None and time.monotonic() > end:
            return 0
        pause = min(LONGEST_RETRY_SECONDS, max(retry, pause * 2))
        time.sleep(pause)


def _tell(options: Options, event: Event, tests: list[Callable[[Row], bool]]) -> None:
    if event.name == "reset":
        print("mold: " + say("events.reset"), file=sys.stderr)
    if event.name not in TOLD:
        return
    try:
        data = json.loads(event.data)
    except ValueError:
        return  # not what was agreed on; the next one may be
    row: Row = {"event": event.name, **(data if isinstance(data, dict) else {"data": data})}
    if not all(test(row) for test in tests):
        return
    if options.output == "json":
        print(json.dumps(row, ensure_ascii=False), flush=True)
    elif options.chosen_columns:
        print("\t".join(cell(pick(row, name)) for name in options.chosen_columns), flush=True)
    else:
        print(f"{time.strftime('%H:%M:%S')}  {in_words(row)}", flush=True)


def in_words(row: Row) -> str:
    """One event as a line for people."""

    def word(name: str) -> str:
        return cell(row.get(name))

    kind = str(row["event"])
    if kind == "job":
        state = {"0": f"{word('pct')}% {word('step')}", "1": say("job.done"), "2": say("job.failed.short")}
        return f"job       {word('cmd')} {word('id')} {state.get(word('status'), '')} {word('text')}".rstrip()
    if kind == "resource":
        changed: Json = row.get("changed")
        return f"{word('type'):<9} {word('id')} {word('op')} {word('state')} {cell(changed)}".rstrip()
    return f"{kind:<9} {word('level')} {word('type') or word('name')} {word('description')}".rstrip()


def _last(options: Options) -> int:
    """The last events, oldest first."""
    from mold.cli.calls import Call, present

    cloud = open_cloud(options)
    call = Call("listEvents", {"listall": "true", "page": "1", "pagesize": str(LAST)}, {}, True, True)
    answer = cloud.call(call.name, call.params, reads=True)
    rows = answer.get("event")
    if isinstance(rows, list):
        rows.reverse()  # the newest came first
        rows.sort(key=lambda row: str(row.get("created")) if isinstance(row, dict) else "")
        answer["count"] = len(rows)
    present(options, answer, call, columns=("created", "type", "level", "state", "account", "description"))
    return 0
