"""Who may do what, for every command and every id it takes, against an expectation written by hand (`world.may`).

A command's own work is replaced by a marker, so that everything before it is real (signature, role, lookup,
permission) and nothing is changed: what answers the marker was permitted.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from cloud import Cloud, on_the_wire
from world import EVERYBODYS, INFRA, OF_DOMAIN, OF_PROJECT, OFFERED, OWNED, Need, Person, Row, World, calls

from mold.api.command import COMMANDS, Command, Param
from mold.base.errors import Conflict
from mold.server.app import load

load()
REACHED = "the command was reached"
MISSING = "entity does not exist"

REFERS_BUT_CHANGES = {
    ("listTemplatePermissions", "id"),  # whom it is shared with is the owner's business
    ("linkUserDataToTemplate", "templateid"),
    ("createConsoleEndpoint", "virtualmachineid"),
    ("getVirtualMachineUserData", "virtualmachineid"),
    ("getUserKeys", "id"),
    ("listUserKeys", "userid"),
    ("setupUserTwoFactorAuthentication", "userid"),
    ("authorizeSamlSso", "userid"),
    ("listSamlAuthorization", "userid"),
    ("linkDomainToLdap", "domainid"),
    ("linkAccountToLdap", "domainid"),
    ("unlinkDomainFromLdap", "domainid"),
    ("getVMPassword", "id"),
    ("createRolePermission", "roleid"),
    *(("updateRolePermission", n) for n in ("roleid", "ruleid", "ruleorder")),
    *(("moveDomain", n) for n in ("domainid", "parentdomainid")),
    ("moveUser", "accountid"),
    ("addAccountToProject", "projectid"),
    ("addUserToProject", "projectid"),
    *((f"{do}ProjectRole{of}", "projectid") for do in ("create", "update", "delete") for of in ("", "Permission")),
    *((f"{do}ProjectRolePermission", "projectroleid") for do in ("create", "update")),
    *(("updateProjectRolePermission", n) for n in ("projectrolepermissionid", "ruleorder")),
    ("updateProjectInvitation", "userid"),
    ("getCloudIdentifier", "userid"),
}
"""Parameters whose row the command changes, or gives a secret of, although its name or its kind does not say so."""
ID_COMMANDS = sorted(
    n for n, c in COMMANDS.items() if any(p.resource is not None and not p.refused for p in c.params.values())
)


@pytest.fixture(scope="module")
def world(cloud: Cloud) -> World:
    return World(cloud)


@contextmanager
def marked(made: Command) -> Iterator[None]:
    """Have the command do nothing but say that it was reached."""
    real, asks = made.function, made.asks

    def reached(*_: Any, **__: Any) -> None:
        raise Conflict(REACHED)

    made.function, made.asks = reached, None
    try:
        yield
    finally:
        made.function, made.asks = real, asks


def needed(made: Command, name: str) -> Need:
    """What a parameter lets its caller do with the row, by the rules of the API."""
    if (made.name, name) in REFERS_BUT_CHANGES:
        return "change"
    if made.name.startswith(("list", "query", "find", "get")):
        return "see"
    return "change" if name == "id" else "use"


def unlike(rows: list[Row]) -> list[Row]:
    """One row of each owner: jobs and events of the same one all stand in the same relation to a caller."""
    return list({(r.owner, r.place, r.project, r.open, r.role): r for r in rows}.values())


def filler(world: World, person: Person, p: Param, name: str) -> str:
    """Some value that this person may give for a required parameter."""
    if p.resource is not None:
        for row in world.of(p.resource.kind):
            if world.may(person, "change", row, name):
                return row.id
        for row in world.of(p.resource.kind):
            if world.may(person, "use", row, name):
                return row.id
        return "00000000-0000-4000-8000-000000000000"
    if p.kind == "uuid":
        return "00000000-0000-4000-8000-000000000000"
    if p.choices:
        return p.choices[0]
    return {"integer": "1", "long": "1", "short": "14", "boolean": "true", "date": "2030-01-01"}.get(p.kind, "x")


def request_for(world: World, person: Person, made: Command, name: str, value: str) -> dict[str, str]:
    params = {
        p.name: filler(world, person, p, made.name)
        for p in made.params.values()
        if p.required and p.kind != "map" and p.name != name
    }
    for p in made.params.values():
        if p.required and p.kind == "map":
            params[f"{p.name}[0].key"] = "x"
    return {**params, name: value}


def lacking(world: World, person: Person, made: Command, name: str, text: str) -> bool:
    """Whether the refusal is of another required parameter, for which the world has nothing that this person may name."""
    for p in made.params.values():
        if p.required and p.resource is not None and p.name != name and f"Invalid parameter {p.name} value=" in text:
            return not any(world.may(person, needed(made, p.name), r, made.name) for r in world.of(p.resource.kind))
    return False


@pytest.mark.parametrize("name", ID_COMMANDS)
def test_every_id_of_every_command_for_every_caller(world: World, name: str) -> None:
    """Foreign rows do not exist, one's own do: for users, members, admins of the domain, above it, below it, beside it."""
    made = COMMANDS[name]
    wrong: list[str] = []

    async def judge(person: Person, p: Param, row: Row, spelled: str) -> None:
        allowed_role = calls(person.title, name)
        answer = await person.actor.answer(name, request_for(world, person, made, p.name, spelled))
        ((_, body),) = json.loads(answer.body).items()
        text = body["errortext"]
        case = f"{person.name} {name} {p.name}={row.kind} {row.label}"
        if not allowed_role:
            if answer.status != 432 or REACHED in text:
                wrong.append(f"{case}: the role may not call it, yet {answer.status} {text[:100]}")
            return
        # The API ignores a parameter that is not for the caller's role: the command goes on without it.
        ignored = person.role not in {r.value for r in p.roles}
        expected = ignored or world.may(person, needed(made, p.name), row, name)
        if row.kind == "project" and p.name == "projectid" and world.closed(person, name):
            if "Your role in this project does not allow" not in text:
                wrong.append(f"{case}: the project role denies it, yet {answer.status} {text[:100]}")
            return
        refused = MISSING in text and f"Invalid parameter {p.name} value=" in text and answer.status == 431
        if MISSING in text and not refused and answer.status == 431 and lacking(world, person, made, p.name, text):
            return  # she has none of what another parameter needs: she does not get as far as this one
        reached = text == REACHED or (made.owner and p.name in ("domainid", "projectid") and not refused)
        if expected and not reached:
            wrong.append(f"{case}: should be permitted, got {answer.status} {text[:160]}")
        if not expected and not refused:
            wrong.append(f"{case}: should not exist for this caller, got {answer.status} {text[:100]}")

    async def all_cases() -> None:
        for p in made.params.values():
            if p.resource is None or p.refused:
                continue
            rows = world.of(p.resource.kind)
            assert rows, f"the world has no {p.resource.kind}"
            for person in world.people.values():
                # Who may not call it at all is asked for one row only.
                for row in unlike(rows) if calls(person.title, name) else rows[:1]:
                    await judge(person, p, row, row.id)

    with marked(made):
        world.cloud.run(all_cases())
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("name", sorted(n for n, c in COMMANDS.items() if c.owner))
def test_acting_for_another_account(world: World, name: str) -> None:
    """account+domainid: oneself, or an account that one administers; never somebody else's."""
    made = COMMANDS[name]
    wrong = []

    async def go() -> None:
        for person in world.people.values():
            if not calls(person.title, name):
                continue
            for other in world.people.values():
                params = request_for(world, person, made, "account", other.name if other.name != "root" else "admin")
                params["domainid"] = world.domains[other.place]
                answer = await person.actor.answer(name, params)
                ((_, body),) = json.loads(answer.body).items()
                reached = body["errortext"] == REACHED
                account = Row("account", "", other.name, owner=other.name, place=other.place, role=other.title)
                expected = world.may(person, "see", account)
                if reached != expected:
                    wrong.append(f"{person.name} for {other.name}: {answer.status} {body['errortext'][:120]}")

    with marked(made):
        world.cloud.run(go())
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    "name", ["listVirtualMachines", "startVirtualMachine", "deleteNetwork", "updateTemplate", "deployVirtualMachine"]
)
def test_internal_numbers_open_nothing(world: World, name: str) -> None:
    """The API takes internal numbers for ids; counting them through finds nothing of others."""
    made = COMMANDS[name]
    param = "networkids" if name == "deployVirtualMachine" else "id"
    bob = world.people["bob"]
    found = []

    async def go() -> None:
        for number in range(1, 30):
            answer = await bob.actor.answer(name, request_for(world, bob, made, param, str(number)))
            ((_, body),) = json.loads(answer.body).items()
            if body["errortext"] == REACHED:
                found.append(number)

    with marked(made):
        world.cloud.run(go())
    kind = made.params[param].resource.kind  # type: ignore[union-attr]
    mine = sum(world.may(bob, needed(made, param), r) for r in world.of(kind))
    assert len(found) == mine, found


