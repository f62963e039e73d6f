"""Simulated hosts after a restart: they hold again what the rows say that they held."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "work"))
from workcloud import build, machine, managed


def test_machines_outlive_a_manager_of_simulated_hosts(tmp_path: Path) -> None:
    async def go() -> None:
        async with managed(tmp_path / "cloud") as cloud:
            ids = await build(cloud.done)
            runs = (await cloud.done("deployVirtualMachine", **machine(ids, "runs")))["id"]
            rests = (await cloud.done("deployVirtualMachine", **machine(ids, "rests")))["id"]
            await cloud.done("stopVirtualMachine", id=rests)
            before = cloud.simulator
        async with managed(tmp_path / "cloud") as cloud:
            after = cloud.simulator
            assert after is not before and after.stores == before.stores
            held = lambda s: {h: (set(b.machines), set(b.routers)) for h, b in s.boxes.items() if b.machines or b.routers}
            assert held(after) == held(before) != {}
            await cloud.done("startVirtualMachine", id=rests)
            await cloud.done("stopVirtualMachine", id=runs)
            await cloud.done("rebootVirtualMachine", id=rests)
            await cloud.done("destroyVirtualMachine", id=runs, expunge="true")

    asyncio.run(go())
