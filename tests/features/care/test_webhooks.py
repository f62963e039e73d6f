"""Webhooks: events told to real HTTP receivers, signed, again when they fail; and what they may not reach."""

from __future__ import annotations

import hashlib
import hmac
import http.server
import ipaddress
import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from cloud import Actor, ApiError, Cloud

from mold.base import egress
from mold.features.care.webhooks import deliveries as dl
from mold.features.care.webhooks import sending

SECRET = "canary-of-a-webhook"


class Receiver:
    """An HTTP server that keeps what it is told; `answers` are the next statuses, 200 when there are none."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.got: list[tuple[str, dict[str, str], bytes]] = []
        self.answers: list[int] = []
        self.location = ""
        self.wait = 0.0
        self.reply = b"thank you"
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.got.append((self.path, {k.lower(): v for k, v in self.headers.items()}, body))
                time.sleep(outer.wait)
                status = outer.answers.pop(0) if outer.answers else 200
                self.send_response(status)
                if 300 <= status < 400:
                    self.send_header("Location", outer.location)
                self.end_headers()
                try:
                    self.wfile.write(outer.reply)
                except OSError:
                    pass

            def log_message(self, *args: Any) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer((host, 0), Handler)
        self.url = f"http://{host}:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def events(self) -> list[str]:
        return [h["x-cs-event"] for _, h, _ in self.got]

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.stop()


@pytest.fixture
def open_loopback(cloud: Cloud) -> Iterator[None]:
    cloud.set("webhook.allowed.internal.sites", "127.0.0.1/32")
    yield
    cloud.admin.resetConfiguration(name="webhook.allowed.internal.sites")


def until(what: Callable[[], object], seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.02)


def happen(actor: Actor) -> str:
    """Something that makes events REGISTER.SSH.KEYPAIR."""
    return str(actor.createSSHKeyPair(name=actor.cloud.name("key"))["name"])


def test_an_event_is_told_once_signed(cloud: Cloud, receiver: Receiver, open_loopback: None) -> None:
    tenant, other = cloud.tenant(), cloud.tenant()
    hook = tenant.createWebhook(name="ops", payloadurl=receiver.url + "/in", secretkey=SECRET, description="d")
    assert (hook["scope"], hook["state"], hook["sslverification"]) == ("Local", "Enabled", True)
    assert SECRET not in json.dumps(hook) and SECRET not in json.dumps(tenant.listWebhooks())
    happen(other)
    happen(tenant)
    until(lambda: receiver.got)
    time.sleep(1.2)
    ((path, head, body),) = receiver.got
    told = json.loads(body)
    (event,) = tenant.listEvents(type="REGISTER.SSH.KEYPAIR")
    assert path == "/in" and head["x-cs-event"] == told["event"] == "REGISTER.SSH.KEYPAIR"
    assert head["x-cs-event-id"] == told["eventuuid"] == event["id"] and head["content-type"].startswith("application/json")
    assert head["x-cs-signature"] == hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    (row,) = tenant.listWebhookDeliveries(webhookid=hook["id"])
    assert (row["success"], row["eventid"], row["webhookname"]) == (True, event["id"], "ops")
    assert row["response"] == "200 thank you" and row["enddate"] >= row["startdate"] and "X-CS-Event" in row["headers"]
    assert json.loads(row["payload"]) == told and SECRET not in json.dumps(row)
    assert tenant.listWebhookDeliveries(eventtype="NONE") == [] == tenant.listWebhookDeliveries(enddate="2001-01-01")
    assert "managementserverid" not in row and cloud.admin.one("listWebhookDeliveries", id=row["id"])["managementserverid"]
    tenant.updateWebhook(id=hook["id"], state="Disabled")
    happen(tenant)
    time.sleep(1.2)
    assert len(receiver.got) == 1
    tenant.deleteWebhook(id=hook["id"])
    assert tenant.listWebhookDeliveries() == [] == tenant.listWebhooks()


def test_a_failure_is_tried_again_and_then_given_up(
    cloud: Cloud, receiver: Receiver, open_loopback: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dl, "PAUSE_SECONDS", 0.05)
    tenant = cloud.tenant()
    hook = tenant.createWebhook(name="ops", payloadurl=receiver.url)
    receiver.answers = [500, 503]
    happen(tenant)
    until(lambda: len(receiver.got) == 3)
    until(lambda: tenant.one("listWebhookDeliveries", webhookid=hook["id"])["success"])
    receiver.answers = [500] * 5
    receiver.got.clear()
    happen(tenant)
    until(lambda: len(receiver.got) == 3)
    time.sleep(1.5)
    assert len(receiver.got) == 3, "webhook.delivery.tries is 3"
    last = tenant.listWebhookDeliveries(webhookid=hook["id"])[0]
    assert last["success"] is False and last["response"].startswith("500")
    tenant.deleteWebhook(id=hook["id"])


def test_a_silent_receiver_costs_its_time_and_no_others(cloud: Cloud, receiver: Receiver, open_loopback: None) -> None:
    cloud.set("webhook.delivery.timeout", 1)
    cloud.set("webhook.delivery.tries", 1)
    quick = Receiver()
    try:
        slow, brisk = cloud.tenant(), cloud.tenant()
        receiver.wait = 2
        slow.createWebhook(name="slow", payloadurl=receiver.url)
        brisk.createWebhook(name="brisk", payloadurl=quick.url)
        happen(slow)
        until(lambda: receiver.got)
        happen(brisk)
        until(lambda: quick.got, 2)
        until(lambda: "did not answer in 1 seconds" in slow.listWebhookDeliveries()[0].get("response", ""))
    finally:
        quick.stop()
        for name in ("timeout", "tries"):
            cloud.admin.resetConfiguration(name=f"webhook.delivery.{name}")


def test_what_is_private_is_not_reached(cloud: Cloud, receiver: Receiver) -> None:
    tenant = cloud.tenant()
    for bad in (
        receiver.url, "http://10.0.0.1/", "http://169.254.169.254/latest", "http://[::1]/", "http://[::ffff:127.0.0.1]/",
        "file:///etc/passwd", "gopher://x/", "http://user:word@example.org/", "http://", "ftp://example.org", "http://[/",
    ):  # fmt: skip
        with pytest.raises(ApiError):
            tenant.createWebhook(name="x", payloadurl=bad)
        with pytest.raises(ApiError):
            tenant.executeWebhookDelivery(payloadurl=bad)
    port = receiver.url.rsplit(":", 1)[1]
    told = tenant.executeWebhookDelivery(payloadurl=f"http://localhost:{port}/")
    assert told["success"] is False and "may not go" in told["response"] and not receiver.got


def test_a_redirect_is_looked_at_anew(cloud: Cloud, receiver: Receiver, open_loopback: None) -> None:
    inner = Receiver("127.0.0.2")
    tenant = cloud.tenant()
    try:
        receiver.answers, receiver.location = [307], inner.url + "/secret"
        told = tenant.executeWebhookDelivery(payloadurl=receiver.url)
        assert told["success"] is False and "127.0.0.2" in told["response"] and not inner.got
        receiver.answers, receiver.location = [307], "/again"
        told = tenant.executeWebhookDelivery(payloadurl=receiver.url, payload="hello")
        assert told["success"] is True and receiver.got[-1][0] == "/again" and receiver.got[-1][2] == b"hello"
        assert receiver.got[-1][1]["content-type"].startswith("text/plain")
        receiver.answers, receiver.location = [307] * 9, "/again"
        assert "redirected more than" in tenant.executeWebhookDelivery(payloadurl=receiver.url)["response"]
        receiver.answers, receiver.location = [302], "file:///etc/passwd"
        assert tenant.executeWebhookDelivery(payloadurl=receiver.url)["success"] is False
    finally:
        inner.stop()


def test_the_connection_goes_to_the_address_that_was_checked(
    cloud: Cloud, receiver: Receiver, open_loopback: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that nobody can resolve a second time: only who connects to the address that was looked at gets through."""

    async def once(host: str) -> list[Any]:
        assert host == "rebind.invalid"
        return [ipaddress.ip_address("127.0.0.1")]

    monkeypatch.setattr(egress, "resolved", once)
    port = receiver.url.rsplit(":", 1)[1]
    told = cloud.tenant().executeWebhookDelivery(payloadurl=f"http://rebind.invalid:{port}/")
    assert told["success"] is True, told
    assert receiver.got[0][1]["host"] == f"rebind.invalid:{port}"

    async def mixed(host: str) -> list[Any]:
        return [ipaddress.ip_address("127.0.0.1"), ipaddress.ip_address("10.1.1.1")]

    monkeypatch.setattr(egress, "resolved", mixed)
    assert cloud.tenant().executeWebhookDelivery(payloadurl=f"http://rebind.invalid:{port}/")["success"] is False


