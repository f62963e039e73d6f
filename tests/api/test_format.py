"""The wire format: envelopes, shapes, JSON and XML, errors, paging. What clients of the API rely on."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from typing import Any

import pytest
from cloud import ApiError, Cloud, Site

from mold.api.command import COMMANDS
from mold.api.door import Answer, Request
from mold.server.app import load

load()
NOWHERE = "00000000-0000-4000-8000-000000000000"


@pytest.fixture(scope="module")
def site(cloud: Cloud) -> Site:
    return cloud.zone(hosts=1)


def ask(cloud: Cloud, *, integration: bool = True, **params: str) -> Answer:
    """One request, its parameters exactly as given."""
    return cloud.run(cloud.manager.door.answer(Request(params=params, integration=integration)))


def envelope(answer: Answer) -> tuple[str, Any]:
    """The one top-level key and what is under it."""
    ((key, body),) = json.loads(answer.body).items()
    return key, body


# ── shapes ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_list_has_its_count_and_one_array(cloud: Cloud, site: Site) -> None:
    key, body = envelope(cloud.system.raw("listZones"))
    assert key == "listzonesresponse"
    assert set(body) == {"count", "zone"}
    assert body["count"] == len(body["zone"]) == 1


def test_an_empty_list_is_an_empty_object(cloud: Cloud) -> None:
    assert envelope(cloud.system.raw("listVirtualMachines")) == ("listvirtualmachinesresponse", {})


def test_an_object_has_one_inner_key(cloud: Cloud) -> None:
    key, body = envelope(cloud.system.raw("listCapabilities"))
    assert (key, list(body)) == ("listcapabilitiesresponse", ["capability"])
    assert body["capability"]["cloudstackversion"] == "4.23.0.0"


def test_success_is_a_json_boolean(cloud: Cloud) -> None:
    made = cloud.admin.createServiceOffering(name=cloud.name("soon gone"), cpunumber=1, cpuspeed=100, memory=64)["id"]
    gone = ("deleteserviceofferingresponse", {"success": True})
    assert envelope(cloud.admin.raw("deleteServiceOffering", id=made)) == gone


def test_asynchronous_answers(cloud: Cloud, site: Site) -> None:
    tenant = cloud.tenant()
    key, body = envelope(tenant.raw("deployVirtualMachine", **site.wish(tenant)))
    assert key == "deployvirtualmachineresponse"
    assert set(body) == {"id", "jobid"}, "an asynchronous create names the new thing"
    assert set(tenant.job(body["jobid"])) == {"virtualmachine"}
    key, stopped = envelope(tenant.raw("stopVirtualMachine", id=body["id"]))
    assert (key, set(stopped)) == ("stopvirtualmachineresponse", {"jobid"})
    tenant.job(stopped["jobid"])


def test_commands_that_make_one_thing_and_answer_a_list(cloud: Cloud, site: Site) -> None:
    key, body = envelope(
        cloud.admin.raw(
            "addHost",
            zoneid=site.zone,
            podid=site.pod,
            clusterid=site.cluster,
            hypervisor="Simulator",
            url="http://one-more",
        )
    )
    assert key == "addhostresponse"
    assert (body["count"], body["host"][0]["name"]) == (1, "one-more")


IRREGULAR = {
    "cleanVMReservations": "cleanvmreservationresponse",
    "updateImageStore": "updateImageStoreresponse",
    **dict.fromkeys(
        ("addLdapConfiguration", "deleteLdapConfiguration", "listLdapConfigurations"), "ldapconfigurationresponse"
    ),
    **dict.fromkeys(("listLdapUsers", "searchLdap", "importLdapUsers"), "ldapuserresponse"),
    "ldapCreateAccount": "createaccountresponse",
    "getSPMetadata": "spmetadataresponse",
    "listSamlAuthorization": "listsamlauthorizationsresponse",
    "samlSso": "loginresponse",
    "samlSlo": "logoutresponse",
    "resetSSHKeyForVirtualMachine": "resetSSHKeyforvirtualmachineresponse",
    "restoreVirtualMachine": "restorevmresponse",
    "activateProject": "activaterojectresponse",
    "getUploadParamsForTemplate": "postuploadtemplateresponse",
    "getUploadParamsForIso": "postuploadisoresponse",
    "getUploadParamsForVolume": "postuploadvolumeresponse",
    "enableStorageMaintenance": "prepareprimarystorageformaintenanceresponse",
    "cancelStorageMaintenance": "cancelprimarystoragemaintenanceresponse",
    "addIpToNic": "addiptovmnicresponse",
    "copyIso": "copytemplateresponse",
    "listIsoPermissions": "listtemplatepermissionsresponse",
    "updateVMAffinityGroup": "updatevirtualmachineresponse",
    "listLdapConfigurations": "ldapconfigurationresponse",
    "addLdapConfiguration": "ldapconfigurationresponse",
    "deleteLdapConfiguration": "ldapconfigurationresponse",
    "createVMFromBackup": "deployvirtualmachineresponse",
    "scaleSystemVm": "changeserviceforsystemvmresponse",
    "listNetworkDevice": "listnetworkdevice",
    "checkVolume": "checkandrepairvolumeresponse",
    "addImageStoreS3": "addImageStoreS3Response",
    "listPortableIpRanges": "listportableipresponse",
    "deletePortableIpRange": "deleteportablepublicipresponse",
    "acquirePodIpAddress": "acquirepodipaddress",
    "releasePodIpAddress": "releasepodipresponse",
    "moveNetworkAclItem": "moveNetworkAclItemResponse",
    "updateNetworkACLItem": "createnetworkaclresponse",
}
KEYS = {
    "listSSHKeyPairs": "sshkeypair",
    "createSSHKeyPair": "keypair",
    "registerSSHKeyPair": "keypair",
    "listVlanIpRanges": "vlaniprange",
    "createVlanIpRange": "vlan",
    "updateVlanIpRange": "vlan",
    "addSecondaryStorage": "secondarystorage",
    "listImageStores": "imagestore",
    "listAsyncJobs": "asyncjobs",
    "listPublicIpAddresses": "publicipaddress",
    "associateIpAddress": "ipaddress",
    "listLoadBalancerRules": "loadbalancerrule",
    "createLoadBalancerRule": "loadbalancer",
    "listVMSnapshot": "vmSnapshot",
    "listStorageProviders": "dataStoreProvider",
    "listHypervisorCapabilities": "hypervisorCapabilities",
    "listDeploymentPlanners": "deploymentPlanner",
    "listResourceIcon": "icon",
    "listDetailOptions": "detailoptions",
}


def test_every_envelope_is_the_commands_own() -> None:
    for name, made in COMMANDS.items():
        assert made.envelope == IRREGULAR.get(name, f"{name.lower()}response"), name


def test_surprising_keys() -> None:
    for name, key in KEYS.items():
        if name in COMMANDS:
            assert COMMANDS[name].key == key, name


def test_irregular_envelopes_travel(cloud: Cloud, site: Site) -> None:
    key, body = envelope(cloud.admin.raw("updateImageStore", id=site.store, name="renamed"))
    assert (key, body["imagestore"]["name"]) == ("updateImageStoreresponse", "renamed")
    refused = cloud.admin.raw("updateImageStore", id="nonsense")
    assert (refused.status, list(json.loads(refused.body))) == (431, ["updateImageStore"]), "its refusals have another one"
    tenant = cloud.tenant()
    vm = site.deploy(tenant, startvm=False)
    tenant.createSSHKeyPair(name="mine")
    key, body = envelope(tenant.raw("resetSSHKeyForVirtualMachine", id=vm["id"], keypair="mine"))
    assert (key, set(body)) == ("resetSSHKeyforvirtualmachineresponse", {"jobid"})
    assert tenant.job(body["jobid"])["virtualmachine"]["keypairs"] == "mine"


# ── JSON ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_json_is_plain(cloud: Cloud) -> None:
    odd = "소매 <b>&'\"= é"
    made = cloud.admin.createServiceOffering(name=odd, cpunumber=1, cpuspeed=100, memory=64)
    answer = cloud.admin.raw("listServiceOfferings", id=made["id"])
    assert answer.kind == "application/json; charset=UTF-8"
    text = answer.body.decode()
    assert "소매 <b>&'" in text, "nothing is escaped that need not be"
    assert ": " not in text.replace(odd, ""), "not pretty-printed"
    assert "null" not in text, "fields without a value are left out"
    row = json.loads(text)["listserviceofferingsresponse"]["serviceoffering"][0]
    assert (row["name"], row["cpunumber"], row["iscustomized"]) == (odd, 1, False)


def test_dates_have_an_offset_without_colon(cloud: Cloud) -> None:
    created = cloud.admin.one("listDomains", id=cloud.domain())["created"]
    assert created[-5:] == "+0000" and created[10] == "T" and len(created) == 24


# ── XML ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def xml(answer: Answer) -> ET.Element:
    assert answer.body.startswith(b'<?xml version="1.0" encoding="UTF-8"?>')
    return ET.fromstring(answer.body)


@pytest.mark.parametrize("given", [{}, {"response": "xml"}, {"response": "XML"}, {"response": "yaml"}])
def test_xml_is_the_default_and_the_answer_to_any_other_word(cloud: Cloud, given: dict[str, str]) -> None:
    answer = ask(cloud, command="listCapabilities", **given)
    assert answer.kind == "text/xml; charset=UTF-8"
    assert xml(answer).tag == "listcapabilitiesresponse"


def test_the_word_json_in_any_case(cloud: Cloud) -> None:
    assert envelope(ask(cloud, command="listCapabilities", response="JSON"))[0] == "listcapabilitiesresponse"


def test_xml_of_a_list_repeats_the_element(cloud: Cloud, site: Site) -> None:
    cloud.admin.createServiceOffering(name='<&">', cpunumber=1, cpuspeed=100, memory=64)
    root = xml(ask(cloud, command="listServiceOfferings"))
    rows = root.findall("serviceoffering")
    assert int(root.findtext("count") or 0) == len(rows) > 2
    assert '<&">' in [r.findtext("name") for r in rows]
    assert rows[0].findtext("iscustomized") == "false"


def test_xml_names_the_version_to_everybody_but_the_system(cloud: Cloud) -> None:
    assert xml(ask(cloud, command="listCapabilities")).attrib == {}
    params = {"command": "listCapabilities", "apikey": cloud.admin.keys[0]}  # type: ignore[index]
    from signing import signature

    params["signature"] = signature(params, cloud.admin.keys[1])  # type: ignore[index]
    assert xml(ask(cloud, integration=False, **params)).attrib == {"cloud-stack-version": "4.23.0.0"}


def test_xml_of_empty_lists_success_nested_and_plain_lists(cloud: Cloud, site: Site) -> None:
    assert len(xml(ask(cloud, command="listVirtualMachines", name="nobody"))) == 0
    made = cloud.admin.createServiceOffering(name=cloud.name("soon gone"), cpunumber=1, cpuspeed=100, memory=64)["id"]
    root = xml(ask(cloud, command="deleteServiceOffering", id=made))
    assert root.findtext("success") == "true"
    pod = xml(ask(cloud, command="listPods", id=site.pod)).find("pod")
    assert pod is not None
    assert [e.text for e in pod.findall("startip")] == ["172.30.0.10"], "a list of words repeats the field"
    assert pod.findtext("ipranges/gateway") == "172.30.0.1", "a list of objects repeats the field as well"
    offering = xml(ask(cloud, command="listNetworkOfferings", id=site.network_offering)).find("networkoffering")
    assert offering is not None
    assert {s.findtext("name") for s in offering.findall("service")} == {"Dhcp", "Dns", "UserData", "SourceNat"}


def test_xml_of_an_error(cloud: Cloud) -> None:
    answer = ask(cloud, command="deployVirtualMachine")
    root = xml(answer)
    assert (answer.status, root.tag) == (431, "deployvirtualmachineresponse")
    assert root.findtext("errorcode") == "431"
    assert root.findtext("cserrorcode") == "9999"
    assert root.findtext("errortext", "").endswith("due to missing parameter serviceofferingid")


def test_map_keys_that_are_no_element_names(cloud: Cloud, site: Site) -> None:
    odd = {"9 lives": "a<b", "plain": "c", "²": "sup", "-x": "dash", "한": "\uffff"}
    cloud.admin.updateZone(id=site.zone, details=odd)
    root = xml(ask(cloud, command="listZones", id=site.zone))
    found = root.find("zone/resourcedetails")
    assert found is not None
    assert (found.findtext("plain"), found.findtext("entry/key"), found.findtext("entry/value")) == (
        "c",
        "9 lives",
        "a<b",
    )
    assert {e.findtext("key"): e.findtext("value") for e in found.findall("entry")} == {
        "9 lives": "a<b",
        "²": "sup",
        "-x": "dash",
        "한": " ",
    }


# ── errors ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_missing_parameter(cloud: Cloud) -> None:
    answer = cloud.admin.raw("deployVirtualMachine")
    key, body = envelope(answer)
    assert (answer.status, key) == (431, "deployvirtualmachineresponse")
    assert {k: body[k] for k in ("uuidList", "errorcode", "cserrorcode", "errortext")} == {
        "uuidList": [],
        "errorcode": 431,
        "cserrorcode": 9999,
        "errortext": "Unable to execute API command deployvirtualmachine due to missing parameter serviceofferingid",
    }
    assert answer.headers["X-Description"] == body["errortext"]


@pytest.mark.parametrize(
    ("command", "params", "code", "cs", "text"),
    [
        ("createPod", {"name": "", "zoneid": NOWHERE}, 431, 4350, "due to invalid value. Invalid value provided for API arg: name"),
        ("listZones", {"id": NOWHERE}, 431, 4350, f"Unable to execute API command listzones due to invalid value. Invalid parameter id value={NOWHERE} due to incorrect long value format, or entity does not exist or due to incorrect parameter annotation for the field in api cmd class."),
        ("listZones", {"name": "x" * 256}, 431, 4350, "due to invalid value. Value greater than max allowed length 255 for param: name"),
        ("listEvents", {"startdate": "yesterday"}, 431, 4350, "Unable to parse date yesterday for command listEvents, please pass dates in the format mentioned in the api documentation"),
        ("listAccounts", {"accounttype": "two"}, 431, 4350, "it must be a whole number"),
        ("listAccounts", {"accounttype": "1_0"}, 431, 4350, "it must be a whole number"),
        ("listAccounts", {"accounttype": "٣"}, 431, 4350, "it must be a whole number"),
        ("listAccounts", {"accounttype": str(2**31)}, 431, 4350, "it must lie between"),
        ("listZones", {"id": "²"}, 431, 4350, "entity does not exist"),
        ("listZones", {"id": "9" * 30}, 431, 4350, "entity does not exist"),
        ("listZones", {"id": "-1"}, 431, 4350, "entity does not exist"),
        ("createServiceOffering", {"name": "a", "cpunumber": "1", "cpuspeed": "1", "memory": "64", "rootdisksize": ""}, 431, 4350, "rootdisksize"),
        ("listZones", {"keyword": "a\tb"}, 431, 4350, "Received value containing illegal ASCII non-printable characters for parameter keyword"),
        ("listZones", {"keyword": "a\x7f"}, 431, 4350, "illegal ASCII non-printable characters for parameter keyword"),
        ("listZones", {"nosuch": "a\x00"}, 431, 4350, "illegal ASCII non-printable characters for parameter nosuch"),
        ("updateZone", {"id": NOWHERE, "details[0]": "x"}, 430, 9999, "Unable to decode parameter details[0]; if specifying an object array, please use parameter[index].field=XXX, e.g. userGroupList[0].group=httpGroup"),
        ("updateZone", {"id": NOWHERE, "details[a].b": "x"}, 430, 9999, "Unable to decode parameter details[a].b"),
        ("updateZone", {"id": NOWHERE, "details[0][1].b": "x"}, 430, 9999, "Unable to decode parameter details[0][1].b"),
    ],
)  # fmt: skip
def test_errors(cloud: Cloud, command: str, params: dict[str, str], code: int, cs: int, text: str) -> None:
    answer = cloud.admin.raw(command, **params)
    key, body = envelope(answer)
    assert (answer.status, body["errorcode"], body["cserrorcode"], key) == (
        code,
        code,
        cs,
        f"{command.lower()}response",
    )
    assert text in body["errortext"]


def test_line_feeds_and_carriage_returns_pass(cloud: Cloud) -> None:
    assert cloud.admin.listZones(keyword="a\r\nb") == []


def test_unknown_commands(cloud: Cloud) -> None:
    answer = ask(cloud, command="listzones", response="json")
    key, body = envelope(answer)
    assert (answer.status, key, body["cserrorcode"]) == (432, "errorresponse", 9999)
    assert body["errortext"] == "Unknown API command: listzones", "names of commands are case-sensitive"
    for params in ({}, {"apikey": "x", "signature": "eA=="}):
        answer = ask(cloud, integration=False, command="noSuchCommand", response="json", **params)
        key, body = envelope(answer)
        assert (answer.status, key) == (401, "errorresponse"), "whoever is not signed in learns nothing of commands"
        assert "cserrorcode" not in body


def test_a_command_that_the_role_may_not_call(cloud: Cloud) -> None:
    tenant = cloud.tenant()
    answer = tenant.raw("listHosts")
    key, body = envelope(answer)
    assert (answer.status, key) == (432, "errorresponse")
    assert body["errortext"] == f"The API [listHosts] does not exist or is not available for the account {tenant.name}."


def test_no_command(cloud: Cloud) -> None:
    answer = ask(cloud, integration=False)
    assert answer.status == 400
    assert b"errorresponse" in answer.body and b"no command specified" in answer.body
    answer = ask(cloud, integration=False, response="json")
    assert (answer.status, envelope(answer)[0]) == (400, "null"), "the key is literally null"
    answer = ask(cloud, response="json")
    assert (answer.status, envelope(answer)[0]) == (432, "errorresponse"), "on the integration port"


def test_nobody(cloud: Cloud) -> None:
    answer = ask(cloud, integration=False, command="listZones", response="json")
    key, body = envelope(answer)
    assert (answer.status, key) == (401, "listzonesresponse")
    assert body["errortext"] == "unable to verify user credentials and/or request signature"
    assert "cserrorcode" not in body and body["uuidList"] == []


def test_hidden_texts(cloud: Cloud) -> None:
    """Why there is no capacity is for root admins; tenants get a sentence without names of hosts."""
    bare = cloud.zone(hosts=1)
    cloud.admin.updateHost(id=bare.hosts[0], allocationstate="Disable")
    tenant = cloud.tenant()
    wish = bare.wish(tenant)
    with pytest.raises(ApiError) as no:
        tenant.deployVirtualMachine(**wish)
    assert no.value.code == 533
    assert "ResourceState" in no.value.text and "sim-" not in no.value.text
    assert no.value.params == {}


# ── parameters ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_names_of_parameters_in_any_case_and_unknown_ones(cloud: Cloud, site: Site) -> None:
    assert (
        cloud.admin.one("listPods", zoneId=site.zone, ID=site.pod, whatever="1", ctxaccountid="1", _="123")["id"]
        == site.pod
    )


def test_control_names_never_speak_for_others(cloud: Cloud) -> None:
    tenant = cloud.tenant()
    forged = {"ctxuserid": "1", "ctxaccountid": "1", "ctxstarteventid": "1"}
    assert [a["name"] for a in tenant.listAccounts(listall=True, **forged)] == [tenant.name]


@pytest.mark.parametrize(
    ("word", "meant"), [("true", True), ("TRUE", True), ("false", False), ("yes", False), ("1", False), ("", None)]
)
def test_switches(cloud: Cloud, word: str, meant: bool | None) -> None:
    made = cloud.admin.createDiskOffering(name="switch", customized=word, **({} if meant else {"disksize": 1}))
    assert made["iscustomized"] is bool(meant)


def test_lists_drop_empty_items(cloud: Cloud, site: Site) -> None:
    assert len(cloud.admin.listZones(ids=f",{site.zone},,")) == 1


def test_internal_numbers_name_things_too(cloud: Cloud, site: Site) -> None:
    found = [z["id"] for n in range(1, 10) if (a := cloud.admin.raw("listZones", id=str(n))).status == 200
             for z in json.loads(a.body)["listzonesresponse"]["zone"]]  # fmt: skip
    assert site.zone in found


def test_maps_keep_the_case_of_fields_and_merge_entries(cloud: Cloud, site: Site) -> None:
    zone = cloud.admin.createZone(
        name=cloud.name("maps"), dns1="9.9.9.9", internaldns1="9.9.9.9", networktype="Advanced"
    )
    made = cloud.admin.updateZone(
        id=zone["id"],
        **{"DETAILS[7].cpuSpeed": "1", "details[0].b": "2", "details[3].key": "k", "details[3].value": "v"},
    )
    assert made["resourcedetails"] == {"cpuSpeed": "1", "b": "2", "k": "v"}


def test_a_date_in_every_form(cloud: Cloud) -> None:
    for word in (
        "2020-01-01",
        "2020-01-01 10:20:30",
        "2020-01-01T10:20:30+0000",
        "2020-01-01T10:20:30+00:00",
        "2020-01-01T10:20:30Z",
        "2020-01-01T10:20:30.123Z",
    ):
        assert cloud.admin.listEvents(startdate=word, pagesize=1, page=1) is not None


def test_a_client_may_choose_the_id_of_its_job(cloud: Cloud, site: Site) -> None:
    tenant = cloud.tenant()
    chosen = "0a1b2c3d-0000-4000-8000-00000000abcd"
    assert tenant.ask("deployVirtualMachine", customjobid=chosen, **site.wish(tenant))["jobid"] == chosen
    assert tenant.job(chosen)["virtualmachine"]["state"] == "Running"
    again = tenant.raw("deployVirtualMachine", customjobid=chosen, **site.wish(tenant))
    assert again.status == 431
    assert tenant.raw("deployVirtualMachine", customjobid="mine", **site.wish(tenant)).status == 431


# ── pages ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def seven(cloud: Cloud) -> str:
    domain = cloud.domain()
    for n in range(7):
        cloud.admin.createDomain(name=f"page{n}", parentdomainid=domain)
    return domain


def page(cloud: Cloud, seven: str, **params: Any) -> dict[str, Any]:
    return cloud.admin.ask("listDomainChildren", id=seven, **params)


def test_pages(cloud: Cloud, seven: str) -> None:
    names = []
    for number in (1, 2, 3):
        body = page(cloud, seven, page=number, pagesize=3)
        assert body["count"] == 7, "the count is of all pages"
        names += [d["name"] for d in body["domain"]]
    assert names == [f"page{n}" for n in range(7)]
    assert page(cloud, seven, page=4, pagesize=3) == {"count": 7}, "past the end: the count and no array"
    assert len(page(cloud, seven, pagesize=-1)["domain"]) == 7


@pytest.mark.parametrize(
    ("params", "text"),
    [
        ({"page": 1}, '"pagesize" parameter is required when "page" is specified'),
        ({"pagesize": 3}, '"page" parameter is required when "pagesize" is specified'),
        ({"page": 1, "pagesize": 501}, "Page size can't exceed max allowed page size value: 500"),
        ({"page": 1, "pagesize": -1}, "must not be combined"),
        ({"page": 0, "pagesize": 3}, "page"),
        ({"page": 1, "pagesize": 0}, "pagesize"),
        ({"page": -3, "pagesize": 3}, "page"),
    ],
)
def test_paging_errors(cloud: Cloud, seven: str, params: dict[str, int], text: str) -> None:
    with pytest.raises(ApiError) as no:
        page(cloud, seven, **params)
    assert no.value.code == 431 and text in no.value.text


def test_keyword_is_a_substring_in_any_case_and_no_pattern(cloud: Cloud, seven: str) -> None:
    assert len(page(cloud, seven, keyword="AGE3")["domain"]) == 1
    for word in ("%", "_", "\\", "p%3", "'"):
        assert page(cloud, seven, keyword=word) == {}, word


# ── discovery ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("role", ["Admin", "User"])
def test_list_apis_is_as_strict_as_command_lines_need_it(cloud: Cloud, role: str) -> None:
    body = cloud.tenant(role=role).ask("listApis")
    assert body["count"] == len(body["api"]) > 50
    for api in body["api"]:
        assert api["name"] and api["description"], api
        assert type(api["isasync"]) is bool
        assert isinstance(api["params"], list) and isinstance(api["response"], list)
        for p in api["params"]:
            assert type(p["name"]) is str and type(p["description"]) is str and type(p["required"]) is bool, (
                api["name"],
                p,
            )
            assert p["type"] in {
                "boolean",
                "date",
                "double",
                "float",
                "integer",
                "list",
                "long",
                "map",
                "short",
                "string",
                "uuid",
            }
        names = [p["name"] for p in api["params"]]
        assert len(names) == len(set(names))
        assert not {"response", "command", "apikey", "signature", "customjobid"} & set(names)
        assert all(f == {} or {"name", "type", "description"} <= set(f) for f in api["response"])


def test_list_apis_shows_what_the_role_may_call(cloud: Cloud) -> None:
    tenant = cloud.tenant()
    assert tenant.one("listApis", name="deployVirtualMachine")["isasync"] is True
    assert tenant.ask("listApis", name="createZone") == {}, "an empty envelope"
    assert tenant.ask("listApis", name="noSuchCommand") == {}
    mine = {p["name"] for p in tenant.one("listApis", name="deployVirtualMachine")["params"]}
    all_ = {p["name"] for p in cloud.admin.one("listApis", name="deployVirtualMachine")["params"]}
    assert all_ - mine == {"deploymentplanner", "displayvm"}, "parameters for root admins"
    listed = {p["name"] for p in cloud.admin.one("listApis", name="listZones")["params"]}
    assert {"page", "pagesize", "keyword"} <= listed
    login = cloud.admin.one("listApis", name="login")
    assert {p["name"] for p in login["params"]} == {"username", "password", "domain", "domainId"}


def test_parameters_for_root_admins_are_ignored_for_others(cloud: Cloud, site: Site) -> None:
    tenant = cloud.tenant()
    vm = site.deploy(tenant, displayvm=False, deploymentplanner="NoSuchPlanner")
    assert vm["state"] == "Running"
    assert cloud.admin.one("listVirtualMachines", id=vm["id"])["displayvm"] is True
