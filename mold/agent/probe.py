"""Which kind of guest really runs here: `kvm`, or `qemu` (emulation). Found by starting one and watching it work.

That /dev/kvm opens, and that libvirt offers kvm, proves nothing: there are machines where both are so and every
guest hangs or aborts.  So a tiny guest is started whose boot sector writes a word to its serial port; only the
word counts.  The answer is kept for as long as the machine is not rebooted and QEMU stays the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
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
CREATE_SECONDS = 15.0
WORD = b"MOLD"
DOMAIN_TYPES = ("kvm", "qemu")
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class Found(msgspec.Struct, kw_only=True):
    """What a probe found, and what it holds for."""

    boot_id: str
    qemu: str
    domain_type: str


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
    now = Found(boot_id=boot_id(), qemu=str(version), domain_type="")
    with contextlib.suppress(OSError, msgspec.DecodeError):
        old = msgspec.json.decode(kept.read_bytes(), type=Found)
        if (old.boot_id, old.qemu) == (now.boot_id, now.qemu) and old.domain_type in DOMAIN_TYPES:
            return old.domain_type
    began = time.monotonic()
    now.domain_type = "kvm" if os.path.exists("/dev/kvm") and await runs(here, "kvm") else "qemu"  # noqa: ASYNC240 - /dev answers at once
    log.info("probed", domain_type=now.domain_type, seconds=round(time.monotonic() - began, 2))
    config.write(kept, msgspec.json.encode(now))
    return now.domain_type


async def runs(here: Here, kind: str, seconds: float = SECONDS) -> bool:
    """Whether a guest of this libvirt type gets as far as its boot sector within `seconds`. Leaves no guest behind."""
    folder = here.settings.run
    name = f"mold-probe-{uuid.uuid4().hex[:12]}"
    disk, output = folder / f"{name}.img", folder / f"{name}.out"
    text = _describe(name, kind, disk, output)
    try:
        disk.write_bytes(boot_sector())
        output.touch()
        await here.virt.call(
            f"start a guest of type {kind}",
            lambda connection: connection.createXML(text, libvirt.VIR_DOMAIN_START_AUTODESTROY),
            seconds=CREATE_SECONDS,
        )
        until = time.monotonic() + seconds
        while WORD not in output.read_bytes():
            if time.monotonic() > until:
                log.info("probe guest hangs", domain_type=kind)
                return False
            await asyncio.sleep(0.05)
        return True
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


def _describe(name: str, kind: str, disk: Path, output: Path) -> str:
    """The guests' own CPU mode is used: where only that one breaks, kvm is of no use either."""
    root = ET.Element("domain", type=kind)
    ET.SubElement(root, "name").text = name
    ET.SubElement(root, "memory", unit="MiB").text = "16"
    ET.SubElement(root, "vcpu").text = "1"
    system = ET.SubElement(root, "os")
    ET.SubElement(system, "type", arch="x86_64", machine="pc").text = "hvm"
    ET.SubElement(system, "boot", dev="hd")
    features = ET.SubElement(root, "features")
    ET.SubElement(features, "acpi")
    ET.SubElement(root, "cpu", mode="host-model" if kind == "kvm" else "maximum")
    devices = ET.SubElement(root, "devices")
    image = ET.SubElement(devices, "disk", type="file", device="disk")
    ET.SubElement(image, "driver", name="qemu", type="raw")
    ET.SubElement(image, "source", file=str(disk))
    ET.SubElement(image, "target", dev="hda", bus="ide")
    serial = ET.SubElement(devices, "serial", type="file")
    ET.SubElement(serial, "source", path=str(output))
    ET.SubElement(serial, "target", port="0")
    ET.SubElement(devices, "memballoon", model="none")
    return ET.tostring(root, encoding="unicode")