def test_an_endless_answer_is_cut(cloud: Cloud, receiver: Receiver, open_loopback: None) -> None:
    receiver.reply = b"y" * 5_000_000
    told = cloud.tenant().executeWebhookDelivery(payloadurl=receiver.url)
    assert told["success"] and len(told["response"]) <= sending.ANSWER_MAX


def test_tests_and_repeats(cloud: Cloud, receiver: Receiver, open_loopback: None) -> None:
    tenant = cloud.tenant()
    hook = tenant.createWebhook(name="ops", payloadurl=receiver.url + "/a", secretkey=SECRET, state="Disabled")
    told = tenant.executeWebhookDelivery(webhookid=hook["id"], payload='{"a": 1}')
    assert told["success"] and told["webhookid"] == hook["id"] and told["payload"] == '{"a": 1}'
    assert receiver.got[-1][1]["x-cs-signature"] == hmac.new(SECRET.encode(), b'{"a": 1}', hashlib.sha256).hexdigest()
    again = tenant.executeWebhookDelivery(id=told["id"], secretkey="another secret of it")
    assert again["id"] != told["id"] and receiver.got[-1][2] == b'{"a": 1}'
    assert receiver.got[-1][1]["x-cs-signature"] == hmac.new(b"another secret of it", b'{"a": 1}', hashlib.sha256).hexdigest()
    with pytest.raises(ApiError, match="Say what"):
        tenant.executeWebhookDelivery()
    assert len(tenant.listWebhookDeliveries(webhookid=hook["id"])) == 2
    tenant.deleteWebhookDelivery(id=told["id"])
    with pytest.raises(ApiError, match="Say which"):
        tenant.deleteWebhookDelivery()
    assert [d["id"] for d in tenant.listWebhookDeliveries()] == [again["id"]]
    tenant.deleteWebhookDelivery(webhookid=hook["id"])
    assert tenant.listWebhookDeliveries() == []
    for word in (SECRET, "another secret of it"):
        kept = cloud.run(cloud.manager.engine.reading(lambda tx: str([tuple(r) for r in tx.execute(dl.sa.text("select args, journal from asyncjob"))])))
        assert word not in kept
        kept = cloud.run(cloud.manager.engine.reading(lambda tx: str([tuple(r) for r in tx.execute(dl.sa.text("select * from webhook")).all()])))
        assert word not in kept


