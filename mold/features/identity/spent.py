"""What may be used once only: codes, assertions, signed sign-ins. Kept as digests until they have expired by themselves."""

from __future__ import annotations

import time

import sqlalchemy as sa

from mold.api.permit import Policy
from mold.base import ids
from mold.store import Resource, Tx, column


class Spent(Resource):
    """Something that was used. `until`: when nobody would take it any more anyway (seconds since 1970)."""

    kind = "spent"
    title = "used token"
    policy = Policy()

    digest: str = column(unique=True, hidden=True)
    until: float = column(index=True, hidden=True)


def spend(tx: Tx, use: str, token: str, until: float) -> bool:
    """Use a token for a purpose; False when it was used before. Two at the same moment: one gets False."""
    tx.execute(sa.delete(Spent.table).where(Spent.c.until < time.time()))
    return tx.add_free(Spent(digest=ids.digest(f"{use}\0{token}"), until=until))
