"""Roles: what an account may call."""

from __future__ import annotations

from typing import Annotated, Any

from mold.api.answer import Field
from mold.api.command import Ctx, Param, command
from mold.api.lists import paged
from mold.api.permit import ADMINS, RANK, RoleType

ROLE_NAMES = {
    RoleType.ADMIN: "Root Admin",
    RoleType.RESOURCE: "Resource Admin",
    RoleType.DOMAIN: "Domain Admin",
    RoleType.USER: "User",
}
ROLE_IDS = {r: f"00000000-0000-4000-8000-00000000000{n}" for n, r in enumerate(RoleType, 1)}
ROLE_FIELDS = (
    Field("id"),
    Field("name"),
    Field("type"),
    Field("description"),
    Field("state"),
    Field("isdefault", "boolean"),
    Field("ispublic", "boolean"),
)


@command("listRoles", roles=ADMINS, shape="list", key="role", reads=True, fields=ROLE_FIELDS)
def list_roles(
    ctx: Ctx,
    id: Annotated[str | None, Param(kind="uuid")] = None,
    name: str | None = None,
    type: str | None = None,
    state: str | None = None,
    keyword: str | None = None,
    page: int | None = None,
    pagesize: int | None = None,
) -> dict[str, Any]:
    """Lists the roles that accounts may have; an admin sees those that rank no higher than her own.

    id: the id
    type: Admin, ResourceAdmin, DomainAdmin or User
    """
    found = [
        {
            "id": ROLE_IDS[role],
            "name": label,
            "type": role.value,
            "description": f"Default role of the type {role.value}",
            "state": "enabled",
            "isdefault": True,
            "ispublic": True,
        }
        for role, label in ROLE_NAMES.items()
        if RANK[role] <= ctx.caller.rank
        and (id is None or ROLE_IDS[role] == id)
        and (name is None or label == name)
        and (type is None or role.value.lower() == type.lower())
        and (state is None or state.lower() == "enabled")
        and (keyword is None or keyword.lower() in label.lower())
    ]
    return paged("role", found, page, pagesize)
