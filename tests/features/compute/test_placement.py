"""Placement: which host, why not the others, and that capacity is never promised twice."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from typing import Any

import pytest
from cloud import Actor, ApiError, Cloud, Site, on_the_wire


def place(cloud: Cloud, site: Site, actor: Actor, **params: Any) -> str:
    """Deploy; the host's id."""
    vm = site.deploy(actor, **params)
    return str(cloud.admin.one("listVirtualMachines", id=vm["id"])["hostid"])


def offering(cloud: Cloud, **params: Any) -> str:
    wish = {"name": cloud.name("offering"), "cpunumber": 1, "cpuspeed": 500, "memory": 256, **params}
    return str(cloud.admin.createServiceOffering(**wish)["id"])


def algorithm(cloud: Cloud, name: str) -> None:
    cloud.set("vm.allocation.algorithm", name)


@pytest.fixture(autouse=True)
def as_before(cloud: Cloud) -> Any:
    yield
    algorithm(cloud, "random")


def test_first_fit_fills_one_host_after_the_other(cloud: Cloud) -> None:
    site = cloud.zone(hosts=3)
    half = offering(cloud, cpunumber=32, cpuspeed=2400)
    algorithm(cloud, "firstfit")
    assert [place(cloud, site, cloud.admin, serviceofferingid=half) for _ in range(5)] == [
        site.hosts[n] for n in (0, 0, 1, 1, 2)
    ]


def test_dispersing_spreads_an_accounts_machines(cloud: Cloud) -> None:
    site = cloud.zone(hosts=3)
    algorithm(cloud, "userdispersing")
    tenant = cloud.tenant()
    assert Counter(place(cloud, site, tenant) for _ in range(6)) == dict.fromkeys(site.hosts, 2)


def test_concentrating_keeps_an_accounts_machines_together(cloud: Cloud) -> None:
    site = cloud.zone(hosts=3)
    algorithm(cloud, "userconcentratedpod_firstfit")
    other, tenant = cloud.tenant(), cloud.tenant()
    place(cloud, site, other)
    assert len({place(cloud, site, tenant) for _ in range(4)}) == 1


def test_least_consumed_and_random(cloud: Cloud) -> None:
    site = cloud.zone(hosts=3)
    algorithm(cloud, "firstfitleastconsumed")
    assert Counter(place(cloud, site, cloud.admin) for _ in range(6)) == dict.fromkeys(site.hosts, 2)
    algorithm(cloud, "random")
    assert len({place(cloud, site, cloud.admin) for _ in range(20)}) > 1


def test_planners_are_for_root_admins(cloud: Cloud) -> None:
    site = cloud.zone(hosts=3)
    assert {place(cloud, site, cloud.admin, deploymentplanner="FirstFitPlanner") for _ in range(4)} == {site.hosts[0]}
    with pytest.raises(ApiError, match="There is no planner Best; there are FirstFitPlanner"):
        site.deploy(cloud.admin, deploymentplanner="Best")
    tenant = cloud.tenant()
    vm = site.deploy(tenant, startvm=False)["id"]
    with pytest.raises(ApiError, match="531"):
        tenant.startVirtualMachine(id=vm, deploymentplanner="FirstFitPlanner")


def test_a_chosen_place(cloud: Cloud) -> None:
    site = cloud.zone(hosts=3)
    assert place(cloud, site, cloud.admin, hostid=site.hosts[2]) == site.hosts[2]
    assert place(cloud, site, cloud.admin, clusterid=site.cluster, podid=site.pod) in site.hosts
    with pytest.raises(ApiError, match="entity does not exist"):
        site.deploy(cloud.tenant(), hostid=site.hosts[2])
    other = cloud.zone(hosts=1)
    with pytest.raises(ApiError, match="another host was asked for") as no:
        site.deploy(cloud.admin, hostid=other.hosts[0])
    assert no.value.code == 533


def test_host_tags(cloud: Cloud) -> None:
    site = cloud.zone(hosts=2)
    gpu = offering(cloud, hosttags="gpu,fast")
    with pytest.raises(ApiError, match="needs the tags gpu,fast, has ''"):
        site.deploy(cloud.admin, serviceofferingid=gpu)
    cloud.admin.updateHost(id=site.hosts[1], hosttags="fast,gpu,other")
    assert {place(cloud, site, cloud.admin, serviceofferingid=gpu) for _ in range(3)} == {site.hosts[1]}


def test_a_machine_goes_back_to_where_it_was(cloud: Cloud) -> None:
    site = cloud.zone(hosts=4)
    vm = site.deploy(cloud.admin)["id"]
    for _ in range(3):
        before = cloud.admin.one("listVirtualMachines", id=vm)["hostid"]
        cloud.admin.stopVirtualMachine(id=vm)
        cloud.admin.startVirtualMachine(id=vm)
        assert cloud.admin.one("listVirtualMachines", id=vm)["hostid"] == before


def test_disabled_places(cloud: Cloud) -> None:
    site = cloud.zone(hosts=2)
    cloud.admin.updateHost(id=site.hosts[0], allocationstate="Disable")
    assert {place(cloud, site, cloud.admin) for _ in range(4)} == {site.hosts[1]}
    for command, id, text in (
        ("updateCluster", site.cluster, "its cluster is Disabled"),
        ("updatePod", site.pod, "its pod is Disabled"),
    ):
        cloud.admin.call(command, id=id, allocationstate="Disabled")
        with pytest.raises(ApiError, match=text):
            site.deploy(cloud.admin)
        cloud.admin.call(command, id=id, allocationstate="Enabled")


