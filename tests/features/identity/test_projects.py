"""Projects: their state, their members, what members may do, and how they are invited."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from cloud import Actor, ApiError, Cloud
from mails import MailServer

from mold.base import clock

PERSON = {"password": "p", "email": "e@example.org", "firstname": "F", "lastname": "L"}


def project(actor: Actor, cloud: Cloud, **params: object) -> str:
    return str(actor.createProject(name=cloud.name("project"), **params)["id"])


def second_user(cloud: Cloud, of: Actor) -> Actor:
    """Another user of the same account."""
    made = cloud.admin.createUser(username=cloud.name("second"), account=of.name, domainid=of.domain, **PERSON)
    keys = cloud.system.registerUserKeys(id=made["id"])
    return Actor(cloud, keys=(keys["apikey"], keys["secretkey"]), about={**of.about, "user": [made]})


def test_members_and_their_places(cloud: Cloud) -> None:
    domain = cloud.domain()
    ann, ben, eve = (cloud.tenant(domain) for _ in range(3))
    shared = project(ann, cloud)
    with pytest.raises(ApiError, match="entity does not exist"):
        ben.addAccountToProject(projectid=shared, account=ben.name)
    ann.addAccountToProject(projectid=shared, account=ben.name)
    with pytest.raises(ApiError, match="belongs to the project .* already"):
        ann.addAccountToProject(projectid=shared, account=ben.name)
    with pytest.raises(ApiError, match="no account nobody"):
        ann.addAccountToProject(projectid=shared, account="nobody")
    with pytest.raises(ApiError, match="account or email"):
        ann.addAccountToProject(projectid=shared)
    assert [p["id"] for p in ben.listProjects()] == [shared]
    assert eve.listProjects(listall=True) == []
    with pytest.raises(ApiError, match="entity does not exist"):
        ben.addAccountToProject(projectid=shared, account=eve.name)
    places = {m["account"]: m["role"] for m in ann.listProjectAccounts(projectid=shared)}
    assert places == {ann.name: "Admin", ben.name: "Regular"}
    for params, names in (
        ({"role": "admin"}, [ann.name]), ({"account": ben.name}, [ben.name]), ({"keyword": ben.name.upper()}, [ben.name]),
        ({"page": 2, "pagesize": 1}, [ben.name]),
    ):  # fmt: skip
        assert [m["account"] for m in ann.listProjectAccounts(projectid=shared, **params)] == names, params
    (shown,) = ann.listProjectAccounts(projectid=shared, account=ann.name)
    assert shown["user"] == [{"id": ann.user, "username": ann.name}]
    assert (shown["projectid"], shown["accountid"], shown["domainid"]) == (shared, ann.account, domain)
    with pytest.raises(ApiError, match="would have no admin"):
        ann.deleteAccountFromProject(projectid=shared, account=ann.name)
    with pytest.raises(ApiError, match="Only admins of the project"):
        ben.deleteAccountFromProject(projectid=shared, account=ann.name)
    ben.deleteAccountFromProject(projectid=shared, account=ben.name)
    assert ben.listProjects() == []


def test_a_single_user_as_a_member(cloud: Cloud) -> None:
    domain = cloud.domain()
    ann, ben = cloud.tenant(domain), cloud.tenant(domain)
    ben2 = second_user(cloud, ben)
    shared = project(ann, cloud)
    ann.addUserToProject(projectid=shared, username=ben2.about["user"][0]["username"])
    assert [p["id"] for p in ben2.listProjects()] == [shared]
    assert ben.listProjects() == [], "the other users of her account do not belong to it"
    (member,) = ann.listProjectAccounts(projectid=shared, userid=ben2.user)
    assert (member["userid"], member["account"], [u["id"] for u in member["user"]]) == (ben2.user, ben.name, [ben2.user])
    ann.updateProject(id=shared, userid=ben2.user, roletype="Admin")
    assert {o.get("userid") for o in ann.one("listProjects", id=shared)["owner"]} == {None, ben2.user}
    ben2.updateProject(id=shared, displaytext="hers")
    ann.deleteUserFromProject(projectid=shared, userid=ben2.user)
    assert ben2.listProjects() == []
    own = project(ben, cloud, userid=ben2.user)
    assert [p["id"] for p in ben2.listProjects(id=own)] == [own] and ben.listProjects() == []


def test_owners_change(cloud: Cloud) -> None:
    domain = cloud.domain()
    ann, ben, eve = (cloud.tenant(domain) for _ in range(3))
    shared = project(ann, cloud)
    with pytest.raises(ApiError, match="does not belong"):
        ann.updateProject(id=shared, account=ben.name)
    for who in (ben, eve):
        ann.addAccountToProject(projectid=shared, account=who.name)

    def admins() -> set[str]:
        return {m["account"] for m in cloud.admin.listProjectAccounts(projectid=shared, role="Admin")}

    ann.updateProject(id=shared, account=ben.name)
    assert admins() == {ben.name}
    with pytest.raises(ApiError, match="entity does not exist"):
        ann.updateProject(id=shared, name="mine again")
    ben.updateProject(id=shared, account=ann.name, swapowner=False)
    assert admins() == {ann.name, ben.name}
    with pytest.raises(ApiError, match="several admins"):
        ben.updateProject(id=shared, account=eve.name)
    ben.updateProject(id=shared, account=ann.name, roletype="Regular")
    with pytest.raises(ApiError, match="would have no admin"):
        ben.updateProject(id=shared, account=ben.name, roletype="Regular")
    with pytest.raises(ApiError, match="roletype needs account"):
        ben.updateProject(id=shared, roletype="Admin")
    assert admins() == {ben.name}


def test_lists_of_projects(cloud: Cloud) -> None:
    domain = cloud.domain()
    chief, ann, ben = cloud.tenant(domain, "DomainAdmin"), cloud.tenant(domain), cloud.tenant(domain)
    one, two = project(ann, cloud, displaytext="the first"), project(ben, cloud)
    ann.suspendProject(id=one)

    def ids(actor: Actor, **params: object) -> set[str]:
        return {p["id"] for p in actor.listProjects(**params)}

    assert ids(chief) == set() and ids(chief, listall=True) == {one, two}
    assert ids(chief, listall=True, state="suspended") == {one}
    assert ids(chief, listall=True, displaytext="the first") == {one} == ids(chief, listall=True, keyword="FIRST")
    assert ids(chief, listall=True, account=ben.name) == {two} == ids(chief, listall=True, username=ben.name)
    assert ids(chief, domainid=domain) == {one, two} == ids(chief, isrecursive=True)
    cloud.admin.activateProject(id=one)
    ann.createTags(resourcetype="Project", resourceids=one, tags={"k": "v"})
    assert ids(ann, tags={"k": "v"}) == {one} and ids(ann, tags={"k": "w"}) == set()


def test_minus_one_is_all_projects_of_the_caller(cloud: Cloud) -> None:
    ann = cloud.tenant()
    one, two = project(ann, cloud), project(ann, cloud)
    ann.createSSHKeyPair(name="mine")
    for each in (one, two):
        ann.createSSHKeyPair(name=f"of {each}", projectid=each)
    assert {k["name"] for k in ann.listSSHKeyPairs()} == {"mine"}
    assert {k["name"] for k in ann.listSSHKeyPairs(projectid="-1")} >= {f"of {one}", f"of {two}"}


def test_a_suspended_project_refuses_changes(cloud: Cloud) -> None:
    site = cloud.zone(hosts=1)
    domain = cloud.domain()
    ann, ben = cloud.tenant(domain), cloud.tenant(domain)
    shared = project(ann, cloud)
    vm = site.deploy(ann, projectid=shared)["id"]
    pair = ann.createSSHKeyPair(name="k", projectid=shared)["name"]
    assert ann.suspendProject(id=shared)["state"] == "Suspended"
    assert ann.one("listVirtualMachines", id=vm, projectid=shared)["state"] == "Stopped"
    for command, params in (
        ("startVirtualMachine", {"id": vm}), ("destroyVirtualMachine", {"id": vm}), ("updateVirtualMachine", {"id": vm}),
        ("createSSHKeyPair", {"name": "x", "projectid": shared}), ("deleteSSHKeyPair", {"name": pair, "projectid": shared}),
        ("updateProject", {"id": shared, "name": "x"}), ("createProjectRole", {"projectid": shared, "name": "x"}),
        ("addAccountToProject", {"projectid": shared, "account": ben.name}),
        ("createTags", {"resourcetype": "UserVm", "resourceids": vm, "tags": {"a": "b"}}),
    ):  # fmt: skip
        for who in (ann, cloud.admin):
            with pytest.raises(ApiError, match="is suspended; activate it"):
                who.call(command, **params)
    assert ann.activateProject(id=shared)["state"] == "Active"
    ann.startVirtualMachine(id=vm)


def test_deleting_a_project_with_what_is_in_it(cloud: Cloud) -> None:
    site = cloud.zone(hosts=1)
    ann = cloud.tenant()
    shared = project(ann, cloud)
    ann.deleteProject(id=project(ann, cloud))
    vm = site.deploy(ann, projectid=shared)["id"]
    ann.createTags(resourcetype="UserVm", resourceids=vm, tags={"a": "b"})
    ann.createTags(resourcetype="Project", resourceids=shared, tags={"a": "b"})
    ann.createSSHKeyPair(name="k", projectid=shared)
    with pytest.raises(ApiError, match="still has .*1 machine, .*cleanup=true") as no:
        ann.deleteProject(id=shared)
    assert no.value.code == 536
    ann.deleteProject(id=shared, cleanup=True)
    assert ann.listProjects(listall=True) == []
    with pytest.raises(ApiError, match="entity does not exist"):
        cloud.admin.listVirtualMachines(id=vm)


# ── project roles ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_project_role_closes_commands_however_they_are_asked(cloud: Cloud) -> None:
    site = cloud.zone(hosts=1)
    domain = cloud.domain()
    ann, ben = cloud.tenant(domain), cloud.tenant(domain)
    shared = project(ann, cloud)
    here = {"projectid": shared}
    role = ann.createProjectRole(name="careful", description="no stopping", **here)["id"]
    for rule, permission in (("stopVirtualMachine", "deny"), ("list*Keys", "allow"), ("createSSH*", "deny")):
        ann.createProjectRolePermission(projectroleid=role, rule=rule, permission=permission, **here)
    ann.addAccountToProject(account=ben.name, projectroleid=role, **here)
    vm, own = site.deploy(ann, **here)["id"], site.deploy(ben)["id"]
    assert ben.one("listVirtualMachines", id=vm, **here)["id"] == vm
    with pytest.raises(ApiError, match="Your role in this project does not allow createSSHKeyPair"):
        ben.createSSHKeyPair(name="x", **here)
    with pytest.raises(ApiError, match="entity does not exist"):
        ben.stopVirtualMachine(id=vm)
    ben.stopVirtualMachine(id=own)
    ben.createSSHKeyPair(name="mine")
    with pytest.raises(ApiError, match="is used by"):
        ann.deleteProjectRole(id=role, **here)
    stop = next(r["id"] for r in ann.listProjectRolePermissions(projectroleid=role, **here) if r["rule"].startswith("stop"))
    ann.updateProjectRolePermission(projectroleid=role, projectrolepermissionid=stop, permission="allow", **here)
    ben.stopVirtualMachine(id=vm)
    ann.stopVirtualMachine(id=vm)


def test_project_roles_are_kept(cloud: Cloud) -> None:
    ann = cloud.tenant()
    shared, other = project(ann, cloud), project(ann, cloud)
    here = {"projectid": shared}
    role = ann.createProjectRole(name="one", **here)
    assert (role["projectid"], role["name"]) == (shared, "one")
    with pytest.raises(ApiError, match="already a project role"):
        ann.createProjectRole(name="one", **here)
    foreign = ann.createProjectRole(name="one", projectid=other)["id"]
    changed = ann.updateProjectRole(id=role["id"], name="two", description="d", **here)
    assert (changed["name"], changed["description"]) == ("two", "d")
    for command, params in (("updateProjectRole", {"name": "x"}), ("deleteProjectRole", {})):
        with pytest.raises(ApiError, match="has no project role"):
            ann.call(command, id=foreign, **here, **params)
    a, b = (
        ann.createProjectRolePermission(projectroleid=role["id"], rule=r, permission="allow", description=r, **here)["id"]
        for r in ("a", "b")
    )
    ann.updateProjectRolePermission(projectroleid=role["id"], ruleorder=[b, a], **here)
    rules = ann.listProjectRolePermissions(projectroleid=role["id"], **here)
    assert [(r["id"], r["rule"], r["projectrolename"]) for r in rules] == [(b, "b", "two"), (a, "a", "two")]
    with pytest.raises(ApiError, match="either projectrolepermissionid"):
        ann.updateProjectRolePermission(projectroleid=role["id"], **here)
    ann.deleteProjectRolePermission(id=a, **here)
    assert [r["id"] for r in ann.listProjectRolePermissions(**here)] == [b]
    ann.deleteProjectRole(id=role["id"], **here)
    assert ann.listProjectRoles(**here) == []


# ── invitations ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def inviting(cloud: Cloud) -> Iterator[None]:
    cloud.set("project.invite.required", True)
    yield
    cloud.set("project.invite.required", False)
    cloud.admin.resetConfiguration(name="project.invite.timeout")
    cloud.admin.resetConfiguration(name="project.smtp.host")


def test_an_invitation_is_accepted_once(cloud: Cloud, inviting: None) -> None:
    domain = cloud.domain()
    ann, ben, eve = (cloud.tenant(domain) for _ in range(3))
    shared = project(ann, cloud)
    assert cloud.admin.ask("listCapabilities")["capability"]["projectinviterequired"] is True
    ann.addAccountToProject(projectid=shared, account=ben.name, roletype="Admin")
    with pytest.raises(ApiError, match="is invited .* already"):
        ann.addAccountToProject(projectid=shared, account=ben.name)
    assert ben.listProjects() == []
    (mine,) = ben.listProjectInvitations()
    assert (mine["account"], mine["state"], mine["projectid"]) == (ben.name, "Pending", shared)
    assert eve.listProjectInvitations(listall=True) == []
    with pytest.raises(ApiError, match="no such invitation"):
        eve.updateProjectInvitation(projectid=shared)
    with pytest.raises(ApiError, match="own account only|no account|needs domainid"):
        eve.updateProjectInvitation(projectid=shared, account=ben.name)
    ben.updateProjectInvitation(projectid=shared)
    assert [m["role"] for m in ben.listProjectAccounts(projectid=shared, account=ben.name)] == ["Admin"]
    with pytest.raises(ApiError, match="no such invitation"):
        ben.updateProjectInvitation(projectid=shared)
    ann.addAccountToProject(projectid=shared, account=eve.name)
    eve.updateProjectInvitation(projectid=shared, accept=False)
    assert eve.listProjects() == []
    states = {i["account"]: i["state"] for i in ann.listProjectInvitations(projectid=shared)}
    assert states == {ben.name: "Completed", eve.name: "Declined"}
    assert ann.listProjectInvitations(projectid=shared, activeonly=True) == []
    ann.addUserToProject(projectid=shared, username=eve.name)
    (again,) = ann.listProjectInvitations(projectid=shared, state="pending")
    ann.deleteProjectInvitation(id=again["id"])
    assert ann.listProjectInvitations(projectid=shared, state="Pending") == []


def test_an_invitation_ends(cloud: Cloud, inviting: None, monkeypatch: pytest.MonkeyPatch) -> None:
    domain = cloud.domain()
    ann, ben = cloud.tenant(domain), cloud.tenant(domain)
    shared = project(ann, cloud)
    ann.addUserToProject(projectid=shared, username=ben.name)
    cloud.set("project.invite.timeout", 5)
    late = clock.ago(-10)
    monkeypatch.setattr(clock, "ago", lambda seconds: late)
    with pytest.raises(ApiError, match="has expired"):
        ben.updateProjectInvitation(projectid=shared, userid=ben.user)
    assert [i["state"] for i in ben.listProjectInvitations()] == ["Expired"]
    assert cloud.reconcile("expire_invitations") == 1
    assert cloud.reconcile("expire_invitations") == 0
    monkeypatch.undo()
    assert [i["state"] for i in ben.listProjectInvitations(state="Expired")] == ["Expired"]


def test_an_invitation_by_mail(cloud: Cloud, inviting: None) -> None:
    domain = cloud.domain()
    ann, ben, eve = (cloud.tenant(domain) for _ in range(3))
    shared = project(ann, cloud)
    with pytest.raises(ApiError, match="need a mail server: set project.smtp.host"):
        ann.addAccountToProject(projectid=shared, email="ben@example.org")
    with MailServer() as server:
        cloud.set("project.smtp.host", "127.0.0.1")
        cloud.set("project.smtp.port", server.port)
        cloud.set("project.email.sender", "cloud@example.org")
        with pytest.raises(ApiError, match="not a mail address"):
            ann.addAccountToProject(projectid=shared, email="ben@example.org x")
        ann.addAccountToProject(projectid=shared, email="ben@example.org")
        (mail,) = server.mails
        server.shutdown()
    assert "To: ben@example.org" in mail and shared in mail
    token = re.search(r"token: (\S+)", mail).group(1)  # type: ignore[union-attr]
    assert len(token) >= 32
    assert token not in str(ann.listProjectInvitations(projectid=shared)) + str(cloud.admin.listAsyncJobs(listall=True))
    with pytest.raises(ApiError, match="no such invitation"):
        eve.updateProjectInvitation(projectid=shared, token="x" * 43)
    ben.updateProjectInvitation(projectid=shared, token=token)
    assert [p["id"] for p in ben.listProjects()] == [shared]
    with pytest.raises(ApiError, match="no such invitation"):
        eve.updateProjectInvitation(projectid=shared, token=token)
    cloud.set("project.smtp.port", 1)
    with pytest.raises(ApiError, match="did not take the invitation|Internal error"):
        ann.addAccountToProject(projectid=shared, email="eve@example.org")
    assert ann.listProjectInvitations(projectid=shared, state="Pending") == [], "what was not sent is no invitation"
