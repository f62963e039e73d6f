"""Alerts: what goes wrong, told to operators once while it lasts, in lists, on the live stream and by e-mail.

A slice says with `watched` what to look for: a function that returns the troubles there are now.  A reconciler compares
them with the alerts that are open: a new trouble becomes an alert, and one that is over is resolved.  So nobody has to
remember to raise or to end an alert, and a restart raises none twice.  Work that failed raises one with `failing`.

E-mail is sent by a reconciler too: that a mail is due stands in the alert's row, so it is sent after a crash as well
(perhaps twice; its Message-ID is the same then), and tried again while the mail server does not take it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import formatdate, parseaddr
from typing import Annotated, Any

import sqlalchemy as sa
import structlog

from mold.api.answer import Field
from mold.api.command import Ctx, Date, Param, command
from mold.api.lists import Query, lists
from mold.api.permit import OPERATORS, ROOT, Infra
from mold.base import clock, ids
from mold.base.errors import Invalid
from mold.base.mail import NOT_TAKEN, MailServer
from mold.features.infra.settings import setting
from mold.store import Resource, Tx, column, created
from mold.work import Job, Operation, error_of, operation, step
from mold.work.reconcile import reconciler
from mold.work.run import change, look

log = structlog.get_logger()
TYPES = {
    "MEMORY": 0, "CPU": 1, "STORAGE": 2, "STORAGE.ALLOCATED": 3, "NETWORK.PUBLICIP": 4, "NETWORK.PRIVATEIP": 5,
    "STORAGE.SECONDARY": 6, "COMPUTE.HOST": 7, "USERVM": 8, "SERVICE.DOMAINROUTER": 9, "SERVICE.CONSOLEPROXY": 10,
    "NETWORK.IPV6SUBNET": 10, "NETWORK.ROUTING": 11, "STORAGE.MISC": 12, "USAGE": 13, "MANAGEMENT": 14,
    "NETWORK.DOMAINROUTERMIGRATE": 15, "SERVICE.CONSOLEPROXYMIGRATE": 16, "USERVM.MIGRATE": 17, "NETWORK.VLAN": 18,
    "SERVICE.SSVM": 19, "USAGE.RESULT": 20, "STORAGE.OBJECT": 20, "STORAGE.DELETE": 21, "STORAGE.BACKUP": 21,
    "RESOURCE.COUNT": 22, "USAGE.SANITY": 23, "NETWORK.DIRECTPUBLICIP": 24, "STORAGE.LOCAL": 25,
    "RESOURCE.EXCEED": 26, "TYPE.SYNC": 27, "UPLOAD.FAILED": 28, "OOBM.AUTHERROR": 29, "HA.ACTION": 30,
    "CA.CERT": 31, "VM.SNAPSHOT": 32, "VR.PUBLIC.IFACE.MTU": 33, "TYPE.EXTENSION.PATH.NOT.READY": 33,
    "VR.PRIVATE.IFACE.MTU": 34, "S2S.VPN.GATEWAY.OBSOLETE.PARAMETERS": 34, "BACKUP.VALIDATION.FAILED": 35,
    "BACKUP.VALIDATION.UNABLE.TO.VALIDATE": 36, "BACKUP.VALIDATION.CLEANUP_FAILED": 37,
}  # fmt: skip
"""The API's types of alerts: name without its `ALERT.` -> number; some numbers have two names."""
AGAIN = frozenset({
    "COMPUTE.HOST", "USERVM", "SERVICE.DOMAINROUTER", "SERVICE.CONSOLEPROXY", "STORAGE.MISC", "MANAGEMENT",
    "SERVICE.SSVM", "RESOURCE.EXCEED", "UPLOAD.FAILED", "OOBM.AUTHERROR", "HA.ACTION", "CA.CERT",
    "TYPE.EXTENSION.PATH.NOT.READY", "S2S.VPN.GATEWAY.OBSOLETE.PARAMETERS", "BACKUP.VALIDATION.FAILED",
    "BACKUP.VALIDATION.UNABLE.TO.VALIDATE", "BACKUP.VALIDATION.CLEANUP_FAILED",
})  # fmt: skip
"""Those of which several may be open, each about another thing."""

