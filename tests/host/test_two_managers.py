"""Three hosts and two managers on one PostgreSQL, either manager killed at any moment; and hosts added over SSH.

Guests are emulated and slow, so there are few of them; what is asked of them is real: a machine on one host reaches
one on another over the tenants' own VXLAN, through everything that Mold made.
"""

from __future__ import annotations

import contextlib
import http.server
import os
import random
import secrets
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import psycopg
import pytest
from hosts import Cloud, ManagerProcess, NamespaceHost, Wire, hosts, run

from mold.cli import tiny

INSTANCE = "tm1"
SETTINGS = f"domain.type=qemu\ndev=true\ninstance={INSTANCE}\nguest.network.device=br0\n"
CONFIG = "/etc/mold/agent"


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that QEMU and all hosts may enter."""
    made = Path(tempfile.mkdtemp(prefix="mold-two-", dir="/var/tmp"))
    made.chmod(0o711)
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture
def wire() -> Iterator[Wire]:
    with Wire("moldtm1", "10.94.77.0") as made:
        yield made


def until(what: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.2)


def settings(host: NamespaceHost) -> None:
    """What an operator sets beforehand where guests are emulated and storage is a plain folder."""
    host.must("mkdir", "-p", CONFIG)
    host.must("tee", f"{CONFIG}/agent.properties", stdin=SETTINGS)


def set_up_by_hand(host: NamespaceHost, cloud: Cloud, managers: list[ManagerProcess]) -> None:
    """The other way to a host: a key and a request made there, a certificate through the API, and the agent started."""
    agent = (sys.executable, "-m", "mold.agent", "--config", CONFIG)
    csr = host.must(*agent, "--set-up", ",".join(each.address for each in managers))
    issued = cloud.call("issueCertificate", csr=csr)["certificates"]
    host.must("tee", f"{CONFIG}/ca.crt", stdin=issued["cacertificates"])
    host.must("tee", f"{CONFIG}/host.crt.next", stdin=issued["certificate"])
    host.spawn("agent.log", *agent)


# ── over SSH ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.host
@pytest.mark.slow
def test_hosts_are_installed_repaired_and_removed_over_ssh(folder: Path, wire: Wire) -> None:
    with hosts(wire, folder / "hosts", 1) as (host,), contextlib.ExitStack() as stack:
        manager = ManagerProcess(wire, folder / "m")
        stack.callback(manager.stop)
        manager.start()
        cloud = Cloud([manager])
        ids = cloud.zone("br0", INSTANCE, wire)

        def add(**more: str) -> dict[str, object]:
            return cloud.try_("addHost", hypervisor="KVM", url=f"http://{host.address}", **ids, **more)

        refused = add(username="root", password="x")
        assert "does not answer SSH" in str(refused["errortext"]) and "start sshd" in str(refused["errortext"])
        host.sshd()
        settings(host)
        refused = add(username="root", password="not it")
        assert "correct the password" in str(refused["errortext"]) and "ssh-ed25519 " in str(refused["errortext"])
        assert cloud.call("listHosts").get("host") is None, "a host that could not be added leaves no row"
        host.must("ip", "route", "add", "blackhole", f"{wire.address}/32", "table", "77")
        host.must("ip", "rule", "add", "dport", str(manager.agent_port), "table", "77")
        refused = add(username="root", password=host.password)
        assert "reaches no manager" in str(refused["errortext"]) and "agent ports" in str(refused["errortext"])
        assert host.inside("ls", f"{CONFIG}/installed-for").returncode, "what was put there is taken off again"
        host.must("ip", "rule", "del", "dport", str(manager.agent_port), "table", "77")

        settings(host)
        added = add(username="root", password=host.password)
        assert "errorcode" not in added, added
        row = cloud.call("listHosts")["host"][0]
        assert (row["state"], row["name"], row["ipaddress"]) == ("Up", host.name, host.address)
        listing = host.must("find", CONFIG, "-printf", "%f %m\n")
        assert "host.key 600" in listing and "host.key.next" not in listing
        assert not list((folder / "m").rglob("*.key")) or "BEGIN" not in (folder / "m" / "manager.log").read_text()
        assert host.password not in manager.log(), "no secret in a log"

        keeper = host.must("cat", f"{CONFIG}/keeper.pid").strip()
        agent = host.must("cat", f"/proc/{keeper}/task/{keeper}/children").split()[0]
        host.must("kill", "-9", agent)
        until(lambda: cloud.call("listHosts")["host"][0]["state"] != "Up")
        until(lambda: cloud.call("listHosts")["host"][0]["state"] == "Up")  # its keeper starts it again

        host.must("kill", "-9", keeper)
        host.must("rm", "-rf", "/opt/mold-agent")
        until(lambda: cloud.call("listHosts")["host"][0]["state"] == "Disconnected")
        host.stop_sshd()
        host.new_host_key()
        host.start_sshd()
        refused = cloud.try_("queryAsyncJobResult", jobid=_ended(cloud, "reconnectHost", id=row["id"]))
        assert "another one than before" in str(refused["jobresult"]["errortext"])
        assert "publickey" not in (folder / "hosts/h11/sshd.log").read_text().rsplit("Server listening", 1)[1]
        host.stop_sshd()
        shutil.copy(folder / "hosts/h11/first_host_key", folder / "hosts/h11/ssh_host_key")
        host.start_sshd()
        cloud.call("reconnectHost", id=row["id"])
        until(lambda: cloud.call("listHosts")["host"][0]["state"] == "Up")

        cloud.call("deleteHost", id=row["id"], forced="true")
        assert cloud.call("listHosts").get("host") is None
        until(lambda: host.inside("pgrep", "-f", "mold.agent").returncode)
        host.stop_sshd()
        host.sshd((folder / "m" / "ssh_key.pub").read_text())
        again = add(username="root")
        assert "errorcode" not in again, again


def _ended(cloud: Cloud, command: str, **params: object) -> str:
    job = cloud.try_(command, **params)["jobid"]
    until(lambda: cloud.try_("queryAsyncJobResult", jobid=job)["jobstatus"] != 0)
    return str(job)


# ── several managers ─────────────────────────────────────────────────────────────────────────────────────────────────


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves a folder and says nothing."""

    def log_message(self, format: str, *args: object) -> None:
        return


