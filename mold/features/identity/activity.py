"""Jobs and events as callers see them: how far their work is, and what happened."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Annotated, Any

import sqlalchemy as sa

from mold.api.answer import Field, shown
from mold.api.command import COMMANDS, Ctx, Date, Param, command
from mold.api.events import ALSO, Event
from mold.api.lists import Query, lists
from mold.api.outcome import outcomes
from mold.api.permit import Policy, below, condition
from mold.base import clock
from mold.base.errors import Denied, Invalid
from mold.store import REGISTRY, Resource, Tx
from mold.store.settings import setting
from mold.work import OPERATIONS, Engine, Job
from mold.work.job import managers
from mold.work.reconcile import reconciler
from mold.work.run import change

JAVA = "org.apache.cloudstack.api.command"
TYPES = {
    "virtualmachine": "VirtualMachine",
    "network": "Network",
    "template": "Template",
    "volume": "Volume",
    "host": "Host",
    "storagepool": "StoragePool",
    "router": "DomainRouter",
    "physicalnetwork": "PhysicalNetwork",
    "traffictype": "TrafficType",
    "imagestore": "ImageStore",
    "project": "Project",
    "account": "Account",
    "domain": "Domain",
    "user": "User",
    "certificate": "Certificate",
    "networkserviceprovider": "PhysicalNetworkServiceProvider",
}
"""Kind -> the API's `jobinstancetype`."""
JOB_FIELDS = tuple(
    Field(n, t)
    for n, t in (
        ("jobid", "string"),
        ("accountid", "string"),
        ("account", "string"),
        ("domainid", "string"),
        ("domainpath", "string"),
        ("userid", "string"),
        ("cmd", "string"),
        ("command", "string"),
        ("jobstatus", "integer"),
        ("jobprocstatus", "integer"),
        ("jobresultcode", "integer"),
        ("jobresulttype", "string"),
        ("jobresult", "responseobject"),
        ("jobinstancetype", "string"),
        ("jobinstanceid", "string"),
        ("created", "date"),
        ("completed", "date"),
        ("jobprogress", "integer"),
        ("jobsteps", "list"),
        ("managementserverid", "string"),
        ("managementservername", "string"),
    )
)


@cache
def classes() -> dict[str, str]:
    """Command -> the name under which `cmd` of a job tells it, which is that of a class in Java, as clients know it."""
    lines = (Path(__file__).parent / "classes.tsv").read_text().splitlines()
    return {name: JAVA + known if known[0] == "." else known for name, known in (line.split("\t") for line in lines)}


class Whose(Policy):
    """Jobs: one's own account's, and those of the domains an admin has."""

    def see(self, caller: Any, t: Any) -> Any:
        if caller.rank >= 2:
            return sa.true()
        if caller.rank == 1:
            return sa.or_(below(caller.domain_trail, t.c.domain_id), t.c.account_id == caller.account_id)
        return t.c.account_id.in_((caller.account_id, *caller.projects))

    def surely(self, caller: Any, row: Any, access: Any) -> bool:
        return bool(caller.rank >= 2 or row.account_id == caller.account_id)


Job.policy = Whose()


@shown(Job, *JOB_FIELDS)
def _shown(tx: Tx, rows: list[Any], caller: Any) -> dict[str, dict[str, Any]]:
    account, domain = REGISTRY["account"], REGISTRY["domain"]
    accounts = tx.among(account, list({j.account_id for j in rows if j.account_id}))
    domains = tx.among(domain, list({j.domain_id for j in rows if j.domain_id}))
    results = outcomes(tx, rows, caller, listed=True)
    whose = _whose(tx, rows, caller)
    return {j.id: job_fields(j, caller, accounts, domains, results.get(j.id), whose) for j in rows}


def _whose(tx: Tx, jobs: list[Any], caller: Any) -> dict[str, str]:
    """The names of the managers who have these jobs, for root admins; one's own asks the database nothing."""
    if not caller.root:
        return {}
    here = Engine.here
    own = {here.session: here.manager} if here is not None else {}
    return {**managers(tx, {j.owner for j in jobs if j.owner not in own}), **own}


