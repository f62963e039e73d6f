"""Removing accounts, projects and domains with all that they have, and stopping what disabled ones run.

What owns nothing in the world goes as rows.  For what does, the room it belongs to says which operations remove it
(`leaves`), and those are started and waited for, kind by kind: machines before networks, networks before addresses.
A removal that fails or is killed leaves the account in the state `removing`; it is tried again until it is done.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import sqlalchemy as sa

from mold.api.command import Ctx, Param, command
from mold.api.permit import ADMINS, Owned
from mold.base import clock
from mold.base.errors import Conflict, Denied, InUse, Refusal
from mold.features.identity.accounts import PROJECT_TYPE, Account, builtin, meant
from mold.features.identity.domains import TREE, Domain
from mold.features.identity.limits import usage
from mold.features.identity.projects import Member, Project, admins, leave
from mold.features.identity.sessions import Session
from mold.features.identity.tags import Tag, untag
from mold.features.identity.users import User
from mold.store import REGISTRY, Resource, Tx
from mold.store.settings import setting
from mold.work import Engine, Job, Operation, change, error_of, look, operation, progress, reconciler, step

CLEANUP_INTERVAL = setting(
    "account.cleanup.interval",
    86400,
    "Seconds until the removal of an account, project or domain that failed is tried again.",
    low=1,
    unit="seconds",
)
BATCH = 50
"""How many things of a kind are removed at the same time."""
Wanted = Callable[[Tx, Any, int], Sequence[tuple[str, Operation | None]]]
"""(tx, condition on account ids as a function of a column, most) -> things that are there, each with what removes it.