def test_filters(cloud: Cloud, receiver: Receiver, open_loopback: None) -> None:
    tenant = cloud.tenant()
    hook = tenant.createWebhook(name="ops", payloadurl=receiver.url)["id"]
    only = tenant.addWebhookFilter(webhookid=hook, value="register.", matchtype="Prefix")
    assert (only["mode"], only["matchtype"], only["webhookid"], only["type"]) == ("Include", "Prefix", hook, "EventType")
    but = tenant.addWebhookFilter(webhookid=hook, value="USER.DATA", matchtype="Contains", mode="Exclude")
    assert {f["id"] for f in tenant.listWebhookFilters(webhookid=hook)} == {only["id"], but["id"]}
    tenant.registerUserData(name="u", userdata="aGVsbG8K")
    tenant.createProject(name=cloud.name("p"), displaytext="p")
    happen(tenant)
    until(lambda: receiver.got)
    time.sleep(1)
    assert set(receiver.events()) == {"REGISTER.SSH.KEYPAIR"}
    with pytest.raises(ApiError, match="Say which"):
        tenant.deleteWebhookFilter()
    tenant.deleteWebhookFilter(id=but["id"])
    tenant.deleteWebhookFilter(webhookid=hook)
    assert tenant.listWebhookFilters(webhookid=hook) == []


