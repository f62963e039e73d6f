"""Machines: names, life from deploy to expunge, lists, passwords, keys and user data."""

from __future__ import annotations

import base64
import time
from typing import Any

import pytest
from cloud import Actor, ApiError, Cloud, Site

from mold.store import REGISTRY
from mold.wire import calls as w


@pytest.fixture(scope="module")
def site(cloud: Cloud) -> Site:
    return cloud.zone(hosts=2)


def guests(cloud: Cloud) -> dict[str, w.MachineFacts]:
    """What runs on the simulated hosts, by name."""
    return {n: m for box in cloud.simulator.boxes.values() for n, m in box.machines.items()}


def lease(cloud: Cloud, vm: dict[str, Any]) -> w.LeaseSpec:
    """What the machine's router serves it."""
    mac = vm["nic"][0]["macaddress"]
    return next(
        x for box in cloud.simulator.boxes.values() for r in box.routers.values() for x in r.leases if x.mac == mac
    )


def numbers(cloud: Cloud, actor: Actor, vm: str) -> tuple[int, int]:
    """Internal numbers of a user and a machine."""

    def find(kind: str, id: str) -> int:
        row = cloud.run(cloud.manager.engine.reading(lambda tx: tx.one(REGISTRY[kind], id)))
        return int(row.number)

    return find("user", actor.user), find("virtualmachine", vm)


# ── names ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("flag", [True, False])
@pytest.mark.parametrize("given", [True, False])
def test_names_as_the_guide_has_them(cloud: Cloud, site: Site, given: bool, flag: bool) -> None:
    """Display name given or not × vm.instancename.flag: host name and internal name (i-<user>-<vm>-<last part>)."""
    tenant = cloud.tenant()
    cloud.set("vm.instancename.flag", flag)
    cloud.set("instance.name", "TEST")
    try:
        vm = site.deploy(tenant, **({"displayname": "Shop-1"} if given else {}))
    finally:
        cloud.set("vm.instancename.flag", False)
        cloud.set("instance.name", "VM")
    user, number = numbers(cloud, tenant, vm["id"])
    internal = f"i-{user}-{number}-{'Shop-1' if given and flag else 'TEST'}"
    assert cloud.admin.one("listVirtualMachines", id=vm["id"])["instancename"] == internal
    assert internal in guests(cloud), "that is its name on the host"
    assert "instancename" not in vm, "for root admins"
    assert vm["name"] == ("Shop-1" if given else f"VM-{vm['id']}")
    assert vm["displayname"] == ("Shop-1" if given else vm["name"])
    assert tenant.one("listVolumes", virtualmachineid=vm["id"])["name"] == f"ROOT-{number}"


def test_a_host_name_and_a_display_name(cloud: Cloud, site: Site) -> None:
    vm = site.deploy(cloud.tenant(), name="web-1", displayname="The shop's front", startvm=False)
    assert (vm["name"], vm["displayname"]) == ("web-1", "The shop's front")
    for bad in ("-web", "web-", "123", "w_b", "x" * 64, "웹", "a.b", ""):
        if bad:
            with pytest.raises(ApiError, match="431"):
                site.deploy(cloud.tenant(), name=bad, startvm=False)
    spaced = site.deploy(cloud.tenant(), displayname="two words", startvm=False)
    assert (spaced["name"], spaced["displayname"]) == (f"VM-{spaced['id']}", "two words"), (
        "what is no host name is none"
    )


def test_a_chosen_id(cloud: Cloud, site: Site) -> None:
    chosen = "aaaaaaaa-0000-4000-8000-00000000000A"
    assert site.deploy(cloud.admin, customid=chosen, startvm=False)["id"] == chosen.lower()
    with pytest.raises(ApiError, match="531"):
        site.deploy(cloud.tenant(), customid=chosen, startvm=False)
    with pytest.raises(ApiError, match="431"):
        site.deploy(cloud.admin, customid="mine", startvm=False)


