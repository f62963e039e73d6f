"""The hub: real TLS, real managers, and agents that are well, that are somebody else, that hang, and that lie."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import math
import socket
import ssl
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException

from mold.api.door import Request
from mold.base.errors import Unreachable
from mold.features.infra import certificates, hosts
from mold.features.infra.certificates import MANAGER_NAME, Certificate
from mold.features.infra.hosts import Host
from mold.server import hub
from mold.server.app import Manager, Options
from mold.wire import calls as w
from mold.work import Engine

# -- what the tests share ------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def one_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several managers in one process can only have the same one."""
    monkeypatch.setenv("MOLD_KEY", "A" * 43)


@contextlib.asynccontextmanager
async def manager(folder: Path, database: str = "") -> AsyncIterator[Manager]:
    made = Manager(Options(data=folder, database=database, agent_port=0, admin_password="password"))
    await made.start()
    try:
        yield made
    finally:
        await made.stop()


async def call(m: Manager, command: str, **params: object) -> dict[str, Any]:
    words = {"command": command, "response": "json", **{k: str(v) for k, v in params.items()}}
    answer = await m.door.answer(Request(params=words, integration=True))
    return dict(next(iter(msgspec.json.decode(answer.body).values())))


async def job(m: Manager, command: str, **params: object) -> dict[str, Any]:
    """The ended job of a command."""
    started = await call(m, command, **params)
    assert "jobid" in started, started
    return await ended(m, started["jobid"])


async def ended(m: Manager, job_id: str, seconds: float = 30) -> dict[str, Any]:
    async with asyncio.timeout(seconds):
        while True:
            told = await call(m, "queryAsyncJobResult", jobid=job_id)
            if told["jobstatus"]:
                return told
            await asyncio.sleep(0.05)


async def until(what: Callable[[], Any], seconds: float = 10) -> None:
    async with asyncio.timeout(seconds):
        while True:
            found = what()
            if isinstance(found, Awaitable):
                found = await found
            if found:
                return
            await asyncio.sleep(0.02)


def facts(guid: str, name: str, **more: Any) -> w.HostFacts:
    about = dict(
        name=name, guid=guid, hypervisor="KVM", version="1", hypervisor_version="7", arch="x86_64", cores=4, sockets=1,
        mhz=2000, memory=8 << 30, addresses=["127.0.0.1"],
    )  # fmt: skip
    return w.HostFacts(**{**about, **more})


class Agent:
    """A tiny agent that does as it is told, and nothing else. `own` is (certificate, key, authority), PEM."""

    def __init__(self, folder: Path, own: tuple[str, str, str], name: str = "h1", guid: str = "") -> None:
        self.name = name
        self.guid = guid or str(uuid.uuid4())
        folder.mkdir(parents=True, exist_ok=True)
        pem = folder / f"{self.guid}-{len(list(folder.iterdir()))}.pem"
        pem.write_text(own[1] + own[0])
        self.tls = ssl.create_default_context(cadata=own[2])
        self.tls.load_cert_chain(pem)
        self.socket: ClientConnection | None = None
        self.welcome: w.Welcome | None = None
        self.got: list[Any] = []
        self.answers: dict[type[w.Call], Callable[[w.Request], bytes | None]] = {}
        self.task: asyncio.Task[None] | None = None

    async def dial(self, m: Manager, path: str = "/agent") -> ClientConnection:
        self.socket = await connect(
            f"wss://{m.hub.address}{path}", ssl=self.tls, server_hostname=MANAGER_NAME, max_size=None, compression=None,
            proxy=None, ping_interval=None, close_timeout=1,
        )  # fmt: skip
        return self.socket

    async def come(self, m: Manager, **more: Any) -> Agent:
        """Connect, be welcomed, answer."""
        line = await self.dial(m)
        await line.send(w.pack(w.Hello(facts=facts(self.guid, self.name, **more))))
        frame = w.for_agent(await asyncio.wait_for(line.recv(), 5))  # type: ignore[arg-type]
        assert isinstance(frame, w.Welcome)
        self.welcome = frame
        self.task = asyncio.create_task(self._serve(line))
        return self

    async def _serve(self, line: ClientConnection) -> None:
        with contextlib.suppress(ConnectionClosed):
            async for data in line:
                frame = w.for_agent(data)  # type: ignore[arg-type]
                self.got.append(frame)
                if isinstance(frame, w.Request):
                    make = self.answers.get(type(frame.call), self._answer)
                    answer = make(frame)
                    if answer is not None:
                        await line.send(answer)

    def _answer(self, request: w.Request) -> bytes | None:
        match request.call:
            case w.GetFacts():
                return w.reply(request.n, facts(self.guid, self.name))
            case w.GetMachine(name=name):
                return w.reply(request.n, w.MachineFacts(name=name, state="Absent"))
            case _:
                return w.reply(request.n, w.Done())

    async def report(self, **about: Any) -> None:
        await self.send(w.Report(report=w.HostReport(**about)))

    async def send(self, frame: Any) -> None:
        assert self.socket is not None
        await self.socket.send(frame if isinstance(frame, bytes | str) else w.pack(frame))

    async def gone(self, seconds: float = 5) -> int | None:
        """The code with which the manager closed the connection."""
        assert self.socket is not None
        async with asyncio.timeout(seconds):
            await self.socket.wait_closed()
        return self.socket.close_code

    async def leave(self) -> None:
        if self.socket is not None:
            await self.socket.close()
        if self.task is not None:
            await self.task


