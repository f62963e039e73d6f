"""Stopping, restarting, destroying, recovering and expunging machines."""

from __future__ import annotations

from typing import Any

import msgspec

from mold.api.command import Ctx, command
from mold.base import clock
from mold.base.errors import Conflict, Denied
from mold.base.units import MIB
from mold.features.compute import placement
from mold.features.compute.machines.row import (
    EXPUNGE_DELAY,
    EXPUNGE_INTERVAL,
    STOP_GRACE,
    USERS_EXPUNGE,
    USERS_FORCE,
    VirtualMachine,
    disks_of,
)
from mold.features.compute.machines.start import forget
from mold.features.identity import removal
from mold.features.infra.hosts import Host
from mold.features.storage import pools
from mold.features.storage.pools import StoragePool
from mold.store import Tx
from mold.wire import calls as w
from mold.work import Engine, Job, Operation, ask, change, look, operation, reconciler, step, unattended


def settle_stopped(tx: Tx, vm: VirtualMachine, move: str) -> None:
    """A machine does not run any more: give its host's capacity back."""
    host_id = vm.host_id
    tx.move(vm, move, host_id=None, pod_id=None, last_host_id=host_id, state_since=clock.now())
    if host_id is not None:
        placement.release(tx, host_id, vm.cpu_number * vm.cpu_speed, vm.memory * MIB)


class Halting(Operation):
    """The first half of stopping, destroying and expunging: the machine does not run any more."""

    vm: str
    force: bool = False

    def grace(self, tx: Tx) -> float:
        """Seconds that the guest gets to shut down before the plug is pulled."""
        return 0 if self.force else float(STOP_GRACE.get(tx))

    @step
    def begin(self, tx: Tx) -> Halt | None:
        vm = tx.one(VirtualMachine, self.vm)
        if vm.state not in ("Running", "Unknown"):
            return None
        tx.move(vm, "stop", state_since=clock.now())
        return Halt(host=vm.host_id or "", name=vm.instance_name or "", grace=self.grace(tx))

    @begin.undo
    def back(self, tx: Tx, begin: Halt | None) -> None:
        vm = tx.get(VirtualMachine, self.vm)
        if vm is not None and begin is not None and vm.state == "Stopping":
            tx.move(vm, "stop_failed", state_since=clock.now())

    @step
    async def halt(self, begin: Halt | None) -> None:
        if begin is not None and begin.host:
            call = w.StopMachine(name=begin.name, force=begin.grace == 0, grace=begin.grace)
            await ask(begin.host, call, seconds=begin.grace + 90)

    @halt.undo
    async def see(self, begin: Halt | None) -> None:
        """A stop has failed, or nobody knows: a machine that its host does not run any more is Stopped all the same."""
        if begin is None or not begin.host:
            return
        facts: w.MachineFacts = await ask(begin.host, w.GetMachine(name=begin.name))
        if facts.state not in ("Absent", "Stopped"):
            return

        def settle(tx: Tx) -> None:
            vm = tx.get(VirtualMachine, self.vm)
            if vm is not None and vm.state == "Stopping":
                settle_stopped(tx, vm, "stopped")

        await change(settle)


class Halt(msgspec.Struct):
    """What is to be stopped, where, and how patiently (seconds)."""

    host: str
    name: str
    grace: float


@operation
class StopVm(Halting):
    """Running to Stopped: the guest is asked first, then the plug is pulled."""

    locks = ("vm",)
    answers = (VirtualMachine, "vm")

    @step
    def say(self, tx: Tx, begin: Halt | None) -> None:
        if begin is not None:
            settle_stopped(tx, tx.one(VirtualMachine, self.vm), "stopped")


@command("stopVirtualMachine", answers=VirtualMachine, job=True, event="VM.STOP")
def stop(ctx: Ctx, id: VirtualMachine, forced: bool = False) -> VirtualMachine:
    """Stops a running machine: the guest is asked to shut down, and forced when it does not.

    forced: pull the plug at once
    """
    if id.state in ("Destroyed", "Expunging", "Error"):
        raise Conflict(f"The machine {id.name} is {id.state}; only a running one can be stopped.", state=id.state)
    if forced and ctx.caller.rank < 1 and not USERS_FORCE.get(ctx.tx, account=ctx.caller.account_id):
        raise Denied("Only admins force machines to stop here (allow.user.force.stop.vm).", parameter="forced")
    ctx.start(StopVm(vm=id.id, force=forced))
    return id


