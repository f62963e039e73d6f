"""Certificates: Mold's own authority, made at first start, issues what managers and hosts identify themselves with.

Agents and managers trust only this authority.  Keys are EC P-256.  The authority's key is sealed in the
database, so that several managers share it.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import time
from typing import Annotated, Any

import sqlalchemy as sa
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from mold.api.answer import Field
from mold.api.command import Ctx, Param, command
from mold.api.permit import ROOT, Infra
from mold.base import clock, ids
from mold.base.errors import Invalid
from mold.features.infra.alerts import Trouble, watched
from mold.features.infra.hosts import Host, on_remove
from mold.features.infra.settings import setting
from mold.store import Resource, Tx, column, created
from mold.wire import calls as w
from mold.work import Done, Engine, Operation, ask, change, look, operation, reconciler, step

VALID_DAYS = setting(
    "ca.framework.cert.validity.period", 365, "Days that a host's certificate is valid.", low=1, unit="days"
)
RENEW = setting(
    "ca.framework.cert.automatic.renewal", True, "Renew certificates of hosts before they expire.", scopes=("cluster",)
)
EXPIRY_ALERT = setting(
    "ca.framework.cert.expiry.alert.period",
    15,
    "Days before the end that a certificate is renewed.",
    scopes=("cluster",),
    low=1,
    unit="days",
)
RENEW_SECONDS = setting(
    "ca.framework.background.task.delay",
    3600,
    "Seconds between looks for certificates that end soon.",
    low=60,
    unit="seconds",
    shape="Long",
)
MANAGER_NAME = "mold-manager"


class Authority(Resource):
    """The certificate authority of this installation."""

    kind = "authority"
    policy = Infra()

    certificate: str = column()
    key: str = column(secret=True)
    created: str = created()


class Certificate(Resource):
    """A certificate issued. `serial` is hexadecimal; `pem` and `key` are kept for `issueCertificate`, the key for an hour."""

    kind = "certificate"
    policy = Infra()

    serial: str = column(unique=True)
    subject: str = column(index=True)
    guid: str | None = column(default=None, index=True)
    expires: str = column(kind="date")
    revoked: str | None = column(default=None, kind="date", index=True)
    pem: str | None = column(default=None, hidden=True)
    key: str | None = column(default=None, secret=True)
    created: str = created()


def _pem(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def authority(tx: Tx) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey, str]:
    """The authority's certificate, key and PEM; made at the first call in a writing transaction."""
    found = tx.first(Authority)
    if found is None:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name(
            [
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Mold"),
                x509.NameAttribute(NameOID.COMMON_NAME, f"Mold authority {ids.new_id()[:8]}"),
            ]
        )
        now = dt.datetime.now(dt.UTC)
        made = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(hours=1))
            .not_valid_after(now + dt.timedelta(days=3650))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(x509.KeyUsage(False, False, False, False, False, True, True, False, False), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        found = tx.add(Authority(certificate=made.public_bytes(serialization.Encoding.PEM).decode(), key=_pem(key)))
    loaded = serialization.load_pem_private_key(found.key.encode(), None)
    assert isinstance(loaded, ec.EllipticCurvePrivateKey)
    return x509.load_pem_x509_certificate(found.certificate.encode()), loaded, found.certificate


def _sign(
    tx: Tx,
    public: Any,
    common: str,
    names: list[str],
    addresses: list[str],
    days: int,
    *,
    server: bool,
    guid: str | None = None,
) -> str:
    ca, key, _ = authority(tx)
    now = dt.datetime.now(dt.UTC)
    serial = x509.random_serial_number()
    alternatives: list[x509.GeneralName] = [x509.DNSName(n) for n in dict.fromkeys([common, *names])]
    alternatives += [x509.IPAddress(ipaddress.ip_address(a)) for a in addresses]
    uses = [ExtendedKeyUsageOID.CLIENT_AUTH] + ([ExtendedKeyUsageOID.SERVER_AUTH] if server else [])
    made = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common[:64])]))
        .issuer_name(ca.subject)
        .public_key(public)
        .serial_number(serial)
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(x509.ExtendedKeyUsage(uses), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    tx.add(Certificate(serial=f"{serial:x}", subject=common, guid=guid, expires=clock.at(time.time() + days * 86400)))
    return made.public_bytes(serialization.Encoding.PEM).decode()


def issue(
    tx: Tx,
    common: str,
    *,
    names: list[str] | None = None,
    addresses: list[str] | None = None,
    days: int | None = None,
    server: bool = False,
    guid: str | None = None,
) -> tuple[str, str, str]:
    """A fresh key and certificate: (certificate, key, authority), PEM. With `guid` it is that agent's (or manager's) alone."""
    key = ec.generate_private_key(ec.SECP256R1())
    made = _sign(
        tx,
        key.public_key(),
        common,
        names or [],
        addresses or [],
        days or VALID_DAYS.get(tx),
        server=server,
        guid=guid,
    )
    return made, _pem(key), authority(tx)[2]


def sign_request(
    tx: Tx,
    csr: str,
    *,
    days: int | None = None,
    guid: str | None = None,
    common: str | None = None,
    names: list[str] | None = None,
    addresses: list[str] | None = None,
) -> str:
    """A certificate for a signing request (PEM); Invalid when it is none or its own signature is wrong."""
    try:
        asked = x509.load_pem_x509_csr(csr.encode())
        good = asked.is_signature_valid
    except (ValueError, TypeError) as broken:
        raise Invalid("csr is not a PEM certificate signing request.", inner=str(broken), parameter="csr") from None
    if not good:
        raise Invalid("The signing request's own signature does not fit its key.", parameter="csr")
    if common is None:
        found = asked.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        common = str(found[0].value) if found else "host"
    if common == MANAGER_NAME:
        raise Invalid(f"The name {MANAGER_NAME} is the managers' own.", parameter="csr")
    return _sign(
        tx,
        asked.public_key(),
        common,
        names or [],
        addresses or [],
        days or VALID_DAYS.get(tx),
        server=False,
        guid=guid,
    )


def revoked(tx: Tx, serial: int) -> bool:
    """Whether a certificate is revoked, or none of ours."""
    found = tx.first(Certificate, Certificate.c.serial == f"{serial:x}")
    return found is None or found.revoked is not None


def revoked_since(tx: Tx, at: str) -> list[int]:
    """Serial numbers of the certificates revoked since a time (API form)."""
    found = tx.execute(sa.select(Certificate.c.serial).where(Certificate.c.revoked >= at)).scalars()
    return [int(each, 16) for each in found]


# -- commands ------------------------------------------------------------------------------------------------------

PEM_FIELDS = (Field("certificate"), Field("privatekey"), Field("cacertificates"))


def _provider(name: str | None) -> None:
    if name not in (None, "", "root"):
        raise Invalid(
            f"There is no certificate provider {name[:40] if name else ''}; there is root.", parameter="provider"
        )


@command(
    "listCAProviders",
    roles=ROOT,
    shape="list",
    key="caprovider",
    reads=True,
    fields=(Field("name"), Field("description")),
)
def providers(ctx: Ctx, name: str | None = None) -> dict[str, Any]:
    """Lists certificate providers."""
    if name not in (None, "root"):
        return {}
    return {"count": 1, "caprovider": [{"name": "root", "description": "Mold's own certificate authority"}]}


@command("listCaCertificate", shape="object", key="cacertificates", reads=True, fields=(Field("certificate"),))
def ca_certificate(ctx: Ctx, provider: str | None = None) -> dict[str, Any]:
    """Gives the authority's certificate, for clients to trust."""
    _provider(provider)
    return {"cacertificates": {"certificate": authority(ctx.tx)[2]}}


@operation
class IssueCertificate(Done, kw_only=True):
    """A certificate was issued with the request; the finished job shows it, and for an hour its key."""

    serial: str

    def tells(self, tx: Tx) -> dict[str, Any]:
        """The certificate in PEM, its key while it is kept, and the authority's certificate."""
        found = tx.first(Certificate, Certificate.c.serial == self.serial)
        return _certificate_answer(tx, found) if found is not None else {}


def _certificate_answer(tx: Tx, held: Certificate) -> dict[str, Any]:
    body = {"certificate": held.pem, "cacertificates": authority(tx)[2]}
    return {**body, "privatekey": held.key} if held.key else body


@command(
    "issueCertificate",
    roles=ROOT,
    shape="object",
    key="certificates",
    job=True,
    event="CA.CERTIFICATE.ISSUE",
    fields=PEM_FIELDS,
)
def issue_certificate(
    ctx: Ctx,
    csr: Annotated[str | None, Param(length=65535)] = None,
    domain: str | None = None,
    ipaddress: str | None = None,
    duration: int | None = None,
    provider: str | None = None,
) -> dict[str, Any]:
    """Issues a certificate for a signing request, or for names and addresses with a fresh key.

    csr: signing request, PEM
    domain: names, comma separated; the first is the host's
    ipaddress: addresses, comma separated
    duration: days that it is valid
    provider: root
    """
    _provider(provider)
    names = [n.strip() for n in (domain or "").split(",") if n.strip()]
    addresses = [a.strip() for a in (ipaddress or "").split(",") if a.strip()]
    for each in names:
        if not all(ids.is_label(p) for p in each.split(".")) or each == MANAGER_NAME:
            raise Invalid(f"'{each[:80]}' is no name that a host may have.", parameter="domain")
    for each in addresses:
        from mold.base import net

        net.ip(each, "ipaddress")
    if duration is not None and not 1 <= duration <= 3650:
        raise Invalid("duration must lie between 1 and 3650 days.", parameter="duration")
    if csr:
        made, key = sign_request(ctx.tx, csr, days=duration, names=names, addresses=addresses), None
    elif names or addresses:
        made, key, _ = issue(
            ctx.tx, names[0] if names else addresses[0], names=names, addresses=addresses, days=duration
        )
    else:
        raise Invalid("Give a csr, or a domain or ipaddress to issue the certificate for.", parameter="csr")
    serial = f"{x509.load_pem_x509_certificate(made.encode()).serial_number:x}"
    held = ctx.tx.first(Certificate, Certificate.c.serial == serial)
    assert held is not None
    ctx.tx.set(held, pem=made, key=key)
    ctx.start(IssueCertificate(serial=serial))
    # In the first answer too, so that whoever asked need not wait for a job that has nothing left to do.
    return {"certificates": _certificate_answer(ctx.tx, held)}


@operation
class ProvisionCertificate(Operation):
    """Give a host a fresh key and certificate over its present connection."""

    locks = ("host",)
    patience = 20
    host: str

    def subject(self) -> tuple[str, str]:
        """The host."""
        return "host", self.host

    @step
    async def request(self) -> w.SigningRequest:
        found: w.SigningRequest = await ask(self.host, w.RenewCertificate())
        return found

    @step
    def sign(self, tx: Tx, request: w.SigningRequest) -> list[str]:
        host = tx.one(Host, self.host)
        made = sign_request(
            tx, request.csr, guid=host.guid, common=host.name, addresses=[host.ip_address] if host.ip_address else []
        )
        return [made, authority(tx)[2]]

    @step
    async def install(self, sign: list[str]) -> None:
        await ask(self.host, w.InstallCertificate(certificate=sign[0], authorities=sign[1]))


@command(
    "provisionCertificate",
    roles=ROOT,
    job=True,
    event="CA.CERTIFICATE.PROVISION",
    refused={"forced:boolean": "not offered: a host gets its certificate over its agent's connection only"},
)
def provision(ctx: Ctx, hostid: Host, reconnect: bool = True, provider: str | None = None) -> None:
    """Gives a host a fresh certificate.

    reconnect: true, the default: the agent connects again with it, which it does by itself
    """
    _provider(provider)
    if not reconnect:
        raise Invalid("The agent uses a fresh certificate at once; leave reconnect out.", parameter="reconnect")
    ctx.start(ProvisionCertificate(host=hostid.id))


@command("revokeCertificate", roles=ROOT, job=True, event="CA.CERTIFICATE.REVOKE")
def revoke(ctx: Ctx, serial: str, cn: str | None = None, provider: str | None = None) -> None:
    """Revokes a certificate: its holder cannot connect any more.

    serial: serial number, hexadecimal
    cn: the name in the certificate
    """
    _provider(provider)
    found = ctx.tx.first(
        Certificate, Certificate.c.serial == serial.lower().removeprefix("0x").replace(":", "").lstrip("0")
    )
    if found is None or (cn and found.subject != cn):
        raise Invalid("No certificate of this authority has this serial number and name.", parameter="serial")
    ctx.tx.set(found, revoked=clock.now())
    ctx.start(Done.to(found))


@reconciler(every=RENEW_SECONDS)
async def renew_certificates() -> int:
    """Hosts whose certificate ends soon get a fresh one; keys of issued ones are forgotten."""

    def due(tx: Tx) -> list[str]:
        out = []
        for host in tx.find(Host, Host.c.state == "Up", Host.c.hypervisor == "KVM"):
            last = tx.first(
                Certificate,
                (Certificate.c.guid == host.guid) | (Certificate.c.subject == host.name),
                Certificate.c.revoked.is_(None),
                order=Certificate.c.number.desc(),
            )
            end = clock.at(time.time() + EXPIRY_ALERT.get(tx, cluster=host.cluster_id) * 86400)
            if last is not None and last.expires < end and RENEW.get(tx, cluster=host.cluster_id):
                out.append(host.id)
        return out

    await change(_forget_keys)
    waiting = await look(due)
    engine = Engine.here
    assert engine is not None

    def want(tx: Tx) -> None:
        for host in waiting:
            engine.enqueue(tx, ProvisionCertificate(host=host))

    if waiting:
        await change(want)
    return len(waiting)


@watched
def _certificates_ending(tx: Tx) -> list[Trouble]:
    """Hosts whose newest certificate ends within the period, because nobody renews it or renewing fails."""
    c = Certificate.c
    newest = sa.select(sa.func.max(c.number)).where(c.revoked.is_(None), c.guid.is_not(None)).group_by(c.guid)
    ends = {cert.guid: cert.expires for cert in tx.find(Certificate, c.number.in_(newest))}
    out = []
    for host in tx.find(Host, Host.c.hypervisor == "KVM", Host.c.guid.is_not(None)):
        last = ends.get(host.guid)
        if last is not None and last < clock.at(time.time() + EXPIRY_ALERT.get(tx, cluster=host.cluster_id) * 86400):
            text = f"The certificate of host {host.name} ends at {last}; renew it with provisionCertificate."
            out.append(Trouble("CA.CERT", f"certificate:{host.id}", text, host.zone_id, host.pod_id))
    return out


def _forget_keys(tx: Tx) -> None:
    old = (Certificate.c.key.is_not(None), Certificate.c.created < clock.ago(3600))
    tx.execute(sa.update(Certificate.table).where(*old).values(key=None))


def _forget(tx: Tx, host: Host) -> None:
    """A host that leaves loses its certificates."""
    for each in tx.find(
        Certificate,
        (Certificate.c.guid == host.guid) | (Certificate.c.subject == host.name),
        Certificate.c.revoked.is_(None),
    ):
        tx.set(each, revoked=clock.now())


on_remove.append(_forget)