# ── lists ────────────────────────────────────────────────────────────────────────────────────────────────────────────

LISTS = sorted(n for n, c in COMMANDS.items() if c.shape == "list" and c.reads)
WAYS: list[dict[str, Any]] = [
    {},
    {"listall": True},
    {"listall": True, "isrecursive": True},
    {"isrecursive": True},
    {"projectid": "-1"},
    {"projectid": "-1", "listall": True},
    {"details": "all", "listall": True},
    {"showcapacities": True},
]
FILTERS = ("featured", "self", "selfexecutable", "sharedexecutable", "executable", "community", "shared", "all")


ASKED: dict[str, dict[str, Any]] = {
    "listResourceDetails": {"resourcetype": "Network"},
    "listUsageRecords": {"startdate": "2001-01-01", "enddate": "2099-01-01"},
}
"""What these lists must be asked with."""


def ways(made: Command, world: World) -> list[dict[str, Any]]:
    """The ways in which a list can be asked for as much as possible."""
    found = [w for w in WAYS if set(w) <= set(made.params)]
    if {"account", "domainid"} <= set(made.params):
        found += [{"account": p.name, "domainid": world.domains[p.place]} for p in world.people.values()]
    if "domainid" in made.params:
        more = {"isrecursive": True} if "isrecursive" in made.params else {}
        found += [{"domainid": d, **more} for d in world.domains.values()]
    if "projectid" in made.params:
        found.append({"projectid": world.project})
    if made.name == "listTemplates":
        found = [{**w, "templatefilter": "executable"} for w in found] + [
            {**w, "templatefilter": f} for f in FILTERS for w in ({}, {"listall": True, "projectid": "-1"})
        ]
    if (asked := ASKED.get(made.name)) is not None:
        found = [{**w, **asked} for w in found]
    if made.name == "listTrafficTypes":
        found = [{**w, "physicalnetworkid": world.site.physical} for w in found]
    return found


