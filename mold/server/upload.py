"""Files sent over HTTP: multipart form data read piece by piece and handed on; nothing is kept here."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
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
from mold.features.storage.uploads import INCOMING, Incoming
from mold.server.app import Manager
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


async def _take(manager: Manager, http: HttpRequest) -> Job:
    template = str(http.path_params["id"])
    if not ids.UUID.fullmatch(template):
        raise NotFound("There is no such upload.")
    form = Form(http.headers.get("content-type", ""))
    length = http.headers.get("content-length", "")
    headers = {name: http.headers.get(name, "") for name in WORDS}
    upload = ids.new_id()
    incoming = INCOMING[upload] = Incoming(ids.whole(length) or 0)
    engine = manager.engine
    try:
        job = await engine.writing(
            lambda tx: uploads.claim(tx, engine, template.lower(), headers, incoming.length, upload)
        )
        over = asyncio.create_task(_over(manager, job))
        feeding = asyncio.create_task(_feed(http, form, incoming))
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
