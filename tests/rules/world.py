"""A world of tenants with something of every kind, each row with a known owner, for the rules about who may see and do what.

The domains are ROOT, ROOT/A, ROOT/A/C and ROOT/B.  What `may` says is written here by hand and asks nothing of `mold`.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import sqlalchemy as sa
from cloud import Actor, Cloud, Site

import mold
from mold.api.command import COMMANDS
from mold.store import REGISTRY

Need = Literal["see", "use", "change"]
OPERATORS = ("Admin", "ResourceAdmin")
RANK = {"User": 0, "DomainAdmin": 1, "ResourceAdmin": 2, "Admin": 3}


@dataclass(frozen=True)
class Person:
    """A caller. `role` is the kind of its role, `place` its domain's path, `title` the role's name."""

    name: str
    role: str
    place: str
    actor: Actor
    title: str = ""


@dataclass(frozen=True)
class Row:
    """Something in the world. `owner`, `place` and `project` say whose; an offering's `place` is the domain it is for."""

    kind: str
    id: str
    label: str
    owner: str = ""
    place: str = ""
    project: bool = False
    role: str = ""
    open: bool = False


OWNED = {
    "virtualmachine",
    "network",
    "volume",
    "template",
    "sshkeypair",
    "userdata",
    "event",
    "asyncjob",
    "tag",
    "address",
    "webhook",
    "webhookfilter",
    "webhookdelivery",
}
OFFERED = {"zone", "serviceoffering", "diskoffering", "networkoffering"}
INFRA = {
    "pod",
    "cluster",
    "host",
    "storagepool",
    "imagestore",
    "physicalnetwork",
    "traffictype",
    "vlaniprange",
    "router",
    "networkserviceprovider",
    "virtualrouterelement",
    "hypervisorcapabilities",
    "alert",
}
OF_DOMAIN = {"ldapconfiguration"}
"""For operators and the admins of the domain, and for no user."""
EVERYBODYS = {"ostype", "oscategory"}


TITLES = {"Admin": "Root Admin", "ResourceAdmin": "Resource Admin", "DomainAdmin": "Domain Admin", "User": "User"}
FACTS = tomllib.loads((Path(mold.__file__).parent / "features/identity/roles.toml").read_text())
DENIED_IN_PROJECT = ("stop*", "deployVirtualMachine", "createNetwork", "updateTemplate*")
"""What the project role of max denies; `listVolumes` as well, among the lists."""


@cache
def calls(title: str, name: str) -> bool:
    """Whether a predefined role may call a command: by its rules in order, else by its type."""
    if title == "Root Admin":
        return True
    (role,) = (r for r in FACTS["role"] if r["name"] == title)
    for rule in role["rules"].split():
        if re.fullmatch(rule.lstrip("!").lower().replace("*", "[a-z0-9_]*"), name.lower()):
            return not rule.startswith("!")
    for types, names in FACTS["implied"].items():
        if name in names.split():
            return role["type"] in types.split()
    return role["type"] in {r.value for r in COMMANDS[name].roles}


@cache
def above(title: str, other: str) -> bool:
    """Whether the role `other` ranks above `title`."""
    kinds = {r["name"]: r["type"] for r in FACTS["role"]}
    mine, its = RANK[kinds[title]], RANK[kinds[other]]
    more = any(calls(other, n) and not calls(title, n) for n, c in COMMANDS.items() if not c.open)
    return its > mine or (its == mine and more)


TITLES_OF_RULES = frozenset(r["name"] for r in FACTS["role"])
OF_PROJECT = {"project", "projectrole", "projectrolepermission", "projectinvitation"}


def within(top: str, place: str) -> bool:
    """Whether the domain `place` is `top` or below it."""
    return place == top or place.startswith(top + "/")


