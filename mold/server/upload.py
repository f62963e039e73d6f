"""Files sent over HTTP, read piece by piece and handed on; nothing is kept here.

`POST` takes a whole file as multipart form data.  `PATCH` takes a part of one as it is, in the manner of the resumable
uploads of tus: `Upload-Offset` says where the part begins, `Upload-Length` how many bytes the file has; `HEAD` answers
with both.  A part that begins elsewhere than the file ends gets 409 and the offset to go on from; while another part is
taken the answer is 423.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import structlog
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response

from mold.base import ids
from mold.base.errors import Failed, Invalid, NotFound, Refusal
from mold.features.storage import uploads
from mold.features.storage.templates import Template
from mold.features.storage.uploads import INCOMING, Incoming, Misplaced, UnderWay
from mold.server.app import Manager
from mold.store import Tx
from mold.work import Job, error_of

log = structlog.get_logger()
IDLE_SECONDS = 60.0
"""How long a client may send nothing before the upload is given up."""
HEADERS_MAX = 16 * 1024
FIELDS_MAX = 64 * 1024
"""Bytes of other fields of the form, which are read over."""
DRAIN_BYTES = 8 << 20
DRAIN_SECONDS = 2.0
WORDS = ("x-signature", "x-metadata", "x-expires")
PART_TYPE = "application/offset+octet-stream"
BEYOND = "The part goes beyond the length that the file has."


class Form:
    """Multipart form data as it arrives: bytes of the one file in it."""

    def __init__(self, content_type: str) -> None:
        kind, options = parse_options_header(content_type)
        boundary = options.get(b"boundary", b"")
        if kind != b"multipart/form-data" or not 1 <= len(boundary) <= 70:
            raise Invalid("Send the file as multipart/form-data, with a boundary of at most 70 characters.")
        self.is_whole = False
        """Whether the form's end has been read."""
        self._files = 0
        self._in_file = False
        self._header = self._value = b""
        self._noise = 0
        self._out: list[bytes] = []
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_field": self._field,
                "on_header_value": self._text,
                "on_header_end": self._named,
                "on_part_data": self._data,
                "on_end": self._end,
            },
        )

    def feed(self, data: bytes) -> list[bytes]:
        """The file's bytes in `data`; Invalid when it is no form, or holds more than one file."""
        self._out = []
        try:
            self._parser.write(data)
        except FormParserError as broken:
            raise Invalid(f"The form data cannot be read: {broken}") from None
        return self._out

    def close(self) -> None:
        """Invalid when the form is not whole or has no file in it."""
        if not self.is_whole:
            raise Failed("The upload broke off: the form data ended before its last boundary.")
        if not self._files:
            raise Invalid("The form holds no file; send one as a part with a filename.")

    def _begin(self) -> None:
        self._in_file = False
        self._header = self._value = b""

    def _field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]
        self._bound(end - start)

    def _text(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]
        self._bound(end - start)

    def _bound(self, more: int) -> None:
        self._noise += more
        if self._noise > FIELDS_MAX or len(self._header) + len(self._value) > HEADERS_MAX:
            raise Invalid("The form has too much in it besides the file; send the file alone.")

    def _named(self) -> None:
        if self._header.strip().lower() == b"content-disposition":
            _, options = parse_options_header(self._value)
            self._in_file = b"filename" in options
            self._files += self._in_file
            if self._files > 1:
                raise Invalid("The form holds several files; send one.")
        self._header = self._value = b""

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._in_file:
            self._out.append(bytes(data[start:end]))
        else:
            self._bound(end - start)

    def _end(self) -> None:
        self.is_whole = True


async def take(manager: Manager, http: HttpRequest) -> Response:
    """Answer `POST /client/upload/<id>`: the file goes to a host, and the answer says what came of it."""
    try:
        job = await _take(manager, http)
        if job.status == 2:
            raise error_of(job)
        told: dict[str, Any] = {"id": job.args["template"], "jobid": job.id, "success": True}
        return JSONResponse({"uploadresponse": told})
    except Refusal as no:
        log.info("upload refused", text=no.text, inner=no.inner)
        await _drain(http)
        body = manager.door.refused(no, None)
        return JSONResponse({"uploadresponse": body}, status_code=no.code, headers={"Connection": "close"})


async def there(manager: Manager, http: HttpRequest) -> Response:
    """Answer `HEAD /client/upload/<id>`: how much of a file that is sent in parts is there."""
    try:
        template, headers = _named(http)
        offset, length = await manager.engine.reading(lambda tx: uploads.sent(tx, template, headers))
    except Refusal as no:
        return Response(status_code=_status(no), headers={"Cache-Control": "no-store"})
    return Response(headers={**_progress(offset, length), "Cache-Control": "no-store"})


async def take_part(manager: Manager, http: HttpRequest) -> Response:
    """Answer `PATCH /client/upload/<id>`: a part of a file; `success` once the file is whole and a template."""
    try:
        job = await _take_part(manager, http)
        if job.status == 2:
            raise error_of(job)
        template = await manager.engine.reading(lambda tx: tx.one(Template, job.args["template"]))
        told: dict[str, Any] = {"id": template.id, "jobid": job.id, "success": template.state == "Ready"}
        return JSONResponse({"uploadresponse": told}, headers=_progress(template.sent_bytes, template.sent_length))
    except Refusal as no:
        log.info("part of an upload refused", text=no.text, inner=no.inner)
        await _drain(http)
        body = manager.door.refused(no, None)
        where = {"Upload-Offset": str(no.facts["offset"])} if isinstance(no, Misplaced) else {}
        return JSONResponse({"uploadresponse": body}, status_code=_status(no), headers={"Connection": "close", **where})


