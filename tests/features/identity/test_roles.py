"""Roles: rules in order, who gets which, and that nobody climbs by them."""

from __future__ import annotations

import pytest
from cloud import Actor, ApiError, Cloud

from mold.api.command import COMMANDS


def role(cloud: Cloud, *rules: tuple[str, str], type: str = "User") -> dict[str, object]:
    made = cloud.admin.createRole(name=cloud.name("role"), type=type)
    for rule, permission in rules:
        cloud.admin.createRolePermission(roleid=made["id"], rule=rule, permission=permission)
    return dict(made)


def holder(cloud: Cloud, made: dict[str, object], domain: str | None = None) -> Actor:
    return cloud.tenant(domain, title=str(made["name"]))


def test_eight_roles_come_with_the_installation(cloud: Cloud) -> None:
    found = {r["name"]: (r["type"], r["isdefault"], r["state"]) for r in cloud.admin.listRoles() if r["isdefault"]}
    assert found == {
        "Root Admin": ("Admin", True, "enabled"), "Resource Admin": ("ResourceAdmin", True, "enabled"),
        "Domain Admin": ("DomainAdmin", True, "enabled"), "User": ("User", True, "enabled"),
        "Read-Only Admin": ("Admin", True, "enabled"), "Read-Only User": ("User", True, "enabled"),
        "Support Admin": ("Admin", True, "enabled"), "Support User": ("User", True, "enabled"),
    }  # fmt: skip
    reader = cloud.admin.one("listRoles", name="Read-Only Admin")["id"]
    rules = [(r["rule"], r["permission"]) for r in cloud.admin.listRolePermissions(roleid=reader)]
    assert rules[:3] == [("list*", "allow"), ("getUploadParamsFor*", "deny"), ("get*", "allow")]
    assert rules[-1] == ("*", "deny")


def test_the_first_rule_that_matches_decides(cloud: Cloud) -> None:
    made = role(cloud, ("listZ*", "deny"), ("LIST*", "allow"), ("deployVirtualMachine", "deny"), ("*", "deny"))
    tenant = holder(cloud, made)
    assert tenant.raw("listNetworks").status == 200
    assert tenant.raw("listZones").status == 432
    assert tenant.raw("createSSHKeyPair", name="x").status == 432
    rules = cloud.admin.listRolePermissions(roleid=made["id"])
    order = [rules[1]["id"], rules[0]["id"], rules[2]["id"], rules[3]["id"]]
    cloud.admin.updateRolePermission(roleid=made["id"], ruleorder=order)
    assert [r["id"] for r in cloud.admin.listRolePermissions(roleid=made["id"])] == order
    assert tenant.raw("listZones").status == 200, "at once"
    cloud.admin.updateRolePermission(roleid=made["id"], ruleid=rules[1]["id"], permission="deny")
    assert tenant.raw("listNetworks").status == 432
    cloud.admin.deleteRolePermission(id=rules[1]["id"])
    assert tenant.raw("listNetworks").status == 432, "the last rule denies everything else"


def test_without_a_rule_the_type_decides(cloud: Cloud) -> None:
    tenant = holder(cloud, role(cloud))
    assert tenant.raw("listApis").status == 200
    assert tenant.raw("listVirtualMachines").status == 432, "no type implies it"
    assert tenant.raw("createDomain", name="x").status == 432


def test_list_apis_shows_what_one_may_call(cloud: Cloud) -> None:
    made = role(cloud, ("listZones", "allow"), ("listApis", "allow"), ("*", "deny"))
    tenant = holder(cloud, made)
    names = {a["name"] for a in tenant.listApis() if not COMMANDS[a["name"]].open}
    assert names == {"listZones", "listApis"}
    reader = {a["name"] for a in cloud.tenant(cloud.admin.domain, title="Read-Only Admin").listApis()}
    assert {"listHosts", "getUserKeys"} <= reader
    assert not reader & {"createRole", "deleteHost", "getUploadParamsForTemplate", "deployVirtualMachine"}


def test_a_disabled_role_says_so(cloud: Cloud) -> None:
    made = role(cloud, ("*", "allow"))
    tenant = holder(cloud, made)
    cloud.admin.disableRole(id=made["id"])
    with pytest.raises(ApiError, match=f"role {made['name']} .* is disabled"):
        tenant.listZones()
    assert cloud.admin.one("listRoles", id=made["id"])["state"] == "disabled"
    cloud.admin.enableRole(id=made["id"])
    tenant.listZones()


