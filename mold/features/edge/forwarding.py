"""Forwarding rules: ports and addresses from outside to a machine.

None can be made yet, so there are none; clients that gather what belongs to a machine ask for them all the same, and
these lists answer so.  Rules and the tables they need come with the firewall.
"""

from __future__ import annotations

from typing import Any

from mold.api.command import Ctx, Tags, command
from mold.features.compute.machines.row import VirtualMachine
from mold.features.identity.domains import Domain
from mold.features.identity.projects import Project
from mold.features.network.addresses import Address
from mold.features.network.networks import Network


@command("listPortForwardingRules", shape="flat", reads=True)
def ports(
    ctx: Ctx,
    account: str | None = None,
    domainid: Domain | None = None,
    projectid: Project | None = None,
    ipaddressid: Address | None = None,
    networkid: Network | None = None,
    isrecursive: bool = False,
    listall: bool = False,
    keyword: str | None = None,
    page: int | None = None,
    pagesize: int | None = None,
    tags: Tags | None = None,
) -> dict[str, Any]:
    """Lists port forwarding rules: there are none yet.

    ipaddressid: id of the public address
    """
    return {}


@command("listIpForwardingRules", shape="flat", reads=True)
def addresses(
    ctx: Ctx,
    account: str | None = None,
    domainid: Domain | None = None,
    projectid: Project | None = None,
    ipaddressid: Address | None = None,
    virtualmachineid: VirtualMachine | None = None,
    isrecursive: bool = False,
    listall: bool = False,
    keyword: str | None = None,
    page: int | None = None,
    pagesize: int | None = None,
) -> dict[str, Any]:
    """Lists static NAT rules: there are none yet.

    ipaddressid: id of the public address
    """
    return {}
