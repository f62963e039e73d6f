"""Images in a store: fetched by URL or received from a manager, checked, and only then given their name.

What lies in a store under an image's name has passed every check; `PlaceImage` relies on that.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncGenerator, Callable
from functools import partial
from pathlib import Path

import msgspec
import structlog

from mold.agent import config, fetching, imaging, pools, qcow2, streams
from mold.agent.serve import Work, serves
from mold.agent.sink import PIECE, Checksum, Sink
from mold.base import egress
from mold.base.errors import Failed, Invalid
from mold.base.units import MIB
from mold.wire import calls as w

log = structlog.get_logger()
LOOK_EVERY = 64 * MIB
"""How many bytes are written between two looks at what is free."""
FSYNC_SECONDS = 600.0


@serves(w.FetchImage)
async def fetch(call: w.FetchImage, work: Work) -> w.ImageFacts:
    """Fetch an image by URL."""
    words = work.here.settings.words
    terms = fetching.Terms(
        allow=egress.networks(call.allow),
        idle_seconds=float(words.get("fetch.idle.seconds", fetching.IDLE_SECONDS)),
        authorities=work.here.settings.fetch_ca,
        may_downgrade=bool(call.checksum),
    )

    async def source(announce: Callable[[int], None]) -> AsyncGenerator[bytes, None]:
        async with fetching.opened(call.url, terms) as response:
            announce(fetching.length(response))
            async for piece in fetching.body(response):
                yield piece

    return await _take(call, work, source)


@serves(w.ReceiveImage)
async def receive(call: w.ReceiveImage, work: Work) -> w.ImageFacts:
    """Receive an image over a stream; it is whole when the manager closes the stream with code 1000."""

    async def source(_announce: Callable[[int], None]) -> AsyncGenerator[bytes, None]:
        async with contextlib.aclosing(streams.pieces(work.here, call.dial, call.ticket)) as pieces:
            async for piece in pieces:
                yield piece

    facts = await _take(call, work, source)
    await _forget_parts(call, work)
    return facts


@serves(w.ReceivePart)
async def receive_part(call: w.ReceivePart, work: Work) -> w.PartFacts:
    """Add to a file that arrives in parts; however the stream ends, what came is kept for the next part."""
    final = await _final(call, work)
    path = _sent(final)
    async with (
        work.here.lock(f"image {final}"),
        work.here.transfers,
        contextlib.aclosing(streams.pieces(work.here, call.dial, call.ticket)) as pieces,
    ):
        handle, there = await pools.in_thread(work, "open the file", lambda: _opened(path, call.offset))
        try:
            if there < call.offset:
                return w.PartFacts(arrived=there)
            looked = there = call.offset
            async for piece in pieces:
                there += len(piece)
                if there > call.max_size:
                    raise Invalid(f"The file is larger than the {call.max_size} bytes that are allowed.", maximum=call.max_size)
                if there - looked >= LOOK_EVERY:
                    looked = there
                    await pools.in_thread(work, "measure the store", lambda: pools.room(path.parent, 0))
                await pools.in_thread(work, "write the file", partial(_write, handle, piece))
            await pools.in_thread(work, "save the file", lambda: os.fsync(handle), seconds=FSYNC_SECONDS)
        except OSError as error:
            if pools.is_full(error):
                raise pools.full(path.parent, pools.free(path.parent), call.max_size) from error
            raise
        finally:
            os.close(handle)
    return w.PartFacts(arrived=there)


@serves(w.KeepParts)
async def keep(call: w.KeepParts, work: Work) -> w.ImageFacts:
    """Make an image of what came in parts, and remove that."""
    path = _sent(await _final(call, work))

    async def source(announce: Callable[[int], None]) -> AsyncGenerator[bytes, None]:
        try:
            file = await pools.in_thread(work, "open the file", lambda: path.open("rb"))
        except FileNotFoundError:
            raise Failed("The file that was sent is not in the store any more; send it again.") from None
        with file:
            announce(os.fstat(file.fileno()).st_size)
            while piece := await pools.in_thread(work, "read the file", lambda: file.read(PIECE)):
                yield piece

    facts = await _take(call, work, source)
    await _forget_parts(call, work)
    return facts


@serves(w.RemoveImage)
async def remove(call: w.RemoveImage, work: Work) -> w.Done:
    """Remove an image, whole or half fetched."""
    folder = await pools.ready(work, call.store)
    image = pools.checked(call.image)
    for form in ("qcow2", "raw", "iso"):
        final = folder / "images" / f"{image}.{form}"
        async with work.here.lock(f"image {final}"):
            await pools.in_thread(work, "remove the image", partial(pools.discard, final, _notes(final)))
    return w.Done()


async def _final(call: Taken | w.ReceivePart, work: Work) -> Path:
    """Where an image will lie."""
    form = pools.file_format(call.format)
    if call.max_size <= 0:
        raise Invalid(f"An image cannot have at most {call.max_size} bytes.", maximum=call.max_size)
    return await pools.ready(work, call.store) / "images" / f"{pools.checked(call.image)}.{form}"


async def _forget_parts(call: Taken, work: Work) -> None:
    path = _sent(await _final(call, work))
    await pools.in_thread(work, "remove the file", lambda: path.unlink(missing_ok=True))


def _sent(final: Path) -> Path:
    """The file that arrives in parts, the same for all hosts of a store; goes with its image (`pools.discard`)."""
    return final.with_name(f".{final.name}.sent.part")


def _opened(path: Path, offset: int) -> tuple[int, int]:
    """The file opened for writing, and its size before; cut to `offset` when it is longer."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    there = os.fstat(handle).st_size
    if there >= offset:
        os.ftruncate(handle, offset)
        os.lseek(handle, offset, os.SEEK_SET)
    return handle, there


