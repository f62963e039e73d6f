"""SAML against a real identity provider: the way in and out, who may, and every way to forge an assertion."""

from __future__ import annotations

import base64
import re
import shutil
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
import samlkit
import sqlalchemy as sa
from cloud import TENANT_PASSWORD, Actor, ApiError, Cloud
from samlkit import Provider

pytestmark = pytest.mark.skipif(shutil.which("xmlsec1") is None, reason="xmlsec1 is not installed (make setup installs it)")
API = "/client/api"


@pytest.fixture(scope="module")
def base(cloud: Cloud) -> str:
    return cloud.serve()


@pytest.fixture(scope="module")
def idp(cloud: Cloud, base: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Provider]:
    with samlkit.running(tmp_path_factory.mktemp("idp")) as made:
        cloud.set("saml2.sp.sso.url", f"{base}{API}?command=samlSso")
        cloud.set("saml2.sp.slo.url", f"{base}{API}?command=samlSlo")
        cloud.set("saml2.redirect.url", f"{base}/client/")
        cloud.set("saml2.idp.metadata.url", made.id)
        cloud.set("saml2.enabled", True)
        cloud.reconcile("saml_metadata")
        answer = httpx.get(base + API, params={"command": "getSPMetadata"})
        assert answer.status_code == 200 and answer.headers["content-type"].startswith("application/samlmetadata+xml")
        made.sp = answer.text
        yield made


@pytest.fixture(scope="module")
def kim(cloud: Cloud, idp: Provider) -> Actor:
    tenant = cloud.tenant(name="kim")
    cloud.admin.authorizeSamlSso(userid=tenant.user, enable=True, entityid=idp.id)
    return tenant


@pytest.fixture
def web(base: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=base, timeout=30) as client:
        yield client


def away(web: httpx.Client, **more: str) -> str:
    """Where the browser is sent to sign in."""
    answer = web.get(API, params={"command": "samlSso", **more})
    assert answer.status_code == 302, answer.text
    return str(answer.headers["location"])


def back(web: httpx.Client, response: str, **more: str) -> httpx.Response:
    return web.post(API, params={"command": "samlSso", "response": "json"}, data={"SAMLResponse": response, **more})


def cookies_of(answer: httpx.Response) -> dict[str, str]:
    return {c.split("=", 1)[0]: c for c in answer.headers.get_list("set-cookie")}


def value(answer: httpx.Response, name: str) -> str:
    return cookies_of(answer)[name].split("=", 1)[1].split(";")[0]


def ask(web: httpx.Client, answer: httpx.Response, command: str, **params: str) -> httpx.Response:
    """Call as the browser that got these cookies."""
    key = value(answer, "sessionkey")
    jar = {"JSESSIONID": value(answer, "JSESSIONID"), "sessionkey": key}
    header = "; ".join(f"{n}={v}" for n, v in jar.items())
    with httpx.Client(base_url=web.base_url, timeout=30, headers={"Cookie": header}) as own:
        return own.get(API, params={"command": command, "response": "json", "sessionkey": key, **params})


# ── the way in and out ───────────────────────────────────────────────────────────────────────────────────────────────


def test_providers_and_our_own_metadata(web: httpx.Client, idp: Provider) -> None:
    listed = web.get(API, params={"command": "listIdps", "response": "json"}).json()["listidpsresponse"]
    assert listed == {"count": 1, "idp": [{"id": idp.id, "orgName": "The tests' provider", "orgUrl": idp.url}]}
    told = web.get(API, params={"command": "getSPMetadata", "response": "json"}).json()["spmetadataresponse"]["metadata"]
    assert 'entityID="mold"' in told and "AssertionConsumerService" in told and "PRIVATE" not in told
    assert 'use="encryption"' not in told, "no key for encryption is published, so nobody encrypts to us"


