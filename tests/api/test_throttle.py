"""How often accounts may call: 429, what is left, and that it is each account's own."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import httpx
import pytest
from cloud import ApiError, Cloud

from mold.api.throttle import Counts


@pytest.fixture
def limited(cloud: Cloud) -> Iterator[int]:
    """Five requests in a minute."""
    before = {"api.throttling.interval": 1, "api.throttling.max": 25, "api.throttling.enabled": False}
    for name, value in (("api.throttling.interval", 60), ("api.throttling.max", 5), ("api.throttling.enabled", True)):
        cloud.set(name, value)
    yield 5
    for name, value in reversed(before.items()):
        cloud.set(name, value)


def test_nobody_is_limited_unless_it_is_asked_for(cloud: Cloud) -> None:
    tenant = cloud.tenant()
    for _ in range(40):
        assert tenant.raw("listZones").status == 200
    assert tenant.getApiLimit()["apiAllowed"] == -1
    assert "apilimitmax" not in tenant.listCapabilities()


def test_an_account_that_calls_too_often_is_told_when_to_come_again(cloud: Cloud, limited: int) -> None:
    tenant, other = cloud.tenant(), cloud.tenant()
    assert [tenant.raw("listZones").status for _ in range(limited - 1)] == [200] * 4
    left = tenant.getApiLimit()
    assert (left["apiIssued"], left["apiAllowed"], left["account"]) == (5, 0, tenant.name)
    assert 0 < left["expireAfter"] <= 60_000
    refused = tenant.raw("createNetwork", name="x")
    body = json.loads(refused.body)["createnetworkresponse"]
    assert (refused.status, body["errorcode"], body["cserrorcode"], body["errorkey"]) == (429, 429, 4545, "TooMany")
    assert "please retry after" in body["errortext"]
    assert 0 < int(refused.headers["Retry-After"]) <= 60
    assert other.raw("listZones").status == 200, "each account has its own"
    assert [cloud.admin.raw("listZones").status for _ in range(20)] == [200] * 20, "root admins are not counted"
    capable = other.listCapabilities()
    assert (capable["apilimitmax"], capable["apilimitinterval"]) == (5, 60)
    cloud.admin.resetApiLimit(account=tenant.account)
    assert tenant.raw("listZones").status == 200
    cloud.admin.resetApiLimit()
    assert tenant.getApiLimit()["apiIssued"] == 1
    with pytest.raises(ApiError) as no:
        tenant.resetApiLimit()
    assert no.value.code == 432


def test_over_http(cloud: Cloud, limited: int) -> None:
    tenant = cloud.tenant()
    with httpx.Client(base_url=cloud.serve(), timeout=20) as web:
        answers = [web.get("/client/api", params=tenant.request("listZones", {}).params) for _ in range(limited + 2)]
    assert [a.status_code for a in answers] == [200] * 5 + [429] * 2
    assert answers[-1].headers["x-description"].startswith("The given user has reached")


def test_a_new_interval_begins_when_one_is_over(cloud: Cloud, limited: int) -> None:
    tenant = cloud.tenant()
    assert [tenant.raw("listZones").status for _ in range(7)][-1] == 429
    cloud.set("api.throttling.interval", 1)
    assert tenant.raw("listZones").status == 200, "a shorter interval holds at once"
    assert [tenant.raw("listZones").status for _ in range(7)][-1] == 429
    time.sleep(1.05)
    assert tenant.raw("listZones").status == 200


def test_memory_is_bounded() -> None:
    counts = Counts()
    for n in range(1000):
        counts.add(f"account-{n}", 60, 10)
    assert len(counts._counts) == 10 and counts.of("account-999")[1] == 1 and counts.of("account-0")[1] == 0
