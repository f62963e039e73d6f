"""Projects: accounts that several share. Members are accounts, with all their users, or single users.

An `Admin` changes the project and who belongs to it; a `Regular` member works in it, as far as her project role goes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Annotated, Any, Literal

import sqlalchemy as sa

from mold.api.answer import Field, shown
from mold.api.command import Ctx, Param, command
from mold.api.lists import Query, lists, tagged
from mold.api.model import capability
from mold.api.permit import OPERATORS, TRUE, Caller, Policy, RoleType, below, find, owner_of
from mold.base import ids
from mold.base.errors import Conflict, Denied, Invalid, NotFound
from mold.base.states import machine
from mold.features.identity import roles
from mold.features.identity.accounts import PROJECT_TYPE, Account
from mold.features.identity.domains import Domain
from mold.features.identity.users import User
from mold.store import Resource, Tx, column, created, refers
from mold.store.settings import setting
from mold.work import Done, Operation, operation, step

USERS_CREATE = setting(
    "allow.user.create.projects", True, "Whether users create projects.", category="Project Defaults"
)
capability("allowusercreateprojects", lambda tx, caller: USERS_CREATE.get(tx))
KEPT_OPEN = frozenset({"activateProject", "suspendProject", "deleteProject"})
"""Commands that change a project although it is suspended."""
Place = Literal["Admin", "Regular"]
SomeUser = Annotated[str, Param(kind="uuid")]
"""A user who belongs to the project by herself: its admins name her, although they may not see other accounts' users."""


class Membership(Policy):
    """Projects: seen by their members and by admins of their domain, changed by their admins."""

    def see(self, caller: Caller, t: Any) -> Any:
        if caller.role in OPERATORS:
            return TRUE
        members = t.c.project_account_id.in_(caller.projects)
        if caller.role is RoleType.DOMAIN:
            return members | below(caller.domain_trail, t.c.domain_id)
        return members

    def operate(self, caller: Caller, t: Any) -> Any:
        if caller.role in OPERATORS:
            return TRUE
        own = t.c.project_account_id.in_(set(caller.extra.get("administers", ())) & set(caller.projects))
        if caller.role is RoleType.DOMAIN:
            return own | below(caller.domain_trail, t.c.domain_id)
        return own


class OfProject(Policy):
    """What belongs to the project itself, as its members and roles: seen by who sees it, changed by who changes it."""

    def see(self, caller: Caller, t: Any) -> Any:
        return t.c.project_id.in_(sa.select(Project.c.id).where(Project.policy.see(caller, Project.table)))

    def operate(self, caller: Caller, t: Any) -> Any:
        return t.c.project_id.in_(sa.select(Project.c.id).where(Project.policy.operate(caller, Project.table)))


class Project(Resource):
    """A project: a shared account with members. Disabled: it is being removed."""

    kind = "project"
    steady = True
    unique = (("domain_id", "name"),)
    appears = {"projectid": "id", "project": "name"}
    policy = Membership()
    states = machine(
        "Active",
        suspend="Active|Suspended>Suspended",
        activate="Active|Suspended>Active",
        drop="Active|Suspended|Disabled>Disabled",
    )

    name: str = column(filter=True, keyword=True)
    displaytext: str = column(default="", filter=True, keyword=True)
    domain_id: str = refers("domain", shows={"domainid": "id", "domain": "name"}, filter=False)
    project_account_id: str = refers("account", shows={"projectaccountname": "name"}, filter=False)
    state: str = column(default="Active", filter=True)
    created: str = created()


class Member(Resource):
    """A place in a project: an account's, or that of one of its users. `who` is the id of whichever it is."""

    kind = "project_member"
    title = "project member"
    unique = (("project_id", "who"),)
    policy = OfProject()

    project_id: str = refers("project", cascade=True, filter=False)
    account_id: str = refers(
        "account", cascade=True, filter=False, shows={"account": "name", "accountid": "id", "accounttype": "type"}
    )
    user_id: str | None = refers("user", default=None, cascade=True, filter=False)
    who: str = column(hidden=True)
    role: str = column(default="Regular")
    project_role_id: str | None = refers("projectrole", default=None, filter=False)


def unsuspended(tx: Tx, project_ids: Iterable[str | None]) -> None:
    """Conflict when one of these projects is not active: nothing that belongs to it is changed then."""
    for project in tx.among(Project, sorted({i for i in project_ids if i})).values():
        if project.state != "Active":
            raise Conflict(
                f"The project {project.name} is {project.state.lower()}; activate it before changing what is in it.",
                projectid=project.id,
                state=project.state,
            )


