"""Named network namespaces: make them, remove them, and do something inside one.

A thread that entered a namespace is thrown away: it never goes back to a pool, where it would serve someone else
from inside the wrong network.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from mold.agent.programs import run
from mold.base.errors import Failed

FOLDER = Path("/run/netns")
CLONE_NEWNET = 0x40000000
T = TypeVar("T")
_libc = ctypes.CDLL(None, use_errno=True)


def inode(name: str) -> int:
    """The number that is this namespace's alone; 0 when there is none.

    A plain file of that name (left by a crash between making the file and mounting the namespace on it, or by a
    reboot) is no namespace.
    """
    try:
        found = os.stat(FOLDER / name)
        if found.st_dev != os.stat("/proc/self/ns/net").st_dev:
            return 0
    except OSError:
        return 0
    return found.st_ino


async def make(name: str) -> bool:
    """Make sure the namespace exists; True when it is new."""
    if inode(name):
        return False
    (FOLDER / name).unlink(missing_ok=True)
    await run("ip", "netns", "add", name, what=f"Making the network namespace {name}")
    return True


async def remove(name: str) -> None:
    """Remove the namespace's name; it and its devices vanish with the last process or socket inside."""
    if inode(name):
        await run("ip", "netns", "del", name, what=f"Removing the network namespace {name}")
    (FOLDER / name).unlink(missing_ok=True)


async def pids(name: str) -> list[int]:
    """Processes that live inside the namespace."""
    if not inode(name):
        return []
    _, output, _ = await run("ip", "netns", "pids", name, what=f"Listing the processes of {name}")
    return [int(line) for line in output.split()]


def enter(name: str) -> tuple[str, ...]:
    """The words before a command that run it inside the namespace."""
    return ("nsenter", f"--net={FOLDER / name}", "--")


def inside(name: str, function: Callable[[], T]) -> T:
    """Call `function` in a thread of its own inside the namespace; its result or its exception. Blocks."""
    results: list[T] = []
    errors: list[BaseException] = []

    def go() -> None:
        try:
            handle = os.open(FOLDER / name, os.O_RDONLY | os.O_CLOEXEC)
            try:
                if _libc.setns(handle, CLONE_NEWNET) != 0:
                    number = ctypes.get_errno()
                    raise OSError(number, os.strerror(number), name)
            finally:
                os.close(handle)
            results.append(function())
        except OSError as no:
            errors.append(no)

    thread = threading.Thread(target=go, name=f"inside {name}")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    if not results:
        raise Failed(f"A task inside the network namespace {name} broke off; the agent's log says why.")
    return results[0]


def write_kernel(settings: dict[str, str]) -> None:
    """Write kernel settings (`net/ipv4/ip_forward` and the like) of this thread's namespace; those the kernel lacks are left out."""
    for key, value in settings.items():
        path = Path("/proc/sys") / key
        if path.exists() and path.read_text().strip() != value:
            path.write_text(value)


def raise_kernel(key: str, least: int) -> None:
    """Raise a kernel limit of this thread's namespace to at least this; never lower it."""
    path = Path("/proc/sys") / key
    if path.exists() and int(path.read_text()) < least:
        path.write_text(str(least))


async def set_kernel(name: str, settings: dict[str, str]) -> None:
    """Write kernel settings inside the namespace."""
    await asyncio.to_thread(inside, name, lambda: write_kernel(settings))
