"""What a manager listens on, and how long and how much it listens before a request is whole."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from cloud import Blueprint, Cloud

from mold.server import http


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def sockets(pid: int) -> set[tuple[str, int]]:
    """What a process listens on: (address, port), IPv4 and IPv6."""
    own = {os.readlink(f) for f in Path(f"/proc/{pid}/fd").iterdir() if os.path.lexists(f)}
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            cells = line.split()
            if cells[3] == "0A" and f"socket:[{cells[9]}]" in own:
                address, _, port = cells[1].rpartition(":")
                word = socket.inet_ntoa(bytes.fromhex(address)[::-1]) if table == "tcp" else address
                found.add((word, int(port, 16)))
    return found


def listens(pid: int) -> set[int]:
    """The ports alone."""
    return {port for _, port in sockets(pid)}


def addresses(pid: int, port: int) -> set[str]:
    """The addresses on which it listens at a port."""
    return {address for address, each in sockets(pid) if each == port}


@contextlib.contextmanager
def running(folder: Path, *more: str) -> Iterator[tuple[int, int, int]]:
    """A manager as a process of its own on what lies in a folder: its pid, HTTP port and agent port."""
    port, agents = free_port(), free_port()
    argv = [sys.executable, "-m", "mold.server.main", "--data-dir", str(folder / "data"), "--port", str(port),
            "--agent-port", str(agents), "--database", f"sqlite:///{folder / 'mold.db'}", *more]  # fmt: skip
    process = subprocess.Popen(argv, stderr=(folder / "log").open("ab"))
    try:
        until = time.monotonic() + 60
        while time.monotonic() < until and process.poll() is None:
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(f"http://127.0.0.1:{port}/client/openapi.json", timeout=5).status_code == 200:
                    break
            time.sleep(0.1)
        else:
            raise AssertionError((folder / "log").read_text()[-3000:])
        yield process.pid, port, agents
    finally:
        process.terminate()
        process.wait(20)


def test_the_integration_port_is_there_only_when_it_is_asked_for(blueprint: Blueprint, tmp_path: Path) -> None:
    if blueprint.server_url is not None:
        pytest.skip("the process is started on a file")
    inner = free_port()
    cloud = blueprint.cloud(tmp_path)
    shown = cloud.admin.one("listConfigurations", name="integration.api.port")
    cloud.stop()
    assert (shown["value"], shown["isdynamic"]) == ("0", False)

    def change(value: int) -> None:
        again = Cloud(tmp_path / "data", f"sqlite:///{tmp_path / 'mold.db'}")
        again.set("integration.api.port", value)
        again.stop()

    with running(tmp_path) as (pid, port, agents):
        assert listens(pid) == {port, agents}, "0: none, and no random one either"
    change(-1)
    with running(tmp_path) as (pid, port, agents):
        assert listens(pid) == {port, agents}
    change(inner)
    with running(tmp_path) as (pid, port, agents):
        assert listens(pid) == {port, agents, inner}
        assert httpx.get(f"http://127.0.0.1:{inner}/?command=listAccounts&response=json").status_code == 200
        assert addresses(pid, inner) == {"127.0.0.1"}, "on this machine only"
    other = free_port()
    with running(tmp_path, "--integration-port", str(other)) as (pid, port, agents):
        assert listens(pid) == {port, agents, other}, "the command line goes first"


def test_a_head_without_an_end_is_not_listened_to(fresh_cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    place = urlsplit(fresh_cloud.serve())

    async def send(first: bytes, rest: bytes, times: int) -> bytes:
        reader, writer = await asyncio.open_connection(place.hostname, place.port)
        writer.write(first)
        with contextlib.suppress(ConnectionError):
            for _ in range(times):
                writer.write(rest)
                await writer.drain()
        with contextlib.suppress(ConnectionError):
            return await asyncio.wait_for(reader.read(), 30)
        return b""

    for first, rest in ((b"GET /client/api?", b"a=b&" * 4096), (b"GET / HTTP/1.1\r\nX: ", b"a" * 16384)):
        answer = asyncio.run(send(first, rest, 200))
        assert answer == b"" or answer.startswith(b"HTTP/1.1 400"), answer[:80]
    monkeypatch.setattr(http, "HEAD_SECONDS", 0.5)
    began = time.monotonic()
    assert asyncio.run(send(b"GET /client/api?command=", b"", 0)) == b""
    assert asyncio.run(send(b"", b"", 0)) == b"", "nor is somebody who says nothing"
    assert time.monotonic() - began < 10
    assert httpx.get(f"http://{place.netloc}/client/api?command=listZones").status_code == 401
