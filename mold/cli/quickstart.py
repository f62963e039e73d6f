"""`mold quickstart`: a whole cloud on this machine, from nothing to a running guest, through the public API.

It starts a management server and, as a separate process, a host agent, builds a zone with this machine as its host,
makes a tiny Linux template, deploys a first machine and waits until that answers SSH.  Run again it resumes what is
there.  Ctrl-C stops manager and agent; guests and routers go on running.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import http.server
import ipaddress
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mold.cli.client import Cloud
from mold.cli.faults import Fault
from mold.cli.profiles import Connection

SMALLEST_FREE = 3 * 1024**3
GUEST_CIDR = "10.1.1.0/24"


class Stop(Exception):
    """What is missing, and what to do about it."""


def options(argv: list[str]) -> argparse.Namespace:
    """The options on the command line."""
    parser = argparse.ArgumentParser(
        prog="mold quickstart",
        description="A whole cloud on this machine: manager, host, zone, template and a first machine.",
    )
    parser.add_argument(
        "--data-dir", type=Path, default=Path("data"), help="folder for everything that is kept (default: ./data)"
    )
    parser.add_argument("--port", type=int, default=8080, help="port for HTTP (default: 8080)")
    parser.add_argument("--agent-port", type=int, default=8250, help="port for host agents (default: 8250)")
    parser.add_argument(
        "--integration-port", type=int, default=0, help="port without sign-in, on loopback; 0: none (default)"
    )
    parser.add_argument(
        "--database", default="", help="sqlite:////path or postgresql://…; default: a file in the data folder"
    )
    parser.add_argument(
        "--simulator", action="store_true", help="simulated hosts instead of this machine: needs no libvirt"
    )
    parser.add_argument("--hosts", type=int, default=3, help="how many simulated hosts (default: 3)")
    parser.add_argument("--no-vm", action="store_true", help="do not deploy a first machine")
    parser.add_argument(
        "--instance",
        default="",
        help="up to 4 letters or digits that keep this cloud's devices apart from another's on the same machine",
    )
    parser.add_argument(
        "--once", action="store_true", help="end when everything is up, leaving manager and agent running"
    )
    return parser.parse_args(argv)


def say(text: str) -> None:
    """Tell the person at the terminal."""
    print(text, flush=True)


# -- what must be there ------------------------------------------------------------------------------------------


def check(chosen: argparse.Namespace, resumed: bool) -> None:
    """Look before anything is made: ports, space, rights, libvirt. Stop says what is missing and the remedy."""
    for label, port in (
        ("--port", chosen.port),
        ("--agent-port", chosen.agent_port),
        ("--integration-port", chosen.integration_port),
    ):
        if port and not _free(port):
            raise Stop(f"The port {port} is taken by another program; stop that, or choose another with {label}.")
    if not 1 <= chosen.hosts <= 10_000:
        raise Stop("--hosts must lie between 1 and 10000.")
    if chosen.instance and not (chosen.instance.isalnum() and chosen.instance.isascii() and len(chosen.instance) <= 4):
        raise Stop("--instance must be 1 to 4 letters or digits.")
    try:
        chosen.data_dir.mkdir(parents=True, exist_ok=True)
    except OSError as broken:
        raise Stop(
            f"The data folder {chosen.data_dir} cannot be made ({broken.strerror}); choose another with --data-dir."
        ) from None
    if chosen.simulator:
        return
    if os.geteuid() != 0:
        raise Stop(
            "Real machines need root (libvirt, network devices). Run it as root, or try `mold quickstart --simulator`."
        )
    free = shutil.disk_usage(chosen.data_dir).free
    if free < SMALLEST_FREE and not resumed:
        raise Stop(
            f"The data folder's disk has {free / 1024**3:.1f} GiB free, {SMALLEST_FREE / 1024**3:.0f} GiB are needed; make room, or choose another place with --data-dir."
        )
    from mold.cli import prepare

    try:
        absent = prepare.missing("host")
        if absent:
            raise Stop(
                f"These Debian packages are missing: {' '.join(absent)}. Install them with: apt-get install --no-install-recommends {' '.join(absent)}"
            )
        prepare.ensure_libvirtd()
    except prepare.NotPrepared as no:
        raise Stop(str(no)) from None


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


# -- processes ---------------------------------------------------------------------------------------------------


def _plain(line: str) -> str:
    """The sentence in a structured log line; the line itself when it is none."""
    with contextlib.suppress(ValueError, AttributeError):
        entry = json.loads(line)
        return str(entry.get("text") or entry.get("event") or line)
    return line


class Family:
    """The processes that quickstart started, kept alive until it is told to stop."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.children: dict[str, tuple[list[str], dict[str, str], subprocess.Popen[bytes]]] = {}

    def start(self, name: str, argv: list[str], **environment: str) -> None:
        """Start a program; its output goes to a log in the data folder."""
        env = {**os.environ, **environment}
        self.children[name] = (argv, env, self._spawn(name, argv, env))

    def _spawn(self, name: str, argv: list[str], env: dict[str, str]) -> subprocess.Popen[bytes]:
        with (self.data / f"{name}.log").open("ab") as output:
            return subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=env, start_new_session=True
            )

    def check(self, name: str) -> None:
        """Stop with the end of its log when a child has ended."""
        code = self.children[name][2].poll()
        if code is not None:
            lines = [
                _plain(x) for x in (self.data / f"{name}.log").read_text(errors="replace").strip().splitlines()[-3:]
            ]
            raise Stop(
                f"The {name} ended at once (exit code {code}). The end of {self.data / f'{name}.log'}:\n"
                + "\n".join(lines)
            )

    def watch(self) -> None:
        """Start children again that have ended."""
        for name, (argv, env, child) in list(self.children.items()):
            if child.poll() is not None:
                say(
                    f"The {name} has ended (exit code {child.returncode}); starting it again. Its log: {self.data / f'{name}.log'}"
                )
                self.children[name] = (argv, env, self._spawn(name, argv, env))

    def stop(self) -> None:
        """End the children, the agent first; guests and routers are nobody's children."""
        for name in reversed(list(self.children)):
            child = self.children[name][2]
            if child.poll() is None:
                child.send_signal(signal.SIGTERM)
        for name in reversed(list(self.children)):
            child = self.children[name][2]
            try:
                child.wait(15)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait(5)