def shown_with_others(person: Person, row: Row, world: World, name: str) -> bool:
    """Ids that rightly appear in answers about other things: who made a public template, who deployed a project's machine."""
    if row.kind == "domain":
        return person.place.startswith(row.place)  # the parent of one's own domain
    if row.kind in ("account", "user"):
        return row.owner == "root" or {row.owner, person.name} <= world.members
    if row.kind == "role":
        # The roles of the accounts that one sees; operators see events of private ones.
        return row.open or (name == "listEvents" and person.role == "ResourceAdmin")
    if name == "listProjectInvitations" and row.kind == "project":
        return person.name == "arthur"  # who is invited
    return False


@pytest.mark.parametrize("name", LISTS)
def test_no_list_shows_what_its_caller_may_not_see(world: World, name: str) -> None:
    """However it is asked, no answer holds the id of a row that the caller may not see: not as a row, nor in a field of one."""
    made = COMMANDS[name]
    leaks = []

    async def go() -> None:
        for person in world.people.values():
            secret = {r.id: r for r in world.rows if not world.may(person, "see", r, name)}
            secret = {i: r for i, r in secret.items() if not shown_with_others(person, r, world, name)}
            for way in ways(made, world):
                answer = await person.actor.answer(name, on_the_wire(way))
                if answer.status != 200:
                    continue
                text = answer.body.decode()
                leaks.extend(f"{person.name} {name} {way}: {r.kind} {r.label}" for i, r in secret.items() if i in text)

    world.cloud.run(go())
    assert not leaks, "\n".join(leaks[:40])


