"""Icons of things: small pictures, PNG or JPEG, that lists show with them.

A picture is looked at from end to end before it is kept: nothing but a picture, of a size that an icon has, is handed on
to other people's browsers.  SVG is a document that may hold scripts, and is refused.
"""

from __future__ import annotations

import base64
import binascii
import zlib
from typing import Annotated, Any

import sqlalchemy as sa

from mold.api.answer import Field, shown
from mold.api.command import SETTLED, Ctx, Param, command
from mold.base.errors import Invalid
from mold.features.identity.things import TYPES, kind_of, known, name_of, noted, noting, thing
from mold.store import REGISTRY, Resource, Tx, column, created

BASE64_MAX = 2_097_152
"""What the API lets through; what is kept is bounded by BYTES_MAX."""
BYTES_MAX = 256 * 1024
SIDE_MAX = 1024
TOO_ODD = "The picture is damaged, or holds something else as well; save it anew as a PNG or JPEG."


class Icon(Resource):
    """The icon of a thing."""

    kind = "resourceicon"
    title = "icon"
    unique = (("resource_kind", "resource_id"),)

    resource_kind: str = column(hidden=True)
    resource_id: str = column(api="resourceid")
    image: str = column(api="base64image", doc="PNG or JPEG, base64")
    created: str = created()


noting(Icon, "resource_kind", "resource_id")


def picture(text: str) -> str:
    """The picture in base64 as it is kept; Invalid when it is none, or too large."""
    word = text.strip()
    if word.startswith("data:"):
        head, _, word = word.partition(",")
        if head not in ("data:image/png;base64", "data:image/jpeg;base64"):
            raise Invalid("An icon must be a PNG or JPEG picture.", parameter="base64image")
    try:
        data = base64.b64decode("".join(word.split()), validate=True)
    except (binascii.Error, ValueError):
        raise Invalid("The icon is not base64.", parameter="base64image") from None
    if len(data) > BYTES_MAX:
        raise Invalid(f"An icon has at most {BYTES_MAX // 1024} KiB; make it smaller.", parameter="base64image")
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        width, height = _png(data)
    elif data.startswith(b"\xff\xd8\xff"):
        width, height = _jpeg(data)
    else:
        raise Invalid("An icon must be a PNG or JPEG picture.", parameter="base64image")
    if not (1 <= width <= SIDE_MAX and 1 <= height <= SIDE_MAX):
        raise Invalid(f"An icon is at most {SIDE_MAX} pixels wide and high, not {width}x{height}.", parameter="base64image")
    return base64.b64encode(data).decode()


def _odd() -> Invalid:
    return Invalid(TOO_ODD, parameter="base64image")


def _png(data: bytes) -> tuple[int, int]:
    """Width and height; every chunk must be whole, the first the header and the last the end of the data."""
    at, size = 8, (0, 0)
    seen: list[bytes] = []
    while at < len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        name, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        end = data[at + 8 + length : at + 12 + length]
        if len(body) != length or len(end) != 4 or zlib.crc32(name + body) != int.from_bytes(end, "big"):
            raise _odd()
        if not seen:
            if name != b"IHDR" or length != 13:
                raise _odd()
            size = (int.from_bytes(body[:4], "big"), int.from_bytes(body[4:8], "big"))
        seen.append(name)
        at += 12 + length
        if name == b"IEND":
            break
    if at != len(data) or seen[-1:] != [b"IEND"] or b"IDAT" not in seen:
        raise _odd()
    return size


