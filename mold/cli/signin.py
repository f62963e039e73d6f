"""`mold login` and `mold profile`: credentials tried, kept and chosen."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from mold.cli.faults import Usage
from mold.cli.options import REQUEST_SECONDS, Options
from mold.cli.profiles import (
    ENVIRONMENT,
    Connection,
    Entry,
    Profiles,
    api_url,
    cache_folder,
    cloudmonkey,
    connection,
    overlay,
    read_entry,
    valid_name,
)
from mold.cli.words import say

if TYPE_CHECKING:
    from mold.cli.client import Json


def _pairs(words: list[str]) -> dict[str, str]:
    """`key=value` words of profile commands. `-` takes a line from stdin, so that secrets stay out of process lists."""
    found = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            raise Usage(say("bad.word", word=word))
        found[key.lower()] = sys.stdin.readline().rstrip("\r\n") if value == "-" else value
    return found


def login(options: Options, words: list[str]) -> int:
    """`mold login [PROFILE] url=... username=... password=...`: try, then keep, then use."""
    from mold.cli.client import Cloud
    from mold.cli.model import fetch

    name = words.pop(0) if words and "=" not in words[0] else options.profile or ""
    given = read_entry(_pairs(words))
    stored = Profiles.read()
    name = valid_name(name or stored.default() or "default")
    entry = _entry(options, given, stored, name)
    if not entry.get("apikey") and sys.stdin.isatty() and sys.stderr.isatty():
        _ask(entry)
    link = Connection(name, entry)
    seconds = min(REQUEST_SECONDS, options.timeout or REQUEST_SECONDS)
    cloud = Cloud(link, request_seconds=seconds, shows_requests=options.debug)
    link.check()
    answer = {} if link.apikey else cloud.sign_in()
    count = len(fetch(cloud))
    stored.entries[name] = {**entry, "url": link.url}
    stored.current = name
    stored.write()
    print("mold: " + say("signed.in", url=link.url, name=name, count=count), file=sys.stderr)
    if answer.get("passwordchangerequired") is True:
        print("mold: " + say("password.change", id=answer.get("userid", "")), file=sys.stderr)
    return 0


def _entry(options: Options, given: Entry, stored: Profiles, name: str) -> Entry:
    """What to try: the words given, over the environment, over the profile (or quickstart) of the same server."""
    address = str(given.get("url") or options.url or os.environ.get("MOLD_URL") or "")
    entry: Entry
    if address or name in stored.entries:
        entry = dict(stored.entries.get(name, {}))
        if address and api_url(address) != entry.get("url"):
            entry = {"url": api_url(address)}  # another server: nothing secret goes along
        overlay(entry, {key: os.environ[word] for key, word in ENVIRONMENT.items() if os.environ.get(word)})
    else:
        link = connection(
            profile=None, url=None, data_dir=options.data_dir, cacert=options.cacert, insecure=options.insecure
        )
        entry = {key: getattr(link, key) for key in ("url", *ENVIRONMENT, "cacert")}
    overlay(entry, {key: str(value) for key, value in given.items() if key in ENVIRONMENT})
    entry |= {key: value for key, value in given.items() if key in ("cacert", "insecure")}
    if options.cacert:
        entry["cacert"] = str(Path(options.cacert).absolute())
    if options.insecure:
        entry["insecure"] = True
    return entry


def _ask(entry: Entry) -> None:
    """Ask the person at the terminal for what is missing."""
    from getpass import getpass

    if not entry.get("username"):
        print(say("ask.username"), end="", file=sys.stderr, flush=True)
        entry["username"] = sys.stdin.readline().strip()
    entry["password"] = entry.get("password") or getpass(say("ask.password"), stream=sys.stderr)


def profile(options: Options, words: list[str]) -> int:
    """`mold profile list|add|use|remove|import`."""
    action = words[0] if words else "list"
    stored = Profiles.read()
    if action == "list" and len(words) < 2:
        return _profile_list(options, stored.entries, stored.default())
    if action in ("import", "import-cloudmonkey") and len(words) <= 2:
        return _import(stored, words[1] if words[1:] else None)
    if action not in ("add", "use", "remove") or len(words) < 2 or (action != "add" and len(words) > 2):
        raise Usage(
            say(
                "bad.subcommand",
                command="profile",
                names="list, add NAME url=..., use NAME, remove NAME, import [FILE]",
            )
        )
    name = words[1]
    if action == "add":
        entry = read_entry(_pairs(words[2:]))
        if not entry.get("url"):
            raise Usage(
                say(
                    "missing",
                    command="profile add",
                    names="url",
                    example="mold profile add lab url=https://HOST/client/api",
                )
            )
        stored.entries[valid_name(name)] = entry
        stored.current = stored.current or name
    elif action == "use":
        stored.entry(name)
        stored.current = name
    else:
        forget(stored.entry(name), name)
        del stored.entries[name]
        stored.current = "" if stored.current == name else stored.current
    stored.write()
    print(
        "mold: " + say({"add": "profile.added", "use": "profile.used", "remove": "profile.removed"}[action], name=name),
        file=sys.stderr,
    )
    return 0


def forget(entry: Entry, name: str) -> None:
    """Drop what is kept of a profile that goes: its session, its commands, its names."""
    link = Connection(name, entry)
    for kind in ("session", "model", "names"):
        (cache_folder() / f"{kind}-{link.fingerprint}.json").unlink(missing_ok=True)


def _profile_list(options: Options, entries: Mapping[str, Mapping[str, str | bool]], current: str) -> int:
    from mold.cli.show import show

    rows: list[Json] = []
    for name, entry in entries.items():
        way = "apikey" if entry.get("apikey") else "password" if entry.get("username") else "none"
        user = str(entry.get("username") or "")
        rows.append(
            {"name": name, "url": entry.get("url", ""), "signin": way, "username": user, "current": name == current}
        )
    columns = options.chosen_columns or ["name", "current", "url", "signin", "username"]
    show({"count": len(rows), "profile": rows}, form=options.output, columns=columns, header=not options.no_header)
    return 0


def _import(stored: Profiles, file: str | None) -> int:
    path = Path(file) if file else Path.home() / ".cmk" / "config"
    current, entries = cloudmonkey(path)
    added = []
    for name, entry in entries.items():
        if name in stored.entries:
            print("mold: " + say("profile.kept", name=name), file=sys.stderr)
            continue
        stored.entries[name] = entry
        added.append(name)
    if not stored.current and current in stored.entries:
        stored.current = current
    stored.write()
    print("mold: " + say("profile.imported", names=", ".join(added) or "-", path=path), file=sys.stderr)
    return 0
