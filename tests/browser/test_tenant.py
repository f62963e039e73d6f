"""A tenant's day in the console: networks, keys, templates, machines from their making to their end. In Korean."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from browserkit import PHONE, chromium, window
from clouds import Running, running  # noqa: F401
from playwright.sync_api import Browser, Page, Request, expect
from test_app import KOREAN, accessible, fits, no_english, shot, url

from mold.cli.client import Cloud
from mold.cli.profiles import Connection

pytestmark = pytest.mark.browser
NAME, PASSWORD = "minsu", "Minsu-2026!"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as one:
        yield one


@pytest.fixture(scope="module")
def admin(running: Running) -> Cloud:  # noqa: F811
    return Cloud(Connection("test", {n: running.about[n] for n in ("url", "apikey", "secretkey")}))


@pytest.fixture(scope="module")
def tenant(browser: Browser, running: Running, admin: Cloud) -> dict[str, Any]:  # noqa: F811
    """The cookies and storage of a plain user who has nothing yet."""
    role = next(r for r in admin.call("listRoles", {})["role"] if r["name"] == "User")
    about = {"firstname": "민수", "lastname": "김", "email": "minsu@example.com", "roleid": role["id"]}
    admin.call("createAccount", {"username": NAME, "password": PASSWORD, **about})
    with window(browser, **KOREAN) as (context, page):
        page.goto(url(running))
        page.get_by_label("사용자 이름").fill(NAME)
        page.locator("input[name=password]").fill(PASSWORD)
        page.keyboard.press("Enter")
        page.wait_for_selector("#main h1", timeout=30_000)
        return context.storage_state()  # type: ignore[return-value]


def looked_at(page: Page, name: str, english: bool = False) -> None:
    """A picture, axe, no English, nothing wider than the screen."""
    page.wait_for_timeout(300)
    shot(page, f"tenant-{name}")
    accessible(page, name)
    if not english:
        no_english(page, name)
    fits(page)


def commands(page: Page) -> list[str]:
    """The API commands that the page asks for from now on."""
    asked: list[str] = []

    def note(request: Request) -> None:
        if request.url.endswith("/client/api"):
            asked.append(parse_qs(request.post_data or "")["command"][0])

    page.on("request", note)
    return asked


def test_the_first_page_shows_limits_and_what_to_do(browser: Browser, running: Running, tenant: Any) -> None:  # noqa: F811
    with window(browser, **KOREAN, storage_state=tenant) as (_, page):
        page.goto(url(running))
        expect(page.get_by_role("heading", level=1)).to_contain_text("안녕하세요, 민수님")
        expect(page.get_by_role("progressbar", name="메모리")).to_be_visible()
        expect(page.get_by_role("link", name=re.compile(r"정지됨\s*0"))).to_be_visible()
        looked_at(page, "home")
        page.get_by_role("link", name="새 가상머신").click()
        expect(page.get_by_role("heading", name="새 가상머신", level=1)).to_be_visible()


def test_a_network_says_what_it_is_and_whom_it_would_meet(browser: Browser, running: Running, tenant: Any) -> None:  # noqa: F811
    with window(browser, **KOREAN, storage_state=tenant) as (_, page):
        for name in ("업무망", "시험망"):
            page.goto(url(running, "networks"))
            page.get_by_role("link", name="네트워크 생성").first.click()
            page.get_by_label("이름").fill(name)
            expect(page.get_by_text("가상 라우터를 거쳐 밖으로 나갑니다")).to_be_visible()
            expect(page.get_by_text("게이트웨이 10.1.")).to_be_visible()
            if name == "시험망":
                page.get_by_label("CIDR").fill("10.1.1.128/25")
                expect(page.get_by_text("주소가 다른 네트워크와 겹칩니다")).to_be_visible()
                expect(page.get_by_text("업무망 (10.1.1.0/24)")).to_be_visible()
                looked_at(page, "network-overlap")
                page.get_by_label("CIDR").fill("10.1.1.300/25")
                expect(page.get_by_text("/8에서 /30 사이로 적어 주세요")).to_be_visible()
                page.get_by_label("CIDR").fill("10.9.0.0/24")
                expect(page.get_by_text("주소가 다른 네트워크와 겹칩니다")).to_be_hidden()
            page.get_by_role("button", name="생성", exact=True).click()
            expect(page.get_by_role("heading", name=name, level=1)).to_be_visible(timeout=15_000)
        looked_at(page, "network")
        page.get_by_role("button", name="더보기").click()
        page.get_by_role("menuitem", name="삭제").click()
        dialog = page.get_by_role("dialog")
        expect(dialog.get_by_text("가상 라우터").or_(dialog.get_by_text("공인 IP가 사라집니다"))).to_be_visible()
        expect(dialog.get_by_role("button", name="삭제", exact=True)).to_be_disabled()
        dialog.get_by_role("textbox").fill("시험망")
        dialog.get_by_role("button", name="삭제", exact=True).click()
        expect(page.get_by_role("heading", name="가상머신용 네트워크", level=1).or_(page.get_by_role("heading", name="네트워크", level=1))).to_be_visible(timeout=15_000)  # fmt: skip
        expect(page.get_by_role("link", name="시험망")).to_be_hidden(timeout=15_000)


def test_a_key_is_shown_once(browser: Browser, running: Running, tenant: Any) -> None:  # noqa: F811
    with window(browser, **KOREAN, storage_state=tenant) as (_, page):
        page.goto(url(running, "sshkeypairs"))
        page.get_by_role("button", name="만들기").click()
        page.get_by_role("menuitem", name="SSH 키 쌍 생성").click()
        page.get_by_role("dialog").get_by_label("이름").fill("laptop")
        page.get_by_role("dialog").get_by_role("button", name="생성").click()
        once = page.get_by_role("dialog", name="laptop의 개인 키")
        expect(once.get_by_test_id("secret")).to_contain_text("PRIVATE KEY", timeout=15_000)
        looked_at(page, "key-once")
        with page.expect_download() as saved:
            once.get_by_role("button", name="파일로 저장").click()
        assert saved.value.suggested_filename == "laptop.pem"
        assert "PRIVATE KEY" in Path(saved.value.path()).read_text()
        once.get_by_role("button", name="저장했습니다").click()
        expect(once).to_be_hidden()
        expect(page.get_by_role("link", name="laptop")).to_be_visible()
        assert "PRIVATE KEY" not in page.content()


def test_user_data_is_kept_as_text(browser: Browser, running: Running, tenant: Any) -> None:  # noqa: F811
    with window(browser, **KOREAN, storage_state=tenant) as (_, page):
        page.goto(url(running, "userdata"))
        page.get_by_role("button", name="사용자 데이터 등록").first.click()
        form = page.get_by_role("dialog")
        form.get_by_label("이름").fill("hello")
        form.get_by_label("사용자 데이터", exact=True).fill("#cloud-config\nruncmd: [echo 안녕]\n")
        form.get_by_role("button", name="등록").click()
        page.get_by_role("link", name="hello").click()
        expect(page.get_by_text("runcmd: [echo 안녕]")).to_be_visible(timeout=15_000)
        looked_at(page, "userdata")


def test_a_machine_in_five_clicks(browser: Browser, running: Running, tenant: Any) -> None:  # noqa: F811
    with window(browser, **KOREAN, storage_state=tenant) as (_, page):
        page.goto(url(running, "virtualmachines"))
        expect(page.get_by_text("아직 가상머신이 없습니다.")).to_be_visible(timeout=15_000)
        page.get_by_role("link", name="새 가상머신").first.click()  # 1
        expect(page.get_by_role("radio", name=re.compile("tiny-linux"))).to_be_checked(timeout=15_000)
        looked_at(page, "deploy-1-image")
        page.get_by_role("button", name="다음").click()  # 2
        expect(page.get_by_role("radio", name=re.compile("Tiny"))).to_be_checked()
        looked_at(page, "deploy-2-size")
        page.get_by_role("button", name="다음").click()  # 3
        expect(page.get_by_role("checkbox", name=re.compile("업무망"))).to_be_checked()
        looked_at(page, "deploy-3-network")
        page.get_by_role("button", name="다음").click()  # 4
        expect(page.get_by_text("배치할 수 있는 호스트: 3개")).to_be_visible(timeout=15_000)
        expect(page.get_by_text("19 남음 (한도 20)").first).to_be_visible()
        expect(page.get_by_text("mold deploy virtualmachine")).to_be_visible()
        assert "sim-1" not in page.locator("#main").inner_text(), "a tenant sees no hosts"
        looked_at(page, "deploy-4-review")
        page.get_by_role("button", name="VM 시작").click()  # 5
        once = page.get_by_role("dialog", name=re.compile("의 비밀번호"))
        expect(once.get_by_test_id("secret")).not_to_be_empty(timeout=30_000)
        looked_at(page, "password-once")
        once.get_by_role("button", name="저장했습니다").click()
        expect(page.locator(".mark").first).to_have_text("실행 중", timeout=30_000)
        page.get_by_role("button", name=re.compile("^작업")).click()
        expect(page.get_by_role("dialog", name="작업").get_by_text("새 가상머신")).to_be_visible()


def test_a_machine_as_one_wants_it(browser: Browser, running: Running, tenant: Any) -> None:  # noqa: F811
    with window(browser, **KOREAN, storage_state=tenant) as (_, page):
        page.goto(url(running, "virtualmachines-new"))
        expect(page.get_by_role("radio", name=re.compile("tiny-linux"))).to_be_checked(timeout=15_000)
        page.get_by_role("button", name="다음").click()
        page.get_by_role("radio", name=re.compile("Small Instance")).click()
        page.get_by_role("button", name="다음").click()
        page.get_by_role("button", name="새 키 만들기").click()
        form = page.get_by_role("dialog")
        form.get_by_label("이름").fill("made-here")
        form.get_by_role("button", name="생성").click()
        page.get_by_role("dialog", name="made-here의 개인 키").get_by_role("button", name="저장했습니다").click()
        expect(page.get_by_text("made-here", exact=True)).to_be_visible()
        page.get_by_role("button", name="직접 작성").click()
        page.get_by_label("사용자 데이터").fill("#!/bin/sh\necho 안녕\n")
        page.reload()  # what was entered stays
        expect(page.get_by_label("사용자 데이터")).to_have_value("#!/bin/sh\necho 안녕\n")
        page.get_by_role("button", name="다음").click()
        page.get_by_label("이름").fill("웹서버")
        expect(page.get_by_text("made-here").first).to_be_visible()
        page.get_by_role("button", name="생성만").click()
        expect(page.get_by_role("heading", name="웹서버", level=1)).to_be_visible(timeout=15_000)
        expect(page.locator(".mark").first).to_have_text("정지됨", timeout=30_000)
        expect(page.get_by_text("made-here").first).to_be_visible()


def test_the_page_of_a_machine(browser: Browser, running: Running, tenant: Any) -> None:  # noqa: F811
    with window(browser, **KOREAN, storage_state=tenant) as (_, page):
        page.goto(url(running, "virtualmachines"))
        page.get_by_role("link", name="웹서버").wait_for()
        address = page.get_by_role("link", name="웹서버").get_attribute("href")
        asked = commands(page)
        page.goto(str(running.about["url"]).removesuffix("/client") + str(address))
        expect(page.get_by_role("heading", name="웹서버", level=1)).to_be_visible(timeout=15_000)
        page.wait_for_timeout(1500)
        assert len(asked) <= 4, asked
        asked.clear()
        looked_at(page, "machine-stopped")
        for button in ("정지", "재시작", "콘솔"):
            expect(page.get_by_role("button", name=button, exact=True)).to_have_attribute("aria-disabled", "true")
        page.get_by_role("tab", name="네트워크").click()
        expect(page.get_by_role("link", name="업무망")).to_be_visible()
        looked_at(page, "machine-nics")
        assert not asked, "the network cards came with the machine"
        page.get_by_role("tab", name="디스크").click()
        expect(page.get_by_role("table", name="볼륨").get_by_text("ROOT").first).to_be_visible(timeout=15_000)
        looked_at(page, "machine-disks")
        page.get_by_role("tab", name="이벤트·작업").click()
        expect(page.get_by_role("table", name="이벤트").get_by_text("가상머신 생성").first).to_be_visible(timeout=15_000)
        looked_at(page, "machine-activity")
        page.get_by_role("tab", name="설정").click()
        page.get_by_label("표시 이름").fill("웹서버 1호")
        page.get_by_role("button", name="저장").click()
        expect(page.get_by_role("heading", name="웹서버 1호", level=1)).to_be_visible(timeout=15_000)
        looked_at(page, "machine-settings")
        page.get_by_role("tab", name="개요").click()
        page.get_by_role("button", name="시작", exact=True).click()
        page.get_by_role("dialog").get_by_role("button", name="시작", exact=True).click()
        expect(page.locator(".mark").first).to_have_text("실행 중", timeout=30_000)
        page.get_by_role("tab", name="설정").click()
        expect(page.get_by_text("정지된 상태에서만 변경할 수 있습니다")).to_be_visible()
        page.get_by_role("button", name="정지", exact=True).click()
        expect(page.get_by_role("dialog").get_by_text("저장하지 않은 내용을 잃을 수 있습니다")).to_be_visible()
        looked_at(page, "machine-stop")


def test_a_password_is_reset(browser: Browser, running: Running, tenant: Any) -> None:  # noqa: F811
    with window(browser, **KOREAN, storage_state=tenant) as (_, page):
        page.goto(url(running, "virtualmachines?q=웹서버"))
        page.get_by_role("link", name="웹서버").click()
        page.get_by_role("button", name="더보기").click()
        item = page.get_by_role("menuitem", name=re.compile("비밀번호 재설정"))
        expect(item).to_contain_text("정지된 상태에서만 할 수 있습니다.")
        shot(page, "tenant-machine-menu")
        page.keyboard.press("Escape")
        page.get_by_role("button", name="정지", exact=True).click()
        page.get_by_role("dialog").get_by_role("button", name="정지", exact=True).click()
        expect(page.locator(".mark").first).to_have_text("정지됨", timeout=60_000)
        page.get_by_role("button", name="더보기").click()
        item.click()
        page.get_by_role("dialog").get_by_role("button", name="비밀번호 재설정").click()
        once = page.get_by_role("dialog", name="웹서버 1호의 비밀번호")
        expect(once.get_by_test_id("secret")).not_to_be_empty(timeout=30_000)
        once.get_by_role("button", name="저장했습니다").click()
        page.get_by_role("button", name="더보기").click()
        page.get_by_role("menuitem", name=re.compile("SSH 키")).click()
        form = page.get_by_role("dialog")
        form.get_by_role("combobox", name=re.compile("SSH 키|키 쌍")).click()
        page.get_by_role("option", name="laptop").click()
        page.keyboard.press("Escape")
        looked_at(page, "machine-keys")
        form.get_by_role("button", name=re.compile("재설정")).click()
        page.get_by_role("tab", name="개요").click()
        expect(page.get_by_text("laptop").first).to_be_visible(timeout=30_000)
        expect(once).to_be_visible(timeout=15_000)  # a machine with another key has another password too


def test_a_tenant_learns_what_goes_and_that_admins_bring_it_back(
    browser: Browser,
    running: Running,  # noqa: F811
    tenant: Any,
) -> None:
    with window(browser, **KOREAN, storage_state=tenant) as (_, page):
        page.goto(url(running, "virtualmachines?q=웹서버"))
        page.get_by_role("link", name="웹서버").click()
        page.get_by_role("button", name="더보기").click()
        expect(page.get_by_role("menuitem", name=re.compile("^소거"))).to_contain_text("먼저 파기해야")
        page.get_by_role("menuitem", name=re.compile("^파기")).click()
        dialog = page.get_by_role("dialog")
        expect(dialog.get_by_text(re.compile("루트 디스크 ROOT"))).to_be_visible(timeout=15_000)
        expect(dialog.get_by_text("네트워크, 템플릿, SSH 키, 사용자 데이터")).to_be_visible()
        looked_at(page, "machine-destroy")
        dialog.get_by_role("button", name="파기", exact=True).click()
        expect(dialog).to_be_hidden()
        page.goto(url(running, "virtualmachines"))
        expect(page.get_by_role("table", name="가상머신")).to_be_visible(timeout=15_000)
        expect(page.get_by_role("link", name="웹서버")).to_be_hidden(timeout=30_000)
