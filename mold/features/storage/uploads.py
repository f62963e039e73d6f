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
import sqlalchemy as sa

from mold.api.answer import Field
from mold.api.command import Ctx, Details, Owner, Param, command
from mold.api.permit import Caller, find
from mold.base import clock
from mold.base.errors import Conflict, Denied, Failed, Invalid, Refusal, Unauthorized
from mold.base.units import GIB, MIB
from mold.features.identity import limits
from mold.features.identity.accounts import Account
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
from mold.work import Job, Operation, ask, change, look, operation, pour, progress, reconciler, step
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

    def __init__(self, length: int = 0, offset: int = 0) -> None:
        self.length = length
        """Bytes of the whole request, or of the file that comes in parts; 0 when it is not said."""
        self.offset = offset
        """Bytes that were there before."""
        self._pieces: asyncio.Queue[bytes | Refusal | None] = asyncio.Queue(AHEAD)

    async def put(self, piece: bytes | Refusal | None) -> None:
        """The next piece, None at the end, or the refusal that the file ends with; waits while the host is behind."""
        await self._pieces.put(piece)

    async def pieces(self) -> AsyncIterator[bytes]:
        """What was put in; raises the refusal if the file ended with one."""
        arrived = self.offset
        while (piece := await self._pieces.get()) is not None:
            if isinstance(piece, Refusal):
                raise piece
            arrived += len(piece)
            progress(min(99, 100 * arrived / self.length) if self.length else 0, f"{arrived // MIB} MiB")
            yield piece


INCOMING: dict[str, Incoming] = {}
"""Uploads in this process, by the name that their operation knows them by."""


class Misplaced(Conflict):
    """A part does not begin where the file ends so far; `offset` says where that is."""

    def __init__(self, offset: int) -> None:
        super().__init__(f"The next part of this file begins at byte {offset}.", offset=offset)


class UnderWay(Conflict):
    """A part is being taken, or it just broke off and nobody has noticed yet."""


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
    caller, template = _allowed(tx, template_id, headers)
    if template.state != "NotUploaded":
        raise Conflict(f"The file of the template {template.name} was sent before; ask for new upload parameters.")
    _check_length(tx, length)
    tx.move(template, "receive", status="Uploading", sent_bytes=0, sent_length=0, sent_at=None)
    return _begun(tx, engine, caller, ReceiveTemplate(template=template.id, upload=upload))


def sent(tx: Tx, template_id: str, headers: dict[str, str]) -> tuple[int, int]:
    """How many bytes of a file that is sent in parts are there, and how many it has (0: no part has come yet)."""
    _, template = _allowed(tx, template_id, headers)
    return _open(template).sent_bytes, template.sent_length


def claim_part(
    tx: Tx, engine: Engine, template_id: str, headers: dict[str, str], offset: int, length: int, upload: str
) -> Job:
    """Begin the operation that takes a part of a file of `length` bytes, which goes on at byte `offset`.

    Misplaced when the part does not begin where the file ends so far.
    """
    caller, template = _allowed(tx, template_id, headers)
    _open(template)
    if template.sent_bytes and template.sent_length != length:
        raise Conflict(
            f"The file that was begun has {template.sent_length} bytes, this one has {length}: send the same file, "
            "or ask for new upload parameters.",
            length=template.sent_length,
        )
    if offset != template.sent_bytes:
        raise Misplaced(template.sent_bytes)
    _check_length(tx, length)
    limits.check(tx, tx.one(Account, template.account_id), secondary_storage=length)
    tx.move(template, "receive", status="Uploading", sent_length=length, sent_at=clock.now())
    return _begun(tx, engine, caller, ReceiveRest(template=template.id, upload=upload))


def _allowed(tx: Tx, template_id: str, headers: dict[str, str]) -> tuple[Caller, Template]:
    """Who sends, and for which template; Unauthorized when the right is none, is too old or has ended."""
    user = tx.get(User, _user(template_id, headers))
    if user is None:
        raise Unauthorized(REFUSED, inner="the user is gone")
    caller = caller_of(tx, user)
    template = find(tx, Template, caller, template_id, "operate")
    if not isinstance(template, Template):
        raise Unauthorized(REFUSED, inner="the template is gone or not the user's any more")
    # A file must begin while the right is fresh; what was begun may go on until it is given up.
    if template.sent_at is None and clock.parse(headers.get("x-expires", "")) <= time.time():
        raise Unauthorized(REFUSED, inner="the right to upload has expired")
    return caller, template


def _open(template: Template) -> Template:
    """The template if more of its file may come; a Conflict that says why not."""
    if template.state == "UploadInProgress":
        raise UnderWay("The file is being sent at this moment, or it just broke off; try again in a few seconds.")
    if template.state != "NotUploaded":
        raise Conflict(f"The file of the template {template.name} was sent before; ask for new upload parameters.")
    return template


def _begun(tx: Tx, engine: Engine, caller: Caller, wanted: Operation) -> Job:
    return engine.enqueue(
        tx, wanted, account_id=caller.account_id, user_id=caller.user_id, domain_id=caller.domain_id
    )


def _user(template_id: str, headers: dict[str, str]) -> str:
    """The user whose right this is; Unauthorized when the signature does not fit."""
    metadata, expires = headers.get("x-metadata", ""), headers.get("x-expires", "")
    expected = seal.mark("upload", template_id, metadata, expires)
    if not seal.same(expected, headers.get("x-signature", "")):
        raise Unauthorized(REFUSED, inner="the signature of the upload does not fit")
    try:
        about = msgspec.json.decode(base64.urlsafe_b64decode(metadata), type=dict[str, str])
    except (ValueError, binascii.Error, msgspec.DecodeError):
        raise Unauthorized(REFUSED, inner="metadata cannot be read") from None
    return about.get("user", "")


