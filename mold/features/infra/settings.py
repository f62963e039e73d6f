"""Settings as callers see them: listed, changed, taken back. How they are declared and read is `mold.store.settings`.

Root admins change everything.  A domain admin changes what may be set for domains and accounts, for her own domain and
those below, and sees nothing else.
"""

from __future__ import annotations

from typing import Annotated, Any

from mold.api.answer import Field
from mold.api.command import Ctx, Param, command
from mold.api.lists import paged
from mold.api.model import capability
from mold.api.permit import ROOT, Infra, RoleType
from mold.base.errors import Denied, Invalid
from mold.store import Resource, Tx
from mold.store.settings import CHANGED, SETTINGS, Declared, Setting, changes, known, reset, setting, store

__all__ = ["CHANGED", "SETTINGS", "Declared", "Setting", "reset", "setting", "store"]

Setting.policy = Infra()
MAY = frozenset({RoleType.ADMIN, RoleType.DOMAIN})

GROUPS: dict[str, tuple[int, dict[str, tuple[str, ...]]]] = {
    "Miscellaneous": (999, {
        "Others": (), "Backup & Recovery": ("backup", "recovery", "veeam"), "Certificate Authority": ("ca",), "Quota": (),
        "Cloudian": (), "DRS": ("drs",),
    }),
    "Access": (1, {"Account": (), "Domain": (), "Project": (), "LDAP": (), "SAML": ("saml2",)}),
    "Compute": (2, {
        "Virtual Machine": ("vm", "instance", "cpu", "ssh", "affinity"), "Kubernetes": (), "High Availability": ("ha",),
    }),
    "Storage": (3, {
        "Images": ("template", "iso"), "Volume": ("disk", "diskoffering"), "Snapshot": (), "VM Snapshot": ("vmsnapshot",),
    }),
    "Network": (4, {
        "Network": ("firewall", "vlan", "dns", "globodns", "ipaddress", "cidr"), "DHCP": ("externaldhcp",), "VPC": (),
        "LoadBalancer": ("lb", "gslb"),
    }),
    "Hypervisor": (5, {
        "Hypervisor": ("host",), "KVM": ("libvirt",), "VMware": ("vcenter",), "XenServer": ("xen", "xapi", "xcp"),
        "OVM": ("ovm3",), "Baremetal": (),
    }),
    "Management Server": (6, {
        "API": (), "Alerts": ("alert",), "Events": ("event",), "Security": ("secure", "password", "authenticators"),
        "Limits": ("capacity", "delay", "interval", "workers"), "Jobs": ("job",), "Agent": (),
    }),
    "System VMs": (7, {
        "ConsoleProxyVM": ("cpvm", "consoleproxy", "novnc"), "SecStorageVM": ("ssvm", "secondary"),
        "VirtualRouter": ("vr", "router", "vrouter"), "Diagnostics": (),
    }),
    "Infrastructure": (8, {
        "Primary Storage": ("storage", "pool", "primary"), "Secondary Storage": ("image", "secstorage"),
    }),
    "Usage Server": (9, {"Usage": ()}),
}  # fmt: skip
"""Group -> (place in the order, subgroup -> words of a setting's name that put it there), as consoles of the API show them."""
ABOUT = {
    "Miscellaneous": "What fits nowhere else", "Access": "Accounts, domains, projects and signing in",
    "Compute": "Machines", "Storage": "Images, volumes and snapshots", "Network": "Networks and their services",
    "Hypervisor": "Hosts and hypervisors", "Management Server": "The management servers themselves",
    "System VMs": "Routers, consoles and other machines of the cloud's own", "Infrastructure": "Storage of the machine rooms",
    "Usage Server": "Usage records",
}  # fmt: skip
OTHERS = ("Miscellaneous", "Others")


def _placed() -> tuple[dict[str, tuple[str, str]], dict[str, tuple[str, str]]]:
    names: dict[str, tuple[str, str]] = {}
    words: dict[str, tuple[str, str]] = {}
    for group, (_, subgroups) in GROUPS.items():
        for subgroup, keys in subgroups.items():
            names.setdefault(subgroup.lower(), (group, subgroup))
            for key in keys:
                words.setdefault(key, (group, subgroup))
    return names, words


_NAMES, _WORDS = _placed()


def group_of(declared: Declared[Any]) -> tuple[str, str]:
    """Group and subgroup: the first word of the name that says something decides, or the setting that it depends on."""
    for name in (declared.parent, declared.name):
        for word in name.lower().split("."):
            found = _NAMES.get(word) or _WORDS.get(word)
            if found is not None:
                return found
    subgroups = GROUPS.get(declared.group, (0, {}))[1]
    return (declared.group, next(iter(subgroups))) if subgroups else OTHERS


