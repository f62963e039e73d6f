"""Templates by file upload: a right to send one file once, and the operation that takes the file to a host.

`getUploadParamsForTemplate` makes the template and a signed right that expires.  The file then comes in over HTTP to any
manager and goes on to a host piece by piece; a manager keeps neither the file nor more than a few pieces of it.  So an
upload lives and dies with the manager that receives it: whoever takes the operation over finds no pieces and undoes it.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import time
from collections.abc import AsyncIterator
from functools import partial
from typing import Annotated, Any, Literal

import msgspec

from mold.api.answer import Field
from mold.api.command import Ctx, Details, Owner, Param, command
from mold.api.permit import find
from mold.base import clock
from mold.base.errors import Conflict, Denied, Failed, Invalid, Refusal, Unauthorized
from mold.base.units import GIB, MIB
from mold.features.identity.signin import caller_of
from mold.features.identity.users import User
from mold.features.infra.guest_os import OsType
from mold.features.infra.settings import setting
from mold.features.infra.zones import Zone
from mold.features.storage.stores import ImageStore, any_host
from mold.features.storage.templates import (
    MAX_SIZE,
    NOT_YET,
    Template,
    blamed,
    drop_image,
    new_template,
    only_root_tags,
    settled,
)
from mold.store import Tx, seal
from mold.wire import calls as w
from mold.work import Job, Operation, change, look, operation, pour, progress, reconciler, step
from mold.work.engine import Engine

LOOK_SECONDS = setting(
    "upload.monitoring.interval", 60, "Seconds between looks for uploads that never came.", low=5, unit="seconds"
)
MINUTES = setting(
    "upload.operation.timeout",
    60,
    "Minutes within which the upload of a file must begin; then it is given up.",
    low=1,
    unit="minutes",
)
AHEAD = 8
"""How many pieces wait between HTTP and the host."""
FIELDS = tuple(Field(n) for n in ("id", "postURL", "metadata", "expires", "signature"))
REFUSED = "This upload is not allowed: the signature does not fit, or it has expired. Ask for new upload parameters."


class Incoming:
    """A file on its way through this manager: pieces go in from HTTP and out to the operation, each once."""

    def __init__(self, length: int = 0) -> None:
        self.length = length
        """Bytes of the whole request, 0 when it does not say."""
        self._pieces: asyncio.Queue[bytes | Refusal | None] = asyncio.Queue(AHEAD)

    async def put(self, piece: bytes | Refusal | None) -> None:
        """The next piece, None at the end, or the refusal that the file ends with; waits while the host is behind."""
        await self._pieces.put(piece)

    async def pieces(self) -> AsyncIterator[bytes]:
        """What was put in; raises the refusal if the file ended with one."""
        arrived = 0
        while (piece := await self._pieces.get()) is not None:
            if isinstance(piece, Refusal):
                raise piece
            arrived += len(piece)
            progress(min(99, 100 * arrived / self.length) if self.length else 0, f"{arrived // MIB} MiB")
            yield piece


INCOMING: dict[str, Incoming] = {}
"""Uploads in this process, by the name that their operation knows them by."""


@command(
    "getUploadParamsForTemplate",
    shape="object",
    key="getuploadparams",
    envelope="postuploadtemplateresponse",
    event="TEMPLATE.CREATE",
    fields=FIELDS,
    refused={k: v for k, v in NOT_YET.items() if k.partition(":")[0] in ("deployasis", "forcks", "isrouting")},
)
def offer(
    ctx: Ctx,
    owner: Owner,
    name: str,
    format: str,
    hypervisor: str,
    zoneid: Zone,
    displaytext: Annotated[str | None, Param(length=4096)] = None,
    ostypeid: OsType | None = None,
    arch: Literal["x86_64", "aarch64"] = "x86_64",
    bits: int = 64,
    checksum: str | None = None,
    details: Details | None = None,
    isdynamicallyscalable: bool = False,
    isextractable: bool = False,
    isfeatured: bool = False,
    ispublic: bool = False,
    passwordenabled: bool = False,
    requireshvm: bool = True,
    sshkeyenabled: bool = True,
    templatetag: str | None = None,
    templatetype: str | None = None,
) -> dict[str, Any]:
    """Makes a template whose file is sent afterwards: the answer says where to, and how to sign the request.

    format: QCOW2 or RAW
    checksum: {SHA-256}hex or {MD5}hex of the file
    """
    only_root_tags(ctx.caller, templatetag, templatetype)
    if not ctx.caller.user_id:
        raise Denied("Only a user can send a file; sign in as one.")
    template = new_template(
        ctx,
        owner,
        zoneid,
        name=name,
        displaytext=displaytext,
        format=format,
        hypervisor=hypervisor,
        ostypeid=ostypeid,
        ispublic=ispublic,
        isfeatured=isfeatured,
        arch=arch,
        bits=bits,
        checksum=checksum,
        details=details,
        is_dynamically_scalable=isdynamicallyscalable,
        is_extractable=isextractable,
        password_enabled=passwordenabled,
        requires_hvm=requireshvm,
        sshkey_enabled=sshkeyenabled,
        templatetag=templatetag,
        template_type=templatetype,
        state="NotUploaded",
        status="Waiting for the upload of its file",
    )
    about = msgspec.json.encode({"template": template.id, "user": ctx.caller.user_id})
    metadata = base64.urlsafe_b64encode(about).decode()
    expires = clock.at(time.time() + 60 * MINUTES.get(ctx.tx))
    return {
        "getuploadparams": {
            "id": template.id,
            "postURL": f"{ctx.asked.base_url.rstrip('/')}/upload/{template.id}",
            "metadata": metadata,
            "expires": expires,
            "signature": seal.mark("upload", template.id, metadata, expires),
        }
    }


def claim(tx: Tx, engine: Engine, template_id: str, headers: dict[str, str], length: int, upload: str) -> Job:
    """Use the right to upload up and begin the operation that takes the file; a second claim is a Conflict.

    `headers` are x-signature, x-metadata and x-expires; `length` bytes are announced (0: unknown).  The caller's right
    is looked at again: it may have ended since the right was given.
    """
    user = tx.get(User, _user(template_id, headers))
    if user is None:
        raise Unauthorized(REFUSED, inner="the user is gone")
    caller = caller_of(tx, user)
    template = find(tx, Template, caller, template_id, "operate")
    if not isinstance(template, Template):
        raise Unauthorized(REFUSED, inner="the template is gone or not the user's any more")
    if template.state != "NotUploaded":
        raise Conflict(f"The file of the template {template.name} was sent before; ask for new upload parameters.")
    _check_length(tx, length)
    tx.move(template, "receive", status="Uploading")
    return engine.enqueue(
        tx,
        ReceiveTemplate(template=template.id, upload=upload),
        account_id=caller.account_id,
        user_id=caller.user_id,
        domain_id=caller.domain_id,
    )


def _user(template_id: str, headers: dict[str, str]) -> str:
    """The user whose right this is; Unauthorized when the signature does not fit, or is too old."""
    metadata, expires = headers.get("x-metadata", ""), headers.get("x-expires", "")
    expected = seal.mark("upload", template_id, metadata, expires)
    if not seal.same(expected, headers.get("x-signature", "")):
        raise Unauthorized(REFUSED, inner="the signature of the upload does not fit")
    try:
        if clock.parse(expires) <= time.time():
            raise Unauthorized(REFUSED, inner="the right to upload has expired")
        about = msgspec.json.decode(base64.urlsafe_b64decode(metadata), type=dict[str, str])
    except (ValueError, binascii.Error, msgspec.DecodeError):
        raise Unauthorized(REFUSED, inner="metadata or expiry cannot be read") from None
    return about.get("user", "")


def _check_length(tx: Tx, length: int) -> None:
    most = MAX_SIZE.get(tx) * GIB
    if length > most + MIB:
        raise Invalid(
            f"The file has about {length} bytes; a template may have {most} (max.template.iso.size).",
            size=length,
            maximum=most,
        )


@operation
class ReceiveTemplate(Operation):
    """Take an uploaded file to secondary storage, checked; when that fails the template says why."""

    locks = ("template",)
    answers = (Template, "template")
    patience = 0
    template: str
    upload: str

    @step
    def begin(self, tx: Tx) -> None:
        tx.one(Template, self.template)

    @begin.undo
    def blame(self, tx: Tx, error: str) -> None:
        blamed(tx, self.template, error)

    @step
    def choose(self, tx: Tx) -> list[str]:
        template = tx.one(Template, self.template)
        return [any_host(tx, template.zone_id).id, str(MAX_SIZE.get(tx) * GIB)]

    @step
    async def receive(self, choose: list[str]) -> w.ImageFacts:
        incoming = INCOMING.pop(self.upload, None)
        if incoming is None:
            raise Failed(
                "The upload broke off: the management server that received the file ended. "
                "Ask for new upload parameters and send the file again."
            )
        template, store = await look(
            lambda tx: ((t := tx.one(Template, self.template)), tx.one(ImageStore, t.store_id))
        )
        facts: w.ImageFacts = await pour(
            choose[0], partial(_call, template, store.spec(), int(choose[1])), incoming.pieces()
        )
        progress(100)
        return facts

    @receive.undo
    async def drop(self, choose: list[str]) -> None:
        await drop_image(self.template, choose[0])

    @step
    def settle(self, tx: Tx, receive: w.ImageFacts) -> None:
        settled(tx, self.template, receive)


def _call(template: Template, store: w.PoolSpec, max_size: int, address: str, ticket: str) -> w.ReceiveImage:
    return w.ReceiveImage(
        store=store,
        image=template.id,
        format=template.format,
        checksum=template.checksum or "",
        max_size=max_size,
        dial=address,
        ticket=ticket,
    )


@reconciler(every=LOOK_SECONDS)
async def give_up_uploads() -> int:
    """Templates whose file never came are given up, once the right to send it has expired."""

    def late(tx: Tx) -> list[Template]:
        before = clock.ago(60 * MINUTES.get(tx))
        return tx.find(Template, Template.c.state == "NotUploaded", Template.c.created < before, limit=500)

    def give_up(tx: Tx) -> int:
        count = 0
        for template in late(tx):
            tx.move(
                template, "abandon", status="Its file was not uploaded in time; delete the template, or make a new one."
            )
            count += 1
        return count

    return await change(give_up) if await look(late) else 0
