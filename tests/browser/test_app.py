"""The web console as people use it: Chromium and a real server with simulated hosts."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from browserkit import DESKTOP, PHONE, ROOT, window
from clouds import Running
from clouds import running_here as running  # noqa: F401
from playwright.sync_api import Browser, Page, expect

pytestmark = pytest.mark.browser
KOREAN: dict[str, Any] = {**DESKTOP, "locale": "ko-KR"}
SHOTS = Path(__file__).parent / "shots"
GLOSSARY = json.loads((ROOT / "gui" / "words" / "glossary.json").read_text())
LATIN = {"Mold", "VXLAN", "untagged", "EN", "CSV", "CLI", "Ctrl", "Alt", "Enter", "curl", "Python", "KiB", "MiB", "GiB", "TiB", "PiB", "GHz", "MHz", "ROOT", "QR", "NFS"} | {
    word
    for table in GLOSSARY.values()
    for entry in table.values()
    for word in re.findall(r"[A-Za-z][A-Za-z0-9]+", entry if isinstance(entry, str) else entry[1])
}
"""Names and abbreviations that are written so in Korean too."""
AXE = ROOT / "gui" / "node_modules" / "axe-core" / "axe.min.js"


@pytest.fixture(scope="module")
def state(browser: Browser, running: Running) -> dict[str, Any]:  # noqa: F811
    """A signed-in admin's cookies and storage, so that not every test signs in."""
    with window(browser, **KOREAN) as (context, page):
        sign_in(page, running)
        return context.storage_state()  # type: ignore[return-value]


def url(cloud: Running, path: str = "") -> str:
    return f"{cloud.about['url']}/{path}"


def sign_in(page: Page, cloud: Running, password: str | None = None, path: str = "") -> None:
    page.goto(url(cloud, path))
    page.get_by_label(re.compile("사용자 이름|User name")).fill(str(cloud.about["username"]))
    page.locator("input[name=password]").fill(password or str(cloud.about["password"]))
    page.keyboard.press("Enter")
    if password is None:
        page.wait_for_selector("#main h1", timeout=30_000)


def shot(page: Page, name: str) -> None:
    SHOTS.mkdir(exist_ok=True)
    page.screenshot(path=SHOTS / f"{name}.png")


def accessible(page: Page, name: str) -> None:
    """No fault that axe finds against WCAG 2.1 A and AA."""
    page.wait_for_timeout(350)  # until things have stopped fading in: axe would measure their colours half way
    # As the debugger does: the page's policy lets no script in.
    page.evaluate(AXE.read_text())
    found = page.evaluate(
        "async () => (await axe.run(document, {runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa']})).violations"
        ".map((v) => ({id: v.id, nodes: v.nodes.slice(0, 4).map((n) => n.html.slice(0, 200) + ' ' + (n.any[0]?.message ?? ''))}))"
    )
    assert not found, f"{name}: {json.dumps(found, ensure_ascii=False, indent=1)}"


TEXTS = """() => {
  const out = [];
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    const parent = walk.currentNode.parentElement;
    if (parent.closest("code, pre, script, style, [lang=en], td, [role=cell], .card dd, .facts dd, kbd, h1, [role=listitem], [translate=no]")) continue;
    if (parent.checkVisibility()) out.push(walk.currentNode.textContent.trim());
  }
  return out;
}"""
"""What can be read on the page, without names, codes and what is said by the server."""
KEYS = frozenset(json.loads((ROOT / "gui" / "words" / "ko.json").read_text()))


def english(texts: list[str]) -> list[str]:
    """Those of the texts that have a word of English in Korean mode, or a key of the words instead of words."""
    return [
        t
        for t in texts
        if any(
            word not in LATIN and not re.search(r"first|admin|quickstart|[Tt]iny|zone1|sim-|list[A-Z]|laptop|VM-[0-9a-f]{8}|cloud-init|made-here|hello|minsu", t)
            for word in re.findall(r"[A-Za-z][A-Za-z0-9]+", re.sub(r"[a-z]+://\S*", "", t))
        )
        or any(key in KEYS for key in re.findall(r"[a-z]+(?:\.[a-z]+)+", t))
    ]  # fmt: skip


