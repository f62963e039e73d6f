"""Removing accounts and domains with all they have, and finishing what failed."""

from __future__ import annotations

import time

import pytest
import sqlalchemy as sa
from cloud import ApiError, Cloud, Site

from mold.api.permit import Owned
from mold.features.identity.removal import LEAVING, rows_only
from mold.server.app import load
from mold.store import REGISTRY


@pytest.fixture(scope="module")
def site(cloud: Cloud) -> Site:
    return cloud.zone(hosts=1)


def left_of(cloud: Cloud, *accounts: str) -> dict[str, int]:
    """Rows that still name one of these accounts, records of what was left out."""

    def count(tx: object) -> dict[str, int]:
        found = {}
        for kind in REGISTRY.values():
            spec = kind.columns.get("account_id")
            if spec is not None and spec.refers and not spec.loose:
                where = kind.c.account_id.in_(accounts)
                found[kind.kind] = tx.execute(  # type: ignore[attr-defined]
                    sa.select(sa.func.count()).select_from(kind.table).where(where)
                ).scalar_one()
        return {k: n for k, n in found.items() if n}

    return cloud.run(cloud.manager.engine.reading(count))


def test_every_kind_of_thing_goes_with_its_account() -> None:
    """A new kind that an account may have must say how it goes (`removal.leaves`), unless it is a row and nothing else."""
    load()
    owned = {k.kind for k in REGISTRY.values() if issubclass(k, Owned) and not k.columns["account_id"].loose}
    assert owned - set(LEAVING) - {k.kind for k in rows_only()} == set()


def test_an_account_with_machines_networks_templates_and_keys(cloud: Cloud, site: Site) -> None:
    tenant = cloud.tenant()
    running, stopped = site.deploy(tenant)["id"], site.deploy(tenant, startvm=False)["id"]
    destroyed = site.deploy(tenant)["id"]
    tenant.destroyVirtualMachine(id=destroyed)
    tenant.updateVirtualMachine(id=stopped, deleteprotection=True)
    tenant.createTags(resourcetype="UserVm", resourceids=running, tags={"a": "b"})
    tenant.createSSHKeyPair(name="k")
    tenant.registerUserData(name="d", userdata="aGVsbG8=")
    tenant.registerTemplate(
        name="t", url="http://images.invalid/x.qcow2", format="QCOW2", hypervisor="Simulator", zoneid=site.zone,
    )  # fmt: skip
    cloud.idle()
    cloud.admin.deleteAccount(id=tenant.account)
    assert left_of(cloud, tenant.account) == {}
    assert tenant.raw("listZones").status == 401
    with pytest.raises(ApiError, match="entity does not exist"):
        cloud.admin.listAccounts(id=tenant.account)
    for vm in (running, stopped, destroyed):
        with pytest.raises(ApiError, match="entity does not exist"):
            cloud.admin.listVirtualMachines(id=vm)
    domain = cloud.admin.one("listDomains", id=tenant.domain)
    assert (domain["vmtotal"], domain["volumetotal"], domain["networktotal"], domain["iptotal"]) == (0, 0, 0, 0)


def test_a_domain_with_all_below_it(cloud: Cloud, site: Site) -> None:
    top = cloud.domain()
    low = cloud.domain(parent=top)
    ann, ben = cloud.tenant(top), cloud.tenant(low)
    site.deploy(ann)
    shared = ben.createProject(name=cloud.name("p"))["id"]
    site.deploy(ben, projectid=shared)
    own = [a for a in (ann.account, ben.account)]
    with pytest.raises(ApiError, match="536"):
        cloud.admin.deleteDomain(id=top)
    job = cloud.admin.ask("deleteDomain", id=top, cleanup=True)["jobid"]
    assert ann.raw("listZones").status == 401, "at once"
    with pytest.raises(ApiError, match="is being removed"):
        cloud.domain(parent=low)
    cloud.admin.job(job)
    assert left_of(cloud, *own) == {}
    assert [d for d in cloud.admin.listDomains(listall=True) if d["id"] in (top, low)] == []
    with pytest.raises(ApiError, match="entity does not exist"):
        cloud.admin.listProjects(id=shared)


def test_the_only_admin_of_a_project_stays(cloud: Cloud) -> None:
    tenant = cloud.tenant()
    shared = tenant.createProject(name=cloud.name("p"))["id"]
    with pytest.raises(ApiError, match="only admin of the project") as no:
        cloud.admin.deleteAccount(id=tenant.account)
    assert no.value.code == 536
    cloud.admin.deleteProject(id=shared)
    cloud.admin.deleteAccount(id=tenant.account)


def test_a_removal_that_failed_is_finished_later(cloud: Cloud, site: Site) -> None:
    """Somebody else's machine stands on the account's template: the removal waits, and says why, until it is gone."""
    owner, user = cloud.tenant(), cloud.tenant()
    made = owner.registerTemplate(
        name="shared", url="http://images.invalid/x.qcow2", format="QCOW2", hypervisor="Simulator", zoneid=site.zone,
    )["id"]  # fmt: skip
    cloud.idle()
    cloud.admin.updateTemplatePermissions(id=made, ispublic=True)
    vm = site.deploy(user, templateid=made)["id"]
    with pytest.raises(ApiError, match="stands on the template"):
        cloud.admin.deleteAccount(id=owner.account)
    shown = cloud.admin.one("listAccounts", id=owner.account)
    assert shown["iscleanuprequired"] is True
    assert [a["id"] for a in cloud.admin.listAccounts(listall=True, iscleanuprequired=True)] == [owner.account]
    with pytest.raises(ApiError, match="is being removed"):
        cloud.admin.enableAccount(id=owner.account)
    assert cloud.reconcile("finish_removals") == 0, "not before account.cleanup.interval"
    cloud.admin.destroyVirtualMachine(id=vm, expunge=True)
    cloud.set("account.cleanup.interval", 1)
    time.sleep(2.1)
    assert cloud.reconcile("finish_removals") == 1
    assert left_of(cloud, owner.account) == {}
    assert cloud.reconcile("finish_removals") == 0


def test_domain_admins_remove_nobody_above_them(cloud: Cloud) -> None:
    domain = cloud.domain()
    low = cloud.domain(parent=domain)
    role = cloud.admin.createRole(name=cloud.name("narrow"), type="DomainAdmin")
    for rule in ("deleteDomain", "deleteAccount", "listDomains"):
        cloud.admin.createRolePermission(roleid=role["id"], rule=rule, permission="allow")
    cloud.admin.createRolePermission(roleid=role["id"], rule="*", permission="deny")
    narrow, wide = cloud.tenant(domain, title=role["name"]), cloud.tenant(low, "DomainAdmin")
    with pytest.raises(ApiError, match="rank higher than your own"):
        narrow.deleteDomain(id=low, cleanup=True)
    assert wide.raw("listZones").status == 200
