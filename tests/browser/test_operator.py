"""The operator's half of the web console: from an empty system to a running zone, and what follows."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from browserkit import DESKTOP, PHONE, window
from clouds import Running, free_ports
from clouds import running_here as running  # noqa: F401
from playwright.sync_api import Browser, Page, expect
from test_app import KOREAN, accessible, fits, no_english, shot, sign_in, url

pytestmark = pytest.mark.browser
PASSWORD = "Operators-1-Password"


class Program:
    """A program that signs its requests with an API key."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint

    def call(self, key: str, secret: str, command: str) -> int:
        """The status of the answer."""
        query = urllib.parse.urlencode(sorted({"command": command, "response": "json", "apiKey": key}.items()))
        made = hmac.new(secret.encode(), query.lower().encode(), hashlib.sha1).digest()
        signed = f"{self.endpoint}?{query}&signature={urllib.parse.quote(base64.b64encode(made), safe='')}"
        try:
            with urllib.request.urlopen(signed, timeout=20) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as no:
            return no.code


@pytest.fixture(scope="module")
def state(browser: Browser, running: Running) -> dict[str, Any]:  # noqa: F811
    """A signed-in admin's cookies and storage."""
    with window(browser, **KOREAN) as (context, page):
        sign_in(page, running)
        return context.storage_state()  # type: ignore[return-value]


