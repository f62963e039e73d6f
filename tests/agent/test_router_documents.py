"""What a router's document becomes, compared with goldens; and that hostile documents are refused.

`MOLD_GOLDEN=write` rewrites the goldens; read the difference before committing it.
"""

from __future__ import annotations

import base64
import os
from pathlib import Path

import msgspec
import pytest

from mold.agent import router_documents as documents
from mold.agent import segments
from mold.base.errors import Invalid
from mold.wire.calls import LeaseSpec, PublicSpec, RouterSpec, SegmentSpec

GOLDEN = Path(__file__).parent / "golden"
VXLAN = SegmentSpec(method="vxlan", tag=1234, label="br0")
PUBLIC = PublicSpec(
    segment=SegmentSpec(method="untagged", label="pub0"), mac="06:00:00:00:00:01", ip="203.0.113.10", prefix=24, gateway="203.0.113.1"
)
LEASES = [
    LeaseSpec(mac="02:00:00:00:00:0A", ip="10.1.1.10", name="Web-1"),
    LeaseSpec(mac="02:00:00:00:00:0b", ip="10.1.1.11", name="db", default=False),
    LeaseSpec(mac="02:00:00:00:00:0c", ip="10.1.1.12", name="5h"),
    LeaseSpec(mac="02:00:00:00:00:0d", ip="10.1.1.13", name="ignore"),
    LeaseSpec(mac="02:00:00:00:00:0e", ip="10.1.1.14", name="data-server"),
]
FULL = RouterSpec(
    id="5c8a4b0e-8f5c-4f0e-9d6d-0a4c6f5b1a11", number=7, serial=3, segment=VXLAN, mac="02:00:00:00:00:01", gateway="10.1.1.1", prefix=24,
    domain="cs7.example.internal", dns=["9.9.9.9", "1.1.1.1"], leases=LEASES, public=PUBLIC,
)  # fmt: skip
VARIANTS = {
    "full": FULL,
    "deny": msgspec.structs.replace(FULL, egress="deny"),
    "routed": msgspec.structs.replace(FULL, services=("Dhcp", "Dns", "UserData")),
    "shared": msgspec.structs.replace(FULL, public=None, domain="", services=("Dhcp", "UserData"), prefix=20),
    "bare": msgspec.structs.replace(FULL, leases=[], dns=[]),
}


def compare(name: str, text: str) -> None:
    """Compare with a golden file, or write it."""
    path = GOLDEN / name
    if os.environ.get("MOLD_GOLDEN") == "write":
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    assert text == path.read_text()


@pytest.mark.parametrize("variant", VARIANTS)
def test_ruleset(variant: str) -> None:
    compare(f"{variant}.nft", documents.ruleset(documents.checked(VARIANTS[variant])))


@pytest.mark.parametrize("variant", VARIANTS)
def test_dnsmasq_files(variant: str) -> None:
    spec = documents.checked(VARIANTS[variant])
    compare(f"{variant}.conf", documents.dnsmasq_conf(spec, "/folder", 1450, "dnsmasq", "nogroup"))
    compare(f"{variant}.hosts", documents.dnsmasq_hosts(spec))
    compare(f"{variant}.options", documents.dnsmasq_options(spec))
    compare(f"{variant}.names", documents.dnsmasq_names(spec))


def test_a_name_that_dnsmasq_would_obey_never_stands_alone() -> None:
    for name in ("5h", "123", "ignore", "infinite", "IGNORE", "7w"):
        for domain in ("", "cs.internal"):
            spec = msgspec.structs.replace(FULL, domain=domain, leases=[msgspec.structs.replace(LEASES[0], name=name)])
            fields = documents.dnsmasq_hosts(documents.checked(spec)).strip().split(",")
            assert name.lower() not in fields[:-1]
            assert fields[-1] == "infinite" and len(fields) == (4 if domain else 3)


def test_no_machine_takes_the_name_of_the_metadata_service() -> None:
    names = documents.dnsmasq_names(FULL)
    assert "data-server" not in documents.dnsmasq_hosts(FULL)
    assert "10.1.1.14" not in names
    assert [line for line in names.splitlines() if "data-server" in line] == [
        "10.1.1.1 data-server.cs7.example.internal data-server"
    ]


def test_no_tag_among_the_hosts() -> None:
    """dnsmasq to 2.90 frees such tags at SIGHUP while they are in use, and crashes."""
    assert "set:" not in documents.dnsmasq_hosts(FULL)
    assert "dhcp-mac=set:side,02:00:00:00:00:0b\n" in documents.dnsmasq_conf(FULL, "/folder", 1450, "nobody", "nogroup")