def no_english(page: Page, name: str) -> None:
    wrong = english(page.evaluate(TEXTS))
    assert not wrong, f"{name}: {wrong[:20]}"


def fits(page: Page) -> None:
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth"), page.url


def test_signing_in(browser: Browser, running: Running) -> None:  # noqa: F811
    with window(browser, **KOREAN) as (_, page):
        sign_in(page, running, "wrong-password")
        expect(page.get_by_text("사용자 이름 또는 비밀번호가 맞지 않습니다")).to_be_visible(timeout=30_000)
        expect(page.locator("input[name=password]")).to_be_focused()
        shot(page, "signin-wrong")
        accessible(page, "sign-in")
        no_english(page, "sign-in")
        page.locator("input[name=password]").fill(str(running.about["password"]))
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", level=1)).to_contain_text("안녕하세요", timeout=30_000)
        expect(page.get_by_role("region", name="가상머신")).to_contain_text("실행 중 1", timeout=15_000)
        shot(page, "home")
        accessible(page, "dashboard")
        no_english(page, "dashboard")


def test_an_address_is_kept_through_signing_in(browser: Browser, running: Running) -> None:  # noqa: F811
    with window(browser, **KOREAN) as (_, page):
        sign_in(page, running, path="hosts?state=Up")
        expect(page.get_by_role("heading", name="호스트", level=1)).to_be_visible()
        assert page.url.endswith("hosts?state=Up")


def test_a_list_and_one_of_it(browser: Browser, running: Running, state: Any) -> None:  # noqa: F811
    with window(browser, **KOREAN, storage_state=state) as (_, page):
        page.goto(url(running, "virtualmachines"))
        table = page.get_by_role("table", name="가상머신")
        expect(table).to_have_attribute("aria-rowcount", "2", timeout=15_000)
        expect(table.get_by_text("실행 중")).to_be_visible()
        shot(page, "list")
        accessible(page, "list")
        no_english(page, "list")
        page.get_by_label("가상머신 검색").fill("없는이름")
        expect(page.get_by_text("찾는 조건에 맞는 항목이 없습니다.")).to_be_visible()
        page.get_by_label("가상머신 검색").fill("실행 first")
        page.keyboard.press("Enter")
        expect(page).to_have_url(re.compile(r"q=%EC%8B%A4%ED%96%89\+first"))
        table.get_by_role("link", name="first").click()
        expect(page.get_by_role("heading", name="first", level=1)).to_be_visible()
        expect(page.get_by_role("button", name="정지")).to_be_visible()
        shot(page, "detail")
        accessible(page, "detail")
        no_english(page, "detail")
        page.get_by_role("tab", name="디스크").click()
        expect(page.get_by_role("heading", name="볼륨", level=2)).to_be_visible(timeout=10_000)
        shot(page, "detail-disks")
        page.get_by_role("tab", name="설정").click()
        expect(page.get_by_role("button", name="저장")).to_be_visible()
        accessible(page, "settings")
        no_english(page, "settings")
        page.go_back()
        page.wait_for_timeout(200)
        if "virtualmachines?" not in page.url:
            page.go_back()
        expect(page.get_by_label("가상머신 검색")).to_have_value("실행 first")


