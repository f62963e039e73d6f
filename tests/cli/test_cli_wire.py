"""What goes over the wire: signatures, sessions, methods, maps, pages, certificates."""

from __future__ import annotations

import datetime
import ipaddress
import json
import ssl
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_cloud import Mold, SmallCloud, server_signature, uid

from mold.cli.client import Cloud, signature, signing_text
from mold.cli.profiles import Connection

VECTOR = {
    "apiKey": "miKEY",
    "command": "deployVirtualMachine",
    "details[0].cpuNumber": "2",
    "expires": "2030-01-01T00:00:00+0000",
    "name": "web 01+a*b~c",
    "response": "json",
    "signatureVersion": "3",
}


def test_the_signature_is_the_one_of_the_servers_own_classes() -> None:
    assert signing_text(VECTOR) == (
        "apikey=mikey&command=deployvirtualmachine&details[0].cpunumber=2&expires=2030-01-01t00%3a00%3a00%2b0000"
        "&name=web%2001%2ba*b%7ec&response=json&signatureversion=3"
    )
    assert signature(VECTOR, "s3cret") == "nCXdp0zwfKQXAKzle0VzGEzB+M0="
    assert server_signature(VECTOR, "s3cret") == "nCXdp0zwfKQXAKzle0VzGEzB+M0="


@given(st.dictionaries(st.text("abcXYZ[]0.", min_size=1), st.text(st.characters(exclude_categories=["Cs"]))))
def test_both_readings_of_the_signature_agree(params: dict[str, str]) -> None:
    assert signature(params, "k") == server_signature(params, "k")


def test_a_signed_request_is_accepted_whatever_its_values(cloud: SmallCloud, signed: Mold) -> None:
    ran = signed("create", "zone", "name=한국 zone+1 ~*[a]&=%é")
    assert ran.code == 0, ran.err
    assert cloud.calls("createZone")[0].params["name"] == "한국 zone+1 ~*[a]&=%é"