# ── life ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_life(cloud: Cloud, site: Site) -> None:
    tenant = cloud.tenant()
    vm = site.deploy(tenant, name="life", startvm=False)
    assert vm["state"] == "Stopped" and not any(m.id == vm["id"] for m in guests(cloud).values())
    running = tenant.startVirtualMachine(id=vm["id"])
    assert running["state"] == "Running" and "hostid" not in running
    shown = cloud.admin.one("listVirtualMachines", id=vm["id"])
    assert (
        shown["hostid"] in site.hosts
        and cloud.simulator.boxes[shown["hostid"]].machines[shown["instancename"]].id == vm["id"]
    )
    assert tenant.rebootVirtualMachine(id=vm["id"])["state"] == "Running"
    assert tenant.stopVirtualMachine(id=vm["id"])["state"] == "Stopped"
    assert shown["instancename"] not in guests(cloud)
    assert "hostid" not in cloud.admin.one("listVirtualMachines", id=vm["id"])
    tenant.startVirtualMachine(id=vm["id"])
    assert tenant.destroyVirtualMachine(id=vm["id"])["state"] == "Destroyed"
    assert shown["instancename"] not in guests(cloud)
    assert tenant.listVirtualMachines() == [], "users do not see destroyed machines"
    assert cloud.admin.recoverVirtualMachine(id=vm["id"])["state"] == "Stopped"
    assert tenant.startVirtualMachine(id=vm["id"])["state"] == "Running"
    cloud.admin.destroyVirtualMachine(id=vm["id"], expunge=True)
    assert cloud.admin.listVirtualMachines(listall=True, name="life") == [] == tenant.listVolumes()


def test_commands_in_states_that_do_not_allow_them(cloud: Cloud, site: Site) -> None:
    tenant = cloud.tenant()
    running, stopped = site.deploy(tenant)["id"], site.deploy(tenant, startvm=False)["id"]
    gone = site.deploy(tenant, startvm=False)["id"]
    cloud.admin.destroyVirtualMachine(id=gone)
    for command, vm, state in (
        ("startVirtualMachine", running, "Running"), ("rebootVirtualMachine", stopped, "Stopped"),
        ("startVirtualMachine", gone, "Destroyed"), ("stopVirtualMachine", gone, "Destroyed"), ("destroyVirtualMachine", gone, "Destroyed"),
        ("recoverVirtualMachine", stopped, "Stopped"), ("expungeVirtualMachine", stopped, "Stopped"),
    ):  # fmt: skip
        with pytest.raises(ApiError) as no:
            cloud.admin.call(command, id=vm)
        assert no.value.code == 431 and f"is {state}" in no.value.text, (command, no.value)
    assert tenant.stopVirtualMachine(id=stopped)["state"] == "Stopped", "stopping what is stopped is no fault"


def test_expunging_is_for_admins_unless_allowed(cloud: Cloud, site: Site) -> None:
    tenant = cloud.tenant()
    vm = site.deploy(tenant, startvm=False)["id"]
    with pytest.raises(ApiError) as no:
        tenant.destroyVirtualMachine(id=vm, expunge=True)
    assert no.value.code == 531 and "allow.user.expunge.recover.vm" in no.value.text
    tenant.destroyVirtualMachine(id=vm)
    for command in ("recoverVirtualMachine", "expungeVirtualMachine"):
        with pytest.raises(ApiError, match="531"):
            tenant.call(command, id=vm)
    cloud.set("allow.user.expunge.recover.vm", True, accountid=tenant.account)
    cloud.set("allow.user.view.destroyed.vm", True, accountid=tenant.account)
    assert [v["state"] for v in tenant.listVirtualMachines()] == ["Destroyed"]
    tenant.recoverVirtualMachine(id=vm)
    tenant.destroyVirtualMachine(id=vm, expunge=True)
    assert tenant.listVirtualMachines() == []


def test_destroyed_machines_are_expunged_after_the_delay(cloud: Cloud, site: Site) -> None:
    tenant = cloud.tenant()
    vm = site.deploy(tenant)["id"]
    disk = tenant.one("listVolumes", virtualmachineid=vm)["id"]
    tenant.destroyVirtualMachine(id=vm)
    assert cloud.reconcile("expunge_destroyed") == 0
    cloud.set("expunge.delay", 1)
    try:
        time.sleep(2.1)
        cloud.reconcile("expunge_destroyed")
        assert cloud.admin.listVirtualMachines(listall=True, account=tenant.name, domainid=tenant.domain) == []
        assert disk not in cloud.simulator.stores[site.pool].volumes
        assert cloud.reconcile("expunge_destroyed") == 0, "a second run does nothing"
    finally:
        cloud.set("expunge.delay", 86400)


