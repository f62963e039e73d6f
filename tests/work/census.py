"""The census of a simulated cloud: its rows, what its hosts hold, and whether the two agree to the last byte."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from mold.base.units import MIB
from mold.features.compute.machines.row import Nic, VirtualMachine, disks_of
from mold.features.edge.routers import Router
from mold.features.identity.accounts import Account
from mold.features.identity.limits import owners
from mold.features.identity.projects import Member
from mold.features.infra.hosts import Host
from mold.features.network.addresses import Address
from mold.features.network.networks import Network
from mold.features.storage.pools import StoragePool
from mold.features.storage.stores import ImageStore
from mold.features.storage.templates import Placed, Template
from mold.features.storage.volumes import Volume
from mold.plugins.simulator import Simulator
from mold.store import Tx
from mold.store.resource import metadata
from mold.work.job import held

GROWING = frozenset(
    {"event", "asyncjob", "session", "lease", "link", "pulse", "alembic_version", "certificate", "usageevent", "alert"}
)
"""Tables that legitimately tell of what was tried."""
VOLATILE = frozenset(
    {"state_since", "serial", "applied", "idle_since", "last_host_id", "attached", "number", "created", "status",
     "password_serial", "boot_id", "allocated", "disk_size_used"}
)  # fmt: skip
"""Columns that may differ between two worlds that are the same to everybody who uses them."""
SETTLED: dict[str, tuple[str, ...]] = {
    "virtualmachine": ("Running", "Stopped", "Destroyed"),
    "volume": ("Allocated", "Ready", "Destroy"),
    "network": ("Allocated", "Implemented"),
    "router": ("Running",),
    "host": ("Up",),
    "template": ("Ready", "Failed", "NotUploaded"),
    "placed": ("Ready", "Wanted"),
    "storagepool": ("Up",),
    "imagestore": ("Up",),
    "project": ("Active", "Suspended"),
}
"""States that a thing may rest in; all others are on the way to somewhere."""


@dataclass
class Census:
    """What there is. `faults` are contradictions; `rows` and `world` are compared between two censuses."""

    rows: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    world: dict[str, Any] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    def shape(self) -> dict[str, Any]:
        """How many rows of each kind in which states, and how much of what on the hosts: the same for equal deeds."""
        out: dict[str, Any] = {
            name: Counter(str(r.get("state", "")) for r in rows.values()) for name, rows in self.rows.items() if rows
        }
        out["world"] = {k: len(v) if isinstance(v, list) else v for k, v in self.world.items()}
        return out


def differences(a: Census, b: Census) -> list[str]:
    """What is not the same in two censuses, in words."""
    out = []
    for table in sorted({*a.rows, *b.rows}):
        left, right = a.rows.get(table, {}), b.rows.get(table, {})
        out += [f"{table} {k} is gone" for k in sorted(left.keys() - right.keys())]
        out += [f"{table} {k} is new: {right[k]}" for k in sorted(right.keys() - left.keys())]
        for key in left.keys() & right.keys():
            for column in left[key]:
                if left[key][column] != right[key].get(column):
                    out.append(f"{table} {key} {column}: {left[key][column]!r} became {right[key].get(column)!r}")
    for what in sorted({*a.world, *b.world}):
        if a.world.get(what) != b.world.get(what):
            out.append(f"world {what}: {a.world.get(what)} became {b.world.get(what)}")
    return out


def take(tx: Tx, simulator: Simulator) -> Census:
    """Count everything, and compare what is counted in two ways."""
    found = Census()
    for table in metadata.sorted_tables:
        if table.name in GROWING:
            continue
        keys = [c.name for c in table.primary_key] if "id" not in table.c else ["id"]
        found.rows[table.name] = {
            ":".join(str(row[k]) for k in keys): {k: v for k, v in row.items() if k not in VOLATILE}
            for row in (dict(r._mapping) for r in tx.execute(sa.select(table)))
        }
    counts = found.rows.pop("usage_count")
    found.rows["usage_count"] = {k: r for k, r in counts.items() if r["used"] or r["most"] is not None}
    found.world = {
        "machines": sorted(m for b in simulator.boxes.values() for m in b.machines),
        "routers": sorted(r for b in simulator.boxes.values() for r in b.routers),
        "volumes": sorted(v for s in simulator.stores.values() for v in s.volumes),
        "images": sorted(f"{n}/{i}" for n, s in simulator.stores.items() for i in s.images),
        "stores": sorted(simulator.stores),
    }
    for check in (_states, _capacity, _usage, _machines, _storage, _networks):
        found.faults += check(tx, simulator)
    return found


def _states(tx: Tx, simulator: Simulator) -> list[str]:
    out = [f"lock held: {k}" for k in tx.execute(sa.select(held.c.key)).scalars()]
    for name, resting in SETTLED.items():
        table = metadata.tables[name]
        for row in tx.execute(sa.select(table.c.id, table.c.state).where(table.c.state.not_in(resting))):
            out.append(f"{name} {row.id} is {row.state}")
    return out


def _capacity(tx: Tx, simulator: Simulator) -> list[str]:
    out = []
    vms, volumes = tx.find(VirtualMachine), tx.find(Volume)
    for host in tx.find(Host):
        mine = [vm for vm in vms if vm.host_id == host.id]
        wanted = (sum(v.cpu_number * v.cpu_speed for v in mine), sum(v.memory * MIB for v in mine), len(mine))
        if (host.cpu_reserved, host.memory_reserved, host.machines) != wanted:
            out.append(f"host {host.name} has reserved {host.cpu_reserved, host.memory_reserved, host.machines}: {wanted}")
    for pool in tx.find(StoragePool):
        wanted_bytes = sum(v.size for v in volumes if v.pool_id == pool.id)
        if pool.reserved != wanted_bytes:
            out.append(f"pool {pool.name} has reserved {pool.reserved}: {wanted_bytes}")
    return out


def _usage(tx: Tx, simulator: Simulator) -> list[str]:
    wanted: dict[tuple[str, str], int] = defaultdict(int)
    accounts = {a.id: a for a in tx.find(Account)}

    def count(account_id: str, **amounts: int) -> None:
        for owner, _ in owners(tx, accounts[account_id]):
            for kind, amount in amounts.items():
                wanted[owner, kind] += amount

    for vm in tx.find(VirtualMachine):
        count(vm.account_id, user_vm=1, cpu=vm.cpu_number, memory=vm.memory)
    for volume in tx.find(Volume):
        count(volume.account_id, volume=1, primary_storage=volume.size)
    for network in tx.find(Network):
        count(network.account_id, network=1)
    for template in tx.find(Template):
        count(template.account_id, template=1, secondary_storage=template.physical_size)
    for address in tx.find(Address, Address.c.state == "Allocated"):
        if address.account_id:
            count(address.account_id, public_ip=1)
    for member in tx.find(Member, Member.c.role == "Admin"):
        count(member.account_id, project=1)
    table = metadata.tables["usage_count"]
    have = {(r.owner, r.resource): r.used for r in tx.execute(sa.select(table)) if r.used}
    full = {k: n for k, n in wanted.items() if n}
    return [f"count of {k}: {have.get(k, 0)}, there are {full.get(k, 0)}" for k in {*have, *full} if have.get(k) != full.get(k)]


def _machines(tx: Tx, simulator: Simulator) -> list[str]:
    runs = {(b, m) for b, box in simulator.boxes.items() for m in box.machines}
    rows = {(vm.host_id, vm.instance_name) for vm in tx.find(VirtualMachine, VirtualMachine.c.state == "Running")}
    out = [f"machine {m} runs on {h} without a row" for h, m in runs - rows]
    out += [f"machine {m} does not run on {h}" for h, m in rows - runs]
    for vm in tx.find(VirtualMachine):
        if vm.state != "Running" and vm.host_id is not None:
            out.append(f"machine {vm.name} is {vm.state} and still on host {vm.host_id}")
        if not disks_of(tx, vm.id):
            out.append(f"machine {vm.name} has no disk")
    ids = {vm.id for vm in tx.find(VirtualMachine)}
    out += [f"card {n.id} of no machine" for n in tx.find(Nic) if n.machine_id not in ids]
    return out


def _storage(tx: Tx, simulator: Simulator) -> list[str]:
    made = {(v.pool_id, v.id) for v in tx.find(Volume) if v.path}
    there = {(n, v) for n, s in simulator.stores.items() for v in s.volumes}
    out = [f"volume {v} lies on {p} without a row" for p, v in there - made]
    out += [f"volume {v} is not on {p}" for p, v in made - there]
    placed = {(p.pool_id, p.template_id) for p in tx.find(Placed)}
    placed |= {(t.store_id, t.id) for t in tx.find(Template, Template.c.state == "Ready")}
    images = {(n, i) for n, s in simulator.stores.items() for i in s.images}
    out += [f"image {i} lies on {p} without a row" for p, i in images - placed]
    # A copy that is only wanted may be there or not: its row stands for what a crash may have left, until it is Ready.
    perhaps = {(p.pool_id, p.template_id) for p in tx.find(Placed, Placed.c.state == "Wanted")}
    out += [f"image {i} is not on {p}" for p, i in placed - images - perhaps]
    known = {p.id for p in tx.find(StoragePool)} | {s.id for s in tx.find(ImageStore)}
    out += [f"storage {s} is known to no row" for s in simulator.stores.keys() - known]
    return out


def _networks(tx: Tx, simulator: Simulator) -> list[str]:
    rows = {(r.host_id, r.id) for r in tx.find(Router)}
    there = {(b, r) for b, box in simulator.boxes.items() for r in box.routers}
    out = [f"router {r} runs on {h} without a row" for h, r in there - rows]
    out += [f"router {r} does not run on {h}" for h, r in rows - there]
    for network in tx.find(Network):
        router = tx.first(Router, Router.c.network_id == network.id)
        if (network.state == "Implemented") != (router is not None):
            out.append(f"network {network.name} is {network.state}, its router is {router}")
        if router is None:
            continue
        if network.applied < network.serial:
            out.append(f"network {network.name} is at serial {network.serial}, its router at {network.applied}")
        if router.host_id in simulator.boxes and router.id in simulator.boxes[router.host_id].routers:
            leases = {x.ip for x in simulator.boxes[router.host_id].routers[router.id].leases}
            cards = {n.ip for n in tx.find(Nic, Nic.c.network_id == network.id)}
            gone = {
                n.ip
                for n in tx.find(Nic, Nic.c.network_id == network.id)
                if tx.one(VirtualMachine, n.machine_id).state in ("Destroyed", "Expunging")
            }
            if not cards - gone <= leases <= cards:
                out.append(f"router of {network.name} serves {sorted(leases)}, machines have {sorted(cards)}")
    taken = {r.address_id for r in tx.find(Router) if r.address_id}
    held_addresses = {a.id for a in tx.find(Address, Address.c.state == "Allocated")}
    out += [f"address {a} is allocated to nobody" for a in held_addresses - taken]
    return out
