"""A machine's screen in a browser, with nothing in between that is not real: Chromium, manager, agent, QEMU, a guest."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator

import pytest
from browserkit import DESKTOP, PHONE, picture, window
from playwright.sync_api import Browser, BrowserContext, Frame, Page, expect
from realkit import Machine, machine, opened, seen, typed  # noqa: F401

pytestmark = [pytest.mark.browser, pytest.mark.host]


def test_a_person_types_into_the_machine(machine: Machine, browser: Browser) -> None:  # noqa: F811
    machine.ssh("rm -f /tmp/typed-in-browser")
    with window(browser, **DESKTOP) as (_, page):
        made = machine.console()
        opened(page, made["url"])
        assert page.title() == "first · Console" and page.inner_text("h1") == "first"
        assert page.inner_text("#status") == "Connected"
        typed(page, "echo Mold > /tmp/typed-in-browser\n")
        page.wait_for_timeout(2000)
        picture(page, "console-desktop")
        machine.sees("/tmp/typed-in-browser", "Mold\n")
        page.click("#size")
        assert page.get_attribute("#size", "aria-pressed") == "true"

        page.reload()
        page.wait_for_selector("#notice:not([hidden])")
        assert page.inner_text("#what") == "This console cannot be opened"
        assert "used already" in page.inner_text("#detail")
        page.click("#again")
        page.wait_for_selector("#again:enabled", timeout=10_000)
        assert "no signed-in Mold page" in page.inner_text("#why")
        picture(page, "console-desktop-used")
        assert page.evaluate(
            "document.querySelector('#screen canvas') === null || document.body.dataset.state === 'ended'"
        )


def test_pasted_text_arrives_whole(machine: Machine, browser: Browser) -> None:  # noqa: F811
    text = '~!@#$%^&*()_+{}|:"<>? `1234567890-=[]\\;,./ ' * 8 + "안녕 꽃 값"
    with window(browser, **DESKTOP) as (_, page):
        opened(page, machine.console()["url"])
        page.click("#paste")
        page.fill("#text", f"cat > /tmp/pasted <<'E'\n{text}\nE\n")
        picture(page, "console-desktop-paste")
        page.click("button[value=type]")
        expect(page.locator("#status")).to_contain_text("keys to go")
        expect(page.locator("#status")).to_have_text("Connected", timeout=60_000)
        machine.sees("/tmp/pasted", text.replace("안녕 꽃 값", "dkssud Rhc rkqt") + "\n")
        for button in ("#hangul", "#hanja"):  # no input method in this guest; the keys must not end the connection
            page.click(button)
        assert page.inner_text("#status") == "Connected"


def test_on_a_telephone_in_korean(machine: Machine, browser: Browser) -> None:  # noqa: F811
    machine.ssh("rm -f /tmp/typed-on-phone")
    with window(browser, **PHONE) as (_, page):
        opened(page, machine.console()["url"])
        assert page.title() == "first · 콘솔" and page.inner_text("#status") == "연결됨"
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, "nothing sticks out to the right"
        for button in page.locator("nav button:visible").all():
            box = button.bounding_box()
            assert box is not None and box["height"] >= 40 and box["x"] >= 0 and box["x"] + box["width"] <= 390
        page.tap("#keyboard")
        page.keyboard.insert_text("echo 안녕 >/tmp/typed-on-phonex")  # as a telephone does: text, without keys
        page.keyboard.press("Backspace")
        page.keyboard.press("Enter")
        machine.sees("/tmp/typed-on-phone", "dkssud\n")
        picture(page, "console-phone")
        page.tap("#paste")
        picture(page, "console-phone-paste")
        page.tap("button[value=cancel]")
        page.set_viewport_size({"width": 844, "height": 390})
        picture(page, "console-phone-landscape")
        assert page.evaluate("document.querySelector('main').clientHeight") > 290


def test_the_agent_is_restarted_and_the_screen_comes_back(machine: Machine, browser: Browser) -> None:  # noqa: F811
    with window(browser, **DESKTOP) as (context, page):
        # What a signed-in page of the same server does for consoles: hand out tickets.
        helper = context.new_page()
        helper.expose_function("newTicket", lambda: machine.console()["websocket"]["token"])
        helper.goto(f"{machine.state['url']}/")
        helper.evaluate(
            """() => {
              window.channel = new BroadcastChannel("mold-console");
              window.channel.onmessage = async ({ data }) => {
                if (data.wants === "ticket") window.channel.postMessage({ number: data.number, ticket: await window.newTicket() });
              };
            }"""
        )
        opened(page, machine.console()["url"])
        os.kill(machine.agent(), signal.SIGKILL)
        page.wait_for_selector("#notice:not([hidden])")
        assert page.inner_text("#what") == "The connection broke"
        picture(page, "console-desktop-broken")
        seen(page)
        machine.ssh("rm -f /tmp/typed-again")
        typed(page, "touch /tmp/typed-again\n")
        machine.sees("/tmp/typed-again")


@contextlib.contextmanager
def signed_in(machine: Machine, browser: Browser) -> Iterator[tuple[BrowserContext, Page]]:  # noqa: F811
    """The web console in Korean on the page of the machine."""
    with window(browser, **{**DESKTOP, "locale": "ko-KR"}) as (context, page):
        page.set_default_timeout(30_000)
        page.goto(f"{machine.state['url']}/virtualmachines/{machine.id}")
        page.get_by_label("사용자 이름").fill(str(machine.state["username"]))
        page.locator("input[name=password]").fill(str(machine.state["password"]))
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", name="first", level=1)).to_be_visible()
        yield context, page


def inside(page: Page) -> Frame:
    """The screen in the machine's page, once it shows."""
    handle = page.wait_for_selector("iframe[title='first 콘솔']")
    assert handle is not None
    frame = handle.content_frame()
    assert frame is not None
    seen(frame)
    return frame


