"""Signing in by password and by shared key: origins, cookies, sessions, failures, password rules; and nobody becomes anybody else."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote_plus

import httpx
import pytest
from cloud import TENANT_PASSWORD, Actor, ApiError, Cloud

from mold.api.door import Answer, Request
from mold.features.identity import lockout

API = "/client/api"
PASSWORD = TENANT_PASSWORD
SHARED = "the shared key of the tests"


@pytest.fixture(scope="module")
def base(cloud: Cloud) -> str:
    return cloud.serve()


@pytest.fixture
def web(base: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=base, timeout=20) as client:
        yield client


@pytest.fixture(autouse=True)
def no_failures() -> Iterator[None]:
    lockout.failures.forget()
    yield
    lockout.failures.forget()


@contextmanager
def changed(cloud: Cloud, name: str, value: Any, **scope: Any) -> Iterator[None]:
    cloud.set(name, value, **scope)
    try:
        yield
    finally:
        cloud.admin.resetConfiguration(name=name, **scope)


def sign_in(web: httpx.Client, who: Actor, password: str = PASSWORD, **headers: str) -> httpx.Response:
    data = {"command": "login", "username": who.name, "password": password, "domainId": who.domain, "response": "json"}
    return web.post(API, data=data, headers=headers)


def entered(web: httpx.Client, who: Actor, **headers: str) -> str:
    answer = sign_in(web, who, **headers)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["loginresponse"]["sessionkey"])


def ask(web: httpx.Client, key: str, command: str, *, post: bool = False, headers: dict[str, str] | None = None, **params: str) -> httpx.Response:
    given = {"command": command, "response": "json", "sessionkey": key, **params}
    return web.post(API, data=given, headers=headers) if post else web.get(API, params=given, headers=headers)


# ── origins ──────────────────────────────────────────────────────────────────────────────────────────────────────────

FOREIGN: list[dict[str, str]] = [
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://127.0.0.1:1"},
    {"Origin": "http://127.0.0.1.evil.example"},
    {"Referer": "https://evil.example/page"},
    {"Referer": "not a url"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Accept": "text/html,application/xhtml+xml"},
]


@pytest.mark.parametrize("headers", FOREIGN, ids=lambda h: next(iter(h.items())))
@pytest.mark.parametrize("post", [True, False], ids=["post", "get"])
def test_pages_of_other_sites_change_nothing(web: httpx.Client, cloud: Cloud, headers: dict[str, str], post: bool) -> None:
    tenant = cloud.tenant()
    key = entered(web, tenant)
    answer = ask(web, key, "createSSHKeyPair", post=post, headers=headers, name="planted")
    assert answer.status_code == 401 and "page of another site" in answer.text
    assert tenant.listSSHKeyPairs() == []
    assert ask(web, key, "logout", post=post, headers=headers).status_code == 401
    assert ask(web, "wrong", "listZones", post=post, headers=headers).status_code == 401
    assert ask(web, key, "listAccounts").status_code == 200, "nor do they end the session"


def test_our_own_pages_do(web: httpx.Client, base: str, cloud: Cloud) -> None:
    tenant = cloud.tenant()
    key = entered(web, tenant, Origin=base)
    for number, headers in enumerate(
        ({"Origin": base}, {"Referer": f"{base}/client/"}, {"Sec-Fetch-Site": "same-origin"}, {"Sec-Fetch-Site": "none"}, {})
    ):
        assert ask(web, key, "createSSHKeyPair", post=True, headers=headers, name=f"k{number}").status_code == 200, headers
    assert ask(web, key, "listZones", headers={"Accept": "text/html"}).status_code == 200, "a link may be followed to read"


def test_a_page_of_another_site_signs_nobody_in(web: httpx.Client, cloud: Cloud) -> None:
    tenant = cloud.tenant()
    answer = sign_in(web, tenant, Origin="https://evil.example")
    assert answer.status_code == 401 and "set-cookie" not in answer.headers


def test_signatures_come_from_anywhere(web: httpx.Client, cloud: Cloud) -> None:
    request = cloud.admin.request("listZones", {})
    assert web.get(API, params=request.params, headers={"Origin": "https://portal.example"}).status_code == 200


# ── cookies and sessions ─────────────────────────────────────────────────────────────────────────────────────────────


def test_cookies_are_secure_by_themselves_over_https(cloud: Cloud) -> None:
    tenant = cloud.tenant()
    params = {"command": "login", "username": tenant.name, "password": PASSWORD, "domainId": tenant.domain, "response": "json"}
    for url, secure in (("https://cloud.test/client", True), ("http://cloud.test/client", False)):
        answer = cloud.run(cloud.manager.door.answer(Request(params=dict(params), post=True, base_url=url)))
        assert answer.status == 200 and {c[2]["secure"] for c in answer.cookies} == {secure}


@pytest.mark.parametrize(("word", "site", "secure"), [("Strict", "strict", False), ("NoneAndSecure", "none", True), ("Lax", "lax", False), ("Null", None, False)])
def test_same_site(web: httpx.Client, cloud: Cloud, word: str, site: str | None, secure: bool) -> None:
    tenant = cloud.tenant()
    with changed(cloud, "api.sessionkey.cookie.samesite", word):
        found = {c.split("=")[0]: c.lower() for c in sign_in(web, tenant).headers.get_list("set-cookie")}
    assert (f"samesite={site}" in found["sessionkey"]) if site else ("samesite" not in found["sessionkey"])
    assert ("secure" in found["sessionkey"].replace("noneandsecure", "")) is secure
    assert "samesite=" in found["JSESSIONID"], "a session's own cookie always has a rule"


def test_where_the_session_key_is_looked_for(web: httpx.Client, base: str, cloud: Cloud) -> None:
    tenant = cloud.tenant()

    def tries(**sent: bool) -> int:
        with httpx.Client(base_url=base) as own:
            key = entered(own, tenant)
            if not sent.get("cookie"):
                own.cookies.delete("sessionkey")
            params = {"command": sent.get("command", "listAccounts"), "response": "json", "name": "x"}
            if sent.get("parameter"):
                params["sessionkey"] = key
            return (own.post(API, data=params) if sent.get("post") else own.get(API, params=params)).status_code

    assert tries(cookie=True, parameter=True) == 200
    assert tries(cookie=True) == tries(parameter=True) == 401
    with changed(cloud, "api.sessionkey.check.locations", "ParameterOnly"):
        assert tries(parameter=True) == 200 and tries(cookie=True) == 401
    with changed(cloud, "api.sessionkey.check.locations", "CookieOrParameter"):
        assert tries(parameter=True) == tries(cookie=True) == 200 and tries() == 401
        assert tries(cookie=True, command="createSSHKeyPair") == 401, "a link changes nothing"  # type: ignore[arg-type]
        assert tries(cookie=True, command="createSSHKeyPair", post=True) == 200  # type: ignore[arg-type]


def test_signing_out_needs_the_key_and_ends_it_for_every_manager(web: httpx.Client, cloud: Cloud) -> None:
    tenant = cloud.tenant()
    key = entered(web, tenant)
    jar = dict(web.cookies)
    out = ask(web, key, "logout")
    assert out.json() == {"logoutresponse": {"description": "success"}}
    web.cookies.update(jar)
    assert ask(web, key, "listAccounts").status_code == 401
    rows = cloud.run(
        cloud.manager.engine.reading(lambda tx: tx.execute(__import__("sqlalchemy").text("select cookie_digest from login_session")).all())
    )
    assert hashlib.sha256(jar["JSESSIONID"].encode()).hexdigest() not in {r[0] for r in rows}, "the row is gone, so every manager knows"


def test_other_browsers_stay_signed_in(web: httpx.Client, base: str, cloud: Cloud) -> None:
    tenant = cloud.tenant()
    first = entered(web, tenant)
    with httpx.Client(base_url=base) as other:
        second = entered(other, tenant)
        assert ask(other, second, "logout").status_code == 200
    assert ask(web, first, "listAccounts").status_code == 200


def test_signing_in_and_out_is_told(web: httpx.Client, cloud: Cloud) -> None:
    tenant = cloud.tenant()
    ask(web, entered(web, tenant), "logout")
    told = [e for e in tenant.listEvents() if e["type"].startswith("USER.LOG")]
    assert [e["type"] for e in told] == ["USER.LOGOUT", "USER.LOGIN"] or [e["type"] for e in told] == ["USER.LOGIN", "USER.LOGOUT"]
    assert "127.0.0.1" in str(told) and PASSWORD not in str(told)


def test_the_time_zone_is_told_in_hours(web: httpx.Client, cloud: Cloud) -> None:
    tenant = cloud.tenant()
    made = cloud.admin.createUser(
        username=cloud.name("seoul"), password=PASSWORD, email="x@example.org", firstname="x", lastname="y",
        account=tenant.name, domainid=tenant.domain, timezone="Asia/Seoul",
    )  # fmt: skip
    data = {"command": "login", "username": made["username"], "password": PASSWORD, "domainId": tenant.domain, "response": "json"}
    body = web.post(API, data=data).json()["loginresponse"]
    assert (body["timezone"], body["timezoneoffset"]) == ("Asia/Seoul", "9.0")


# ── failures ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def knock(cloud: Cloud, who: Actor, password: str, address: str = "192.0.2.1") -> Any:
    params = {"command": "login", "username": who.name, "password": password, "domainId": who.domain, "response": "json"}
    return cloud.manager.door.answer(Request(params=params, post=True, address=address, base_url="http://x/client"))


def test_guesses_at_the_same_moment_are_counted_one_by_one(cloud: Cloud) -> None:
    tenant = cloud.tenant()

    async def all_at_once() -> list[Answer]:
        guesses = [knock(cloud, tenant, f"guess {n}") for n in range(20)]
        return list(await asyncio.gather(*guesses, knock(cloud, tenant, PASSWORD)))

    answers = cloud.run(all_at_once())
    assert {a.status for a in answers[:-1]} == {531}
    assert cloud.admin.one("listUsers", id=tenant.user)["state"] == "disabled"
    assert cloud.run(knock(cloud, tenant, PASSWORD)).status == 531


def test_an_address_that_fails_too_often_has_to_wait(cloud: Cloud) -> None:
    tenants = [cloud.tenant() for _ in range(3)]
    with changed(cloud, "signin.failures.per.minute", 6):
        for tenant in tenants:
            for _ in range(2):
                assert cloud.run(knock(cloud, tenant, "wrong")).status in (531, 429)
        answer = cloud.run(knock(cloud, tenants[0], PASSWORD))
        assert answer.status == 429 and b"wait a minute" in answer.body
        assert cloud.run(knock(cloud, tenants[0], PASSWORD, "192.0.2.2")).status == 200, "others do not wait"
    for address in ("2001:db8:1:2::1", "2001:db8:1:2:ffff::2"):
        lockout.failures.add(address)
    assert lockout.failures.count("2001:db8:1:2::3") == 2, "one customer has all of a /64"
    assert lockout.failures.count("2001:db8:1:3::1") == 0


# ── the shared key ───────────────────────────────────────────────────────────────────────────────────────────────────


def shared(params: dict[str, str], key: str = SHARED) -> str:
    text = "&".join(f"{k}={quote_plus(v, safe='*').replace('+', '%20').replace('~', '%7e')}" for k, v in sorted(params.items()))
    return base64.b64encode(hmac.new(key.encode(), text.lower().encode(), hashlib.sha1).digest()).decode()


def by_shared_key(web: httpx.Client, who: Actor, *, at: float | None = None, key: str = SHARED, **more: str) -> httpx.Response:
    given = {
        "command": "login", "username": who.name, "domainId": who.domain, "response": "json",
        "timestamp": str(int((time.time() if at is None else at) * 1000)), **more,
    }  # fmt: skip
    given["signature"] = shared(given, key)
    return web.post(API, data=given)


def test_a_company_page_signs_people_in_with_the_shared_key(web: httpx.Client, cloud: Cloud) -> None:
    tenant = cloud.tenant()
    assert by_shared_key(web, tenant).status_code == 531, "off until a key is set"
    assert by_shared_key(web, tenant, key="").status_code == 531
    with pytest.raises(ApiError, match="at least 16"):
        cloud.set("security.singlesignon.key", "short")
    with changed(cloud, "security.singlesignon.key", SHARED):
        answer = by_shared_key(web, tenant)
        assert answer.status_code == 200, answer.text
        body = answer.json()["loginresponse"]
        assert body["userid"] == tenant.user and ask(web, body["sessionkey"], "listAccounts").status_code == 200
        assert by_shared_key(web, tenant, key="another key of the tests").status_code == 531
        for late in (-301, 301, -1e9, 1e9):
            assert by_shared_key(web, tenant, at=time.time() + late).status_code == 531, late
        given = {"command": "login", "username": tenant.name, "domainId": tenant.domain, "response": "json", "timestamp": str(int(time.time() * 1000))}
        given["signature"] = shared(given)
        assert web.post(API, data=given).status_code == 200
        assert web.post(API, data=given).status_code == 531, "each is taken once"
        assert web.post(API, data={**given, "username": "admin"}).status_code == 531, "the name is part of it"
        assert web.get(API, params=given).status_code == 405
        assert SHARED not in str(cloud.admin.one("listConfigurations", name="security.singlesignon.key"))
        with changed(cloud, "security.singlesignon.tolerance.millis", 1000):
            assert by_shared_key(web, tenant, at=time.time() - 3).status_code == 531


# ── passwords ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_a_password_must_be_like(cloud: Cloud) -> None:
    tenant = cloud.tenant()

    def made(password: str, domain: str = tenant.domain, account: str = tenant.name) -> Any:
        return cloud.admin.createUser(
            username=cloud.name("user"), password=password, email="x@example.org", firstname="x", lastname="y",
            account=account, domainid=domain,
        )  # fmt: skip

    made("x")
    rules = {
        "password.policy.minimum.length": 10, "password.policy.minimum.digits": 2,
        "password.policy.minimum.uppercase.letters": 1, "password.policy.minimum.lowercase.letters": 1,
        "password.policy.minimum.special.characters": 1, "password.policy.allowPasswordToContainUsername": False,
    }  # fmt: skip
    for name, value in rules.items():
        cloud.set(name, value, domainid=tenant.domain)
    with pytest.raises(ApiError, match="at least 10 characters, at least 2 digits, at least 1 upper-case letters") as no:
        made("x")
    assert no.value.code == 431
    for wrong, why in (("Abcdefgh1!", "digits"), ("ABCDEFG12!", "lower"), ("abcdefg12!", "upper"), ("Abcdefg123", "special"), ("Ab12!", "10")):
        with pytest.raises(ApiError, match=why):
            made(wrong)
    made("Abcdefg12!")
    with pytest.raises(ApiError, match="user's name"):
        cloud.admin.createUser(
            username="kim", password="Xx12!xxKIMxx", email="x@example.org", firstname="x", lastname="y",
            account=tenant.name, domainid=tenant.domain,
        )  # fmt: skip
    cloud.set("password.policy.regex", "[A-Za-z0-9!]+", domainid=tenant.domain)
    with pytest.raises(ApiError, match="pattern") as no:
        made("Abcdefg12! ?")
    assert "Abcdefg12" not in no.value.text, "no refusal repeats a password"
    cloud.set("password.policy.regex", "(", domainid=tenant.domain)
    with pytest.raises(ApiError, match="no regular expression"):
        made("Abcdefg12!")
    other = cloud.tenant()
    made("x", other.domain, other.name)


# ── nobody becomes anybody else ──────────────────────────────────────────────────────────────────────────────────────


def test_a_thousand_sign_ins_at_the_same_moment_never_mix_people_up(cloud: Cloud) -> None:
    domain = cloud.domain()
    chief = cloud.tenant(domain, "DomainAdmin")
    people = {}
    for n in range(25):
        made = cloud.admin.createUser(
            username=f"person-{n}", password=f"password-{n}", email="x@example.org", firstname=str(n), lastname="y",
            account=chief.name, domainid=domain,
        )  # fmt: skip
        people[f"person-{n}"] = made["id"]
    door = cloud.manager.door

    async def one(name: str) -> str:
        password = name.replace("person", "password")
        params = {"command": "login", "username": name, "password": password, "domainId": domain, "response": "json"}
        answer = await door.answer(Request(params=params, post=True, base_url="http://x/client"))
        body = json.loads(answer.body)["loginresponse"]
        if body.get("userid") != people[name] or body.get("username") != name:
            return f"{name} signed in and was told {body}"
        cookies = {c[0]: c[1] for c in answer.cookies}
        params = {"command": "listUsers", "id": people[name], "response": "json", "sessionkey": body["sessionkey"]}
        answer = await door.answer(Request(params=params, cookies=cookies, base_url="http://x/client"))
        (seen,) = json.loads(answer.body)["listusersresponse"]["user"]
        return "" if seen["firstname"] == name.partition("-")[2] else f"{name} saw {seen}"

    async def everybody() -> list[str]:
        return [wrong for wrong in await asyncio.gather(*(one(f"person-{n % 25}") for n in range(1000))) if wrong]

    assert cloud.run(everybody()) == []
