"""Jobs, events and tags: what was done, by whom, to what."""

from __future__ import annotations

import time
from typing import Any

import pytest
from cloud import ApiError, Cloud, Site

from mold.base import clock
from mold.store import REGISTRY


@pytest.fixture(scope="module")
def site(cloud: Cloud) -> Site:
    return cloud.zone(hosts=1)


def test_a_job_from_begin_to_end(cloud: Cloud, site: Site) -> None:
    tenant = cloud.tenant()
    wish = site.wish(tenant)
    cloud.simulator.latency = 0.4
    try:
        begun = tenant.ask("deployVirtualMachine", **wish)
        told = tenant.ask("queryAsyncJobResult", jobid=begun["jobid"])
        assert (told["jobstatus"], told["jobprocstatus"], told["jobresultcode"]) == (0, 0, 0)
        assert {"jobresult", "jobresulttype", "completed"} & set(told) == set()
        assert told["jobinstanceid"] == begun["id"] and told["jobinstancetype"] == "VirtualMachine"
        assert (told["account"], told["userid"]) == (tenant.name, tenant.user)
    finally:
        cloud.simulator.latency = 0.0
    told = tenant.ended(begun["jobid"])
    assert (told["jobstatus"], told["jobresulttype"], told["jobprogress"]) == (1, "object", 100)
    assert told["jobresult"]["virtualmachine"]["id"] == begun["id"]
    assert {s["state"] for s in told["jobsteps"]} == {"done"}
    assert told["completed"] >= told["created"]
    by_thing = tenant.ask("queryAsyncJobResult", resourceid=begun["id"], resourcetype="VirtualMachine")
    assert by_thing["jobid"] == begun["jobid"]


def test_a_failed_job(cloud: Cloud, site: Site) -> None:
    tenant = cloud.tenant()
    wish = site.wish(tenant)
    cloud.simulator.plant(call="StartMachine", text="no more lamps")
    begun = tenant.ask("deployVirtualMachine", **wish)
    told = tenant.ended(begun["jobid"])
    assert (told["jobstatus"], told["jobresultcode"]) == (2, 530)
    assert told["jobresult"]["errorcode"] == 530 and "no more lamps" in told["jobresult"]["errortext"]
    assert {"uuidList", "cserrorcode"} & set(told["jobresult"]) == set()
    assert tenant.raw("queryAsyncJobResult", jobid=begun["jobid"]).status == 200
    assert tenant.listVirtualMachines() == []


def test_lists_of_jobs(cloud: Cloud, site: Site) -> None:
    chief = cloud.tenant(role="DomainAdmin")
    tenant = cloud.tenant(chief.domain)
    vm = site.deploy(tenant)
    tenant.stopVirtualMachine(id=vm["id"])
    names = [j["command"] for j in tenant.listAsyncJobs()]
    assert names == ["stopVirtualMachine", "deployVirtualMachine"], "the newest first"
    # Clients know commands of jobs by the names of classes in Java.
    assert tenant.listAsyncJobs()[0]["cmd"] == "org.apache.cloudstack.api.command.admin.vm.StopVMCmdByAdmin"
    assert "managementservername" not in tenant.listAsyncJobs()[0]
    assert cloud.admin.listAsyncJobs(listall=True)[0]["managementservername"]
    assert chief.listAsyncJobs() == []
    assert [j["command"] for j in chief.listAsyncJobs(listall=True)] == names
    assert chief.listAsyncJobs(listall=True, startdate="2099-01-01") == []
    assert cloud.tenant().listAsyncJobs(listall=True) == []
    with pytest.raises(ApiError, match="missing parameter jobid"):
        tenant.queryAsyncJobResult()


def test_events_of_asynchronous_work_hang_together(cloud: Cloud, site: Site) -> None:
    tenant = cloud.tenant()
    vm = site.deploy(tenant)
    done, begun, asked = tenant.listEvents(type="VM.CREATE")
    assert [e["state"] for e in (asked, begun, done)] == ["Scheduled", "Started", "Completed"]
    assert done["parentid"] == begun["parentid"] == asked["id"]
    assert (asked["resourceid"], asked["resourcename"], asked["account"]) == (vm["id"], vm["name"], tenant.name)
    assert asked["username"] == tenant.name and asked["level"] == "INFO"
    assert [e["id"] for e in tenant.listEvents(startid=asked["id"])] == [done["id"], begun["id"], asked["id"]]
    assert {e["type"] for e in tenant.listEvents(resourceid=vm["id"], resourcetype="VirtualMachine")} == {"VM.CREATE"}
    assert tenant.listEvents(startdate="2099-01-01") == [] == tenant.listEvents(enddate="2001-01-01")