None as the operation: it goes by itself, with something else that is going."""


@dataclass(frozen=True)
class Leaving:
    """How things of a kind go when their account does."""

    order: int
    kind: str
    wanted: Wanted


LEAVING: dict[str, Leaving] = {}
HALTING: list[Wanted] = []
"""What is stopped when an account is disabled or a project suspended."""


def leaves(kind: type[Resource], order: int) -> Callable[[Wanted], Wanted]:
    """Say how things of a kind are removed with their account; a lower order goes first."""

    def keep(function: Wanted) -> Wanted:
        LEAVING[kind.kind] = Leaving(order, kind.kind, function)
        return function

    return keep


def halts(function: Wanted) -> Wanted:
    """Say what is stopped when an account is disabled."""
    HALTING.append(function)
    return function


def rows_only() -> list[type[Resource]]:
    """Kinds of things that are rows and nothing else: no state, nothing in the world, nobody who says how they go."""
    return [
        kind
        for kind in REGISTRY.values()
        if issubclass(kind, Owned)
        and kind.states is None
        and kind.kind not in LEAVING
        and not kind.columns["account_id"].loose
    ]


async def _done(wanted: Wanted, accounts: list[str], what: str) -> None:
    """Start what is wanted for all things of these accounts, and wait until none is left to want.

    After a kill it begins anew: what was under way is either over by then or excluded by its locks.
    """
    failed: dict[str, Refusal] = {}
    while True:

        def begin(tx: Tx) -> tuple[int, dict[str, str]]:
            engine = Engine.here
            assert engine is not None
            found = wanted(tx, lambda col: tx.any_of(col, accounts), BATCH)
            return len(found), {
                thing: engine.enqueue(tx, op).id for thing, op in found if op is not None and thing not in failed
            }

        count, jobs = await change(begin)
        if not count:
            return
        if not jobs:
            raise next(iter(failed.values()), None) or Conflict(f"The {what} of the account are still in use.")
        progress(0, f"{count} {what}")
        engine = Engine.here
        assert engine is not None
        for thing, job_id in jobs.items():
            job = await engine.finished(job_id, 900)
            if job.status != 1:
                # It may have gone by another job meanwhile; if it is still there in the next round, this is why.
                failed[thing] = (
                    error_of(job) if job.status else Conflict(f"The job {job_id} is still under way.", jobid=job_id)
                )


async def clear(accounts: list[str]) -> None:
    """Remove everything that these accounts have. A world step: it may run again."""
    for each in sorted(LEAVING.values(), key=lambda x: x.order):
        await _done(each.wanted, accounts, each.kind)

    def rows(tx: Tx) -> None:
        for kind in rows_only():
            for row in tx.find(kind, tx.any_of(kind.c.account_id, accounts)):
                untag(tx, kind.kind, row.id)
                tx.remove(row)

    await change(rows)


async def halt(account: str) -> None:
    """Stop what an account runs. A world step."""
    for each in HALTING:
        await _done(each, [account], "machines")


def _erase(tx: Tx, account: Account) -> None:
    """Forget an account that has nothing any more."""
    for member in tx.find(Member, Member.c.account_id == account.id):
        leave(tx, member)
    tx.execute(sa.delete(usage).where(usage.c.owner == account.id))
    tx.remove(account)


def _shut_out(tx: Tx, accounts: list[str]) -> None:
    users = sa.select(User.c.id).where(tx.any_of(User.c.account_id, accounts))
    tx.execute(sa.delete(Session.table).where(Session.c.user_id.in_(users)))


# -- accounts --------------------------------------------------------------------------------------------------------


@operation
class RemoveAccount(Operation):
    """Remove what an account has, then its users and itself."""

    locks = ("account",)
    instance = (Account, "account")
    account: str

    @step
    async def clear(self) -> None:
        if await look(lambda tx: tx.get(Account, self.account)) is not None:
            await clear([self.account])

    @step
    def erase(self, tx: Tx) -> None:
        account = tx.get(Account, self.account)
        if account is not None:
            _erase(tx, account)


def _stays(tx: Tx, caller: Any, account: Account) -> None:
    """Denied or Conflict says why an account cannot be removed or disabled."""
    if account.id == caller.account_id or builtin(tx, account):
        raise Denied(f"The account {account.name} is your own, or the first of the installation; it stays.")
    if account.type == PROJECT_TYPE:
        raise Denied(f"The account {account.name} is a project's own; it goes with its project.")


@command("deleteAccount", roles=ADMINS, job=True, event="ACCOUNT.DELETE")
def delete_account(ctx: Ctx, id: Account) -> None:
    """Deletes an account with its users and all it has: machines are expunged, networks, templates and keys removed."""
    tx = ctx.tx
    _stays(tx, ctx.caller, id)
    mine = sa.select(Member.c.project_id).where(Member.c.account_id == id.id, Member.c.role == "Admin")
    for project in tx.find(Project, Project.c.id.in_(mine)):
        if all(m.account_id == id.id for m in admins(tx, project.id)):
            raise InUse(
                f"The account {id.name} is the only admin of the project {project.name}; "
                "make another member its admin, or delete the project first.",
                projectid=project.id,
            )
    tx.set(id, state="removing")
    _shut_out(tx, [id.id])
    ctx.start(RemoveAccount(account=id.id))


@operation
class DisableAccount(Operation):
    """Stop what a disabled account runs."""

    locks = ("account",)
    answers = (Account, "account")
    account: str

    @step
    async def halt(self) -> None:
        # Enabled again meanwhile: then nothing is stopped any more.
        if await look(lambda tx: tx.one(Account, self.account).state) == "disabled":
            await halt(self.account)


@command("disableAccount", roles=ADMINS, answers=Account, job=True, event="ACCOUNT.DISABLE")
def disable_account(
    ctx: Ctx,
    lock: bool,
    id: Account | None = None,
    account: str | None = None,
    domainid: Annotated[Domain | None, Param(access="see")] = None,
) -> None:
    """Disables an account: nobody signs in, its machines are stopped.

    lock: true: nobody signs in, but its machines go on
    id: the account, instead of account and domainid
    account: its name; needs domainid unless it is in the caller's domain
    """
    found = meant(ctx, id, account, domainid)
    _stays(ctx.tx, ctx.caller, found)
    ctx.tx.set(found, state="locked" if lock else "disabled")
    _shut_out(ctx.tx, [found.id])
    ctx.start(DisableAccount(account=found.id))


# -- projects --------------------------------------------------------------------------------------------------------


@operation
class RemoveProject(Operation):
    """Remove what a project has, then the project."""

    locks = ("project",)
    instance = (Project, "project")
    project: str

    @step
    async def clear(self) -> None:
        project = await look(lambda tx: tx.get(Project, self.project))
        if project is not None:
            await clear([project.project_account_id])

    @step
    def erase(self, tx: Tx) -> None:
        _erase_project(tx, self.project)


def _erase_project(tx: Tx, project_id: str) -> None:
    project = tx.get(Project, project_id)
    if project is None:
        return
    for tag in tx.find(Tag, Tag.c.project_id == project.id):
        tx.remove(tag)
    untag(tx, "project", project.id)
    for member in tx.find(Member, Member.c.project_id == project.id):
        leave(tx, member)
    tx.remove(project)
    _erase(tx, tx.one(Account, project.project_account_id))


def _holdings(tx: Tx, account_id: str) -> str | None:
    """What an account still has, for a sentence; None when it has nothing."""
    kinds = [REGISTRY[k] for k in LEAVING] + rows_only()
    found = [f"{n} {kind.title}" for kind in kinds if (n := tx.count(kind, kind.c.account_id == account_id))]
    return ", ".join(found) or None


@command("deleteProject", job=True, event="PROJECT.DELETE")
def delete_project(ctx: Ctx, id: Project, cleanup: bool = False) -> None:
    """Deletes a project; with cleanup also all that is in it.

    cleanup: true: remove its machines, networks and whatever else it has; false: refuse when it has any
    """
    if not cleanup and (has := _holdings(ctx.tx, id.project_account_id)):
        raise InUse(f"The project {id.name} still has {has}; remove them, or say cleanup=true.", projectid=id.id)
    ctx.tx.move(id, "drop")
    ctx.start(RemoveProject(project=id.id))


@operation
class SuspendProject(Operation):
    """Stop what a suspended project runs."""

    locks = ("project",)
    answers = (Project, "project")
    project: str

    @step
    async def halt(self) -> None:
        project = await look(lambda tx: tx.one(Project, self.project))
        if project.state == "Suspended":
            await halt(project.project_account_id)


@command("suspendProject", answers=Project, job=True, event="PROJECT.SUSPEND")
def suspend_project(ctx: Ctx, id: Project) -> Project:
    """Suspends a project: its machines are stopped, and nothing in it can be changed until it is activated."""
    ctx.tx.move(id, "suspend")
    ctx.start(SuspendProject(project=id.id))
    return id


# -- domains ---------------------------------------------------------------------------------------------------------


def _inside(tx: Tx, domain: Domain) -> tuple[list[Domain], list[Account]]:
    """The domains below, deepest first and the domain itself last, and all accounts in them."""
    domains = tx.find(
        Domain, Domain.c.trail.startswith(domain.trail, autoescape=True), order=(Domain.c.level.desc(), Domain.c.number)
    )
    return domains, tx.find(Account, tx.any_of(Account.c.domain_id, [d.id for d in domains]))


@operation
class RemoveDomain(Operation):
    """Remove all accounts and projects of a domain and those below, with what they have, then the domains."""

    locks = ("domain",)
    instance = (Domain, "domain")
    domain: str

    @step
    async def clear(self) -> None:
        def left(tx: Tx) -> list[str]:
            domain = tx.get(Domain, self.domain)
            return [a.id for a in _inside(tx, domain)[1]] if domain is not None else []

        accounts = await look(left)
        if accounts:
            await clear(accounts)

    @step
    def erase(self, tx: Tx) -> None:
        top = tx.get(Domain, self.domain)
        if top is None:
            return
        domains, accounts = _inside(tx, top)
        for project in tx.find(Project, tx.any_of(Project.c.domain_id, [d.id for d in domains])):
            _erase_project(tx, project.id)
        for account in accounts:
            if account.type != PROJECT_TYPE:
                _erase(tx, account)
        for domain in domains:
            untag(tx, "domain", domain.id)
            tx.execute(sa.delete(usage).where(usage.c.owner == domain.id))
            tx.remove(domain)


@command("deleteDomain", roles=TREE, job=True, event="DOMAIN.DELETE")
def delete_domain(ctx: Ctx, id: Domain, cleanup: bool = False) -> None:
    """Deletes a domain; with cleanup also the domains below it and all accounts and projects in them.

    cleanup: true: remove what is in it; false: refuse when there is anything
    """
    tx = ctx.tx
    if id.parent_id is None or id.id == ctx.caller.domain_id:
        raise Denied("The ROOT domain and your own domain cannot be deleted.")
    domains, accounts = _inside(tx, id)
    lower = ctx.caller.over() if ctx.caller.over is not None else None
    if lower is not None and any(a.role_id not in lower for a in accounts):
        raise Denied(f"The domain {id.path} holds accounts that rank higher than your own.", domainid=id.id)
    if not cleanup and (len(domains) > 1 or accounts):
        what = [d.path for d in domains if d.id != id.id] + [f"account {a.name}" for a in accounts]
        raise InUse(
            f"The domain {id.path} still holds {', '.join(what[:5])}{' …' if len(what) > 5 else ''}; "
            "remove them, or say cleanup=true.",
            domainid=id.id,
        )
    ids = [a.id for a in accounts]
    for domain in domains:
        tx.set(domain, state="Inactive")
    for account in accounts:
        tx.set(account, state="removing")
    for project in tx.find(Project, tx.any_of(Project.c.project_account_id, ids)):
        tx.move(project, "drop")
    _shut_out(tx, ids)
    ctx.start(RemoveDomain(domain=id.id))


@reconciler(every=60)
async def halt_again() -> int:
    """What disabled accounts and suspended projects still run, because it could not be stopped then, is stopped."""

    def go(tx: Tx) -> int:
        engine = Engine.here
        assert engine is not None
        off = sa.select(Account.c.id).where(Account.c.state == "disabled")
        asleep = sa.select(Project.c.project_account_id).where(Project.c.state == "Suspended")
        count = 0
        for wanted in HALTING:
            for thing, op in wanted(tx, lambda col: sa.or_(col.in_(off), col.in_(asleep)), BATCH):
                if op is not None and tx.first(Job, Job.c.phase != "over", Job.c.instance_id == thing) is None:
                    engine.enqueue(tx, op)
                    count += 1
        return count

    return await change(go)


# -- again ------------------------------------------------------------------------------------------------------------


@reconciler(every=30)
async def finish_removals() -> int:
    """Removals of accounts, projects and domains that failed are tried again after account.cleanup.interval."""

    def go(tx: Tx) -> int:
        engine = Engine.here
        assert engine is not None
        c, since = Job.c, clock.ago(CLEANUP_INTERVAL.get(tx))
        count = 0
        domains = tx.find(Domain, Domain.c.state == "Inactive")
        tops = [d for d in domains if not any(d.parent_id == o.id for o in domains)]
        inside = {d.id for d in domains}
        projects = [p for p in tx.find(Project, Project.c.state == "Disabled") if p.domain_id not in inside]
        gone = tx.find(Account, Account.c.state == "removing", Account.c.type != PROJECT_TYPE)
        wanted: list[Operation] = [RemoveDomain(domain=d.id) for d in tops]
        wanted += [RemoveProject(project=p.id) for p in projects]
        wanted += [RemoveAccount(account=a.id) for a in gone if a.domain_id not in inside]
        for op in wanted:
            (lock,) = op.wanted_locks()
            tried = sa.or_(c.phase != "over", c.completed > since)
            if tx.first(Job, c.instance_id == lock.partition(":")[2], c.operation == type(op).__name__, tried) is None:
                engine.enqueue(tx, op)
                count += 1
        return count

    return await change(go)
