"""Compute and disk offerings."""

from __future__ import annotations

from typing import Any

import pytest
from cloud import ApiError, Cloud, Site

FIXED = {"cpunumber": 2, "cpuspeed": 1000, "memory": 1024}


@pytest.fixture(scope="module")
def site(cloud: Cloud) -> Site:
    return cloud.zone(hosts=1)


def test_a_fixed_offering(cloud: Cloud) -> None:
    made = cloud.admin.createServiceOffering(
        name="fixed", displaytext="Fixed", hosttags="ssd", tags="fast", rootdisksize=10, networkrate=100, offerha=True,
        serviceofferingdetails={"x": "y"}, bytesreadrate=1000, **FIXED,
    )  # fmt: skip
    assert {k: made[k] for k in ("cpunumber", "cpuspeed", "memory", "iscustomized", "hosttags", "storagetags", "rootdisksize", "networkrate", "offerha", "state", "storagetype", "diskBytesReadRate")} == {
        **FIXED, "iscustomized": False, "hosttags": "ssd", "storagetags": "fast", "rootdisksize": 10, "networkrate": 100, "offerha": True, "state": "Active", "storagetype": "shared", "diskBytesReadRate": 1000,
    }  # fmt: skip
    assert made["serviceofferingdetails"] == {"x": "y"}
    changed = cloud.admin.updateServiceOffering(id=made["id"], name="firm", displaytext="Firm", hosttags="hdd")
    assert (changed["name"], changed["displaytext"], changed["hosttags"]) == ("firm", "Firm", "hdd")


@pytest.mark.parametrize(
    "wrong",
    [{"cpunumber": None}, {"memory": None}, {"cpuspeed": None}, {"cpunumber": 0}, {"memory": 8}, {"cpunumber": 5000}, {"rootdisksize": 0}, {"storagetype": "cloudy"}, {"customized": True}],
)  # fmt: skip
def test_offerings_that_make_no_sense(cloud: Cloud, wrong: dict[str, Any]) -> None:
    with pytest.raises(ApiError) as no:
        cloud.admin.createServiceOffering(name="bad", **{**FIXED, **wrong})
    assert no.value.code == 431


def test_a_customized_offering_takes_sizes_within_its_limits(cloud: Cloud, site: Site) -> None:
    offering = cloud.admin.createServiceOffering(
        name="open", customized=True, mincpunumber=2, maxcpunumber=4, minmemory=256, maxmemory=512
    )
    assert offering["iscustomized"] is True and "cpunumber" not in offering
    tenant = cloud.tenant()
    vm = site.deploy(tenant, serviceofferingid=offering["id"], details={"cpuNumber": 3, "cpuSpeed": 700, "memory": 300})
    assert (vm["cpunumber"], vm["cpuspeed"], vm["memory"]) == (3, 700, 300)
    for details in (
        {"memory": 300},
        {"cpuNumber": 5, "memory": 300},
        {"cpuNumber": 2, "memory": 9999},
        {"cpuNumber": "²", "memory": 300},
        {"cpuNumber": "-1", "memory": 300},
        {"cpuNumber": "9" * 40, "memory": 300},
    ):
        with pytest.raises(ApiError) as no:
            site.deploy(tenant, serviceofferingid=offering["id"], details=details)
        assert no.value.code == 431, details
    with pytest.raises(ApiError, match="fixes cpunumber"):
        site.deploy(tenant, details={"cpuNumber": 8})