def job_fields(
    job: Job,
    caller: Any,
    accounts: dict[str, Any],
    domains: dict[str, Any],
    outcome: dict[str, Any] | None,
    whose: dict[str, str],
) -> dict[str, Any]:
    """The API's fields of a job, and `command`, its command's name; `whose` are the managers by session."""
    name = job.cmd if job.cmd in COMMANDS else job.operation
    live = Engine.here.runs.get(job.number) if Engine.here else None
    percent = 100 if job.status == 1 else max(job.percent, live.job.percent if live else 0)
    out: dict[str, Any] = {
        "jobid": job.id,
        "userid": job.user_id,
        "accountid": job.account_id,
        "cmd": classes().get(name, name),
        "command": name,
        "jobstatus": job.status,
        "jobprocstatus": 0,
        "jobresultcode": 0,
        "jobinstancetype": TYPES.get(job.instance_type or "", job.instance_type),
        "jobprogress": percent,
        "jobsteps": steps(job, live.text if live else ""),
    }
    if job.account_id in accounts:
        out["account"] = accounts[job.account_id].__dict__["name"]
    if job.domain_id in domains:
        out.update(domainid=job.domain_id, domainpath=domains[job.domain_id].__dict__["path"])
    if caller.root:
        out.update(managementserverid=job.owner, managementservername=whose.get(job.owner or ""))
    if job.status == 2:
        out["jobresulttype"] = "object"
        out.update(_failure(job, caller))
    elif job.status == 1:
        out["jobresulttype"] = "object"
        out["jobresult"] = outcome
    return out


def _failure(job: Job, caller: Any) -> dict[str, Any]:
    from mold.work import error_of

    no = error_of(job)
    text = no.text
    facts = {k: v for k, v in no.facts.items() if k != "public"}
    if no.hidden and not (caller.root or caller.internal):
        text, facts = str(no.facts.get("public") or no.public), {}
    result: dict[str, Any] = {"errorcode": no.code, "errortext": text, "errorkey": no.key}
    if facts:
        result["errorparams"] = facts
    return {"jobresultcode": no.code, "jobresult": result}


def steps(job: Job, text: str) -> list[dict[str, Any]]:
    """The job's steps with their states: done, running, waiting, undone."""
    kind = OPERATIONS.get(job.operation)
    out = []
    for each in kind.steps if kind else ():
        entry = job.journal.get(each.name)
        state = {"done": "done", "begun": "running", "undone": "undone"}[entry["s"]] if entry else "waiting"
        item = {"name": each.name, "state": state}
        if state == "running" and text:
            item["text"] = text
        out.append(item)
    return out


@command("queryAsyncJobResult", shape="flat", reads=True, fields=JOB_FIELDS)
def query(
    ctx: Ctx, jobid: Job | None = None, resourceid: str | None = None, resourcetype: str | None = None
) -> dict[str, Any]:
    """Says how far a job is, and what came of it.

    jobid: id of the job
    resourceid: instead of jobid: id of the thing that is worked on; its newest job
    resourcetype: type of that thing, as VirtualMachine
    """
    tx = ctx.tx
    job = jobid
    if job is None:
        if not resourceid:
            raise Invalid(
                "Unable to execute API command queryasyncjobresult due to missing parameter jobid", parameter="jobid"
            )
        job = tx.first(
            Job,
            Job.c.instance_id == resourceid,
            ~Job.c.internal,
            condition(Job, ctx.caller, "see"),
            order=Job.c.number.desc(),
        )
        if job is None:
            raise Denied(f"There is no job of {resourcetype or 'thing'} {resourceid[:80]} that you may see.")
    account, domain = REGISTRY["account"], REGISTRY["domain"]
    accounts = tx.among(account, [job.account_id] if job.account_id else [])
    domains = tx.among(domain, [job.domain_id] if job.domain_id else [])
    body = {
        **job_fields(
            job,
            ctx.caller,
            accounts,
            domains,
            outcomes(tx, [job], ctx.caller).get(job.id),
            _whose(tx, [job], ctx.caller),
        ),
        "jobinstanceid": job.instance_id,
        "created": job.created,
        "completed": job.completed if job.status else None,
    }
    return {k: v for k, v in body.items() if v is not None}


@lists("listAsyncJobs", Job, key="asyncjobs", id_param=False)
def _jobs(
    q: Query,
    account: str | None = None,
    domainid: Annotated[Resource | None, Param(of="domain")] = None,
    isrecursive: bool = False,
    listall: bool = False,
    startdate: Date | None = None,
    resourceid: str | None = None,
    resourcetype: str | None = None,
    managementserverid: Annotated[str | None, Param(kind="uuid")] = None,
) -> None:
    """Lists jobs.

    startdate: those begun since then
    resourceid: those that work on this thing
    resourcetype: those that work on things of this type, as VirtualMachine
    managementserverid: those that this manager works on
    """
    c = Job.c
    q.where(~c.internal)
    if not listall and account is None and domainid is None:
        q.where(c.account_id == q.ctx.caller.account_id)
    if account is not None:
        kind = REGISTRY["account"]
        q.where(c.account_id.in_(sa.select(kind.c.id).where(kind.c.name == account)))
    if domainid is not None:
        q.where(below(domainid.__dict__["trail"], c.domain_id) if isrecursive else c.domain_id == domainid.id)
    if resourceid is not None:
        q.where(c.instance_id == resourceid)
    if resourcetype is not None:
        kinds = [k for k, v in TYPES.items() if v.lower() == resourcetype.lower()]
        q.where(c.instance_type.in_([resourcetype, *kinds]))
    if startdate is not None:
        q.where(c.created >= startdate)
    if managementserverid is not None:
        q.where(c.owner == managementserverid)
    q.order = [c.number.desc()]


