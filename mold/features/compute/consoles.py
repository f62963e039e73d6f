"""Consoles: a machine's screen in a browser. A one-time ticket opens one connection, for the caller who asked."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import quote, urlencode, urlsplit

import sqlalchemy as sa

from mold.api.answer import Field
from mold.api.command import Ctx, Param, command
from mold.api.permit import find
from mold.base import ids
from mold.base.errors import Conflict, Denied, Invalid, Unauthorized
from mold.features.compute.machines.row import VirtualMachine
from mold.features.identity.signin import caller_of
from mold.features.identity.users import User
from mold.features.infra.settings import setting
from mold.store import Tx, metadata

TICKET_SECONDS = setting(
    "consoleproxy.session.ticket.seconds", 60, "Seconds within which a console must be opened.", low=5, unit="seconds"
)

SOCKET = "console/websockify"
SHOWN = ("Running", "Migrating", "Stopping")
USED = "This console ticket was used already or is too old; open the console again."

ticket = sa.Table(
    "console_ticket",
    metadata,
    sa.Column("digest", sa.Text, primary_key=True),
    sa.Column("machine_id", sa.Text, nullable=False),
    sa.Column("user_id", sa.Text, nullable=False),
    sa.Column("extra", sa.Text, nullable=True),
    sa.Column("until", sa.Float, nullable=False),
)
"""Tickets not used yet; only digests are kept."""

FIELDS = (Field("success", "boolean"), Field("details"), Field("url"), Field("websocket", "map"))


@command("createConsoleEndpoint", shape="object", key="consoleendpoint", fields=FIELDS)
def create(
    ctx: Ctx, virtualmachineid: Annotated[VirtualMachine, Param(access="operate")], token: str | None = None
) -> dict[str, Any]:
    """Opens a way to a machine's screen: a URL with a ticket that works once.

    token: a further secret that the viewer must present as `extra`
    """
    vm = virtualmachineid
    if vm.state not in SHOWN or not vm.host_id:
        said = f"The machine {vm.name} is {vm.state}; only a running one has a screen."
        return {"consoleendpoint": {"success": False, "details": said}}
    secret = ids.token(24)
    now = time.time()
    ctx.tx.execute(sa.delete(ticket).where(ticket.c.until < now))
    ctx.tx.execute(
        sa.insert(ticket).values(
            digest=ids.digest(secret),
            machine_id=vm.id,
            user_id=ctx.caller.user_id,
            extra=ids.digest(token) if token else None,
            until=now + TICKET_SECONDS.get(ctx.tx),
        )
    )
    try:
        base = urlsplit(ctx.asked.base_url)
        port = base.port or (443 if base.scheme == "https" else 80)
    except ValueError:
        raise Invalid("The request's Host header names no host with a port.") from None
    query = {
        "autoconnect": "true",
        "path": f"{SOCKET}?token={secret}",
        "machine": vm.id,
        "title": vm.display_name or vm.name,
    }
    body: dict[str, Any] = {
        "success": True,
        "url": f"{ctx.asked.base_url.rstrip('/')}/console/vnc.html?{urlencode(query, safe='/', quote_via=quote)}",
        "websocket": {
            "token": secret,
            "host": base.hostname,
            "port": str(port),
            "path": SOCKET,
            "extra": token,
        },
    }
    return {"consoleendpoint": body}


@dataclass(frozen=True)
class Ticket:
    """A ticket that was handed in: whose it is, and for which machine."""

    machine_id: str
    user_id: str
    right: bool
    """The further token, if one was asked for, was the right one."""


@dataclass(frozen=True)
class Screen:
    """Where a machine's screen is: host id, the machine's internal name, and the screen's own password."""

    host: str
    name: str
    password: str


def take(tx: Tx, secret: str, extra: str | None) -> Ticket:
    """Use a ticket up, also when `extra` is wrong: nobody tries twice. Denied when it is none, used, or too old."""
    row = tx.execute(sa.delete(ticket).where(ticket.c.digest == ids.digest(secret)).returning(ticket)).first()
    if row is None or row.until < time.time():
        raise Denied(USED)
    return Ticket(row.machine_id, row.user_id, right=row.extra is None or row.extra == ids.digest(extra or ""))


def seen(tx: Tx, handed: Ticket) -> VirtualMachine:
    """The machine that a ticket is for. Denied when its user may not see the screen, or may not any more."""
    if not handed.right:
        raise Denied("The console was opened with a further token, which is missing or wrong here; open it again.")
    user, vm = tx.get(User, handed.user_id), None
    if user is not None:
        try:
            caller = caller_of(tx, user)
        except Unauthorized:
            raise Denied("The user that this console was opened for may not sign in any more.") from None
        vm = find(tx, VirtualMachine, caller, handed.machine_id, "operate")
    if not isinstance(vm, VirtualMachine):
        raise Denied("The machine is gone, or not yours any more.")
    return vm


def screen(tx: Tx, handed: Ticket) -> Screen:
    """Where the screen is that a ticket opens. Denied as for `seen`, Conflict when the machine does not run."""
    vm = seen(tx, handed)
    if vm.state not in SHOWN or vm.host_id is None or not vm.instance_name:
        raise Conflict(f"The machine {vm.name} is {vm.state}; only a running one has a screen.")
    return Screen(vm.host_id, vm.instance_name, vm.vnc_password)
