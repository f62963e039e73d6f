"""Pools and volumes, with the real qemu-img."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from agentkit import agent

from mold.agent import imaging, pools
from mold.agent.here import Here
from mold.agent.serve import Desk
from mold.wire import calls as w

MIB = 1 << 20


class Storage:
    """A pool and a store of an agent, asked as a manager asks."""

    def __init__(self, here: Here, folder: Path) -> None:
        self.desk = Desk(here)
        self.here = here
        self.pool = w.PoolSpec(id=str(uuid.uuid4()), type="Filesystem", path=str(folder / "pool"))
        self.store = w.PoolSpec(id=str(uuid.uuid4()), type="Directory", path=str(folder / "store"))
        self.volumes = folder / "pool" / "volumes"

    async def ask(self, call: w.Call) -> w.Reply:
        reply = w.for_manager(await self.desk.answer(w.Request(n=1, call=call, seconds=30)))
        assert isinstance(reply, w.Reply)
        return reply

    async def good(self, call: w.Call):
        reply = await self.ask(call)
        assert not reply.error, (reply.error, reply.text)
        return w.facts_of(call, reply.facts)

    async def refused(self, call: w.Call, error: str, text: str) -> None:
        reply = await self.ask(call)
        assert reply.error == error and text in reply.text, (reply.error, reply.text)

    def image(self, form: str = "qcow2", size: str = "8M") -> str:
        image = str(uuid.uuid4())
        path = Path(self.store.path, "images", f"{image}.{form}")
        subprocess.run(["qemu-img", "create", "-q", "-f", "raw" if form == "iso" else form, str(path), size], check=True)
        return image


@contextlib.asynccontextmanager
async def storage(folder: Path, **words: str) -> AsyncIterator[Storage]:
    async with agent(folder / "agent", **words) as here:
        made = Storage(here, folder)
        await made.good(w.MountPool(pool=made.pool))
        await made.good(w.MountStore(store=made.store))
        yield made


def test_image_to_volume_and_back(tmp_path: Path) -> None:
    async def main() -> None:
        async with storage(tmp_path) as here:
            image, volume = here.image(), str(uuid.uuid4())
            placed = await here.good(w.PlaceImage(store=here.store, pool=here.pool, image=image, format="QCOW2"))
            assert (placed.path, placed.size, placed.format) == (f"images/{image}.qcow2", 8 * MIB, "qcow2")
            assert placed == await here.good(w.PlaceImage(store=here.store, pool=here.pool, image=image, format="QCOW2"))
            assert (Path(here.pool.path) / placed.path).stat().st_mode & 0o777 == 0o444

            call = w.CreateVolume(pool=here.pool, volume=volume, size=16 * MIB, base=image)
            made = await here.good(call)
            assert (made.path, made.size) == (f"volumes/{volume}.qcow2", 16 * MIB)
            assert await here.good(call) == made
            seen = await imaging.info(Path(here.pool.path) / made.path, "qcow2")
            assert seen.backing_filename == f"../images/{image}.qcow2"
            await here.refused(w.msgspec.structs.replace(call, size=32 * MIB), "Conflict", "another volume")
            await here.refused(w.msgspec.structs.replace(call, volume=str(uuid.uuid4()), size=MIB), "Invalid", "too small")

            assert await here.good(w.ListVolumes(pool=here.pool)) == w.VolumeNames(volumes=[volume], images=[image])
            await here.refused(w.RemovePlaced(pool=here.pool, image=image), "InUse", "1 volumes stand on")
            await here.refused(w.UnmountPool(pool=here.pool), "InUse", "holds 1 volumes")
            for _ in range(2):
                await here.good(w.RemoveVolume(pool=here.pool, volume=volume))
                await here.good(w.RemovePlaced(pool=here.pool, image=image))
            assert await here.good(w.ListVolumes(pool=here.pool)) == w.VolumeNames(volumes=[], images=[])
            await here.good(w.UnmountPool(pool=here.pool))
            await here.good(w.UnmountPool(pool=here.pool))
            assert set(pools.mounted(here.here.settings)) == {here.store.id}
            again = w.msgspec.structs.replace(here.pool, id=str(uuid.uuid4()))
            assert (await here.good(w.MountPool(pool=again))).capacity > 0

    asyncio.run(main())


def test_every_way_to_make_a_volume(tmp_path: Path) -> None:
    async def main() -> None:
        async with storage(tmp_path) as here:
            for form in ("raw", "iso"):
                image = here.image(form)
                placed = await here.good(w.PlaceImage(store=here.store, pool=here.pool, image=image, format=form.upper()))
                assert placed.size == 8 * MIB and placed.path.endswith(".iso" if form == "iso" else ".qcow2")
            image = here.image()
            await here.good(w.PlaceImage(store=here.store, pool=here.pool, image=image, format="QCOW2"))
            for words in (
                {"size": 9 * MIB}, {"size": 9 * MIB, "provisioning": "sparse"}, {"size": 9 * MIB, "provisioning": "fat"},
                {"size": 9 * MIB, "format": "raw"}, {"size": 9 * MIB, "format": "raw", "provisioning": "fat"},
                {"size": 0, "base": image}, {"size": 9 * MIB, "base": image, "provisioning": "fat"},
                {"size": 9 * MIB, "base": image, "provisioning": "sparse"},
            ):  # fmt: skip
                call = w.CreateVolume(pool=here.pool, volume=str(uuid.uuid4()), **words)
                made = await here.good(call)
                assert made.size == (words["size"] or 8 * MIB) and await here.good(call) == made
                if words.get("provisioning") == "fat":
                    assert made.physical >= 9 * MIB
                await here.good(w.RemoveVolume(pool=here.pool, volume=call.volume))
            assert list(here.volumes.iterdir()) == []

    asyncio.run(main())


def test_words_that_reach_for_the_system(tmp_path: Path) -> None:
    async def main() -> None:
        async with storage(tmp_path) as here:
            good, image = str(uuid.uuid4()), here.image()
            for volume in ("../x", "", "a" * 36, f"{good}/x", f"{good}\0", f"{good}\n"):
                await here.refused(w.CreateVolume(pool=here.pool, volume=volume, size=MIB), "Invalid", "must be a UUID")
                await here.refused(w.RemoveVolume(pool=here.pool, volume=volume), "Invalid", "must be a UUID")
                await here.refused(w.CreateVolume(pool=here.pool, volume=good, size=MIB, base=volume or "x"), "Invalid", "must be a UUID")
            for size in (-1, 100, 1 << 60):
                await here.refused(w.CreateVolume(pool=here.pool, volume=good, size=size), "Invalid", "no size")
            await here.refused(w.CreateVolume(pool=here.pool, volume=good, size=MIB, format="vmdk"), "Unsupported", "vmdk")
            await here.refused(w.CreateVolume(pool=here.pool, volume=good, size=MIB, base=good), "NotFound", "not in the pool")
            await here.refused(w.PlaceImage(store=here.store, pool=here.pool, image=good, format="QCOW2"), "NotFound", "not in the store")
            await here.refused(w.PlaceImage(store=here.store, pool=here.pool, image=image, format="OVA"), "Unsupported", "OVA")
            (tmp_path / "link").symlink_to("/etc")
            for path in ("/", "/etc", "/etc/mold", "//", "/var/lib", "/srv/../etc", "relative", "", "/usr/x", "/srv/a\nb", "/srv/a\0b", str(tmp_path / "link")):
                pool = w.PoolSpec(id=good, type="Filesystem", path=path)
                assert (await here.ask(w.MountPool(pool=pool))).error == "Invalid", path
            await here.refused(w.MountPool(pool=w.PoolSpec(id=good, type="RBD", path="/srv/x")), "Unsupported", "RBD")
            await here.refused(w.MountPool(pool=w.PoolSpec(id="x", type="Filesystem", path="/srv/x")), "Invalid", "UUID")

    asyncio.run(main())


def test_a_path_that_is_not_the_pool(tmp_path: Path) -> None:
    async def main() -> None:
        async with storage(tmp_path) as here:
            other = w.msgspec.structs.replace(here.pool, id=str(uuid.uuid4()))
            await here.refused(w.MountPool(pool=other), "Failed", f"but {here.pool.id}")
            await here.refused(w.ListVolumes(pool=other), "Failed", "mount the right one")
            Path(here.pool.path).rename(tmp_path / "away")
            Path(here.pool.path).mkdir()
            await here.refused(w.CreateVolume(pool=here.pool, volume=str(uuid.uuid4()), size=MIB), "Failed", "is it mounted?")
            await here.refused(w.MountPool(pool=here.pool), "Failed", "is it mounted?")
            await here.refused(w.UnmountPool(pool=here.pool), "Failed", "is it mounted?")
            await here.good(w.UnmountPool(pool=here.pool, force=True))
            shared = w.PoolSpec(id=str(uuid.uuid4()), type="SharedMountPoint", path=str(tmp_path / "shared"))
            await here.refused(w.MountPool(pool=shared), "NotFound", "mount the storage there first")

    asyncio.run(main())


def test_shared_pool_is_marked_only_where_something_is_mounted(tmp_path: Path) -> None:
    async def main() -> None:
        shared = w.PoolSpec(id=str(uuid.uuid4()), type="SharedMountPoint", path=str(tmp_path / "shared"))
        (tmp_path / "shared").mkdir()
        is_local = (tmp_path / "shared").stat().st_dev == Path("/").stat().st_dev
        async with storage(tmp_path / "1") as here:
            if is_local:
                await here.refused(w.MountPool(pool=shared), "Failed", "is it mounted?")
        async with storage(tmp_path / "2", dev="true") as here:
            await here.good(w.MountPool(pool=shared))
        async with storage(tmp_path / "3") as here:
            await here.good(w.MountPool(pool=shared))

    asyncio.run(main())


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small file system")
def test_full_storage_leaves_nothing_and_tells_the_bytes(tmp_path: Path) -> None:
    async def main() -> None:
        async with storage(tmp_path) as here:
            image = here.image("raw", "20M")
            with Path(here.store.path, "images", f"{image}.raw").open("r+b") as file:
                file.write(os.urandom(20 * MIB))
            pool = Path(here.pool.path)
            marker = (pool / pools.MARKER).read_bytes()
            subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(pool)], check=True)
            try:
                (pool / pools.MARKER).write_bytes(marker)
                (pool / "volumes").mkdir()
                (pool / "images").mkdir()
                await here.refused(w.PlaceImage(store=here.store, pool=here.pool, image=image, format="RAW"), "NoCapacity", "bytes free")
                await here.refused(w.CreateVolume(pool=here.pool, volume=str(uuid.uuid4()), size=64 * MIB, provisioning="fat"), "NoCapacity", "bytes free")
                # What looked as if it fitted, and then did not: qemu-img itself meets the end of the disk.
                spare, pools.SPARE = pools.SPARE, -100 * MIB
                try:
                    reply = await here.ask(w.PlaceImage(store=here.store, pool=here.pool, image=image, format="RAW"))
                    assert not reply.error
                    await here.good(w.RemovePlaced(pool=here.pool, image=image))
                    await here.refused(w.CreateVolume(pool=here.pool, volume=str(uuid.uuid4()), size=64 * MIB, provisioning="fat"), "NoCapacity", "needed")
                finally:
                    pools.SPARE = spare
                assert not list((pool / "volumes").iterdir()) and not list((pool / "images").iterdir())
            finally:
                subprocess.run(["umount", str(pool)], check=True)

    asyncio.run(main())


def test_cancelled_copy_ends_qemu_img_and_leaves_nothing(tmp_path: Path) -> None:
    async def main() -> None:
        async with storage(tmp_path) as here:
            image = here.image("raw", "2G")
            with Path(here.store.path, "images", f"{image}.raw").open("r+b") as file:
                for at in range(0, 2 << 30, 4 * MIB):
                    file.seek(at)
                    file.write(b"x")
            call = w.PlaceImage(store=here.store, pool=here.pool, image=image, format="RAW")
            task = asyncio.create_task(here.ask(call))
            images = Path(here.pool.path, "images")
            while not list(images.iterdir()) and not task.done():
                await asyncio.sleep(0.005)
            task.cancel()
            assert (await task).error == "Cancelled"
            assert not list(images.iterdir())
            assert not subprocess.run(["pgrep", "-f", f"qemu-img.*{image}"], capture_output=True, check=False).stdout

    asyncio.run(main())
