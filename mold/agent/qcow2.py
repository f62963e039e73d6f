"""What a disk image says it is, read from its first bytes and without trusting any of them. Pure.

An image comes from strangers, and QEMU believes what stands in it: a backing file or an external data file makes
QEMU open any file of the host for the guest, and absurd tables make it eat memory.  So nothing but plain,
self-contained, clean images pass.  `backing` alone is for images that this host made itself.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from mold.base.errors import Invalid, Unsupported

HEAD_BYTES = 64 * 1024
"""How much of a file's beginning `found` and `parse` want to see; enough for every header that passes."""
VIRTUAL_MAX = 16 << 40
L1_BYTES_MAX = 32 << 20
REFCOUNT_TABLE_BYTES_MAX = 8 << 20
SNAPSHOTS_MAX = 16
EXTENSIONS_MAX = 64
NAME_MAX = 1023

_V2 = struct.Struct(">4sIQIIQIIQQIIQ")
_V3 = struct.Struct(">QQQII")
_MAGIC = b"QFI\xfb"

_DIRTY, _CORRUPT, _DATA_FILE, _COMPRESSION, _EXTENDED_L2 = (1 << bit for bit in range(5))
_KNOWN = _DIRTY | _CORRUPT | _DATA_FILE | _COMPRESSION | _EXTENDED_L2
_END, _ENCRYPTION, _DATA_FILE_NAME = 0, 0x0537BE77, 0x44415441

_FOREIGN = (
    (b"KDMV", "VMDK"), (b"COWD", "VMDK"), (b"# Disk DescriptorFile", "VMDK"), (b"conectix", "VHD"),
    (b"vhdxfile", "VHDX"), (b"<<< ", "VDI"), (b"QED\0", "QED"), (b"LUKS\xba\xbe", "LUKS"), (b"QFI\xfb", "QCOW2"),
    (b"\x1f\x8b", "gzip"), (b"BZh", "bzip2"), (b"\xfd7zXZ\0", "xz"), (b"PK\x03\x04", "zip"), (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"WithoutFreeSpace", "Parallels"), (b"WithouFreSpacExt", "Parallels"), (b"bochs Virtual HD Image", "Bochs"),
)  # fmt: skip
_ISO_AT, _ISO = 32769, b"CD001"


@dataclass(frozen=True)
class Header:
    """What a qcow2 file says of itself that matters here. `size` is bytes as a guest sees them."""

    version: int
    size: int
    cluster_bits: int
    backing: str
    snapshots: int


def found(head: bytes, tail: bytes = b"") -> str:
    """The format that a file's first bytes (and, for VHD, its last 512) show; `RAW` when they show none."""
    if head[_ISO_AT : _ISO_AT + len(_ISO)] == _ISO:
        return "ISO"
    for magic, name in _FOREIGN:
        if head.startswith(magic):
            return name
    if head[64:68] == b"\x7f\x10\xda\xbe":
        return "VDI"
    return "VHD" if tail[-512:].startswith(b"conectix") else "RAW"


def must_be(claimed: str, head: bytes, tail: bytes, size: int) -> None:
    """Refuse a file of `size` bytes that is not of the format it is said to be (`QCOW2`, `RAW`, `ISO`)."""
    if claimed not in ("QCOW2", "RAW", "ISO"):
        raise Unsupported(f"Images of format {claimed} cannot be used here; convert it to QCOW2.", format=claimed)
    seen = found(head, tail)
    # An ISO that also boots from a disk is a legitimate raw image.
    if seen != claimed and not (claimed == "RAW" and seen == "ISO"):
        hint = " Register it as that." if seen in ("QCOW2", "ISO") else ""
        if seen == "RAW":
            raise Invalid(f"The image is not of format {claimed}: its first bytes are no {claimed} header.", format=claimed)
        raise Invalid(f"The image is of format {seen}, not {claimed}.{hint}", format=claimed, found=seen)
    if claimed == "RAW" and (size == 0 or size % 512):
        raise Invalid(f"{size} bytes are no raw disk image: its size must be a multiple of 512.", size=size)


