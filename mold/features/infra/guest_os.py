"""Guest operating systems: categories and types, as templates and machines name them."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from mold.api.answer import Field, shown
from mold.api.command import LATER
from mold.api.lists import Query, lists
from mold.api.permit import Open
from mold.store import Resource, Tx, column, created, refers


class OsCategory(Resource):
    """A family of systems."""

    kind = "oscategory"
    title = "OS category"
    appears = {"oscategoryid": "id", "oscategoryname": "name"}
    policy = Open()

    name: str = column(unique=True, filter=True, keyword=True)
    sortkey: int = column(default=0, hidden=True)
    featured: bool = column(default=True, api="isfeatured")
    created: str = created()


class OsType(Resource):
    """A system. `description` is its name."""

    kind = "ostype"
    steady = True
    title = "OS type"
    appears = {"ostypeid": "id", "ostypename": "name"}
    policy = Open()

    name: str = column(unique=True, api="description", keyword=True)
    oscategory_id: str = refers("oscategory")
    user_defined: bool = column(default=False, api="isuserdefined")


@lists(
    "listOsCategories",
    OsCategory,
    refused={
        "arch:string": LATER,
        "isiso:boolean": LATER,
        "isvnf:boolean": LATER,
        "zoneid:uuid": LATER,
    },
)
def _categories(q: Query, isfeatured: bool | None = None, showicon: bool | None = None) -> None:
    """Lists OS categories.

    isfeatured: only those shown first
    """
    if isfeatured is not None:
        q.where(OsCategory.c.featured == isfeatured)
    q.order = [OsCategory.c.sortkey, OsCategory.c.number]


@shown(OsType, Field("name"), Field("fordisplay", "boolean"))
def _named(tx: Tx, rows: list[Any], caller: Any) -> dict[str, dict[str, Any]]:
    return {r.id: {"name": r.name, "fordisplay": True} for r in rows}


@lists("listOsTypes", OsType)
def _types(
    q: Query, description: str | None = None, ids: list[OsType] | None = None, fordisplay: bool | None = None
) -> None:
    """Lists OS types.

    description: the exact name
    fordisplay: false: those that are not shown to users; there are none
    """
    if ids is not None:
        q.where(q.tx.any_of(OsType.c.id, [t.id for t in ids]))
    if fordisplay is False:
        q.where(sa.false())
    if description is not None:
        q.where(OsType.c.name == description)


STARTERS: dict[str, tuple[str, ...]] = {
    "Ubuntu": ("Ubuntu 20.04 LTS", "Ubuntu 22.04 LTS", "Ubuntu 24.04 LTS"),
    "Debian": ("Debian GNU/Linux 11 (64-bit)", "Debian GNU/Linux 12 (64-bit)"),
    "Fedora": ("Fedora Linux (64 bit)",),
    "CentOS": ("CentOS 7", "CentOS 8", "CentOS Stream 9"),
    "Rocky Linux": ("Rocky Linux 8", "Rocky Linux 9"),
    "AlmaLinux": ("AlmaLinux 8", "AlmaLinux 9"),
    "Oracle": ("Oracle Linux 8", "Oracle Linux 9"),
    "RedHat": ("Red Hat Enterprise Linux 8.0", "Red Hat Enterprise Linux 9.0"),
    "SUSE": ("SUSE Linux Enterprise Server 15 (64-bit)", "openSUSE Leap 15.4"),
    "Windows": (
        "Windows 10 (64-bit)",
        "Windows 11 (64-bit)",
        "Windows Server 2019 (64-bit)",
        "Windows Server 2022 (64-bit)",
    ),
    "Other": ("Other Linux (64-bit)", "Other (64-bit)", "Other PV Virtio-SCSI (64-bit)"),
}


def defaults(tx: Tx) -> None:
    """The systems of a new installation."""
    for order, (category, names) in enumerate(STARTERS.items(), 1):
        made = tx.add(OsCategory(name=category, sortkey=order))
        for name in names:
            tx.add(OsType(name=name, oscategory_id=made.id))