def test_protected_machines(cloud: Cloud, site: Site) -> None:
    tenant = cloud.tenant()
    vm = site.deploy(tenant, startvm=False)["id"]
    assert tenant.updateVirtualMachine(id=vm, deleteprotection=True)["deleteprotection"] is True
    with pytest.raises(ApiError, match="protected from deletion"):
        tenant.destroyVirtualMachine(id=vm)
    tenant.updateVirtualMachine(id=vm, deleteprotection=False)
    tenant.destroyVirtualMachine(id=vm)


@pytest.mark.parametrize("call", ["ApplyRouter", "PlaceImage", "CreateVolume", "StartMachine"])
def test_a_deploy_that_fails_anywhere_leaves_nothing(cloud: Cloud, call: str) -> None:
    own = cloud.zone(hosts=1)
    tenant = cloud.tenant()
    wish = own.wish(tenant)
    cloud.simulator.plant(call=call, text="a planted fault")
    with pytest.raises(ApiError, match="a planted fault"):
        tenant.deployVirtualMachine(**wish)
    cloud.idle()
    assert tenant.listVirtualMachines() == [] == tenant.listVolumes()
    host = cloud.admin.one("listHosts", id=own.hosts[0])
    assert (host["memoryallocated"], host["cpuallocatedvalue"]) == (0, 0)
    assert cloud.admin.one("listStoragePools", id=own.pool)["disksizeallocated"] == 0
    assert not cloud.simulator.stores[own.pool].volumes and not cloud.simulator.boxes[own.hosts[0]].machines
    assert tenant.deployVirtualMachine(**wish)["state"] == "Running"


def test_a_start_that_fails_leaves_a_stopped_machine(cloud: Cloud, site: Site) -> None:
    tenant = cloud.tenant()
    vm = site.deploy(tenant, startvm=False)["id"]
    cloud.simulator.plant(call="StartMachine", text="a planted fault")
    with pytest.raises(ApiError, match="a planted fault"):
        tenant.startVirtualMachine(id=vm)
    assert site.machine(tenant, vm)["state"] == "Stopped"
    assert tenant.startVirtualMachine(id=vm)["state"] == "Running"


def test_a_stop_that_fails_leaves_it_running(cloud: Cloud, site: Site) -> None:
    tenant = cloud.tenant()
    vm = site.deploy(tenant)["id"]
    cloud.simulator.plant(call="StopMachine", text="it does not want to")
    with pytest.raises(ApiError, match="it does not want to"):
        tenant.stopVirtualMachine(id=vm)
    assert site.machine(tenant, vm)["state"] == "Running"
    assert tenant.stopVirtualMachine(id=vm, forced=True)["state"] == "Stopped"


def test_stopping_asks_first_and_forces_when_told(cloud: Cloud, site: Site) -> None:
    tenant = cloud.tenant()
    vm = site.deploy(tenant)["id"]
    seen = cloud.calls_to_hosts()
    tenant.stopVirtualMachine(id=vm)
    tenant.startVirtualMachine(id=vm)
    tenant.stopVirtualMachine(id=vm, forced=True)
    asked = [(c.force, c.grace) for _, c in seen if isinstance(c, w.StopMachine)]
    assert asked == [(False, 60.0), (True, 0)]


@pytest.mark.parametrize(
    ("wish", "text"),
    [
        ({"templateid": None}, "Give templateid"), ({"hypervisor": "KVM"}, "The template is for Simulator"), ({"password": "x" * 5}, None),
        ({"keypair": "nobody's"}, "There is no SSH key pair"), ({"userdata": "%%%"}, "must be base64"), ({"rootdisksize": 0}, None),
        ({"diskofferingid": "small"}, "Data disks are not offered"), ({"details": {"extraconfig-1": "<x/>"}}, "is not offered"),
        ({"boottype": "COREBOOT"}, "one of BIOS, UEFI"), ({"networkids": "00000000-0000-4000-8000-000000000000"}, "entity does not exist"),
    ],
)  # fmt: skip
def test_deploys_that_cannot_be(cloud: Cloud, site: Site, wish: dict[str, Any], text: str | None) -> None:
    tenant = cloud.tenant()
    if wish.get("diskofferingid"):
        wish = {"diskofferingid": tenant.listDiskOfferings(name="Small")[0]["id"]}
    if text is None:
        assert site.deploy(tenant, **wish)["state"] == "Running"
        return
    with pytest.raises(ApiError, match=text):
        site.deploy(tenant, **wish)
    assert tenant.listVirtualMachines() == []


