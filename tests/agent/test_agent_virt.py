"""The line to libvirt, against libvirt's own test driver: deadlines, bounded threads, a line that breaks."""

from __future__ import annotations

import asyncio
import threading
import time

import libvirt
import pytest

from mold.agent.serve import Work
from mold.agent.virt import Virt
from mold.base.errors import Unreachable


def test_a_call_that_hangs_costs_a_thread_and_not_the_agent() -> None:
    async def main() -> None:
        virt, release, work = Virt("test:///default", threads=2), threading.Event(), Work()
        began = time.monotonic()
        with pytest.raises(Unreachable, match="did not hang within 0 s"):
            await virt.call("hang", lambda _: release.wait(10), work, seconds=0.1)
        assert len(work.unfinished) == 1
        assert await virt.call("count", lambda connection: connection.numOfDomains(), seconds=5) >= 0
        hangs = [asyncio.create_task(virt.call("hang", lambda _: release.wait(10), seconds=0.3)) for _ in range(3)]
        await asyncio.sleep(0.05)
        with pytest.raises(Unreachable):
            await virt.call("count", lambda connection: connection.numOfDomains(), seconds=0.1)
        assert time.monotonic() - began < 3
        release.set()
        results = await asyncio.gather(*hangs, return_exceptions=True)
        assert await virt.call("count", lambda connection: connection.numOfDomains(), seconds=5) >= 0
        assert all(isinstance(result, Unreachable) or result is True for result in results)
        await asyncio.sleep(0.05)
        assert not work.unfinished
        virt.close()

    asyncio.run(main())


def test_libvirts_own_refusals_stay_and_a_line_that_is_not_there_is_unreachable() -> None:
    async def main() -> None:
        virt = Virt("test:///default")
        with pytest.raises(libvirt.libvirtError, match="not found"):
            await virt.call("look", lambda connection: connection.lookupByName("nobody"))
        await virt.call("break", lambda connection: connection.close())
        virt._connection = None
        assert await virt.call("count", lambda connection: connection.numOfDomains()) >= 0
        virt.close()
        with pytest.raises(Unreachable):
            await virt.call("count", lambda connection: connection.numOfDomains(), seconds=0.2)
        nowhere = Virt("qemu+unix:///system?socket=/nonexistent")
        with pytest.raises(Unreachable, match="not there"):
            await nowhere.call("count", lambda connection: connection.numOfDomains())
        nowhere.close()

    asyncio.run(main())