@pytest.mark.parametrize("name", [n for n in LISTS if COMMANDS[n].answers is not None])
def test_lists_show_all_that_their_caller_may_see(world: World, name: str) -> None:
    made = COMMANDS[name]
    assert made.answers is not None
    kind = made.answers.kind
    if kind in ("tag", "domain"):
        pytest.skip("tags have no id in answers; domains are listed by the domain slice's tests")
    wrong = []
    for person in world.people.values():
        if not calls(person.title, name):
            continue
        typed = {p.name for p in made.params.values() if not p.refused and (p.name != "projectid" or p.resource)}
        given = {k: v for k, v in {"listall": True, "projectid": "-1"}.items() if k in typed}
        if "projectid" in made.params and made.params["projectid"].required:
            given["projectid"] = world.project
            if not any(world.may(person, "see", r, name) for r in world.of("project")):
                continue
        given.update(ASKED.get(name, {}))
        if name == "listTemplates":
            given["templatefilter"] = "executable"
        if name == "listTrafficTypes":
            given["physicalnetworkid"] = world.site.physical
        got = {r.get("id") or r.get("jobid") for r in person.actor.call(name, pagesize=-1, **given)}
        rows = world.of(kind)
        if name == "listTemplates" and person.role == "ResourceAdmin":
            rows = [r for r in rows if r.open]  # templatefilter=executable is of one's own and public ones
        if name == "listTemplates" and person.role == "DomainAdmin":
            rows = [r for r in rows if r.open]
        expected = {r.id for r in rows if world.may(person, "see", r, name)}
        missing = [r.label for r in rows if r.id in expected - got]
        if missing:
            wrong.append(f"{person.name}: lacks {missing}")
    assert not wrong, "\n".join(wrong)


# ── ids that come as plain text ──────────────────────────────────────────────────────────────────────────────────────

REVIEWED = {
    "createDomain.domainid": "the id that a new domain is to have",
    "deployVirtualMachine.customid": "the id that a new machine is to have; root admins only",
    "createTags.resourceids": "looked up in the command; test_tags_by_foreign_ids",
    "deleteTags.resourceids": "looked up in the command; test_tags_by_foreign_ids",
    "uploadResourceIcon.resourceids": "looked up in the command with the caller's permission; test_notes",
    "deleteResourceIcon.resourceids": "looked up in the command with the caller's permission; test_notes",
    "listResourceIcon.resourceids": "looked up in the command with the caller's permission; test_notes",
    "addResourceDetail.resourceid": "looked up in the command with the caller's permission; test_notes",
    "removeResourceDetail.resourceid": "looked up in the command with the caller's permission; test_notes",
    "listResourceDetails.resourceid": "looked up in the command with the caller's permission; test_notes",
    "addAnnotation.entityid": "looked up in the command with the caller's permission; test_notes",
    "listAnnotations.entityid": "looked up in the command with the caller's permission; test_notes",
    "listAnnotations.userid": "narrows what the caller may see",
    "listUsageRecords.usageid": "narrows what the caller may see",
    "listWebhookDeliveries.managementserverid": "no row of a tenant",
    "deleteWebhookDelivery.managementserverid": "no row of a tenant; narrows what the caller may change",
    "queryAsyncJobResult.resourceid": "narrows what the caller may see; test_jobs_of_foreign_things",
    "listAsyncJobs.managementserverid": "no row of a tenant",
    "listHosts.managementserverid": "no row of a tenant",
    "listEvents.resourceid": "narrows what the caller may see",
    "listTags.resourceid": "narrows what the caller may see",
    "uploadCustomCertificate.id": "a place in a chain",
    "createAccount.accountid": "the id that the new account is to have",
    "createAccount.userid": "names no row of a tenant, or is looked up in the command with the caller's permission",
    "createUser.userid": "the id that the new user is to have",
    "listAsyncJobs.resourceid": "names no row of a tenant, or is looked up in the command with the caller's permission",
    "listDetailOptions.resourceid": "looked up in the command, as the resource type says",
    "listManagementServers.id": "names no row of a tenant, or is looked up in the command with the caller's permission",
    "listNics.nicid": "names no row of a tenant, or is looked up in the command with the caller's permission",
    "listRegions.id": "names no row of a tenant, or is looked up in the command with the caller's permission",
    "samlSso.idpid": "names an identity provider, which is no row",
    "authorizeSamlSso.entityid": "names an identity provider, which is no row",
    "listAndSwitchSamlAccount.userid": "one of the users whom the same assertion would let in; test_saml.py",
    "listAndSwitchSamlAccount.domainid": "must be the domain of that user",
    "ldapCreateAccount.userid": "the id that a new user is to have",
    "ldapCreateAccount.accountid": "the id that a new account is to have",
    "listProjectAccounts.userid": "narrows the members of a project that the caller sees",
    "updateProject.userid": "one of the members of a project that the caller administers",
    "deleteUserFromProject.userid": "one of the members of a project that the caller sees",
    "updateProjectInvitation.projectid": "finds invitations of the caller only, or by their token; test_projects.py",
    "listVolumes.storageid": "names no row of a tenant, or is looked up in the command with the caller's permission",
    "updateDiskOffering.domainid": "ids of domains or the word public; looked up in the command, below the caller's",
    "updateDiskOffering.zoneid": "ids of zones or the word all; looked up in the command",
    "updateNetworkOffering.domainid": "for root admins only",
    "updateNetworkOffering.zoneid": "for root admins only",
    "updateServiceOffering.domainid": "ids of domains or the word public; looked up in the command, below the caller's",
    "updateServiceOffering.zoneid": "ids of zones or the word all; looked up in the command",
    "updateVirtualMachine.customid": "names no row of a tenant, or is looked up in the command with the caller's permission",
}
"""Ids that are not typed with a resource, and why no permission is missing there. A new one must be looked at by a person."""