# -- the project -----------------------------------------------------------------------------------------------------


@shown(Project, Field("owner", "list"))
def _owners_of(tx: Tx, rows: list[Any], caller: Any) -> dict[str, dict[str, Any]]:
    found = tx.execute(
        sa.select(Member.c.project_id, Account.c.id, Account.c.name, User.c.id, User.c.username)
        .join(Account.table, Account.c.id == Member.c.account_id)
        .outerjoin(User.table, User.c.id == Member.c.user_id)
        .where(Member.c.role == "Admin", tx.any_of(Member.c.project_id, [p.id for p in rows]))
        .order_by(Member.c.number)
    )
    out: dict[str, dict[str, Any]] = {p.id: {"owner": []} for p in rows}
    for project, account_id, account, user_id, username in found:
        owner = {"accountid": account_id, "account": account}
        out[project]["owner"].append(owner | ({"userid": user_id, "user": username} if user_id else {}))
    return out


@lists("listProjects", Project)
def _projects(
    q: Query,
    domainid: Domain | None = None,
    isrecursive: bool = False,
    listall: bool = False,
    account: str | None = None,
    username: str | None = None,
    state: str | None = None,
    details: list[str] | None = None,
    tags: dict[str, str] | None = None,
    showicon: bool | None = None,
) -> None:
    """Lists projects that the caller is a member of or administers.

    account: projects that an account of this name belongs to
    username: projects that this user, or her account, belongs to
    state: Active, Suspended or Disabled
    details: sets of fields, comma separated: min, resource, all
    """
    if details:
        q.details = frozenset(d.strip().lower() for d in details)
    if tags:
        q.where(tagged(Project, tags))
    if state is not None:
        q.where(Project.c.state == state.capitalize())
    if username is not None:
        q.where(
            Project.c.id.in_(
                sa.select(Member.c.project_id)
                .join(User.table, User.c.account_id == Member.c.account_id)
                .where(User.c.username == username, sa.or_(Member.c.user_id.is_(None), Member.c.user_id == User.c.id))
            )
        )
    if domainid is not None:
        q.where(below(domainid.trail, Project.c.domain_id) if isrecursive else Project.c.domain_id == domainid.id)
    elif isrecursive and not listall:
        q.where(below(q.ctx.caller.domain_trail, Project.c.domain_id))
    elif not listall and q.ctx.given.isdisjoint({"id", "name"}):
        q.where(Project.c.project_account_id.in_(q.ctx.caller.projects))
    if account is not None:
        q.where(
            Project.c.id.in_(
                sa.select(Member.c.project_id)
                .join(Account.table, Account.c.id == Member.c.account_id)
                .where(Account.c.name == account)
            )
        )


def make_project(
    tx: Tx, *, name: str, displaytext: str, domain: Domain, admin: Account, user: User | None = None
) -> Project:
    """Insert a project with its own account and its first admin: an account, or one user of it."""
    if not name.strip():
        raise Invalid("A project's name must not be empty.", parameter="name")
    if domain.state != "Active":
        raise Conflict(f"The domain {domain.path} is being removed.", domainid=domain.id)
    project_id = ids.new_id()
    own = tx.add(
        Account(
            name=f"PrjAcct-{name}-{project_id[:8]}",
            domain_id=domain.id,
            type=PROJECT_TYPE,
            role_id=roles.default(tx, RoleType.USER).id,
            role_type=RoleType.USER.value,
            project_id=project_id,
        )
    )
    made = Project(name=name, displaytext=displaytext, domain_id=domain.id, project_account_id=own.id)
    made.id = project_id
    tx.add(made)
    join(tx, made, admin, user, "Admin")
    return made


owning: list[Callable[[Tx, str, int], None]] = []
"""Functions (tx, account id, 1 or -1), told when an account has a project more or less as its admin; limits count them."""


def _owns(tx: Tx, account_id: str, more: int) -> None:
    for each in owning:
        each(tx, account_id, more)


def leave(tx: Tx, who: Member) -> None:
    """Remove a member."""
    if who.role == "Admin":
        _owns(tx, who.account_id, -1)
    tx.remove(who)


def _put(tx: Tx, who: Member, role: Place, **values: Any) -> None:
    """Give a member another place."""
    if who.role != role:
        _owns(tx, who.account_id, 1 if role == "Admin" else -1)
    tx.set(who, role=role, **values)


