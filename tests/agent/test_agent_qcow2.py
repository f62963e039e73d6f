"""The qcow2 reader against headers that mean harm."""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mold.agent import qcow2
from mold.base.errors import Invalid, Refusal, Unsupported

FILE = 1 << 20
FIELDS = ("magic", "version", "backing_at", "backing_size", "cluster_bits", "size", "crypt", "l1_size", "l1_at", "refcount_at",
          "refcount_clusters", "snapshots", "snapshots_at", "incompatible", "compatible", "autoclear", "refcount_order", "length")  # fmt: skip
GOOD = dict(zip(FIELDS, (b"QFI\xfb", 3, 0, 0, 16, 64 << 20, 0, 1, 0x30000, 0x10000, 1, 0, 0, 0, 0, 0, 4, 104), strict=True))


def header(rest: bytes = b"\0" * 8, **words: object) -> bytes:
    values = {**GOOD, **words}
    return struct.pack(">4sIQIIQIIQQIIQQQQII", *(values[each] for each in FIELDS)) + rest


def extension(kind: int, data: bytes) -> bytes:
    return struct.pack(">II", kind, len(data)) + data.ljust(-(-len(data) // 8) * 8, b"\0")


def test_good_headers_pass() -> None:
    assert qcow2.parse(header(), FILE).size == 64 << 20
    assert qcow2.parse(header(version=2), FILE).version == 2
    features = extension(0x6803F857, b"x" * 48) + extension(0, b"")
    assert qcow2.parse(header(features), FILE).backing == ""
    zstd = header(b"\1" + b"\0" * 15, incompatible=8, length=112)
    assert qcow2.parse(zstd, FILE).size == 64 << 20


def test_backing_is_read_only_where_it_is_ours() -> None:
    named = header(b"\0" * 8 + b"../images/x.qcow2", backing_at=112, backing_size=17)
    assert qcow2.parse(named, FILE, may_have_backing=True).backing == "../images/x.qcow2"
    with pytest.raises(Invalid, match="backing file"):
        qcow2.parse(named, FILE)


HOSTILE = {
    "backing file": {"backing_at": 104, "backing_size": 8},
    "backing size alone": {"backing_size": 8},
    "backing far away": {"backing_at": 1 << 40, "backing_size": 8},
    "encrypted": {"crypt": 1},
    "luks": {"crypt": 2},
    "dirty": {"incompatible": 1},
    "corrupt": {"incompatible": 2},
    "data file": {"incompatible": 4},
    "unknown feature": {"incompatible": 1 << 40},
    "compression bit without type": {"incompatible": 8},
    "small clusters": {"cluster_bits": 8},
    "huge clusters": {"cluster_bits": 63},
    "sub-clusters too small": {"incompatible": 16, "cluster_bits": 9, "length": 104},
    "absurd size": {"size": 1 << 62},
    "odd size": {"size": 1000},
    "no size": {"size": 0},
    "huge cluster table": {"l1_size": 0xFFFFFFFF},
    "short cluster table": {"size": 1 << 40},
    "cluster table outside": {"l1_at": 1 << 40},
    "cluster table not aligned": {"l1_at": 0x30001},
    "cluster table over the header": {"l1_at": 0},
    "huge reference table": {"refcount_clusters": 0xFFFFFFFF},
    "no reference table": {"refcount_clusters": 0},
    "reference table outside": {"refcount_at": 1 << 63},
    "reference counts too wide": {"refcount_order": 7},
    "many snapshots": {"snapshots": 1000},
    "snapshots outside": {"snapshots": 1, "snapshots_at": 1 << 50},
    "version 1": {"version": 1},
    "version 4": {"version": 4},
    "short header": {"length": 72},
    "long header": {"length": 1 << 30},
    "odd header": {"length": 105},
}


@pytest.mark.parametrize("words", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_headers_are_refused(words: dict[str, object]) -> None:
    with pytest.raises(Invalid):
        qcow2.parse(header(**words), FILE)


@pytest.mark.parametrize(
    "rest",
    [
        extension(0x44415441, b"/etc/shadow"),
        extension(0x0537BE77, b"\0" * 16),
        extension(0x12345678, b"x" * 16) + extension(0x44415441, b"/etc/shadow"),
        struct.pack(">II", 0x12345678, 0xFFFFFFFF),
        extension(0x12345678, b"") * 100,
    ],
    ids=["data file", "encryption", "data file after another", "endless", "many"],
)
def test_hostile_extensions_are_refused(rest: bytes) -> None:
    with pytest.raises(Invalid):
        qcow2.parse(header(rest), FILE)
    with pytest.raises(Invalid):
        qcow2.parse(header(version=2)[:72] + rest, FILE)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=300), st.integers(0, 1 << 62))
@example(header(), 0)
def test_any_bytes_end_in_a_header_or_a_refusal(data: bytes, size: int) -> None:
    for head in (data, b"QFI\xfb" + data, header()[: len(data)] + data):
        try:
            found = qcow2.parse(head, size)
        except Refusal:
            continue
        assert not found.backing and 0 < found.size <= qcow2.VIRTUAL_MAX


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.sampled_from(FIELDS[1:]), st.integers(0, (1 << 32) - 1), max_size=4), st.binary(max_size=64))
def test_any_fields_end_in_a_header_or_a_refusal(words: dict[str, int], rest: bytes) -> None:
    try:
        found = qcow2.parse(header(rest, **words), FILE)
    except Refusal:
        return
    assert words.get("backing_at", 0) == 0 and words.get("crypt", 0) == 0 and not words.get("incompatible", 0) & ~0b11000
    assert found.size == words.get("size", GOOD["size"])


