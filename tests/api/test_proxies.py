"""Whose address a request has: what a header claims counts only when a known proxy sent it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import structlog
from cloud import ApiError, Cloud

API = "/client/api"
CLAIM = {"X-Forwarded-For": "203.0.113.9"}


@pytest.fixture(scope="module")
def web(cloud: Cloud) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=cloud.serve(), timeout=20) as client:
        yield client


@pytest.fixture
def known(cloud: Cloud) -> Iterator[None]:
    """This machine is a proxy that is believed, and so is 198.51.100.0/24."""
    cloud.set("proxy.cidr", "127.0.0.0/8, 198.51.100.0/24,::1/128")
    cloud.set("proxy.header.verify", True)
    yield
    cloud.set("proxy.header.verify", False)
    cloud.set("proxy.cidr", "")


def seen(cloud: Cloud, web: httpx.Client, headers: dict[str, str]) -> str:
    """The address that the request has in the log."""
    with structlog.testing.capture_logs() as lines:
        answer = web.get(API, params=cloud.admin.request("listCapabilities", {}).params, headers=headers)
    assert answer.status_code == 200
    return str([line for line in lines if line["event"] == "request"][-1]["address"])


def test_nobody_is_believed_unless_it_is_said_who(cloud: Cloud, web: httpx.Client) -> None:
    assert seen(cloud, web, CLAIM) == "127.0.0.1"
    cloud.set("proxy.header.verify", True)
    assert seen(cloud, web, CLAIM) == "127.0.0.1", "no proxy is known"
    cloud.set("proxy.cidr", "198.51.100.0/24")
    assert seen(cloud, web, CLAIM) == "127.0.0.1", "this machine is none of them"
    cloud.set("proxy.cidr", "127.0.0.1/32")
    cloud.set("proxy.header.verify", False)
    assert seen(cloud, web, CLAIM) == "127.0.0.1", "switched off"
    cloud.set("proxy.cidr", "")


@pytest.mark.parametrize(
    ("headers", "address"),
    [
        ({}, "127.0.0.1"),
        (CLAIM, "203.0.113.9"),
        ({"x-forwarded-for": "203.0.113.9 , 127.0.0.1"}, "203.0.113.9"),
        ({"X-Forwarded-For": "192.0.2.1, 203.0.113.9"}, "203.0.113.9"),
        ({"X-Forwarded-For": "192.0.2.1, 203.0.113.9, 198.51.100.7"}, "203.0.113.9"),
        ({"X-Forwarded-For": "198.51.100.7"}, "127.0.0.1"),
        ({"X-Forwarded-For": "127.0.0.1, evil"}, "127.0.0.1"),
        ({"X-Forwarded-For": "evil, 203.0.113.9"}, "203.0.113.9"),
        ({"X-Forwarded-For": ""}, "127.0.0.1"),
        ({"X-Forwarded-For": "2001:db8::1"}, "2001:db8::1"),
        ({"X-Forwarded-For": "[2001:db8::1]:4711"}, "2001:db8::1"),
        ({"X-Forwarded-For": "203.0.113.9:4711"}, "203.0.113.9"),
        ({"X-Forwarded-For": "::ffff:203.0.113.9"}, "203.0.113.9"),
        ({"X-Real-IP": "203.0.113.9"}, "127.0.0.1"),
        ({"Forwarded": "for=203.0.113.9"}, "127.0.0.1"),
    ],
)
def test_what_a_known_proxy_says(
    cloud: Cloud, web: httpx.Client, known: None, headers: dict[str, str], address: str
) -> None:
    assert seen(cloud, web, headers) == address


def test_other_names_of_headers(cloud: Cloud, web: httpx.Client, known: None) -> None:
    cloud.set("proxy.header.names", "X-Real-IP")
    try:
        assert seen(cloud, web, {"X-Real-IP": "203.0.113.9", "X-Forwarded-For": "192.0.2.1"}) == "203.0.113.9"
        assert seen(cloud, web, CLAIM) == "127.0.0.1"
    finally:
        cloud.admin.resetConfiguration(name="proxy.header.names")


def test_networks_are_checked_when_they_are_set(cloud: Cloud) -> None:
    for wrong in ("everywhere", "10.0.0.0/33", "10.0.0.0/8,x"):
        with pytest.raises(ApiError, match="proxy.cidr") as no:
            cloud.set("proxy.cidr", wrong)
        assert no.value.code == 431


def test_integration_port_and_metrics_believe_no_header(cloud: Cloud, web: httpx.Client, known: None) -> None:
    port = cloud.serve(integration_port=True)
    assert httpx.get(f"{port}/?command=listCapabilities", headers=CLAIM).status_code == 200, "who connects counts"
    assert web.get("/metrics", headers={"X-Forwarded-For": "127.0.0.1"}).status_code == 200


def test_the_log_of_requests_has_no_secrets(cloud: Cloud, web: httpx.Client) -> None:
    secret = "canary-of-the-log-0815"
    asked: list[tuple[str, dict[str, Any]]] = [
        ("login", {"username": "admin", "password": secret}),
        ("listZones", {"keyword": secret, "sessionkey": secret}),
        ("updateConfiguration", {"name": "alert.wait", "value": secret}),
        ("registerUserKeys", {"id": cloud.tenant().user}),
        (secret[:6] + "NoSuch", {}),
    ]
    with structlog.testing.capture_logs() as lines:
        keys = ""
        for command, params in asked:
            given = {"command": command, "response": "json", **params}
            if command not in ("login", "listZones"):
                given = cloud.admin.request(command, params).params
            answer = web.post(API, data=given)
            if command == "registerUserKeys":
                keys = json.loads(answer.text)["registeruserkeysresponse"]["userkeys"]["secretkey"]
    found = [line for line in lines if line["event"] == "request"]
    assert [line["command"] for line in found] == [c for c, _ in asked]
    assert [line["status"] for line in found] == [531, 401, 431, 200, 401]
    assert [line["caller"] for line in found] == [None, None, "admin", "admin", None]
    assert all(line["ms"] >= 0 and line["address"] == "127.0.0.1" and line["post"] for line in found)
    assert secret not in str(lines) and keys and keys not in str(lines)