@pytest.fixture
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A management server of its own with nothing in it."""
    data = tmp_path_factory.mktemp("empty")
    port, agents = free_ports(2)
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MOLD_")} | {"MOLD_ADMIN_PASSWORD": PASSWORD}
    with (data / "manager.log").open("w") as log:
        made = subprocess.Popen(
            [sys.executable, "-m", "mold.server.main", "--data-dir", str(data), "--port", str(port), "--agent-port", str(agents)],
            stdout=log, stderr=subprocess.STDOUT, env=environment,
        )  # fmt: skip
        try:
            until = time.monotonic() + 60
            while True:
                try:
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/client/", timeout=2).close()
                    break
                except OSError:
                    assert made.poll() is None and time.monotonic() < until, (data / "manager.log").read_text()
                    time.sleep(0.2)
            about = {"url": f"http://127.0.0.1:{port}/client", "username": "admin", "password": PASSWORD}
            yield Running(data, about)
            assert '"exception"' not in (data / "manager.log").read_text()
        finally:
            made.send_signal(signal.SIGINT)
            try:
                made.wait(30)
            except subprocess.TimeoutExpired:
                made.kill()
                made.wait()


def opened(page: Page, cloud: Running, path: str) -> None:
    page.goto(url(cloud, path))
    page.wait_for_selector("#main h1", timeout=30_000)
    page.wait_for_selector("#main [role=status]", state="detached", timeout=15_000)
    page.wait_for_timeout(250)


def checked(page: Page, name: str) -> None:
    shot(page, f"op-{name}")
    no_english(page, name)
    accessible(page, name)


def choose(page: Page, label: str, option: str) -> None:
    """Choose from a list as people do: open it, press what is wanted."""
    page.get_by_role("combobox", name=label).or_(page.get_by_label(label)).first.click()
    page.get_by_role("option", name=option, exact=True).click()


def call(page: Page, command: str, **params: str) -> dict[str, Any]:
    """A command with the session of the page."""
    answer: dict[str, Any] = page.evaluate(
        """async ([command, params]) => {
          const key = JSON.parse(localStorage.getItem("mold.session")).sessionkey;
          const body = new URLSearchParams({command, response: "json", sessionkey: key, ...params});
          return Object.values(await (await fetch("/client/api", {method: "POST", body})).json())[0];
        }""",
        [command, params],
    )
    return answer


def test_from_nothing_to_a_running_zone(browser: Browser, empty: Running) -> None:
    with window(browser, **KOREAN) as (context, page):
        sign_in(page, empty)
        expect(page.get_by_text("아직 Zone이 없습니다")).to_be_visible(timeout=15_000)
        checked(page, "home-empty")
        page.get_by_role("link", name=re.compile("Zone 설정 마법사")).click()
        expect(page.get_by_role("heading", name="Zone 설정 마법사", level=1)).to_be_visible()
        save = page.get_by_role("button", name="저장하고 계속")
        save.click()
        expect(page.get_by_text("꼭 필요한 값입니다.").first).to_be_visible()
        expect(page.get_by_label("DNS 서버 1", exact=False).first).to_be_focused()
        checked(page, "setup-zone-missing")
        page.get_by_label("이름").fill("zone1")
        page.get_by_label("DNS 서버 1").first.fill("192.0.2.999")
        page.get_by_label("내부 DNS 서버 1").fill("192.0.2.53")
        save.click()
        expect(page.get_by_text("IPv4 주소를 입력해 주세요", exact=False)).to_be_visible()
        page.get_by_label("DNS 서버 1").first.fill("192.0.2.53")
        save.click()
        expect(page.get_by_role("heading", name="물리 네트워크", level=2)).to_be_visible(timeout=15_000)
        checked(page, "setup-physical")
        save.click()
        expect(page.get_by_role("heading", name="공인 IP 범위", level=2)).to_be_visible(timeout=30_000)

        page.get_by_label("게이트웨이").fill("203.0.113.1")
        page.get_by_label("시작 IP").fill("203.0.113.10")
        page.get_by_label("끝 IP").fill("198.51.100.20")
        save.click()
        expect(page.get_by_text("게이트웨이와 같은 대역의 주소여야 합니다.")).to_be_visible()
        page.get_by_label("끝 IP").fill("203.0.113.99")
        checked(page, "setup-public")
        save.click()
        expect(page.get_by_role("heading", name="Pod", level=2)).to_be_visible(timeout=15_000)
        # The browser is closed. What was done is on the server: the wizard goes on where it was.
        kept = context.storage_state()
    with window(browser, **KOREAN, storage_state=kept) as (_, page):
        opened(page, empty, "zones-new")
        expect(page.get_by_role("heading", name="Pod", level=2)).to_be_visible(timeout=15_000)
        expect(page.get_by_text("9단계 중 3단계를 마쳤습니다.")).to_be_visible()
        shot(page, "op-setup-resumed")
        save = page.get_by_role("button", name="저장하고 계속")
        page.get_by_label("게이트웨이").fill("172.30.0.1")
        page.get_by_label("시작 IP").fill("172.30.0.10")
        page.get_by_label("끝 IP").fill("172.30.0.250")
        save.click()
        expect(page.get_by_role("heading", name="클러스터", level=2)).to_be_visible(timeout=15_000)
        choose(page, "하이퍼바이저", "시뮬레이터")
        checked(page, "setup-cluster")
        save.click()
        expect(page.get_by_role("heading", name="호스트", level=2)).to_be_visible(timeout=15_000)
        page.get_by_label("호스트 이름 또는 IP 주소").fill("sim-1")
        save.click()
        expect(page.get_by_role("link", name="sim-1")).to_be_visible(timeout=60_000)
        checked(page, "setup-host")
        page.get_by_role("button", name="호스트 추가").click()
        page.get_by_label("호스트 이름 또는 IP 주소").fill("sim-1")
        save.click()
        expect(page.get_by_role("alert")).to_contain_text("sim-1", timeout=30_000)
        shot(page, "op-setup-host-refused")
        page.get_by_role("button", name="다음").click()
        page.get_by_label("디렉터리 경로").fill(str(empty.data / "primary"))
        checked(page, "setup-primary")
        save.click()
        expect(page.get_by_role("heading", name="2차 스토리지", level=2)).to_be_visible(timeout=30_000)
        page.get_by_label("디렉터리 경로").fill("secondary")
        save.click()
        expect(page.get_by_text("/로 시작하는 절대 경로를 입력해 주세요.")).to_be_visible()
        page.get_by_label("디렉터리 경로").fill(str(empty.data / "secondary"))
        save.click()
        expect(page.get_by_role("heading", name="확인과 사용 시작", level=2)).to_be_visible(timeout=30_000)
        expect(page.get_by_text("확인 필요")).to_have_count(0, timeout=20_000)
        checked(page, "setup-check")
        page.get_by_role("button", name="Zone 사용 시작").click()
        expect(page.get_by_text("zone1을 사용할 수 있습니다").or_(page.get_by_text("zone1를 사용할 수 있습니다"))).to_be_visible(timeout=15_000)
        checked(page, "setup-done")
        zone = call(page, "listZones")["zone"][0]
        assert (zone["name"], zone["allocationstate"]) == ("zone1", "Enabled")
        assert call(page, "listHosts", type="Routing")["host"][0]["state"] == "Up"
        opened(page, empty, "infrastructure")
        expect(page.get_by_role("listitem", name=re.compile("sim-1"))).to_be_visible(timeout=15_000)
        checked(page, "infrastructure-new")


def test_the_wizard_on_a_telephone(browser: Browser, running: Running, state: Any) -> None:  # noqa: F811
    with window(browser, **PHONE, storage_state=state) as (_, page):
        opened(page, running, "zones-new?zone=new")
        expect(page.get_by_role("button", name="저장하고 계속")).to_be_visible()
        fits(page)
        checked(page, "phone-setup")


def test_dashboard_and_tree(browser: Browser, running: Running, state: Any) -> None:  # noqa: F811
    with window(browser, **KOREAN, storage_state=state) as (_, page):
        opened(page, running, "")
        expect(page.get_by_role("region", name="호스트").get_by_text("정상 3")).to_be_visible(timeout=15_000)
        expect(page.get_by_role("region", name="용량").get_by_role("progressbar").first).to_be_visible()
        page.wait_for_timeout(800)
        checked(page, "home")
        page.get_by_role("link", name="호스트 정상 3").click()
        expect(page.get_by_role("heading", name="호스트", level=1)).to_be_visible()
        assert "state=Up" in page.url
        opened(page, running, "infrastructure")
        expect(page.get_by_role("listitem", name=re.compile("sim-3"))).to_be_visible(timeout=15_000)
        checked(page, "infrastructure")
        page.get_by_role("button", name="pod1 접기").click()
        expect(page.get_by_role("listitem", name=re.compile("cluster1"))).to_be_hidden()
    with window(browser, **{**DESKTOP, "locale": "en-US", "color_scheme": "dark"}, storage_state=state) as (_, page):
        page.add_init_script("localStorage.setItem('mold.language', 'en'); localStorage.setItem('mold.theme', 'dark')")
        for path in ("", "infrastructure", "configurations", "resourcelimits"):
            opened(page, running, path)
            page.wait_for_timeout(600)
            shot(page, f"op-dark-en-{path or 'home'}")
            accessible(page, f"dark {path}")


def test_a_host_takes_no_new_machines(browser: Browser, running: Running, state: Any) -> None:  # noqa: F811
    with window(browser, **KOREAN, storage_state=state) as (_, page):
        opened(page, running, "hosts")
        page.get_by_role("link", name="sim-3").click()
        expect(page.get_by_role("heading", name="sim-3", level=1)).to_be_visible()
        switch = page.get_by_role("switch", name="새 가상머신 배치")
        expect(switch).to_be_checked()
        checked(page, "host")
        switch.press("Space")
        expect(page.get_by_text("새 가상머신이 배치되지 않습니다", exact=False)).to_be_visible(timeout=15_000)
        host = call(page, "listHosts", name="sim-3")["host"][0]
        assert host["resourcestate"] == "Disabled"
        switch.press("Space")
        expect(page.get_by_text("새 가상머신이 이곳에 배치될 수 있습니다.")).to_be_visible(timeout=15_000)
        page.get_by_role("tab", name="가상머신").click()
        expect(page.get_by_role("heading", name="가상머신", level=2)).to_be_visible(timeout=15_000)
        page.get_by_role("button", name="다시 연결").click()
        page.get_by_role("dialog").get_by_role("button", name="다시 연결").click()
        expect(page.get_by_text("sim-3 · 호스트 다시 연결").first).to_be_visible(timeout=20_000)


def test_a_host_is_added_and_removed(browser: Browser, running: Running, state: Any) -> None:  # noqa: F811
    with window(browser, **KOREAN, storage_state=state) as (_, page):
        opened(page, running, "hosts")
        page.get_by_role("button", name="호스트 추가").click()
        form = page.get_by_role("dialog")
        for label, option in (("Zone", "zone1"), ("Pod", "pod1"), ("클러스터", "cluster1")):
            form.get_by_label(label, exact=True).or_(form.get_by_label(f"{label} *", exact=True)).first.click()
            page.get_by_role("option", name=option, exact=True).click()
        kind = form.get_by_label("하이퍼바이저").first
        kind.fill("Simulator")
        page.get_by_role("option", name="Simulator", exact=True).click()
        form.get_by_label("주소 (URL)").fill("http://sim-77")
        shot(page, "op-host-add")
        accessible(page, "add host")
        form.get_by_role("button", name="호스트 추가").or_(form.get_by_role("button", name="추가", exact=True)).first.click()
        expect(page.get_by_role("link", name="sim-77")).to_be_visible(timeout=30_000)
        page.get_by_role("link", name="sim-77").click()
        expect(page.locator(".mark").first).to_have_text("정상", timeout=30_000)
        page.get_by_role("switch", name="새 가상머신 배치").press("Space")
        expect(page.get_by_text("새 가상머신이 배치되지 않습니다", exact=False)).to_be_visible(timeout=15_000)
        page.get_by_role("button", name="더보기").click()
        page.get_by_role("menuitem", name="삭제").click()
        box = page.get_by_role("dialog")
        delete = box.get_by_role("button", name="삭제")
        expect(delete).to_be_disabled()
        box.get_by_label(re.compile("이름을 입력해 주세요")).fill("sim-77")
        delete.click()
        expect(box).to_be_hidden(timeout=20_000)
        assert "host" not in call(page, "listHosts", name="sim-77")


def test_settings(browser: Browser, running: Running, state: Any) -> None:  # noqa: F811
    with window(browser, **KOREAN, storage_state=state) as (_, page):
        opened(page, running, "configurations")
        checked(page, "settings")
        page.get_by_label("설정 검색").fill("expunge.delay")
        line = page.get_by_role("listitem").filter(has_text="expunge.delay").first
        expect(line).to_be_visible()
        line.get_by_role("button", name=re.compile("수정$")).click()
        box = line.get_by_role("textbox")
        box.fill("-5")
        line.get_by_role("button", name="저장").click()
        expect(line.get_by_role("alert")).to_contain_text("입력한 값이 올바르지 않습니다", timeout=15_000)
        shot(page, "op-settings-refused")
        box.fill("4321")
        line.get_by_role("button", name="저장").click()
        expect(line.get_by_text("변경됨")).to_be_visible(timeout=15_000)
        expect(line.get_by_text("4,321초", exact=False)).to_be_visible()
        expect(line.get_by_text("변경한 사람 admin", exact=False)).to_be_visible()
        checked(page, "settings-changed")
        # Back to what it was by the keyboard, and that taken back in turn.
        line.get_by_role("button", name=re.compile("이전 값으로$")).press("Enter")
        expect(line.get_by_text("4,321초", exact=False)).to_have_count(0, timeout=15_000)
        page.get_by_role("button", name="실행 취소").last.press("Enter")
        expect(line.get_by_text("4,321초", exact=False)).to_be_visible(timeout=15_000)
        line.get_by_role("button", name=re.compile("변경 이력$")).press("Enter")
        told = page.get_by_role("list", name="변경 이력")
        expect(told.get_by_role("listitem")).to_have_count(3, timeout=15_000)
        expect(told.get_by_role("listitem").first).to_contain_text("admin")
        expect(told.get_by_role("listitem").first.locator("b")).to_have_text("4321")
        checked(page, "settings-history")
        page.keyboard.press("Escape")
        page.get_by_label("설정 검색").fill("")
        page.get_by_label(re.compile("변경한 것만")).check()
        expect(page.get_by_role("listitem").filter(has_text="expunge.delay")).to_be_visible()
        line = page.get_by_role("listitem").filter(has_text="expunge.delay").first
        line.get_by_role("button", name=re.compile("되돌리기$")).click()
        expect(page.get_by_role("listitem").filter(has_text="expunge.delay")).to_have_count(0, timeout=15_000)
        now = call(page, "listConfigurations", name="expunge.delay")["configuration"][0]
        assert now["value"] == now["defaultvalue"]
        # In Korean too.
        page.get_by_label(re.compile("변경한 것만")).uncheck()
        page.get_by_label("설정 검색").fill("소거 지연")
        expect(page.get_by_role("listitem").filter(has_text="expunge.delay")).to_be_visible()


def test_settings_of_one_zone(browser: Browser, running: Running, state: Any) -> None:  # noqa: F811
    with window(browser, **KOREAN, storage_state=state) as (_, page):
        opened(page, running, "zones")
        page.get_by_role("link", name="zone1").click()
        page.get_by_role("tab", name="개별 설정").click()
        expect(page.get_by_text("여기에서만 다르게 쓸 값", exact=False)).to_be_visible(timeout=15_000)
        expect(page.get_by_role("listitem").first).to_be_visible(timeout=15_000)
        checked(page, "zone-settings")


def test_domains_accounts_users_and_limits(browser: Browser, running: Running, state: Any) -> None:  # noqa: F811
    with window(browser, **KOREAN, storage_state=state) as (_, page):
        opened(page, running, "domains")
        page.get_by_role("button", name="ROOT 아래에 도메인 생성").click()
        form = page.get_by_role("dialog")
        form.get_by_label("이름").fill("sales")
        form.get_by_role("button", name=re.compile("생성")).click()
        expect(page.get_by_role("listitem", name="sales")).to_be_visible(timeout=20_000)
        checked(page, "domains")
        page.get_by_role("link", name="sales").click()
        page.get_by_role("tab", name="계정").click()
        page.get_by_role("button", name="계정 생성").click()
        form = page.get_by_role("dialog")
        values = {"사용자 이름": "minji", "비밀번호": "Sales-Minji-2026", "성": "김", "이메일": "minji@sales.example"}
        for label, value in values.items():
            form.get_by_label(label, exact=True).or_(form.get_by_label(f"{label} *", exact=True)).first.fill(value)
        form.get_by_label("이름", exact=True).or_(form.get_by_label("이름 *", exact=True)).first.fill("민지")
        form.get_by_label("계정", exact=True).first.fill("sales-team")
        form.get_by_role("combobox", name="역할").click()
        page.get_by_role("option", name="User", exact=True).click()
        shot(page, "op-account-form")
        accessible(page, "account form")
        form.get_by_role("button", name=re.compile("생성")).click()
        expect(page.get_by_role("link", name="sales-team")).to_be_visible(timeout=20_000)
        page.get_by_role("link", name="sales-team").click()
        expect(page.get_by_role("heading", name="sales-team", level=1)).to_be_visible()
        page.get_by_role("tab", name="사용자").click()
        expect(page.get_by_role("link", name="minji")).to_be_visible(timeout=15_000)
        shot(page, "op-account-users")
        page.get_by_role("tab", name="한도").click()
        line = page.get_by_role("listitem", name="가상머신")
        expect(line).to_be_visible(timeout=15_000)
        checked(page, "limits")
        line.get_by_role("button", name="가상머신 한도 수정").click()
        line.get_by_role("textbox").fill("7")
        line.get_by_role("button", name="저장").click()
        expect(line.get_by_text("0 / 7", exact=False)).to_be_visible(timeout=15_000)
        domain = call(page, "listDomains", name="sales")["domain"][0]["id"]
        limits = call(page, "listResourceLimits", account="sales-team", domainid=domain, resourcetype="0")
        assert int(limits["resourcelimit"][0]["max"]) == 7
        # The scope lies in the address, and somebody else who opens it sees the same.
        opened(page, running, f"users?domain={domain}")
        expect(page.get_by_role("link", name="minji")).to_be_visible(timeout=15_000)
        expect(page.get_by_role("link", name="admin", exact=True)).to_have_count(0)
        shot(page, "op-scope")
        page.get_by_role("link", name="minji").click()
        page.get_by_role("tab", name="API 키").click()
        page.get_by_role("button", name="새 API 키 만들기").click()
        page.get_by_role("dialog").get_by_role("button", name="만들기", exact=True).click()
        expect(page.get_by_text("비밀키는 지금만 볼 수 있습니다", exact=False)).to_be_visible(timeout=15_000)
        assert f"domain={domain}" in page.url
        accessible(page, "user keys")


def test_scope_is_chosen_and_carried(browser: Browser, running: Running, state: Any) -> None:  # noqa: F811
    with window(browser, **KOREAN, storage_state=state) as (_, page):
        opened(page, running, "virtualmachines")
        page.get_by_role("button", name=re.compile("^범위")).click()
        page.get_by_role("combobox", name="도메인", exact=True).click()
        page.get_by_role("option", name="ROOT", exact=True).click()
        expect(page).to_have_url(re.compile("domain="))
        page.keyboard.press("Escape")
        there = page.url
        page.get_by_role("navigation", name="메뉴").get_by_role("link", name="볼륨", exact=True).click()
        expect(page).to_have_url(re.compile("volumes.*domain="))
    with window(browser, **KOREAN, storage_state=state) as (_, page):
        page.goto(there)
        expect(page.get_by_role("button", name="범위: ROOT")).to_be_visible(timeout=15_000)
        expect(page.get_by_role("link", name="first")).to_be_visible(timeout=15_000)


def test_events_and_jobs(browser: Browser, running: Running, state: Any) -> None:  # noqa: F811
    with window(browser, **KOREAN, storage_state=state) as (_, page):
        opened(page, running, "eventlog")
        page.get_by_label("이벤트 검색").fill("zone1")
        page.get_by_role("link", name="zone1").first.click()
        expect(page).to_have_url(re.compile(r"/zones/"))
        opened(page, running, "asyncjobs")
        checked(page, "jobs")
        page.get_by_role("table").get_by_role("link").first.click()
        expect(page.get_by_role("heading", name="단계", level=2)).to_be_visible(timeout=15_000)
        shown = page.get_by_role("heading", level=1).inner_text()
        job = call(page, "queryAsyncJobResult", jobid=page.url.split("/")[-1].split("?")[0])
        assert job["jobstatus"] == 1 and shown
        checked(page, "job")


def test_offerings(browser: Browser, running: Running, state: Any) -> None:  # noqa: F811
    with window(browser, **KOREAN, storage_state=state) as (_, page):
        opened(page, running, "serviceofferings")
        page.get_by_role("button", name="컴퓨트 오퍼링 생성").click()
        form = page.get_by_role("dialog")
        form.get_by_label(re.compile("^이름")).first.fill("medium")
        form.get_by_label("CPU 코어").fill("2")
        form.get_by_label("CPU 속도 (MHz)").fill("1000")
        form.get_by_label("메모리").first.fill("2048")
        shot(page, "op-offering-form")
        accessible(page, "offering form")
        form.get_by_role("button", name=re.compile("생성")).click()
        expect(page.get_by_role("link", name="medium", exact=True)).to_be_visible(timeout=15_000)
        for path in ("serviceofferings", "diskofferings", "networkofferings"):
            opened(page, running, path)
            checked(page, path)


def test_a_role_is_made_and_its_rules_are_ordered(browser: Browser, running: Running, state: Any) -> None:  # noqa: F811
    with window(browser, **KOREAN, storage_state=state) as (_, page):
        opened(page, running, "roles")
        page.get_by_role("link", name="User", exact=True).click()
        page.get_by_role("tab", name="규칙과 미리 보기").click()
        expect(page.get_by_text("기본 제공 역할은 바꿀 수 없습니다", exact=False).first).to_be_visible(timeout=15_000)
        checked(page, "role-supplied")
        opened(page, running, "roles")
        page.get_by_role("button", name="역할 생성").click()
        form = page.get_by_role("dialog")
        form.get_by_label(re.compile("^이름")).first.fill("first-line")
        form.get_by_role("combobox", name="역할").click()
        page.get_by_role("option", name="Read-Only User", exact=True).click()
        form.get_by_role("button", name="생성", exact=True).click()
        page.get_by_role("link", name="first-line").click(timeout=20_000)
        page.get_by_role("tab", name="규칙과 미리 보기").click()
        page.get_by_label("명령 검색").fill("stopVirtualMachine")
        cell = page.get_by_role("radiogroup", name="가상머신 정지 권한")
        expect(cell).to_be_visible(timeout=15_000)
        expect(page.get_by_text("거부").first).to_be_visible()
        cell.get_by_text("허용").click()
        expect(cell.get_by_role("radio", name="허용")).to_be_checked(timeout=15_000)
        checked(page, "role-matrix")
        role = call(page, "listRoles", name="first-line")["role"][0]["id"]
        rules = call(page, "listRolePermissions", roleid=role)["rolepermission"]
        assert (rules[0]["rule"], rules[0]["permission"]) == ("stopVirtualMachine", "allow")
        page.get_by_role("tab", name=re.compile("^규칙 순서")).click()
        page.get_by_role("combobox", name="규칙").fill("listHosts")
        page.keyboard.press("Escape")
        page.get_by_role("button", name="규칙 추가").click()
        last = page.get_by_role("list", name="규칙 순서").get_by_role("listitem").last
        expect(last).to_contain_text("listHosts", timeout=15_000)
        last.focus()
        page.keyboard.press("Alt+ArrowUp")
        page.wait_for_timeout(1500)
        checked(page, "role-order")
        now = [r["rule"] for r in call(page, "listRolePermissions", roleid=role)["rolepermission"]]
        assert now.index("listHosts") == len(now) - 2
        page.get_by_role("tab", name="이 역할로 보기").click()
        menu = page.get_by_role("region", name="이 역할로 보기")
        expect(menu.get_by_text("가상머신", exact=True)).to_be_visible()
        expect(menu.get_by_text("글로벌 설정")).to_have_count(0)
        checked(page, "role-menu")
    with window(browser, **PHONE, storage_state=state) as (_, page):
        opened(page, running, f"roles/{role}?tab=rules")
        expect(page.get_by_text("휴대전화에서는 보기만 할 수 있습니다", exact=False)).to_be_visible(timeout=15_000)
        fits(page)
        checked(page, "phone-role")


def test_a_project_and_its_members(browser: Browser, running: Running, state: Any) -> None:  # noqa: F811
    with window(browser, **KOREAN, storage_state=state) as (_, page):
        opened(page, running, "projects")
        call(page, "createAccount", username="hana", password="Member-Hana-2026", email="hana@x.example", firstname="하나", lastname="이", account="hana", accounttype="0")
        page.get_by_role("button", name="프로젝트 생성").first.click()
        form = page.get_by_role("dialog")
        form.get_by_label(re.compile("^이름")).first.fill("first-project")
        form.get_by_role("button", name="생성", exact=True).click()
        page.get_by_role("link", name="first-project").click(timeout=30_000)
        page.get_by_role("tab", name="구성원").click()
        members = page.get_by_role("list", name="구성원")
        expect(members.get_by_role("listitem")).to_have_count(1, timeout=15_000)
        page.get_by_role("button", name=re.compile("계정")).click()
        form = page.get_by_role("dialog")
        form.get_by_label("계정", exact=True).first.fill("hana")
        form.get_by_role("button", name=re.compile("추가")).click()
        expect(members.get_by_text("hana")).to_be_visible(timeout=20_000)
        checked(page, "project-members")
        members.get_by_role("button", name="hana 작업 메뉴").click()
        page.get_by_role("menuitem", name="프로젝트에서 내보내기").click()
        expect(members.get_by_text("hana")).to_have_count(0, timeout=20_000)
        # The project as the scope: lists are the project's, and the link says so.
        project = call(page, "listProjects", name="first-project")["project"][0]["id"]
        opened(page, running, f"virtualmachines?project={project}")
        expect(page.get_by_role("button", name="범위: first-project")).to_be_visible(timeout=15_000)
        expect(page.get_by_role("link", name="first", exact=True)).to_have_count(0)
        shot(page, "op-scope-project")


def test_an_alert_is_told_at_once_and_archived(browser: Browser, running: Running, state: Any) -> None:  # noqa: F811
    with window(browser, **KOREAN, storage_state=state) as (_, page):
        opened(page, running, "alerts")
        opened(page, running, "virtualmachines")
        expect(page.get_by_role("link", name="알림", exact=True)).to_be_visible(timeout=15_000)
        page.wait_for_timeout(3000)  # until the stream is open
        job = call(page, "generateAlert", type="7", name="COMPUTE.HOST", description="first: a fan is loud")["jobid"]
        expect(page.get_by_role("link", name="알림: 새 알림 1개")).to_be_visible(timeout=20_000)
        assert job
        shot(page, "op-alert-badge")
        page.get_by_role("link", name="알림: 새 알림 1개").click()
        expect(page.get_by_text("a fan is loud")).to_be_visible(timeout=15_000)
        expect(page.get_by_role("link", name="알림", exact=True).first).to_be_visible()
        checked(page, "alerts")
        page.get_by_role("checkbox", name=re.compile("모두 선택")).check()
        page.get_by_role("button", name="보관").click()
        page.get_by_role("dialog").get_by_role("button", name=re.compile("보관")).last.click()
        expect(page.get_by_text("a fan is loud")).to_have_count(0, timeout=20_000)


@pytest.mark.parametrize("path", ["zones", "pods", "clusters", "hosts", "storagepools", "imagestores", "physicalnetworks", "routers",
                                  "managementservers", "certificates", "usagerecords", "userkeys", "accounts", "users", "projects", "roles", "resourcelimits"])  # fmt: skip
def test_a_page_in_both_widths(browser: Browser, running: Running, state: Any, path: str) -> None:  # noqa: F811
    with window(browser, **KOREAN, storage_state=state) as (_, page):
        opened(page, running, path)
        checked(page, path)
        first = page.get_by_role("table").get_by_role("link").first
        if first.count():
            first.click()
            page.wait_for_selector("#main [role=tab], #main dl", timeout=15_000)
            page.wait_for_timeout(400)
            checked(page, f"{path}-one")
            one = page.url
        else:
            one = ""
    with window(browser, **PHONE, storage_state=state) as (_, page):
        opened(page, running, path)
        fits(page)
        shot(page, f"op-phone-{path}")
        if one:
            page.goto(one)
            page.wait_for_selector("#main [role=tab], #main dl", timeout=15_000)
            page.wait_for_timeout(400)
            fits(page)
            shot(page, f"op-phone-{path}-one")


def test_the_capacity_plan(browser: Browser, running: Running, state: Any) -> None:  # noqa: F811
    """More machines than two hosts can hold: it is said, with the machines; a third host as a what-if makes room."""
    with window(browser, **KOREAN, storage_state=state) as (_, page):
        opened(page, running, "capacityplan")
        part = page.get_by_role("region", name="cluster1")
        expect(part.get_by_text("호스트 1대가 멈추어도 가상머신을 모두 수용할 수 있습니다")).to_be_visible(timeout=15_000)
        checked(page, "plan-good")
        zone = call(page, "listZones")["zone"][0]["id"]
        host = call(page, "listHosts", type="Routing", name="sim-1")["host"][0]
        half = int(int(host["memorywithoverprovisioning"]) / 1024**2 * 0.55)
        offering = call(page, "createServiceOffering", name="half-a-host", displaytext="half a host", cpunumber="1", cpuspeed="500", memory=str(half))["serviceoffering"]["id"]
        template = call(page, "listTemplates", templatefilter="executable")["template"][0]["id"]
        network = call(page, "listNetworks", listall="true")["network"][0]["id"]
        made = [call(page, "deployVirtualMachine", zoneid=zone, serviceofferingid=offering, templateid=template, networkids=network, name=f"first-{n}") for n in range(3)]
        try:
            until = time.monotonic() + 60
            while sum(m["state"] == "Running" for m in call(page, "listVirtualMachines", listall="true", keyword="first-").get("virtualmachine", [])) < 3:
                assert time.monotonic() < until, call(page, "listVirtualMachines", listall="true", keyword="first-")
                time.sleep(0.5)
            opened(page, running, "capacityplan")
            expect(part.get_by_text("호스트 1대 장애 시 가상머신 1개 수용 불가")).to_be_visible(timeout=15_000)
            expect(part.get_by_text("호스트를 1대 더하면 모두 수용할 수 있습니다", exact=False)).to_be_visible()
            part.get_by_role("button", name="수용하지 못하는 가상머신 1개").press("Enter")
            expect(part.get_by_role("list").get_by_role("link", name=re.compile("^first-"))).to_be_visible()
            part.get_by_role("button", name="호스트를 더해 보기").press("Enter")
            expect(part.get_by_text("1대를 더하면 호스트 1대가 멈추어도 모두 수용할 수 있습니다.")).to_be_visible()
            part.get_by_label("한 대의 메모리").fill("0.1")
            expect(part.get_by_text("1대를 더해도", exact=False)).to_be_visible()
            checked(page, "plan-bad")
            cluster = call(page, "listClusters")["cluster"][0]["id"]
            with window(browser, **PHONE, storage_state=state) as (_, phone):
                opened(phone, running, f"clusters/{cluster}?tab=spare")
                expect(phone.get_by_text("호스트 1대 장애 시 가상머신 1개 수용 불가")).to_be_visible(timeout=15_000)
                phone.get_by_role("button", name="호스트를 더해 보기").tap()
                fits(phone)
                checked(phone, "phone-plan")
            part.get_by_role("list").get_by_role("link", name=re.compile("^first-")).click()
            expect(page.get_by_role("heading", level=1, name=re.compile("^first-"))).to_be_visible(timeout=15_000)
        finally:
            for machine in made:
                call(page, "destroyVirtualMachine", id=machine["id"], expunge="true")
            call(page, "deleteServiceOffering", id=offering)


def test_storage_of_each_kind_is_added_and_removed(browser: Browser, running: Running, state: Any) -> None:  # noqa: F811
    """Both kinds that the server takes, by keyboard; how full and how much promised; removal with the name typed."""
    with window(browser, **KOREAN, storage_state=state) as (_, page):
        opened(page, running, "storagepools")
        page.get_by_role("link", name=re.compile("스토리지 풀")).last.or_(page.get_by_role("link", name="기본 스토리지 생성")).last.press("Enter")
        expect(page.get_by_role("heading", level=1, name=re.compile("생성|추가"))).to_be_visible(timeout=15_000)
        submit = page.get_by_role("button", name=re.compile("^(생성|추가)$"))
        submit.press("Enter")
        expect(page.get_by_text("꼭 필요한 값입니다.").first).to_be_visible()
        expect(page.get_by_label("이름")).to_be_focused()
        checked(page, "pool-missing")
        page.keyboard.type("first-shared")
        page.get_by_label("디렉터리 경로").fill("mnt/../x")
        submit.press("Enter")
        expect(page.get_by_text("/로 시작하는 절대 경로를 입력해 주세요.", exact=False)).to_be_visible()
        expect(page.get_by_label("디렉터리 경로")).to_be_focused()
        page.get_by_label("디렉터리 경로").fill(str(running.data / "first-shared"))
        checked(page, "pool-shared")
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", name="first-shared", level=1)).to_be_visible(timeout=30_000)
        expect(page.locator(".mark").first).to_have_text("정상", timeout=15_000)
        pool = call(page, "listStoragePools", name="first-shared")["storagepool"][0]
        assert (pool["type"], pool["scope"], pool["overprovisionfactor"]) == ("SharedMountPoint", "CLUSTER", "2.0")
        expect(page.get_by_text("사용한 공간").first).to_be_visible()
        expect(page.get_by_text(re.compile("초과 할당 2배")).first).to_be_visible()
        checked(page, "pool-one")

        opened(page, running, "storagepools-new")
        page.get_by_label("이름").fill("first-twice")
        page.get_by_label("디렉터리 경로").fill(str(running.data / "first-shared"))
        page.keyboard.press("Enter")
        expect(page.get_by_role("alert")).to_be_visible(timeout=15_000)
        shot(page, "op-pool-refused")
        page.get_by_role("radio", name=re.compile("^호스트의 로컬 디렉터리")).press("Enter")
        page.get_by_role("combobox", name=re.compile("^호스트")).click()
        page.get_by_role("option", name="sim-2", exact=True).click()
        page.get_by_label("이름").fill("first-local")
        page.get_by_label("디렉터리 경로").fill(str(running.data / "first-local"))
        checked(page, "pool-local")
        submit.press("Enter")
        expect(page.get_by_role("heading", name="first-local", level=1)).to_be_visible(timeout=30_000)
        pool = call(page, "listStoragePools", name="first-local")["storagepool"][0]
        assert (pool["type"], pool["scope"], pool["state"]) == ("Filesystem", "HOST", "Up")
    with window(browser, **PHONE, storage_state=state) as (_, page):
        opened(page, running, "storagepools-new")
        fits(page)
        checked(page, "phone-pool")
        for name in ("first-local", "first-shared"):
            id = call(page, "listStoragePools", name=name)["storagepool"][0]["id"]
            opened(page, running, f"storagepools/{id}")
            fits(page)
            page.get_by_role("button", name="더보기").tap()
            page.get_by_role("menuitem", name="삭제").tap()
            box = page.get_by_role("dialog")
            expect(box.get_by_text("디렉터리의 파일은 지우지 않습니다", exact=False)).to_be_visible()
            box.get_by_label(re.compile("이름을 입력해 주세요")).fill(name)
            fits(page)
            box.get_by_role("button", name="삭제").tap()
            expect(box).to_be_hidden(timeout=20_000)
            assert "storagepool" not in call(page, "listStoragePools", name=name)


def test_a_router_is_seen_and_restarted(browser: Browser, running: Running, state: Any) -> None:  # noqa: F811
    """How it and its agent are; a restart by keyboard, its steps live in another window, and the event afterwards."""
    with window(browser, **KOREAN, storage_state=state) as (_, page), window(browser, **PHONE, storage_state=state) as (_, phone):
        router = call_on(page, running, "listRouters")["router"][0]
        opened(phone, running, "asyncjobs")
        opened(page, running, f"routers/{router['id']}")
        expect(page.locator(".mark").first).to_have_text("실행 중")
        expect(page.locator("dl").get_by_text("호스트 연결")).to_be_visible()
        checked(page, "router")
        restart = page.get_by_role("button", name="재시작", exact=True)
        restart.press("Enter")
        box = page.get_by_role("dialog")
        expect(box.get_by_text("몇 초 동안", exact=False)).to_be_visible()
        checked(page, "router-restart")
        box.get_by_role("button", name="재시작", exact=True).press("Enter")
        expect(page.get_by_text(re.compile("라우터 재시작")).first).to_be_visible(timeout=20_000)
        expect(phone.get_by_text("라우터 재시작").first).to_be_visible(timeout=20_000)  # told by the stream, nobody asked
        fits(phone)
        expect(page.get_by_text("완료했습니다").first).to_be_visible(timeout=30_000)
        expect(page.locator(".mark").first).to_have_text("실행 중")
        assert call(page, "listRouters", id=router["id"])["router"][0]["state"] == "Running"
        page.get_by_role("tab", name=re.compile("이벤트")).click()
        expect(page.get_by_role("cell", name=re.compile("라우터 재")).first).to_be_visible(timeout=15_000)
        opened(phone, running, f"routers/{router['id']}")
        fits(phone)
        checked(phone, "phone-router")


def test_notes_about_a_host_and_a_machine(browser: Browser, running: Running, state: Any) -> None:  # noqa: F811
    with window(browser, **KOREAN, storage_state=state) as (_, page):
        host = call_on(page, running, "listHosts", name="sim-1")["host"][0]["id"]
        opened(page, running, f"hosts/{host}?tab=notes")
        expect(page.get_by_text("아직 메모가 없습니다.")).to_be_visible(timeout=15_000)
        expect(page.get_by_role("button", name="메모 남기기")).to_be_disabled()
        page.get_by_label("새 메모").fill("팬을 바꿈\n다음 점검: 3월")
        page.get_by_label("관리자만 볼 수 있게").press("Space")
        page.get_by_role("button", name="메모 남기기").press("Enter")
        note = page.get_by_role("list", name="메모").get_by_role("listitem")
        expect(note).to_have_count(1, timeout=15_000)
        expect(note).to_contain_text("다음 점검: 3월")
        expect(note).to_contain_text("관리자만")
        expect(page.get_by_role("tab", name="메모 있음")).to_be_visible(timeout=15_000)
        checked(page, "notes")
        note.get_by_role("button", name="모두에게 보이기").press("Enter")
        expect(note.get_by_role("button", name="관리자만 보기")).to_be_visible(timeout=15_000)
        assert call(page, "listAnnotations", entitytype="HOST", entityid=host)["annotation"][0]["adminsonly"] is False
        note.get_by_role("button", name="삭제").press("Enter")
        box = page.get_by_role("dialog")
        expect(box.get_by_role("button", name="취소")).to_be_focused()
        box.get_by_role("button", name="삭제").click()
        expect(page.get_by_text("아직 메모가 없습니다.")).to_be_visible(timeout=15_000)
        # A tenant sees what is not for admins, writes her own, and cannot take away another's.
        call(page, "createAccount", username="minsu-notes", password="Member-Notes-2026", email="n@x.example", firstname="민수", lastname="이", account="minsu-notes", accounttype="0")
        pair = call(page, "createSSHKeyPair", name="first-key", account="minsu-notes", domainid=call(page, "listDomains")["domain"][0]["id"])["keypair"]
        for text, hidden in (("모두에게", "false"), ("관리자에게만", "true")):
            call(page, "addAnnotation", entitytype="SSH_KEYPAIR", entityid=pair["id"], annotation=text, adminsonly=hidden)
    with window(browser, **PHONE) as (_, page):
        sign_in(page, Running(running.data, {**running.about, "username": "minsu-notes", "password": "Member-Notes-2026"}), "Member-Notes-2026")
        page.wait_for_selector("#main h1", timeout=30_000)
        opened(page, running, f"sshkeypairs/{pair['id']}?tab=notes")
        notes = page.get_by_role("list", name="메모").get_by_role("listitem")
        expect(notes).to_have_count(1, timeout=15_000)
        expect(notes.first).to_contain_text("모두에게")
        expect(page.get_by_label("관리자만 볼 수 있게")).to_have_count(0)
        page.get_by_label("새 메모").fill("제 노트북 키입니다")
        page.get_by_role("button", name="메모 남기기").tap()
        expect(notes).to_have_count(2, timeout=15_000)
        expect(notes.get_by_role("button", name="삭제")).to_have_count(1)
        fits(page)
        checked(page, "phone-notes")


def call_on(page: Page, cloud: Running, command: str, **params: str) -> dict[str, Any]:
    """`call`, from a page that has nothing open yet."""
    opened(page, cloud, "me")
    return call(page, command, **params)


def test_api_keys_are_made_shown_once_and_revoked(browser: Browser, running: Running, state: Any) -> None:  # noqa: F811
    """One's own, by keyboard, with an end and rules; the key signs requests until it is revoked. And a user's, on a telephone."""
    api = Program(running.endpoint)
    with window(browser, **KOREAN, storage_state=state) as (context, page):
        context.grant_permissions(["clipboard-read", "clipboard-write"])
        opened(page, running, "me")
        page.get_by_role("button", name="새 API 키 만들기").focus()
        page.keyboard.press("Enter")
        form = page.get_by_role("dialog")
        expect(form.get_by_label("이름")).to_be_focused()
        page.keyboard.type("first-reader")
        form.get_by_label("설명").fill("읽기만 하는 프로그램")
        form.get_by_label("종료 일시").fill("2020-01-01T00:00")
        expect(form.get_by_text("종료 일시가 이미 지났습니다.")).to_be_visible()
        form.get_by_label("종료 일시").fill("2099-01-01T00:00")
        form.get_by_role("button", name="규칙 추가").press("Enter")
        expect(form.get_by_label("규칙 1", exact=True)).to_be_focused()
        page.keyboard.type("listAnything")
        checked(page, "keys-form")
        form.get_by_role("button", name="만들기", exact=True).press("Enter")
        expect(form.get_by_role("alert")).to_be_visible(timeout=15_000)
        shot(page, "op-keys-refused")
        form.get_by_label("규칙 1", exact=True).fill("listZones")
        form.get_by_role("button", name="만들기", exact=True).press("Enter")
        shown = page.get_by_role("dialog", name=re.compile("만들었습니다"))
        expect(shown).to_be_visible(timeout=15_000)
        key, secret = (shown.get_by_test_id(n).inner_text() for n in ("apikey", "secretkey"))
        shown.get_by_role("button", name="비밀키 복사").click()
        assert page.evaluate("navigator.clipboard.readText()") == secret
        checked(page, "keys-made")
        shown.get_by_role("button", name="저장했습니다").press("Enter")
        expect(shown).to_be_hidden()
        assert secret not in page.content()
        line = page.get_by_role("listitem", name="first-reader")
        expect(line).to_contain_text("사용 가능")
        checked(page, "keys")
        assert api.call(key, secret, "listZones") == 200 and api.call(key, secret, "listHosts") == 432
        line.get_by_role("button", name="first-reader 폐기").press("Enter")
        box = page.get_by_role("dialog")
        expect(box.get_by_role("button", name="취소")).to_be_focused()
        checked(page, "keys-revoke")
        box.get_by_role("button", name="폐기").click()
        expect(line).to_have_count(0, timeout=20_000)
        assert api.call(key, secret, "listZones") == 401
        call(page, "createAccount", username="minsu-keys", password="Member-Keys-2026", email="k@x.example", firstname="민수", lastname="이", account="minsu-keys", accounttype="0")
        user = call(page, "listUsers", username="minsu-keys", listall="true")["user"][0]["id"]
    with window(browser, **PHONE, storage_state=state) as (_, page):
        opened(page, running, f"users/{user}?tab=keys")
        expect(page.get_by_text("아직 API 키가 없습니다.")).to_be_visible(timeout=15_000)
        page.get_by_role("button", name="새 API 키 만들기").tap()
        page.get_by_role("dialog").get_by_role("button", name="만들기", exact=True).tap()
        expect(page.get_by_test_id("secretkey")).to_be_visible(timeout=15_000)
        fits(page)
        page.get_by_role("button", name="저장했습니다").tap()
        expect(page.get_by_role("list", name="API 키").get_by_role("listitem")).to_have_count(1)
        fits(page)
        checked(page, "phone-keys")