def test_a_failure_is_an_error_event(cloud: Cloud, site: Site) -> None:
    tenant = cloud.tenant()
    wish = site.wish(tenant)
    cloud.simulator.plant(call="StartMachine", text="a burnt fuse")
    with pytest.raises(ApiError):
        tenant.deployVirtualMachine(**wish)
    (event,) = tenant.listEvents(level="ERROR")
    assert event["type"] == "VM.CREATE" and "a burnt fuse" in event["description"]


def test_what_an_admin_does_is_in_the_owners_events(cloud: Cloud, site: Site) -> None:
    tenant = cloud.tenant()
    vm = site.deploy(tenant)["id"]
    cloud.admin.stopVirtualMachine(id=vm)
    rows = tenant.listEvents(type="VM.STOP")
    assert [e["state"] for e in rows] == ["Completed", "Started", "Scheduled"]
    assert {e["username"] for e in rows} == {"admin"} and {e["account"] for e in rows} == {tenant.name}
    assert {e["resourceid"] for e in rows} == {vm}
    assert cloud.tenant().listEvents(listall=True, resourceid=vm) == []


def test_work_under_way_is_found_by_how_long(cloud: Cloud, site: Site) -> None:
    tenant = cloud.tenant()
    wish = site.wish(tenant)
    cloud.simulator.latency = 1.0
    try:
        begun = tenant.ask("deployVirtualMachine", **wish)
        time.sleep(1.1)
        (row,) = tenant.listEvents(duration=1)
        assert (row["type"], row["state"]) == ("VM.CREATE", "Scheduled")
        assert tenant.listEvents(duration=600) == [] and len(tenant.listEvents(duration=1, entrytime=600)) == 1
        with pytest.raises(ApiError, match="longer ago"):
            tenant.listEvents(duration=10, entrytime=5)
    finally:
        cloud.simulator.latency = 0.0
    tenant.job(begun["jobid"])
    assert tenant.listEvents(duration=0) == []


def test_a_failure_tells_tenants_nothing_of_hosts(cloud: Cloud, site: Site) -> None:
    tenant = cloud.tenant()
    wish = site.wish(tenant)
    cloud.admin.updateHost(id=site.hosts[0], allocationstate="Disable")
    try:
        with pytest.raises(ApiError):
            tenant.deployVirtualMachine(**wish)
    finally:
        cloud.admin.updateHost(id=site.hosts[0], allocationstate="Enable")
    (event,) = tenant.listEvents(level="ERROR")
    name = cloud.admin.one("listHosts", id=site.hosts[0])["name"]
    assert name not in event["description"] and event["description"].startswith("Error while deployVirtualMachine")


def test_events_are_put_away_and_deleted(cloud: Cloud) -> None:
    tenant, other = cloud.tenant(), cloud.tenant()
    for actor in (tenant, other):
        actor.deleteEvents(startdate="2001-01-01")  # of the account's own making
        actor.createSSHKeyPair(name="a")
        actor.registerUserData(name="u", userdata="aGVsbG8K")
    key = tenant.one("listEvents", type="REGISTER.SSH.KEYPAIR")["id"]
    foreign = other.one("listEvents", type="REGISTER.SSH.KEYPAIR")["id"]
    for command in (tenant.archiveEvents, tenant.deleteEvents):
        with pytest.raises(ApiError, match="Say which"):
            command()
        with pytest.raises(ApiError, match="does not exist"):
            command(ids=[foreign])
        with pytest.raises(ApiError, match="after"):
            command(startdate="2030-01-01", enddate="2020-01-01")
    tenant.archiveEvents(ids=[key])
    assert [e["type"] for e in tenant.listEvents()] == ["REGISTER.USER.DATA"]
    assert {e["id"] for e in tenant.listEvents(archived=True)} >= {key}
    tenant.deleteEvents(type="REGISTER.USER.DATA", startdate="2001-01-01", enddate="2099-01-01")
    assert tenant.listEvents() == [] and len(other.listEvents()) == 2
    tenant.deleteEvents(startdate="2001-01-01")
    assert tenant.listEvents(archived=True) == [] and len(other.listEvents()) == 2


def test_what_happens_by_itself(cloud: Cloud, site: Site) -> None:
    tenant = cloud.tenant()
    wish = {"format": "QCOW2", "hypervisor": "Simulator", "zoneid": site.zone, "url": "http://images.invalid/x.qcow2"}
    good = tenant.registerTemplate(name="good", **wish)["id"]
    cloud.idle()
    cloud.simulator.plant(call="FetchImage", text="the line is cut")
    bad = tenant.registerTemplate(name="bad", **wish)["id"]
    cloud.idle()
    seen = lambda id: [e["type"] for e in reversed(tenant.listEvents(resourceid=id)) if "DOWNLOAD" in e["type"]]
    assert seen(good) == ["TEMPLATE.DOWNLOAD.START", "TEMPLATE.DOWNLOAD.SUCCESS"]
    assert seen(bad) == ["TEMPLATE.DOWNLOAD.START", "TEMPLATE.DOWNLOAD.FAILED"]
    (error,) = tenant.listEvents(level="ERROR", type="TEMPLATE.DOWNLOAD.FAILED")
    assert "the line is cut" in error["description"] and error["resourcename"] == "bad"
    assert "TEMPLATE.DOWNLOAD.FAILED" in {t["name"] for t in tenant.listEventTypes()}


