"""Accounts, users, keys and projects."""

from __future__ import annotations

import pytest
from cloud import ApiError, Cloud


def new_account(cloud: Cloud, caller: object, **params: object) -> dict[str, object]:
    word = cloud.name("person")
    given = {
        "username": word,
        "password": "a password",
        "email": "a@example.org",
        "firstname": "A",
        "lastname": "B",
        **params,
    }
    return caller.createAccount(**given)  # type: ignore[attr-defined,no-any-return]


def test_an_account_and_its_first_user(cloud: Cloud) -> None:
    domain = cloud.domain()
    made = cloud.admin.createAccount(
        username="ann", account="acme", password="p", email="ann@example.org", firstname="Ann", lastname="A", domainid=domain,
        accounttype=0, timezone="Asia/Seoul", networkdomain="acme.example",
    )  # fmt: skip
    assert (made["name"], made["accounttype"], made["roletype"], made["rolename"], made["state"]) == (
        "acme",
        0,
        "User",
        "User",
        "enabled",
    )
    assert made["networkdomain"] == "acme.example"
    (user,) = made["user"]
    assert (user["username"], user["account"], user["timezone"], user["domainid"]) == (
        "ann",
        "acme",
        "Asia/Seoul",
        domain,
    )
    assert "password" not in str(made).lower()
    assert cloud.admin.one("listUsers", id=user["id"])["email"] == "ann@example.org"


@pytest.mark.parametrize(("kind", "role"), [(0, "User"), (2, "DomainAdmin"), (3, "ResourceAdmin"), (1, "Admin")])
def test_types(cloud: Cloud, kind: int, role: str) -> None:
    assert new_account(cloud, cloud.admin, accounttype=kind)["roletype"] == role


def test_roles_decide_instead_of_types(cloud: Cloud) -> None:
    made = new_account(cloud, cloud.admin, accounttype=0, roleid=cloud.admin.about["roleid"])
    assert made["roletype"] == "Admin"
    with pytest.raises(ApiError, match="no account type 9"):
        new_account(cloud, cloud.admin, accounttype=9)
    for bad in ("00000000-0000-4000-8000-000000000099", "²", "99"):
        with pytest.raises(ApiError, match="entity does not exist"):
            new_account(cloud, cloud.admin, roleid=bad)
    assert new_account(cloud, cloud.admin, roleid="4")["rolename"] == "User", "by its internal number"
    with pytest.raises(ApiError, match="belong to the ROOT domain"):
        new_account(cloud, cloud.admin, accounttype=1, domainid=cloud.domain())


def test_nobody_makes_an_account_above_her_own(cloud: Cloud) -> None:
    chief = cloud.tenant(role="DomainAdmin")
    for kind in (1, 3):
        with pytest.raises(ApiError) as no:
            new_account(cloud, chief, accounttype=kind)
        assert no.value.code == 531
    operator = cloud.tenant(role="ResourceAdmin")
    with pytest.raises(ApiError, match="531"):
        new_account(cloud, operator, accounttype=1)
    with pytest.raises(ApiError, match="entity does not exist"):
        new_account(cloud, chief, domainid=cloud.domain())
    assert new_account(cloud, chief)["domainid"] == chief.domain


def test_names_are_unique_in_a_domain(cloud: Cloud) -> None:
    domain, other = cloud.domain(), cloud.domain()
    cloud.tenant(domain, name="kim")
    with pytest.raises(ApiError, match="already"):
        cloud.tenant(domain, name="kim")
    assert cloud.tenant(other, name="kim").domain == other
    assert cloud.admin.one("listAccounts", name="kim", domainid=domain)["domainid"] == domain


def test_lists(cloud: Cloud) -> None:
    top = cloud.domain()
    low = cloud.domain(parent=top)
    chief, user, below = cloud.tenant(top, "DomainAdmin"), cloud.tenant(top), cloud.tenant(low)
    names = lambda rows: {r["name"] for r in rows}
    assert names(chief.listAccounts()) == {chief.name}
    assert names(chief.listAccounts(listall=True)) == {chief.name, user.name, below.name}
    assert names(chief.listAccounts(domainid=top)) == {chief.name, user.name}
    assert names(chief.listAccounts(domainid=top, isrecursive=True, accounttype=0)) == {user.name, below.name}
    assert names(user.listAccounts(listall=True)) == {user.name}
    assert {u["username"] for u in chief.listUsers(listall=True, accounttype=0)} == {user.name, below.name}
    assert names(chief.listAccounts(listall=True, keyword=below.name.upper())) == {below.name}


