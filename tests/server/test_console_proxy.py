"""The console's proxy through its real sockets: browser's WebSocket, manager, mutual TLS, a host's stream, a VNC screen.

The hosts are simulated; here they have screens, which speak RFB as QEMU does.  The browser is played by a WebSocket
client, so that what it sends and when it reads is the test's choice.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import socket
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
import uvicorn
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from mold.api.door import Request
from mold.api.sign import candidates, sign
from mold.features.compute import consoles
from mold.features.compute.machines.row import VirtualMachine
from mold.features.identity.users import User
from mold.features.infra import certificates
from mold.plugins.simulator import Box, Simulator
from mold.server import http, rfb, screens
from mold.server.app import Manager, Options
from mold.server.main import _config
from mold.wire import calls as w

VERSION = b"RFB 003.008\n"
ORIGIN = "http://127.0.0.1"


class Screen:
    """A guest's VNC screen at the end of a host's stream. `after` goes on once the viewer has sent ClientInit."""

    def __init__(self, password: str, after: Callable[[Screen], Awaitable[None]] | None = None) -> None:
        self.password = password
        self.after = after
        self.greeting = VERSION
        self.types = bytes([rfb.PASSWORD])
        self.stream: ClientConnection | None = None
        self.heard = b""
        self.sent = 0

    async def more(self) -> bytes:
        """The next piece from the proxy."""
        assert self.stream is not None
        return await self.stream.recv(decode=False)

    async def say(self, data: bytes) -> None:
        """Send to the proxy."""
        assert self.stream is not None
        await self.stream.send(data)
        self.sent += len(data)

    async def serve(self, stream: ClientConnection) -> None:
        """The whole life of one connection."""
        self.stream = stream
        inflow = rfb.Inflow(self.more)
        with contextlib.suppress(ConnectionClosed):
            await self.say(self.greeting)
            await inflow.take(12)
            await self.say(bytes([len(self.types)]) + self.types)
            kind = (await inflow.take(1))[0]
            if kind == rfb.PASSWORD:
                challenge = bytes(range(16))
                await self.say(challenge)
                if await inflow.take(16) != rfb.answer(self.password, challenge):
                    reason = b"Authentication failed"
                    await self.say((1).to_bytes(4) + len(reason).to_bytes(4) + reason)
                    await stream.close()
                    return
            await self.say(bytes(4))
            self.heard = await inflow.take(1)
            if self.after is not None:
                await self.after(self)
                return
            while True:  # an echo: what is sent comes back
                data = inflow.rest or await self.more()
                inflow.rest = b""
                self.heard += data
                await self.say(data)


class WithScreens(Simulator):
    """Simulated hosts whose machines have the screens that a test puts there."""

    def __init__(self) -> None:
        super().__init__()
        self.make: Callable[[], Screen] | None = None
        self.screens: list[Screen] = []
        self.tls: ssl.SSLContext | None = None
        self.tasks: set[asyncio.Task[None]] = set()
        self.comes = True

    def do_OpenConsole(self, box: Box, call: w.OpenConsole, host: str) -> w.Done:
        """As an agent does: dial the manager, with the ticket."""
        assert self.make is not None and call.name in box.machines
        screen = self.make()
        self.screens.append(screen)
        if self.comes:
            task = asyncio.create_task(self._dial(call, screen))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)
        return w.Done()

    async def _dial(self, call: w.OpenConsole, screen: Screen) -> None:
        async with connect(
            f"wss://{call.dial}/stream/{call.ticket}",
            ssl=self.tls,
            server_hostname=certificates.MANAGER_NAME,
            compression=None,
        ) as stream:
            await screen.serve(stream)


@dataclass
class Cloud:
    """A manager with its HTTP port, one simulated host, one running machine."""

    manager: Manager
    simulator: WithScreens
    port: int
    password: str = ""
    machine: str = ""

    async def call(self, command: str, **params: Any) -> dict[str, Any]:
        """A command on the integration port; waits for its job."""
        asked = {"command": command, "response": "json", **{k: str(v) for k, v in params.items()}}
        answer = await self.manager.door.answer(
            Request(params=asked, integration=True, base_url=f"{ORIGIN}:{self.port}/client")
        )
        body: dict[str, Any] = next(iter(json.loads(answer.body).values()))
        assert answer.status == 200, body
        while command != "queryAsyncJobResult" and (job := body.get("jobid")):
            told = await self.call("queryAsyncJobResult", jobid=job)
            if told["jobstatus"] == 0:
                await asyncio.sleep(0.02)
                continue
            assert told["jobstatus"] == 1, told
            return dict(told["jobresult"])
        return body

    async def endpoint(self, **params: Any) -> dict[str, Any]:
        """What createConsoleEndpoint answers."""
        told = await self.call("createConsoleEndpoint", virtualmachineid=self.machine, **params)
        return dict(told["consoleendpoint"])

    async def ticket(self, **params: Any) -> str:
        """A fresh ticket."""
        return str((await self.endpoint(**params))["websocket"]["token"])

    def view(self, query: str, origin: str | None = "own", **options: Any) -> Any:
        """A browser's connection with this query string."""
        if origin == "own":
            origin = f"{ORIGIN}:{self.port}"
        return connect(
            f"ws://127.0.0.1:{self.port}/client/console/websockify?{query}",
            origin=origin,  # type: ignore[arg-type]
            subprotocols=["binary"],  # type: ignore[list-item]
            **{"max_size": None, "open_timeout": 20, **options},
        )


