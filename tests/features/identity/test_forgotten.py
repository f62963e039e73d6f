"""Forgotten passwords: the link by mail, through a real mail server of the tests' own; once, for a while, and telling nobody anything."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from urllib.parse import parse_qs, unquote

import httpx
import pytest
from cloud import TENANT_PASSWORD, Actor, Cloud
from mails import MailServer

from mold.features.identity import lockout

API = "/client/api"


@pytest.fixture(scope="module")
def base(cloud: Cloud) -> str:
    return cloud.serve()


@pytest.fixture
def mails(cloud: Cloud) -> Iterator[MailServer]:
    lockout.failures.forget()
    with MailServer() as server:
        values = {
            "enabled": True, "smtp.host": "127.0.0.1", "smtp.port": server.port,
            "email.sender": "cloud@mold.test", "mail.domain.url": "https://cloud.mold.test",
        }  # fmt: skip
        for name, value in values.items():
            cloud.set(f"user.password.reset.{name}", value)
        yield server
        for name in values:
            cloud.admin.resetConfiguration(name=f"user.password.reset.{name}")
        server.shutdown()


def call(base: str, command: str, who: Actor, **params: str) -> httpx.Response:
    data = {"command": command, "username": who.name, "domainid": who.domain, "response": "json", **params}
    return httpx.post(base + API, data=data, timeout=20)


def link(cloud: Cloud, mails: MailServer, count: int) -> dict[str, str]:
    """What the link in the last mail says."""
    cloud.idle()
    assert len(mails.mails) == count
    text = mails.mails[-1].replace("=\r\n", "").replace("=3D", "=")
    found = re.search(r"resetPassword\?(\S+)", text)
    assert found, text
    return {k: v[0] for k, v in parse_qs(unquote(found.group(1))).items()}


def test_from_the_link_to_the_new_password(cloud: Cloud, base: str, mails: MailServer) -> None:
    tenant = cloud.tenant()
    assert call(base, "login", tenant, password=TENANT_PASSWORD).status_code == 200
    assert call(base, "forgotPassword", tenant).json() == {"forgotpasswordresponse": {"success": True}}
    told = link(cloud, mails, 1)
    assert told["username"] == tenant.name and "https://cloud.mold.test/client/#/user/resetPassword" in mails.mails[0].replace("=\r\n", "")
    assert f"To: {tenant.name}@example.org" in mails.mails[0]
    assert call(base, "resetPassword", tenant, token="wrong", password="new password").status_code == 531
    assert call(base, "resetPassword", tenant, token=told["token"], password="").status_code == 431
    assert call(base, "resetPassword", cloud.tenant(), token=told["token"], password="x").status_code == 531, "of one user"
    cloud.set("password.policy.minimum.length", 8, domainid=tenant.domain)
    assert call(base, "resetPassword", tenant, token=told["token"], password="short").status_code == 431
    assert call(base, "resetPassword", tenant, token=told["token"], password="new password").status_code == 200
    assert call(base, "resetPassword", tenant, token=told["token"], password="other password").status_code == 531, "once"
    assert call(base, "login", tenant, password=TENANT_PASSWORD).status_code == 531
    assert call(base, "login", tenant, password="new password").status_code == 200


def test_links_end(cloud: Cloud, base: str, mails: MailServer, monkeypatch: pytest.MonkeyPatch) -> None:
    tenant = cloud.tenant()
    call(base, "forgotPassword", tenant)
    first = link(cloud, mails, 1)
    call(base, "forgotPassword", tenant)
    second = link(cloud, mails, 2)
    assert call(base, "resetPassword", tenant, token=first["token"], password="x").status_code == 531, "the last one is good"
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + 1801)
    assert call(base, "resetPassword", tenant, token=second["token"], password="x").status_code == 531


def test_nobody_learns_who_is_a_user(cloud: Cloud, base: str, mails: MailServer) -> None:
    tenant = cloud.tenant()
    for name in ("nobody", "", "%", "admin'"):
        answer = call(base, "forgotPassword", tenant, username=name)
        assert answer.json() == {"forgotpasswordresponse": {"success": True}}, name
    cloud.idle()
    assert mails.mails == []
    answer = httpx.post(base + API, data={"command": "forgotPassword", "username": tenant.name, "response": "json"}, headers={"Origin": "https://evil.example"})
    assert answer.status_code == 401
    assert httpx.get(base + API, params={"command": "forgotPassword", "username": tenant.name}).status_code == 405
    cloud.set("signin.failures.per.minute", 3)
    try:
        assert {call(base, "forgotPassword", tenant).status_code for _ in range(5)} >= {429}
    finally:
        cloud.admin.resetConfiguration(name="signin.failures.per.minute")


def test_off_and_without_a_mail_server(cloud: Cloud, base: str) -> None:
    lockout.failures.forget()
    tenant = cloud.tenant()
    assert "user.password.reset.enabled" in call(base, "forgotPassword", tenant).text
    cloud.set("user.password.reset.enabled", True)
    try:
        for command in ("forgotPassword", "resetPassword"):
            answer = call(base, command, tenant, token="x", password="y")
            assert answer.status_code == 531 and "No mail server is set" in answer.text
    finally:
        cloud.admin.resetConfiguration(name="user.password.reset.enabled")
