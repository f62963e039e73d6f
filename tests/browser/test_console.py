"""A machine's screen in a browser, with nothing in between that is not real: Chromium, manager, agent, QEMU, a guest."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browserkit import DESKTOP, PHONE, STATIC, chromium, picture, window
from playwright.sync_api import Browser, BrowserContext, Frame, Page, expect

from mold.cli.client import Cloud
from mold.cli.profiles import Connection

pytestmark = [pytest.mark.browser, pytest.mark.host]
UP_SECONDS = 300.0


class Machine:
    """A cloud that quickstart raised, and its first machine."""

    def __init__(self, folder: Path, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self.state: dict[str, Any] = json.loads((folder / "quickstart.json").read_text())
        connection = {name: self.state[name] for name in ("url", "apikey", "secretkey")}
        self.cloud = Cloud(Connection("test", connection))
        self.id: str = self.state["machine"]["id"]

    def call(self, command: str, **params: str) -> dict[str, Any]:
        """A command, waited for."""
        answer: Any = self.cloud.call(command, params)
        until = time.monotonic() + 120
        while job := answer.get("jobid"):
            told: Any = self.cloud.call("queryAsyncJobResult", {"jobid": job})
            if told["jobstatus"]:
                assert told["jobstatus"] == 1, told
                return dict(told["jobresult"])
            assert time.monotonic() < until, f"{command} does not end"
            time.sleep(0.2)
        return dict(answer)

    def console(self) -> dict[str, Any]:
        """A fresh console: its URL and the rest."""
        told = self.call("createConsoleEndpoint", virtualmachineid=self.id)["consoleendpoint"]
        assert told["success"], told
        return dict(told)

    def ssh(self, command: str) -> str:
        """What a command in the guest prints; its failure is part of that."""
        done = subprocess.run(
            [*self.state["machine"]["ssh"], command], capture_output=True, text=True, timeout=60, check=False
        )
        return done.stdout + done.stderr

    def sees(self, path: str, content: str | None = None, seconds: float = 30) -> None:
        """Wait until the guest has a file, with this content."""
        until = time.monotonic() + seconds
        while True:
            there = self.ssh(f"[ -e {path} ] && echo there; cat {path}")
            if there.startswith("there\n") and (content is None or there == f"there\n{content}"):
                return
            assert time.monotonic() < until, f"{path} in the guest: {there!r}, expected {content!r}"
            time.sleep(0.5)

    def child(self, program: bytes) -> int:
        """The process of a program that quickstart runs."""
        mine = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return next(int(pid) for pid in mine if program in Path(f"/proc/{pid}/cmdline").read_bytes())

    def agent(self) -> int:
        """The process of the agent."""
        return self.child(b"mold.agent")


def free_ports(count: int) -> list[int]:
    """Ports nobody listens on just now."""
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [probe.getsockname()[1] for probe in probes]


@pytest.fixture(scope="module")
def machine(libvirtd: str) -> Iterator[Machine]:
    """A whole cloud with a guest that answers SSH, and nothing of it afterwards."""
    assert (STATIC / "vnc.html").exists(), "the pages are not built: make gui"
    instance = f"b{secrets.token_hex(2)[:3]}"
    folder = Path(tempfile.mkdtemp(prefix="mold-browser-"))
    folder.chmod(0o711)  # QEMU may run as another user
    data = folder / "cloud"
    port, agent_port = free_ports(2)
    log = folder / "quickstart.log"
    command = [sys.executable, "-m", "mold.cli.quickstart", "--data-dir", str(data), "--port", str(port),
               "--agent-port", str(agent_port), "--instance", instance]  # fmt: skip
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, stdin=subprocess.DEVNULL)
    try:
        until = time.monotonic() + UP_SECONDS
        while "Ctrl-C" not in log.read_text():
            assert process.poll() is None and time.monotonic() < until, f"no cloud:\n{log.read_text()}"
            time.sleep(0.2)
        yield Machine(data, process)
    finally:
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(40)
        process.kill()
        sweep(instance, libvirtd)
        for each in Path("/proc").glob("[0-9]*/cmdline"):  # what serves metadata goes on without agent and guests
            with contextlib.suppress(OSError):
                if str(data).encode() in each.read_bytes():
                    os.kill(int(each.parent.name), signal.SIGKILL)
        shutil.rmtree(folder)


def sweep(instance: str, uri: str) -> None:
    """Remove the guests and devices of one cloud, known by its instance in their names. Only its agent made such."""

    def told(*command: str) -> str:
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False).stdout

    for name in told("virsh", "-c", uri, "list", "--all", "--name").split():
        if name.endswith(f"-{instance}"):
            told("virsh", "-c", uri, "destroy", name)
            told("virsh", "-c", uri, "undefine", "--nvram", name)
    for line in told("ip", "netns", "list").splitlines():
        name = line.split()[0]
        if name.startswith("mold-") and name.endswith(f"-{instance}"):
            for pid in told("ip", "netns", "pids", name).split():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
            told("ip", "netns", "delete", name)
    told("ip", "link", "delete", f"mold-{instance}")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as one:
        yield one


def opened(page: Page, url: str) -> None:
    """Go there and wait for a picture: the page says so, and the canvas holds light and dark."""
    page.goto(url)
    seen(page)


def seen(page: Page | Frame) -> None:
    """Wait until the screen is on the page."""
    page.wait_for_selector("body[data-state=open]", timeout=60_000)
    page.wait_for_function(
        """() => {
          const canvas = document.querySelector("#screen canvas");
          if (!canvas || canvas.width < 300) return false;
          const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
          let light = 0;
          for (let at = 0; at < data.length; at += 4) light += data[at] + data[at + 1] + data[at + 2] > 200 ? 1 : 0;
          return light > 500 && light < data.length / 8;
        }""",
        timeout=30_000,
    )


def typed(page: Page, text: str) -> None:
    """Type as a person does: Shift is held for what needs it, which Playwright's own `type` does not do."""
    for character in text:
        shift = character.isupper() or character in '~!@#$%^&*()_+{}|:"<>?'
        key = {"\n": "Enter"}.get(character, character)
        page.keyboard.press(f"Shift+{key}" if shift else key)
        page.wait_for_timeout(30)