async def issued(m: Manager, name: str, **more: Any) -> tuple[str, str, str]:
    return await m.engine.writing(lambda tx: certificates.issue(tx, name, **more))


async def new_agent(m: Manager, folder: Path, name: str) -> Agent:
    return Agent(folder, await issued(m, name), name)


async def ground(m: Manager) -> dict[str, str]:
    zone = await call(
        m,
        "createZone",
        name="z",
        dns1="9.9.9.9",
        internaldns1="9.9.9.9",
        networktype="Advanced",
        guestcidraddress="10.1.1.0/24",
    )
    z = zone["zone"]["id"]
    pod = await call(
        m,
        "createPod",
        zoneid=z,
        name="p",
        gateway="10.9.0.1",
        netmask="255.255.255.0",
        startip="10.9.0.10",
        endip="10.9.0.20",
    )
    p = pod["pod"]["id"]
    made = await call(m, "addCluster", zoneid=z, podid=p, clustername="c", hypervisor="KVM", clustertype="CloudManaged")
    return {"zoneid": z, "podid": p, "clusterid": made["cluster"][0]["id"]}


async def add(m: Manager, ids: dict[str, str], agent: Agent) -> str:
    """Make the connected agent a host; its id."""
    added = await call(m, "addHost", hypervisor="KVM", url=f"http://{agent.name}", **ids)
    assert "host" in added, added
    await agent.report(at=time.time())
    await until(lambda: state_is(m, agent, "Up"))
    return str(added["host"][0]["id"])


async def row(m: Manager, agent: Agent) -> Host:
    found = await m.engine.reading(lambda tx: tx.first(Host, Host.c.guid == agent.guid))
    assert found is not None
    return found


async def state_is(m: Manager, agent: Agent, state: str) -> bool:
    return (await row(m, agent)).state == state


# -- states --------------------------------------------------------------------------------------------------------


def test_host_goes_through_its_states(tmp_path: Path) -> None:
    async def run() -> None:
        async with manager(tmp_path / "m") as m:
            agent = await (await new_agent(m, tmp_path / "a", "h1")).come(m)
            await add(m, await ground(m), agent)
            await call(m, "updateConfiguration", name="ping.interval", value=1)
            await call(m, "updateConfiguration", name="ping.timeout", value=1)

            await agent.leave()
            await until(lambda: state_is(m, agent, "Disconnected"))
            await agent.come(m)
            await until(lambda: state_is(m, agent, "Connecting"))
            await agent.report(at=time.time())
            await until(lambda: state_is(m, agent, "Up"))

            await asyncio.sleep(1.2)  # connected, but silent
            await hosts.watch_hosts()
            assert (await row(m, agent)).state == "Alert"
            await agent.report(at=time.time())
            await until(lambda: state_is(m, agent, "Up"))

            await agent.leave()
            await until(lambda: state_is(m, agent, "Disconnected"))
            await call(m, "updateConfiguration", name="alert.wait", value=1)
            await asyncio.sleep(2.1)
            await hosts.watch_hosts()
            assert (await row(m, agent)).state == "Alert"
            assert await hosts.watch_hosts() == 0, "a second run does nothing"

    asyncio.run(run())


