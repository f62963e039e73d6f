"""Finished jobs are forgotten after a day: clients have long read how they ended, and events tell the story."""

from __future__ import annotations

import sqlalchemy as sa

from mold.base import clock
from mold.store import Tx
from mold.store.settings import setting
from mold.work.job import Job
from mold.work.reconcile import reconciler
from mold.work.run import change

EXPIRE = setting(
    "job.expire.minutes", 1440, "Minutes that finished jobs can be asked about.", low=1, unit="minutes", shape="Long"
)
AT_ONCE = 1000
"""Rows per transaction, so that nobody waits long for the database's one writer."""


@reconciler(every=600)
async def purge_jobs() -> int:
    """Remove jobs that have been over for longer than job.expire.minutes."""

    def go(tx: Tx) -> int:
        end = clock.ago(EXPIRE.get(tx) * 60)
        old = sa.select(Job.c.number).where(Job.c.phase == "over", Job.c.completed < end)
        return int(tx.execute(sa.delete(Job.table).where(Job.c.number.in_(old.limit(AT_ONCE)))).rowcount)

    count = 0
    while done := await change(go):
        count += done
        if done < AT_ONCE:
            break
    return count
