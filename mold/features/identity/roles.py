"""Roles: which commands an account may call, by ordered rules.

The role Root Admin passes everything.  For others the first rule that matches decides; without one the role's type
does, for the commands that `roles.toml` says are implied by it.  What comes with the installation is never changed.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from mold.api.answer import Field, shown
from mold.api.command import COMMANDS, Command, Ctx, Param, command
from mold.api.lists import Query, lists
from mold.api.permit import ADMINS, FALSE, RANK, ROOT, TRUE, Caller, Policy, RoleType
from mold.base.errors import Conflict, Denied, InUse, Invalid, NotFound
from mold.features.identity.rules import Rules, pattern_of, permission_of
from mold.store import REGISTRY, Resource, Tx, column, refers

ROOT_ADMIN = "00000000-0000-4000-8000-000000000001"
"""The id of the role Root Admin, the only one without limits."""
RoleTypeName = Literal["Admin", "ResourceAdmin", "DomainAdmin", "User"]


class Givable(Policy):
    """Roles: admins see public ones that rank no higher than their own, and give those that are not above it."""

    def see(self, caller: Caller, t: Any) -> Any:
        if caller.root:
            return TRUE
        if caller.role is RoleType.USER:
            return FALSE
        return t.c.ispublic & t.c.role_type.in_([r.value for r, n in RANK.items() if n <= caller.rank])

    def use(self, caller: Caller, t: Any) -> Any:
        seen = self.see(caller, t)
        return seen if caller.over is None else seen & t.c.id.in_(caller.over())

    def operate(self, caller: Caller, t: Any) -> Any:
        return self.use(caller, t) if caller.root else FALSE


class Role(Resource):
    """A role. `isdefault` marks those that came with the installation; a private one is seen by root admins only."""

    kind = "role"
    unique = (("name",),)
    policy = Givable()
    appears = {"roleid": "id", "rolename": "name"}

    name: str = column(filter=True, keyword=True)
    role_type: str = column(api="type", filter=True)
    description: str | None = column(default=None)
    state: str = column(default="enabled", filter=True)
    isdefault: bool = column(default=False)
    ispublic: bool = column(default=True)


class RolePermission(Resource):
    """One rule of a role; the lowest position is asked first."""

    kind = "rolepermission"
    title = "role permission"
    indexes = (("role_id", "position"),)
    policy = Policy()

    role_id: str = refers("role", cascade=True, filter=False)
    rule: str = column()
    permission: str = column()
    description: str | None = column(default=None)
    position: int = column(hidden=True)


@cache
def supplied() -> dict[str, Any]:
    """What `roles.toml` says."""
    return tomllib.loads((Path(__file__).parent / "roles.toml").read_text())


@cache
def implied() -> dict[str, frozenset[RoleType]]:
    """Command -> types of role that may call it without a rule."""
    return {
        name: frozenset(map(RoleType, types.split()))
        for types, names in supplied()["implied"].items()
        for name in names.split()
    }


def defaults(tx: Tx) -> None:
    """The roles of a new installation."""
    for number, each in enumerate(supplied()["role"], 1):
        role = Role(name=each["name"], role_type=each["type"], description=each["description"], isdefault=True)
        role.id = ROOT_ADMIN[:-1] + str(number)
        tx.add(role)
        for place, text in enumerate(each["rules"].split()):
            permission = "deny" if text.startswith("!") else "allow"
            tx.add(RolePermission(role_id=role.id, rule=text.lstrip("!"), permission=permission, position=place))


def default(tx: Tx, kind: RoleType) -> Role:
    """The role that an account of this kind has when nobody says another."""
    return tx.one(Role, ROOT_ADMIN[:-1] + str([*RoleType].index(kind) + 1))


@dataclass(frozen=True)
class Standing:
    """A role as requests are measured by it."""

    id: str
    name: str
    type: RoleType
    enabled: bool
    rules: Rules

    def allows(self, made: Command) -> bool:
        """Whether accounts of this role may call the command."""
        if self.id == ROOT_ADMIN:
            return True
        said = self.rules.verdict(made.name)
        return self.type in implied().get(made.name, made.roles) if said is None else said


def _read(tx: Tx, role: Role) -> Standing:
    lines = tx.find(RolePermission, RolePermission.c.role_id == role.id, order=RolePermission.c.position)
    rules = Rules((p.rule, p.permission == "allow") for p in lines)
    return Standing(role.id, role.name, RoleType(role.role_type), role.state == "enabled", rules)


def standing(tx: Tx, role_id: str) -> Standing:
    """A role with its rules; remembered for a moment, so a request asks the database nothing."""
    return tx.remembered(
        ("standing", role_id), (Role, RolePermission), lambda: _read(tx, tx.one(Role, role_id))
    )


def not_above(tx: Tx, role_id: str) -> frozenset[str]:
    """Ids of the roles that do not rank above this one.

    The type decides; of the same type, a role ranks above when it allows a command that this one denies.
    """
    return tx.remembered(("not above", role_id), (Role, RolePermission), lambda: _not_above(tx, role_id))


def _not_above(tx: Tx, role_id: str) -> frozenset[str]:
    own = standing(tx, role_id)
    known = {r.id: r for r in tx.find(Role)}
    if own.id == ROOT_ADMIN:
        return frozenset(known)
    lower = {i for i, r in known.items() if RANK[RoleType(r.role_type)] < RANK[own.type]}
    denied = [c for c in COMMANDS.values() if not c.open and not own.allows(c)]
    peers = (standing(tx, i) for i, r in known.items() if r.role_type == own.type.value)
    return frozenset(lower | {p.id for p in peers if not any(p.allows(c) for c in denied)})


# -- commands ------------------------------------------------------------------------------------------------------


@lists("listRoles", Role, roles=ADMINS, everyones=True)
def _roles(q: Query, type: str | None = None, state: str | None = None) -> None:
    """Lists the roles that accounts may have; an admin sees those that rank no higher than her own.

    type: Admin, ResourceAdmin, DomainAdmin or User
    state: enabled or disabled
    """
    if type is not None:
        q.where(Role.c.role_type.in_([r.value for r in RoleType if r.value.lower() == type.lower()]))
    if state is not None:
        q.where(Role.c.state == state.lower())


@lists("listRolePermissions", RolePermission, roles=ROOT, id_param=False)
def _permissions(q: Query, roleid: Role | None = None) -> None:
    """Lists the rules of a role in their order.

    roleid: the role; without it: of all roles
    """
    if roleid is not None:
        q.where(RolePermission.c.role_id == roleid.id)
    q.order = [RolePermission.c.role_id, RolePermission.c.position, RolePermission.c.number]


@shown(RolePermission, Field("roleid"), Field("rolename"))
def _role_of(tx: Tx, rows: list[Any], caller: Any) -> dict[str, dict[str, Any]]:
    found = tx.among(Role, list({r.role_id for r in rows}))
    return {r.id: {"roleid": r.role_id, "rolename": found[r.role_id].name} for r in rows}


def _changeable(ctx: Ctx, role: Role) -> Role:
    """The role, if this caller may change it."""
    if role.isdefault:
        raise Denied(f"The role {role.name} came with the installation and is not changed; make one from it instead.")
    if not ctx.caller.internal and role.id == ctx.caller.role_id:
        raise Denied(f"You have the role {role.name} yourself; somebody with another role has to change it.")
    return role


def _not_above_caller(ctx: Ctx, role: Role) -> Role:
    """The role as it has become, if it does not rank above the caller's own."""
    if ctx.caller.over is not None and role.id not in ctx.caller.over():
        raise Denied(f"The role {role.name} would allow commands that your own role denies.")
    return role


