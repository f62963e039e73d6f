"""A real OpenLDAP server of the tests' own: slapd on free loopback ports, with TLS, ended by its pid."""

from __future__ import annotations

import datetime
import ipaddress
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

BASE = "dc=mold,dc=test"
BIND = f"cn=reader,{BASE}"
BIND_PASSWORD = "canary-ldap-bind-password"
CONFIG = """\
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb
pidfile {folder}/slapd.pid
argsfile {folder}/slapd.args
TLSCACertificateFile {folder}/ca.pem
TLSCertificateFile {folder}/cert.pem
TLSCertificateKeyFile {folder}/key.pem
{extra}
database mdb
maxsize 10485760
suffix "{base}"
rootdn "cn=root,{base}"
rootpw root
directory {folder}/db
access to attrs=userPassword by anonymous auth by * none
access to * by dn.exact="{bind}" read by * none
"""
PEOPLE = {"kim": "Kim", "lee": "Lee", "park": "Park", "choi": "Choi", "star*": "Star", "out)er": "Outer"}
"""Name -> family name; the password of each is `<name>-password`. The last two have letters that mean something in filters."""


@dataclass
class Slapd:
    """A running server."""

    port: int
    tls_port: int
    authority: str
    folder: Path
    process: subprocess.Popen[bytes]


def _free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def certificates(folder: Path) -> None:
    """An authority, and a certificate of it for localhost."""
    now = datetime.datetime.now(datetime.UTC)

    def name(word: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, word)])

    def make(subject: str, issuer: str, key: ec.EllipticCurvePrivateKey, by: ec.EllipticCurvePrivateKey, ca: bool) -> x509.Certificate:
        names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        return (
            x509.CertificateBuilder().subject_name(name(subject)).issuer_name(name(issuer))
            .public_key(key.public_key()).serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(now + datetime.timedelta(days=2))
            .add_extension(x509.BasicConstraints(ca, None), critical=True)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .sign(by, hashes.SHA256())
        )  # fmt: skip

    own, server = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    pem = serialization.Encoding.PEM
    (folder / "ca.pem").write_bytes(make("the tests", "the tests", own, own, True).public_bytes(pem))
    (folder / "cert.pem").write_bytes(make("localhost", "the tests", server, own, False).public_bytes(pem))
    key = server.private_bytes(pem, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption())
    (folder / "key.pem").write_bytes(key)


def _escaped(name: str) -> str:
    return "".join(f"\\{c}" if c in ',+"\\<>;#' else c for c in name)


def entries() -> str:
    """The people and groups, as LDIF."""
    out = [
        f"dn: {BASE}\nobjectClass: dcObject\nobjectClass: organization\ndc: mold\no: Mold",
        f"dn: ou=people,{BASE}\nobjectClass: organizationalUnit\nou: people",
        f"dn: ou=guests,{BASE}\nobjectClass: organizationalUnit\nou: guests",
        f"dn: ou=groups,{BASE}\nobjectClass: organizationalUnit\nou: groups",
        f"dn: {BIND}\nobjectClass: organizationalRole\nobjectClass: simpleSecurityObject\ncn: reader\nuserPassword: {BIND_PASSWORD}",
    ]
    for name, family in PEOPLE.items():
        out.append(
            f"dn: uid={_escaped(name)},ou={'guests' if name == 'choi' else 'people'},{BASE}\nobjectClass: inetOrgPerson\nuid: {name}\n"
            f"cn: {name}\nsn: {family}\ngivenName: {name.title()}\nmail: {name.strip('*)')}@mold.test\nuserPassword: {name}-password"
        )
    for group, members in {
        "staff": [f"uid=kim,ou=people,{BASE}", f"cn=inner,ou=groups,{BASE}"],
        "inner": [f"uid=lee,ou=people,{BASE}", f"cn=staff,ou=groups,{BASE}"],  # a circle, which must not hang
        "other": [f"uid=park,ou=people,{BASE}"],
    }.items():
        lines = "\n".join(f"uniqueMember: {m}" for m in members)
        out.append(f"dn: cn={group},ou=groups,{BASE}\nobjectClass: groupOfUniqueNames\ncn: {group}\n{lines}")
    return "\n\n".join(out) + "\n"


def installed() -> bool:
    """Whether this machine has slapd."""
    return shutil.which("slapd", path="/usr/sbin:/usr/bin") is not None


@contextmanager
def running(folder: Path) -> Iterator[Slapd]:
    """A server with people and groups."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "db").mkdir()
    certificates(folder)
    config, ldif = folder / "slapd.conf", folder / "people.ldif"
    config.write_text(CONFIG.format(folder=folder, base=BASE, bind=BIND, extra=""))
    ldif.write_text(entries())
    subprocess.run(["/usr/sbin/slapadd", "-f", str(config), "-l", str(ldif)], check=True, capture_output=True)
    port, tls = _free_port(), _free_port()
    urls = f"ldap://127.0.0.1:{port}/ ldaps://127.0.0.1:{tls}/"
    process = subprocess.Popen(
        ["/usr/sbin/slapd", "-f", str(config), "-h", urls, "-d", "0"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        until = time.monotonic() + 15
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                assert time.monotonic() < until and process.poll() is None, "slapd has not started"
                time.sleep(0.05)
        yield Slapd(port, tls, str(folder / "ca.pem"), folder, process)
    finally:
        process.terminate()
        process.wait(10)