def test_links_of_dead_managers_are_dropped(tmp_path: Path) -> None:
    async def run() -> None:
        async with manager(tmp_path / "m") as m:
            agent = await (await new_agent(m, tmp_path / "a", "h1")).come(m)
            await add(m, await ground(m), agent)
            import sqlalchemy as sa

            await m.engine.writing(lambda tx: tx.execute(sa.update(hosts.link).values(session="a dead one")))
            await hosts.watch_hosts()
            assert (await row(m, agent)).state == "Disconnected"
            await agent.leave()

    asyncio.run(run())


# -- agents that lie -----------------------------------------------------------------------------------------------

LIES: dict[str, Any] = {
    "garbage": b"\xff\xff\xff",
    "nothing": b"",
    "text": "hello",
    "half a frame": w.pack(w.Report(report=w.HostReport()))[:-1],
    "a huge frame": b"\x00" * (w.FRAME_MAX + 1),
    "another agent's work": w.Relay(n=1, host="x", request=w.Request(n=1, call=w.GetFacts(), seconds=1)),
    "a second Hello": w.Hello(facts=facts(str(uuid.uuid4()), "other")),
    "not a number": w.Report(report=w.HostReport(cpu_percent=math.nan)),
    "endless load": w.Report(report=w.HostReport(load=math.inf)),
    "negative memory": w.Report(report=w.HostReport(memory_used=-1)),
    "more memory than numbers": w.Report(report=w.HostReport(memory_used=(1 << 64) - 1)),
    "wrong types": w.pack({"frame": "Report", "report": {"cpu_percent": "much"}}),
}


def test_what_cannot_be_ends_the_link_and_hurts_nobody_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "BARRED_SECONDS", 60.0)

    async def run() -> None:
        async with manager(tmp_path / "m") as m:
            ids = await ground(m)
            liar = await (await new_agent(m, tmp_path / "a", "liar")).come(m)
            honest = await (await new_agent(m, tmp_path / "a", "honest")).come(m)
            await add(m, ids, liar)
            good = await add(m, ids, honest)
            for what, frame in LIES.items():
                asked = asyncio.create_task(m.hub.ask((await row(m, liar)).id, w.ListMachines(), seconds=5))
                liar.answers[w.ListMachines] = lambda request: None
                await until(lambda: any(isinstance(each, w.Request) for each in liar.got), 5)
                await honest.report(at=time.time(), memory_used=5)
                with contextlib.suppress(ConnectionClosed):
                    await liar.send(frame)
                assert await liar.gone() in (4400, 1009), what
                with pytest.raises(Unreachable, match="ended before it answered"):
                    await asked
                await until(lambda: state_is(m, liar, "Alert"))
                problems = (await row(m, liar)).problems or []
                assert "Set it up again" in problems[0], what
                with pytest.raises(Unreachable, match="not connected"):
                    await m.hub.ask((await row(m, liar)).id, w.GetFacts())
                assert isinstance(await m.hub.ask(good, w.GetFacts()), w.HostFacts)
                refused = await liar.dial(m)
                await refused.wait_closed()
                assert refused.close_code == 4429, what
                m.hub._barred.clear()  # as if the time was over
                liar.got.clear()
                await liar.come(m)
                await liar.report(at=time.time())
                await until(lambda: state_is(m, liar, "Up"))
            assert (await row(m, honest)).state == "Up"
            told = await call(m, "listHosts", id=good, details="stats")
            assert told["host"][0]["memoryused"] == 5, "reports of others are not lost with a liar's"
            await liar.leave()
            await honest.leave()

    asyncio.run(run())


