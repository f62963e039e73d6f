"""HTTPS with the cloud's own certificate, then with one that an operator uploads: real handshakes, nothing restarted."""

from __future__ import annotations

import datetime as dt
import json
import os
import ssl
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cloud import Cloud
from clouds import free_ports
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


class Managed:
    """A manager of its own, asked at its integration port."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.http, self.https, self.agents, self.inner = free_ports(4)
        line = [sys.executable, "-m", "mold.server.main", "--data-dir", folder, "--port", self.http, "--https-port",
                self.https, "--agent-port", self.agents, "--integration-port", self.inner]  # fmt: skip
        self.log = (folder.parent / "server.log").open("wb")
        self.process = subprocess.Popen([str(w) for w in line], stdout=self.log, stderr=self.log, env={**os.environ})

    def ask(self, command: str, **params: Any) -> dict[str, Any]:
        data = urllib.parse.urlencode({"command": command, "response": "json", **params})
        request = f"http://127.0.0.1:{self.inner}/?{data}"
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                (body,) = json.load(answer).values()
        except urllib.error.HTTPError as no:
            (body,) = json.load(no).values()
        return dict(body)

    def done(self, command: str, **params: Any) -> dict[str, Any]:
        body = self.ask(command, **params)
        assert "jobid" in body, body
        until = time.monotonic() + 20
        while (job := self.ask("queryAsyncJobResult", jobid=body["jobid"]))["jobstatus"] == 0:
            assert time.monotonic() < until
            time.sleep(0.05)
        assert "PRIVATE" not in json.dumps(job)
        return dict(job["jobresult"])

    def seen(self, authority: str, name: str = "localhost") -> int:
        """The status of a request over HTTPS by somebody who trusts this authority alone; ssl.SSLError when it is another's."""
        trust = ssl.create_default_context(cadata=authority)
        request = urllib.request.Request(f"https://{name}:{self.https}/client/", headers={"Host": name})
        with urllib.request.urlopen(request, timeout=10, context=trust) as answer:
            assert answer.headers["strict-transport-security"]
            return int(answer.status)


@pytest.fixture(scope="module")
def managed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Managed]:
    made = Managed(tmp_path_factory.mktemp("https") / "data")
    until = time.monotonic() + 60
    try:
        while True:
            try:
                made.ask("listZones")
                break
            except OSError:
                assert made.process.poll() is None and time.monotonic() < until, "the manager does not answer"
                time.sleep(0.1)
        yield made
    finally:
        made.process.terminate()
        made.process.wait(20)
        made.log.close()


def signed(name: str, by: tuple[x509.Certificate, Any] | None, *, ca: bool, days: int = 10) -> tuple[x509.Certificate, Any]:
    """A certificate and its key, signed by another or by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    issuer, signer = (by[0].subject, by[1]) if by else (subject, key)
    built = (
        x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
        .serial_number(x509.random_serial_number()).not_valid_before(now - dt.timedelta(days=20))
        .not_valid_after(now + dt.timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
    )  # fmt: skip
    return built.sign(signer, hashes.SHA256()), key


def pem(of: Any) -> str:
    if isinstance(of, x509.Certificate):
        return of.public_bytes(serialization.Encoding.PEM).decode()
    plain = serialization.NoEncryption()
    return str(of.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain).decode())


def test_the_clouds_own_certificate(managed: Managed) -> None:
    own = managed.ask("listCaCertificate")["cacertificates"]["certificate"]
    assert managed.seen(own) == 200
    stranger, _ = signed("stranger", None, ca=True)
    with pytest.raises(urllib.error.URLError, match="CERTIFICATE_VERIFY_FAILED"):
        managed.seen(pem(stranger))


def test_an_uploaded_certificate_is_shown_within_seconds(managed: Managed) -> None:
    root = signed("Root of the tests", None, ca=True)
    middle = signed("Middle of the tests", root, ca=True)
    server, key = signed("localhost", middle, ca=False)
    for wrong, text in (
        ({"certificate": "nonsense", "name": "x"}, "one certificate in PEM"),
        ({"certificate": pem(server)}, "Give an authority's certificate a name"),
        ({"certificate": pem(server), "privatekey": pem(middle[1])}, "is not the key"),
        ({"certificate": pem(server), "privatekey": "nonsense"}, "must be a key in PEM"),
        ({"certificate": pem(server), "privatekey": pem(key), "domainsuffix": "example.org"}, "for no name in example.org"),
        ({"certificate": pem(signed("localhost", None, ca=False, days=-1)[0]), "name": "x"}, "and not now"),
    ):
        no = managed.ask("uploadCustomCertificate", **{"domainsuffix": "localhost", **wrong})
        assert no["errorcode"] == 431 and text in no["errortext"], no
    managed.done("uploadCustomCertificate", certificate=pem(root[0]), domainsuffix="localhost", name="root", id=1)
    no = managed.ask("uploadCustomCertificate", certificate=pem(server), privatekey=pem(key), domainsuffix="localhost")
    assert "was not signed by" in no["errortext"], "the chain lacks a link"
    managed.done("uploadCustomCertificate", certificate=pem(root[0]), domainsuffix="localhost", name="root", id=2)
    managed.done("uploadCustomCertificate", certificate=pem(middle[0]), domainsuffix="localhost", name="middle", id=1)
    told = managed.done("uploadCustomCertificate", certificate=pem(server), privatekey=pem(key), domainsuffix="localhost")
    assert told["customcertificate"]["message"].startswith("Managers show it")
    until = time.monotonic() + 15
    while True:
        try:
            assert managed.seen(pem(root[0])) == 200
            break
        except urllib.error.URLError:
            assert time.monotonic() < until
            time.sleep(0.2)
    stored = (managed.folder / "mold.db").read_bytes() + (managed.folder / "mold.db-wal").read_bytes()
    assert pem(key).splitlines()[1].encode() not in stored, "keys are sealed at rest"
    assert pem(key).splitlines()[1] not in (managed.folder.parent / "server.log").read_text()


def test_an_uploaded_certificate_that_ends_soon_raises_an_alert(cloud: Cloud) -> None:
    def alerts() -> list[str]:
        cloud.reconcile("watch_troubles")
        return [a["description"] for a in cloud.admin.listAlerts(keyword="over HTTPS")]

    cloud.admin.updateConfiguration(name="ca.framework.cert.expiry.alert.period", value="15")
    for days, told in ((20, 0), (10, 1)):
        root, _ = signed("Root of the tests", None, ca=True, days=days)
        cloud.admin.uploadCustomCertificate(certificate=pem(root), domainsuffix="localhost", name="root", id=1)
        assert len(alerts()) == told
    assert "newer one with uploadCustomCertificate" in alerts()[0]
