"""Address maths: ranges, gateways, MAC addresses. Sizes are bounded before anything is listed."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from urllib.parse import SplitResult, urlsplit

from mold.base import ids
from mold.base.errors import Invalid

RANGE_MAX = 65536


def ip(text: str, what: str = "address") -> ipaddress.IPv4Address:
    """The IPv4 address `text`; Invalid names `what` when it is none."""
    try:
        return ipaddress.IPv4Address(text.strip())
    except ValueError:
        raise Invalid(f"The {what} '{text}' is not an IPv4 address; write it like 10.1.1.1.", value=text) from None


def is_address(word: str) -> bool:
    """Whether `word` is an IP address of either version, without brackets or a port."""
    try:
        ipaddress.ip_address(word)
    except ValueError:
        return False
    return True


def network(text: str, what: str = "CIDR") -> ipaddress.IPv4Network:
    """The IPv4 network `text` (CIDR form, host bits must be zero)."""
    try:
        return ipaddress.IPv4Network(text.strip())
    except ValueError:
        raise Invalid(f"The {what} '{text}' is not an IPv4 network; write it like 10.1.1.0/24.", value=text) from None


def around(gateway: str, netmask: str) -> ipaddress.IPv4Network:
    """The network that has this gateway and netmask; Invalid when they do not fit together."""
    address = ip(gateway, "gateway")
    try:
        net = ipaddress.IPv4Network(f"{address}/{netmask.strip()}", strict=False)
    except ValueError:
        raise Invalid(f"The netmask '{netmask}' is not one; write it like 255.255.255.0.", value=netmask) from None
    if net.prefixlen > 30 or address in (net.network_address, net.broadcast_address):
        raise Invalid(f"The gateway {gateway} is not a usable address of {net}.", gateway=gateway, netmask=netmask)
    return net


def span(start: str, end: str | None, net: ipaddress.IPv4Network | None = None) -> tuple[int, int]:
    """First and last address of a range as numbers; the range is inside `net` and not absurdly large."""
    first, last = ip(start, "start IP"), ip(end or start, "end IP")
    if int(last) < int(first):
        raise Invalid(f"The range {start} - {end} ends before it starts.", startip=start, endip=end)
    if int(last) - int(first) >= RANGE_MAX:
        raise Invalid(f"The range {start} - {end} has more than {RANGE_MAX} addresses; split it.")
    if net is not None:
        for address in (first, last):
            if address not in net or address in (net.network_address, net.broadcast_address):
                raise Invalid(f"{address} is not a usable address of {net}.", value=str(address), network=str(net))
    return int(first), int(last)


def dotted(number: int) -> str:
    """The address with this number, dotted."""
    return str(ipaddress.IPv4Address(number))


def hosts(net: ipaddress.IPv4Network) -> Iterator[int]:
    """The numbers of all usable addresses of `net`."""
    return iter(range(int(net.network_address) + 1, int(net.broadcast_address)))


def mac(number: int, prefix: int = 0x02) -> str:
    """A locally administered MAC address from a number below 2**40; the same number gives the same address."""
    data = number & 0xFF_FFFF_FFFF
    return ":".join(f"{b:02x}" for b in (prefix, *data.to_bytes(5, "big")))


def vlans(text: str) -> list[tuple[int, int]]:
    """Ranges like `100-200,300` as (first, last) pairs, within 1..16777215 (VXLAN ids included)."""
    pairs = []
    for part in text.split(","):
        first, _, last = part.strip().partition("-")
        low, high = ids.whole(first), ids.whole(last or first)
        if low is None or high is None:
            raise Invalid(f"The VLAN range '{text}' is not of the form 100-200,300.", value=text)
        if not 1 <= low <= high <= 0xFFFFFF:
            raise Invalid(
                f"The VLAN range '{part.strip()}' must lie within 1-16777215 and not run backwards.", value=text
            )
        pairs.append((low, high))
    return pairs


def url(text: str, parameter: str = "url") -> SplitResult:
    """The parts of a URL, host and port readable; Invalid when it is none (Python's own raise ValueError late)."""
    try:
        parts = urlsplit(text)
        _ = (parts.hostname, parts.port)
    except ValueError as broken:
        raise Invalid(f"'{text[:80]}' is not a URL: {broken}.", parameter=parameter) from None
    return parts
