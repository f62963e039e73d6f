"""Primary and secondary storage: added with a look at them, filled up to a limit, removed when empty."""

from __future__ import annotations

from typing import Any

import pytest
from cloud import ApiError, Cloud, Site

GIB = 1024**3
POOL = 1 << 50


@pytest.fixture(scope="module")
def site(cloud: Cloud) -> Site:
    return cloud.zone(hosts=2)


def pool(cloud: Cloud, site: Site, name: str, **params: Any) -> dict[str, Any]:
    where = {
        "zoneid": site.zone,
        "podid": site.pod,
        "clusterid": site.cluster,
        "url": f"sharedmountpoint://localhost/{name}",
        **params,
    }
    return dict(cloud.admin.createStoragePool(name=name, **where))


def test_a_pool_is_measured_when_it_is_added(cloud: Cloud, site: Site) -> None:
    made = pool(cloud, site, "measured", tags="ssd,fast", details={"a": "b"})
    assert (made["state"], made["scope"], made["type"], made["path"]) == (
        "Up",
        "CLUSTER",
        "SharedMountPoint",
        "/measured",
    )
    assert (made["disksizetotal"], made["disksizeused"], made["disksizeallocated"]) == (POOL, 0, 0)
    assert (made["tags"], made["overprovisionfactor"], made["details"]) == ("ssd,fast", "2.0", {"a": "b"})
    assert {p["id"] for p in cloud.admin.listStoragePools(hostid=site.hosts[0])} == {site.pool, made["id"]}
    cloud.admin.deleteStoragePool(id=made["id"])
    assert cloud.admin.listStoragePools(name="measured") == []


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"url": "nfs://server/export"}, "is not offered yet"),
        ({"url": "sharedmountpoint://localhost/../etc"}, "without '..'"),
        ({"url": "sharedmountpoint://localhost/"}, "absolute path"),
        ({"url": "sharedmountpoint://localhost//a//b"}, "absolute path"),
        ({"url": "filesystem://nobody/x"}, "There is no host nobody"),
        ({"scope": "HOST"}, "of a cluster or of the zone"),
        ({"clusterid": None, "scope": "CLUSTER"}, "needs podid and clusterid"),
        ({"clusterid": None, "podid": None}, "needs hypervisor"),
    ],
)
def test_pools_that_cannot_be(cloud: Cloud, site: Site, wrong: dict[str, Any], text: str) -> None:
    with pytest.raises(ApiError) as no:
        pool(cloud, site, "bad", **wrong)
    assert no.value.code == 431 and text in no.value.text
    assert cloud.admin.listStoragePools(name="bad") == []


def test_the_same_directory_and_the_same_name_once(cloud: Cloud, site: Site) -> None:
    pool(cloud, site, "once")
    with pytest.raises(ApiError, match="already"):
        pool(cloud, site, "once", url="sharedmountpoint://localhost/elsewhere")
    with pytest.raises(ApiError, match="is a primary storage already"):
        pool(cloud, site, "again", url="sharedmountpoint://localhost/once/")


def test_a_pool_that_cannot_be_mounted_leaves_nothing(cloud: Cloud, site: Site) -> None:
    cloud.simulator.plant(call="MountPool", text="no such directory")
    with pytest.raises(ApiError, match="no such directory"):
        pool(cloud, site, "absent")
    assert cloud.admin.listStoragePools(name="absent") == []
    empty = cloud.zone(hosts=0)
    with pytest.raises(ApiError, match="No host that could mount this storage is Up"):
        pool(cloud, empty, "too early")


def test_a_hosts_own_and_a_zones_storage(cloud: Cloud) -> None:
    own = cloud.zone(hosts=2)
    name = cloud.admin.one("listHosts", id=own.hosts[0])["name"]
    local = pool(cloud, own, "local", url=f"filesystem://{name}/var/local")
    assert (local["scope"], local["type"]) == ("HOST", "Filesystem")
    wide = pool(cloud, own, "wide", clusterid=None, podid=None, hypervisor="Simulator")
    assert wide["scope"] == "ZONE" and "clusterid" not in wide
    seen = lambda host: {p["name"] for p in cloud.admin.listStoragePools(hostid=host)}
    assert seen(own.hosts[0]) == {"primary", "local", "wide"} and seen(own.hosts[1]) == {"primary", "wide"}
    offering = cloud.admin.createServiceOffering(
        name="on local", cpunumber=1, cpuspeed=100, memory=64, storagetype="local"
    )["id"]
    tenant = cloud.tenant()
    vm = own.deploy(tenant, serviceofferingid=offering)
    assert cloud.admin.one("listVirtualMachines", id=vm["id"])["hostid"] == own.hosts[0]
    assert cloud.admin.one("listVolumes", virtualmachineid=vm["id"], listall=True)["storage"] == "local"


def test_disks_are_promised_and_given_back(cloud: Cloud, site: Site) -> None:
    tenant = cloud.tenant()
    before = cloud.admin.one("listStoragePools", id=site.pool)["disksizeallocated"]
    vm = site.deploy(tenant, rootdisksize=10)
    allocated = lambda: cloud.admin.one("listStoragePools", id=site.pool)["disksizeallocated"] - before
    assert allocated() == 10 * GIB
    with pytest.raises(ApiError, match="holds the volume ROOT-") as no:
        cloud.admin.deleteStoragePool(id=site.pool)
    assert no.value.code == 536
    tenant.stopVirtualMachine(id=vm["id"])
    assert allocated() == 10 * GIB
    cloud.admin.destroyVirtualMachine(id=vm["id"], expunge=True)
    assert allocated() == 0


