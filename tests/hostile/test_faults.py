"""Hosts that refuse, hang, lie or are full, at every call: a sentence that names the cause, and the world as before."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from cloud_in_process import Cloud

from mold.base import clock
from mold.features.storage.templates import Template
from mold.features.storage.uploads import give_up_uploads

FULL = "The storage at /primary has 1048576 bytes free, and 8388608 are needed; free or add space."


@pytest.fixture(autouse=True)
def healthy(cloud: Cloud) -> Iterator[None]:
    """No fault outlives its test, and none ends in an exception that nobody expected."""
    cloud.log.take()
    yield
    cloud.manager.hub.simulator.faults.clear()
    assert cloud.log.take() == []


def things(cloud: Cloud) -> dict[str, int]:
    """Rows of things; jobs, events and what is counted along with them are history, not things."""
    return {k: v for k, v in cloud.counts().items() if k not in ("asyncjob", "event", "usageevent", "alert")}


def wishes(cloud: Cloud) -> dict[str, str]:
    """What a deploy needs."""
    template = cloud.call("listTemplates", templatefilter="all", name="tiny-linux").body["template"][0]
    return {
        "zoneid": template["zoneid"],
        "templateid": template["id"],
        "serviceofferingid": cloud.call("listServiceOfferings", name="Tiny").body["serviceoffering"][0]["id"],
        "networkids": cloud.call("listNetworks", name="first-network").body["network"][0]["id"],
    }


def quantities(cloud: Cloud) -> Any:
    """What is counted against limits and capacity."""
    hosts = [(h["name"], h.get("memoryallocated"), h.get("cpuallocated")) for h in cloud.call("listHosts").body["host"]]
    account = cloud.call("listAccounts", name="admin").body["account"][0]
    return hosts, {k: v for k, v in account.items() if k.endswith("total")}


@pytest.mark.parametrize("call", ["CreateVolume", "ApplyRouter", "StartMachine"])
@pytest.mark.parametrize("kind", ["refuse", "hang", "lost"])
def test_a_deploy_that_fails(cloud: Cloud, call: str, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the host does at whichever call: the deploy ends with the cause, and nothing of it is left."""
    before, world, counted = things(cloud), cloud.world(), quantities(cloud)
    # Patience is for hosts that come back; here they do not, and tests are not patient.
    from mold.features.compute.machines.start import StartVm

    monkeypatch.setattr(StartVm, "patience", 0.1)
    if kind == "hang":
        from mold.wire import calls as w

        monkeypatch.setattr(getattr(w, call), "seconds", 0.2)
    text = FULL if kind == "refuse" else ""
    cloud.manager.hub.simulator.plant(
        call=call, kind=kind, count=1_000_000 if kind != "lost" else 4, text=text, key="NoCapacity"
    )
    failed = cloud.failed("deployVirtualMachine", name="unlucky", **wishes(cloud))
    cloud.manager.hub.simulator.faults.clear()
    cloud.idle()
    expected = {"refuse": FULL, "hang": "no answer", "lost": "lost"}[kind]
    assert expected in failed["errortext"]
    assert (things(cloud), cloud.world(), quantities(cloud)) == (before, world, counted)


def test_a_full_disk_is_named(cloud: Cloud) -> None:
    """A full storage answers 533 and says how much is free and how much is needed (admins; tenants get no numbers)."""
    cloud.manager.hub.simulator.plant(call="CreateVolume", kind="refuse", count=9, text=FULL, key="NoCapacity")
    failed = cloud.failed("deployVirtualMachine", name="large", **wishes(cloud))
    assert (failed["errorcode"], FULL in failed["errortext"]) == (533, True)


def test_no_host_is_up(cloud: Cloud) -> None:
    """Without a host a template says why it did not come, and a storage is not there."""
    hosts = cloud.call("listHosts").body["host"]
    with cloud.manager.store.write() as tx:
        from mold.features.infra.hosts import Host

        for host in hosts:
            tx.set(tx.one(Host, host["id"]), state="Down")
    try:
        before = things(cloud)
        zone = hosts[0]["zoneid"]
        place = {"zoneid": zone, "podid": hosts[0]["podid"], "clusterid": hosts[0]["clusterid"]}
        refused = cloud.call("addImageStore", provider="NFS", url="file:///elsewhere", zoneid=zone)
        assert "No host of the zone is Up" in refused.text
        refused = cloud.call(
            "createStoragePool", name="p", url="sharedmountpoint://localhost/elsewhere", scope="CLUSTER", **place
        )
        assert "No host that could mount this storage is Up" in refused.text
        failed = cloud.failed("deployVirtualMachine", name="nowhere", **wishes(cloud))
        assert failed["errorcode"] == 533
        cloud.idle()
        assert things(cloud) == before
        about = {"name": "late", "format": "QCOW2", "hypervisor": "Simulator", "zoneid": zone}
        made = cloud.call("registerTemplate", url="http://images.invalid/late.qcow2", **about).body["template"][0]
        cloud.idle()
        (late,) = cloud.call("listTemplates", templatefilter="all", id=made["id"]).body["template"]
        assert "No host of the zone is Up" in late["status"]
    finally:
        with cloud.manager.store.write() as tx:
            for host in hosts:
                tx.set(tx.one(Host, host["id"]), state="Up")
    cloud.ok("deleteTemplate", id=made["id"])


