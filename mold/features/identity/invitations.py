"""Invitations to projects, and adding members: at once, or, where `project.invite.required` says so, when they accept.

Who is invited by e-mail accepts with the token in the mail. Only its digest is kept, it works once, and only in time.
"""

from __future__ import annotations

import asyncio
from email.message import EmailMessage
from typing import Annotated, Any

import sqlalchemy as sa

from mold.api.answer import Field, shown
from mold.api.command import Ctx, Param, command
from mold.api.lists import Query, lists
from mold.api.model import capability
from mold.api.permit import OPERATORS, TRUE, Caller, RoleType, below, owner_of
from mold.base import clock, ids
from mold.base.errors import Conflict, Invalid, NotFound, Unavailable
from mold.base.mail import NOT_TAKEN, MailServer
from mold.base.states import machine
from mold.features.identity.accounts import PROJECT_TYPE, Account
from mold.features.identity.domains import Domain
from mold.features.identity.project_roles import Administered, ProjectRole, within
from mold.features.identity.projects import Member, OfProject, Place, Project, join
from mold.features.identity.users import User
from mold.store import Resource, Tx, column, created, refers
from mold.store.settings import setting
from mold.work import Done, Operation, change, look, operation, reconciler, step

OF = "Project Defaults"
REQUIRED = setting(
    "project.invite.required", False, "Whether members of a project must accept an invitation.", category=OF
)
TIMEOUT = setting(
    "project.invite.timeout",
    86400,
    "Seconds that an invitation to a project is good for.",
    category=OF,
    low=1,
    unit="seconds",
    shape="Long",
)
SMTP_HOST = setting(
    "project.smtp.host", "", "Mail server that sends invitations to projects; empty: none are sent.", category=OF
)
SMTP_PORT = setting("project.smtp.port", 465, "Port of that mail server.", category=OF, low=1, high=65535)
SMTP_TLS = setting("project.smtp.useStartTLS", False, "Whether it is asked to encrypt (STARTTLS).")
SENDER = setting("project.email.sender", "", "Sender of invitations to projects.", category=OF)
capability("projectinviterequired", lambda tx, caller: REQUIRED.get(tx))


class Invited(OfProject):
    """Invitations: seen by who is invited and by the project's admins, taken back by these."""

    def see(self, caller: Caller, t: Any) -> Any:
        if caller.role in OPERATORS:
            return TRUE
        mine = sa.or_(
            sa.and_(t.c.account_id == caller.account_id, t.c.user_id.is_(None)), t.c.user_id == caller.user_id
        )
        if caller.role is RoleType.DOMAIN:
            mine = sa.or_(mine, below(caller.domain_trail, t.c.domain_id))
        return sa.or_(mine, self.operate(caller, t))


class Invitation(Resource):
    """An invitation of an account, of one user, or of whoever has the token in the mail to an address."""

    kind = "projectinvitation"
    title = "project invitation"
    policy = Invited()
    states = machine("Pending", accept="Pending>Completed", decline="Pending>Declined", expire="Pending>Expired")

    project_id: str = refers("project", cascade=True)
    account_id: str | None = refers("account", default=None, cascade=True, filter=False, shows={"account": "name"})
    user_id: str | None = refers("user", default=None, cascade=True, shows={"userid": "id"})
    domain_id: str = refers("domain", filter=False)
    email: str | None = column(default=None)
    role: str = column(default="Regular", hidden=True)
    project_role_id: str | None = refers("projectrole", default=None, cascade=True, filter=False)
    token_digest: str | None = column(default=None, hidden=True, unique=True)
    state: str = column(default="Pending", filter=True)
    created: str = created()


def _open(tx: Tx) -> Any:
    """Condition for invitations that can still be accepted."""
    return sa.and_(Invitation.c.state == "Pending", Invitation.c.created > clock.ago(TIMEOUT.get(tx)))


@operation
class MailInvitation(Operation):
    """Send an invitation by mail. The token is made here and told to nobody but the mail server."""

    instance = (Project, "project")
    project: str
    invitation: str

    @step
    async def send(self) -> None:
        token = ids.token(32)

        def note(tx: Tx) -> EmailMessage | None:
            found = tx.get(Invitation, self.invitation)
            if found is None or found.state != "Pending":
                return None
            tx.set(found, token_digest=ids.digest(token))
            project = tx.one(Project, found.project_id)
            mail = EmailMessage()
            mail["Subject"] = f"Invitation to the project {project.name}"
            mail["From"], mail["To"] = SENDER.get(tx), found.email
            mail.set_content(
                f"You are invited to the project {project.name}. Sign in and accept it with updateProjectInvitation:\n\n"
                f"project: {project.id}\ntoken: {token}\n\nIt works once, for {TIMEOUT.get(tx) // 60} minutes.\n"
            )
            return mail

        mail = await change(note)
        server = await look(lambda tx: MailServer(SMTP_HOST.get(tx), SMTP_PORT.get(tx), SMTP_TLS.get(tx)))
        if mail is None:
            return
        try:
            await asyncio.to_thread(server.send, [mail])
        except NOT_TAKEN as broken:
            where = f"{server.host}:{server.port}"
            raise Unavailable(f"The mail server {where} did not take the invitation: {broken}") from broken

    @send.undo
    def forget(self, tx: Tx) -> None:
        found = tx.get(Invitation, self.invitation)
        if found is not None and found.state == "Pending":
            tx.remove(found)