async def build(cloud: Cloud) -> None:
    """Zone to running machine, with as little as that takes."""
    call = cloud.call
    zone = (await call("createZone", name="z", dns1="9.9.9.9", internaldns1="9.9.9.9", networktype="Advanced",
                       guestcidraddress="10.1.1.0/24"))["zone"]["id"]  # fmt: skip
    physical = (await call("createPhysicalNetwork", zoneid=zone, name="n", isolationmethods="VXLAN", vlan="1000-1999"))[
        "physicalnetwork"
    ]["id"]
    for traffic in ("Management", "Public", "Guest"):
        await call("addTrafficType", physicalnetworkid=physical, traffictype=traffic)
    await call("updatePhysicalNetwork", id=physical, state="Enabled")
    await call("createVlanIpRange", zoneid=zone, vlan="untagged", gateway="172.30.251.1", netmask="255.255.255.0",
               startip="172.30.251.10", endip="172.30.251.50", forvirtualnetwork="true", physicalnetworkid=physical)  # fmt: skip
    pod = (await call("createPod", zoneid=zone, name="p", gateway="172.30.0.1", netmask="255.255.0.0",
                      startip="172.30.0.10", endip="172.30.0.99"))["pod"]["id"]  # fmt: skip
    cluster = (await call("addCluster", zoneid=zone, podid=pod, clustername="c", hypervisor="Simulator",
                          clustertype="CloudManaged"))["cluster"][0]["id"]  # fmt: skip
    await call("updateZone", id=zone, allocationstate="Enabled")
    where = {"zoneid": zone, "podid": pod, "clusterid": cluster}
    await call("addHost", url="http://sim-1", hypervisor="Simulator", **where)
    await call("createStoragePool", name="s", url="sharedmountpoint://localhost/p", scope="CLUSTER",
               hypervisor="Simulator", **where)  # fmt: skip
    await call("addImageStore", provider="NFS", url="file:///s", name="i", zoneid=zone)
    template = (await call("registerTemplate", name="t", displaytext="t", url="http://images.invalid/t.qcow2",
                           format="QCOW2", hypervisor="Simulator", zoneid=zone, ispublic="true",
                           ostypeid=(await call("listOsTypes", description="Other Linux (64-bit)"))["ostype"][0]["id"],
                           ))["template"][0]["id"]  # fmt: skip
    until = time.monotonic() + 30
    while not (await call("listTemplates", templatefilter="all", id=template))["template"][0]["isready"]:
        assert time.monotonic() < until, "the template does not become ready"
        await asyncio.sleep(0.05)
    offering = (await call("createServiceOffering", name="o", displaytext="o", cpunumber=1, cpuspeed=500, memory=256))[
        "serviceoffering"
    ]["id"]
    wanted = (await call("listNetworkOfferings", state="Enabled", guestiptype="Isolated"))["networkoffering"][0]["id"]
    network = (await call("createNetwork", name="n", zoneid=zone, networkofferingid=wanted))["network"]["id"]
    vm = (await call("deployVirtualMachine", name="screened", displayname='<b>"화면" & co', zoneid=zone,
                     templateid=template, serviceofferingid=offering, networkids=network))["virtualmachine"]  # fmt: skip
    cloud.machine = vm["id"]
    row = await cloud.manager.engine.reading(lambda tx: tx.one(VirtualMachine, vm["id"]))
    cloud.password = row.vnc_password