def _named(tx: Tx, name: str, but: str | None = None) -> str:
    word = name.strip()
    if not word:
        raise Invalid("A role's name must not be empty.", parameter="name")
    if tx.first(Role, Role.c.name == word, Role.c.id != (but or "")) is not None:
        raise Conflict(f"There is already a role '{word}'; choose another name.", field="name", value=word)
    return word


@command("createRole", roles=ROOT, answers=Role, event="ROLE.CREATE")
def create(
    ctx: Ctx,
    name: str,
    type: RoleTypeName | None = None,
    roleid: Role | None = None,
    description: str | None = None,
    ispublic: bool = True,
) -> Role:
    """Creates a role, empty or with the rules of another.

    type: Admin, ResourceAdmin, DomainAdmin or User; or give roleid
    roleid: the role whose type and rules it gets
    description: a description for people
    ispublic: false: only root admins see it and give it to accounts
    """
    if (type is None) == (roleid is None):
        raise Invalid("Give either the type of the role or the role to make it from.", parameter="type")
    kind = roleid.role_type if roleid is not None else str(type)
    made = ctx.tx.add(
        Role(name=_named(ctx.tx, name), role_type=kind, description=description or None, ispublic=ispublic)
    )
    if roleid is not None:
        lines = ctx.tx.find(RolePermission, RolePermission.c.role_id == roleid.id, order=RolePermission.c.position)
        if roleid.id == ROOT_ADMIN:
            lines = [RolePermission(role_id=roleid.id, rule="*", permission="allow", position=0)]
        _write(ctx.tx, made, [(p.rule, p.permission, p.description) for p in lines])
    return _not_above_caller(ctx, made)


