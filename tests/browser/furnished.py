"""Something of every noun that an operator can make by hand, named as the test likes."""

from __future__ import annotations

import ipaddress
import sqlite3
import time
import uuid
from collections.abc import Callable
from typing import Any

from clouds import Running

from mold.cli.client import Cloud
from mold.cli.faults import Fault
from mold.cli.profiles import Connection

FREE = {
    "zone", "pod", "cluster", "host", "storage pool", "image store", "physical network", "service offering", "disk offering",
    "network offering", "network", "machine", "template", "key", "user data", "domain", "user", "role", "project",
    "project role", "note", "tag", "webhook", "API keys", "alert",
}  # fmt: skip
"""What has a name or a text that its maker chooses."""


def admin_of(running: Running) -> Cloud:
    """The operator of a cloud that runs."""
    return Cloud(Connection("test", {n: running.about[n] for n in ("url", "apikey", "secretkey")}))


class Furniture:
    """Makes them. `name` says what a noun is called; `refused` are the nouns whose name the server did not take, and why."""

    def __init__(self, cloud: Cloud, name: Callable[[str], str]) -> None:
        self.cloud = cloud
        self.name = name
        self.refused: dict[str, str] = {}
        self.made: set[str] = set()

    def call(self, command: str, **params: Any) -> dict[str, Any]:
        """A command, waited for: what is inside the answer."""
        answer: Any = self.cloud.call(command, {k: str(v) for k, v in params.items()})
        until = time.monotonic() + 60
        while isinstance(answer, dict) and (job := answer.get("jobid")):
            told: Any = self.cloud.call("queryAsyncJobResult", {"jobid": job})
            if told["jobstatus"] == 2:
                raise Fault(str(told["jobresult"]["errortext"]))
            if told["jobstatus"]:
                answer = told["jobresult"]
                break
            assert time.monotonic() < until, f"{command} does not end"
            time.sleep(0.1)
        (inner,) = [v for v in answer.values() if isinstance(v, dict | list)] or [answer]
        return dict(inner[0] if isinstance(inner, list) else inner)

    def first(self, list_command: str, **params: Any) -> dict[str, Any]:
        """The first row of a list."""
        return self.call(list_command, listall="true", **params)

    def make(self, noun: str, command: str, *texts: str, plain: dict[str, str] | None = None, **params: Any) -> str:
        """One of a noun, with its free texts; its id. With `plain` texts instead where the server takes only such."""
        said = {text: self.name(noun) for text in texts}
        try:
            made = self.call(command, **params, **said)
            self.made.add(noun)
        except Fault as no:
            if plain is None:
                raise AssertionError(f"{noun}: {no}") from no
            self.refused[noun] = str(no)
            made = self.call(command, **params, **plain)
        return str(made.get("id", ""))

    def all(self, number: int = 0) -> None:
        """One of each. `number` keeps apart what may not be twice: subnets, user names."""
        n = number
        zone = self.first("listZones")
        template = self.call("listTemplates", templatefilter="all")
        offering = self.first("listServiceOfferings")
        isolated = self.call("listNetworkOfferings", state="Enabled", guestiptype="Isolated")
        new = self.make("zone", "createZone", "name", dns1="9.9.9.9", internaldns1="9.9.9.9", networktype="Advanced")
        net = {"gateway": f"10.{80 + n}.0.1", "netmask": "255.255.255.0"}
        self.make("physical network", "createPhysicalNetwork", "name", zoneid=new, vlan=f"{100 + n * 10}-{109 + n * 10}")
        pod = self.make("pod", "createPod", "name", zoneid=new, startip=f"10.{80 + n}.0.5", endip=f"10.{80 + n}.0.9", **net)
        there = {"zoneid": new, "podid": pod, "hypervisor": "Simulator"}
        cluster = self.make("cluster", "addCluster", "clustername", clustertype="CloudManaged", **there)
        host = self.call("addHost", clusterid=cluster, url=f"http://furniture-{n}", **there)["id"]
        self.make("host", "updateHost", "name", id=host)
        self.make("storage pool", "createStoragePool", "name", url=f"SharedMountPoint://localhost/pool-{n}", zoneid=new, podid=pod, clusterid=cluster, scope="CLUSTER")  # fmt: skip
        self.make("image store", "addImageStore", "name", provider="NFS", url=f"file:///images-{n}", zoneid=new)
        self.make("service offering", "createServiceOffering", "name", "displaytext", cpunumber=1, cpuspeed=100, memory=64)
        self.make("disk offering", "createDiskOffering", "name", "displaytext", disksize=1)
        self.make("network offering", "createNetworkOffering", "name", "displaytext", guestiptype="Isolated", traffictype="Guest", supportedservices="Dhcp", enable="true")  # fmt: skip
        network = self.make("network", "createNetwork", "name", "displaytext", zoneid=zone["id"], networkofferingid=isolated["id"])  # fmt: skip
        vm = self.make("machine", "deployVirtualMachine", "displayname", zoneid=zone["id"], templateid=template["id"], serviceofferingid=offering["id"], networkids=network, startvm="false", name=f"furniture-{n}")  # fmt: skip
        self.make("template", "registerTemplate", "name", "displaytext", url="http://images.invalid/x.qcow2", format="QCOW2", hypervisor="Simulator", zoneid=zone["id"])  # fmt: skip
        self.make("key", "createSSHKeyPair", "name")
        self.make("user data", "registerUserData", "name", userdata="aGVsbG8=")
        self.make("domain", "createDomain", "name", plain={"name": f"domain-{n}"})
        role = self.first("listRoles", name="User")
        self.make("user", "createAccount", "firstname", "lastname", username=f"furniture-{n}", password="Furniture-2026!", email="f@example.com", roleid=role["id"])  # fmt: skip
        self.make("role", "createRole", "name", "description", type="User")
        project = self.make("project", "createProject", "name", "displaytext")
        self.make("project role", "createProjectRole", "name", "description", projectid=project)
        self.make("note", "addAnnotation", "annotation", entitytype="VM", entityid=vm)
        self.make("tag", "createTags", "tags[0].value", resourcetype="UserVm", resourceids=vm, **{"tags[0].key": f"key-{n}"})  # fmt: skip
        self.make("webhook", "createWebhook", "name", "description", payloadurl="https://hooks.invalid/in", state="Disabled")
        me = self.first("listUsers", username="admin")
        self.make("API keys", "registerUserKeys", "name", "description", id=me["id"])
        self.make("alert", "generateAlert", "name", "description", type=14)
        self.vm = vm


