"""What every list does the same: whose rows it shows, pages, keywords, ids and tags; over all list commands.

A small cloud of tenants has something of each kind that lists of owned things show.  The expectation is made from the
rows' owners, by hand.
"""

from __future__ import annotations

from typing import Any

import pytest
from cloud import Actor, ApiError, Cloud
from world import World, within

from mold.api.command import COMMANDS, Command
from mold.api.permit import Owned
from mold.server.app import load

load()
LISTS = sorted(n for n, c in COMMANDS.items() if c.source is not None)
OWNED = sorted(
    n
    for n in LISTS
    if (kind := COMMANDS[n].answers) is not None and issubclass(kind, Owned) and "listall" in COMMANDS[n].params
)
ALL_SIZES = {"page": 1, "pagesize": 500}


@pytest.fixture(scope="module")
def world(cloud: Cloud) -> World:
    return World(cloud)


def about(made: Command, world: World) -> dict[str, Any]:
    """What a list must be told besides."""
    given: dict[str, Any] = {}
    if made.name == "listTemplates":
        given["templatefilter"] = "self"
    if made.name == "listRolePermissions":
        given["roleid"] = 3  # one role's: all of them are more than a page
    if made.name == "listTrafficTypes":
        given["physicalnetworkid"] = world.site.physical
    if "projectid" in made.params and made.params["projectid"].required:
        given["projectid"] = world.project
    if made.name == "listResourceDetails":
        given.update(resourcetype="UserVm", resourceid=world.of("virtualmachine")[0].id)
    if made.name == "listUsageRecords":
        given.update(startdate="2026-01-01", enddate="2026-01-02")
    return given


def ids(actor: Actor, made: Command, world: World, **params: Any) -> set[str]:
    rows = actor.call(made.name, **about(made, world), **ALL_SIZES, **params)
    return {r.get("id") or r.get("jobid") or r.get("resourceid", "") for r in rows}


def rows_of(made: Command, world: World) -> list[Any]:
    assert made.answers is not None
    return [r for r in world.of(made.answers.kind) if r.owner != "root" and not (r.kind == "template" and r.open)]


CALLERS = ("alice", "arthur", "carol", "bob", "chief_a", "chief_b", "root")


ANOTHER_WAY = {
    "listTags": "their ids are not shown",
    "listEvents": "every test adds some",
    "listWebhookDeliveries": "everything that one may see: the API knows no listall there",
    "listTemplates": "templatefilter says whose; test_templates.py",
}