def test_over_provisioning_and_thresholds(cloud: Cloud) -> None:
    """Promised: size × factor × 0.85. Used: no more than 0.85 of the size."""
    own = cloud.zone(hosts=1)
    cloud.set("max.account.primary.storage", -1)
    cloud.set("max.domain.primary.storage", -1)
    cloud.set("storage.max.volume.size", 65536)
    try:
        tenant = cloud.tenant()
        offering = cloud.admin.createServiceOffering(
            name="huge", cpunumber=1, cpuspeed=1, memory=32, rootdisksize=65536
        )["id"]
        cloud.set("storage.overprovisioning.factor", 1, storageid=own.pool)
        cloud.set("pool.storage.allocated.capacity.disablethreshold", 0.125, storageid=own.pool)
        for _ in range(2):  # 2 × 64 TiB of 1 PiB × 0.125
            own.deploy(tenant, serviceofferingid=offering)
        with pytest.raises(ApiError, match="No primary storage has room for this disk"):
            own.deploy(tenant, serviceofferingid=offering)
        with pytest.raises(ApiError, match=r"128.0 TiB of 128.0 TiB are promised already") as no:
            own.deploy(cloud.admin, serviceofferingid=offering)
        assert no.value.code == 533
        cloud.set("storage.overprovisioning.factor", 2, storageid=own.pool)
        own.deploy(tenant, serviceofferingid=offering)
        cloud.set("pool.storage.capacity.disablethreshold", 0, storageid=own.pool)
        cloud.simulator.stores[own.pool].images["a big one"] = POOL // 2
        assert cloud.reconcile("measure_pools") >= 1
        assert cloud.reconcile("measure_pools") == 0, "nothing has changed since"
        with pytest.raises(ApiError, match=r"50 % of it are used, more than 0 %"):
            own.deploy(cloud.admin, serviceofferingid=offering)
    finally:
        cloud.set("max.account.primary.storage", 200)
        cloud.set("max.domain.primary.storage", 400)
        cloud.set("storage.max.volume.size", 2000)


def test_tags_and_being_disabled(cloud: Cloud) -> None:
    own = cloud.zone(hosts=1)
    offering = cloud.admin.createServiceOffering(name="ssd only", cpunumber=1, cpuspeed=100, memory=64, tags="ssd")[
        "id"
    ]
    with pytest.raises(ApiError, match="it lacks the tag ssd"):
        own.deploy(cloud.admin, serviceofferingid=offering)
    cloud.admin.updateStoragePool(id=own.pool, tags="ssd,x")
    own.deploy(cloud.admin, serviceofferingid=offering)
    assert cloud.admin.updateStoragePool(id=own.pool, enabled=False)["state"] == "Disabled"
    with pytest.raises(ApiError, match="it is Disabled"):
        own.deploy(cloud.admin, serviceofferingid=offering)
    assert cloud.admin.updateStoragePool(id=own.pool, enabled=True)["state"] == "Up"


def test_secondary_storage(cloud: Cloud, site: Site) -> None:
    made = cloud.admin.addImageStore(provider="NFS", url="file:///images/one", name="one", zoneid=site.zone)
    assert (made["name"], made["scope"], made["protocol"], made["disksizetotal"]) == ("one", "ZONE", "file", POOL)
    region = cloud.admin.addSecondaryStorage(url="file:///images/two")
    assert region["scope"] == "REGION"
    cloud.admin.deleteImageStore(id=region["id"])
    for params, text in (
        ({"provider": "S3", "url": "s3://x"}, "is not offered yet"),
        ({"provider": "NFS", "url": "nfs://server/x"}, "url must be file://"),
        ({"provider": "NFS", "url": "file:///a/../b"}, "url must be file://"),
        ({"provider": "NFS"}, "url must be file://"),
        ({"provider": "NFS", "url": "file:///images/one/"}, "is a secondary storage already"),
        ({"provider": "NFS", "url": "file:///images/three", "name": "one"}, "already a secondary storage"),
    ):
        with pytest.raises(ApiError) as no:
            cloud.admin.addImageStore(**params)
        assert no.value.code == 431 and text in no.value.text
    cloud.admin.deleteImageStore(id=made["id"])
    with pytest.raises(ApiError, match="is used by the template") as no:
        cloud.admin.deleteImageStore(id=site.store)
    assert no.value.code == 536


def test_a_store_that_takes_no_more(cloud: Cloud) -> None:
    own = cloud.zone(hosts=1)
    cloud.admin.updateImageStore(id=own.store, readonly=True)
    wish = {
        "name": "x",
        "url": "http://images.invalid/x",
        "format": "QCOW2",
        "hypervisor": "Simulator",
        "zoneid": own.zone,
    }
    with pytest.raises(ApiError, match="no secondary storage that takes images") as no:
        cloud.admin.registerTemplate(**wish)
    assert no.value.code == 534
    with pytest.raises(ApiError, match="This zone has nowhere to keep images yet"):
        cloud.tenant().registerTemplate(**wish)