def join(
    tx: Tx, project: Project, account: Account, user: User | None, role: str, project_role_id: str | None = None
) -> Member:
    """Insert a member; Conflict when she is one already."""
    who = user or account
    if tx.first(Member, Member.c.project_id == project.id, Member.c.who == who.id) is not None:
        label = user.username if user else account.name
        raise Conflict(f"{label} belongs to the project {project.name} already.", projectid=project.id)
    if role == "Admin":
        _owns(tx, account.id, 1)
    return tx.add(
        Member(
            project_id=project.id,
            account_id=account.id,
            user_id=user.id if user else None,
            who=who.id,
            role=role,
            project_role_id=project_role_id,
        )
    )


@operation
class ChangeProject(Operation):
    """A project, or who belongs to it, was changed with the request; nothing in the world follows."""

    answers = (Project, "project")
    project: str

    @step
    def done(self, tx: Tx) -> None:
        tx.one(Project, self.project)


@command("createProject", answers=Project, job=True, creates=True, event="PROJECT.CREATE")
def create_project(
    ctx: Ctx,
    name: str,
    displaytext: str = "",
    account: str | None = None,
    domainid: Annotated[Domain | None, Param(access="see")] = None,
    accountid: Annotated[Account | None, Param(access="see")] = None,
    userid: Annotated[User | None, Param(access="see")] = None,
) -> Project:
    """Creates a project; the caller, or the account or user given, becomes its admin.

    accountid: id of the account that becomes its admin, instead of account and domainid
    userid: id of the user who becomes its admin, without the other users of her account
    """
    if ctx.caller.role is RoleType.USER and not USERS_CREATE.get(ctx.tx):
        raise Denied("Only admins create projects here (allow.user.create.projects).")
    if userid is not None and (account or accountid):
        raise Invalid("Give either an account or a user as the project's admin.", parameter="userid")
    if userid is not None:
        admin = ctx.tx.one(Account, userid.account_id)
    else:
        admin = accountid or owner_of(ctx.tx, ctx.caller, account, domainid, None)
    if admin.type == PROJECT_TYPE:
        raise Invalid("A project cannot own a project.", parameter="accountid")
    made = make_project(
        ctx.tx,
        name=name,
        displaytext=displaytext or name,
        domain=ctx.tx.one(Domain, admin.domain_id),
        admin=admin,
        user=userid,
    )
    ctx.start(ChangeProject(project=made.id))
    return made


@command("updateProject", answers=Project, job=True, event="PROJECT.UPDATE")
def update_project(
    ctx: Ctx,
    id: Project,
    name: str | None = None,
    displaytext: str | None = None,
    account: str | None = None,
    userid: SomeUser | None = None,
    roletype: Place | None = None,
    swapowner: bool = True,
) -> Project:
    """Renames a project, or changes who administers it.

    account: name of a member account whose place changes; without roletype it becomes the project's admin
    userid: id of a member whose place changes, instead of account
    roletype: the place it gets: Admin or Regular; the others keep theirs
    swapowner: true: the admin until now becomes a regular member; false: both are admins
    """
    tx = ctx.tx
    if name is not None and not name.strip():
        raise Invalid("A project's name must not be empty.", parameter="name")
    tx.set(id, **{k: v for k, v in (("name", name), ("displaytext", displaytext)) if v is not None})
    if account is not None and userid is not None:
        raise Invalid("Give either account or userid.", parameter="userid")
    if account is None and userid is None:
        if roletype is not None:
            raise Invalid("roletype needs account or userid: say whose place changes.", parameter="roletype")
    else:
        _change_place(tx, id, member(tx, id, account, userid), roletype, swapowner)
    ctx.start(ChangeProject(project=id.id))
    return id


def member(tx: Tx, project: Project, account: str | None, user_id: str | None) -> Member:
    """The member that is meant; NotFound when there is none."""
    c = Member.c
    if user_id is not None:
        found = tx.first(Member, c.project_id == project.id, c.user_id == user_id)
    else:
        named = sa.select(Account.c.id).where(Account.c.name == account, Account.c.domain_id == project.domain_id)
        found = tx.first(Member, c.project_id == project.id, c.user_id.is_(None), c.account_id.in_(named))
    if found is None:
        raise NotFound(
            f"{account or 'This user'} does not belong to the project {project.name}.", projectid=project.id
        )
    return found


def admins(tx: Tx, project_id: str) -> list[Member]:
    """The project's admins. The project is locked, so that two who leave at once do not both think the other stays."""
    tx.locked(Project, project_id)
    return tx.find(Member, Member.c.project_id == project_id, Member.c.role == "Admin")


