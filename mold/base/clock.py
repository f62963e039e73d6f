"""Time. Instants that people see are text in the API's own form, always UTC.

`2026-11-21T03:22:00+0000` sorts as text, needs no conversion on the way to an
answer and reads the same in both databases.  Leases and heartbeats, which need
fractions and arithmetic, are float seconds since the epoch.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from functools import lru_cache

FORM = "%Y-%m-%dT%H:%M:%S+0000"


def now() -> str:
    """This instant, UTC, as the API writes it."""
    return _second(int(time.time()))


@lru_cache(2)
def _second(number: int) -> str:
    return time.strftime(FORM, time.gmtime(number))


def at(seconds: float) -> str:
    """The instant `seconds` after the epoch, as the API writes it; years have four digits, so that it sorts."""
    return time.strftime(FORM, time.gmtime(seconds)).zfill(24)


def ago(seconds: float) -> str:
    """The instant `seconds` before now, as the API writes it."""
    return at(time.time() - seconds)


def seconds(instant: str) -> float:
    """Seconds since the epoch of an instant in the API's form."""
    return datetime.strptime(instant, FORM).replace(tzinfo=UTC).timestamp()


def parse(text: str) -> float:
    """Seconds since the epoch of a date as a client may write it; ValueError if it is none.

    Accepts ISO forms with offset or Z, `yyyy-MM-dd HH:mm:ss` and `yyyy-MM-dd` (UTC).
    """
    word = text.strip()
    if len(word) > 5 and word[-5] in "+-" and word[-4:].isdigit():
        word = word[:-2] + ":" + word[-2:]
    moment = datetime.fromisoformat(word.replace("Z", "+00:00"))
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
