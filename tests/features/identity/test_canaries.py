"""Canaries: secrets are planted in every place that takes one, and looked for in the database, the log and every answer."""

from __future__ import annotations

import io
import json
import logging
import re
import sqlite3
import time
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pyotp
import pytest
import structlog
from cloud import ADMIN_PASSWORD, Actor, ApiError, Blueprint, Cloud

from mold.store.seal import MARK

PASSWORD = "canary-password-7f3a"
NEW_PASSWORD = "canary-new-password-7f3b"
WRONG = "canary-wrong-password-7f3c"
BIND = "canary-bind-password-7f3d"
SHARED = "canary-shared-key-7f3e"


def dumped(cloud: Cloud) -> str:
    """Everything the database holds, as text."""
    if cloud.postgres:
        with psycopg.connect(cloud.url.replace("postgresql+psycopg", "postgresql")) as link:
            tables = [r[0] for r in link.execute("select tablename from pg_tables where schemaname = 'public'")]
            return "\n".join(str(link.execute(f'select * from "{t}"').fetchall()) for t in tables)
    with sqlite3.connect(cloud.url.removeprefix("sqlite:///")) as link:
        return "\n".join(link.iterdump())


@pytest.fixture
def logged() -> Any:
    """Every line that the log gets, at its most talkative."""
    lines = io.StringIO()
    before = structlog.get_config()
    structlog.configure(
        processors=[structlog.processors.add_log_level, structlog.processors.format_exc_info, structlog.processors.JSONRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG),
        logger_factory=structlog.PrintLoggerFactory(lines),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(lines)
    logging.getLogger().addHandler(handler)
    yield lines
    logging.getLogger().removeHandler(handler)
    structlog.configure(**before)


def test_planted_secrets_turn_up_nowhere(blueprint: Blueprint, tmp_path: Path, logged: io.StringIO) -> None:
    cloud = blueprint.cloud(tmp_path)
    try:
        secrets, told = _plant(cloud)
        database, log, told_text = dumped(cloud), logged.getvalue(), json.dumps(told)
    finally:
        cloud.stop()
    assert len(database) > 10_000 and "ROOT" in database and len(log) > 200 and len(told_text) > 10_000
    assert database.count(MARK) >= 5, "what must be known again is sealed"
    for name, secret in secrets.items():
        assert secret, name
        assert secret not in database, f"{name} lies in the database"
        assert secret not in log, f"{name} lies in the log"
        assert secret not in told_text, f"{name} is in an answer that is not its first"
    files = [p for p in tmp_path.rglob("*") if p.is_file() and p.name != "secret.key"]
    for path in files:
        data = path.read_bytes()
        assert not [n for n, s in secrets.items() if s.encode() in data], path
    assert not re.search("PRIVATE KEY", database), "nor any private key as it is"


def _plant(cloud: Cloud) -> tuple[dict[str, str], list[Any]]:
    """Plant every secret, use each well and badly; the secrets, and whatever the API then says to anybody about anything."""
    admin, base = cloud.admin, cloud.serve()
    tenant = cloud.tenant()
    secrets = {"password": PASSWORD, "wrong password": WRONG, "bind password": BIND, "shared key": SHARED, "the admin's": ADMIN_PASSWORD}
    made = admin.createUser(
        username="canary", password=PASSWORD, email="x@example.org", firstname="x", lastname="y", account=tenant.name,
        domainid=tenant.domain,
    )  # fmt: skip
    begun = admin.ask("registerUserKeys", id=made["id"])
    keys = begun["userkeys"]
    admin.job(begun["jobid"])
    secrets["secret key"] = keys["secretkey"]
    for name, value in (("ldap.bind.password", BIND), ("security.singlesignon.key", SHARED)):
        cloud.set(name, value)
    cloud.set("ldap.basedn", "dc=x")
    cloud.set("saml2.enabled", True)
    cloud.set("enable.user.2fa", True)
    with pytest.raises(ApiError):
        admin.addLdapConfiguration(hostname="127.0.0.1", port=1)
    with httpx.Client(base_url=base, timeout=20) as web:
        about = {"username": "canary", "domainId": tenant.domain, "response": "json"}
        assert web.get("/client/api", params={"command": "getSPMetadata"}).status_code == 200
        assert web.post("/client/api", data={"command": "login", "password": WRONG, **about}).status_code == 531
        assert web.get("/client/api", params={"command": "login", "password": PASSWORD, **about}).status_code == 405
        body = web.post("/client/api", data={"command": "login", "password": PASSWORD, **about}).json()["loginresponse"]
        secrets["session key"], secrets["session cookie"] = body["sessionkey"], web.cookies["JSESSIONID"]

        def call(command: str, **params: str) -> httpx.Response:
            given = {"command": command, "response": "json", "sessionkey": body["sessionkey"], **params}
            return web.post("/client/api", data=given)

        answer = call("setupUserTwoFactorAuthentication").json()["setupusertwofactorauthenticationresponse"]
        secrets["TOTP secret"] = answer["setup2fa"]["secretcode"]
        assert call("validateUserTwoFactorAuthenticationCode", codefor2fa="000000").status_code == 511
        code = pyotp.TOTP(secrets["TOTP secret"]).at(int(time.time()))
        assert call("validateUserTwoFactorAuthenticationCode", codefor2fa=code).status_code == 200
        secrets["new password"] = NEW_PASSWORD
        assert call("updateUser", id=made["id"], password=NEW_PASSWORD, currentpassword=PASSWORD).status_code == 200
        assert call("updateUser", id=made["id"], password=WRONG, currentpassword=WRONG).status_code == 431
        forged = {"command": "samlSso", "response": "json"}
        assert web.post("/client/api", params=forged, data={"SAMLResponse": "PHgvPg=="}).status_code == 401
    told: list[Any] = [call_everything(who) for who in (admin, tenant, Actor(cloud, keys=(keys["apikey"], keys["secretkey"])))]
    return secrets, told


def call_everything(who: Actor) -> list[Any]:
    """What every list and every look says to somebody."""
    out = []
    for name in [a["name"] for a in who.listApis()]:
        if name.startswith(("list", "get", "query", "find")):
            out.append(who.raw(name, listall=True).body.decode())
            out.append(who.raw(name, userid=who.about.get("user", [{}])[0].get("id")).body.decode())
    out += [who.raw("queryAsyncJobResult", jobid=j["jobid"]).body.decode() for j in who.listAsyncJobs(listall=True) if j["command"] != "registerUserKeys"]
    return out