# -- the cloud ---------------------------------------------------------------------------------------------------


class Builder:
    """Builds the zone, step by step; what is there already is left as it is."""

    def __init__(self, chosen: argparse.Namespace, cloud: Cloud, state: dict[str, Any]) -> None:
        self.chosen = chosen
        self.cloud = cloud
        self.state = state
        self.data: Path = chosen.data_dir

    def call(self, command: str, **params: Any) -> dict[str, Any]:
        """Call a command, wait for its job, and return what is inside the answer."""
        answer: Any = self.cloud.call(command, {k: str(v) for k, v in params.items() if v is not None})
        job = answer.get("jobid")
        if not job:
            return dict(answer)
        until = time.monotonic() + 300
        pause = 0.1
        while time.monotonic() < until:
            told: Any = self.cloud.call("queryAsyncJobResult", {"jobid": job})
            if told["jobstatus"] == 1:
                return dict(told["jobresult"])
            if told["jobstatus"] == 2:
                raise Stop(f"{command} failed: {told['jobresult'].get('errortext')}")
            time.sleep(pause)
            pause = min(1.0, pause * 1.5)
        raise Stop(f"{command} has not finished within 5 minutes; look at the logs in {self.data}.")

    def first(self, command: str, key: str, **params: Any) -> dict[str, Any] | None:
        """The first row of a list, or None."""
        rows = self.call(command, **params).get(key) or []
        return rows[0] if rows else None

    def ensure(
        self, what: str, listing: tuple[str, str], find: dict[str, Any], command: str, key: str, **params: Any
    ) -> dict[str, Any]:
        """The row that is there, or the one that `command` makes."""
        found = self.first(listing[0], listing[1], **find)
        if found is not None:
            return found
        say(f"  {what}")
        made = self.call(command, **params)
        value = made[key]
        return dict(value[0] if isinstance(value, list) else value)

    def build(self) -> dict[str, Any]:
        """Zone, networks, pod, cluster, hosts, storages; returns the zone."""
        simulated = self.chosen.simulator
        kind = "Simulator" if simulated else "KVM"
        zone = self.ensure(
            "zone",
            ("listZones", "zone"),
            {"name": "zone1"},
            "createZone",
            "zone",
            name="zone1",
            dns1=_resolver(),
            internaldns1=_resolver(),
            networktype="Advanced",
            guestcidraddress=GUEST_CIDR,
            domain="mold.internal",
            localstorageenabled="false",
        )
        z = zone["id"]
        physical = self.ensure(
            "physical network",
            ("listPhysicalNetworks", "physicalnetwork"),
            {"zoneid": z},
            "createPhysicalNetwork",
            "physicalnetwork",
            zoneid=z,
            name="net1",
            isolationmethods="VXLAN",
            vlan="1000-3999",
        )
        label = None if simulated else self.state["bridge"]
        have = {
            t["traffictype"]
            for t in self.call("listTrafficTypes", physicalnetworkid=physical["id"]).get("traffictype") or []
        }
        for traffic in ("Management", "Public", "Guest"):
            if traffic not in have:
                self.call(
                    "addTrafficType", physicalnetworkid=physical["id"], traffictype=traffic, kvmnetworklabel=label
                )
        if physical.get("state") != "Enabled":
            self.call("updatePhysicalNetwork", id=physical["id"], state="Enabled")
        subnet = ipaddress.ip_network(self.state["subnet"])
        hosts = list(subnet.hosts())
        self.ensure(
            "public addresses",
            ("listVlanIpRanges", "vlaniprange"),
            {"zoneid": z},
            "createVlanIpRange",
            "vlan",
            zoneid=z,
            vlan="untagged",
            gateway=hosts[0],
            netmask=subnet.netmask,
            startip=hosts[9],
            endip=hosts[-5],
            forvirtualnetwork="true",
            physicalnetworkid=physical["id"],
        )
        pod = self.ensure(
            "pod",
            ("listPods", "pod"),
            {"zoneid": z, "name": "pod1"},
            "createPod",
            "pod",
            zoneid=z,
            name="pod1",
            gateway="172.30.0.1",
            netmask="255.255.0.0",
            startip="172.30.0.10",
            endip="172.30.255.250",
        )
        cluster = self.ensure(
            "cluster",
            ("listClusters", "cluster"),
            {"zoneid": z, "name": "cluster1"},
            "addCluster",
            "cluster",
            zoneid=z,
            podid=pod["id"],
            clustername="cluster1",
            hypervisor=kind,
            clustertype="CloudManaged",
        )
        if zone["allocationstate"] != "Enabled":
            self.call("updateZone", id=z, allocationstate="Enabled")
        common = {"zoneid": z, "podid": pod["id"], "clusterid": cluster["id"], "hypervisor": kind}
        if simulated:
            known = {h["name"] for h in self.call("listHosts", zoneid=z, page=1, pagesize=500).get("host") or []}
            for number in range(1, self.chosen.hosts + 1):
                if f"sim-{number}" not in known:
                    self.call("addHost", url=f"http://sim-{number}", **common)
            say(f"  {self.chosen.hosts} simulated hosts")
        else:
            self.ensure(
                "this machine as a host",
                ("listHosts", "host"),
                {"zoneid": z},
                "addHost",
                "host",
                url=f"http://{self.state['host']}",
                **common,
            )
            self._wait_for_host(z)
        primary, secondary = self.data / "primary", self.data / "secondary"
        if not simulated:
            for folder in (primary, secondary):
                folder.mkdir(mode=0o711, exist_ok=True)
        self.ensure(
            "primary storage",
            ("listStoragePools", "storagepool"),
            {"zoneid": z},
            "createStoragePool",
            "storagepool",
            zoneid=z,
            podid=pod["id"],
            clusterid=cluster["id"],
            name="primary1",
            url=f"sharedmountpoint://localhost{primary}",
            scope="CLUSTER",
        )
        self.ensure(
            "secondary storage",
            ("listImageStores", "imagestore"),
            {"zoneid": z},
            "addImageStore",
            "imagestore",
            provider="NFS",
            url=f"file://{secondary}",
            name="secondary1",
            zoneid=z,
        )
        return zone

    def _wait_for_host(self, zone: str) -> None:
        until = time.monotonic() + 90
        while time.monotonic() < until:
            host = self.first("listHosts", "host", zoneid=zone)
            if host is not None and host["state"] == "Up":
                return
            time.sleep(0.5)
        raise Stop(f"This machine's agent has not connected within 90 s; look at {self.data / 'agent.log'}.")

    def template(self, zone: str) -> dict[str, Any]:
        """The tiny Linux template, ready."""
        found = self.first("listTemplates", "template", templatefilter="self", name="tiny-linux", zoneid=zone)
        if found is None:
            if self.chosen.simulator:
                self._register(zone, "http://images.invalid/tiny.qcow2", "Simulator", "")
            else:
                from mold.cli import tiny

                image = self.data / "tiny" / "tiny.qcow2"
                image.parent.mkdir(exist_ok=True)
                say("  building a tiny Linux from Debian's kernel and busybox")
                made = tiny.build(image)
                self.call("updateConfiguration", name="secstorage.allowed.internal.sites", value="127.0.0.1/32")
                with serving(image) as url:
                    self._register(zone, url, "KVM", made.checksum)
                    return self._ready(zone)
        return self._ready(zone)

    def _register(self, zone: str, url: str, hypervisor: str, checksum: str) -> None:
        self.call(
            "registerTemplate",
            name="tiny-linux",
            displaytext="Tiny Linux: busybox, SSH, cloud metadata",
            url=url,
            format="QCOW2",
            hypervisor=hypervisor,
            zoneid=zone,
            checksum=checksum or None,
            ispublic="true",
            isfeatured="true",
            passwordenabled="true",
            sshkeyenabled="true",
            ostypeid=(self.first("listOsTypes", "ostype", description="Other Linux (64-bit)") or {}).get("id"),
        )

    def _ready(self, zone: str) -> dict[str, Any]:
        until = time.monotonic() + 120
        while time.monotonic() < until:
            found = self.first("listTemplates", "template", templatefilter="self", name="tiny-linux", zoneid=zone)
            if found is not None and found.get("isready"):
                return found
            if found is not None and found.get("status") not in ("", None, "Downloading", "Download Complete"):
                raise Stop(f"The template could not be fetched: {found['status']}")
            time.sleep(0.3)
        raise Stop("The template has not become ready within 2 minutes.")

    def offering(self) -> dict[str, Any]:
        """A compute offering small enough for any machine."""
        return self.ensure(
            "compute offering",
            ("listServiceOfferings", "serviceoffering"),
            {"name": "Tiny"},
            "createServiceOffering",
            "serviceoffering",
            name="Tiny",
            displaytext="1 core, 256 MiB",
            cpunumber=1,
            cpuspeed=500,
            memory=256,
        )

    def machine(self, zone: str, template: dict[str, Any]) -> dict[str, Any]:
        """The first machine, running."""
        offering = self.offering()
        wanted = self.first("listNetworkOfferings", "networkoffering", state="Enabled", guestiptype="Isolated")
        if wanted is None:
            raise Stop("There is no enabled network offering for isolated networks.")
        network = self.ensure(
            "network",
            ("listNetworks", "network"),
            {"name": "first-network"},
            "createNetwork",
            "network",
            name="first-network",
            zoneid=zone,
            networkofferingid=wanted["id"],
        )
        key = self._key()
        if self.first("listSSHKeyPairs", "sshkeypair", name="quickstart") is None:
            self.call("registerSSHKeyPair", name="quickstart", publickey=key)
        vm = self.first("listVirtualMachines", "virtualmachine", name="first")
        if vm is None:
            say("  deploying the first machine")
            vm = self.call(
                "deployVirtualMachine",
                name="first",
                displayname="first",
                zoneid=zone,
                templateid=template["id"],
                serviceofferingid=offering["id"],
                networkids=network["id"],
                keypair="quickstart",
            )["virtualmachine"]
        elif vm["state"] == "Stopped":
            say("  starting the first machine")
            vm = self.call("startVirtualMachine", id=vm["id"])["virtualmachine"]
        return dict(vm)

    def _key(self) -> str:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ed25519

        path = self.data / "id_ed25519"
        if not path.exists():
            key = ed25519.Ed25519PrivateKey.generate()
            path.touch(0o600)
            path.write_bytes(
                key.private_bytes(
                    serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
                )
            )
            path.with_suffix(".pub").write_bytes(
                key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
                + b" quickstart\n"
            )
        return path.with_suffix(".pub").read_text().strip()


