"""The second factor and single sign-on in the console: real codes, and a real identity provider over HTTP."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyotp
import pytest
import samlkit
from browserkit import PHONE, window
from clouds import Running
from clouds import running_here as running  # noqa: F401
from playwright.sync_api import Browser, Page, expect
from test_app import KOREAN, fits, sign_in
from test_operator import call, checked, opened

pytestmark = pytest.mark.browser
PASSWORD = "Signing-In-2026"
PERIOD = 30


@pytest.fixture(scope="module")
def admin(browser: Browser, running: Running) -> Iterator[Page]:  # noqa: F811
    """A page of the admin, to arrange things with."""
    with window(browser, **KOREAN) as (_, page):
        sign_in(page, running)
        call(page, "updateConfiguration", name="enable.user.2fa", value="true")
        yield page
        call(page, "updateConfiguration", name="enable.user.2fa", value="false")


def person(admin: Page, name: str) -> Running:
    """A new user of the cloud, to sign in as."""
    made = call(admin, "createAccount", username=name, password=PASSWORD, email=f"{name}@x.example", firstname="지은", lastname="박", account=name, accounttype="0")
    assert "errortext" not in made, made
    return made["account"]["user"][0]  # type: ignore[no-any-return]


def as_(cloud: Running, name: str) -> Running:
    return Running(cloud.data, {**cloud.about, "username": name, "password": PASSWORD})


def code(secret: str, drift: int = 0) -> str:
    """What an authenticator shows now, or a period earlier or later; with five seconds left to type it."""
    while PERIOD - time.time() % PERIOD < 5:
        time.sleep(0.5)
    return pyotp.TOTP(secret).at(int(time.time()) + drift * PERIOD)


def secret_on(page: Page) -> str:
    shown = page.get_by_test_id("factor-secret")
    expect(shown).to_be_visible(timeout=15_000)
    return shown.inner_text().replace(" ", "")


def first_step(page: Page, cloud: Running) -> None:
    """Name and password, and the field of the code or of the set-up is there."""
    sign_in(page, cloud, PASSWORD)
    expect(page.get_by_label("인증 코드")).to_be_visible(timeout=30_000)


def test_a_second_factor_from_set_up_to_switching_off(browser: Browser, running: Running, admin: Page) -> None:  # noqa: F811
    user = person(admin, "jieun")
    mine = as_(running, "jieun")
    with window(browser, **KOREAN) as (_, page):
        sign_in(page, mine)
        opened(page, running, "me")
        begin = page.get_by_role("button", name="2단계 인증 설정")
        begin.focus()
        page.keyboard.press("Enter")
        secret = secret_on(page)
        expect(page.get_by_role("img", name=re.compile("QR"))).to_be_visible()
        field = page.get_by_label("인증 코드")
        expect(field).to_be_focused()
        checked(page, "factor-setup")
        field.fill("000000" if code(secret) != "000000" else "111111")
        expect(page.get_by_text("인증 코드가 맞지 않거나", exact=False)).to_be_visible(timeout=15_000)
        expect(field).to_be_focused()
        assert call(admin, "listUsers", id=user["id"])["user"][0]["is2faenabled"] is False, "a wrong code makes it count"
        page.keyboard.type(code(secret, -1))  # the wrong one is selected: typing replaces it
        expect(page.get_by_text("사용 중", exact=True)).to_be_visible(timeout=15_000)
        checked(page, "factor-on")
        assert call(admin, "listUsers", id=user["id"])["user"][0]["is2faenabled"] is True
    with window(browser, **PHONE) as (_, page):
        first_step(page, mine)
        field = page.get_by_label("인증 코드")
        expect(field).to_be_focused()
        fits(page)
        checked(page, "phone-factor-code")
        field.fill(code(secret, -1))
        expect(page.get_by_text("인증 코드가 맞지 않거나", exact=False)).to_be_visible(timeout=15_000)
        expect(field).to_be_focused()
        checked(page, "phone-factor-wrong")
        field.fill(code(secret))
        page.wait_for_selector("#main h1", timeout=30_000)
        opened(page, running, "me")
        fits(page)
        page.get_by_role("button", name="2단계 인증 끄기").tap()
        expect(page.get_by_text("비밀번호만으로 로그인됩니다.", exact=False).first).to_be_visible()
        fits(page)
        checked(page, "phone-factor-off")
        # A session that has shown a code lately may switch it off; without any code the page does not.
        page.get_by_role("button", name="2단계 인증 끄기").last.tap()
        expect(page.get_by_text("6자리 숫자를 모두 입력해 주세요.")).to_be_visible()
        page.get_by_label("인증 코드").fill(code(secret, 1))
        expect(page.get_by_text("사용 안 함", exact=True)).to_be_visible(timeout=15_000)
        assert call(admin, "listUsers", id=user["id"])["user"][0]["is2faenabled"] is False


def test_a_second_factor_that_is_mandated_and_taken_away(browser: Browser, running: Running, admin: Page) -> None:  # noqa: F811
    user = person(admin, "minsu-two")
    mine = as_(running, "minsu-two")
    opened(admin, running, f"users/{user['id']}?tab=factor")
    admin.get_by_role("switch", name="2단계 인증 필수").press("Space")
    expect(admin.get_by_text("다음에 로그인할 때 설정하게 됩니다.")).to_be_visible(timeout=15_000)
    checked(admin, "factor-mandated")
    with window(browser, **PHONE) as (_, page):
        first_step(page, mine)
        expect(page.get_by_text("2단계 인증을 설정해야 합니다")).to_be_visible()
        secret = secret_on(page)
        fits(page)
        checked(page, "phone-factor-forced")
        page.get_by_label("인증 코드").fill(code(secret))
        page.wait_for_selector("#main h1", timeout=30_000)
        opened(page, running, "me")
        expect(page.get_by_role("button", name="2단계 인증 끄기")).to_be_disabled(timeout=15_000)
        expect(page.get_by_text("끌 수 없습니다", exact=False)).to_be_visible()
        opened(admin, running, f"users/{user['id']}?tab=factor")
        admin.get_by_role("button", name="2단계 인증 해제").click()
        checked(admin, "factor-take")
        admin.get_by_role("dialog").get_by_role("button", name="2단계 인증 해제").click()
        expect(admin.get_by_text("사용 안 함", exact=True)).to_be_visible(timeout=15_000)
    with window(browser, **KOREAN) as (_, page):
        first_step(page, mine)  # and it has to be set up anew
        assert secret_on(page) != secret


@pytest.fixture(scope="module")
def idp(running: Running, admin: Page, tmp_path_factory: pytest.TempPathFactory) -> Iterator[samlkit.Provider]:  # noqa: F811
    if shutil.which("xmlsec1") is None:
        pytest.skip("xmlsec1 is not installed (make setup installs it)")
    base = str(running.about["url"])
    folder: Path = tmp_path_factory.mktemp("idp")
    with samlkit.running(folder) as made:
        made.back = f"{base}/api?command=samlSso"
        settings: dict[str, Any] = {
            "saml2.sp.sso.url": made.back, "saml2.sp.slo.url": f"{base}/api?command=samlSlo", "saml2.redirect.url": f"{base}/",
            "saml2.idp.metadata.url": made.id, "saml2.enabled": "true",
        }  # fmt: skip
        for name, value in settings.items():
            call(admin, "updateConfiguration", name=name, value=value)
        until = time.monotonic() + 40
        while not call(admin, "listIdps").get("idp"):
            assert time.monotonic() < until, "the metadata was never read"
            time.sleep(0.5)
        made.sp = call(admin, "getSPMetadata")["metadata"]
        yield made
        call(admin, "updateConfiguration", name="saml2.enabled", value="false")


def to_provider(page: Page, cloud: Running, name: str) -> None:
    """From our sign-in page to the provider's, and in there."""
    page.goto(str(cloud.about["url"]) + "/")
    page.get_by_role("link", name=re.compile("The tests' provider")).click()
    expect(page.get_by_role("heading", name="The tests' provider")).to_be_visible(timeout=15_000)
    page.get_by_label("Name").fill(name)
    page.keyboard.press("Enter")