def test_old_events_are_purged(cloud: Cloud) -> None:
    tenant = cloud.tenant()
    tenant.deleteEvents(startdate="2001-01-01")
    tenant.createSSHKeyPair(name="a")
    old = tenant.one("listEvents")["id"]
    tenant.createSSHKeyPair(name="b")
    kind = REGISTRY["event"]

    def age(tx: Any) -> None:
        tx.set(tx.one(kind, old), created=clock.ago(16 * 86400))

    cloud.run(cloud.manager.engine.writing(age))
    cloud.set("event.purge.delay", 0)
    cloud.reconcile("purge_events")
    assert len(tenant.listEvents()) == 2, "0: never"
    cloud.admin.resetConfiguration(name="event.purge.delay")
    assert cloud.reconcile("purge_events") >= 1 and cloud.reconcile("purge_events") == 0
    assert old not in {e["id"] for e in tenant.listEvents()} and len(tenant.listEvents()) == 1


def test_jobs_by_word(cloud: Cloud, site: Site) -> None:
    tenant = cloud.tenant()
    site.deploy(tenant)
    assert [j["command"] for j in tenant.listAsyncJobs(keyword="deployvirtual")] == ["deployVirtualMachine"]
    assert tenant.listAsyncJobs(keyword="stopVirtual") == []
    row = tenant.listAsyncJobs(resourcetype="VirtualMachine")[0]
    assert row["jobprogress"] == 100 and {s["state"] for s in row["jobsteps"]} == {"done"}


def test_a_refused_command_leaves_no_event(cloud: Cloud, site: Site) -> None:
    tenant = cloud.tenant()
    before = len(cloud.admin.listEvents(listall=True, pagesize=-1))
    with pytest.raises(ApiError):
        tenant.createNetwork(
            name="x",
            networkofferingid=site.network_offering,
            zoneid=site.zone,
            gateway="8.8.8.1",
            netmask="255.255.255.0",
        )
    assert len(cloud.admin.listEvents(listall=True, pagesize=-1)) == before


def test_event_types(cloud: Cloud) -> None:
    names = [t["name"] for t in cloud.admin.listEventTypes()]
    assert names == sorted(names) and {"VM.CREATE", "NETWORK.CREATE", "ZONE.CREATE"} <= set(names)


def test_tags(cloud: Cloud, site: Site) -> None:
    tenant = cloud.tenant()
    web = site.deploy(tenant, name="web", startvm=False)["id"]
    db = site.deploy(tenant, name="db", startvm=False)["id"]
    tenant.createTags(resourcetype="UserVm", resourceids=[web, db], tags={"env": "prod", "한글": "값"})
    tenant.createTags(resourcetype="virtualmachine", resourceids=[db], tags={"role": "db"})
    found = {t["key"]: t["value"] for t in tenant.listTags(resourceid=db)}
    assert found == {"env": "prod", "한글": "값", "role": "db"}
    assert {t["resourcetype"] for t in tenant.listTags()} == {"UserVm"}
    names = lambda **tags: {v["name"] for v in tenant.listVirtualMachines(tags=tags)}
    assert names(env="prod") == {"web", "db"}
    assert names(role="db") == {"db"}
    assert names(role="db", env="prod") == {"web", "db"}, "several pairs are combined with OR"
    assert names(env="test") == set()
    assert {"key": "role", "value": "db"} in [
        {k: t[k] for k in ("key", "value")} for t in site.machine(tenant, db)["tags"]
    ]
    with pytest.raises(ApiError, match="already a tag"):
        tenant.createTags(resourcetype="UserVm", resourceids=[web], tags={"env": "test"})
    tenant.deleteTags(resourcetype="UserVm", resourceids=[db], tags={"role": "db"})
    assert {t["key"] for t in tenant.listTags(resourceid=db)} == {"env", "한글"}
    tenant.deleteTags(resourcetype="UserVm", resourceids=[db])
    assert tenant.listTags(resourceid=db) == []
    cloud.admin.destroyVirtualMachine(id=web, expunge=True)
    assert tenant.listTags() == [], "tags go with their thing"
    for bad in ({"resourcetype": "Nonsense"}, {"tags": {"": "x"}}, {"tags": {"k": "x" * 256}}, {"resourceids": ["²"]}):
        with pytest.raises(ApiError, match="431"):
            tenant.createTags(**{"resourcetype": "UserVm", "resourceids": [db], "tags": {"a": "b"}, **bad})