def _addresses(text: str) -> str | None:
    for each in filter(None, (w.strip() for w in text.split(","))):
        address = parseaddr(each)[1]
        local, at, host = address.rpartition("@")
        if not (local and at and host) or not each.isprintable() or " " in address:
            return f"'{each[:60]}' is not an e-mail address; write it like ops@example.org."
    return None


ADDRESSES = setting(
    "alert.email.addresses", "", "Who gets alerts by e-mail; none: nobody.", many=True, check=_addresses, category="Alert")
SENDER = setting("alert.email.sender", "", "Sender of alerts by e-mail.", check=_addresses, category="Alert")
HOST = setting("alert.smtp.host", "", "The mail server that alerts go through; none: no e-mail is sent.", category="Alert")
PORT = setting("alert.smtp.port", 465, "Port of the mail server.", low=1, high=65535, category="Alert")
TIMEOUT = setting(
    "alert.smtp.timeout", 30000, "How long the mail server may be silent.", low=1, unit="milliseconds", category="Alert")
CONNECT_TIMEOUT = setting(
    "alert.smtp.connectiontimeout", 30000, "How long a connection to the mail server may take.", low=1, unit="milliseconds", category="Alert")
AUTH = setting(
    "alert.smtp.useAuth", False, "Sign in to the mail server, over TLS: from the first byte, or with STARTTLS if that is set.", category="Alert")
STARTTLS = setting("alert.smtp.useStartTLS", False, "Encrypt the connection with STARTTLS.")
USERNAME = setting("alert.smtp.username", "", "User name at the mail server.", category="Alert")
PASSWORD = setting("alert.smtp.password", "", "Password at the mail server.", secret=True, category="Secure")
PURGE_DAYS = setting("alert.purge.delay", 0, "Days after which alerts are removed; 0: never.", low=0, unit="days")
PURGE_EVERY = setting("alert.purge.interval", 86400, "How often old alerts are removed.", low=1, unit="seconds")
CLAIM_SECONDS = 120.0
MAIL_TRIES = 12
MAIL_PAUSE_SECONDS = 15.0
AT_ONCE = 200
_thread = ThreadPoolExecutor(1, "alert-mail")


class Alert(Resource):
    """One alert. `lasting` is what it is about while it lasts, so that there is one at a time; `mail`: due, sent, failed, none."""

    kind = "alert"
    unique = (("lasting",),)
    indexes = (("mail", "mail_after"), ("archived", "number"))
    policy = Infra()

    type: int = column(kind="short")
    name: str = column(filter=True, keyword=True)
    description: str = column(keyword=True)
    sent: str = created()
    resolved: str | None = column(default=None, kind="date", doc="when it was over")
    lasting: str | None = column(default=None, hidden=True)
    archived: bool = column(default=False, hidden=True)
    mail: str = column(default="due", hidden=True)
    mail_tries: int = column(default=0, hidden=True)
    mail_after: float = column(default=0.0, hidden=True)
    zone_id: str | None = column(default=None, hidden=True)
    pod_id: str | None = column(default=None, hidden=True)


@dataclass(frozen=True)
class Trouble:
    """Something that is wrong now. `about` names it, the same each time: `host:<id>`; `name` is a type's without `ALERT.`."""

    name: str
    about: str
    text: str
    zone_id: str | None = None
    pod_id: str | None = None


Watch = Callable[[Tx], list[Trouble]]
WATCHES: list[Watch] = []
FAILING: dict[str, tuple[str, str, str]] = {}
FAILED_SECONDS = 86400


def watched(function: Watch) -> Watch:
    """Register a function that returns all troubles of its kind that there are now, in a few queries."""
    WATCHES.append(function)
    return function