def test_from_sign_in_to_sign_out(web: httpx.Client, cloud: Cloud, idp: Provider, kim: Actor) -> None:
    location = away(web, idpid=idp.id)
    assert location.startswith(f"{idp.url}/sso?")
    query = parse_qs(urlsplit(location).query)
    assert "rsa-sha256" in query["SigAlg"][0] and query["Signature"]
    answer = back(web, idp.answer(location, "kim"))
    assert (answer.status_code, answer.headers["location"]) == (302, f"{web.base_url}/client/".replace("//client", "/client"))
    assert "PasswordProtectedTransport" in idp.requests[-1]
    found = cookies_of(answer)
    assert {"userid", "domainid", "role", "username", "account", "isSAML", "userfullname", "JSESSIONID"} <= set(found)
    keys = [c for c in answer.headers.get_list("set-cookie") if c.startswith("sessionkey=")]
    assert len(keys) == 2 and sum("HttpOnly" in c for c in keys) == 1
    assert "HttpOnly" in found["JSESSIONID"] and value(answer, "userid") == kim.user
    me = ask(web, answer, "listUsers").json()["listusersresponse"]["user"][0]
    assert (me["username"], me["usersource"]) == ("kim", "saml2")
    out = ask(web, answer, "samlSlo")
    assert out.status_code == 302 and out.headers["location"].startswith(f"{idp.url}/slo?")
    assert ask(web, answer, "listUsers").status_code == 401, "the session is over here too"
    done = web.get(API, params={"command": "samlSlo", "SAMLResponse": "x"})
    assert done.status_code == 302 and done.headers["location"].endswith("/client/")
    assert "kim" in str(cloud.admin.listEvents(listall=True, type="USER.LOGIN", pagesize=50, page=1))


def test_the_only_provider_need_not_be_named(web: httpx.Client, idp: Provider, kim: Actor) -> None:
    assert away(web).startswith(f"{idp.url}/sso?")
    answer = web.get(API, params={"command": "samlSso", "idpid": "https://elsewhere.invalid", "response": "json"})
    assert answer.status_code == 431
    answer = web.get(API, params={"command": "samlSso", "SAMLart": "x", "response": "json"})
    assert answer.status_code == 432


def test_who_may(web: httpx.Client, cloud: Cloud, idp: Provider, kim: Actor) -> None:
    data = {"command": "login", "username": "kim", "password": TENANT_PASSWORD, "domainId": kim.domain, "response": "json"}
    assert web.post(API, data=data).status_code == 531, "with the provider and nothing else"
    listed = cloud.admin.listSamlAuthorization(userid=kim.user)
    assert listed == [{"id": listed[0]["id"], "userid": kim.user, "idpid": idp.id, "status": True}]
    lee = cloud.tenant(name="lee")
    refused = back(web, idp.answer(away(web), "lee"))
    assert refused.status_code == 401 and "no user here" in refused.text
    with pytest.raises(ApiError, match="entityid must be"):
        cloud.admin.authorizeSamlSso(userid=lee.user, enable=True, entityid="https://elsewhere.invalid")
    with pytest.raises(ApiError, match="entityid must be"):
        cloud.admin.authorizeSamlSso(userid=lee.user, enable=True)
    with pytest.raises(ApiError):
        cloud.tenant(role="DomainAdmin").authorizeSamlSso(userid=lee.user, enable=True, entityid=idp.id)
    cloud.admin.authorizeSamlSso(userid=lee.user, enable=True, entityid=idp.id)
    assert back(web, idp.answer(away(web), "lee")).status_code == 302
    cloud.admin.authorizeSamlSso(userid=lee.user, enable=False)
    assert back(web, idp.answer(away(web), "lee")).status_code == 401
    data.update(username="lee", domainId=lee.domain)
    assert web.post(API, data=data).status_code == 531
    cloud.set("enable.login.with.disabled.saml", True)
    assert web.post(API, data=data).status_code == 200
    cloud.set("enable.login.with.disabled.saml", False)
    for nobody in ("admin", "system", "", "unknown"):
        assert back(web, idp.answer(away(web), nobody or "x")).status_code == 401, nobody