def may(person: Person, need: Need, row: Row, members: frozenset[str]) -> bool:
    """The expectation: may this person do this with this row?"""
    operator = person.role in OPERATORS
    admin_of_it = person.role == "DomainAdmin" and bool(row.place) and within(person.place, row.place)
    if row.kind in OWNED:
        if row.open and need != "change":
            return True
        mine = row.owner == person.name or (row.project and person.name in members)
        return operator or admin_of_it or mine
    if row.kind == "annotation":  # read by who sees the thing, taken away by who wrote it
        if need == "change":
            return person.role == "Admin" or row.owner == person.name
        return operator or admin_of_it or row.owner == person.name or (row.project and person.name in members)
    if row.kind in OFFERED:
        if not row.place:
            return operator or need != "change"
        for_me = within(row.place, person.place)
        return operator or admin_of_it or (need != "change" and for_me)
    if row.kind == "router":
        return operator or admin_of_it
    if row.kind in INFRA:
        return operator
    if row.kind in EVERYBODYS:
        return operator or need != "change"
    if row.kind == "domain":
        if need == "change":
            return operator or admin_of_it
        return operator or admin_of_it or person.place == row.place
    if row.kind in ("account", "user"):
        reach = operator or admin_of_it or row.owner == person.name
        return reach and (need != "change" or not above(person.title, row.role))
    if row.kind in OF_DOMAIN:
        return operator or admin_of_it
    if row.kind == "keypair":  # a secret's other half: for the user herself, and who may change her
        reach = operator or admin_of_it or row.owner == person.name
        return reach and not above(person.title, row.role)
    if row.kind == "role":
        seen = person.role == "Admin" or (
            person.role != "User" and row.open and RANK[row.role] <= RANK[person.role]
        )
        given = row.label in TITLES_OF_RULES and not above(person.title, row.label)
        given = given or (row.label == "private" and (person.title == "Root Admin" or person.role == "Admin"))
        return seen and (need == "see" or (given and (need == "use" or person.role == "Admin")))
    if row.kind == "rolepermission":
        return operator
    if row.kind in OF_PROJECT:
        if row.kind == "projectinvitation" and need != "change" and person.name == row.owner:
            return True
        if need == "change" or row.kind == "projectinvitation":
            return operator or admin_of_it or person.name == "alice"
        return operator or admin_of_it or person.name in members
    raise AssertionError(f"no expectation is written for {row.kind}")


