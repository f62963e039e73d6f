"""LDAP directories, OpenLDAP's and Active Directory's kind, with the library bonsai.

Every call opens a connection of its own, in a small pool of threads that does nothing else: a server that hangs stops
sign-ins of its own people and nothing more.  Whatever people write reaches a filter escaped (RFC 4515), and never a DN.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

import structlog

from mold.drivers.directory import DirectoryAway, Found, Server, Where

log = structlog.get_logger()
T = TypeVar("T")
MOST = 10_000
"""People, and members of a group, that are read at most."""
DEEP = 10
"""Groups in groups in groups that are looked into."""
SYSTEM_AUTHORITIES = "/etc/ssl/certs/ca-certificates.crt"
IN_CHAIN = "1.2.840.113556.1.4.1941"
"""Active Directory's rule for "a member, however deep"."""
DISABLED = 2
"""The bit of userAccountControl that Active Directory sets for an account that is out."""


def escaped(text: str) -> str:
    """A text as a value in a filter: nothing in it means anything to the server."""
    return "".join(f"\\{ord(c):02x}" if c in "\\*()\0" else c for c in text)


class Ldap:
    """The directory of `mold.drivers.directory`, spoken to by LDAP."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(4, "ldap")

    async def people(
        self, where: Where, *, word: str = "", username: str = "", group: str = "", unit: str = ""
    ) -> list[Found]:
        """See `Directory`."""
        return await self._run(where, lambda c: _people(c, where, word, username, group, unit))

    async def proves(self, where: Where, principal: str, password: str) -> bool:
        """See `Directory`."""
        if not password or not principal:  # a bind without password is anonymous, and succeeds
            return False
        return await self._run(where, lambda c: True, as_=(principal, password), wrong=False)

    async def within(self, where: Where, principal: str, dns: tuple[tuple[str, str], ...]) -> tuple[str, ...]:
        """See `Directory`."""
        return await self._run(where, lambda c: tuple(dn for kind, dn in dns if _belongs(c, where, principal, kind, dn)))

    async def answers(self, where: Where) -> None:
        """See `Directory`."""
        await self._run(where, lambda c: None)

    async def _run(
        self, where: Where, work: Callable[[Any], T], *, as_: tuple[str, str] | None = None, wrong: T | None = None
    ) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, lambda: _first(where, work, as_, wrong))


def _first(where: Where, work: Callable[[Any], T], as_: tuple[str, str] | None, wrong: T | None) -> T:
    """Do the work at the first server that answers. `as_` binds as somebody: `wrong` is what it means to be refused."""
    import bonsai.errors as no

    said = []
    who = as_ or ((where.principal, where.password) if where.principal else None)
    for server in where.servers:
        try:
            with _connected(where, server, who) as connection:
                return work(connection)
        except (no.AuthenticationError, no.UnwillingToPerform, no.InvalidDN) as refused:
            if as_ is not None and wrong is not None:
                log.info("directory refused a bind", server=server.host, reason=str(refused)[:200])
                return wrong
            said.append(f"{server.host}:{server.port} does not let {where.principal or 'anonymous'} in ({refused})")
        except no.LDAPError as broken:
            said.append(f"{server.host}:{server.port}: {broken}")
    text = "; ".join(said)[:500] or "no server is configured"
    log.warning("directory away", text=text)
    raise DirectoryAway(f"The directory does not answer: {text}.")


@contextmanager
def _connected(where: Where, server: Server, who: tuple[str, str] | None) -> Iterator[Any]:
    from bonsai import LDAPClient

    scheme = "ldaps" if server.security == "ldaps" else "ldap"
    host = f"[{server.host}]" if ":" in server.host else server.host
    client = LDAPClient(f"{scheme}://{host}:{server.port}", tls=server.security == "starttls")
    if server.security != "plain":
        client.set_cert_policy("demand")
        client.set_ca_cert(server.authorities or SYSTEM_AUTHORITIES)
    # A server that sends us elsewhere would choose where our passwords go.
    client.set_server_chase_referrals(False)
    client.set_auto_page_acquire(True)
    if who is not None:
        client.set_credentials("SIMPLE", user=who[0], password=who[1])
    connection = client.connect(timeout=where.seconds)
    try:
        yield connection
    finally:
        connection.close()


def _attributes(where: Where) -> list[str]:
    extra = ["userAccountControl"] if where.active_directory else []
    return [where.username, where.email, where.firstname, where.lastname, *extra]


def _first_value(entry: Any, name: str) -> str:
    found = entry.get(name)
    return str(found[0])[:255] if found else ""


def _found(where: Where, entry: Any) -> Found | None:
    username = _first_value(entry, where.username)
    if not username:
        return None
    control = _first_value(entry, "userAccountControl") if where.active_directory else ""
    return Found(
        username=username,
        principal=str(entry.dn),
        email=_first_value(entry, where.email),
        firstname=_first_value(entry, where.firstname),
        lastname=_first_value(entry, where.lastname),
        enabled=not (control.isdigit() and int(control) & DISABLED),
    )


def _filter(where: Where, word: str, username: str) -> str:
    parts = [f"(objectClass={escaped(where.user_object)})"]
    if username:
        parts.append(f"({where.username}={escaped(username)})")
    if word and word != "*":
        value = escaped(word.strip("*"))
        names = dict.fromkeys((where.username, where.email, where.firstname, where.lastname))
        parts.append("(|" + "".join(f"({name}=*{value}*)" for name in names) + ")")
    if where.only_group:
        rule = f":{IN_CHAIN}:" if where.active_directory and where.nested else ""
        parts.append(f"({where.member_of}{rule}={escaped(where.only_group)})")
    return f"(&{''.join(parts)})"


def _search(connection: Any, where: Where, base: str, expression: str, wanted: list[str]) -> Iterator[Any]:
    for count, entry in enumerate(
        connection.paged_search(base, 2, expression, wanted, timeout=where.seconds, page_size=where.page)
    ):
        if count >= MOST:
            log.warning("directory has more entries than are read", base=base, most=MOST)
            return
        yield entry


def _read(connection: Any, where: Where, dn: str, expression: str, wanted: list[str]) -> Any | None:
    """The entry of a DN, if it is there and meets the filter."""
    import bonsai.errors as no

    try:
        found = connection.search(dn, 0, expression, wanted, timeout=where.seconds)
    except (no.NoSuchObjectError, no.InvalidDN):
        return None
    return found[0] if found else None


def _people(connection: Any, where: Where, word: str, username: str, group: str, unit: str) -> list[Found]:
    import bonsai.errors as no

    expression, wanted = _filter(where, word, username), _attributes(where)
    if group:
        entries: Any = (
            entry
            for dn in _members(connection, where, _group_dn(connection, where, group))
            if (entry := _read(connection, where, dn, expression, wanted)) is not None
        )
    else:
        entries = _search(connection, where, unit or where.base, expression, wanted)
    try:
        return [found for entry in entries if (found := _found(where, entry)) is not None]
    except no.NoSuchObjectError:
        return []


def _group_dn(connection: Any, where: Where, group: str) -> str:
    """The DN of a group that is named by its DN or by its common name; empty when there is none."""
    if re.match(r"^[A-Za-z][A-Za-z0-9.-]*=", group):
        return group
    expression = f"(&(objectClass={escaped(where.group_object)})(cn={escaped(group)}))"
    found = connection.search(where.base, 2, expression, ["cn"], timeout=where.seconds)
    return str(found[0].dn) if found else ""


def _members(connection: Any, where: Where, group: str) -> list[str]:
    """DNs of the members, and of the members of groups among them where nested groups count."""
    found: dict[str, None] = {}
    seen: set[str] = set()
    level = [group] if group else []
    for _ in range(DEEP):
        below: list[str] = []
        for dn in level:
            if dn.lower() in seen:
                continue
            seen.add(dn.lower())
            entry = _read(connection, where, dn, f"(objectClass={escaped(where.group_object)})", [where.member])
            if entry is None:
                continue
            for member in entry.get(where.member, []):
                found[str(member)] = None
                below.append(str(member))
                if len(found) > MOST:
                    return list(found)
        level = below if where.nested else []
    return list(found)


def _belongs(connection: Any, where: Where, principal: str, kind: str, dn: str) -> bool:
    if kind == "OU":
        return _below(principal, dn)
    if where.active_directory and where.nested:
        rule = f"({where.member_of}:{IN_CHAIN}:={escaped(dn)})"
        return _read(connection, where, principal, rule, [where.username]) is not None
    me = _parts(principal)
    return any(_parts(member) == me for member in _members(connection, where, dn))


def _parts(dn: str) -> tuple[str, ...]:
    """A DN in pieces that can be compared: case and blanks do not matter."""
    pieces = re.split(r"(?<!\\),", dn)
    return tuple(re.sub(r"\s*=\s*", "=", piece.strip(), count=1).lower() for piece in pieces)


def _below(dn: str, top: str) -> bool:
    mine, above = _parts(dn), _parts(top)
    return len(mine) > len(above) and mine[-len(above) :] == above
