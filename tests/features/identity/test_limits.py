"""Limits: a count changes with the thing it counts, and no number of parallel requests passes a limit."""

from __future__ import annotations

import asyncio
import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest
import sqlalchemy as sa
from cloud import Actor, ApiError, Cloud, Site, on_the_wire

from mold.features.identity import limits


@pytest.fixture(scope="module")
def site(cloud: Cloud) -> Site:
    return cloud.zone(hosts=2, public=400)


@contextmanager
def limited(cloud: Cloud, **names: int) -> Iterator[None]:
    """Global limits of accounts or domains, as `account_user_vms=3`."""
    before = {}
    for name, value in names.items():
        setting = "max." + name.replace("_", ".")
        before[setting] = cloud.admin.one("listConfigurations", name=setting)["value"]
        cloud.set(setting, value)
    try:
        yield
    finally:
        for setting, value in before.items():
            cloud.set(setting, value)


def over(no: pytest.ExceptionInfo[ApiError], resource: str, limit: int, used: int) -> None:
    assert no.value.code == 535 and no.value.key == "OverLimit"
    assert {k: no.value.params[k] for k in ("resource", "limit", "used")} == {
        "resource": resource,
        "limit": limit,
        "used": used,
    }
    assert f"limit of {resource} is {limit}; {used} are in use" in no.value.text


def test_machines_up_to_the_limit_and_again_after_one_is_gone(cloud: Cloud, site: Site) -> None:
    tenant = cloud.tenant()
    with limited(cloud, account_user_vms=2):
        first = site.deploy(tenant, startvm=False)
        site.deploy(tenant, startvm=False)
        with pytest.raises(ApiError) as no:
            site.deploy(tenant, startvm=False)
        over(no, "user_vm", 2, 2)
        assert len(tenant.listVirtualMachines()) == 2 and len(tenant.listVolumes()) == 2
        cloud.admin.destroyVirtualMachine(id=first["id"], expunge=True)
        site.deploy(tenant, startvm=False)


@pytest.mark.parametrize(
    ("setting", "value", "resource", "used"),
    [("account_cpus", 3, "cpu", 3), ("account_memory", 700, "memory", 512), ("account_volumes", 1, "volume", 1)],
)
def test_every_kind_of_limit(cloud: Cloud, site: Site, setting: str, value: int, resource: str, used: int) -> None:
    tenant = cloud.tenant()
    with limited(cloud, **{setting: value}), pytest.raises(ApiError) as no:
        for _ in range(4):
            site.deploy(tenant, startvm=False)
    over(no, resource, value, used)


def test_primary_storage_in_gib(cloud: Cloud, site: Site) -> None:
    tenant = cloud.tenant()
    with limited(cloud, account_primary_storage=25):
        site.deploy(tenant, startvm=False, rootdisksize=20)
        with pytest.raises(ApiError) as no:
            site.deploy(tenant, startvm=False, rootdisksize=10)
    over(no, "primary_storage", 25, 20)


def test_networks_and_addresses(cloud: Cloud, site: Site) -> None:
    tenant = cloud.tenant()
    with limited(cloud, account_networks=1):
        site.network(tenant)
        with pytest.raises(ApiError) as no:
            site.network(tenant, "second")
        over(no, "network", 1, 1)
        tenant.deleteNetwork(id=tenant.listNetworks()[0]["id"])
        site.network(tenant, "second")
    with limited(cloud, account_public_ips=0):
        with pytest.raises(ApiError, match="limit of public_ip is 0"):
            site.deploy(tenant)
        assert tenant.listVirtualMachines() == [], "the deploy left nothing"


def test_templates(cloud: Cloud, site: Site) -> None:
    tenant = cloud.tenant()
    wish = {"url": "http://images.invalid/x.qcow2", "format": "QCOW2", "hypervisor": "Simulator", "zoneid": site.zone}
    with limited(cloud, account_templates=1):
        tenant.registerTemplate(name="one", **wish)
        with pytest.raises(ApiError) as no:
            tenant.registerTemplate(name="two", **wish)
        over(no, "template", 1, 1)