def pasted(page: Page | Frame, machine: Machine, path: str) -> None:  # noqa: F811
    """Hangul goes in as the keys of a two-set keyboard."""
    page.click("#paste")
    page.fill("#text", f"cat > {path} <<'E'\n안녕하세요 가상머신\nE\n")
    page.click("button[value=type]")
    machine.sees(path, "dkssudgktpdy rktkdajtls\n", 60)
    expect(page.locator("#status")).to_have_text("연결됨", timeout=60_000)


def test_in_the_page_of_the_machine(machine: Machine, browser: Browser) -> None:  # noqa: F811
    machine.ssh("rm -f /tmp/in-page /tmp/in-page-pasted /tmp/in-page-again")
    with signed_in(machine, browser) as (_, page):
        page.get_by_role("button", name="콘솔", exact=True).click()
        frame = inside(page)
        frame.click("#screen canvas")
        typed(page, "touch /tmp/in-page\n")
        machine.sees("/tmp/in-page")
        pasted(frame, machine, "/tmp/in-page-pasted")
        picture(page, "console-in-page")
        # The host's program ends: the page says so, asks for another ticket by itself, and the screen is back.
        os.kill(machine.agent(), signal.SIGKILL)
        frame.wait_for_selector("#notice:not([hidden])")
        assert frame.inner_text("#what") == "연결이 끊어졌습니다"
        assert "가상머신은 계속 실행됩니다" in frame.inner_text("#why")
        picture(page, "console-in-page-broken")
        seen(frame)
        assert frame.locator("#notice").is_hidden() and frame.inner_text("#status") == "연결됨"
        frame.click("#screen canvas")
        typed(page, "touch /tmp/in-page-again\n")
        machine.sees("/tmp/in-page-again")


def test_in_a_window_while_the_manager_is_started_anew(machine: Machine, browser: Browser) -> None:  # noqa: F811
    machine.ssh("rm -f /tmp/in-window-pasted /tmp/in-window-again")
    with signed_in(machine, browser) as (context, page):
        with context.expect_page() as opening:
            page.get_by_role("button", name="새 창에서 콘솔 열기").click()
        other = opening.value
        seen(other)
        pasted(other, machine, "/tmp/in-window-pasted")
        os.kill(machine.child(b"mold.server.main"), signal.SIGKILL)
        other.wait_for_selector("#notice:not([hidden])")
        assert other.inner_text("#what") == "연결이 끊어졌습니다"
        seen(other)  # by itself, although nobody answered for a while
        other.click("#screen canvas")
        typed(other, "touch /tmp/in-window-again\n")
        machine.sees("/tmp/in-window-again")


def test_the_machine_is_stopped_under_the_screen(machine: Machine, browser: Browser) -> None:  # noqa: F811
    with window(browser, **DESKTOP) as (_, page):
        opened(page, machine.console()["url"])
        machine.call("stopVirtualMachine", id=machine.id, forced="true")
        page.wait_for_selector("#notice:not([hidden])", timeout=30_000)
        assert page.inner_text("#what") == "The screen is off"
        picture(page, "console-desktop-stopped")
        told = machine.call("createConsoleEndpoint", virtualmachineid=machine.id)["consoleendpoint"]
        assert told["success"] is False and "only a running one" in told["details"]
