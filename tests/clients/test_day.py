"""A tenant's day, the same with every client, each unchanged: a domain with an account and a user of its own, a role, a
project, keys, a network, a machine, tags, limits — used, and cleaned up to nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from clouds import Running
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

Api = Callable[..., Any]
COLLECTIONS = Path(sys.prefix) / "ansible"
OFFERING = "DefaultIsolatedNetworkOfferingWithSourceNatService"
KINDS = {
    "listDomains": "domain",
    "listAccounts": "account",
    "listUsers": "user",
    "listProjects": "project",
    "listSSHKeyPairs": "sshkeypair",
    "listNetworks": "network",
    "listVirtualMachines": "virtualmachine",
    "listServiceOfferings": "serviceoffering",
    "listRoles": "role",
    "listTags": "tag",
}


@pytest.fixture
def public_key() -> str:
    """The public half of a key that nobody has."""
    public = ed25519.Ed25519PrivateKey.generate().public_key()
    return public.public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH).decode() + " day"


@pytest.fixture
def name() -> str:
    """What everything of this day is called."""
    return f"day-{uuid.uuid4().hex[:6]}"


def cs_of(running: Running, **about: Any) -> Any:
    from cs import CloudStack

    keys = {"key": running.about["apikey"], "secret": running.about["secretkey"], **about}
    return CloudStack(endpoint=running.endpoint, poll_interval=0.05, **keys)


@pytest.fixture(autouse=True)
def _nothing_is_left(running: Running) -> Iterator[None]:
    """After the day the cloud holds what it held before."""
    admin = cs_of(running)

    def what_there_is() -> dict[str, set[str]]:
        found = {}
        for command, key in KINDS.items():
            rows = getattr(admin, command)(listall=True).get(key, [])
            found[command] = {row.get("id") or f"{row.get('key')} {row.get('resourceid')}" for row in rows}
        return found

    before = what_there_is()
    yield
    assert what_there_is() == before


# ---- cs


def test_with_cs(running: Running, name: str, public_key: str) -> None:
    """As admin and, with the keys of its user, as the tenant."""
    admin = cs_of(running)
    domain = admin.createDomain(name=name)["domain"]
    role = admin.createRole(name=name, type="User", description="of a day")["role"]
    assert admin.createRolePermission(roleid=role["id"], rule="listHosts", permission="deny")["rolepermission"]["rule"] == "listHosts"  # fmt: skip
    assert admin.createRolePermission(roleid=role["id"], rule="*", permission="allow")["rolepermission"]["permission"] == "allow"  # fmt: skip
    account = admin.createAccount(
        account=name, username=name, password="Day-of-1-week", firstname="Day", lastname="One", email="day@example.com",
        domainid=domain["id"], roleid=role["id"],
    )["account"]  # fmt: skip
    assert (account["name"], account["domain"], account["rolename"]) == (name, name, name)
    second = admin.createUser(
        username=f"{name}-2", account=name, domainid=domain["id"], password="Day-of-2-weeks", firstname="Day",
        lastname="Two", email="day2@example.com",
    )["user"]  # fmt: skip
    keys = admin.registerUserKeys(id=second["id"])["userkeys"]
    limit = admin.updateResourceLimit(resourcetype=0, max=1, account=name, domainid=domain["id"])["resourcelimit"]
    assert limit["max"] == 1

    tenant = cs_of(running, key=keys["apikey"], secret=keys["secretkey"])
    assert [one["name"] for one in tenant.listAccounts()["account"]] == [name]
    with pytest.raises(Exception, match="not available|does not exist"):
        tenant.listHosts()
    project = tenant.createProject(name=name, displaytext="of a day", fetch_result=True)["project"]
    assert tenant.listProjects()["project"][0]["name"] == name
    tenant.registerSSHKeyPair(name=name, publickey=public_key)
    offering = admin.listNetworkOfferings(name=OFFERING)["networkoffering"][0]
    zone = tenant.listZones()["zone"][0]
    network = tenant.createNetwork(name=name, displaytext=name, networkofferingid=offering["id"], zoneid=zone["id"])["network"]  # fmt: skip
    wish = {
        "zoneid": zone["id"],
        "templateid": tenant.listTemplates(templatefilter="executable", name="tiny-linux")["template"][0]["id"],
        "serviceofferingid": tenant.listServiceOfferings(name="Tiny")["serviceoffering"][0]["id"],
        "networkids": network["id"],
    }
    made = tenant.deployVirtualMachine(**wish, name=name, keypair=name, userdata="ZWNobw==", fetch_result=True)
    vm = made["virtualmachine"]
    assert (vm["state"], vm["account"], vm["keypairs"], vm["keypair"]) == ("Running", name, name, name)
    with pytest.raises(Exception, match="(?i)limit"):
        tenant.deployVirtualMachine(**wish, name=f"{name}-2", fetch_result=True)
    tenant.createTags(
        resourceids=vm["id"], resourcetype="UserVm", tags={"key": "env", "value": "prod"}, fetch_result=True
    )
    assert [one["id"] for one in tenant.listVirtualMachines(tags={"key": "env", "value": "prod"})["virtualmachine"]] == [vm["id"]]  # fmt: skip

    with pytest.raises(Exception, match="expunge"):  # tenants may not, by default
        tenant.destroyVirtualMachine(id=vm["id"], expunge=True, fetch_result=True)
    tenant.destroyVirtualMachine(id=vm["id"], fetch_result=True)
    admin.expungeVirtualMachine(id=vm["id"], fetch_result=True)
    tenant.deleteNetwork(id=network["id"], fetch_result=True)
    tenant.deleteSSHKeyPair(name=name)
    tenant.deleteProject(id=project["id"], fetch_result=True)
    admin.deleteAccount(id=account["id"], fetch_result=True)
    admin.deleteRole(id=role["id"])
    admin.deleteDomain(id=domain["id"], fetch_result=True)


# ---- libcloud


def test_with_libcloud(running: Running, name: str, public_key: str) -> None:
    """The driver knows nothing of domains: admin makes the account, the day is the tenant's."""
    from libcloud.compute.drivers.cloudstack import CloudStackNetworkOffering, CloudStackNodeDriver
    from libcloud.compute.types import NodeState

    admin = cs_of(running)
    domain = admin.createDomain(name=name)["domain"]
    account = admin.createAccount(
        account=name, username=name, password="Day-of-1-week", firstname="Day", lastname="One", email="day@example.com",
        domainid=domain["id"], accounttype=0,
    )["account"]  # fmt: skip
    admin.updateResourceLimit(resourcetype=0, max=1, account=name, domainid=domain["id"])
    keys = admin.registerUserKeys(id=account["user"][0]["id"])["userkeys"]
    url = urlsplit(running.endpoint)
    driver: Any = CloudStackNodeDriver(
        key=keys["apikey"], secret=keys["secretkey"], secure=False, host=url.hostname, port=url.port, path=url.path
    )
    driver.connection.poll_interval = 0.05

    assert driver.ex_limits()["max_instances"] == 1
    driver.import_key_pair_from_string(name, public_key)
    about = admin.listNetworkOfferings(name=OFFERING)["networkoffering"][0]
    offering = CloudStackNetworkOffering(about["name"], "", "Isolated", about["id"], "", False, driver)
    location = driver.list_locations()[0]
    network = driver.ex_create_network(display_text=name, name=name, network_offering=offering, location=location)
    node = driver.create_node(
        name=name,
        location=location,
        image=next(one for one in driver.list_images() if one.name == "tiny-linux"),
        size=next(one for one in driver.list_sizes() if one.name == "Tiny"),
        networks=[network],
        ex_keyname=name,
        ex_start_vm=True,
    )
    assert node.state == NodeState.RUNNING and node.extra["key_name"] == name
    assert driver.ex_create_tags([node.id], "UserVm", {"env": "prod"}) is True
    assert driver.ex_get_node(node.id).extra["tags"] == {"env": "prod"}
    assert driver.ex_stop(node) == "Stopped" and driver.ex_start(node) == "Running"
    assert [one.name for one in driver.list_nodes()] == [name]

    assert driver.destroy_node(node) is True
    admin.expungeVirtualMachine(id=node.id, fetch_result=True)  # tenants may not, by default
    assert driver.ex_delete_network(network) is True
    driver.delete_key_pair(driver.get_key_pair(name))
    admin.deleteAccount(id=account["id"], fetch_result=True)
    admin.deleteDomain(id=domain["id"], fetch_result=True)


