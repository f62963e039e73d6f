"""Usage: what was there for whom and how long, as the basis of bills.

While a transaction commits, every thing that it touched is looked at: which meters should run for it now (a machine's
while it runs, a volume's while it exists), and which do, as the log says.  The difference is appended to the log in the
same transaction.  So no slice can forget it, and nothing is counted twice: each entry names the one before it, and two of
the same are one.  Records are a pure fold over the log: computed anew, they are the same.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

import sqlalchemy as sa

from mold.api.answer import Field, shown
from mold.api.command import Ctx, Date, Param, command
from mold.api.lists import Query, lists
from mold.api.permit import ADMINS, ROOT, Owned, below
from mold.base import clock
from mold.base.errors import Invalid
from mold.features.identity.accounts import Account
from mold.features.identity.domains import Domain
from mold.features.identity.tags import tags_of
from mold.store import REGISTRY, Prepared, Resource, Tx, column, refers
from mold.store.settings import setting
from mold.store.store import BEFORE_COMMIT
from mold.work import Operation, operation, step
from mold.work.reconcile import reconciler
from mold.work.run import change, look

RANGE = setting(
    "usage.stats.job.aggregation.range", 1440, "Minutes that one usage record is about.", low=60, high=1440, unit="minutes", category="Usage"
)
TYPES = {
    1: ("RUNNING_VM", "Machines while they run"), 2: ("ALLOCATED_VM", "Machines while they exist"),
    3: ("IP_ADDRESS", "Public addresses"), 6: ("VOLUME", "Volumes"), 7: ("TEMPLATE", "Templates"),
    30: ("NETWORK", "Networks"),
}  # fmt: skip
"""Usage types of the API that this version records: number -> name, description."""
DAYS_AT_ONCE = 31


class UsageEvent(Resource):
    """One entry of the log: from `at` on the meter runs (`opens`) or does not. `after` is the number of the entry before it."""

    kind = "usageevent"
    title = "usage event"
    unique = (("resource_id", "meter", "after"),)
    indexes = (("resource_id", "meter", "number"), ("at",))

    type: str = column()
    meter: int = column()
    opens: bool = column()
    after: int = column(default=0)
    at: str = column()
    account_id: str = column()
    domain_id: str = column()
    project_id: str | None = column(default=None)
    zone_id: str | None = column(default=None)
    resource_id: str = column()
    resource_name: str | None = column(default=None)
    offering_id: str | None = column(default=None)
    template_id: str | None = column(default=None)
    size: int | None = column(default=None)
    cpu_number: int | None = column(default=None)
    cpu_speed: int | None = column(default=None)
    memory: int | None = column(default=None)
    source_nat: bool | None = column(default=None)


@dataclass(frozen=True)
class Meter:
    """When a usage type counts. `runs` says so of a row; `since` are the columns whose change begins a new entry."""

    number: int
    kind: str
    opens: str
    closes: str
    runs: Callable[[dict[str, Any]], bool]
    changes: str = ""
    since: tuple[str, ...] = ()


def _state(*states: str) -> Callable[[dict[str, Any]], bool]:
    return lambda row: row["state"] in states


def _not(*states: str) -> Callable[[dict[str, Any]], bool]:
    return lambda row: row["state"] not in states


METERS = (  # of a machine the running one first: what ends together ends in this order
    Meter(1, "virtualmachine", "VM.START", "VM.STOP", _state("Running", "Stopping", "Migrating", "Unknown"),
          "VM.DYNAMIC.SCALE", ("service_offering_id", "cpu_number", "cpu_speed", "memory")),
    Meter(2, "virtualmachine", "VM.CREATE", "VM.DESTROY", _not("Destroyed", "Expunging"), "VM.UPGRADE",
          ("service_offering_id", "cpu_number", "cpu_speed", "memory")),
    Meter(6, "volume", "VOLUME.CREATE", "VOLUME.DELETE", lambda row: True, "VOLUME.RESIZE", ("size",)),
    Meter(3, "address", "NET.IPASSIGN", "NET.IPRELEASE", lambda row: row["state"] != "Free" and bool(row["account_id"])),
    Meter(7, "template", "TEMPLATE.CREATE", "TEMPLATE.DELETE", _state("Ready")),
    Meter(30, "network", "NETWORK.CREATE", "NETWORK.DELETE", _not("Destroy"), "NETWORK.UPDATE", ("network_offering_id",)),
)  # fmt: skip
OF_KIND: dict[str, list[Meter]] = defaultdict(list)
for _meter in METERS:
    OF_KIND[_meter.kind].append(_meter)
QUIET = {
    "virtualmachine": frozenset({"Starting", "Stopping", "Migrating"}),
    "network": frozenset({"Implementing", "Implemented", "Shutdown", "Allocated"}),
    "volume": frozenset({"Creating", "Ready"}),
}
"""States whose coming changes no meter."""
ENTRY = ("offering_id", "size", "cpu_number", "cpu_speed", "memory")
_c = UsageEvent.c
_LAST = Prepared(
    sa.select(_c.meter, _c.number, _c.opens, *(_c[n] for n in ENTRY)).where(
        _c.number.in_(
            sa.select(sa.func.max(_c.number)).where(_c.resource_id == sa.bindparam("thing")).group_by(_c.meter)
        )
    )
)


def _concerned(kind: str, fields: dict[str, Any]) -> bool:
    """Whether a change of these columns may change a meter."""
    if "state" in fields:
        return fields["state"] not in QUIET.get(kind, ())
    return any(n in fields for m in OF_KIND[kind] for n in m.since)


def follow(tx: Tx) -> None:
    """Append what the transaction's changes mean to the log."""
    seen: dict[tuple[str, str], tuple[str, dict[str, Any]]] = {}
    for op, kind, id, fields in tx.changes:
        if kind not in OF_KIND:
            continue
        first = seen.get((kind, id))
        if op == "set":
            if first is None and _concerned(kind, fields):
                seen[kind, id] = ("set", fields)
        elif op == "remove" and first is not None and first[0] == "add":
            del seen[kind, id]
        else:
            seen[kind, id] = (op, fields)
    for (kind, id), (what, fields) in seen.items():
        row = tx.get(REGISTRY[kind], id) if what == "set" else None
        now = fields if row is None else row.__dict__
        last = {r[0]: r[1:] for r in tx.rows(_LAST, {"thing": id})} if what != "add" else {}
        for meter in OF_KIND[kind]:
            number, running, *entry = last.get(meter.number, (0, False))
            runs = what != "remove" and (what == "add" or row is not None) and meter.runs(now)
            if runs != running:
                _append(tx, meter, meter.opens if runs else meter.closes, runs, number, id, now)
            elif runs and meter.changes and entry != [_entry(meter, now)[n] for n in ENTRY]:
                _append(tx, meter, meter.changes, True, number, id, now)


