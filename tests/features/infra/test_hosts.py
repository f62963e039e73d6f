"""Hosts: added, counted, tagged, disabled, removed; and the states that an agent's connection puts them in."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cloud import ApiError, Blueprint, Cloud, Site
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from mold.plugins.simulator import Simulator
from mold.wire import calls as w

GIB = 1024**3


@pytest.fixture(scope="module")
def cloud(blueprint: Blueprint, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """A cloud that agents can connect to."""
    made = blueprint.cloud(tmp_path_factory.mktemp("cloud"), agents=True)
    yield made
    made.stop()


@pytest.fixture(scope="module")
def site(cloud: Cloud) -> Site:
    return cloud.zone(hosts=1)


def test_a_host_shows_what_it_has_and_has_promised(cloud: Cloud, site: Site) -> None:
    host = cloud.admin.one("listHosts", id=site.hosts[0])
    assert (host["state"], host["resourcestate"], host["hypervisor"], host["type"]) == (
        "Up",
        "Enabled",
        "Simulator",
        "Routing",
    )
    assert (host["cpunumber"], host["cpuspeed"], host["memorytotal"]) == (64, 2400, 512 * GIB)
    assert (host["clusterid"], host["podid"], host["zoneid"]) == (site.cluster, site.pod, site.zone)
    assert host["memoryallocated"] == 0 and host["cpuallocated"] == "0.00%"
    site.deploy(cloud.tenant())
    host = cloud.admin.one("listHosts", id=site.hosts[0])
    assert (host["memoryallocated"], host["cpuallocatedvalue"]) == (256 * 1024**2, 500)
    slim = cloud.admin.one("listHosts", id=site.hosts[0], details="min")
    assert "memoryallocated" not in slim and "lastpinged" not in slim


def test_what_cannot_be_added(cloud: Cloud, site: Site) -> None:
    where = {"zoneid": site.zone, "podid": site.pod, "clusterid": site.cluster, "hypervisor": "Simulator"}
    other = cloud.zone(hosts=0)
    for url, change, text in (
        ("http://", {}, "url must be"),
        ("http://root:secret@host", {}, "url must be"),
        ("http://host?x=1", {}, "url must be"),
        ("http://host", {"hypervisor": "KVM"}, "has Simulator hosts; this one is KVM"),
        ("http://host", {"clusterid": None}, "Give clusterid"),
        ("http://host", {"podid": other.pod}, "not in this pod and zone"),
        ("http://host", {"clusterid": other.cluster}, "not in this pod and zone"),
    ):
        with pytest.raises(ApiError) as no:
            cloud.admin.addHost(url=url, **{**where, **change})
        assert no.value.code == 431 and text in no.value.text
    site.add_host("twice")
    with pytest.raises(ApiError, match="has been added already"):
        cloud.admin.addHost(url="http://twice", **where)


def test_a_host_that_does_not_answer_leaves_nothing(cloud: Cloud, site: Site) -> None:
    cloud.simulator.plant(call="GetFacts", text="no power")
    with pytest.raises(ApiError, match="no power"):
        site.add_host("dark")
    assert cloud.admin.listHosts(name="dark") == []
    site.add_host("dark")


def test_names_tags_and_being_disabled(cloud: Cloud, site: Site) -> None:
    host = site.add_host("tagged", hosttags="fast,ssd")
    assert cloud.admin.one("listHosts", id=host)["hosttags"] == "fast,ssd"
    changed = cloud.admin.updateHost(id=host, hosttags="slow", name="renamed", allocationstate="Disable")
    assert (changed["hosttags"], changed["name"], changed["resourcestate"]) == ("slow", "renamed", "Disabled")
    assert [h["id"] for h in cloud.admin.listHosts(resourcestate="Disabled")] == [host]
    assert cloud.admin.updateHost(id=host, allocationstate="Enable")["resourcestate"] == "Enabled"


def test_removing(cloud: Cloud, site: Site) -> None:
    host = site.add_host("leaving")
    with pytest.raises(ApiError, match="still takes machines") as no:
        cloud.admin.deleteHost(id=host)
    assert no.value.code == 431
    assert host in cloud.simulator.boxes
    cloud.admin.deleteHost(id=host, forced=True)
    assert cloud.admin.listHosts(name="leaving") == [] and host not in cloud.simulator.boxes


def test_a_host_with_machines_stays(cloud: Cloud) -> None:
    own = cloud.zone(hosts=1)
    tenant = cloud.tenant()
    vm = own.deploy(tenant)
    with pytest.raises(ApiError, match="runs 1 machines") as no:
        cloud.admin.deleteHost(id=own.hosts[0], forced=True)
    assert no.value.code == 536
    cloud.admin.destroyVirtualMachine(id=vm["id"], expunge=True)
    with pytest.raises(ApiError, match="is used by the router"):
        cloud.admin.deleteHost(id=own.hosts[0], forced=True)


def test_reconnecting_asks_the_host_anew(cloud: Cloud, site: Site) -> None:
    seen = cloud.calls_to_hosts()
    assert cloud.admin.reconnectHost(id=site.hosts[0])["state"] == "Up"
    assert [type(c).__name__ for h, c in seen if h == site.hosts[0]] == ["GetFacts"]


def test_over_provisioning(cloud: Cloud) -> None:
    own = cloud.zone(hosts=0)
    cloud.set("cpu.overprovisioning.factor", 2, clusterid=own.cluster)
    cloud.set("mem.overprovisioning.factor", 1.5, clusterid=own.cluster)
    host = cloud.admin.one("listHosts", id=own.add_host("generous"))
    assert int(host["cpuwithoverprovisioning"]) == 64 * 2400 * 2
    assert int(host["memorywithoverprovisioning"]) == 768 * GIB
    assert host["memorytotal"] == 512 * GIB


# ── an agent that speaks the real wire, with a simulated host behind it ──────────────────────────────────────────────


class Agent:
    """An agent of the tests: connects over mutual TLS, answers calls out of a simulator, and can hang up."""

    def __init__(self, cloud: Cloud, folder: Path, name: str, guid: str = "") -> None:
        self.cloud, self.name, self.guid = cloud, name, guid or f"guid-of-{name}"
        self.simulator = Simulator()
        issued = cloud.admin.issueCertificate(domain=name)
        pem = folder / f"{name}.pem"
        pem.write_text(issued["privatekey"] + issued["certificate"])
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.tls.load_verify_locations(cadata=issued["cacertificates"])
        self.tls.load_cert_chain(pem)
        self.socket: ClientConnection | None = None
        self.task: asyncio.Future[None] | None = None
        self.closed: tuple[int | None, str | None] = (None, None)

    def facts(self) -> w.HostFacts:
        return w.HostFacts(
            name=self.name, hypervisor="KVM", version="1", hypervisor_version="1", arch="x86_64", cores=8, sockets=1, mhz=3000,
            memory=64 * GIB, addresses=["127.0.0.1"], domain_type="qemu", boot_id="1", guid=self.guid,
        )  # fmt: skip

    def connect(self) -> None:
        self.cloud.run(self._connect())

    async def _connect(self) -> None:
        from mold.features.infra.certificates import MANAGER_NAME

        self.socket = await connect(
            f"wss://{self.cloud.manager.hub.address}/agent",
            ssl=self.tls,
            server_hostname=MANAGER_NAME,
            compression=None,
        )
        await self.socket.send(w.pack(w.Hello(facts=self.facts())))
        self.task = asyncio.ensure_future(self._serve())

    async def _serve(self) -> None:
        assert self.socket is not None
        try:
            await self._answer(self.socket)
        except ConnectionClosed:
            pass
        self.closed = (self.socket.close_code, self.socket.close_reason)

    async def _answer(self, socket: ClientConnection) -> None:
        async for data in socket:
            frame = w.for_agent(data if isinstance(data, bytes) else data.encode())
            if isinstance(frame, w.Request):
                facts = (
                    self.facts() if isinstance(frame.call, w.GetFacts) else await self.simulator.ask("me", frame.call)
                )
                await socket.send(w.reply(frame.n, facts))

    def report(self) -> None:
        assert self.socket is not None
        self.cloud.run(self.socket.send(w.pack(w.Report(report=self.simulator.report("me")))))

    def hang_up(self) -> None:
        async def go() -> None:
            if self.socket is not None:
                await self.socket.close()
            if self.task is not None:
                with contextlib.suppress(Exception):
                    await self.task

        self.cloud.run(go())


@pytest.fixture
def kvm(cloud: Cloud, site: Site) -> dict[str, Any]:
    pod = site.pod
    name = cloud.name("kvm")
    cluster = cloud.admin.addCluster(
        zoneid=site.zone, podid=pod, clustername=name, hypervisor="KVM", clustertype="CloudManaged"
    )
    return {"zoneid": site.zone, "podid": pod, "clusterid": cluster["id"], "hypervisor": "KVM"}


def until(cloud: Cloud, host: str, state: str) -> dict[str, Any]:
    """The host once it is in a state."""
    deadline = time.monotonic() + 15
    while True:
        found = cloud.admin.one("listHosts", id=host)
        if found["state"] == state:
            return found
        assert time.monotonic() < deadline, f"{found['state']}, not {state}"
        time.sleep(0.02)


def test_an_agents_host_is_up_while_it_is_connected_and_pings(
    cloud: Cloud, kvm: dict[str, Any], tmp_path: Path
) -> None:
    agent = Agent(cloud, tmp_path, "node1")
    agent.connect()
    host = cloud.admin.addHost(url="http://node1", **kvm)
    assert (host["state"], host["name"], host["cpunumber"]) == ("Up", "node1", 8)
    assert host["managementserverid"]
    agent.report()
    agent.hang_up()
    assert "managementserverid" not in until(cloud, host["id"], "Disconnected")
    agent.connect()
    until(cloud, host["id"], "Connecting")
    agent.report()
    until(cloud, host["id"], "Up")
    cloud.set("ping.interval", 1)
    cloud.set("ping.timeout", 1)
    try:
        time.sleep(1.2)
        cloud.reconcile("watch_hosts")
        assert until(cloud, host["id"], "Alert")["resourcestate"] == "Enabled"
    finally:
        cloud.set("ping.interval", 10)
        cloud.set("ping.timeout", 2.5)
    agent.hang_up()
    cloud.admin.deleteHost(id=host["id"], forced=True)


def test_who_disconnects_for_long_is_alert(cloud: Cloud, kvm: dict[str, Any], tmp_path: Path) -> None:
    agent = Agent(cloud, tmp_path, "node2")
    agent.connect()
    host = cloud.admin.addHost(url="http://node2", **kvm)
    agent.hang_up()
    until(cloud, host["id"], "Disconnected")
    assert cloud.reconcile("watch_hosts") == 0
    cloud.set("alert.wait", 1)
    try:
        time.sleep(2.1)
        cloud.reconcile("watch_hosts")
        until(cloud, host["id"], "Alert")
        assert cloud.reconcile("watch_hosts") == 0, "a second look changes nothing"
    finally:
        cloud.set("alert.wait", 1800)
    agent.connect()
    agent.report()
    until(cloud, host["id"], "Up")
    agent.hang_up()


def test_a_certificate_speaks_for_one_agent(cloud: Cloud, kvm: dict[str, Any], tmp_path: Path) -> None:
    agent = Agent(cloud, tmp_path, "node3")
    agent.connect()
    host = cloud.admin.addHost(url="http://node3", **kvm)
    thief = Agent(cloud, tmp_path, "node4", guid=agent.guid)
    thief.connect()
    cloud.run(asyncio.wait_for(_ended(thief), 10))
    assert thief.closed[0] == 4403 and "is known under the certificate of node3" in str(thief.closed[1])
    assert cloud.admin.one("listHosts", id=host["id"])["state"] == "Up"
    agent.hang_up()


async def _ended(agent: Agent) -> None:
    assert agent.task is not None
    await agent.task


def test_an_agent_that_never_comes(cloud: Cloud, kvm: dict[str, Any]) -> None:
    cloud.set("host.connect.timeout", 1)
    try:
        with pytest.raises(ApiError, match="No agent of nowhere has connected within 1 s"):
            cloud.admin.addHost(url="http://nowhere", **kvm)
    finally:
        cloud.set("host.connect.timeout", 120)
    assert cloud.admin.listHosts(name="nowhere") == []
