"""Deliveries: what webhooks are told, once for each event that fits.

With each event, in its transaction, a delivery is written for every webhook that it fits; so none is lost, and none is
sent for what did not happen.  A reconciler claims what is due and sends it, again after a pause when it fails.
"""

from __future__ import annotations

import json
import time
from typing import Annotated, Any, NamedTuple

import sqlalchemy as sa
import structlog

from mold.api import events
from mold.api.answer import Field, shown
from mold.api.command import Ctx, Date, Param, command
from mold.api.events import Event
from mold.api.lists import Query, lists
from mold.api.permit import ADMINS, ROOT, Owned, Private, RoleType, condition
from mold.base import clock
from mold.base.errors import Invalid
from mold.features.care.webhooks.hooks import Webhook, WebhookFilter
from mold.features.care.webhooks.sending import ANSWER_MAX, Parcel, Sent, checked, networks_allowed, send
from mold.features.identity.accounts import Account
from mold.features.identity.domains import Domain
from mold.features.infra.settings import setting
from mold.store import Tx, column, refers
from mold.work import Engine, Operation, operation, step
from mold.work.job import managers
from mold.work.reconcile import reconciler
from mold.work.run import change, look

log = structlog.get_logger()
TIMEOUT = setting(
    "webhook.delivery.timeout", 10, "How long the receiver of a webhook may take.", scopes=("domain",), low=1, high=60,
    unit="seconds",
)  # fmt: skip
TRIES = setting(
    "webhook.delivery.tries", 3, "How often a webhook's delivery is tried.", scopes=("domain",), low=1, high=10
)
KEPT = setting("webhook.deliveries.limit", 10, "How many finished deliveries are kept of a webhook.", low=0)
CLEAN_EVERY = setting(
    "webhook.deliveries.cleanup.interval", 3600, "How often old deliveries are removed.", low=1, unit="seconds"
)
AT_ONCE = setting(
    "webhook.delivery.thread.pool.size", 5, "How many webhooks are told something at the same time.", low=1, high=100,
    unit="webhooks", restart=True,
)  # fmt: skip
WAITING_MOST = 1000
"""Deliveries of one webhook that may wait; what comes on top is dropped, and said in the log."""
PAUSE_SECONDS = 5.0
PAYLOAD_MAX = 64 * 1024
_busy: set[str] = set()


class WebhookDelivery(Owned):
    """One delivery: due, being tried, or over. `url`, `secret` and `verify` are its own when it is a test of others than the webhook's."""

    kind = "webhookdelivery"
    title = "delivery"
    indexes = (("webhook_id", "number"), ("after", "webhook_id"))
    policy = Private()

    webhook_id: str | None = refers(
        "webhook", shows={"webhookid": "id", "webhookname": "name"}, cascade=True, default=None, filter=False
    )
    event_id: str | None = column(default=None, api="eventid")
    event_type: str = column(
        default="TEST.WEBHOOK", api="eventtype", filter=True, keyword=True, doc="type of the event"
    )
    payload: str = column()
    headers: str = column(default="")
    success: bool = column(default=False)
    response: str = column(default="", keyword=True)
    manager: str | None = column(default=None, api="managementserverid", admin=True)
    url: str | None = column(default=None, hidden=True)
    secret: str | None = column(default=None, secret=True)
    verify: bool = column(default=True, hidden=True)
    tries: int = column(default=0, hidden=True)
    after: float | None = column(default=None, hidden=True)
    """When it is to be tried next, seconds since the epoch; None: it is over, or no reconciler's business."""
    created: str = column(api="startdate", kind="date", default_factory=clock.now)
    ended: str | None = column(default=None, api="enddate", kind="date")


@shown(WebhookDelivery, Field("managementservername", admin=True))
def _manager(tx: Tx, rows: list[Any], caller: Any) -> dict[str, dict[str, Any]]:
    if not (caller.root or caller.internal):
        return {}
    names = managers(tx, {r.manager for r in rows})
    return {r.id: {"managementservername": names.get(r.manager)} for r in rows if r.manager in names}


