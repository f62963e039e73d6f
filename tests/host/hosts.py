"""Hosts that are namespaces: each has its own network, processes, mounts and control groups, and its own libvirtd.

What a host writes below /etc, /opt, /root, /var/lib, /var/log and /var/cache stays in a folder of its own (overlays);
/run is its own; everything else, /var/tmp with the shared storage included, is this machine's.  They meet on one bridge
of this machine, which is their way to managers, too.  The first process of a host is ended by its pid, and all others
in it go with it.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

OVERLAYS = ("etc", "opt", "root", "var/lib", "var/log", "var/cache")
CONTROLLERS = ("cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids")
START_SECONDS = 60.0

INIT = """#!/bin/bash
# First outside, to enter a control group of its own before that becomes a namespace; then again inside, as process 1.
set -e
if [ "$1" != inside ]; then
  for c in {controllers} systemd; do
    d=/sys/fs/cgroup/$c; [ -d $d ] || continue
    mkdir -p $d/{name}
    if [ $c = cpuset ]; then cat $d/cpuset.cpus >$d/{name}/cpuset.cpus; cat $d/cpuset.mems >$d/{name}/cpuset.mems; fi
    echo $$ >$d/{name}/cgroup.procs
  done
  exec unshare --mount --uts --pid --ipc --cgroup --fork --kill-child --mount-proc "$0" inside
fi
mount --make-rprivate /
hostname {name}
for o in {overlays}; do
  u={folder}/$(echo $o | tr / -)
  mkdir -p $u/up $u/work
  mount -t overlay overlay -o lowerdir=/$o,upperdir=$u/up,workdir=$u/work /$o
