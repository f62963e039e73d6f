"""Usage: the log follows what happens, once, and records are a fold of it that comes out the same each time."""

from __future__ import annotations

import time
from typing import Any

import pytest
import sqlalchemy as sa
from cloud import ApiError, Cloud, Site

from mold.base import clock
from mold.features.care import usage as u


@pytest.fixture(scope="module")
def site(cloud: Cloud) -> Site:
    return cloud.zone(hosts=1)


def log_of(cloud: Cloud, account: str) -> list[Any]:
    return cloud.run(cloud.manager.engine.reading(lambda tx: tx.find(u.UsageEvent, u.UsageEvent.c.account_id == account)))


def back(cloud: Cloud, account: str, days: float) -> None:
    """As if all of it had happened so many days ago."""

    def shift(tx: Any) -> None:
        for each in tx.find(u.UsageEvent, u.UsageEvent.c.account_id == account):
            tx.set(each, at=clock.at(clock.seconds(each.at) - days * 86400))

    cloud.run(cloud.manager.engine.writing(shift))


def test_the_log_follows_a_machines_life(cloud: Cloud, site: Site) -> None:
    tenant = cloud.tenant()
    net = site.network(tenant)["id"]
    vm = site.deploy(tenant, networkids=net)["id"]
    tenant.stopVirtualMachine(id=vm)
    bigger = cloud.admin.createServiceOffering(name=cloud.name("big"), cpunumber=2, cpuspeed=500, memory=512)["id"]
    tenant.changeServiceForVirtualMachine(id=vm, serviceofferingid=bigger)
    tenant.startVirtualMachine(id=vm)
    tenant.updateVirtualMachine(id=vm, displayname="another name")
    tenant.destroyVirtualMachine(id=vm)
    cloud.admin.recoverVirtualMachine(id=vm)
    cloud.admin.destroyVirtualMachine(id=vm, expunge=True)
    tenant.deleteNetwork(id=net)
    log = log_of(cloud, tenant.account)
    of_vm = [e.type for e in log if e.resource_id == vm]
    assert of_vm == ["VM.CREATE", "VM.START", "VM.STOP", "VM.UPGRADE", "VM.START", "VM.STOP", "VM.DESTROY", "VM.CREATE", "VM.DESTROY"]
    rest = sorted(e.type for e in log if e.resource_id != vm)
    assert rest == sorted(["NETWORK.CREATE", "NET.IPASSIGN", "VOLUME.CREATE", "VOLUME.DELETE", "NET.IPRELEASE", "NETWORK.DELETE"])
    upgraded = next(e for e in log if e.type == "VM.UPGRADE")
    assert (upgraded.offering_id, upgraded.cpu_number, upgraded.memory) == (bigger, 2, 512)
    for thing in {e.resource_id for e in log}:
        for meter in {e.meter for e in log if e.resource_id == thing}:
            chain = [e for e in log if (e.resource_id, e.meter) == (thing, meter)]
            assert [e.after for e in chain] == [0, *(e.number for e in chain[:-1])], "each names the one before it"
            assert not chain[-1].opens


def test_a_failed_deploy_leaves_nothing_running(cloud: Cloud, site: Site) -> None:
    tenant = cloud.tenant()
    cloud.simulator.plant(call="StartMachine", text="no more lamps")
    with pytest.raises(ApiError):
        site.deploy(tenant)
    log = log_of(cloud, tenant.account)
    assert not any(e.meter == 1 for e in log), "it never ran"
    assert {e.type for e in log if e.meter in (2, 6)} == {"VM.CREATE", "VM.DESTROY", "VOLUME.CREATE", "VOLUME.DELETE"}