def test_no_provider_no_button(browser: Browser, running: Running) -> None:  # noqa: F811
    with window(browser, **KOREAN) as (_, page):
        page.goto(str(running.about["url"]) + "/")
        expect(page.get_by_role("button", name="로그인", exact=True)).to_be_visible(timeout=15_000)
        page.wait_for_timeout(500)
        expect(page.get_by_text("로그인")).not_to_have_count(0)
        assert page.get_by_role("link").count() == 0


def test_single_sign_on_in_and_out(browser: Browser, running: Running, admin: Page, idp: samlkit.Provider) -> None:  # noqa: F811
    user = person(admin, "seojun")
    call(admin, "authorizeSamlSso", userid=user["id"], enable="true", entityid=idp.id)
    with window(browser, **KOREAN) as (context, page):
        page.goto(str(running.about["url"]) + "/")
        expect(page.get_by_role("link", name=re.compile("The tests' provider"))).to_be_visible(timeout=15_000)
        checked_english(page, "signin-saml")
        to_provider(page, running, "seojun")
        page.wait_for_selector("#main h1", timeout=30_000)
        assert call(page, "listUsers", id=user["id"])["user"][0]["username"] == "seojun"
        assert not [c for c in context.cookies() if c["name"] == "isSAML"], "what the server told is taken once"
        opened(page, running, "me")  # it stays signed in over a reload
        expect(page.get_by_text("seojun").first).to_be_visible()
        page.get_by_role("button", name=re.compile("내 정보 메뉴")).click()
        page.get_by_role("menuitem", name="로그아웃").click()
        expect(page.get_by_role("heading", name="Signed out of the tests' provider")).to_be_visible(timeout=15_000)
        page.goto(str(running.about["url"]) + "/")
        expect(page.get_by_role("button", name="로그인", exact=True)).to_be_visible(timeout=15_000)