@contextlib.asynccontextmanager
async def running(folder: Path) -> AsyncIterator[Cloud]:
    """A whole cloud in this process."""
    simulator = WithScreens()
    manager = Manager(Options(data=folder, agent_port=0), simulator=simulator)
    await manager.start()
    own, key, ca = await manager.engine.writing(lambda tx: certificates.issue(tx, "sim-1"))
    pem = folder / "host.pem"
    pem.touch(0o600)
    pem.write_text(key + own)
    simulator.tls = ssl.create_default_context(cadata=ca)
    simulator.tls.load_cert_chain(pem)
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    server = uvicorn.Server(_config(http.application(manager), "127.0.0.1", port))
    serving = asyncio.create_task(server._serve([listener]))
    cloud = Cloud(manager, simulator, port)
    try:
        await build(cloud)
        simulator.make = lambda: Screen(cloud.password)
        yield cloud
    finally:
        server.should_exit = True
        await asyncio.wait_for(serving, 20)
        for task in list(simulator.tasks):
            task.cancel()
        await asyncio.gather(*simulator.tasks, return_exceptions=True)
        await manager.stop()
        listener.close()


def test(folder: Path, body: Callable[[Cloud], Coroutine[Any, Any, None]]) -> None:
    """Run one test's body against a cloud of its own."""

    async def go() -> None:
        async with asyncio.timeout(120), running(folder) as cloud:
            await body(cloud)

    asyncio.run(go())


test.__test__ = False  # type: ignore[attr-defined]


async def enter(viewer: ClientConnection) -> rfb.Inflow:
    """What a browser's noVNC does until the screen is open."""

    async def more() -> bytes:
        return await viewer.recv(decode=False)

    inflow = rfb.Inflow(more)
    assert await inflow.take(12) == VERSION
    await viewer.send(VERSION)
    assert await inflow.take(2) == b"\x01\x01", "the browser is offered to come in without a password, and nothing else"
    await viewer.send(b"\x01")
    assert await inflow.take(4) == bytes(4)
    await viewer.send(b"\x01")  # ClientInit, shared
    return inflow


async def refusal(cloud: Cloud, query: str, **options: Any) -> tuple[int, str]:
    """Code and sentence with which a connection is closed before anything else is said."""
    async with cloud.view(query, **options) as viewer:
        with pytest.raises(ConnectionClosed) as closed:
            await asyncio.wait_for(viewer.recv(), 30)
        assert closed.value.rcvd is not None
        return closed.value.rcvd.code, closed.value.rcvd.reason


def test_des_of_the_vnc_challenge() -> None:
    """Against the worked example of DES (key 133457799BBCDFF1), whose key VNC would write with its bits reversed."""
    word = bytes(int(f"{b:08b}"[::-1], 2) for b in bytes.fromhex("133457799BBCDFF1")).decode("latin-1")
    assert rfb.answer(word, bytes.fromhex("0123456789ABCDEF")).hex() == "85e813540f0ab405"
    assert rfb.answer("eight888-and-more", bytes(16)) == rfb.answer("eight888", bytes(16))
    assert rfb.answer("", bytes(16)) != rfb.answer("a", bytes(16))


def test_a_ticket_opens_one_connection_and_bytes_pass_untouched(tmp_path: Path) -> None:
    async def body(cloud: Cloud) -> None:
        made = await cloud.endpoint()
        address = urlsplit(made["url"])
        asked = parse_qs(address.query)
        assert address.path == "/client/console/vnc.html" and address.netloc == f"127.0.0.1:{cloud.port}"
        assert asked["title"] == ['<b>"화면" & co'] and asked["machine"] == [cloud.machine]
        assert asked["path"] == [f"console/websockify?token={made['websocket']['token']}"]
        assert made["websocket"]["port"] == str(cloud.port) and made["websocket"]["host"] == "127.0.0.1"
        assert cloud.password not in json.dumps(made), "the screen's password stays on the server"

        query = f"token={made['websocket']['token']}"
        async with cloud.view(query) as viewer:
            assert viewer.subprotocol == "binary"
            inflow = await enter(viewer)
            for size in (1, 10, 70_000, 1 << 20):  # the largest is the largest message that is taken
                data = bytes(i * 7 & 255 for i in range(size))
                await viewer.send(data)
                assert await inflow.take(size) == data
            assert cloud.simulator.screens[0].heard.startswith(b"\x01")
            code, text = await refusal(cloud, query)
            assert code == screens.REFUSED and "used already" in text
        assert (await refusal(cloud, query))[0] == screens.REFUSED
        assert len(cloud.simulator.screens) == 1, "a refused ticket reaches no host"

    test(tmp_path, body)


