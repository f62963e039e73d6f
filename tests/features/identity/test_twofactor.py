"""The second factor: set up, asked for, refused, taken away; each code once, few guesses, and never by who has not shown it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import httpx
import pyotp
import pytest
from cloud import TENANT_PASSWORD, Actor, ApiError, Cloud

API = "/client/api"
PASSWORD = TENANT_PASSWORD


@pytest.fixture(scope="module")
def base(cloud: Cloud) -> str:
    return cloud.serve()


class Clock:
    """The time of the server and of the phones, moved by hand."""

    def __init__(self) -> None:
        self.offset = 0.0
        self.real = time.time

    def __call__(self) -> float:
        return self.real() + self.offset


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(time, "time", made)
    return made


class Browser:
    """A browser that signs in and calls."""

    def __init__(self, base: str, who: Actor, clock: Clock) -> None:
        self.web = httpx.Client(base_url=base, timeout=20)
        self.clock = clock
        data = {"command": "login", "username": who.name, "password": PASSWORD, "domainId": who.domain, "response": "json"}
        answer = self.web.post(API, data=data)
        assert answer.status_code == 200, answer.text
        self.told: dict[str, Any] = answer.json()["loginresponse"]
        self.key = self.told["sessionkey"]
        self.secret = ""

    def raw(self, command: str, **params: str) -> httpx.Response:
        return self.web.post(API, data={"command": command, "response": "json", "sessionkey": self.key, **params})

    def status(self, command: str, **params: str) -> int:
        return self.raw(command, **params).status_code

    def code(self, drift: int = 0) -> str:
        return pyotp.TOTP(self.secret).at(int(self.clock()) + drift)

    def prove(self, code: str | None = None) -> int:
        return self.status("validateUserTwoFactorAuthenticationCode", codefor2fa=self.code() if code is None else code)

    def set_up(self) -> None:
        answer = self.raw("setupUserTwoFactorAuthentication", provider="totp")
        assert answer.status_code == 200, answer.text
        self.secret = answer.json()["setupusertwofactorauthenticationresponse"]["setup2fa"]["secretcode"]
        assert self.prove() == 200


@pytest.fixture
def tenant(cloud: Cloud) -> Iterator[Actor]:
    made = cloud.tenant()
    cloud.set("enable.user.2fa", True, domainid=made.domain)
    yield made


def test_it_is_off_until_it_is_enabled(cloud: Cloud, base: str, clock: Clock) -> None:
    browser = Browser(base, cloud.tenant(), clock)
    assert (browser.told["is2faenabled"], browser.told["is2faverified"]) == ("false", "true")
    answer = browser.raw("setupUserTwoFactorAuthentication", provider="totp")
    assert answer.status_code == 531 and "enable.user.2fa" in answer.text
    assert browser.raw("listCapabilities").json()["listcapabilitiesresponse"]["capability"]["secondfactoroffered"] is False
    assert browser.raw("listUserTwoFactorAuthenticatorProviders").json()["listusertwofactorauthenticatorprovidersresponse"]["providers"][0]["name"] == "totp"


def test_from_setting_it_up_to_the_next_sign_in(cloud: Cloud, base: str, tenant: Actor, clock: Clock) -> None:
    browser, elsewhere = Browser(base, tenant, clock), Browser(base, tenant, clock)
    assert browser.raw("listCapabilities").json()["listcapabilitiesresponse"]["capability"]["secondfactoroffered"] is True
    answer = browser.raw("setupUserTwoFactorAuthentication")
    told = answer.json()["setupusertwofactorauthenticationresponse"]["setup2fa"]
    assert (told["id"], told["username"], told["accountid"]) == (tenant.user, tenant.name, tenant.account)
    browser.secret = told["secretcode"]
    assert len(browser.secret) >= 32
    assert cloud.admin.one("listUsers", id=tenant.user)["is2faenabled"] is False, "it counts once a code was shown"
    assert Browser(base, tenant, clock).told["is2faenabled"] == "false"
    assert browser.prove("000000") == 511 and browser.prove() == 200
    assert cloud.admin.one("listUsers", id=tenant.user)["is2faenabled"] is True
    assert browser.status("listZones") == 200 and elsewhere.status("listZones") == 401, "sessions that showed nothing end"
    again = Browser(base, tenant, clock)
    assert (again.told["is2faenabled"], again.told["is2faverified"], again.told["providerfor2fa"]) == ("true", "false", "totp")
    again.secret = browser.secret
    refused = again.raw("listZones")
    assert refused.status_code == 511 and refused.json()["listzonesresponse"]["cserrorcode"] == 4295
    for command in ("listApis", "createSSHKeyPair", "registerUserKeys", "listUsers", "deleteUserKeys"):
        assert again.status(command) == 511, command
    assert again.prove(browser.code()) == 511, "a code is taken once"
    clock.offset += 30
    assert again.prove() == 200 and again.status("listZones") == 200
    assert tenant.raw("listZones").status == 200, "keys are no sessions"


def test_codes(cloud: Cloud, base: str, tenant: Actor, clock: Clock) -> None:
    browser = Browser(base, tenant, clock)
    browser.set_up()
    clock.offset += 90
    assert browser.prove(browser.code(-30)) == 200, "a phone may be half a minute late"
    assert browser.prove(browser.code(-30)) == 511 and browser.prove(browser.code(-60)) == 511
    assert browser.prove(browser.code(30)) == 200 and browser.prove(browser.code(0)) == 511, "nothing older than the last one"
    for wrong in ("", " ", "12345", "1234567", "abcdef", "٠١٢٣٤٥", "0" * 5000):
        assert browser.prove(wrong) in (431, 511), wrong


def test_few_guesses(cloud: Cloud, base: str, tenant: Actor, clock: Clock) -> None:
    browser = Browser(base, tenant, clock)
    browser.set_up()
    clock.offset += 60
    for _ in range(5):
        assert browser.prove("000000") == 511
    answer = browser.raw("validateUserTwoFactorAuthenticationCode", codefor2fa=browser.code())
    assert answer.status_code == 431 and "Too many wrong codes" in answer.text
    other = Browser(base, tenant, clock)
    other.secret = browser.secret
    assert other.prove() == 431, "another session does not help"
    clock.offset += 900
    fresh = Browser(base, tenant, clock)
    fresh.secret = browser.secret
    assert fresh.prove() == 200
    assert "wrong codes" in str(cloud.admin.listEvents(listall=True, type="USER.TWOFACTOR", pagesize=100, page=1))


def test_taking_it_away_needs_a_fresh_code(cloud: Cloud, base: str, tenant: Actor, clock: Clock) -> None:
    browser = Browser(base, tenant, clock)
    browser.set_up()
    clock.offset += 400
    for params in ({"enable": "false"}, {"provider": "totp"}):
        answer = browser.raw("setupUserTwoFactorAuthentication", **params)
        assert answer.status_code == 531 and "a code of the present second factor" in answer.text, params
    with pytest.raises(ApiError, match="a code of the present"):
        tenant.setupUserTwoFactorAuthentication(enable=False)
    with pytest.raises(ApiError, match="signed-in sessions"):
        tenant.setupUserTwoFactorAuthentication()
    assert Browser(base, tenant, clock).status("setupUserTwoFactorAuthentication", enable="false") == 531
    assert browser.prove() == 200
    old = browser.secret
    browser.secret = browser.raw("setupUserTwoFactorAuthentication").json()["setupusertwofactorauthenticationresponse"]["setup2fa"]["secretcode"]
    assert browser.secret != old
    clock.offset += 30
    again = Browser(base, tenant, clock)
    again.secret = old
    assert again.prove() == 200, "until the new one was shown the old one counts"
    clock.offset += 30
    assert browser.prove() == 200
    clock.offset += 30
    again = Browser(base, tenant, clock)
    again.secret = old
    assert again.prove() == 511
    assert browser.status("setupUserTwoFactorAuthentication", enable="false") == 200
    assert Browser(base, tenant, clock).told["is2faenabled"] == "false"


def test_a_pending_factor_does_not_replace_one_that_was_not_shown(cloud: Cloud, base: str, tenant: Actor, clock: Clock) -> None:
    browser = Browser(base, tenant, clock)
    browser.set_up()
    thief = Browser(base, tenant, clock)  # has the password and nothing else
    assert thief.status("setupUserTwoFactorAuthentication") == 531
    assert thief.status("setupUserTwoFactorAuthentication", userid=tenant.user, enable="false") == 531
    assert thief.prove("000000") == 511 and thief.status("listZones") == 511


def test_who_may_take_it_from_others(cloud: Cloud, base: str, tenant: Actor, clock: Clock) -> None:
    browser = Browser(base, tenant, clock)
    browser.set_up()
    chief, mate, stranger = cloud.tenant(tenant.domain, "DomainAdmin"), cloud.tenant(tenant.domain), cloud.tenant(role="DomainAdmin")
    for who in (mate, stranger):
        with pytest.raises(ApiError, match="does not exist"):
            who.setupUserTwoFactorAuthentication(userid=tenant.user, enable=False)
    sibling = cloud.admin.createUser(
        username=cloud.name("sibling"), password=PASSWORD, email="x@example.org", firstname="x", lastname="y",
        account=tenant.name, domainid=tenant.domain,
    )  # fmt: skip
    made = cloud.system.registerUserKeys(id=sibling["id"])
    with pytest.raises(ApiError, match="does not exist"):
        Actor(cloud, keys=(made["apikey"], made["secretkey"])).setupUserTwoFactorAuthentication(userid=tenant.user, enable=False)
    with pytest.raises(ApiError, match="herself"):
        chief.setupUserTwoFactorAuthentication(userid=tenant.user, enable=True)
    chief.setupUserTwoFactorAuthentication(userid=tenant.user, enable=False)
    assert browser.status("listZones") == 401 and Browser(base, tenant, clock).told["is2faenabled"] == "false"
    # An admin who has a factor of her own shows a code of it first.
    own = Browser(base, chief, clock)
    own.set_up()
    clock.offset += 400
    answer = own.raw("setupUserTwoFactorAuthentication", userid=tenant.user, enable="false")
    assert answer.status_code == 531
    with pytest.raises(ApiError, match="a code of the present"):
        chief.setupUserTwoFactorAuthentication(userid=tenant.user, enable=False)


def test_mandatory(cloud: Cloud, base: str, tenant: Actor, clock: Clock) -> None:
    cloud.set("mandate.user.2fa", True, domainid=tenant.domain)
    cloud.set("user.2fa.issuer", "The tests", domainid=tenant.domain)
    browser = Browser(base, tenant, clock)
    assert (browser.told["is2faenabled"], browser.told["is2faverified"], browser.told["issuerfor2fa"]) == ("true", "false", "The tests")
    assert "providerfor2fa" not in browser.told, "none is set up yet"
    assert browser.status("listZones") == 511
    assert browser.status("listUserTwoFactorAuthenticatorProviders") == 200
    browser.set_up()
    assert browser.status("listZones") == 200
    answer = browser.raw("setupUserTwoFactorAuthentication", enable="false")
    assert answer.status_code == 531 and "mandatory" in answer.text
    assert cloud.admin.one("listUsers", id=tenant.user)["is2famandated"] is True
    assert browser.raw("setupUserTwoFactorAuthentication", provider="staticpin").status_code == 432


def test_a_code_without_a_session_or_a_factor(cloud: Cloud, base: str, tenant: Actor, clock: Clock) -> None:
    browser = Browser(base, tenant, clock)
    assert browser.prove("123456") == 431
    answer = httpx.post(base + API, data={"command": "validateUserTwoFactorAuthenticationCode", "codefor2fa": "1", "response": "json"})
    assert answer.status_code == 401
    with pytest.raises(ApiError) as no:
        tenant.validateUserTwoFactorAuthenticationCode(codefor2fa="123456")
    assert no.value.code == 401
