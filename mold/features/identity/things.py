"""Things that people note something about: what the API calls them, and which rows they are.

Tags, details and icons name a thing by `resourcetype`, annotations by `entitytype`; both tables are here.  A name whose
noun this version does not have is refused like one that nobody knows.  What is noted of a thing goes when the thing goes.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from mold.api.command import SETTLED
from mold.api.permit import Access, find
from mold.base.errors import Invalid, NotFound
from mold.store import REGISTRY, Resource, Tx
from mold.store.store import GOES_WITH

TYPES = {
    "UserVm": "virtualmachine", "VirtualMachine": "virtualmachine", "Template": "template", "ISO": "template",
    "Network": "network", "Volume": "volume", "Snapshot": "snapshot", "VMSnapshot": "vmsnapshot", "Backup": "backup",
    "Nic": "nic", "LoadBalancer": "loadbalancerrule", "PortForwardingRule": "portforwardingrule",
    "FirewallRule": "firewallrule", "SecurityGroup": "securitygroup", "SecurityGroupRule": "securitygrouprule",
    "PublicIpAddress": "address", "Project": "project", "Account": "account", "User": "user", "Domain": "domain",
    "Vpc": "vpc", "NetworkACL": "networkacl", "NetworkACLList": "networkacllist", "StaticRoute": "staticroute",
    "RemoteAccessVpn": "remoteaccessvpn", "PrivateGateway": "privategateway", "VpnGateway": "vpngateway",
    "CustomerGateway": "vpncustomergateway", "VpnConnection": "vpnconnection", "SnapshotPolicy": "snapshotpolicy",
    "AutoScaleVmProfile": "autoscalevmprofile", "AutoScaleVmGroup": "autoscalevmgroup",
    "LBStickinessPolicy": "stickinesspolicy", "LBHealthCheckPolicy": "healthcheckpolicy", "Zone": "zone",
    "ServiceOffering": "serviceoffering", "DiskOffering": "diskoffering", "NetworkOffering": "networkoffering",
    "VpcOffering": "vpcoffering", "Storage": "storagepool", "Host": "host", "GuestOs": "ostype",
    "GuestOsCategory": "oscategory", "ObjectStore": "objectstore",
}  # fmt: skip
"""The API's `resourcetype` -> kind."""
ENTITIES = {
    "VM": "virtualmachine", "VOLUME": "volume", "SNAPSHOT": "snapshot", "VM_SNAPSHOT": "vmsnapshot",
    "INSTANCE_GROUP": "instancegroup", "SSH_KEYPAIR": "sshkeypair", "USER_DATA": "userdata", "NETWORK": "network",
    "VPC": "vpc", "PUBLIC_IP_ADDRESS": "address", "VPN_CUSTOMER_GATEWAY": "vpncustomergateway", "TEMPLATE": "template",
    "ISO": "template", "KUBERNETES_CLUSTER": "kubernetescluster", "SERVICE_OFFERING": "serviceoffering",
    "DISK_OFFERING": "diskoffering", "NETWORK_OFFERING": "networkoffering", "ZONE": "zone", "POD": "pod",
    "CLUSTER": "cluster", "HOST": "host", "DOMAIN": "domain", "PRIMARY_STORAGE": "storagepool",
    "SECONDARY_STORAGE": "imagestore", "VR": "router", "SYSTEM_VM": "systemvm",
    "AUTOSCALE_VM_GROUP": "autoscalevmgroup", "OBJECT_STORAGE": "objectstore",
}  # fmt: skip
"""The API's `entitytype` -> kind."""


def known(names: dict[str, str]) -> dict[str, str]:
    """Those of a table whose noun this version has, and whose rows a policy guards."""
    return {n: k for n, k in names.items() if k in REGISTRY and REGISTRY[k].policy is not None}


def kind_of(name: str, names: dict[str, str], parameter: str) -> type[Resource]:
    """The noun of this name; Invalid says which there are."""
    have = known(names)
    kind = next((k for n, k in have.items() if n.lower() == name.lower()), None)
    if kind is None:
        raise Invalid(f"There is nothing of the type {name[:40]}; there are {', '.join(have)}.", parameter=parameter)
    return REGISTRY[kind]


def name_of(kind: str, names: dict[str, str]) -> str:
    """What the API calls a kind."""
    return next((n for n, k in names.items() if k == kind), kind)


def thing(tx: Tx, kind: type[Resource], caller: Any, id: str, access: Access) -> Resource:
    """The thing with this id, if the caller has this access to it; NotFound otherwise."""
    found = find(tx, kind, caller, id, access)
    if found is None:
        raise NotFound(f"There is no {kind.title} {id[:80]}, or you may not do this with it.", id=id[:80])
    return found


NOTES: list[tuple[type[Resource], str, str]] = []
"""Kinds of what is noted of things, and their columns for the thing's kind and id."""


def noting(note: type[Resource], kind_column: str, id_column: str) -> None:
    """Rows of `note` go when the thing they are about goes."""
    NOTES.append((note, kind_column, id_column))


def noted(tx: Tx, note: type[Resource], kind_column: str) -> frozenset[str]:
    """The kinds of which there is any such note; remembered, so that lists of others cost nothing."""

    def read() -> frozenset[str]:
        return frozenset(tx.execute(sa.select(note.c[kind_column]).distinct()).scalars())

    found: frozenset[str] = tx.remembered(("noted", note.kind), (note,), read)
    return found


def _goes(kind: str, note: type[Resource], kind_column: str, id_column: str) -> Any:
    def follow(tx: Tx, id: str) -> None:
        if kind in noted(tx, note, kind_column):
            tx.execute(sa.delete(note.table).where(note.c[kind_column] == kind, note.c[id_column] == id))

    return follow


def _settle() -> None:
    for kind in {*known(TYPES).values(), *known(ENTITIES).values()}:
        for each in NOTES:
            GOES_WITH.setdefault(kind, []).append(_goes(kind, *each))


SETTLED.append(_settle)
