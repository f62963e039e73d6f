"""The KVM rooms of the agent against the real libvirt and QEMU of this machine."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import libvirt
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "agent"))
from agentkit import Authority, Manager, agent, set_up

from mold.agent import console, facts, images, machines, pools, probe  # noqa: F401 - they register their calls
from mold.agent.here import Here
from mold.agent.serve import Desk
from mold.wire import calls as w

pytestmark = pytest.mark.host
URI = "qemu:///system"
MIB = 1 << 20


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that QEMU's own user may pass through, which pytest's are not."""
    path = Path(tempfile.mkdtemp(prefix="mold-test-", dir="/var/tmp"))
    path.chmod(0o711)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def bridge() -> Iterator[str]:
    name = f"moldt{uuid.uuid4().hex[:8]}"
    subprocess.run(["ip", "link", "add", name, "type", "bridge"], check=True)
    yield name
    subprocess.run(["ip", "link", "delete", name], check=True)


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """Every test leaves the domains as they were; what it leaves is removed, and it fails."""
    connection = libvirt.open(URI)
    before = {each.UUIDString() for each in connection.listAllDomains()}
    yield
    left = [each for each in connection.listAllDomains() if each.UUIDString() not in before and MARK in each.name()]
    for each in left:
        each.destroy()
    connection.close()
    assert not left


MARK = f"t{uuid.uuid4().hex[:6]}"
"""In the name of every guest of this run: other people's guests may come and go meanwhile."""


class World:
    """An agent with a pool and a store, asked as a manager asks it."""

    def __init__(self, here: Here, folder: Path) -> None:
        self.here = here
        self.desk = Desk(here)
        self.pool = w.PoolSpec(id=str(uuid.uuid4()), type="Filesystem", path=str(folder / "pool"))
        self.store = w.PoolSpec(id=str(uuid.uuid4()), type="Directory", path=str(folder / "store"))

    async def ask(self, call: w.Call, seconds: float = 60) -> w.Reply:
        data = await self.desk.answer(w.Request(n=1, call=call, seconds=seconds))
        reply = w.for_manager(data)
        assert isinstance(reply, w.Reply)
        return reply

    async def good(self, call: w.Call, seconds: float = 60):
        reply = await self.ask(call, seconds)
        assert not reply.error, (reply.error, reply.text)
        return w.facts_of(call, reply.facts)

    async def image(self, content: bytes, folder: Path) -> str:
        """A raw disk that begins with `content`, as a qcow2 image in the store."""
        raw, image = folder / "content.raw", str(uuid.uuid4())
        raw.write_bytes(content.ljust(1 * MIB, b"\0"))
        target = Path(self.store.path, "images", f"{image}.qcow2")
        subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", str(raw), str(target)], check=True)
        return image

    async def machine(self, folder: Path, bridge: str = "", **words: object) -> w.MachineSpec:
        """A machine whose disk says MOLD on the serial port and halts."""
        image, volume = await self.image(probe.boot_sector(), folder), str(uuid.uuid4())
        await self.good(w.PlaceImage(store=self.store, pool=self.pool, image=image, format="QCOW2"))
        made = await self.good(w.CreateVolume(pool=self.pool, volume=volume, size=4 * MIB, base=image))
        nics = [w.NicSpec(mac="02:00:00:00:00:01", segment=w.SegmentSpec(method="untagged", label=bridge))] if bridge else []
        return w.MachineSpec(**{
            "id": str(uuid.uuid4()), "name": f"i-2-{MARK}-VM", "title": "a <test> & more", "cores": 1, "cpu_mhz": 500,
            "memory": 64 * MIB, "disks": [w.DiskSpec(pool=self.pool, path=made.path, device=0, serial="abc")], "nics": nics,
            "vnc_password": "secret-password", **words,
        })  # fmt: skip


@contextlib.asynccontextmanager
async def world(folder: Path, **words: str) -> AsyncIterator[World]:
    async with agent(folder / "agent", domain_type="qemu", **words) as here:
        made = World(here, folder)
        await made.good(w.MountPool(pool=made.pool))
        await made.good(w.MountStore(store=made.store))
        try:
            yield made
        finally:
            for each in (await made.good(w.ListMachines())).machines:
                await made.good(w.StopMachine(name=each.name, force=True))