def _write(tx: Tx, role: Role, lines: list[tuple[str, str, str | None]]) -> None:
    for place, (rule, permission, text) in enumerate(lines):
        tx.add(
            RolePermission(role_id=role.id, rule=rule, permission=permission, description=text or None, position=place)
        )


@command("importRole", roles=ROOT, answers=Role, event="ROLE.IMPORT")
def import_role(
    ctx: Ctx,
    name: str,
    rules: Annotated[list[dict[str, str]], Param(keys=("rule", "permission", "description"))],
    type: RoleTypeName = "User",
    description: str | None = None,
    ispublic: bool = True,
    forced: bool = False,
) -> Role:
    """Creates a role with all its rules at once.

    rules: rules[0].rule=listZones&rules[0].permission=allow&rules[0].description=…, in their order
    type: Admin, ResourceAdmin, DomainAdmin or User
    description: a description for people
    ispublic: false: only root admins see it and give it to accounts
    forced: replace the role of this name, if there is one that did not come with the installation
    """
    tx = ctx.tx
    lines: list[tuple[str, str, str | None]] = []
    for each in rules:
        if not {"rule", "permission"} <= set(each):
            raise Invalid("Each rules[i] needs a rule and a permission.", parameter="rules")
        lines.append((pattern_of(each["rule"]), permission_of(each["permission"]), each.get("description")))
    old = tx.first(Role, Role.c.name == name.strip()) if forced else None
    if old is not None:
        made = _not_above_caller(ctx, _changeable(ctx, old))
        if made.role_type != type:
            _unused(tx, made)
        tx.set(made, role_type=type, description=description or None, ispublic=ispublic)
        for line in tx.find(RolePermission, RolePermission.c.role_id == made.id):
            tx.remove(line)
    else:
        made = tx.add(
            Role(name=_named(tx, name), role_type=type, description=description or None, ispublic=ispublic)
        )
    _write(tx, made, lines)
    return _not_above_caller(ctx, made)


def _unused(tx: Tx, role: Role) -> None:
    """InUse when accounts have the role."""
    account = REGISTRY["account"]
    user = tx.first(account, account.c.role_id == role.id)
    if user is not None:
        raise InUse(
            f"The account {user.__dict__['name']} has the role {role.name}; give it another one first.",
            roleid=role.id,
            usedbyid=user.id,
        )


@command("updateRole", roles=ROOT, answers=Role, event="ROLE.UPDATE")
def update(
    ctx: Ctx,
    id: Role,
    name: str | None = None,
    type: RoleTypeName | None = None,
    description: str | None = None,
    ispublic: bool | None = None,
) -> Role:
    """Changes a role's name, description, type or visibility.

    type: Admin, ResourceAdmin, DomainAdmin or User; as long as no account has the role
    description: a description for people
    ispublic: false: only root admins see it and give it to accounts
    """
    role = _changeable(ctx, id)
    if type is not None and type != role.role_type:
        _unused(ctx.tx, role)
        ctx.tx.set(role, role_type=type)
    if name is not None:
        ctx.tx.set(role, name=_named(ctx.tx, name, role.id))
    if description is not None:
        ctx.tx.set(role, description=description or None)
    if ispublic is not None:
        ctx.tx.set(role, ispublic=ispublic)
    return _not_above_caller(ctx, role)