done
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/libvirt /run/lock /run/sshd
umount -R -l /sys; mount -t sysfs sysfs /sys; mount -t tmpfs tmpfs /sys/fs/cgroup
for c in {controllers}; do mkdir /sys/fs/cgroup/$c; mount -t cgroup -o $c cgroup /sys/fs/cgroup/$c; done
rm -rf /etc/mold /opt/mold-agent /var/lib/mold /var/lib/libvirt/qemu
cp {folder}/libvirtd.conf {folder}/qemu.conf /etc/libvirt/
virtlogd -d
exec tini -- bash -c 'while :; do libvirtd; sleep 0.3; done'
"""


def run(*argv: str | Path, **more: object) -> str:
    """Run a program that has to succeed; what it wrote."""
    done = subprocess.run([str(a) for a in argv], capture_output=True, text=True, check=False, timeout=60, **more)  # type: ignore[call-overload]
    assert done.returncode == 0, f"{' '.join(map(str, argv))}: {done.stderr or done.stdout}"
    return str(done.stdout)


class Wire:
    """The bridge on which hosts and managers meet; this machine is `address` on it."""

    def __init__(self, name: str, subnet: str) -> None:
        self.name = name
        self.prefix = subnet.rsplit(".", 1)[0]
        self.address = f"{self.prefix}.1"

    def __enter__(self) -> Wire:
        self.remove()
        run("ip", "link", "add", "name", self.name, "type", "bridge", "forward_delay", "0", "mcast_snooping", "0")
        run("ip", "addr", "add", f"{self.address}/24", "dev", self.name)
        run("ip", "link", "set", self.name, "up")
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()

    def remove(self) -> None:
        if Path(f"/sys/class/net/{self.name}").exists():
            run("ip", "link", "del", self.name)


class NamespaceHost:
    """One host. `number` is its last address byte; `folder` is made, and removed with it."""

    def __init__(self, wire: Wire, number: int, folder: Path) -> None:
        self.name = f"{wire.name}h{number}"
        self.address = f"{wire.prefix}.{number}"
        self.wire = wire
        self.folder = folder
        self.password = uuid.uuid4().hex
        self._process: subprocess.Popen[bytes] | None = None
        self._others: list[subprocess.Popen[bytes]] = []
        self.pid = 0

    def start(self) -> None:
        """Make the namespaces and begin; `wait` waits until libvirt answers."""
        self.folder.mkdir(parents=True, mode=0o755)
        port = f"{self.name}p"
        run("ip", "netns", "add", self.name)
        run("ip", "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", self.name)
        run("ip", "link", "set", port, "master", self.wire.name, "up")
        inside = ("ip", "-n", self.name)
        run(*inside, "link", "set", "lo", "up")
        run(*inside, "link", "add", "name", "br0", "type", "bridge", "forward_delay", "0", "mcast_snooping", "0")
        run(*inside, "link", "set", "eth0", "master", "br0", "up")
        run(*inside, "addr", "add", f"{self.address}/24", "dev", "br0")
        run(*inside, "link", "set", "br0", "up")
        digest = hashlib.md5(self.name.encode()).hexdigest()
        (self.folder / "libvirtd.conf").write_text(f'host_uuid = "{uuid.UUID(digest)}"\nauth_unix_rw = "none"\n')
        (self.folder / "qemu.conf").write_text(
            'security_driver = "none"\nuser = "root"\ngroup = "root"\ndynamic_ownership = 0\nstdio_handler = "logd"\n'
        )
        script = self.folder / "init.sh"
        script.write_text(
            INIT.format(
                name=self.name, folder=self.folder, controllers=" ".join(CONTROLLERS), overlays=" ".join(OVERLAYS)
            )
        )
        script.chmod(0o755)
        with (self.folder / "host.log").open("ab") as log:
            self._process = subprocess.Popen(
                ["nsenter", f"--net=/run/netns/{self.name}", str(script)], cwd="/", start_new_session=True,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip

    def wait(self) -> None:
        """Until libvirt answers in it."""
        assert self._process is not None
        until = time.monotonic() + START_SECONDS
        while True:
            assert self._process.poll() is None and time.monotonic() < until, (self.folder / "host.log").read_text()
            time.sleep(0.1)
            with contextlib.suppress(OSError, IndexError):
                parent = self._process.pid
                child = int(Path(f"/proc/{parent}/task/{parent}/children").read_text().split()[0])
                if Path(f"/proc/{child}/comm").read_text() != "tini\n":
                    continue  # still on the way in
                self.pid = child
                if self.inside("virsh", "-c", "qemu:///system", "version").returncode == 0:
                    return

    def line(self, *argv: str | Path) -> list[str]:
        """The words that run a program inside."""
        return ["nsenter", "-t", str(self.pid), "-m", "-n", "-p", "-u", "-i", "-C", "--", *map(str, argv)]

    def inside(
        self, *argv: str | Path, seconds: float = 60, stdin: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a program inside, to its end."""
        return subprocess.run(
            self.line(*argv), capture_output=True, text=True, check=False, timeout=seconds, input=stdin, cwd="/"
        )

    def must(self, *argv: str | Path, stdin: str | None = None) -> str:
        """Run a program inside that has to succeed; what it wrote."""
        done = self.inside(*argv, stdin=stdin)
        assert done.returncode == 0, f"{self.name}: {argv}: {done.stderr or done.stdout}"
        return done.stdout

    def spawn(self, log: str, *argv: str | Path) -> subprocess.Popen[bytes]:
        """Start a program inside that lasts as long as the host."""
        with (self.folder / log).open("ab") as output:
            made = subprocess.Popen(self.line(*argv), cwd="/", stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        self._others.append(made)
        return made

    def sshd(self, *authorized: str) -> None:
        """Start an SSH server: root by password, and by these keys."""
        keys = self.folder / "authorized_keys"
        keys.write_text("".join(f"{each}\n" for each in authorized))
        keys.chmod(0o600)
        hashed = run("openssl", "passwd", "-6", "-stdin", input=self.password).strip()
        self.must("usermod", "-p", hashed, "root")
        if not (self.folder / "ssh_host_key").exists():
            self.new_host_key()
        (self.folder / "sshd_config").write_text(
            f"Port 22\nListenAddress {self.address}\nHostKey {self.folder}/ssh_host_key\nPermitRootLogin yes\n"
            f"PasswordAuthentication yes\nKbdInteractiveAuthentication no\nUsePAM no\nStrictModes no\n"
            f"AuthorizedKeysFile {keys}\nPidFile /run/sshd.pid\nUseDNS no\nLogLevel VERBOSE\n"
        )
        self.start_sshd()

    def new_host_key(self) -> None:
        """Give the machine another SSH identity, as if it had been installed anew."""
        path = self.folder / "ssh_host_key"
        path.unlink(missing_ok=True)
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path)
        first = self.folder / "first_host_key"
        if not first.exists():
            shutil.copy(path, first)

    def start_sshd(self) -> None:
        self._sshd = self.spawn("sshd.log", "/usr/sbin/sshd", "-D", "-e", "-f", self.folder / "sshd_config")
        until = time.monotonic() + 10
        while self.inside("bash", "-c", f"exec 3<>/dev/tcp/{self.address}/22").returncode:
            assert time.monotonic() < until, (self.folder / "sshd.log").read_text()
            time.sleep(0.05)

    def stop_sshd(self) -> None:
        self.inside("bash", "-c", "kill $(cat /run/sshd.pid)")
        self._sshd.wait(10)

    def domains(self) -> list[str]:
        """The guests that its libvirt knows."""
        return self.must("virsh", "-c", "qemu:///system", "list", "--all", "--name").split()

    def namespaces(self) -> list[str]:
        """The network namespaces in it."""
        return [line.split()[0] for line in self.must("ip", "netns", "list").splitlines() if line.strip()]

    def stop(self) -> None:
        """End the host as a power cut would, and remove all that it was."""
        if self.pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
        for each in [*self._others, *([self._process] if self._process else [])]:
            try:
                each.wait(15)
            except subprocess.TimeoutExpired:
                each.kill()
                each.wait(5)
        subprocess.run(["ip", "link", "del", f"{self.name}p"], capture_output=True, check=False)
        subprocess.run(["ip", "netns", "del", self.name], capture_output=True, check=False)
        for controller in (*CONTROLLERS, "systemd"):
            top = Path("/sys/fs/cgroup") / controller / self.name
            until = time.monotonic() + 5
            while top.exists() and time.monotonic() < until:
                for path in sorted(top.rglob("*/"), key=lambda p: len(p.parts), reverse=True):
                    with contextlib.suppress(OSError):
                        path.rmdir()
                with contextlib.suppress(OSError):
                    top.rmdir()
                if top.exists():
                    time.sleep(0.05)
        shutil.rmtree(self.folder, ignore_errors=True)


