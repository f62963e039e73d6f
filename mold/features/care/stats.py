"""What machines use: the last counters that hosts told of them, and the rates since the time before.

One row per machine, written for many machines in one statement, at most once in `vm.stats.interval`.  Counters start
anew when a guest does; a rate is never taken over such a step.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from mold.api.answer import Field, shown
from mold.features.compute.machines.row import VirtualMachine
from mold.features.infra.settings import setting
from mold.store import Among, Prepared, Tx, metadata
from mold.wire import calls as w

INTERVAL = setting(
    "vm.stats.interval", 60000, "Milliseconds between two looks at what machines use.", low=1000, unit="milliseconds"
)

meter = sa.Table(
    "meter",
    metadata,
    sa.Column("machine_id", sa.Text, sa.ForeignKey("virtualmachine.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("at", sa.Float, nullable=False),
    sa.Column("cpu_seconds", sa.Float, nullable=False),
    sa.Column("cpu_share", sa.Float, nullable=True),
    sa.Column("memory", sa.BigInteger, nullable=False),
    sa.Column("received", sa.BigInteger, nullable=False),
    sa.Column("sent", sa.BigInteger, nullable=False),
    sa.Column("disk_read", sa.BigInteger, nullable=False),
    sa.Column("disk_written", sa.BigInteger, nullable=False),
)
"""The last counters of each machine; `cpu_share` is cores in use since the time before."""
COUNTERS = ("at", "cpu_seconds", "memory", "received", "sent", "disk_read", "disk_written")
AT_ONCE = 1000
_due: dict[str, float] = {}


def note(tx: Tx, reports: dict[str, w.HostReport]) -> int:
    """Keep what reports say of machines, of each host once in an interval; returns how many machines that were."""
    interval = INTERVAL.get(tx) / 1000
    rows: dict[str, dict[str, Any]] = {}
    for guid, report in reports.items():
        if not report.at or report.at < _due.get(guid, 0.0):
            continue
        _due[guid] = report.at + interval * 0.9
        for m in report.machines:
            if m.id and m.state in ("Running", "Paused"):
                rows[m.id] = {
                    "machine_id": m.id,
                    "at": report.at,
                    "cpu_seconds": m.cpu_seconds,
                    "cpu_share": None,
                    "memory": m.memory,
                    "received": m.received,
                    "sent": m.sent,
                    "disk_read": m.disk_read,
                    "disk_written": m.disk_written,
                }
    if not rows:
        return 0
    c = VirtualMachine.c
    known = set(tx.execute(sa.select(c.id).where(tx.any_of(c.id, list(rows)), c.state == "Running")).scalars())
    fresh = [r for i, r in rows.items() if i in known]
    insert: Any = (postgresql if tx.postgres else sqlite).insert(meter)
    new = insert.excluded
    went = sa.and_(new.at > meter.c.at, new.cpu_seconds >= meter.c.cpu_seconds)
    share = sa.case((went, (new.cpu_seconds - meter.c.cpu_seconds) / (new.at - meter.c.at)), else_=None)
    for start in range(0, len(fresh), AT_ONCE):
        tx.execute(
            insert.values(fresh[start : start + AT_ONCE]).on_conflict_do_update(
                index_elements=["machine_id"], set_={**{n: new[n] for n in COUNTERS}, "cpu_share": share}
            )
        )
    return len(fresh)


@shown(
    VirtualMachine,
    Field("cpuused"),
    Field("networkkbsread", "long"),
    Field("networkkbswrite", "long"),
    Field("diskkbsread", "long"),
    Field("diskkbswrite", "long"),
    Field("memorykbs", "long"),
    detail="stats",
)
def _stats(tx: Tx, rows: list[Any], caller: Any) -> dict[str, dict[str, Any]]:
    running = {r.id: r for r in rows if r.state == "Running"}
    if not running:
        return {}
    out = {}
    for vm, cpu_share, memory, received, sent, read, written in tx.rows(_METERS, {"machines": list(running)}):
        share = None if cpu_share is None else 100 * cpu_share / max(1, running[vm].cpu_number)
        out[vm] = {
            "cpuused": None if share is None else f"{min(share, 100):.2f}%",
            "networkkbsread": received // 1024,
            "networkkbswrite": sent // 1024,
            "diskkbsread": read // 1024,
            "diskkbswrite": written // 1024,
            "memorykbs": memory // 1024,
        }
    return out


_METERS = Prepared(
    sa.select(
        *(meter.c[n] for n in ("machine_id", "cpu_share", "memory", "received", "sent", "disk_read", "disk_written"))
    ).where(Among(meter.c.machine_id, "machines"))
)
