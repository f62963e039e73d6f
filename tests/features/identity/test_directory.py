"""LDAP against a real slapd: servers, people, import, links, sign-in, TLS, hostile words, and a directory that is away."""

from __future__ import annotations

import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import slapd
from cloud import TENANT_PASSWORD, ApiError, Cloud
from slapd import BASE, BIND, BIND_PASSWORD, Slapd

pytestmark = pytest.mark.skipif(not slapd.installed(), reason="slapd is not installed (make setup installs it)")
STAFF, OTHER = f"cn=staff,ou=groups,{BASE}", f"cn=other,ou=groups,{BASE}"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slapd]:
    with slapd.running(tmp_path_factory.mktemp("slapd")) as made:
        yield made


@pytest.fixture(scope="module")
def base(cloud: Cloud) -> str:
    return cloud.serve()


@pytest.fixture(autouse=True, scope="module")
def settings(cloud: Cloud) -> None:
    cloud.set("ldap.basedn", BASE)
    cloud.set("ldap.bind.principal", BIND)
    cloud.set("ldap.bind.password", BIND_PASSWORD)
    cloud.set("ldap.read.timeout", 3000)


@pytest.fixture(scope="module")
def configured(cloud: Cloud, server: Slapd, settings: None) -> dict[str, Any]:
    return dict(cloud.admin.addLdapConfiguration(hostname="127.0.0.1", port=server.port))


def sign_in(base: str, username: str, password: str, domain: str) -> httpx.Response:
    data = {"command": "login", "username": username, "password": password, "domainId": domain, "response": "json"}
    return httpx.post(f"{base}/client/api", data=data, timeout=20)


@contextmanager
def changed(cloud: Cloud, **settings: Any) -> Iterator[None]:
    """Other settings for a while; `_` stands for a dot."""
    for name, value in settings.items():
        cloud.set(name.replace("_", "."), value)
    try:
        yield
    finally:
        for name in settings:
            if name == "ldap_bind_password":
                cloud.set("ldap.bind.password", BIND_PASSWORD)
            else:
                cloud.admin.resetConfiguration(name=name.replace("_", "."))


def names(rows: list[dict[str, Any]]) -> set[str]:
    return {r["username"] for r in rows}


# ── servers ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_servers_are_tried_listed_and_removed(cloud: Cloud, server: Slapd, configured: dict[str, Any]) -> None:
    admin = cloud.admin
    assert configured["hostname"] == "127.0.0.1" and configured["port"] == server.port
    listed = admin.ask("listLdapConfigurations")
    assert list(listed) == ["count", "LdapConfiguration"] and listed["LdapConfiguration"][0]["id"] == configured["id"]
    raw = admin.raw("listLdapConfigurations")
    assert raw.body.startswith(b'{"ldapconfigurationresponse"')
    with pytest.raises(ApiError, match="is configured already"):
        admin.addLdapConfiguration(hostname="127.0.0.1", port=server.port)
    with pytest.raises(ApiError, match="does not answer"):
        admin.addLdapConfiguration(hostname="127.0.0.1", port=1)
    for hostile in ("ldap://x", "a b", "-o", "x/../y", "", "a\nb"):
        with pytest.raises(ApiError):
            admin.addLdapConfiguration(hostname=hostile, port=389)
    with changed(cloud, ldap_bind_password="wrong"), pytest.raises(ApiError, match="does not let"):
        admin.addLdapConfiguration(hostname="localhost", port=server.port)
    domain = cloud.domain()
    own = admin.addLdapConfiguration(hostname="localhost", port=server.port, domainid=domain)
    assert [c["id"] for c in admin.listLdapConfigurations(domainid=domain)] == [own["id"]]
    assert len(admin.listLdapConfigurations(listall=True)) == 2
    chief, user = cloud.tenant(domain, "DomainAdmin"), cloud.tenant(domain)
    assert [c["id"] for c in chief.listLdapConfigurations()] == [own["id"]]
    assert user.ask("listLdapConfigurations") == {}, "users need not know where the directory is; the call itself succeeds"
    gone = admin.deleteLdapConfiguration(hostname="localhost", port=server.port, domainid=domain)
    assert gone["id"] == own["id"] and admin.listLdapConfigurations(domainid=domain) == []