@contextlib.contextmanager
def hosts(wire: Wire, folder: Path, count: int) -> Iterator[list[NamespaceHost]]:
    """So many hosts on a wire, running."""
    made = [NamespaceHost(wire, number, folder / f"h{number}") for number in range(11, 11 + count)]
    try:
        for each in made:
            each.start()
        for each in made:
            each.wait()
        yield made
    finally:
        for each in made:
            each.stop()


def free_port() -> int:
    """A TCP port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class ManagerProcess:
    """A management server, as a process that is ended by its pid. Agents come to it over the wire's bridge."""

    def __init__(self, wire: Wire, folder: Path, database: str = "", key: str = "") -> None:
        self.folder = folder
        self.port, self.agent_port, self.integration_port = free_port(), free_port(), free_port()
        self.address = f"{wire.address}:{self.agent_port}"
        self._argv = [
            sys.executable, "-m", "mold.server.main", "--data-dir", str(folder), "--port", str(self.port),
            "--agent-bind", wire.address, "--advertise", wire.address, "--agent-port", str(self.agent_port),
            "--integration-port", str(self.integration_port), *(["--database", database] if database else []),
        ]  # fmt: skip
        self._environment = {**os.environ, "MOLD_ADMIN_PASSWORD": "password", **({"MOLD_KEY": key} if key else {})}
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "manager.log").open("ab") as log:
            self.process = subprocess.Popen(
                self._argv, env=self._environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        until = time.monotonic() + 60
        while True:
            with contextlib.suppress(OSError):
                self.call("listZones")
                return
            assert self.process.poll() is None and time.monotonic() < until, self.log()
            time.sleep(0.1)

    def log(self) -> str:
        return (self.folder / "manager.log").read_text()

    def call(self, command: str, **params: object) -> dict[str, Any]:
        """The inside of the answer, errors included; OSError when the manager is gone."""
        words = {"command": command, "response": "json", **{k: str(v) for k, v in params.items()}}
        url = f"http://127.0.0.1:{self.integration_port}/client/api?{urllib.parse.urlencode(words)}"
        try:
            with urllib.request.urlopen(url, timeout=240) as answer:
                data = answer.read()
        except urllib.error.HTTPError as no:
            data = no.read()
        except http.client.HTTPException as broken:
            raise ConnectionError(str(broken)) from broken
        return dict(next(iter(json.loads(data).values())))

    def kill(self) -> None:
        """End it as a power cut would."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(10)

    def stop(self) -> None:
        """End it cleanly."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.kill()


class Cloud:
    """The API of several managers: asks any that lives."""

    def __init__(self, managers: list[ManagerProcess]) -> None:
        self.managers = managers

    def try_(self, command: str, **params: object) -> dict[str, Any]:
        """The answer, a refusal included."""
        for manager in self.managers:
            if manager.process is not None and manager.process.poll() is None:
                try:
                    return manager.call(command, **params)
                except OSError:
                    continue
        raise AssertionError("no manager answers")

    def call(self, command: str, **params: object) -> dict[str, Any]:
        """The answer, which is no refusal; of a job its result."""
        answer = self.try_(command, **params)
        assert "errorcode" not in answer, f"{command}: {answer}"
        return self.result(answer["jobid"]) if "jobid" in answer else answer

    def result(self, job: str, seconds: float = 150) -> dict[str, Any]:
        """The result of a job, once it has succeeded."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            told = self.try_("queryAsyncJobResult", jobid=job)
            assert told.get("jobstatus") != 2, told
            if told.get("jobstatus") == 1:
                return dict(told["jobresult"])
            time.sleep(0.2)
        raise AssertionError(f"job {job} has not ended")

    def zone(self, label: str, instance: str, wire: Wire) -> dict[str, str]:
        """An advanced zone with a pod and a cluster on the wire; ids by name."""
        zone = self.call(
            "createZone", name="zone", dns1="9.9.9.9", internaldns1="9.9.9.9", networktype="Advanced",
            guestcidraddress="10.1.1.0/24",
        )["zone"]["id"]  # fmt: skip
        net = self.call("createPhysicalNetwork", zoneid=zone, name="net", isolationmethods="VXLAN", vlan="1000-3999")
        physical = net["physicalnetwork"]["id"]
        for traffic in ("Management", "Public", "Guest"):
            self.call("addTrafficType", physicalnetworkid=physical, traffictype=traffic, kvmnetworklabel=label)
        self.call("updatePhysicalNetwork", id=physical, state="Enabled")
        self.call(
            "createVlanIpRange", zoneid=zone, vlan="untagged", gateway=wire.address, netmask="255.255.255.0",
            startip=f"{wire.prefix}.100", endip=f"{wire.prefix}.120", forvirtualnetwork="true", physicalnetworkid=physical,
        )  # fmt: skip
        pod = self.call(
            "createPod", zoneid=zone, name="pod", gateway=wire.address, netmask="255.255.255.0",
            startip=f"{wire.prefix}.200", endip=f"{wire.prefix}.210",
        )["pod"]["id"]  # fmt: skip
        cluster = self.call(
            "addCluster", zoneid=zone, podid=pod, clustername="c", hypervisor="KVM", clustertype="CloudManaged"
        )["cluster"][0]["id"]
        self.call("updateConfiguration", name="instance.name", value=instance)
        self.call("updateZone", id=zone, allocationstate="Enabled")
        return {"zoneid": zone, "podid": pod, "clusterid": cluster}