def test_refused_tickets_origins_and_queries(tmp_path: Path) -> None:
    async def body(cloud: Cloud) -> None:
        for query in ("", "token=", "token=abc", "token=%00%ff", "token=a&token=b", "%", "token=" + "x" * 4000, "&&=;"):
            assert (await refusal(cloud, query))[0] == screens.REFUSED, query

        # Another site's page: refused, and the ticket is not used up by it.
        ticket = await cloud.ticket()
        for origin in ("http://evil.example", "null", "https://127.0.0.1", f"http://127.0.0.1:{cloud.port + 1}", "x:"):
            code, text = await refusal(cloud, f"token={ticket}", origin=origin)
            assert code == screens.REFUSED and "own pages" in text, origin
        # A program that is no browser says no origin.
        async with cloud.view(f"token={ticket}", origin=None) as viewer:
            await enter(viewer)

        # Too old.
        ticket = await cloud.ticket()
        await cloud.manager.engine.writing(
            lambda tx: tx.execute(consoles.ticket.update().values(until=time.time() - 1))
        )
        code, text = await refusal(cloud, f"token={ticket}")
        assert code == screens.REFUSED and "too old" in text

        # With a further token: a wrong one uses the ticket up.
        ticket = await cloud.ticket(token="further")
        assert (await refusal(cloud, f"token={ticket}&extra=wrong"))[0] == screens.REFUSED
        assert (await refusal(cloud, f"token={ticket}&extra=further"))[0] == screens.REFUSED
        ticket = await cloud.ticket(token="further")
        async with cloud.view(f"token={ticket}&extra=further") as viewer:
            await enter(viewer)

        # Text is not RFB.
        async with cloud.view(f"token={await cloud.ticket()}") as viewer:
            await enter(viewer)
            await viewer.send("text")
            with pytest.raises(ConnectionClosed) as closed:
                await viewer.recv()
            assert closed.value.rcvd is not None and closed.value.rcvd.code == screens.REFUSED

    test(tmp_path, body)


def test_one_who_may_not_see_the_machine_any_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(screens, "LOOK_SECONDS", 0.2)

    async def body(cloud: Cloud) -> None:
        account = (await cloud.call("createAccount", username="kim", password="Pass-w0rd-1", firstname="K", lastname="K",
                                    email="k@example.org", accounttype=1))["account"]  # fmt: skip
        user = account["user"][0]["id"]
        keys = (await cloud.call("registerUserKeys", id=user))["userkeys"]

        async def as_kim() -> str:
            params = {"command": "createConsoleEndpoint", "response": "json", "virtualmachineid": cloud.machine,
                      "apikey": keys["apikey"]}  # fmt: skip
            params["signature"] = sign(next(iter(candidates(params))), keys["secretkey"])
            answer = await cloud.manager.door.answer(Request(params=params, base_url=f"{ORIGIN}:{cloud.port}/client"))
            assert answer.status == 200, answer.body
            return str(
                json.loads(answer.body)["createconsoleendpointresponse"]["consoleendpoint"]["websocket"]["token"]
            )

        ticket, later = await as_kim(), await as_kim()
        async with cloud.view(f"token={ticket}") as viewer:
            await enter(viewer)
            await cloud.manager.engine.writing(lambda tx: tx.set(tx.one(User, user), state="disabled"))
            with pytest.raises(ConnectionClosed) as closed:
                await asyncio.wait_for(viewer.recv(), 10)
            assert closed.value.rcvd is not None and closed.value.rcvd.code == screens.REFUSED
        assert (await refusal(cloud, f"token={later}"))[0] == screens.REFUSED

    test(tmp_path, body)


