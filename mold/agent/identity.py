"""Who the agent is: its key and certificate, and being dismissed.

A private key is made here and never leaves.  A new one is kept aside until its certificate comes; then certificate,
key and authorities change over together: the new files are all written first, and a change-over that a crash
interrupted is finished at the next start.
"""

from __future__ import annotations

import os
from pathlib import Path

import structlog
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from mold.agent import config
from mold.agent.config import Settings
from mold.agent.serve import Work, serves
from mold.base.errors import Conflict, Invalid
from mold.wire import calls as w

log = structlog.get_logger()
NAME_MAX = 64


@serves(w.RenewCertificate)
async def renew(_call: w.RenewCertificate, work: Work) -> w.SigningRequest:
    """A signing request with a fresh key. Asked again before the certificate came, it is the same key."""
    return w.SigningRequest(csr=fresh_request(work.here.settings))


def fresh_request(settings: Settings) -> str:
    """A signing request (PEM) with a fresh key, which waits aside for its certificate; asked again, the same one's."""
    aside = _next(settings.key)
    if not aside.exists() or _next(settings.certificate).exists():
        config.write(aside, new_key(), 0o600)
    return request(aside.read_bytes(), settings)


@serves(w.InstallCertificate)
async def install(call: w.InstallCertificate, work: Work) -> w.Done:
    """Take the certificate for the last signing request; the link is made anew with it after the answer."""
    settings = work.here.settings
    certificate, authorities = _certificates(call.certificate), _certificates(call.authorities)
    if _is(settings.certificate, call.certificate) and _is(settings.authorities, call.authorities):
        return w.Done()
    if not _fits(_next(settings.key), certificate[0]) and not _fits(settings.key, certificate[0]):
        raise Conflict("The certificate is not for the key of the last signing request; ask for a new request.")
    log.info("certificate installed", expires=str(certificate[0].not_valid_after_utc), authorities=len(authorities))
    config.write(_next(settings.authorities), call.authorities.encode())
    config.write(_next(settings.certificate), call.certificate.encode())
    settle(settings)
    work.here.renewed = True
    return w.Done()


@serves(w.StopAgent)
async def stop(_call: w.StopAgent, work: Work) -> w.Done:
    """Forget the managers; the agent ends after its answer. Guests and routers are left alone."""
    config.keep_managers(work.here.settings.folder, [])
    work.here.dismissed = True
    return w.Done()


def settle(settings: Settings) -> None:
    """Finish a change-over: it has begun for good once the new certificate is on disk, and it ends with its removal."""
    waiting = _next(settings.certificate)
    if not waiting.exists():
        return
    certificate = _certificates(waiting.read_text())[0]
    if _fits(_next(settings.key), certificate):
        os.replace(_next(settings.key), settings.key)
    if not _fits(settings.key, certificate):
        log.warning("certificate without its key dropped")
        waiting.unlink()
        return
    if _next(settings.authorities).exists():
        os.replace(_next(settings.authorities), settings.authorities)
    os.replace(waiting, settings.certificate)
    config.sync(settings.folder)


def new_key() -> bytes:
    """A fresh P-256 key, PEM."""
    return ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def request(key: bytes, settings: Settings) -> str:
    """A signing request for a key (PEM), naming the agent by its guid."""
    private = serialization.load_pem_private_key(key, None)
    if not isinstance(private, ec.EllipticCurvePrivateKey):
        raise Invalid("The key kept aside is not an elliptic-curve key; remove it.")
    name = x509.Name([
        x509.NameAttribute(NameOID.COMMON_NAME, settings.guid),
        x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, settings.name[:NAME_MAX]),
    ])  # fmt: skip
    signed = x509.CertificateSigningRequestBuilder().subject_name(name).sign(private, hashes.SHA256())
    return signed.public_bytes(serialization.Encoding.PEM).decode()


def _next(path: Path) -> Path:
    return path.with_name(f"{path.name}.next")


def _is(path: Path, text: str) -> bool:
    return path.exists() and path.read_text() == text


def _fits(key: Path, certificate: x509.Certificate) -> bool:
    """Whether the key at `key` (if any) is the one that the certificate is for."""
    try:
        private = serialization.load_pem_private_key(key.read_bytes(), None)
    except (FileNotFoundError, ValueError):
        return False
    form = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    return private.public_key().public_bytes(*form) == certificate.public_key().public_bytes(*form)


def _certificates(text: str) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(text.encode())
    except ValueError as error:
        raise Invalid(f"What came as a certificate is none: {error}.") from None
