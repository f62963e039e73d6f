"""Storage on a host: pools with volumes and placed images, stores with images. All paths are made from ids, here.

Below a pool's path lie `volumes/<id>.qcow2` and `images/<id>.qcow2` (read-only, what volumes stand on); below a
store's path `images/<id>.{qcow2,raw,iso}`.  The path itself carries `.mold-pool` with the pool's id: a path
where that is missing or different is not the pool (it is not mounted, or it is another one) and is refused.
Files are made under a hidden name, flushed and renamed, so a name always means a whole file.
"""

from __future__ import annotations

import asyncio
import errno
import functools
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

import msgspec

from mold.agent import config, imaging, qcow2
from mold.agent.config import Settings
from mold.agent.serve import Work, serves, wait_out
from mold.agent.virt import Threads
from mold.base.errors import Conflict, Failed, InUse, Invalid, NoCapacity, NotFound, Unreachable, Unsupported
from mold.base.ids import UUID
from mold.base.units import MIB
from mold.wire import calls as w

T = TypeVar("T")

MARKER = ".mold-pool"
KINDS = ("Filesystem", "SharedMountPoint", "Directory")
SECONDS = 60.0
SPARE = 16 * MIB
"""Bytes that stay free on every storage, for file system and headers."""
SIZE_MAX = qcow2.VIRTUAL_MAX
OWN = "host"
"""What tells this host's unfinished files from another's; set from the agent's guid."""
_SYSTEM = ("bin", "boot", "dev", "etc", "lib", "lib32", "lib64", "libx32", "proc", "run", "sbin", "sys", "usr")
_TOO_WIDE = ("/", "/home", "/media", "/mnt", "/opt", "/root", "/srv", "/tmp", "/var", "/var/lib", "/var/log", "/var/tmp")  # noqa: S108
_PROVISIONINGS = ("thin", "sparse", "fat")


# -- calls ------------------------------------------------------------------------------------------------------


@serves(w.MountPool)
async def mount_pool(call: w.MountPool, work: Work) -> w.PoolFacts:
    """Take a pool into use, measured."""
    return await _mount(call.pool, work)


@serves(w.MountStore)
async def mount_store(call: w.MountStore, work: Work) -> w.PoolFacts:
    """Take a store into use, measured."""
    return await _mount(call.store, work)


@serves(w.UnmountPool)
async def unmount(call: w.UnmountPool, work: Work) -> w.Done:
    """Forget a pool; a local one that is empty loses its mark, so that its folder can become another pool."""
    settings = work.here.settings
    async with work.here.lock("pools"):
        await in_thread(work, "forget the pool", lambda: _unmount(settings, call.pool, force=call.force))
    return w.Done()


@serves(w.CreateVolume)
async def create(call: w.CreateVolume, work: Work) -> w.VolumeFacts:
    """Make a volume; the same volume asked for twice is made once, another one under its id is a conflict."""
    _check_volume(call)
    folder = await ready(work, call.pool)
    async with work.here.lock(f"volume {call.volume}"):
        final = folder / "volumes" / f"{checked(call.volume)}.{call.format}"
        base = folder / "images" / f"{checked(call.base)}.qcow2" if call.base else None
        size = call.size
        if base is not None:
            smallest = (await in_thread(work, "read the image", lambda: _header(base))).size
            size = size or smallest
            if size < smallest:
                text = f"A volume of {size} bytes is too small for its image, which is a disk of {smallest} bytes."
                raise Invalid(text, size=size, minimum=smallest)
        if not await in_thread(work, "look for the volume", final.exists):
            part = hidden(final)
            copied = call.provisioning == "fat" and base is not None
            await in_thread(work, "measure the pool", lambda: room(folder, size if call.provisioning == "fat" else 0))
            try:
                await _make(call, part, base if not copied else None, size, base if copied else None)
                await in_thread(work, "save the volume", lambda: settle(part, final, 0o600))
            except BaseException as error:
                await _give_up(folder, part, error, size)
                raise
        return await in_thread(work, "read the volume", lambda: _volume(final, call, base, size))


