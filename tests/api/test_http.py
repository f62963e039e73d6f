"""The real HTTP server: sign-in, cookies, sessions, sign-out, the integration port, sizes, paths and headers."""

from __future__ import annotations

from collections.abc import Iterator
from http.cookies import SimpleCookie

import httpx
import pytest
from argon2 import PasswordHasher, extract_parameters
from cloud import ADMIN_PASSWORD, TENANT_PASSWORD, Actor, Cloud

from mold.features.identity import credentials

API = "/client/api"
KEY_ERROR = "unable to verify user credentials"


@pytest.fixture(scope="module")
def base(cloud: Cloud) -> str:
    return cloud.serve()


@pytest.fixture(scope="module")
def open_port(cloud: Cloud) -> str:
    return cloud.serve(integration_port=True)


@pytest.fixture
def web(base: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=base, timeout=20) as client:
        yield client


def sign_in(web: httpx.Client, username: str = "admin", password: str = ADMIN_PASSWORD, **more: str) -> httpx.Response:
    return web.post(
        API, data={"command": "login", "username": username, "password": password, "response": "json", **more}
    )


def ask(web: httpx.Client, key: str | None, command: str = "listAccounts", **more: str) -> httpx.Response:
    params = {"command": command, "response": "json", **({"sessionkey": key} if key else {}), **more}
    return web.get(API, params=params)


# ── sign-in ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_session_from_sign_in_to_sign_out(web: httpx.Client, cloud: Cloud) -> None:
    answer = sign_in(web)
    assert answer.status_code == 200
    body = answer.json()["loginresponse"]
    admin = cloud.admin
    assert {k: body[k] for k in ("username", "userid", "domainid", "account", "type", "registered", "timeout")} == {
        "username": "admin",
        "userid": admin.user,
        "domainid": admin.domain,
        "account": "admin",
        "type": "1",
        "registered": "true",
        "timeout": 1800,
    }
    assert (body["is2faenabled"], body["is2faverified"]) == ("false", "true"), "words, not booleans"
    assert body["managementserverid"], "for root admins"
    assert "timezone" not in body, "what is not set is left out"
    key = body["sessionkey"]
    assert len(key) == 27 and set("+/=") & set(key) == set()
    assert ask(web, key).json()["listaccountsresponse"]["count"] == 1
    out = ask(web, key, "logout")
    assert out.json() == {"logoutresponse": {"description": "success"}}
    cleared = [SimpleCookie(c) for c in out.headers.get_list("set-cookie")]
    assert {n for c in cleared for n in c} == {"JSESSIONID", "sessionkey"}
    assert all(m["max-age"] == "0" for c in cleared for m in c.values())
    assert ask(web, key).status_code == 401


def test_the_cookies(web: httpx.Client, cloud: Cloud) -> None:
    def cookies() -> dict[str, str]:
        return {c.split("=", 1)[0]: c for c in sign_in(web).headers.get_list("set-cookie")}

    found = cookies()
    assert set(found) == {"JSESSIONID", "sessionkey"}
    assert "Path=/client" in found["JSESSIONID"]
    assert all("HttpOnly" in c and "samesite=lax" in c.lower() for c in found.values())
    assert not any("Secure" in c for c in found.values())
    cloud.set("enable.secure.session.cookie", True)
    try:
        assert all("Secure" in c for c in cookies().values())
    finally:
        cloud.set("enable.secure.session.cookie", False)


def test_sign_in_is_by_post_only(web: httpx.Client) -> None:
    answer = web.get(
        API, params={"command": "login", "username": "admin", "password": ADMIN_PASSWORD, "response": "json"}
    )
    assert answer.status_code == 405
    assert answer.text == "Please use HTTP POST to authenticate using this API"
    assert answer.headers["content-type"].startswith("text/plain")
    assert "set-cookie" not in answer.headers


def test_the_name_of_login_in_any_case(web: httpx.Client) -> None:
    answer = web.post(
        API, data={"command": "LOGIN", "username": "admin", "password": ADMIN_PASSWORD, "response": "json"}
    )
    assert "sessionkey" in answer.json()["loginresponse"]


