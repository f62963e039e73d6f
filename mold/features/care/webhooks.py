"""Webhooks: events told to addresses that accounts name.

With each event, in its transaction, a delivery is written for every webhook that it fits; so none is lost, and none is
sent for what did not happen.  A reconciler claims what is due and sends it, again after a pause when it fails.  Where a
delivery may go is `mold.base.egress`: the name is resolved here, every address checked, and the connection made to the
address that was checked, again at each redirect.

The body is signed as receivers of the API's webhooks expect: `X-CS-Signature` is the HMAC-SHA256 of the body under the
webhook's secret, hexadecimal.  Secrets are sealed at rest and in no answer.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import ipaddress
import json
import ssl
import time
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NamedTuple

import httpx
import sqlalchemy as sa
import structlog

from mold.api import events
from mold.api.answer import Field, shown
from mold.api.command import Ctx, Date, Owner, Param, command
from mold.api.events import Event
from mold.api.lists import Query, lists
from mold.api.permit import ADMINS, ROOT, Caller, Owned, Policy, Private, RoleType, condition
from mold.base import clock, egress, net
from mold.base.errors import Denied, Failed, Invalid, Refusal
from mold.features.identity.accounts import Account
from mold.features.identity.domains import Domain
from mold.features.infra.settings import setting
from mold.store import Resource, Tx, column, created, refers
from mold.work import Engine, Operation, operation, step
from mold.work.reconcile import reconciler
from mold.work.run import change, look

log = structlog.get_logger()
def _wrong(text: str) -> str | None:
    try:
        egress.networks([w for w in text.split(",") if w.strip()])
    except Invalid as no:
        return no.text
    return None


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
    restart=True,
)  # fmt: skip
ALLOWED = setting(
    "webhook.allowed.internal.sites",
    "",
    "CIDRs, comma separated, that webhooks may go to although they are private.",
    check=_wrong,
)
WAITING_MOST = 1000
"""Deliveries of one webhook that may wait; what comes on top is dropped, and said in the log."""
PAUSE_SECONDS = 5.0
REDIRECTS_MAX = 3
PAYLOAD_MAX = 64 * 1024
ANSWER_MAX = 4096
URL_MAX = 2048
_REDIRECTS = (301, 302, 307, 308)
Scope = Literal["Local", "Domain", "Global"]
State = Literal["Enabled", "Disabled"]
_busy: set[str] = set()


class Webhook(Owned):
    """A webhook. `scope`: events of the account (Local), of its domain and those below (Domain), or all (Global)."""

    kind = "webhook"
    unique = (("account_id", "name"),)

    name: str = column(keyword=True)
    description: str | None = column(default=None)
    state: str = column(default="Enabled", filter=True)
    payload_url: str = column(api="payloadurl")
    secret: str | None = column(default=None, secret=True)
    verify: bool = column(default=True, api="sslverification")
    scope: str = column(default="Local", filter=True)
    created: str = created()


class OfWebhook(Policy):
    """What belongs to a webhook is seen and changed by who may do that with the webhook."""

    def _of(self, caller: Caller, t: Any, access: Literal["see", "operate"]) -> Any:
        return t.c.webhook_id.in_(sa.select(Webhook.c.id).where(condition(Webhook, caller, access)))

    def see(self, caller: Caller, t: Any) -> Any:
        return self._of(caller, t, "see")

    def operate(self, caller: Caller, t: Any) -> Any:
        return self._of(caller, t, "operate")


class WebhookFilter(Resource):
    """A filter: which types of events a webhook is told of. With several that include, one must fit; none that excludes may."""

    kind = "webhookfilter"
    title = "filter"
    unique = (("webhook_id", "mode", "match", "value"),)
    policy = OfWebhook()

    webhook_id: str = refers("webhook", shows={"webhookid": "id", "webhookname": "name"}, cascade=True, filter=False)
    type: str = column(default="EventType")
    mode: str = column(default="Include")
    match: str = column(default="Exact", api="matchtype")
    value: str = column(keyword=True)
    created: str = created()

    def fits(self, type: str) -> bool:
        """Whether it speaks of this type of events."""
        mine, theirs = self.value.upper(), type.upper()
        how = {"Exact": theirs == mine, "Prefix": theirs.startswith(mine), "Suffix": theirs.endswith(mine)}
        return how.get(self.match, mine in theirs)


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


# ── what an event sets off ───────────────────────────────────────────────────────────────────────────────────────────


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


# ── sending ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Parcel:
    """A delivery that is ready to be sent."""

    delivery: str
    event_id: str
    event_type: str
    payload: str
    url: str
    secret: str | None
    verify: bool
    tries: int
    most: int
    seconds: float
    allow: tuple[egress.Network, ...]
    sender: str

    def headers(self, body: bytes) -> dict[str, str]:
        """The headers that say what it is; the signature, where there is a secret."""
        kind = "application/json" if self.payload.lstrip()[:1] in ("{", "[") else "text/plain"
        out = {
            "Content-Type": f"{kind}; charset=utf-8",
            "User-Agent": f"CS-Hookshot/{self.sender}",
            "X-CS-Event-ID": self.event_id,
            "X-CS-Event": self.event_type,
        }
        if self.secret:
            out["X-CS-Signature"] = hmac.new(self.secret.encode(), body, hashlib.sha256).hexdigest()
        return out


class Sent(NamedTuple):
    """What came of it."""

    success: bool
    response: str
    headers: str


def address(text: str) -> httpx.URL:
    """The parts of a receiver's URL; Invalid says what is wrong with it."""
    if len(text) > URL_MAX:
        raise Invalid(f"The URL has more than {URL_MAX} characters.", parameter="payloadurl")
    net.url(text, "payloadurl")
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL as error:
        raise Invalid(f"'{text[:80]}' is not a URL: {error}.", parameter="payloadurl") from None
    if url.scheme not in ("http", "https") or not url.host:
        raise Invalid("Webhooks go to http:// and https:// URLs only.", parameter="payloadurl")
    if url.userinfo:
        raise Invalid("The URL has a user name or password in it; use secretkey to let the receiver know us.", parameter="payloadurl")
    return url


