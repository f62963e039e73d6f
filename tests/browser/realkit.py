"""A cloud as `mold quickstart` makes it, with a guest that runs, for tests that look at its screen and type into it."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browserkit import STATIC
from clouds import free_ports
from playwright.sync_api import Frame, Page

from mold.cli.client import Cloud
from mold.cli.profiles import Connection

UP_SECONDS = 300.0


class Guest:
    """The inside of a machine, by SSH through its router."""

    def __init__(self, line: list[str]) -> None:
        self.line = line

    def ssh(self, command: str) -> str:
        """What a command prints; its failure is part of that."""
        done = subprocess.run([*self.line, command], capture_output=True, text=True, timeout=60, check=False)
        return done.stdout + done.stderr

    def says(self, command: str, wanted: str, seconds: float = 30) -> None:
        """Wait until a command prints this."""
        until = time.monotonic() + seconds
        while (told := self.ssh(command).strip()) != wanted:
            assert time.monotonic() < until, f"`{command}` in the guest: {told!r}, expected {wanted!r}"
            time.sleep(0.5)

    def wait_for_ssh(self) -> None:
        """Wait until it has booted."""
        self.says("echo here", "here", 120)


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

    def reach(self, address: str) -> Guest:
        """A guest on the network of the first machine, which knows the same key."""
        *line, first = self.state["machine"]["ssh"]
        return Guest([*line, f"{first.partition('@')[0]}@{address}"])

    def ssh(self, command: str) -> str:
        """What a command in the first machine prints; its failure is part of that."""
        return Guest(self.state["machine"]["ssh"]).ssh(command)

    def sees(self, path: str, content: str | None = None, seconds: float = 30) -> None:
        """Wait until the first machine has a file, with this content."""
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
