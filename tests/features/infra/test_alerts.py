"""Alerts: raised once while something is wrong, resolved when it is not, mailed through a real mail server."""

from __future__ import annotations

import datetime
import socket
import ssl
import time
from collections.abc import Iterator
from email import message_from_bytes, policy
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword
from cloud import ApiError, Cloud, Site
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from mold.features.infra import alerts as a

PASSWORD = "canary-of-the-mail-server"


class Box:
    """What a mail server has taken; `refuse` makes it say no."""

    def __init__(self) -> None:
        self.mails: list[Any] = []
        self.refuse = ""

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        if self.refuse:
            return self.refuse
        self.mails.append((envelope.mail_from, envelope.rcpt_tos, message_from_bytes(envelope.content, policy=policy.default), session))
        return "250 taken"


def certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for localhost that vouches for itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    cert, secret = folder / "cert.pem", folder / "key.pem"
    cert.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    secret.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return cert, secret


@pytest.fixture
def mail(cloud: Cloud) -> Iterator[Any]:
    """Begin a mail server and have the cloud use it."""
    begun: list[Controller] = []
    names = ("host", "port", "useAuth", "useStartTLS", "username", "password")

    def begin(box: Box, **more: Any) -> Controller:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        made = Controller(box, hostname="localhost", port=port, **more)
        made.start()
        begun.append(made)
        cloud.set("alert.smtp.host", "localhost")
        cloud.set("alert.smtp.port", port)
        cloud.set("alert.email.addresses", "ops@example.org, Night <night@example.org>")
        cloud.set("alert.email.sender", "mold@example.org")
        return made

    begin.begun = begun  # type: ignore[attr-defined]
    yield begin
    for each in begun:
        each.stop()
    for name in names:
        cloud.admin.resetConfiguration(name=f"alert.smtp.{name}")
    for name in ("addresses", "sender"):
        cloud.admin.resetConfiguration(name=f"alert.email.{name}")


@pytest.fixture(scope="module")
def site(cloud: Cloud) -> Site:
    return cloud.zone(hosts=1)


def about(cloud: Cloud, word: str) -> list[dict[str, Any]]:
    return [r for r in cloud.admin.listAlerts() if word in r["description"]]


def raise_(cloud: Cloud, word: str, **more: Any) -> dict[str, Any]:
    cloud.admin.generateAlert(**{"type": 14, "name": "Generator", "description": word, **more})
    (row,) = about(cloud, word)
    return row


def test_what_somebody_raises(cloud: Cloud, site: Site) -> None:
    row = raise_(cloud, "the generator smokes", zoneid=site.zone)
    assert (row["type"], row["name"], row["description"]) == (14, "Generator", "the generator smokes") and row["sent"]
    assert cloud.admin.one("listAlerts", id=row["id"]) == row
    assert row in cloud.admin.listAlerts(type="14") and row in cloud.admin.listAlerts(keyword="smokes")
    assert row in cloud.admin.listAlerts(name="Generator") and row not in cloud.admin.listAlerts(type="7")
    with pytest.raises(ApiError, match="no type of alerts"):
        cloud.admin.generateAlert(type=999, name="x", description="x")
    with pytest.raises(ApiError, match="no type of alerts"):
        cloud.admin.listAlerts(type="NONSENSE")
    assert any(e["type"] == "ALERT.GENERATE" for e in cloud.admin.listEvents())
    for role in ("User", "DomainAdmin"):
        with pytest.raises(ApiError):
            cloud.tenant(role=role).listAlerts()


def test_types(cloud: Cloud) -> None:
    rows = {r["name"]: r for r in cloud.admin.listAlertTypes()}
    assert rows["ALERT.COMPUTE.HOST"] == {"alerttypeid": 7, "name": "ALERT.COMPUTE.HOST", "repetitionallowed": True}
    assert rows["ALERT.CPU"]["repetitionallowed"] is False and len(rows) == 43


def test_put_away_and_deleted(cloud: Cloud) -> None:
    one, two, three = (raise_(cloud, f"trouble number {n} of them", name="Putaway")["id"] for n in (1, 2, 3))
    with pytest.raises(ApiError, match="Say which"):
        cloud.admin.archiveAlerts()
    cloud.admin.archiveAlerts(ids=[one])
    assert {r["id"] for r in cloud.admin.listAlerts(name="Putaway")} == {two, three}
    cloud.admin.deleteAlerts(ids=[two])
    assert {r["id"] for r in cloud.admin.listAlerts(name="Putaway")} == {three}
    with pytest.raises(ApiError, match="after"):
        cloud.admin.deleteAlerts(startdate="2030-01-01", enddate="2020-01-01")
    cloud.admin.deleteAlerts(type="ALERT.MANAGEMENT", enddate="2020-01-01")
    assert {r["id"] for r in cloud.admin.listAlerts(name="Putaway")} == {three}
    cloud.admin.deleteAlerts(type="14", startdate="2020-01-01")
    assert cloud.admin.listAlerts(name="Putaway") == []


