"""Which server, and as whom: profiles, environment and quickstart files.

Profiles live in `$XDG_CONFIG_HOME/mold/config.toml` (mode 0600, it holds
secrets).  The rule that would surprise: an address given with --url or MOLD_URL
never gets the secrets of a stored profile with another address, unless that
profile is named as well.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from mold.cli.faults import NotSignedIn, Usage
from mold.cli.words import nearest, say

Entry = dict[str, str | bool]

TEXTS = ("url", "apikey", "secretkey", "username", "password", "domain", "cacert")
FLAGS = ("insecure",)
ENVIRONMENT = {
    "apikey": "MOLD_API_KEY",
    "secretkey": "MOLD_SECRET_KEY",
    "username": "MOLD_USERNAME",
    "password": "MOLD_PASSWORD",
    "domain": "MOLD_DOMAIN",
}
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}")


class Connection:
    """An address and the credentials for it. Never shows its secrets."""

    __slots__ = (*TEXTS, *FLAGS, "name", "anonymous")

    def __init__(self, name: str, entry: Mapping[str, str | bool], *, anonymous: bool = False) -> None:
        """`anonymous` is for an integration port, where nobody signs."""
        self.name = name
        self.anonymous = anonymous
        for key in TEXTS:
            setattr(self, key, str(entry.get(key) or ""))
        self.insecure: bool = bool(entry.get("insecure", False))
        self.url: str = api_url(str(entry.get("url") or ""))

    apikey: str
    secretkey: str
    username: str
    password: str
    domain: str
    cacert: str

    def __repr__(self) -> str:
        return f"Connection({self.name!r}, {self.url!r})"

    @property
    def who(self) -> str:
        """The caller, as far as it distinguishes what the server shows."""
        if self.apikey:
            return f"key:{self.apikey}"
        return f"user:{self.username}@{self.domain}" if self.username else "nobody"

    @property
    def fingerprint(self) -> str:
        """Names this server and caller in file names."""
        return hashlib.sha256(f"{self.url}\0{self.who}".encode()).hexdigest()[:20]

    def check(self) -> None:
        """Raise NotSignedIn unless there is a way to sign in."""
        if bool(self.apikey) != bool(self.secretkey):
            raise NotSignedIn(say("half.keys", url=self.url))
        if not (self.anonymous or self.apikey or (self.username and self.password)):
            raise NotSignedIn(say("no.credentials", url=self.url))


def api_url(text: str) -> str:
    """The API's address: `/client/api` is added to a bare host. Raises Usage."""
    try:
        parts = urlsplit(text.strip())
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        usable = False
    if not usable or parts.username or parts.query or parts.fragment:
        raise Usage(say("bad.url", url=text))
    path = parts.path.rstrip("/")
    if path in ("", "/client"):
        path = "/client/api"
    return urlunsplit((parts.scheme, parts.netloc, path, "", ""))


def config_file() -> Path:
    """Where the profiles are."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "mold" / "config.toml"


def cache_folder() -> Path:
    """Where fetched models and sessions are kept."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mold"