def test_a_domain_limits_what_its_accounts_have_together(cloud: Cloud, site: Site) -> None:
    top = cloud.domain()
    first, second = cloud.tenant(top), cloud.tenant(cloud.domain(parent=top))
    with limited(cloud, domain_user_vms=2):
        site.deploy(first, startvm=False)
        site.deploy(second, startvm=False)
        for each in (first, second):
            with pytest.raises(ApiError, match="The domain's limit of user_vm is 2; 2 are in use"):
                site.deploy(each, startvm=False)


def test_root_admins_have_no_limits(cloud: Cloud, site: Site) -> None:
    with limited(cloud, account_user_vms=0):
        assert site.deploy(cloud.admin, startvm=False)["state"] == "Stopped"


def test_a_failed_deploy_gives_its_counts_back(cloud: Cloud) -> None:
    small = cloud.zone(hosts=1)
    tenant = cloud.tenant()
    wish = small.wish(tenant)
    cloud.admin.updateHost(id=small.hosts[0], allocationstate="Disable")
    with limited(cloud, account_user_vms=1, account_volumes=1):
        for _ in range(3):
            with pytest.raises(ApiError, match="533"):
                tenant.deployVirtualMachine(**wish)
        cloud.admin.updateHost(id=small.hosts[0], allocationstate="Enable")
        assert tenant.deployVirtualMachine(**wish)["state"] == "Running"


def race(cloud: Cloud, actors: list[Actor], command: str, wishes: list[dict[str, object]], ways: int) -> list[int]:
    """The same command so many times at the same moment; the statuses."""

    async def go() -> list[int]:
        calls = (actors[n % len(actors)].answer(command, on_the_wire(wishes[n % len(wishes)])) for n in range(ways))
        return [a.status for a in await asyncio.gather(*calls)]

    return cloud.run(go())


def test_five_hundred_at_once_never_pass_an_accounts_limit(cloud: Cloud, site: Site) -> None:
    tenant = cloud.tenant()
    wish = {"name": "race", "zoneid": site.zone, "networkofferingid": site.network_offering}
    with limited(cloud, account_networks=7):
        statuses = race(cloud, [tenant], "createNetwork", [wish], 500)
    assert (statuses.count(200), statuses.count(535)) == (7, 493)
    assert len(tenant.listNetworks()) == 7


