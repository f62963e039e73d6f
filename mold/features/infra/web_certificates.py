"""The certificate that browsers and clients see over HTTPS: the cloud's own authority's, until an operator uploads another.

Authorities come first, each with its place in the chain; the server's own certificate comes last, with its key, and is
looked at together with them: key, dates, signatures.  Managers show what was uploaded within seconds.
"""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from mold.api.answer import Field
from mold.api.command import Ctx, Param, command
from mold.api.permit import ROOT, Infra
from mold.base import clock
from mold.base.errors import Invalid
from mold.features.infra.alerts import Trouble, watched
from mold.features.infra.certificates import EXPIRY_ALERT
from mold.store import Resource, Tx, column, created
from mold.work import Done, operation

PEM = Annotated[str, Param(length=65535)]
PEM_SECRET = Annotated[str | None, Param(length=65535, secret=True)]
RSA_BITS = 2048
FAR = 1_000_000
"""The place of an authority that came without one: after all others."""


class WebCertificate(Resource):
    """One certificate of the chain. `place` counts from 1 towards the root; the server's own is 0 and has the key."""

    kind = "webcertificate"
    title = "certificate"
    unique = (("name",),)
    policy = Infra()

    name: str = column()
    place: int = column()
    certificate: str = column(hidden=True)
    privatekey: str | None = column(default=None, secret=True)
    domain_suffix: str = column()
    created: str = created()


def _read(text: str) -> x509.Certificate:
    try:
        (found,) = x509.load_pem_x509_certificates(text.encode())
    except (ValueError, TypeError, UnicodeError) as broken:
        raise Invalid(
            "certificate must be one certificate in PEM; upload those of its authorities one by one, before it.",
            parameter="certificate",
            inner=str(broken)[:200],
        ) from None
    now = dt.datetime.now(dt.UTC)
    if not found.not_valid_before_utc <= now < found.not_valid_after_utc:
        raise Invalid(
            f"The certificate is valid from {found.not_valid_before_utc:%Y-%m-%d} to {found.not_valid_after_utc:%Y-%m-%d}, "
            "and not now.",
            parameter="certificate",
        )
    return found


def _key(text: str) -> Any:
    try:
        key = serialization.load_pem_private_key(text.encode(), None)
    except (ValueError, TypeError, UnicodeError):
        raise Invalid("privatekey must be a key in PEM without a password.", parameter="privatekey") from None
    if isinstance(key, rsa.RSAPrivateKey) and key.key_size >= RSA_BITS:
        return key
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return key
    raise Invalid(f"privatekey must be an RSA key of at least {RSA_BITS} bits or an EC key.", parameter="privatekey")


def _public(of: Any) -> bytes:
    data: bytes = of.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return data


def _covers(certificate: x509.Certificate, suffix: str) -> bool:
    """Whether the certificate is for the domain or names in it."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return False
    word = suffix.lower().removeprefix("*.").strip(".")
    return any(n.lower().removeprefix("*.") == word or n.lower().endswith("." + word) for n in names.get_values_for_type(x509.DNSName))


@operation
class ServeCertificate(Done, kw_only=True):
    """A certificate was stored with the request; every manager looks for it."""

    name: str

    def tells(self, tx: Tx) -> dict[str, Any]:
        """What comes of it."""
        found = tx.first(WebCertificate, WebCertificate.c.name == self.name)
        shown = found is not None and found.privatekey is not None
        return {"message": "Managers show it from now on." if shown else "It is kept for the chain of a server's certificate."}


@command(
    "uploadCustomCertificate",
    roles=ROOT,
    shape="object",
    key="customcertificate",
    job=True,
    event="UPLOAD.CUSTOM.CERTIFICATE",
    fields=(Field("message"),),
)
def upload(
    ctx: Ctx,
    certificate: PEM,
    domainsuffix: str,
    id: Annotated[int | None, Param(low=1, high=100)] = None,
    name: str | None = None,
    privatekey: PEM_SECRET = None,
) -> None:
    """Gives managers a certificate to show over HTTPS. Authorities first, one by one; then the server's own, with its key.

    certificate: one certificate in PEM
    domainsuffix: the domain that the server's certificate is for
    id: of an authority: its place in the chain; 1 signed the server's certificate
    name: of an authority: any name; another certificate of that name is replaced
    privatekey: of the server's certificate: its key in PEM
    """
    tx, read = ctx.tx, _read(certificate)
    if privatekey is None and name is None:
        raise Invalid("Give an authority's certificate a name, or the server's own its privatekey.", parameter="name")
    if privatekey is not None:
        if _public(_key(privatekey)) != _public(read):
            raise Invalid("privatekey is not the key of this certificate.", parameter="privatekey")
        if not _covers(read, domainsuffix):
            raise Invalid(f"The certificate is for no name in {domainsuffix[:100]}.", parameter="domainsuffix")
        _chained(read, [_read(c.certificate) for c in chain(tx)])
    word = name or "server"
    place = 0 if privatekey is not None else id or FAR
    for old in tx.find(WebCertificate, (WebCertificate.c.name == word) | ((WebCertificate.c.place == place) & (place == 0))):
        tx.remove(old)
    tx.add(
        WebCertificate(
            name=word, place=place, certificate=certificate, privatekey=privatekey, domain_suffix=domainsuffix
        )
    )
    ctx.start(ServeCertificate(name=word))


def chain(tx: Tx) -> list[WebCertificate]:
    """The authorities that were uploaded, from the one that signs servers to the root."""
    c = WebCertificate.c
    return tx.find(WebCertificate, c.place > 0, order=(c.place, c.number))


def _chained(own: x509.Certificate, above: list[x509.Certificate]) -> None:
    below = own
    for each in above:
        try:
            below.verify_directly_issued_by(each)
        except (ValueError, TypeError, InvalidSignature):
            raise Invalid(
                f"{below.subject.rfc4514_string()[:100]} was not signed by {each.subject.rfc4514_string()[:100]}, which comes "
                "next in the chain; upload the authorities in their order (id).",
                parameter="certificate",
            ) from None
        below = each


def served(tx: Tx) -> tuple[str, str] | None:
    """(chain, key) in PEM of what was uploaded; None when managers show their own."""
    own = tx.first(WebCertificate, WebCertificate.c.place == 0)
    if own is None or own.privatekey is None:
        return None
    return "\n".join(c.certificate.strip() for c in [own, *chain(tx)]) + "\n", own.privatekey


@watched
def _ending(tx: Tx) -> list[Trouble]:
    """Uploaded certificates that end within the period of `ca.framework.cert.expiry.alert.period`."""
    out = []
    soon = dt.datetime.now(dt.UTC) + dt.timedelta(days=EXPIRY_ALERT.get(tx))
    for held in tx.find(WebCertificate):
        end = x509.load_pem_x509_certificate(held.certificate.encode()).not_valid_after_utc
        if end < soon:
            text = (
                f"The certificate {held.name}, which managers show over HTTPS, ends at {clock.at(end.timestamp())}; "
                "upload a newer one with uploadCustomCertificate."
            )
            out.append(Trouble("CA.CERT", f"webcertificate:{held.id}", text))
    return out