def _status(no: Refusal) -> int:
    return 409 if isinstance(no, Misplaced) else 423 if isinstance(no, UnderWay) else no.code


def _progress(offset: int, length: int) -> dict[str, str]:
    return {"Upload-Offset": str(offset), **({"Upload-Length": str(length)} if length else {})}


def _named(http: HttpRequest) -> tuple[str, dict[str, str]]:
    """The template that a request is about, and the headers that give the right to send its file."""
    template = str(http.path_params["id"])
    if not ids.UUID.fullmatch(template):
        raise NotFound("There is no such upload.")
    return template.lower(), {name: http.headers.get(name, "") for name in WORDS}


async def _take_part(manager: Manager, http: HttpRequest) -> Job:
    template, headers = _named(http)
    if http.headers.get("content-type", "").partition(";")[0].strip().lower() != PART_TYPE:
        raise Invalid(f"Send a part of a file with the Content-Type {PART_TYPE}.")
    offset, length = (ids.whole(http.headers.get(name, "")) for name in ("upload-offset", "upload-length"))
    if offset is None or not length or offset >= length:
        raise Invalid("Say with Upload-Offset where the part begins, and with Upload-Length how many bytes the file has.")
    if offset + (ids.whole(http.headers.get("content-length", "")) or 0) > length:
        raise Invalid(BEYOND)
    upload = ids.new_id()
    incoming = INCOMING[upload] = Incoming(length, offset)
    engine = manager.engine
    return await _through(
        manager,
        upload,
        lambda tx: uploads.claim_part(tx, engine, template, headers, offset, length, upload),
        _feed_part(http, incoming),
    )


async def _feed_part(http: HttpRequest, incoming: Incoming) -> None:
    """Hand a part on; however it ends, what came is kept."""
    arrived = incoming.offset
    end: Refusal | None = None
    with contextlib.suppress(ClientDisconnect, TimeoutError):
        async for data in _chunks(http):
            arrived += len(data)
            if arrived > incoming.length:
                end = Invalid(BEYOND)
                break
            await incoming.put(data)
    await incoming.put(end)


async def _take(manager: Manager, http: HttpRequest) -> Job:
    template, headers = _named(http)
    form = Form(http.headers.get("content-type", ""))
    length = http.headers.get("content-length", "")
    upload = ids.new_id()
    incoming = INCOMING[upload] = Incoming(ids.whole(length) or 0)
    engine = manager.engine
    return await _through(
        manager,
        upload,
        lambda tx: uploads.claim(tx, engine, template, headers, incoming.length, upload),
        _feed(http, form, incoming),
    )


async def _through(
    manager: Manager, upload: str, claim: Callable[[Tx], Job], feed: Coroutine[Any, Any, None]
) -> Job:
    """Begin the operation that takes what `feed` hands on, and wait for its end."""
    try:
        job = await manager.engine.writing(claim)
    except BaseException:
        feed.close()
        INCOMING.pop(upload, None)
        raise
    try:
        over = asyncio.create_task(_over(manager, job))
        feeding = asyncio.create_task(feed)
        try:
            await asyncio.wait({over, feeding}, return_when=asyncio.FIRST_COMPLETED)
            return await over
        finally:
            # The host may have refused before the last piece: nobody waits for the rest then.
            for task in (feeding, over):
                task.cancel()
            await asyncio.gather(feeding, over, return_exceptions=True)
    finally:
        INCOMING.pop(upload, None)


async def _over(manager: Manager, job: Job) -> Job:
    while True:
        job = await manager.engine.finished(job.id, 60)
        if job.status:
            return job


async def _feed(http: HttpRequest, form: Form, incoming: Incoming) -> None:
    """Hand the file on; whatever goes wrong on the way here ends it with the sentence that the template will show."""
    end: Refusal | None = None
    try:
        async for data in _chunks(http):
            for piece in form.feed(data):
                await incoming.put(piece)
        form.close()
    except ClientDisconnect:
        end = Failed("The upload broke off: the connection ended before the file was whole.")
    except TimeoutError:
        end = Failed(f"The upload broke off: nothing came for {IDLE_SECONDS:.0f} s.")
    except Refusal as no:
        end = no
    await incoming.put(end)


async def _chunks(http: HttpRequest) -> AsyncIterator[bytes]:
    stream = aiter(http.stream())
    while True:
        try:
            async with asyncio.timeout(IDLE_SECONDS):
                data = await anext(stream)
        except StopAsyncIteration:
            return
        if data:
            yield data


async def _drain(http: HttpRequest) -> None:
    """Read a little of what still comes: a client that is cut off while it sends never reads the answer."""
    left = DRAIN_BYTES
    with contextlib.suppress(TimeoutError, ClientDisconnect, RuntimeError):
        async with asyncio.timeout(DRAIN_SECONDS):
            async for data in http.stream():
                left -= len(data)
                if left <= 0:
                    return
