"""Users and what happens to accounts: changed, locked, disabled, moved."""

from __future__ import annotations

import pytest
from cloud import TENANT_PASSWORD, ApiError, Cloud

PERSON = {"password": "p", "email": "e@example.org", "firstname": "F", "lastname": "L"}


def test_a_user_is_changed(cloud: Cloud) -> None:
    tenant = cloud.tenant()
    made = cloud.admin.updateUser(
        id=tenant.user, username=cloud.name("renamed"), firstname="Kim", lastname="Lee", email="kim@example.org",
        timezone="Asia/Seoul",
    )  # fmt: skip
    assert (made["firstname"], made["lastname"], made["email"], made["timezone"]) == (
        "Kim", "Lee", "kim@example.org", "Asia/Seoul",
    )  # fmt: skip
    for bad in ("Asia", "../etc/passwd", "Nowhere/Else", "/etc/localtime"):
        with pytest.raises(ApiError, match="no time zone"):
            tenant.updateUser(id=tenant.user, timezone=bad)
    with pytest.raises(ApiError, match="must not be empty"):
        cloud.admin.updateUser(id=tenant.user, firstname=" ")
    with pytest.raises(ApiError, match="keeps the name"):
        cloud.admin.updateUser(id=cloud.admin.user, username="boss")
    other = cloud.tenant(tenant.domain)
    with pytest.raises(ApiError, match="already a user"):
        cloud.admin.updateUser(id=tenant.user, username=other.name)


def test_ones_own_password_needs_the_current_one(cloud: Cloud) -> None:
    tenant = cloud.tenant()
    for wrong in ({}, {"currentpassword": "wrong"}):
        with pytest.raises(ApiError, match="give the current one"):
            tenant.updateUser(id=tenant.user, password="new", **wrong)
    answer = tenant.updateUser(id=tenant.user, password="a new one", currentpassword=TENANT_PASSWORD)
    assert "password" not in str(answer)
    tenant.updateUser(id=tenant.user, password="another", currentpassword="a new one")
    cloud.tenant(tenant.domain, "DomainAdmin").updateUser(id=tenant.user, password="reset by an admin")


def test_keys_that_somebody_chose(cloud: Cloud) -> None:
    tenant = cloud.tenant()
    with pytest.raises(ApiError, match="go together"):
        tenant.updateUser(id=tenant.user, userapikey="k" * 20)
    with pytest.raises(ApiError, match="at least 16"):
        tenant.updateUser(id=tenant.user, userapikey="k", usersecretkey="s")
    cloud.admin.updateUser(id=tenant.user, userapikey="key-" + "k" * 20, usersecretkey="s" * 20)
    assert tenant.raw("listZones").status == 401
    tenant.keys = ("key-" + "k" * 20, "s" * 20)
    assert tenant.raw("listZones").status == 200


@pytest.mark.parametrize("how", ["lockUser", "disableUser"])
def test_a_user_is_shut_out_and_let_in(cloud: Cloud, how: str) -> None:
    tenant = cloud.tenant()
    made = cloud.admin.call(how, id=tenant.user)
    assert made["state"] == {"lockUser": "locked", "disableUser": "disabled"}[how]
    assert tenant.raw("listZones").status == 401
    assert cloud.admin.enableUser(id=tenant.user)["state"] == "enabled"
    assert tenant.raw("listZones").status == 200
    with pytest.raises(ApiError, match="stays enabled"):
        cloud.admin.call(how, id=cloud.admin.user)


def test_a_user_moves_with_her_keys(cloud: Cloud) -> None:
    domain = cloud.domain()
    old, new, elsewhere = cloud.tenant(domain), cloud.tenant(domain), cloud.tenant()
    for bad in ({}, {"account": new.name, "accountid": new.account}):
        with pytest.raises(ApiError, match="account or accountid"):
            cloud.admin.moveUser(id=old.user, **bad)
    for bad in ({"accountid": elsewhere.account}, {"account": elsewhere.name}):
        with pytest.raises(ApiError, match="no such account in the domain"):
            cloud.admin.moveUser(id=old.user, **bad)
    cloud.admin.moveUser(id=old.user, account=new.name)
    assert cloud.admin.one("listUsers", id=old.user)["accountid"] == new.account
    assert old.one("listAccounts")["id"] == new.account


# ── accounts ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_account_is_changed(cloud: Cloud) -> None:
    tenant = cloud.tenant()
    made = cloud.admin.updateAccount(
        account=tenant.name, domainid=tenant.domain, newname=cloud.name("new"), networkdomain="lab.example",
        accountdetails={"cost": "42", "seat": "4F"},
    )  # fmt: skip
    assert (made["networkdomain"], made["accountdetails"]) == ("lab.example", {"cost": "42", "seat": "4F"})
    made = cloud.admin.updateAccount(id=tenant.account, networkdomain="")
    assert "networkdomain" not in made
    for bad in ("-x", "a b", "x" * 70):
        with pytest.raises(ApiError, match="not a DNS suffix"):
            cloud.admin.updateAccount(id=tenant.account, networkdomain=bad)
    with pytest.raises(ApiError, match="Say which account"):
        cloud.admin.updateAccount(newname="x")
    with pytest.raises(ApiError, match="keeps its name"):
        cloud.admin.updateAccount(id=cloud.admin.account, newname="boss")
    with pytest.raises(ApiError, match="your own, or the first"):
        cloud.admin.updateAccount(id=cloud.admin.account, roleid=4)
    with pytest.raises(ApiError, match="belong to the ROOT domain"):
        cloud.admin.updateAccount(id=tenant.account, roleid=1)


