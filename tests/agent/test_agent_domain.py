"""Guests' XML. The goldens in golden/ are rewritten by MOLD_GOLDEN=write."""

from __future__ import annotations

import os
import xml.etree.ElementTree as ET
from pathlib import Path

import msgspec
import pytest

from mold.agent import domain
from mold.base.errors import Invalid
from mold.wire import calls as w

GOLDEN = Path(__file__).parent / "golden"
KVM = domain.Ground(domain_type="kvm", mhz=2600, agent="6e8bd2ad-0000-4000-8000-000000000001")
POOL = w.PoolSpec(id="11111111-1111-4111-8111-111111111111", type="Filesystem", path="/srv/pool")


def disk(number: int, **words: object) -> w.DiskSpec:
    return w.DiskSpec(**{"pool": POOL, "path": f"volumes/{number}.qcow2", "device": number, **words})


PLAIN = w.MachineSpec(
    id="22222222-2222-4222-8222-222222222222", name="i-2-5-VM", title="web <1> & \"two\"", cores=2, cpu_mhz=1000, memory=1 << 30,
    disks=[disk(0)], nics=[w.NicSpec(mac="02:00:4C:00:00:01", segment=w.SegmentSpec(method="untagged"))], vnc_password="0123456789",
)  # fmt: skip
FULL = msgspec.structs.replace(
    PLAIN, cpu_capped=True, keyboard="de", boot_menu=True, title="",
    disks=[
        disk(3, format="iso", path="images/x.iso"),
        disk(0, serial="0a1b", bytes_read_rate=1000, bytes_write_rate=2000, iops_read_rate=300, iops_write_rate=400),
        disk(1, bus="scsi", cache="writeback"), disk(2, bus="ide", format="raw"),
    ],
    nics=[
        w.NicSpec(mac="02:00:4c:00:00:01", segment=w.SegmentSpec(method="vlan", tag=5, mtu=1450)),
        w.NicSpec(mac="02:00:4c:00:00:02", device=1, model="e1000", segment=w.SegmentSpec(method="untagged")),
    ],
)  # fmt: skip
CASES = {
    "plain-kvm": (PLAIN, "kvm"),
    "plain-qemu": (PLAIN, "qemu"),
    "full": (FULL, "kvm"),
    "uefi": (msgspec.structs.replace(FULL, firmware="uefi"), "kvm"),
    "secure-boot": (msgspec.structs.replace(PLAIN, firmware="uefi", secure_boot=True), "qemu"),
    "named-cpu": (msgspec.structs.replace(PLAIN, cpu_mode="EPYC-Rome", machine_type="q35", nics=[]), "qemu"),
}


def describe(spec: w.MachineSpec, kind: str = "kvm") -> str:
    ground = domain.Ground(domain_type=kind, mhz=2600, agent="6e8bd2ad-0000-4000-8000-000000000001")
    disks = [f"/srv/pool/{each.path}" for each in spec.disks]
    return domain.describe(spec, ground, disks, [f"br{each.device}" for each in spec.nics], "/var/lib/mold/run/vnc/i-2-5-VM.sock")


@pytest.mark.parametrize("name", CASES)
def test_golden(name: str) -> None:
    text = describe(*CASES[name])
    path = GOLDEN / f"{name}.xml"
    if os.environ.get("MOLD_GOLDEN") == "write":
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    assert text == path.read_text(), f"the XML of {name} changed; look at it, then MOLD_GOLDEN=write"


def test_words_of_people_stay_words() -> None:
    root = ET.fromstring(describe(PLAIN))
    assert root.findtext("title") == PLAIN.title
    assert root.findtext("uuid") == PLAIN.id
    assert root.find("devices/graphics").get("passwd") == "01234567"
    assert root.find("devices/graphics/listen").attrib == {"type": "socket", "socket": "/var/lib/mold/run/vnc/i-2-5-VM.sock"}
    assert not root.findall(".//graphics[@port]")


WRONG = {
    "name with a slash": {"name": "../x"},
    "empty name": {"name": ""},
    "no uuid": {"id": "5"},
    "no cores": {"cores": 0},
    "no memory": {"memory": 0},
    "secure boot on BIOS": {"secure_boot": True},
    "firmware": {"firmware": "coreboot"},
    "machine type": {"machine_type": "pc,accel=kvm"},
    "cpu mode": {"cpu_mode": "host' foo='"},
    "keyboard": {"keyboard": "../../x"},
    "no password": {"vnc_password": ""},
    "password of control characters": {"vnc_password": "a\nb"},
    "title of two lines": {"title": "a\x00b"},
    "arch": {"arch": "sparc"},
    "bus": {"disks": [disk(0, bus="floppy")]},
    "cache": {"disks": [disk(0, cache="x")]},
    "format": {"disks": [disk(0, format="vmdk")]},
    "serial": {"disks": [disk(0, serial="a,b=c")]},
    "negative rate": {"disks": [disk(0, iops_read_rate=-1)]},
    "two root disks": {"disks": [disk(0), disk(0)]},
    "mac": {"nics": [w.NicSpec(mac="02:00", segment=w.SegmentSpec(method="vlan"))]},
    "multicast mac": {"nics": [w.NicSpec(mac="03:00:00:00:00:01", segment=w.SegmentSpec(method="vlan"))]},
    "card": {"nics": [w.NicSpec(mac="02:00:00:00:00:01", model="x,y", segment=w.SegmentSpec(method="vlan"))]},
}


@pytest.mark.parametrize("words", WRONG.values(), ids=WRONG.keys())
def test_what_cannot_be_meant_is_refused(words: dict[str, object]) -> None:
    with pytest.raises(Invalid):
        describe(msgspec.structs.replace(PLAIN, **words))


def test_a_socket_path_that_no_kernel_takes_is_refused() -> None:
    with pytest.raises(Invalid, match="too long"):
        domain.describe(PLAIN, KVM, ["/x"], ["br0"], "/" + "x" * 120)


def test_disks_are_counted_like_columns() -> None:
    assert [domain.letters(number) for number in (0, 1, 25, 26, 27, 51, 52, 701, 702)] == [
        "a", "b", "z", "aa", "ab", "az", "ba", "zz", "aaa",
    ]  # fmt: skip