def test_the_same_person_in_several_domains(web: httpx.Client, cloud: Cloud, idp: Provider) -> None:
    first, second = cloud.tenant(name="choi"), cloud.tenant(name="choi")
    for each in (first, second):
        cloud.admin.authorizeSamlSso(userid=each.user, enable=True, entityid=idp.id)
    answer = back(web, idp.answer(away(web, domainid=second.domain), "choi"))
    assert value(answer, "userid") == second.user
    told = ask(web, answer, "listAndSwitchSamlAccount").json()["listandswitchsamlaccountresponse"]
    assert told["count"] == 2 and {a["userId"] for a in told["samluseraccount"]} == {first.user, second.user}
    other = ask(web, answer, "listAndSwitchSamlAccount", userid=first.user, domainid=first.domain)
    assert other.json() == {"listandswitchsamlaccountresponse": {"success": True}} and value(other, "userid") == first.user
    assert ask(web, other, "listUsers").json()["listusersresponse"]["user"][0]["id"] == first.user
    assert ask(web, answer, "listUsers").status_code == 401, "one goes on as the other"
    admin = cloud.admin.user
    assert ask(web, other, "listAndSwitchSamlAccount", userid=admin).status_code == 431
    assert web.get(API, params={"command": "listAndSwitchSamlAccount", "response": "json"}).status_code == 401


def test_a_failure_may_lead_to_a_page(web: httpx.Client, cloud: Cloud, idp: Provider) -> None:
    cloud.set("saml2.failed.login.redirect.url", "https://example.org/sorry")
    try:
        answer = back(web, "nonsense")
        assert (answer.status_code, answer.headers["location"]) == (302, "https://example.org/sorry")
        assert "set-cookie" not in answer.headers
    finally:
        cloud.admin.resetConfiguration(name="saml2.failed.login.redirect.url")


def test_a_person_is_told_by_the_console(web: httpx.Client, idp: Provider) -> None:
    html = {"Accept": "text/html,*/*"}
    sso = {"command": "samlSso"}
    wrong = web.post(API, params=sso, data={"SAMLResponse": "nonsense"}, headers=html)
    assert (wrong.status_code, wrong.headers["location"]) == (302, "/client/?signin=NotProven")
    unknown = web.get(API, params={**sso, "idpid": "https://elsewhere.invalid"}, headers=html)
    assert unknown.headers["location"] == "/client/?signin=Invalid"
    assert web.post(API, params=sso, data={"SAMLResponse": "nonsense"}).status_code == 401, "a program gets the refusal"
    asked = {**sso, "response": "json"}
    assert web.post(API, params=asked, data={"SAMLResponse": "nonsense"}, headers=html).status_code == 401


def test_signing_out_takes_the_session_key(web: httpx.Client, idp: Provider, kim: Actor) -> None:
    answer = back(web, idp.answer(away(web, idpid=idp.id), "kim"))
    jar = {"Cookie": f"JSESSIONID={value(answer, 'JSESSIONID')}", "Accept": "text/html"}
    with httpx.Client(base_url=web.base_url, timeout=30) as other:  # a link on another's page knows no key
        out = other.get(API, params={"command": "samlSlo"}, headers=jar)
        assert out.status_code == 302 and out.headers["location"].endswith("/client/") and "set-cookie" not in out.headers
    assert ask(web, answer, "listUsers").status_code == 200
    assert ask(web, answer, "samlSlo").status_code == 302
    assert ask(web, answer, "listUsers").status_code == 401


def test_over_https_the_answer_must_come_by_the_same_browser(cloud: Cloud, idp: Provider, kim: Actor) -> None:
    from mold.api.door import Request

    def call(params: dict[str, str], cookies: dict[str, str], post: bool) -> Any:
        request = Request(params={"command": "samlSso", **params}, post=post, cookies=cookies, base_url="https://cloud.test/client")
        return cloud.run(cloud.manager.door.answer(request))

    sent = call({}, {}, False)
    (binding,) = [c for c in sent.cookies if c[0] == "samlrequest"]
    assert binding[2] == {"httponly": True, "secure": True, "samesite": "none", "path": "/client"}
    response = idp.answer(sent.headers["Location"], "kim")
    assert call({"SAMLResponse": response}, {}, True).status == 401
    assert call({"SAMLResponse": response}, {"samlrequest": "another"}, True).status == 401
    good = call({"SAMLResponse": response}, {"samlrequest": binding[1]}, True)
    assert good.status == 302 and all(c[2]["secure"] for c in good.cookies)


# ── what is refused ──────────────────────────────────────────────────────────────────────────────────────────────────


def rewrite(cloud: Cloud, statement: str) -> None:
    """Play that time has passed, or that something else was asked."""
    cloud.run(cloud.manager.engine.writing(lambda tx: tx.execute(sa.text(statement))))


