"""What simulated hosts of this process held when the last one ended, out of the rows: it lived in its memory.

A real host goes on while managers come and go; a simulated one does so only by being told again what it had.
"""

from __future__ import annotations

import sqlalchemy as sa

from mold.base.units import MIB
from mold.features.compute.machines.row import VirtualMachine
from mold.features.edge.routers import Router, document
from mold.features.infra.hosts import Host
from mold.features.storage.templates import Placed, Template
from mold.features.storage.volumes import Volume
from mold.plugins.simulator import IMAGE_BYTES, Simulator, Store
from mold.store import Tx
from mold.wire.calls import MachineFacts


def recall(tx: Tx, simulator: Simulator) -> None:
    """Fill an empty simulator with disks, images, running machines and routers of the rows."""
    h, v, p, t, m = Host.c, Volume.c, Placed.c, Template.c, VirtualMachine.c
    simulated = sa.select(h.id).where(h.hypervisor == "Simulator", h.guid.is_(None))
    if tx.execute(simulated.limit(1)).first() is None:
        return

    def store(id: str) -> Store:
        return simulator.stores.setdefault(id, Store())

    for pool, volume, size in tx.execute(
        sa.select(v.pool_id, v.id, v.size).where(v.hypervisor == "Simulator", v.path.is_not(None))
    ):
        store(pool).volumes[volume] = size
    for pool, template in tx.execute(sa.select(p.pool_id, p.template_id).where(p.state == "Ready")):
        store(pool).images[template] = IMAGE_BYTES
    for place, template in tx.execute(sa.select(t.store_id, t.id).where(t.hypervisor == "Simulator", t.state == "Ready")):
        store(place).images[template] = IMAGE_BYTES
    for host, id, name, memory in tx.execute(
        sa.select(m.host_id, m.id, m.instance_name, m.memory).where(m.state == "Running", m.host_id.in_(simulated))
    ):
        simulator.box(host).machines[name] = MachineFacts(name=name, state="Running", memory=memory * MIB, id=id)
    for router in tx.find(Router, Router.c.host_id.in_(simulated), Router.c.state == "Running"):
        found = document(tx, router.network_id)
        if found is not None:
            simulator.box(router.host_id).routers[router.id] = found[1]