def parse(head: bytes, file_size: int, *, may_have_backing: bool = False) -> Header:
    """The header of the qcow2 file that begins with `head` and is `file_size` bytes long; Invalid says what is wrong."""
    if len(head) < _V2.size or not head.startswith(_MAGIC):
        raise Invalid("The image is not of format QCOW2: its first bytes are no QCOW2 header.")
    (
        _, version, backing_at, backing_size, cluster_bits, size, crypt, l1_size, l1_at, refcount_at, refcount_clusters,
        snapshots, snapshots_at,
    ) = _V2.unpack_from(head)  # fmt: skip
    if version not in (2, 3):
        raise Invalid(f"QCOW2 of version {version} is not known; versions 2 and 3 are.", version=version)
    if not 9 <= cluster_bits <= 21:
        raise Invalid(f"The QCOW2 image has clusters of 2^{cluster_bits} bytes; 2^9 to 2^21 are possible.")
    cluster = 1 << cluster_bits
    incompatible, header_length = 0, _V2.size
    if version == 3:
        incompatible, header_length = _features(head, cluster)
    if crypt:
        raise Invalid("The QCOW2 image is encrypted; only plain images can be used.")
    backing = _backing(head, backing_at, backing_size, cluster) if backing_at else ""
    if (backing_at or backing_size) and not may_have_backing:
        raise Invalid("The QCOW2 image refers to a backing file; merge it into one self-contained image first.")
    if version == 3 or header_length < len(head):
        _extensions(head, header_length, min(backing_at or cluster, cluster))
    if size == 0 or size % 512 or size > VIRTUAL_MAX:
        raise Invalid(f"The QCOW2 image claims a disk of {size} bytes; multiples of 512 up to 16 TiB are possible.", size=size)
    entry_bytes = 16 if incompatible & _EXTENDED_L2 else 8
    covered = (cluster // entry_bytes) << cluster_bits
    if l1_size * 8 > L1_BYTES_MAX or l1_size < -(-size // covered):
        raise Invalid(f"The QCOW2 image has a cluster table of {l1_size} entries, which does not fit its size.")
    if refcount_clusters == 0 or refcount_clusters << cluster_bits > REFCOUNT_TABLE_BYTES_MAX:
        raise Invalid(f"The QCOW2 image has a reference table of {refcount_clusters} clusters; that cannot be.")
    if snapshots > SNAPSHOTS_MAX:
        raise Invalid(f"The QCOW2 image has {snapshots} snapshots in it; at most {SNAPSHOTS_MAX} are possible.")
    _inside("cluster table", l1_at, l1_size * 8, cluster, file_size)
    _inside("reference table", refcount_at, refcount_clusters << cluster_bits, cluster, file_size)
    if snapshots:
        _inside("snapshot table", snapshots_at, snapshots * 40, cluster, file_size)
    return Header(version=version, size=size, cluster_bits=cluster_bits, backing=backing, snapshots=snapshots)


def _features(head: bytes, cluster: int) -> tuple[int, int]:
    """Incompatible features and length of a version 3 header."""
    if len(head) < _V2.size + _V3.size:
        raise Invalid("The QCOW2 image ends within its header.")
    incompatible, _, _, refcount_order, length = _V3.unpack_from(head, _V2.size)
    if incompatible & ~_KNOWN:
        raise Invalid(f"The QCOW2 image uses features that are not known here (bits {incompatible & ~_KNOWN:#x}).")
    if incompatible & _DATA_FILE:
        raise Invalid("The QCOW2 image keeps its data in another file; merge it into one self-contained image first.")
    if incompatible & (_DIRTY | _CORRUPT):
        raise Invalid("The QCOW2 image is marked dirty or corrupt; repair it with qemu-img check first.")
    if refcount_order > 6:
        raise Invalid(f"The QCOW2 image has reference counts of 2^{refcount_order} bits; at most 64 bits are possible.")
    if not _V2.size + _V3.size <= length <= min(cluster, len(head)) or length % 8:
        raise Invalid(f"The QCOW2 image says its header has {length} bytes; that cannot be.")
    compression = head[104] if length > 104 else 0
    if compression > 1 or bool(compression) != bool(incompatible & _COMPRESSION):
        raise Invalid(f"The QCOW2 image is compressed in a way that is not known here ({compression}).")
    if incompatible & _EXTENDED_L2 and cluster < 1 << 14:
        raise Invalid("The QCOW2 image has sub-clusters in clusters that are too small for them.")
    return incompatible, length


def _extensions(head: bytes, at: int, end: int) -> None:
    """Walk the header extensions, which end before `end`; refuse those that mean other files or encryption."""
    for _ in range(EXTENSIONS_MAX):
        if at + 8 > min(end, len(head)):
            return
        kind, length = struct.unpack_from(">II", head, at)
        if kind == _END:
            return
        if kind == _ENCRYPTION:
            raise Invalid("The QCOW2 image is encrypted; only plain images can be used.")
        if kind == _DATA_FILE_NAME:
            raise Invalid("The QCOW2 image names another file for its data; merge it into one self-contained image first.")
        if length > end - at - 8:
            raise Invalid(f"The QCOW2 image has a header extension of {length} bytes, more than its header holds.")
        at += 8 + -(-length // 8) * 8
    raise Invalid(f"The QCOW2 image has more than {EXTENSIONS_MAX} header extensions.")


def _backing(head: bytes, at: int, length: int, cluster: int) -> str:
    if not 0 < length <= NAME_MAX or at + length > min(cluster, len(head)):
        raise Invalid("The QCOW2 image has a backing file name outside of its header.")
    return head[at : at + length].decode("utf-8", "backslashreplace")


def _inside(what: str, at: int, length: int, cluster: int, file_size: int) -> None:
    if at % cluster or at < cluster or at + length > -(-file_size // cluster) * cluster:
        raise Invalid(f"The QCOW2 image has its {what} at byte {at}, where none can be.", at=at)
