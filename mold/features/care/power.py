"""Power states: what hosts say of their guests, compared with the rows.

A machine that its host does not run any more, though the rows say Running and nobody works on it, is Stopped: the
guest shut itself down, or was killed.  A report counts only when it is younger than the row's last change.
"""

from __future__ import annotations

import time

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
    hosts = {h.guid: h for h in tx.find(Host, tx.any_of(Host.c.guid, list(reports)))}
    count = 0
    settled = clock.at(time.time() - GRACE.get(tx))
    for guid, report in reports.items():
        host = hosts.get(guid)
        if host is None or not report.at:
            continue
        alive = {m.name for m in report.machines if m.state in ("Running", "Paused")}
        rows = tx.find(
            VirtualMachine,
            VirtualMachine.c.host_id == host.id,
            VirtualMachine.c.state == "Running",
            VirtualMachine.c.state_since < settled,
        )
        for vm in rows:
            if vm.instance_name in alive:
                continue
            if tx.first(Job, Job.c.phase != "over", Job.c.instance_id == vm.id) is not None:
                continue
            settle_stopped(tx, vm, "lost")
            events.record(
                tx,
                "VM.STOP",
                f"The machine {vm.name} has stopped by itself on host {host.name}",
                account_id=vm.account_id,
                domain_id=vm.domain_id,
                project_id=vm.project_id,
                resource=vm,
                level="WARN",
            )
            count += 1
    return count