FIELDS = (
    Field("name"),
    Field("category"),
    Field("group"),
    Field("subgroup"),
    Field("parent"),
    Field("value"),
    Field("defaultvalue"),
    Field("description"),
    Field("scope"),
    Field("isdynamic", "boolean", "whether a change has its effect at once; if not, managers must be restarted"),
    Field("type"),
    Field("unit", doc="what the value counts, as seconds"),
    Field("displaytext"),
    Field("options"),
    Field("updated", "date", "when it was last changed, if it has a value of its own here"),
    Field("updatedby", doc="name of the user who did"),
    Field("previousvalue", doc="what held before that; left out for secrets"),
)
SHOWN_SCOPES = {"storage": "StoragePool", "imagestore": "ImageStore"}


def _type(declared: Declared[Any]) -> str:
    if declared.many:
        return "CSV"
    if declared.choices:
        return "Select"
    return {bool: "Boolean", int: "Number", float: "Decimal", str: "String"}[type(declared.default)]


def shown(declared: Declared[Any], value: Any, row: Setting | None = None) -> dict[str, Any]:
    """A setting as callers see it; `row` is what was changed here."""
    group, subgroup = group_of(declared)
    shape: dict[str, Any] = {
        "name": declared.name,
        "category": declared.category,
        "group": group,
        "subgroup": subgroup,
        "value": declared.text(value),
        "defaultvalue": declared.text(declared.default),
        "description": declared.doc,
        "scope": ",".join(SHOWN_SCOPES.get(s, s.title()) for s in declared.scopes) or "Global",
        "isdynamic": not declared.restart,
        "type": _type(declared),
        "displaytext": declared.name.replace(".", " ").capitalize(),
    }
    more = {
        "parent": declared.parent,
        "unit": declared.unit,
        "options": ",".join(declared.choices),
    }
    last = {"updated": row.changed, "updatedby": row.changed_by, "previousvalue": row.before} if row is not None else {}
    return {**shape, **{k: v for k, v in more.items() if v}, **{k: v for k, v in last.items() if v is not None}}


Zoned = Annotated[Resource | None, Param(of="zone", access="see")]
Clustered = Annotated[Resource | None, Param(of="cluster", access="see")]
Pooled = Annotated[Resource | None, Param(of="storagepool", access="see")]
Stored = Annotated[Resource | None, Param(of="imagestore", access="see")]
Accounted = Annotated[Resource | None, Param(of="account", access="see")]
Domained = Annotated[Resource | None, Param(of="domain", access="see")]
MANAGED = {"managementserverid:uuid": "not offered: settings are the same on every manager"}
SCOPED = {
    "zoneid": "zone",
    "clusterid": "cluster",
    "storageid": "storage",
    "imagestoreuuid": "imagestore",
    "imagestoreid": "imagestore",
    "accountid": "account",
    "domainid": "domain",
}


def _scope(ctx: Ctx, **given: Resource | None) -> tuple[str, Resource | None]:
    """Scope and thing; Invalid when two are named, Denied when a domain admin names none."""
    chosen = [(SCOPED[k], v) for k, v in given.items() if v is not None]
    if len(chosen) > 1:
        raise Invalid(f"Give one scope only: {', '.join(given)}.")
    scope, thing = chosen[0] if chosen else ("Global", None)
    if not ctx.caller.root and scope not in ("account", "domain"):
        raise Denied(
            "Admins of a domain see and change the settings of domains and accounts; give domainid or accountid.",
            parameter="domainid",
        )
    return scope, thing


def _at(tx: Tx, declared: Declared[Any], scope: str, thing: Resource | None) -> Any:
    return declared.get(tx, **({scope: thing.id} if thing is not None else {}))


@command("listConfigurations", roles=MAY, shape="list", key="configuration", reads=True, fields=FIELDS, refused=MANAGED)
def list_settings(
    ctx: Ctx,
    name: str | None = None,
    keyword: str | None = None,
    category: str | None = None,
    group: str | None = None,
    subgroup: str | None = None,
    parent: str | None = None,
    zoneid: Zoned = None,
    clusterid: Clustered = None,
    storageid: Pooled = None,
    imagestoreuuid: Stored = None,
    accountid: Accounted = None,
    domainid: Domained = None,
    page: int | None = None,
    pagesize: int | None = None,
) -> dict[str, Any]:
    """Lists settings with their values: global ones, or those that can be set for one zone, cluster, storage, account or domain.

    category: category of settings, as Advanced, Network or Storage
    group: group of settings; listConfigurationGroups names them
    subgroup: subgroup of settings
    parent: only settings that have no effect without this one
    imagestoreuuid: id of the secondary storage
    """
    scope, thing = _scope(
        ctx, zoneid=zoneid, clusterid=clusterid, storageid=storageid, imagestoreuuid=imagestoreuuid,
        accountid=accountid, domainid=domainid,
    )  # fmt: skip
    wanted = known(name).name if name is not None and _is_known(name) else name
    word = keyword.lower() if keyword is not None else ""

    def fits(s: Declared[Any]) -> bool:
        where = group_of(s)
        return (
            s.category != "Hidden"
            and (wanted is None or s.name == wanted)
            and (not word or word in s.name.lower() or word in s.doc.lower())
            and (category is None or category.lower() == s.category.lower())
            and (group is None or where[0].lower() == group.lower())
            and (subgroup is None or where[1].lower() == subgroup.lower())
            and (parent is None or s.parent == parent)
            and (thing is None or s.may(ctx.tx, scope))
        )

    own = changes(ctx.tx, scope, thing.id if thing is not None else "")
    found = [shown(s, _at(ctx.tx, s, scope, thing), own.get(s.name)) for _, s in sorted(SETTINGS.items()) if fits(s)]
    return paged("configuration", found, page, pagesize)


