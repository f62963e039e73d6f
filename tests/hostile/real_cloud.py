"""A real cloud on this machine, without guests: a manager and an agent as processes, storages as directories."""

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
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from clouds import free_ports
from cs import CloudStack, CloudStackApiException


@dataclass
class RealCloud:
    """A cloud that runs, with ways to call it and to look at what lies on its storages."""

    data: Path
    about: dict[str, Any]
    quickstart: subprocess.Popen[str]
    cs: CloudStack = field(init=False)
    seen: int = 0

    def __post_init__(self) -> None:
        self.cs = CloudStack(
            endpoint=self.about["url"] + "/api",
            key=self.about["apikey"],
            secret=self.about["secretkey"],
            method="post",
            poll_interval=0.1,
            timeout=60,
        )

    @property
    def zone(self) -> str:
        """The zone's id."""
        return str(self.cs.listZones()["zone"][0]["id"])

    def images(self) -> set[str]:
        """Names of everything below the secondary storage's images, hidden files included."""
        return set(os.listdir(self.data / "secondary" / "images"))

    def on_primary(self) -> set[str]:
        """Names of everything below the primary storage's volumes and images."""
        return {n for kind in ("volumes", "images") for n in os.listdir(self.data / "primary" / kind)}

    def template(self, id: str) -> dict[str, Any] | None:
        """The template as admin sees it."""
        return next((t for t in self.cs.listTemplates(templatefilter="all")["template"] if t["id"] == id), None)

    def settled(self, id: str, seconds: float = 60) -> dict[str, Any]:
        """The template once it is ready or has failed."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            found = self.template(id)
            assert found is not None
            if found["isready"] or found["downloaddetails"][0]["downloadState"] == "DOWNLOAD_ERROR":
                return found
            time.sleep(0.1)
        raise AssertionError(f"the template did not settle within {seconds} s: {self.template(id)}")

    def delete(self, id: str) -> None:
        """Delete a template and wait until it is gone."""
        self.cs.deleteTemplate(id=id, fetch_result=True)
        assert self.template(id) is None

    def child(self, module: str) -> int:
        """The pid of the manager or of the agent, which quickstart keeps alive."""
        for pid in Path(f"/proc/{self.quickstart.pid}/task/{self.quickstart.pid}/children").read_text().split():
            with contextlib.suppress(OSError):
                if module.encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                    return int(pid)
        raise AssertionError(f"quickstart has no child {module}")

    def wait_for_manager(self, seconds: float = 30) -> None:
        """Wait until the manager answers and the host is up."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            with contextlib.suppress(OSError, httpx.HTTPError, CloudStackApiException, Exception):
                if self.cs.listHosts()["host"][0]["state"] == "Up":
                    return
            time.sleep(0.2)
        raise AssertionError("the manager has not come back")

    def exceptions(self) -> list[str]:
        """Lines of the logs, since they were looked at last, that hold an exception nobody expected."""
        lines = []
        for name in ("manager.log", "agent.log"):
            lines += [line for line in (self.data / name).read_text().splitlines() if '"exception"' in line]
        fresh, self.seen = lines[self.seen :], len(lines)
        return fresh


def of_folder(folder: Path) -> list[int]:
    """Processes whose command line names the folder; no other cloud's do."""
    found = []
    for each in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if str(folder).encode() in each.read_bytes():
                found.append(int(each.parent.name))
    return found


@pytest.fixture(scope="session")
def real(libvirtd: str) -> Iterator[RealCloud]:
    """The cloud; processes, bridge and files are gone afterwards."""
    data = Path(tempfile.mkdtemp(prefix="mold-hostile-", dir="/var/tmp"))
    data.chmod(0o711)
    instance = "x" + secrets.token_hex(1)
    port, agents = free_ports(2)
    made = subprocess.Popen(
        [
            *(sys.executable, "-m", "mold.cli.quickstart", "--data-dir", str(data)),
            *("--port", str(port), "--agent-port", str(agents), "--instance", instance, "--no-vm"),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={k: v for k, v in os.environ.items() if not k.startswith("MOLD_")},
    )
    try:
        told = []
        assert made.stdout is not None
        for line in made.stdout:
            told.append(line)
            if "Ctrl-C" in line:
                break
        else:
            raise AssertionError("quickstart ended:\n" + "".join(told))
        yield RealCloud(data, json.loads((data / "quickstart.json").read_text()), made)
    finally:
        made.send_signal(signal.SIGINT)
        try:
            made.wait(40)
        except subprocess.TimeoutExpired:
            made.kill()
            made.wait()
        subprocess.run(["ip", "link", "delete", f"mold-{instance}"], capture_output=True, check=False)
        left = (
            [n for n in os.listdir("/run/netns") if n.endswith(f"-{instance}")] if Path("/run/netns").is_dir() else []
        )
        for name in left:
            found = subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True, check=False)
            for pid in found.stdout.split():
                os.kill(int(pid), signal.SIGKILL)
            subprocess.run(["ip", "netns", "delete", name], check=False)
        for pid in of_folder(data):  # what serves guests outlives the agent on purpose
            os.kill(pid, signal.SIGTERM)
        shutil.rmtree(data, ignore_errors=True)
        assert not left, f"routers were left behind: {left}"
