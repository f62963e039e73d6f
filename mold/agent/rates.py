"""Limits on guests' network cards, by `tc` on the card's tap: a token bucket each way.

libvirt's own limits need kernel parts (`sfq`, `police`) that not every kernel has.  What a guest sends arrives at
the tap, where a kernel can only drop; so it is led through an `ifb` device, whose queue can wait.  The device is
named after the tap and goes when the tap is gone.
"""

from __future__ import annotations

import asyncio
import os

from mold.base.errors import Failed

LATENCY_MS = 100
BURST_MIN = 16 * 1024
PREFIX = "ifb-"
_NET = "/sys/class/net"


async def limit(tap: str, mbps: int) -> None:
    """Let a tap carry at most `mbps` Mbit/s each way; Failed when the kernel cannot."""
    mirror = f"{PREFIX}{tap}"
    if not os.path.exists(f"{_NET}/{mirror}"):  # noqa: ASYNC240 - /sys answers at once
        await _run("ip", "link", "add", mirror, "type", "ifb")
    await _run("ip", "link", "set", mirror, "up")
    # The bucket holds what the rate brings in 10 ms, and never less than a few large packets.
    burst = max(BURST_MIN, mbps * 1_000_000 // 8 // 100)
    bucket = ("tbf", "rate", f"{mbps}mbit", "burst", str(burst), "latency", f"{LATENCY_MS}ms")
    await _run("tc", "qdisc", "replace", "dev", tap, "root", *bucket)
    await _run("tc", "qdisc", "replace", "dev", mirror, "root", *bucket)
    await _run("tc", "qdisc", "replace", "dev", tap, "handle", "ffff:", "ingress")
    match = ("u32", "match", "u32", "0", "0", "action", "mirred", "egress", "redirect", "dev", mirror)
    await _run("tc", "filter", "replace", "dev", tap, "parent", "ffff:", "protocol", "all", "prio", "1", "handle", "800::800", *match)


async def sweep() -> None:
    """Remove the devices of taps that are gone."""
    for name in os.listdir(_NET):
        if name.startswith(PREFIX) and not os.path.exists(f"{_NET}/{name.removeprefix(PREFIX)}"):  # noqa: ASYNC240
            await _run("ip", "link", "delete", name, may_fail=True)


async def _run(*words: str, may_fail: bool = False) -> None:
    process = await asyncio.create_subprocess_exec(
        *words, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
    )
    _, problem = await process.communicate()
    if process.returncode != 0 and not may_fail:
        raise Failed(f"'{' '.join(words[:5])}' failed: {problem.decode('utf-8', 'replace').strip()[:500]}")