STRANGE: list[dict[str, Any]] = [
    {"guid": ""}, {"guid": "sim-1"}, {"guid": "../../etc"}, {"name": ""}, {"name": "a\0b"}, {"name": "x" * 300},
    {"memory": -1}, {"memory": 1 << 63}, {"cores": 1 << 40}, {"addresses": ["none"]}, {"version": "\0"},
    {"problems": ["x"] * 2000},
]  # fmt: skip


def test_facts_that_cannot_be_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "BARRED_SECONDS", 0.0)

    async def run() -> None:
        async with manager(tmp_path / "m") as m:
            agent = await new_agent(m, tmp_path / "a", "h1")
            for about in STRANGE:
                line = await agent.dial(m)
                await line.send(w.pack(w.Hello(facts=msgspec.structs.replace(facts(agent.guid, "h1"), **about))))
                assert await agent.gone() == 4400, about
                assert m.hub.lines == {}

    asyncio.run(run())


def test_answers_that_are_none_are_unreachable(tmp_path: Path) -> None:
    async def run() -> None:
        async with manager(tmp_path / "m") as m:
            agent = await (await new_agent(m, tmp_path / "a", "h1")).come(m)
            host = await add(m, await ground(m), agent)
            wrong: list[Callable[[w.Request], bytes]] = [
                lambda r: w.reply(r.n, w.MachineList(machines=[])),
                lambda r: w.pack(w.Reply(n=r.n, facts=msgspec.Raw(w.pack("text")))),
                lambda r: w.reply(r.n, w.MachineFacts(name="a\0b", state="Running")),
                lambda r: w.reply(r.n, w.MachineFacts(name="a", state="Running", memory=1 << 63)),
                lambda r: w.reply(r.n, w.MachineFacts(name="a", state="Running", cpu_seconds=math.nan)),
            ]
            for each in wrong:
                agent.answers[w.GetMachine] = each
                with pytest.raises(Unreachable, match=r"no answer to it, so nobody knows.*Set the agent up again"):
                    await m.hub.ask(host, w.GetMachine(name="a"))
            agent.answers[w.GetMachine] = lambda r: w.pack(
                w.Reply(
                    n=r.n, error="Failed", text="\0" + "x" * 10**6, params={"a": b"\xff", "b": 1, "c": [{}], "d": "\0"}
                )
            )
            with pytest.raises(hub.Refusal) as no:
                await m.hub.ask(host, w.GetMachine(name="a"))
            assert len(no.value.text) <= hub.TEXT_MAX and "\0" not in no.value.text
            assert no.value.facts == {"b": 1, "d": " "}

            said: list[float] = []

            def babble(request: w.Request) -> bytes:
                for percent in (math.nan, math.inf, -5.0, 42.0):
                    asyncio.ensure_future(agent.send(w.Progress(n=request.n, percent=percent, text="\0")))  # noqa: RUF006
                asyncio.get_running_loop().call_later(
                    0.1, lambda: asyncio.ensure_future(agent.send(w.reply(request.n, w.Done())))
                )
                return w.pack(w.Reply(n=999_999))

            agent.answers[w.UnmountPool] = babble
            pool = w.PoolSpec(id=str(uuid.uuid4()), type="Filesystem", path="/x")
            await m.hub.ask(host, w.UnmountPool(pool=pool), say=lambda p, t: said.append(p))
            assert sorted(said) == [0.0, 42.0, 100.0]
            assert (await row(m, agent)).state == "Up"
            await agent.leave()

    asyncio.run(run())