def write_private(path: Path, text: str) -> None:
    """Put `text` in place of `path` at once, readable by its owner only."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def keep(path: Path, text: str) -> None:
    """Like `write_private`, for what can be had again: a cache that cannot be written is said, not failed for."""
    try:
        write_private(path, text)
    except OSError as problem:
        print("mold: " + say("bad.file", path=path, why=problem.strerror or problem), file=sys.stderr)


class Profiles:
    """The configuration file, read and written as a whole."""

    def __init__(self, current: str, entries: dict[str, Entry]) -> None:
        self.current = current
        self.entries = entries

    @classmethod
    def read(cls) -> Profiles:
        """The stored profiles; none when there is no file. Raises Usage when the file is broken."""
        path = config_file()
        try:
            raw = path.read_bytes()
            is_open = bool(path.stat().st_mode & 0o077)
        except FileNotFoundError:
            return cls("", {})
        except OSError as problem:
            raise Usage(say("bad.file", path=path, why=problem.strerror or problem)) from problem
        import tomllib

        try:
            table = tomllib.loads(raw.decode())
        except ValueError as problem:  # includes bad UTF-8
            raise Usage(say("bad.file", path=path, why=problem)) from problem
        entries: dict[str, Entry] = {}
        for name, entry in (table.get("profiles") or {}).items():
            if not isinstance(entry, dict):
                raise Usage(say("bad.file", path=path, why=f"profiles.{name}"))
            entries[name] = {key: value for key, value in entry.items() if isinstance(value, str | bool)}
        if is_open and any(entry.get("secretkey") or entry.get("password") for entry in entries.values()):
            print("mold: " + say("open.file", path=path), file=sys.stderr)
        return cls(str(table.get("current") or ""), entries)

    def write(self) -> None:
        """Store the profiles, mode 0600."""
        lines = [f"current = {_toml(self.current)}"]
        for name, entry in self.entries.items():
            lines += ["", f"[profiles.{_toml(name)}]"]
            lines += [f"{key} = {_toml(value)}" for key, value in entry.items() if value not in ("", False)]
        try:
            write_private(config_file(), "\n".join(lines) + "\n")
        except OSError as problem:
            raise Usage(say("bad.file", path=config_file(), why=problem.strerror or problem)) from problem

    def entry(self, name: str) -> Entry:
        """The profile `name`. Raises Usage when there is none."""
        if name not in self.entries:
            raise Usage(say("no.profile", name=name, suggest=nearest(name, list(self.entries))))
        return self.entries[name]

    def default(self) -> str:
        """The profile in use: the chosen one, else the only one, else none."""
        if self.current in self.entries:
            return self.current
        return next(iter(self.entries)) if len(self.entries) == 1 else ""


def _toml(value: str | bool) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def valid_name(name: str) -> str:
    """`name` itself, when it can name a profile. Raises Usage."""
    if not NAME.fullmatch(name):
        raise Usage(say("bad.profile.name", name=name))
    return name


def read_entry(pairs: Mapping[str, str]) -> Entry:
    """A profile from `url=... apikey=...` words. Raises Usage."""
    entry: Entry = {}
    for key, value in pairs.items():
        if key not in TEXTS and key not in FLAGS:
            raise Usage(say("bad.profile.key", name=key, suggest=nearest(key, TEXTS + FLAGS)))
        if key in FLAGS:
            if value.lower() not in ("true", "false"):
                raise Usage(say("bad.boolean", name=key, value=value))
            entry[key] = value.lower() == "true"
        else:
            entry[key] = api_url(value) if key == "url" else str(Path(value).absolute()) if key == "cacert" else value
    return entry


def quickstart(folder: str | None) -> Connection | None:
    """The server that a quickstart on this machine describes, if any. Raises Usage for a named folder without one."""
    places = (
        [Path(folder)]
        if folder
        else [Path("data"), Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share") / "mold"]
    )
    for place in places:
        path = place / "quickstart.json"
        try:
            facts = dict(json.loads(path.read_bytes()))
        except FileNotFoundError as problem:
            if folder:
                raise Usage(say("bad.file", path=path, why=problem.strerror)) from problem
            continue
        except (OSError, ValueError, TypeError) as problem:
            if folder:
                raise Usage(say("bad.file", path=path, why=problem)) from problem
            print("mold: " + say("bad.file", path=path, why=problem), file=sys.stderr)
            continue
        entry: Entry = {key: str(facts[key]) for key in TEXTS if facts.get(key)}
        port = facts.get("integrationport")
        if port and not entry.get("apikey") and not entry.get("username"):
            host = urlsplit(str(entry.get("url") or "")).hostname or "127.0.0.1"
            bracketed = f"[{host}]" if ":" in host else host
            return Connection("quickstart", {"url": f"http://{bracketed}:{int(port)}/client/api"}, anonymous=True)
        return Connection("quickstart", entry)
    return None


def connection(
    *, profile: str | None, url: str | None, data_dir: str | None, cacert: str | None, insecure: bool
) -> Connection:
    """The server to talk to. Raises Usage when none is configured."""
    environment = {key: os.environ[name] for key, name in ENVIRONMENT.items() if os.environ.get(name)}
    address = url or ("" if data_dir else os.environ.get("MOLD_URL", ""))
    named = profile or ("" if url or data_dir else os.environ.get("MOLD_PROFILE", ""))
    stored = Profiles.read()
    entry: Entry = {}
    name = named or "environment"
    anonymous = False
    if named:
        entry = dict(stored.entry(named))
    elif data_dir or not (address or stored.default()):
        found = quickstart(data_dir)
        if found is not None:
            entry = {key: getattr(found, key) for key in TEXTS}
            name, anonymous = found.name, found.anonymous
    elif address:
        matching = [key for key, kept in stored.entries.items() if _same(str(kept.get("url") or ""), address)]
        if matching:
            name = stored.current if stored.current in matching else matching[0]
            entry = dict(stored.entries[name])
    else:
        name = stored.default()
        entry = dict(stored.entries[name])
    if environment and not data_dir and not profile:
        overlay(entry, environment)
        anonymous = False
    if address:
        entry["url"] = address
    cacert = cacert or os.environ.get("MOLD_CACERT")
    if cacert:
        entry["cacert"] = cacert
    if insecure:
        entry["insecure"] = True
    if not entry.get("url"):
        raise Usage(say("no.server"))
    return Connection(name, entry, anonymous=anonymous)


def overlay(entry: Entry, environment: Mapping[str, str]) -> None:
    """Credentials from the environment replace stored ones of either kind, never mix with them."""
    if "apikey" in environment or "secretkey" in environment:
        for key in ("username", "password", "domain"):
            entry.pop(key, None)
    elif "username" in environment or "password" in environment:
        for key in ("apikey", "secretkey"):
            entry.pop(key, None)
    entry.update(environment)


def _same(stored: str, address: str) -> bool:
    try:
        return api_url(stored) == api_url(address)
    except Usage:
        return False


def cloudmonkey(path: Path) -> tuple[str, dict[str, Entry]]:
    """The current profile's name and all profiles of a CloudMonkey file. Raises Usage.

    CloudMonkey's "do not check certificates" is not taken over: it has to be said again.
    """
    import configparser

    reader = configparser.ConfigParser(interpolation=None, strict=False, allow_no_value=True)
    try:
        reader.read_string(path.read_text(encoding="utf-8"), source=str(path))
    except (OSError, ValueError, configparser.Error) as problem:
        why = problem.strerror if isinstance(problem, OSError) else str(problem).splitlines()[0]
        raise Usage(say("bad.file", path=path, why=why)) from problem
    entries: dict[str, Entry] = {}
    for section in reader.sections():
        values = {key: _bare(value or "") for key, value in reader[section].items()}
        if not values.get("url"):
            continue
        entry: Entry = {key: values[key] for key in TEXTS if values.get(key) and key != "cacert"}
        entry["url"] = api_url(str(entry["url"]))
        if entry.get("apikey") and entry.get("secretkey"):
            for key in ("username", "password", "domain"):
                entry.pop(key, None)
        entries[re.sub(r"[^A-Za-z0-9._-]", "-", section).lstrip(".-") or "cloudmonkey"] = entry
    current = _bare(reader.get("core", "profile", fallback="") or "")
    return current, entries


def _bare(value: str) -> str:
    """A value without the backticks or quotes that ini writers put around odd ones."""
    text = value.strip()
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "`\"'":
        return text[1:-1]
    return text
