"""Where an image's bytes go while they arrive: counted, hashed, unpacked when they are compressed, written.

Not one of the sizes that arrive is believed: a few kilobytes of gzip become terabytes, so unpacking is done in
small pieces and stops at the limit.
"""

from __future__ import annotations

import bz2
import hashlib
import lzma
import os
import re
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

from mold.base.errors import Invalid

PIECE = 1 << 20
LZMA_MEMORY_MAX = 256 << 20
MAGIC_BYTES = 6

_CHECKSUM = re.compile(r"(?:\{([A-Za-z0-9-]+)\})?([0-9a-fA-F]+)")
_HASHES = {"MD5": 32, "SHA-1": 40, "SHA-224": 56, "SHA-256": 64, "SHA-384": 96, "SHA-512": 128}


class _Unpacker(Protocol):
    eof: bool

    @property
    def unused_data(self) -> bytes: ...

    def pieces(self, data: bytes) -> Iterator[bytes]: ...


class _Gzip:
    def __init__(self) -> None:
        self._inner = zlib.decompressobj(wbits=31)
        self.eof = False

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def pieces(self, data: bytes) -> Iterator[bytes]:
        while True:
            out = self._inner.decompress(data, PIECE)
            data, self.eof = self._inner.unconsumed_tail, self._inner.eof
            yield out
            if self.eof or (not data and len(out) < PIECE):
                return


class _Blocks:
    """bzip2 and xz, which Python offers with the same manners."""

    def __init__(self, inner: bz2.BZ2Decompressor | lzma.LZMADecompressor) -> None:
        self._inner = inner
        self.eof = False

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def pieces(self, data: bytes) -> Iterator[bytes]:
        while True:
            yield self._inner.decompress(data, PIECE)
            data, self.eof = b"", self._inner.eof
            if self.eof or self._inner.needs_input:
                return


_UNPACKERS: tuple[tuple[bytes, str, Callable[[], _Unpacker]], ...] = (
    (b"\x1f\x8b", "gzip", _Gzip),
    (b"BZh", "bzip2", lambda: _Blocks(bz2.BZ2Decompressor())),
    (b"\xfd7zXZ\0", "xz", lambda: _Blocks(lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=LZMA_MEMORY_MAX))),
)


class Unpacking:
    """A compressed stream, which may be several one after another."""

    def __init__(self, kind: str, make: Callable[[], _Unpacker]) -> None:
        self._kind = kind
        self._make = make
        self._one: _Unpacker | None = make()

    def pieces(self, data: bytes) -> Iterator[bytes]:
        """What `data` unpacks to, in pieces of bounded size; Invalid when it is damaged."""
        while data:
            if self._one is None:
                data = data.lstrip(b"\0")  # padding between streams
                if not data:
                    return
                self._one = self._make()
            try:
                yield from self._one.pieces(data)
            except (zlib.error, lzma.LZMAError, EOFError, OSError) as error:
                raise Invalid(f"The {self._kind} data of the image is damaged: {error}.") from error
            data = self._one.unused_data if self._one.eof else b""
            if self._one.eof:
                self._one = None

    def finish(self) -> None:
        """Invalid when the stream stopped in the middle."""
        if self._one is not None:
            raise Invalid(f"The {self._kind} data of the image ends too early.")


class Checksum:
    """A checksum as people give it: `{SHA-256}hex`, or hex alone, whose length tells the kind. Empty: none."""

    def __init__(self, text: str) -> None:
        self.kind = self.wanted = ""
        if not text:
            return
        match = _CHECKSUM.fullmatch(text.strip())
        kind = (match[1] or "").upper() if match else ""
        if match and not kind:
            kind = next((name for name, length in _HASHES.items() if length == len(match[2])), "")
        if match is None or len(match[2]) != _HASHES.get(kind, -1):
            raise Invalid(f"'{text[:200]}' is no checksum; write it like {{SHA-256}}<64 hex digits>.", checksum=text[:200])
        self.kind, self.wanted = kind, match[2].lower()


class Sink:
    """One image on its way to `path`. `feed` and `finish` block; call them in a thread."""

    def __init__(self, path: Path, max_size: int, checksum: str) -> None:
        self._checksum = Checksum(checksum)
        self._max_size = max_size
        self._hashes = {kind: hashlib.new(kind.replace("-", ""), usedforsecurity=False) for kind in {"SHA-256", self._checksum.kind} if kind}
        self._start = b""
        self._unpacking: Unpacking | None = None
        self._started = False
        self.arrived = 0
        self.written = 0
        path.unlink(missing_ok=True)
        self._file = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "wb")

    def feed(self, data: bytes) -> None:
        """Take the next bytes; Invalid when they are too many or damaged, OSError when the disk is full."""
        self.arrived += len(data)
        self._bounded(self.arrived)
        for each in self._hashes.values():
            each.update(data)
        if not self._started:
            self._start += data
            if len(self._start) < MAGIC_BYTES:
                return
            data = self._begin()
        self._write(data)

    def finish(self) -> None:
        """All has arrived: flush it, and compare the checksum."""
        if not self._started:
            self._write(self._begin())
        if self._unpacking is not None:
            self._unpacking.finish()
        self._file.flush()
        os.fsync(self._file.fileno())
        self.close()
        if self._checksum.kind:
            seen = self._hashes[self._checksum.kind].hexdigest()
            if seen != self._checksum.wanted:
                text = f"The image's checksum is {{{self._checksum.kind}}}{seen}, not the one that was given."
                raise Invalid(text, checksum=f"{{{self._checksum.kind}}}{seen}")

    def checksum(self) -> str:
        """`{SHA-256}hex` of what arrived."""
        return f"{{SHA-256}}{self._hashes['SHA-256'].hexdigest()}"

    def close(self) -> None:
        """Let the file go; what is to become of it is the caller's business."""
        self._file.close()

    def _begin(self) -> bytes:
        self._started = True
        for magic, kind, make in _UNPACKERS:
            if self._start.startswith(magic):
                self._unpacking = Unpacking(kind, make)
        data, self._start = self._start, b""
        return data

    def _write(self, data: bytes) -> None:
        for piece in self._unpacking.pieces(data) if self._unpacking is not None else (data,):
            self.written += len(piece)
            self._bounded(self.written)
            self._file.write(piece)

    def _bounded(self, size: int) -> None:
        if size > self._max_size:
            raise Invalid(f"The image is larger than the {self._max_size} bytes that are allowed.", maximum=self._max_size)