@pytest.mark.parametrize(
    ("command", "call"),
    [
        ("stopVirtualMachine", "StopMachine"),
        ("rebootVirtualMachine", "RebootMachine"),
        ("destroyVirtualMachine", "StopMachine"),
    ],
)
def test_a_running_machine_stays_what_it_was(cloud: Cloud, command: str, call: str) -> None:
    """A host that refuses to stop or reboot a machine leaves it Running, and says why."""
    vm = cloud.call("listVirtualMachines", name="first").body["virtualmachine"][0]
    before, world = things(cloud), cloud.world()
    cloud.manager.hub.simulator.plant(call=call, kind="refuse", count=99, text="The guest is stuck in its kernel.")
    failed = cloud.failed(command, id=vm["id"])
    assert "stuck in its kernel" in failed["errortext"]
    after = cloud.call("listVirtualMachines", id=vm["id"]).body["virtualmachine"][0]
    assert (after["state"], after["hostid"]) == ("Running", vm["hostid"])
    assert (things(cloud), cloud.world()) == (before, world)


@pytest.mark.parametrize(
    ("call", "act"),
    [
        ("MountStore", lambda c, p: c.call("addImageStore", provider="NFS", url="file:///other", zoneid=p["zoneid"])),
        (
            "MountPool",
            lambda c, p: c.call(
                "createStoragePool", name="p2", url="sharedmountpoint://localhost/other", scope="CLUSTER", **p
            ),
        ),
        ("GetFacts", lambda c, p: c.call("addHost", url="http://sim-new", hypervisor="Simulator", **p)),
    ],
)
def test_infrastructure_that_refuses(cloud: Cloud, call: str, act: Callable[[Cloud, dict[str, str]], Any]) -> None:
    """A storage or host that will not be added is not there afterwards."""
    host = cloud.call("listHosts").body["host"][0]
    place = {k: host[k] for k in ("zoneid", "podid", "clusterid")}
    before, world = things(cloud), cloud.world()
    cloud.manager.hub.simulator.plant(call=call, kind="refuse", count=99, text="This disk is on fire.")
    refused = act(cloud, place)
    cloud.idle()
    assert "on fire" in refused.text
    assert (things(cloud), cloud.world()) == (before, world)


def test_a_template_that_cannot_be_fetched(cloud: Cloud) -> None:
    """The template itself says why; deleting it leaves nothing."""
    before, world = things(cloud), cloud.world()
    cloud.manager.hub.simulator.plant(call="FetchImage", kind="refuse", count=99, text="The server answered 404.")
    zone = wishes(cloud)["zoneid"]
    about = {"name": "gone", "format": "QCOW2", "hypervisor": "Simulator", "zoneid": zone}
    made = cloud.call("registerTemplate", url="http://images.invalid/x.qcow2", **about).body["template"][0]
    cloud.idle()
    (failed,) = cloud.call("listTemplates", templatefilter="all", id=made["id"]).body["template"]
    assert (failed["isready"], failed["status"]) == (False, "The server answered 404.")
    cloud.ok("deleteTemplate", id=made["id"])
    assert (things(cloud), cloud.world()) == (before, world)


def test_an_upload_that_never_comes(cloud: Cloud) -> None:
    """It is given up once its time is over; the second look finds nothing to do."""
    zone = wishes(cloud)["zoneid"]
    about = {"name": "never", "format": "QCOW2", "hypervisor": "Simulator", "zoneid": zone}
    told = cloud.call("getUploadParamsForTemplate", **about).body["getuploadparams"]
    assert cloud.wait(give_up_uploads()) == 0
    with cloud.manager.store.write() as tx:
        tx.set(tx.one(Template, told["id"]), created=clock.ago(3601))
    assert cloud.wait(give_up_uploads()) == 1
    assert cloud.wait(give_up_uploads()) == 0
    (late,) = cloud.call("listTemplates", templatefilter="all", id=told["id"]).body["template"]
    assert (late["isready"], late["downloaddetails"][0]["downloadState"]) == (False, "UPLOAD_ABANDONED")
    assert "not uploaded in time" in late["status"]
    cloud.ok("deleteTemplate", id=told["id"])


def test_a_host_in_use_is_not_dismissed(cloud: Cloud) -> None:
    """A host that cannot be removed is refused before its agent is told to stop."""
    router = cloud.call("listRouters").body["router"][0]
    machines = cloud.call("listVirtualMachines", hostid=router["hostid"]).body.get("virtualmachine", [])
    for vm in machines:
        cloud.ok("stopVirtualMachine", id=vm["id"], forced="true")
    told: list[str] = []
    cloud.manager.hub.simulator.on_call = lambda host, call: told.append(type(call).__name__)
    refused = cloud.call("deleteHost", id=router["hostid"], forced="true")
    cloud.manager.hub.simulator.on_call = None
    assert (refused.status, "router" in refused.text) == (536, True)
    assert "StopAgent" not in told
    assert cloud.call("listHosts", id=router["hostid"]).body["host"][0]["resourcestate"] == "Enabled"
    for vm in machines:
        cloud.ok("startVirtualMachine", id=vm["id"])