@serves(w.RemoveVolume)
async def remove(call: w.RemoveVolume, work: Work) -> w.Done:
    """Remove a volume, whole or half made."""
    folder = await ready(work, call.pool)
    volume = checked(call.volume)
    async with work.here.lock(f"volume {volume}"):
        finals = [folder / "volumes" / f"{volume}.{form}" for form in ("qcow2", "raw")]
        await in_thread(work, "remove the volume", lambda: discard(*finals))
    return w.Done()


@serves(w.ListVolumes)
async def names(call: w.ListVolumes, work: Work) -> w.VolumeNames:
    """What lies in a pool."""
    folder = await ready(work, call.pool)
    return await in_thread(
        work, "list the pool", lambda: w.VolumeNames(volumes=_ids(folder / "volumes"), images=_ids(folder / "images"))
    )


@serves(w.PlaceImage)
async def place(call: w.PlaceImage, work: Work) -> w.VolumeFacts:
    """Copy an image to primary storage. It is written anew by this host's qemu-img, so nothing strange comes along."""
    form = file_format(call.format)
    store, folder = await ready(work, call.store), await ready(work, call.pool)
    image = checked(call.image)
    source = store / "images" / f"{image}.{form}"
    final = folder / "images" / f"{image}.{'iso' if form == 'iso' else 'qcow2'}"
    source_form, target_form = ("raw", "raw") if form == "iso" else (form, "qcow2")
    async with work.here.lock(f"image {final}"):
        if not await in_thread(work, "look for the image", final.exists):
            if not await in_thread(work, "look for the image", source.exists):
                raise NotFound(f"Image {image} ({call.format}) is not in the store {call.store.id}.", image=image)
            bytes_needed = await imaging.needed(source, source_form, target_form)
            await in_thread(work, "measure the pool", lambda: room(folder, bytes_needed))
            part = hidden(final)
            try:
                await imaging.run(
                    "convert", "-p", "-f", source_form, "-O", target_form, str(source), str(part),
                    cpu_seconds=imaging.COPY_CPU_SECONDS, progress=lambda percent: work.progress(percent, "copying"),
                )  # fmt: skip
                await in_thread(work, "save the image", lambda: settle(part, final, 0o444), seconds=600)
            except BaseException as error:
                await _give_up(folder, part, error, bytes_needed)
                raise
        return await in_thread(work, "read the image", lambda: _placed(final))


@serves(w.RemovePlaced)
async def remove_placed(call: w.RemovePlaced, work: Work) -> w.Done:
    """Remove a placed image that no volume stands on."""
    folder = await ready(work, call.pool)
    image = checked(call.image)
    for form in ("qcow2", "iso"):
        final = folder / "images" / f"{image}.{form}"
        async with work.here.lock(f"image {final}"):
            await in_thread(work, "remove the image", partial(_remove_placed, folder, final))
    return w.Done()


# -- for other rooms --------------------------------------------------------------------------------------------


async def in_thread(work: Work, doing: str, function: Callable[[], T], seconds: float = SECONDS) -> T:
    """The result of work with files, which may hang (a dead file server): Unreachable after `seconds`."""
    try:
        return await work.thread(_threads().submit(function), seconds)
    except TimeoutError:
        raise Unreachable(f"The storage did not {doing} within {seconds:.0f} s on this host.") from None


async def ready(work: Work, pool: w.PoolSpec) -> Path:
    """The folder of a pool or store, after a look at its mark; a refusal says what is wrong."""
    return await in_thread(work, f"show the pool {pool.id}", lambda: _marked(pool))


async def disk(work: Work, spec: w.DiskSpec) -> str:
    """The absolute path of a machine's disk; it must be there, in its pool."""
    folder = await ready(work, spec.pool)
    parts = Path(spec.path).parts
    stem, dot, form = (parts[1] if len(parts) == 2 else "").partition(".")
    is_ours = len(parts) == 2 and parts[0] in ("volumes", "images") and bool(dot) and form in ("qcow2", "raw", "iso")
    if not is_ours or not UUID.fullmatch(stem) or (parts[0] == "images") != (spec.format == "iso"):
        raise Invalid(f"'{spec.path[:200]}' is not the path of a disk in a pool.", path=spec.path[:200])
    path = folder / spec.path
    if not await in_thread(work, "look for the disk", path.is_file):
        raise NotFound(f"The disk {spec.path} is not in the pool {spec.pool.id}.", path=spec.path, pool=spec.pool.id)
    return str(path)