def test_a_wrong_password_and_an_unknown_user_look_the_same(web: httpx.Client) -> None:
    for name in ("admin", "nobody"):
        answer = sign_in(web, name, "wrong")
        assert answer.status_code == 531
        body = answer.json()["loginresponse"]
        assert body["errorcode"] == 531 and body["uuidList"] == []
        assert body["errortext"] == f"Failed to authenticate user {name} in domain 1; please provide valid credentials"
        assert "set-cookie" not in answer.headers
    assert sign_in(web).status_code == 200, "a success forgets failures"


def test_users_of_other_domains_name_theirs(web: httpx.Client, cloud: Cloud) -> None:
    top = cloud.domain("sales")
    low = cloud.domain("asia", parent=top)
    tenant = cloud.tenant(low, name="kim")
    assert sign_in(web, "kim", TENANT_PASSWORD).status_code == 531, "not in ROOT"
    for path in ("/sales/asia", "sales/asia", "/sales/asia/", "ROOT/sales/asia"):
        assert sign_in(web, "kim", TENANT_PASSWORD, domain=path).json()["loginresponse"]["userid"] == tenant.user
    assert sign_in(web, "kim", TENANT_PASSWORD, domainid=low).status_code == 200
    assert sign_in(web, "kim", TENANT_PASSWORD, domainId=low, domain="/nonsense").status_code == 200, "the id wins"
    assert sign_in(web, "kim", TENANT_PASSWORD, domain="/sales").status_code == 531
    for wrong in ("00000000-0000-4000-8000-000000000000", "x", "9" * 30, "²", "99999"):
        assert sign_in(web, "kim", TENANT_PASSWORD, domainid=wrong).status_code == 401
    body = sign_in(web, "kim", TENANT_PASSWORD, domainid=low).json()["loginresponse"]
    assert body["type"] == "0" and "managementserverid" not in body


def test_five_failures_disable_a_user(web: httpx.Client, cloud: Cloud) -> None:
    tenant = cloud.tenant()
    for _ in range(5):
        assert sign_in(web, tenant.name, "wrong", domainid=tenant.domain).status_code == 531
    answer = sign_in(web, tenant.name, TENANT_PASSWORD, domainid=tenant.domain)
    assert answer.status_code == 531
    assert "is disabled/locked. Please contact the administrator." in answer.json()["loginresponse"]["errortext"]
    wrong = sign_in(web, tenant.name, "wrong", domainid=tenant.domain)
    assert "disabled" not in wrong.text, "only who knows the password learns it"
    assert tenant.raw("listAccounts").status == 401, "nor do signatures help"


def test_hostile_sign_ins(web: httpx.Client) -> None:
    for username, password in (
        ("", "x"),
        ("admin", ""),
        ("a\x00b", "x"),
        ("x" * 5000, "y" * 5000),
        ("' or 1=1 --", "x"),
        ("%", "x"),
    ):
        answer = sign_in(web, username, password)
        assert answer.status_code in (431, 531), (username[:10], answer.status_code)


# ── sessions ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_cookie_without_its_key_is_refused_and_ends_the_session(web: httpx.Client) -> None:
    for wrong in (None, "wrong", ""):
        key = sign_in(web).json()["loginresponse"]["sessionkey"]
        assert ask(web, key).status_code == 200
        answer = ask(web, wrong)
        assert (answer.status_code, answer.json()["listaccountsresponse"]["errortext"]) == (401, KEY_ERROR)
        assert ask(web, key).status_code == 401, "the session is gone"


def test_a_key_without_its_cookie_is_refused(web: httpx.Client, base: str) -> None:
    key = sign_in(web).json()["loginresponse"]["sessionkey"]
    with httpx.Client(base_url=base) as other:
        assert ask(other, key).status_code == 401
    assert ask(web, key).status_code == 200, "somebody who does not have the cookie ends nothing"