def test_older_clients_configure_in_one_call(cloud: Cloud, server: Slapd, configured: dict[str, Any]) -> None:
    told = cloud.admin.ldapConfig(listall=True)
    assert (told["hostname"], told["port"], told["searchbase"]) == ("127.0.0.1", str(server.port), BASE)
    assert BIND_PASSWORD not in str(told)
    with pytest.raises(ApiError, match="queryfilter"):
        cloud.admin.ldapConfig(hostname="127.0.0.1", searchbase=BASE, queryfilter="(uid=%u)")


# ── people ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_people_are_found(cloud: Cloud, configured: dict[str, Any]) -> None:
    admin = cloud.admin
    found = admin.listLdapUsers()
    assert names(found) == set(slapd.PEOPLE)
    kim = next(p for p in found if p["username"] == "kim")
    assert kim == {
        "username": "kim", "principal": f"uid=kim,ou=people,{BASE}", "email": "kim@mold.test", "firstname": "Kim",
        "lastname": "Kim", "domain": "ROOT",
    }  # fmt: skip
    assert names(admin.listLdapUsers(keyword="lee")) == {"lee"}
    assert names(admin.ask("searchLdap", query="park@")["LdapUser"]) == {"park"}
    assert len(admin.listLdapUsers(page=2, pagesize=4)) == 2
    with changed(cloud, ldap_request_page_size=2):
        assert len(admin.listLdapUsers()) == len(slapd.PEOPLE), "pages of the directory are put together"
    with pytest.raises(ApiError, match="432|not available"):
        cloud.tenant().listLdapUsers()


@pytest.mark.parametrize(
    "hostile", ["*)(uid=*", "kim)(|(uid=*", "*)(objectClass=*", "\\", "kim\\", "(", ")", "&", "|", "k*m", "\\2a", "=", "а"]
)
def test_words_mean_nothing_in_filters(cloud: Cloud, base: str, configured: dict[str, Any], hostile: str) -> None:
    assert names(cloud.admin.ask("searchLdap", query=hostile).get("LdapUser", [])) <= {"star*", "out)er"}
    with pytest.raises(ApiError, match="nobody"):
        cloud.admin.ldapCreateAccount(username=hostile)
    domain = cloud.domain()
    cloud.admin.linkDomainToLdap(domainid=domain, type="OU", ldapdomain=f"ou=people,{BASE}", accounttype=0)
    assert sign_in(base, hostile, "kim-password", domain).status_code == 531


def test_letters_that_mean_something_are_found_as_letters(cloud: Cloud, configured: dict[str, Any]) -> None:
    assert names(cloud.admin.ask("searchLdap", query="out)er")["LdapUser"]) == {"out)er"}
    domain = cloud.domain()
    made = cloud.admin.ldapCreateAccount(username="star*", domainid=domain, accounttype=0)
    assert made["user"][0]["username"] == "star*"


