"""The main job on a real machine: from nothing to a guest that answers SSH, and through kills without a leftover.

One cloud for the whole file: a manager, an agent, real libvirt and QEMU, real namespaces. Everything it makes carries
its instance word, so what is left at the end can be told from what was there before.
"""

from __future__ import annotations

import json
import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mold.cli.client import Cloud
from mold.cli.faults import Fault
from mold.cli.profiles import Connection

pytestmark = pytest.mark.host
UP_SECONDS = 240


def free_port() -> int:
    """A TCP port on loopback that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class RealCloud:
    """A quickstart on this machine."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.instance = secrets.token_hex(2)
        self.ports = [free_port(), free_port(), free_port()]
        self.process: subprocess.Popen[str] | None = None
        self.output = ""

    def up(self, *more: str) -> float:
        """Start quickstart and wait until it says that the cloud is up; returns the seconds it took."""
        began = time.monotonic()
        argv = [
            sys.executable, "-m", "mold.cli.quickstart", "--data-dir", str(self.folder), "--port", str(self.ports[0]),
            "--agent-port", str(self.ports[1]), "--integration-port", str(self.ports[2]), "--instance", self.instance, *more,
        ]  # fmt: skip
        self.process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert self.process.stdout is not None
        lines = []
        for line in self.process.stdout:
            lines.append(line)
            if "Ctrl-C stops" in line:
                break
            assert time.monotonic() - began < UP_SECONDS, "".join(lines)
        self.output = "".join(lines)
        assert "Your cloud is up" in self.output, self.output + self.logs()
        return time.monotonic() - began

    def down(self) -> int:
        """Ctrl-C; returns the exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGINT)
        code = self.process.wait(60)
        self.process = None
        return code

    def logs(self) -> str:
        return "".join(
            f"\n== {p.name}\n" + "\n".join(p.read_text(errors="replace").splitlines()[-15:])
            for p in self.folder.glob("*.log")
        )

    @property
    def facts(self) -> dict[str, Any]:
        """What quickstart.json holds."""
        return dict(json.loads((self.folder / "quickstart.json").read_text()))

    def call(self, command: str, **params: Any) -> dict[str, Any]:
        """Call a command with admin's keys, again while the manager is being started anew."""
        until = time.monotonic() + 60
        while True:
            try:
                connection = Connection(
                    "test",
                    {"url": self.facts["url"], "apikey": self.facts["apikey"], "secretkey": self.facts["secretkey"]},
                )
                return dict(Cloud(connection).call(command, {k: str(v) for k, v in params.items()}))
            except Fault as no:
                if type(no).__name__ not in ("Unreachable", "TimedOut") or time.monotonic() > until:
                    raise
                time.sleep(0.3)

    def job(self, job: str, seconds: float = 180) -> dict[str, Any]:
        """Wait until a job is over."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            told = self.call("queryAsyncJobResult", jobid=job)
            if told["jobstatus"]:
                return told
            time.sleep(0.3)
        raise AssertionError(f"job {job} is not over after {seconds} s: {told}{self.logs()}")

    def pids(self, what: str) -> list[int]:
        """Processes of this cloud whose command line holds `what`."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                except OSError:
                    continue
                if (
                    what in line
                    and (str(self.folder) in line or self.instance in line)
                    and int(entry.name) != os.getpid()
                ):
                    found.append(int(entry.name))
        return found

    def kill(self, what: str) -> bool:
        """Kill -9 the processes of this cloud whose command line holds `what`."""
        found = self.pids(what)
        for pid in found:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        return bool(found)

    def domains(self) -> list[str]:
        told = subprocess.run(
            ["virsh", "-c", "qemu:///system", "list", "--all", "--name"], capture_output=True, text=True, check=True
        ).stdout
        return [n for n in told.split() if n.endswith(f"-{self.instance}")]

    def world(self) -> dict[str, list[str]]:
        """What of this cloud is on the machine."""
        names = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout
        links = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, check=True).stdout
        return {
            "domains": self.domains(),
            "namespaces": [
                line.split()[0]
                for line in names.splitlines()
                if line.split() and line.split()[0].endswith(self.instance)
            ],
            "links": sorted(
                line.split(": ")[1].split("@")[0] for line in links.splitlines() if self.instance in line.split(": ")[1]
            ),
            "volumes": sorted(p.name for p in (self.folder / "primary" / "volumes").glob("*")),
            "routers": sorted(p.name for p in (self.folder / "host" / "routers").glob("*-*")),
            "dnsmasq": [str(p) for p in self.pids("dnsmasq")],
        }

    def clean(self) -> None:
        """Remove everything, whatever state it is in."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(10)
        for what in ("mold.server.main", "mold.agent", "mold.agent.metadata", "dnsmasq"):
            self.kill(what)
        for name in self.domains():
            subprocess.run(["virsh", "-c", "qemu:///system", "destroy", name], capture_output=True, check=False)
        for name in self.world()["namespaces"]:
            subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)
        for name in self.world()["links"]:
            subprocess.run(["ip", "link", "delete", name], capture_output=True, check=False)
        shutil.rmtree(self.folder, ignore_errors=True)


@pytest.fixture(scope="module")
def cloud(libvirtd: str) -> Iterator[RealCloud]:
    folder = Path(tempfile.mkdtemp(prefix="mold-first-", dir="/var/tmp"))
    folder.chmod(0o711)  # QEMU runs as another user and must pass
    made = RealCloud(folder)
    try:
        print(f"\nfirst machine up in {made.up():.0f} s")
        yield made
    finally:
        made.clean()


def ssh(cloud: RealCloud, *words: str) -> str:
    """Run a command in the first machine."""
    done = subprocess.run(
        [*cloud.facts["machine"]["ssh"], *words], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_first_machine_answers_and_knows_itself(cloud: RealCloud) -> None:
    facts = cloud.facts
    assert (cloud.folder / "quickstart.json").stat().st_mode & 0o077 == 0
    assert set(facts) >= {"url", "username", "password", "apikey", "secretkey", "integrationport"}
    assert facts["password"] in cloud.output and facts["machine"]["address"] in cloud.output
    assert ssh(cloud, "hostname") == "first"
    assert facts["machine"]["address"] in ssh(cloud, "ip", "addr")
    assert ssh(cloud, "wget", "-q", "-O", "-", "http://10.1.1.1/latest/meta-data/instance-id") == facts["machine"]["id"]
    assert "mold.internal" in ssh(cloud, "cat", "/etc/resolv.conf")
    vm = cloud.call("listVirtualMachines", id=facts["machine"]["id"])["virtualmachine"][0]
    assert vm["state"] == "Running" and vm["instancename"] == cloud.domains()[0]


def test_ctrl_c_leaves_machines_running_and_a_second_start_resumes(cloud: RealCloud) -> None:
    before = cloud.facts
    assert cloud.down() == 0
    assert not cloud.pids("mold.server.main") and not cloud.pids("-m mold.agent --config")
    assert ssh(cloud, "hostname") == "first"
    leased = ssh(cloud, "wget", "-q", "-O", "-", "http://10.1.1.1/latest/meta-data/local-hostname")
    assert leased == "first", "DHCP, DNS and metadata go on when manager and agent are down"
    seconds = cloud.up()
    print(f"\nresumed in {seconds:.0f} s")
    assert cloud.facts["machine"]["id"] == before["machine"]["id"] and cloud.facts["apikey"] == before["apikey"]


def test_stop_start_reboot(cloud: RealCloud) -> None:
    vm = cloud.facts["machine"]["id"]
    began = time.monotonic()
    assert cloud.job(cloud.call("stopVirtualMachine", id=vm)["jobid"])["jobstatus"] == 1
    assert time.monotonic() - began < 40, "the guest obeys ACPI; nothing had to be forced"
    assert not cloud.domains()
    assert cloud.job(cloud.call("startVirtualMachine", id=vm)["jobid"])["jobstatus"] == 1
    _until_ssh(cloud)
    boot = ssh(cloud, "cat", "/proc/sys/kernel/random/boot_id")
    assert cloud.job(cloud.call("rebootVirtualMachine", id=vm)["jobid"])["jobstatus"] == 1
    _until_ssh(cloud)
    assert ssh(cloud, "cat", "/proc/sys/kernel/random/boot_id") != boot


def _until_ssh(cloud: RealCloud) -> None:
    for _ in range(60):
        done = subprocess.run([*cloud.facts["machine"]["ssh"], "true"], capture_output=True, timeout=60, check=False)
        if done.returncode == 0:
            return
        time.sleep(1)
    raise AssertionError("the guest does not answer SSH")


def test_guest_that_dies_is_seen_as_stopped(cloud: RealCloud) -> None:
    time.sleep(11)  # reports within ten seconds of a change are not believed
    vm = cloud.facts["machine"]["id"]
    assert cloud.kill("qemu-system")
    until = time.monotonic() + 40
    while cloud.call("listVirtualMachines", id=vm)["virtualmachine"][0]["state"] != "Stopped":
        assert time.monotonic() < until, "the rows still say Running"
        time.sleep(0.5)
    assert cloud.job(cloud.call("startVirtualMachine", id=vm)["jobid"])["jobstatus"] == 1


def test_kills_at_random_leave_nothing(cloud: RealCloud) -> None:
    """Five machines deployed and expunged while manager, agent and QEMU are killed at random moments."""
    chance = random.Random(secrets.randbits(32))
    zone = cloud.call("listZones")["zone"][0]["id"]
    template = cloud.call("listTemplates", templatefilter="self")["template"][0]["id"]
    offering = cloud.call("listServiceOfferings", name="Tiny")["serviceoffering"][0]["id"]
    network = cloud.call("listNetworks")["network"][0]["id"]
    manager, agent, guest = "mold.server.main", "-m mold.agent --config", "qemu-system"
    pairs = [(manager, agent), (agent, manager), (guest, manager), (manager, guest), (agent, agent)]
    chance.shuffle(pairs)
    for number, victims in enumerate(pairs):
        accepted = cloud.call(
            "deployVirtualMachine",
            name=f"k{number}",
            zoneid=zone,
            templateid=template,
            serviceofferingid=offering,
            networkids=network,
        )
        time.sleep(chance.uniform(0.0, 2.5))
        cloud.kill(victims[0])
        told = cloud.job(accepted["jobid"])
        print(
            f"\ndeploy {number} with a kill of {victims[0]}: {told['jobstatus']} {told['jobresult'].get('errortext', '')}"
        )
        rows = (
            cloud.call("listVirtualMachines", id=accepted["id"]).get("virtualmachine")
            if told["jobstatus"] == 1
            else None
        )
        if not rows:
            continue
        going = cloud.call("destroyVirtualMachine", id=accepted["id"], expunge="true")
        time.sleep(chance.uniform(0.0, 1.0))
        cloud.kill(victims[1])
        told = cloud.job(going["jobid"])
        assert told["jobstatus"] == 1, told
    vm = cloud.facts["machine"]["id"]
    told = cloud.job(cloud.call("destroyVirtualMachine", id=vm, expunge="true")["jobid"])
    assert told["jobstatus"] == 1, told
    _settled(cloud)
    assert cloud.call("listVirtualMachines", listall="true") == {}
    assert cloud.call("listVolumes", listall="true") == {}
    told = cloud.job(cloud.call("deleteNetwork", id=network)["jobid"])
    assert told["jobstatus"] == 1, told
    host = cloud.call("listHosts")["host"][0]
    assert host["cpuallocatedvalue"] == 0 and host["memoryallocatedbytes"] == 0
    assert cloud.call("listRouters", listall="true") == {}
    left = _swept(cloud)
    bridge = f"mold-{cloud.instance}"
    assert left == {"domains": [], "namespaces": [], "links": [bridge], "volumes": [], "routers": [], "dnsmasq": []}, (
        left
    )


def _settled(cloud: RealCloud) -> None:
    """Wait until no job is under way."""
    until = time.monotonic() + 120
    while True:
        rows = cloud.call("listAsyncJobs", listall="true").get("asyncjobs") or []
        if not [j for j in rows if j["jobstatus"] == 0]:
            return
        assert time.monotonic() < until, rows
        time.sleep(0.5)


def _swept(cloud: RealCloud) -> dict[str, list[str]]:
    """The world once the agent has had time to sweep unused bridges."""
    until = time.monotonic() + 150
    while True:
        left = cloud.world()
        if left["links"] == [f"mold-{cloud.instance}"] or time.monotonic() > until:
            return left
        time.sleep(2)
