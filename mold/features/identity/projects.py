"""Projects: accounts that several share."""

from __future__ import annotations

from typing import Annotated, Any

import sqlalchemy as sa

from mold.api.answer import Field, shown
from mold.api.command import Ctx, Param, command
from mold.api.lists import Query, lists, paged, tagged
from mold.api.model import capability
from mold.api.permit import Policy, RoleType, below, owner_of
from mold.base import ids
from mold.base.errors import Denied, Invalid
from mold.features.identity.accounts import PROJECT_TYPE, Account
from mold.features.identity.domains import Domain
from mold.features.identity.users import User
from mold.store import Resource, Tx, column, created, refers
from mold.store.settings import setting
from mold.work import Operation, operation, step

USERS_CREATE = setting("allow.user.create.projects", True, "Whether users create projects.", group="Projects")
capability("allowusercreateprojects", lambda tx, caller: USERS_CREATE.get(tx))


class Membership(Policy):
    """Projects: seen by their members and by admins of their domain, changed by their admins."""

    def see(self, caller: Any, t: Any) -> Any:
        if caller.role in (RoleType.ADMIN, RoleType.RESOURCE):
            return t.c.id.is_not(None)
        members = t.c.project_account_id.in_(caller.projects)
        if caller.role is RoleType.DOMAIN:
            return members | below(caller.domain_trail, t.c.domain_id)
        return members

    def operate(self, caller: Any, t: Any) -> Any:
        if caller.role is RoleType.USER:
            return t.c.project_account_id.in_(caller.extra.get("administers", ()))
        return self.see(caller, t)


class Project(Resource):
    """A project: a shared account with members."""

    kind = "project"
    steady = True
    unique = (("domain_id", "name"),)
    appears = {"projectid": "id", "project": "name"}
    policy = Membership()

    name: str = column(filter=True, keyword=True)
    displaytext: str = column(default="", filter=True)
    domain_id: str = refers("domain", shows={"domainid": "id", "domain": "name"}, filter=False)
    project_account_id: str = refers("account", shows={"projectaccountname": "name"}, filter=False)
    state: str = column(default="Active", filter=True)
    created: str = created()


class Member(Resource):
    """An account's place in a project: `Admin` or `Regular`."""

    kind = "project_member"
    title = "project member"
    unique = (("project_id", "account_id"),)
    policy = Policy()

    project_id: str = refers("project", cascade=True)
    account_id: str = refers("account", cascade=True)
    role: str = column(default="Regular")


@shown(Project, Field("owner", "list"))
def _owners_of(tx: Tx, rows: list[Any], caller: Any) -> dict[str, dict[str, Any]]:
    found = tx.execute(
        sa.select(Member.c.project_id, Account.c.id, Account.c.name)
        .join(Account.table, Account.c.id == Member.c.account_id)
        .where(Member.c.role == "Admin", tx.any_of(Member.c.project_id, [p.id for p in rows]))
        .order_by(Member.c.number)
    )
    out: dict[str, dict[str, Any]] = {p.id: {"owner": []} for p in rows}
    for project, account, name in found:
        out[project]["owner"].append({"accountid": account, "account": name})
    return out


@lists("listProjects", Project)
def _projects(
    q: Query,
    domainid: Domain | None = None,
    isrecursive: bool = False,
    listall: bool = False,
    account: str | None = None,
    username: str | None = None,
    details: list[str] | None = None,
    tags: dict[str, str] | None = None,
    showicon: bool | None = None,
) -> None:
    """Lists projects that the caller is a member of or administers.

    username: projects that this user's account belongs to
    details: sets of fields, comma separated: min, resource, all
    """
    if details:
        q.details = frozenset(d.strip().lower() for d in details)
    if tags:
        q.where(tagged(Project, tags))
    if username is not None:
        q.where(
            Project.c.id.in_(
                sa.select(Member.c.project_id)
                .join(User.table, User.c.account_id == Member.c.account_id)
                .where(User.c.username == username)
            )
        )
    if domainid is not None:
        q.where(below(domainid.trail, Project.c.domain_id) if isrecursive else Project.c.domain_id == domainid.id)
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