def test_an_agent_that_hangs_costs_no_more_than_the_time_given(tmp_path: Path) -> None:
    async def run() -> None:
        async with manager(tmp_path / "m") as m:
            agent = await (await new_agent(m, tmp_path / "a", "h1")).come(m)
            host = await add(m, await ground(m), agent)
            agent.answers[w.GetMachine] = lambda request: None
            began = time.monotonic()
            with pytest.raises(Unreachable, match="no answer within"):
                await m.hub.ask(host, w.GetMachine(name="x"), seconds=0.2)
            assert time.monotonic() - began < 4
            await until(lambda: any(isinstance(each, w.Cancel) for each in agent.got))

            assert agent.task is not None and agent.socket is not None
            agent.task.cancel()
            agent.socket.transport.pause_reading()  # not even the kernel's buffers are emptied any more
            began = time.monotonic()
            big = w.GetMachine(name="x" * 8_000_000)
            done = await asyncio.gather(*(m.hub.ask(host, big, seconds=0.2) for _ in range(4)), return_exceptions=True)
            assert all(isinstance(each, Unreachable) for each in done) and time.monotonic() - began < 6
            agent.socket.transport.abort()

    asyncio.run(run())


def test_slow_starters_are_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "HANDSHAKE_SECONDS", 0.4)

    async def run() -> None:
        async with manager(tmp_path / "m") as m:
            own = await issued(m, "slow")
            agent = Agent(tmp_path / "a", own, "slow")
            where, port = m.hub.address.rsplit(":", 1)
            silent = [socket.create_connection((where, int(port))) for _ in range(50)]
            reader, writer = await asyncio.open_connection(
                where, int(port), ssl=agent.tls, server_hostname=MANAGER_NAME
            )
            writer.write(b"GET /agent HTTP/1.1\r\nHost: ")
            line = await agent.dial(m)  # and says nothing
            honest = await (await new_agent(m, tmp_path / "a", "honest")).come(m)
            assert honest.welcome is not None
            async with asyncio.timeout(6):
                await reader.read()  # until the manager hangs up
                await line.wait_closed()
                for each in silent:
                    each.setblocking(False)
                    with contextlib.suppress(ConnectionError):
                        while await asyncio.get_running_loop().sock_recv(each, 1000):
                            pass
                    each.close()
            writer.close()
            assert set(m.hub.lines) == {honest.guid}
            await honest.leave()

    asyncio.run(run())


# -- certificates --------------------------------------------------------------------------------------------------


async def refused(m: Manager, agent: Agent) -> int | None:
    """How the manager refuses this agent: the close code, or None where TLS itself fails."""
    try:
        line = await agent.dial(m)
        with contextlib.suppress(ConnectionClosed):
            await line.send(w.pack(w.Hello(facts=facts(agent.guid, agent.name))))
            frame = w.for_agent(await asyncio.wait_for(line.recv(), 5))  # type: ignore[arg-type]
            raise AssertionError(f"let in with {frame}")
        return line.close_code if line.close_code != 1006 else None
    except (OSError, EOFError, WebSocketException):
        return None


