"""Agents over SSH: sets a machine up as a host, from connecting to a started agent, and takes it off again.

Hosts need no internet: the manager sends its own agent with the libraries out of its own environment, when the host's
Python is of the same kind; else the host fetches them itself.  The agent's private key is made on the host and stays
there.  The host's SSH key is trusted the first time, kept with the host's row, and must be the same ever after.
Whatever is run there is a list of arguments, quoted as a whole; nothing is put into a command line by hand.
Everything may be done again, and then repairs what is there.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import hashlib
import importlib.metadata
import io
import re
import shlex
import sysconfig
import tarfile
import time
from collections.abc import AsyncIterator
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import asyncssh
import msgspec
import structlog
from cryptography import x509
from cryptography.x509.oid import NameOID

import mold
from mold.base import clock
from mold.base.errors import Conflict, Denied, Failed, Invalid, Unavailable, Unreachable, Unsupported
from mold.cli.prepare import packages_for
from mold.features.infra import certificates
from mold.features.infra.certificates import Certificate
from mold.features.infra.hosts import Host
from mold.server.hub import Hub
from mold.store import Tx
from mold.work import Engine, progress

log = structlog.get_logger()
ROOT = PurePosixPath("/opt/mold-agent")
FOLDER = PurePosixPath("/etc/mold/agent")
UNIT = PurePosixPath("/etc/systemd/system/mold-agent.service")
MARK = FOLDER / "installed-for"
"""Holds the id of the host's row that the agent was installed for; what has none, somebody else set up."""
LIBRARIES = ("msgspec", "websockets", "structlog", "httpx", "cryptography", "uvloop", "libvirt-python")
OPTIONAL = ("uvloop", "libvirt-python")
ROOMS = ("base", "wire", "agent")
OLDEST_PYTHON = (3, 11)
SKEW_MAX_SECONDS = 300.0
CONNECT_SECONDS = 20.0
APT_SECONDS = 1800.0
PIP_SECONDS = 900.0
KEPT = 1 << 16
"""Bytes of a program's output that are kept, from its end."""
PROGRAMS = ("libvirtd", "qemu-img", "ip", "nft", "dnsmasq")
NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.:-]{0,251}[A-Za-z0-9])?")
USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")

# Small programs that the host's Python runs; what they work on comes as arguments or on standard input.
LOOK = """
import json, os, platform, shutil, sys, sysconfig, time
try:
    about = platform.freedesktop_os_release()
except OSError:
    about = {}
def read(path):
    try:
        with open(path) as file:
            return file.read(1 << 20)
    except OSError:
        return ""
print(json.dumps({
    "python": list(sys.version_info[:2]), "executable": sys.executable, "soabi": sysconfig.get_config_var("SOABI") or "",
    "arch": platform.machine(), "uid": os.geteuid(), "time": time.time(), "systemd": os.path.isdir("/run/systemd/system"),
    "os": about.get("ID", ""), "version": about.get("VERSION_ID", ""), "pretty": about.get("PRETTY_NAME", "this system"),
    "apt": bool(shutil.which("apt-get")),
    "missing": [p for p in sys.argv[1].split(",") if not shutil.which(p, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")],
}))
"""
READ = """
import json, sys
found = {}
for path in sys.argv[1:]:
    try:
        with open(path) as file:
            found[path] = file.read(65536)
    except FileNotFoundError:
        pass
print(json.dumps(found))
"""
PUT = """
import os, sys
path, mode = sys.argv[1], int(sys.argv[2], 8)
os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
part = path + ".part"
handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, mode)
with os.fdopen(handle, "wb") as file:
    os.fchmod(handle, mode)
    file.write(sys.stdin.buffer.read())
    file.flush()
    os.fsync(handle)
os.replace(part, path)
"""
REACH = """
import json, socket, sys
found = {}
for word in sys.argv[1:]:
    host, _, port = word.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), 5).close()
        found[word] = ""
    except OSError as no:
        found[word] = str(no)
print(json.dumps(found))
"""
UNPACK = """
import os, shutil, sys, tarfile
target = sys.argv[1]
part = target + ".part"
shutil.rmtree(part, ignore_errors=True)
os.makedirs(part, mode=0o755)
with tarfile.open(fileobj=sys.stdin.buffer, mode="r|gz") as tar:
    tar.extractall(part, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
shutil.rmtree(target, ignore_errors=True)
os.rename(part, target)
for name in os.listdir(os.path.dirname(target)):
    path = os.path.join(os.path.dirname(target), name)
    if path != target and os.path.isdir(path):
        shutil.rmtree(path, ignore_errors=True)
"""
REMOVE = """
import os, shutil, sys
for path in sys.argv[1:]:
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    elif os.path.lexists(path):
        os.unlink(path)
for path in ("/var/lib/mold/run", "/var/lib/mold", "/etc/mold"):
    try:
        os.rmdir(path)
    except OSError:
        pass
"""