def test_the_screen_says_no_goes_away_or_never_comes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def body(cloud: Cloud) -> None:
        def screen(**about: Any) -> Callable[[], Screen]:
            def make() -> Screen:
                made = Screen(about.pop("password", cloud.password), about.pop("after", None))
                for name, value in about.items():
                    setattr(made, name, value)
                return made

            return make

        async def told() -> tuple[int, str]:
            return await refusal(cloud, f"token={await cloud.ticket()}")

        cloud.simulator.make = screen(password="another")
        code, text = await told()
        assert code == screens.BROKEN and "Authentication failed" in text
        cloud.simulator.make = screen(greeting=b"HTTP/1.1 400")
        assert "RFB 3.8" in (await told())[1]
        cloud.simulator.make = screen(types=bytes([19]))
        assert "sign-in" in (await told())[1]
        cloud.simulator.make = screen(types=b"\0", greeting=VERSION)
        cloud.simulator.make = screen(types=bytes([rfb.OPEN]))
        async with cloud.view(f"token={await cloud.ticket()}") as viewer:
            await enter(viewer)

        # The guest ends: the host closes its stream properly.
        async def ends(it: Screen) -> None:
            assert it.stream is not None
            await it.say(b"last words")
            await it.stream.close()

        cloud.simulator.make = screen(after=ends)
        async with cloud.view(f"token={await cloud.ticket()}") as viewer:
            assert await (await enter(viewer)).take(10) == b"last words"
            with pytest.raises(ConnectionClosed) as closed:
                await viewer.recv()
            assert closed.value.rcvd is not None
            assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (screens.GONE, screens.STOPPED)

        # The agent is restarted, or dies.
        for dying in (lambda s: s.close(1001), lambda s: asyncio.sleep(0, s.transport.abort())):

            async def dies(it: Screen, dying: Callable[[Any], Awaitable[None]] = dying) -> None:
                await dying(it.stream)

            cloud.simulator.make = screen(after=dies)
            async with cloud.view(f"token={await cloud.ticket()}") as viewer:
                await enter(viewer)
                with pytest.raises(ConnectionClosed) as closed:
                    await viewer.recv()
                assert closed.value.rcvd is not None and closed.value.rcvd.code == screens.BROKEN

        # The host takes the call and never dials; then the host is away; then the machine is stopped.
        cloud.simulator.make, cloud.simulator.comes = screen(), False
        code, text = await told()
        assert code == screens.BROKEN and "did not open a stream" in text
        assert not cloud.manager.hub.streams
        cloud.simulator.plant(call="OpenConsole", kind="down")
        assert (await told())[0] == screens.BROKEN
        ticket = await cloud.ticket()
        await cloud.call("stopVirtualMachine", id=cloud.machine, forced="true")
        code, text = await refusal(cloud, f"token={ticket}")
        assert code == screens.GONE and "only a running one" in text
        made = await cloud.endpoint()
        assert made["success"] is False and "only a running one" in made["details"]

    test(tmp_path, body)


def test_a_silent_or_foreign_viewer_is_let_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(screens, "OPEN_SECONDS", 1.0)

    async def body(cloud: Cloud) -> None:
        async with cloud.view(f"token={await cloud.ticket()}") as viewer:
            assert await viewer.recv() == VERSION
            with pytest.raises(ConnectionClosed) as closed:
                await asyncio.wait_for(viewer.recv(), 10)
            assert closed.value.rcvd is not None and closed.value.rcvd.code == screens.BROKEN
        async with cloud.view(f"token={await cloud.ticket()}") as viewer:
            await viewer.send(b"RFB 003.003\n")
            assert await viewer.recv() == VERSION
            with pytest.raises(ConnectionClosed) as closed:
                await asyncio.wait_for(viewer.recv(), 10)
            assert closed.value.rcvd is not None and closed.value.rcvd.code == screens.REFUSED

    test(tmp_path, body)


def test_a_slow_browser_slows_the_screen_and_a_slow_screen_the_browser(tmp_path: Path) -> None:
    total = 96 << 20
    piece = hashlib.shake_128(b"screen").digest(1 << 16)

    async def body(cloud: Cloud) -> None:
        async def floods(it: Screen) -> None:
            while it.sent < total:
                await it.say(piece)
            assert it.stream is not None
            await it.stream.wait_closed()

        cloud.simulator.make = lambda: Screen(cloud.password, floods)
        async with cloud.view(f"token={await cloud.ticket()}", max_queue=1) as viewer:
            inflow = await enter(viewer)
            screen, last = cloud.simulator.screens[-1], -1
            while screen.sent != last:  # until it stands still
                last = screen.sent
                await asyncio.sleep(1)
            assert 0 < last < 24 << 20, f"{last >> 20} MiB were taken from the screen for a browser that reads nothing"
            taken = len(inflow.rest)
            while taken < total:
                data = await viewer.recv(decode=False)
                where = taken % len(piece)
                assert data == (piece * 2)[where : where + len(data)]
                taken += len(data)

        asleep = asyncio.Event()

        async def sleeps(it: Screen) -> None:
            await asleep.wait()
            while len(it.heard) < 32 << 20:
                it.heard += await it.more()
            await it.say(hashlib.sha256(it.heard[-(32 << 20) :]).digest())

        cloud.simulator.make = lambda: Screen(cloud.password, sleeps)
        async with cloud.view(f"token={await cloud.ticket()}") as viewer:
            inflow = await enter(viewer)
            sent = 0

            async def pastes() -> None:
                nonlocal sent
                while sent < 32 << 20:
                    await viewer.send(piece)
                    sent += len(piece)

            task, last = asyncio.create_task(pastes()), -1
            while sent != last:
                last = sent
                await asyncio.sleep(1)
            assert 0 < last < 24 << 20, f"{last >> 20} MiB were taken from the browser for a screen that reads nothing"
            asleep.set()
            await task

    test(tmp_path, body)