class Listening(NamedTuple):
    """A webhook as far as an event needs to know it."""

    id: str
    scope: str
    account_id: str
    domain_id: str
    project_id: str | None
    trail: str
    filters: tuple[WebhookFilter, ...]


def _listening(tx: Tx) -> list[Listening]:
    """The webhooks that are to be told something. Who is no admin any more, or disabled, hears no more than she may."""
    rows = tx.execute(
        sa.select(Webhook.table, Account.c.role_type, Domain.c.trail)
        .join(Account.table, Account.c.id == Webhook.c.account_id)
        .join(Domain.table, Domain.c.id == Webhook.c.domain_id)
        .where(Webhook.c.state == "Enabled", Account.c.state == "enabled")
    ).all()
    filters: dict[str, list[WebhookFilter]] = {}
    for each in tx.find(WebhookFilter) if rows else ():
        filters.setdefault(each.webhook_id, []).append(each)
    out = []
    for row in rows:
        role = RoleType(row.role_type)
        if (row.scope == "Global" and role not in ROOT) or (row.scope == "Domain" and role not in ADMINS):
            continue
        out.append(
            Listening(
                row.id, row.scope, row.account_id, row.domain_id, row.project_id, row.trail, tuple(filters.get(row.id, ()))
            )
        )
    return out


def _concerns(tx: Tx, hook: Listening, event: Event) -> bool:
    if hook.scope == "Local" and event.account_id != hook.account_id:
        return False
    if hook.scope == "Domain":
        domain = tx.get(Domain, event.domain_id)
        if domain is None or not domain.trail.startswith(hook.trail):
            return False
    wanted = [f for f in hook.filters if f.mode == "Include"]
    return (not wanted or any(f.fits(event.type) for f in wanted)) and not any(
        f.fits(event.type) for f in hook.filters if f.mode == "Exclude"
    )


def tell(tx: Tx, event: Event) -> None:
    """Write the deliveries of an event. What is done to webhooks themselves is told to none."""
    if event.type.startswith("WEBHOOK."):
        return
    hooks = tx.remembered("webhooks", (Webhook, WebhookFilter, Account, Domain), lambda: _listening(tx))
    for hook in hooks:
        if not _concerns(tx, hook, event):
            continue
        if tx.count(WebhookDelivery, WebhookDelivery.c.webhook_id == hook.id, WebhookDelivery.c.after.is_not(None)) >= WAITING_MOST:
            log.warning("a webhook's receiver is too slow; an event is not delivered", webhook=hook.id, type=event.type)
            continue
        tx.add(
            WebhookDelivery(
                webhook_id=hook.id,
                event_id=event.id,
                event_type=event.type,
                payload=_payload(event),
                after=time.time(),
                account_id=hook.account_id,
                domain_id=hook.domain_id,
                project_id=hook.project_id,
            )
        )


events.HEARERS.append(tell)


def _payload(event: Event) -> str:
    body = {
        "event": event.type,
        "eventuuid": event.id,
        "eventDateTime": event.created,
        "status": event.state,
        "level": event.level,
        "description": event.description,
        "account": event.account_id,
        "domain": event.domain_id,
        "project": event.project_id,
        "username": event.username,
        "parentid": event.parent,
        "entity": event.resource_kind,
        "entityuuid": event.resource_id,
        "entityname": event.resource_name,
    }
    return json.dumps({k: v for k, v in body.items() if v is not None}, ensure_ascii=False)


def _parcel(tx: Tx, each: WebhookDelivery) -> Parcel:
    hook = tx.get(Webhook, each.webhook_id)
    url = each.url or (hook.payload_url if hook is not None else "")
    return Parcel(
        delivery=each.id,
        event_id=each.event_id or each.id,
        event_type=each.event_type,
        payload=each.payload,
        url=url,
        secret=each.secret or (hook.secret if hook is not None and each.url is None else None),
        verify=each.verify if each.url or hook is None else hook.verify,
        tries=each.tries,
        most=TRIES.get(tx, domain=each.domain_id),
        seconds=float(TIMEOUT.get(tx, domain=each.domain_id)),
        allow=networks_allowed(tx),
        sender=(each.webhook_id or each.id)[:8],
    )