def test_five_hundred_threads_at_a_real_server_never_pass_a_domains_limit(cloud: Cloud, site: Site) -> None:
    top = cloud.domain()
    actors = [cloud.tenant(top), cloud.tenant(cloud.domain(parent=top))]
    place = urlsplit(cloud.serve())
    wish = on_the_wire({"name": "race", "zoneid": site.zone, "networkofferingid": site.network_offering})
    bodies = [urlencode(a.request("createNetwork", wish).params) for a in actors]
    statuses: list[int] = []
    together = threading.Barrier(500)

    def one(n: int) -> None:
        line = http.client.HTTPConnection(place.hostname or "", place.port, timeout=120)
        together.wait()
        line.request("POST", "/client/api", bodies[n % 2], {"Content-Type": "application/x-www-form-urlencoded"})
        statuses.append(line.getresponse().status)
        line.close()

    cloud.admin.updateResourceLimit(domainid=top, resourcetype=6, max=9)
    threads = [threading.Thread(target=one, args=(n,)) for n in range(500)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert (statuses.count(200), statuses.count(535), len(statuses)) == (9, 491, 500)
    assert sum(len(a.listNetworks()) for a in actors) == 9
    count = cloud.admin.call("updateResourceCount", domainid=top, resourcetype=6)
    assert count["resourcecount"] == 9


def test_many_deploys_at_once_never_pass_a_domains_limit(cloud: Cloud, site: Site) -> None:
    top = cloud.domain()
    actors = [cloud.tenant(top) for _ in range(4)]
    wishes = [site.wish(a, startvm=False) for a in actors]
    with limited(cloud, domain_user_vms=11):
        statuses = race(cloud, actors, "deployVirtualMachine", wishes, 60)
        cloud.idle()
    assert (statuses.count(200), statuses.count(535)) == (11, 49)
    assert sum(len(a.listVirtualMachines()) for a in actors) == 11


@pytest.mark.slow
def test_two_hundred_deploys_at_once(cloud: Cloud, site: Site) -> None:
    tenant = cloud.tenant()
    wish = site.wish(tenant)
    with limited(cloud, account_user_vms=7):
        statuses = race(cloud, [tenant], "deployVirtualMachine", [wish], 200)
        cloud.idle()
    assert (statuses.count(200), statuses.count(535)) == (7, 193)
    machines = tenant.listVirtualMachines()
    assert [m["state"] for m in machines] == ["Running"] * 7
    assert len(tenant.listVolumes()) == 7
    assert len({n["ipaddress"] for m in machines for n in m["nic"]}) == 7


def limits_of(cloud: Cloud, by: str = "resourcetypename", **whose: Any) -> dict[str, int]:
    return {r[by]: r["max"] for r in cloud.admin.listResourceLimits(**whose) if "tag" not in r}


def test_every_kind_is_listed_with_its_limit(cloud: Cloud) -> None:
    tenant = cloud.tenant()
    project = tenant.createProject(name=cloud.name("team"), displaytext="team")["id"]
    account = limits_of(cloud, account=tenant.name, domainid=tenant.domain)
    assert account == {
        "user_vm": 20, "public_ip": 20, "volume": 20, "snapshot": 20, "template": 20, "project": 10, "network": 20, "vpc": 20,
        "cpu": 40, "memory": 40960, "primary_storage": 200, "secondary_storage": 400, "backup": 20, "backup_storage": 400,
        "bucket": 20, "object_storage": 400, "gpu": 20,
    }  # fmt: skip
    domain = limits_of(cloud, domainid=tenant.domain)
    assert (domain["user_vm"], domain["project"], domain["memory"], domain["gpu"]) == (40, 50, 81920, 20)
    assert set(limits_of(cloud, projectid=project)) == set(account) - {"project"}
    assert set(limits_of(cloud).values()) == {-1}, "a root admin has no limits"
    assert set(limits_of(cloud, domainid=cloud.admin.domain).values()) == {-1}, "neither has ROOT"
    numbers = [r["resourcetype"] for r in tenant.listResourceLimits()]
    assert numbers == [str(n) for n in range(17)]
    assert [r["resourcetypename"] for r in tenant.listResourceLimits(resourcetype=7)] == ["vpc"]
    shown = cloud.admin.one("listAccounts", id=tenant.account)
    for word in ("backup", "backupstorage", "bucket", "objectstorage", "gpu", "vpc", "snapshot"):
        assert shown[f"{word}total"] == 0 and shown[f"{word}available"] == shown[f"{word}limit"], word
    assert (shown["projecttotal"], int(shown["projectavailable"])) == (1, int(shown["projectlimit"]) - 1)
    counts = cloud.admin.call("updateResourceCount", account=tenant.name, domainid=tenant.domain)
    assert {c["resourcetypename"]: c["resourcecount"] for c in counts} == {**dict.fromkeys(account, 0), "project": 1}


def test_defaults_are_settings_and_what_is_set_stays(cloud: Cloud) -> None:
    top = cloud.domain()
    tenant = cloud.tenant(top)
    with limited(cloud, account_vpcs=3, domain_vpcs=5, project_vpcs=4):
        project = tenant.createProject(name=cloud.name("team"), displaytext="team")["id"]
        assert limits_of(cloud, account=tenant.name, domainid=top)["vpc"] == 3
        assert limits_of(cloud, domainid=top)["vpc"] == 5
        assert limits_of(cloud, projectid=project)["vpc"] == 4
        cloud.admin.updateResourceLimit(account=tenant.name, domainid=top, resourcetype=7, max=99)
    assert limits_of(cloud, account=tenant.name, domainid=top)["vpc"] == 99, "an account's may be above its domain's"
    cloud.admin.updateResourceLimit(account=tenant.name, domainid=top, resourcetype=7, max=-1)
    assert limits_of(cloud, account=tenant.name, domainid=top)["vpc"] == -1


def test_a_domains_limit_is_within_its_parents(cloud: Cloud) -> None:
    top = cloud.domain()
    low = cloud.domain(parent=top)
    cloud.admin.updateResourceLimit(domainid=top, resourcetype=0, max=5)
    for wrong in (6, -1):
        with pytest.raises(ApiError, match="may have 5") as no:
            cloud.admin.updateResourceLimit(domainid=low, resourcetype=0, max=wrong)
        assert no.value.code == 431
    assert cloud.admin.updateResourceLimit(domainid=low, resourcetype=0, max=5)["max"] == 5
    admin = cloud.tenant(top, "DomainAdmin")
    assert admin.updateResourceLimit(domainid=low, resourcetype=0, max=4)["max"] == 4
    with pytest.raises(ApiError) as no:
        admin.updateResourceLimit(domainid=top, resourcetype=0, max=100)
    assert no.value.code == 531
    event = cloud.admin.listEvents(type="RESOURCE.LIMIT.UPDATE", listall=True)[0]
    assert "user_vm" in event["description"] and "is 4, it was 5" in event["description"]


def test_a_refusal_says_whose_limit_of_what_is_reached(cloud: Cloud, site: Site) -> None:
    top = cloud.domain("crowded")
    tenant = cloud.tenant(top)
    site.deploy(tenant, startvm=False)
    cloud.admin.updateResourceLimit(domainid=top, resourcetype=9, max=300)
    with pytest.raises(ApiError) as no:
        site.deploy(tenant, startvm=False)
    facts = no.value.params
    assert facts == {
        "resource": "memory", "limit": 300, "used": 256, "wanted": 256, "owner": "domain", "ownerid": top,
        "ownername": "ROOT/crowded",
    }  # fmt: skip
    assert "ROOT/crowded" in no.value.text and "256 more were asked for" in no.value.text
    project = tenant.createProject(name="crew", displaytext="crew")["id"]
    cloud.admin.updateResourceLimit(projectid=project, resourcetype=6, max=0)
    with pytest.raises(ApiError) as no:
        site.network(tenant, projectid=project)
    assert (no.value.params["owner"], no.value.params["ownername"], no.value.params["limit"]) == ("project", "crew", 0)


def test_limits_by_tag(cloud: Cloud, site: Site) -> None:
    tenant = cloud.tenant()
    whose = {"account": tenant.name, "domainid": tenant.domain}
    cloud.admin.updateHost(id=site.hosts[0], hosttags="fast,gpu")
    fast = cloud.admin.createServiceOffering(name="fast", cpunumber=2, cpuspeed=500, memory=256, hosttags="fast")["id"]
    with pytest.raises(ApiError, match="resource.limit.host.tags"):
        cloud.admin.updateResourceLimit(**whose, resourcetype=0, max=1, tag="fast")
    first = site.deploy(tenant, serviceofferingid=fast, startvm=False)  # counted although nothing is limited yet
    cloud.set("resource.limit.host.tags", "fast, slow")
    try:
        with pytest.raises(ApiError, match="no limits of network by tag"):
            cloud.admin.updateResourceLimit(**whose, resourcetype=6, max=1, tag="fast")
        made = cloud.admin.updateResourceLimit(**whose, resourcetype=0, max=1, tag="fast")
        assert (made["max"], made["tag"]) == (1, "fast")
        listed = {(r["resourcetypename"], r.get("tag")): r["max"] for r in tenant.listResourceLimits()}
        assert (listed["user_vm", "fast"], listed["user_vm", "slow"], listed["user_vm", None]) == (1, -1, 20)
        assert {r.get("tag") for r in tenant.listResourceLimits(tag="fast")} == {"fast"}
        with pytest.raises(ApiError, match="user_vm with the tag fast is 1") as no:
            site.deploy(tenant, serviceofferingid=fast, startvm=False)
        assert (no.value.params["tag"], no.value.params["used"]) == ("fast", 1)
        plain = site.deploy(tenant, startvm=False)
        with pytest.raises(ApiError, match="with the tag fast"):
            tenant.changeServiceForVirtualMachine(id=plain["id"], serviceofferingid=fast)
        shown = cloud.admin.one("listAccounts", id=tenant.account)["taggedresources"]
        assert {(t["resourcetypename"], t["tag"]): t["total"] for t in shown}["cpu", "fast"] == 2
        count = cloud.admin.call("updateResourceCount", **whose, resourcetype=8, tag="fast")
        assert (count["resourcecount"], count["tag"]) == (2, "fast")
        cloud.admin.destroyVirtualMachine(id=first["id"], expunge=True)
        tenant.changeServiceForVirtualMachine(id=plain["id"], serviceofferingid=fast)
    finally:
        cloud.set("resource.limit.host.tags", "")
    assert drifts(cloud) == []


def drifts(cloud: Cloud) -> list[tuple[str, str]]:
    return cloud.run(cloud.manager.engine.reading(limits.drifts))


def test_wrong_counts_are_found_and_put_right(cloud: Cloud, site: Site) -> None:
    tenant = cloud.tenant()
    site.deploy(tenant, startvm=False)
    cloud.idle()
    assert drifts(cloud) == []
    assert cloud.reconcile("check_counts") == 0

    def spoil(tx: Any) -> None:
        table = limits.usage
        tx.execute(sa.update(table).where(table.c.owner == tenant.account, table.c.resource == "cpu").values(used=7))
        tx.execute(sa.delete(table).where(table.c.owner == tenant.domain, table.c.resource == "volume"))

    cloud.run(cloud.manager.engine.writing(spoil))
    assert sorted(drifts(cloud)) == sorted([(tenant.account, "cpu"), (tenant.domain, "volume")])
    assert cloud.reconcile("check_counts") == 2
    assert cloud.reconcile("check_counts") == 0 and drifts(cloud) == []


def test_counts_go_with_their_owner(cloud: Cloud, site: Site) -> None:
    tenant = cloud.tenant()
    net = site.network(tenant)["id"]
    tenant.deleteNetwork(id=net)
    cloud.admin.deleteAccount(id=tenant.account)
    cloud.admin.deleteDomain(id=tenant.domain)
    table = limits.usage
    left = cloud.run(
        cloud.manager.engine.reading(
            lambda tx: tx.execute(sa.select(table).where(table.c.owner.in_([tenant.account, tenant.domain]))).all()
        )
    )
    assert left == []


def test_projects_are_limited_like_everything_else(cloud: Cloud) -> None:
    """Who is admin of a project has it: made, given away, left and removed projects are counted for the account and its domain."""
    domain = cloud.domain()
    ann, bob = cloud.tenant(domain), cloud.tenant(domain)
    cloud.admin.updateResourceLimit(domainid=domain, account=ann.name, resourcetype=5, max=1)
    first = ann.createProject(name=cloud.name("one"), displaytext="one")["id"]
    with pytest.raises(ApiError, match="limit of project is 1; 1 are in use") as no:
        ann.createProject(name=cloud.name("two"), displaytext="two")
    assert no.value.code == 535
    used = lambda who: int(cloud.admin.one("listAccounts", id=who.account)["projecttotal"])
    assert (used(ann), used(bob)) == (1, 0)
    ann.addAccountToProject(projectid=first, account=bob.name)
    assert used(bob) == 0, "a member has nothing of her own"
    ann.updateProject(id=first, account=bob.name)
    assert (used(ann), used(bob)) == (0, 1)
    second = ann.createProject(name=cloud.name("two"), displaytext="two")["id"]
    with pytest.raises(ApiError, match="limit of project is 1"):
        bob.updateProject(id=first, account=ann.name)
    ann.deleteProject(id=second, cleanup=True)
    bob.deleteProject(id=first, cleanup=True)
    assert (used(ann), used(bob)) == (0, 0)
    for count in cloud.admin.updateResourceCount(domainid=domain):
        if count["resourcetypename"] == "project":
            assert count["resourcecount"] == 0