@contextlib.contextmanager
def serving(image: Path) -> Iterator[str]:
    """Serve one file over HTTP on loopback, to nobody for long."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path != f"/{image.name}":
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(image.stat().st_size))
            self.end_headers()
            with image.open("rb") as source:
                shutil.copyfileobj(source, self.wfile)

        def log_message(self, format: str, *args: Any) -> None:
            return

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/{image.name}"
    finally:
        server.shutdown()
        server.server_close()


def _resolver() -> str:
    """The first IPv4 name server of this machine that guests could reach, or a public one."""
    try:
        for line in Path("/etc/resolv.conf").read_text().splitlines():
            words = line.split()
            if len(words) > 1 and words[0] == "nameserver" and not words[1].startswith("127.") and ":" not in words[1]:
                return str(ipaddress.IPv4Address(words[1]))
    except (OSError, ValueError):
        pass
    return "9.9.9.9"


# -- this machine as a host ----------------------------------------------------------------------------------------


def run(*argv: str) -> str:
    """Run a program; Stop with what it said when it fails."""
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Stop(f"{' '.join(argv)} failed: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def bridge(state: dict[str, Any]) -> None:
    """The bridge that stands for the outside: routers' public addresses are on it, and this machine."""
    name, subnet = state["bridge"], ipaddress.ip_network(state["subnet"])
    if not Path(f"/sys/class/net/{name}").exists():
        run("ip", "link", "add", "name", name, "type", "bridge", "forward_delay", "0")
    run("ip", "link", "set", name, "up")
    address = f"{next(iter(subnet.hosts()))}/{subnet.prefixlen}"
    if address.split("/", maxsplit=1)[0] not in run("ip", "-o", "addr", "show", "dev", name):
        run("ip", "addr", "add", address, "dev", name)


