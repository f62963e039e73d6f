"""What a management server listens on: its own sockets, read from the kernel, with and without the port without sign-in."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

LISTEN = "0A"


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def listening(pid: int) -> set[tuple[str, int]]:
    """(address, port) of every TCP socket that the process listens on, IPv4 and IPv6, and those of its UDP sockets."""
    own = set()
    for each in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            own.add(os.readlink(each))
    found = set()
    for table in ("tcp", "tcp6", "udp", "udp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if f"socket:[{fields[9]}]" in own and (fields[3] == LISTEN or table.startswith("udp")):
                host, _, port = fields[1].partition(":")
                address = ".".join(str(b) for b in bytes.fromhex(host)[::-1]) if len(host) == 8 else host
                found.add((address, int(port, 16)))
    return found


@contextmanager
def manager(folder: Path, port: int, agents: int, *more: str) -> Iterator[int]:
    """A management server of its own process; its pid once it answers."""
    command = [sys.executable, "-m", "mold.server.main", "--data-dir", str(folder), "--port", str(port), "--agent-port", str(agents)]
    log = (folder.parent / "manager.log").open("a")
    made = subprocess.Popen([*command, *more], stdout=log, stderr=log)
    try:
        until = time.monotonic() + 60
        while True:
            with contextlib.suppress(httpx.HTTPError):
                httpx.get(f"http://127.0.0.1:{port}/client/api", timeout=2)
                break
            assert time.monotonic() < until and made.poll() is None, (folder.parent / "manager.log").read_text()[-2000:]
            time.sleep(0.1)
        yield made.pid
    finally:
        made.send_signal(signal.SIGTERM)
        made.wait(20)
        log.close()


@pytest.mark.parametrize("chosen", ["0", "-1", None])
def test_no_integration_port_means_no_socket(tmp_path: Path, chosen: str | None) -> None:
    port, agents = free_port(), free_port()
    more = ("--integration-port", chosen) if chosen is not None else ()
    with manager(tmp_path / "data", port, agents, *more) as pid:
        assert listening(pid) == {("127.0.0.1", port), ("127.0.0.1", agents)}


def test_an_integration_port_is_on_loopback_alone(tmp_path: Path) -> None:
    port, agents, inner = free_port(), free_port(), free_port()
    with manager(tmp_path / "data", port, agents, "--bind", "0.0.0.0", "--integration-port", str(inner)) as pid:
        assert listening(pid) == {("0.0.0.0", port), ("127.0.0.1", agents), ("127.0.0.1", inner)}
        ask = f"http://127.0.0.1:{inner}/?command=updateConfiguration&name=integration.api.port&response=json&value="
        assert httpx.get(ask + str(inner)).status_code == 200
    with manager(tmp_path / "data", port, agents) as pid:
        assert ("127.0.0.1", inner) in listening(pid), "the setting says so when the command line says nothing"
        assert httpx.get(ask + "0").status_code == 200
    with manager(tmp_path / "data", port, agents) as pid:
        assert listening(pid) == {("127.0.0.1", port), ("127.0.0.1", agents)}
