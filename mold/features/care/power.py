"""Power states: what hosts say of their guests, compared with the rows.

A machine that its host does not run any more, though the rows say Running and nobody works on it, is Stopped: the
guest shut itself down, or was killed.  A report counts only when it is younger than the row's last change.
"""

from __future__ import annotations

import time

import sqlalchemy as sa

from mold.api import events
from mold.base import clock
from mold.features.compute.machines.row import VirtualMachine
from mold.features.compute.machines.stop import settle_stopped
from mold.features.infra.hosts import Host
from mold.features.infra.settings import setting
from mold.store import Tx
from mold.wire import calls as w
from mold.work import Job

GRACE = setting(
    "power.report.grace.seconds",
    10,
    "Seconds after a change of state during which a host's reports about the machine are not believed.",
    group="Compute",
    low=1,
    unit="seconds",
)


def follow(tx: Tx, reports: dict[str, w.HostReport]) -> int:
    """Take over from reports what the rows do not know; returns how many machines changed."""
    told = {guid: {m.name for m in r.machines if m.state in ("Running", "Paused")} for guid, r in reports.items() if r.at}
    if not told:
        return 0
    # Thousands of hosts report every few seconds: one query, three columns, for all that should run on them.
    h, v = Host.c, VirtualMachine.c
    should = tx.execute(
        sa.select(h.guid, h.name, v.id, v.instance_name)
        .join(Host.table, h.id == v.host_id)
        .where(
            tx.any_of(h.guid, list(told)),
            v.state == "Running",
            v.state_since < clock.at(time.time() - GRACE.get(tx)),
        )
    )
    lost = [(host, vm) for guid, host, vm, name in should if name not in told[guid]]
    count = 0
    for host, id in lost:
        vm = tx.one(VirtualMachine, id)
        if tx.first(Job, Job.c.phase != "over", Job.c.instance_id == id) is not None:
            continue
        settle_stopped(tx, vm, "lost")
        events.record(
            tx,
            "VM.STOP",
            f"The machine {vm.name} has stopped by itself on host {host}",
            account_id=vm.account_id,
            domain_id=vm.domain_id,
            project_id=vm.project_id,
            resource=vm,
            level="WARN",
        )
        count += 1
    return count