def subnet_for(instance: str) -> str:
    """A /24 out of 172.16.0.0/12 that this machine has no route to."""
    routes = []
    for word in run("ip", "-4", "route", "show", "table", "all").split():
        with contextlib.suppress(ValueError):
            if "/" in word:
                routes.append(ipaddress.ip_network(word))
    start = hashlib.sha256(instance.encode()).digest()
    for step in range(256):
        candidate = ipaddress.ip_network(f"172.{28 + start[0] % 3}.{(start[1] + step) % 256}.0/24")
        if not any(candidate.overlaps(r) for r in routes if r.prefixlen):
            return str(candidate)
    raise Stop("No free /24 network was found in 172.28.0.0 - 172.30.255.255.")


def prepare_agent(chosen: argparse.Namespace, builder: Builder, state: dict[str, Any], family: Family) -> None:
    """Give the agent its certificate through the API, and start it."""
    folder: Path = chosen.data_dir / "agent"
    folder.mkdir(mode=0o700, exist_ok=True)
    if not (folder / "host.crt").exists():
        issued = builder.call("issueCertificate", domain=state["host"])["certificates"]
        for name, key, mode in (
            ("host.key", "privatekey", 0o600),
            ("ca.crt", "cacertificates", 0o644),
            ("host.crt", "certificate", 0o644),
        ):
            path = folder / name
            path.touch(mode)
            path.write_text(issued[key])
    properties = folder / "agent.properties"
    if not properties.exists():
        lines = {
            "host": f"127.0.0.1:{chosen.agent_port}",
            "name": state["host"],
            "data": str(chosen.data_dir / "host"),
            "instance": state["instance"],
            "guest.network.device": state["bridge"],
            "dev": "true",
        }
        properties.touch(0o600)
        properties.write_text("".join(f"{k}={v}\n" for k, v in lines.items()))
    (chosen.data_dir / "host").mkdir(mode=0o711, exist_ok=True)
    family.start("agent", [sys.executable, "-m", "mold.agent", "--config", str(folder)])


