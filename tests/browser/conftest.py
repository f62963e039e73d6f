"""What every test in a browser takes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from browserkit import chromium
from playwright.sync_api import Browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's Chromium, one for each module."""
    with chromium() as one:
        yield one
