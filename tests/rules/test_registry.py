"""Rules over everything that is declared: commands, operations, resources."""

from __future__ import annotations

import re
from typing import Any

import pytest
from cloud import ApiError, Cloud

from mold.api.answer import EXTRAS
from mold.api.command import COMMANDS
from mold.features.infra.settings import SETTINGS
from mold.server.app import load
from mold.store import REGISTRY
from mold.work import OPERATIONS

load()


def test_every_command_says_what_it_does() -> None:
    for made in COMMANDS.values():
        assert re.match(r"^[A-Z].+\.$", made.doc), f"{made.name}: '{made.doc}'"


def test_every_parameter_is_described() -> None:
    silent = [f"{c.name}.{p.name}" for c in COMMANDS.values() for p in c.params.values() if not p.doc]
    assert not silent, silent


def test_every_parameter_is_spelled_as_clients_send_it() -> None:
    for made in COMMANDS.values():
        for name, p in made.params.items():
            assert name == p.name, f"{made.name}.{name}"
            # The sign-in reads two spellings of one name, as the API says.
            assert name == name.lower() or (made.open and name == "domainId"), f"{made.name}.{name}"


ROWLESS = {
    "listAsyncJobs.managementserverid", "listHosts.managementserverid",
    "listManagementServers.id", "listNics.nicid", "updateProjectInvitation.projectid",
    "listProjectAccounts.userid", "updateProject.userid", "deleteUserFromProject.userid",
    "listAndSwitchSamlAccount.userid", "listAndSwitchSamlAccount.domainid", "listWebhookDeliveries.managementserverid",
    "deleteWebhookDelivery.managementserverid",
}  # fmt: skip
"""Ids of things that are no resource of their own: managers, and cards, which are asked for with their machine; and the
project that one is invited to but does not see yet, fellow members, whom one does not see otherwise; and the
users that one person may go on as."""


def test_every_list_of_ids_and_every_id_knows_its_resource() -> None:
    for made in COMMANDS.values():
        for p in made.params.values():
            if (p.kind == "uuid" or p.item == "uuid") and not p.refused and f"{made.name}.{p.name}" not in ROWLESS:
                assert p.resource is not None and p.access is not None, f"{made.name}.{p.name}"


def test_asynchronous_commands_leave_an_event() -> None:
    assert [c.name for c in COMMANDS.values() if c.job and not c.event] == []


def test_commands_that_change_something_leave_an_event() -> None:
    quiet = {c.name for c in COMMANDS.values() if not c.reads and not c.event and not c.open}
    looking_after_records = {
        "deleteEvents", "archiveEvents", "deleteAlerts", "archiveAlerts", "generateUsageRecords", "removeRawUsageRecords",
        "executeWebhookDelivery", "deleteWebhookDelivery", "updateAnnotationVisibility",
    }  # fmt: skip
    assert quiet - looking_after_records == {"createConsoleEndpoint", "updateResourceCount"}, (
        "give the command an event, or say here why not"
    )


def test_commands_that_only_read_are_named_so_and_the_others_are_not() -> None:
    for made in COMMANDS.values():
        reading = made.name.startswith(("list", "query", "find", "get"))
        if made.name in ("listCaCertificate", "getUploadParamsForTemplate", "searchLdap"):
            continue  # searching is reading; the first may make the authority, the second makes the template that is to be uploaded
        assert made.reads == reading or made.open, made.name


def test_every_operation_says_what_it_does() -> None:
    for kind in OPERATIONS.values():
        assert kind.__doc__ and kind.__doc__.strip(), kind.__name__


def test_operations_keep_no_secrets() -> None:
    """The fields of an operation are stored and shown: ids, never passwords."""
    for kind in OPERATIONS.values():
        assert not [f for f in kind.__struct_fields__ if re.search("password|secret|private|userdata", f)], (
            kind.__name__
        )