BEFORE_COMMIT.append(follow)


def _entry(meter: Meter, row: dict[str, Any]) -> dict[str, Any]:
    """What an entry says of the thing; a change of it begins a new one."""
    machine = meter.kind == "virtualmachine"
    return {
        "offering_id": row.get("service_offering_id" if machine else "disk_offering_id") or row.get("network_offering_id"),
        "size": row.get("size") if meter.kind in ("volume", "template") else None,
        **{n: row.get(n) for n in ("cpu_number", "cpu_speed", "memory")},
    }


def _append(tx: Tx, meter: Meter, type: str, opens: bool, after: int, id: str, row: dict[str, Any]) -> None:
    whose = {n: row.get(n) for n in ("account_id", "domain_id", "project_id")}
    if not whose["account_id"] and after:  # an address that is given back is nobody's already
        before = tx.first(UsageEvent, UsageEvent.c.number == after)
        whose = {n: before.__dict__[n] for n in whose} if before is not None else whose
    if not whose["account_id"]:
        return
    tx.add_free(
        UsageEvent(
            type=type,
            meter=meter.number,
            opens=opens,
            after=after,
            at=clock.now(),
            account_id=whose["account_id"] or "",
            domain_id=whose["domain_id"] or "",
            project_id=whose["project_id"],
            zone_id=row.get("zone_id"),
            resource_id=id,
            resource_name=row.get("name") or row.get("ip"),
            template_id=row.get("template_id"),
            **_entry(meter, row),
            source_nat=row.get("source_nat"),
        )
    )


# ── records ──────────────────────────────────────────────────────────────────────────────────────────────────────────


class UsageRecord(Owned):
    """What one meter counted in one period; `raw` hours."""

    kind = "usagerecord"
    title = "usage record"
    unique = (("usage_type", "resource_id", "offering_id", "start", "size"),)
    indexes = (("start", "account_id"),)

    account_id: str = refers("account", shows={"account": "name", "accountid": "id"}, filter=False, loose=True)
    domain_id: str = refers("domain", filter=False, loose=True)
    project_id: str | None = refers("project", default=None, filter=False, loose=True)
    zone_id: str | None = column(default=None, api="zoneid")
    usage_type: int = column(api="usagetype", kind="integer")
    raw: float = column(hidden=True)
    resource_id: str = column(api="usageid")
    name: str | None = column(default=None)
    offering_id: str = column(default="", hidden=True)
    template_id: str | None = column(default=None, api="templateid")
    size: int = column(default=0, hidden=True)
    cpu_number: int | None = column(default=None)
    cpu_speed: int | None = column(default=None)
    memory: int | None = column(default=None)
    source_nat: bool | None = column(default=None, api="issourcenat")
    start: str = column(api="startdate", kind="date")
    end: str = column(api="enddate", kind="date")


