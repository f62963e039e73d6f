"""Where Mold goes on behalf of strangers: the one rule about addresses that a URL may lead to.

The name is resolved here, every address checked, and the connection is made to exactly an address that was checked: a
name that means something else a moment later gains nothing.  Whoever follows redirects asks anew at each.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket

from mold.base.errors import Failed, Invalid

RESOLVE_SECONDS = 15.0
_TRANSLATED = tuple(ipaddress.ip_network(each) for each in ("64:ff9b::/96", "64:ff9b:1::/48"))

IP = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def networks(texts: list[str]) -> tuple[Network, ...]:
    """CIDRs; Invalid names one that is none."""
    try:
        return tuple(ipaddress.ip_network(text.strip(), strict=False) for text in texts)
    except ValueError as error:
        raise Invalid(f"The list of networks that may be reached is wrong: {error}.") from None


def may_reach(address: IP, allow: tuple[Network, ...]) -> bool:
    """Whether strangers may have Mold go there: an address of the public internet, or of `allow`."""
    inner: IP = address
    if isinstance(address, ipaddress.IPv6Address):
        hidden = address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
        if hidden is None and any(address in network for network in _TRANSLATED):
            hidden = ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
        inner = hidden or address
    if any(inner.version == network.version and inner in network for network in allow):
        return True
    return inner.is_global and not (inner.is_multicast or inner.is_reserved or inner.is_loopback or inner.is_link_local)


def own(address: IP) -> bool:
    """Whether an address is one of this machine's: who is let to it would speak to us from within."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((str(address), 0))
    except OSError:
        return False
    return True


async def resolved(host: str) -> list[IP]:
    """All addresses of a name (ASCII), each once. Failed when it has none."""
    try:
        async with asyncio.timeout(RESOLVE_SECONDS):
            found = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError, TimeoutError):
        raise Failed(f"The name {host} has no address.", host=host) from None
    return list(dict.fromkeys(ipaddress.ip_address(str(each[4][0]).partition("%")[0]) for each in found))
