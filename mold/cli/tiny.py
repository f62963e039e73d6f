"""The tiny Linux template: a 64 MiB disk image made from this machine's own Debian packages in a few seconds.

Debian's kernel, busybox, dropbear and the QEMU guest agent, with the files of `tiny_guest/` beside this module.
It is real: it asks for an address by DHCP, reads CloudStack metadata, takes keys, a password and a script, obeys the
power button. The console is a root shell without a password, so it is for trying things out, not for production.

The rule that would surprise: nothing is mounted and root is not needed. `debugfs` writes the files into the file
system and GRUB is put before the partition by writing its sectors, because extlinux insists on a mounted file system
(and stumbles over the holes that `mke2fs -d` leaves). All times and ids are fixed: same packages, same bytes.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import os
import platform
import re
import shutil
import stat
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from mold.base.errors import Failed, Refusal, Unsupported

DISK_BYTES = 64 << 20
ROOT_OFFSET_BYTES = 1 << 20  # where the only partition starts; GRUB lies before it
SECTOR_BYTES = 512
LABEL = "tinyroot"  # the ramdisk's init looks for it
ROOT_UUID = "6d6f6c64-7469-4e79-8000-000000000001"
HASH_SEED = "6d6f6c64-7469-4e79-8000-000000000002"
DISK_SIGNATURE = 0x646C6F6D
MADE_AT = 1_700_000_000  # every time stamp in the image, seconds since 1970

GUEST_FILES = Path(__file__).parent / "tiny_guest"
GRUB_FILES = Path("/usr/lib/grub/i386-pc")
LOADER = Path("/lib64/ld-linux-x86-64.so.2")
BUSYBOX = Path("/bin/busybox")
PROGRAMS = (Path("/usr/sbin/dropbear"), Path("/usr/bin/dropbearkey"), Path("/usr/sbin/qemu-ga"))
SBIN_APPLETS = ("init", "getty", "acpid", "reboot", "poweroff", "halt")
INITRD_APPLETS = ("sh", "mount", "umount", "insmod", "dd", "sleep", "switch_root")

# Some are built into some kernels, others missing from the cloud kernel (no e1000 there): whatever exists is taken.
MODULES = (
    "virtio_pci", "virtio_blk", "virtio_scsi", "sd_mod", "ahci", "ata_piix", "nvme", "ext4", "sr_mod", "isofs",
    "virtio_net", "e1000", "e1000e", "virtio_console", "virtio-rng", "virtio_balloon", "virtio_mem",
    "button", "evdev", "psmouse", "8021q", "pvpanic-pci",
)  # fmt: skip

# Without no_timer_check a busy host makes the emulated machine panic over its timer; net.ifnames keeps eth0.
KERNEL_ARGUMENTS = (
    "console=ttyS0 console=tty0 quiet net.ifnames=0 mitigations=off no_timer_check tsc=reliable "
    "random.trust_cpu=on panic=10"
)
# linux16 starts the kernel at its 16-bit entry; the plain `linux` command takes 2 seconds longer under emulation.
GRUB_SCRIPT = f"linux16 /boot/vmlinuz {KERNEL_ARGUMENTS}\ninitrd16 /boot/initrd\nboot\n"

FILE_SYSTEM_FEATURES = "none,has_journal,ext_attr,dir_index,filetype,extent,flex_bg,sparse_super,large_file,huge_file,dir_nlink,extra_isize"
MKE2FS_CONF = "[fs_types]\next4 = {\nfeatures = has_journal\n}\nsmall = {\n}\n"

PACKAGE_OF = {
    str(BUSYBOX): "busybox-static",
    "/usr/sbin/dropbear": "dropbear-bin",
    "/usr/bin/dropbearkey": "dropbear-bin",
    "/usr/sbin/qemu-ga": "qemu-guest-agent",
    str(GRUB_FILES / "boot.img"): "grub-pc-bin",
    "grub-mkimage": "grub-common",
    "mke2fs": "e2fsprogs",
    "debugfs": "e2fsprogs",
    "e2fsck": "e2fsprogs",
    "qemu-img": "qemu-utils",
    "modprobe": "kmod",
}


@dataclass(frozen=True)
class TinyImage:
    """A built image.

    `size` is the bytes of the qcow2 file (its virtual size is `DISK_BYTES`), `checksum` is written as the API's
    template commands want it (`{SHA-256}` and hex digits), `kernel` is the release inside (`6.1.0-56-cloud-amd64`).
    """

    path: Path
    size: int
    checksum: str
    kernel: str


@dataclass(frozen=True)
class File:
    """A file of the image: its content, or the file of this machine to copy, and the permission bits."""

    content: bytes | Path
    mode: int = 0o644

    def read(self) -> bytes:
        """The content's bytes."""
        return self.content.read_bytes() if isinstance(self.content, Path) else self.content