class Look(msgspec.Struct):
    """What a machine is, as `LOOK` tells it."""

    python: tuple[int, int]
    executable: str
    soabi: str
    arch: str
    uid: int
    time: float
    systemd: bool
    os: str
    version: str
    pretty: str
    apt: bool
    missing: list[str]


class Ended(msgspec.Struct):
    """How a program on the host ended, and the end of what it wrote."""

    status: int
    out: bytes
    err: bytes

    def last(self) -> str:
        """The last lines that say why."""
        text = (self.err.strip() or self.out.strip()).decode(errors="replace")
        return " / ".join(line.strip() for line in text.splitlines()[-3:])[:500] or f"exit status {self.status}"


class Machine:
    """A machine that is being set up: the SSH connection to it, and how to become root there."""

    def __init__(self, connection: asyncssh.SSHClientConnection, address: str, key: str) -> None:
        self._connection = connection
        self._sudo: tuple[str, ...] = ()
        self.address = address
        self.key = key
        """Its SSH host key."""
        self.python = "python3"

    @property
    def peer(self) -> str:
        """The address that it was reached at."""
        return str(self._connection.get_extra_info("peername")[0])

    def become_root(self) -> None:
        """From now on run everything through sudo."""
        self._sudo = ("sudo", "-n", "--")

    async def run(self, *argv: str, stdin: bytes = b"", seconds: float = 60) -> Ended:
        """Run a program to its end. Unreachable when the connection breaks, Failed when it takes too long."""
        line = shlex.join((*self._sudo, *argv))
        try:
            async with asyncio.timeout(seconds), self._connection.create_process(line, encoding=None) as process:
                out, err, _ = await asyncio.gather(
                    _end_of(process.stdout), _end_of(process.stderr), _feed(process.stdin, stdin)
                )
                await process.wait_closed()
                status = process.exit_status
        except TimeoutError:
            raise Failed(
                f"{argv[0]} on {self.address} did not end within {seconds:.0f} s; look there what it waits for."
            ) from None
        except (asyncssh.Error, OSError) as broken:
            raise Unreachable(f"The SSH connection to {self.address} broke off: {_plain(broken)}.") from None
        return Ended(status=127 if status is None else status, out=out, err=err)

    async def must(self, what: str, *argv: str, stdin: bytes = b"", seconds: float = 60) -> Ended:
        """Run a program that has to succeed; `what` completes the sentence '... failed on the machine'."""
        ended = await self.run(*argv, stdin=stdin, seconds=seconds)
        if ended.status:
            raise Failed(f"{what} failed on {self.address}: {ended.last()}.", address=self.address)
        return ended

    async def little(self, what: str, program: str, *argv: str, stdin: bytes = b"", seconds: float = 60) -> bytes:
        """Run one of the small Python programs of this file; what it wrote."""
        return (await self.must(what, self.python, "-I", "-c", program, *argv, stdin=stdin, seconds=seconds)).out

    async def put(self, path: PurePosixPath, data: bytes, mode: int = 0o644) -> None:
        """Write a file, whole or not at all."""
        await self.little(f"Writing {path}", PUT, str(path), f"{mode:o}", stdin=data)

    async def read(self, *paths: PurePosixPath) -> dict[str, str]:
        """The files of these that are there."""
        found = await self.little("Reading its settings", READ, *map(str, paths))
        files: dict[str, str] = _decoded(found, dict[str, str], self.address)
        return files