def _permitted(url: httpx.URL, found: list[egress.IP], allow: tuple[egress.Network, ...]) -> list[egress.IP]:
    """These addresses, when Mold may go to all of them; Invalid otherwise."""
    for each in found:
        listed = any(each.version == n.version and each in n for n in allow)
        if not egress.may_reach(each, allow) or (egress.own(each) and not listed):
            raise Invalid(
                f"{url.host} is at {each}, where webhooks may not go: it is private, or this cloud's own. A root admin may "
                "allow its network (webhook.allowed.internal.sites).",
                host=url.host,
                address=str(each),
                parameter="payloadurl",
            )
    return found[:3]


def _networks(tx: Tx) -> tuple[egress.Network, ...]:
    return egress.networks([w for w in ALLOWED.get(tx).split(",") if w.strip()])


def checked(tx: Tx, text: str) -> str:
    """A receiver's URL as it is kept. One that names a forbidden address is refused now, not only when it is used."""
    url = address(text)
    try:
        literal = ipaddress.ip_address(url.host)
    except ValueError:
        return text
    _permitted(url, [literal], _networks(tx))
    return text


async def send(parcel: Parcel) -> Sent:
    """Send a delivery once. Never raises; what went wrong is in the answer."""
    body = parcel.payload.encode()
    headers = parcel.headers(body)
    written = "\n".join(f"{k}: {v}" for k, v in headers.items())
    try:
        async with asyncio.timeout(parcel.seconds):
            status, text = await _post(parcel, body, headers)
    except TimeoutError:
        return Sent(False, f"The receiver did not answer in {parcel.seconds:g} seconds.", written)
    except Refusal as no:
        return Sent(False, no.text, written)
    except (httpx.HTTPError, OSError, ValueError) as broken:
        return Sent(False, f"The receiver could not be told: {str(broken)[:300] or type(broken).__name__}.", written)
    return Sent(200 <= status < 300, f"{status} {text}".strip(), written)