def _invite(
    ctx: Ctx,
    project: Project,
    account: Account | None,
    user: User | None,
    email: str | None,
    place: Place | None,
    role: ProjectRole | None,
) -> None:
    """Add a member at once, or invite her."""
    tx = ctx.tx
    if role is not None:
        within(project, role)
        if place == "Admin":
            raise Invalid("An admin of a project is bound by no project role; leave one of them out.", parameter="roletype")
    if email is None and not REQUIRED.get(tx):
        assert account is not None
        join(tx, project, account, user, place or "Regular", role.id if role else None)
        ctx.start(Done.to(project))
        return
    if email is not None:
        if not (SMTP_HOST.get(tx) and SENDER.get(tx)):
            raise Invalid(
                "Invitations by mail need a mail server: set project.smtp.host and project.email.sender first.",
                parameter="email",
            )
        if not _address(email):
            raise Invalid(f"'{email[:80]}' is not a mail address.", parameter="email")
    if account is not None:
        who = user or account
        label = user.username if user else account.name
        if tx.first(Invitation, Invitation.c.project_id == project.id, _is(user, account), _open(tx)) is not None:
            raise Conflict(f"{label} is invited to the project {project.name} already.", projectid=project.id)
        if tx.first(Member, Member.c.project_id == project.id, Member.c.who == who.id) is not None:
            raise Conflict(f"{label} belongs to the project {project.name} already.", projectid=project.id)
    made = tx.add(
        Invitation(
            project_id=project.id,
            account_id=account.id if account else None,
            user_id=user.id if user else None,
            domain_id=project.domain_id,
            email=email,
            role=place or "Regular",
            project_role_id=role.id if role else None,
        )
    )
    if email is None:
        ctx.start(Done.to(project))
    else:
        ctx.start(MailInvitation(project=project.id, invitation=made.id))


def _address(text: str) -> bool:
    name, at, host = text.rpartition("@")
    plain = text.isascii() and text.isprintable() and not set(text) & set(' <>,;"')
    return bool(at and name and "@" not in name and all(ids.is_label(p) for p in host.split("."))) and plain


def _is(user: User | None, account: Account) -> Any:
    c = Invitation.c
    return c.user_id == user.id if user else sa.and_(c.account_id == account.id, c.user_id.is_(None))


@command("addAccountToProject", job=True, event="PROJECT.ACCOUNT.ADD")
def add_account(
    ctx: Ctx,
    projectid: Administered,
    account: str | None = None,
    email: str | None = None,
    roletype: Place | None = None,
    projectroleid: ProjectRole | None = None,
) -> None:
    """Adds an account to a project, or invites it.

    account: name of an account of the project's domain
    email: address that an invitation is sent to, instead of account or with it
    roletype: Admin or Regular, the default
    projectroleid: what it may call in the project; without it: everything
    """
    if account is None and email is None:
        raise Invalid("Say who is added: account or email.", parameter="account")
    found = None
    if account is not None:
        found = ctx.tx.first(
            Account,
            Account.c.name == account,
            Account.c.domain_id == projectid.domain_id,
            Account.c.type != PROJECT_TYPE,
            Account.c.state != "removing",
        )
        if found is None:
            raise NotFound(f"There is no account {account} in the project's domain.", account=account)
    _invite(ctx, projectid, found, None, email, roletype, projectroleid)


@command("addUserToProject", job=True, event="PROJECT.USER.ADD")
def add_user(
    ctx: Ctx,
    projectid: Administered,
    username: str,
    email: str | None = None,
    roletype: Place | None = None,
    projectroleid: ProjectRole | None = None,
) -> None:
    """Adds one user to a project, without the others of her account, or invites her.

    username: name of a user of the project's domain
    email: address that an invitation is sent to
    roletype: Admin or Regular, the default
    projectroleid: what she may call in the project; without it: everything
    """
    user = ctx.tx.first(User, User.c.username == username, User.c.domain_id == projectid.domain_id)
    if user is None:
        raise NotFound(f"There is no user {username} in the project's domain.", username=username)
    _invite(ctx, projectid, ctx.tx.one(Account, user.account_id), user, email, roletype, projectroleid)


