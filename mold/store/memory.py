"""What a process remembers of rows that rarely change: zones, offerings, domains, templates and their like.

A memory names the kinds it was made from.  It ends at once when this process commits a change to any row of them,
and after `FRESH_SECONDS` in any case, because other managers change rows too.  So nothing that a state decision
or a permission depends on may be remembered; what a thing is called, and where it hangs, may.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

FRESH_SECONDS = 1.0
MOST = 50_000
_START = object()


class Memory:
    """Values with the kinds they were made from. Callable from any thread."""

    def __init__(self) -> None:
        self._stamps: dict[str, object] = {}
        self._values: dict[Any, tuple[float, tuple[object, ...], Any]] = {}

    def stamps(self, kinds: tuple[str, ...]) -> tuple[object, ...]:
        """The stamps of kinds as they are now; take them before reading the rows."""
        return tuple(self._stamps.get(k, _START) for k in kinds)

    def find(self, key: Any, kinds: tuple[str, ...]) -> tuple[bool, Any]:
        """Whether something fresh is remembered, and what."""
        found = self._values.get(key)
        if found is None or time.monotonic() - found[0] > FRESH_SECONDS or found[1] != self.stamps(kinds):
            return False, None
        return True, found[2]

    def keep(self, key: Any, stamps: tuple[object, ...], value: Any) -> None:
        """Remember a value that was read after the stamps were taken: a change in between makes it stale at once."""
        if len(self._values) > MOST:
            self._values = {}
        self._values[key] = (time.monotonic(), stamps, value)

    def forget(self, kinds: Iterable[str]) -> None:
        """A transaction that changed rows of these kinds has ended."""
        for kind in kinds:
            self._stamps[kind] = object()


def made(memory: Memory, key: Any, kinds: tuple[str, ...], make: Callable[[], Any]) -> Any:
    """The remembered value, or a new one."""
    hit, value = memory.find(key, kinds)
    if not hit:
        stamps = memory.stamps(kinds)
        value = make()
        memory.keep(key, stamps, value)
    return value
