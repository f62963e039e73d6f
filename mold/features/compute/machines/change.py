"""Changing a machine: names, details, password, SSH keys, user data."""

from __future__ import annotations

from typing import Annotated, Any

import sqlalchemy as sa

from mold.api.answer import Field
from mold.api.command import LATER, Ctx, Details, Owner, Param, command
from mold.api.permit import ROOT
from mold.base import ids
from mold.base.errors import Conflict, Invalid, NotFound, Unsupported
from mold.features.compute.keys import SshKeyPair, UserData, check_userdata
from mold.features.compute.machines.deploy import _json, _kept, _sizes, _tags, free_name
from mold.features.compute.machines.row import PASSWORD_LENGTH, VirtualMachine, disks_of, nics_of
from mold.features.compute.machines.start import MODELS
from mold.features.identity import limits
from mold.features.identity.accounts import Account
from mold.features.infra.guest_os import OsType
from mold.features.infra.offerings import ServiceOffering, ids_of
from mold.features.network import networks
from mold.features.network.networks import Network
from mold.features.storage.templates import Template
from mold.store import Tx
from mold.work import Operation, look, operation, step


@command(
    "updateVirtualMachine",
    answers=VirtualMachine,
    event="VM.UPDATE",
    refused={
        "cleanupextraconfig:boolean": LATER,
        "dhcpoptionsnetworklist:map": LATER,
        "extraconfig:string:5120": LATER,
        "leaseduration:integer": LATER,
        "leaseexpiryaction:string": LATER,
        "securitygroupids:list/uuid": "security groups are not offered yet",
        "securitygroupnames:list": "security groups are not offered yet",
        "instancename:string": "for VMware, which is not offered yet",
    },
)
def update(
    ctx: Ctx,
    id: VirtualMachine,
    name: Annotated[str | None, Param(label=True)] = None,
    displayname: str | None = None,
    group: str | None = None,
    haenable: bool | None = None,
    isdynamicallyscalable: bool | None = None,
    ostypeid: OsType | None = None,
    userdata: Annotated[str | None, Param(length=1048576, secret=True)] = None,
    userdataid: UserData | None = None,
    userdatadetails: Details | None = None,
    details: Details | None = None,
    cleanupdetails: bool = False,
    deleteprotection: bool | None = None,
    displayvm: Annotated[bool | None, Param(roles=ROOT)] = None,
    customid: Annotated[str | None, Param(roles=ROOT)] = None,
) -> VirtualMachine:
    """Changes a machine's names and settings; what the host must know counts from the next start.

    name: its host name
    displayname: what people call it
    cleanupdetails: forget all details
    deleteprotection: true: it cannot be destroyed
    """
    tx = ctx.tx
    if customid is not None and customid.lower() != id.id:
        raise Unsupported(
            "A machine keeps its id: its disks, cards and events refer to it. Choose the id when it is deployed.",
            parameter="customid",
        )
    changes: dict[str, Any] = {
        "name": name,
        "display_name": displayname,
        "group": group,
        "ha_enabled": haenable,
        "is_dynamically_scalable": isdynamicallyscalable,
        "os_type_id": ostypeid.id if ostypeid else None,
        "delete_protection": deleteprotection,
        "display": displayvm,
        "userdata_details": _json(userdatadetails),
    }
    changes = {k: v for k, v in changes.items() if v is not None}
    if (details or cleanupdetails or ostypeid) and id.state not in ("Stopped",):
        raise Conflict(f"The machine {id.name} is {id.state}; stop it to change its details.", state=id.state)
    if cleanupdetails:
        changes["details"] = _kept(ctx, {}, id.details or {})
    elif details:
        changes["details"] = _kept(ctx, details, id.details or {})
    if userdata is not None or userdataid is not None:
        changes.update(_new_userdata(ctx, userdata, userdataid))
    if name is not None and name.lower() != id.name.lower():
        for nic in nics_of(tx, id.id):
            free_name(tx, tx.one(Network, nic.network_id), name)
            tx.set(nic, host_name=name.lower())
    tx.set(id, **changes)
    if {"name", "userdata"} & set(changes):
        _tell_networks(tx, id)
    return id


def _new_userdata(ctx: Ctx, userdata: str | None, kept: UserData | None) -> dict[str, Any]:
    if userdata is not None and kept is not None:
        raise Invalid("Give userdata or userdataid, not both.", parameter="userdata")
    if kept is not None:
        return {"userdata": kept.userdata, "userdata_id": kept.id}
    return {"userdata": check_userdata(ctx, userdata or "") or None, "userdata_id": None}


