"""Limits: a count changes with the thing it counts, and no number of parallel requests passes a limit."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from cloud import Actor, ApiError, Cloud, Site, on_the_wire


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


def test_two_hundred_at_once_never_pass_an_accounts_limit(cloud: Cloud, site: Site) -> None:
    tenant = cloud.tenant()
    wish = {"name": "race", "zoneid": site.zone, "networkofferingid": site.network_offering}
    with limited(cloud, account_networks=7):
        statuses = race(cloud, [tenant], "createNetwork", [wish], 200)
    assert (statuses.count(200), statuses.count(535)) == (7, 193)
    assert len(tenant.listNetworks()) == 7


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
