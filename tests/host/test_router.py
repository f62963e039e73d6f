"""Routers for real: namespaces, DHCP, DNS, NAT, metadata, and what is left when they go.

A fake outside (a bridge as public label with a namespace behind it) and fake guests (namespaces with a cable into
the segment's bridge) send real packets.  Everything is named after this run, so that other work on the same
machine is not disturbed.
"""

from __future__ import annotations

import asyncio
import base64
import http.client
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TypeVar

import msgspec
import pytest
import uvloop

from mold.agent import metadata, namespaces, programs, routers, segments
from mold.agent.serve import Work
from mold.base.errors import Conflict, Unsupported
from mold.wire.calls import (
    ApplyRouter,
    LeaseSpec,
    ListRouters,
    PublicSpec,
    RemoveRouter,
    RouterFacts,
    RouterSpec,
    SegmentSpec,
)

pytestmark = [pytest.mark.host, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]
T = TypeVar("T")

RUN = secrets.token_hex(2)
UNDERLAY, OUTSIDE = f"tu{RUN}", f"to{RUN}"
OUT_NAMESPACE = f"mold-t-{RUN}-out"
NUMBER = secrets.randbelow(90_000) + 1000
TAG = secrets.randbelow(0xFFFF00) + 100
PUBLIC_IP, OUT_IP, OUT_GATEWAY = "203.0.113.10", "203.0.113.77", "203.0.113.1"
GUEST = SegmentSpec(method="vxlan", tag=TAG, label=UNDERLAY)
USERDATA = b"#!/bin/sh\necho hello\n\x00\xfe"
UDHCPC = """#!/bin/busybox sh
[ "$1" = bound ] || exit 0
/bin/busybox env > "$REPORT"
"""


def sh(*command: str, check: bool = True) -> str:
    """Run a command of the test's own."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    if check and done.returncode:
        raise AssertionError(f"{' '.join(command)}: {done.stderr}")
    return done.stdout


def lease(n: int, name: str, **more: object) -> LeaseSpec:
    """A lease for guest number n."""
    fields: dict[str, object] = {"metadata": {"instance-id": f"i-{n}", "local-hostname": name}}
    return LeaseSpec(mac=f"02:00:00:00:01:{n:02x}", ip=f"10.71.0.{n}", name=name, **(fields | more))  # type: ignore[arg-type]


A = lease(10, "alpha", userdata=base64.b64encode(USERDATA).decode(), password="S3cret", password_serial="1")
B = lease(11, "infinite")
SIDE = lease(12, "side", default=False)
C = lease(13, "charlie")


def document(serial: int, leases: list[LeaseSpec], **more: object) -> RouterSpec:
    """The document of this run's router."""
    fields: dict[str, object] = {
        "public": PublicSpec(
            segment=SegmentSpec(method="untagged", label=OUTSIDE), mac="06:00:00:00:00:10", ip=PUBLIC_IP, prefix=24, gateway=OUT_GATEWAY
        )
    }
    return RouterSpec(
        id=f"test-{RUN}", number=NUMBER, serial=serial, segment=GUEST, mac="02:00:00:00:01:01", gateway="10.71.0.1", prefix=24,
        domain="cs.internal", dns=["203.0.113.77"], leases=leases, **(fields | more),  # type: ignore[arg-type]
    )  # fmt: skip