def test_probe_finds_what_really_runs(folder: Path) -> None:
    async def main() -> None:
        async with agent(folder / "a") as here:
            assert await probe.runs(here, "qemu", seconds=30), "an emulated guest must get to its boot sector"
            began = time.monotonic()
            found = await probe.domain_type(here)
            assert time.monotonic() - began < 40
            kernel = probe.own_kernel()
            assert kernel is not None, "make setup installs one"
            assert await probe.runs(here, "qemu", seconds=60, kernel=kernel), "an emulated guest boots this kernel"
            assert found == ("kvm" if await probe.runs(here, "kvm", kernel=kernel) else "qemu")
            kept = (here.settings.data / "probe.json").read_text()
            assert probe.boot_id() in kept and found in kept
        async with agent(folder / "a") as again:
            began = time.monotonic()
            assert await probe.domain_type(again) == found
            assert time.monotonic() - began < 2, "the answer of this boot must be remembered"
            assert not list(again.settings.run.iterdir())

            assert not await probe.runs(again, "qemu", seconds=0), "a guest that says nothing in time does not run"
            assert not list(again.settings.run.iterdir())

    asyncio.run(main())
    left = [each.name() for each in libvirt.open(URI).listAllDomains() if each.name().startswith("mold-probe-")]
    assert not left


def test_guest_starts_once_is_seen_and_stops(folder: Path, bridge: str) -> None:
    async def main() -> None:
        async with world(folder) as cloud:
            spec = await cloud.machine(folder, bridge)
            started = await cloud.good(w.StartMachine(machine=spec))
            assert (started.state, started.id, started.name) == ("Running", spec.id, spec.name)
            again = await cloud.good(w.StartMachine(machine=spec))
            assert again.state == "Running" and again.cpu_seconds >= started.cpu_seconds
            assert (await cloud.good(w.GetMachine(name=spec.name))).memory == 64 * MIB
            assert [each.name for each in (await cloud.good(w.ListMachines())).machines] == [spec.name]

            wrong = await cloud.ask(w.StartMachine(machine=w.msgspec.structs.replace(spec, id=str(uuid.uuid4()))))
            assert wrong.error == "Failed" and spec.id in wrong.text
            other_name = w.msgspec.structs.replace(spec, name=f"{spec.name}2")
            assert (await cloud.ask(w.StartMachine(machine=other_name))).error == "Failed"

            reporter = facts.Reporter(cloud.here)
            report = await reporter.report()
            reporter.close()
            assert report is not None and [each.state for each in report.machines] == ["Running"]
            assert report.pools[cloud.pool.id][0] > report.pools[cloud.pool.id][1] > 0

            assert (await cloud.ask(w.RemoveVolume(pool=cloud.pool, volume=str(uuid.uuid4())))).error == ""
            stopped = await cloud.good(w.StopMachine(name=spec.name, grace=1.5))
            assert stopped.state == "Absent"
            assert (await cloud.good(w.StopMachine(name=spec.name))).state == "Absent"
            assert (await cloud.good(w.GetMachine(name=spec.name))).state == "Absent"
            assert not list((cloud.here.settings.run / "vnc").iterdir())

    asyncio.run(main())


def test_guest_of_another_agent_is_left_alone(folder: Path) -> None:
    async def main() -> None:
        async with world(folder) as cloud, agent(folder / "other", domain_type="qemu") as stranger:
            spec = await cloud.machine(folder)
            await cloud.good(w.StartMachine(machine=spec))
            desk = Desk(stranger)
            for call in (w.StopMachine(name=spec.name, force=True), w.RebootMachine(name=spec.name, force=True), w.GetMachine(name=spec.name)):
                reply = w.for_manager(await desk.answer(w.Request(n=1, call=call, seconds=20)))
                assert isinstance(reply, w.Reply) and reply.error == "Failed", reply
            listed = w.for_manager(await desk.answer(w.Request(n=1, call=w.ListMachines(), seconds=20)))
            assert isinstance(listed, w.Reply) and w.facts_of(w.ListMachines(), listed.facts) == w.MachineList(machines=[])
            assert (await cloud.good(w.GetMachine(name=spec.name))).state == "Running"

    asyncio.run(main())


def test_reboot_resets_a_guest_that_does_not_listen(folder: Path) -> None:
    async def main() -> None:
        async with world(folder) as cloud:
            spec = await cloud.machine(folder)
            assert (await cloud.ask(w.RebootMachine(name=spec.name, force=True))).error == "NotFound"
            await cloud.good(w.StartMachine(machine=spec))
            heard = asyncio.Event()
            end = cloud.here.virt.listen(lambda event: heard.set() if (event.what, event.name) == ("reboot", spec.name) else None)
            assert (await cloud.good(w.RebootMachine(name=spec.name, grace=1))).state == "Running"
            await asyncio.wait_for(heard.wait(), 10)
            end()

    asyncio.run(main())


