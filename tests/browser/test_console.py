"""A machine's screen in a browser, with nothing in between that is not real: Chromium, manager, agent, QEMU, a guest."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest
from browserkit import DESKTOP, PHONE, chromium, picture, window
from playwright.sync_api import Browser, expect
from realkit import Machine, machine, opened, seen, typed  # noqa: F401

pytestmark = [pytest.mark.browser, pytest.mark.host]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as one:
        yield one


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


def test_the_machine_is_stopped_under_the_screen(machine: Machine, browser: Browser) -> None:  # noqa: F811
    with window(browser, **DESKTOP) as (_, page):
        opened(page, machine.console()["url"])
        machine.call("stopVirtualMachine", id=machine.id, forced="true")
        page.wait_for_selector("#notice:not([hidden])", timeout=30_000)
        assert page.inner_text("#what") == "The screen is off"
        picture(page, "console-desktop-stopped")
        told = machine.call("createConsoleEndpoint", virtualmachineid=machine.id)["consoleendpoint"]
        assert told["success"] is False and "only a running one" in told["details"]
