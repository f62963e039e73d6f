"""What a router's document becomes: an nftables ruleset and the files of its dnsmasq. Pure functions, no side effects.

The document is not trusted: `checked` refuses every name, address and number that could mean something else to
nft or dnsmasq.  A surprise it guards against: dnsmasq reads `5h`, `123`, `ignore` and `infinite` in a host line as
a lease time or an order, though they are good host names; such names travel with their domain.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re

from mold.agent import segments
from mold.base import net
from mold.base.errors import Invalid
from mold.wire.calls import LeaseSpec, PublicSpec, RouterSpec

GUEST = "guest"
PUBLIC = "public"
"""The devices inside a router's namespace."""
RESERVED = frozenset({"data-server", "localhost", "wpad"})
"""Names that never resolve to a machine: the metadata service is found by the first, browsers obey the last."""
USERDATA_MAX = 1_048_576
METADATA_MAX = 65_536
LEASES_MAX = 65_536

_ID = re.compile(r"[0-9A-Za-z][0-9A-Za-z-]{0,63}")
_LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
_DOTTED = re.compile(r"[0-9]{1,3}(\.[0-9]{1,3}){3}")
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_ITEM = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")
_AMBIGUOUS = re.compile(r"[0-9]+[wdhms]?|ignore|infinite")


def check_id(text: str) -> str:
    """The id of a router, which becomes the name of a folder; Invalid when it could be anything else."""
    if not _ID.fullmatch(text):
        raise Invalid("A router's id consists of letters, digits and '-', at most 64.", id=text[:64])
    return text


def check_number(number: int) -> int:
    """The number of a router, which becomes part of device names."""
    if not 1 <= number <= 99_999_999:
        raise Invalid(f"A router's number must lie within 1-99999999, and {number} does not.", number=number)
    return number


def _mac(text: str, what: str) -> str:
    if not _MAC.fullmatch(text.lower()) or int(text[:2], 16) & 1 or text == "00:00:00:00:00:00":
        raise Invalid(f"The MAC address {text[:40]!r} of {what} is not one; write it like 02:00:0a:00:00:01.", mac=text[:40])
    return text.lower()


def _address(text: str, what: str) -> ipaddress.IPv4Address:
    # exactly as it is written out: surrounding blanks or a line end would travel on into a file
    if not _DOTTED.fullmatch(text):
        raise Invalid(f"The {what} {text[:40]!r} is not an IPv4 address; write it like 10.1.1.1.", value=text[:40])
    return net.ip(text, what)


def _name(text: str, what: str) -> str:
    if not _LABEL.fullmatch(text):
        raise Invalid(f"{text[:70]!r} is no host name for {what}: letters, digits and '-', at most 63.", name=text[:70])
    return text


def subnet(spec: RouterSpec) -> ipaddress.IPv4Network:
    """The guest network of a router."""
    return ipaddress.IPv4Network(f"{spec.gateway}/{spec.prefix}", strict=False)


def checked(spec: RouterSpec) -> RouterSpec:
    """The document itself when every part of it is what it claims to be; else Invalid names the part."""
    check_id(spec.id)
    check_number(spec.number)
    _mac(spec.mac, "the router")
    gateway = _address(spec.gateway, "gateway")
    if not 8 <= spec.prefix <= 30:
        raise Invalid(f"The prefix length {spec.prefix} of a guest network must lie within 8-30.", prefix=spec.prefix)
    inside = subnet(spec)
    _inside(gateway, inside, "gateway")
    if spec.domain:
        if len(spec.domain) > 190:
            raise Invalid("The network domain is longer than 190 characters.", length=len(spec.domain))
        for label in spec.domain.split("."):
            _name(label, "the network domain")
    if len(spec.dns) > 8:
        raise Invalid(f"A router asks at most 8 name servers; the document has {len(spec.dns)}.", count=len(spec.dns))
    for server in spec.dns:
        if _address(server, "name server").is_multicast:
            raise Invalid(f"The name server {server} is a multicast address.", value=server)
    if spec.egress not in ("allow", "deny"):
        raise Invalid(f"The egress policy is allow or deny, not {spec.egress[:20]!r}.", egress=spec.egress[:20])
    if spec.mtu and not 576 <= spec.mtu <= 9216:
        raise Invalid(f"The MTU {spec.mtu} must lie within 576-9216 bytes.", mtu=spec.mtu)
    segments.check(spec.segment)
    if spec.public is not None:
        _check_public(spec.public, inside)
    if len(spec.leases) > LEASES_MAX:
        raise Invalid(f"A router serves at most {LEASES_MAX} leases.", count=len(spec.leases))
    macs: set[str] = {spec.mac.lower()}
    addresses: set[ipaddress.IPv4Address] = {gateway}
    for lease in spec.leases:
        mac, address = _check_lease(lease, inside)
        if mac in macs or address in addresses:
            raise Invalid(f"Two machines of the network have {lease.mac} or {lease.ip}.", mac=lease.mac, ip=lease.ip)
        macs.add(mac)
        addresses.add(address)
    return spec


