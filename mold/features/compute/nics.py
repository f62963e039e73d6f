"""Network cards of machines: looked at here; given and taken with a later version."""

from __future__ import annotations

from typing import Annotated, Any

import sqlalchemy as sa

from mold.api.answer import Field, view
from mold.api.command import Ctx, Param, command
from mold.api.lists import paged
from mold.api.permit import ROOT
from mold.features.compute.machines.row import NIC_FIELDS, Nic, VirtualMachine
from mold.features.network.networks import Network


@command("listNics", shape="list", key="nic", reads=True, fields=(*NIC_FIELDS, Field("virtualmachineid")))
def list_nics(
    ctx: Ctx,
    virtualmachineid: VirtualMachine,
    networkid: Network | None = None,
    nicid: Annotated[str | None, Param(kind="uuid")] = None,
    fordisplay: Annotated[bool | None, Param(roles=ROOT)] = None,
    keyword: str | None = None,
    page: int | None = None,
    pagesize: int | None = None,
) -> dict[str, Any]:
    """Lists the network cards of a machine.

    nicid: id of one card
    fordisplay: false: those that users do not see
    keyword: text in the name of the network
    """
    shape = view(VirtualMachine).page(ctx.tx, [virtualmachineid], ctx.caller, frozenset({"nics"}))[0]
    hidden = set(
        ctx.tx.execute(
            sa.select(Nic.c.id)
            .join(Network.table, Network.c.id == Nic.c.network_id)
            .where(Nic.c.machine_id == virtualmachineid.id, ~Network.c.display)
        ).scalars()
    )
    rows = [
        {**n, "virtualmachineid": virtualmachineid.id}
        for n in shape.get("nic", [])
        if (networkid is None or n["networkid"] == networkid.id)
        and (nicid is None or n["id"] == nicid)
        and (fordisplay is None or (n["id"] not in hidden) == fordisplay)
        and (keyword is None or keyword.lower() in n["networkname"].lower())
    ]
    return paged("nic", rows, page, pagesize)
