"""The host's hardware and load, from /proc and /sys. libvirt's nodeinfo is not asked: on some machines it knows half."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import re
from dataclasses import dataclass
from pathlib import Path

import msgspec

CPUINFO = Path("/proc/cpuinfo")


@dataclass(frozen=True)
class Ticks:
    """CPU time since boot, in clock ticks: spent on anything, and all of it."""

    busy: int
    total: int


@functools.cache
def mhz() -> int:
    """The fastest a core goes, MHz; 0 when nothing tells."""
    with contextlib.suppress(OSError, ValueError):
        return int(Path("/sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq").read_text()) // 1000
    found = re.search(r"^cpu MHz\s*:\s*([\d.]+)", CPUINFO.read_text(), re.MULTILINE)
    return int(float(found[1])) if found else 0


def sockets() -> int:
    """How many CPU packages there are."""
    return len(set(re.findall(r"^physical id\s*:\s*(\d+)", CPUINFO.read_text(), re.MULTILINE))) or 1


def cores() -> int:
    """How many CPUs the kernel schedules on."""
    return os.cpu_count() or 1


def memory() -> tuple[int, int]:
    """Bytes of memory, and of it what cannot be had for something new."""
    words = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    total, free = (int(words[name].split()[0]) * 1024 for name in ("MemTotal", "MemAvailable"))
    return total, total - free


def ticks() -> Ticks:
    """CPU time so far. Waiting for a disk is not being busy; guests' time is in `user` already."""
    numbers = [int(word) for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return Ticks(busy=sum(numbers) - numbers[3] - numbers[4], total=sum(numbers))


def load() -> float:
    """Load average over a minute."""
    return os.getloadavg()[0]


def traffic() -> tuple[int, int]:
    """Bytes received and sent through the host's real network devices (of any but lo when none is real)."""
    rows = {}
    for line in Path("/proc/net/dev").read_text().splitlines()[2:]:
        name, _, numbers = line.partition(":")
        words = numbers.split()
        rows[name.strip()] = (int(words[0]), int(words[8]))
    real = [name for name in rows if Path("/sys/class/net", name, "device").exists()]
    chosen = real or [name for name in rows if name != "lo"]
    return sum(rows[name][0] for name in chosen), sum(rows[name][1] for name in chosen)


class _Address(msgspec.Struct):
    family: str
    local: str
    scope: str = "global"


class _Device(msgspec.Struct):
    ifname: str
    addr_info: list[_Address] = []


async def addresses(first: str = "") -> list[str]:
    """IPv4 addresses of this host, `first` (the one towards the manager) first; loopback only when there is no other."""
    process = await asyncio.create_subprocess_exec(
        "ip", "-j", "-4", "address", "show", stdout=asyncio.subprocess.PIPE, stdin=asyncio.subprocess.DEVNULL
    )
    out, _ = await process.communicate()
    devices = msgspec.json.decode(out or b"[]", type=list[_Device])
    found = [each.local for device in devices for each in device.addr_info if each.scope == "global"]
    ordered = list(dict.fromkeys(([first] if first else []) + found))
    return ordered or ["127.0.0.1"]


async def can_vlan() -> bool:
    """Whether the kernel makes 802.1Q devices: it is asked to make one on lo, which is removed at once."""
    if Path("/proc/net/vlan").exists():  # noqa: ASYNC240 - /proc answers at once
        return True
    name = f"moldv{os.getpid() % 1_000_000}"
    made = await _ip("link", "add", "link", "lo", "name", name, "type", "vlan", "id", "4094")
    if made:
        await _ip("link", "delete", name)
    return made


async def _ip(*words: str) -> bool:
    process = await asyncio.create_subprocess_exec(
        "ip", *words, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
    )
    return await process.wait() == 0