def _write(handle: int, piece: bytes) -> None:
    rest = memoryview(piece)
    while rest:
        rest = rest[os.write(handle, rest) :]


Taken = w.FetchImage | w.ReceiveImage | w.KeepParts
Source = Callable[[Callable[[int], None]], AsyncGenerator[bytes, None]]


async def _take(call: Taken, work: Work, source: Source) -> w.ImageFacts:
    """Bring an image into its store, whatever it comes from; nothing is left of one that is refused."""
    Checksum(call.checksum)
    final = await _final(call, work)
    folder = final.parent.parent
    async with work.here.lock(f"image {final}"), work.here.transfers:
        if await pools.in_thread(work, "look for the image", final.exists):
            return await pools.in_thread(work, "read the notes", lambda: _noted(final))
        part = pools.hidden(final)
        try:
            facts = await _bring(call, work, source, part)
            await pools.in_thread(work, "save the image", lambda: _finish(part, final, facts), seconds=FSYNC_SECONDS)
        except BaseException as error:
            pools.discard(part, _notes(final))
            if pools.is_full(error):
                raise pools.full(folder, pools.free(folder), call.max_size) from error
            raise
    log.info("image arrived", image=call.image, size=facts.size, physical=facts.physical, checksum=facts.checksum)
    work.progress(100, "done")
    return facts


async def _bring(call: Taken, work: Work, source: Source, part: Path) -> w.ImageFacts:
    expected = 0

    def announce(length: int) -> None:
        nonlocal expected
        if length > call.max_size:
            raise Invalid(f"The image has {length} bytes; {call.max_size} are allowed.", size=length, maximum=call.max_size)
        pools.room(part.parent, length)
        expected = length

    sink = await pools.in_thread(work, "make a file", lambda: Sink(part, call.max_size, call.checksum))
    try:
        looked = 0
        async with contextlib.aclosing(source(announce)) as pieces:
            async for piece in pieces:
                await pools.in_thread(work, "write the image", partial(sink.feed, piece))
                if sink.written - looked >= LOOK_EVERY:
                    looked = sink.written
                    await pools.in_thread(work, "measure the store", lambda: pools.room(part.parent, max(0, expected - sink.arrived)))
                work.progress(99 * sink.arrived / expected if expected else 0, f"{sink.arrived // MIB} MiB")
        await pools.in_thread(work, "write the image", sink.finish, seconds=FSYNC_SECONDS)
    finally:
        sink.close()
    return await _inspect(work, part, call.format.upper(), sink.checksum())


async def _inspect(work: Work, path: Path, form: str, checksum: str) -> w.ImageFacts:
    """What the file really is; a refusal when it is not what was said, or nothing a host should open."""
    facts = await pools.in_thread(work, "read the image", lambda: _examine(path, form))
    if form == "QCOW2":
        opinion = await imaging.info(path, "qcow2")
        if opinion.virtual_size != facts.size or opinion.backing_filename or opinion.encrypted:
            raise Invalid("QEMU reads the image's header differently than its bytes say; it is not used.")
    return msgspec.structs.replace(facts, checksum=checksum)


def _examine(path: Path, form: str) -> w.ImageFacts:
    with path.open("rb") as file:
        head = file.read(qcow2.HEAD_BYTES)
        size = os.fstat(file.fileno()).st_size
        file.seek(max(0, size - 512))
        qcow2.must_be(form, head, file.read(512), size)
    virtual = qcow2.parse(head, size).size if form == "QCOW2" else size
    return w.ImageFacts(size=virtual, physical=size, format=form)


def _notes(final: Path) -> Path:
    """Where an image's facts are kept: the checksum of what was fetched cannot be had from the file."""
    return final.with_name(f".{final.name}.json")


def _finish(part: Path, final: Path, facts: w.ImageFacts) -> None:
    config.write(_notes(final), msgspec.json.encode(facts))
    pools.settle(part, final, 0o444)


def _noted(final: Path) -> w.ImageFacts:
    try:
        return msgspec.json.decode(_notes(final).read_bytes(), type=w.ImageFacts)
    except (FileNotFoundError, msgspec.DecodeError) as error:
        raise Failed(f"Nothing is noted about the image {final.name}; remove it and fetch it again.") from error
