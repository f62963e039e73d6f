"""Network offerings: what a network does for its machines, and who does it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import sqlalchemy as sa

from mold.api.answer import Field, shown
from mold.api.command import LATER, Ctx, Details, Param, command
from mold.api.lists import Query, lists, paged
from mold.api.permit import ROOT, Offered
from mold.base.errors import Invalid
from mold.features.identity.domains import Domain
from mold.features.infra.offerings import PLACE_FIELDS, Places, as_list, placed, places
from mold.features.infra.zones import Zone
from mold.store import Resource, Tx, column, created

KNOWN = ("Dhcp", "Dns", "UserData", "SourceNat")
"""Services that routers offer by now."""
COMING = ("Firewall", "PortForwarding", "StaticNat", "Lb", "Vpn", "NetworkACL", "SecurityGroup")
ISOLATED = "DefaultIsolatedNetworkOfferingWithSourceNatService"


class NetworkOffering(Resource):
    """A network offering. `services` maps each service to its provider."""

    kind = "networkoffering"
    steady = True
    title = "network offering"
    appears = {"networkofferingid": "id", "networkofferingname": "name", "networkofferingdisplaytext": "displaytext"}
    policy = Offered()

    name: str = column(unique=True, filter=True, keyword=True)
    displaytext: str = column(default="", filter=True, keyword=True)
    traffic_type: str = column(default="Guest", filter=True)
    guest_ip_type: str = column(default="Isolated", filter=True)
    is_default: bool = column(default=False, filter=True)
    state: str = column(default="Disabled", filter=True)
    availability: str = column(default="Optional", filter=True)
    conserve_mode: bool = column(default=True)
    specify_vlan: bool = column(default=False, filter=True)
    specify_ip_ranges: bool = column(default=False, filter=True)
    is_persistent: bool = column(default=False)
    for_vpc: bool = column(default=False, filter=True)
    egress_default_policy: bool = column(default=True)
    network_rate: int | None = column(default=None, kind="integer")
    tags: str | None = column(default=None, filter=True)
    services: dict[str, str] = column(default_factory=dict, hidden=True)
    domain_ids: str | None = column(default=None, hidden=True)
    zone_ids: str | None = column(default=None, hidden=True)
    details: dict[str, str] | None = column(default=None)
    sortkey: int = column(default=0, hidden=True)
    created: str = created()


def service_list(services: dict[str, str]) -> list[dict[str, Any]]:
    """Services as the API shows them."""
    return [{"name": n, "provider": [{"name": p}], "capability": CAPABILITIES.get(n, [])} for n, p in services.items()]


CAPABILITIES: dict[str, list[dict[str, Any]]] = {
    "SourceNat": [
        {"name": "SupportedSourceNatTypes", "value": "peraccount"},
        {"name": "RedundantRouter", "value": "false"},
    ],
    "Dhcp": [{"name": "DhcpAccrossMultipleSubnets", "value": "true"}],
    "Dns": [{"name": "AllowDnsSuffixModification", "value": "true"}],
}


@shown(
    NetworkOffering,
    Field("service", "list"),
    Field("supportsstrechedl2subnet", "boolean"),
    Field("supportspublicaccess", "boolean"),
    Field("supportsinternallb", "boolean"),
    Field("internetprotocol"),
    *(Field(n, "boolean") for n in ("fornsx", "fortungsten", "specifyasnumber", "hasannotations")),
)
def _services(tx: Tx, rows: list[Any], caller: Any) -> dict[str, dict[str, Any]]:
    return {
        o.id: {
            "service": service_list(o.services),
            "supportsstrechedl2subnet": False,
            "supportspublicaccess": False,
            "supportsinternallb": False,
            "internetprotocol": "IPv4",
            "fornsx": False,
            "fortungsten": False,
            "specifyasnumber": False,
            "hasannotations": False,
        }
        for o in rows
    }


shown(NetworkOffering, *PLACE_FIELDS)(places)


SERVICE_FIELDS = (Field("name"), Field("provider", "list"), Field("capability", "list"))


@command(
    "listSupportedNetworkServices", roles=ROOT, shape="list", key="networkservice", reads=True, fields=SERVICE_FIELDS
)
def list_services(
    ctx: Ctx,
    service: str | None = None,
    provider: str | None = None,
    keyword: str | None = None,
    page: int | None = None,
    pagesize: int | None = None,
) -> dict[str, Any]:
    """Lists the services that networks may have, and who provides them.

    service: name of a service
    provider: name of a provider: VirtualRouter
    """
    rows = [
        s
        for s in service_list(dict.fromkeys(KNOWN, "VirtualRouter"))
        if (service is None or s["name"].lower() == service.lower())
        and (provider is None or provider.lower() == "virtualrouter")
        and (keyword is None or keyword.lower() in s["name"].lower())
    ]
    return paged("networkservice", rows, page, pagesize)


@lists(
    "listNetworkOfferings",
    NetworkOffering,
    refused={
        "routingmode:string": LATER,
        "networkid:uuid": "not offered yet: a network keeps its offering",
    },
)
def _list(
    q: Query,
    zoneid: Zone | None = None,
    domainid: Domain | None = None,
    istagged: bool | None = None,
    sourcenatsupported: bool | None = None,
    supportedservices: list[str] | None = None,
    tags: Annotated[str | None, Param(length=4096)] = None,
) -> None:
    """Lists network offerings."""
    c = NetworkOffering.c
    if tags is not None:
        q.where(c.tags == tags)
    if zoneid is not None:
        q.where(c.zone_ids.is_(None) | c.zone_ids.contains(zoneid.id, autoescape=True))
    if domainid is not None:
        q.where(c.domain_ids.contains(domainid.id, autoescape=True))
    if istagged is not None:
        q.where(c.tags.is_not(None) if istagged else c.tags.is_(None))
    for name in supportedservices or []:
        q.where(c.services.cast(sa.Text).contains(f'"{name}"', autoescape=True))
    if sourcenatsupported is not None:
        has = c.services.cast(sa.Text).contains('"SourceNat"', autoescape=True)
        q.where(has if sourcenatsupported else ~has)
    if not q.ctx.caller.root and not q.ctx.caller.internal:
        q.where(c.state == "Enabled")
    q.order = [c.sortkey, c.number]


@command(
    "createNetworkOffering",
    roles=ROOT,
    answers=NetworkOffering,
    event="NETWORK.OFFERING.CREATE",
    refused={
        **dict.fromkeys(
            (
                "fornsx:boolean",
                "fortungsten:boolean",
                "nsxsupportlb:boolean",
                "nsxsupportsinternallb:boolean",
                "networkmode:string",
                "routingmode:string",
                "specifyasnumber:boolean",
                "provider:string",
            ),
            LATER,
        ),
        "keepaliveenabled:boolean": "comes with the balancer",
        "maxconnections:integer": "comes with the balancer",
        "serviceofferingid:uuid": "routers are namespaces and need no compute offering",
        "internetprotocol:string": LATER,
    },
)
def create(
    ctx: Ctx,
    name: str,
    guestiptype: Literal["Isolated", "Shared", "L2"],
    traffictype: Literal["Guest"],
    displaytext: str | None = None,
    supportedservices: list[str] | None = None,
    serviceproviderlist: Annotated[list[dict[str, str]] | None, Param(keys=("service", "provider"))] = None,
    servicecapabilitylist: Annotated[
        list[dict[str, str]] | None, Param(keys=("service", "capabilitytype", "capabilityvalue"))
    ] = None,
    availability: Literal["Optional", "Required"] = "Optional",
    conservemode: bool = True,
    egressdefaultpolicy: bool = True,
    enable: bool = False,
    forvpc: bool = False,
    ispersistent: bool = False,
    networkrate: int | None = None,
    specifyipranges: bool = False,
    specifyvlan: bool = False,
    tags: Annotated[str | None, Param(length=4096)] = None,
    domainid: list[Domain] | None = None,
    zoneid: list[Zone] | None = None,
    details: Details | None = None,
) -> NetworkOffering:
    """Creates a network offering.

    guestiptype: Isolated
    traffictype: Guest
    supportedservices: names of services, comma separated
    serviceproviderlist: serviceproviderlist[0].service=Dhcp&serviceproviderlist[0].provider=VirtualRouter
    egressdefaultpolicy: whether machines may reach the outside unless a rule forbids it
    enable: usable at once
    specifyvlan: root admins choose the VLAN when a network is made
    """
    if guestiptype != "Isolated" or forvpc:
        raise Invalid(
            "Shared, L2 and VPC networks are not offered yet; say guestiptype=Isolated.", parameter="guestiptype"
        )
    providers = {p.get("service", ""): p.get("provider", "") for p in serviceproviderlist or []}
    services: dict[str, str] = {}
    for service in supportedservices or []:
        proper = next((k for k in (*KNOWN, *COMING) if k.lower() == service.strip().lower()), None)
        if proper is None or proper in COMING:
            raise Invalid(
                f"The service {service[:40]} is not offered yet; there are {', '.join(KNOWN)}.",
                parameter="supportedservices",
            )
        provider = providers.get(proper) or providers.get(service) or "VirtualRouter"
        if provider != "VirtualRouter":
            raise Invalid(
                f"The provider {provider[:40]} is not offered; say VirtualRouter.", parameter="serviceproviderlist"
            )
        services[proper] = provider
    if servicecapabilitylist:
        for each in servicecapabilitylist:
            if (
                each.get("capabilitytype", "").lower() == "redundantrouter"
                and each.get("capabilityvalue", "").lower() == "true"
            ):
                raise Invalid("Redundant routers are not offered yet.", parameter="servicecapabilitylist")
    if specifyipranges:
        raise Invalid("specifyipranges is for shared networks, which are not offered yet.", parameter="specifyipranges")
    return ctx.tx.add(
        NetworkOffering(
            name=name,
            displaytext=displaytext or name,
            traffic_type=traffictype,
            guest_ip_type=guestiptype,
            availability=availability,
            conserve_mode=conservemode,
            egress_default_policy=egressdefaultpolicy,
            state="Enabled" if enable else "Disabled",
            is_persistent=ispersistent,
            network_rate=networkrate,
            specify_vlan=specifyvlan,
            tags=tags,
            services=services,
            domain_ids=as_list(domainid),
            zone_ids=as_list(zoneid),
            details=details,
        )
    )


@command(
    "updateNetworkOffering",
    roles=ROOT,
    answers=NetworkOffering,
    event="NETWORK.OFFERING.EDIT",
    refused={
        "keepaliveenabled:boolean": LATER,
        "maxconnections:integer": LATER,
    },
)
def update(
    ctx: Ctx,
    id: Annotated[NetworkOffering | None, Param(access="operate")] = None,
    name: str | None = None,
    displaytext: str | None = None,
    sortkey: int | None = None,
    state: Literal["Enabled", "Disabled"] | None = None,
    availability: Literal["Optional", "Required"] | None = None,
    tags: Annotated[str | None, Param(length=4096)] = None,
    domainid: Places = None,
    zoneid: Places = None,
) -> NetworkOffering:
    """Changes a network offering, and for whom it is; enables or disables it.

    domainid: ids of domains, comma separated; public: for everybody
    zoneid: ids of zones, comma separated; all: for every zone
    """
    if id is None:
        raise Invalid("Give id: which offering is to change.", parameter="id")
    changes = {
        "name": name,
        "displaytext": displaytext,
        "sortkey": sortkey,
        "state": state,
        "availability": availability,
        "tags": tags,
    }
    changes = {k: v for k, v in changes.items() if v is not None}
    return ctx.tx.set(id, **changes, **placed(ctx, domainid, zoneid))


@command("deleteNetworkOffering", roles=ROOT, event="NETWORK.OFFERING.DELETE")
def delete(ctx: Ctx, id: NetworkOffering) -> None:
    """Deletes a network offering that no network uses."""
    if id.is_default:
        raise Invalid("Default offerings cannot be deleted; disable it instead.", parameter="id")
    ctx.tx.remove(id)


def defaults(tx: Tx) -> None:
    """The offerings of a new installation."""
    tx.add(
        NetworkOffering(
            name=ISOLATED,
            displaytext="Offering for Isolated networks with Source Nat service enabled",
            is_default=True,
            state="Enabled",
            availability="Required",
            services=dict.fromkeys(KNOWN, "VirtualRouter"),
        )
    )