def test_details_of_a_new_account(cloud: Cloud) -> None:
    made = cloud.admin.createAccount(username=cloud.name("u"), accountdetails={"a": "b"}, **PERSON)
    assert cloud.admin.one("listAccounts", id=made["id"])["accountdetails"] == {"a": "b"}


def test_locking_leaves_machines_running_and_disabling_stops_them(cloud: Cloud) -> None:
    site, admin = cloud.zone(hosts=1), cloud.admin
    tenant = cloud.tenant()
    vm = site.deploy(tenant)["id"]
    assert admin.lockAccount(account=tenant.name, domainid=tenant.domain)["state"] == "locked"
    assert tenant.raw("listZones").status == 401
    assert admin.one("listVirtualMachines", id=vm)["state"] == "Running"
    assert admin.disableAccount(id=tenant.account, lock=True)["state"] == "locked"
    assert admin.one("listVirtualMachines", id=vm)["state"] == "Running"
    assert admin.disableAccount(account=tenant.name, domainid=tenant.domain, lock=False)["state"] == "disabled"
    assert admin.one("listVirtualMachines", id=vm)["state"] == "Stopped"
    with pytest.raises(ApiError, match="more than locked"):
        admin.lockAccount(account=tenant.name, domainid=tenant.domain)
    assert admin.enableAccount(id=tenant.account)["state"] == "enabled"
    assert tenant.raw("listZones").status == 200
    for command, params in (
        ("disableAccount", {"lock": False}), ("disableAccount", {"lock": True}), ("deleteAccount", {}),
    ):  # fmt: skip
        with pytest.raises(ApiError, match="your own, or the first"):
            admin.call(command, id=admin.account, **params)


def test_what_could_not_be_stopped_is_stopped_later(cloud: Cloud) -> None:
    site = cloud.zone(hosts=1)
    tenant = cloud.tenant()
    vm = site.deploy(tenant)["id"]
    cloud.simulator.plant(call="StopMachine", text="a stuck plug")
    with pytest.raises(ApiError, match="a stuck plug"):
        cloud.admin.disableAccount(id=tenant.account, lock=False)
    assert cloud.admin.one("listAccounts", id=tenant.account)["state"] == "disabled", "nobody signs in all the same"
    assert cloud.admin.one("listVirtualMachines", id=vm)["state"] == "Running"
    assert cloud.reconcile("halt_again") == 1
    assert cloud.admin.one("listVirtualMachines", id=vm)["state"] == "Stopped"
    assert cloud.reconcile("halt_again") == 0


def test_a_default_zone(cloud: Cloud) -> None:
    zone = cloud.zone(hosts=0)
    tenant = cloud.tenant()
    made = cloud.admin.markDefaultZoneForAccount(account=tenant.name, domainid=tenant.domain, zoneid=zone.zone)
    assert made["defaultzoneid"] == zone.zone


# ── domains ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_domain_moves_with_all_below(cloud: Cloud) -> None:
    admin = cloud.admin
    a, b = cloud.domain("moving"), cloud.domain("target")
    low = cloud.domain("low", parent=a)
    chief_b, tenant = cloud.tenant(b, "DomainAdmin"), cloud.tenant(low)
    assert not [d for d in chief_b.listDomains(listall=True) if d["id"] == low]
    moved = admin.moveDomain(domainid=a, parentdomainid=b)
    assert (moved["path"], moved["level"], moved["parentdomainid"]) == ("ROOT/target/moving", 2, b)
    assert admin.one("listDomains", id=low)["path"] == "ROOT/target/moving/low"
    assert low in [d["id"] for d in chief_b.listDomains(listall=True)], "who is above it now sees it"
    assert tenant.account in [x["id"] for x in chief_b.listAccounts(listall=True)]
    for to, why in ((low, "into itself"), (a, "into itself"), (b, "already")):
        with pytest.raises(ApiError, match=why):
            admin.moveDomain(domainid=a, parentdomainid=to)
    with pytest.raises(ApiError, match="ROOT domain cannot be moved"):
        admin.moveDomain(domainid=admin.domain, parentdomainid=b)
    cloud.domain("moving")
    with pytest.raises(ApiError, match="already a domain"):
        admin.moveDomain(domainid=a, parentdomainid=admin.domain)


def test_counts_move_with_a_domain(cloud: Cloud) -> None:
    site, admin = cloud.zone(hosts=1), cloud.admin
    top, to = cloud.domain(), cloud.domain()
    low = cloud.domain(parent=top)
    tenant = cloud.tenant(low)
    site.deploy(tenant, startvm=False)
    admin.updateResourceLimit(domainid=to, resourcetype=0, max=0)
    with pytest.raises(ApiError, match="535"):
        admin.moveDomain(domainid=low, parentdomainid=to)
    admin.updateResourceLimit(domainid=to, resourcetype=0, max=5)
    admin.moveDomain(domainid=low, parentdomainid=to)
    assert admin.one("listDomains", id=top)["vmtotal"] == 0
    assert admin.one("listDomains", id=to)["vmtotal"] == 1


def test_domains_are_found_by_what_is_in_them(cloud: Cloud) -> None:
    tenant = cloud.tenant()
    project = tenant.createProject(name=cloud.name("p"))["id"]
    assert [d["id"] for d in cloud.admin.listDomains(account=tenant.name)] == [tenant.domain]
    assert [d["id"] for d in cloud.admin.listDomains(projectid=project)] == [tenant.domain]
    cloud.admin.createTags(resourcetype="Domain", resourceids=tenant.domain, tags={"unit": "7"})
    (found,) = cloud.admin.listDomains(tags={"unit": "7"})
    assert (found["id"], found["tags"][0]["value"]) == (tenant.domain, "7")