def test_a_lasting_trouble_is_told_once_and_resolved(cloud: Cloud, site: Site) -> None:
    cloud.reconcile("watch_troubles")
    cloud.set("cluster.memory.allocated.capacity.notificationthreshold", 0.0)
    tenant = cloud.tenant()
    vm = site.deploy(tenant)
    try:
        assert cloud.reconcile("watch_troubles") >= 1
        assert cloud.reconcile("watch_troubles") == 0, "a second run does nothing"
        (row,) = [r for r in cloud.admin.listAlerts(type="MEMORY") if "resolved" not in r]
        assert "more than 0 %" in row["description"]
    finally:
        cloud.admin.resetConfiguration(name="cluster.memory.allocated.capacity.notificationthreshold")
    assert cloud.reconcile("watch_troubles") >= 1
    row = cloud.admin.one("listAlerts", id=row["id"])
    assert row["resolved"] >= row["sent"]
    cloud.admin.destroyVirtualMachine(id=vm["id"], expunge=True)


def test_failed_deploys(cloud: Cloud, site: Site) -> None:
    tenant = cloud.tenant()
    cloud.simulator.plant(call="StartMachine", text="the lamp is out")
    with pytest.raises(ApiError):
        site.deploy(tenant)
    (row,) = about(cloud, "the lamp is out")
    assert row["name"] == "ALERT.USERVM" and row["type"] == 8
    cloud.simulator.plant(call="StartMachine", text="the lamp is out")
    with pytest.raises(ApiError):
        site.deploy(tenant)
    assert len(about(cloud, "the lamp is out")) == 1, "once while it lasts"
    cloud.reconcile("watch_troubles")
    assert "resolved" not in about(cloud, "the lamp is out")[0]
    site.deploy(tenant)
    time.sleep(5.1)
    cloud.reconcile("watch_troubles")
    assert about(cloud, "the lamp is out")[0]["resolved"]


def settled(cloud: Cloud, box: Box, count: int) -> None:
    end = time.monotonic() + 10
    while len(box.mails) < count:
        cloud.reconcile("mail_alerts")
        assert time.monotonic() < end, "no mail came"
        time.sleep(0.05)


def test_mail_in_the_open(cloud: Cloud, mail: Any) -> None:
    cloud.reconcile("mail_alerts")
    box = Box()
    mail(box)
    row = raise_(cloud, "smoke in\nroom 5: Rauch im Raum, 연기")
    settled(cloud, box, 1)
    cloud.reconcile("mail_alerts")
    ((sender, to, letter, _),) = box.mails
    assert sender == "mold@example.org" and to == ["ops@example.org", "night@example.org"]
    assert letter["Subject"] == "Generator: smoke in room 5: Rauch im Raum, 연기"
    assert row["id"] in letter["Message-ID"] and "연기" in letter.get_content()


def test_mail_is_tried_again(cloud: Cloud, mail: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    cloud.reconcile("mail_alerts")
    monkeypatch.setattr(a, "MAIL_PAUSE_SECONDS", 0.01)
    box = Box()
    box.refuse = "451 not now"
    server = mail(box)
    raise_(cloud, "again and again")
    cloud.reconcile("mail_alerts")
    assert box.mails == []
    server.stop()
    mail.begun.remove(server)
    time.sleep(0.1)
    cloud.reconcile("mail_alerts")
    box.refuse = ""
    mail(box)
    time.sleep(0.2)
    settled(cloud, box, 1)
    assert len(box.mails) == 1


@pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS")  # it is TLS from the first byte
@pytest.mark.parametrize("starttls", [True, False])
def test_mail_with_tls_and_a_password(
    cloud: Cloud, mail: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, starttls: bool
) -> None:
    cloud.reconcile("mail_alerts")
    cert, key = certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    tried: list[Any] = []

    def check(server: Any, session: Any, envelope: Any, mechanism: str, given: Any) -> AuthResult:
        tried.append(given)
        return AuthResult(success=given == LoginPassword(b"mold", PASSWORD.encode()))

    box = Box()
    tls = {"tls_context": context, "require_starttls": True} if starttls else {"ssl_context": context}
    mail(box, authenticator=check, auth_required=True, auth_require_tls=starttls, **tls)
    cloud.set("alert.smtp.useAuth", True)
    cloud.set("alert.smtp.useStartTLS", starttls)
    cloud.set("alert.smtp.username", "mold")
    cloud.set("alert.smtp.password", PASSWORD)
    assert PASSWORD not in str(cloud.admin.listConfigurations(name="alert.smtp.password"))
    monkeypatch.setattr(a, "MAIL_PAUSE_SECONDS", 0.01)
    raise_(cloud, f"with a password {starttls}")
    cloud.reconcile("mail_alerts")
    assert box.mails == [] and tried == [], "a server whose certificate nobody vouches for gets no password"
    monkeypatch.setenv("SSL_CERT_FILE", str(cert))
    time.sleep(0.1)
    settled(cloud, box, 1)
    assert box.mails[0][3].ssl is not None or not starttls


def test_addresses_are_looked_at(cloud: Cloud) -> None:
    for bad in ("nobody", "a@b.c, x", "a@", "a b@c.d"):
        with pytest.raises(ApiError, match="not an e-mail address"):
            cloud.set("alert.email.addresses", bad)