def file_format(form: str) -> str:
    """The API's word for a format as files are named: `qcow2`, `raw` or `iso`."""
    word = form.lower()
    if word not in ("qcow2", "raw", "iso"):
        raise Unsupported(f"Images of format {form[:40]} cannot be used on this host; convert it to QCOW2.", format=form[:40])
    return word


def checked(text: str) -> str:
    """An id that may become part of a path; Invalid when it is no UUID."""
    if not UUID.fullmatch(text):
        raise Invalid(f"'{text[:80]}' is not an id; it must be a UUID.", id=text[:80])
    return text.lower()


def hidden(final: Path) -> Path:
    """The name under which this host makes a file before it gets its own: several may make the same one in a shared folder."""
    return final.with_name(f".{final.name}.{OWN}.part")


def settle(part: Path, final: Path, mode: int) -> None:
    """Give a finished file its name, so that it is whole even after a power cut."""
    handle = os.open(part, os.O_RDONLY)
    try:
        os.fchmod(handle, mode)
        os.fsync(handle)
    finally:
        os.close(handle)
    if final.exists():
        part.unlink()  # another host was quicker with the same
    else:
        os.replace(part, final)
    config.sync(final.parent)


def discard(*finals: Path) -> None:
    """Remove files, and what was begun of them."""
    for final in finals:
        final.unlink(missing_ok=True)
        for begun in final.parent.glob(f".{final.name}.*part"):
            begun.unlink(missing_ok=True)


def free(folder: Path) -> int:
    """Bytes that can still be written below `folder`."""
    found = os.statvfs(folder)
    return max(0, found.f_bavail * found.f_frsize - SPARE)


def room(folder: Path, bytes_needed: int) -> None:
    """NoCapacity unless that many bytes can be written below `folder`."""
    bytes_free = free(folder)
    if bytes_free < bytes_needed or not bytes_free:
        raise full(folder, bytes_free, bytes_needed)


def full(folder: Path, bytes_free: int, bytes_needed: int) -> NoCapacity:
    """The refusal for a storage that is full."""
    text = f"The storage at {folder} has {bytes_free} bytes free, and {bytes_needed} are needed; free or add space."
    return NoCapacity(text, free=bytes_free, needed=bytes_needed)


def is_full(error: BaseException) -> bool:
    """Whether a file operation or qemu-img failed for want of space."""
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    return isinstance(error, Failed) and os.strerror(errno.ENOSPC) in error.text


def measure(folder: Path, pool: str) -> w.PoolFacts:
    """Size of a pool; Failed when it is not (mounted) there."""
    _same(folder, pool)
    found = os.statvfs(folder)
    return w.PoolFacts(capacity=found.f_blocks * found.f_frsize, used=(found.f_blocks - found.f_bfree) * found.f_frsize)


def mounted(settings: Settings) -> dict[str, Path]:
    """The pools and stores this agent has in use, also after a restart."""
    try:
        kept = msgspec.json.decode(_list(settings).read_bytes(), type=dict[str, str])
    except FileNotFoundError:
        return {}
    return {pool: Path(path) for pool, path in kept.items()}


def chown(path: Path, user: int, group: int) -> None:
    """Give a folder to the user that QEMU runs as, when it is not his already."""
    found = path.stat()
    if (found.st_uid, found.st_gid) != (user, group):
        os.chown(path, user, group)


# -- in the thread: with files ----------------------------------------------------------------------------------


@functools.cache
def _threads() -> Threads:
    return Threads(8, "storage")


def _list(settings: Settings) -> Path:
    return settings.data / "pools.json"


def _remember(settings: Settings, pool: str, path: Path | None) -> None:
    known = {each: str(where) for each, where in mounted(settings).items() if each != pool}
    if path is not None:
        known[pool] = str(path)
    config.write(_list(settings), msgspec.json.encode(known))


