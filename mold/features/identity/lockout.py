"""How many failed sign-ins an address may have. Users are locked out by `incorrect.login.attempts.allowed`, in their row.

Counted by each manager for itself and in memory: it slows guessing, and nothing depends on its being exact.
"""

from __future__ import annotations

import ipaddress
import time
from collections import OrderedDict, deque

from mold.base.errors import Refusal
from mold.store import Tx
from mold.store.settings import setting

ALLOWED = setting(
    "signin.failures.per.minute",
    60,
    "Failed sign-ins a minute that one address (of IPv6: one /64) may have before it is asked to wait; 0: any number.",
    group="Access",
    low=0,
    unit="failures",
)
WINDOW_SECONDS = 60.0
ADDRESSES = 10_000


class TooMany(Refusal):
    """Too many attempts; wait."""

    code, cs = 429, 4545


class Failures:
    """When an address failed. One event loop uses it."""

    def __init__(self) -> None:
        self._when: OrderedDict[str, deque[float]] = OrderedDict()

    def count(self, address: str) -> int:
        """How many failures this address had within the window."""
        found = self._when.get(network(address))
        if found is None:
            return 0
        while found and found[0] < time.monotonic() - WINDOW_SECONDS:
            found.popleft()
        return len(found)

    def add(self, address: str) -> None:
        """One more."""
        key = network(address)
        self._when.setdefault(key, deque(maxlen=100_000)).append(time.monotonic())
        self._when.move_to_end(key)
        while len(self._when) > ADDRESSES:
            self._when.popitem(last=False)

    def forget(self) -> None:
        """All of it."""
        self._when.clear()


failures = Failures()


def network(address: str) -> str:
    """What is counted together: an IPv4 address, or the /64 of an IPv6 one, all of which one customer has."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is not None:
            return str(found.ipv4_mapped)
        return str(ipaddress.ip_network((found, 64), strict=False))
    return str(found)


def allowed(tx: Tx) -> int:
    """Failures that an address may have; 0: any number."""
    return ALLOWED.get(tx)


def refuse(address: str, limit: int) -> None:
    """TooMany when the address has had its failures."""
    if limit and failures.count(address) >= limit:
        raise TooMany(
            f"Too many failed sign-ins from {address or 'this address'}; wait a minute.",
            inner="signin.failures.per.minute is reached",
            seconds=int(WINDOW_SECONDS),
        )