def _jpeg(data: bytes) -> tuple[int, int]:
    """Width and height; segments must follow one another up to the end mark, and nothing comes after it."""
    at, size = 2, None
    while at + 4 <= len(data):
        if data[at] != 0xFF:
            raise _odd()
        mark = data[at + 1]
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        if length < 2 or at + 2 + length > len(data):
            raise _odd()
        if 0xC0 <= mark <= 0xCF and mark not in (0xC4, 0xC8, 0xCC) and length >= 8:
            size = (int.from_bytes(data[at + 7 : at + 9], "big"), int.from_bytes(data[at + 5 : at + 7], "big"))
        at += 2 + length
        if mark == 0xDA:  # the picture itself: up to the next mark that is none of its own
            while at + 1 < len(data) and (data[at] != 0xFF or data[at + 1] == 0 or 0xD0 <= data[at + 1] <= 0xD7):
                at += 1
            if data[at : at + 2] == b"\xff\xd9":
                if size is None or at + 2 != len(data):
                    raise _odd()
                return size
    raise _odd()


@command("uploadResourceIcon", event="UPLOAD.RESOURCE.ICON")
def upload(
    ctx: Ctx,
    resourcetype: str,
    resourceids: list[str],
    base64image: Annotated[str, Param(length=BASE64_MAX)],
) -> None:
    """Gives things an icon.

    resourcetype: what they are, as Template or Network
    base64image: a PNG or JPEG picture of at most 256 KiB and 1024x1024 pixels, base64
    """
    kind = kind_of(resourcetype, TYPES, "resourcetype")
    image = picture(base64image)
    for each in resourceids:
        row = thing(ctx.tx, kind, ctx.caller, each, "operate")
        there = ctx.tx.first(Icon, Icon.c.resource_kind == row.kind, Icon.c.resource_id == row.id)
        if there is None:
            ctx.tx.add(Icon(resource_kind=row.kind, resource_id=row.id, image=image))
        else:
            ctx.tx.set(there, image=image)
        ctx.tx.noted(kind, row.id, "icon")


@command("deleteResourceIcon", event="DELETE.RESOURCE.ICON")
def delete(ctx: Ctx, resourcetype: str, resourceids: list[str]) -> None:
    """Takes the icons of things away.

    resourcetype: what they are, as Template or Network
    """
    kind = kind_of(resourcetype, TYPES, "resourcetype")
    for each in resourceids:
        row = thing(ctx.tx, kind, ctx.caller, each, "operate")
        for icon in ctx.tx.find(Icon, Icon.c.resource_kind == row.kind, Icon.c.resource_id == row.id):
            ctx.tx.remove(icon)
        ctx.tx.noted(kind, row.id, "icon")


FIELDS = (Field("resourcetype"), Field("resourceid"), Field("base64image"))


@command("listResourceIcon", shape="list", key="icon", reads=True, fields=FIELDS)
def list_icons(ctx: Ctx, resourcetype: str, resourceids: list[str]) -> dict[str, Any]:
    """Lists the icons of things.

    resourcetype: what they are, as Template or Network
    """
    kind = kind_of(resourcetype, TYPES, "resourcetype")
    rows = [thing(ctx.tx, kind, ctx.caller, each, "see").id for each in resourceids]
    found = icons(ctx.tx, kind.kind, rows)
    if not found:
        return {}
    return {"count": len(found), "icon": [found[i] for i in rows if i in found]}


def icons(tx: Tx, kind: str, rows: list[str]) -> dict[str, dict[str, Any]]:
    """The icons of a page of things, as answers show them."""
    if kind not in noted(tx, Icon, "resource_kind"):
        return {}
    c = Icon.c
    query = sa.select(c.resource_id, c.image).where(c.resource_kind == kind, tx.any_of(c.resource_id, rows))
    name = name_of(kind, TYPES)
    return {i: {"resourcetype": name, "resourceid": i, "base64image": image} for i, image in tx.execute(query)}


def _icons(kind: type[Resource]) -> Any:
    def extra(tx: Tx, rows: list[Any], caller: Any) -> dict[str, dict[str, Any]]:
        return {i: {"icon": icon} for i, icon in icons(tx, kind.kind, [r.id for r in rows]).items()}

    return extra


def _settle() -> None:
    for name in sorted(set(known(TYPES).values())):
        shown(REGISTRY[name], Field("icon", "resourceiconresponse", of=FIELDS), detail="icon", asked=True)(_icons(REGISTRY[name]))


SETTLED.append(_settle)
