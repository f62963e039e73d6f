"""A person's first hour with Mold: what `mold quickstart` raised, and then the console, in Korean, without a manual.

Once at a desk and once on a telephone; nothing is simulated. Each step leaves a picture in `tests/browser/shots`:
`journey-desk-01-…` to the end, in the order of the story.
"""

from __future__ import annotations

import re
import subprocess
import time
from typing import Any

import pytest
from browserkit import PHONE, window
from playwright.sync_api import Browser, Frame, Locator, Page, expect
from realkit import Machine, machine, seen, typed  # noqa: F401
from test_app import KOREAN, accessible, fits, no_english, shot

pytestmark = [pytest.mark.browser, pytest.mark.host]
SLOW = 120_000  # milliseconds; a guest without KVM boots in ten seconds, on a loaded machine in a minute


class Person:
    """Somebody before a browser: looks, and presses what is called so."""

    def __init__(self, page: Page, story: str) -> None:
        self.page = page
        self.phone = story == "phone"
        self.story = story
        self.steps = 0
        page.set_default_timeout(30_000)

    def press(self, what: Locator) -> None:
        if self.phone:
            what.tap()
        else:
            what.click()

    def button(self, name: str, inside: Page | Locator | None = None) -> None:
        self.press((inside or self.page).get_by_role("button", name=name, exact=True))

    def menu(self, name: str) -> None:
        """An entry under 더보기."""
        self.button("더보기", self.page.locator("#main"))
        self.press(self.page.get_by_role("menuitem", name=re.compile(f"^{name}")))

    def confirm(self, name: str, step: str) -> None:
        """A dialog that asks: look, then press what was meant."""
        dialog = self.page.get_by_role("dialog")
        expect(dialog).to_be_visible()
        self.looks(step)
        self.button(name, dialog)
        expect(dialog).to_be_hidden()

    def state(self, name: str) -> None:
        """The badge beside the name of the machine says so, with nobody reloading the page."""
        expect(self.page.locator(".mark").first).to_have_text(name, timeout=SLOW)

    def looks(self, step: str) -> None:
        """A picture; nothing wider than the screen, nothing in English, no fault that axe knows."""
        self.steps += 1
        accessible(self.page, step)  # waits until things have stopped moving
        shot(self.page, f"journey-{self.story}-{self.steps:02}-{step}")
        no_english(self.page, step)
        fits(self.page)


@pytest.mark.parametrize("story", ["desk", "phone"])
def test_a_first_hour(machine: Machine, browser: Browser, story: str) -> None:  # noqa: F811
    began = time.monotonic()
    kind: dict[str, Any] = PHONE if story == "phone" else KOREAN
    name = f"first-{story}"
    with window(browser, **kind) as (_, page):
        person = Person(page, story)
        page.goto(f"{machine.state['url']}/")
        person.looks("signin")
        page.get_by_label("사용자 이름").fill(machine.state["username"])
        page.get_by_label("비밀번호", exact=True).fill(machine.state["password"])
        person.button("로그인")
        expect(page.get_by_role("heading", level=1)).to_contain_text("안녕하세요")
        expect(page.get_by_role("region", name="가상머신")).to_contain_text("실행 중 1")
        person.looks("home")

        # A machine, by the wizard.
        around = page.get_by_role("navigation", name="바로가기" if person.phone else "메뉴")
        person.press(around.get_by_role("link", name="가상머신", exact=True))
        expect(page.get_by_role("heading", name="가상머신", level=1)).to_be_visible()
        expect(page.get_by_role("link", name="first", exact=True)).to_be_visible()
        person.looks("machines")
        person.press(page.get_by_role("link", name="새 가상머신").first)
        expect(page.get_by_role("radio").first).to_be_checked()
        person.looks("wizard-image")
        person.button("다음")
        expect(page.get_by_role("radio").first).to_be_checked()
        person.looks("wizard-size")
        person.button("다음")
        expect(page.get_by_role("checkbox").first).to_be_checked()
        person.press(page.get_by_role("combobox", name="SSH 키 쌍"))
        person.press(page.get_by_role("option", name="quickstart"))
        page.keyboard.press("Escape")
        person.looks("wizard-network")
        person.button("다음")
        page.get_by_label("이름", exact=True).fill(name)
        expect(page.get_by_text("배치할 수 있는 호스트")).to_be_visible()
        person.looks("wizard-review")
        person.button("VM 시작")
        expect(page.get_by_role("heading", name=name, level=1)).to_be_visible(timeout=SLOW)
        person.looks("coming-up")
        once = page.get_by_role("dialog", name=f"{name}의 비밀번호")
        expect(once.get_by_test_id("secret")).not_to_be_empty(timeout=SLOW)
        person.looks("password-once")
        person.button("저장했습니다", once)
        person.state("실행 중")
        person.looks("running")

        # Its screen, and a sign from inside that what was typed arrived.
        made = machine.cloud.call("listVirtualMachines", {"name": name})["virtualmachine"][0]
        guest = machine.reach(made["ipaddress"])
        guest.wait_for_ssh()
        person.button("콘솔")
        screen = inside(page)
        seen(screen)
        before = picture_of(screen)
        if story == "phone":
            screen.locator("#keyboard").tap()
            page.keyboard.insert_text("hostname typed-on-a-phone")  # a telephone sends text, not keys
            page.keyboard.press("Enter")
        else:
            screen.locator("#screen canvas").click()
            typed(page, "hostname typed-at-a-desk\n")
        guest.says("hostname", "typed-on-a-phone" if story == "phone" else "typed-at-a-desk")
        assert picture_of(screen) != before, "what was typed is on the screen too"
        person.looks("console")

        # Stopped, started, and its end.
        person.button("정지")
        person.confirm("정지", "stop")
        person.state("정지됨")
        person.looks("stopped")
        person.button("시작")
        person.confirm("시작", "start")
        person.state("실행 중")
        guest.wait_for_ssh()
        guest.says("hostname", name)  # another boot: the name typed before is gone
        person.looks("started-again")
        person.menu("파기")
        person.confirm("파기", "destroy")
        expect(page.get_by_text("파기된 가상머신입니다")).to_be_visible(timeout=SLOW)
        person.looks("destroyed")
        person.button("소거")
        page.get_by_role("dialog").get_by_role("textbox").fill(name)
        person.confirm("소거", "expunge")
        expect(page.get_by_role("heading", name="가상머신", level=1)).to_be_visible()
        expect(page.get_by_role("link", name=name, exact=True)).to_be_hidden(timeout=SLOW)
        expect(page.get_by_role("link", name="first", exact=True)).to_be_visible()
        person.looks("gone")
        left = machine.cloud.call("listVirtualMachines", {"listall": "true"})["virtualmachine"]
        assert [each["name"] for each in left] == ["first"]
        assert made["instancename"] not in guests(), "libvirt has nothing of it either"
    print(f"\nthe first hour {'on a telephone' if story == 'phone' else 'at a desk'}: {time.monotonic() - began:.0f} s")


def inside(page: Page) -> Frame:
    """The console's own page within the machine's."""
    handle = page.wait_for_selector("iframe[title$=콘솔]")
    frame = handle.content_frame() if handle else None
    assert frame is not None
    return frame


def picture_of(screen: Frame) -> str:
    """What the guest shows, as text to compare."""
    return str(screen.evaluate("document.querySelector('#screen canvas').toDataURL()"))


def guests() -> str:
    listed = subprocess.run(["virsh", "-c", "qemu:///system", "list", "--all", "--name"], capture_output=True, text=True, timeout=60, check=True)  # fmt: skip
    return listed.stdout