def test_a_person_types_into_the_machine(machine: Machine, browser: Browser) -> None:
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


def test_pasted_text_arrives_whole(machine: Machine, browser: Browser) -> None:
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


def test_on_a_telephone_in_korean(machine: Machine, browser: Browser) -> None:
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


def test_the_agent_is_restarted_and_the_screen_comes_back(machine: Machine, browser: Browser) -> None:
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
def signed_in(machine: Machine, browser: Browser) -> Iterator[tuple[BrowserContext, Page]]:
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


def pasted(page: Page | Frame, machine: Machine, path: str) -> None:
    """Hangul goes in as the keys of a two-set keyboard."""
    page.click("#paste")
    page.fill("#text", f"cat > {path} <<'E'\n안녕하세요 가상머신\nE\n")
    page.click("button[value=type]")
    machine.sees(path, "dkssudgktpdy rktkdajtls\n", 60)
    expect(page.locator("#status")).to_have_text("연결됨", timeout=60_000)


def test_in_the_page_of_the_machine(machine: Machine, browser: Browser) -> None:
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


def test_in_a_window_while_the_manager_is_started_anew(machine: Machine, browser: Browser) -> None:
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


def test_the_machine_is_stopped_under_the_screen(machine: Machine, browser: Browser) -> None:
    with window(browser, **DESKTOP) as (_, page):
        opened(page, machine.console()["url"])
        machine.call("stopVirtualMachine", id=machine.id, forced="true")
        page.wait_for_selector("#notice:not([hidden])", timeout=30_000)
        assert page.inner_text("#what") == "The screen is off"
        picture(page, "console-desktop-stopped")
        told = machine.call("createConsoleEndpoint", virtualmachineid=machine.id)["consoleendpoint"]
        assert told["success"] is False and "only a running one" in told["details"]
