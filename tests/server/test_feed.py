"""The live stream over real HTTP: who hears what, replay, ends of sessions, slow clients."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest
from cloud import ADMIN_PASSWORD, Actor, Cloud, Site
from listening import Listener
from signing import signature

from mold.api.permit import RoleType, condition, gone, judged
from mold.server import feed as f
from mold.store import REGISTRY


@pytest.fixture(scope="module")
def base(cloud: Cloud) -> str:
    return cloud.serve()


@pytest.fixture(scope="module")
def site(cloud: Cloud) -> Site:
    return cloud.zone(hosts=1)


def signed(actor: Actor) -> dict[str, str]:
    assert actor.keys is not None
    given = {"apiKey": actor.keys[0], "response": "json"}
    return {**given, "signature": signature(given, actor.keys[1])}


@pytest.fixture
def listen(base: str) -> Iterator[Callable[..., Listener]]:
    opened: list[Listener] = []

    def go(actor: Actor, **more: Any) -> Listener:
        time.sleep(2 * f.TICK_SECONDS)  # what was done before is told before
        opened.append(made := Listener(base, signed(actor), **more))
        if made.status == 200:
            made.until(lambda h: h.name == "hello")
        return made

    yield go
    for each in opened:
        each.close()


def sign_in(base: str, username: str = "admin", password: str = ADMIN_PASSWORD, domain: str = "") -> Any:
    web = httpx.Client(base_url=base)
    body = web.post(
        "/client/api",
        data={"command": "login", "username": username, "password": password, "domain": domain, "response": "json"},
    )
    assert body.status_code == 200, body.text
    return web, body.json()["loginresponse"]["sessionkey"]


Listen = Callable[..., Listener]


def test_a_change_is_heard_within_a_second_by_who_may_see_it_and_by_nobody_else(
    cloud: Cloud, listen: Listen, site: Site
) -> None:
    parent = cloud.domain()
    mine, boss = cloud.tenant(parent), cloud.tenant(parent, role="DomainAdmin")
    beside, other = cloud.tenant(parent), cloud.tenant(role="DomainAdmin")
    ears = {w: listen(a) for w, a in [("mine", mine), ("boss", boss), ("root", cloud.admin), ("beside", beside), ("other", other)]}
    began = time.monotonic()
    net = site.network(mine)["id"]
    ended = time.monotonic()
    for who in ("mine", "boss", "root"):
        heard = ears[who].of(net)
        assert heard.at - ended < 1.0 and heard.at > began
        assert heard.body["type"] == "network" and heard.body["op"] == "add" and heard.body["state"] == "Allocated"
    mine.updateNetwork(id=net, displaytext="for work")
    for who in ("mine", "boss", "root"):
        assert "displaytext" in ears[who].of(net, op="set").body["changed"]
    mine.deleteNetwork(id=net)
    for who in ("mine", "boss", "root"):
        assert ears[who].of(net, op="remove").body["type"] == "network"
        numbers = [int(h.id) for h in ears[who].heard]
        assert numbers == sorted(set(numbers)), "ids increase"
    time.sleep(0.5)
    for who in ("beside", "other"):
        assert [h.name for h in ears[who].heard] == ["hello"], "what one may not see makes no sound"
    pod = cloud.admin.createPod(
        zoneid=site.zone, name=cloud.name("pod"), gateway="172.31.0.1", netmask="255.255.0.0", startip="172.31.0.10"
    )["id"]
    ears["root"].of(pod)
    cloud.admin.deletePod(id=pod)
    ears["root"].of(pod, op="remove")
    assert not ears["mine"].about(pod) and not ears["boss"].about(pod)


def test_a_deploy_is_heard_as_it_goes(cloud: Cloud, listen: Listen, site: Site) -> None:
    tenant = cloud.tenant()
    net = site.network(tenant)["id"]
    other = cloud.tenant()
    theirs = other.listUsers()[0]["account"]
    with listen(tenant) as ear, listen(other) as stranger:
        vm = site.deploy(tenant, networkids=net)
        first = ear.of(vm["id"])
        assert first.body["type"] == "virtualmachine"
        running = ear.until(lambda h: h.name == "resource" and h.body["id"] == vm["id"] and h.body.get("state") == "Running")
        assert running.body["changed"]
        told = ear.until(lambda h: h.name == "job" and h.body["status"] == 1 and h.body["cmd"] == "deployVirtualMachine")
        assert told.body["pct"] == 100 and told.body["instanceid"] == vm["id"]
        assert {h.body["cmd"] for h in ear.heard if h.name == "job"} == {"deployVirtualMachine"}, "internal work is not told"
        happened = ear.until(
            lambda h: h.name == "event" and (h.body["type"], h.body["state"]) == ("VM.CREATE", "Completed")
        )
        (row,) = tenant.listEvents(id=happened.body["id"])
        assert happened.body == row, "as the list shows it"
        assert not any(h.body.get("type") in ("host", "storagepool") for h in ear.heard)
        assert all(h.name == "hello" or h.body.get("account") == theirs for h in stranger.heard), "of her own beginning at most"


def test_secrets_and_hidden_columns_are_named_to_nobody(cloud: Cloud, listen: Listen, base: str) -> None:
    tenant = cloud.tenant()
    with listen(cloud.admin) as root, listen(tenant) as ear:
        wrong = {"command": "login", "username": tenant.name, "password": "wrong", "response": "json"}
        httpx.post(base + "/client/api", data={**wrong, "domainId": tenant.domain})
        for each in (root, ear):
            assert each.of(tenant.user, op="set").body["changed"] in ([], ["state"])
        made = tenant.createSSHKeyPair(name="k")
        ear.until(lambda h: h.name == "resource" and h.body["type"] == "sshkeypair")
        assert made["privatekey"][40:60] not in json.dumps([h.body for h in root.heard + ear.heard])


def test_projects_are_heard_by_their_members_from_when_they_are(cloud: Cloud, listen: Listen, site: Site) -> None:
    domain = cloud.domain()
    lead, beside = cloud.tenant(domain), cloud.tenant(domain)
    with listen(lead) as ear, listen(beside) as other:
        project = lead.createProject(name=cloud.name("project"), displaytext="x")["id"]
        time.sleep(f.LOOK_SECONDS + 1)
        ear.of(site.network(lead, projectid=project)["id"])
        assert [h.name for h in other.heard] == ["hello"]


def test_who_comes_back_is_told_what_was_missed_once(cloud: Cloud, listen: Listen, site: Site) -> None:
    tenant, other = cloud.tenant(), cloud.tenant()
    ear = listen(tenant)
    first, strange = site.network(tenant)["id"], site.network(other)["id"]
    ear.of(first)
    ear.close()
    tenant.updateNetwork(id=first, name="one")
    tenant.updateNetwork(id=first, displaytext="two")
    second = site.network(tenant, name="second")["id"]
    tenant.deleteNetwork(id=first)
    other.updateNetwork(id=strange, name="one")
    time.sleep(0.6)
    back = listen(tenant, last=ear.last)
    back.of(first, op="remove")
    assert back.of(second).body["op"] == "add"
    time.sleep(0.5)
    assert not any(h.name == "reset" for h in back.heard) and not back.about(strange)
    assert all(int(h.id) > int(ear.last) for h in back.heard[1:])
    assert not [h for h in back.about(first) if h.body["op"] == "add"], "told before, not told again"
    for gap in ("12", "99999999999999999", str(int(ear.last) // 100 * 100 + (int(ear.last) + 1) % 100), "what"):
        listen(tenant, last=gap).until(lambda h: h.name == "reset")


def test_a_ring_that_has_lost_it_says_so(cloud: Cloud, listen: Listen, monkeypatch: pytest.MonkeyPatch) -> None:
    ear = listen(cloud.tenant())
    ear.close()
    feed = cloud.manager.feed
    kept, feed.keep_seconds = feed.keep_seconds, 0.3
    try:
        tenant = cloud.tenant()
        time.sleep(0.8)
        tenant.createSSHKeyPair(name="k")
        time.sleep(0.8)
        back = listen(tenant, last=ear.last)
        back.until(lambda h: h.name == "reset")
    finally:
        feed.keep_seconds = kept


def test_headers_heartbeat_and_refusals(cloud: Cloud, base: str, listen: Listen) -> None:
    cloud.manager.feed.heartbeat_seconds = 0.3
    try:
        ear = listen(cloud.admin)
        head = ear.answer.headers
        assert head["content-type"].startswith("text/event-stream") and head["cache-control"] == "no-store"
        assert head["x-accel-buffering"] == "no" and "content-encoding" not in head and "content-length" not in head
        time.sleep(1.5)
        assert ear.comments >= 2
    finally:
        cloud.manager.feed.heartbeat_seconds = f.HEARTBEAT_SECONDS
    refused = httpx.get(base + "/client/events")
    assert refused.status_code == 401 and refused.json()["errorresponse"]["errorcode"] == 401
    bad = {**signed(cloud.admin), "signature": "wrong"}
    assert httpx.get(base + "/client/events", params=bad).status_code == 401
    assert httpx.post(base + "/client/events").status_code == 405


def test_a_session_and_its_key_are_both_needed_and_its_end_ends_the_stream(cloud: Cloud, base: str) -> None:
    tenant = cloud.tenant()
    web, key = sign_in(base)
    cookies = {n: web.cookies[n] for n in ("JSESSIONID", "sessionkey")}
    assert Listener(base, {}, cookies=cookies).status == 401
    assert Listener(base, {"sessionkey": key}).status == 401
    with Listener(base, {"sessionkey": key}, cookies=cookies) as ear:
        ear.until(lambda h: h.name == "hello")
        tenant.createSSHKeyPair(name="k")
        ear.until(lambda h: h.body.get("type") == "sshkeypair")
        assert web.get("/client/api", params={"command": "logout", "response": "json", "sessionkey": key}).status_code == 200
        assert ear.ended.wait(5), "a stream goes on after its session"
    assert Listener(base, {"sessionkey": key}, cookies=cookies).status == 401


def test_a_disabled_user_and_ended_keys_hear_nothing_more(cloud: Cloud, listen: Listen, base: str) -> None:
    tenant, second = cloud.tenant(), cloud.tenant()
    with listen(tenant) as ear, listen(second) as other:
        wrong = {"command": "login", "username": tenant.name, "password": "wrong", "response": "json"}
        for _ in range(6):
            httpx.post(base + "/client/api", data={**wrong, "domainId": tenant.domain})
        assert cloud.admin.one("listUsers", id=tenant.user)["state"] == "disabled"
        assert ear.ended.wait(6)
        cloud.admin.deleteUserKeys(keypairid=second.one("listUserKeys")["id"])
        assert other.ended.wait(6), "the key that it was signed with is no more"


def test_streams_of_a_user_are_bounded(cloud: Cloud, listen: Listen) -> None:
    tenant = cloud.tenant()
    opened = [listen(tenant) for _ in range(f.PER_USER_MOST)]
    more = listen(tenant)
    assert more.status == 429 and more.answer.headers["retry-after"] and "close one" in more.answer.text
    opened[0].close()
    end = time.monotonic() + 5
    while (again := listen(tenant)).status != 200:
        assert time.monotonic() < end
        time.sleep(0.1)
    assert listen(cloud.tenant()).status == 200 and again


def test_a_slow_client_is_dropped(cloud: Cloud, base: str) -> None:
    host, port = base.removeprefix("http://").split(":")
    tenant = cloud.tenant()
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    sock.connect((host, int(port)))
    sock.sendall(f"GET /client/events?{urlencode(signed(tenant))} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    feed = cloud.manager.feed
    end = time.monotonic() + 5
    while not (mine := [s for s in feed.streams if s.caller.user_id == tenant.user]):
        assert time.monotonic() < end
        time.sleep(0.05)
    slow, f.SLOW_SECONDS = f.SLOW_SECONDS, 0.5
    try:

        async def flood() -> None:
            for _ in range(400):
                mine[0].put(b": " + b"x" * 100_000 + b"\n\n")

        cloud.run(flood())
        end = time.monotonic() + 10
        while mine[0] in feed.streams:
            assert time.monotonic() < end, "who reads nothing is kept"
            time.sleep(0.05)
    finally:
        f.SLOW_SECONDS = slow
        sock.close()


def test_too_much_at_once_is_told_as_reset(cloud: Cloud, listen: Listen, monkeypatch: pytest.MonkeyPatch) -> None:
    with listen(cloud.admin) as ear:
        feed = cloud.manager.feed
        monkeypatch.setattr(f, "PENDING_MOST", -1)
        tenant = cloud.tenant()
        ear.until(lambda h: h.name == "reset")
        monkeypatch.setattr(f, "PENDING_MOST", 50_000)
        time.sleep(0.5)
        tenant.createSSHKeyPair(name="k")
        ear.until(lambda h: h.body.get("type") == "sshkeypair")
        assert feed.wanted


def test_every_policy_judges_a_removed_row_as_it_judges_a_row(cloud: Cloud, site: Site) -> None:
    """For each listed kind and role: the rows that the policy lets through are the same when they are given as they were."""
    domain = cloud.domain()
    actors = [cloud.tenant(domain, role="DomainAdmin"), cloud.tenant(domain), cloud.tenant()]
    site.deploy(actors[1])
    site.network(actors[2])
    actors[1].createProject(name=cloud.name("p"), displaytext="p")
    checked = 0

    def compare(tx: Any) -> int:
        nonlocal checked
        for name in f.listing():
            kind = REGISTRY[name]
            rows = tx.find(kind, limit=40)
            for actor in [*actors, cloud.admin]:
                caller = cloud.manager.door.who(tx, actor.request("listZones", {}))
                allowed = {r.id for r in tx.find(kind, tx.any_of(kind.c.id, [r.id for r in rows]), condition(kind, caller, "see"))}
                was = [{n: r.__dict__[n] for n in judged(name)} for r in rows]
                assert gone(tx, kind, caller, was) == allowed, (name, caller.role)
                checked += len(rows)
        return checked

    assert cloud.run(cloud.manager.engine.reading(compare)) > 200
    assert set(RoleType) and checked


def test_nothing_is_gathered_while_nobody_listens(fresh: None, cloud: Cloud) -> None:
    feed = cloud.manager.feed
    kept, feed.keep_seconds = feed.keep_seconds, 0.0
    try:
        end = time.monotonic() + 10
        while feed.wanted:
            feed._until = 0
            assert time.monotonic() < end
            time.sleep(0.1)
        cloud.tenant()
        assert not feed._pending and not feed._ring
    finally:
        feed.keep_seconds = kept


@pytest.fixture
def fresh(cloud: Cloud) -> None:
    end = time.monotonic() + 10
    while cloud.manager.feed.streams and time.monotonic() < end:
        time.sleep(0.1)


def test_alerts_are_heard_by_operators_when_they_come_and_when_they_are_over(
    cloud: Cloud, listen: Listen, site: Site
) -> None:
    name = "cluster.cpu.allocated.capacity.notificationthreshold"
    cloud.reconcile("watch_troubles")
    site.deploy(cloud.tenant())
    with listen(cloud.admin) as root, listen(cloud.tenant(role="DomainAdmin")) as chief:
        cloud.set(name, 0.0)
        try:
            cloud.reconcile("watch_troubles")
            told = root.until(lambda h: h.name == "alert" and h.body["type"] == 1)
            assert told.body["name"] == "ALERT.CPU" and told.body == cloud.admin.one("listAlerts", id=told.body["id"])
        finally:
            cloud.admin.resetConfiguration(name=name)
        cloud.reconcile("watch_troubles")
        assert "resolved" in root.of(told.body["id"]).body["changed"]
        assert not any(h.name == "alert" for h in chief.heard) and not chief.about(told.body["id"])


def test_who_ranks_where_is_asked_anew_when_roles_change(cloud: Cloud, listen: Listen) -> None:
    parent = cloud.domain()
    boss, mine = cloud.tenant(parent, role="DomainAdmin"), cloud.tenant(parent)
    user = mine.listUsers()[0]["id"]
    with listen(boss) as ear:
        role = cloud.admin.createRole(name=cloud.name("role"), type="User")["id"]
        cloud.admin.createRolePermission(roleid=role, rule="listZones", permission="allow")
        cloud.admin.registerUserKeys(id=user)
        ear.until(lambda h: h.name == "event" and h.body["type"] == "REGISTER.USER.KEY")
        assert "reset" not in [h.name for h in ear.heard]