def made_by(ca: x509.Certificate, key: ec.EllipticCurvePrivateKey, name: str, days: int) -> tuple[str, str]:
    """A certificate (PEM) that ends so many days from now, and its key."""
    own = ec.generate_private_key(ec.SECP256R1())
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(ca.subject)
        .public_key(own.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=30))
        .not_valid_after(now + dt.timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = own.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return made.public_bytes(serialization.Encoding.PEM).decode(), pem.decode()


def test_certificates_that_are_not_ours_or_not_good_any_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "BARRED_SECONDS", 0.0)

    async def run() -> None:
        async with manager(tmp_path / "m") as m, manager(tmp_path / "other") as other:
            ca, key, pem = await m.engine.reading(certificates.authority)
            foreign = await other.engine.writing(lambda tx: certificates.issue(tx, "h1"))
            assert await refused(m, Agent(tmp_path / "a", (foreign[0], foreign[1], pem))) is None, (
                "another installation's"
            )
            old = made_by(ca, key, "h1", days=-1)
            assert await refused(m, Agent(tmp_path / "a", (*old, pem))) is None, "expired"
            unknown = made_by(ca, key, "h1", days=1)
            assert await refused(m, Agent(tmp_path / "a", (*unknown, pem))) == 4403, "signed, but not in the books"
            bare = Agent(tmp_path / "a", await issued(m, "h1"))
            bare.tls = ssl.create_default_context(cadata=pem)
            assert await refused(m, bare) is None, "none at all"
            managers = Agent(tmp_path / "a", await issued(m, MANAGER_NAME, server=True))
            assert await refused(m, managers) == 4403, "a manager is no agent"

            first = await (await new_agent(m, tmp_path / "a", "h1")).come(m)
            thief = Agent(tmp_path / "a", await issued(m, "h2"), "h2", guid=first.guid)
            assert await refused(m, thief) == 4403, "another's guid"
            assert m.hub.lines[first.guid].name == "h1", "the one it belongs to goes on"
            own_thief = await (await new_agent(m, tmp_path / "a", "h3")).come(m)
            await own_thief.leave()
            own_thief.guid = first.guid
            assert await refused(m, own_thief) == 4403, "a certificate that another guid used first"
            with pytest.raises(ConnectionClosed) as closed:
                await (await first.dial(m, "/peer")).recv()
            assert closed.value.rcvd is not None and closed.value.rcvd.code == 4404, "an agent is no manager"
            with pytest.raises(ConnectionClosed):
                await (await first.dial(m, "/stream/guess")).recv()

    asyncio.run(run())


def test_a_revoked_agent_is_cut_and_stays_out(tmp_path: Path) -> None:
    async def run() -> None:
        async with manager(tmp_path / "m") as m:
            own = await issued(m, "h1")
            agent = await Agent(tmp_path / "a", own).come(m)
            other = await (await new_agent(m, tmp_path / "a", "h2")).come(m)
            await add(m, await ground(m), agent)
            serial = x509.load_pem_x509_certificate(own[0].encode()).serial_number
            wrong = await call(m, "revokeCertificate", serial=f"{serial:x}", cn="h2")
            assert wrong["errorcode"] == 431
            began = time.monotonic()
            assert (await job(m, "revokeCertificate", serial=f"{serial:x}", cn="h1"))["jobstatus"] == 1
            assert await agent.gone() == 4403 and time.monotonic() - began < 4
            await until(lambda: state_is(m, agent, "Disconnected"))
            assert await refused(m, agent) == 4403
            assert set(m.hub.lines) == {other.guid}
            await other.leave()

    asyncio.run(run())


def test_signing_requests_that_are_none(tmp_path: Path) -> None:
    async def run() -> None:
        async with manager(tmp_path / "m") as m:
            key = ec.generate_private_key(ec.SECP256R1())

            def csr(name: str) -> x509.CertificateSigningRequest:
                subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
                return x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())

            der = bytearray(csr("h1").public_bytes(serialization.Encoding.DER))
            der[-1] ^= 1
            import base64

            forged = f"-----BEGIN CERTIFICATE REQUEST-----\n{base64.encodebytes(bytes(der)).decode()}-----END CERTIFICATE REQUEST-----\n"
            own = (await issued(m, "x"))[0]
            for text in (
                "garbage",
                "",
                forged,
                own,
                csr(MANAGER_NAME).public_bytes(serialization.Encoding.PEM).decode(),
                "A" * 60_000,
            ):
                told = await call(m, "issueCertificate", csr=text)
                assert told["errorcode"] == 431 and told["errortext"].endswith("."), text[:60]
            good = await call(m, "issueCertificate", csr=csr("h1").public_bytes(serialization.Encoding.PEM).decode())
            assert "privatekey" not in good["certificates"]

    asyncio.run(run())


def test_managers_own_certificate_is_renewed(tmp_path: Path) -> None:
    async def run() -> None:
        async with manager(tmp_path / "m") as m:
            agent = await new_agent(m, tmp_path / "a", "h1")

            async def shown() -> int:
                line = await agent.dial(m)
                serial = x509.load_der_x509_certificate(
                    line.transport.get_extra_info("ssl_object").getpeercert(True)
                ).serial_number
                await line.close()
                return serial

            first = await shown()
            assert await shown() == first
            assert m.hub._own_renewal > time.time() + 200 * 86400
            m.hub._own_renewal = time.time()
            await until(lambda: m.hub._own_renewal > time.time() + 86400)
            assert await shown() != first

    asyncio.run(run())


