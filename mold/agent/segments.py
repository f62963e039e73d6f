"""Stand-in until the network rooms land: guests plug into a bridge that exists already, named by the label."""

from __future__ import annotations

import os

from mold.base.errors import Failed
from mold.wire import calls as w


async def plug(segment: w.SegmentSpec) -> str:
    """The bridge that the segment's label names; Failed when there is none."""
    if not segment.label or "/" in segment.label or not os.path.exists(f"/sys/class/net/{segment.label}/bridge"):  # noqa: ASYNC240
        raise Failed(f"There is no bridge '{segment.label}' on this host.", label=segment.label)
    return segment.label


async def sweep() -> None:
    """Nothing was made, so nothing is removed."""
