"""Which kind of guest really runs here: `kvm`, or `qemu` (emulation). Found by starting one and watching it work.

That /dev/kvm opens, and that libvirt offers kvm, proves nothing: there are machines where both are so and every
guest hangs or aborts.  Nor does a guest that stays in real mode: there are machines where its instructions run and a
kernel hangs at its first page tables.  So a guest is started with the kernel of this very machine and no disk, and only
the panic counts with which a kernel that has come up ends for want of a root file system.  Where no kernel can be read, a
boot sector that writes a word to its serial port has to do.  The answer is kept for as long as the machine is not rebooted
and QEMU stays the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import time
import uuid
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import libvirt
import msgspec
import structlog

from mold.agent import config
from mold.agent.here import Here
from mold.base.errors import Refusal

log = structlog.get_logger()

SECONDS = 5.0
"""How long a boot sector, or the first line of a kernel, may take."""
KERNEL_SECONDS = 20.0
CREATE_SECONDS = 15.0
WORD = b"MOLD"
ALIVE, UP = b"Linux version", b"Unable to mount root fs"
KERNELS = Path("/boot")
DOMAIN_TYPES = ("kvm", "qemu")
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class Found(msgspec.Struct, kw_only=True):
    """What a probe found, and what it holds for."""

    boot_id: str
    qemu: str
    domain_type: str
    proof: str = ""


def boot_sector(word: bytes = WORD) -> bytes:
    """512 bytes that a BIOS boots: write `word` to the first serial port, then halt for ever."""
    code = b"\xfa\xba\xf8\x03"  # cli; mov dx, 0x3f8
    for byte in word:
        code += bytes((0xB0, byte, 0xEE))  # mov al, byte; out dx, al
    code += b"\xf4\xeb\xfd"  # hlt; jump back to it
    return code.ljust(510, b"\0") + b"\x55\xaa"


def boot_id() -> str:
    """The kernel's id of this boot."""
    return BOOT_ID.read_text().strip()


async def domain_type(here: Here) -> str:
    """`kvm` or `qemu`; Unreachable while libvirt is. The setting `domain.type` overrides the probe."""
    if not here.domain_type:
        async with here.lock("probe"):
            here.domain_type = here.domain_type or here.settings.domain_type or await _remembered(here)
    return here.domain_type


async def _remembered(here: Here) -> str:
    version: int = await here.virt.call("tell its version", lambda connection: connection.getVersion(), seconds=SECONDS)
    kept = here.settings.data / "probe.json"
    kernel = await asyncio.to_thread(own_kernel)
    now = Found(boot_id=boot_id(), qemu=str(version), domain_type="", proof=kernel.name if kernel else "boot sector")
    with contextlib.suppress(OSError, msgspec.DecodeError):
        old = msgspec.json.decode(kept.read_bytes(), type=Found)
        if (old.boot_id, old.qemu, old.proof) == (now.boot_id, now.qemu, now.proof) and old.domain_type in DOMAIN_TYPES:
            return old.domain_type
    began = time.monotonic()
    there = os.path.exists("/dev/kvm")  # noqa: ASYNC240 - /dev answers at once
    now.domain_type = "kvm" if there and await runs(here, "kvm", kernel=kernel) else "qemu"
    log.info("probed", domain_type=now.domain_type, proof=now.proof, seconds=round(time.monotonic() - began, 2))
    config.write(kept, msgspec.json.encode(now))
    return now.domain_type


def own_kernel() -> Path | None:
    """The newest kernel of this machine, or None where there is none to be read."""
    found = [k for k in KERNELS.glob("vmlinuz-*") if k.is_file() and os.access(k, os.R_OK)]
    return max(found, key=lambda k: k.stat().st_mtime, default=None)


async def runs(here: Here, kind: str, seconds: float = SECONDS, kernel: Path | None = None) -> bool:
    """Whether a guest of this libvirt type works: gets as far as its boot sector within `seconds`, or boots `kernel`.

    A kernel has `seconds` for its first line and KERNEL_SECONDS in all.  Leaves no guest behind.
    """
    folder = here.settings.run
    name = f"mold-probe-{uuid.uuid4().hex[:12]}"
    disk, output = folder / f"{name}.img", folder / f"{name}.out"
    text = _describe(name, kind, disk, output, kernel=kernel is not None)
    try:
        if kernel is None:
            disk.write_bytes(boot_sector())
        else:  # a copy: libvirt gives what a guest reads to QEMU's user while the guest runs
            await asyncio.to_thread(shutil.copyfile, kernel, disk)
        output.touch()
        await here.virt.call(
            f"start a guest of type {kind}",
            lambda connection: connection.createXML(text, libvirt.VIR_DOMAIN_START_AUTODESTROY),
            seconds=CREATE_SECONDS,
        )
        began = time.monotonic()
        while True:
            told = output.read_bytes()
            if (WORD if kernel is None else UP) in told:
                return True
            allowed = max(seconds, KERNEL_SECONDS) if kernel is not None and ALIVE in told else seconds
            if time.monotonic() > began + allowed:
                log.info("probe guest hangs", domain_type=kind, last=told[-80:].decode("ascii", "replace"))
                return False
            await asyncio.sleep(0.05)
    except (libvirt.libvirtError, Refusal) as error:
        log.info("probe guest did not start", domain_type=kind, error=str(error))
        return False
    finally:
        with contextlib.suppress(Refusal):
            await here.virt.call("remove the probe guest", lambda connection: _destroy(connection, name))
        disk.unlink(missing_ok=True)
        output.unlink(missing_ok=True)


def _destroy(connection: Any, name: str) -> None:
    try:
        connection.lookupByName(name).destroy()
    except libvirt.libvirtError as error:
        if error.get_error_code() not in (libvirt.VIR_ERR_NO_DOMAIN, libvirt.VIR_ERR_OPERATION_INVALID):
            log.warning("probe guest not removed", name=name, error=str(error))


def _describe(name: str, kind: str, disk: Path, output: Path, *, kernel: bool = False) -> str:
    """The guests' own CPU mode is used: where only that one breaks, kvm is of no use either."""
    root = ET.Element("domain", type=kind)
    ET.SubElement(root, "name").text = name
    ET.SubElement(root, "memory", unit="MiB").text = "256" if kernel else "16"
    ET.SubElement(root, "vcpu").text = "1"
    system = ET.SubElement(root, "os")
    ET.SubElement(system, "type", arch="x86_64", machine="pc").text = "hvm"
    if kernel:
        ET.SubElement(system, "kernel").text = str(disk)
        ET.SubElement(system, "cmdline").text = "console=ttyS0 panic=0"
    else:
        ET.SubElement(system, "boot", dev="hd")
    features = ET.SubElement(root, "features")
    ET.SubElement(features, "acpi")
    ET.SubElement(root, "cpu", mode="host-model" if kind == "kvm" else "maximum")
    devices = ET.SubElement(root, "devices")
    if not kernel:
        image = ET.SubElement(devices, "disk", type="file", device="disk")
        ET.SubElement(image, "driver", name="qemu", type="raw")
        ET.SubElement(image, "source", file=str(disk))
        ET.SubElement(image, "target", dev="hda", bus="ide")
    serial = ET.SubElement(devices, "serial", type="file")
    ET.SubElement(serial, "source", path=str(output))
    ET.SubElement(serial, "target", port="0")
    ET.SubElement(devices, "memballoon", model="none")
    return ET.tostring(root, encoding="unicode")
