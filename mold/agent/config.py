"""What an agent is told on its own machine: `agent.properties` and the certificate files beside it.

The file is `key=value` lines; the agent writes two keys itself (`guid` at the first start, `host` when a manager
names its colleagues or dismisses the host) and leaves every other line, comments included, as it found it.
Keys: `host` (managers, `addr[:port]` with commas between), `guid`, `name`, `data`, `hypervisor.uri`, `domain.type`,
`ping.interval` (seconds, until a manager says otherwise), `dev` (true: a shared pool may be a plain folder),
`fetch.ca` (file with further authorities for image servers), `fetch.idle.seconds`.
Several agents may run on one machine: each has a folder of its own here and a `data` folder of its own.
"""

from __future__ import annotations

import os
import re
import socket
import tempfile
import uuid
from dataclasses import dataclass, field
from pathlib import Path

from mold.base.errors import Invalid
from mold.base.ids import UUID

DEFAULT_FOLDER = "/etc/mold/agent"
DEFAULT_DATA = "/var/lib/mold"
DEFAULT_PORT = 8250
FILE = "agent.properties"

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,252}[A-Za-z0-9])?")
_DOMAIN_TYPES = ("", "kvm", "qemu")


@dataclass(frozen=True)
class Address:
    """Where a manager listens: a host name, IPv4 or IPv6 address, and a TCP port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True)
class Settings:
    """One agent's settings. `words` has every key of the file, for rooms that read keys of their own."""

    folder: Path
    guid: str
    name: str
    data: Path
    managers: tuple[Address, ...]
    uri: str = "qemu:///system"
    domain_type: str = ""
    ping_seconds: float = 10
    dev: bool = False
    fetch_ca: str = ""
    words: dict[str, str] = field(default_factory=dict)

    @property
    def key(self) -> Path:
        """The private key of the agent's certificate."""
        return self.folder / "host.key"

    @property
    def certificate(self) -> Path:
        """The certificate with which the agent says who it is."""
        return self.folder / "host.crt"

    @property
    def authorities(self) -> Path:
        """The authorities whose managers the agent believes."""
        return self.folder / "ca.crt"

    @property
    def run(self) -> Path:
        """Folder for sockets and other things that do not outlive the guests."""
        return self.data / "run"


def address(text: str, default_port: int = DEFAULT_PORT) -> Address:
    """`host`, `host:port` or `[v6]:port` as an address; Invalid when it is none of them."""
    word = text.strip()
    if word.startswith("["):
        host, bracket, rest = word[1:].partition("]")
        port = rest.removeprefix(":")
        good = bool(bracket) and re.fullmatch(r"[0-9A-Fa-f:.]+", host) is not None and (not rest or rest.startswith(":"))
    else:
        host, _, port = word.partition(":")
        good = _NAME.fullmatch(host) is not None
    number = int(port) if port.isdecimal() and len(port) <= 5 else (0 if port else default_port)
    if not good or not 0 < number < 65536:
        raise Invalid(f"'{text[:200]}' is not an address; write it like 10.0.0.5:{default_port}.", value=text[:200])
    return Address(host, number)


def parse(text: str) -> dict[str, str]:
    """The keys and values of a properties text; the last of equal keys counts."""
    words = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        key, sign, value = line.partition("=")
        if not sign or not key.strip():
            raise Invalid(f"Line {number} of {FILE} is not of the form key=value.", line=number)
        words[key.strip()] = value.strip()
    return words


def write(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Put `data` at `path` so that a reader, or a crash, sees the old file or the new one and nothing between."""
    handle, part = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException:
        Path(part).unlink(missing_ok=True)
        raise
    sync(path.parent)


def sync(folder: Path) -> None:
    """Make renames and removals in `folder` survive a power cut."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def change(folder: Path, **values: str) -> None:
    """Set keys of the file in `folder`, leaving its other lines as they are. A value is one line of text."""
    path = folder / FILE
    lines = path.read_text().splitlines() if path.exists() else []
    for key, value in values.items():
        if not value.isprintable():
            raise Invalid(f"The value of {key} must be one line of plain text.", key=key)
        kept = [line for line in lines if line.partition("=")[0].strip() != key or line.lstrip().startswith("#")]
        lines = [*kept, f"{key}={value}"]
    write(path, ("\n".join(lines) + "\n").encode(), 0o600)


def keep_managers(folder: Path, managers: list[str]) -> tuple[Address, ...]:
    """Write the list of managers (empty: dismissed); Invalid when one of them is no address, and nothing is written."""
    found = tuple(address(each) for each in managers)
    change(folder, host=",".join(str(each) for each in found))
    return found


def load(folder: Path) -> Settings:
    """Read the settings in `folder`; makes and keeps a `guid` when there is none. Invalid names a value that is wrong."""
    path = folder / FILE
    if not path.exists():
        raise Invalid(f"There is no {FILE} in {folder}; write at least a line host=<address of a manager> into it.")
    words = parse(path.read_text())
    guid = words.get("guid", "")
    if not guid:
        guid = words["guid"] = str(uuid.uuid4())
        change(folder, guid=guid)
    if not UUID.fullmatch(guid):
        raise Invalid(f"guid={guid} in {path} is not a UUID; remove the line and the agent makes one.", value=guid)
    domain_type = words.get("domain.type", "")
    if domain_type not in _DOMAIN_TYPES:
        raise Invalid(f"domain.type={domain_type} in {path} must be kvm, qemu or empty.", value=domain_type)
    data = Path(words.get("data") or DEFAULT_DATA)
    if not data.is_absolute() or ".." in data.parts:
        raise Invalid(f"data={data} in {path} must be an absolute path.", value=str(data))
    return Settings(
        folder=folder,
        guid=guid.lower(),
        name=words.get("name") or socket.gethostname(),
        data=data,
        managers=tuple(address(each) for each in words.get("host", "").split(",") if each.strip()),
        uri=words.get("hypervisor.uri") or "qemu:///system",
        domain_type=domain_type,
        ping_seconds=_seconds(words.get("ping.interval", ""), path),
        dev=words.get("dev", "").lower() in ("1", "true", "yes"),
        fetch_ca=words.get("fetch.ca", ""),
        words=words,
    )


def _seconds(text: str, path: Path) -> float:
    try:
        value = float(text or 10)
    except ValueError:
        value = 0
    if not 0.05 <= value <= 3600:
        raise Invalid(f"ping.interval={text} in {path} must be a number of seconds up to 3600.", value=text)
    return value
