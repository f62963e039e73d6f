"""Whose address a request comes from, when there is a proxy between: never what anybody may claim.

A header like X-Forwarded-For is believed only when `proxy.header.verify` is on and the other end of the connection
lies in `proxy.cidr`.  Of a list in it the last address counts that is not itself such a proxy: what stands before
was written by whoever is out there.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from functools import lru_cache

from mold.store import Tx
from mold.store.settings import setting

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def _wrong_cidrs(text: str) -> str | None:
    for word in _words(text):
        try:
            ipaddress.ip_network(word, strict=False)
        except ValueError:
            return f"{word[:80]} is no network; write them like 192.0.2.0/24, separated by commas."
    return None


def _words(text: str) -> tuple[str, ...]:
    return tuple(w.strip() for w in text.split(",") if w.strip())


VERIFY = setting(
    "proxy.header.verify", False, "Whether the address of a caller is taken from what a known proxy says.", category="Network"
)
NAMES = setting(
    "proxy.header.names",
    "X-Forwarded-For,HTTP_CLIENT_IP,HTTP_X_FORWARDED_FOR",
    "Headers in which known proxies say whose request it is, the first that is there counts.",
    category="Network",
)
CIDR = setting(
    "proxy.cidr", "", "Networks of the proxies that are believed, separated by commas.", category="Network", check=_wrong_cidrs
)


@lru_cache(64)
def _networks(text: str) -> tuple[Network, ...]:
    return tuple(ipaddress.ip_network(w, strict=False) for w in _words(text))


def plain(text: str) -> str | None:
    """An address as it is kept and compared; None when it is none. IPv4 in IPv6's clothes is IPv4."""
    word = text.strip().strip('"')
    if word.startswith("[") and "]" in word:
        word = word[1 : word.index("]")]
    try:
        found = ipaddress.ip_address(word)
    except ValueError:
        head, _, port = word.rpartition(":")
        if not (head and port.isdigit() and "." in head):
            return None
        try:
            found = ipaddress.ip_address(head)
        except ValueError:
            return None
    mapped = getattr(found, "ipv4_mapped", None)
    return str(mapped or found)


def _inside(address: str, networks: tuple[Network, ...]) -> bool:
    one = ipaddress.ip_address(address)
    return any(one.version == n.version and one in n for n in networks)


def address(tx: Tx, peer: str, headers: Mapping[str, str]) -> str:
    """The caller's address; `headers` by their names in lower case."""
    if not VERIFY.get(tx) or (here := plain(peer)) is None:
        return peer
    networks = _networks(CIDR.get(tx))
    if not _inside(here, networks):
        return here
    for name in _words(NAMES.get(tx)):
        said = headers.get(name.lower())
        if not said:
            continue
        for word in reversed(said.split(",")):
            found = plain(word)
            if found is None:
                return here  # what cannot be read is not guessed at
            if not _inside(found, networks):
                return found
        return here
    return here