def wait_for_ssh(data: Path, namespace: str, address: str, seconds: float = 120) -> float:
    """Wait until the guest runs a command over SSH; returns how long it took."""
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        done = subprocess.run(
            [*ssh_line(data, namespace, address), "hostname"], capture_output=True, text=True, check=False
        )
        if done.returncode == 0:
            return time.monotonic() - began
        time.sleep(0.5)
    raise Stop(
        f"The machine does not answer SSH at {address} after {seconds:.0f} s. Look at its console, and at {data / 'agent.log'}."
    )


def ssh_line(data: Path, namespace: str, address: str) -> list[str]:
    """How to reach a guest on an isolated network from this machine: through its router's namespace."""
    return [
        "ip",
        "netns",
        "exec",
        namespace,
        "ssh",
        "-i",
        str(data / "id_ed25519"),
        "-o",
        "StrictHostKeyChecking=no",
        "-o",
        "UserKnownHostsFile=/dev/null",
        "-o",
        "LogLevel=ERROR",
        "-o",
        "ConnectTimeout=3",
        "-o",
        "BatchMode=yes",
        f"root@{address}",
    ]


# -- all of it -----------------------------------------------------------------------------------------------------


def wait_for_manager(url: str, family: Family) -> None:
    """Wait until the manager answers."""
    import urllib.error
    import urllib.request

    until = time.monotonic() + 60
    while time.monotonic() < until:
        family.check("manager")
        try:
            with urllib.request.urlopen(f"{url}/api?command=listCapabilities&response=json", timeout=2):
                return
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.1)
    raise Stop(f"The manager does not answer after 60 s; look at {family.data / 'manager.log'}.")