def _inside(address: ipaddress.IPv4Address, network: ipaddress.IPv4Network, what: str) -> None:
    if address not in network or address in (network.network_address, network.broadcast_address):
        raise Invalid(f"The {what} {address} is no usable address of {network}.", value=str(address), network=str(network))


def _check_public(public: PublicSpec, guest: ipaddress.IPv4Network) -> None:
    segments.check(public.segment)
    _mac(public.mac, "the public side")
    address = _address(public.ip, "public address")
    _address(public.gateway, "public gateway")
    if not 1 <= public.prefix <= 32:
        raise Invalid(f"The prefix length {public.prefix} of the public side must lie within 1-32.", prefix=public.prefix)
    if address in guest:
        raise Invalid(f"The public address {address} lies inside the guest network {guest}.", ip=str(address))


def _check_lease(lease: LeaseSpec, inside: ipaddress.IPv4Network) -> tuple[str, ipaddress.IPv4Address]:
    mac = _mac(lease.mac, "a machine")
    address = _address(lease.ip, "machine's address")
    _inside(address, inside, "machine's address")
    _name(lease.name, "a machine")
    size = 0
    for item, text in lease.metadata.items():
        size += len(item) + len(text)
        if not _ITEM.fullmatch(item):
            raise Invalid(f"{item[:70]!r} is no name of a metadata item: small letters, digits, '-', '_' and '.'.", item=item[:70])
    if size > METADATA_MAX:
        raise Invalid(f"The metadata of {lease.name} is larger than {METADATA_MAX} characters.", size=size)
    if len(lease.userdata) > USERDATA_MAX * 4 // 3 + 4:
        raise Invalid(f"The user data of {lease.name} is larger than {USERDATA_MAX} bytes.", size=len(lease.userdata))
    try:
        base64.b64decode(lease.userdata, validate=True)
    except (binascii.Error, ValueError):
        raise Invalid(f"The user data of {lease.name} is not base64.", name=lease.name) from None
    if len(lease.password) > 1024 or not lease.password.isprintable():
        raise Invalid(f"The password of {lease.name} has control characters or more than 1024 characters.", name=lease.name)
    if len(lease.password_serial) > 128 or not lease.password_serial.isprintable():
        raise Invalid(f"The password serial of {lease.name} has control characters or is too long.", name=lease.name)
    return mac, address


# -- the firewall -----------------------------------------------------------------------------------------------


def ruleset(spec: RouterSpec) -> str:
    """The nftables ruleset of a checked document, for one `nft -f -` inside the namespace (one transaction).

    Everything not named is dropped, on the way in and on the way through.  The public side answers nothing.
    """
    inside = subnet(spec)
    chains = [
        _chain("spoofed", "type filter hook prerouting priority raw; policy accept;", [
            f'iifname "{GUEST}" ip saddr != {{ 0.0.0.0, {inside} }} drop',
            f'iifname "{PUBLIC}" ip saddr {inside} drop',
        ]),
        _chain("input", "type filter hook input priority filter; policy drop;", _input(spec)),
        _chain("outbound", "", ["accept" if spec.egress == "allow" else "drop"]),
        _chain("forward", "type filter hook forward priority filter; policy drop;", [
            "ct state invalid drop",
            "tcp flags syn tcp option maxseg size set rt mtu",
            "ct state established,related accept",
            f'iifname "{GUEST}" oifname "{PUBLIC}" jump outbound',
        ]),
    ]  # fmt: skip
    if translates(spec) and spec.public is not None:
        chains.append(_chain("source", "type nat hook postrouting priority srcnat; policy accept;", [
            f'oifname "{PUBLIC}" ip saddr {inside} snat to {spec.public.ip}',
        ]))  # fmt: skip
    return "flush ruleset\n\ntable ip mold {\n" + "\n".join(chains) + "}\n"


def translates(spec: RouterSpec) -> bool:
    """Whether guests leave with the router's public address."""
    return spec.public is not None and spec.public.source_nat and "SourceNat" in spec.services


