"""Zones, pods, clusters and OS types: what machines stand in, and that nothing goes while it is used."""

from __future__ import annotations

from typing import Any

import pytest
from cloud import ApiError, Cloud

ZONE = {"dns1": "9.9.9.9", "internaldns1": "9.9.9.9", "networktype": "Advanced"}
POD = {"gateway": "172.30.0.1", "netmask": "255.255.0.0", "startip": "172.30.0.10", "endip": "172.30.0.99"}


def refused(cloud: Cloud, command: str, code: int, text: str, **params: Any) -> None:
    with pytest.raises(ApiError) as no:
        cloud.admin.call(command, **params)
    assert no.value.code == code and text in no.value.text, no.value


def test_a_zone_is_disabled_until_somebody_enables_it(cloud: Cloud) -> None:
    zone = cloud.admin.createZone(name="new", domain="new.example", guestcidraddress="10.9.0.0/16", **ZONE)
    assert (zone["allocationstate"], zone["guestcidraddress"], zone["domain"]) == (
        "Disabled",
        "10.9.0.0/16",
        "new.example",
    )
    tenant = cloud.tenant()
    assert tenant.listZones(id=zone["id"]) == [], "a disabled zone is not shown to tenants"
    assert cloud.admin.updateZone(id=zone["id"], allocationstate="Enabled")["allocationstate"] == "Enabled"
    assert tenant.one("listZones", id=zone["id"])["name"] == "new"
    cloud.admin.deleteZone(id=zone["id"])
    refused(cloud, "listZones", 431, "entity does not exist", id=zone["id"])


def test_zones_of_a_domain_are_nobody_elses(cloud: Cloud) -> None:
    top = cloud.domain()
    below, beside = cloud.tenant(cloud.domain(parent=top)), cloud.tenant()
    zone = cloud.admin.createZone(name="private", domainid=top, allocationstate="Enabled", **ZONE)
    assert zone["domainid"] == top
    assert [z["id"] for z in below.listZones(id=zone["id"])] == [zone["id"]]
    with pytest.raises(ApiError, match="entity does not exist"):
        beside.listZones(id=zone["id"])
    cloud.admin.updateZone(id=zone["id"], ispublic=True)
    assert beside.listZones(id=zone["id"])


def test_what_a_zone_must_have(cloud: Cloud) -> None:
    for wrong in (
        {"dns1": "dns.example"},
        {"dns1": "1.2.3"},
        {"guestcidraddress": "10.1.1.1/24"},
        {"guestcidraddress": "x"},
        {"networktype": "Basic"},
        {"networktype": "Other"},
    ):
        refused(cloud, "createZone", 431, "", name="bad", **{**ZONE, **wrong})
    cloud.admin.createZone(name="taken", **ZONE)
    refused(cloud, "createZone", 431, "already a zone with name 'taken'", name="taken", **ZONE)


def test_a_zone_in_use_stays(cloud: Cloud) -> None:
    zone = cloud.admin.createZone(name="used", **ZONE)["id"]
    pod = cloud.admin.createPod(zoneid=zone, name="pod", **POD)["id"]
    refused(cloud, "deleteZone", 536, "is used by the pod pod", id=zone)
    cluster = cloud.admin.addCluster(
        zoneid=zone, podid=pod, clustername="c", hypervisor="simulator", clustertype="CloudManaged"
    )["id"]
    refused(cloud, "deletePod", 536, "is used by the cluster c", id=pod)
    cloud.admin.deleteCluster(id=cluster)
    cloud.admin.deletePod(id=pod)
    cloud.admin.deleteZone(id=zone)


def test_pods(cloud: Cloud) -> None:
    zone = cloud.admin.createZone(name="pods", **ZONE)["id"]
    pod = cloud.admin.createPod(zoneid=zone, name="one", **POD)
    assert (pod["startip"], pod["endip"], pod["ipranges"][0]["cidr"]) == (
        ["172.30.0.10"],
        ["172.30.0.99"],
        "172.30.0.0/16",
    )
    refused(
        cloud,
        "createPod",
        431,
        "already a pod",
        zoneid=zone,
        name="one",
        **{**POD, "gateway": "172.31.0.1", "startip": "172.31.0.2", "endip": "172.31.0.3"},
    )
    refused(cloud, "createPod", 431, "overlaps the one of pod one", zoneid=zone, name="two", **POD)
    for wrong in (
        {"startip": "10.0.0.1"},
        {"endip": "172.30.0.5"},
        {"netmask": "255.0.255.0"},
        {"gateway": "172.30.0.0"},
        {"startip": None},
    ):
        refused(cloud, "createPod", 431, "", zoneid=zone, name="bad", **{**POD, "gateway": "172.30.0.1", **wrong})
    assert cloud.admin.updatePod(id=pod["id"], endip="172.30.0.200", name="uno")["endip"] == ["172.30.0.200"]
    refused(cloud, "updatePod", 431, "not a usable address", id=pod["id"], endip="172.31.0.1")
    assert cloud.admin.updatePod(id=pod["id"], allocationstate="Disabled")["allocationstate"] == "Disabled"


def test_clusters(cloud: Cloud) -> None:
    zone = cloud.admin.createZone(name="clusters", **ZONE)["id"]
    other = cloud.admin.createZone(name="clusters2", **ZONE)["id"]
    pod = cloud.admin.createPod(zoneid=zone, name="one", **POD)["id"]
    wish = {"zoneid": zone, "podid": pod, "hypervisor": "kvm", "clustertype": "CloudManaged"}
    made = cloud.admin.addCluster(clustername="c1", **wish)
    assert (made["hypervisortype"], made["allocationstate"], made["managedstate"], made["cpuovercommitratio"]) == (
        "KVM",
        "Enabled",
        "Managed",
        "1.0",
    )
    refused(cloud, "addCluster", 431, "already a cluster", clustername="c1", **wish)
    refused(cloud, "addCluster", 431, "in another zone", clustername="c2", **{**wish, "zoneid": other})
    refused(cloud, "addCluster", 431, "is not offered; choose", clustername="c2", **{**wish, "hypervisor": "Hyperv"})
    refused(cloud, "addCluster", 432, "VMware", clustername="c2", url="http://vc", **wish)
    changed = cloud.admin.updateCluster(
        id=made["id"], clustername="c9", managedstate="Unmanaged", allocationstate="Disabled"
    )
    assert (changed["name"], changed["managedstate"], changed["allocationstate"]) == ("c9", "Unmanaged", "Disabled")
    cloud.set("cpu.overprovisioning.factor", 4, clusterid=made["id"])
    assert cloud.admin.one("listClusters", id=made["id"])["cpuovercommitratio"] == "4.0"
    assert [c["id"] for c in cloud.admin.listClusters(podid=pod, hypervisor="KVM")] == [made["id"]]


def test_os_types(cloud: Cloud) -> None:
    tenant = cloud.tenant()
    debian = tenant.one("listOsTypes", description="Debian GNU/Linux 12 (64-bit)")
    assert debian["oscategoryname"] == "Debian"
    assert debian["id"] in {t["id"] for t in tenant.listOsTypes(oscategoryid=debian["oscategoryid"])}
    assert "Windows" in {c["name"] for c in tenant.listOsCategories()}
    assert tenant.listOsTypes(keyword="no such system") == []