def failing(name: str, *operations: type[Operation], text: str, new: str = "") -> None:
    """When one of these operations fails, there is an alert. It lasts while the newest such work on the thing is one that
    failed, a day at most.  `new` is the command that makes things, of which a failure leaves nothing: there the newest
    such work of the account counts.
    """
    FAILING.update({each.__name__: (name, text, new) for each in operations})


def raised(tx: Tx, trouble: Trouble, *, lasts: bool = True) -> Alert | None:
    """Record an alert, unless there is one about the same thing already."""
    made = Alert(
        type=TYPES[trouble.name],
        name=f"ALERT.{trouble.name}",
        description=trouble.text,
        sent=clock.now(),
        lasting=trouble.about if lasts else None,
        zone_id=trouble.zone_id,
        pod_id=trouble.pod_id,
    )
    return made if tx.add_free(made) else None


def job_over(tx: Tx, job: Job, op: Any) -> None:
    """Raise the alert of work that failed; one of the engine's `on_finish`."""
    if job.status != 2 or (found := FAILING.get(job.operation)) is None:
        return
    name, text, new = found
    no = error_of(job)
    if no.key in ("Cancelled", "Denied"):
        return
    made = bool(new) and job.cmd == new
    about = f"job:{new}:{job.account_id}" if made else f"job:{job.operation}:{job.instance_id}"
    raised(tx, Trouble(name, about, f"{text} {job.instance_id or ''}: {no.text}"))


@watched
def _failed_work(tx: Tx) -> list[Trouble]:
    """Failed work stays a trouble while the newest of its kind is one that failed."""
    out = []
    for alert in tx.find(Alert, Alert.c.lasting.like("job:%")):
        _, name, about = str(alert.lasting).split(":")
        thing = (Job.c.operation == name) & (Job.c.instance_id == about)
        same = (((Job.c.cmd == name) & (Job.c.account_id == about)) | thing, Job.c.phase == "over")
        newest = tx.first(Job, *same, Job.c.completed > clock.ago(FAILED_SECONDS), order=Job.c.number.desc())
        if newest is not None and newest.status == 2:
            out.append(Trouble(alert.name.removeprefix("ALERT."), str(alert.lasting), alert.description))
    return out


@reconciler(every=10)
async def watch_troubles() -> int:
    """New troubles become alerts, and the alerts of those that are over are resolved."""

    def now(tx: Tx) -> tuple[dict[str, Trouble], dict[str, str]]:
        found = {t.about: t for watch in WATCHES for t in watch(tx)}
        rows = tx.execute(sa.select(Alert.c.lasting, Alert.c.id).where(Alert.c.lasting.is_not(None)))
        return found, {r[0]: r[1] for r in rows}

    found, lasting = await look(now)
    new = [t for about, t in found.items() if about not in lasting]
    over = [id for about, id in lasting.items() if about not in found]
    if not new and not over:
        return 0

    def note(tx: Tx) -> None:
        for each in new:
            raised(tx, each)
        for alert in tx.among(Alert, over).values():
            # What failed while this was looked at has not been seen to be a trouble yet.
            if alert.lasting is not None and not (alert.lasting.startswith("job:") and alert.sent > clock.ago(5)):
                tx.set(alert, lasting=None, resolved=clock.now())

    await change(note)
    return len(new) + len(over)


# ── e-mail ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Post:
    """Who mails go from and to, and the server that takes them, as the settings say."""

    server: MailServer
    sender: str
    to: tuple[str, ...]


def _post(tx: Tx) -> Post | None:
    """How mail is sent; None when nobody gets any."""
    to = tuple(parseaddr(w)[1] for w in ADDRESSES.get(tx).split(",") if w.strip())
    host = HOST.get(tx).strip()
    if not host or not to:
        return None
    server = MailServer(
        host,
        PORT.get(tx),
        starttls=STARTTLS.get(tx),
        username=USERNAME.get(tx) if AUTH.get(tx) else "",
        password=PASSWORD.get(tx),
        connect_seconds=CONNECT_TIMEOUT.get(tx) / 1000,
        seconds=TIMEOUT.get(tx) / 1000,
    )
    return Post(server, parseaddr(SENDER.get(tx))[1] or f"mold@{host}", to)