def test_a_new_sign_in_drops_the_old_session(web: httpx.Client, base: str) -> None:
    first = sign_in(web).json()["loginresponse"]["sessionkey"]
    old = dict(web.cookies)
    sign_in(web)
    with httpx.Client(base_url=base, cookies=old) as other:
        assert ask(other, first).status_code == 401


def test_an_unknown_command_in_a_session_and_outside(web: httpx.Client, base: str) -> None:
    key = sign_in(web).json()["loginresponse"]["sessionkey"]
    answer = ask(web, key, "noSuchThing")
    assert (answer.status_code, list(answer.json())) == (432, ["errorresponse"])
    with httpx.Client(base_url=base) as other:
        answer = ask(other, None, "noSuchThing")
    assert (answer.status_code, list(answer.json())) == (401, ["errorresponse"])


def test_signing_out_without_a_session(web: httpx.Client) -> None:
    answer = ask(web, None, "logout")
    assert answer.status_code == 431
    assert answer.json()["logoutresponse"]["errortext"] == "Session not found for the logout process."


def test_sessions_end_when_idle(web: httpx.Client, cloud: Cloud) -> None:
    key = sign_in(web).json()["loginresponse"]["sessionkey"]
    cloud.set("session.timeout", 0)
    try:
        assert ask(web, key).status_code == 401
    finally:
        cloud.set("session.timeout", 30)


def test_who_is_disabled_is_out_at_once(web: httpx.Client, cloud: Cloud) -> None:
    tenant = cloud.tenant()
    with httpx.Client(base_url=str(web.base_url)) as hers:
        key = sign_in(hers, tenant.name, TENANT_PASSWORD, domainid=tenant.domain).json()["loginresponse"]["sessionkey"]
        assert ask(hers, key).status_code == 200
        for _ in range(5):
            sign_in(web, tenant.name, "wrong", domainid=tenant.domain)
        assert ask(hers, key).status_code == 401


def test_passwords_are_kept_with_argon2id(cloud: Cloud, web: httpx.Client) -> None:
    """The tests' clouds hash cheaply; the product's own parameters are at least OWASP's for argon2id."""
    real = extract_parameters(cloud._real_hasher.hash("x"))
    assert real.type.name == "ID" and real.memory_cost >= 19 * 1024 and real.time_cost >= 2
    tenant = cloud.tenant()
    cheap, credentials.hasher = credentials.hasher, PasswordHasher(time_cost=2, memory_cost=8, parallelism=1)
    try:
        assert sign_in(web, tenant.name, TENANT_PASSWORD, domainid=tenant.domain).status_code == 200
    finally:
        credentials.hasher = cheap


# ── requests ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_paths_and_headers(web: httpx.Client, cloud: Cloud) -> None:
    params = cloud.admin.request("listCapabilities", {}).params
    for path in (API, API + "/", API + "/deeper/still"):
        for answer in (web.get(path, params=params), web.post(path, data=params)):
            assert answer.status_code == 200, path
            assert answer.headers["content-type"] == "application/json; charset=UTF-8"
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["x-xss-protection"] == "1;mode=block"
            assert "content-security-policy" in answer.headers
            assert answer.headers["cache-control"] == "no-store"
    assert web.put(API, params=params).status_code == 405
    assert web.delete(API, params=params).status_code == 405
    assert web.get("/").headers["location"] == "/client/"


def test_an_error_says_why_in_a_header_too(web: httpx.Client, cloud: Cloud) -> None:
    answer = web.get(API, params=cloud.admin.request("listZones", {"id": "x"}).params)
    assert answer.status_code == 431
    assert answer.headers["x-description"].startswith("Unable to execute API command listzones due to invalid value.")
    answer = web.get(API, params=cloud.admin.request("createDomain", {"name": "한/\r\nX-Evil: 1"}).params)
    assert "x-evil" not in answer.headers


def test_large_answers_are_compressed_when_the_client_likes_it(web: httpx.Client, cloud: Cloud) -> None:
    params = cloud.admin.request("listApis", {}).params
    assert web.get(API, params=params).headers.get("content-encoding") == "gzip"
    assert "content-encoding" not in web.get(API, params=params, headers={"Accept-Encoding": "identity"}).headers