# ---- our own


class Mold:
    """The command line in this process; it is a program of its own in test_mold.py. `profile` says where and as whom."""

    def __init__(self, running: Running, name: str, capsys: pytest.CaptureFixture[str]) -> None:
        self.running = running
        self.name = name
        self.capsys = capsys
        self.admin = ("--data-dir", str(running.data))
        self.profile = self.admin

    def __call__(self, line: str, *more: str, code: int = 0) -> str:
        """Run a line, `{name}` filled in; what it printed."""
        from mold.cli.main import main

        self.capsys.readouterr()
        ran = main([*self.profile, *line.format(name=self.name).split(), *more])
        told = self.capsys.readouterr()
        assert ran == code, (line, told)
        return told.out + (told.err if code else "")


@pytest.fixture
def mold(running: Running, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Mold:  # fmt: skip
    """The command line as admin, with an empty home."""
    for word in list(os.environ):
        if word.startswith(("MOLD_", "XDG_")):
            monkeypatch.delenv(word)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    monkeypatch.setattr("mold.cli.jobs.FIRST_SECONDS", 0.05)
    return Mold(running, name, capsys)


def test_with_mold(running: Running, mold: Mold, tmp_path: Path, public_key: str) -> None:
    """With curated verbs and names alone."""
    name = mold.name
    person = ("--password", "Day-of-1-week", "--first-name", "Day", "--last-name", "One", "--email", "day@example.com")
    mold("domain create {name}")
    mold("role create {name} --type User")
    mold("role deny {name} listHosts")
    mold("role allow {name}", "*")
    mold("account create {name} --domain ROOT/{name} --role {name}", *person)
    mold("user create {name}-2 --account {name}", *person)
    keys = json.loads(mold("user keys {name}-2 -o json"))["userkeys"]
    mold("limit set user_vm 1 --account {name}")
    (tmp_path / "key.pub").write_text(public_key)

    mold("profile add tenant", f"url={running.endpoint}", f"apikey={keys['apikey']}", f"secretkey={keys['secretkey']}")
    mold.profile = ("--profile", "tenant")
    assert mold("account list -o name") == f"{name}\n"
    mold("host list", code=2)  # not offered to this role
    mold("project create {name}")
    mold("key register {name} --file", str(tmp_path / "key.pub"))
    mold.profile = mold.admin
    offering = json.loads(mold("network-offering list --filter name=" + OFFERING + " -o json"))["networkoffering"][0][
        "id"
    ]
    mold.profile = ("--profile", "tenant")
    mold(f"network create {{name}} --offering {offering}")
    plan = mold("vm create {name} --image tiny-linux --offering Tiny --network {name} --key {name} --explain")
    assert "hosts can take it" in plan and "1 of 1 left" in plan
    mold("vm create {name} --image tiny-linux --offering Tiny --network {name} --key {name}")
    assert "imit" in mold("vm create {name}-2 --image tiny-linux --offering Tiny --network {name}", code=4)
    assert "0 of 1 left" in mold("vm create {name}-2 --image tiny-linux --offering Tiny --network {name} --explain")
    mold("tag add vm {name} --tag env=prod")
    assert mold("vm list --tag env=prod -o name") == f"{name}\n"
    mold("vm stop {name}")
    mold("vm start {name}")
    assert mold("vm ssh {name}").startswith("ssh root@10.1.1.")
    assert json.loads(mold("vm show {name} -o json"))["virtualmachine"]["state"] == "Running"
    assert "VM.STOP" in mold("event list --columns type")

    mold("vm destroy {name} --yes")
    mold.profile = mold.admin
    mold("vm expunge {name} --yes")  # tenants may not, by default
    mold.profile = ("--profile", "tenant")
    mold("network delete {name} --yes")
    mold("key delete {name} --yes")
    mold("project delete {name} --yes")
    mold.profile = mold.admin
    mold("account delete {name} --yes")
    mold("role delete {name} --yes")
    mold("domain delete {name} --yes")


def test_a_zone_from_nothing_by_verbs(mold: Mold) -> None:
    """What quickstart does, by hand: zone, networks, pod, cluster, host, storages, offering, image, machine; and away with it."""
    mold("zone create {name} --dns 192.0.2.53 --internal-dns 10.0.0.53 --guest-cidr 10.1.1.0/24")
    mold("physical-network create {name} --zone {name} --isolation VXLAN --vlan 5000-5999")
    for traffic in ("Management", "Public", "Guest"):
        mold(f"traffic add {traffic} --network {{name}}")
    mold("physical-network enable {name}")
    assert "VirtualRouter" in mold("provider list --network {name}")
    mold("ip-range create --zone {name} --network {name} --gateway 203.0.113.1 --netmask 255.255.255.0 --start-ip 203.0.113.10 --end-ip 203.0.113.99 --vlan untagged")  # fmt: skip
    mold(
        "pod create {name} --zone {name} --gateway 10.0.0.1 --netmask 255.255.255.0 --start-ip 10.0.0.50 --end-ip 10.0.0.99"
    )
    mold("cluster create {name} --zone {name} --hypervisor Simulator")
    mold("zone enable {name}")
    mold("host add http://{name} --cluster {name} --hypervisor Simulator")  # pod and zone are the cluster's
    mold("storage add {name} --source sharedmountpoint://localhost/srv/{name} --cluster {name} --scope CLUSTER")
    mold("image-store add file:///srv/{name}-2 --name {name} --zone {name}")
    mold("offering create {name} --cores 1 --mhz 500 --memory 256")
    mold(
        "image register {name} --source http://images.invalid/tiny.qcow2 --zone {name} --public",
        "--os",
        "Other Linux (64-bit)",
    )
    mold(f"network create {{name}} --offering {OFFERING} --zone {{name}}")
    until = time.monotonic() + 30
    while mold("image list --filter name={name} -o name") == "" and time.monotonic() < until:
        time.sleep(0.1)
    mold("vm create {name} --image {name} --offering {name} --network {name} --zone {name}")
    assert mold("vm list --zone {name} --columns name,state --no-header").split() == [mold.name, "Running"]
    assert "MEMORY" in mold("capacity list --zone {name}")

    mold("vm destroy {name} --expunge --yes")
    mold("network delete {name} --yes")
    mold("image delete {name} --yes")
    mold("offering delete {name} --yes")
    mold("host disable {name}")
    mold("host delete {name} --yes")
    mold("storage delete {name} --yes")
    mold("image-store delete {name} --yes")
    mold("cluster delete {name} --yes")
    mold("pod delete {name} --yes")
    mold("ip-range delete --yes", mold("ip-range list --zone {name} --columns id --no-header").strip())
    mold("physical-network delete {name} --yes")
    mold("zone delete {name} --yes")


# ---- Ansible


@pytest.fixture
def play(running: Running, tmp_path: Path, public_key: str) -> Callable[[str], None]:
    """Run a playbook that lies beside this file; it must end well."""
    if not COLLECTIONS.exists():
        pytest.skip("ansible's collection is not unpacked: make setup with the role test")

    def run(book: str) -> None:
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("MOLD_", "ANSIBLE_", "CLOUDSTACK_"))}
        given = {"public_key": public_key, "network_offering": OFFERING, "ansible_python_interpreter": sys.executable}
        program = Path(sys.executable).with_name("ansible-playbook")
        line = [program, "-i", "localhost,", "-c", "local", Path(__file__).with_name(book), "-e", json.dumps(given)]
        done = subprocess.run(
            line, capture_output=True, text=True, timeout=540, check=False, stdin=subprocess.DEVNULL,
            env=environment | {
                "HOME": str(tmp_path), "ANSIBLE_HOME": str(tmp_path / "ansible"), "LC_ALL": "C.UTF-8",
                "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS), "ANSIBLE_PIPELINING": "1", "ANSIBLE_NOCOLOR": "1",
                "CLOUDSTACK_ENDPOINT": running.endpoint, "CLOUDSTACK_KEY": running.about["apikey"],
                "CLOUDSTACK_SECRET": running.about["secretkey"],
            },
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]

    return run


@pytest.mark.slow
def test_with_ansible(play: Callable[[str], None]) -> None:
    """A tenant's day, made twice, the second time without a change."""
    play("day.yml")


@pytest.mark.slow
def test_an_operators_day_with_ansible(play: Callable[[str], None], mold: Mold) -> None:
    """A zone from nothing. Ansible removes hosts and pools through their maintenance, so the rest is removed otherwise."""
    try:
        play("operator.yml")
    finally:
        mold.name = "op"
        mold("host disable {name}-host")
        mold("host delete {name}-host --yes")
        mold("storage delete {name}-pool --yes")
        mold("image-store delete {name}-images --yes")
        mold("cluster delete {name}-cluster --yes")
        mold("pod delete {name}-pod --yes")
        mold("ip-range delete --yes", mold("ip-range list --zone {name} --columns id --no-header").strip())
        mold("physical-network delete {name}-physical --yes")
        mold("zone delete {name} --yes")
