"""Many requests, good and bad, at once: nothing is left open afterwards, neither connections nor tasks."""

from __future__ import annotations

import asyncio
import random
import threading

from cloud import Cloud, on_the_wire

ASKED = (
    ("listZones", {}), ("listVirtualMachines", {"page": "0", "pagesize": "3"}), ("createDomain", {"name": ""}),
    ("createDomain", {"name": "ROOT"}), ("deployVirtualMachine", {}), ("updateConfiguration", {"name": "x", "value": "y"}),
    ("listEvents", {"startdate": "never"}), ("noSuchCommand", {}), ("listApis", {"name": "listZones", "response": "xml"}),
)  # fmt: skip


def test_connections_stay_as_many_as_they_were(cloud: Cloud) -> None:
    tenant = cloud.tenant()
    pool = cloud.manager.store.engine.pool

    async def round_(count: int) -> None:
        chosen = (random.choice(ASKED) for _ in range(count))
        actors = (random.choice((tenant, cloud.admin, cloud.system)) for _ in range(count))
        await asyncio.gather(*(a.answer(c, on_the_wire(p)) for a, (c, p) in zip(actors, chosen, strict=True)))

    for _ in range(3):
        cloud.run(round_(200))
    cloud.idle()
    open_, threads = pool.checkedin(), threading.active_count()  # type: ignore[attr-defined]
    for _ in range(5):
        cloud.run(round_(200))
    cloud.idle()
    assert pool.checkedin() <= open_ + 1, "a connection more for a reader that was not needed before"  # type: ignore[attr-defined]
    assert pool.checkedout() <= 1, "the engine's own at most"  # type: ignore[attr-defined]
    assert threading.active_count() <= threads