def test_secrets_of_resources_are_in_no_answer() -> None:
    for kind in REGISTRY.values():
        for name, spec in kind.columns.items():
            if re.search(r"password|secret|digest|private", name) and name not in ("password_enabled",):
                assert spec.hidden, f"{kind.kind}.{name}"


def test_every_setting_is_described_and_its_default_is_allowed() -> None:
    for declared in SETTINGS.values():
        assert declared.doc.endswith("."), declared.name
        text = str(declared.default).lower() if isinstance(declared.default, bool) else str(declared.default)
        assert declared.read(text) == declared.default, declared.name


def test_extras_belong_to_resources() -> None:
    assert set(EXTRAS) <= set(REGISTRY)


def _refused() -> list[Any]:
    return [pytest.param(c.name, id=c.name) for c in COMMANDS.values() if any(p.refused for p in c.params.values())]


@pytest.mark.parametrize("name", _refused())
def test_parameters_that_are_not_offered_are_refused_by_name(cloud: Cloud, name: str) -> None:
    """432, the parameter's name and the reason; never quietly ignored."""
    made = COMMANDS[name]
    value = {"boolean": "true", "integer": "1", "long": "1"}
    needed = {p.name: _some(cloud, p) for p in made.params.values() if p.required and p.kind != "map"}
    for p in made.params.values():
        if not p.refused:
            continue
        given = {f"{p.name}[0].a": "x"} if p.kind == "map" else {p.name: value.get(p.kind, "x")}
        with pytest.raises(ApiError) as no:
            cloud.system.ask(name, **{**needed, **given})
        assert (no.value.code, no.value.key) == (432, "Unsupported"), f"{name}.{p.name}: {no.value}"
        assert p.name in no.value.text and p.refused in no.value.text


def _some(cloud: Cloud, p: Any) -> str:
    if p.resource is not None:
        known = {"domain": cloud.admin.domain, "account": cloud.admin.account, "user": cloud.admin.user}
        if p.resource.kind in known:
            return known[p.resource.kind]
        site = _site(cloud)
        return str(
            {
                "zone": site.zone, "pod": site.pod, "cluster": site.cluster, "host": site.hosts[0], "template": site.template,
                "storagepool": site.pool, "imagestore": site.store, "serviceoffering": site.offering,
                "networkoffering": site.network_offering, "physicalnetwork": site.physical, "vlaniprange": site.public_range,
            }.get(p.resource.kind)
            or _other(cloud, p.resource.kind)
        )  # fmt: skip
    return p.choices[0] if p.choices else {"integer": "1", "long": "1"}.get(p.kind, "x")


def _other(cloud: Cloud, kind: str) -> str:
    """A thing of a kind that a site does not have by itself."""
    site, admin = _site(cloud), cloud.admin
    lists = {
        "virtualmachine": "listVirtualMachines", "network": "listNetworks", "diskoffering": "listDiskOfferings",
        "project": "listProjects",
    }  # fmt: skip
    if kind == "traffictype":
        return str(admin.listTrafficTypes(physicalnetworkid=site.physical)[0]["id"])
    if kind in ("virtualmachine", "network") and not admin.call(lists[kind]):
        site.deploy(admin, startvm=False)
    if kind == "project" and not admin.call(lists[kind]):
        admin.createProject(name="of-the-rules")
    return str(admin.call(lists[kind])[0]["id"])


_sites: dict[int, Any] = {}


def _site(cloud: Cloud) -> Any:
    if id(cloud) not in _sites:
        _sites[id(cloud)] = cloud.zone(hosts=1)
    return _sites[id(cloud)]


def test_declared_roles_are_those_of_the_predefined_ones() -> None:
    """`roles=` of a command says which of the four plain roles may call it; their rules, which are the API's facts, agree."""
    from world import TITLES, calls

    differ = {
        name: sorted(r.value for r in made.roles)
        for name, made in COMMANDS.items()
        if not made.open and {t for t, title in TITLES.items() if calls(title, name)} != {r.value for r in made.roles}
    }
    assert differ == {}, differ