def test_duplicate_names(web: httpx.Client, open_port: str, cloud: Cloud) -> None:
    """Query string: the last one wins. Form: the first. Integration port: the first."""

    def names(url: str, client: httpx.Client, **form: str) -> list[str]:
        answer = client.post(url, **form) if form else client.get(url)  # type: ignore[arg-type]
        assert answer.status_code == 200, answer.text
        return [r["name"] for r in answer.json()["listdomainsresponse"].get("domain", [])]

    cloud.domain("twice-a")
    cloud.domain("twice-b")
    pairs = "name=twice-a&name=twice-b"
    assert names(f"{open_port}/?command=listDomains&response=json&{pairs}", web) == ["twice-a"]
    assert names(f"{open_port}/any/path?command=listDomains&response=json&name&{pairs}", web) == ["twice-a"], (
        "a token without = is skipped"
    )
    key = sign_in(web).json()["loginresponse"]["sessionkey"]
    rest = f"command=listDomains&response=json&sessionkey={key}"
    assert names(f"{API}?{rest}&{pairs}", web) == ["twice-b"]
    found = web.post(API, content=f"{rest}&{pairs}", headers={"Content-Type": "application/x-www-form-urlencoded"})
    assert [r["name"] for r in found.json()["listdomainsresponse"]["domain"]] == ["twice-a"]


def test_a_query_string_with_a_form(web: httpx.Client, cloud: Cloud) -> None:
    params = cloud.admin.request("listDomains", {"name": "ROOT"}).params
    query, form = dict(list(params.items())[:2]), dict(list(params.items())[2:])
    assert web.post(API, params=query, data=form).json()["listdomainsresponse"]["count"] == 1


def test_plus_and_percent_and_utf8(web: httpx.Client, cloud: Cloud) -> None:
    cloud.admin.createDomain(name="a b+ü%")
    params = cloud.admin.request("listDomains", {"name": "a b+ü%"}).params
    for answer in (web.get(API, params=params), web.post(API, data=params)):
        assert answer.json()["listdomainsresponse"]["domain"][0]["name"] == "a b+ü%"


def test_oversized_requests(web: httpx.Client, cloud: Cloud) -> None:
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = web.post(API, content=b"command=listZones&x=" + b"a" * (1 << 20), headers=form)
    assert answer.status_code == 413
    assert "larger than 1048576 bytes" in answer.json()["errorresponse"]["errortext"]
    many = "&".join(f"p{n}=1" for n in range(5001))
    answer = web.post(API, content=f"command=listZones&{many}", headers=form)
    assert answer.status_code == 413
    just = "&".join(f"p{n}=1" for n in range(4000))
    assert web.post(API, content=f"command=listZones&{just}", headers=form).status_code == 401
    assert web.get(API + "?" + "x=1&" * 6000).status_code in (400, 401, 413, 414)


def test_a_body_that_is_no_form(web: httpx.Client) -> None:
    for kind, body in (
        ("application/json", b'{"command":"listZones"}'),
        ("multipart/form-data; boundary=x", b"--x\r\n"),
        ("application/x-www-form-urlencoded", b"\xff\xfe=\xff&%zz=%"),
    ):
        answer = web.post(API, content=body, headers={"Content-Type": kind})
        assert answer.status_code in (400, 401), kind


# ── the integration port ─────────────────────────────────────────────────────────────────────────────────────────────


def test_the_integration_port_speaks_as_the_system(open_port: str, cloud: Cloud) -> None:
    answer = httpx.get(f"{open_port}/whatever?command=listAccounts&listall=true&response=json")
    assert {"admin", "system"} <= {a["name"] for a in answer.json()["listaccountsresponse"]["account"]}
    assert answer.headers["connection"] == "close"
    xml = httpx.get(f"{open_port}/?command=listCapabilities")
    assert "cloud-stack-version" not in xml.text


def test_the_integration_port_reads_the_query_string_only(open_port: str) -> None:
    form = {"command": "listAccounts", "response": "json"}
    assert httpx.post(open_port, data=form).status_code == 400
    assert (
        httpx.post(f"{open_port}?command=listCapabilities&response=json", data={"command": "nope"}).status_code == 200
    )