def keys(url: str, state: dict[str, Any]) -> Cloud:
    """A signed connection for admin; keys are made at the first start."""
    if "apikey" not in state:
        # The command line's own session cache is not for this: sign in once, take keys, and use those.
        cloud = Cloud(Connection("quickstart", {"url": url, "username": "admin", "password": state["password"]}))
        told: Any = cloud.sign_in()
        made: Any = cloud.call("registerUserKeys", {"id": told["userid"]})
        cloud.forget_session()
        state.update(apikey=made["userkeys"]["apikey"], secretkey=made["userkeys"]["secretkey"])
    return Cloud(Connection("quickstart", {"url": url, "apikey": state["apikey"], "secretkey": state["secretkey"]}))


def keep(data: Path, state: dict[str, Any]) -> None:
    """Write quickstart.json, readable by its owner only."""
    draft = data / ".quickstart.json"
    draft.touch(0o600)
    draft.chmod(0o600)
    draft.write_text(json.dumps(state, indent=1) + "\n")
    draft.replace(data / "quickstart.json")


def raise_cloud(chosen: argparse.Namespace, family: Family) -> dict[str, Any]:
    """Everything, up to the running machine; returns what quickstart.json holds."""
    began = time.monotonic()
    data: Path = chosen.data_dir
    kept = data / "quickstart.json"
    state: dict[str, Any] = json.loads(kept.read_text()) if kept.exists() else {}
    check(chosen, bool(state))
    if state and state.get("simulator", False) != chosen.simulator:
        raise Stop(
            f"{data} holds a cloud {'with' if state.get('simulator') else 'without'} simulated hosts; choose another --data-dir."
        )
    instance = state.get("instance") or chosen.instance or secrets.token_hex(2)
    state.setdefault("instance", instance)
    state.setdefault("password", secrets.token_urlsafe(12))
    state["simulator"] = chosen.simulator
    state.setdefault("bridge", f"mold-{instance}")
    if "subnet" not in state:
        state["subnet"] = "172.30.251.0/24" if chosen.simulator else subnet_for(instance)
    state.setdefault("host", socket.gethostname().split(".")[0] or "localhost")
    url = f"http://127.0.0.1:{chosen.port}/client"
    state.update(url=url, username="admin", integrationport=chosen.integration_port)
    keep(data, state)
    if not chosen.simulator:
        data.chmod(0o711)
        bridge(state)
    say("Starting the management server")
    argv = [
        sys.executable,
        "-m",
        "mold.server.main",
        "--data-dir",
        str(data),
        "--port",
        str(chosen.port),
        "--agent-port",
        str(chosen.agent_port),
        "--integration-port",
        str(chosen.integration_port),
    ]
    if chosen.database:
        argv += ["--database", chosen.database]
    family.start("manager", argv, MOLD_ADMIN_PASSWORD=state["password"])
    wait_for_manager(url, family)
    cloud = keys(url, state)
    keep(data, state)
    builder = Builder(chosen, cloud, state)
    if not chosen.simulator:
        say("Starting the host agent")
        prepare_agent(chosen, builder, state, family)
        if chosen.instance and builder.first("listZones", "zone") is None:
            builder.call("updateConfiguration", name="instance.name", value=chosen.instance)
    say("Building the zone")
    zone = builder.build()
    template = builder.template(zone["id"])
    if not chosen.no_vm:
        vm = builder.machine(zone["id"], template)
        state["machine"] = {"id": vm["id"], "name": vm["name"], "address": vm.get("ipaddress")}
        if not chosen.simulator:
            router = builder.first("listRouters", "router", networkid=vm["nic"][0]["networkid"])
            number = (router or {}).get("name", "r-0-VM").split("-", 2)[1]
            namespace = f"mold-r-{number}-{state['instance']}"
            state["machine"]["ssh"] = ssh_line(data, namespace, vm["ipaddress"])
            say("  waiting for it to answer SSH")
            wait_for_ssh(data, namespace, vm["ipaddress"])
    else:
        builder.offering()
    keep(data, state)
    _tell(state, data, time.monotonic() - began)
    return state