@dataclass(frozen=True)
class Link:
    """A symbolic link."""

    target: str


@dataclass(frozen=True)
class Folder:
    """A folder. Those above a file are implied; this names empty ones and ones with special permissions."""

    mode: int = 0o755


Tree = dict[str, File | Link | Folder]  # by absolute path inside the image


def build(out: Path, *, work: Path | None = None) -> TinyImage:
    """Makes the image as the qcow2 file `out`, which appears complete or not at all.

    `work` is a folder for about 150 MiB of intermediate files (default: a temporary one, removed afterwards).
    Raises `Unsupported` where the machine lacks a package, `Failed` where a tool fails.
    """
    if platform.machine() != "x86_64":
        raise Unsupported(
            f"The tiny template is made of this machine's own programs and is for x86_64 only; this is {platform.machine()}.",
            architecture=platform.machine(),
        )
    _require_packages()
    kernel = _newest_kernel()
    out.parent.mkdir(parents=True, exist_ok=True)
    with _work_folder(work) as folder:
        initrd = folder / "initrd"
        initrd.write_bytes(gzip.compress(cpio(_initrd_tree(kernel)), compresslevel=9, mtime=0))
        file_system = _file_system(_root_tree(kernel, initrd), folder)
        disk = _disk(file_system, _grub_core(folder), folder)
        part = out.with_name(f".{out.name}.part")
        try:
            _run("qemu-img", "convert", "-q", "-c", "-f", "raw", "-O", "qcow2", str(disk), str(part))
            with part.open("rb") as image:
                digest = hashlib.file_digest(image, "sha256").hexdigest()
            size = part.stat().st_size
            part.replace(out)
        finally:
            part.unlink(missing_ok=True)
    return TinyImage(path=out, size=size, checksum=f"{{SHA-256}}{digest}", kernel=kernel)


def cpio(tree: Tree) -> bytes:
    """The tree as a cpio archive in the "newc" form, which Linux unpacks as its first file system."""
    archive = bytearray()

    def add(name: str, mode: int, content: bytes, number: int) -> None:
        raw_name = name.encode() + b"\0"
        fields = (number, mode, 0, 0, 1, MADE_AT, len(content), 0, 0, 0, 0, len(raw_name), 0)
        archive.extend(b"070701" + b"".join(b"%08X" % field for field in fields) + raw_name)
        archive.extend(bytes(-len(archive) % 4))
        archive.extend(content)
        archive.extend(bytes(-len(archive) % 4))

    entries = with_folders(tree)
    for number, (path, entry) in enumerate(entries.items(), start=1):
        match entry:
            case Folder(mode=mode):
                add(path.lstrip("/"), stat.S_IFDIR | mode, b"", number)
            case Link(target=target):
                add(path.lstrip("/"), stat.S_IFLNK | 0o777, target.encode(), number)
            case File(mode=mode):
                add(path.lstrip("/"), stat.S_IFREG | mode, entry.read(), number)
    add("TRAILER!!!", 0, b"", 0)
    return bytes(archive)


def with_folders(tree: Tree) -> Tree:
    """The tree with every folder named, sorted so that a folder comes before what it holds."""
    complete: Tree = {}
    for path in sorted(tree):
        for parent in reversed(Path(path).parents):
            if str(parent) != "/":
                complete.setdefault(str(parent), tree.get(str(parent), Folder()))
        complete[path] = tree[path]
    return complete


# ── what goes in ─────────────────────────────────────────────────────────────────────────────────────────────────────


def _initrd_tree(kernel: str) -> Tree:
    """The boot ramdisk: busybox, the drivers, and an init that finds the disk."""
    tree = _guest_files("initrd")
    tree |= {f"/{name}": Folder() for name in ("dev", "proc", "sys", "root")}
    tree["/bin/busybox"] = File(BUSYBOX, 0o755)
    tree |= {f"/bin/{applet}": Link("busybox") for applet in INITRD_APPLETS}
    modules = _modules(kernel)
    tree |= {f"/lib/modules/{module.name}": File(module) for module in modules}
    tree["/lib/modules/order"] = File("".join(f"{module.name}\n" for module in modules).encode())
    return tree


def _root_tree(kernel: str, initrd: Path) -> Tree:
    """The root file system."""
    tree: Tree = {f"/bin/{applet}": Link("busybox") for applet in _applets()}
    tree |= {f"/sbin/{applet}": Link("../bin/busybox") for applet in SBIN_APPLETS}
    tree |= {
        f"/{name}": Folder() for name in ("dev", "proc", "sys", "run", "mnt", "etc/dropbear", "var/lib", "var/log")
    }
    tree |= {"/tmp": Folder(0o1777), "/root": Folder(0o700)}  # noqa: S108 - the guest's own
    tree["/bin/busybox"] = File(BUSYBOX, 0o755)
    for program in PROGRAMS:
        tree[str(program)] = File(program, 0o755)
        tree |= {str(library): File(library, 0o755) for library in _libraries(program)}
    tree["/boot/vmlinuz"] = File(Path(f"/boot/vmlinuz-{kernel}"))
    tree["/boot/initrd"] = File(initrd)
    return tree | _guest_files("root")