HOSTILE_NAMES = ["", "a b", "a\nserver=6.6.6.6", "a,set:side", "-a", "a-", "a.b", "ä", "x" * 64, "a;drop", 'a"', "a\0", "a#", "a\r", "..", "a/b"]
LEASE = LEASES[0]


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_hostile_host_names_are_refused(name: str) -> None:
    with pytest.raises(Invalid):
        documents.checked(msgspec.structs.replace(FULL, leases=[msgspec.structs.replace(LEASE, name=name)]))


@pytest.mark.parametrize(
    "change",
    [
        {"mac": "02:00:00:00:00:0a,ignore"}, {"mac": "01:00:5e:00:00:01"}, {"mac": "*:*:*:*:*:*"}, {"mac": "02:00:00:00:00:0a\n"}, {"mac": ""},
        {"mac": "02:00:00:00:00:01"}, {"ip": "10.1.1.1"}, {"ip": "10.1.1.0"}, {"ip": "10.1.1.255"}, {"ip": "10.1.2.5"}, {"ip": "10.1.1.5/24"},
        {"ip": "10.1.1.5 10.1.1.6"}, {"ip": "::1"}, {"ip": "10.1.1.10\n"}, {"metadata": {"../../etc": "x"}}, {"metadata": {"a/b": "x"}},
        {"metadata": {"": "x"}}, {"metadata": {"big": "x" * 70_000}}, {"userdata": "not base64!"}, {"userdata": "A" * 1_500_000},
        {"password": "a\r\nb"}, {"password": "x" * 2000},
    ],
)  # fmt: skip
def test_hostile_leases_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(Invalid):
        documents.checked(msgspec.structs.replace(FULL, leases=[msgspec.structs.replace(LEASE, **change)]))


@pytest.mark.parametrize(
    "change",
    [
        {"id": "../x"}, {"id": ""}, {"id": "a/b"}, {"id": ".hidden"}, {"number": 0}, {"number": 100_000_000}, {"number": -1}, {"mac": "x"},
        {"gateway": "10.1.1.0"}, {"gateway": "10.1.1.1\n"}, {"prefix": 31}, {"prefix": 0}, {"domain": "a..b"}, {"domain": "a/b"},
        {"domain": "x\ndhcp-script=/bin/sh"}, {"domain": "a." * 100 + "b"}, {"dns": ["8.8.8.8@eth0"]}, {"dns": ["8.8.8.8\n"]},
        {"dns": ["224.0.0.1"]}, {"dns": ["1.1.1.1"] * 9}, {"egress": "accept; }"}, {"mtu": 100}, {"mtu": 100_000},
        {"segment": SegmentSpec(method="gre", tag=1)}, {"segment": SegmentSpec(method="vlan", tag=4095)},
        {"segment": SegmentSpec(method="vxlan", tag=0)}, {"segment": SegmentSpec(method="untagged", label="a b")},
        {"segment": SegmentSpec(method="untagged", label="../../x")}, {"segment": SegmentSpec(method="untagged", label="x" * 16)},
        {"segment": SegmentSpec(method="untagged", label="-batch")}, {"leases": [LEASE, LEASE]},
        {"leases": [LEASE, msgspec.structs.replace(LEASE, mac="02:00:00:00:00:ff")]},
        {"public": msgspec.structs.replace(PUBLIC, ip="10.1.1.77")}, {"public": msgspec.structs.replace(PUBLIC, ip="203.0.113.10 accept")},
        {"public": msgspec.structs.replace(PUBLIC, gateway="dev lo")}, {"public": msgspec.structs.replace(PUBLIC, prefix=33)},
        {"public": msgspec.structs.replace(PUBLIC, mac="ff:ff:ff:ff:ff:ff")},
    ],
)  # fmt: skip
def test_hostile_documents_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(Invalid):
        documents.checked(msgspec.structs.replace(FULL, **change))


def test_every_name_of_a_device_fits_the_kernel() -> None:
    for method in ("vlan", "vxlan"):
        names = segments._names(method, 0xFFFFFF, "some-long-label")
        assert all(len(name) <= 15 for name in names) and len(set(names)) == 2


def test_vxlan_groups_are_distinct_and_private() -> None:
    assert segments.group_of(1) == "239.0.0.1"
    assert segments.group_of(0xFFFFFF) == "239.255.255.255"
    assert len({segments.group_of(tag) for tag in range(1, 70_000)}) == 69_999


def test_userdata_of_the_largest_size_is_accepted() -> None:
    big = base64.b64encode(b"x" * documents.USERDATA_MAX).decode()
    documents.checked(msgspec.structs.replace(FULL, leases=[msgspec.structs.replace(LEASE, userdata=big)]))