def multiplied(running: Running, count: int) -> None:
    """So many stopped copies of the first machine, `copy-0` and on, put straight into the database: making them takes minutes.

    Each has a network card, from 10.64.0.0 on; every 10,000th is in the state Error.
    """
    base = sqlite3.connect(next(running.data.glob("*.db")), timeout=60)
    base.row_factory = sqlite3.Row
    with base:
        first = dict(base.execute("SELECT * FROM virtualmachine WHERE name = 'first'").fetchone())
        card = dict(base.execute("SELECT * FROM nic WHERE machine_id = ?", [first["id"]]).fetchone())
        lowest = int(ipaddress.ip_address("10.64.0.0"))
        machines, cards = [], []
        for n in range(count):
            name, own = f"copy-{n}", str(uuid.uuid4())
            state = "Error" if n % 10_000 == 9_999 else "Stopped"
            fresh = {"id": own, "number": None, "name": name, "display_name": name, "state": state, "host_id": None}
            machines.append({**first, **fresh, "instance_name": None})
            address = {"ip": str(ipaddress.ip_address(lowest + n)), "mac": f"06:00:{n >> 24:02x}:{n >> 16 & 255:02x}:{n >> 8 & 255:02x}:{n & 255:02x}"}  # fmt: skip
            cards.append({**card, **address, "id": str(uuid.uuid4()), "number": None, "machine_id": own, "host_name": name})
        for table, rows in (("virtualmachine", machines), ("nic", cards)):
            names = ", ".join(f'"{n}"' for n in rows[0])
            base.executemany(f"INSERT INTO {table} ({names}) VALUES ({', '.join(f':{n}' for n in rows[0])})", rows)
    base.close()
