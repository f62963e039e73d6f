"""Keeps an agent alive on a machine without systemd: `python -m mold.agent.keep start|stop|status [--config DIR]`.

`start` leaves a small parent process behind that starts the agent again when it fails; an agent that ended well was
told to, and is left alone.  The parent holds a lock on `keeper.pid` in the agent's folder for as long as it lives, so
that there is never more than one; the agent dies with its parent.  Guests and routers are nobody's children.
"""

from __future__ import annotations

import argparse
import ctypes
import fcntl
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType

from mold.agent import config

PID = "keeper.pid"
LOG = "/var/log/mold-agent.log"
START_SECONDS = 10.0
STOP_SECONDS = 30.0
PAUSE_FIRST, PAUSE_LAST = 1.0, 30.0
STEADY_SECONDS = 30.0
PR_SET_PDEATHSIG = 1


def _locked(folder: Path) -> int:
    """The pid of the keeper that runs for this folder; 0 when none does."""
    try:
        with (folder / PID).open("r+") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return int(handle.read() or 0)
    except (FileNotFoundError, ValueError):
        pass
    return 0


def _wait(folder: Path, *, running: bool, seconds: float) -> bool:
    until = time.monotonic() + seconds
    while bool(_locked(folder)) != running:
        if time.monotonic() > until:
            return False
        time.sleep(0.05)
    return True


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def start(folder: Path, log: Path) -> int:
    """Leave a keeper behind, unless there is one."""
    if _locked(folder):
        return 0
    words = [sys.executable, "-P", "-m", "mold.agent.keep", "run", "--config", str(folder)]
    with log.open("ab") as output:
        subprocess.Popen(words, cwd="/", stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True)
    if _wait(folder, running=True, seconds=START_SECONDS):
        return 0
    sys.stderr.write(f"The agent's keeper did not start within {START_SECONDS:.0f} s; its log is {log}.\n")
    return 1


def stop(folder: Path) -> int:
    """End the agent and its keeper; 0 as well when none runs."""
    keeper = _locked(folder)
    if keeper:
        os.kill(keeper, signal.SIGTERM)
        if not _wait(folder, running=False, seconds=STOP_SECONDS):
            os.kill(keeper, signal.SIGKILL)
            _wait(folder, running=False, seconds=STOP_SECONDS)
    return 0


def run(folder: Path) -> int:
    """Be the keeper: run the agent until it ends well, or until SIGTERM."""
    with (folder / PID).open("a+") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return 0
        handle.truncate(0)
        handle.write(f"{os.getpid()}\n")
        handle.flush()
        return _run(folder)


def _run(folder: Path) -> int:
    child: subprocess.Popen[bytes] | None = None
    is_stopping = False

    def end(_number: int, _frame: FrameType | None) -> None:
        nonlocal is_stopping
        is_stopping = True
        if child is not None and child.poll() is None:
            child.send_signal(signal.SIGTERM)

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    pause = PAUSE_FIRST
    while not is_stopping:
        began = time.monotonic()
        child = subprocess.Popen(
            [sys.executable, "-P", "-m", "mold.agent", "--config", str(folder)],
            cwd="/",
            stdin=subprocess.DEVNULL,
            preexec_fn=_die_with_parent,  # noqa: PLW1509 - this process has one thread
        )
        if is_stopping:
            child.send_signal(signal.SIGTERM)
        code = child.wait()
        if code == 0 or is_stopping:
            break
        pause = PAUSE_FIRST if time.monotonic() - began > STEADY_SECONDS else min(pause * 2, PAUSE_LAST)
        sys.stderr.write(f"The agent ended with {code}; it is started again in {pause:.0f} s.\n")
        sys.stderr.flush()
        until = time.monotonic() + pause
        while not is_stopping and time.monotonic() < until:
            time.sleep(0.1)
    return 0


def main(argv: list[str] | None = None) -> int:
    """0 when it was done, or when `status` finds an agent kept."""
    parser = argparse.ArgumentParser(prog="mold.agent.keep", description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("what", choices=("start", "stop", "status", "run"))
    parser.add_argument("--config", type=Path, default=Path(config.DEFAULT_FOLDER), help="folder with agent.properties")
    parser.add_argument("--log", type=Path, default=Path(LOG), help="where the agent's output goes")
    words = parser.parse_args(argv)
    match words.what:
        case "start":
            return start(words.config, words.log)
        case "stop":
            return stop(words.config)
        case "run":
            return run(words.config)
        case _:
            return 0 if _locked(words.config) else 3


if __name__ == "__main__":
    sys.exit(main())
