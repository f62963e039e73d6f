"""The other side of the wire, in a process of its own: HTTP clients, agents, and a server to compare with.

    bench_load.py http CLIENTS SECONDS < paths      paths in turn, from so many clients; prints one JSON line
    bench_load.py reference PORT                    answers a constant; what Starlette and uvicorn cost alone
    bench_load.py agents COUNT PORT FOLDER          agents with the certificates in FOLDER; a JSON line for each time all are in

Everything stays on loopback, and everything ends: HTTP after its seconds, agents and reference with their standard input.
"""

from __future__ import annotations

import asyncio
import json
import random
import ssl
import sys
import time
from pathlib import Path
from typing import Any

import uvicorn
import uvloop
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from mold.wire import calls as w

MAX_SECONDS = 60
MAX_AGENTS = 5000
CONNECTING = 64


async def client(urls: list[tuple[int, str]], first: int, until: float, times: list[float], wrong: list[int]) -> None:
    """Ask one URL after the other on a kept connection, which is made anew when the server closes it."""
    reader: asyncio.StreamReader | None = None
    writer: asyncio.StreamWriter | None = None
    here = -1
    n = first
    while time.perf_counter() < until:
        port, path = urls[n % len(urls)]
        n += 1
        began = time.perf_counter()
        if writer is None or here != port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            here = port
        assert reader is not None
        writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode())
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        size = int(head.split(b"content-length:", 1)[1].split(b"\r\n", 1)[0])
        await reader.readexactly(size)
        times.append(time.perf_counter() - began)
        if not head.startswith(b"http/1.1 200"):
            wrong.append(size)
        if b"connection: close" in head:
            writer.close()
            writer = None
    if writer is not None:
        writer.close()


async def http(clients: int, seconds: float) -> None:
    """Run the clients and print rate and latencies."""
    urls = [(int(port), path) for port, path in (line.split(" ", 1) for line in sys.stdin.read().splitlines())]
    times: list[float] = []
    wrong: list[int] = []
    began = time.perf_counter()
    until = began + min(seconds, MAX_SECONDS)
    async with asyncio.TaskGroup() as group:
        for number in range(min(clients, 256)):
            group.create_task(client(urls, number * 7, until, times, wrong))
    took = time.perf_counter() - began
    times.sort()
    told = {"rate": len(times) / took, "p50": times[len(times) // 2], "p99": times[len(times) * 99 // 100]}
    print(json.dumps({**told, "wrong": len(wrong)}), flush=True)


async def reference(port: int) -> None:
    """A raw handler in the server setup of the product."""
    body = json.dumps({"listcapabilitiesresponse": {"capability": {f"fact{n}": "x" * 20 for n in range(24)}}}).encode()

    async def answer(request: Request) -> Response:
        return Response(body, media_type="application/json")

    app = Starlette(routes=[Route("/", answer)])
    server = uvicorn.Server(
        uvicorn.Config(app, port=port, log_config=None, access_log=False, loop="none", http="httptools", lifespan="off")
    )
    serving = asyncio.create_task(server.serve())
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    server.should_exit = True
    await serving


class Agents:
    """Simulated agents: they say Hello, ping, and come back with some jitter when their manager goes."""

    def __init__(self, port: int, folder: Path, count: int) -> None:
        self.url = f"wss://127.0.0.1:{port}/agent"
        self.folder = folder
        self.count = count
        self.gate = asyncio.Semaphore(CONNECTING)
        self.inside = 0
        self.began = time.perf_counter()

    async def live(self, number: int) -> None:
        """One agent, for ever."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_cert_chain(self.folder / f"{number}.pem")
        context.load_verify_locations(self.folder / "ca.pem")
        facts = w.HostFacts(name=f"bench-{number}", hypervisor="KVM", version="1", hypervisor_version="1", arch="x86_64",
                            cores=64, sockets=2, mhz=2400, memory=1 << 39, addresses=["127.0.0.1"], guid=f"bench-{number}")  # fmt: skip
        hello = w.pack(w.Hello(facts=facts))
        while True:
            try:
                async with self.gate:
                    socket = await connect(
                        self.url, ssl=context, server_hostname="mold-manager", compression=None, open_timeout=30
                    )
                    await socket.send(hello)
                    welcome = w.for_agent(await socket.recv(decode=False))
                assert isinstance(welcome, w.Welcome)
                self.entered()
                try:
                    await self.ping(socket, welcome.ping_seconds)
                finally:
                    self.left()
            except (OSError, ConnectionClosed, InvalidHandshake, TimeoutError):
                await asyncio.sleep(random.uniform(0.2, 1.0))

    async def ping(self, socket: Any, every: float) -> None:
        """Report until the connection ends."""
        report = w.pack(w.Report(report=w.HostReport(at=time.time())))
        await asyncio.sleep(random.uniform(0, every))
        while True:
            await socket.send(report)
            await socket.recv(decode=False)
            await asyncio.sleep(every)

    def entered(self) -> None:
        """An agent was welcomed."""
        self.inside += 1
        if self.inside == self.count:
            print(json.dumps({"all": time.perf_counter() - self.began}), flush=True)

    def left(self) -> None:
        """An agent lost its connection; the first to do so begins the storm."""
        if self.inside == self.count:
            self.began = time.perf_counter()
        self.inside -= 1


async def agents(count: int, port: int, folder: Path) -> None:
    """Run agents until standard input ends."""
    crowd = Agents(port, folder, min(count, MAX_AGENTS))
    tasks = [asyncio.create_task(crowd.live(n)) for n in range(crowd.count)]
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def main() -> None:
    """Do what the first word says."""
    match sys.argv[1:]:
        case ["http", clients, seconds]:
            uvloop.run(http(int(clients), float(seconds)))
        case ["reference", port]:
            uvloop.run(reference(int(port)))
        case ["agents", count, port, folder]:
            uvloop.run(agents(int(count), int(port), Path(folder)))
        case _:
            raise SystemExit(__doc__)


if __name__ == "__main__":
    main()