async def _mount(pool: w.PoolSpec, work: Work) -> w.PoolFacts:
    settings = work.here.settings
    async with work.here.lock("pools"):
        return await in_thread(work, f"mount {pool.path}", lambda: _take(settings, pool))


def _where(pool: w.PoolSpec) -> Path:
    """The folder of a pool, refused when it is none that a person would give to a pool."""
    checked(pool.id)
    if pool.type not in KINDS:
        raise Unsupported(f"This host cannot mount storage of type {pool.type[:40]}.", type=pool.type[:40])
    path = Path(pool.path)
    if not path.is_absolute() or ".." in path.parts or "\0" in pool.path or not pool.path.isprintable():
        raise Invalid(f"'{pool.path[:200]}' is not an absolute path.", path=pool.path[:200])
    for each in (path, Path(os.path.realpath(path))):
        if str(each) in _TOO_WIDE or (len(each.parts) > 1 and each.parts[1] in _SYSTEM) or len(each.parts) < 2:
            raise Invalid(f"{pool.path} belongs to the system; give the storage a folder of its own.", path=pool.path)
    return path


def _take(settings: Settings, pool: w.PoolSpec) -> w.PoolFacts:
    folder = _where(pool)
    if pool.type != "SharedMountPoint":
        folder.mkdir(parents=True, exist_ok=True)
    if not folder.is_dir():
        raise NotFound(f"There is no folder {folder} on this host; mount the storage there first.", path=str(folder))
    marker = folder / MARKER
    if not marker.exists():
        # Somebody has to write the first mark, but not into the empty folder below a file server that is not mounted.
        is_local = folder.stat().st_dev == Path("/").stat().st_dev
        if pool.id in mounted(settings) or (pool.type == "SharedMountPoint" and is_local and not settings.dev):
            raise Failed(f"{folder} is not pool {pool.id}: it carries no {MARKER}; is it mounted?", path=str(folder))
        config.write(marker, pool.id.lower().encode() + b"\n")
    _same(folder, pool.id)
    for name in ("volumes", "images"):
        # QEMU runs as another user: it may pass through, but not look around.
        (folder / name).mkdir(mode=0o711, exist_ok=True)
    facts = measure(folder, pool.id)
    _remember(settings, pool.id.lower(), folder)
    return facts


def _unmount(settings: Settings, pool: w.PoolSpec, *, force: bool) -> None:
    folder = _where(pool)
    try:
        _same(folder, pool.id)
        volumes, images = _ids(folder / "volumes"), _ids(folder / "images")
    except (Failed, OSError):
        if not force and pool.id.lower() in mounted(settings):
            raise
        volumes, images = [], ["not ours"]
    if volumes and not force:
        raise InUse(f"Pool {pool.id} holds {len(volumes)} volumes; remove or move them first.", volumes=volumes[:100])
    _remember(settings, pool.id.lower(), None)
    if pool.type == "Filesystem" and not volumes and not images:
        (folder / MARKER).unlink()


def _same(folder: Path, pool: str) -> None:
    try:
        with (folder / MARKER).open("rb") as file:
            mark = file.read(100).decode("ascii", "replace").strip()
    except (FileNotFoundError, NotADirectoryError):
        raise Failed(f"{folder} is not pool {pool}: it carries no {MARKER}; is it mounted?", path=str(folder)) from None
    except OSError as error:
        raise Failed(f"{folder} cannot be read: {error.strerror}.", path=str(folder)) from error
    if mark != pool.lower():
        raise Failed(f"{folder} is not pool {pool} but {mark[:40]}; mount the right one.", path=str(folder), found=mark[:40])


def _marked(pool: w.PoolSpec) -> Path:
    folder = _where(pool)
    _same(folder, pool.id)
    return folder


def _ids(folder: Path) -> list[str]:
    names = (entry.partition(".")[0] for entry in os.listdir(folder) if not entry.startswith("."))
    return sorted({name for name in names if UUID.fullmatch(name)})