async def _post(parcel: Parcel, body: bytes, headers: dict[str, str]) -> tuple[int, str]:
    trust = ssl.create_default_context()
    if not parcel.verify:
        trust.check_hostname, trust.verify_mode = False, ssl.CERT_NONE
    at = address(parcel.url)
    async with httpx.AsyncClient(verify=trust, trust_env=False, follow_redirects=False, timeout=parcel.seconds) as client:
        for _ in range(REDIRECTS_MAX + 1):
            places = _permitted(at, await egress.resolved(at.raw_host.decode("ascii")), parcel.allow)
            response = await _sent(client, at, places, body, headers)
            try:
                if response.status_code not in _REDIRECTS:
                    return response.status_code, await _text(response)
                to = at.join(response.headers.get("location", ""))
            finally:
                await response.aclose()
            if at.scheme == "https" and to.scheme == "http":
                raise Failed(f"{at.host} redirected from https to http.")
            at = address(str(to))
    raise Failed(f"The receiver redirected more than {REDIRECTS_MAX} times.")


async def _sent(
    client: httpx.AsyncClient, at: httpx.URL, places: list[egress.IP], body: bytes, headers: dict[str, str]
) -> httpx.Response:
    """The answer of the first address that takes a connection."""
    broken: httpx.HTTPError | None = None
    for place in places:
        request = client.build_request(
            "POST",
            at.copy_with(host=str(place)),
            content=body,
            headers={**headers, "Host": at.netloc.decode("ascii"), "Accept-Encoding": "identity"},
            extensions={"sni_hostname": at.raw_host.decode("ascii")},
        )
        try:
            return await client.send(request, stream=True)
        except httpx.ConnectError as error:
            broken = error
    raise Failed(f"{at.host} could not be reached: {broken or 'it has no address'}.")


async def _text(response: httpx.Response) -> str:
    """The beginning of the answer; the rest is not read."""
    found = b""
    async for piece in response.aiter_raw():
        found += piece
        if len(found) >= ANSWER_MAX:
            break
    return found[:ANSWER_MAX].decode("utf-8", "replace").replace("\0", "")


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
        allow=_networks(tx),
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


# ── the API ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@lists("listWebhooks", Webhook)
def _list(q: Query) -> None:
    """Lists webhooks."""


def _scope(caller: Caller, scope: str) -> None:
    if scope == "Global" and not caller.root:
        raise Denied("Only root admins hear of all events; use the scope Domain or Local.")
    if scope == "Domain" and caller.role not in ADMINS:
        raise Denied("Only admins hear of a domain's events; use the scope Local.")


@command("createWebhook", answers=Webhook, event="WEBHOOK.CREATE")
def create(
    ctx: Ctx,
    name: str,
    payloadurl: str,
    owner: Owner,
    description: str | None = None,
    secretkey: Annotated[str | None, Param(secret=True)] = None,
    sslverification: bool = True,
    scope: Annotated[Scope, Param(roles=ADMINS)] = "Local",
    state: State = "Enabled",
) -> Webhook:
    """Creates a webhook: an address that is told of events.

    description: what it is for
    payloadurl: where the events go, http or https
    secretkey: the receiver checks the signature X-CS-Signature with it
    sslverification: whether the certificate of an https receiver is checked
    scope: Local: events of the account; Domain: of its domain and those below; Global: all
    state: Enabled or Disabled
    """
    _scope(ctx.caller, scope)
    if RoleType(owner.account.role_type) not in {"Global": ROOT, "Domain": ADMINS}.get(scope, {*RoleType}):
        raise Denied(f"The account {owner.account.name} may not hear of events of the scope {scope}.")
    return ctx.tx.add(
        Webhook(
            name=name,
            description=description,
            payload_url=checked(ctx.tx, payloadurl),
            secret=secretkey or None,
            verify=sslverification,
            scope=scope,
            state=state,
            **owner.columns(),
        )
    )