# -- with the real agent -------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def real_agent(m: Manager, folder: Path, managers: str = "", name: str = "real") -> AsyncIterator[Any]:
    """Mold's own agent in this process, on libvirt's test driver."""
    pytest.importorskip("libvirt")
    from mold.agent import facts as agent_facts
    from mold.agent import link, main
    from mold.agent.serve import Desk

    main.gather_handlers()
    folder.mkdir()
    guid = str(uuid.uuid4())
    (folder / "agent.properties").write_text(
        f"guid={guid}\nname={name}\ndata={folder}/data\nhypervisor.uri=test:///default\ndomain.type=qemu\n"
    )
    csr = main.set_up(folder, (managers or m.hub.address).split(","))
    made = await m.engine.writing(lambda tx: certificates.sign_request(tx, csr, guid=guid, common="first-name"))
    (folder / "ca.crt").write_text((await m.engine.reading(certificates.authority))[2])
    (folder / "host.crt.next").write_text(made)
    here = main.prepare(folder)
    running = link.Link(here, Desk(here), agent_facts.Reporter(here))
    task = asyncio.create_task(running.run())
    try:
        yield here
    finally:
        running.stop()
        await asyncio.wait_for(task, 10)
        await here.close()


class Known:
    """What `row` needs to know of the real agent."""

    def __init__(self, here: Any) -> None:
        self.guid = here.settings.guid
        self.name = here.settings.name


async def add_real(m: Manager, here: Any) -> str:
    added = await call(m, "addHost", hypervisor="KVM", url=f"http://{here.settings.name}", **await ground(m))
    assert "host" in added, added
    return str(added["host"][0]["id"])


def test_provisioning_and_renewal(tmp_path: Path) -> None:
    async def run() -> None:
        async with manager(tmp_path / "m") as m, real_agent(m, tmp_path / "a") as here:
            await until(lambda: m.hub.lines)
            host = await add_real(m, here)
            key = here.settings.key.read_bytes()

            def newest(tx: Any) -> Certificate:
                found: Certificate = tx.first(
                    Certificate, Certificate.c.guid == here.settings.guid, order=Certificate.c.number.desc()
                )
                return found

            first = await m.engine.reading(newest)
            line = m.hub.lines[here.settings.guid]
            assert (await job(m, "provisionCertificate", hostid=host))["jobstatus"] == 1
            await until(lambda: m.hub.lines.get(here.settings.guid) not in (None, line))
            second = await m.engine.reading(newest)
            assert second.serial != first.serial and here.settings.key.read_bytes() != key
            shown = x509.load_pem_x509_certificate(here.settings.certificate.read_bytes())
            assert f"{shown.serial_number:x}" == second.serial
            await until(lambda: state_is(m, Known(here), "Up"))  # type: ignore[arg-type]

            assert await certificates.renew_certificates() == 0
            await call(m, "updateConfiguration", name="ca.framework.cert.expiry.alert.period", value=400)
            assert await certificates.renew_certificates() == 1
            await m.engine.idle()
            await until(lambda: _other(m, newest, second))

    async def _other(m: Manager, newest: Callable[[Any], Certificate], than: Certificate) -> bool:
        return (await m.engine.reading(newest)).serial != than.serial

    asyncio.run(run())