def test_a_machine_is_stopped_and_started_live_in_two_windows(browser: Browser, running: Running, state: Any) -> None:  # noqa: F811
    with window(browser, **KOREAN, storage_state=state) as (context, page):
        other = context.new_page()
        other.goto(url(running, "virtualmachines"))
        expect(other.get_by_text("실행 중").first).to_be_visible(timeout=15_000)
        page.goto(url(running, "virtualmachines"))
        page.get_by_role("link", name="first").click()
        page.get_by_role("button", name="정지", exact=True).click()
        expect(page.get_by_text("first를 정지할까요?")).to_be_visible()
        page.wait_for_timeout(300)
        shot(page, "confirm")
        accessible(page, "confirmation")
        no_english(page, "confirmation")
        page.get_by_role("dialog").get_by_role("button", name="정지", exact=True).click()
        expect(page.locator(".mark").first).to_have_text("정지됨", timeout=30_000)
        expect(other.get_by_text("정지됨").first).to_be_visible(timeout=10_000)
        why = page.get_by_role("button", name="재시작")
        expect(why).to_have_attribute("title", "실행 중일 때만 할 수 있습니다.")
        page.get_by_role("button", name=re.compile("^작업")).click()
        expect(page.get_by_role("dialog", name="작업").get_by_text("first · 가상머신 정지")).to_be_visible()
        shot(page, "jobs")
        page.keyboard.press("Escape")
        page.get_by_role("button", name="시작", exact=True).click()
        page.get_by_role("dialog").get_by_role("button", name="시작", exact=True).click()
        expect(page.locator(".mark").first).to_have_text("실행 중", timeout=30_000)
        expect(other.get_by_text("실행 중").first).to_be_visible(timeout=10_000)


def test_the_palette(browser: Browser, running: Running, state: Any) -> None:  # noqa: F811
    with window(browser, **KOREAN, storage_state=state) as (_, page):
        page.goto(url(running))
        page.wait_for_selector("#main h1")
        for typed in ("ㄱㅅㅁㅅ", "rktkdajtls", "virtual machines"):
            page.keyboard.press("Control+k")
            box = page.get_by_role("textbox", name="페이지와 명령 찾기")
            box.fill(typed)
            first = page.get_by_role("option").first
            expect(first).to_contain_text("가상머신")
            if typed == "ㄱㅅㅁㅅ":
                shot(page, "palette")
                accessible(page, "palette")
            page.keyboard.press("Enter")
            expect(page.get_by_role("heading", name="가상머신", level=1)).to_be_visible()
            page.goto(url(running))
            page.wait_for_selector("#main h1")


def test_language_and_theme_change_at_once_and_are_remembered(browser: Browser, running: Running, state: Any) -> None:  # noqa: F811
    with window(browser, **KOREAN, storage_state=state) as (_, page):
        page.goto(url(running, "virtualmachines"))
        page.get_by_label("가상머신 검색").fill("half typed")
        page.evaluate("window.same = true")
        page.get_by_role("button", name="English").click()
        expect(page.get_by_role("heading", name="Virtual machines", level=1)).to_be_visible()
        expect(page.get_by_label("Search Virtual machines")).to_have_value("half typed")
        page.get_by_role("button", name="Dark theme").click()
        expect(page.locator("html")).to_have_attribute("data-mantine-color-scheme", "dark")
        assert page.evaluate("window.same") is True
        page.get_by_label("Search Virtual machines").fill("")
        page.wait_for_timeout(300)
        shot(page, "list-dark-en")
        accessible(page, "dark list")
        page.reload()
        expect(page.get_by_role("heading", name="Virtual machines", level=1)).to_be_visible()
        expect(page.locator("html")).to_have_attribute("data-mantine-color-scheme", "dark")
        page.goto(url(running))
        page.wait_for_selector("#main h1")
        page.wait_for_timeout(500)
        shot(page, "home-dark-en")
        accessible(page, "dark dashboard")


def test_a_session_ends_in_a_half_filled_form(browser: Browser, running: Running) -> None:  # noqa: F811
    with window(browser, **KOREAN) as (context, page):
        sign_in(page, running, path="commands/createSSHKeyPair")
        page.get_by_label("이름").fill("half-filled")
        context.clear_cookies()
        page.get_by_role("button", name="실행").click()
        again = page.get_by_role("dialog", name="다시 로그인해 주세요")
        expect(again).to_be_visible(timeout=15_000)
        shot(page, "session-ended")
        accessible(page, "sign-in again")
        again.locator("input[name=password]").fill(str(running.about["password"]))
        page.keyboard.press("Enter")
        expect(again).to_be_hidden(timeout=30_000)
        expect(page.get_by_label("이름")).to_have_value("half-filled")
        expect(page.get_by_text("PRIVATE KEY").first).to_be_visible(timeout=15_000)