def test_default_roles_stay_as_they_are(cloud: Cloud) -> None:
    admin = cloud.admin
    user = admin.one("listRoles", name="User")["id"]
    rule = admin.listRolePermissions(roleid=user)[0]["id"]
    for command, params in (
        ("updateRole", {"id": user, "name": "x"}), ("disableRole", {"id": user}), ("deleteRole", {"id": user}),
        ("createRolePermission", {"roleid": user, "rule": "*", "permission": "allow"}),
        ("updateRolePermission", {"roleid": user, "ruleid": rule, "permission": "deny"}),
        ("deleteRolePermission", {"id": rule}),
        ("importRole", {"name": "User", "forced": True, "rules": [{"rule": "*", "permission": "allow"}]}),
    ):  # fmt: skip
        with pytest.raises(ApiError, match="came with the installation"):
            admin.call(command, **params)


def test_made_from_another_and_imported(cloud: Cloud) -> None:
    admin = cloud.admin
    reader = admin.one("listRoles", name="Read-Only User")
    made = admin.createRole(name=cloud.name("copy"), roleid=reader["id"], description="as readers, for now")
    assert (made["type"], made["description"], made["isdefault"], made["ispublic"]) == (
        "User", "as readers, for now", False, True,
    )  # fmt: skip
    rules = [[(r["rule"], r["permission"]) for r in admin.listRolePermissions(roleid=i)] for i in (made["id"], reader["id"])]
    assert rules[0] == rules[1]
    name = cloud.name("imported")
    wanted = [{"rule": "listZones", "permission": "allow", "description": "look"}, {"rule": "*", "permission": "DENY"}]
    imported = admin.importRole(name=name, type="DomainAdmin", rules=wanted)
    got = [(r["rule"], r["permission"], r.get("description")) for r in admin.listRolePermissions(roleid=imported["id"])]
    assert got == [("listZones", "allow", "look"), ("*", "deny", None)]
    with pytest.raises(ApiError, match="already a role"):
        admin.importRole(name=name, rules=wanted)
    again = admin.importRole(name=name, type="User", rules=wanted[1:], forced=True)
    assert (again["id"], again["type"]) == (imported["id"], "User")
    assert len(admin.listRolePermissions(roleid=again["id"])) == 1


@pytest.mark.parametrize(
    ("command", "params", "why"),
    [
        ("createRole", {"name": "x"}, "either the type of the role or the role"),
        ("createRole", {"name": " ", "type": "User"}, "must not be empty"),
        ("createRole", {"name": "x", "type": "King"}, "must be one of"),
        ("importRole", {"name": "x", "rules": [{"rule": "listZones"}]}, "needs a rule and a permission"),
        ("importRole", {"name": "x", "rules": [{"rule": "a b", "permission": "allow"}]}, "is no command's name"),
        ("importRole", {"name": "x", "rules": [{"rule": "(a+)+", "permission": "allow"}]}, "is no command's name"),
        ("importRole", {"name": "x", "rules": [{"rule": "a", "permission": "maybe"}]}, "must be allow or deny"),
    ],
)
def test_what_is_refused(cloud: Cloud, command: str, params: dict[str, object], why: str) -> None:
    with pytest.raises(ApiError, match=why):
        cloud.admin.call(command, **params)


def test_order_of_rules_that_are_not_the_roles(cloud: Cloud) -> None:
    one, two = role(cloud, ("a", "allow"), ("b", "allow")), role(cloud, ("c", "allow"))
    a, b = (r["id"] for r in cloud.admin.listRolePermissions(roleid=one["id"]))
    (c,) = (r["id"] for r in cloud.admin.listRolePermissions(roleid=two["id"]))
    for order in ([a], [a, c], [a, b, c]):
        with pytest.raises(ApiError, match="name every rule of the role once"):
            cloud.admin.updateRolePermission(roleid=one["id"], ruleorder=order)
    with pytest.raises(ApiError, match="has no rule"):
        cloud.admin.updateRolePermission(roleid=one["id"], ruleid=c, permission="deny")


def test_a_pattern_of_stars_takes_no_time(cloud: Cloud) -> None:
    tenant = holder(cloud, role(cloud, ("*a" * 100 + "*", "deny"), ("listZones", "allow")))
    assert tenant.raw("listZones").status == 200


def test_a_role_in_use_stays(cloud: Cloud) -> None:
    made = role(cloud)
    tenant = holder(cloud, made)
    with pytest.raises(ApiError, match="has the role") as no:
        cloud.admin.deleteRole(id=made["id"])
    assert no.value.code == 536
    with pytest.raises(ApiError, match="has the role"):
        cloud.admin.updateRole(id=made["id"], type="Admin")
    cloud.admin.updateRole(id=made["id"], name=cloud.name("renamed"), description="d", ispublic=False)
    cloud.admin.updateAccount(id=tenant.account, roleid=4)
    assert cloud.admin.one("listAccounts", id=tenant.account)["rolename"] == "User"
    cloud.admin.deleteRole(id=made["id"])
    with pytest.raises(ApiError, match="entity does not exist"):
        cloud.admin.listRoles(id=made["id"])