class World:
    """A loop to run the agent's coroutines in, and guests."""

    def __init__(self, run: Callable[..., object], folder: Path) -> None:
        self._run = run
        self.folder = folder
        self.guests: list[str] = []
        self.bridge = ""

    def do(self, what: Awaitable[T]) -> T:
        """The result of a coroutine."""
        return self._run(what)  # type: ignore[return-value]

    def apply(self, spec: RouterSpec) -> RouterFacts:
        """ApplyRouter."""
        return self.do(routers.apply_router(ApplyRouter(router=spec), Work()))  # type: ignore[return-value]

    def remove(self, spec: RouterSpec) -> None:
        """RemoveRouter."""
        self.do(routers.remove_router(RemoveRouter(id=spec.id, number=spec.number), Work()))

    def guest(self, one: LeaseSpec) -> str:
        """A namespace with a cable into the guest segment and the lease's MAC; its name."""
        n = one.ip.rpartition(".")[2]
        name, cable = f"mold-t-{RUN}-{n}", f"tg{RUN}{n}"
        if name not in self.guests:
            self.guests.append(name)
            sh("ip", "netns", "add", name)
            sh("ip", "link", "add", cable, "type", "veth", "peer", "name", "eth0", "address", one.mac, "netns", name)
            sh("ip", "link", "set", cable, "master", self.bridge, "up")
            sh("ip", "-n", name, "link", "set", "lo", "up")
            sh("ip", "-n", name, "link", "set", "eth0", "up")
        return name

    def dhcp(self, one: LeaseSpec, tries: int = 3) -> dict[str, str]:
        """Ask for an address as the lease's machine and take it; what the server said, empty when it said nothing."""
        name = self.guest(one)
        script, report = self.folder / "udhcpc", self.folder / f"report-{name}"
        script.write_text(UDHCPC)
        script.chmod(0o755)
        report.unlink(missing_ok=True)
        subprocess.run(
            ["nsenter", f"--net=/run/netns/{name}", "busybox", "udhcpc", "-f", "-q", "-n", "-t", str(tries), "-T", "1", "-i", "eth0",
             "-O", "mtu", "-O", "hostname", "-O", "domain", "-s", str(script)],
            env={"REPORT": str(report), "PATH": programs.PATH}, capture_output=True, check=False, timeout=60,
        )  # fmt: skip
        said = dict(line.split("=", 1) for line in report.read_text().splitlines() if "=" in line) if report.exists() else {}
        if said:
            sh("ip", "-n", name, "addr", "flush", "dev", "eth0", "scope", "global")
            sh("ip", "-n", name, "addr", "add", f"{said['ip']}/{said['mask']}", "brd", "+", "dev", "eth0")
            if "router" in said:
                sh("ip", "-n", name, "route", "replace", "default", "via", said["router"])
        return said

    def ping(self, name: str, address: str) -> bool:
        """Whether an address answers from inside a namespace."""
        done = subprocess.run(["nsenter", f"--net=/run/netns/{name}", "busybox", "ping", "-c", "1", "-W", "2", address], capture_output=True, check=False)
        return done.returncode == 0

    def lookup(self, name: str, what: str) -> str:
        """What the router's DNS says."""
        done = subprocess.run(
            ["nsenter", f"--net=/run/netns/{name}", "busybox", "nslookup", what, "10.71.0.1"],
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        return done.stdout.partition("Name:")[2]

    def get(self, name: str, path: str, port: int = 80, headers: dict[str, str] | None = None) -> tuple[int, bytes]:
        """An HTTP request to the router from inside a namespace."""

        def ask() -> tuple[int, bytes]:
            connection = http.client.HTTPConnection("10.71.0.1", port, timeout=5)
            connection.request("GET", path, headers=headers or {})
            answer = connection.getresponse()
            body = answer.read()
            connection.close()
            return answer.status, body

        return namespaces.inside(name, ask)

    def password(self, name: str, order: str) -> bytes:
        """A request to the password service."""
        return self.get(name, "/", 8080, {"DomU_Request": order})[1]


def traces() -> dict[str, object]:
    """What of ours there is on this machine: namespaces, devices, processes."""
    marks = (f"-{RUN}", f"moldtest-{RUN}", routers.INSTANCE)
    processes = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().decode(errors="replace")
            except OSError:
                continue
            if any(mark in words for mark in marks) and int(entry.name) != os.getpid():
                processes.append(words)
    devices = [line.split(":")[1].strip().partition("@")[0] for line in sh("ip", "-o", "link").splitlines()]
    return {
        "namespaces": sorted(line.split()[0] for line in sh("ip", "netns").splitlines() if line.split()[0].endswith(routers.INSTANCE)),
        "devices": sorted(name for name in devices if str(TAG) in name or (name.startswith("mr") and name.endswith(routers.INSTANCE))),
        "processes": sorted(processes),
        "files": sorted(str(path) for path in (routers.DATA / "routers").glob("*")),
    }


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    folder = Path(tempfile.mkdtemp(prefix=f"moldtest-{RUN}-"))
    folder.chmod(0o711)
    before = routers.DATA, routers.INSTANCE
    routers.DATA, routers.INSTANCE = folder / "data", RUN[:3]
    sh("ip", "link", "add", UNDERLAY, "type", "bridge")
    sh("ip", "addr", "add", f"198.18.{secrets.randbelow(200)}.1/30", "dev", UNDERLAY)
    sh("ip", "link", "set", UNDERLAY, "up")
    sh("ip", "link", "add", OUTSIDE, "type", "bridge", "forward_delay", "0")
    sh("ip", "link", "set", OUTSIDE, "up")
    sh("ip", "netns", "add", OUT_NAMESPACE)
    sh("ip", "link", "add", f"tx{RUN}", "type", "veth", "peer", "name", "eth0", "netns", OUT_NAMESPACE)
    sh("ip", "link", "set", f"tx{RUN}", "master", OUTSIDE, "up")
    for words in (("addr", "add", f"{OUT_IP}/24", "dev", "eth0"), ("addr", "add", f"{OUT_GATEWAY}/24", "dev", "eth0"),
                  ("link", "set", "eth0", "up"), ("link", "set", "lo", "up")):  # fmt: skip
        sh("ip", "-n", OUT_NAMESPACE, *words)
    # the agent's own loop: it differs from the standard one in what it says of processes that end early
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        made = World(runner.run, folder)
        try:
            made.bridge = made.do(segments.plug(GUEST))
            yield made
        finally:
            made.remove(document(1, []))
            for name in (OUT_NAMESPACE, *made.guests):
                sh("ip", "netns", "del", name, check=False)
            made.do(segments.sweep(0))
            for device in (f"vx{made.bridge[2:]}", made.bridge, UNDERLAY, OUTSIDE):
                sh("ip", "link", "del", device, check=False)
            shutil.rmtree(folder)
            routers.DATA, routers.INSTANCE = before


def pid_of(what: str) -> int:
    """The pid of this run's dnsmasq, or of its metadata process."""
    if what == "dnsmasq":
        place = routers.place_of(document(1, []).id, NUMBER)
        return programs.alive(place.dnsmasq / "pid", place.mark)
    return programs.alive(routers.DATA / "metadata" / "pid", str(routers.DATA))


def test_first_apply(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    at = time.perf_counter()
    facts = world.apply(document(1, [A, SIDE]))
    first = time.perf_counter() - at
    assert facts.serial == 1 and sorted(facts.running) == ["Dhcp", "Dns", "SourceNat", "UserData"]
    at = time.perf_counter()
    world.apply(document(2, [A, B, SIDE]))
    change = time.perf_counter() - at
    at = time.perf_counter()
    world.apply(document(2, [A, B, SIDE]))
    again = time.perf_counter() - at
    with capsys.disabled():
        print(f"\n  ApplyRouter: {first * 1000:.0f} ms from nothing, {change * 1000:.0f} ms for one more lease, {again * 1000:.0f} ms unchanged")
    assert first < 5 and change < 1.5


def test_dhcp_gives_each_machine_its_own(world: World) -> None:
    said = world.dhcp(A)
    assert said["ip"] == A.ip and said["router"] == "10.71.0.1" and said["dns"] == "10.71.0.1" and said["hostname"] == "alpha"
    assert said["domain"] == "cs.internal" and said["mtu"] == "1450" and said["lease"] == "4294967295"
    assert world.dhcp(B)["hostname"] == "infinite"
    side = world.dhcp(SIDE)
    assert side["ip"] == SIDE.ip and "router" not in side and "dns" not in side and "domain" not in side
    assert world.dhcp(lease(99, "stranger"), tries=2) == {}
    user = Path(f"/proc/{pid_of('dnsmasq')}/status").read_text()
    assert "Uid:\t0" not in user


def test_dns_knows_the_machines(world: World) -> None:
    a = world.guest(A)
    assert B.ip in world.lookup(a, "infinite.cs.internal")
    assert SIDE.ip in world.lookup(a, "side.cs.internal")
    assert "10.71.0.1" in world.lookup(a, "data-server.cs.internal")
    assert world.lookup(a, "nobody.cs.internal") == ""


def test_guests_reach_the_gateway_and_the_outside_with_the_routers_address(world: World) -> None:
    a = world.guest(A)
    assert world.ping(a, "10.71.0.1")
    assert world.ping(a, OUT_IP)
    server = namespaces.inside(OUT_NAMESPACE, lambda: socket.create_server((OUT_IP, 4000)))
    with server:
        client = namespaces.inside(a, lambda: socket.create_connection((OUT_IP, 4000), 5))
        connection, peer = server.accept()
        assert peer[0] == PUBLIC_IP
        client.close()
        connection.close()


def test_the_outside_does_not_get_in(world: World) -> None:
    a = world.guest(A)
    assert not world.ping(OUT_NAMESPACE, PUBLIC_IP)
    for port in (53, 80, 8080):
        with pytest.raises(TimeoutError):
            namespaces.inside(OUT_NAMESPACE, lambda port=port: socket.create_connection((PUBLIC_IP, port), 0.5))  # type: ignore[misc]
    server = namespaces.inside(a, lambda: socket.create_server(("0.0.0.0", 4001)))
    sh("ip", "-n", OUT_NAMESPACE, "route", "replace", "10.71.0.0/24", "via", PUBLIC_IP)
    try:
        with server, pytest.raises(TimeoutError):
            namespaces.inside(OUT_NAMESPACE, lambda: socket.create_connection((A.ip, 4001), 0.5))
        with pytest.raises(TimeoutError):
            namespaces.inside(OUT_NAMESPACE, lambda: socket.create_connection(("10.71.0.1", 80), 0.5))
    finally:
        sh("ip", "-n", OUT_NAMESPACE, "route", "del", "10.71.0.0/24")


def test_guests_do_not_reach_the_host_through_the_bridge(world: World) -> None:
    """Linux answers for all its addresses on every device; on bridges of ours it must not."""
    a = world.guest(A)
    underlay, bridge = world.do(segments.link(UNDERLAY)), world.do(segments.link(world.bridge))
    assert underlay is not None and bridge is not None and bridge.addresses() == []
    host = underlay.addresses()[0].partition("/")[0]
    sh("ip", "-n", a, "route", "add", f"{host}/32", "dev", "eth0")

    def send() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
            one.sendto(b"hello", (host, port))

    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listening:
            listening.bind((host, 0))
            listening.settimeout(1)
            port = listening.getsockname()[1]
            namespaces.inside(a, send)
            with pytest.raises(TimeoutError):
                listening.recv(10)
            assert "lladdr" not in sh("ip", "-n", a, "neigh", "show", host)
            # neither when the guest knows the bridge's MAC address
            sh("ip", "-n", a, "neigh", "replace", host, "lladdr", bridge.address, "dev", "eth0", "nud", "permanent")
            namespaces.inside(a, send)
            with pytest.raises(TimeoutError):
                listening.recv(10)
    finally:
        sh("ip", "-n", a, "route", "del", f"{host}/32", "dev", "eth0")


def test_metadata_by_source(world: World) -> None:
    a, b = world.guest(A), world.guest(B)
    assert world.get(a, "/latest/user-data") == (200, USERDATA)
    assert world.get(a, "/latest/meta-data/") == (200, b"instance-id\nlocal-hostname\n")
    assert world.get(a, "/latest/meta-data/instance-id") == (200, b"i-10")
    assert world.get(b, "/latest/instance-id") == (200, b"i-11")
    assert world.get(b, "/latest/user-data")[0] == 404
    document_file = routers.DATA / "routers" / f"test-{RUN}" / "document"
    assert document_file.stat().st_mode & 0o777 == 0o600


def test_a_forged_source_learns_nothing(world: World) -> None:
    """An address that is no machine's gets nothing, nor does one from outside the guest network."""
    b = world.guest(B)
    sh("ip", "-n", b, "addr", "add", "10.71.0.200/24", "dev", "eth0")
    try:

        def ask() -> int:
            connection = http.client.HTTPConnection("10.71.0.1", 80, timeout=3, source_address=("10.71.0.200", 0))
            connection.request("GET", "/latest/user-data")
            return connection.getresponse().status

        assert namespaces.inside(b, ask) == 404
    finally:
        sh("ip", "-n", b, "addr", "del", "10.71.0.200/24", "dev", "eth0")


def test_the_password_is_served_until_taken(world: World) -> None:
    a, b = world.guest(A), world.guest(B)
    assert world.password(b, "send_my_password") == b"saved_password"
    assert world.password(a, "send_my_password") == b"S3cret"
    assert world.password(a, "saved_password") == b"saved_password"
    assert world.password(a, "send_my_password") == b"saved_password"
    world.apply(document(3, [A, B, SIDE]))
    assert world.password(a, "send_my_password") == b"saved_password"
    renewed = msgspec.structs.replace(A, password="N3w", password_serial="2")
    world.apply(document(4, [renewed, B, SIDE]))
    assert world.password(a, "send_my_password") == b"N3w"


def test_an_older_document_changes_nothing(world: World) -> None:
    facts = world.apply(document(2, []))
    assert facts.serial == 4 and "Dhcp" in facts.running
    assert world.lookup(world.guest(A), "alpha.cs.internal") != ""


def test_a_new_lease_does_not_restart_dhcp_and_a_moved_one_is_free_at_once(world: World) -> None:
    pid = pid_of("dnsmasq")
    world.apply(document(5, [A, B, SIDE, C]))
    assert pid_of("dnsmasq") == pid
    assert world.dhcp(C)["ip"] == C.ip
    heir = LeaseSpec(mac="02:00:00:00:01:20", ip=C.ip, name="heir")
    world.apply(document(6, [A, B, SIDE, heir]))
    assert world.lookup(world.guest(A), "charlie.cs.internal") == ""
    sh("ip", "-n", world.guest(C), "addr", "flush", "dev", "eth0")
    assert world.dhcp(msgspec.structs.replace(C, ip="10.71.0.13"), tries=2) == {}
    sh("ip", "-n", world.guest(C), "link", "set", "eth0", "address", heir.mac)
    assert world.dhcp(heir)["ip"] == heir.ip


def test_a_restart_of_the_agent_disturbs_nothing(world: World) -> None:
    pids = pid_of("dnsmasq"), pid_of("metadata")
    assert all(pids)
    # another process with none of this one's memory
    program = (
        "import asyncio, sys; from pathlib import Path; from mold.agent import routers; "
        "routers.DATA, routers.INSTANCE = Path(sys.argv[1]), sys.argv[2]; asyncio.run(routers.resume())"
    )
    subprocess.run([sys.executable, "-c", program, str(routers.DATA), routers.INSTANCE], check=True, timeout=60)
    assert (pid_of("dnsmasq"), pid_of("metadata")) == pids
    assert world.get(world.guest(A), "/latest/meta-data/instance-id") == (200, b"i-10")


def test_killed_processes_come_back(world: World) -> None:
    for what in ("metadata", "dnsmasq"):
        pid = pid_of(what)
        os.kill(pid, signal.SIGKILL)
        while pid_of(what):
            time.sleep(0.01)
        world.do(routers.mend())
        assert pid_of(what) not in (0, pid)
    assert world.get(world.guest(A), "/latest/user-data") == (200, USERDATA)
    assert world.dhcp(A)["ip"] == A.ip
    names = world.do(routers.list_routers(ListRouters(), Work()))
    assert [sorted(one.running) for one in names.routers] == [["Dhcp", "Dns", "SourceNat", "UserData"]]  # type: ignore[attr-defined]


def test_a_hanging_metadata_process_is_replaced(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    pid = pid_of("metadata")
    os.kill(pid, signal.SIGSTOP)
    tell = metadata.tell
    monkeypatch.setattr(metadata, "tell", lambda data, order, seconds=0.5: tell(data, order, seconds))
    served = world.do(metadata.refresh(routers.DATA))
    assert served.pid not in (0, pid) and served.serving == {f"test-{RUN}": 6}


def test_a_reboot_is_mended(world: World) -> None:
    """Namespaces, devices and processes gone; only the files are left."""
    place = routers.place_of(f"test-{RUN}", NUMBER)
    for what in ("metadata", "dnsmasq"):
        os.kill(pid_of(what), signal.SIGKILL)
    sh("ip", "netns", "del", place.namespace)
    sh("ip", "link", "del", place.guest, check=False)
    sh("ip", "link", "del", place.public, check=False)
    Path(f"/run/netns/{place.namespace}").touch()
    world.do(routers.resume())
    assert world.get(world.guest(A), "/latest/user-data") == (200, USERDATA)
    assert world.dhcp(B)["ip"] == B.ip
    assert world.ping(world.guest(A), OUT_IP)


def test_a_cut_cable_is_replaced(world: World) -> None:
    place = routers.place_of(f"test-{RUN}", NUMBER)
    sh("ip", "link", "del", place.guest)
    world.apply(document(7, [A, B, SIDE]))
    assert world.dhcp(A)["ip"] == A.ip and world.ping(world.guest(A), OUT_IP)


def test_egress_and_source_nat_follow_the_document(world: World) -> None:
    a = world.guest(A)
    world.apply(document(8, [A, B, SIDE], egress="deny"))
    assert not world.ping(a, OUT_IP) and world.ping(a, "10.71.0.1")
    facts = world.apply(document(9, [A, B, SIDE], public=None))
    assert "SourceNat" not in facts.running and not world.ping(a, OUT_IP)
    facts = world.apply(document(10, [A, B, SIDE]))
    assert "SourceNat" in facts.running and world.ping(a, OUT_IP)
    facts = world.apply(document(11, [A, B, SIDE], services=("Dhcp", "SourceNat")))
    assert sorted(facts.running) == ["Dhcp", "SourceNat"]
    with pytest.raises(OSError, match=r"timed out|refused"):
        world.get(a, "/latest/user-data")
    world.apply(document(12, [A, B, SIDE]))
    assert world.get(a, "/latest/user-data") == (200, USERDATA)


def test_a_killed_agent_leaves_what_a_repetition_mends(world: World) -> None:
    """kill -9 of an agent at many moments of ApplyRouter and of RemoveRouter; then asked again, it is right."""
    program = (
        "import asyncio, sys, msgspec; from pathlib import Path; from mold.agent import routers; from mold.agent.serve import Work\n"
        "from mold.wire import calls as w\n"
        "routers.DATA, routers.INSTANCE = Path(sys.argv[1]), sys.argv[2]\n"
        "spec = msgspec.json.decode(sys.argv[3], type=w.RouterSpec)\n"
        "sys.stdout.write('ready'); sys.stdout.flush()\n"
        "call = routers.remove_router(w.RemoveRouter(id=spec.id, number=spec.number), Work()) if sys.argv[4] == 'remove' "
        "else routers.apply_router(w.ApplyRouter(router=spec), Work())\n"
        "asyncio.run(call)\n"
    )
    serial = 20
    for round_, order in enumerate(["remove", "apply"] * 10):
        serial += 1
        spec = document(serial, [A, B] if round_ % 4 else [A, B, C])
        words = [sys.executable, "-c", program, str(routers.DATA), routers.INSTANCE, msgspec.json.encode(spec).decode(), order]
        with subprocess.Popen(words, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stdout.read(5) == b"ready"
            time.sleep(0.015 * (round_ + 1))
            process.kill()
        if order == "apply":
            facts = world.apply(spec)
            assert sorted(facts.running) == ["Dhcp", "Dns", "SourceNat", "UserData"]
            assert world.dhcp(B)["ip"] == B.ip
            assert world.get(world.guest(B), "/latest/instance-id") == (200, b"i-11")


def test_another_routers_number_is_not_taken(world: World) -> None:
    with pytest.raises(Conflict):
        world.apply(msgspec.structs.replace(document(1, []), id=f"other-{RUN}"))
    world.do(routers.remove_router(RemoveRouter(id=f"other-{RUN}", number=NUMBER), Work()))
    assert world.ping(world.guest(B), "10.71.0.1")


def test_removal_leaves_nothing(world: World) -> None:
    assert traces()["processes"]
    for name in world.guests:
        sh("ip", "netns", "del", name)
    world.guests.clear()
    world.remove(document(99, []))
    deadline = time.monotonic() + 5
    while traces()["processes"] and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.2)
    world.do(segments.sweep(3600))
    assert traces()["devices"] == sorted([world.bridge, f"vx{world.bridge[2:]}"]), "a bridge is not swept before its time"
    world.do(segments.sweep(0))
    assert traces() == {"namespaces": [], "devices": [], "processes": [], "files": []}
    world.remove(document(99, []))


def test_segments(world: World) -> None:
    async def many() -> set[str]:
        return set(await asyncio.gather(*(segments.plug(GUEST) for _ in range(8))))

    assert world.do(many()) == {world.bridge}
    assert world.do(segments.plug(SegmentSpec(method="untagged", label=OUTSIDE))) == OUTSIDE
    with pytest.raises(Unsupported, match="bridge"):
        world.do(segments.plug(SegmentSpec(method="untagged", label="lo")))
    with pytest.raises(Unsupported, match="MTU"):
        world.do(segments.plug(SegmentSpec(method="vxlan", tag=TAG, label=UNDERLAY, mtu=1500)))
    # the underlay's address changed: the tunnel follows, the bridge and what is plugged in stay
    sh("ip", "addr", "flush", "dev", UNDERLAY)
    sh("ip", "addr", "add", "198.19.7.1/30", "dev", UNDERLAY)
    world.do(segments.plug(GUEST))
    tunnel = world.do(segments.link(f"vx{world.bridge[2:]}"))
    assert tunnel is not None and tunnel.tunnel.local == "198.19.7.1" and tunnel.master == world.bridge
    if not world.do(segments.can_vlan()):
        with pytest.raises(Unsupported, match="VXLAN"):
            world.do(segments.plug(SegmentSpec(method="vlan", tag=100, label=UNDERLAY)))
    world.do(segments.sweep(0))
    assert world.do(segments.link(world.bridge)) is None


def test_a_vxlan_joins_two_hosts_and_keeps_networks_apart() -> None:
    """Two namespaces act as hosts, joined by a bridge in a third; guests of one network meet, others do not."""
    hosts = [f"mold-t-{RUN}-h{n}" for n in (1, 2)]
    wire, guests = f"mold-t-{RUN}-w", []
    program = (
        "import asyncio, sys; from mold.agent import segments; from mold.wire.calls import SegmentSpec\n"
        "for tag in sys.argv[1:]: print(asyncio.run(segments.plug(SegmentSpec(method='vxlan', tag=int(tag), label='up0'))))\n"
    )
    try:
        sh("ip", "netns", "add", wire)
        sh("ip", "-n", wire, "link", "add", "sw", "type", "bridge", "forward_delay", "0")
        sh("ip", "-n", wire, "link", "set", "sw", "up")
        for n, host in enumerate(hosts, 1):
            sh("ip", "netns", "add", host)
            sh("ip", "-n", host, "link", "add", "up0", "type", "veth", "peer", "name", f"p{n}", "netns", wire)
            sh("ip", "-n", wire, "link", "set", f"p{n}", "master", "sw", "up")
            sh("ip", "-n", host, "addr", "add", f"192.168.50.{n}/24", "dev", "up0")
            sh("ip", "-n", host, "link", "set", "up0", "up")
            for tag in (77, 78):
                name = sh("nsenter", f"--net=/run/netns/{host}", sys.executable, "-c", program, str(tag)).strip()
                guest = f"mold-t-{RUN}-v{n}{tag}"
                guests.append(guest)
                sh("ip", "netns", "add", guest)
                sh("ip", "-n", host, "link", "add", f"g{tag}", "mtu", "1450", "type", "veth", "peer", "name", "eth0", "mtu", "1450", "netns", guest)
                sh("ip", "-n", host, "link", "set", f"g{tag}", "master", name, "up")
                # the same addresses in both networks; the last octet says which network
                sh("ip", "-n", guest, "addr", "add", f"10.9.0.{n * 10 + tag - 77}/24", "dev", "eth0")
                sh("ip", "-n", guest, "link", "set", "eth0", "up")

        def ping(guest: str, address: str) -> bool:
            words = ["nsenter", f"--net=/run/netns/{guest}", "busybox", "ping", "-c", "2", "-W", "2", "-s", "1400", address]
            return subprocess.run(words, capture_output=True, check=False, timeout=30).returncode == 0

        # the kernel lets a socket join 20 groups unless told otherwise
        sh("nsenter", f"--net=/run/netns/{hosts[0]}", sys.executable, "-c", program, *map(str, range(100, 125)))
        assert ping(f"mold-t-{RUN}-v177", "10.9.0.20") and ping(f"mold-t-{RUN}-v178", "10.9.0.21")
        assert not ping(f"mold-t-{RUN}-v177", "10.9.0.21") and not ping(f"mold-t-{RUN}-v177", "10.9.0.11")
    finally:
        for name in (*guests, *hosts, wire):
            sh("ip", "netns", "del", name, check=False)