@lists("listProjectInvitations", Invitation)
def _list(
    q: Query,
    account: str | None = None,
    domainid: Domain | None = None,
    isrecursive: bool = False,
    listall: bool = False,
    activeonly: bool = False,
    state: str | None = None,
    keyword: str | None = None,
) -> None:
    """Lists invitations: the caller's own, or with projectid those to a project that she administers.

    account: those of an account of this name
    activeonly: those that can still be accepted
    state: Pending, Completed, Expired or Declined
    """
    c, caller = Invitation.c, q.ctx.caller
    late = sa.and_(c.state == "Pending", ~_open(q.tx))
    if activeonly:
        q.where(_open(q.tx))
    if state is not None:
        word = state.capitalize()
        q.where(sa.or_(c.state == word, late) if word == "Expired" else sa.and_(c.state == word, ~late))
    if domainid is not None:
        q.where(below(domainid.trail, c.domain_id) if isrecursive else c.domain_id == domainid.id)
    if account is not None:
        q.where(c.account_id.in_(sa.select(Account.c.id).where(Account.c.name == account)))
    if keyword:
        q.where(sa.func.lower(sa.func.coalesce(c.email, "")).contains(keyword.lower(), autoescape=True))
    narrowed = not q.ctx.given.isdisjoint({"id", "projectid", "domainid", "account", "userid"})
    if not (listall or narrowed or isrecursive):
        q.where(
            sa.or_(sa.and_(c.account_id == caller.account_id, c.user_id.is_(None)), c.user_id == caller.user_id)
        )


@shown(Invitation, Field("state"))
def _late(tx: Tx, rows: list[Any], caller: Any) -> dict[str, dict[str, Any]]:
    since = clock.ago(TIMEOUT.get(tx))
    return {i.id: {"state": "Expired"} for i in rows if i.state == "Pending" and i.created <= since}


@command("updateProjectInvitation", job=True, event="PROJECT.INVITATION.UPDATE")
def answer(
    ctx: Ctx,
    projectid: Annotated[str, Param(kind="uuid")],
    account: str | None = None,
    userid: Annotated[User | None, Param(access="operate")] = None,
    token: Annotated[str | None, Param(secret=True)] = None,
    accept: bool = True,
) -> None:
    """Accepts or declines an invitation to a project.

    account: name of the account that is invited; default: the caller's own
    userid: id of the user who is invited, instead of account
    token: what an invitation by mail is accepted with
    accept: false declines it
    """
    tx, c = ctx.tx, Invitation.c
    user = userid
    if user is not None:
        whose = tx.one(Account, user.account_id)
    elif account is None or account == ctx.caller.account:
        whose = tx.one(Account, ctx.caller.account_id)
        user = None
    else:
        domain = tx.first(Domain, Domain.c.id.in_(sa.select(Project.c.domain_id).where(Project.c.id == projectid)))
        whose = owner_of(tx, ctx.caller, account, domain, None)
    of_project = [c.project_id == projectid, c.state == "Pending"]
    if token is not None:
        found = tx.first(Invitation, *of_project, c.token_digest == ids.digest(token))
    elif user is not None:
        found = tx.first(Invitation, *of_project, c.user_id == user.id)
    else:
        own = sa.and_(c.account_id == whose.id, c.user_id.is_(None))
        if account is None and userid is None:
            own = sa.or_(own, c.user_id == ctx.caller.user_id)
        found = tx.first(Invitation, *of_project, own)
    if found is None or (found.account_id not in (None, whose.id)):
        raise NotFound("There is no such invitation for you to this project, or it was answered already.", projectid=projectid)
    project = tx.one(Project, found.project_id)
    if whose.domain_id != project.domain_id:
        raise Invalid(f"The project {project.name} is in another domain than the account {whose.name}.")
    if found.created <= clock.ago(TIMEOUT.get(tx)):
        raise Conflict(f"The invitation to the project {project.name} has expired; ask for a new one.")
    tx.move(found, "accept" if accept else "decline", token_digest=None)
    if accept:
        if project.state != "Active":
            raise Conflict(f"The project {project.name} is {project.state.lower()}.", projectid=project.id)
        invited = tx.one(User, found.user_id) if found.user_id else user
        join(tx, project, whose, invited, found.role, found.project_role_id)
    ctx.start(Done.to(project))


@command("deleteProjectInvitation", job=True, event="PROJECT.INVITATION.REMOVE")
def delete(ctx: Ctx, id: Invitation) -> None:
    """Takes an invitation back."""
    ctx.tx.remove(id)
    ctx.start(Done(kind=Project.kind, id=id.project_id))


@reconciler(every=60)
async def expire_invitations() -> int:
    """Invitations that nobody accepted in time are over, and so are their tokens."""

    def go(tx: Tx) -> int:
        c = Invitation.c
        late = tx.find(Invitation, c.state == "Pending", c.created <= clock.ago(TIMEOUT.get(tx)), limit=1000)
        for each in late:
            tx.move(each, "expire", token_digest=None)
        return len(late)

    return await change(go)