@command("updateWebhook", answers=Webhook, event="WEBHOOK.EDIT")
def update(
    ctx: Ctx,
    id: Webhook,
    name: str | None = None,
    description: str | None = None,
    payloadurl: str | None = None,
    secretkey: Annotated[str | None, Param(secret=True)] = None,
    sslverification: bool | None = None,
    scope: Annotated[Scope | None, Param(roles=ADMINS)] = None,
    state: State | None = None,
) -> Webhook:
    """Changes a webhook.

    description: what it is for
    payloadurl: where the events go, http or https
    secretkey: the receiver checks the signature with it; empty: none
    sslverification: whether the certificate of an https receiver is checked
    scope: Local, Domain or Global
    state: Enabled or Disabled
    """
    if scope is not None:
        _scope(ctx.caller, scope)
        account = ctx.tx.one(Account, id.account_id)
        if RoleType(account.role_type) not in {"Global": ROOT, "Domain": ADMINS}.get(scope, {*RoleType}):
            raise Denied(f"The account {account.name} may not hear of events of the scope {scope}.")
    changes: dict[str, Any] = {
        "name": name,
        "description": description,
        "payload_url": checked(ctx.tx, payloadurl) if payloadurl is not None else None,
        "verify": sslverification,
        "scope": scope,
        "state": state,
    }
    found = {k: v for k, v in changes.items() if v is not None}
    if secretkey is not None:
        found["secret"] = secretkey or None
    return ctx.tx.set(id, **found)


@command("deleteWebhook", event="WEBHOOK.DELETE")
def delete(ctx: Ctx, id: Webhook) -> None:
    """Deletes a webhook, with its deliveries and filters."""
    ctx.tx.remove(id)


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


@lists("listWebhookFilters", WebhookFilter)
def _filters(q: Query, webhookid: Webhook | None = None) -> None:
    """Lists filters of webhooks.

    webhookid: those of this webhook
    """
    if webhookid is not None:
        q.where(WebhookFilter.c.webhook_id == webhookid.id)


@command("addWebhookFilter", answers=WebhookFilter, event="WEBHOOK.EDIT")
def add_filter(
    ctx: Ctx,
    webhookid: Annotated[Webhook, Param(access="operate")],
    value: str,
    mode: Literal["Include", "Exclude"] = "Include",
    matchtype: Literal["Exact", "Prefix", "Suffix", "Contains"] = "Exact",
) -> WebhookFilter:
    """Has a webhook told of some types of events only, or of all but some.

    webhookid: the webhook
    value: the type of event, or a part of it, as VM.
    mode: Include: only such events; Exclude: none of them
    matchtype: Exact, Prefix, Suffix or Contains
    """
    if not value.strip():
        raise Invalid("A filter needs a value, as VM.CREATE.", parameter="value")
    return ctx.tx.add(WebhookFilter(webhook_id=webhookid.id, mode=mode, match=matchtype, value=value.strip()))


@command("deleteWebhookFilter", event="WEBHOOK.EDIT")
def delete_filter(
    ctx: Ctx, id: WebhookFilter | None = None, webhookid: Annotated[Webhook | None, Param(access="operate")] = None
) -> None:
    """Takes a filter away, or all of a webhook.

    webhookid: all filters of this webhook
    """
    if id is None and webhookid is None:
        raise Invalid("Say which filter: id, or webhookid for all of one.", parameter="id")
    if id is not None:
        ctx.tx.remove(id)
    if webhookid is not None:
        for each in ctx.tx.by(WebhookFilter, webhook_id=webhookid.id):
            ctx.tx.remove(each)


@shown(WebhookDelivery, Field("managementservername", admin=True))
def _manager(tx: Tx, rows: list[Any], caller: Any) -> dict[str, dict[str, Any]]:
    from mold.work.job import session

    ids = {r.manager for r in rows if r.manager}
    if not ids or not (caller.root or caller.internal):
        return {}
    names = dict(tx.execute(sa.select(session.c.id, session.c.manager).where(tx.any_of(session.c.id, list(ids)))).all())
    return {r.id: {"managementservername": names.get(r.manager)} for r in rows if r.manager in names}