def xml(response: str) -> str:
    return base64.b64decode(response).decode()


def packed(text: str | bytes) -> str:
    return base64.b64encode(text.encode() if isinstance(text, str) else text).decode()


def part(text: str, tag: str) -> str:
    found = re.search(rf"<(\w+):{tag}\b.*?</\1:{tag}>", text, re.S)
    assert found, f"no {tag}"
    return found.group(0)


def unsigned(text: str) -> str:
    return text.replace(part(text, "Signature"), "")


def renamed(text: str) -> str:
    return text.replace(">kim<", ">admin<")


def evil(text: str) -> str:
    """An assertion for somebody else, unsigned, with another ID."""
    return renamed(unsigned(part(text, "Assertion"))).replace(' ID="', ' ID="evil-', 1)


FORGERIES: dict[str, Callable[[str], str]] = {
    "unsigned": unsigned,
    "changed after signing": renamed,
    "signature emptied": lambda t: re.sub(r"(<\w+:SignatureValue>).*?(</)", r"\1\2", t, flags=re.S),
    "wrapped: evil before the signed one": lambda t: t.replace(part(t, "Assertion"), evil(t) + part(t, "Assertion")),
    "wrapped: evil after the signed one": lambda t: t.replace(part(t, "Assertion"), part(t, "Assertion") + evil(t)),
    "wrapped: the signed one inside the evil one": lambda t: t.replace(
        part(t, "Assertion"), re.sub(r"(</\w+:Assertion>)$", lambda m: part(t, "Assertion") + m.group(1), evil(t))
    ),
    "wrapped: the signed one in the evil one's signature": lambda t: t.replace(
        part(t, "Assertion"),
        re.sub(
            r"(</\w+:Assertion>)$",
            lambda m: part(t, "Signature").replace(
                "</ns2:Signature>", f"<ns2:Object>{unsigned(part(t, 'Assertion'))}</ns2:Object></ns2:Signature>"
            )
            + m.group(1),
            evil(t),
        ),
    ),
    "wrapped: the signed one in an extension": lambda t: t.replace(
        part(t, "Assertion"),
        f'<x:Extensions xmlns:x="urn:oasis:names:tc:SAML:2.0:protocol">{part(t, "Assertion")}</x:Extensions>{evil(t)}',
    ),
    "the same ID twice": lambda t: t.replace(
        part(t, "Assertion"), renamed(unsigned(part(t, "Assertion"))) + part(t, "Assertion")
    ),
    "no audience": lambda t: t.replace(part(t, "AudienceRestriction"), ""),
    "entity": lambda t: '<!DOCTYPE r [<!ENTITY x SYSTEM "file:///etc/passwd">]>' + t.partition("?>")[2].replace("kim", "&x;"),
    "DTD alone": lambda t: "<!DOCTYPE r>" + (t.partition("?>")[2] or t),
    "billion laughs": lambda t: '<!DOCTYPE r [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;">]>' + (t.partition("?>")[2] or t),
    "no assertion": lambda t: t.replace(part(t, "Assertion"), ""),
    "two responses": lambda t: t.replace(part(t, "Assertion"), t.partition("?>")[2] or t),
    "another tag": lambda t: re.sub(r"(</?\w+:)Response\b", r"\1LogoutResponse", t),
    "not XML": lambda t: "hello",
    "empty": lambda t: "",
}


@pytest.mark.parametrize("how", FORGERIES)
def test_forged_assertions_are_refused(web: httpx.Client, idp: Provider, kim: Actor, how: str) -> None:
    text = xml(idp.answer(away(web), "kim"))
    forged = FORGERIES[how](text)
    assert forged != text
    answer = back(web, packed(forged) or "=")
    assert answer.status_code == 401, answer.text
    assert "set-cookie" not in answer.headers and "passwd" not in answer.text
    # The very same provider's untouched answer is taken: it was the forgery that was refused.
    assert back(web, packed(text)).status_code == 302


def test_a_dtd_in_another_encoding(web: httpx.Client, idp: Provider, kim: Actor) -> None:
    text = xml(idp.answer(away(web), "kim"))
    hidden = ('<?xml version="1.0" encoding="UTF-16"?><!DOCTYPE r [<!ENTITY x "y">]>' + (text.partition("?>")[2] or text)).encode("utf-16")
    assert back(web, packed(hidden)).status_code == 401


