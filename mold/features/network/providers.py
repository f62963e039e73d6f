"""Who provides services on a physical network. There is the VirtualRouter; a network is served only where it is Enabled."""

from __future__ import annotations

from typing import Any, Literal

import sqlalchemy as sa

from mold.api.answer import Field, shown
from mold.api.command import Ctx, command
from mold.api.lists import Query, lists
from mold.api.permit import ROOT, Infra
from mold.base.errors import InUse, Invalid
from mold.features.network.networks import Network
from mold.features.network.offerings import KNOWN
from mold.features.network.physical import PhysicalNetwork, Provider
from mold.store import Tx
from mold.work import Operation, operation, step

__all__ = ["Provider"]
Provider.policy = Infra()


@shown(Provider, Field("servicelist", "list"), Field("canenableindividualservice", "boolean"))
def _shown(tx: Tx, rows: list[Any], caller: Any) -> dict[str, dict[str, Any]]:
    return {p.id: {"servicelist": list(KNOWN), "canenableindividualservice": False} for p in rows}


@lists("listNetworkServiceProviders", Provider, roles=ROOT, id_param=False)
def _list(q: Query, physicalnetworkid: PhysicalNetwork | None = None, state: str | None = None) -> None:
    """Lists who provides services on physical networks.

    state: Enabled or Disabled
    """
    if physicalnetworkid is not None:
        q.where(Provider.c.physical_network_id == physicalnetworkid.id)
    if state is not None:
        q.where(sa.func.lower(Provider.c.state) == state.lower())


@operation
class ChangeProvider(Operation):
    """A provider was enabled or disabled with the request; it counts for networks that are served from then on."""

    answers = (Provider, "provider")
    provider: str

    @step
    def changed(self, tx: Tx) -> None:
        tx.one(Provider, self.provider)


@command("updateNetworkServiceProvider", roles=ROOT, answers=Provider, job=True, event="SERVICE.PROVIDER.UPDATE")
def update(
    ctx: Ctx,
    id: Provider,
    state: Literal["Enabled", "Disabled"] | None = None,
    servicelist: list[str] | None = None,
) -> Provider:
    """Enables or disables a provider on a physical network.

    servicelist: the services it is to offer; VirtualRouter offers all of its services or none
    """
    if servicelist is not None and {s.lower() for s in servicelist} != {s.lower() for s in KNOWN}:
        raise Invalid(
            f"The {id.name} offers {', '.join(KNOWN)} together; leave servicelist out.", parameter="servicelist"
        )
    if state == "Disabled":
        served = ctx.tx.first(
            Network,
            Network.c.physical_network_id == id.physical_network_id,
            Network.c.state.in_(("Implementing", "Implemented")),
        )
        if served is not None:
            raise InUse(f"The {id.name} serves the network {served.name}.", networkid=served.id)
    if state is not None:
        ctx.tx.set(id, state=state)
    ctx.start(ChangeProvider(provider=id.id))
    return id