def fold(tx: Tx, start: float, end: float, domains: Any = None) -> list[UsageRecord]:
    """The records of the period between two instants (seconds since the epoch), computed from the log."""
    c = UsageEvent.c
    first, last = clock.at(start), clock.at(end)
    before = sa.select(sa.func.max(c.number)).where(c.at < first).group_by(c.resource_id, c.meter)
    where = sa.or_(sa.and_(c.number.in_(before), c.opens), sa.and_(c.at >= first, c.at < last))
    entries: dict[tuple[str, int], list[UsageEvent]] = defaultdict(list)
    for each in tx.find(UsageEvent, where, *([] if domains is None else [domains(c.domain_id)])):
        entries[each.resource_id, each.meter].append(each)
    hours: dict[tuple[str, int, str, int], tuple[float, UsageEvent]] = {}
    for (thing, meter), found in entries.items():
        ends = [max(start, clock.seconds(e.at)) for e in found[1:]] + [end]
        for entry, until in zip(found, ends, strict=True):
            spent = max(0.0, until - max(start, clock.seconds(entry.at))) / 3600
            if entry.opens and spent > 0:
                key = (thing, meter, entry.offering_id or "", entry.size or 0)
                hours[key] = (hours.get(key, (0.0, entry))[0] + spent, entry)
    return [
        UsageRecord(
            account_id=e.account_id,
            domain_id=e.domain_id,
            project_id=e.project_id,
            zone_id=e.zone_id,
            usage_type=meter,
            raw=round(spent, 6),
            resource_id=thing,
            name=e.resource_name,
            offering_id=offering,
            template_id=e.template_id,
            size=size,
            cpu_number=e.cpu_number,
            cpu_speed=e.cpu_speed,
            memory=e.memory,
            source_nat=e.source_nat,
            start=first,
            end=last,
        )
        for (thing, meter, offering, size), (spent, e) in hours.items()
    ]


def periods(start: float, end: float, minutes: int) -> Iterator[tuple[float, float]]:
    """The whole periods between two instants, counted from midnight (UTC)."""
    length = minutes * 60
    at = start // 86400 * 86400
    while at + length <= end:
        if at >= start:
            yield at, at + length
        at += length


def keep(tx: Tx, start: float, end: float, domain: str | None = None) -> int:
    """Write the records of whole periods that are not there yet; how many."""
    trail = tx.one(Domain, domain).trail if domain else None
    count = 0
    for first, last in periods(start, end, RANGE.get(tx)):
        for record in fold(tx, first, last, (lambda col: below(trail, col)) if trail else None):
            count += tx.add_free(record)
    return count


@operation
class GenerateUsage(Operation):
    """Write usage records, a day in each transaction, so that nobody waits long for the database."""

    hidden = True
    start: float
    end: float
    domain: str | None = None

    @step
    async def write(self) -> int:
        """Write them; those that are there already stay as they are."""
        count, at = 0, self.start
        while at < self.end:
            until = min(at + 86400, self.end)
            count += await change(partial(keep, start=at, end=until, domain=self.domain))
            at = until
        return count


