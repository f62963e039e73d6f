"""Running programs of the host: one-shot commands, and finding a daemon again after a restart of the agent.

No shell, ever: commands are argument lists, and what a program reads comes over its standard input.  A daemon
is known by its pid file *and* by an argument that only it has (the path of its own configuration), so a pid that
was given to another process since is never signalled.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from contextlib import suppress
from pathlib import Path

from mold.base.errors import Failed, Unsupported

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
ENVIRONMENT = {"PATH": PATH, "LC_ALL": "C"}
PACKAGES = {"ip": "iproute2", "nft": "nftables", "dnsmasq": "dnsmasq-base", "nsenter": "util-linux"}


async def run(
    *command: str, stdin: str = "", what: str, seconds: float = 20, fails: bool = True, environment: dict[str, str] | None = None
) -> tuple[int, str, str]:
    """Run `command` and answer (exit status, output, errors).

    `what` begins the sentence of the refusal, like "Making the bridge"; with `fails` a status other than 0 is
    Failed.  A command that takes longer than `seconds`, or whose caller is cancelled, is killed.
    """
    # a file in memory, not a pipe: a program may end before it has read all, and uvloop takes that for a fault of ours
    source = os.memfd_create("stdin")
    try:
        with os.fdopen(os.dup(source), "wb") as file:
            file.write(stdin.encode())
        os.lseek(source, 0, os.SEEK_SET)
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=source,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=ENVIRONMENT if environment is None else environment,
        )
    except FileNotFoundError:
        package = PACKAGES.get(command[0], command[0])
        raise Unsupported(
            f"{what} needs the program '{command[0]}', which this host lacks; install the package {package}.", program=command[0]
        ) from None
    finally:
        os.close(source)
    try:
        async with asyncio.timeout(seconds):
            out, err = await process.communicate()
    except TimeoutError:
        raise Failed(f"{what} did not finish within {seconds:.0f} s on this host.", inner=" ".join(command)) from None
    finally:
        if process.returncode is None:
            process.kill()
            # bounded: a grandchild that holds the pipes would make this wait for it, too
            with suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), 2)
    output, errors = out.decode(errors="replace"), err.decode(errors="replace")
    status = process.returncode or 0
    if fails and status != 0:
        last = next((line for line in errors.strip().splitlines() if line), f"exit status {status}")
        raise Failed(f"{what} failed on this host: {last}", inner=f"{' '.join(command)}\n{errors.strip()}")
    return status, output, errors


def has_argument(pid: int, argument: str) -> bool:
    """Whether process `pid` is alive (no zombie) and was started with exactly this argument."""
    try:
        arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return argument.encode() in arguments


def started(pid: int) -> int:
    """When process `pid` began, in clock ticks since boot; 0 when there is none. With the pid it names one process for good."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0
    return int(stat.rpartition(")")[2].split()[19])


def alive(pid_file: Path, argument: str) -> int:
    """The pid in `pid_file` when that process runs and has `argument`; else 0."""
    try:
        pid = int(pid_file.read_text())
    except (OSError, ValueError):
        return 0
    return pid if pid > 1 and has_argument(pid, argument) else 0


def send(pid: int, argument: str, number: signal.Signals) -> bool:
    """Signal process `pid` if it still is the one with `argument`; False when it is gone."""
    try:
        handle = os.pidfd_open(pid)
    except OSError:
        return False
    try:
        if not has_argument(pid, argument):
            return False
        signal.pidfd_send_signal(handle, number)
    except ProcessLookupError:
        return False
    finally:
        os.close(handle)
    return True


async def end(pid: int, argument: str, seconds: float = 3) -> None:
    """End process `pid` if it is the one with `argument`: asked first, killed after `seconds`. Returns when it is gone."""
    for number, limit in ((signal.SIGTERM, seconds), (signal.SIGKILL, 5.0)):
        if not send(pid, argument, number):
            return
        until = time.monotonic() + limit
        while time.monotonic() < until:
            if not has_argument(pid, argument):
                return
            await asyncio.sleep(0.005)
    raise Failed(f"Process {pid} on this host does not end, not even when killed; its disk or kernel may hang.", pid=pid)


def write(path: Path, text: str, mode: int = 0o600, *, durable: bool = False) -> None:
    """Write a file at once or not at all; `durable` waits until a power cut cannot undo it."""
    fresh = path.with_name(f".{path.name}.new")
    fresh.unlink(missing_ok=True)
    handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with os.fdopen(handle, "w") as file:
        os.fchmod(file.fileno(), mode)
        file.write(text)
        if durable:
            file.flush()
            os.fsync(file.fileno())
    fresh.replace(path)
    if durable:
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def read(path: Path) -> str:
    """The text of a file; empty when there is none."""
    try:
        return path.read_text()
    except FileNotFoundError:
        return ""