def test_a_refused_assertion_is_told_in_words(browser: Browser, running: Running, admin: Page, idp: samlkit.Provider) -> None:  # noqa: F811
    with window(browser, **KOREAN) as (_, page):
        to_provider(page, running, "nobody-here")
        expect(page.get_by_role("alert")).to_contain_text("관리자에게 통합 로그인을 허용해 달라고", timeout=15_000)
        checked_english(page, "signin-refused")
        idp.forged = {"key": idp.other_key, "certificate": idp.other_certificate}
        try:
            to_provider(page, running, "seojun")
            expect(page.get_by_role("alert")).to_contain_text("본인임을 확인할 수 없었습니다", timeout=15_000)
            checked_english(page, "signin-forged")
        finally:
            idp.forged = {}
    with window(browser, **PHONE) as (_, page):
        page.goto(f"{running.about['url']}/?signin=ProviderAway")
        expect(page.get_by_role("alert")).to_contain_text("연결할 수 없습니다", timeout=15_000)
        fits(page)


def test_single_sign_on_asks_for_the_second_factor(browser: Browser, running: Running, admin: Page, idp: samlkit.Provider) -> None:  # noqa: F811
    user = person(admin, "hayoon")
    call(admin, "authorizeSamlSso", userid=user["id"], enable="true", entityid=idp.id)
    call(admin, "updateUser", id=user["id"], mandate2fa="true")
    with window(browser, **KOREAN) as (_, page):
        to_provider(page, running, "hayoon")
        expect(page.get_by_text("2단계 인증을 설정해야 합니다")).to_be_visible(timeout=15_000)
        secret = secret_on(page)
        page.get_by_label("인증 코드").fill(code(secret))
        page.wait_for_selector("#main h1", timeout=30_000)
    with window(browser, **KOREAN) as (_, page):
        to_provider(page, running, "hayoon")
        expect(page.get_by_text("인증 앱에 표시된 6자리 숫자를 입력해 주세요.")).to_be_visible(timeout=15_000)
        page.get_by_label("인증 코드").fill(code(secret, 1))
        page.wait_for_selector("#main h1", timeout=30_000)


def checked_english(page: Page, name: str) -> None:
    """As `checked`; the provider's own name stands in English."""
    expect(page.get_by_role("link", name=re.compile("The tests' provider"))).to_be_visible(timeout=15_000)
    page.evaluate("document.querySelectorAll('a').forEach((a) => a.setAttribute('translate', 'no'))")
    checked(page, name)