def _input(spec: RouterSpec) -> list[str]:
    rules = ["ct state invalid drop", "ct state established,related accept", 'iifname "lo" accept']
    if "Dhcp" in spec.services:
        rules.append(f'iifname "{GUEST}" udp dport 67 accept')
    if "Dns" in spec.services:
        rules += [f'iifname "{GUEST}" ip daddr {spec.gateway} {protocol} dport 53 accept' for protocol in ("udp", "tcp")]
    if "UserData" in spec.services:
        rules.append(f'iifname "{GUEST}" ip daddr {spec.gateway} tcp dport {{ 80, 8080 }} accept')
    rules.append(f'iifname "{GUEST}" icmp type echo-request accept')
    return rules


def _chain(name: str, hook: str, rules: list[str]) -> str:
    lines = ([hook] if hook else []) + rules
    return f"    chain {name} {{\n" + "".join(f"        {line}\n" for line in lines) + "    }\n"


# -- DHCP and DNS -----------------------------------------------------------------------------------------------


def serves_names(spec: RouterSpec) -> bool:
    """Whether the router runs a dnsmasq."""
    return "Dhcp" in spec.services or "Dns" in spec.services


def dnsmasq_conf(spec: RouterSpec, folder: str, mtu: int, user: str, group: str) -> str:
    """dnsmasq's configuration: all that it cannot read anew while it runs. `mtu` is what guests are told (bytes)."""
    inside = subnet(spec)
    lines = [
        f"# Router {spec.id}, written by Mold; a change made here is lost at the next document.",
        f"user={user}", f"group={group}",
        f"pid-file={folder}/pid",
        f"interface={GUEST}", "except-interface=lo", "bind-interfaces",
        "no-resolv", "no-hosts", "no-poll",
        "quiet-dhcp", "quiet-dhcp6", "quiet-ra",
    ]  # fmt: skip
    if spec.domain:
        lines += [f"domain={spec.domain}", f"local=/{spec.domain}/"]
    if "Dns" in spec.services:
        lines += [f"addn-hosts={folder}/names", "domain-needed", "bogus-priv", "cache-size=2000"]
        lines += [f"server={server}" for server in spec.dns]
    else:
        lines += ["port=0"]
    if "Dhcp" in spec.services:
        servers = [spec.gateway] if "Dns" in spec.services else spec.dns
        lines += [
            f"dhcp-range={inside.network_address},static,{inside.netmask},infinite",
            f"dhcp-lease-max={max(1000, min(inside.num_addresses, LEASES_MAX))}",
            "dhcp-authoritative", "leasefile-ro", "no-ping",
            "dhcp-ignore=tag:!known", "dhcp-ignore-names",
            f"dhcp-hostsfile={folder}/hosts", f"dhcp-optsfile={folder}/options",
            f"dhcp-option=option:router,{spec.gateway}",
            f"dhcp-option=option:mtu,{mtu}",
            f"dhcp-option=option:dns-server{''.join(',' + server for server in servers)}",
        ]  # fmt: skip
        # here and not as `set:side` among the hosts: a tag there makes dnsmasq (to 2.90) crash at SIGHUP
        lines += [f"dhcp-mac=set:side,{lease.mac.lower()}" for lease in spec.leases if not lease.default]
    return "\n".join(lines) + "\n"


def dnsmasq_hosts(spec: RouterSpec) -> str:
    """The static leases, one line each. Only these machines get an address, and always this one."""
    lines = []
    for lease in spec.leases:
        name = f"{lease.name}.{spec.domain}".rstrip(".").lower()
        # dnsmasq puts these names into DNS, too; and without a domain some would be read as an order
        shown = "" if lease.name.lower() in RESERVED or _AMBIGUOUS.fullmatch(name) else f",{name}"
        lines.append(f"{lease.mac.lower()},{lease.ip}{shown},infinite\n")
    return "".join(lines)


def dnsmasq_options(spec: RouterSpec) -> str:
    """What a machine is *not* told when this is not its default network: way out, name server, domain."""
    if all(lease.default for lease in spec.leases):
        return ""
    return "".join(f"tag:side,option:{option}\n" for option in ("router", "dns-server", "domain-name"))


def dnsmasq_names(spec: RouterSpec) -> str:
    """The names that DNS answers, as a hosts file: machines, and `data-server` for the router."""
    lines = [(spec.gateway, "data-server")]
    lines += [(lease.ip, lease.name.lower()) for lease in spec.leases if lease.name.lower() not in RESERVED]
    return "".join(f"{ip} {f'{name}.{spec.domain} ' if spec.domain else ''}{name}\n" for ip, name in lines)