def test_private_roles_are_the_root_admins(cloud: Cloud) -> None:
    made = cloud.admin.createRole(name=cloud.name("private"), type="User", ispublic=False)
    chief = cloud.tenant(role="DomainAdmin")
    assert made["name"] not in {r["name"] for r in chief.listRoles()}
    assert {r["type"] for r in chief.listRoles()} == {"DomainAdmin", "User"}
    with pytest.raises(ApiError, match="entity does not exist"):
        chief.createAccount(
            username="x", password="p", email="e@x.org", firstname="a", lastname="b", roleid=made["id"]
        )  # fmt: skip


# ── nobody climbs ────────────────────────────────────────────────────────────────────────────────────────────────────

PERSON = {"password": "p", "email": "e@example.org", "firstname": "F", "lastname": "L"}


def test_who_may_do_less_gives_no_role_that_may_do_more(cloud: Cloud) -> None:
    """A narrower role of the same type: it creates accounts, but none with the wider role, and changes nobody who has it."""
    made = role(
        cloud, ("createAccount", "allow"), ("updateAccount", "allow"), ("updateUser", "allow"), ("listUsers", "allow"),
        ("getUserKeys", "allow"), ("registerUserKeys", "allow"), ("disableUser", "allow"), ("deleteAccount", "allow"),
        ("*", "deny"), type="DomainAdmin",
    )  # fmt: skip
    domain = cloud.domain()
    wide, narrow, user = cloud.tenant(domain, "DomainAdmin"), holder(cloud, made, domain), cloud.tenant(domain)
    wider = cloud.admin.one("listRoles", name="Domain Admin")["id"]
    with pytest.raises(ApiError, match="ranks higher"):
        narrow.createAccount(username=cloud.name("u"), accounttype=2, **PERSON)
    for params in (
        {"id": user.account, "roleid": wider},
        {"id": wide.account, "newname": "mine"},
        {"account": wide.name, "domainid": domain, "newname": "mine"},
    ):
        with pytest.raises(ApiError, match="entity does not exist|may not change it"):
            narrow.updateAccount(**params)
    for command in ("getUserKeys", "registerUserKeys", "disableUser"):
        with pytest.raises(ApiError, match="entity does not exist"):
            narrow.call(command, id=wide.user)
    with pytest.raises(ApiError, match="entity does not exist"):
        narrow.updateUser(id=wide.user, password="mine now")
    with pytest.raises(ApiError, match="entity does not exist"):
        narrow.deleteAccount(id=wide.account)
    narrow.updateUser(id=user.user, firstname="Changed")
    wide.updateUser(id=narrow.user, firstname="Changed")


def test_readers_read_no_secrets_of_root_admins(cloud: Cloud) -> None:
    reader = cloud.tenant(cloud.admin.domain, title="Read-Only Admin")
    with pytest.raises(ApiError, match="entity does not exist"):
        reader.getUserKeys(id=cloud.admin.user)
    shown = reader.one("listUsers", id=cloud.admin.user)
    assert "apikey" not in shown and "secretkey" not in shown
    assert cloud.admin.one("listUsers", id=reader.user)["apikey"]


def test_who_makes_roles_makes_none_above_her_own(cloud: Cloud) -> None:
    made = role(
        cloud, ("*Role*", "allow"), ("listApis", "allow"), ("createAccount", "allow"), ("*", "deny"), type="Admin"
    )  # fmt: skip
    clerk = holder(cloud, made, cloud.admin.domain)
    root = cloud.admin.one("listRoles", name="Root Admin")["id"]
    with pytest.raises(ApiError, match="would allow commands that your own role denies|entity does not exist"):
        clerk.createRole(name=cloud.name("climb"), roleid=root)
    with pytest.raises(ApiError, match="would allow commands"):
        clerk.importRole(name=cloud.name("climb"), type="Admin", rules=[{"rule": "*", "permission": "allow"}])
    with pytest.raises(ApiError, match="You have the role"):
        clerk.createRolePermission(roleid=made["id"], rule="*", permission="allow")
    with pytest.raises(ApiError, match="entity does not exist"):
        clerk.createAccount(username=cloud.name("u"), roleid=root, **PERSON)
    small = clerk.importRole(name=cloud.name("small"), type="Admin", rules=[{"rule": "*", "permission": "deny"}])
    with pytest.raises(ApiError, match="would allow commands"):
        rule = cloud.admin.listRolePermissions(roleid=small["id"])[0]["id"]
        clerk.updateRolePermission(roleid=small["id"], ruleid=rule, permission="allow")
    assert cloud.admin.listRolePermissions(roleid=small["id"])[0]["permission"] == "deny"