def _ended(tx: Tx, id: str, sent: Sent, **more: Any) -> None:
    row = tx.get(WebhookDelivery, id)
    if row is not None:
        manager = Engine.here.session if Engine.here else None
        about = {"success": sent.success, "response": sent.response[:ANSWER_MAX], "headers": sent.headers}
        tx.set(row, ended=clock.now(), manager=manager, **about, **more)


@reconciler(every=0.5)
async def deliver_webhooks() -> int:
    """Begin to send what is due, a few webhooks at a time, each with its deliveries in order."""

    def due(tx: Tx) -> tuple[list[str], int]:
        c = WebhookDelivery.c
        found = tx.execute(sa.select(c.webhook_id).where(c.after <= time.time(), c.webhook_id.is_not(None)).distinct())
        hooks = list(found.scalars())
        return hooks, AT_ONCE.get(tx) if hooks else 0

    hooks, most = await look(due)
    engine = Engine.here
    begun = 0
    for hook in hooks:
        if engine is None or len(_busy) >= most:
            break
        if hook not in _busy:
            _busy.add(hook)
            engine.spawn(_work(hook))
            begun += 1
    return begun


async def _work(hook: str) -> None:
    """Send what is due of one webhook, until there is nothing more or it takes nothing now."""
    try:
        while (parcel := await change(lambda tx: _claimed(tx, hook))) is not None:
            sent = await send(parcel)
            tries = parcel.tries + 1
            again = not sent.success and tries < parcel.most

            def note(tx: Tx, parcel: Parcel = parcel, sent: Sent = sent, tries: int = tries, again: bool = again) -> None:
                after = time.time() + PAUSE_SECONDS * 4 ** (tries - 1) if again else None
                _ended(tx, parcel.delivery, sent, tries=tries, after=after)

            await change(note)
            if not sent.success:
                return
    finally:
        _busy.discard(hook)


def _claimed(tx: Tx, hook: str) -> Parcel | None:
    """The next delivery of a webhook that is due; nobody else sends it while this may take."""
    c = WebhookDelivery.c
    row = tx.first(WebhookDelivery, c.webhook_id == hook, c.after <= time.time())
    if row is None:
        return None
    parcel = _parcel(tx, row)
    mine = sa.update(WebhookDelivery.table).where(c.id == row.id, c.after == row.after)
    done = tx.execute(mine.values(after=time.time() + parcel.seconds + 10)).rowcount
    return parcel if done else None


@reconciler(every=CLEAN_EVERY)
async def clean_deliveries() -> int:
    """Keep the last few finished deliveries of each webhook, and of those of none what is younger than a day."""

    def go(tx: Tx) -> int:
        c, keep = WebhookDelivery.c, KEPT.get(tx)
        count = 0
        for hook in tx.execute(sa.select(c.webhook_id).where(c.webhook_id.is_not(None)).distinct()).scalars().all():
            over = (c.webhook_id == hook, c.after.is_(None))
            last = sa.select(c.number).where(*over).order_by(c.number.desc()).limit(keep)
            count += tx.execute(sa.delete(WebhookDelivery.table).where(*over, c.number.not_in(last))).rowcount
        lone = (c.webhook_id.is_(None), c.created < clock.ago(86400))
        return count + int(tx.execute(sa.delete(WebhookDelivery.table).where(*lone)).rowcount)

    return await change(go)


@lists("listWebhookDeliveries", WebhookDelivery, everyones=True)
def _deliveries(
    q: Query,
    webhookid: Webhook | None = None,
    managementserverid: Annotated[str | None, Param(kind="uuid", roles=ROOT)] = None,
    startdate: Date | None = None,
    enddate: Date | None = None,
) -> None:
    """Lists deliveries of webhooks, the newest first.

    webhookid: those of this webhook
    managementserverid: those that this manager sent
    startdate: those since then
    enddate: those before then
    """
    q.where(*_narrowed(webhookid, managementserverid, startdate, enddate))
    q.order = [WebhookDelivery.c.number.desc()]