def test_more_users_of_an_account(cloud: Cloud) -> None:
    tenant = cloud.tenant()
    person = {"password": "p", "email": "e@example.org", "firstname": "F", "lastname": "L"}
    made = cloud.admin.createUser(username="second", account=tenant.name, domainid=tenant.domain, **person)
    assert made["account"] == tenant.name
    with pytest.raises(ApiError, match="already"):
        cloud.admin.createUser(username="second", account=tenant.name, domainid=tenant.domain, **person)
    with pytest.raises(ApiError, match="There is no account"):
        cloud.admin.createUser(username="third", account="nobody", domainid=tenant.domain, **person)
    chief = cloud.tenant(tenant.domain, "DomainAdmin")
    assert chief.createUser(username="third", account=tenant.name, **person)["account"] == tenant.name
    boss = cloud.tenant(cloud.admin.domain, "DomainAdmin")
    with pytest.raises(ApiError, match="that you may add users to"):
        boss.createUser(username="fourth", account="admin", **person)
    cloud.admin.deleteUser(id=made["id"])
    with pytest.raises(ApiError, match="531"):
        cloud.admin.deleteUser(id=cloud.admin.user)


def test_a_user_acts_for_herself_only(cloud: Cloud) -> None:
    tenant = cloud.tenant()
    person = {"password": "p", "email": "e@example.org", "firstname": "F", "lastname": "L"}
    second = cloud.admin.createUser(username="colleague", account=tenant.name, domainid=tenant.domain, **person)
    with pytest.raises(ApiError, match="entity does not exist"):
        tenant.registerUserKeys(id=second["id"])
    with pytest.raises(ApiError, match="entity does not exist"):
        tenant.getUserKeys(id=second["id"])
    with pytest.raises(ApiError, match="entity does not exist"):
        cloud.tenant(tenant.domain, "DomainAdmin").getUserKeys(id=cloud.admin.user)


def test_an_account_that_did_something_can_go_and_its_events_stay(cloud: Cloud) -> None:
    tenant = cloud.tenant()
    tenant.createSSHKeyPair(name="mine")
    cloud.admin.deleteAccount(id=tenant.account)
    assert tenant.raw("listAccounts").status == 401, "its users and keys go with it"
    kinds = [e["type"] for e in cloud.admin.listEvents(listall=True) if e.get("username") == tenant.name]
    assert kinds == ["REGISTER.SSH.KEYPAIR"]


def test_ones_own_account_stays(cloud: Cloud) -> None:
    with pytest.raises(ApiError, match="531"):
        cloud.admin.deleteAccount(id=cloud.admin.account)


def test_default_accounts_are_said_to_be_so(cloud: Cloud) -> None:
    shown = {a["name"]: a["isdefault"] for a in cloud.admin.listAccounts(listall=True)}
    assert shown["admin"] is True and shown["system"] is True
    assert not any(v for k, v in shown.items() if k not in ("admin", "system"))


def test_projects(cloud: Cloud) -> None:
    tenant, other = cloud.tenant(), cloud.tenant()
    made = tenant.createProject(name="apollo", displaytext="to the moon")
    assert (made["name"], made["displaytext"], made["state"], made["domainid"]) == (
        "apollo",
        "to the moon",
        "Active",
        tenant.domain,
    )
    assert tenant.createProject(name="gemini")["displaytext"] == "gemini"
    assert [p["name"] for p in tenant.listProjects()] == ["apollo", "gemini"]
    assert other.listProjects(listall=True) == []
    key = tenant.createSSHKeyPair(name="shared", projectid=made["id"])
    assert (key["projectid"], key["project"]) == (made["id"], "apollo")
    assert tenant.listSSHKeyPairs() == [], "a project's things are shown with the project only"
    assert [k["name"] for k in tenant.listSSHKeyPairs(projectid=made["id"])] == ["shared"]
    assert [k["name"] for k in tenant.listSSHKeyPairs(projectid="-1")] == ["shared"]
    assert not any(a["name"].startswith("PrjAcct") for a in cloud.admin.listAccounts(listall=True))
    with pytest.raises(ApiError, match="already"):
        tenant.createProject(name="apollo")
    with pytest.raises(ApiError, match="either an account"):
        tenant.createSSHKeyPair(name="x", projectid=made["id"], account=tenant.name, domainid=tenant.domain)
