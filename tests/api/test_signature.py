"""Signed requests: the documented text, what common clients really send, and everything that must not get in."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cloud import Actor, Answer, Cloud
from signing import signature, text_to_sign

from mold.api.door import Request

VECTOR = {
    "apiKey": "miKEY",
    "command": "deployVirtualMachine",
    "details[0].cpuNumber": "2",
    "expires": "2030-01-01T00:00:00+0000",
    "name": "web 01+a*b~c",
    "response": "json",
    "signatureVersion": "3",
}
REFUSED = "unable to verify user credentials and/or request signature"


def test_the_tests_own_signing_agrees_with_the_vector() -> None:
    assert text_to_sign(VECTOR) == (
        "apikey=mikey&command=deployvirtualmachine&details[0].cpunumber=2&expires=2030-01-01t00%3a00%3a00%2b0000"
        "&name=web%2001%2ba*b%7ec&response=json&signatureversion=3"
    )
    assert signature(VECTOR, "s3cret") == "nCXdp0zwfKQXAKzle0VzGEzB+M0="


@pytest.fixture(scope="module")
def tenant(cloud: Cloud) -> Actor:
    return cloud.tenant()


def send(cloud: Cloud, params: dict[str, str]) -> Answer:
    return cloud.run(cloud.manager.door.answer(Request(params=params)))


def signed(tenant: Actor, params: dict[str, str], **how: Any) -> dict[str, str]:
    assert tenant.keys is not None
    given = {"command": "listAccounts", "response": "json", "apiKey": tenant.keys[0], **params}
    return {**given, "signature": signature(given, tenant.keys[1], **how)}


def ok(answer: Answer, tenant: Actor) -> bool:
    """Whether the answer is what this tenant gets, and not a 401 of the one text there is."""
    ((_, body),) = json.loads(answer.body).items()
    if answer.status == 200:
        return [a["name"] for a in body["account"]] == [tenant.name]
    assert (answer.status, body["errorcode"], body["errortext"]) == (401, 401, REFUSED)
    assert "cserrorcode" not in body
    return False


HARD = {"keyword": "", "whatever": "web 01+a*b~c[2]/ü&=%é한", "Zulu": "1", "alpha": "2"}


@pytest.mark.parametrize(
    "how",
    [
        pytest.param({}, id="as documented"),
        pytest.param({"safe": "-_.*~"}, id="~ raw"),
        pytest.param({"safe": "-_.~"}, id="as cs: ~ raw, * encoded"),
        pytest.param({"safe": "*[]-_.", "fold_names": True}, id="as libcloud: [] raw, names folded before sorting"),
        pytest.param({"fold_names": True}, id="names folded before sorting"),
        pytest.param({"safe": "[]-_.~"}, id="[] and ~ raw"),
    ],
)
def test_spellings_of_common_clients(cloud: Cloud, tenant: Actor, how: dict[str, Any]) -> None:
    params = {k: v for k, v in HARD.items() if k != "keyword"}
    assert ok(send(cloud, signed(tenant, params, **how)), tenant)


def test_names_of_the_signing_parameters_in_any_case(cloud: Cloud, tenant: Actor) -> None:
    assert tenant.keys is not None
    for key, sign in (("apikey", "signature"), ("APIKEY", "SIGNATURE"), ("apiKey", "Signature")):
        given = {"command": "listAccounts", "response": "json", key: tenant.keys[0]}
        assert ok(send(cloud, {**given, sign: signature(given, tenant.keys[1])}), tenant)


@pytest.mark.parametrize("form", ["%Y-%m-%dT%H:%M:%S+0000", "%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%M:%S+00:00"])
def test_version_3_until_it_expires(cloud: Cloud, tenant: Actor, form: str) -> None:
    for minutes, good in ((10, True), (-10, False)):
        until = (datetime.now(UTC) + timedelta(minutes=minutes)).strftime(form)
        assert ok(send(cloud, signed(tenant, {"signatureversion": "3", "expires": until})), tenant) is good


def test_an_expired_request_in_another_zone_of_time(cloud: Cloud, tenant: Actor) -> None:
    """The offset counts: nine hours east, one hour ahead there is eight hours ago."""
    seoul = (datetime.now(UTC) + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%S+0900")
    assert not ok(send(cloud, signed(tenant, {"signatureversion": "3", "expires": seoul})), tenant)


@pytest.mark.parametrize("expires", [None, "", "soon", "2030-13-01T00:00:00+0000", "9" * 400])
def test_version_3_wants_a_readable_date(cloud: Cloud, tenant: Actor, expires: str | None) -> None:
    given = {"signatureVersion": "3", **({"expires": expires} if expires is not None else {})}
    assert not ok(send(cloud, signed(tenant, given)), tenant)


def test_other_versions_are_version_1_and_do_not_expire(cloud: Cloud, tenant: Actor) -> None:
    past = "2001-01-01T00:00:00+0000"
    for version in ("1", "2", "x"):
        assert ok(send(cloud, signed(tenant, {"signatureversion": version, "expires": past})), tenant)


def test_expiry_is_part_of_what_is_signed(cloud: Cloud, tenant: Actor) -> None:
    soon = (datetime.now(UTC) - timedelta(minutes=1)).strftime("%Y-%m-%dT%H:%M:%S+0000")
    later = (datetime.now(UTC) + timedelta(minutes=10)).strftime("%Y-%m-%dT%H:%M:%S+0000")
    request = signed(tenant, {"signatureversion": "3", "expires": soon})
    assert not ok(send(cloud, {**request, "expires": later}), tenant)
    assert not ok(send(cloud, {**request, "signatureversion": "1"}), tenant)


def test_anything_changed_breaks_it(cloud: Cloud, tenant: Actor) -> None:
    good = signed(tenant, {"name": "a"})
    assert ok(send(cloud, {**signed(tenant, {})}), tenant)
    for change in (
        {"name": "b"},
        {"more": "1"},
        {"command": "listUsers"},
        {"signature": good["signature"][:-2] + ("Q=" if good["signature"].endswith("A=") else "A=")},
        {"signature": ""},
        {"signature": "not base64!"},
        {"signature": "é"},
        {"apiKey": "someone-else"},
        {"apiKey": ""},
    ):
        assert not ok(send(cloud, {**good, **change}), tenant), change
    assert not ok(send(cloud, {k: v for k, v in good.items() if k != "name"}), tenant)


def test_case_of_values_is_not_signed_and_that_is_the_formats_own(cloud: Cloud, tenant: Actor) -> None:
    assert ok(send(cloud, {**signed(tenant, {"whatever": "Abc"}), "whatever": "aBC"}), tenant)


def test_new_keys_and_old_ones(cloud: Cloud) -> None:
    person = cloud.tenant()
    assert person.keys is not None
    old = person.keys
    made = cloud.admin.registerUserKeys(id=person.user)
    assert person.raw("listAccounts").status == 200, "the old pair is good until it is deleted"
    cloud.admin.deleteUserKeys(keypairid=person.one("listUserKeys", apikeyfilter=old[0])["id"])
    assert person.raw("listAccounts").status == 401, "it is void at once"
    person.keys = (made["apikey"], made["secretkey"])
    assert person.raw("listAccounts").status == 200
    assert person.getUserKeys(id=person.user) == {"apikey": made["apikey"], "apikeyaccess": True}
    assert set(old) & set(person.keys) == set()
    assert len(made["secretkey"]) >= 43 and len(made["apikey"]) >= 43


def test_telling_wrong_keys_apart_takes_no_longer(cloud: Cloud, tenant: Actor) -> None:
    """Not a measurement of secrets, only of scale: an unknown key and a wrong signature both answer in milliseconds."""
    for params in ({"apiKey": "unknown"}, {"name": "changed"}):
        began = time.monotonic()
        for _ in range(20):
            assert send(cloud, {**signed(tenant, {}), **params}).status == 401
        assert time.monotonic() - began < 2