def test_things_with_an_owner_need_one_on_the_integration_port(cloud: Cloud) -> None:
    tenant = cloud.tenant()
    made = cloud.system.createSSHKeyPair(name="by-the-system", account=tenant.name, domainid=tenant.domain)
    assert made["account"] == tenant.name
    assert [k["name"] for k in tenant.listSSHKeyPairs()] == ["by-the-system"]


def test_metrics_and_the_model(web: httpx.Client) -> None:
    assert "mold_commands_total" in web.get("/metrics").text
    model = web.get("/client/openapi.json").json()
    assert model["openapi"].startswith("3.1") and len(model["paths"]) > 100


def test_the_caller_of_a_signed_request_is_not_the_session(web: httpx.Client, cloud: Cloud) -> None:
    """A signature decides, whatever cookies come with it."""
    sign_in(web)
    tenant: Actor = cloud.tenant()
    found = web.get(API, params=tenant.request("listAccounts", {}).params).json()["listaccountsresponse"]
    assert [a["name"] for a in found["account"]] == [tenant.name]


SAFE = {
    "x-content-type-options": "nosniff", "x-frame-options": "DENY", "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin", "cross-origin-resource-policy": "same-origin",
}  # fmt: skip


def test_every_answer_is_guarded_and_none_is_for_foreign_pages(web: httpx.Client, open_port: str, cloud: Cloud) -> None:
    origin = {"Origin": "https://evil.example"}
    signed = cloud.admin.request("listCapabilities", {}).params
    answers = [
        web.get(API, params=signed, headers=origin), web.get(API, headers=origin), web.get("/nowhere", headers=origin),
        web.get("/", headers=origin), web.get("/client/", headers=origin), web.get("/client/openapi.json", headers=origin),
        web.get("/metrics", headers=origin), web.put(API, headers=origin), web.head(API, headers=origin),
        web.options(API, headers={**origin, "Access-Control-Request-Method": "POST"}),
        web.post(API, content=b"a" * (1 << 21), headers={**origin, "Content-Type": "application/x-www-form-urlencoded"}),
        httpx.get(f"{open_port}/?command=listCapabilities", headers=origin), httpx.options(open_port, headers=origin),
    ]  # fmt: skip
    for answer in answers:
        assert {k: answer.headers.get(k) for k in SAFE} == SAFE, answer.url
        policy = answer.headers["content-security-policy"]
        assert "default-src 'self'" in policy and "script-src 'self';" in policy and "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy or answer.url.path == "/client/", "pages alone write styles into themselves"
        assert not [k for k in answer.headers if k.startswith("access-control-")], answer.url
        assert "server" not in answer.headers and "strict-transport-security" not in answer.headers


def test_questions_about_the_address_and_calls_that_would_not_be_answered(web: httpx.Client, cloud: Cloud) -> None:
    told = web.options(API)
    assert (told.status_code, told.headers["allow"], told.content) == (204, "GET, POST, OPTIONS", b"")
    name = cloud.name("head")
    acted = web.head(API, params=cloud.admin.request("createDomain", {"name": name}).params)
    assert (acted.status_code, acted.headers["allow"]) == (405, "GET, POST, OPTIONS")
    assert cloud.admin.listDomains(name=name) == [], "HEAD does nothing"
    for method in ("PUT", "PATCH", "DELETE", "TRACE"):
        assert web.request(method, API).status_code == 405


def test_connections_are_kept_and_the_integration_ports_are_not(web: httpx.Client, open_port: str, cloud: Cloud) -> None:
    import http.client

    place = httpx.URL(str(web.base_url))
    line = http.client.HTTPConnection(place.host, place.port, timeout=10)
    sockets = set()
    for _ in range(3):
        line.request("GET", f"{API}?command=listZones")
        answer = line.getresponse()
        assert answer.status == 401 and answer.read()
        sockets.add(line.sock)
    assert len(sockets) == 1 and line.sock is not None
    line.close()
    other = httpx.URL(open_port)
    line = http.client.HTTPConnection(other.host, other.port, timeout=10)
    line.request("GET", "/?command=listCapabilities")
    line.getresponse().read()
    assert line.sock is None, "closed after each answer"