def test_scopes(cloud: Cloud, receiver: Receiver, open_loopback: None) -> None:
    parent = cloud.domain()
    child = cloud.domain(parent=parent)
    boss, mine, stranger = cloud.tenant(parent, role="DomainAdmin"), cloud.tenant(child), cloud.tenant()
    boss.createWebhook(name="all below", payloadurl=receiver.url + "/boss", scope="Domain")
    cloud.admin.createWebhook(name="all", payloadurl=receiver.url + "/root", scope="Global")
    with pytest.raises(ApiError, match="Only root"):
        boss.createWebhook(name="too much", payloadurl=receiver.url, scope="Global")
    made = mine.createWebhook(name="too much", payloadurl=receiver.url, scope="Domain")
    assert made["scope"] == "Local", "the parameter is for admins"
    mine.deleteWebhook(id=made["id"])
    with pytest.raises(ApiError, match="may not hear"):
        boss.createWebhook(name="x", payloadurl=receiver.url, scope="Domain", account=mine.name, domainid=child)
    for who in (mine, stranger):
        happen(who)
    until(lambda: len(receiver.got) >= 3)
    time.sleep(1)
    whose = {(p, json.loads(b)["account"]) for p, _, b in receiver.got if json.loads(b)["event"] == "REGISTER.SSH.KEYPAIR"}
    assert whose == {("/boss", mine.account), ("/root", mine.account), ("/root", stranger.account)}
    for each in cloud.admin.listWebhooks(listall=True):
        cloud.admin.deleteWebhook(id=each["id"])


def test_nobody_touches_anothers(cloud: Cloud, receiver: Receiver, open_loopback: None) -> None:
    parent = cloud.domain()
    mine, beside = cloud.tenant(parent), cloud.tenant(parent)
    hook = mine.createWebhook(name="ops", payloadurl=receiver.url)["id"]
    filter_ = mine.addWebhookFilter(webhookid=hook, value="X")["id"]
    delivery = mine.executeWebhookDelivery(webhookid=hook)["id"]
    for who in (beside, cloud.tenant(role="DomainAdmin")):
        assert who.listWebhooks(listall=True) == [] == who.listWebhookDeliveries() == who.listWebhookFilters()
        for command, params in (
            ("listWebhooks", {"id": hook}), ("updateWebhook", {"id": hook, "name": "x"}), ("deleteWebhook", {"id": hook}),
            ("listWebhookDeliveries", {"id": delivery}), ("listWebhookDeliveries", {"webhookid": hook}),
            ("deleteWebhookDelivery", {"id": delivery}), ("deleteWebhookDelivery", {"webhookid": hook}),
            ("executeWebhookDelivery", {"id": delivery}), ("executeWebhookDelivery", {"webhookid": hook}),
            ("listWebhookFilters", {"id": filter_}), ("listWebhookFilters", {"webhookid": hook}),
            ("deleteWebhookFilter", {"id": filter_}), ("deleteWebhookFilter", {"webhookid": hook}),
            ("addWebhookFilter", {"webhookid": hook, "value": "Y"}),
        ):  # fmt: skip
            with pytest.raises(ApiError) as no:
                getattr(who, command)(**params)
            assert no.value.code == 431, (command, params)
        who.deleteWebhookDelivery(startdate="2001-01-01")
    assert mine.one("listWebhookDeliveries", id=delivery) and mine.one("listWebhookFilters", id=filter_)


def test_old_deliveries_go(cloud: Cloud, receiver: Receiver, open_loopback: None) -> None:
    tenant = cloud.tenant()
    hook = tenant.createWebhook(name="ops", payloadurl=receiver.url)["id"]
    done = [tenant.executeWebhookDelivery(webhookid=hook)["id"] for _ in range(4)]
    cloud.set("webhook.deliveries.limit", 2)
    try:
        assert cloud.reconcile("clean_deliveries") >= 2
        assert cloud.reconcile("clean_deliveries") == 0
    finally:
        cloud.admin.resetConfiguration(name="webhook.deliveries.limit")
    assert [d["id"] for d in tenant.listWebhookDeliveries(webhookid=hook)] == done[:1:-1]
