"""The console by keyboard alone: a machine from signing in to its end, and where the focus is all the while."""

from __future__ import annotations

import re

import pytest
from browserkit import window
from clouds import Running
from clouds import running_here as running  # noqa: F401
from playwright.sync_api import Browser, Page, expect
from test_app import KOREAN, url

pytestmark = pytest.mark.browser
FOCUS = """
() => {
  let at = document.activeElement;
  if (!at || at === document.body) return { name: "", nowhere: true };
  const box = at.getBoundingClientRect();
  const style = getComputedStyle(at);
  const outer = getComputedStyle(at.closest("label, [data-focus-ring]") ?? at.parentElement);
  const name = at.getAttribute("aria-label") || (at.labels?.length ? at.labels[0].innerText : "") || at.innerText || at.title || at.placeholder || "";
  return {
    name: name.trim(),
    role: at.getAttribute("role") ?? at.tagName.toLowerCase(),
    seen: at.checkVisibility({ opacityProperty: false }) && box.bottom > 0 && box.top < innerHeight && box.right > 0 && box.left < innerWidth,
    ring: style.outlineStyle !== "none" || style.boxShadow !== "none" || outer.outlineStyle !== "none" || at.matches("input, textarea, [role=tabpanel], h2, #main"),
    nowhere: false,
  };
}
"""


class Keys:
    """Hands on a keyboard, eyes on the focus: it is always on something that can be seen, and seen to be there."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.pressed = 0

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)
            self.pressed += 1

    def at(self) -> str:
        """The name of what has the focus."""
        told = self.page.evaluate(FOCUS)
        if not told["nowhere"]:
            assert told["seen"], f"the focus is on {told}, which is not on the screen"
            assert told["ring"], f"nobody sees that the focus is on {told}"
        return str(told["name"])

    def to(self, name: str, *, back: bool = False, most: int = 60) -> None:
        """Tab until the focus is on this."""
        passed = []
        for _ in range(most):
            self.press("Shift+Tab" if back else "Tab")
            passed.append(self.at())
            if re.search(name, passed[-1]):
                return
        raise AssertionError(f"no way by Tab to {name!r}; passed {passed}")

    def focused(self, name: str) -> None:
        """The focus comes there by itself."""
        for _ in range(50):
            if re.search(name, self.at()):
                return
            self.page.wait_for_timeout(100)
        raise AssertionError(f"the focus is on {self.at()!r}, not on {name!r}")


def test_a_machine_by_keyboard_alone(browser: Browser, running: Running) -> None:  # noqa: F811
    with window(browser, **KOREAN) as (_, page):
        page.set_default_timeout(15_000)
        keys = Keys(page)
        page.goto(url(running))
        keys.focused("사용자 이름")
        page.keyboard.type(str(running.about["username"]))
        keys.to("^비밀번호", most=3)
        page.keyboard.type(str(running.about["password"]))
        keys.press("Enter")
        expect(page.get_by_role("heading", level=1)).to_contain_text("안녕하세요", timeout=30_000)

        # The way around the menu, and a page by its name.
        keys.to("본문으로 건너뛰기", most=3)
        keys.press("Enter")
        expect(page.locator("#main")).to_be_focused()
        keys.press("Control+k")
        keys.focused("페이지와 명령 찾기")
        page.keyboard.type("새 가상머신")
        keys.press("Enter")
        expect(page.get_by_role("heading", name="새 가상머신", level=1)).to_be_visible()

        # The wizard: every step begins at its heading.
        expect(page.get_by_role("radio").first).to_be_checked()
        keys.to("tiny-linux")
        keys.to("^다음$")
        keys.press("Enter")
        keys.focused("^사양$")
        keys.to("Tiny")
        keys.press("ArrowRight")
        keys.focused("Small Instance")
        expect(page.get_by_role("radio", name=re.compile("Small Instance"))).to_be_checked()
        keys.to("^다음$")
        keys.press("Enter")
        keys.focused("네트워크와 접속")
        keys.to("^SSH 키 쌍", most=8)
        keys.press("ArrowDown")
        expect(page.get_by_role("option", name="quickstart")).to_be_visible()
        keys.press("ArrowDown", "Enter", "Escape")
        expect(page.get_by_text("quickstart", exact=True).first).to_be_visible()
        keys.to("^다음$")
        keys.press("Enter")
        keys.focused("^검토$")
        keys.to("^이름")
        page.keyboard.type("by-keyboard")
        keys.to("^VM 시작$")
        keys.press("Enter")

        # What is shown once holds the focus until it has been dealt with.
        once = page.get_by_role("dialog", name="by-keyboard의 비밀번호")
        expect(once).to_be_visible(timeout=60_000)
        for _ in range(6):
            keys.press("Tab")
            keys.at()
            assert once.evaluate("(box) => box.contains(document.activeElement)"), "Tab leaves the dialog"
        keys.to("^저장했습니다$", most=6)
        keys.press("Enter")
        expect(once).to_be_hidden()
        expect(page.locator(".mark").first).to_have_text("실행 중", timeout=60_000)

        # A dialog that is left gives the focus back to what opened it.
        keys.to("^정지$")
        keys.press("Enter")
        dialog = page.get_by_role("dialog")
        expect(dialog).to_be_visible()
        keys.press("Escape")
        expect(dialog).to_be_hidden()
        keys.focused("^정지$")
        keys.press("Enter")
        expect(dialog).to_be_visible()
        keys.to("^정지$", most=8)
        keys.press("Enter")
        expect(page.locator(".mark").first).to_have_text("정지됨", timeout=60_000)
        expect(dialog).to_be_hidden()

        # Menus: arrows within, Escape back; then its end.
        keys.to("^더보기$")
        keys.press("Enter")
        expect(page.get_by_role("menu")).to_be_visible()
        keys.press("ArrowDown", "Escape")
        expect(page.get_by_role("menu")).to_be_hidden()
        keys.focused("^더보기$")
        keys.press("Enter")
        expect(page.get_by_role("menu")).to_be_visible()
        for _ in range(30):
            keys.press("ArrowDown")
            if re.match("파기", keys.at()):
                break
        keys.press("Enter")
        expect(dialog).to_be_visible()
        keys.to("^파기$", most=10)
        keys.press("Enter")
        expect(page.get_by_text("파기된 가상머신입니다")).to_be_visible(timeout=60_000)

        # A list: arrows go from row to row, Enter opens.
        keys.press("Control+k")
        keys.focused("페이지와 명령 찾기")
        page.keyboard.type("가상머신")
        keys.press("Enter")
        expect(page.get_by_role("table", name="가상머신")).to_be_visible()
        keys.to("^(first|by-keyboard)", most=80)
        keys.press("Enter")
        expect(page.get_by_role("heading", level=1)).to_have_text(re.compile("first|by-keyboard"))
        print(f"\n{keys.pressed} keys besides the text")
