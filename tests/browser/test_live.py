"""How soon a window shows what happened in the cloud: by the stream of events, shared or its own, and without any."""

from __future__ import annotations

import time
from typing import Any

import pytest
from browserkit import window
from clouds import Running
from clouds import running_here as running  # noqa: F401
from furnished import Furniture, admin_of
from playwright.sync_api import Browser, BrowserContext, Page, expect
from test_app import KOREAN, shot, state, url  # noqa: F401

pytestmark = pytest.mark.browser
SOON = 3.0
"""Seconds. It takes a tenth of one; this machine may do other things at the same time."""
POLLED = 15.0
"""Seconds between two questions of a list that hears nothing and expects nothing (`useRows`)."""
WATCH = """
(words) => {
  window.shown = {};
  const look = () => {
    const text = document.querySelector("#main .mark")?.textContent;
    if (words.includes(text) && !(text in window.shown)) window.shown[text] = Date.now() / 1000;
  };
  new MutationObserver(look).observe(document.body, { subtree: true, childList: true, characterData: true });
}
"""


@pytest.fixture(scope="module")
def admin(running: Running) -> Furniture:  # noqa: F811
    """The operator, from elsewhere."""
    return Furniture(admin_of(running), str)


def changed(admin: Furniture, command: str, wanted: str) -> float:
    """Have the state of the first machine changed; the moment at which the API said so first."""
    machine = admin.first("listVirtualMachines", name="first")["id"]
    admin.cloud.call(command, {"id": machine})
    until = time.monotonic() + 60
    while admin.first("listVirtualMachines", id=machine)["state"] != wanted:
        assert time.monotonic() < until
        time.sleep(0.02)
    return time.time()


def watching(context: BrowserContext, running: Running, path: str) -> Page:  # noqa: F811
    """A window at a place that notes when the badge says what."""
    page = context.new_page()
    page.goto(url(running, path))
    expect(page.locator("#main .mark").first).to_be_visible(timeout=30_000)
    page.evaluate(WATCH, ["정지됨", "실행 중"])
    return page


def moment(page: Page, word: str, seconds: float) -> float:
    """When the badge said this first."""
    page.wait_for_function("(word) => word in window.shown", arg=word, timeout=seconds * 1000)
    return float(page.evaluate("(word) => window.shown[word]", word))


def test_windows_know_at_once(browser: Browser, running: Running, state: Any, admin: Furniture) -> None:  # noqa: F811
    machine = admin.first("listVirtualMachines", name="first")["id"]
    with window(browser, **KOREAN, storage_state=state) as (here, _), window(browser, **KOREAN, storage_state=state) as (elsewhere, _):
        streams: list[str] = []
        here.on("request", lambda request: streams.append(request.url) if "/client/events" in request.url else None)
        places = {
            "the list": watching(here, running, "virtualmachines?q=first"),
            "the machine, in a second window": watching(here, running, f"virtualmachines/{machine}"),
            "the machine, in another browser": watching(elsewhere, running, f"virtualmachines/{machine}"),
        }
        places["the list"].wait_for_timeout(1000)
        assert len(streams) == 1, "windows of one browser share one stream"
        for command, wanted, word in (("stopVirtualMachine", "Stopped", "정지됨"), ("startVirtualMachine", "Running", "실행 중")):
            began = changed(admin, command, wanted)
            for place, page in places.items():
                late = moment(page, word, 30) - began
                print(f"\n{word} after {late * 1000:.0f} ms in {place}")
                assert late <= SOON, (place, late)
        # The window that reads the stream is closed; the other takes over.
        places["the list"].close()
        page = places["the machine, in a second window"]
        page.wait_for_timeout(1500)
        assert len(streams) == 2
        page.evaluate(WATCH, ["정지됨"])
        late = moment_after(page, admin)
        print(f"\n정지됨 after {late * 1000:.0f} ms in the window that is left")
        assert late <= SOON, late
        shot(page, "live-second-window")


def moment_after(page: Page, admin: Furniture) -> float:
    """How late the page is with one more change."""
    began = changed(admin, "stopVirtualMachine", "Stopped")
    return moment(page, "정지됨", 30) - began


def test_without_a_stream_it_is_asked_for(browser: Browser, running: Running, state: Any, admin: Furniture) -> None:  # noqa: F811
    if admin.first("listVirtualMachines", name="first")["state"] != "Stopped":
        changed(admin, "stopVirtualMachine", "Stopped")
    with window(browser, **KOREAN, storage_state=state) as (context, _):
        context.route("**/client/events*", lambda route: route.abort())
        page = watching(context, running, "virtualmachines?q=first")
        began = changed(admin, "startVirtualMachine", "Running")
        late = moment(page, "실행 중", POLLED + 10) - began
        print(f"\n실행 중 after {late:.1f} s without a stream; asked every {POLLED:.0f} s")
        assert late <= POLLED + SOON, late