def _is_known(name: str) -> bool:
    try:
        known(name)
    except Invalid:
        return False
    return True


def _tell(ctx: Ctx, declared: Declared[Any], scope: str, thing: Resource | None, before: Any) -> dict[str, Any]:
    """The setting as it is now, and what the event says of the change."""
    now = _at(ctx.tx, declared, scope, thing)
    label = "" if thing is None else f" of the {type(thing).title} {thing.__dict__.get('name') or thing.id}"
    change = "has been changed" if declared.secret else f"is {declared.text(now)!r}, it was {declared.text(before)!r}"
    ctx.tell(f"The setting {declared.name}{label} {change}.", about=thing)
    own = changes(ctx.tx, scope, thing.id if thing is not None else "")
    return {"configuration": shown(declared, now, own.get(declared.name))}


@command(
    "updateConfiguration", roles=MAY, shape="object", key="configuration", event="CONFIGURATION.VALUE.EDIT",
    fields=FIELDS, refused=MANAGED,
)  # fmt: skip
def update_setting(
    ctx: Ctx,
    name: str,
    value: Annotated[str | None, Param(length=4096)] = None,
    zoneid: Zoned = None,
    clusterid: Clustered = None,
    storageid: Pooled = None,
    imagestoreuuid: Stored = None,
    accountid: Accounted = None,
    domainid: Domained = None,
) -> dict[str, Any]:
    """Changes a setting, globally or for one zone, cluster, storage, account or domain.

    value: the new value
    imagestoreuuid: id of the secondary storage
    """
    scope, thing = _scope(
        ctx, zoneid=zoneid, clusterid=clusterid, storageid=storageid, imagestoreuuid=imagestoreuuid,
        accountid=accountid, domainid=domainid,
    )  # fmt: skip
    declared = known(name)
    before = _at(ctx.tx, declared, scope, thing)
    store(
        ctx.tx, name, value or "", scope, thing.id if thing is not None else "",
        by=ctx.caller.username, before=declared.text(before),
    )  # fmt: skip
    return _tell(ctx, declared, scope, thing, before)


@command(
    "resetConfiguration", roles=ROOT, shape="object", key="configuration", event="CONFIGURATION.VALUE.EDIT",
    fields=FIELDS, refused=MANAGED,
)  # fmt: skip
def reset_setting(
    ctx: Ctx,
    name: str,
    zoneid: Zoned = None,
    clusterid: Clustered = None,
    storageid: Pooled = None,
    imagestoreid: Stored = None,
    accountid: Accounted = None,
    domainid: Domained = None,
) -> dict[str, Any]:
    """Takes a changed setting back: to its default, or for one zone, cluster, storage, account or domain to what holds above it."""
    scope, thing = _scope(
        ctx, zoneid=zoneid, clusterid=clusterid, storageid=storageid, imagestoreid=imagestoreid,
        accountid=accountid, domainid=domainid,
    )  # fmt: skip
    declared = known(name)
    before = _at(ctx.tx, declared, scope, thing)
    reset(ctx.tx, name, scope, thing.id if thing is not None else "")
    return _tell(ctx, declared, scope, thing, before)


GROUP_FIELDS = (
    Field("name"),
    Field("description"),
    Field("precedence", "long"),
    Field("subgroup", "list", of=(Field("name"), Field("precedence", "long"))),
)


@command(
    "listConfigurationGroups", roles=ROOT, shape="list", key="configurationgroup", reads=True, fields=GROUP_FIELDS
)
def list_groups(
    ctx: Ctx,
    group: str | None = None,
    keyword: str | None = None,
    page: int | None = None,
    pagesize: int | None = None,
) -> dict[str, Any]:
    """Lists the groups of settings with their subgroups.

    group: name of the group
    """
    used = {group_of(s) for s in SETTINGS.values() if s.category != "Hidden"}
    rows = []
    for name, (place, subgroups) in sorted(GROUPS.items(), key=lambda g: g[1][0]):
        inside = [s for s in subgroups if (name, s) in used]
        if (group is None or group.lower() == name.lower()) and (keyword is None or keyword.lower() in name.lower()) and inside:
            below = [{"name": s, "precedence": 999 if s == "Others" else n} for n, s in enumerate(inside, 1)]
            rows.append({"name": name, "description": ABOUT[name], "precedence": place, "subgroup": below})
    return paged("configurationgroup", rows, page, pagesize)


PAGE_SIZE = setting("default.ui.page.size", 20, "How many rows a console shows on a page.", low=1, shape="Long")
capability("defaultuipagesize", lambda tx, caller: PAGE_SIZE.get(tx))
