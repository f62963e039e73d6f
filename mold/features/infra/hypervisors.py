"""Hypervisors: what each kind can do, and how much an operator lets it. A limit is the kind's, not one host's."""

from __future__ import annotations

from typing import Annotated, Any

from mold.api.command import Ctx, Param, command
from mold.api.lists import Query, lists
from mold.api.permit import ROOT, Infra
from mold.base.errors import Invalid
from mold.features.infra.clusters import HYPERVISORS, hypervisor_named
from mold.store import Resource, Tx, column

GUESTS = 50
LATER = {
    "maxdatavolumeslimit:integer": "not offered yet: machines get no further disks",
    "securitygroupenabled:boolean": "not offered yet: security groups",
    "storagemotionenabled:boolean": "not offered yet: disks of running machines are not moved",
    "vmsnapshotenabled:boolean": "not offered yet: snapshots of machines",
}


class HypervisorCapabilities(Resource):
    """What one kind of hypervisor can do. `hypervisorversion` is `default`: all versions are driven the same way."""

    kind = "hypervisorcapabilities"
    title = "hypervisor"
    steady = True
    unique = (("hypervisor", "hypervisorversion"),)
    policy = Infra()

    hypervisor: str = column(keyword=True)
    hypervisorversion: str = column(default="default")
    max_guests: int = column(default=GUESTS, api="maxguestslimit", doc="machines that one host runs at most")
    max_hosts: int | None = column(default=None, api="maxhostspercluster", kind="integer", doc="hosts that a cluster has")
    security_groups: bool = column(default=False, api="securitygroupenabled")
    storage_motion: bool = column(default=False, api="storagemotionenabled")
    vm_snapshot: bool = column(default=False, api="vmsnapshotenabled")


def defaults(tx: Tx) -> None:
    """A row for each kind that is driven."""
    for name in HYPERVISORS:
        tx.add(HypervisorCapabilities(hypervisor=name))


def _of(tx: Tx, hypervisor: str) -> tuple[int, int | None]:
    found = tx.remembered(
        "hypervisors",
        (HypervisorCapabilities,),
        lambda: {r.hypervisor: (r.max_guests, r.max_hosts) for r in tx.find(HypervisorCapabilities)},
    )
    return found.get(hypervisor, (GUESTS, None))


def max_guests(tx: Tx, hypervisor: str) -> int:
    """How many machines one host runs at most."""
    return _of(tx, hypervisor)[0]


def max_hosts(tx: Tx, hypervisor: str) -> int | None:
    """How many hosts a cluster has at most; None: any number."""
    return _of(tx, hypervisor)[1]


@lists("listHypervisorCapabilities", HypervisorCapabilities, key="hypervisorCapabilities", roles=ROOT)
def _list(q: Query, hypervisor: str | None = None) -> None:
    """Lists what hypervisors can do.

    hypervisor: only of this kind
    """
    if hypervisor is not None:
        q.where(HypervisorCapabilities.c.hypervisor == hypervisor_named(hypervisor))


@command(
    "updateHypervisorCapabilities",
    roles=ROOT,
    answers=HypervisorCapabilities,
    key="hypervisorCapabilities",
    event="HYPERVISOR.CAPABILITIES.UPDATE",
    refused=LATER,
)
def update(
    ctx: Ctx,
    id: HypervisorCapabilities | None = None,
    hypervisor: str | None = None,
    hypervisorversion: str = "default",
    maxguestslimit: Annotated[int | None, Param(kind="long", low=1, high=100_000)] = None,
    maxhostspercluster: Annotated[int | None, Param(low=1, high=100_000)] = None,
) -> Any:
    """Changes how much a kind of hypervisor is let do. What is above a new limit stays as it is.

    hypervisor: the kind, instead of the id
    hypervisorversion: its version; there is one for all, default
    maxguestslimit: machines that one host runs at most
    maxhostspercluster: hosts that a cluster has at most
    """
    tx = ctx.tx
    if (id is None) == (hypervisor is None):
        raise Invalid("Give the id or the hypervisor, one of them.", parameter="id")
    found = id
    if hypervisor is not None:
        c = HypervisorCapabilities.c
        found = tx.first(
            HypervisorCapabilities,
            c.hypervisor == hypervisor_named(hypervisor),
            c.hypervisorversion == hypervisorversion.strip().lower(),
        )
    if found is None:
        raise Invalid(f"There is no version {hypervisorversion[:40]}; there is default.", parameter="hypervisorversion")
    changes = {k: v for k, v in (("max_guests", maxguestslimit), ("max_hosts", maxhostspercluster)) if v is not None}
    return tx.set(found, **changes)