def test_format_is_what_the_bytes_show() -> None:
    iso = b"\0" * 32769 + b"CD001"
    qcow2.must_be("QCOW2", header(), b"", 1024)
    qcow2.must_be("RAW", b"\0" * 512, b"", 512)
    qcow2.must_be("ISO", iso, b"", 65536)
    qcow2.must_be("RAW", iso, b"", 65536)
    for claimed, head, tail, size in (
        ("RAW", header(), b"", 1024), ("QCOW2", b"\0" * 512, b"", 512), ("ISO", header(), b"", 1024), ("QCOW2", iso, b"", 65536),
        ("RAW", b"KDMV" + b"\0" * 508, b"", 512), ("RAW", b"\0" * 512, b"conectix".ljust(512), 1024),
        ("RAW", b"x" * 100, b"", 100), ("RAW", b"", b"", 0), ("RAW", b"LUKS\xba\xbe".ljust(512), b"", 512),
    ):  # fmt: skip
        with pytest.raises(Invalid):
            qcow2.must_be(claimed, head, tail, size)
    for claimed in ("VMDK", "VHD", "OVA", ""):
        with pytest.raises(Unsupported):
            qcow2.must_be(claimed, b"KDMV", b"", 512)


@pytest.mark.parametrize("options", ["compat=0.10", "compat=1.1", "compression_type=zstd", "extended_l2=on", "cluster_size=512"])
def test_what_qemu_makes_is_read(tmp_path: Path, options: str) -> None:
    path = tmp_path / "x.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-o", options, str(path), "8M"], check=True)
    assert qcow2.parse(path.read_bytes()[: qcow2.HEAD_BYTES], path.stat().st_size).size == 8 << 20


def test_what_qemu_makes_on_other_files_is_refused(tmp_path: Path) -> None:
    base, top, outside = tmp_path / "base.qcow2", tmp_path / "top.qcow2", tmp_path / "outside.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(base), "1M"], check=True)
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", str(base), str(top)], check=True)
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-o", f"data_file={tmp_path}/data", str(outside), "1M"], check=True)
    assert qcow2.parse(top.read_bytes(), top.stat().st_size, may_have_backing=True).backing == str(base)
    for path in (top, outside):
        with pytest.raises(Invalid, match="self-contained"):
            qcow2.parse(path.read_bytes(), path.stat().st_size)
