"""listApis as consoles use it: words about commands, a slim form, and a version that is asked for once."""

from __future__ import annotations

import json

import httpx
import pytest
from cloud import Actor, Cloud

from mold.api.command import COMMANDS

API = "/client/api"


def test_a_command_says_what_it_is_about(cloud: Cloud) -> None:
    shown = cloud.admin.one("listApis", name="destroyVirtualMachine")
    assert {k: shown[k] for k in ("group", "verb", "noun", "destructive", "isasync", "httprequesttype")} == {
        "group": "compute", "verb": "destroy", "noun": "virtualmachine", "destructive": True, "isasync": True,
        "httprequesttype": "POST",
    }  # fmt: skip
    assert cloud.admin.one("listApis", name="listZones")["destructive"] is False
    assert cloud.admin.one("listApis", name="createTags")["since"] == "4.0.0"
    deploy = {p["name"]: p for p in cloud.admin.one("listApis", name="deployVirtualMachine")["params"]}
    assert deploy["rootdisksize"]["unit"] == "GiB"
    assert deploy["startvm"]["default"] == "true"
    assert "BIOS" in deploy["boottype"]["choices"]
    assert deploy["serviceofferingid"]["related"].split(",")[0] == "listServiceOfferings"
    assert "since" in deploy["boottype"] and "since" not in deploy["name"]


def test_names_in_any_case(cloud: Cloud) -> None:
    assert cloud.admin.one("listApis", name="LISTZONES")["name"] == "listZones"


def test_the_brief_form_is_smaller_and_told_once(cloud: Cloud) -> None:
    whole, brief = cloud.admin.raw("listApis"), cloud.admin.raw("listApis", brief=True)
    assert len(brief.body) < len(whole.body) * 0.75
    body = json.loads(brief.body)["listapisresponse"]
    assert len(body["api"]) == json.loads(whole.body)["listapisresponse"]["count"]
    assert all("params" in r and "noun" in r and all(set(f) <= {"name", "type"} for f in r["response"]) for r in body["api"])
    assert cloud.admin.ask("listApis", brief=True, modelhash=body["modelhash"]) == {"modelhash": body["modelhash"]}
    assert cloud.admin.ask("listApis", brief=True, modelhash="another")["count"] == len(body["api"])


def signed(web: httpx.Client, who: Actor, etag: str | None = None, **params: str) -> httpx.Response:
    headers = {"If-None-Match": etag} if etag else {}
    return web.get(API, params=who.request("listApis", params).params, headers=headers)


def test_who_has_it_is_not_told_again(cloud: Cloud) -> None:
    tenant = cloud.tenant()
    with httpx.Client(base_url=cloud.serve(), timeout=20) as web:
        first = signed(web, tenant)
        etag = first.headers["etag"]
        assert first.status_code == 200 and "no-store" not in first.headers["cache-control"]
        again = signed(web, tenant, etag)
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)
        assert signed(web, tenant, f'"else", {etag}').status_code == 304
        assert signed(web, tenant, '"else"').status_code == 200
        assert signed(web, tenant, etag, response="xml").status_code == 200, "another form is another version"
        assert signed(web, cloud.admin, etag).status_code == 200, "another role sees other commands"
        unsigned = web.get(API, params={"command": "listApis"}, headers={"If-None-Match": etag})
        assert unsigned.status_code == 401, "nothing without signing in, a 304 neither"
        zones = web.get(API, params=tenant.request("listZones", {}).params)
        assert "etag" not in zones.headers and zones.headers["cache-control"] == "no-store"


def test_capabilities_tell_whether_a_kept_copy_is_good(cloud: Cloud) -> None:
    first, second = cloud.tenant(), cloud.tenant()
    mark = first.listCapabilities()["apihash"]
    assert mark == second.listCapabilities()["apihash"] != cloud.admin.listCapabilities()["apihash"]
    with httpx.Client(base_url=cloud.serve(), timeout=20) as web:
        assert mark in signed(web, first).headers["etag"]


@pytest.mark.parametrize("role", ["Admin", "DomainAdmin", "User"])
def test_what_is_related_can_be_called(cloud: Cloud, role: str) -> None:
    rows = cloud.tenant(role=role).ask("listApis", brief=True)["api"]
    for row in rows:
        for param in row["params"]:
            for name in filter(None, param.get("related", "").split(",")):
                assert name in COMMANDS, f"{row['name']}.{param['name']}"