def test_used_offerings_become_inactive_when_deleted(cloud: Cloud, site: Site) -> None:
    offering = cloud.admin.createServiceOffering(name="used", **FIXED)["id"]
    tenant = cloud.tenant()
    vm = site.deploy(tenant, serviceofferingid=offering, startvm=False)
    cloud.admin.deleteServiceOffering(id=offering)
    assert cloud.admin.one("listServiceOfferings", id=offering, state="all")["state"] == "Inactive"
    assert cloud.admin.listServiceOfferings(id=offering) == [] == tenant.listServiceOfferings(id=offering)
    with pytest.raises(ApiError, match="cannot be used for machines"):
        site.deploy(tenant, serviceofferingid=offering)
    assert site.machine(tenant, vm["id"])["serviceofferingname"] == "used"
    unused = cloud.admin.createServiceOffering(name="unused", **FIXED)["id"]
    cloud.admin.deleteServiceOffering(id=unused)
    with pytest.raises(ApiError, match="entity does not exist"):
        cloud.admin.listServiceOfferings(id=unused)


def test_offerings_for_some_domains_and_zones(cloud: Cloud, site: Site) -> None:
    top = cloud.domain()
    inside, outside = cloud.tenant(cloud.domain(parent=top)), cloud.tenant()
    private = cloud.admin.createServiceOffering(name="private", domainid=top, **FIXED)
    assert private["domainid"] == top
    assert inside.listServiceOfferings(id=private["id"])
    with pytest.raises(ApiError, match="entity does not exist"):
        site.deploy(outside, serviceofferingid=private["id"])
    chief = cloud.tenant(top, "DomainAdmin")
    with pytest.raises(ApiError, match="531"):
        chief.createServiceOffering(name="for all", **FIXED)
    hers = chief.createServiceOffering(name="hers", domainid=inside.domain, **FIXED)
    assert chief.listServiceOfferings(id=hers["id"]) and inside.listServiceOfferings(id=hers["id"])
    chief.updateServiceOffering(id=hers["id"], name="still hers")
    low = cloud.tenant(inside.domain, "DomainAdmin")
    with pytest.raises(ApiError, match="entity does not exist"):
        low.updateServiceOffering(id=private["id"], name="stolen")
    low.deleteServiceOffering(id=hers["id"])
    other = cloud.zone(hosts=0)
    there = cloud.admin.createServiceOffering(name="there", zoneid=other.zone, **FIXED)["id"]
    with pytest.raises(ApiError, match="is not for the zone"):
        site.deploy(outside, serviceofferingid=there)
    assert there not in {o["id"] for o in outside.listServiceOfferings(zoneid=site.zone)}


def test_filters(cloud: Cloud) -> None:
    big = cloud.admin.createServiceOffering(name="big", cpunumber=32, cpuspeed=2000, memory=65536)["id"]
    tenant = cloud.tenant()
    assert big in {o["id"] for o in tenant.listServiceOfferings(cpunumber=32, memory=60000)}
    assert {o["cpunumber"] for o in tenant.listServiceOfferings(cpunumber=32) if "cpunumber" in o} == {32}
    system = cloud.admin.createServiceOffering(name="system", issystem=True, **FIXED)["id"]
    assert [o["id"] for o in cloud.admin.listServiceOfferings(issystem=True)] == [system]
    assert tenant.listServiceOfferings(issystem=True, id=system) == []


def test_disk_offerings(cloud: Cloud) -> None:
    made = cloud.admin.createDiskOffering(name="d20", disksize=20, tags="ssd", cachemode="writeback")
    assert (made["disksize"], made["iscustomized"], made["tags"], made["cacheMode"]) == (20, False, "ssd", "writeback")
    for wrong in ({}, {"disksize": 0}, {"disksize": 70000}):
        with pytest.raises(ApiError, match="needs disksize"):
            cloud.admin.createDiskOffering(name="bad", **wrong)
    assert cloud.admin.updateDiskOffering(id=made["id"], displaytext="twenty")["displaytext"] == "twenty"
    cloud.admin.deleteDiskOffering(id=made["id"])
    with pytest.raises(ApiError, match="entity does not exist"):
        cloud.admin.listDiskOfferings(id=made["id"])
    assert {"Small", "Medium", "Large", "Custom"} <= {o["name"] for o in cloud.tenant().listDiskOfferings()}