def _guest_files(part: str) -> Tree:
    """The files this project brings along: scripts (they start with `#!`) are executable, the shadow file is private."""
    top = GUEST_FILES / part
    tree: Tree = {}
    for file in sorted(top.rglob("*")):
        if file.is_file():
            content = file.read_bytes()
            mode = 0o755 if content.startswith(b"#!") else 0o600 if file.name == "shadow" else 0o644
            tree[f"/{file.relative_to(top)}"] = File(content, mode)
    return tree


def _newest_kernel() -> str:
    """The release of the newest kernel of Debian's under /boot; the small one made for clouds is preferred."""
    releases = [
        file.name.removeprefix("vmlinuz-")
        for file in Path("/boot").glob("vmlinuz-*-amd64")
        if Path("/lib/modules", file.name.removeprefix("vmlinuz-")).is_dir()
    ]
    if not releases:
        raise Unsupported(
            "There is no Debian kernel under /boot to put into the tiny template. "
            "Install one: apt-get install linux-image-cloud-amd64",
            package="linux-image-cloud-amd64",
        )

    def age(release: str) -> tuple[bool, list[int]]:
        return "-cloud-" in release, [int(number) for number in re.findall(r"\d+", release)]

    return max(releases, key=age)


def _modules(kernel: str) -> list[Path]:
    """The drivers' files in the order in which they must be loaded; what is built in or unknown is left out."""
    files: dict[Path, None] = {}
    for module in MODULES:
        asked = _run("modprobe", "-S", kernel, "--show-depends", module, may_fail=True)
        for line in asked.splitlines():
            verb, _, rest = line.partition(" ")
            if verb == "insmod":
                files.setdefault(Path(rest.split()[0]))
    if not any(file.name.startswith("virtio_net.") for file in files):
        raise Failed(f"The kernel {kernel} offers no virtio_net driver under /lib/modules/{kernel}.", kernel=kernel)
    return list(files)


def _applets() -> list[str]:
    """The commands this machine's busybox knows, without itself."""
    return [name for name in _run(str(BUSYBOX), "--list").split() if name != "busybox"]


def _libraries(program: Path) -> list[Path]:
    """The shared libraries of a program, as its own loader finds them, the loader included."""
    found = [LOADER]
    for line in _run(str(LOADER), "--list", str(program)).splitlines():
        name, arrow, rest = line.strip().partition(" => ")
        if arrow and rest.startswith("/"):
            found.append(Path(rest.split(" (")[0]))
        elif arrow:
            raise Failed(f"{program} needs {name}, which this machine does not have.", program=str(program))
    return found


# ── how it is put together ───────────────────────────────────────────────────────────────────────────────────────────


def _file_system(tree: Tree, folder: Path) -> Path:
    """An ext4 file system with the tree in it, everything root's, every time stamp `MADE_AT`."""
    image, config, script = folder / "root.ext4", folder / "mke2fs.conf", folder / "debugfs.commands"
    with image.open("wb") as file:
        file.truncate(DISK_BYTES - ROOT_OFFSET_BYTES)
    config.write_text(MKE2FS_CONF)
    fixed = {"E2FSPROGS_FAKE_TIME": str(MADE_AT), "MKE2FS_CONFIG": str(config)}
    extended = f"hash_seed={HASH_SEED},lazy_itable_init=0,lazy_journal_init=0,root_owner=0:0"
    _run(
        "mke2fs", "-q", "-t", "ext4", "-O", FILE_SYSTEM_FEATURES, "-b", "4096", "-I", "256", "-N", "4096", "-m", "0",
        "-J", "size=4", "-L", LABEL, "-U", ROOT_UUID, "-E", extended, str(image), environment=fixed,
    )  # fmt: skip

    commands: list[str] = []
    for number, (path, entry) in enumerate(with_folders(tree).items()):
        match entry:
            case Link(target=target):
                commands.append(f"symlink {path} {target}")
                continue
            case Folder(mode=mode):
                commands.append(f"mkdir {path}")
                kind = stat.S_IFDIR
            case File(content=content, mode=mode):
                source = content if isinstance(content, Path) else folder / f"file-{number}"
                if isinstance(content, bytes):
                    source.write_bytes(content)
                commands.append(f"write {source.resolve()} {path}")
                kind = stat.S_IFREG
        commands += [f"sif {path} mode 0{kind | mode:o}", f"sif {path} uid 0", f"sif {path} gid 0"]
    if unfit := [command for command in commands if not command.isprintable() or len(command.split()) > 4]:
        raise Failed(f"debugfs cannot take a path with blanks: {unfit[0]}")
    script.write_text("\n".join(commands) + "\n")

    # debugfs ends with 0 whatever happens; what went wrong stands on its standard error, below its version.
    complaints = _run("debugfs", "-w", "-f", str(script), str(image), environment=fixed, errors=True).splitlines()[1:]
    if complaints:
        raise Failed(f"debugfs could not fill the image: {complaints[0]}", inner="\n".join(complaints))
    _run("e2fsck", "-f", "-n", str(image))
    return image


