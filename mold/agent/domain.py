"""The XML of a guest, made from what the manager says. Pure: no libvirt, no files, the same XML for the same words.

Built as a tree, never by formatting text.  Choices that would surprise: BIOS guests get the i440fx machine (`pc`),
where every bus slot takes a hot-plugged device and every guest system boots, UEFI guests get `q35`, which secure
boot needs; the screen is a UNIX socket, never a TCP port; a guest that crashes or powers off is gone (its manager
knows what to do about it), a guest that reboots stays.
"""

from __future__ import annotations

import re
import uuid
import xml.etree.ElementTree as ET
from dataclasses import dataclass

from mold.base.errors import Invalid
from mold.wire import calls as w

NAMESPACE = "urn:mold:machine"
QUOTA_PERIOD_US = 100_000
QUOTA_MIN_US = 1_000
SHARES_MAX = 10_000
VNC_PASSWORD_MAX = 8
SOCKET_PATH_MAX = 107

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}")
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}", re.IGNORECASE)
_KEYBOARD = re.compile(r"[a-z]{2}(-[a-z]{2})?")
_BUSES = {"virtio": "vd", "scsi": "sd", "sata": "sd", "ide": "hd"}
_CACHES = ("none", "writeback", "writethrough", "directsync", "unsafe", "default")
_NIC_MODELS = ("virtio", "e1000", "e1000e", "rtl8139")
_FORMATS = ("qcow2", "raw", "iso")
_ARCHES = ("x86_64",)


@dataclass(frozen=True)
class Ground:
    """What the XML needs to know about the host: `kvm` or `qemu`, the MHz of a core (0: unknown), whose guest it is."""

    domain_type: str
    mhz: int
    agent: str
    emulator: str = ""


def check(spec: w.MachineSpec) -> None:
    """Refuse (Invalid) a machine whose words could not be meant, before anything of it is looked at."""
    if not is_name(spec.name):
        raise Invalid(f"'{spec.name[:80]}' is not a machine name; use letters, digits, '.', '_' and '-'.", name=spec.name[:80])
    try:
        uuid.UUID(spec.id)
    except ValueError:
        raise Invalid(f"'{spec.id[:80]}' is not a machine id; it must be a UUID.", id=spec.id[:80]) from None
    _within("cores", spec.cores, 1, 512)
    _within("MHz", spec.cpu_mhz, 1, 1_000_000)
    _within("bytes of memory", spec.memory, 1 << 20, 1 << 46)
    _one_of("architecture", spec.arch, _ARCHES)
    _one_of("firmware", spec.firmware, ("bios", "uefi"))
    _matches("machine type", spec.machine_type, _WORD)
    _matches("CPU mode", spec.cpu_mode, _WORD)
    _matches("keyboard", spec.keyboard, _KEYBOARD)
    if spec.secure_boot and spec.firmware != "uefi":
        raise Invalid("Secure boot needs the firmware uefi.", firmware=spec.firmware)
    if not spec.vnc_password.isascii() or not spec.vnc_password.isprintable() or not spec.vnc_password:
        raise Invalid("The VNC password must be plain printable ASCII and not empty.")
    if not all(char.isprintable() for char in spec.title) or len(spec.title) > 1024:
        raise Invalid("The title must be one line of at most 1024 characters.")
    _distinct("disk", [disk.device for disk in spec.disks])
    _distinct("card", [nic.device for nic in spec.nics])
    _distinct("MAC address", [nic.mac.lower() for nic in spec.nics])
    for disk in spec.disks:
        _within("as number of a disk", disk.device, 0, 200)
        _one_of("bus", disk.bus, tuple(_BUSES))
        _one_of("format", disk.format, _FORMATS)
        _one_of("cache", disk.cache, _CACHES)
        _matches("serial", disk.serial, _WORD)
        for rate in (disk.bytes_read_rate, disk.bytes_write_rate, disk.iops_read_rate, disk.iops_write_rate):
            _within("as a rate of a disk", rate, 0, 1 << 50)
    for nic in spec.nics:
        _within("as number of a card", nic.device, 0, 100)
        _one_of("card model", nic.model, _NIC_MODELS)
        _within("Mbit/s", nic.rate_mbps, 0, 1_000_000)
        if not _MAC.fullmatch(nic.mac) or int(nic.mac[:2], 16) & 1:
            raise Invalid(f"'{nic.mac[:40]}' is not the MAC address of a card.", mac=nic.mac[:40])


def is_name(name: str) -> bool:
    """Whether `name` may be a guest's name."""
    return _NAME.fullmatch(name) is not None