@pytest.mark.parametrize("name", [n for n in OWNED if n not in ANOTHER_WAY])
def test_whose_rows_a_list_shows(world: World, name: str) -> None:
    """Without anything one's own; `listall` all that one may see but projects; `isrecursive` and `domainid` by the tree;
    `account` one account; `projectid` a project, -1 all of them with one's own."""
    made = COMMANDS[name]
    mine = rows_of(made, world)
    if not mine:
        pytest.skip("the world has none that tenants own")
    wrong = []

    def check(caller: str, expected: set[str], **params: Any) -> None:
        person = world.people[caller]
        try:
            got = ids(person.actor, made, world, **params) & {r.id for r in mine}
        except ApiError as no:
            wrong.append(f"{caller} {params}: {no}")
            return
        if got != expected:
            labels = {r.id: r.label for r in mine}
            wrong.append(f"{caller} {params}: {sorted(labels[i] for i in got)} not {sorted(labels[i] for i in expected)}")

    for caller in CALLERS:
        person = world.people[caller]
        seen = [r for r in mine if world.may(person, "see", r, name)]
        own = {r.id for r in mine if r.owner == caller}
        check(caller, own)
        check(caller, {r.id for r in seen if not r.project}, listall=True)
        check(caller, {r.id for r in seen}, projectid="-1", listall=True)
        if caller in ("chief_a", "chief_b", "root"):
            for place, id in world.domains.items():
                if not within(person.place, place):
                    continue
                check(caller, {r.id for r in seen if r.place == place and not r.project}, domainid=id, listall=True)
                check(
                    caller, {r.id for r in seen if within(place, r.place) and not r.project}, domainid=id,
                    isrecursive=True, listall=True,
                )  # fmt: skip
        for other in ("alice", "carol", "bob"):
            if caller == other or (caller in ("chief_a", "root") and world.may(person, "see", world.of("account")[0])):
                expected = {r.id for r in mine if r.owner == other and world.may(person, "see", r, name)}
                place = world.domains[world.people[other].place]
                check(caller, expected, account=other, domainid=place)
        if caller in ("alice", "root", "chief_a"):
            check(caller, {r.id for r in mine if r.project}, projectid=world.project)
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("name", LISTS)
def test_pages_and_ids_of_every_list(world: World, name: str) -> None:
    """Pages follow one another without gap or repetition; `id` and `ids` narrow; a keyword that nothing has finds nothing."""
    made, root = COMMANDS[name], world.cloud.admin
    typed = {n for n, p in made.params.items() if not p.refused}
    wide = {"listall": True} if "listall" in typed else {}
    given = {**about(made, world), **wide}
    everything = root.call(name, **given, page=1, pagesize=500)
    keys = [r.get("id") or r.get("jobid") or str(sorted(r.items(), key=str)) for r in everything]
    if "page" in typed and name not in ("listEvents", "listAsyncJobs"):
        half = max(1, (len(keys) + 1) // 2)
        pages = [root.ask(name, **given, page=n, pagesize=half) for n in (1, 2, 3)]
        together = [r.get("id") or r.get("jobid") or str(sorted(r.items(), key=str)) for p in pages for r in p.get(made.key, [])]
        assert together == keys
        assert all(p.get("count") == len(keys) for p in pages[: 1 if len(keys) < 2 else 2] if p)
    for wrong in ({"page": 1}, {"page": 0, "pagesize": 1}, {"page": 1, "pagesize": 501}, {"page": 1, "pagesize": 0}):
        with pytest.raises(ApiError):
            root.call(name, **given, **wrong)
    rows = [r for r in everything if "id" in r]
    if "id" in typed and rows and made.params["id"].resource is made.answers and name != "listDomainChildren":
        assert [r["id"] for r in root.call(name, **{**given, "id": rows[-1]["id"]})] == [rows[-1]["id"]]
    if "ids" in typed and len(rows) > 1 and made.params["ids"].resource is made.answers:
        wanted = [rows[0]["id"], rows[-1]["id"]]
        assert {r["id"] for r in root.call(name, **{**given, "ids": wanted})} == set(wanted)
    if "keyword" in typed and made.answers is not None:
        searched = [n for n, s in made.answers.columns.items() if s.keyword or n == "name"]
        if searched or "keyword" in (made.source.__annotations__ if made.source else {}):
            assert root.call(name, **given, keyword="no such word 7f3a") == []


@pytest.mark.parametrize("name", sorted(n for n in OWNED if "tags" in COMMANDS[n].params and not COMMANDS[n].params["tags"].refused))
def test_tags_narrow_every_list_that_takes_them(world: World, name: str) -> None:
    from mold.features.identity.things import TYPES

    wire = {kind: word for word, kind in reversed(TYPES.items())}
    made = COMMANDS[name]
    assert made.answers is not None
    rows = [r for r in rows_of(made, world) if r.owner == "alice"]
    if not rows or made.answers.kind not in wire:
        pytest.skip("the world has none with tags")
    alice = world.people["alice"].actor
    mark = {"list": name}
    alice.createTags(resourcetype=wire[made.answers.kind], resourceids=rows[0].id, tags=mark)
    assert ids(alice, made, world, tags=mark) == {rows[0].id}
    assert ids(alice, made, world, tags={"list": "other"}) == set()
    assert ids(world.people["bob"].actor, made, world, tags=mark, listall=True) == set()