class Client(asyncssh.SSHClient):
    """Notes the host's key, and refuses another one than is known."""

    def __init__(self, known: str) -> None:
        self.known = known
        self.shown = ""

    def validate_host_public_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:
        """Trust on first use."""
        self.shown = " ".join(key.export_public_key("openssh").decode().split()[:2])  # without a comment
        return not self.known or self.shown == self.known


async def _end_of(stream: asyncssh.SSHReader[bytes]) -> bytes:
    """The last bytes of a stream; the rest is read and dropped."""
    kept = b""
    while data := await stream.read(1 << 16):
        kept = (kept + data)[-KEPT:]
    return kept


async def _feed(stream: asyncssh.SSHWriter[bytes], data: bytes) -> None:
    # A program that ended without reading says why by its status.
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        for start in range(0, len(data), 1 << 18):
            stream.write(data[start : start + (1 << 18)])
            await stream.drain()
        stream.write_eof()


def _plain(error: BaseException) -> str:
    return "".join(c if c.isprintable() else " " for c in str(error))[:300].rstrip(". ") or type(error).__name__


def _decoded(data: bytes, kind: type[Any], address: str) -> Any:
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.DecodeError as broken:
        raise Failed(
            f"{address} answered something unexpected; its shell may print a greeting to programs, which it must not.",
            inner=str(broken),
        ) from None


# -- what is sent ------------------------------------------------------------------------------------------------


def distributions() -> list[importlib.metadata.Distribution]:
    """The agent's libraries as they are installed here, with all that they need."""
    found: dict[str, importlib.metadata.Distribution] = {}
    waiting = list(LIBRARIES)
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if name in found:
            continue
        try:
            found[name] = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # a requirement of another system or Python; what is really missing is found when the agent is tried
        for line in found[name].requires or []:
            wanted, _, condition = line.partition(";")
            if "extra" not in condition and (named := re.match(r"[A-Za-z0-9._-]+", wanted)):
                waiting.append(named[0])
    return [found[name] for name in sorted(found)]


def bundle(*, libraries: bool) -> tuple[str, bytes]:
    """The agent as a compressed tar, and a name that changes with its contents. Blocks; some 10 MB with libraries."""
    files: dict[str, Path] = {}
    base = Path(mold.__file__).parent
    for folder in ROOMS:
        for path in sorted((base / folder).rglob("*.py")):
            files[f"site/mold/{path.relative_to(base)}"] = path
    files["site/mold/__init__.py"] = base / "__init__.py"
    for each in distributions() if libraries else []:
        for file in each.files or []:
            if ".." in file.parts or "__pycache__" in file.parts or file.is_absolute():
                continue
            path = Path(str(each.locate_file(file)))
            if path.is_file():
                files[f"site/{file}"] = path
    version = importlib.metadata.version("mold-cloud")
    contents = {name: path.read_bytes() for name, path in sorted(files.items())}
    contents[f"site/mold_cloud-{version}.dist-info/METADATA"] = (
        f"Metadata-Version: 2.1\nName: mold-cloud\nVersion: {version}\n".encode()
    )
    digest = hashlib.sha256()
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        for name, data in contents.items():
            digest.update(f"{name}\0{len(data)}\0".encode() + data)
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            entry.mode = 0o755 if name.endswith(".so") or ".so." in name else 0o644
            tar.addfile(entry, io.BytesIO(data))
    return f"{version}-{digest.hexdigest()[:12]}", gzip.compress(raw.getvalue(), 1, mtime=0)


def unit(python: str, site: PurePosixPath) -> str:
    """The systemd unit. The agent alone is ended with it: routers' programs go on."""
    return f"""[Unit]
Description=Mold host agent
After=network-online.target libvirtd.service
Wants=network-online.target libvirtd.service
StartLimitIntervalSec=0

[Service]
Environment=PYTHONPATH={site}
ExecStart={python} -P -m mold.agent --config {FOLDER}
KillMode=process
Restart=on-failure
RestartSec=2

[Install]
WantedBy=multi-user.target
"""