def _tell_networks(tx: Tx, vm: VirtualMachine) -> None:
    for nic in nics_of(tx, vm.id):
        networks.bump(tx, nic.network_id)


@command("resetUserDataForVirtualMachine", roles=ROOT, answers=VirtualMachine, event="VM.RESETUSERDATA")
def reset_userdata(
    ctx: Ctx,
    owner: Owner,
    id: VirtualMachine,
    userdata: Annotated[str | None, Param(length=1048576, secret=True)] = None,
    userdataid: UserData | None = None,
    userdatadetails: Details | None = None,
) -> VirtualMachine:
    """Gives a stopped machine other user data."""
    if {"account", "projectid"} & ctx.given and id.account_id != owner.account_id:
        raise NotFound(f"The account {owner.account.name} has no machine {id.id}.", id=id.id)
    if id.state != "Stopped":
        raise Conflict(f"The machine {id.name} is {id.state}; stop it first.", state=id.state)
    if userdata is None and userdataid is None:
        raise Invalid("Give userdata or userdataid.", parameter="userdata")
    ctx.tx.set(id, **_new_userdata(ctx, userdata, userdataid), userdata_details=_json(userdatadetails))
    _tell_networks(ctx.tx, id)
    return id


@operation
class TellNetworks(Operation):
    """A machine's networks learn what it will find at its next boot."""

    locks = ("vm",)
    answers = (VirtualMachine, "vm")
    vm: str
    reveals: bool = False

    def tells(self, tx: Tx) -> dict[str, Any]:
        """The new password, for whoever asked for it."""
        vm = tx.get(VirtualMachine, self.vm) if self.reveals else None
        return {"password": vm.password} if vm is not None and vm.password else {}

    @step
    def bump(self, tx: Tx) -> None:
        _tell_networks(tx, tx.one(VirtualMachine, self.vm))

    @step
    async def apply(self) -> None:
        served = await look(
            lambda tx: [
                n.network_id
                for n in nics_of(tx, self.vm)
                if tx.one(networks.Network, n.network_id).state in ("Implemented", "Implementing")
            ]
        )
        for network in served:
            await networks.apply(network)


@command(
    "resetSSHKeyForVirtualMachine",
    answers=VirtualMachine,
    envelope="resetSSHKeyforvirtualmachineresponse",
    job=True,
    event="VM.RESETSSHKEY",
)
def reset_keys(
    ctx: Ctx, owner: Owner, id: VirtualMachine, keypair: str | None = None, keypairs: list[str] | None = None
) -> VirtualMachine:
    """Gives a stopped machine other SSH keys; it takes them at its next boot."""
    if {"account", "projectid"} & ctx.given and id.account_id != owner.account_id:
        raise NotFound(f"The account {owner.account.name} has no machine {id.id}.", id=id.id)
    if id.state != "Stopped":
        raise Conflict(f"The machine {id.name} is {id.state}; stop it first.", state=id.state)
    names = [*(keypairs or []), *([keypair] if keypair else [])]
    if not names:
        raise Invalid("Give keypair or keypairs.", parameter="keypairs")
    found = []
    for each in dict.fromkeys(names):
        key = ctx.tx.first(SshKeyPair, SshKeyPair.c.name == each, SshKeyPair.c.account_id == id.account_id)
        if key is None:
            raise NotFound(f"There is no SSH key pair {each} of the machine's account.", name=each)
        found.append(key)
    ctx.tx.set(id, keypairs=",".join(k.name for k in found), publickeys=[k.publickey for k in found])
    ctx.start(TellNetworks(vm=id.id))
    return id


@command("resetPasswordForVirtualMachine", answers=VirtualMachine, job=True, event="VM.RESETPASSWORD")
def reset_password(
    ctx: Ctx, id: VirtualMachine, password: Annotated[str | None, Param(secret=True)] = None
) -> VirtualMachine:
    """Gives a stopped machine a new password; it takes it at its next boot. Read it with getVMPassword.

    password: the new password; default: a random one
    """
    if not id.password_enabled:
        raise Invalid("The machine's template does not support passwords.", parameter="id")
    if id.state != "Stopped":
        raise Conflict(f"The machine {id.name} is {id.state}; stop it first.", state=id.state)
    if password is not None and (not 1 <= len(password) <= 128 or any(ord(c) < 33 or ord(c) > 126 for c in password)):
        raise Invalid("A password must have 1 to 128 printable ASCII characters without spaces.", parameter="password")
    ctx.tx.set(id, password=password or ids.password(PASSWORD_LENGTH.get(ctx.tx)), password_serial=ids.token(8))
    ctx.start(TellNetworks(vm=id.id, reveals=True))
    return id


