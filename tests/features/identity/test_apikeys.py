"""API keys: several for a user, shown once, with days and rules of their own, revoked at once."""

from __future__ import annotations

import time
from typing import Any

import pytest
from cloud import Actor, ApiError, Cloud

from mold.base import clock
from mold.features.identity import apikeys


def keyed(cloud: Cloud, who: Actor, **params: Any) -> tuple[Actor, dict[str, Any]]:
    """Somebody with a new pair of keys, and what the API told of them."""
    made = cloud.system.registerUserKeys(id=who.user, **params)
    return Actor(cloud, keys=(made["apikey"], made["secretkey"]), about=who.about), made


def refused(actor: Actor, command: str = "listAccounts") -> int:
    return actor.raw(command).status


def test_several_keys_are_good_side_by_side_until_each_is_deleted(cloud: Cloud) -> None:
    tenant = cloud.tenant()
    laptop, about = keyed(cloud, tenant, name="laptop", description="the one in the bag")
    assert (about["name"], about["description"], about["userid"], about["username"]) == ("laptop", "the one in the bag", tenant.user, tenant.name)
    assert (about["state"], about["accountname"], about["roletype"], about["domainid"]) == ("ENABLED", tenant.name, "User", tenant.domain)
    assert refused(laptop) == refused(tenant) == 200
    listed = tenant.listUserKeys()
    assert {k["name"] for k in listed} == {"laptop", *(k["name"] for k in listed)} and len(listed) == 2
    with pytest.raises(ApiError, match="name"):
        tenant.registerUserKeys(id=tenant.user, name="laptop")
    tenant.deleteUserKeys(keypairid=about["id"])
    assert refused(laptop) == 401 and refused(tenant) == 200
    assert len(tenant.listUserKeys()) == 1
    assert [e["type"] for e in tenant.listEvents() if "KEY" in e["type"] and "DELETE" in e["type"]]


def test_a_secret_is_shown_when_it_is_made_and_never_again(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    tenant = cloud.tenant()
    begun = tenant.ask("registerUserKeys", id=tenant.user)
    secret = begun["userkeys"]["secretkey"]
    assert tenant.job(begun["jobid"])["userkeys"]["secretkey"] == secret, "the job of the very request shows it"
    pair = begun["userkeys"]["id"]
    told = [
        tenant.listUserKeys(), tenant.listUserKeys(keypairid=pair, showpermissions=True), tenant.getUserKeys(id=tenant.user),
        cloud.admin.getUserKeys(id=tenant.user), cloud.admin.listUserKeys(userid=tenant.user), tenant.listUsers(),
        cloud.admin.getUser(userapikey=begun["userkeys"]["apikey"]), tenant.listEvents(), tenant.listAsyncJobs(),
    ]  # fmt: skip
    assert secret not in str(told)
    assert set(tenant.getUserKeys(id=tenant.user)) == {"apikey", "apikeyaccess"}
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + apikeys.TOLD_SECONDS + 1)
    assert "secretkey" not in tenant.job(begun["jobid"])["userkeys"]


def test_others_do_not_see_a_users_keys(cloud: Cloud) -> None:
    chief = cloud.tenant(role="DomainAdmin")
    tenant, stranger = cloud.tenant(chief.domain), cloud.tenant()
    (pair,) = tenant.listUserKeys()
    assert {k["id"] for k in chief.listUserKeys(userid=tenant.user)} == {pair["id"]}, "who may change her, may revoke her keys"
    assert pair["id"] not in str(stranger.listUserKeys(listall=True))
    for who in (stranger, cloud.tenant(role="DomainAdmin")):
        for command in ("deleteUserKeys", "listUserKeyRules", "listUserKeys"):
            with pytest.raises(ApiError, match="does not exist"):
                who.call(command, keypairid=pair["id"])
        with pytest.raises(ApiError, match="does not exist"):
            who.getUserKeys(id=tenant.user)
        with pytest.raises(ApiError, match="does not exist"):
            who.registerUserKeys(id=tenant.user)
    for low in (chief, cloud.tenant(role="ResourceAdmin")):
        with pytest.raises(ApiError, match="does not exist"):
            low.registerUserKeys(id=cloud.admin.user)  # nobody makes keys for who ranks higher
        assert cloud.admin.user not in {k["userid"] for k in low.listUserKeys(listall=True)}