def test_the_explanation_for_admins_and_for_tenants(cloud: Cloud) -> None:
    site = cloud.zone(hosts=3)
    names = [cloud.admin.one("listHosts", id=h)["name"] for h in site.hosts]
    cloud.admin.updateHost(id=site.hosts[0], allocationstate="Disable")
    wide = offering(cloud, cpunumber=65)
    with pytest.raises(ApiError) as no:
        site.deploy(cloud.admin, serviceofferingid=wide)
    assert no.value.code == 533
    for name in names:
        assert f"{name}: " in no.value.text
    assert "needs 65 cores, has 64" in no.value.text and "it is Disabled" in no.value.text
    verdicts = {
        v["hostname"]: {r["code"]: (r["needed"], r["available"]) for r in v["reason"]} for v in no.value.params["hosts"]
    }
    assert verdicts[names[0]]["ResourceState"] == ("Enabled", "Disabled") and verdicts[names[1]]["Cores"] == (65, 64)
    tenant = cloud.tenant()
    cloud.set("max.account.cpus", 100)
    try:
        with pytest.raises(ApiError) as no:
            site.deploy(tenant, serviceofferingid=wide)
    finally:
        cloud.set("max.account.cpus", 40)
    assert no.value.code == 533 and no.value.params == {}
    assert "1 lack ResourceState" in no.value.text and "2 lack Cores" in no.value.text
    assert not any(n in no.value.text for n in names)


def test_the_plan_without_a_deploy(cloud: Cloud) -> None:
    site = cloud.zone(hosts=3)
    cloud.admin.updateHost(id=site.hosts[0], allocationstate="Disable")
    ask = {"serviceofferingid": site.offering, "zoneid": site.zone, "templateid": site.template}
    plan = cloud.admin.findDeploymentPlan(**ask)
    assert (plan["accepted"], plan["rejected"], plan["reasons"]) == (2, 1, {"ResourceState": 1})
    assert [c["accepted"] for c in plan["candidate"]] == [True, True, False] and plan["quota"] == {"fits": True}
    tenant = cloud.tenant()
    told = tenant.findDeploymentPlan(**ask)
    assert (told["accepted"], told["rejected"]) == (2, 1) and "candidate" not in told
    cloud.set("max.account.user.vms", 0)
    try:
        assert tenant.findDeploymentPlan(**ask)["quota"]["fits"] is False
    finally:
        cloud.set("max.account.user.vms", 20)
    assert cloud.admin.listVirtualMachines(zoneid=site.zone) == []


def test_capacity_is_promised_once_however_many_ask(cloud: Cloud) -> None:
    """Two hosts hold two of these each; forty ask at the same moment."""
    site = cloud.zone(hosts=2)
    half = offering(cloud, cpunumber=32, cpuspeed=2400, memory=1024)
    wish = on_the_wire(site.wish(cloud.admin, serviceofferingid=half))

    async def go() -> list[Any]:
        return await asyncio.gather(*(cloud.admin.answer("deployVirtualMachine", wish) for _ in range(40)))

    assert {a.status for a in cloud.run(go())} == {200}
    cloud.idle()
    machines = cloud.admin.listVirtualMachines(zoneid=site.zone)
    assert [m["state"] for m in machines] == ["Running"] * 4
    assert Counter(m["hostid"] for m in machines) == dict.fromkeys(site.hosts, 2)
    for host in cloud.admin.listHosts(zoneid=site.zone):
        assert host["cpuallocated"] == "100.00%"
    for machine in machines:
        cloud.admin.destroyVirtualMachine(id=machine["id"], expunge=True)
    for host in cloud.admin.listHosts(zoneid=site.zone):
        assert (host["cpuallocatedvalue"], host["memoryallocated"]) == (0, 0)


def test_over_provisioned_capacity(cloud: Cloud) -> None:
    site = cloud.zone(hosts=0)
    cloud.set("cpu.overprovisioning.factor", 2, clusterid=site.cluster)
    full = offering(cloud, cpunumber=64, cpuspeed=2400)
    site = cloud.zone(hosts=1)
    place(cloud, site, cloud.admin, serviceofferingid=full)
    with pytest.raises(ApiError, match="needs 153600 MHz CPU, 0 MHz are free"):
        site.deploy(cloud.admin, serviceofferingid=full)


def test_clusters_that_are_nearly_full_keep_their_room(cloud: Cloud) -> None:
    site = cloud.zone(hosts=1)
    tenant = cloud.tenant()
    about = cloud.admin.one("listHosts", id=site.hosts[0])
    name = "cluster.memory.allocated.capacity.disablethreshold"
    share = 400 * 1024**2 / about["memorytotal"]
    cloud.set(name, f"{share:.9f}", clusterid=site.cluster)
    site.deploy(tenant)
    time.sleep(1.1)
    site.deploy(tenant)  # nothing is kept unless it is asked for
    cloud.set("cluster.threshold.enabled", True)
    try:
        time.sleep(1.1)
        with pytest.raises(ApiError) as no:
            site.deploy(cloud.admin)
        assert no.value.code == 533 and "its cluster would have promised" in no.value.text
        cloud.set(name, 1, clusterid=site.cluster)
        assert site.deploy(tenant)["state"] == "Running"
    finally:
        cloud.set("cluster.threshold.enabled", False)
