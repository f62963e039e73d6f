"""Consoles: a machine's screen in a browser. A one-time ticket opens one connection, for the caller who asked."""

from __future__ import annotations

import time
from typing import Annotated, Any

import sqlalchemy as sa

from mold.api.answer import Field
from mold.api.command import Ctx, Param, command
from mold.base import ids
from mold.base.errors import Denied
from mold.features.compute.machines.row import VirtualMachine
from mold.features.identity.accounts import User
from mold.features.identity.signin import caller_of
from mold.features.infra.settings import setting
from mold.store import Tx, metadata
from mold.wire import calls as w

TICKET_SECONDS = setting(
    "consoleproxy.session.ticket.seconds", 60, "Seconds within which a console must be opened.", group="Console", low=5
)

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

    token: a further secret that the viewer must present
    """
    vm = virtualmachineid
    if vm.state not in ("Running", "Migrating") or not vm.host_id:
        return {
            "consoleendpoint": {
                "success": False,
                "details": f"The machine {vm.name} is {vm.state}; only a running one has a screen.",
            }
        }
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
    base = ctx.asked.base_url.rstrip("/")
    host = base.split("//", 1)[-1].split("/", 1)[0]
    name, _, port = host.partition(":")
    path = f"console/websockify?token={secret}"
    body: dict[str, Any] = {
        "success": True,
        "url": f"{base}/console/vnc.html?autoconnect=true&path={path.replace('?', '%3F').replace('=', '%3D')}&title={vm.instance_name if ctx.caller.root else vm.name}",
        "websocket": {
            "token": secret,
            "host": name,
            "port": port or ("443" if base.startswith("https") else "80"),
            "path": "console/websockify",
            "extra": None,
        },
    }
    return {"consoleendpoint": body}


def redeem(tx: Tx, secret: str, extra: str | None) -> tuple[str, w.OpenConsole, str]:
    """Use a ticket up: (host id, call without address, VNC password). Denied when it is none, used, or too old.

    The caller's right is looked at again: it may have ended since the ticket was made.
    """
    from mold.api.permit import find

    row = tx.execute(sa.delete(ticket).where(ticket.c.digest == ids.digest(secret)).returning(ticket)).first()
    if row is None or row.until < time.time() or (row.extra is not None and row.extra != ids.digest(extra or "")):
        raise Denied("This console ticket is not valid any more; open the console again.")
    user = tx.one(User, row.user_id)
    vm = find(tx, VirtualMachine, caller_of(tx, user), row.machine_id, "operate")
    if not isinstance(vm, VirtualMachine) or vm.state not in ("Running", "Migrating") or vm.host_id is None:
        raise Denied("The machine does not run any more, or is not yours.")
    return vm.host_id, w.OpenConsole(name=vm.instance_name or "", dial="", ticket=""), vm.vnc_password
