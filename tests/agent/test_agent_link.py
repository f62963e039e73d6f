"""The link to a small real manager over mutual TLS. libvirt is its own built-in test driver here."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from agentkit import Authority, Manager, set_up

from mold.agent import config, facts, link, main
from mold.agent.config import load
from mold.agent.here import Here
from mold.agent.serve import Desk
from mold.wire import calls as w

main.gather_handlers()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "BACKOFF_FIRST", 0.02)
    monkeypatch.setattr(link, "BACKOFF_LAST", 0.1)


@contextlib.asynccontextmanager
async def agent(folder: Path, authority: Authority, host: str, **words: str) -> AsyncIterator[tuple[Here, link.Link, asyncio.Task[None]]]:
    set_up(folder, authority, host=host, hypervisor_uri="test:///default", domain_type="qemu", **words)
    here = main.prepare(folder)
    made = link.Link(here, Desk(here), facts.Reporter(here))
    task = asyncio.create_task(made.run())
    try:
        yield here, made, task
    finally:
        made.stop()
        await asyncio.wait_for(task, 5)
        await here.close()


async def until(what: Callable[[], object], seconds: float = 5) -> None:
    async with asyncio.timeout(seconds):
        while not what():
            await asyncio.sleep(0.01)


def test_greets_reports_answers_and_stops(tmp_path: Path) -> None:
    async def run() -> None:
        authority = Authority()
        async with Manager(tmp_path / "m", authority) as manager, agent(tmp_path / "a", authority, manager.address) as (here, made, task):
            await until(lambda: len(manager.reports) > 2)
            facts = manager.hellos[0].facts
            assert (facts.guid, facts.name, facts.hypervisor, facts.domain_type) == (here.settings.guid, "test-host", "KVM", "qemu")
            assert facts.addresses[0] == "127.0.0.1" and facts.memory > 1 << 30 and facts.cores > 0 and facts.boot_id
            report = manager.reports[-1].report
            assert report.machines == [] and report.at > 0 and 0 <= report.cpu_percent <= 100
            answers = await asyncio.gather(*(manager.ask(w.GetFacts()) for _ in range(10)), manager.ask(w.GetMachine(name="i-1-1-VM")))
            assert {reply.error for reply in answers} == {""}
            assert (await manager.ask(w.GetMachine(name="../x"))).error == "Invalid"
            assert (await manager.ask(w.GetMachine(name="test"))).error == "Failed", "a domain of somebody else's"
            made.stop()
            await asyncio.wait_for(task, 5)
            await until(lambda: manager.closed)
            assert manager.closed[0][0] == 1000

    asyncio.run(run())


def test_event_of_a_guest_is_reported_at_once(tmp_path: Path) -> None:
    async def run() -> None:
        authority = Authority()
        async with Manager(tmp_path / "m", authority) as manager:
            manager.welcome = w.Welcome(manager="m", ping_seconds=60)
            async with agent(tmp_path / "a", authority, manager.address) as (here, _, _):
                await until(lambda: len(manager.reports) == 1)
                text = f"""<domain type='test'><name>i-{uuid.uuid4().hex[:8]}</name><memory>8192</memory><os><type>hvm</type></os>
                  <metadata><x:machine xmlns:x='urn:mold:machine' agent='{here.settings.guid}'/></metadata></domain>"""
                guest = await here.virt.call("start", lambda connection: connection.createXML(text))
                await until(lambda: len(manager.reports) >= 2)
                assert [each.state for each in manager.reports[1].report.machines] == ["Running"]
                await asyncio.to_thread(guest.destroy)
                await until(lambda: manager.reports[-1].report.machines == [])

    asyncio.run(run())


def test_reconnects_to_another_manager_and_calls_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        authority = Authority()
        began, release = asyncio.Event(), asyncio.Event()
        ended: list[str] = []

        async def slow(call: w.ListMachines, work: object) -> w.Facts:
            began.set()
            await release.wait()
            ended.append("done")
            return w.MachineList(machines=[])

        monkeypatch.setitem(main.HANDLERS, w.ListMachines, slow)
        first, second = Manager(tmp_path / "1", authority), Manager(tmp_path / "2", authority)
        await first.open()
        async with agent(tmp_path / "a", authority, first.address) as (here, _, _):
            await until(lambda: first.reports)
            await second.open()
            await first.send(w.Pong(managers=["127.0.0.1:1", second.address]))
            await until(lambda: len(here.settings.managers) == 2)
            assert [str(each) for each in load(tmp_path / "a").managers] == ["127.0.0.1:1", second.address]
            await first.send(w.Pong(managers=["not an address!"]))
            request, _ = first.request(w.ListMachines(), seconds=20)
            await first.send(request)
            await asyncio.wait_for(began.wait(), 5)
            await first.close()
            await until(lambda: second.reports)
            assert not ended and len(second.hellos) == 1
            release.set()
            await until(lambda: ended)
            assert (await second.ask(w.ListMachines())).error == ""
            await second.close()
            second.connected.clear()
            await second.open()
            await asyncio.wait_for(second.connected.wait(), 5)
        await second.close()

    asyncio.run(run())


def test_cancel_and_progress_travel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        authority = Authority()

        async def slow(call: w.ListMachines, work: main.Desk) -> w.Facts:
            work.progress(42, "half way")
            await asyncio.sleep(60)
            raise AssertionError

        monkeypatch.setitem(main.HANDLERS, w.ListMachines, slow)
        async with Manager(tmp_path / "m", authority) as manager, agent(tmp_path / "a", authority, manager.address):
            await until(lambda: manager.reports)
            request, answer = manager.request(w.ListMachines(), seconds=20, key="k", epoch=3)
            await manager.send(request)
            await until(lambda: manager.progress)
            assert manager.progress[0] == w.Progress(n=request.n, percent=42, text="half way")
            await manager.send(w.Cancel(n=999))
            await manager.send(w.Cancel(n=request.n))
            assert (await asyncio.wait_for(answer, 5)).error == "Cancelled"
            assert (await manager.ask(w.GetMachine(name="x"), key="k", epoch=2)).error == "Fenced"

    asyncio.run(run())


@pytest.mark.parametrize("garbage", ["text", b"\xff\xff\xff", b"", w.pack(w.Cancel(n=1))[:-1], b"\x81\xa5frame\xa5Hello"])
def test_garbage_closes_the_link_and_the_agent_comes_again(tmp_path: Path, garbage: str | bytes) -> None:
    async def run() -> None:
        authority = Authority()
        async with Manager(tmp_path / "m", authority) as manager, agent(tmp_path / "a", authority, manager.address):
            await until(lambda: manager.reports)
            assert manager.connection is not None
            await manager.connection.send(garbage)
            await until(lambda: len(manager.hellos) == 2)
            assert manager.closed[0][0] == 1008

    asyncio.run(run())


def test_managers_of_other_authorities_and_other_names_get_nothing(tmp_path: Path) -> None:
    async def run() -> None:
        authority, stranger = Authority(), Authority("stranger")
        wrong_ca = Manager(tmp_path / "1", stranger)
        wrong_name = Manager(tmp_path / "2", authority, name="some-host")
        async with wrong_ca, wrong_name:
            async with agent(tmp_path / "a", authority, f"{wrong_ca.address},{wrong_name.address}"):
                await asyncio.sleep(0.3)
            assert wrong_ca.hellos == wrong_name.hellos == []
        right = Manager(tmp_path / "3", authority)
        async with right, agent(tmp_path / "b", stranger, right.address):
            (tmp_path / "b" / "ca.crt").write_text(authority.pem)
            await asyncio.sleep(0.3)
            assert right.hellos == [], "an agent with a stranger's certificate is nobody to a manager"

    asyncio.run(run())


def test_new_certificate_makes_a_new_link(tmp_path: Path) -> None:
    async def run() -> None:
        authority = Authority()
        async with Manager(tmp_path / "m", authority) as manager, agent(tmp_path / "a", authority, manager.address):
            await until(lambda: manager.reports)
            request = await manager.ask(w.RenewCertificate())
            csr = w.msgspec.msgpack.decode(request.facts, type=w.SigningRequest).csr
            certificate = authority.sign(csr)
            assert not (await manager.ask(w.InstallCertificate(certificate=certificate, authorities=authority.pem))).error
            await until(lambda: len(manager.hellos) == 2)
            assert manager.connection is not None
            der = manager.connection.transport.get_extra_info("ssl_object").getpeercert(binary_form=True)
            assert main.identity.x509.load_der_x509_certificate(der) == main.identity.x509.load_pem_x509_certificate(certificate.encode())

    asyncio.run(run())


def test_dismissed_agent_answers_forgets_and_ends(tmp_path: Path) -> None:
    async def run() -> None:
        authority = Authority()
        async with Manager(tmp_path / "m", authority) as manager, agent(tmp_path / "a", authority, manager.address) as (_, _, task):
            await until(lambda: manager.reports)
            assert (await manager.ask(w.StopAgent())).error == ""
            await asyncio.wait_for(task, 5)
            assert config.load(tmp_path / "a").managers == ()

    asyncio.run(run())


def test_guests_that_cannot_be_seen_are_not_told_as_gone(tmp_path: Path) -> None:
    async def run() -> None:
        authority = Authority()
        async with Manager(tmp_path / "m", authority) as manager, agent(tmp_path / "a", authority, manager.address) as (here, _, _):
            await until(lambda: manager.reports)
            seen = manager.reports[-1].report
            here.last_report = w.msgspec.structs.replace(seen, machines=[w.MachineFacts(name="i-1", state="Running")])
            original = here.virt.call

            async def down(*_: object, **__: object) -> object:
                raise link.Failed("libvirt went away")

            here.virt.call = down  # type: ignore[method-assign]
            await until(lambda: manager.reports[-1].report.problems)
            last = manager.reports[-1].report
            assert [each.name for each in last.machines] == ["i-1"] and last.at <= seen.at + 1
            assert "went away" in last.problems[0]
            here.virt.call = original  # type: ignore[method-assign]
            await until(lambda: not manager.reports[-1].report.problems)
            assert manager.reports[-1].report.machines == [] and manager.reports[-1].report.at > last.at

    asyncio.run(run())


def test_without_libvirt_the_agent_connects_and_tells_no_guests(tmp_path: Path) -> None:
    async def run() -> None:
        authority = Authority()
        async with Manager(tmp_path / "m", authority) as manager:
            set_up(tmp_path / "a", authority, host=manager.address, hypervisor_uri=f"qemu+unix:///system?socket={tmp_path}/none")
            here = main.prepare(tmp_path / "a")
            made = link.Link(here, Desk(here), facts.Reporter(here))
            task = asyncio.create_task(made.run())
            await until(lambda: manager.hellos)
            assert "No guest can be started" in manager.hellos[0].facts.problems[0]
            assert (await manager.ask(w.GetMachine(name="x"))).error == "Unreachable"
            await asyncio.sleep(0.3)
            assert manager.reports == []
            made.stop()
            await task
            await here.close()

    asyncio.run(run())