def test_every_command_has_a_form(browser: Browser, running: Running, state: Any) -> None:  # noqa: F811
    with window(browser, **KOREAN, storage_state=state) as (_, page):
        page.goto(url(running, "commands"))
        page.wait_for_selector("#main a code")
        names = page.locator("#main a code").all_inner_texts()
        assert len(names) > 140
        no_english(page, "commands")
        accessible(page, "commands")
        for name in ("listZones", "createServiceOffering", "deployVirtualMachine", "updateVirtualMachine"):
            page.goto(url(running, f"commands/{name}"))
            expect(page.get_by_role("button", name="실행")).to_be_visible()
            more = page.get_by_role("button", name=re.compile("선택 항목"))
            if more.get_attribute("aria-expanded") == "false":
                more.click()
            page.wait_for_timeout(150)
            no_english(page, name)
            accessible(page, name)
        shot(page, "form")
        page.goto(url(running, "commands/listZones"))
        page.get_by_role("button", name="실행").click()
        expect(page.get_by_text('"zone": [')).to_be_visible()
        page.get_by_role("button", name="명령어로 보기").click()
        expect(page.get_by_text("mold list zones")).to_be_visible()
        shot(page, "command")


def test_a_refusal_says_what_why_and_what_to_do(browser: Browser, running: Running, state: Any) -> None:  # noqa: F811
    with window(browser, **KOREAN, storage_state=state) as (_, page):
        page.goto(url(running, "commands/createSSHKeyPair"))
        page.get_by_role("button", name="실행").click()
        expect(page.get_by_text("꼭 필요한 값입니다.")).to_be_visible()
        expect(page.get_by_label("이름")).to_be_focused()
        page.get_by_label("이름").fill("quickstart")
        page.get_by_role("button", name="실행").click()
        alert = page.get_by_role("alert")
        expect(alert).to_contain_text("SSH 키 쌍 생성")
        expect(alert).to_contain_text("다시 시도해 주세요")
        expect(alert).to_contain_text("서버의 설명")
        shot(page, "refusal")
        accessible(page, "refusal")


def test_on_a_telephone(browser: Browser, running: Running, state: Any) -> None:  # noqa: F811
    with window(browser, **PHONE, storage_state=state) as (_, page):
        for width in (390, 320):
            page.set_viewport_size({"width": width, "height": 844})
            for path in ("", "virtualmachines", "hosts", "eventlog", "asyncjobs", "configurations", "commands", "commands/deployVirtualMachine", "me", "nouns"):
                page.goto(url(running, path))
                page.wait_for_selector("#main h1", timeout=15_000)
                page.wait_for_timeout(400)
                fits(page)
                if width == 390:
                    shot(page, f"phone-{path.replace('/', '-') or 'home'}")
                    no_english(page, path)
        page.set_viewport_size({"width": 390, "height": 844})
        page.goto(url(running, "virtualmachines"))
        page.get_by_role("link", name="first").tap()
        expect(page.get_by_role("heading", name="first", level=1)).to_be_visible()
        page.wait_for_timeout(400)
        fits(page)
        shot(page, "phone-detail")
        accessible(page, "phone detail")
        page.get_by_role("button", name="전체", exact=True).tap()
        page.wait_for_timeout(500)
        shot(page, "phone-menu")
        accessible(page, "phone menu")


def test_what_is_not_there(browser: Browser, running: Running, state: Any) -> None:  # noqa: F811
    with window(browser, **KOREAN, storage_state=state) as (_, page):
        for path in ("nothing-here", "commands/noSuchCommand"):
            page.goto(url(running, path))
            expect(page.get_by_role("heading", name="페이지를 찾을 수 없습니다")).to_be_visible()
        page.goto(url(running, "virtualmachines/00000000-0000-0000-0000-000000000000"))
        expect(page.get_by_text("찾을 수 없습니다").first).to_be_visible(timeout=10_000)
        shot(page, "gone")