def test_a_wrong_secret_is_an_authentication_failure(
    cloud: SmallCloud, signed: Mold, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOLD_SECRET_KEY", "wrong")
    ran = signed("list", "zones")
    assert ran.code == 3
    assert "did not accept the credentials" in ran.err and "wrong" not in ran.err


def test_changes_are_posted_and_questions_are_got(cloud: SmallCloud, signed: Mold) -> None:
    signed("list", "zones")
    signed("create", "zone", "name=a")
    question, change = cloud.calls("listZones")[0], cloud.calls("createZone")[0]
    assert question.method == "GET" and not question.form
    assert change.method == "POST" and not change.query


def test_a_long_question_is_posted(cloud: SmallCloud, signed: Mold) -> None:
    assert signed("list", "zones", "name=" + "x" * 3000).code == 0
    assert cloud.calls("listZones")[0].method == "POST"


def test_a_password_becomes_a_session_that_is_kept_privately_and_renewed(
    cloud: SmallCloud, mold: Mold, monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    monkeypatch.setenv("MOLD_URL", cloud.url)
    monkeypatch.setenv("MOLD_USERNAME", "admin")
    monkeypatch.setenv("MOLD_PASSWORD", "pass word&1")
    assert mold("list", "zones").code == 0
    assert mold("create", "zone", "name=a").code == 0
    assert cloud.logins == 1
    (kept,) = (home / "cache" / "mold").glob("session-*")
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    cloud.sessions.clear()  # the server forgot
    assert mold("list", "zones").code == 0
    assert cloud.logins == 2


def test_a_refused_password_is_an_authentication_failure(
    cloud: SmallCloud, mold: Mold, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOLD_USERNAME", "admin")
    monkeypatch.setenv("MOLD_PASSWORD", "nonsense")
    ran = mold("list", "zones", "--url", cloud.url)
    assert ran.code == 3
    assert "Failed to authenticate user" in ran.err and "nonsense" not in ran.err


def test_debug_shows_requests_and_no_secret(cloud: SmallCloud, mold: Mold, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOLD_URL", cloud.url)
    monkeypatch.setenv("MOLD_USERNAME", "admin")
    monkeypatch.setenv("MOLD_PASSWORD", "pass word&1")
    words = (
        "deploy",
        "virtualmachine",
        "zoneid=seoul",
        "templateid=Debian 12",
        "serviceofferingid=small",
        "password=hunter2",
    )
    ran = mold(*words, "details[0].rootpassword=hunter3", "--debug", "--no-wait")
    assert ran.code == 0, ran.err
    assert "deployVirtualMachine" in ran.err
    for secret in ("pass word", "pass+word", "sess-key", "hunter2", "hunter3"):
        assert secret not in ran.err + ran.out
    monkeypatch.setenv("MOLD_API_KEY", "KEY-1")
    monkeypatch.setenv("MOLD_SECRET_KEY", cloud.keys["KEY-1"])
    ran = mold("list", "zones", "--debug")
    sent = cloud.calls("listZones")[-1].params["signature"]
    assert ran.code == 0 and "listZones" in ran.err
    assert sent not in ran.err and "KEY-1" not in ran.err and "S3cret" not in ran.err


def test_maps_pass_with_the_case_of_their_fields(cloud: SmallCloud, signed: Mold) -> None:
    words = ("deploy", "virtualmachine", "zoneid=seoul", "templateid=Debian 12", "serviceofferingid=small")
    assert signed(*words, "Details[0].cpuNumber=2", "details[0].memory=512", "--no-wait").code == 0
    sent = cloud.calls("deployVirtualMachine")[0].form
    assert sent["details[0].cpuNumber"] == "2" and sent["details[0].memory"] == "512"
    assert signed("list", "virtualmachines", "tags[0].key=env", "tags[0].value=prod").code == 0
    assert cloud.calls("listVirtualMachines")[-1].query["tags[0].key"] == "env"


def test_paginate_joins_all_pages(cloud: SmallCloud, signed: Mold) -> None:
    ran = signed("list", "networks", "--paginate", "-o", "json")
    answer = json.loads(ran.out)
    assert answer["count"] == 1200 and len({row["id"] for row in answer["network"]}) == 1200
    assert [seen.query["page"] for seen in cloud.calls("listNetworks")] == ["1", "2", "3"]
    ran = signed("api", "listNetworks", "--paginate", "pagesize=400", "-o", "name")
    assert ran.out.split() == [f"net-{n}" for n in range(1200)]
    ran = signed("list", "networks", "page=1", "pagesize=3", "-o", "name")
    assert ran.out.split() == ["net-0", "net-1", "net-2"] and "3 of 1200" in ran.err


def test_an_integration_port_gets_everything_in_the_query(mold: Mold, home: Path) -> None:
    cloud = SmallCloud()
    cloud.problem = lambda seen, cookie: "a body was sent" if seen.form else None  # type: ignore[method-assign]
    try:
        (home / "data").mkdir()
        (home / "data/quickstart.json").write_text(json.dumps({"integrationport": cloud.server.server_port}))
        assert mold("create", "zone", "name=a").code == 0
        assert cloud.calls("createZone")[0].query["name"] == "a"
    finally:
        cloud.close()


@pytest.mark.parametrize(
    ("status", "body"), [(502, b"<html>bad gateway</html>"), (200, b"[]"), (200, b'{"a":{},"b":{}}'), (302, b"")]
)
def test_what_is_no_answer_is_said_so(cloud: SmallCloud, signed: Mold, status: int, body: bytes) -> None:
    cloud.broken = (status, "text/html", body)
    ran = signed("list", "zones")
    assert ran.code == 4 and f"answered {status}" in ran.err


def test_a_redirect_carries_no_signature_elsewhere(cloud: SmallCloud, signed: Mold) -> None:
    other = SmallCloud()
    try:
        cloud.redirect = other.url
        assert signed("api", "listZones").code == 4
        assert cloud.seen and not other.seen
    finally:
        other.close()


def test_nobody_there_and_nobody_answering(signed: Mold) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        ran = signed("api", "listZones", "--url", f"http://127.0.0.1:{port}", "--timeout", "0.2")
        assert ran.code == 6 and "0.2 s" in ran.err
    ran = signed("api", "listZones", "--url", f"http://127.0.0.1:{port}")
    assert ran.code == 4 and "does not answer" in ran.err


def test_certificates_are_checked_unless_asked_otherwise(cloud: SmallCloud, signed: Mold, home: Path) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "small cloud")])
    today = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(today - datetime.timedelta(days=1))
        .not_valid_after(today + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = home / "ca.pem"
    pem.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (home / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem, home / "key.pem")
    cloud.server.socket = context.wrap_socket(cloud.server.socket, server_side=True)
    url = cloud.url.replace("http:", "https:")
    ran = signed("api", "listZones", "--url", url)
    assert ran.code == 4 and "certificate" in ran.err and not cloud.seen
    assert signed("api", "listZones", "--url", url, "--ca", str(pem)).code == 0
    assert signed("api", "listZones", "--url", url, "--insecure").code == 0
    assert signed("api", "listZones", "--url", url, "--cacert", "nowhere.pem").code == 2


def test_a_connection_never_prints_its_secrets() -> None:
    link = Connection("a", {"url": "http://h", "apikey": "AAA", "secretkey": "BBB", "password": "CCC"})
    assert not any(secret in repr(link) + str(Cloud(link)) for secret in ("AAA", "BBB", "CCC"))
    assert uid("a") != uid("b")