def test_a_disabled_zone_takes_nothing_from_tenants(cloud: Cloud) -> None:
    own = cloud.zone(hosts=1)
    tenant = cloud.tenant()
    wish = own.wish(tenant)
    cloud.admin.updateZone(id=own.zone, allocationstate="Disabled")
    with pytest.raises(ApiError, match="is disabled"):
        tenant.deployVirtualMachine(**wish)
    assert own.deploy(cloud.admin)["state"] == "Running", "root admins try it out first"


# ── what a machine finds when it boots ───────────────────────────────────────────────────────────────────────────────


def test_names_keys_passwords_and_user_data_reach_the_router(cloud: Cloud, site: Site) -> None:
    tenant = cloud.tenant()
    pair = tenant.createSSHKeyPair(name="laptop")
    text = base64.b64encode(b"#cloud-config\n").decode()
    vm = site.deploy(tenant, name="full", keypair="laptop", userdata=text, password="Secret1")
    served = lease(cloud, vm)
    assert (served.name, served.ip, served.password) == ("full", vm["nic"][0]["ipaddress"], "Secret1")
    assert base64.b64decode(served.userdata) == b"#cloud-config\n"
    meta = served.metadata
    assert (meta["instance-id"], meta["local-hostname"], meta["local-ipv4"]) == (
        vm["id"],
        "full",
        vm["nic"][0]["ipaddress"],
    )
    assert meta["public-keys"].startswith("ssh-ed25519 ") and pair["privatekey"].startswith(
        "-----BEGIN OPENSSH PRIVATE KEY"
    )
    assert (vm["keypairs"], vm["passwordenabled"]) == ("laptop", True)
    assert tenant.getVMPassword(id=vm["id"]) == {"password": "Secret1"}
    assert tenant.getVirtualMachineUserData(virtualmachineid=vm["id"])["userdata"] == text
    assert "Secret1" not in str(tenant.listVirtualMachines()) and "Secret1" not in str(tenant.listAsyncJobs())


def test_changes_wait_for_the_machine_to_be_stopped(cloud: Cloud, site: Site) -> None:
    tenant = cloud.tenant()
    vm = site.deploy(tenant)
    tenant.createSSHKeyPair(name="new")
    for command, more in (
        ("resetPasswordForVirtualMachine", {}),
        ("resetSSHKeyForVirtualMachine", {"keypair": "new"}),
        ("resetUserDataForVirtualMachine", {"userdata": "aGk="}),
        ("updateVirtualMachine", {"details": {"a": "b"}}),
    ):
        with pytest.raises(ApiError, match="is Running; stop it"):
            # The API lets root admins only give a machine other user data, unless a role says otherwise.
            (cloud.admin if "UserData" in command else tenant).call(command, id=vm["id"], **more)
    tenant.stopVirtualMachine(id=vm["id"])
    first = tenant.getVMPassword(id=vm["id"])["password"]
    tenant.resetPasswordForVirtualMachine(id=vm["id"])
    second = tenant.getVMPassword(id=vm["id"])["password"]
    assert first != second and len(second) >= 12
    assert lease(cloud, vm).password == second
    tenant.resetPasswordForVirtualMachine(id=vm["id"], password="Chosen-1")
    assert lease(cloud, vm).password == "Chosen-1"
    for bad in ("with space", "x" * 129, "ü"):
        with pytest.raises(ApiError, match="printable ASCII"):
            tenant.resetPasswordForVirtualMachine(id=vm["id"], password=bad)
    assert tenant.resetSSHKeyForVirtualMachine(id=vm["id"], keypair="new")["keypairs"] == "new"
    assert lease(cloud, vm).metadata["public-keys"].startswith("ssh-ed25519")
    cloud.admin.resetUserDataForVirtualMachine(id=vm["id"], userdata="aGk=")
    cloud.reconcile("follow_networks")
    assert base64.b64decode(lease(cloud, vm).userdata) == b"hi"
    assert tenant.updateVirtualMachine(id=vm["id"], details={"nicAdapter": "e1000"}, displayname="New")["details"] == {
        "nicAdapter": "e1000"
    }
    seen = cloud.calls_to_hosts()
    tenant.startVirtualMachine(id=vm["id"])
    (spec,) = [c.machine for _, c in seen if isinstance(c, w.StartMachine)]
    assert (spec.nics[0].model, spec.title, spec.cores, spec.memory) == ("e1000", "New", 1, 256 * 1024**2)