@contextlib.contextmanager
def serving(folder: Path, address: str) -> Iterator[str]:
    server = http.server.ThreadingHTTPServer((address, 0), partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://{address}:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.host
@pytest.mark.postgres
@pytest.mark.slow
def test_either_manager_may_die_while_machines_come_and_go(folder: Path, wire: Wire, postgres_url: str) -> None:
    seed = int(os.environ.get("MOLD_TEST_SEED") or secrets.randbelow(10**6))
    print(f"MOLD_TEST_SEED={seed}")
    chance = random.Random(seed)
    database = f"two_{uuid.uuid4().hex}"
    url = postgres_url.replace("/postgres?", f"/{database}?")
    key = secrets.token_urlsafe(32)
    with psycopg.connect(postgres_url, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {database}")
        try:
            with hosts(wire, folder / "hosts", 3) as machines, contextlib.ExitStack() as stack:
                managers = [ManagerProcess(wire, folder / f"m{number}", url, key) for number in (1, 2)]
                for each in managers:
                    stack.callback(each.stop)
                    each.start()
                _come_and_go(chance, folder, wire, machines, managers, url)
        finally:
            admin.execute(f"DROP DATABASE {database} WITH (FORCE)")


def _come_and_go(
    chance: random.Random,
    folder: Path,
    wire: Wire,
    machines: list[NamespaceHost],
    managers: list[ManagerProcess],
    url: str,
) -> None:
    cloud = Cloud(managers)
    ids = cloud.zone("br0", INSTANCE, wire)
    cloud.call("updateConfiguration", name="secstorage.allowed.internal.sites", value=f"{wire.address}/32")
    for each in machines:
        settings(each)
    machines[0].sshd()
    managers[0].call("listZones")
    machines[1].sshd(*(path.read_text() for path in sorted(folder.glob("m*/ssh_key.pub"))))
    set_up_by_hand(machines[2], cloud, managers)
    ways = ({"username": "root", "password": machines[0].password}, {"username": "root"}, {})
    for machine, way in zip(machines, ways, strict=True):
        cloud.call("addHost", hypervisor="KVM", url=f"http://{machine.address}", **ids, **way)
    both = ",".join(sorted(each.address for each in managers))
    for machine in machines:
        until(lambda m=machine: f"host={both}\n" in m.must("cat", f"{CONFIG}/agent.properties"))  # type: ignore[misc]
    rows = {row["name"]: row["id"] for row in cloud.call("listHosts")["host"]}
    assert len(rows) == 3

    primary, secondary, images = folder / "primary", folder / "secondary", folder / "images"
    for each in (primary, secondary, images):
        each.mkdir(mode=0o711)
    cloud.call(
        "createStoragePool", **ids, name="primary", url=f"sharedmountpoint://localhost{primary}", scope="CLUSTER"
    )
    cloud.call("addImageStore", provider="NFS", url=f"file://{secondary}", name="secondary", zoneid=ids["zoneid"])
    made = tiny.build(images / "tiny.qcow2")
    with serving(images, wire.address) as source:
        template = cloud.call(
            "registerTemplate", name="tiny", displaytext="tiny", url=f"{source}/tiny.qcow2", format="QCOW2",
            hypervisor="KVM", zoneid=ids["zoneid"], checksum=made.checksum, sshkeyenabled="true",
            ostypeid=cloud.call("listOsTypes", description="Other Linux (64-bit)")["ostype"][0]["id"],
        )["template"][0]["id"]  # fmt: skip
        until(lambda: cloud.call("listTemplates", templatefilter="self", id=template)["template"][0].get("isready"))
    offering = cloud.call(
        "createServiceOffering", name="Tiny", displaytext="tiny", cpunumber=1, cpuspeed=500, memory=256
    )["serviceoffering"]["id"]
    isolated = cloud.call("listNetworkOfferings", state="Enabled", guestiptype="Isolated")["networkoffering"][0]["id"]
    network = cloud.call("createNetwork", name="n", zoneid=ids["zoneid"], networkofferingid=isolated)["network"]["id"]
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / "id")
    cloud.call("registerSSHKeyPair", name="k", publickey=(folder / "id.pub").read_text().strip())

    def start(via: ManagerProcess, name: str, host: str) -> str:
        answer = via.call(
            "deployVirtualMachine", name=name, zoneid=ids["zoneid"], templateid=template, serviceofferingid=offering,
            networkids=network, keypair="k", hostid=rows[host],
        )  # fmt: skip
        assert "jobid" in answer, answer
        return str(answer["jobid"])

    first, second = chance.sample(managers, 2)
    jobs = [start(first, f"vm-{number}", machine.name) for number, machine in enumerate(machines, 1)]
    time.sleep(chance.uniform(0.1, 4))
    first.kill()
    guests = [cloud.result(job)["virtualmachine"] for job in jobs]
    assert sorted(guest["hostname"] for guest in guests) == sorted(rows)
    assert all(machine.domains() == [guest["instancename"]] for machine, guest in zip(machines, guests, strict=True))

    router = cloud.call("listRouters", networkid=network)["router"][0]
    gateway = next(machine for machine in machines if machine.name == router["hostname"])
    namespace = next(each for each in gateway.namespaces() if each.startswith("mold-r-"))

    def ssh(guest: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
        return gateway.inside(
            "ip", "netns", "exec", namespace, "ssh", "-i", folder / "id", "-o", "StrictHostKeyChecking=no", "-o",
            "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR", "-o", "ConnectTimeout=3", "-o", "BatchMode=yes",
            f"root@{guest['nic'][0]['ipaddress']}", *words,
        )  # fmt: skip

    for guest in guests:
        until(lambda g=guest: ssh(g, "hostname").stdout.strip() == g["name"], 100)  # type: ignore[misc]
    for guest in guests:
        for other in guests:
            if other is not guest:
                done = ssh(guest, "ping", "-c", "1", "-W", "5", other["nic"][0]["ipaddress"])
                assert done.returncode == 0, done.stdout + done.stderr

    first.start()
    jobs = [str(second.call("destroyVirtualMachine", id=guest["id"], expunge="true").get("jobid")) for guest in guests]
    time.sleep(chance.uniform(0.1, 2))
    second.kill()
    for job in jobs:
        cloud.result(job)
    cloud.call("deleteNetwork", id=network)
    _nothing_is_left(cloud, machines, primary, url)


def _nothing_is_left(cloud: Cloud, machines: list[NamespaceHost], primary: Path, url: str) -> None:
    for machine in machines:
        assert machine.domains() == [] and machine.namespaces() == []
        assert machine.inside("pgrep", "-x", "dnsmasq").returncode, "no router's program is left"
    for what in ("VirtualMachines", "Volumes", "Networks", "Routers"):
        answer = cloud.call(f"list{what}", listall="true")
        assert not answer or not any(answer.values()), answer
    assert sorted(row["state"] for row in cloud.call("listHosts")["host"]) == ["Up"] * 3
    with psycopg.connect(url) as database:
        assert database.execute("select * from held").fetchall() == []
        assert database.execute("select operation, phase from asyncjob where phase <> 'over'").fetchall() == []
        reserved = database.execute("select cpu_reserved, memory_reserved, machines from host").fetchall()
        assert reserved == [(0, 0, 0)] * 3
    volumes = [path for path in primary.rglob("*.qcow2") if "images" not in path.parts and path.is_file()]
    assert [path for path in volumes if path.parent.name == "volumes"] == [], volumes
