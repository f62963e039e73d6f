"""Finished jobs are forgotten after a week: clients have long read how they ended, and events tell the story."""

from __future__ import annotations

import sqlalchemy as sa

from mold.base import clock
from mold.store import Tx
from mold.work.job import Job
from mold.work.reconcile import reconciler
from mold.work.run import change

PURGE_AFTER_SECONDS = 7 * 24 * 3600
AT_ONCE = 1000
"""Rows per transaction, so that nobody waits long for the database's one writer."""


@reconciler(every=600)
async def purge_jobs() -> int:
    """Remove jobs that have been over for longer than PURGE_AFTER_SECONDS."""

    def go(tx: Tx) -> int:
        old = sa.select(Job.c.number).where(Job.c.phase == "over", Job.c.completed < clock.ago(PURGE_AFTER_SECONDS))
        return int(tx.execute(sa.delete(Job.table).where(Job.c.number.in_(old.limit(AT_ONCE)))).rowcount)

    count = 0
    while done := await change(go):
        count += done
        if done < AT_ONCE:
            break
    return count