def _narrowed(hook: Webhook | None, manager: str | None, start: str | None, end: str | None) -> list[Any]:
    c = WebhookDelivery.c
    found: list[Any] = [c.webhook_id == hook.id] if hook is not None else []
    if manager is not None:
        found.append(c.manager == manager)
    if start is not None:
        found.append(c.created >= start)
    if end is not None:
        found.append(c.created <= end)
    return found


@command("deleteWebhookDelivery")
def forget(
    ctx: Ctx,
    id: WebhookDelivery | None = None,
    webhookid: Annotated[Webhook | None, Param(access="operate")] = None,
    managementserverid: Annotated[str | None, Param(kind="uuid", roles=ROOT)] = None,
    startdate: Date | None = None,
    enddate: Date | None = None,
) -> None:
    """Deletes deliveries: one, or those that fit.

    webhookid: those of this webhook
    managementserverid: those that this manager sent
    startdate: those since then
    enddate: those before then
    """
    if id is not None:
        ctx.tx.remove(id)
        return
    where = _narrowed(webhookid, managementserverid, startdate, enddate)
    if not where:
        raise Invalid("Say which deliveries: id, webhookid, or startdate and enddate.", parameter="id")
    mine = condition(WebhookDelivery, ctx.caller, "operate")
    ctx.tx.execute(sa.delete(WebhookDelivery.table).where(*where, mine))


@operation
class DeliverWebhook(Operation):
    """Send one delivery now, once."""

    answers = (WebhookDelivery, "delivery")
    delivery: str

    @step
    async def post(self) -> Sent:
        """Send it."""
        parcel = await look(lambda tx: _parcel(tx, tx.one(WebhookDelivery, self.delivery)))
        return await send(parcel)

    @post.undo
    def unsent(self, tx: Tx, error: str) -> None:
        """Whoever looks at the delivery shall see that nobody knows whether it arrived."""
        _ended(tx, self.delivery, Sent(False, f"It was broken off: {error}", ""), tries=1)

    @step
    def note(self, tx: Tx, post: Sent) -> None:
        """Keep what came of it."""
        _ended(tx, self.delivery, post, tries=1)


@command("executeWebhookDelivery", answers=WebhookDelivery, waits=True, wait_seconds=90)
def execute(
    ctx: Ctx,
    id: WebhookDelivery | None = None,
    webhookid: Annotated[Webhook | None, Param(access="operate")] = None,
    payload: Annotated[str | None, Param(length=PAYLOAD_MAX)] = None,
    payloadurl: str | None = None,
    secretkey: Annotated[str | None, Param(secret=True)] = None,
    sslverification: bool | None = None,
) -> None:
    """Sends a delivery now: one that was sent before once more, or a test, and answers what came of it.

    id: the delivery that is to be sent once more
    webhookid: the webhook that is to be tested
    payload: what to send instead
    payloadurl: where to send it instead; without id and webhookid, where to send a test
    secretkey: what to sign it with instead
    sslverification: whether the certificate of an https receiver is checked
    """
    tx, caller = ctx.tx, ctx.caller
    hook = webhookid if webhookid is not None else tx.get(Webhook, id.webhook_id) if id is not None else None
    if hook is None and not payloadurl:
        raise Invalid("Say what is to be sent: id, webhookid or payloadurl.", parameter="webhookid")
    whose: dict[str, Any] = {"account_id": caller.account_id, "domain_id": caller.domain_id, "project_id": None}
    if hook is not None:
        whose = {"account_id": hook.account_id, "domain_id": hook.domain_id, "project_id": hook.project_id}
    url = checked(tx, payloadurl) if payloadurl else None
    if url is None and (secretkey is not None or sslverification is not None) and hook is not None:
        url = hook.payload_url
    made = tx.add(
        WebhookDelivery(
            webhook_id=hook.id if hook is not None else None,
            event_id=id.event_id if id is not None else None,
            event_type=id.event_type if id is not None else "TEST.WEBHOOK",
            payload=payload or (id.payload if id is not None else json.dumps({"event": "TEST.WEBHOOK"})),
            url=url,
            secret=secretkey or (hook.secret if hook is not None and payloadurl is None else None),
            verify=sslverification if sslverification is not None else hook.verify if hook is not None else True,
            **whose,
        )
    )
    ctx.start(DeliverWebhook(delivery=made.id))