def test_ids_that_are_plain_text_have_been_looked_at() -> None:
    untyped = {
        f"{c.name}.{p.name}"
        for c in COMMANDS.values()
        for p in c.params.values()
        if p.name.rstrip("s").endswith("id") and p.resource is None and not p.refused
    }
    assert untyped - set(REVIEWED) == set(), "type these with their resource, or review them"
    assert set(REVIEWED) - untyped == set(), "these are gone or typed by now"


def test_tags_by_foreign_ids(world: World) -> None:
    for kind, wire in (
        ("virtualmachine", "UserVm"),
        ("network", "Network"),
        ("volume", "Volume"),
        ("template", "Template"),
    ):
        for row in world.of(kind):
            for person in world.people.values():
                answer = person.actor.raw("deleteTags", resourcetype=wire, resourceids=row.id, tags={"no such": "x"})
                expected = calls(person.title, "deleteTags") and world.may(person, "change", row)
                assert (answer.status == 200) == expected, (person.name, kind, row.label)


def test_jobs_of_foreign_things(world: World) -> None:
    for row in world.of("virtualmachine"):
        for person in world.people.values():
            answer = person.actor.raw("queryAsyncJobResult", resourceid=row.id, resourcetype="VirtualMachine")
            if answer.status == 200:
                assert world.may(person, "see", row), (person.name, row.label)


def test_machines_on_networks_of_others_by_address_list(world: World) -> None:
    bob = world.people["bob"].actor
    foreign = next(r for r in world.of("network") if r.owner == "alice")
    answer = bob.raw(
        "deployVirtualMachine", serviceofferingid=world.site.offering, zoneid=world.site.zone,
        templateid=world.site.template, iptonetworklist=[{"networkid": foreign.id}],
    )  # fmt: skip
    assert answer.status == 431
    assert b"no network" in answer.body


def test_every_kind_that_a_command_takes_has_an_expectation() -> None:
    kinds = {p.resource.kind for c in COMMANDS.values() for p in c.params.values() if p.resource is not None}
    assert kinds <= OWNED | OFFERED | INFRA | EVERYBODYS | OF_PROJECT | OF_DOMAIN | {
        *("domain", "account", "user", "keypair", "role", "rolepermission", "annotation"),
    }


def test_nobody_gets_in_without_signature_or_session(cloud: Cloud) -> None:
    from mold.api.door import Request

    for name, made in COMMANDS.items():
        if made.open:
            continue
        request = Request(params={"command": name, "response": "json", "id": "1"})
        answer = cloud.run(cloud.manager.door.answer(request))
        ((_, body),) = json.loads(answer.body).items()
        assert (answer.status, body["errorcode"]) == (401, 401), name
        assert body["errortext"] == "unable to verify user credentials and/or request signature"