@reconciler(every=3600)
async def write_usage() -> int:
    """Write the records of yesterday and of the days before that have none."""

    def due(tx: Tx) -> float:
        newest = tx.execute(sa.select(sa.func.max(UsageRecord.c.end))).scalar()
        oldest = tx.execute(sa.select(sa.func.min(UsageEvent.c.at))).scalar()
        return clock.seconds(newest) if newest else clock.seconds(oldest) // 86400 * 86400 if oldest else time.time()

    at = await look(due)
    today = time.time() // 86400 * 86400
    count = 0
    while at < today:
        until = min(at // 86400 * 86400 + 86400, today)
        count += await change(partial(keep, start=at, end=until))
        at = until
    return count


FIELDS = (
    Field("usage"), Field("rawusage"), Field("description"), Field("virtualmachineid"), Field("offeringid"),
    Field("type"), Field("size", "long"), Field("virtualsize", "long"), Field("networkid"), Field("tags", "set"),
    Field("issystem", "boolean"),
)  # fmt: skip


@shown(UsageRecord, *FIELDS)
def _shown(tx: Tx, rows: list[Any], caller: Any) -> dict[str, dict[str, Any]]:
    out: dict[str, dict[str, Any]] = {}
    for r in rows:
        name, doc = TYPES.get(r.usage_type, (str(r.usage_type), ""))
        out[r.id] = {
            "usage": f"{r.raw:.6f}".rstrip("0").rstrip(".") + " Hrs",
            "rawusage": f"{r.raw:.6f}",
            "description": f"{doc}: {r.name or r.resource_id}",
            "type": name,
            "offeringid": r.offering_id or None,
            "virtualmachineid": r.resource_id if r.usage_type in (1, 2) else None,
            "networkid": r.resource_id if r.usage_type == 30 else None,
            "size": r.size or None,
            "virtualsize": r.size or None,
            "issystem": False if r.usage_type == 3 else None,
        }
    return out


@shown(UsageRecord, detail="tags", asked=True)
def _tags(tx: Tx, rows: list[Any], caller: Any) -> dict[str, dict[str, Any]]:
    kinds = {m.number: m.kind for m in METERS}
    out: dict[str, dict[str, Any]] = {}
    for kind in {kinds[r.usage_type] for r in rows if r.usage_type in kinds}:
        mine = [r for r in rows if kinds.get(r.usage_type) == kind]
        found = tags_of(tx, kind, [r.resource_id for r in mine])
        out.update({r.id: {"tags": found.get(r.resource_id, [])} for r in mine})
    return out


@shown(UsageRecord, detail="oldformat", asked=True)
def _old(tx: Tx, rows: list[Any], caller: Any) -> dict[str, dict[str, Any]]:
    """Descriptions that name things by their ids, as in records of long ago."""
    return {r.id: {"description": f"{TYPES.get(r.usage_type, ('', ''))[1]}: {r.resource_id}"} for r in rows}


@lists("listUsageRecords", UsageRecord, roles=ADMINS, everyones=True, id_param=False)
def _records(
    q: Query,
    startdate: Date,
    enddate: Date,
    accountid: Account | None = None,
    type: Annotated[int | None, Param(kind="long")] = None,
    usageid: str | None = None,
    includetags: bool = False,
    oldformat: bool = False,
) -> None:
    """Lists usage records: what was there for whom, and how long.

    startdate: records of periods that begin then or later
    enddate: records of periods that begin then or earlier
    accountid: id of the account
    type: number of the usage type; listUsageTypes names them
    usageid: id of the thing that was used
    includetags: with the tags that the things have now
    oldformat: descriptions name things by their ids
    """
    c = UsageRecord.c
    if startdate > enddate:
        raise Invalid("startdate must not be after enddate.", parameter="enddate")
    q.where(c.start >= startdate, c.start <= enddate)
    if accountid is not None:
        q.where(c.account_id == accountid.id)
    if type is not None:
        if type not in TYPES:
            names = ", ".join(f"{n} {w}" for n, (w, _) in TYPES.items())
            raise Invalid(f"The usage type {type} is not recorded; there are {names}.", parameter="type")
        q.where(c.usage_type == type)
    if usageid is not None:
        q.where(c.resource_id == usageid)
    more = {name for name, wanted in (("tags", includetags), ("oldformat", oldformat)) if wanted}
    if more:
        q.details = frozenset({"all", *more})


@command("generateUsageRecords", roles=ROOT)
def generate(
    ctx: Ctx,
    startdate: Date | None = None,
    enddate: Date | None = None,
    domainid: Annotated[Domain | None, Param()] = None,
) -> None:
    """Writes usage records of whole periods that are over; those that are there already stay as they are.

    startdate: periods that begin then or later; default: yesterday
    enddate: periods that end then or earlier; default: now
    domainid: of accounts of this domain and those below
    """
    now = time.time()
    start = clock.seconds(startdate) if startdate else now // 86400 * 86400 - 86400
    end = min(clock.seconds(enddate), now) if enddate else now
    if start >= end:
        raise Invalid("startdate must be before enddate, and in the past.", parameter="startdate")
    if end - start > DAYS_AT_ONCE * 86400:
        raise Invalid(f"At most {DAYS_AT_ONCE} days at once.", parameter="startdate")
    ctx.start(GenerateUsage(start=start, end=end, domain=domainid.id if domainid else None))


@command("removeRawUsageRecords", roles=ROOT)
def remove_old(ctx: Ctx, interval: Annotated[int, Param(low=0)]) -> None:
    """Removes usage records that are old.

    interval: days that records are kept
    """
    ctx.tx.execute(sa.delete(UsageRecord.table).where(UsageRecord.c.end < clock.ago(interval * 86400)))


@command(
    "listUsageTypes",
    roles=ROOT,
    shape="list",
    key="usagetype",
    reads=True,
    fields=(Field("id", "integer"), Field("name"), Field("description")),
)
def list_types(ctx: Ctx) -> dict[str, Any]:
    """Lists the types of usage that are recorded."""
    rows = [{"id": n, "name": name, "description": doc} for n, (name, doc) in TYPES.items()]
    return {"count": len(rows), "usagetype": rows}