def test_people_become_users_one_by_one_and_all_together(cloud: Cloud, base: str, configured: dict[str, Any]) -> None:
    admin, domain = cloud.admin, cloud.domain()
    made = admin.ldapCreateAccount(username="kim", domainid=domain, accounttype=0, timezone="Asia/Seoul")
    user = made["user"][0]
    assert (made["name"], user["usersource"], user["email"], user["timezone"]) == ("kim", "ldap", "kim@mold.test", "Asia/Seoul")
    assert sign_in(base, "kim", "kim-password", domain).status_code == 200
    for wrong in ("wrong", "", " ", "lee-password"):
        assert sign_in(base, "kim", wrong, domain).status_code == 531, wrong
    with pytest.raises(ApiError, match="nobody"):
        admin.ldapCreateAccount(username="unknown", domainid=domain)
    listed = admin.listLdapUsers(domainid=domain)
    assert next(p for p in listed if p["username"] == "kim")["conflictingusersource"] == "ldap"
    assert "kim" not in names(admin.listLdapUsers(domainid=domain, userfilter="LocalDomain"))
    assert "kim" not in names(admin.listLdapUsers(domainid=domain, listtype="new"))
    native = cloud.tenant(domain, name="park")
    taken = admin.ask("importLdapUsers", domainid=domain, accounttype=0)["LdapUser"]
    assert {p["username"]: p.get("conflictingusersource") for p in taken}["park"] == "native", "nobody is taken over"
    assert names(admin.listUsers(domainid=domain, usersource="ldap")) == set(slapd.PEOPLE) - {"park"}
    assert sign_in(base, "park", "park-password", domain).status_code == 531
    assert sign_in(base, "park", TENANT_PASSWORD, domain).json()["loginresponse"]["userid"] == native.user
    again = cloud.domain()
    taken = admin.ask("importLdapUsers", domainid=again, group="staff", account="team", accounttype=0)["LdapUser"]
    assert names(taken) == {"kim", "lee"}, "members of groups in the group too"
    assert {u["account"] for u in admin.listUsers(domainid=again)} == {"team"}


# ── links ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_people_of_a_linked_group_become_users_when_they_sign_in(cloud: Cloud, base: str, configured: dict[str, Any]) -> None:
    admin, domain = cloud.admin, cloud.domain()
    linked = admin.linkDomainToLdap(domainid=domain, type="GROUP", ldapdomain=STAFF, accounttype=0, admin="choi")
    assert (linked["ldapdomain"], linked["type"], linked["accounttype"]) == (STAFF, "GROUP", 0) and linked["accountid"]
    assert admin.one("listAccounts", name="choi", domainid=domain)["roletype"] == "DomainAdmin"
    assert names(admin.listUsers(domainid=domain)) == {"choi"}
    assert sign_in(base, "lee", "wrong", domain).status_code == 531
    assert names(admin.listUsers(domainid=domain)) == {"choi"}
    body = sign_in(base, "LEE", "lee-password", domain).json()["loginresponse"]
    assert (body["username"], body["account"], body["type"]) == ("lee", "lee", "0"), "the directory's own spelling"
    assert sign_in(base, "lee", "lee-password", domain).json()["loginresponse"]["userid"] == body["userid"]
    refused = sign_in(base, "park", "park-password", domain)
    assert refused.status_code == 531 and "no group that is linked" in refused.text
    with pytest.raises(ApiError, match="linked already"):
        admin.linkDomainToLdap(domainid=domain, type="OU", ldapdomain=BASE, accounttype=0)
    admin.unlinkDomainFromLdap(domainid=domain)
    assert sign_in(base, "kim", "kim-password", domain).status_code == 531
    assert sign_in(base, "lee", "lee-password", domain).status_code == 200, "who is a user stays one"


def test_groups_linked_to_accounts(cloud: Cloud, base: str, configured: dict[str, Any]) -> None:
    domain = cloud.domain()
    chief = cloud.tenant(domain, "DomainAdmin")
    staff = chief.linkAccountToLdap(domainid=domain, account="staff", ldapdomain=STAFF, accounttype=0)
    other = chief.linkAccountToLdap(domainid=domain, account="other", ldapdomain=OTHER, accounttype=0)
    assert sign_in(base, "kim", "kim-password", domain).json()["loginresponse"]["account"] == "staff"
    assert sign_in(base, "park", "park-password", domain).json()["loginresponse"]["account"] == "other"
    assert sign_in(base, "choi", "choi-password", domain).status_code == 531
    assert staff["accountid"] != other["accountid"]
    with pytest.raises(ApiError):
        chief.linkAccountToLdap(domainid=domain, account="chiefs", ldapdomain=STAFF, accounttype=1)
    with pytest.raises(ApiError):
        cloud.tenant(role="DomainAdmin").linkAccountToLdap(domainid=domain, account="x", ldapdomain=STAFF, accounttype=0)