def test_many_consoles_at_once_and_a_manager_that_stops(tmp_path: Path) -> None:
    count = 60

    async def body(cloud: Cloud) -> None:
        async with contextlib.AsyncExitStack() as stack:

            async def one(number: int) -> ClientConnection:
                viewer: ClientConnection = await stack.enter_async_context(cloud.view(f"token={await cloud.ticket()}"))
                inflow = await enter(viewer)
                data = str(number).encode() * 1000
                await viewer.send(data)
                assert await inflow.take(len(data)) == data
                return viewer

            viewers = await asyncio.gather(*(one(number) for number in range(count)))
            assert len(viewers) == count
            await cloud.manager.hub.stop()
            for viewer in viewers:
                with pytest.raises(ConnectionClosed) as closed:
                    await asyncio.wait_for(viewer.recv(), 10)
                assert closed.value.rcvd is not None and closed.value.rcvd.code == screens.BROKEN

    test(tmp_path, body)


def test_the_page_and_its_headers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def body(cloud: Cloud) -> None:
        base = f"{ORIGIN}:{cloud.port}/client/console"
        static = tmp_path / "static"
        monkeypatch.setattr(http, "STATIC", static)
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app=http.application(cloud.manager)), base_url="http://x/client/console"
        ) as bare:
            without = await bare.get("/vnc.html")
            assert without.status_code == 404 and "make gui" in without.text
            (static / "console" / "novnc-9").mkdir(parents=True)
            (static / "console" / "vnc.html").write_text("<!doctype html>")
            (static / "console" / "novnc-9" / "rfb.js").write_text("export default 1;")
            shown = await bare.get("/vnc.html")
            assert shown.status_code == 200 and shown.headers["cache-control"] == "no-cache"
            assert shown.headers["content-type"].startswith("text/html")
            policy = shown.headers["content-security-policy"]
            assert "script-src 'self'" in policy and "unsafe" not in policy and "default-src 'none'" in policy
            again = await bare.get("/vnc.html", headers={"If-None-Match": shown.headers["etag"]})
            assert again.status_code == 304
            module = await bare.get("/novnc-9/rfb.js")
            assert module.headers["content-type"] == "text/javascript; charset=utf-8"
            assert "immutable" in module.headers["cache-control"]
            for path in ("/", "/novnc-9", "/novnc-9/", "/../../host.pem", "/%2e%2e/%2e%2e/host.pem", "/none.js"):
                gone = await bare.get(path)
                assert gone.status_code == 404 and "host" not in gone.text, path
                assert gone.headers["x-content-type-options"] == "nosniff"
        async with httpx.AsyncClient() as browser:
            answer = await browser.get(f"{base}/vnc.html")
            assert answer.status_code in (200, 404) and answer.headers["referrer-policy"] == "no-referrer"

    test(tmp_path, body)


def test_a_host_header_that_names_no_host(tmp_path: Path) -> None:
    async def body(cloud: Cloud) -> None:
        for base in ("http://[/client", "http://x:y/client", "http://x:99999/client"):
            asked = {"command": "createConsoleEndpoint", "response": "json", "virtualmachineid": cloud.machine}
            answer = await cloud.manager.door.answer(Request(params=asked, integration=True, base_url=base))
            assert answer.status == 431 and b"Host header" in answer.body
        asked = {"command": "createConsoleEndpoint", "response": "json", "virtualmachineid": cloud.machine}
        answer = await cloud.manager.door.answer(
            Request(params=asked, integration=True, base_url="https://[::1]/client")
        )
        told = json.loads(answer.body)["createconsoleendpointresponse"]["consoleendpoint"]["websocket"]
        assert (told["host"], told["port"]) == ("::1", "443")

    test(tmp_path, body)