def _check_volume(call: w.CreateVolume) -> None:
    if call.format not in ("qcow2", "raw") or (call.format == "raw" and call.base):
        raise Unsupported(f"Volumes of format {call.format[:40]} cannot be made here; qcow2 can.", format=call.format[:40])
    if call.provisioning not in _PROVISIONINGS:
        raise Unsupported(f"'{call.provisioning[:40]}' is no way to provision a volume; thin, sparse and fat are.")
    if not 0 <= call.size <= SIZE_MAX or (not call.size and not call.base) or call.size % 512:
        raise Invalid(f"{call.size} bytes are no size for a volume; multiples of 512 up to 16 TiB are.", size=call.size)


async def _make(call: w.CreateVolume, part: Path, base: Path | None, size: int, copied: Path | None) -> None:
    """Write the volume's file. `base` is what it stands on; `copied` is what it begins with as its own."""
    full_size = call.provisioning == "fat"
    ahead = {"thin": "off", "sparse": "metadata" if call.format == "qcow2" else "off", "fat": "falloc"}[call.provisioning]
    if copied is not None:
        copy = ("convert", "-f", "qcow2", "-O", call.format, "-o", f"preallocation={ahead}", str(copied), str(part))
        await imaging.run(*copy, cpu_seconds=imaging.COPY_CPU_SECONDS)
        grow = ("resize", "-f", call.format, f"--preallocation={ahead}", str(part), str(size))
        await imaging.run(*grow, cpu_seconds=imaging.COPY_CPU_SECONDS)
        return
    words = ["create", "-q", "-f", call.format]
    if base is not None:
        # Relative, so that a pool works wherever a host mounts it.
        words += ["-F", "qcow2", "-b", f"../images/{base.name}"]
    else:
        words += ["-o", f"preallocation={ahead}"]
    await imaging.run(*words, str(part), str(size), cpu_seconds=imaging.COPY_CPU_SECONDS if full_size else 60)


def _header(path: Path, *, may_have_backing: bool = False) -> qcow2.Header:
    try:
        with path.open("rb") as file:
            return qcow2.parse(
                file.read(qcow2.HEAD_BYTES), os.fstat(file.fileno()).st_size, may_have_backing=may_have_backing
            )
    except FileNotFoundError:
        raise NotFound(f"{path.parent.name}/{path.name} is not in the pool at {path.parents[1]}.", path=str(path)) from None


def _volume(final: Path, call: w.CreateVolume, base: Path | None, size: int) -> w.VolumeFacts:
    header = _header(final, may_have_backing=True) if call.format == "qcow2" else None
    found = header.size if header else final.stat().st_size
    stands_on = Path(header.backing).name if header and header.backing else ""
    wanted = base.name if base is not None and call.provisioning != "fat" else ""
    if found != size or stands_on != wanted:
        text = f"There is another volume {call.volume} in the pool already: {found} bytes, on '{stands_on}'."
        raise Conflict(text, volume=call.volume, size=found)
    return _told(final, found)


def _placed(final: Path) -> w.VolumeFacts:
    return _told(final, final.stat().st_size if final.suffix == ".iso" else _header(final).size)


def _told(final: Path, size: int) -> w.VolumeFacts:
    path = f"{final.parent.name}/{final.name}"
    return w.VolumeFacts(path=path, size=size, physical=final.stat().st_blocks * 512, format=final.suffix[1:])


def _remove_placed(folder: Path, final: Path) -> None:
    users = []
    for entry in sorted((folder / "volumes").glob("*.qcow2")) if final.exists() else []:
        try:
            backing = _header(entry, may_have_backing=True).backing
        except NotFound:
            continue
        if Path(backing).name == final.name:
            users.append(entry.name.partition(".")[0])
    if users:
        raise InUse(f"{len(users)} volumes stand on image {final.stem}; remove them first.", volumes=list(users[:100]))
    discard(final)


async def _give_up(folder: Path, part: Path, error: BaseException, bytes_needed: int) -> None:
    """Remove what was begun; a full storage becomes a refusal that says so."""
    await wait_out(asyncio.to_thread(discard, part))
    if is_full(error):
        raise full(folder, free(folder), bytes_needed) from error
