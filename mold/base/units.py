"""Units: how numbers are written for people."""

from __future__ import annotations

MIB = 1024**2
GIB = 1024**3


def size(count: float) -> str:
    """A number of bytes, for a person: `1.5 GiB`."""
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if abs(count) < 1024 or unit == "TiB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    raise AssertionError


def kib(count: int | None) -> str:
    """Bytes as the API writes offering and capacity sizes (`1.50 GB`)."""
    return f"{(count or 0) / GIB:.2f} GB"