# ── lists ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_filters(cloud: Cloud, site: Site) -> None:
    tenant = cloud.tenant()
    a = site.deploy(tenant, name="alpha", displayname="First", group="blue")
    b = site.deploy(tenant, name="beta", startvm=False)
    c = site.deploy(tenant, name="gamma", startvm=False)
    tenant.destroyVirtualMachine(id=c["id"])
    names = lambda **by: sorted(v["name"] for v in tenant.listVirtualMachines(**by))
    assert names() == ["alpha", "beta"]
    net, address = a["nic"][0]["networkid"], a["nic"][0]["ipaddress"]
    for by, found in (
        ({"keyword": address}, ["alpha"]), ({"keyword": address.partition(".")[0] + "."}, ["alpha", "beta"]), ({"keyword": "0." + address}, []),
        ({"keyword": "10_1"}, []), ({"keyword": ".."}, []),
        ({"state": "Running"}, ["alpha"]), ({"state": "stopped"}, ["beta"]), ({"state": "Present"}, ["alpha", "beta"]), ({"name": "beta"}, ["beta"]),
        ({"keyword": "LPH"}, ["alpha"]), ({"keyword": "irst"}, ["alpha"]), ({"ids": [a["id"], b["id"]]}, ["alpha", "beta"]), ({"id": b["id"]}, ["beta"]),
        ({"networkid": net}, ["alpha", "beta"]), ({"zoneid": site.zone}, ["alpha", "beta"]), ({"templateid": site.template}, ["alpha", "beta"]),
        ({"serviceofferingid": site.offering}, ["alpha", "beta"]), ({"hypervisor": "Simulator"}, ["alpha", "beta"]), ({"hypervisor": "KVM"}, []),
        ({"userid": tenant.user}, ["alpha", "beta"]), ({"haenable": True}, []), ({"forvirtualnetwork": False}, []), ({"state": "Destroyed"}, []),
    ):  # fmt: skip
        assert names(**by) == found, by
    assert tenant.ask("listVirtualMachines", retrieveonlyresourcecount=True) == {"count": 2}
    root = {
        v["name"]: v["state"]
        for v in cloud.admin.listVirtualMachines(listall=True, account=tenant.name, domainid=tenant.domain)
    }
    assert root == {"alpha": "Running", "beta": "Stopped", "gamma": "Destroyed"}
    host = cloud.admin.one("listVirtualMachines", id=a["id"])["hostid"]
    on_host = {
        v["id"]
        for v in cloud.admin.listVirtualMachines(
            listall=True, hostid=host, clusterid=site.cluster, podid=site.pod, storageid=site.pool
        )
    }
    assert a["id"] in on_host and b["id"] not in on_host


def test_details_narrow_the_answer(cloud: Cloud, site: Site) -> None:
    tenant = cloud.tenant()
    vm = site.deploy(tenant)["id"]
    everything = tenant.one("listVirtualMachines", id=vm)
    assert "nic" in everything and "rootdevicetype" in everything
    slim = tenant.one("listVirtualMachines", id=vm, details="min")
    assert "nic" not in slim and "rootdevicetype" not in slim and slim["id"] == vm
    assert "nic" in tenant.one("listVirtualMachines", id=vm, details="nics,volume")


def test_things_that_run_are_named_to_tenants_without_the_machine_room(cloud: Cloud, site: Site) -> None:
    tenant = cloud.tenant()
    vm = site.deploy(tenant)
    assert {"hostid", "hostname", "instancename", "displayvm"} & set(vm) == set()
    assert "broadcasturi" not in vm["nic"][0] and "isolationuri" not in vm["nic"][0]
    assert {"hostid", "hostname", "instancename"} <= set(cloud.admin.one("listVirtualMachines", id=vm["id"]))