def test_five_wrong_passwords_disable_users_of_the_directory_too(cloud: Cloud, base: str, configured: dict[str, Any]) -> None:
    domain = cloud.domain()
    cloud.admin.ldapCreateAccount(username="kim", domainid=domain)
    for _ in range(5):
        sign_in(base, "kim", "wrong", domain)
    assert "disabled/locked" in sign_in(base, "kim", "kim-password", domain).text


# ── the way there ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("how", ["ldaps", "starttls", "auto"])
def test_encrypted_to_a_server_whose_certificate_is_trusted(cloud: Cloud, server: Slapd, how: str, tmp_path: Path) -> None:
    port = server.port if how == "starttls" else server.tls_port
    domain = cloud.domain()
    cloud.set("ldap.connection.security", how, domainid=domain)
    if how != "auto":
        with pytest.raises(ApiError, match="does not answer"):  # the system's authorities do not know it
            cloud.admin.addLdapConfiguration(hostname="127.0.0.1", port=port, domainid=domain)
    cloud.set("ldap.truststore", server.authority, domainid=domain)
    cloud.admin.addLdapConfiguration(hostname="127.0.0.1", port=port, domainid=domain)
    cloud.set("ldap.basedn", BASE, domainid=domain)
    assert len(cloud.admin.listLdapUsers(domainid=domain)) == len(slapd.PEOPLE)
    slapd.certificates(tmp_path)
    cloud.set("ldap.truststore", str(tmp_path / "ca.pem"), domainid=domain)
    with pytest.raises(ApiError, match="does not answer"):  # an authority of the same name, and not the same key
        cloud.admin.listLdapUsers(domainid=domain)
    with pytest.raises(ApiError, match="no such file"):
        cloud.set("ldap.truststore", "/nowhere.pem", domainid=domain)


def test_a_directory_that_hangs_holds_up_its_own_people_only(cloud: Cloud, base: str) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(5)
        domain = cloud.domain()
        cloud.set("ldap.read.timeout", 700, domainid=domain)
        began = time.monotonic()
        with pytest.raises(ApiError, match="does not answer"):
            cloud.admin.addLdapConfiguration(hostname="127.0.0.1", port=silent.getsockname()[1], domainid=domain)
        assert time.monotonic() - began < 5


def test_a_directory_that_is_away(cloud: Cloud, base: str, tmp_path: Path) -> None:
    with slapd.running(tmp_path / "own") as own:
        domain = cloud.domain()
        cloud.admin.addLdapConfiguration(hostname="127.0.0.1", port=own.port, domainid=domain)
        cloud.admin.ldapCreateAccount(username="kim", domainid=domain)
        assert sign_in(base, "kim", "kim-password", domain).status_code == 200
        own.process.send_signal(signal.SIGSTOP)
        try:
            cloud.set("ldap.read.timeout", 500, domainid=domain)
            answer = sign_in(base, "kim", "kim-password", domain)
            assert answer.status_code == 531 and "directory does not answer" in answer.text and "127.0.0.1" not in answer.text
        finally:
            own.process.send_signal(signal.SIGCONT)
    answer = sign_in(base, "kim", "kim-password", domain)
    assert answer.status_code == 531 and "directory does not answer" in answer.text
    for _ in range(6):
        sign_in(base, "kim", "kim-password", domain)
    assert cloud.admin.one("listUsers", domainid=domain, username="kim")["state"] == "enabled", "that is no wrong password"


def test_the_bind_password_is_write_only(cloud: Cloud, configured: dict[str, Any]) -> None:
    told = cloud.admin.one("listConfigurations", name="ldap.bind.password")
    assert BIND_PASSWORD not in str(told)
    assert BIND_PASSWORD not in str(cloud.admin.listEvents(listall=True, pagesize=500, page=1))


