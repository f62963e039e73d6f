"""A tenant's day in the console: networks, keys, templates, machines from their making to their end. In Korean."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from browserkit import PHONE, window
from clouds import Running
from clouds import running_here as running  # noqa: F401
from furnished import multiplied
from playwright.sync_api import Browser, Page, Request, expect
from test_app import KOREAN, accessible, fits, no_english, shot, state, url  # noqa: F401

from mold.cli.client import Cloud
from mold.cli.profiles import Connection

pytestmark = pytest.mark.browser
NAME, PASSWORD = "minsu", "Minsu-2026!"


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
        page.set_default_timeout(15_000)
        page.goto(url(running))
        expect(page.get_by_role("heading", level=1)).to_contain_text("안녕하세요, 민수님")
        expect(page.get_by_text("0 B / 40 GiB")).to_be_visible()
        expect(page.get_by_role("link", name=re.compile(r"정지됨\s*0"))).to_be_visible()
        looked_at(page, "home")
        page.get_by_role("link", name="새 가상머신").click()
        expect(page.get_by_role("heading", name="새 가상머신", level=1)).to_be_visible()


def test_a_network_says_what_it_is_and_whom_it_would_meet(browser: Browser, running: Running, tenant: Any) -> None:  # noqa: F811
    with window(browser, **KOREAN, storage_state=tenant) as (_, page):
        page.set_default_timeout(15_000)
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
        page.set_default_timeout(15_000)
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
        page.set_default_timeout(15_000)
        page.goto(url(running, "userdata"))
        page.get_by_role("button", name="사용자 데이터 등록").first.click()
        form = page.get_by_role("dialog")
        form.get_by_label("이름").fill("hello")
        form.get_by_role("textbox", name="사용자 데이터").fill("#cloud-config\nruncmd: [echo 안녕]\n")
        form.get_by_role("button", name="등록").click()
        page.get_by_role("link", name="hello").click()
        expect(page.get_by_text("runcmd: [echo 안녕]")).to_be_visible(timeout=15_000)
        looked_at(page, "userdata")


def test_a_machine_in_five_clicks(browser: Browser, running: Running, tenant: Any) -> None:  # noqa: F811
    with window(browser, **KOREAN, storage_state=tenant) as (_, page):
        page.set_default_timeout(15_000)
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
        page.set_default_timeout(15_000)
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
        expect(page.get_by_text("made-here", exact=True).first).to_be_visible()
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
        page.set_default_timeout(15_000)
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
        expect(page.get_by_role("table", name="이벤트").get_by_text("가상머신 생성").first).to_be_visible(
            timeout=15_000
        )
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
        page.set_default_timeout(15_000)
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


def test_an_admin_resets_user_data(browser: Browser, running: Running, state: Any, admin: Cloud) -> None:  # noqa: F811
    deployed(admin, "hello-data")
    with window(browser, **KOREAN, storage_state=state) as (_, page):
        page.set_default_timeout(15_000)
        page.goto(url(running, "userdata"))
        page.get_by_role("button", name="사용자 데이터 등록").first.click()
        form = page.get_by_role("dialog")
        form.get_by_label("이름").fill("hello-motd")
        form.get_by_role("textbox", name="사용자 데이터").fill("#!/bin/sh\necho 안녕 > /etc/motd\n")
        form.get_by_role("button", name="등록").click()
        expect(page.get_by_role("link", name="hello-motd")).to_be_visible()
        page.goto(url(running, "virtualmachines?q=hello-data"))
        page.get_by_role("link", name="hello-data").click()
        page.get_by_role("button", name="더보기").click()
        page.get_by_role("menuitem", name="사용자 데이터 변경").click()
        form = page.get_by_role("dialog")
        form.get_by_role("combobox", name=re.compile("사용자 데이터")).first.click()
        page.get_by_role("option", name="hello-motd").click()
        looked_at(page, "machine-userdata")
        form.get_by_role("button", name="사용자 데이터 변경").focus()
        page.keyboard.press("Enter")
        expect(form).to_be_hidden(timeout=30_000)
        expect(page.get_by_role("link", name="hello-motd").or_(page.get_by_text("hello-motd")).first).to_be_visible(timeout=30_000)  # fmt: skip
        machine = admin.call("listVirtualMachines", {"name": "hello-data"})["virtualmachine"][0]
        assert machine["userdataname"] == "hello-motd"


def test_a_tenant_learns_what_goes_and_that_admins_bring_it_back(
    browser: Browser,
    running: Running,  # noqa: F811
    tenant: Any,
) -> None:
    with window(browser, **KOREAN, storage_state=tenant) as (_, page):
        page.set_default_timeout(15_000)
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


def test_an_admin_destroys_recovers_and_expunges(
    browser: Browser,
    running: Running,  # noqa: F811
    state: Any,  # noqa: F811
    admin: Cloud,
) -> None:
    deployed(admin, "short-lived")
    with window(browser, **KOREAN, storage_state=state) as (_, page):
        page.set_default_timeout(15_000)
        page.goto(url(running, "virtualmachines"))
        page.get_by_role("link", name="short-lived").click()
        page.get_by_role("button", name="더보기").click()
        page.get_by_role("menuitem", name=re.compile("^파기")).click()
        page.get_by_role("dialog").get_by_role("button", name="파기", exact=True).click()
        expect(page.get_by_text("파기된 가상머신입니다")).to_be_visible(timeout=30_000)
        shot(page, "tenant-machine-gone")
        page.get_by_role("button", name="파기 취소(복구)").click()
        page.get_by_role("dialog").get_by_role("button", name="복구", exact=True).click()
        expect(page.locator(".mark").first).to_have_text("정지됨", timeout=30_000)
        page.get_by_role("button", name="더보기").click()
        page.get_by_role("menuitem", name=re.compile("^파기")).click()
        page.get_by_role("dialog").get_by_role("button", name="파기", exact=True).click()
        page.get_by_role("button", name="소거").click(timeout=30_000)
        dialog = page.get_by_role("dialog")
        expect(dialog.get_by_text("영구히 사라지는 것")).to_be_visible()
        expect(dialog.get_by_role("button", name="소거", exact=True)).to_be_disabled()
        dialog.get_by_role("textbox").fill("short-lived")
        page.wait_for_timeout(300)
        shot(page, "tenant-machine-expunge")
        dialog.get_by_role("button", name="소거", exact=True).click()
        page.goto(url(running, "virtualmachines"))
        expect(page.get_by_role("table", name="가상머신")).to_be_visible()
        expect(page.get_by_role("link", name="short-lived")).to_be_hidden(timeout=30_000)


def test_many_at_once_and_only_the_failed_again(browser: Browser, running: Running, state: Any, admin: Cloud) -> None:  # noqa: F811
    for name in ("many-1", "many-2", "many-3"):
        deployed(admin, name)
    kept = admin.call("listVirtualMachines", {"name": "many-2"})["virtualmachine"][0]["id"]
    admin.call("updateVirtualMachine", {"id": kept, "deleteprotection": "true"})
    with window(browser, **KOREAN, storage_state=state) as (_, page):
        page.set_default_timeout(15_000)
        page.goto(url(running, "virtualmachines?q=many-"))
        for n in (1, 2, 3):
            page.get_by_role("checkbox", name=f"many-{n} 선택").click()
        page.get_by_role("region", name="3개 선택함").get_by_role("button", name="파기").click()
        dialog = page.get_by_role("dialog")
        expect(dialog.get_by_text("선택한 3개에 실행합니다")).to_be_visible()
        dialog.get_by_role("button", name="파기", exact=True).click()
        again = dialog.get_by_role("button", name="실패한 1개 다시 시도")
        expect(again).to_be_visible(timeout=60_000)
        expect(dialog.get_by_text("protected from deletion")).to_be_visible()
        shot(page, "tenant-many")
        accessible(page, "many")
        admin.call("updateVirtualMachine", {"id": kept, "deleteprotection": "false"})
        again.click()
        expect(dialog.get_by_label("완료")).to_have_count(3, timeout=30_000)
        dialog.get_by_role("button", name="닫기").last.click()
        page.get_by_role("banner").get_by_role("button", name=re.compile("^작업")).click()
        tray = page.get_by_role("dialog", name="작업")
        expect(tray.get_by_text("3개 중 3개를 마쳤습니다.")).to_be_visible()
        expect(tray.get_by_text("1개 중 1개를 마쳤습니다.")).to_be_visible()
        expect(tray.get_by_text("protected from deletion")).to_have_count(1)
        accessible(page, "many-tray")
        shot(page, "tenant-many-tray")


def test_a_template_by_address_and_by_file_and_shared(
    browser: Browser,
    running: Running,  # noqa: F811
    tenant: Any,
    tmp_path: Path,
) -> None:
    with window(browser, **KOREAN, storage_state=tenant) as (_, page):
        page.set_default_timeout(15_000)
        page.goto(url(running, "templates"))
        page.get_by_role("link", name="템플릿 등록").first.click()
        looked_at(page, "template-new")
        page.get_by_label("이름").fill("hello-url")
        page.locator("form").get_by_label("URL").fill("http://images.invalid/tiny.qcow2")
        page.get_by_role("button", name="등록", exact=True).click()
        expect(page.get_by_role("heading", name="hello-url", level=1)).to_be_visible()
        expect(page.get_by_role("tab", name="Zone별 상태")).to_be_visible()
        looked_at(page, "template")
        page.goto(url(running, "templates-new"))
        page.get_by_text("파일 업로드").click()
        page.get_by_label("이름").fill("hello-file")
        page.get_by_role("button", name="업로드", exact=True).click()
        expect(page.get_by_text("꼭 필요한 값입니다.")).to_be_visible()
        image = tmp_path / "hello.qcow2"
        header = b"QFI\xfb" + (3).to_bytes(4, "big") + bytes(16) + (1 << 30).to_bytes(8, "big")
        image.write_bytes(header + bytes(3 << 20))
        page.locator("input[type=file]").set_input_files(image)
        looked_at(page, "template-file")
        page.get_by_role("button", name="업로드", exact=True).click()
        expect(page.get_by_role("heading", name="템플릿", level=1)).to_be_visible()
        expect(page.get_by_text("보냈습니다", exact=True)).to_be_visible(timeout=30_000)
        expect(page.get_by_role("row", name=re.compile("hello-file.*사용 가능"))).to_be_visible(timeout=30_000)
        looked_at(page, "templates")
        page.get_by_role("link", name="hello-file").click()
        page.get_by_role("tab", name="공유").click()
        page.get_by_placeholder("입력 후 Enter").fill("admin")
        page.keyboard.press("Enter")
        page.get_by_role("button", name="공유", exact=True).click()
        expect(page.get_by_role("button", name="admin과 공유 중지")).to_be_visible()
        looked_at(page, "template-share")
        page.get_by_role("button", name="admin과 공유 중지").click()
        expect(page.get_by_text("공유한 계정이 없습니다.")).to_be_visible()


def test_an_upload_stops_and_goes_on(
    browser: Browser,
    running: Running,  # noqa: F811
    tenant: Any,
    tmp_path: Path,
) -> None:
    image, other = tmp_path / "hello-large.qcow2", tmp_path / "other.qcow2"
    header = b"QFI\xfb" + (3).to_bytes(4, "big") + bytes(16) + (1 << 30).to_bytes(8, "big")
    image.write_bytes(header + bytes(12 << 20))
    other.write_bytes(header + bytes(1 << 20))
    starts: list[int] = []

    def note(request: Request) -> None:
        if request.method == "PATCH":
            starts.append(int(request.headers["upload-offset"]))

    def slow(page: Page, bytes_per_second: int) -> None:
        line = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": bytes_per_second}
        page.context.new_cdp_session(page).send("Network.emulateNetworkConditions", line)

    with window(browser, **KOREAN, storage_state=tenant) as (_, page):
        page.set_default_timeout(15_000)
        page.on("request", note)
        page.goto(url(running, "templates-new"))
        page.get_by_text("파일 업로드").click()
        page.get_by_label("이름").fill("hello-large")
        page.locator("input[type=file]").set_input_files(image)
        slow(page, 2 << 20)
        page.get_by_role("button", name="업로드", exact=True).click()
        sending = page.get_by_role("group", name="hello-large")
        expect(sending.get_by_text(re.compile(r"^[2-9]\d% · 12 MiB$"))).to_be_visible(timeout=30_000)
        looked_at(page, "upload")
        # Stopped and gone on with, by keyboard.
        sending.get_by_role("button", name="중지").focus()
        page.keyboard.press("Enter")
        expect(sending.get_by_text(re.compile("멈췄습니다"))).to_be_visible()
        looked_at(page, "upload-stopped")
        sending.get_by_role("button", name="이어서 보내기").focus()
        page.keyboard.press("Enter")
        expect(sending.get_by_text(re.compile(r"^[4-8]\d% · 12 MiB$"))).to_be_visible(timeout=60_000)
        assert starts[0] == 0 and starts[1] > 1 << 20, starts
        # The page is left in the middle and comes back; the same file goes on where it was, another one is refused.
        page.on("dialog", lambda dialog: dialog.accept())
        page.reload()
        waiting = page.get_by_role("group", name="hello-large")
        expect(waiting.get_by_text("이어서 보내려면 같은 파일(hello-large.qcow2)을 다시 선택해 주세요")).to_be_visible(timeout=90_000)
        looked_at(page, "upload-again")
        page.locator("input[type=file]").first.set_input_files(other)
        expect(waiting.get_by_text("다른 파일입니다. hello-large.qcow2")).to_be_visible()
        page.locator("input[type=file]").first.set_input_files(image)
        expect(waiting.get_by_text("보냈습니다", exact=True)).to_be_visible(timeout=60_000)
        assert starts[2] > starts[1], starts
        expect(page.get_by_role("row", name=re.compile("hello-large.*사용 가능"))).to_be_visible(timeout=30_000)
        # Nothing is left to go on with.
        page.reload()
        expect(page.get_by_role("row", name=re.compile("hello-large.*사용 가능"))).to_be_visible(timeout=30_000)
        expect(page.get_by_role("group", name="hello-large")).to_have_count(0)
    with window(browser, **PHONE, storage_state=tenant) as (_, page):
        page.set_default_timeout(15_000)
        page.goto(url(running, "templates-new"))
        page.get_by_text("파일 업로드").tap()
        page.get_by_label("이름").fill("hello-phone-file")
        page.locator("input[type=file]").set_input_files(image)
        slow(page, 2 << 20)
        page.get_by_role("button", name="업로드", exact=True).tap()
        sending = page.get_by_role("group", name="hello-phone-file")
        expect(sending.get_by_text(re.compile(r"^[2-9]\d% · 12 MiB$"))).to_be_visible(timeout=30_000)
        sending.get_by_role("button", name="중지").tap()
        expect(sending.get_by_role("button", name="이어서 보내기")).to_be_visible()
        looked_at(page, "phone-upload-stopped")
        sending.get_by_role("button", name="목록에서 지우기").tap()
        expect(sending).to_have_count(0)


def test_the_screen_of_a_machine_in_its_page_and_in_a_window(browser: Browser, running: Running, state: Any) -> None:  # noqa: F811
    with window(browser, **KOREAN, storage_state=state) as (context, page):
        page.set_default_timeout(15_000)
        page.goto(url(running, "virtualmachines"))
        page.get_by_role("link", name="first").click()
        page.get_by_role("button", name="콘솔", exact=True).click()
        inside = page.frame_locator("iframe[title='first 콘솔']")
        expect(inside.get_by_role("heading", name="first")).to_be_visible()
        expect(inside.get_by_role("button", name="한/영")).to_be_visible()
        page.wait_for_timeout(1500)
        shot(page, "tenant-console")
        with context.expect_page() as opened:
            page.get_by_role("button", name="새 창에서 콘솔 열기").first.click()
        other = opened.value
        other.wait_for_url(re.compile(r"/client/console/vnc\.html"))
        expect(other.get_by_role("heading", name="first")).to_be_visible()


def test_the_day_on_a_telephone(browser: Browser, running: Running, tenant: Any) -> None:  # noqa: F811
    with window(browser, **PHONE, storage_state=tenant) as (_, page):
        page.set_default_timeout(15_000)
        page.goto(url(running))
        page.wait_for_selector("#main h1")
        looked_at(page, "phone-home")
        for path in (
            "virtualmachines",
            "networks",
            "networks-new",
            "templates",
            "templates-new",
            "sshkeypairs",
            "publicipaddresses",
        ):
            page.goto(url(running, path))
            page.wait_for_selector("#main h1")
            page.wait_for_timeout(700)
            looked_at(page, f"phone-{path}")
        page.goto(url(running, "virtualmachines-new"))
        expect(page.get_by_role("radio", name=re.compile("tiny-linux"))).to_be_checked()
        for n in (1, 2, 3):
            looked_at(page, f"phone-deploy-{n}")
            page.get_by_role("button", name="다음").tap()
        expect(page.get_by_text("배치할 수 있는 호스트: 3개")).to_be_visible()
        page.get_by_label("이름").fill("hello-phone")
        looked_at(page, "phone-deploy-4")
        page.get_by_role("button", name="생성만").tap()
        expect(page.get_by_role("heading", name="hello-phone", level=1)).to_be_visible()
        looked_at(page, "phone-machine")


def test_english_and_dark(browser: Browser, running: Running, tenant: Any) -> None:  # noqa: F811
    kind = {**KOREAN, "locale": "en-US", "color_scheme": "dark"}
    with window(browser, **kind, storage_state=english(tenant)) as (_, page):
        page.set_default_timeout(15_000)
        page.goto(url(running))
        expect(page.get_by_role("heading", level=1)).to_contain_text("민수")
        looked_at(page, "dark-home", english=True)
        page.get_by_role("link", name="New virtual machine").click()
        expect(page.get_by_role("radio", name=re.compile("tiny-linux"))).to_be_checked()
        for n in (1, 2, 3):
            looked_at(page, f"dark-deploy-{n}", english=True)
            page.get_by_role("button", name="Next").click()
        expect(page.get_by_text(re.compile("Hosts that fit|hosts"))).to_be_visible()
        looked_at(page, "dark-deploy-4", english=True)
        text = page.locator("#main").inner_text()
        assert not re.search("[가-힣]", text.replace("업무망", "")), re.findall(".*[가-힣].*", text)
        for path in ("networks-new", "templates-new", "sshkeypairs"):
            page.goto(url(running, path))
            page.wait_for_selector("#main h1")
            page.wait_for_timeout(500)
            looked_at(page, f"dark-{path}", english=True)


def test_five_thousand_machines_are_there_in_a_second(browser: Browser, running: Running, state: Any) -> None:  # noqa: F811
    multiplied(running, 5000)
    with window(browser, **KOREAN, storage_state=state) as (_, page):
        page.goto(url(running))
        page.wait_for_selector("#main h1")
        took = []
        for _ in range(3):
            page.reload()
            page.wait_for_selector("#main h1")
            page.wait_for_timeout(1500)
            began = time.monotonic()
            page.locator("nav").get_by_role("link", name="가상머신", exact=True).first.click()
            page.get_by_role("link", name=re.compile("copy-")).first.wait_for()
            took.append(time.monotonic() - began)
            if took[-1] <= 1:
                break
            page.goto(url(running))
        assert min(took) <= 1, took
        expect(page.get_by_role("table", name="가상머신")).to_have_attribute(
            "aria-rowcount", re.compile("^5[0-9]{3}$"), timeout=60_000
        )
        assert page.locator("#main [role=row]").count() < 80, "only what is on the screen is drawn"
        page.get_by_label("가상머신 검색").fill("copy-4321")
        expect(page.get_by_role("table", name="가상머신")).to_have_attribute("aria-rowcount", "2")
        shot(page, "tenant-list-5000")
        with page.expect_download() as saved:
            page.get_by_role("button", name="CSV로 저장").click()
        assert "copy-4321" in Path(saved.value.path()).read_text()


def deployed(admin: Cloud, name: str) -> None:
    """A stopped machine of the admin, like the first one."""
    first = admin.call("listVirtualMachines", {"name": "first"})["virtualmachine"][0]
    asked = {n: first[n] for n in ("zoneid", "templateid", "serviceofferingid")}
    told = admin.call(
        "deployVirtualMachine", {**asked, "name": name, "networkids": first["nic"][0]["networkid"], "startvm": "false"}
    )
    while admin.call("queryAsyncJobResult", {"jobid": told["jobid"]})["jobstatus"] == 0:
        time.sleep(0.2)


def english(kept: Any) -> Any:
    """The same sign-in in a browser that speaks English and has no theme chosen."""
    drop = ("mold.language", "mold.theme")
    return {
        **kept,
        "origins": [
            {**o, "localStorage": [e for e in o["localStorage"] if e["name"] not in drop]} for o in kept["origins"]
        ],
    }