# ── consoles and power ───────────────────────────────────────────────────────────────────────────────────────────────


def test_a_console_ticket_works_once(cloud: Cloud, site: Site) -> None:
    from mold.base.errors import Conflict, Denied, Refusal
    from mold.features.compute import consoles

    tenant = cloud.tenant()
    vm = site.deploy(tenant)["id"]

    def redeem(secret: str, extra: str | None = None) -> Any:
        def use(tx: Any) -> Any:
            # A ticket is used up by its first presentation, also when what follows is refused.
            handed = consoles.take(tx, secret, extra)
            try:
                return consoles.screen(tx, handed)
            except Refusal as no:
                return no

        told = cloud.run(cloud.manager.engine.writing(use))
        if isinstance(told, Refusal):
            raise told
        return told

    end = tenant.createConsoleEndpoint(virtualmachineid=vm)
    assert end["success"] is True and end["url"].startswith("http://127.0.0.1:1/client/console/vnc.html?")
    socket = end["websocket"]
    assert (socket["host"], socket["port"], socket["path"]) == ("127.0.0.1", "1", "console/websockify")
    assert redeem(socket["token"]).host in site.hosts
    for secret in (socket["token"], "nonsense", ""):
        with pytest.raises(Denied):
            redeem(secret)
    guarded = tenant.createConsoleEndpoint(virtualmachineid=vm, token="extra")["websocket"]["token"]
    with pytest.raises(Denied):
        redeem(guarded, "wrong")
    stale = tenant.createConsoleEndpoint(virtualmachineid=vm)["websocket"]["token"]
    tenant.stopVirtualMachine(id=vm)
    with pytest.raises(Conflict):
        redeem(stale)
    closed = tenant.createConsoleEndpoint(virtualmachineid=vm)
    assert closed["success"] is False and "only a running one has a screen" in closed["details"]


def test_a_machine_that_stopped_by_itself_is_seen(cloud: Cloud, site: Site) -> None:
    from mold.features.care import power
    from mold.features.infra.hosts import Host

    tenant = cloud.tenant()
    vm = site.deploy(tenant)["id"]
    shown = cloud.admin.one("listVirtualMachines", id=vm)

    def report() -> int:
        told = {"guid-of-its-agent": cloud.simulator.report(shown["hostid"])}
        return int(cloud.run(cloud.manager.engine.writing(lambda tx: power.follow(tx, told))))

    def speak_through(guid: str | None) -> None:  # simulated hosts in the manager have no agent that would report
        cloud.run(cloud.manager.engine.writing(lambda tx: tx.set(tx.one(Host, shown["hostid"]), guid=guid)))

    speak_through("guid-of-its-agent")
    cloud.set("power.report.grace.seconds", 1)
    try:
        time.sleep(2.1)
        assert report() == 0
        cloud.simulator.boxes[shown["hostid"]].machines.pop(shown["instancename"])
        assert report() == 1 and report() == 0
    finally:
        cloud.set("power.report.grace.seconds", 10)
        speak_through(None)
    assert site.machine(tenant, vm)["state"] == "Stopped"
    assert [e["level"] for e in tenant.listEvents(type="VM.STOP")] == ["WARN"]


def test_one_host_name_on_one_network(cloud: Cloud, site: Site) -> None:
    """DNS can know only one machine by a name: the second is refused, in whatever case it is written."""
    tenant = cloud.tenant()
    first = site.deploy(tenant, name="web")
    with pytest.raises(ApiError, match="host name WEB is on the network") as no:
        site.deploy(tenant, name="WEB")
    assert no.value.code == 431 or no.value.key == "Conflict"
    other = site.deploy(tenant, name="db")
    with pytest.raises(ApiError, match="host name Web is on the network"):
        tenant.updateVirtualMachine(id=other["id"], name="Web")
    assert tenant.updateVirtualMachine(id=first["id"], name="front")["name"] == "front"
    assert tenant.updateVirtualMachine(id=other["id"], name="web")["name"] == "web"
    nic = cloud.admin.one("listVirtualMachines", id=other["id"])["nic"][0]
    assert nic["broadcasturi"].startswith("vxlan://"), "as the physical network isolates"