def describe(spec: w.MachineSpec, ground: Ground, disks: list[str], bridges: list[str], socket: str) -> str:
    """The domain XML of `spec`. `disks` are absolute paths and `bridges` names, each in the order of the spec."""
    check(spec)
    if len(socket.encode()) > SOCKET_PATH_MAX:
        raise Invalid(f"The path {socket} is too long for a socket; give the agent a shorter data folder.", path=socket)
    root = ET.Element("domain", type=ground.domain_type)
    _text(root, "name", spec.name)
    _text(root, "uuid", str(uuid.UUID(spec.id)))
    if spec.title:
        _text(root, "title", spec.title)
    metadata = ET.SubElement(root, "metadata")
    ET.register_namespace("mold", NAMESPACE)
    ET.SubElement(metadata, f"{{{NAMESPACE}}}machine", agent=ground.agent)
    _text(root, "memory", str(spec.memory), unit="b")
    _text(root, "vcpu", str(spec.cores), placement="static")
    _tune(root, spec, ground)
    _firmware(root, spec)
    _cpu(root, spec, ground)
    ET.SubElement(root, "clock", offset="utc")
    _text(root, "on_poweroff", "destroy")
    _text(root, "on_reboot", "restart")
    _text(root, "on_crash", "destroy")
    devices = ET.SubElement(root, "devices")
    if ground.emulator:
        _text(devices, "emulator", ground.emulator)
    _disks(devices, spec, disks)
    for nic, bridge in zip(spec.nics, bridges, strict=True):
        card = ET.SubElement(devices, "interface", type="bridge")
        ET.SubElement(card, "mac", address=nic.mac.lower())
        ET.SubElement(card, "source", bridge=bridge)
        if nic.segment.mtu:
            ET.SubElement(card, "mtu", size=str(nic.segment.mtu))
        ET.SubElement(card, "model", type=nic.model)
        ET.SubElement(card, "alias", name=f"ua-nic{nic.device}")
    _ports(devices)
    _screen(devices, spec, socket)
    return _written(root)