def letter(alert: Alert, post: Post) -> EmailMessage:
    """The mail about an alert. Header values hold no line breaks."""
    made = EmailMessage()
    subject = " ".join(f"{alert.name}: {alert.description}".split())
    made["Subject"] = subject[:150]
    made["From"], made["To"] = post.sender, ", ".join(post.to)
    made["Date"] = formatdate(time.time(), localtime=False)
    made["Message-ID"] = f"<{alert.id}@{post.sender.rpartition('@')[2]}>"
    made.set_content(f"{alert.description}\n\nType: {alert.name}\nRaised: {alert.sent}\nAlert: {alert.id}\n")
    return made


@reconciler(every=3)
async def mail_alerts() -> int:
    """Send the mails that are due. Whoever takes them has CLAIM_SECONDS for it; then they are due again."""
    now = time.time()
    due = (Alert.c.mail == "due", Alert.c.mail_after <= now)

    def take(tx: Tx) -> tuple[Post | None, list[Alert]]:
        chosen = sa.select(Alert.c.id).where(*due).order_by(Alert.c.number).limit(AT_ONCE)
        taken = sa.update(Alert.table).where(Alert.c.id.in_(chosen), *due).values(mail_after=now + CLAIM_SECONDS)
        waiting = [Alert.from_row(r) for r in tx.execute(taken.returning(*Alert.table.c))]
        return (_post(tx) if waiting else None), sorted(waiting, key=lambda a: a.number)

    if await look(lambda tx: tx.first(Alert, *due)) is None:
        return 0
    post, waiting = await change(take)
    if not waiting:
        return 0
    problems: dict[str, str] = {}
    if post is not None:
        letters = [letter(each, post) for each in waiting]
        try:
            problems = await asyncio.get_running_loop().run_in_executor(_thread, post.server.send, letters)
        except NOT_TAKEN as broken:
            why = str(broken)[:300] or type(broken).__name__
            problems = {str(each["Message-ID"]): why for each in letters}
        for alert, each in zip(waiting, letters, strict=True):
            if (problem := problems.get(str(each["Message-ID"]))) is not None:
                tries = alert.mail_tries + 1
                log.warning("alert could not be mailed", alert=alert.id, server=post.server.host, tries=tries, error=problem)

    def note(tx: Tx) -> int:
        count = 0
        for alert in waiting:
            if post is None:
                values: dict[str, Any] = {"mail": "none"}
            elif f"<{alert.id}@{post.sender.rpartition('@')[2]}>" not in problems:
                values, count = {"mail": "sent"}, count + 1
            else:
                tries = alert.mail_tries + 1
                pause = min(3600.0, MAIL_PAUSE_SECONDS * 2 ** (tries - 1))
                values = {"mail_tries": tries, "mail_after": time.time() + pause}
                if tries >= MAIL_TRIES:
                    values["mail"] = "failed"
            tx.execute(sa.update(Alert.table).where(Alert.c.id == alert.id, Alert.c.mail == "due").values(values))
        return count

    return await change(note)


@reconciler(every=PURGE_EVERY)
async def purge_alerts() -> int:
    """Remove alerts that are old enough and over."""

    def go(tx: Tx) -> int:
        days = PURGE_DAYS.get(tx)
        if not days:
            return 0
        old = (Alert.c.sent < clock.ago(days * 86400), Alert.c.lasting.is_(None))
        return int(tx.execute(sa.delete(Alert.table).where(*old)).rowcount)

    return await change(go)


# ── the API ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _type(text: str) -> Any:
    """The condition for alerts of this type, by number or name."""
    number = ids.whole(text)
    if number is not None:
        return Alert.c.type == number
    name = text.upper().removeprefix("ALERT.")
    if name not in TYPES:
        raise Invalid(f"There is no type of alerts called {text[:80]}; listAlertTypes names them.", parameter="type")
    return Alert.c.name == f"ALERT.{name}"


