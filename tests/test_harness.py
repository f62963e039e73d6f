"""The harness itself: quick enough to be used everywhere, and honest about refusals."""

from __future__ import annotations

import time

import pytest
from cloud import ApiError, Cloud


def test_a_cloud_begins_empty_and_becomes_a_zone_with_a_machine_quickly(fresh_cloud: Cloud) -> None:
    assert fresh_cloud.admin.listZones() == []
    began = time.process_time()
    site = fresh_cloud.zone(hosts=3)
    assert time.process_time() - began < 1.5, "a zone takes 0.2 s of work; tests make many"
    tenant = fresh_cloud.tenant()
    assert site.deploy(tenant, name="web")["state"] == "Running"
    with pytest.raises(ApiError) as no:
        tenant.listHosts()
    assert (no.value.code, no.value.key) == (432, "UnknownCommand")


def test_one_cloud_lives_at_a_time(fresh_cloud: Cloud) -> None:
    with pytest.raises(AssertionError, match="one cloud at a time"):
        Cloud(fresh_cloud.manager.options.data, fresh_cloud.url)