def _grub_core(folder: Path) -> bytes:
    """GRUB's second stage, with the command to boot Linux built in: no menu, no configuration file."""
    script, core = folder / "grub.script", folder / "core.img"
    script.write_text(GRUB_SCRIPT)
    _run(
        "grub-mkimage", "-O", "i386-pc", "-d", str(GRUB_FILES), "-p", "(,msdos1)/boot", "-c", str(script),
        "-o", str(core), "biosdisk", "part_msdos", "ext2", "linux16",
    )  # fmt: skip
    return core.read_bytes()


def _disk(file_system: Path, core: bytes, folder: Path) -> Path:
    """The whole disk: boot sector with the partition table, GRUB's core right behind it, the partition."""
    if SECTOR_BYTES + len(core) > ROOT_OFFSET_BYTES:
        raise Failed(f"GRUB's core of {len(core)} bytes does not fit before the partition.")
    boot = (GRUB_FILES / "boot.img").read_bytes()[:440]
    first, count = ROOT_OFFSET_BYTES // SECTOR_BYTES, (DISK_BYTES - ROOT_OFFSET_BYTES) // SECTOR_BYTES
    no_cylinders = b"\xfe\xff\xff"
    partition = struct.pack("<B3sB3sII", 0x80, no_cylinders, 0x83, no_cylinders, first, count)
    boot += struct.pack("<IH", DISK_SIGNATURE, 0) + partition + bytes(48) + b"\x55\xaa"
    disk = folder / "disk.raw"
    with disk.open("wb") as raw:
        raw.write(boot + core)
        raw.seek(ROOT_OFFSET_BYTES)
        with file_system.open("rb") as source:
            shutil.copyfileobj(source, raw, 1 << 20)
    return disk


# ── this machine ─────────────────────────────────────────────────────────────────────────────────────────────────────


def _require_packages() -> None:
    """Refuses, naming the packages, where a program or file that the image is made of is missing."""
    needed = {
        package
        for name, package in PACKAGE_OF.items()
        if not (Path(name).exists() if name.startswith("/") else _which(name))
    }
    if needed:
        raise Unsupported(
            f"The tiny template is made of Debian packages that are not installed here. "
            f"Install them: apt-get install {' '.join(sorted(needed))}",
            packages=sorted(needed),
        )


def _which(program: str) -> str | None:
    """Where a program lies; the system folders count even where a person's PATH leaves them out."""
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin:/usr/bin:/bin")


def _run(
    program: str,
    *arguments: str,
    environment: Mapping[str, str] | None = None,
    may_fail: bool = False,
    errors: bool = False,
) -> str:
    """Runs a program and gives its standard output (with `errors`: its standard error). Raises `Failed`."""
    where = _which(program)
    if where is None:
        raise Failed(f"The program {program} is not on this machine.", program=program)
    ended = subprocess.run(
        [where, *arguments],
        env={**os.environ, "LC_ALL": "C", **(environment or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    if ended.returncode != 0 and not may_fail:
        raise Failed(
            f"{program} ended with {ended.returncode}: {(ended.stderr or ended.stdout).strip()[-500:]}",
            program=program,
            status=ended.returncode,
        )
    return ended.stderr if errors else ended.stdout


@contextlib.contextmanager
def _work_folder(work: Path | None) -> Iterator[Path]:
    if work is not None:
        work.mkdir(parents=True, exist_ok=True)
        yield work
        return
    with tempfile.TemporaryDirectory(prefix="mold-tiny-") as temporary:
        yield Path(temporary)


def main(arguments: list[str]) -> int:
    """`python -m mold.cli.tiny OUT.qcow2`"""
    if len(arguments) != 1 or arguments[0].startswith("-"):
        print("Usage: python -m mold.cli.tiny OUT.qcow2", file=sys.stderr)
        return 2
    try:
        image = build(Path(arguments[0]))
    except Refusal as refusal:
        print(refusal.text, file=sys.stderr)
        return 1
    print(f"{image.path}  {image.size / (1 << 20):.1f} MiB  kernel {image.kernel}\n{image.checksum}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
