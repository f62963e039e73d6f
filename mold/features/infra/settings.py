"""Settings: declared on the thing they govern, stored when changed, effective at once.

`NAME = setting("the.name", default, "what it does")` stands in the slice that honours it; `NAME.get(tx)` reads the
value for a scope.  Values are remembered, because every request asks for some; see `mold.store.memory`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Generic, TypeVar

from mold.api.answer import Field
from mold.api.command import Ctx, Param, command
from mold.api.lists import paged
from mold.api.model import capability
from mold.api.permit import ROOT, Infra, RoleType
from mold.base.errors import Denied, Invalid
from mold.store import REGISTRY, Resource, Tx, column

T = TypeVar("T", bool, int, float, str)


class Setting(Resource):
    """A changed value. `scope` is Global or the kind of the thing that `scope_id` names."""

    kind = "setting"
    unique = (("name", "scope", "scope_id"),)
    policy = Infra()

    name: str = column()
    scope: str = column(default="Global")
    scope_id: str = column(default="")
    value: str = column()


@dataclass
class Declared(Generic[T]):
    """A setting as declared."""

    name: str
    default: T
    doc: str
    group: str
    scopes: tuple[str, ...]
    low: float | None
    choices: tuple[str, ...]

    def get(self, tx: Tx, **scope: str | None) -> T:
        """The value for the first scope given (`zone=id`, `cluster=id`, …) that has one, else the global one."""
        values = _values(tx)
        for kind, id in scope.items():
            if id is not None and (found := values.get((self.name, kind, id))) is not None:
                return self.read(found)
        found = values.get((self.name, "Global", ""))
        return self.default if found is None else self.read(found)

    def read(self, text: str) -> T:
        """The value that `text` means; Invalid says what was expected."""
        kind = type(self.default)
        try:
            if kind is bool:
                if text.strip().lower() not in ("true", "false"):
                    raise ValueError(text)
                return kind(text.strip().lower() == "true")
            value = kind(text)
        except ValueError:
            raise Invalid(f"{self.name} cannot be '{text[:80]}': it is a {kind.__name__}.", name=self.name) from None
        if self.low is not None and isinstance(value, int | float) and value < self.low:
            raise Invalid(f"{self.name} must be at least {self.low}.", name=self.name)
        if self.choices and value not in self.choices:
            raise Invalid(f"{self.name} must be one of {', '.join(self.choices)}.", name=self.name)
        return value


KINDS = {"zone": "zone", "cluster": "cluster", "storage": "storagepool", "account": "account", "domain": "domain"}
"""Scope -> kind of the thing it is about."""
SETTINGS: dict[str, Declared[Any]] = {}


def setting(
    name: str,
    default: T,
    doc: str,
    *,
    group: str = "Miscellaneous",
    scopes: tuple[str, ...] = (),
    low: float | None = None,
    choices: tuple[str, ...] = (),
) -> Declared[T]:
    """Declare a setting. `scopes` are the kinds it may be set for besides globally (`zone`, `cluster`, …)."""
    made = Declared(name, default, doc, group, scopes, low, choices)
    SETTINGS[name] = made
    return made


def _values(tx: Tx) -> dict[tuple[str, str, str], str]:
    return tx.remembered(
        "settings", (Setting,), lambda: {(r.name, r.scope, r.scope_id): r.value for r in tx.find(Setting)}
    )


def store(tx: Tx, name: str, text: str, scope: str = "Global", scope_id: str = "") -> None:
    """Set a value."""
    declared = SETTINGS.get(name)
    if declared is None:
        raise Invalid(f"There is no setting {name[:100]}.", name=name)
    if scope != "Global" and scope not in declared.scopes:
        raise Invalid(
            f"{name} cannot be set for a {scope}; it is {'global' if not declared.scopes else 'for ' + ', '.join(declared.scopes)}.",
            name=name,
        )
    declared.read(text)
    thing = REGISTRY[KINDS[scope]] if scope != "Global" else None
    if thing is not None and tx.get(thing, scope_id) is None:
        raise Invalid(f"There is no {thing.title} with the id {scope_id[:80]}.", name=name)
    found = tx.first(Setting, Setting.c.name == name, Setting.c.scope == scope, Setting.c.scope_id == scope_id)
    if found is None:
        tx.add(Setting(name=name, scope=scope, scope_id=scope_id, value=text))
    else:
        tx.set(found, value=text)
    _effect(tx, name, scope, scope_id)


def reset(tx: Tx, name: str, scope: str = "Global", scope_id: str = "") -> None:
    """Take a changed value back."""
    if name not in SETTINGS:
        raise Invalid(f"There is no setting {name[:100]}.", name=name)
    found = tx.first(Setting, Setting.c.name == name, Setting.c.scope == scope, Setting.c.scope_id == scope_id)
    if found is not None:
        tx.remove(found)
    _effect(tx, name, scope, scope_id)


CHANGED: dict[str, Callable[[Tx, str, str], None]] = {}
"""What follows in the same transaction when a setting changes: (tx, scope, scope id)."""


def _effect(tx: Tx, name: str, scope: str, scope_id: str) -> None:
    follow = CHANGED.get(name)
    if follow is not None:
        follow(tx, scope, scope_id)


FIELDS = (
    Field("name"),
    Field("category"),
    Field("group"),
    Field("subgroup"),
    Field("value"),
    Field("defaultvalue"),
    Field("description"),
    Field("scope"),
    Field("isdynamic", "boolean"),
    Field("type"),
    Field("displaytext"),
    Field("options"),
)


def _shown(declared: Declared[Any], value: Any) -> dict[str, Any]:
    def text(v: Any) -> str:
        return str(v).lower() if isinstance(v, bool) else str(v)

    kinds = {bool: "Boolean", int: "Number", float: "Decimal", str: "String"}
    shape: dict[str, Any] = {
        "name": declared.name,
        "category": "Advanced",
        "group": declared.group,
        "subgroup": "Others",
        "value": text(value),
        "defaultvalue": text(declared.default),
        "description": declared.doc,
        "scope": " ".join(("Global", *declared.scopes)).title(),
        "isdynamic": True,
        "type": kinds[type(declared.default)],
        "displaytext": declared.name.replace(".", " ").capitalize(),
    }
    if declared.choices:
        shape["options"] = ",".join(declared.choices)
    return shape


Zoned = Annotated[Resource | None, Param(of="zone", access="see")]
Clustered = Annotated[Resource | None, Param(of="cluster", access="see")]
Stored = Annotated[Resource | None, Param(of="storagepool", access="see")]
Accounted = Annotated[Resource | None, Param(of="account", access="see")]
Domained = Annotated[Resource | None, Param(of="domain", access="see")]
ELSEWHERE = {
    "imagestoreuuid:uuid": "not offered yet: no setting is for an image store",
    "managementserverid:uuid": "not offered: settings are the same on every manager",
}
SCOPED = {
    "zoneid": "zone",
    "clusterid": "cluster",
    "storageid": "storage",
    "accountid": "account",
    "domainid": "domain",
}


MAY = frozenset({RoleType.ADMIN, RoleType.DOMAIN})


def _tenants_only(ctx: Ctx, scope: str) -> None:
    """A domain admin sees and changes what is set for her own domains and accounts, nothing else."""
    if not (ctx.caller.root or ctx.caller.internal) and scope not in ("account", "domain"):
        raise Denied("Say for which account or domain (accountid or domainid); other settings are the root admins'.")


def _scope(given: dict[str, Resource | None]) -> tuple[str, str]:
    chosen = [(SCOPED[k], v.id) for k, v in given.items() if v is not None]
    if len(chosen) > 1:
        raise Invalid("Give one scope only: zoneid, clusterid, storageid, accountid or domainid.")
    return chosen[0] if chosen else ("Global", "")


@command(
    "listConfigurations",
    roles=MAY,
    shape="list",
    key="configuration",
    reads=True,
    fields=FIELDS,
    refused=ELSEWHERE,
)
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
    storageid: Stored = None,
    accountid: Accounted = None,
    domainid: Domained = None,
    page: int | None = None,
    pagesize: int | None = None,
) -> dict[str, Any]:
    """Lists settings with their values.

    category: category of settings; there is Advanced
    group: group of settings
    subgroup: subgroup of settings; there is Others
    parent: settings that depend on this one; none do
    """
    scope, scope_id = _scope(
        {"zoneid": zoneid, "clusterid": clusterid, "storageid": storageid, "accountid": accountid, "domainid": domainid}
    )
    _tenants_only(ctx, scope)
    found = [
        _shown(s, s.get(ctx.tx, **({scope: scope_id} if scope_id else {})))
        for s in sorted(SETTINGS.values(), key=lambda s: s.name)
        if (name is None or s.name == name)
        and (keyword is None or keyword.lower() in s.name.lower())
        and (group is None or s.group.lower() == group.lower())
        and (category is None or category.lower() == "advanced")
        and (subgroup is None or subgroup.lower() == "others")
        and not parent
        and (scope == "Global" or scope in s.scopes)
    ]
    return paged("configuration", found, page, pagesize)


@command(
    "updateConfiguration",
    roles=MAY,
    shape="object",
    key="configuration",
    event="CONFIGURATION.VALUE.EDIT",
    fields=FIELDS,
    refused=ELSEWHERE,
)
def update_setting(
    ctx: Ctx,
    name: str,
    value: Annotated[str | None, Param(length=4096)] = None,
    zoneid: Zoned = None,
    clusterid: Clustered = None,
    storageid: Stored = None,
    accountid: Accounted = None,
    domainid: Domained = None,
) -> dict[str, Any]:
    """Changes a setting, globally or for one zone, cluster, storage, account or domain.

    value: the new value
    """
    scope, scope_id = _scope(
        {"zoneid": zoneid, "clusterid": clusterid, "storageid": storageid, "accountid": accountid, "domainid": domainid}
    )
    _tenants_only(ctx, scope)
    store(ctx.tx, name, value or "", scope, scope_id)
    return {"configuration": _shown(SETTINGS[name], SETTINGS[name].read(value or ""))}


@command(
    "resetConfiguration",
    roles=ROOT,
    shape="object",
    key="configuration",
    event="CONFIGURATION.VALUE.EDIT",
    fields=FIELDS,
    refused={
        "imagestoreid:uuid": ELSEWHERE["imagestoreuuid:uuid"],
        "managementserverid:uuid": ELSEWHERE["managementserverid:uuid"],
    },
)
def reset_setting(
    ctx: Ctx,
    name: str,
    zoneid: Zoned = None,
    clusterid: Clustered = None,
    storageid: Stored = None,
    accountid: Accounted = None,
    domainid: Domained = None,
) -> dict[str, Any]:
    """Takes a changed setting back: to its default, or for one zone, cluster, storage, account or domain to the global value."""
    scope, scope_id = _scope(
        {"zoneid": zoneid, "clusterid": clusterid, "storageid": storageid, "accountid": accountid, "domainid": domainid}
    )
    reset(ctx.tx, name, scope, scope_id)
    declared = SETTINGS[name]
    return {"configuration": _shown(declared, declared.get(ctx.tx))}


PAGE_SIZE = setting(
    "default.ui.page.size", 20, "How many rows a console shows on a page.", group="Miscellaneous", low=1
)
capability("defaultuipagesize", lambda tx, caller: PAGE_SIZE.get(tx))
