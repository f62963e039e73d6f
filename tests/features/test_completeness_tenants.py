"""Limits, roles, keys, members, events, shared templates: what accounts look up and change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from completeness_kit import Cloud, Refused, alone, small_cloud


async def _tenant(cloud: Cloud, name: str, domain: str) -> dict[str, Any]:
    made = await cloud.call(
        "createAccount",
        username=name,
        password="secret",
        email=f"{name}@example.org",
        firstname=name,
        lastname="x",
        domainid=domain,
    )
    return dict(made["account"])


@alone
async def test_limits_are_listed_set_and_kept(database_url: str, tmp_path: Path) -> None:
    async with small_cloud(tmp_path, database_url) as cloud:
        domain = (await cloud.call("createDomain", name="d"))["domain"]["id"]
        await _tenant(cloud, "ann", domain)
        whose = {"account": "ann", "domainid": domain}
        rows = (await cloud.call("listResourceLimits", **whose))["resourcelimit"]
        assert {r["resourcetypename"]: r["max"] for r in rows}["user_vm"] == 20
        assert rows[0]["resourcetype"] == "0"
        set_to = (await cloud.call("updateResourceLimit", resourcetype=0, max=0, **whose))["resourcelimit"]
        assert (set_to["max"], set_to["account"], set_to["domainpath"]) == (0, "ann", "ROOT/d")
        (one,) = (await cloud.call("listResourceLimits", resourcetypename="user_vm", **whose))["resourcelimit"]
        assert one["max"] == 0
        await cloud.call("updateResourceLimit", resourcetype=10, max=3, domainid=domain)
        below = (await cloud.call("createDomain", name="below", parentdomainid=domain))["domain"]["id"]
        with pytest.raises(Refused, match="may have 3"):
            await cloud.call("updateResourceLimit", resourcetype=10, max=4, domainid=below)
        with pytest.raises(Refused, match="no limits of the resource type 77"):
            await cloud.call("updateResourceLimit", resourcetype=77, max=4, **whose)
        with pytest.raises(Refused, match="have no limits"):
            await cloud.call("updateResourceLimit", resourcetype=0, max=4, account="admin")
        shown = (await cloud.call("listAccounts", listall="true", name="ann"))["account"][0]
        assert (shown["vmlimit"], shown["vmtotal"], shown["vmavailable"]) == ("0", 0, "0")
        assert (
            "vmlimit" not in (await cloud.call("listAccounts", listall="true", name="ann", details="min"))["account"][0]
        )


@alone
async def test_counts_are_counted_anew(database_url: str, tmp_path: Path) -> None:
    from mold.features.identity.limits import usage

    async with small_cloud(tmp_path, database_url) as cloud:
        await cloud.deploy(startvm="false")
        root = (await cloud.call("listDomains"))["domain"][0]["id"]
        (account,) = (await cloud.call("listAccounts"))["account"]
        assert (account["vmtotal"], account["vmstopped"], account["cputotal"], account["memorytotal"]) == (1, 1, 1, 256)
        right = (await cloud.call("updateResourceCount", domainid=root, account=account["name"]))["resourcecount"]
        await cloud.manager.engine.writing(lambda tx: tx.execute(usage.update().values(used=99)))
        (told,) = (await cloud.call("updateResourceCount", domainid=root, account=account["name"], resourcetype=0))[
            "resourcecount"
        ]
        assert told["resourcecount"] == 1
        again = (await cloud.call("updateResourceCount", domainid=root, account=account["name"]))["resourcecount"]
        assert again == right
        (fresh,) = (await cloud.call("listAccounts"))["account"]
        counts = {k: v for k, v in fresh.items() if k.endswith("total")}
        assert counts == {k: v for k, v in account.items() if k.endswith("total")}


@alone
async def test_roles_users_and_keys(tmp_path: Path) -> None:
    async with small_cloud(tmp_path, built=False) as cloud:
        roles = (await cloud.call("listRoles"))["role"]
        assert [r["type"] for r in roles] == ["Admin", "ResourceAdmin", "DomainAdmin", "User", "Admin", "User", "Admin", "User"]
        domain = (await cloud.call("createDomain", name="d"))["domain"]["id"]
        boss = next(r["id"] for r in roles if r["type"] == "DomainAdmin")
        chosen = "11111111-2222-4333-8444-555555555555"
        made = await cloud.call(
            "createAccount",
            username="bo",
            password="secret",
            email="b@example.org",
            firstname="b",
            lastname="o",
            domainid=domain,
            roleid=boss,
            accountid=chosen,
        )
        assert (made["account"]["id"], made["account"]["accounttype"], made["account"]["isdefault"]) == (
            chosen,
            2,
            False,
        )
        user = made["account"]["user"][0]
        assert (user["rolename"], user["iscallerchilddomain"], "apikey" in user) == ("Domain Admin", True, False)
        started = await cloud.raw("registerUserKeys", id=user["id"])
        keys = (await cloud.call("registerUserKeys", id=user["id"]))["userkeys"]
        assert started["userkeys"]["apikey"] != keys["apikey"]
        assert (keys["userid"], keys["domainpath"], keys["rolename"]) == (user["id"], "ROOT/d", "Domain Admin")
        found = (await cloud.call("getUser", userapikey=keys["apikey"]))["user"]
        assert (found["id"], found["apikey"]) == (user["id"], keys["apikey"])
        await cloud.call("deleteUserKeys", keypairid=started["userkeys"]["id"])
        with pytest.raises(Refused, match="No user has this API key"):
            await cloud.call("getUser", userapikey=started["userkeys"]["apikey"])
        (admin,) = (await cloud.call("listAccounts", name="admin"))["account"]
        assert admin["isdefault"] is True
        assert (await cloud.call("deleteAccount", id=chosen)) == {"success": True}
        assert (await cloud.call("deleteDomain", id=domain)) == {"success": True}
        assert (await cloud.call("listDomains"))["count"] == 1


@alone
async def test_projects_have_owners_and_members(tmp_path: Path) -> None:
    async with small_cloud(tmp_path, built=False) as cloud:
        domain = (await cloud.call("createDomain", name="d"))["domain"]["id"]
        ann = await _tenant(cloud, "ann", domain)
        project = (await cloud.call("createProject", name="p", accountid=ann["id"]))["project"]
        assert project["owner"] == [{"accountid": ann["id"], "account": "ann"}]
        assert project["vmlimit"] == "20"
        (member,) = (await cloud.call("listProjectAccounts", projectid=project["id"]))["projectaccount"]
        assert (member["account"], member["role"], member["user"][0]["username"]) == ("ann", "Admin", "ann")
        assert await cloud.call("listProjectAccounts", projectid=project["id"], role="Regular") == {}
        assert (await cloud.call("listProjects", username="ann", listall="true"))["count"] == 1
        assert await cloud.call("listProjects", username="nobody", listall="true") == {}
        other = await cloud.call("createProject", name="q", userid=ann["user"][0]["id"])
        assert other["project"]["owner"][0]["userid"] == ann["user"][0]["id"]


@alone
async def test_events_are_archived_and_deleted(tmp_path: Path) -> None:
    async with small_cloud(tmp_path, built=False) as cloud:
        await cloud.call("createDomain", name="one")
        await cloud.call("createDomain", name="two")
        rows = (await cloud.call("listEvents", type="DOMAIN.CREATE"))["event"]
        assert len(rows) == 2
        with pytest.raises(Refused, match="Say which events"):
            await cloud.call("archiveEvents")
        await cloud.call("archiveEvents", ids=rows[0]["id"])
        assert [e["id"] for e in (await cloud.call("listEvents", type="DOMAIN.CREATE"))["event"]] == [rows[1]["id"]]
        assert (await cloud.call("listEvents", type="DOMAIN.CREATE", archived="true"))["count"] == 2
        await cloud.call("deleteEvents", type="DOMAIN.CREATE")
        assert await cloud.call("listEvents", type="DOMAIN.CREATE", archived="true") == {}


@alone
async def test_a_template_is_shared_and_not(tmp_path: Path) -> None:
    async with small_cloud(tmp_path) as cloud:
        template = cloud.ids["template"]
        root = (await cloud.call("listDomains"))["domain"][0]["id"]
        await _tenant(cloud, "ann", root)
        assert (await cloud.call("updateTemplatePermissions", id=template, op="add", accounts="ann")) == {
            "success": True
        }
        told = (await cloud.call("listTemplatePermissions", id=template))["templatepermission"]
        assert (told["account"], told["ispublic"]) == (["ann"], False)
        await cloud.call("updateTemplatePermissions", id=template, op="remove", accounts="ann", ispublic="true")
        told = (await cloud.call("listTemplatePermissions", id=template))["templatepermission"]
        assert (told["account"], told["ispublic"]) == ([], True)
        await cloud.call("updateTemplatePermissions", id=template, op="reset")
        assert (await cloud.call("listTemplatePermissions", id=template))["templatepermission"]["ispublic"] is False
        with pytest.raises(Refused, match="There is no account nobody"):
            await cloud.call("updateTemplatePermissions", id=template, op="add", accounts="nobody")
        with pytest.raises(Refused, match="op=add or op=remove"):
            await cloud.call("updateTemplatePermissions", id=template, accounts="ann")


@alone
async def test_tags_know_their_customer(tmp_path: Path) -> None:
    async with small_cloud(tmp_path) as cloud:
        about = {"resourcetype": "Network", "resourceids": cloud.ids["network"]}
        await cloud.call("createTags", **about, tags__key="a", tags__value="1", customer="shop")
        assert (await cloud.call("listTags", customer="shop"))["tag"][0]["customer"] == "shop"
        assert await cloud.call("listTags", customer="other") == {}
        (network,) = (await cloud.call("listNetworks"))["network"]
        assert [(t["key"], t["value"]) for t in network["tags"]] == [("a", "1")]
