"""Who provides services on a physical network. There is the VirtualRouter; a network is served only where it is Enabled."""

from __future__ import annotations

from typing import Any, Literal

import sqlalchemy as sa

from mold.api.answer import Field, shown
from mold.api.command import LATER, Ctx, command
from mold.api.lists import Query, lists
from mold.api.permit import ADMINS, ROOT, Infra
from mold.base.errors import Conflict, InUse, Invalid
from mold.features.network.networks import Network
from mold.features.network.offerings import KNOWN
from mold.features.network.physical import PhysicalNetwork, Provider, VirtualRouterElement
from mold.store import Tx
from mold.work import Done, Operation, operation, step

__all__ = ["Provider"]
Provider.policy = Infra()
VirtualRouterElement.policy = Infra()
ROUTER = "VirtualRouter"


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
    _all_services(id.name, servicelist)
    if state == "Disabled":
        _unused(ctx.tx, id)
    if state == "Enabled" and ctx.tx.first(VirtualRouterElement, VirtualRouterElement.c.nsp_id == id.id, VirtualRouterElement.c.enabled) is None:
        raise Conflict(
            f"The {id.name} has no enabled element; see createVirtualRouterElement and configureVirtualRouterElement.",
            nspid=id.id,
        )
    if state is not None:
        ctx.tx.set(id, state=state)
    ctx.start(ChangeProvider(provider=id.id))
    return id


def _all_services(name: str, wanted: list[str] | None) -> None:
    if wanted is not None and {s.lower() for s in wanted} != {s.lower() for s in KNOWN}:
        raise Invalid(f"The {name} offers {', '.join(KNOWN)} together; leave servicelist out.", parameter="servicelist")


def _unused(tx: Tx, provider: Provider) -> None:
    """InUse when a network is served by it."""
    used = tx.first(
        Network,
        Network.c.physical_network_id == provider.physical_network_id,
        Network.c.state.in_(("Implementing", "Implemented")),
    )
    if used is not None:
        raise InUse(f"The {provider.name} serves the network {used.name}.", networkid=used.id)


@command(
    "addNetworkServiceProvider",
    roles=ROOT,
    answers=Provider,
    job=True,
    creates=True,
    event="SERVICE.PROVIDER.CREATE",
    refused={"destinationphysicalnetworkid:uuid": LATER},
)
def add(ctx: Ctx, name: str, physicalnetworkid: PhysicalNetwork, servicelist: list[str] | None = None) -> Provider:
    """Gives a physical network a provider, disabled at first and without an element. New physical networks have one already.

    name: VirtualRouter
    servicelist: the services it is to offer; VirtualRouter offers all of its services or none
    """
    if name != ROUTER:
        raise Invalid(f"There is no provider {name[:40]}; there is {ROUTER}.", parameter="name")
    _all_services(name, servicelist)
    made = ctx.tx.add(Provider(physical_network_id=physicalnetworkid.id, name=name, state="Disabled"))
    ctx.start(ChangeProvider(provider=made.id))
    return made


@command("deleteNetworkServiceProvider", roles=ROOT, job=True, event="SERVICE.PROVIDER.DELETE")
def delete(ctx: Ctx, id: Provider) -> None:
    """Takes a provider with its element off a physical network."""
    _unused(ctx.tx, id)
    ctx.tx.remove(id)
    ctx.start(Done.to(id))


# -- the router's element ---------------------------------------------------------------------------------------------


@lists("listVirtualRouterElements", VirtualRouterElement, roles=ADMINS)
def _elements(q: Query, nspid: Provider | None = None) -> None:
    """Lists virtual router elements: whether routers are set to work on a physical network.

    nspid: the provider whose element it is
    """
    if nspid is not None:
        q.where(VirtualRouterElement.c.nsp_id == nspid.id)


@operation
class ChangeElement(Operation):
    """An element was made or configured with the request; it counts for networks that are served from then on."""

    answers = (VirtualRouterElement, "element")
    element: str

    @step
    def changed(self, tx: Tx) -> None:
        tx.one(VirtualRouterElement, self.element)


@command(
    "createVirtualRouterElement",
    roles=ADMINS,
    answers=VirtualRouterElement,
    job=True,
    creates=True,
    event="SERVICE.PROVIDER.CREATE",
)
def create_element(ctx: Ctx, nspid: Provider, providertype: str = ROUTER) -> VirtualRouterElement:
    """Gives a provider its virtual router element, not yet enabled. Providers of new physical networks have one already.

    nspid: the provider
    providertype: VirtualRouter
    """
    if providertype != ROUTER:
        raise Invalid(f"There is no router {providertype[:40]}; there is {ROUTER}.", parameter="providertype")
    made = ctx.tx.add(VirtualRouterElement(nsp_id=nspid.id, enabled=False))
    ctx.start(ChangeElement(element=made.id))
    return made


@command(
    "configureVirtualRouterElement", roles=ADMINS, answers=VirtualRouterElement, job=True, event="NETWORK.ELEMENT.CONFIGURE"
)
def configure(ctx: Ctx, id: VirtualRouterElement, enabled: bool) -> VirtualRouterElement:
    """Sets a virtual router to work, or not.

    enabled: true: networks may be served; false: refused while one is
    """
    if not enabled:
        _unused(ctx.tx, ctx.tx.one(Provider, id.nsp_id))
    ctx.tx.set(id, enabled=enabled)
    ctx.start(ChangeElement(element=id.id))
    return id
