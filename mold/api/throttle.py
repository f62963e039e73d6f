"""How often an account may call: so many requests in an interval, counted in memory by each manager for itself.

The system and root admins are not counted.  The first request of an account begins an interval; it ends after
`api.throttling.interval` seconds, and the count with it.
"""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from typing import Annotated, Any

from mold.api.answer import Field
from mold.api.command import Ctx, Param, command
from mold.api.model import capability
from mold.api.permit import ROOT, Caller
from mold.base.errors import TooMany
from mold.store import Resource, Tx
from mold.store.settings import setting

ENABLED = setting("api.throttling.enabled", False, "Whether accounts may call only so often.")
INTERVAL = setting(
    "api.throttling.interval", 1, "Seconds in which an account's requests are counted together.", low=1, unit="seconds"
)
MOST = setting("api.throttling.max", 25, "Requests of an account in one interval.", low=1, unit="requests")
KEPT = setting(
    "api.throttling.cachesize", 50000, "Accounts whose counts are remembered; the longest silent are forgotten.", low=1, unit="accounts"
)
capability("apilimitinterval", lambda tx, caller: INTERVAL.get(tx) if ENABLED.get(tx) else None)
capability("apilimitmax", lambda tx, caller: MOST.get(tx) if ENABLED.get(tx) else None)


class Counts:
    """Requests by account: (end of the interval in monotonic seconds, how many). Callable from any thread."""

    def __init__(self) -> None:
        self._counts: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def add(self, account: str, seconds: float, kept: int) -> tuple[float, int]:
        """Count one request; (seconds left, how many with this one)."""
        now = time.monotonic()
        end, count = self._counts.pop(account, (0.0, 0))
        # An interval that has been made shorter holds at once.
        if now >= end or end > now + seconds:
            end, count = now + seconds, 0
        self._counts[account] = (end, count + 1)
        while len(self._counts) > kept:
            self._counts.popitem(last=False)
        return end - now, count + 1

    def of(self, account: str) -> tuple[float, int]:
        """(seconds left, how many) of the interval under way."""
        end, count = self._counts.get(account, (0.0, 0))
        left = end - time.monotonic()
        return (left, count) if left > 0 else (0.0, 0)

    def forget(self, account: str | None) -> None:
        """Begin anew, for one account or for all."""
        if account is None:
            self._counts.clear()
        else:
            self._counts.pop(account, None)


counts = Counts()


def admit(tx: Tx, caller: Caller) -> None:
    """Count a request; TooMany when there have been too many."""
    if not ENABLED.get(tx) or caller.root or caller.internal:
        return
    left, count = counts.add(caller.account_id, INTERVAL.get(tx), KEPT.get(tx))
    if count > (most := MOST.get(tx)):
        wait = max(1, math.ceil(left * 1000))
        raise TooMany(
            f"The given user has reached his/her account api limit, please retry after {wait} ms.", retryafter=wait, limit=most
        )


LIMIT_FIELDS = (
    Field("accountid"),
    Field("account"),
    Field("apiIssued", "integer", "requests in the interval under way"),
    Field("apiAllowed", "integer", "requests that are left in it; -1: any number"),
    Field("expireAfter", "long", "milliseconds until the next interval"),
)


@command("getApiLimit", shape="object", key="apilimit", reads=True, fields=LIMIT_FIELDS)
def get_limit(ctx: Ctx) -> dict[str, Any]:
    """Says how often the caller's account has called this manager in the interval under way, and may still call."""
    caller = ctx.caller
    left, issued = counts.of(caller.account_id)
    limited = ENABLED.get(ctx.tx) and not (caller.root or caller.internal)
    return {
        "apilimit": {
            "accountid": caller.account_id,
            "account": caller.account,
            "apiIssued": issued if limited else 0,
            "apiAllowed": max(0, MOST.get(ctx.tx) - issued) if limited else -1,
            "expireAfter": math.ceil(left * 1000) if limited else 0,
        }
    }


@command("resetApiLimit", roles=ROOT, event="API.LIMIT.RESET")
def reset_limit(ctx: Ctx, account: Annotated[Resource | None, Param(of="account", access="see")] = None) -> None:
    """Lets an account call again as if it had not called yet.

    account: id of the account; default: all accounts
    """
    ctx.tx.then(lambda: counts.forget(account.id if account is not None else None))