def test_keys_have_their_days(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    tenant, real = cloud.tenant(), time.time
    day = 86400
    later, about = keyed(cloud, tenant, startdate=clock.at(real() + day), enddate=clock.at(real() + 2 * day))
    assert about["state"] == "PENDING" and refused(later) == 401
    monkeypatch.setattr(time, "time", lambda: real() + 1.5 * day)
    assert refused(later) == 200 and tenant.one("listUserKeys", keypairid=about["id"])["state"] == "ENABLED"
    monkeypatch.setattr(time, "time", lambda: real() + 3 * day)
    assert refused(later) == 401 and tenant.one("listUserKeys", keypairid=about["id"])["state"] == "EXPIRED"
    monkeypatch.undo()
    for wrong in ({"enddate": "2001-01-01"}, {"startdate": clock.at(real() + 2 * day), "enddate": clock.at(real() + day)}, {"enddate": "x"}):
        with pytest.raises(ApiError):
            tenant.registerUserKeys(id=tenant.user, **wrong)


def test_keys_have_their_rules(cloud: Cloud) -> None:
    tenant = cloud.tenant()
    rules = [
        {"rule": "listSSHKeyPairs", "permission": "deny", "description": "not these"},
        {"rule": "list*", "permission": "allow"},
        {"rule": "createSSHKeyPair", "permission": "ALLOW"},
        {"rule": "registerUserKeys", "permission": "allow"},
        {"rule": "createZone", "permission": "allow"},
    ]
    robot, about = keyed(cloud, tenant, rules=rules)
    assert refused(robot) == 200
    for command in ("listSSHKeyPairs", "deleteSSHKeyPair", "createZone"):
        assert refused(robot, command) == 432, command
    robot.createSSHKeyPair(name="made by the robot")
    with pytest.raises(ApiError, match="cannot make keys"):
        robot.registerUserKeys(id=tenant.user)
    told = tenant.listUserKeyRules(keypairid=about["id"])
    assert told[0] == {"rule": "listSSHKeyPairs", "permission": "deny", "description": "not these"} and len(told) == 5
    shown = tenant.one("listUserKeys", keypairid=about["id"], showpermissions=True)
    assert [p["rule"] for p in shown["permissions"]] == [r["rule"] for r in rules]
    assert "permissions" not in tenant.one("listUserKeys", keypairid=about["id"])
    for wrong in ({"rule": "nothing", "permission": "allow"}, {"rule": "list*", "permission": "maybe"}, {"permission": "allow", "rule": ""}, {"rule": "a b", "permission": "allow"}):
        with pytest.raises(ApiError, match="rule|permission"):
            tenant.registerUserKeys(id=tenant.user, rules=[wrong])


def test_whether_keys_are_taken_at_all(cloud: Cloud) -> None:
    tenant = cloud.tenant()
    assert cloud.admin.getUserKeys(id=tenant.user)["apikeyaccess"] is True
    cloud.set("api.key.access", False, domainid=tenant.domain)
    try:
        assert refused(tenant) == 401 and cloud.admin.getUserKeys(id=tenant.user)["apikeyaccess"] is False
        assert refused(cloud.tenant()) == 200, "of other domains they are"
    finally:
        cloud.admin.resetConfiguration(name="api.key.access", domainid=tenant.domain)
    assert refused(tenant) == 200
    assert cloud.admin.one("listUsers", id=tenant.user, apikeyaccess="Inherit")["apikeyaccess"] == "INHERIT"
    assert cloud.admin.listUsers(id=tenant.user, apikeyaccess="DISABLED") == []


def test_expiring_signatures(cloud: Cloud) -> None:
    from signing import signature

    from mold.api.door import Request

    tenant = cloud.tenant()
    assert tenant.keys is not None

    def tries(**more: str) -> int:
        given = {"command": "listAccounts", "response": "json", "apiKey": tenant.keys[0], **more}
        given["signature"] = signature(given, tenant.keys[1])
        return cloud.run(cloud.manager.door.answer(Request(params=given))).status

    def at(seconds: float) -> str:
        return time.strftime("%Y-%m-%dT%H:%M:%S+0000", time.gmtime(time.time() + seconds))

    assert tries(signatureVersion="3", expires=at(60)) == 200
    assert tries(signatureVersion="3", expires=at(60).replace("+0000", "Z")) == 200
    assert tries(signatureVersion="3", expires=at(-60)) == 401
    assert tries(signatureVersion="3") == tries(signatureVersion="3", expires="soon") == 401
    assert tries(signatureVersion="2") == tries() == 200, "other versions do not expire"
