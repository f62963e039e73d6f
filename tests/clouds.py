"""A real cloud with simulated hosts, made by `quickstart` as a process of its own, for clients to talk to."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest


@dataclass
class Running:
    """A cloud that runs. `about` is its quickstart.json."""

    data: Path
    about: dict[str, Any]

    @property
    def endpoint(self) -> str:
        """Where the API is."""
        return str(self.about["url"]) + "/api"


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now."""
    held = [socket.socket() for _ in range(count)]
    for each in held:
        each.bind(("127.0.0.1", 0))
    ports = [int(each.getsockname()[1]) for each in held]
    for each in held:
        each.close()
    return ports


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A cloud of three simulated hosts with a template, an offering and a network; its manager ends with the tests."""
    with up(tmp_path_factory.mktemp("cloud")) as cloud:
        yield cloud


@pytest.fixture(scope="module")
def running_here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The same for the tests of one module; its manager ends with them."""
    with up(tmp_path_factory.mktemp("cloud")) as cloud:
        yield cloud


@contextlib.contextmanager
def up(data: Path) -> Iterator[Running]:
    """A cloud in this folder, made by `quickstart`."""
    port, agents = free_ports(2)
    words = ["--data-dir", str(data), "--port", str(port), "--agent-port", str(agents), "--simulator"]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MOLD_")}
    made = subprocess.Popen(
        [sys.executable, "-m", "mold.cli.quickstart", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
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
        yield Running(data, json.loads((data / "quickstart.json").read_text()))
        log = (data / "manager.log").read_text()
        assert '"exception"' not in log, "the manager's log holds an exception:\n" + log[-4000:]
    finally:
        made.send_signal(signal.SIGINT)
        until = time.monotonic() + 30
        while made.poll() is None and time.monotonic() < until:
            time.sleep(0.05)
        if made.poll() is None:
            made.kill()
        made.wait()