def test_records(cloud: Cloud, site: Site) -> None:
    domain = cloud.domain()
    tenant, boss, other = cloud.tenant(domain), cloud.tenant(domain, role="DomainAdmin"), cloud.tenant(role="DomainAdmin")
    vm = site.deploy(tenant)["id"]
    tenant.createTags(resourcetype="UserVm", resourceids=[vm], tags={"team": "a"})
    back(cloud, tenant.account, 3)
    midnight = time.time() // 86400 * 86400
    from_, to = clock.at(midnight - 2 * 86400), clock.at(midnight - 1)
    cloud.admin.generateUsageRecords(startdate=from_, enddate=clock.at(midnight))
    cloud.idle()
    mine = {"startdate": from_, "enddate": to, "accountid": tenant.account}
    rows = cloud.admin.listUsageRecords(**mine)
    running = [r for r in rows if r["usagetype"] == 1]
    assert len(running) == 2 and {r["rawusage"] for r in running} == {"24.000000"} and running[0]["usage"] == "24 Hrs"
    assert running[0]["virtualmachineid"] == vm == running[0]["usageid"] and running[0]["account"] == tenant.name
    assert running[0]["offeringid"] == site.offering and running[0]["templateid"] == site.template
    assert {r["usagetype"] for r in rows} == {1, 2, 3, 6, 30}
    volume = next(r for r in rows if r["usagetype"] == 6)
    assert volume["size"] > 0 and volume["type"] == "VOLUME"
    before = {r["id"]: r for r in rows}
    cloud.admin.generateUsageRecords(startdate=from_, enddate=clock.at(midnight))
    cloud.reconcile("write_usage")
    assert cloud.reconcile("write_usage") == 0
    assert {r["id"]: r for r in cloud.admin.listUsageRecords(**mine)} == before, "computed anew, they are the same"
    assert len(cloud.admin.listUsageRecords(**mine, type=1)) == 2
    assert cloud.admin.listUsageRecords(**mine, usageid=vm, type=2, includetags=True)[0]["tags"][0]["value"] == "a"
    assert cloud.admin.listUsageRecords(**mine, type=1, oldformat=True)[0]["description"].endswith(f": {vm}")
    assert cloud.admin.listUsageRecords(**mine, type=1)[0]["description"].endswith(f": VM-{vm}")
    assert len(boss.listUsageRecords(startdate=from_, enddate=to)) == len(rows)
    assert other.listUsageRecords(startdate=from_, enddate=to) == []
    with pytest.raises(ApiError):
        tenant.listUsageRecords(startdate=from_, enddate=to)
    for bad in ({"startdate": to, "enddate": from_}, {**mine, "type": 999}):
        with pytest.raises(ApiError):
            cloud.admin.listUsageRecords(**bad)
    cloud.admin.removeRawUsageRecords(interval=0)
    assert cloud.admin.listUsageRecords(**mine) == []


def test_a_part_of_a_day_and_a_change_within_it() -> None:
    assert list(u.periods(0, 86400 * 2, 1440)) == [(0, 86400), (86400, 172800)]
    assert list(u.periods(3600, 86400, 720)) == [(43200, 86400)]


def test_a_stop_in_the_middle(cloud: Cloud, site: Site) -> None:
    tenant = cloud.tenant()
    vm = site.deploy(tenant)["id"]
    tenant.stopVirtualMachine(id=vm)
    midnight = time.time() // 86400 * 86400

    def place(tx: Any) -> list[float]:
        found = [e for e in tx.find(u.UsageEvent, u.UsageEvent.c.resource_id == vm) if e.meter == 1]
        for each, hour in zip(found, (6, 15.5), strict=True):
            tx.set(each, at=clock.at(midnight - 86400 + hour * 3600))
        return [r.raw for r in u.fold(tx, midnight - 86400, midnight) if r.usage_type == 1 and r.resource_id == vm]

    assert cloud.run(cloud.manager.engine.writing(place)) == [9.5]


def test_types(cloud: Cloud) -> None:
    assert {r["id"]: r["name"] for r in cloud.admin.listUsageTypes()}[1] == "RUNNING_VM"
    assert sa is not None