def test_too_much_in_the_address(web: httpx.Client, open_port: str) -> None:
    many = "command=listZones&" + "&".join(f"p{n}=1" for n in range(5001))
    for url in (f"{API}?{many}", f"{open_port}/?{many}"):
        assert web.get(url).status_code == 413, url[:40]


def test_strict_requests(web: httpx.Client, cloud: Cloud) -> None:
    from datetime import UTC, datetime, timedelta

    def expires(minutes: int) -> dict[str, str]:
        end = datetime.now(UTC) + timedelta(minutes=minutes)
        return {"signatureVersion": "3", "expires": end.strftime("%Y-%m-%dT%H:%M:%S+0000")}

    cloud.system.updateConfiguration(name="enforce.post.requests.and.timestamps", value="true")
    try:
        domain = {"name": cloud.name("strict")}
        soon, late = expires(10), expires(60)
        get = web.get(API, params=cloud.admin.request("createDomain", {**domain, **soon}).params)
        assert get.status_code == 400
        assert "State changing command createDomain needs to be sent using POST request" in get.text
        assert web.post(API, data=cloud.admin.request("createDomain", {**domain, **soon}).params).status_code == 200
        assert web.get(API, params=cloud.admin.request("listZones", soon).params).status_code == 200
        assert web.get(API, params=cloud.admin.request("listZones", late).params).status_code == 401
        assert web.get(API, params=cloud.admin.request("listZones", {}).params).status_code == 401
        key = sign_in(web).json()["loginresponse"]["sessionkey"]
        assert ask(web, key).status_code == 200, "sessions end by themselves"
    finally:
        cloud.system.updateConfiguration(name="enforce.post.requests.and.timestamps", value="false")


def test_how_answers_are_written_is_a_setting(web: httpx.Client, cloud: Cloud) -> None:
    def told(**params: str) -> httpx.Response:
        return web.get(API, params=cloud.admin.request("listDomains", {"name": "ROOT", **params}).params)

    cloud.set("json.content.type", "text/javascript; charset=UTF-8")
    cloud.set("encode.api.response", True)
    cloud.set("expose.cloudstack.version.api.xml.response", False)
    try:
        cloud.admin.createServiceOffering(name="a b/ü", cpunumber=1, cpuspeed=100, memory=64)
        assert told().headers["content-type"] == "text/javascript; charset=UTF-8"
        found = web.get(API, params=cloud.admin.request("listServiceOfferings", {"name": "a b/ü"}).params).json()
        assert found["listserviceofferingsresponse"]["serviceoffering"][0]["name"] == "a%20b%2F%C3%BC"
        assert "cloud-stack-version" not in told(response="xml").text
    finally:
        for name in ("json.content.type", "encode.api.response", "expose.cloudstack.version.api.xml.response"):
            cloud.admin.resetConfiguration(name=name)
    assert 'cloud-stack-version="4.23.0.0"' in told(response="xml").text


def test_the_page_size_is_a_setting(cloud: Cloud) -> None:
    parent = cloud.domain()
    for _ in range(4):
        cloud.domain(parent=parent)
    cloud.set("default.page.size", 3)
    try:
        body = cloud.admin.ask("listDomainChildren", id=parent)
        assert (body["count"], len(body["domain"])) == (4, 3)
        assert cloud.admin.ask("listApis")["count"] > 3, "what has no pages is whole"
        assert len(cloud.admin.ask("listConfigurations")["configuration"]) == 3
        assert len(cloud.admin.ask("listDomainChildren", id=parent, pagesize=-1)["domain"]) == 4
        refused = cloud.admin.raw("listDomainChildren", id=parent, page="1", pagesize="4")
        assert refused.status == 431 and b"max allowed page size value: 3" in refused.body
    finally:
        cloud.set("default.page.size", 500)
