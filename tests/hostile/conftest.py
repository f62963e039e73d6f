"""The clouds that hostile input is tried on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from cloud_in_process import Cloud
from clouds import running
from real_cloud import real

__all__ = ["real", "running"]


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """A cloud in this process, new for each file of tests."""
    made = Cloud(tmp_path_factory.mktemp("cloud"))
    yield made
    made.close()