@lists("listAlerts", Alert, roles=OPERATORS)
def _list(q: Query, type: str | None = None) -> None:
    """Lists alerts, the newest first.

    type: number or name of the type
    """
    if type is not None:
        q.where(_type(type))
    q.where(~Alert.c.archived)
    q.order = [Alert.c.number.desc()]


@command(
    "listAlertTypes",
    roles=ROOT,
    shape="list",
    key="alerttype",
    reads=True,
    fields=(Field("alerttypeid", "short"), Field("name"), Field("repetitionallowed", "boolean")),
)
def list_types(ctx: Ctx) -> dict[str, Any]:
    """Lists the types of alerts."""
    rows = [{"alerttypeid": n, "name": f"ALERT.{w}", "repetitionallowed": w in AGAIN} for w, n in TYPES.items()]
    return {"count": len(rows), "alerttype": rows}


@operation
class RaiseAlert(Operation):
    """An alert that somebody asked for."""

    type: int
    name: str
    description: str
    zone: str | None = None
    pod: str | None = None

    @step
    def add(self, tx: Tx) -> None:
        """Record it."""
        tx.add(
            Alert(
                type=self.type, name=self.name, description=self.description, sent=clock.now(), zone_id=self.zone,
                pod_id=self.pod,
            )
        )  # fmt: skip


@command("generateAlert", roles=ROOT, job=True, event="ALERT.GENERATE")
def generate(
    ctx: Ctx,
    type: Annotated[int, Param(kind="short")],
    name: str,
    description: Annotated[str, Param(length=999)],
    zoneid: Annotated[Resource | None, Param(of="zone")] = None,
    podid: Annotated[Resource | None, Param(of="pod")] = None,
) -> None:
    """Raises an alert.

    type: number of the type; listAlertTypes names them
    name: a name for it
    description: what is wrong
    """
    if type not in TYPES.values():
        raise Invalid(f"There is no type of alerts with the number {type}; listAlertTypes names them.", parameter="type")
    ctx.start(
        RaiseAlert(
            type=type,
            name=name,
            description=description,
            zone=zoneid.id if zoneid else None,
            pod=podid.id if podid else None,
        )
    )


def _chosen(
    ctx: Ctx, alerts: list[Alert] | None, kind: str | None, start: str | None, end: str | None
) -> list[Any]:
    """Conditions for the alerts that are to be put away; Invalid when nothing narrows them."""
    c = Alert.c
    if not (alerts or kind or start or end):
        raise Invalid("Say which alerts: ids, type, or startdate and enddate.", parameter="ids")
    if start and end and start > end:
        raise Invalid("startdate must not be after enddate.", parameter="enddate")
    where: list[Any] = [ctx.tx.any_of(c.id, [a.id for a in alerts])] if alerts else []
    if kind:
        where.append(_type(kind))
    if start:
        where.append(c.sent >= start)
    if end:
        where.append(c.sent <= end)
    return where


@command("archiveAlerts", roles=ROOT)
def archive(
    ctx: Ctx,
    ids: list[Alert] | None = None,
    type: str | None = None,
    startdate: Date | None = None,
    enddate: Date | None = None,
) -> None:
    """Archives alerts: lists leave them out.

    type: those of this type, by number or name
    startdate: those since then
    enddate: those before then
    """
    ctx.tx.execute(sa.update(Alert.table).where(*_chosen(ctx, ids, type, startdate, enddate)).values(archived=True))


@command("deleteAlerts", roles=ROOT)
def delete(
    ctx: Ctx,
    ids: list[Alert] | None = None,
    type: str | None = None,
    startdate: Date | None = None,
    enddate: Date | None = None,
) -> None:
    """Deletes alerts for good. One whose trouble lasts is raised anew.

    type: those of this type, by number or name
    startdate: those since then
    enddate: those before then
    """
    ctx.tx.execute(sa.delete(Alert.table).where(*_chosen(ctx, ids, type, startdate, enddate)))