# -- doing it ----------------------------------------------------------------------------------------------------


class SshInstaller:
    """Installs agents for one manager."""

    def __init__(self, data: Path, engine: Engine, hub: Hub) -> None:
        self._data = data
        self._engine = engine
        self._hub = hub
        self._bundles: dict[bool, tuple[str, bytes]] = {}

    def own_key(self) -> asyncssh.SSHKey:
        """The manager's own SSH key, made when first asked for; `ssh_key.pub` is for hosts' authorized_keys."""
        path = self._data / "ssh_key"
        if not path.exists():
            made = asyncssh.generate_private_key("ssh-ed25519", comment="mold-manager")
            made.write_public_key(path.with_suffix(".pub"))
            draft = self._data / ".ssh_key"
            draft.touch(0o600)
            draft.write_bytes(made.export_private_key("openssh"))
            draft.replace(path)
        return asyncssh.read_private_key(path)

    async def install(self, host: str, address: str, user: str, password: str) -> str:
        """Set the agent up (again) and start it; its guid."""
        async with self._connected(host, address, user, password) as machine:
            found = await self._look(machine)
            await self._check_owner(machine, host)
            managers = await self._managers(machine)
            await self._packages(machine, found)
            python, site = await self._send(machine, found)
            progress(70, "Making the agent's key")
            guid = await self._identify(machine, host, python, site, managers)
            progress(90, "Starting the agent")
            await self._start(machine, found, python, site)
            log.info("agent installed", host=host, address=address, guid=guid, python=python)
            return guid

    async def remove(self, host: str, address: str, user: str, password: str) -> None:
        """Take off what `install` put there for this row. A machine that cannot be reached is left as it is."""
        try:
            async with self._connected(host, address, user, password) as machine:
                found = await self._look(machine)
                files = await machine.read(MARK, FOLDER / "host.crt")
                if files.get(str(MARK), "").strip() != host:
                    return
                if found.systemd:
                    await machine.run("systemctl", "disable", "--now", "mold-agent.service", seconds=120)
                    await machine.little("Removing the unit", REMOVE, str(UNIT))
                    await machine.run("systemctl", "daemon-reload")
                else:
                    await self._keep(machine, "stop")
                await machine.little("Removing the agent", REMOVE, str(ROOT), str(FOLDER))
                await self._revoke(files.get(str(FOLDER / "host.crt"), ""))
                log.info("agent removed", host=host, address=address)
        except (Unreachable, Denied, Failed, Invalid, Unavailable, Unsupported) as no:
            # The undo must end. What stays on the machine has no row that it belongs to, and no call reaches it.
            log.warning("the agent could not be taken off the machine; remove it there", address=address, error=no.text)

    @contextlib.asynccontextmanager
    async def _connected(self, host: str, address: str, user: str, password: str) -> AsyncIterator[Machine]:
        if not NAME.fullmatch(address) or not USER.fullmatch(user):
            raise Invalid("The address or the user name for SSH has a form that none has.")
        progress(2, "Connecting over SSH")
        row = await self._engine.reading(lambda tx: tx.one(Host, host))
        known = (row.details or {}).get("sshhostkey", "")
        key = await asyncio.to_thread(self.own_key)
        client = Client(known)
        methods = "publickey,password,keyboard-interactive" if password else "publickey"
        try:
            connection = await asyncssh.connect(
                address,
                username=user,
                password=password or None,
                client_keys=[key],
                agent_path=None,
                config=None,
                known_hosts=([asyncssh.import_public_key(known)], [], []) if known else b"",
                client_factory=lambda: client,
                preferred_auth=methods,
                connect_timeout=CONNECT_SECONDS,
                login_timeout=CONNECT_SECONDS,
                keepalive_interval=10,
                keepalive_count_max=3,
            )
        except asyncssh.HostKeyNotVerifiable:
            raise Denied(
                f"The SSH key of {address} is another one than before, so nothing was sent to it: this may be another machine, "
                "or somebody in between. If the machine was installed anew, remove the host and add it again.",
                address=address,
            ) from None
        except asyncssh.PermissionDenied:
            public = (self._data / "ssh_key.pub").read_text().strip()
            raise Denied(
                f"{address} accepts neither the password of {user} nor this manager's key; correct the password, or add this "
                f"line to the authorized_keys of {user} there: {public}",
                address=address,
            ) from None
        except (OSError, asyncssh.Error, ValueError) as broken:
            raise Failed(
                f"{address} does not answer SSH on port 22 ({_plain(broken)}); start sshd there and let this manager through.",
                address=address,
            ) from None
        async with connection:
            if not known:
                await self._engine.writing(
                    lambda tx: tx.set(
                        held := tx.one(Host, host), details={**(held.details or {}), "sshhostkey": client.shown}
                    )
                )
            yield Machine(connection, address, client.shown)

    async def _look(self, machine: Machine) -> Look:
        """What the machine is; refused when it cannot be a host. From here on everything runs as root."""
        progress(5, "Looking at the machine")
        who = await machine.must("Asking who the user is", "id", "-u")
        if who.out.strip() != b"0":
            ended = await machine.run("sudo", "-n", "true")
            if ended.status:
                raise Denied(
                    f"The user for {machine.address} is not root, and sudo there wants a password or is missing; give root, or a "
                    "user who may use sudo without a password.",
                    address=machine.address,
                )
            machine.become_root()
        for python in ("/usr/bin/python3", "python3"):
            machine.python = python
            ended = await machine.run(python, "-I", "-c", LOOK, ",".join(PROGRAMS))
            if ended.status != 127 and b"not found" not in ended.err:
                break
        else:
            progress(7, "Installing Python")
            if (await machine.run("apt-get", "--version")).status:
                raise Unsupported(
                    f"{machine.address} has neither Python nor apt-get; install Python {_dotted(OLDEST_PYTHON)} or newer on it."
                )
            await self._apt(machine, ["python3"])
            machine.python = "/usr/bin/python3"
            ended = await machine.run(machine.python, "-I", "-c", LOOK, ",".join(PROGRAMS))
        if ended.status:
            raise Failed(f"Python does not run on {machine.address}: {ended.last()}.")
        found: Look = _decoded(ended.out, Look, machine.address)
        if found.python < OLDEST_PYTHON:
            raise Unsupported(
                f"{machine.address} runs {found.pretty} with Python {_dotted(found.python)}; a host needs Python "
                f"{_dotted(OLDEST_PYTHON)} or newer, as Debian 12 has."
            )
        if (skew := found.time - time.time()) and abs(skew) > SKEW_MAX_SECONDS:
            raise Conflict(
                f"The clock of {machine.address} is {abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} this manager's, "
                "so their certificates would not hold; set both by NTP (timedatectl set-ntp true)."
            )
        machine.python = found.executable or machine.python
        return found

    async def _check_owner(self, machine: Machine, host: str) -> None:
        """Conflict when the machine has an agent of another installation."""
        files = await machine.read(FOLDER / "ca.crt", MARK)
        theirs = files.get(str(FOLDER / "ca.crt"), "").strip()
        ours = (await self._engine.reading(lambda tx: certificates.authority(tx)[2])).strip()
        if theirs and theirs != ours:
            raise Conflict(
                f"{machine.address} is a host of another Mold installation; remove it there, or remove {FOLDER} on it.",
                address=machine.address,
            )
        if str(MARK) in files or not theirs:
            await machine.put(MARK, f"{host}\n".encode(), 0o600)

    async def _managers(self, machine: Machine) -> list[str]:
        """The managers' addresses for the agent; Failed when the machine reaches none of them."""
        wanted = self._hub.managers_towards(machine.peer)
        if not wanted:
            raise Failed(
                f"This manager is known to agents as {self._hub.address}, which {machine.address} cannot reach; start it with "
                "--agent-bind and --advertise set to an address that hosts reach."
            )
        told = _decoded(
            await machine.little("Trying the managers' ports", REACH, *wanted, seconds=30 + 6 * len(wanted)),
            dict[str, str],
            machine.address,
        )
        if all(told.values()):
            raise Failed(
                f"{machine.address} reaches no manager ({'; '.join(f'{at}: {no}' for at, no in told.items())}); open the way from "
                "it to the managers' agent ports."
            )
        return wanted

    async def _packages(self, machine: Machine, found: Look) -> None:
        progress(10, "Looking for missing packages")
        if not found.apt:
            if found.missing:
                raise Unsupported(
                    f"{machine.address} runs {found.pretty}, and these programs are missing on it: {', '.join(found.missing)}; "
                    "install them (libvirt, QEMU, iproute, nftables, dnsmasq)."
                )
            return
        wanted = list(packages_for("agent"))
        if not self._is_alike(found):
            wanted += ["python3-venv", "python3-libvirt"]
        elif not any(each.name == "libvirt-python" for each in distributions()):
            wanted += ["python3-libvirt"]
        shown = await machine.run(
            "dpkg-query", "--show", "--showformat=${binary:Package} ${db:Status-Status}\n", *wanted
        )
        lines = (line.split() for line in shown.out.decode(errors="replace").splitlines())
        there = {words[0].partition(":")[0] for words in lines if words[1:] == ["installed"]}
        if lacking := [each for each in wanted if each not in there]:
            await self._apt(machine, lacking)

    async def _apt(self, machine: Machine, packages: list[str]) -> None:
        progress(12, f"Installing {len(packages)} packages")
        apt = ("env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "--quiet", "--yes", "-o", "DPkg::Lock::Timeout=300")
        for again in (False, True):
            if again:
                await machine.run(*apt, "update", seconds=APT_SECONDS)
            ended = await machine.run(*apt, "install", "--no-install-recommends", *packages, seconds=APT_SECONDS)
            if not ended.status:
                return
        raise Failed(
            f"The packages {' '.join(packages)} could not be installed on {machine.address}: {ended.last()}. Install them there "
            "by hand, or give it a package source that it reaches.",
            address=machine.address,
        )

    def _is_alike(self, found: Look) -> bool:
        """Whether compiled libraries of this manager run there: same Python, architecture and C library."""
        return bool(found.soabi == sysconfig.get_config_var("SOABI"))

    async def _send(self, machine: Machine, found: Look) -> tuple[str, PurePosixPath]:
        """Put the agent on the machine unless it is there and runs; (Python, folder of modules)."""
        progress(30, "Sending the agent")
        alike = self._is_alike(found)
        if alike not in self._bundles:
            self._bundles[alike] = await asyncio.to_thread(bundle, libraries=alike)
        name, data = self._bundles[alike]
        target = ROOT / name
        python = found.executable if alike else str(target / "venv/bin/python")
        if (await self._try(machine, python, target / "site")).status:
            await machine.little("Unpacking the agent", UNPACK, str(target), stdin=data, seconds=300)
            if not alike:
                await self._fetch(machine, found, target)
            tried = await self._try(machine, python, target / "site")
            if tried.status:
                raise Failed(
                    f"The agent does not start on {machine.address}: {tried.last()}. Where it is about libvirt, the "
                    "machine's libvirt is missing (python3-libvirt) or older than this manager's; bring it up to date.",
                    address=machine.address,
                )
        return python, target / "site"

    async def _fetch(self, machine: Machine, found: Look, target: PurePosixPath) -> None:
        """Libraries for a Python unlike the manager's: the machine fetches them itself."""
        progress(50, "Fetching the agent's libraries")
        venv = target / "venv"
        await machine.must(
            "Making a Python environment",
            found.executable,
            "-m",
            "venv",
            "--system-site-packages",
            str(venv),
            seconds=300,
        )
        pinned = [f"{each.name}=={each.version}" for each in distributions() if each.name not in OPTIONAL]
        ended = await machine.run(
            str(venv / "bin/python"), "-m", "pip", "install", "--quiet", "--no-input", *pinned, seconds=PIP_SECONDS
        )
        if ended.status:
            raise Failed(
                f"{machine.address} has Python {_dotted(found.python)} ({found.soabi or 'unknown'}), unlike this manager's "
                f"({sysconfig.get_config_var('SOABI')}), so it must fetch the agent's libraries itself, and pip could not: {ended.last()}. "
                "Give it a package index that it reaches, or a Python like the manager's.",
                address=machine.address,
            )

    async def _try(self, machine: Machine, python: str, site: PurePosixPath) -> Ended:
        return await self._python(machine, python, site, "-c", "from mold.agent import main; main.gather_handlers()")

    async def _python(
        self, machine: Machine, python: str, site: PurePosixPath, *argv: str, stdin: bytes = b""
    ) -> Ended:
        return await machine.run(
            "env", f"PYTHONPATH={site}", "PYTHONDONTWRITEBYTECODE=1", python, "-P", *argv, stdin=stdin, seconds=120
        )

    async def _identify(
        self, machine: Machine, host: str, python: str, site: PurePosixPath, managers: list[str]
    ) -> str:
        """A key made there, a certificate for it; the agent's guid."""
        made = await self._python(
            machine, python, site, "-m", "mold.agent", "--config", str(FOLDER), "--set-up", ",".join(managers)
        )
        if made.status:
            raise Failed(f"Setting the agent up failed on {machine.address}: {made.last()}.")
        csr = made.out.decode(errors="replace")
        guid = _guid(csr, machine.address)

        def sign(tx: Tx) -> tuple[str, str]:
            row = tx.one(Host, host)
            other = tx.first(Host, Host.c.guid == guid, Host.c.id != host)
            if other is not None:
                raise Conflict(
                    f"{machine.address} says it is the host {other.name}. If it is a copy of that machine, remove the line guid= from "
                    f"{FOLDER / 'agent.properties'} on it.",
                    hostid=other.id,
                )
            name = row.name if NAME.fullmatch(row.name) and ":" not in row.name else guid
            signed = certificates.sign_request(tx, csr, guid=guid, common=name)
            return signed, certificates.authority(tx)[2]

        certificate, authority = await self._engine.writing(sign)
        await machine.put(FOLDER / "ca.crt.next", authority.encode())
        await machine.put(FOLDER / "host.crt.next", certificate.encode())
        return guid

    async def _start(self, machine: Machine, found: Look, python: str, site: PurePosixPath) -> None:
        if found.systemd:
            await machine.put(UNIT, unit(python, site).encode())
            await machine.must("Reading the unit", "systemctl", "daemon-reload")
            await machine.run(
                "systemctl", "start", "libvirtd.service", seconds=120
            )  # the agent tells when it does not run
            await machine.must("Enabling the agent", "systemctl", "enable", "mold-agent.service")
            await machine.must("Starting the agent", "systemctl", "restart", "mold-agent.service", seconds=120)
            return
        await self._keep(machine, "stop")
        ended = await self._python(machine, python, site, "-m", "mold.agent.keep", "start", "--config", str(FOLDER))
        if ended.status:
            raise Failed(f"Starting the agent failed on {machine.address}: {ended.last()}.")

    async def _keep(self, machine: Machine, what: Literal["stop"]) -> None:
        """Have the keeper of whichever version is installed there do something."""
        listed = await machine.run("ls", "-1", str(ROOT))
        for name in listed.out.decode(errors="replace").split():
            site = ROOT / PurePosixPath(name).name / "site"
            for python in (str(site.parent / "venv/bin/python"), machine.python):
                ended = await self._python(
                    machine, python, site, "-m", "mold.agent.keep", what, "--config", str(FOLDER)
                )
                if not ended.status:
                    return

    async def _revoke(self, certificate: str) -> None:
        try:
            serial = x509.load_pem_x509_certificate(certificate.encode()).serial_number
        except ValueError:
            return

        def go(tx: Tx) -> None:
            held = tx.first(Certificate, Certificate.c.serial == f"{serial:x}", Certificate.c.revoked.is_(None))
            if held is not None:
                tx.set(held, revoked=clock.now())

        await self._engine.writing(go)


def _guid(csr: str, address: str) -> str:
    """The guid that a signing request names; Failed when it is none."""
    try:
        subject = x509.load_pem_x509_csr(csr.encode()).subject
        guid = str(subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)
    except (ValueError, IndexError):
        raise Failed(f"{address} answered something that is no signing request.") from None
    if not re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", guid):
        raise Failed(f"{address} named an agent that is none.")
    return guid


def _dotted(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"