@operation
class RebootVm(Operation):
    """Restart the guest where it is; its definition stays as it was at its start."""

    locks = ("vm",)
    answers = (VirtualMachine, "vm")
    vm: str
    force: bool = False

    @step
    def where(self, tx: Tx) -> list[str]:
        vm = tx.one(VirtualMachine, self.vm)
        if vm.state != "Running" or not vm.host_id:
            raise Conflict(f"The machine {vm.name} is {vm.state}; only a running one can be restarted.", state=vm.state)
        return [vm.host_id, vm.instance_name or "", str(STOP_GRACE.get(tx))]

    @step
    async def restart(self, where: list[str]) -> None:
        grace = float(where[2])
        await ask(
            where[0],
            w.RebootMachine(name=where[1], force=self.force, grace=0 if self.force else grace),
            seconds=grace + 90,
        )


@command(
    "rebootVirtualMachine",
    answers=VirtualMachine,
    job=True,
    event="VM.REBOOT",
    refused={"bootintosetup:boolean": "start the machine with it instead"},
)
def reboot(ctx: Ctx, id: VirtualMachine, forced: bool = False) -> VirtualMachine:
    """Restarts a running machine's guest.

    forced: reset it without asking
    """
    if id.state != "Running":
        raise Conflict(f"The machine {id.name} is {id.state}; only a running one can be restarted.", state=id.state)
    ctx.start(RebootVm(vm=id.id, force=forced))
    return id


class Ending(Halting):
    """What is to be destroyed gets no minute to shut down: its disk goes too."""

    def grace(self, tx: Tx) -> float:
        """None at all."""
        return 0


@operation
class DestroyVm(Ending):
    """Stop a machine and mark it destroyed; it can be recovered until it is expunged."""

    locks = ("vm",)
    answers = (VirtualMachine, "vm")

    @step
    def say(self, tx: Tx, begin: Halt | None) -> None:
        vm = tx.one(VirtualMachine, self.vm)
        if begin is not None:
            settle_stopped(tx, vm, "stopped")
        if vm.state != "Destroyed":
            tx.move(vm, "destroy", state_since=clock.now())
        for _disk, volume in disks_of(tx, vm.id):
            if volume.state in ("Ready", "Allocated"):
                tx.move(volume, "destroy", state_since=clock.now())


def _may_expunge(ctx: Ctx) -> bool:
    return ctx.caller.rank >= 1 or ctx.caller.internal or USERS_EXPUNGE.get(ctx.tx, account=ctx.caller.account_id)


@command(
    "destroyVirtualMachine",
    answers=VirtualMachine,
    job=True,
    event="VM.DESTROY",
    refused={"volumeids:list/uuid": "data disks are not offered yet"},
)
def destroy(ctx: Ctx, id: VirtualMachine, expunge: bool = False, forced: bool = False) -> VirtualMachine:
    """Destroys a machine; it can be recovered until it is expunged.

    expunge: for good, at once
    forced: pull the plug, which destroying does anyhow
    """
    if expunge and not _may_expunge(ctx):
        raise Denied(
            "Only admins expunge machines here (allow.user.expunge.recover.vm); leave expunge out.", parameter="expunge"
        )
    if id.delete_protection:
        raise Denied(
            f"The machine {id.name} is protected from deletion; change that with updateVirtualMachine deleteprotection=false."
        )
    if id.state == "Expunging" or (id.state == "Destroyed" and not expunge):
        raise Conflict(f"The machine {id.name} is {id.state} already.", state=id.state)
    ctx.start(ExpungeVm(vm=id.id) if expunge else DestroyVm(vm=id.id, force=forced))
    return id


@command("recoverVirtualMachine", answers=VirtualMachine, event="VM.RECOVER")
def recover(ctx: Ctx, id: VirtualMachine) -> VirtualMachine:
    """Brings a destroyed machine back, stopped."""
    if not _may_expunge(ctx):
        raise Denied("Only admins recover machines here (allow.user.expunge.recover.vm).")
    under_way = ctx.tx.first(Job, Job.c.phase != "over", Job.c.instance_id == id.id)
    if under_way is not None:
        raise Conflict(
            f"The machine {id.name} is being worked on; try again when job {under_way.id} is over.", jobid=under_way.id
        )
    ctx.tx.move(id, "recover", state_since=clock.now())
    for _disk, volume in disks_of(ctx.tx, id.id):
        ctx.tx.move(volume, "recover" if volume.pool_id else "reallocate", state_since=clock.now())
    return id