@lists("listEvents", Event)
def _events(
    q: Query,
    startdate: Date | None = None,
    enddate: Date | None = None,
    duration: int | None = None,
    entrytime: int | None = None,
    startid: Event | None = None,
    resourceid: str | None = None,
    resourcetype: str | None = None,
    archived: bool = False,
) -> None:
    """Lists events.

    startdate: those since then
    enddate: those before then
    duration: those of asynchronous work that has been under way for so many seconds
    entrytime: with duration: and was begun no longer ago than so many seconds; alone: as duration
    startid: those that follow from this event
    archived: archived ones too
    """
    c = Event.c
    if startdate is not None:
        q.where(c.created >= startdate)
    if enddate is not None:
        q.where(c.created <= enddate)
    if startid is not None:
        q.where(sa.or_(c.id == startid.id, c.parent == startid.id))
    if resourceid is not None:
        q.where(c.resource_id == resourceid)
    if resourcetype is not None:
        kinds = [k for k, v in TYPES.items() if v.lower() == resourcetype.lower()]
        q.where(c.resource_kind.in_([resourcetype, *kinds]))
    if duration is not None or entrytime is not None:
        over = sa.select(c.parent).where(c.parent.is_not(None), c.state == "Completed")
        q.where(c.state == "Scheduled", c.id.not_in(over), c.created <= clock.ago(duration or entrytime or 0))
        if duration is not None and entrytime is not None:
            if entrytime <= duration:
                raise Invalid("entrytime must be longer ago than duration.", parameter="entrytime")
            q.where(c.created >= clock.ago(entrytime))
    if not archived:
        q.where(~c.archived)
    q.order = [c.number.desc()]


PURGE_DAYS = setting("event.purge.delay", 15, "Days after which events are removed; 0: never.", low=0, unit="days")
PURGE_EVERY = setting("event.purge.interval", 86400, "How often old events are removed.", low=1, unit="seconds")
AT_ONCE = 1000
"""Rows per transaction, so that nobody waits long for the database's one writer."""


@reconciler(every=PURGE_EVERY)
async def purge_events() -> int:
    """Remove events that are old enough, archived or not."""

    def go(tx: Tx) -> int:
        days = PURGE_DAYS.get(tx)
        if not days:
            return 0
        old = sa.select(Event.c.number).where(Event.c.created < clock.ago(days * 86400)).limit(AT_ONCE)
        return int(tx.execute(sa.delete(Event.table).where(Event.c.number.in_(old))).rowcount)

    count = 0
    while done := await change(go):
        count += done
    return count


@command("listEventTypes", shape="list", key="eventtype", reads=True, fields=(Field("name"),))
def event_types(ctx: Ctx) -> dict[str, Any]:
    """Lists the types of events."""
    names = sorted({c.event for c in COMMANDS.values() if c.event} | ALSO)
    return {"count": len(names), "eventtype": [{"name": n} for n in names]}


def _chosen(ctx: Ctx, events: list[Event] | None, kind: str | None, start: str | None, end: str | None) -> list[Any]:
    """Conditions for the events that are to be put away; Invalid when nothing narrows them."""
    c = Event.c
    if not (events or kind or start or end):
        raise Invalid("Say which events: ids, type, or startdate and enddate.", parameter="ids")
    if start and end and start > end:
        raise Invalid("startdate must not be after enddate.", parameter="enddate")
    where = [condition(Event, ctx.caller, "operate")]
    if events:
        where.append(ctx.tx.any_of(c.id, [e.id for e in events]))
    if kind:
        where.append(c.type == kind)
    if start:
        where.append(c.created >= start)
    if end:
        where.append(c.created <= end)
    return where


@command("archiveEvents")
def archive(
    ctx: Ctx,
    ids: list[Event] | None = None,
    type: str | None = None,
    startdate: Date | None = None,
    enddate: Date | None = None,
) -> None:
    """Archives events: lists leave them out.

    type: those of this type
    startdate: those since then
    enddate: those before then
    """
    ctx.tx.execute(sa.update(Event.table).where(*_chosen(ctx, ids, type, startdate, enddate)).values(archived=True))


@command("deleteEvents")
def delete(
    ctx: Ctx,
    ids: list[Event] | None = None,
    type: str | None = None,
    startdate: Date | None = None,
    enddate: Date | None = None,
) -> None:
    """Deletes events for good.

    type: those of this type
    startdate: those since then
    enddate: those before then
    """
    ctx.tx.execute(sa.delete(Event.table).where(*_chosen(ctx, ids, type, startdate, enddate)))
