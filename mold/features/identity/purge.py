"""What is left of things that are gone.

Rows of machines and other things go when the things do, so there is no heap of expunged rows to purge.  What other
managers noted in the very moment that a thing went (tags, annotations, details, icons) can be left behind; it is removed
here, every hour and when somebody asks for it.
"""

from __future__ import annotations

from typing import Annotated, Any

import sqlalchemy as sa

from mold.api.answer import Field
from mold.api.command import Ctx, Date, Param, command
from mold.api.permit import ROOT
from mold.base.errors import Invalid
from mold.features.identity.things import ENTITIES, NOTES, TYPES, kind_of, known
from mold.store import REGISTRY, Tx
from mold.work import Done, operation
from mold.work.reconcile import reconciler
from mold.work.run import change

BATCH = 1000


def left(tx: Tx, kinds: list[str], limit: int, start: str | None = None, end: str | None = None) -> int:
    """Remove what is noted of things of these kinds that are gone, noted between two instants; how many, at most `limit`."""
    count = 0
    for note, kind_column, id_column in NOTES:
        c = note.c
        for kind in kinds:
            where = [c[kind_column] == kind, c[id_column].not_in(sa.select(REGISTRY[kind].c.id))]
            if start:
                where.append(c.created >= start)
            if end:
                where.append(c.created <= end)
            if count < limit:
                lost = sa.select(c.number).where(*where).limit(limit - count)
                count += int(tx.execute(sa.delete(note.table).where(c.number.in_(lost))).rowcount)
    return count


def all_kinds() -> list[str]:
    """Kinds that something can be noted of."""
    return sorted({*known(TYPES).values(), *known(ENTITIES).values()})


@reconciler(every=3600)
async def purge_left_notes() -> int:
    """Remove what is noted of things that are gone."""
    return await change(lambda tx: left(tx, all_kinds(), BATCH))


@operation
class PurgeExpunged(Done, kw_only=True):
    """What expunged things left behind went with the request; how much there was is the answer."""

    count: int

    def tells(self, tx: Tx) -> dict[str, Any]:
        """How many rows there were."""
        return {"resourcecount": self.count}


@command(
    "purgeExpungedResources",
    roles=ROOT,
    job=True,
    shape="object",
    key="purgeexpungedresourcesresponse",
    event="PURGE.EXPUNGED.RESOURCES",
    fields=(Field("resourcecount", "long"),),
)
def purge(
    ctx: Ctx,
    resourcetype: str | None = None,
    batchsize: Annotated[int | None, Param(kind="long", low=1, high=1_000_000)] = None,
    startdate: Date | None = None,
    enddate: Date | None = None,
) -> None:
    """Removes what expunged things have left behind: tags, annotations, details and icons.

    resourcetype: of things of this type only, as VirtualMachine
    batchsize: how many rows at most
    startdate: what was noted since then
    enddate: what was noted before then
    """
    if startdate and enddate and startdate > enddate:
        raise Invalid("startdate must not be after enddate.", parameter="enddate")
    kinds = [kind_of(resourcetype, TYPES, "resourcetype").kind] if resourcetype else all_kinds()
    ctx.start(PurgeExpunged(count=left(ctx.tx, kinds, batchsize or BATCH, startdate, enddate)))