def _tell(state: dict[str, Any], data: Path, seconds: float) -> None:
    say("")
    say(f"Your cloud is up ({seconds:.0f} s).")
    say(f"  Console   {state['url']}/")
    say(f"  User      {state['username']}   password  {state['password']}")
    machine = state.get("machine")
    if machine:
        say(f"  Machine   {machine['name']}, address {machine['address']}")
        if "ssh" in machine:
            say(f"  Reach it  {' '.join(machine['ssh'])}")
    say(f"  Keys      {data / 'quickstart.json'}; try: mold --data-dir {data} vm list")


def main(argv: list[str] | None = None) -> int:
    """Entry of `mold quickstart`."""
    chosen = options(sys.argv[1:] if argv is None else argv)
    chosen.data_dir = chosen.data_dir.resolve()
    family = Family(chosen.data_dir)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: _interrupt(stop))
    try:
        raise_cloud(chosen, family)
        if chosen.once:
            return 0
        say("  Ctrl-C stops the manager and the agent; machines go on running.")
        while not stop.wait(1):
            family.watch()
    except (Stop, Fault) as no:
        family.stop()
        print(f"quickstart: {no}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        pass
    say("Stopping")
    family.stop()
    return 0


def _interrupt(stop: threading.Event) -> None:
    if stop.is_set():
        return
    stop.set()
    raise KeyboardInterrupt


if __name__ == "__main__":
    raise SystemExit(main())
