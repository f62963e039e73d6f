"""qemu-img on a leash: argument lists, formats always named, memory and CPU time limited, killed when nobody waits.

It parses what strangers made, so it runs under `prlimit`; and it is never left to find out a format by itself,
because a raw image may contain what looks like a qcow2 header naming a file of the host.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import msgspec

from mold.base.errors import Failed

S = TypeVar("S", bound=msgspec.Struct)

PRLIMIT, QEMU_IMG = "prlimit", "qemu-img"
MEMORY_BYTES = 2 << 30
LOOK_CPU_SECONDS = 30
COPY_CPU_SECONDS = 4 * 3600
OUTPUT_MAX = 1 << 20
_PERCENT = re.compile(rb"\(\s*(\d+(?:\.\d+)?)/100%\)")


class Info(msgspec.Struct, rename="kebab"):
    """What `qemu-img info` says."""

    format: str
    virtual_size: int
    actual_size: int = 0
    backing_filename: str = ""
    encrypted: bool = False


class Measure(msgspec.Struct):
    """What `qemu-img measure` says: bytes that a copy takes."""

    required: int


async def info(path: Path, form: str) -> Info:
    """What QEMU says about the image of format `form` (`qcow2`, `raw`); it may be in use."""
    out = await run("info", "-U", "--output=json", "-f", form, str(path), cpu_seconds=LOOK_CPU_SECONDS)
    return _decoded(out, Info)


async def needed(path: Path, form: str, target: str) -> int:
    """How many bytes a copy of the image in format `target` takes."""
    out = await run("measure", "-U", "--output=json", "-f", form, "-O", target, str(path), cpu_seconds=LOOK_CPU_SECONDS)
    return _decoded(out, Measure).required


async def run(*words: str, cpu_seconds: int = LOOK_CPU_SECONDS, progress: Callable[[float], None] | None = None) -> bytes:
    """Run `qemu-img words...`, give what it writes; Failed with its own words when it fails."""
    process = await asyncio.create_subprocess_exec(
        PRLIMIT, f"--as={MEMORY_BYTES}", f"--cpu={cpu_seconds}", "--core=0", QEMU_IMG, *words,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None and process.stderr is not None
    try:
        out, problem, _ = await asyncio.gather(
            _read(process.stdout, progress), _read(process.stderr, None), process.wait()
        )
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    if process.returncode != 0:
        text = problem.decode("utf-8", "replace").strip()[-1000:] or f"it ended with {process.returncode}"
        raise Failed(f"qemu-img {words[0]} failed: {text}", command=words[0])
    return out


async def _read(stream: asyncio.StreamReader, progress: Callable[[float], None] | None) -> bytes:
    """All of a stream, of which only the first OUTPUT_MAX bytes are kept."""
    kept = b""
    while piece := await stream.read(65536):
        if progress is not None and (found := _PERCENT.findall(piece)):
            progress(float(found[-1]))
        if len(kept) < OUTPUT_MAX:
            kept += piece
    return kept


def _decoded(out: bytes, kind: type[S]) -> S:
    try:
        return msgspec.json.decode(out, type=kind)
    except msgspec.DecodeError as error:
        raise Failed(f"qemu-img said what cannot be understood: {error}", inner=repr(out[:500])) from error
