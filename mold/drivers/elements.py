"""What serves a network: the contract of routers, and of whatever else will do their work.

Networks and machines know elements only through this; the rooms above register theirs.
"""

from __future__ import annotations

from typing import Any, Protocol

from mold.store import Tx


class Element(Protocol):
    """Something that serves networks."""

    name: str

    def claim(self, tx: Tx, network: Any, host: Any) -> None:
        """In the transaction that places a machine of the network on `host`: take what the service needs."""

    async def apply(self, network_id: str) -> None:
        """Make the world serve the network as the rows say. Idempotent; raises Unreachable when a host is away."""

    async def remove(self, network_id: str) -> None:
        """Make the world forget the network. Idempotent."""

    def release(self, tx: Tx, network: Any) -> None:
        """Give back what `claim` took; the world has forgotten the network."""


ELEMENTS: list[Element] = []
"""Every element installed, in the order they are applied."""
