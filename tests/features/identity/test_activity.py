"""Jobs, events and tags: what was done, by whom, to what."""

from __future__ import annotations

import pytest
from cloud import ApiError, Cloud, Site


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
    names = [j["cmd"] for j in tenant.listAsyncJobs()]
    assert names == ["stopVirtualMachine", "deployVirtualMachine"], "the newest first"
    assert chief.listAsyncJobs() == []
    assert [j["cmd"] for j in chief.listAsyncJobs(listall=True)] == names
    assert chief.listAsyncJobs(listall=True, startdate="2099-01-01") == []
    assert cloud.tenant().listAsyncJobs(listall=True) == []
    with pytest.raises(ApiError, match="missing parameter jobid"):
        tenant.queryAsyncJobResult()


def test_events_of_asynchronous_work_hang_together(cloud: Cloud, site: Site) -> None:
    tenant = cloud.tenant()
    vm = site.deploy(tenant)
    done, begun, asked = tenant.listEvents(type="VM.CREATE")
    assert [e["state"] for e in (asked, begun, done)] == ["Scheduled", "Started", "Completed"]
    assert done["parentid"] == asked["id"] == begun["parentid"]
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