def test_half_started_and_foreign_definitions(folder: Path) -> None:
    async def main() -> None:
        async with world(folder) as cloud:
            spec = await cloud.machine(folder)
            connection = libvirt.open(URI)
            await cloud.good(w.StartMachine(machine=spec))
            definition = connection.lookupByName(spec.name).XMLDesc(libvirt.VIR_DOMAIN_XML_SECURE | libvirt.VIR_DOMAIN_XML_INACTIVE)
            await cloud.good(w.StopMachine(name=spec.name, force=True))
            connection.defineXML(definition)
            assert (await cloud.good(w.GetMachine(name=spec.name))).state == "Stopped"
            assert (await cloud.good(w.StartMachine(machine=spec))).state == "Running"
            assert not connection.lookupByName(spec.name).isPersistent()
            assert (await cloud.good(w.StopMachine(name=spec.name, force=True))).state == "Absent"
            connection.close()

    asyncio.run(main())


def test_uefi_guest_starts_and_leaves_no_variables(folder: Path) -> None:
    if not list(facts.FIRMWARE.glob("*edk2-x86_64*.json")):
        pytest.skip("no UEFI firmware for guests is installed here")

    async def main() -> None:
        async with world(folder) as cloud:
            for secure in (False, True):
                spec = await cloud.machine(folder, firmware="uefi", secure_boot=secure)
                assert (await cloud.good(w.StartMachine(machine=spec))).state == "Running"
                connection = libvirt.open(URI)
                text = connection.lookupByName(spec.name).XMLDesc()
                connection.close()
                assert ("secure='yes'" in text) is secure
                variables = Path(f"/var/lib/libvirt/qemu/nvram/{spec.name}_VARS.fd")
                assert variables.exists()
                await cloud.good(w.StopMachine(name=spec.name, force=True))
                assert not variables.exists()

    asyncio.run(main())


def test_console_carries_the_screen_both_ways(folder: Path) -> None:
    async def main() -> None:
        authority = Authority()
        set_up(folder / "agent", authority)
        async with Manager(folder / "m", authority) as manager, world(folder) as cloud:
            authority.write(folder / "agent", "host", "x")
            (folder / "agent" / "ca.crt").write_text(authority.pem)
            spec = await cloud.machine(folder)
            await cloud.good(w.StartMachine(machine=spec))
            manager.streams["ticket-console"] = asyncio.get_running_loop().create_future()
            await cloud.good(w.OpenConsole(name=spec.name, dial=manager.address, ticket="ticket-console"))
            stream = await asyncio.wait_for(manager.streams["ticket-console"], 5)
            greeting = await asyncio.wait_for(stream.recv(), 5)
            assert greeting == b"RFB 003.008\n"
            await stream.send(b"RFB 003.008\n")
            assert await asyncio.wait_for(stream.recv(), 5) == b"\x01\x02", "one way to sign in: by password"
            assert (await cloud.ask(w.OpenConsole(name="nobody", dial=manager.address, ticket="ticket-console"))).error == "NotFound"
            assert len(cloud.here.background) == 1
            await cloud.good(w.StopMachine(name=spec.name, force=True))
            await asyncio.wait_for(stream.wait_closed(), 10)
            manager.stream_over.set()
            async with asyncio.timeout(5):
                while cloud.here.background:
                    await asyncio.sleep(0.01)

    asyncio.run(main())


def test_placed_image_is_whole_and_a_running_guest_keeps_its_volume(folder: Path) -> None:
    async def main() -> None:
        async with world(folder) as cloud:
            spec = await cloud.machine(folder)
            names = await cloud.good(w.ListVolumes(pool=cloud.pool))
            await cloud.good(w.StartMachine(machine=spec))
            assert (await cloud.ask(w.RemovePlaced(pool=cloud.pool, image=names.images[0]))).error == "InUse"
            again = await cloud.good(w.CreateVolume(pool=cloud.pool, volume=names.volumes[0], size=4 * MIB, base=names.images[0]))
            assert again.path == spec.disks[0].path
            await cloud.good(w.StopMachine(name=spec.name, force=True))
            base = Path(cloud.pool.path, "images", f"{names.images[0]}.qcow2")
            assert base.stat().st_mode & 0o777 == 0o444
            missing = w.msgspec.structs.replace(spec, disks=[w.msgspec.structs.replace(spec.disks[0], path=f"volumes/{uuid.uuid4()}.qcow2")])
            assert (await cloud.ask(w.StartMachine(machine=missing))).error == "NotFound"

    asyncio.run(main())