@command("enableRole", roles=ROOT, event="ROLE.ENABLE")
def enable(ctx: Ctx, id: Role) -> None:
    """Enables a role: its accounts may call again what its rules allow."""
    ctx.tx.set(_changeable(ctx, id), state="enabled")


@command("disableRole", roles=ROOT, event="ROLE.DISABLE")
def disable(ctx: Ctx, id: Role) -> None:
    """Disables a role: its accounts may call nothing."""
    ctx.tx.set(_changeable(ctx, id), state="disabled")


@command("deleteRole", roles=ROOT, event="ROLE.DELETE")
def delete(ctx: Ctx, id: Role) -> None:
    """Deletes a role that no account has."""
    _unused(ctx.tx, _changeable(ctx, id))
    ctx.tx.remove(id)


@command("createRolePermission", roles=ROOT, answers=RolePermission, event="ROLE.PERMISSION.CREATE")
def create_permission(
    ctx: Ctx,
    roleid: Annotated[Role, Param(access="operate")],
    rule: str,
    permission: str,
    description: str | None = None,
) -> RolePermission:
    """Adds a rule at the end of a role's rules.

    roleid: the role
    rule: name of a command, * for any run of letters and digits
    permission: allow or deny
    description: a description for people
    """
    tx, role = ctx.tx, _changeable(ctx, roleid)
    c = RolePermission.c
    last = tx.first(RolePermission, c.role_id == role.id, order=c.position.desc())
    made = RolePermission(
        role_id=role.id,
        rule=pattern_of(rule),
        permission=permission_of(permission),
        description=description or None,
        position=last.position + 1 if last else 0,
    )
    tx.add(made)
    _not_above_caller(ctx, role)
    return made


@command("updateRolePermission", roles=ROOT, event="ROLE.PERMISSION.UPDATE")
def update_permission(
    ctx: Ctx,
    roleid: Annotated[Role, Param(access="operate")],
    ruleid: Annotated[RolePermission | None, Param(access="operate")] = None,
    ruleorder: Annotated[list[RolePermission] | None, Param(access="operate")] = None,
    permission: str | None = None,
) -> None:
    """Changes a rule's permission, or the order of a role's rules.

    roleid: the role
    ruleid: the rule that gets another permission
    ruleorder: ids of all rules of the role in their new order, comma separated
    permission: allow or deny; needs ruleid
    """
    tx, role = ctx.tx, _changeable(ctx, roleid)
    if (ruleorder is None) == (ruleid is None):
        raise Invalid("Give either ruleid with a permission, or ruleorder.", parameter="ruleorder")
    if ruleid is not None:
        if ruleid.role_id != role.id:
            raise NotFound(f"The role {role.name} has no rule {ruleid.id}.", id=ruleid.id)
        if permission is None:
            raise Invalid("ruleid needs a permission: allow or deny.", parameter="permission")
        tx.set(ruleid, permission=permission_of(permission))
    if ruleorder is not None:
        if permission is not None:
            raise Invalid("A permission is set for one rule; give ruleid instead of ruleorder.", parameter="permission")
        reorder(tx, tx.find(RolePermission, RolePermission.c.role_id == role.id), ruleorder)
    _not_above_caller(ctx, role)


def reorder(tx: Tx, have: list[Any], wanted: list[Any]) -> None:
    """Put rules in the order wanted; Invalid unless these are exactly the rules there are."""
    if {r.id for r in have} != {r.id for r in wanted}:
        raise Invalid(
            "ruleorder must name every rule of the role once: rules were added or removed meanwhile, or are another's.",
            parameter="ruleorder",
        )
    for place, each in enumerate(wanted):
        tx.set(each, position=place)


@command("deleteRolePermission", roles=ROOT, event="ROLE.PERMISSION.DELETE")
def delete_permission(ctx: Ctx, id: RolePermission) -> None:
    """Deletes a rule of a role."""
    role = _changeable(ctx, ctx.tx.one(Role, id.role_id))
    ctx.tx.remove(id)
    _not_above_caller(ctx, role)