@operation
class ExpungeVm(Ending):
    """Remove a machine for good: stop it, remove its disks, then its rows."""

    locks = ("vm",)
    answers = (VirtualMachine, "vm")
    patience = 300

    @step
    def doom(self, tx: Tx, begin: Halt | None) -> list[list[str]]:
        """From here on there is no way back."""
        vm = tx.one(VirtualMachine, self.vm)
        if begin is not None:
            settle_stopped(tx, vm, "stopped")
        tx.move(vm, "expunge", state_since=clock.now())
        plan = []
        for _disk, volume in disks_of(tx, vm.id):
            if volume.state != "Expunging":
                tx.move(volume, "expunge", state_since=clock.now())
            if volume.pool_id:
                plan.append([volume.id, volume.pool_id, vm.last_host_id or ""])
        return plan

    @step
    async def remove(self, doom: list[list[str]]) -> None:
        for volume_id, pool_id, last in doom:
            await remove_volume(volume_id, pool_id, last)

    @step
    def erase(self, tx: Tx) -> None:
        forget(tx, tx.one(VirtualMachine, self.vm))


async def remove_volume(volume_id: str, pool_id: str, preferred: str) -> None:
    """Remove a volume's file by a host that reaches it; Unreachable when none is Up."""
    from mold.base.errors import Unreachable

    def plan(tx: Tx) -> tuple[Any, str | None]:
        pool = tx.get(StoragePool, pool_id)
        if pool is None:
            return None, None
        where = (pools.usable_of(pool), Host.c.state == "Up", Host.c.hypervisor == pool.hypervisor)
        host = tx.first(Host, *where, Host.c.id == preferred) or tx.first(Host, *where)
        return pool.spec(), host.id if host else None

    spec, host = await look(plan)
    if spec is None:
        return
    if host is None:
        raise Unreachable("No host that reaches the primary storage is Up.")
    await ask(host, w.RemoveVolume(pool=spec, volume=volume_id))


@command("expungeVirtualMachine", job=True, event="VM.EXPUNGE")
def expunge(ctx: Ctx, id: VirtualMachine) -> VirtualMachine:
    """Removes a destroyed machine for good."""
    if not _may_expunge(ctx):
        raise Denied("Only admins expunge machines here (allow.user.expunge.recover.vm).")
    if id.state not in ("Destroyed", "Expunging", "Error"):
        raise Conflict(f"The machine {id.name} is {id.state}; destroy it first.", state=id.state)
    ctx.start(ExpungeVm(vm=id.id))
    return id


@removal.leaves(VirtualMachine, order=10)
def _of_accounts(tx: Tx, whose: Any, most: int) -> list[tuple[str, Operation]]:
    """A removed account's machines are expunged, protected ones too: whoever removes the account means it."""
    found = tx.find(VirtualMachine, whose(VirtualMachine.c.account_id), limit=most)
    return [(vm.id, ExpungeVm(vm=vm.id)) for vm in found]


@removal.halts
def _running(tx: Tx, whose: Any, most: int) -> list[tuple[str, Operation]]:
    """A disabled account's machines are stopped."""
    up = VirtualMachine.c.state.in_(("Running", "Starting", "Stopping", "Unknown"))
    found = tx.find(VirtualMachine, whose(VirtualMachine.c.account_id), up, limit=most)
    return [(vm.id, StopVm(vm=vm.id)) for vm in found]


def _expunge(tx: Tx, state: str, seconds: float) -> int:
    """Begin to expunge machines that have been in a state for so long; returns how many."""
    engine, c = Engine.here, VirtualMachine.c
    assert engine is not None
    found = unattended(tx, VirtualMachine, c.state == state, c.state_since <= clock.ago(seconds))
    for vm in found:
        engine.enqueue(tx, ExpungeVm(vm=vm.id))
    return len(found)


@reconciler(every=EXPUNGE_INTERVAL)
async def expunge_destroyed() -> int:
    """Machines destroyed longer ago than expunge.delay are expunged."""
    count = 0
    while done := await change(lambda tx: _expunge(tx, "Destroyed", EXPUNGE_DELAY.get(tx))):
        count += done
    return count


@reconciler(every=30)
async def expunge_again() -> int:
    """Machines that stayed Expunging, because their disks could not be removed then, are tried again."""
    return await change(lambda tx: _expunge(tx, "Expunging", 30))