def test_agent_process_serves_and_ends_on_a_signal_while_the_guest_goes_on(folder: Path) -> None:
    async def main() -> None:
        authority = Authority()
        async with Manager(folder / "m", authority) as manager, world(folder) as cloud:
            set_up(folder / "agent", authority, host=manager.address, guid=cloud.here.settings.guid, domain_type="qemu")
            spec = await cloud.machine(folder)
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "mold.agent", "--config", str(folder / "agent"), stderr=asyncio.subprocess.PIPE
            )
            try:
                await asyncio.wait_for(manager.connected.wait(), 30)
                assert (await manager.ask(w.StartMachine(machine=spec), seconds=60)).error == ""
                async with asyncio.timeout(10):
                    while not manager.reports or not manager.reports[-1].report.machines:
                        await asyncio.sleep(0.05)
            finally:
                process.terminate()
                _, logs = await asyncio.wait_for(process.communicate(), 15)
            assert process.returncode == 0, logs.decode()
            assert all(line.startswith(b"{") for line in logs.splitlines()) and b"agent ends" in logs
            assert spec.vnc_password.encode() not in logs
            assert (await cloud.good(w.GetMachine(name=spec.name))).state == "Running"

    asyncio.run(main())


def test_cards_are_limited_and_nothing_of_it_is_left(folder: Path, bridge: str) -> None:
    async def main() -> None:
        async with world(folder) as cloud:
            spec = await cloud.machine(folder, bridge)
            nic = w.msgspec.structs.replace(spec.nics[0], rate_mbps=10)
            await cloud.good(w.StartMachine(machine=w.msgspec.structs.replace(spec, nics=[nic])))
            taps = [each.name for each in Path(f"/sys/class/net/{bridge}/brif").iterdir()]
            assert len(taps) == 1
            for device in (taps[0], f"ifb-{taps[0]}"):
                shown = subprocess.run(["tc", "qdisc", "show", "dev", device], capture_output=True, text=True, check=True).stdout
                assert "tbf" in shown and "10Mbit" in shown
            await cloud.good(w.StopMachine(name=spec.name, force=True))
            assert not Path(f"/sys/class/net/ifb-{taps[0]}").exists()

    asyncio.run(main())


def test_rate_really_limits_both_ways() -> None:
    """Two namespaces joined by a pair of devices; one end stands for a tap."""
    mark = uuid.uuid4().hex[:6]
    near, far, tap = f"moldn{mark}", f"moldf{mark}", f"mt{mark}"

    def run(*words: str) -> None:
        subprocess.run(words, check=True)

    def seconds(server: str, client: str, address: str, count: int) -> float:
        """How long `count` bytes take from `client` to `server`."""
        listen = (
            "import socket,sys\ns=socket.create_server(('0.0.0.0',5001));print('up',flush=True)\nc,_=s.accept();n=0\n"
            f"while n<{count}: n+=len(c.recv(65536))\nc.send(b'x')"
        )
        send = f"import socket\ns=socket.create_connection(('{address}',5001));s.sendall(bytes({count}));s.recv(1)"
        with subprocess.Popen(["ip", "netns", "exec", server, sys.executable, "-c", listen], stdout=subprocess.PIPE) as other:
            assert other.stdout is not None and other.stdout.readline() == b"up\n"
            began = time.monotonic()
            run("ip", "netns", "exec", client, sys.executable, "-c", send)
            other.wait(10)
            return time.monotonic() - began

    try:
        run("ip", "netns", "add", near)
        run("ip", "netns", "add", far)
        run("ip", "link", "add", tap, "netns", near, "type", "veth", "peer", "name", "guest", "netns", far)
        for space, device, address in ((near, tap, "10.99.0.1/24"), (far, "guest", "10.99.0.2/24")):
            run("ip", "-n", space, "address", "add", address, "dev", device)
            run("ip", "-n", space, "link", "set", device, "up")
        code = f"import asyncio\nfrom mold.agent import rates\nasyncio.run(rates.limit({tap!r}, 8))\nasyncio.run(rates.limit({tap!r}, 8))"
        run("ip", "netns", "exec", near, sys.executable, "-c", code)
        for server, client, address in ((far, near, "10.99.0.2"), (near, far, "10.99.0.1")):
            took = seconds(server, client, address, 2_000_000)
            assert 1.5 < took < 6, f"2 MB at 8 Mbit/s take 2 s, not {took:.2f}"
    finally:
        for space in (near, far):
            subprocess.run(["ip", "netns", "delete", space], check=False)