@command(
    "getVMPassword", shape="object", key="password", reads=True, fields=(Field("encryptedpassword"), Field("password"))
)
def get_password(ctx: Ctx, id: Annotated[VirtualMachine, Param(access="operate")]) -> dict[str, Any]:
    """Gives a machine's password."""
    if not id.password:
        raise NotFound(f"The machine {id.name} has no password from the cloud.", id=id.id)
    return {"password": {"password": id.password}}


@command(
    "getVirtualMachineUserData",
    shape="object",
    key="virtualmachineuserdata",
    reads=True,
    fields=(Field("virtualmachineid"), Field("userdata")),
)
def get_userdata(ctx: Ctx, virtualmachineid: Annotated[VirtualMachine, Param(access="operate")]) -> dict[str, Any]:
    """Gives a machine's user data, base64."""
    return {
        "virtualmachineuserdata": {"virtualmachineid": virtualmachineid.id, "userdata": virtualmachineid.userdata or ""}
    }


@command(
    "changeServiceForVirtualMachine",
    answers=VirtualMachine,
    event="VM.UPGRADE",
    refused=dict.fromkeys(
        ("automigrate:boolean", "shrinkok:boolean", "miniops:long", "maxiops:long"),
        "not offered yet: the root disk stays as it is",
    ),
)
def change_offering(
    ctx: Ctx, id: VirtualMachine, serviceofferingid: ServiceOffering, details: Details | None = None
) -> VirtualMachine:
    """Gives a stopped machine another compute offering; it counts from the next start.

    details: cpuNumber, cpuSpeed and memory for customized offerings
    """
    tx, vm, new = ctx.tx, id, serviceofferingid
    if vm.state != "Stopped":
        raise Conflict(f"The machine {vm.name} is {vm.state}; stop it first.", state=vm.state)
    old = tx.one(ServiceOffering, vm.service_offering_id)
    if new.state != "Active" or new.is_system or (new.zone_ids and vm.zone_id not in ids_of(new.zone_ids)):
        raise Invalid(f"The offering {new.name} cannot be used for this machine.", parameter="serviceofferingid")
    if new.storage_type != old.storage_type:
        raise Invalid(
            f"The machine's disks are on {old.storage_type} storage, and {new.name} is for {new.storage_type}.",
            parameter="serviceofferingid",
        )
    template = tx.one(Template, vm.template_id)
    cores, mhz, memory = _sizes(new, details)
    account = tx.one(Account, vm.account_id)
    limits.give_back(tx, account.id, host_tags=vm.host_tags, user_vm=1, cpu=vm.cpu_number, memory=vm.memory)
    limits.reserve(tx, account, host_tags=_tags(new, template), user_vm=1, cpu=cores, memory=memory)
    moved = tx.execute(
        sa.update(VirtualMachine.table)
        .where(VirtualMachine.c.id == vm.id, VirtualMachine.c.state == "Stopped")
        .values(service_offering_id=new.id)
    ).rowcount
    if not moved:
        raise Conflict(f"The machine {vm.name} is being started; stop it first.")
    for _, volume in disks_of(tx, vm.id):
        if volume.service_offering_id == old.id:
            tx.set(volume, service_offering_id=new.id)
    return tx.set(
        vm,
        service_offering_id=new.id,
        cpu_number=cores,
        cpu_speed=mhz,
        memory=memory,
        host_tags=_tags(new, template),
        planner=new.deployment_planner,
        ha_enabled=new.offer_ha,
    )


BUS_NAMES = ["virtio", "scsi", "ide", "sata", "osdefault"]
OPTIONS: dict[str, dict[str, list[str]]] = {
    "uservm": {
        "rootDiskController": BUS_NAMES,
        "dataDiskController": BUS_NAMES,
        "nicAdapter": sorted(MODELS),
    },
}
OPTIONS["template"] = OPTIONS["vmtemplate"] = OPTIONS["uservm"]
OPTIONS["virtualmachine"] = OPTIONS["uservm"]


@command("listDetailOptions", shape="object", key="detailoptions", reads=True, fields=(Field("details", "map"),))
def detail_options(ctx: Ctx, resourcetype: str, resourceid: str | None = None) -> dict[str, Any]:
    """Lists the details that things of a type may have, with the values that are understood.

    resourcetype: UserVm or Template
    resourceid: id of one thing; the options are the same for all
    """
    return {"detailoptions": {"details": OPTIONS.get(resourcetype.strip().lower(), {})}}