class World:
    """The tenants and what they have."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        self.site: Site = cloud.zone(hosts=1)
        a = cloud.domain("A")
        c = cloud.domain("C", parent=a)
        b = cloud.domain("B")
        self.domains = {"ROOT": cloud.admin.domain, "ROOT/A": a, "ROOT/A/C": c, "ROOT/B": b}
        self.people: dict[str, Person] = {"root": Person("root", "Admin", "ROOT", cloud.admin, "Root Admin")}
        for name, role, place in (
            ("operator", "ResourceAdmin", "ROOT"),
            ("chief_a", "DomainAdmin", "ROOT/A"),
            ("chief_c", "DomainAdmin", "ROOT/A/C"),
            ("chief_b", "DomainAdmin", "ROOT/B"),
            ("alice", "User", "ROOT/A"),
            ("arthur", "User", "ROOT/A"),
            ("mary", "User", "ROOT/A"),
            ("carol", "User", "ROOT/A/C"),
            ("bob", "User", "ROOT/B"),
            ("max", "User", "ROOT/A"),
        ):
            self.people[name] = Person(
                name, role, place, cloud.tenant(self.domains[place], role, name), TITLES[role]
            )
        for name, role, place, title in (
            ("auditor", "Admin", "ROOT", "Read-Only Admin"),
            ("helpdesk", "Admin", "ROOT", "Support Admin"),
            ("reader", "User", "ROOT/A", "Read-Only User"),
            ("helper", "User", "ROOT/A", "Support User"),
        ):
            self.people[name] = Person(
                name, role, place, cloud.tenant(self.domains[place], name=name, title=title), title
            )
        self.rows: list[Row] = []
        self.members = frozenset({"alice", "mary", "max"})
        self._people()
        self._roles()
        self._project()
        self._infra()
        self._offered()
        for owner in ("alice", "arthur", "carol", "bob"):
            self._owned(owner, {})
        self._owned("alice", {"projectid": self.project}, project=True)
        cloud.idle()
        self._records()

    def add(self, kind: str, id: str, label: str, **about: Any) -> str:
        """Note a row."""
        self.rows.append(Row(kind, id, label, **about))
        return id

    def of(self, kind: str) -> list[Row]:
        """The rows of a kind."""
        return [r for r in self.rows if r.kind == kind]

    def may(self, person: Person, need: Need, row: Row, command: str = "") -> bool:
        """The expectation for a row of this world, with a command that a project role may deny."""
        members = self.members - {"max"} if self.closed(person, command) else self.members
        return may(person, need, row, members)

    def closed(self, person: Person, command: str) -> bool:
        """Whether the person's role in the project denies a command."""
        denied = (*DENIED_IN_PROJECT, "listVolumes")
        return person.name == "max" and any(re.fullmatch(d.replace("*", ".*"), command) for d in denied)

    def _people(self) -> None:
        for place, id in self.domains.items():
            self.add("domain", id, place, place=place)
        for p in self.people.values():
            about = {"owner": p.name, "place": p.place, "role": p.title}
            self.add("account", p.actor.account, p.name, **about)
            self.add("user", p.actor.user, p.name, **about)
            self.add("keypair", self.cloud.admin.listUserKeys(userid=p.actor.user)[0]["id"], p.name, **about)

    def _project(self) -> None:
        alice = self.people["alice"].actor
        self.project: str = alice.createProject(name="secret-project")["id"]
        here = {"projectid": self.project}
        about = {"place": "ROOT/A", "project": True}
        self.add("project", self.project, "secret-project", **about)
        role = alice.createProjectRole(name="careful", **here)["id"]
        self.add("projectrole", role, "careful", **about)
        for rule in (*DENIED_IN_PROJECT, "listVolumes"):
            made = alice.createProjectRolePermission(projectroleid=role, rule=rule, permission="deny", **here)
        self.add("projectrolepermission", made["id"], "of careful", **about)
        alice.addAccountToProject(account="mary", **here)
        alice.addAccountToProject(account="max", projectroleid=role, **here)
        self.cloud.set("project.invite.required", True)
        alice.addAccountToProject(account="arthur", **here)
        self.cloud.set("project.invite.required", False)
        invited = alice.one("listProjectInvitations", **here)
        self.add("projectinvitation", invited["id"], "arthur's", owner="arthur", **about)

    def _roles(self) -> None:
        root = self.cloud.admin
        for each in root.listRoles():
            self.add("role", each["id"], each["name"], role=each["type"], open=True)
        private = root.createRole(name="private", type="User", ispublic=False)["id"]
        self.add("role", private, "private", role="User")
        rule = root.createRolePermission(roleid=private, rule="listZones", permission="allow")
        self.add("rolepermission", rule["id"], "of private", role="User")

    def _infra(self) -> None:
        s, root = self.site, self.cloud.admin
        for kind, id in (
            ("pod", s.pod), ("cluster", s.cluster), ("host", s.hosts[0]), ("storagepool", s.pool),
            ("imagestore", s.store), ("physicalnetwork", s.physical), ("vlaniprange", s.public_range),
            ("traffictype", root.listTrafficTypes(physicalnetworkid=s.physical)[0]["id"]),
            ("networkserviceprovider", root.listNetworkServiceProviders(physicalnetworkid=s.physical)[0]["id"]),
            ("virtualrouterelement", root.listVirtualRouterElements()[0]["id"]),
        ):  # fmt: skip
            self.add(kind, id, "the site's")
        row = REGISTRY["ldapconfiguration"]
        made = self.cloud.run(  # the command that adds one asks the server first, and there is none here
            self.cloud.manager.engine.writing(
                lambda tx: tx.add(row(hostname="ldap.invalid", port=389, domain_id=self.domains["ROOT/A"]))
            )
        )
        self.add("ldapconfiguration", made.id, "of A", place="ROOT/A")
        root.generateAlert(type=14, name="Generator", description="it smokes")
        self.add("alert", root.listAlerts(name="Generator")[0]["id"], "the site's")
        self.add("ostype", root.listOsTypes()[0]["id"], "first")
        self.add("oscategory", root.listOsCategories()[0]["id"], "first")
        self.add("hypervisorcapabilities", root.listHypervisorCapabilities()[0]["id"], "first")
        site_template = {"owner": "root", "place": "ROOT", "open": True}
        self.add("template", s.template, "public", **site_template)

    def _offered(self) -> None:
        s, root = self.site, self.cloud.admin
        self.add("zone", s.zone, "open")
        private = root.createZone(
            name="zone-of-a", dns1="9.9.9.9", internaldns1="9.9.9.9", networktype="Advanced", allocationstate="Enabled",
            domainid=self.domains["ROOT/A"],
        )["id"]  # fmt: skip
        self.add("zone", private, "of A", place="ROOT/A")
        self.add("serviceoffering", s.offering, "open")
        self.add("diskoffering", root.listDiskOfferings()[0]["id"], "open")
        self.add("networkoffering", s.network_offering, "open")
        for place in ("ROOT/A", "ROOT/A/C"):
            to = {"domainid": self.domains[place]}
            about = {"place": place}
            label = "of " + place
            made = root.createServiceOffering(name=label, cpunumber=1, cpuspeed=100, memory=64, **to)
            self.add("serviceoffering", made["id"], label, **about)
            self.add("diskoffering", root.createDiskOffering(name=label, disksize=1, **to)["id"], label, **about)
            made = root.createNetworkOffering(
                name=label, guestiptype="Isolated", traffictype="Guest", supportedservices="Dhcp", enable=True, **to
            )
            self.add("networkoffering", made["id"], label, **about)

    def _owned(self, owner: str, whose: dict[str, Any], *, project: bool = False) -> None:
        person, s = self.people[owner], self.site
        actor = person.actor
        about = {"owner": "" if project else owner, "place": person.place, "project": project}
        label = "the project's" if project else f"{owner}'s"
        network = self.add("network", s.network(actor, f"net of {label}", **whose)["id"], label, **about)
        vm = s.deploy(actor, displayname=f"machine of {label}", networkids=network, startvm=owner != "bob", **whose)
        self.add("virtualmachine", vm["id"], label, **about)
        volume = actor.one("listVolumes", virtualmachineid=vm["id"], **whose)
        self.add("volume", volume["id"], label, **about)
        template = actor.registerTemplate(
            name=f"template of {label}", url="http://images.invalid/x.qcow2", format="QCOW2", hypervisor="Simulator",
            zoneid=s.zone, **whose,
        )  # fmt: skip
        self.add("template", template["id"], label, **about)
        pair = actor.createSSHKeyPair(name=f"key of {label}", **whose)
        self.add("sshkeypair", pair["id"], label, **about)
        data = actor.registerUserData(name=f"data of {label}", userdata="aGVsbG8=", **whose)
        self.add("userdata", data["id"], label, **about)
        actor.createTags(resourcetype="UserVm", resourceids=vm["id"], tags={"of": label})
        note = actor.addAnnotation(entitytype="NETWORK", entityid=network, annotation=f"about {label}")
        self.add("annotation", note["id"], label, **{**about, "owner": owner})
        hook = actor.createWebhook(name=f"hook of {label}", payloadurl="https://hooks.invalid/in", state="Disabled", **whose)
        self.add("webhook", hook["id"], label, **about)
        self.add("webhookfilter", actor.addWebhookFilter(webhookid=hook["id"], value="VM.")["id"], label, **about)
        self.add("webhookdelivery", self._delivery(hook["id"]), label, **about)

    def _delivery(self, hook: str) -> str:
        """A delivery that nobody sends."""

        def write(tx: Any) -> str:
            row = tx.one(REGISTRY["webhook"], hook).__dict__
            whose = {n: row[n] for n in ("account_id", "domain_id", "project_id")}
            return str(tx.add(REGISTRY["webhookdelivery"](webhook_id=hook, payload="{}", **whose)).id)

        return self.cloud.run(self.cloud.manager.engine.writing(write))

    def _records(self) -> None:
        """Rows that come by themselves: routers, jobs, events, tags."""
        names = {p.actor.account: p for p in self.people.values()}

        def rows(kind: str) -> list[Any]:
            table = REGISTRY[kind].table
            found = self.cloud.run(
                self.cloud.manager.engine.reading(lambda tx: [dict(r._mapping) for r in tx.execute(sa.select(table))])
            )
            return list(found)

        places = {i: p for p, i in self.domains.items()}
        for router in rows("router"):
            self.add("router", router["id"], "some network's", place=places[router["domain_id"]])
        for job in rows("asyncjob"):
            if job["account_id"] in names:
                p = names[job["account_id"]]
                self.add("asyncjob", job["id"], f"{p.name}'s {job['operation']}", owner=p.name, place=p.place)
        for kind in ("event", "tag", "address"):
            for row in rows(kind):
                if row["account_id"] is None:
                    continue  # an address that nobody has
                if row["project_id"] is not None:
                    self.add(kind, row["id"], "the project's", place="ROOT/A", project=True)
                elif row["account_id"] in names:
                    p = names[row["account_id"]]
                    self.add(kind, row["id"], f"{p.name}'s", owner=p.name, place=p.place)