def _change_place(tx: Tx, project: Project, who: Member, roletype: Place | None, swap: bool) -> None:
    now = admins(tx, project.id)
    if roletype == "Regular":
        if [m.id for m in now] == [who.id]:
            raise Conflict(f"The project {project.name} would have no admin; make another member one first.")
        _put(tx, who, "Regular")
        return
    _put(tx, who, "Admin", project_role_id=None)
    if roletype is None and swap:
        others = [m for m in now if m.id != who.id]
        if len(others) > 1:
            raise Conflict(
                f"The project {project.name} has several admins; say swapowner=false, or give roletype.",
                parameter="swapowner",
            )
        for each in others:
            _put(tx, each, "Regular")


@command("activateProject", envelope="activaterojectresponse", answers=Project, job=True, event="PROJECT.ACTIVATE")
def activate(ctx: Ctx, id: Project) -> Project:
    """Activates a suspended project; its machines stay stopped until somebody starts them."""
    ctx.tx.move(id, "activate")
    ctx.start(ChangeProject(project=id.id))
    return id


# -- its members -----------------------------------------------------------------------------------------------------


@shown(
    Member, *(Field(n) for n in ("domainid", "domain", "domainpath")), Field("user", "list")
)
def _member(tx: Tx, rows: list[Any], caller: Any) -> dict[str, dict[str, Any]]:
    accounts = tx.among(Account, list({m.account_id for m in rows}))
    domains = tx.known_among(Domain, {a.domain_id for a in accounts.values()})
    users: dict[str, list[dict[str, Any]]] = {}
    for user in tx.find(User, tx.any_of(User.c.account_id, list(accounts))):
        users.setdefault(user.account_id, []).append({"id": user.id, "username": user.username})
    out: dict[str, dict[str, Any]] = {}
    for each in rows:
        domain = domains[accounts[each.account_id].domain_id]
        out[each.id] = {"domainid": domain.id, "domain": domain.name, "domainpath": domain.path}
        out[each.id]["user"] = [
            u for u in users.get(each.account_id, ()) if each.user_id is None or u["id"] == each.user_id
        ]
    return out


@lists("listProjectAccounts", Member, key="projectaccount", id_param=False)
def _members(
    q: Query,
    projectid: Project,
    account: str | None = None,
    userid: SomeUser | None = None,
    role: str | None = None,
    projectroleid: Annotated[Resource | None, Param(of="projectrole")] = None,
    keyword: str | None = None,
) -> None:
    """Lists the accounts and users that belong to a project.

    account: name of an account
    userid: a user who belongs to it by herself
    role: Admin or Regular
    projectroleid: those with this role in the project
    """
    c = Member.c
    q.where(c.project_id == projectid.id)
    if account is not None:
        q.where(c.account_id.in_(sa.select(Account.c.id).where(Account.c.name == account)))
    if userid is not None:
        q.where(c.user_id == userid)
    if role is not None:
        q.where(c.role == role.capitalize())
    if projectroleid is not None:
        q.where(c.project_role_id == projectroleid.id)
    if keyword:
        word = keyword.lower()
        q.where(
            sa.or_(
                c.account_id.in_(sa.select(Account.c.id).where(sa.func.lower(Account.c.name).contains(word, autoescape=True))),
                c.user_id.in_(sa.select(User.c.id).where(sa.func.lower(User.c.username).contains(word, autoescape=True))),
            )
        )


def _remove_member(ctx: Ctx, project: Project, who: Member) -> None:
    """A member goes: an admin of the project sends her away, or she leaves."""
    tx, caller = ctx.tx, ctx.caller
    herself = who.who == (caller.user_id if who.user_id else caller.account_id)
    if not herself and find(tx, Project, caller, project.id, "operate") is None:
        raise Denied(f"Only admins of the project {project.name} send others away.")
    if who.role == "Admin" and len(admins(tx, project.id)) == 1:
        raise Conflict(f"The project {project.name} would have no admin; make another member one first.")
    leave(tx, who)
    ctx.start(Done.to(project))


@command("deleteAccountFromProject", job=True, event="PROJECT.ACCOUNT.REMOVE")
def delete_account(ctx: Ctx, projectid: Project, account: str) -> None:
    """Takes an account out of a project; members may leave by themselves.

    account: name of the account
    """
    _remove_member(ctx, projectid, member(ctx.tx, projectid, account, None))


@command("deleteUserFromProject", job=True, event="PROJECT.USER.REMOVE")
def delete_user(ctx: Ctx, projectid: Project, userid: SomeUser) -> None:
    """Takes a user out of a project; members may leave by themselves."""
    _remove_member(ctx, projectid, member(ctx.tx, projectid, None, userid))