def _tune(root: ET.Element, spec: w.MachineSpec, ground: Ground) -> None:
    """Shares weigh guests against one another; 10 000 is the most that cgroup v2 takes, so MHz are divided by ten."""
    tune = ET.SubElement(root, "cputune")
    _text(tune, "shares", str(min(max(spec.cores * spec.cpu_mhz // 10, 2), SHARES_MAX)))
    if spec.cpu_capped and ground.mhz > 0:
        quota = min(QUOTA_PERIOD_US * spec.cpu_mhz // ground.mhz, QUOTA_PERIOD_US)
        _text(tune, "period", str(QUOTA_PERIOD_US))
        _text(tune, "quota", str(max(quota, QUOTA_MIN_US)))


def machine_type(spec: w.MachineSpec) -> str:
    """The machine the guest sees: what was asked for, else `pc` (`q35` for UEFI)."""
    return spec.machine_type or ("q35" if spec.firmware == "uefi" else "pc")


def _is_q35(spec: w.MachineSpec) -> bool:
    return "q35" in machine_type(spec)


def _firmware(root: ET.Element, spec: w.MachineSpec) -> None:
    system = ET.SubElement(root, "os")
    if spec.firmware == "uefi":
        system.set("firmware", "efi")
    _text(system, "type", "hvm", arch=spec.arch, machine=machine_type(spec))
    if spec.firmware == "uefi":
        firmware = ET.SubElement(system, "firmware")
        wanted = "yes" if spec.secure_boot else "no"
        ET.SubElement(firmware, "feature", enabled=wanted, name="enrolled-keys")
        ET.SubElement(firmware, "feature", enabled=wanted, name="secure-boot")
        if spec.secure_boot:
            ET.SubElement(system, "loader", secure="yes")
    if spec.boot_menu:
        ET.SubElement(system, "bootmenu", enable="yes", timeout="5000")
    features = ET.SubElement(root, "features")
    ET.SubElement(features, "acpi")
    ET.SubElement(features, "apic")
    if spec.secure_boot:
        ET.SubElement(features, "smm", state="on")


def _cpu(root: ET.Element, spec: w.MachineSpec, ground: Ground) -> None:
    """Emulation knows no host CPU, so whatever was asked for, but a model by name, becomes the best it has."""
    modes = ("host-model", "host-passthrough", "maximum")
    mode = spec.cpu_mode or "host-model"
    if ground.domain_type == "qemu" and mode in modes:
        mode = "maximum"
    if mode in modes:
        cpu = ET.SubElement(root, "cpu", mode=mode)
    else:
        cpu = ET.SubElement(root, "cpu", mode="custom", match="exact")
        _text(cpu, "model", mode, fallback="allow")
    ET.SubElement(cpu, "topology", sockets="1", cores=str(spec.cores), threads="1")


def _disks(devices: ET.Element, spec: w.MachineSpec, paths: list[str]) -> None:
    taken: dict[str, int] = {}
    order = 0
    cdrom_bus = "sata" if _is_q35(spec) else "ide"
    for disk, path in sorted(zip(spec.disks, paths, strict=True), key=lambda pair: pair[0].device):
        is_cdrom = disk.format == "iso"
        bus = cdrom_bus if is_cdrom else ("sata" if disk.bus == "ide" and _is_q35(spec) else disk.bus)
        prefix = _BUSES[bus]
        number = taken[prefix] = taken.get(prefix, -1) + 1
        element = ET.SubElement(devices, "disk", type="file", device="cdrom" if is_cdrom else "disk")
        cache = "writeback" if disk.cache == "default" else disk.cache
        driver = ET.SubElement(element, "driver", name="qemu")
        driver.attrib |= {"type": "raw"} if is_cdrom else {"type": disk.format, "cache": cache, "discard": "unmap"}
        ET.SubElement(element, "source", file=path)
        ET.SubElement(element, "target", dev=prefix + letters(number), bus=bus)
        rates = (
            ("read_bytes_sec", disk.bytes_read_rate), ("write_bytes_sec", disk.bytes_write_rate),
            ("read_iops_sec", disk.iops_read_rate), ("write_iops_sec", disk.iops_write_rate),
        )  # fmt: skip
        if any(rate for _, rate in rates):
            iotune = ET.SubElement(element, "iotune")
            for name, rate in rates:
                if rate:
                    _text(iotune, name, str(rate))
        if is_cdrom:
            ET.SubElement(element, "readonly")
        if disk.serial:
            _text(element, "serial", disk.serial)
        if is_cdrom or disk.device == 0:
            order += 1
            ET.SubElement(element, "boot", order=str(order))
        ET.SubElement(element, "alias", name=f"ua-disk{disk.device}")
    if any(disk.bus == "scsi" and disk.format != "iso" for disk in spec.disks):
        ET.SubElement(devices, "controller", type="scsi", index="0", model="virtio-scsi")


def _ports(devices: ET.Element) -> None:
    serial = ET.SubElement(devices, "serial", type="pty")
    ET.SubElement(serial, "target", port="0")
    console = ET.SubElement(devices, "console", type="pty")
    ET.SubElement(console, "target", type="serial", port="0")
    channel = ET.SubElement(devices, "channel", type="unix")
    ET.SubElement(channel, "target", type="virtio", name="org.qemu.guest_agent.0")
    balloon = ET.SubElement(devices, "memballoon", model="virtio")
    ET.SubElement(balloon, "stats", period="5")
    rng = ET.SubElement(devices, "rng", model="virtio")
    _text(rng, "backend", "/dev/urandom", model="random")


def _screen(devices: ET.Element, spec: w.MachineSpec, socket: str) -> None:
    """VNC knows eight characters of a password; clients cut theirs as well, so the rest is dropped here."""
    graphics = ET.SubElement(devices, "graphics", type="vnc", passwd=spec.vnc_password[:VNC_PASSWORD_MAX])
    if spec.keyboard:
        graphics.set("keymap", spec.keyboard)
    ET.SubElement(graphics, "listen", type="socket", socket=socket)
    video = ET.SubElement(devices, "video")
    ET.SubElement(video, "model", type="vga")
    ET.SubElement(devices, "input", type="tablet", bus="usb")


def letters(number: int) -> str:
    """0, 1, ... 25, 26, ... as a, b, ... z, aa, ...: how disks are counted."""
    text = ""
    number += 1
    while number:
        number, rest = divmod(number - 1, 26)
        text = chr(ord("a") + rest) + text
    return text


def _text(parent: ET.Element, tag: str, text: str, **attributes: str) -> ET.Element:
    element = ET.SubElement(parent, tag, attributes)
    element.text = text
    return element


def _written(root: ET.Element) -> str:
    ET.indent(root)
    return ET.tostring(root, encoding="unicode") + "\n"


def _within(what: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise Invalid(f"{value} {what} is not between {low} and {high}.", value=value)


def _one_of(what: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise Invalid(f"The {what} '{value[:80]}' is not one of {', '.join(known)}.", value=value[:80])


def _matches(what: str, value: str, form: re.Pattern[str]) -> None:
    if value and not form.fullmatch(value):
        raise Invalid(f"The {what} '{value[:80]}' has characters that none has.", value=value[:80])


def _distinct(what: str, values: list[int] | list[str]) -> None:
    if len(set(values)) != len(values):
        raise Invalid(f"Two of the machine have the same {what}; each must have its own.")