def _check_length(tx: Tx, length: int) -> None:
    most = MAX_SIZE.get(tx) * GIB
    if length > most + MIB:
        raise Invalid(
            f"The file has about {length} bytes; a template may have {most} (max.template.iso.size).",
            size=length,
            maximum=most,
        )


class Receiving(Operation):
    """What takes of an uploaded file to secondary storage; `failed` says what becomes of the template when that fails."""

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
        self.failed(tx, error)

    @step
    def choose(self, tx: Tx) -> list[str]:
        template = tx.one(Template, self.template)
        return [any_host(tx, template.zone_id).id, str(MAX_SIZE.get(tx) * GIB)]

    def failed(self, tx: Tx, error: str) -> None:
        """The template says why."""
        blamed(tx, self.template, error)


@operation
class ReceiveTemplate(Receiving):
    """Take an uploaded file to secondary storage, checked; when that fails the template says why."""

    @step
    async def receive(self, choose: list[str]) -> w.ImageFacts:
        incoming = INCOMING.pop(self.upload, None)
        if incoming is None:
            raise Failed(
                "The upload broke off: the management server that received the file ended. "
                "Ask for new upload parameters and send the file again."
            )
        template, store = await _both(self.template)
        facts: w.ImageFacts = await pour(choose[0], partial(_call, template, store, int(choose[1])), incoming.pieces())
        progress(100)
        return facts

    @receive.undo
    async def drop(self, choose: list[str]) -> None:
        await drop_image(self.template, choose[0])

    @step
    def settle(self, tx: Tx, receive: w.ImageFacts) -> None:
        settled(tx, self.template, receive)


@operation
class ReceiveRest(Receiving):
    """Take a part of a file to secondary storage; when it was the last, check the file and make the template of it."""

    def failed(self, tx: Tx, error: str) -> None:
        """A part that failed leaves what was there; a whole file that failed its checks is of no use."""
        template = tx.get(Template, self.template)
        if template is None or template.state != "UploadInProgress":
            return
        if template.sent_bytes >= template.sent_length:
            super().failed(tx, error)
        else:
            tx.move(template, "pause", status=error)

    @step
    async def receive(self, choose: list[str]) -> w.PartFacts:
        incoming = INCOMING.pop(self.upload, None)
        if incoming is None:
            raise Failed("The management server that received the file ended; go on with the upload.")
        template, store = await _both(self.template)

        def call(address: str, ticket: str) -> w.ReceivePart:
            return w.ReceivePart(
                store=store,
                image=template.id,
                format=template.format,
                offset=incoming.offset,
                max_size=template.sent_length,
                dial=address,
                ticket=ticket,
            )

        facts: w.PartFacts = await pour(choose[0], call, incoming.pieces())
        return facts

    @step
    def note(self, tx: Tx, receive: w.PartFacts) -> bool:
        template = tx.one(Template, self.template)
        tx.set(template, sent_bytes=receive.arrived, sent_at=clock.now())
        return receive.arrived >= template.sent_length

    @step
    async def keep(self, choose: list[str], note: bool) -> w.ImageFacts | None:
        if not note:
            return None
        template, store = await _both(self.template)
        progress(99)
        facts: w.ImageFacts = await ask(
            choose[0],
            w.KeepParts(
                store=store,
                image=template.id,
                format=template.format,
                checksum=template.checksum or "",
                max_size=int(choose[1]),
            ),
        )
        return facts

    @keep.undo
    async def drop(self, choose: list[str], note: bool) -> None:
        if note:
            await drop_image(self.template, choose[0])

    @step
    def settle(self, tx: Tx, keep: w.ImageFacts | None) -> None:
        if keep is not None:
            settled(tx, self.template, keep)
            return
        template = tx.one(Template, self.template)
        there, whole = template.sent_bytes // MIB, template.sent_length // MIB
        tx.move(template, "pause", status=f"{there} MiB of {whole} MiB of its file are here; go on with the upload")


async def _both(template_id: str) -> tuple[Template, w.PoolSpec]:
    return await look(
        lambda tx: ((t := tx.one(Template, template_id)), tx.one(ImageStore, t.store_id).spec())
    )


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
    """Templates whose file never came, or came no further, are given up, and what came of it is removed."""

    def late(tx: Tx) -> list[Template]:
        before = clock.ago(60 * MINUTES.get(tx))
        waits = sa.func.coalesce(Template.c.sent_at, Template.c.created) < before
        return tx.find(Template, Template.c.state == "NotUploaded", waits, limit=500)

    def give_up(tx: Tx) -> list[tuple[str, str | None]]:
        begun: list[tuple[str, str | None]] = []
        for template in late(tx):
            if template.sent_at:
                begun.append((template.id, template.zone_id))
            tx.move(
                template, "abandon", status="Its file was not uploaded in time; delete the template, or make a new one."
            )
        return begun

    many = len(await look(late))
    # The state first: nobody goes on with a file that is being removed. What no host can remove now goes with the template.
    for template_id, zone_id in await change(give_up) if many else ():
        host = await look(partial(any_host, zone_id=zone_id))
        await drop_image(template_id, host.id)
    return many
