"""Promises of host capacity, counted anew.

A promise is made and given back in the transaction that gives a machine its host or takes it away, so the sums on hosts
are right by themselves.  An operator who doubts it, after rows were restored or changed by hand, has them counted.
"""

from __future__ import annotations

import sqlalchemy as sa

from mold.api.command import Ctx, command
from mold.api.permit import ROOT
from mold.base.errors import Conflict
from mold.base.units import MIB
from mold.features.compute.machines.row import VirtualMachine
from mold.features.infra.hosts import Host
from mold.store import Tx
from mold.work import Job, Operation, operation, step


@operation
class CountReservations(Operation):
    """Set what hosts have promised to what their machines hold."""

    @step
    def count(self, tx: Tx) -> int:
        """How many hosts were wrong. Conflict while machines are worked on: their promises are about to change."""
        v = VirtualMachine.c
        fixed = 0
        for id in tx.execute(sa.select(Host.c.id).order_by(Host.c.number)).scalars().all():
            host = tx.locked(Host, id)
            busy = tx.first(Job, Job.c.phase != "over", Job.c.instance_type == VirtualMachine.kind)
            if busy is not None:
                raise Conflict(f"Machines are being worked on ({busy.cmd}); try again when that is over.", jobid=busy.id)
            sums = sa.select(sa.func.sum(v.cpu_number * v.cpu_speed), sa.func.sum(v.memory), sa.func.count())
            mhz, memory, machines = tx.execute(sums.where(v.host_id == id)).one()
            right = {"cpu_reserved": int(mhz or 0), "memory_reserved": int(memory or 0) * MIB, "machines": machines}
            if any(host.__dict__[n] != value for n, value in right.items()):
                tx.set(host, **right)
                fixed += 1
        return fixed


@command(
    "cleanVMReservations", roles=ROOT, job=True, event="VM.RESERVATION.CLEANUP", envelope="cleanvmreservationresponse"
)
def clean(ctx: Ctx) -> None:
    """Counts anew what hosts have promised to machines, and gives back what no machine holds."""
    ctx.start(CountReservations())
