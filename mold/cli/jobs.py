"""Waiting for jobs: polling that starts quick and slows down, progress on stderr.

A server that does not answer for a moment (it may be restarting) ends nothing:
the job is on its side.  Ctrl-C ends the waiting, never the job.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

from mold.cli.client import Answer, Cloud, Json
from mold.cli.faults import JobFailed, TimedOut, Unreachable
from mold.cli.show import clean
from mold.cli.words import say

FIRST_SECONDS = 0.2
LONGEST_SECONDS = 2.0
GROWTH = 1.4
SILENCE_SECONDS = 60


class Waiting(KeyboardInterrupt):
    """Ctrl-C while waiting for `jobs`."""

    def __init__(self, jobs: Sequence[str]) -> None:
        super().__init__()
        self.jobs = jobs


class Progress:
    """What the job is doing, on stderr: one changing line on a terminal, else a line per change."""

    def __init__(self, job: str) -> None:
        self._job = job
        self._last = ""
        self._is_live = sys.stderr.isatty()

    def tell(self, answer: Answer) -> None:
        """Show progress of a queryAsyncJobResult answer when it changed."""
        text = describe(answer)
        if self._is_live:
            text = f"{say('job.run', job=self._job)} {text}".rstrip()
            if text != self._last:
                print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)
        elif text and text != self._last:
            print(f"mold: {say('job.run', job=self._job)} {text}", file=sys.stderr, flush=True)
        self._last = text

    def end(self) -> None:
        """Clear the changing line."""
        if self._is_live and self._last:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
            self._last = ""


def describe(answer: Answer) -> str:
    """Percent and present step of a job, as far as the server says them."""
    parts = []
    percent = answer.get("jobprogress")
    if isinstance(percent, int | float) and not isinstance(percent, bool):
        parts.append(f"{percent:g}%")
    step = _present(answer.get("jobsteps"))
    if step is not None:
        key = "job.undo" if step.get("state") == "undone" else "job.step"
        text = clean(str(step.get("text") or ""))
        parts.append(say(key, step=clean(str(step.get("name", "")))) + (f": {text}" if text else ""))
    return " ".join(parts)


def _present(steps: Json) -> dict[str, Json] | None:
    """The step that a job is at: the one that runs, or the one undone last; None while nothing has begun."""
    known = [step for step in steps if isinstance(step, dict)] if isinstance(steps, list) else []
    undone = [step for step in known if step.get("state") == "undone"]
    running = [step for step in known if step.get("state") == "running"]
    done = [step for step in known if step.get("state") == "done"]
    at = undone[:1] or running[:1] or done[-1:]
    return at[0] if at else None


def wait(cloud: Cloud, job: str, *, command: str, seconds: float) -> Answer:
    """The result of `job`, waited for at most `seconds`. Raises JobFailed, TimedOut, and what a call raises."""
    progress = Progress(job)
    now = time.monotonic()
    end, pause, heard = now + seconds, FIRST_SECONDS, now
    try:
        while True:
            try:
                answer = cloud.call("queryAsyncJobResult", {"jobid": job})
                heard = time.monotonic()
            except (Unreachable, TimedOut):
                if time.monotonic() - heard > SILENCE_SECONDS:
                    raise
                progress.end()
                print("mold: " + say("job.lost", job=job), file=sys.stderr)
                answer = {}
            status = str(answer.get("jobstatus", "0"))
            if status != "0":
                return _result(answer, job, command)
            progress.tell(answer)
            left = end - time.monotonic()
            if left <= 0:
                raise TimedOut(say("job.late", job=job, seconds=seconds), jobid=job, command=command)
            time.sleep(min(pause, left))
            pause = min(pause * GROWTH, LONGEST_SECONDS)
    except KeyboardInterrupt as stop:
        raise Waiting([job]) from stop
    finally:
        progress.end()


def _result(answer: Answer, job: str, command: str) -> Answer:
    result = answer.get("jobresult")
    if str(answer.get("jobstatus")) == "1":
        return result if isinstance(result, dict) else {"jobresult": result}
    failure = result if isinstance(result, dict) else {}
    text = str(failure.get("errortext") or (result if isinstance(result, str) else "") or f"job {job}")
    code = failure.get("errorcode", answer.get("jobresultcode"))
    facts = {"errorcode": code} if isinstance(code, int) else {}
    raise JobFailed(say("job.failed", command=command, text=text), jobid=job, command=command, errortext=text, **facts)