def make_project(tx: Tx, *, name: str, displaytext: str, domain: Domain, admin: Account) -> Project:
    """Insert a project with its own account and its first admin."""
    project_id = ids.new_id()
    own = tx.add(
        Account(
            name=f"PrjAcct-{name}-{project_id[:8]}",
            domain_id=domain.id,
            type=PROJECT_TYPE,
            role_type=RoleType.USER.value,
            project_id=project_id,
        )
    )
    made = Project(name=name, displaytext=displaytext, domain_id=domain.id, project_account_id=own.id)
    made.id = project_id
    tx.add(made)
    tx.add(Member(project_id=made.id, account_id=admin.id, role="Admin"))
    return made


@operation
class OpenProject(Operation):
    """A project that was just made becomes active."""

    answers = (Project, "project")
    project: str

    @step
    def open(self, tx: Tx) -> None:
        tx.set(tx.one(Project, self.project), state="Active")


@command(
    "createProject",
    answers=Project,
    job=True,
    creates=True,
    event="PROJECT.CREATE",
    refused={"userid:uuid": "not offered yet: members of a project are accounts, not single users"},
)
def create_project(
    ctx: Ctx,
    name: str,
    displaytext: str = "",
    account: str | None = None,
    domainid: Annotated[Domain | None, Param(access="see")] = None,
    accountid: Annotated[Account | None, Param(access="see")] = None,
) -> Project:
    """Creates a project; the caller, or the account given, becomes its admin.

    accountid: id of the account that becomes its admin, instead of account and domainid
    """
    if ctx.caller.role is RoleType.USER and not USERS_CREATE.get(ctx.tx):
        raise Denied("Only admins create projects here (allow.user.create.projects).")
    admin: Account = accountid or owner_of(ctx.tx, ctx.caller, account, domainid, None)
    if admin.type == PROJECT_TYPE:
        raise Invalid("A project cannot own a project.", parameter="accountid")
    made = make_project(
        ctx.tx,
        name=name,
        displaytext=displaytext or name,
        domain=ctx.tx.one(Domain, admin.domain_id),
        admin=admin,
    )
    ctx.start(OpenProject(project=made.id))
    return made


MEMBER_FIELDS = (
    *(Field(n) for n in ("projectid", "project", "accountid", "account", "role", "domainid", "domain", "domainpath")),
    Field("accounttype", "integer"),
    Field("user", "list"),
)


@command(
    "listProjectAccounts",
    shape="list",
    key="projectaccount",
    reads=True,
    fields=MEMBER_FIELDS,
    refused={
        "projectroleid:uuid": "not offered yet: project roles",
        "userid:uuid": "not offered yet: members of a project are accounts, not single users",
    },
)
def project_accounts(
    ctx: Ctx,
    projectid: Project,
    account: str | None = None,
    role: str | None = None,
    keyword: str | None = None,
    page: int | None = None,
    pagesize: int | None = None,
) -> dict[str, Any]:
    """Lists the accounts that belong to a project.

    account: name of an account
    role: Admin or Regular
    """
    tx = ctx.tx
    domains: dict[str, Domain] = {}
    found: list[dict[str, Any]] = []
    for member in tx.find(Member, Member.c.project_id == projectid.id):
        who = tx.one(Account, member.account_id)
        if (
            (account is not None and who.name != account)
            or (role is not None and member.role.lower() != role.lower())
            or (keyword is not None and keyword.lower() not in who.name.lower())
        ):
            continue
        domain = domains.setdefault(who.domain_id, tx.one(Domain, who.domain_id))
        users = tx.find(User, User.c.account_id == who.id)
        found.append(
            {
                "projectid": projectid.id,
                "project": projectid.name,
                "accountid": who.id,
                "account": who.name,
                "accounttype": who.type,
                "role": member.role,
                "domainid": domain.id,
                "domain": domain.name,
                "domainpath": domain.path,
                "user": [{"id": u.id, "username": u.username} for u in users],
            }
        )
    return paged("projectaccount", found, page, pagesize)