@pytest.mark.parametrize(
    "how",
    [
        {"key": "other_key", "certificate": "other_certificate"},
        {"audience": samlkit.OTHER},
        {"destination": "https://other.invalid/acs"},
        {"in_response_to": "id-nobody-asked"},
        {"algorithms": samlkit.SHA1},
        {"sign": False},
    ],
    ids=lambda h: next(iter(h)),
)
def test_assertions_that_are_not_for_us(web: httpx.Client, idp: Provider, kim: Actor, how: dict[str, Any]) -> None:
    given = {k: getattr(idp, v) if isinstance(v, str) and k in ("key", "certificate") else v for k, v in how.items()}
    answer = back(web, idp.answer(away(web), "kim", **given))
    assert answer.status_code == 401 and "set-cookie" not in answer.headers, answer.text


def test_an_assertion_is_taken_once(web: httpx.Client, base: str, idp: Provider, kim: Actor) -> None:
    response = idp.answer(away(web), "kim")
    assert back(web, response).status_code == 302
    assert back(web, response).status_code == 401
    with httpx.Client(base_url=base) as other:
        assert back(other, response).status_code == 401
        away(other)
        assert back(other, response).status_code == 401, "nor as the answer to another request"


def test_an_expired_assertion(web: httpx.Client, cloud: Cloud, idp: Provider, kim: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
    response = idp.answer(away(web), "kim")
    rewrite(cloud, "update samlrequest set until = until + 100000")
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + 7200)
    try:
        assert back(web, response).status_code == 401
    finally:
        monkeypatch.undo()


def test_an_answer_to_a_request_made_to_another_provider(web: httpx.Client, cloud: Cloud, idp: Provider, kim: Actor) -> None:
    location = away(web)
    rewrite(cloud, "update samlrequest set idpid = 'https://another.invalid'")
    assert back(web, idp.answer(location, "kim")).status_code == 401


def test_a_provider_without_certificate(web: httpx.Client, cloud: Cloud, idp: Provider, kim: Actor) -> None:
    response = idp.answer(away(web), "kim")
    idp.without_certificate = True
    try:
        cloud.set("saml2.idp.metadata.url", idp.url + "/again")
        cloud.reconcile("saml_metadata")
        assert web.get(API, params={"command": "listIdps", "response": "json"}).json() == {"listidpsresponse": {}}
        assert back(web, response).status_code == 401
        assert back(web, packed(unsigned(xml(response)))).status_code == 401
        assert web.get(API, params={"command": "samlSso", "idpid": idp.id, "response": "json"}).status_code == 431
    finally:
        idp.without_certificate = False
        cloud.set("saml2.idp.metadata.url", idp.id)
        cloud.reconcile("saml_metadata")
    assert back(web, response).status_code == 302


def test_metadata_that_cannot_be_had(cloud: Cloud, web: httpx.Client, idp: Provider) -> None:
    with pytest.raises(ApiError, match="must begin with"):
        cloud.set("saml2.idp.metadata.url", "gopher://x")
    try:
        for url in ("http://127.0.0.1:1/metadata", "file:///etc/passwd", "file:///nowhere"):
            cloud.set("saml2.idp.metadata.url", url)
            cloud.reconcile("saml_metadata")
            assert web.get(API, params={"command": "listIdps", "response": "json"}).json() == {"listidpsresponse": {}}
    finally:
        cloud.set("saml2.idp.metadata.url", idp.id)
        cloud.reconcile("saml_metadata")
    assert cloud.reconcile("saml_metadata") == 0, "what is fresh is not read again"


def test_off(cloud: Cloud, web: httpx.Client, idp: Provider) -> None:
    cloud.set("saml2.enabled", False)
    try:
        assert web.get(API, params={"command": "listIdps", "response": "json"}).json() == {"listidpsresponse": {}}
        for command in ("samlSso", "getSPMetadata"):
            assert web.get(API, params={"command": command, "response": "json"}).status_code == 432
        assert back(web, packed("<x/>")).status_code == 432
    finally:
        cloud.set("saml2.enabled", True)