@pytest.mark.postgres
def test_two_managers_share_agents(tmp_path: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call through the manager that does not hold the agent, its progress and its cancel; and the holder killed."""
    import psycopg

    pytest.importorskip("libvirt")
    from mold.agent import link, main

    monkeypatch.setattr(link, "BACKOFF_FIRST", 0.05)
    name = f"hub_{uuid.uuid4().hex}"
    url = postgres_url.replace("/postgres?", f"/{name}?")
    cancelled: list[str] = []

    async def slow(call: w.ListMachines, work: Any) -> w.Facts:
        try:
            for percent in (10, 60):
                work.progress(percent, "on the way")
                await asyncio.sleep(0.3)
            await asyncio.sleep(slow_seconds[0])
        except asyncio.CancelledError:
            cancelled.append("yes")
            raise
        return w.MachineList(machines=[])

    slow_seconds = [0.0]

    async def run() -> None:
        async with contextlib.AsyncExitStack() as stack:
            a = Manager(Options(data=tmp_path / "a", database=url, agent_port=0, admin_password="x"))
            await a.start()
            b = await stack.enter_async_context(manager(tmp_path / "b", url))
            a.hub.ping_seconds = b.hub.ping_seconds = 0.5
            here = await stack.enter_async_context(real_agent(a, tmp_path / "agent", a.hub.address))
            await until(lambda: a.hub.lines)
            host = await add_real(b, here)  # the very first call goes through the other manager
            await until(lambda: {str(each) for each in here.settings.managers} == {a.hub.address, b.hub.address})
            assert not b.hub.lines

            monkeypatch.setitem(main.HANDLERS, w.ListMachines, slow)
            said: list[tuple[float, str]] = []
            answer = await b.hub.ask(host, w.ListMachines(), say=lambda p, t: said.append((p, t)))
            assert answer == w.MachineList(machines=[]) and (10, "on the way") in said and (60, "on the way") in said
            answers = await asyncio.gather(*(b.hub.ask(host, w.GetFacts()) for _ in range(20)))
            assert len(answers) == 20 and len(b.hub._peers) == 1

            slow_seconds[0] = 20
            asked = asyncio.create_task(b.hub.ask(host, w.ListMachines()))
            await asyncio.sleep(0.5)
            asked.cancel()
            await until(lambda: cancelled)

            asked = asyncio.create_task(b.hub.ask(host, w.ListMachines(), key="k", epoch=1))
            await asyncio.sleep(0.5)
            began = time.monotonic()
            await kill(a)
            started = await call(b, "reconnectHost", id=host)
            with pytest.raises(Unreachable):
                await asked
            await until(lambda: here.settings.guid in b.hub.lines)
            assert time.monotonic() - began < 10
            done = await ended(b, started["jobid"])
            assert done["jobstatus"] == 1, done

            monkeypatch.setattr(hub, "GONE_SECONDS", 0.5)
            await until(lambda: [str(each) for each in here.settings.managers] == [b.hub.address], 20)

    async def kill(m: Manager) -> None:
        """What is left of a manager after kill -9: its rows in the database, and nothing else."""
        m.engine.stopping = True
        for line in m.hub.lines.values():
            line.socket.transport.abort()
        assert m._task is not None
        for task in (m._task, *m.engine._tasks, *m.hub._tasks):
            task.cancel()
        assert m.hub._server is not None
        m.hub._server.close()
        here = Engine.here
        await m.hub.stop()
        Engine.here = here

    with psycopg.connect(postgres_url, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name}")
        try:
            asyncio.run(run())
        finally:
            admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.mark.postgres
def test_managers_may_start_for_the_first_time_at_once(tmp_path: Path, postgres_url: str) -> None:
    import psycopg

    name = f"hub_{uuid.uuid4().hex}"
    url = postgres_url.replace("/postgres?", f"/{name}?")

    async def run() -> None:
        made = [
            Manager(Options(data=tmp_path / f"m{n}", database=url, agent_port=0, admin_password="x")) for n in range(3)
        ]
        await asyncio.gather(*(m.start() for m in made))
        try:
            told = await call(made[0], "listNetworkOfferings", listall="true")
            names = [each["name"] for each in told["networkoffering"]]
            assert len(names) == len(set(names))
            authorities = [await m.engine.reading(lambda tx: tx.find(certificates.Authority)) for m in made]
            assert [len(each) for each in authorities] == [1, 1, 1]
        finally:
            for m in made:
                await m.stop()

    with psycopg.connect(postgres_url, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name}")
        try:
            asyncio.run(run())
        finally:
            admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
