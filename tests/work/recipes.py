"""One recipe per operation: how to get a world in which it is wanted, and how to want it.

`prepare` makes the world out of the small cloud of `cloud.build` and returns the request (command and parameters), or
a coroutine function that wants the operation itself.  A new operation needs a line here; a test says so when it has none.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from mails import MailServer
from workcloud import Cloud, machine, network, template

from mold.base import clock
from mold.features.care.usage import GenerateUsage, UsageEvent
from mold.features.care.webhooks.deliveries import DeliverWebhook, WebhookDelivery
from mold.features.care.webhooks.hooks import Webhook
from mold.features.identity.forgotten import MailResetLink
from mold.features.infra.certificates import Certificate
from mold.features.network.networks import ShutNetwork
from mold.store import Tx

Request = tuple[str, dict[str, Any]]
Want = Request | Callable[[Cloud], Awaitable[None]]


@dataclass(frozen=True)
class Recipe:
    """How to come to an operation.

    `grows`: tables and parts of the world that may hold more after a failure (caches, a row that says why).
    `idle`: networks without machines are to be shut first, as happens after network.gc.wait.
    `once`: what it works on lives in the manager's memory, so that after a kill, or at a second try, it fails and says so.
    """

    operation: str
    prepare: Callable[[Cloud], Awaitable[Want]]
    name: str
    grows: tuple[str, ...] = ()
    idle: bool = False
    once: bool = False


RECIPES: dict[str, Recipe] = {}
HALTED = ("virtualmachine", "world machines", "host")
"""What has been pulled the plug of does not run again when the rest fails: it is Stopped, and the books say so."""


def recipe(
    operation: str, *, grows: tuple[str, ...] = (), idle: bool = False, once: bool = False
) -> Callable[[Any], Any]:
    """Register a recipe for an operation."""

    def keep(prepare: Any) -> Any:
        RECIPES[prepare.__name__] = Recipe(operation, prepare, prepare.__name__, grows, idle, once)
        return prepare

    return keep


async def vm(cloud: Cloud, name: str = "one", **other: Any) -> str:
    """A machine; its id."""
    made = await cloud.done("deployVirtualMachine", **machine(cloud.ids, name, **other))
    id: str = made["id"]
    return id


async def stopped(cloud: Cloud) -> str:
    """A machine that ran and is stopped."""
    id = await vm(cloud)
    await cloud.done("stopVirtualMachine", id=id)
    return id


# -- machines ------------------------------------------------------------------------------------------------------------


@recipe("StartVm")
async def deploy(cloud: Cloud) -> Want:
    await vm(cloud)
    return "deployVirtualMachine", machine(cloud.ids, "two")


@recipe("StartVm", grows=("placed", "images"), idle=True)
async def deploy_the_first_on_a_network(cloud: Cloud) -> Want:
    return "deployVirtualMachine", machine(cloud.ids, "one")


@recipe("StartVm")
async def start(cloud: Cloud) -> Want:
    await vm(cloud, "other")
    return "startVirtualMachine", {"id": await stopped(cloud)}


@recipe("CreateVm")
async def deploy_without_starting(cloud: Cloud) -> Want:
    return "deployVirtualMachine", machine(cloud.ids, "one", startvm="false")


@recipe("StopVm")
async def stop(cloud: Cloud) -> Want:
    return "stopVirtualMachine", {"id": await vm(cloud)}


@recipe("RebootVm")
async def reboot(cloud: Cloud) -> Want:
    return "rebootVirtualMachine", {"id": await vm(cloud)}


@recipe("DestroyVm", grows=HALTED)
async def destroy(cloud: Cloud) -> Want:
    await vm(cloud, "other")
    return "destroyVirtualMachine", {"id": await vm(cloud)}


@recipe("ExpungeVm", grows=HALTED)
async def expunge(cloud: Cloud) -> Want:
    await vm(cloud, "other")
    return "destroyVirtualMachine", {"id": await vm(cloud), "expunge": "true"}


@recipe("ExpungeVm")
async def expunge_a_destroyed_one(cloud: Cloud) -> Want:
    await vm(cloud, "other")
    id = await vm(cloud)
    await cloud.done("destroyVirtualMachine", id=id)
    return "expungeVirtualMachine", {"id": id}


@recipe("TellNetworks")
async def reset_password(cloud: Cloud) -> Want:
    await vm(cloud, "other")
    return "resetPasswordForVirtualMachine", {"id": await stopped(cloud), "password": "the-new-one"}


# -- networks ------------------------------------------------------------------------------------------------------------


@recipe("ApplyNetwork")
async def update_network(cloud: Cloud) -> Want:
    await vm(cloud)
    return "updateNetwork", {"id": cloud.ids["network"], "networkdomain": "other.internal"}


@recipe("RestartNetwork")
async def restart_network(cloud: Cloud) -> Want:
    await vm(cloud)
    return "restartNetwork", {"id": cloud.ids["network"], "cleanup": "true"}


@recipe("RebootRouter")
async def reboot_router(cloud: Cloud) -> Want:
    await vm(cloud)
    router = (await cloud.done("listRouters", listall="true"))["router"][0]["id"]
    return "rebootRouter", {"id": router}


@recipe("RemoveNetwork")
async def remove_network(cloud: Cloud) -> Want:
    id = await vm(cloud)
    await cloud.done("destroyVirtualMachine", id=id, expunge="true")
    return "deleteNetwork", {"id": cloud.ids["network"]}


@recipe("RemoveNetwork")
async def remove_network_that_never_served(cloud: Cloud) -> Want:
    return "deleteNetwork", {"id": await network(cloud.done, cloud.ids, "idle")}


@recipe("ShutNetwork")
async def shut_network(cloud: Cloud) -> Want:
    from mold.features.network.networks import Network

    id = await vm(cloud)
    await cloud.done("stopVirtualMachine", id=id)
    idle = cloud.ids["network"]
    await cloud.engine.writing(lambda tx: tx.set(tx.one(Network, idle), idle_since="2020-01-01T00:00:00+0000"))

    async def want(cloud: Cloud) -> None:
        await cloud.engine.writing(lambda tx: cloud.engine.enqueue(tx, ShutNetwork(network=idle)))

    return want


@recipe("ChangePhysicalNetwork")
async def change_physical_network(cloud: Cloud) -> Want:
    return "updatePhysicalNetwork", {"id": cloud.ids["physical"], "vlan": "1000-3998"}


@recipe("ChangeProvider")
async def disable_the_router(cloud: Cloud) -> Want:
    found = (await cloud.done("listNetworkServiceProviders", physicalnetworkid=cloud.ids["physical"]))
    return "updateNetworkServiceProvider", {"id": found["networkserviceprovider"][0]["id"], "state": "Disabled"}


@recipe("ChangeElement")
async def configure_router(cloud: Cloud) -> Want:
    (element,) = (await cloud.done("listVirtualRouterElements"))["virtualrouterelement"]
    return "configureVirtualRouterElement", {"id": element["id"], "enabled": "false"}


@recipe("ChangeTrafficType")
async def add_traffic_type(cloud: Cloud) -> Want:
    return "addTrafficType", {"physicalnetworkid": cloud.ids["physical"], "traffictype": "Storage"}


# -- storage -------------------------------------------------------------------------------------------------------------


@recipe("FetchTemplate", grows=("template", "usage_count"))
async def register_template(cloud: Cloud) -> Want:
    return "registerTemplate", {
        "name": "new", "displaytext": "new", "url": "http://images.invalid/new.qcow2", "format": "QCOW2",
        "hypervisor": "Simulator", "zoneid": cloud.ids["zone"],
    }  # fmt: skip


@recipe("ReceiveTemplate", grows=("template",), once=True)
async def receive_template(cloud: Cloud) -> Want:
    from mold.features.storage import uploads

    offered = (
        await cloud.done("getUploadParamsForTemplate", name="sent", displaytext="sent", format="QCOW2",
                         hypervisor="Simulator", zoneid=cloud.ids["zone"])
    )["getuploadparams"]  # fmt: skip
    headers = {f"x-{n}": offered[n] for n in ("signature", "metadata", "expires")}

    async def want(cloud: Cloud) -> None:
        incoming = uploads.INCOMING["the upload"] = uploads.Incoming(4)
        await cloud.engine.writing(
            lambda tx: uploads.claim(tx, cloud.engine, offered["id"], headers, 4, "the upload")
        )
        for piece in (b"file", None):
            await incoming.put(piece)

    return want


async def in_parts(cloud: Cloud, offset: int, *pieces: bytes) -> Want:
    """A part of a file of eight bytes, from `offset` on; what is before it was sent."""
    from mold.features.storage import uploads

    offered = (
        await cloud.done("getUploadParamsForTemplate", name="parts", displaytext="parts", format="QCOW2",
                         hypervisor="Simulator", zoneid=cloud.ids["zone"])
    )["getuploadparams"]  # fmt: skip
    headers = {f"x-{n}": offered[n] for n in ("signature", "metadata", "expires")}

    async def send(cloud: Cloud, offset: int, *pieces: bytes) -> str:
        name = f"from {offset}"
        incoming = uploads.INCOMING[name] = uploads.Incoming(8, offset)
        job = await cloud.engine.writing(
            lambda tx: uploads.claim_part(tx, cloud.engine, offered["id"], headers, offset, 8, name)
        )
        for piece in (*pieces, None):
            await incoming.put(piece)
        return job.id

    if offset:
        await cloud.engine.finished(await send(cloud, 0, b"x" * offset), 30)

    async def want(cloud: Cloud) -> None:
        await send(cloud, offset, *pieces)

    return want


@recipe("ReceiveRest", grows=("template",), once=True)
async def receive_a_part(cloud: Cloud) -> Want:
    return await in_parts(cloud, 0, b"file")


@recipe("ReceiveRest", grows=("template",), once=True)
async def receive_the_last_part(cloud: Cloud) -> Want:
    return await in_parts(cloud, 4, b"rest")


@recipe("RemoveTemplate")
async def remove_template(cloud: Cloud) -> Want:
    id = await template(cloud.done, cloud.ids, "old")
    made = await vm(cloud, templateid=id)
    await cloud.done("destroyVirtualMachine", id=made, expunge="true")
    return "deleteTemplate", {"id": id}


@recipe("MountStorage")
async def create_pool(cloud: Cloud) -> Want:
    return "createStoragePool", {
        "zoneid": cloud.ids["zone"], "podid": cloud.ids["pod"], "clusterid": cloud.ids["cluster"], "name": "second",
        "url": "sharedmountpoint://localhost/second", "scope": "CLUSTER",
    }  # fmt: skip


@recipe("RemoveStorage")
async def remove_pool(cloud: Cloud) -> Want:
    command, params = await create_pool(cloud)
    made = await cloud.done(command, **params)
    return "deleteStoragePool", {"id": made["storagepool"]["id"]}


@recipe("MountImageStore")
async def add_store(cloud: Cloud) -> Want:
    return "addImageStore", {"provider": "NFS", "url": "file:///third", "name": "third", "zoneid": cloud.ids["zone"]}


# -- hosts ---------------------------------------------------------------------------------------------------------------


@recipe("AddHost")
async def add_host(cloud: Cloud) -> Want:
    return "addHost", {
        "zoneid": cloud.ids["zone"], "podid": cloud.ids["pod"], "clusterid": cloud.ids["cluster"],
        "hypervisor": "Simulator", "url": "http://sim-9",
    }  # fmt: skip


@recipe("RemoveHost")
async def remove_host(cloud: Cloud) -> Want:
    command, params = await add_host(cloud)
    made = await cloud.done(command, **params)
    return "deleteHost", {"id": made["host"][0]["id"], "forced": "true"}


@recipe("ReconnectHost")
async def reconnect_host(cloud: Cloud) -> Want:
    return "reconnectHost", {"id": cloud.ids["host1"]}


@recipe("ProvisionCertificate")
async def provision_certificate(cloud: Cloud) -> Want:
    return "provisionCertificate", {"hostid": cloud.ids["host1"]}


@recipe("ServeCertificate")
async def upload_a_certificate(cloud: Cloud) -> Want:
    pem = (await cloud.done("listCaCertificate"))["cacertificates"]["certificate"]
    return "uploadCustomCertificate", {"certificate": pem, "domainsuffix": "internal", "name": "root", "id": "1"}


@recipe("IssueCertificate")
async def issue_certificate(cloud: Cloud) -> Want:
    return "issueCertificate", {"domain": "new.internal"}


@recipe("Done")
async def revoke_certificate(cloud: Cloud) -> Want:
    await cloud.done("issueCertificate", domain="old.internal")

    def last(tx: Tx) -> str:
        found = tx.first(Certificate, order=Certificate.c.number.desc())
        assert found is not None
        return found.serial

    return "revokeCertificate", {"serial": await cloud.engine.reading(last)}


# -- people --------------------------------------------------------------------------------------------------------------


@recipe("RegisterKeys", grows=("keypair",))
async def register_keys(cloud: Cloud) -> Want:
    user = (await cloud.done("listUsers", username="admin", listall="true"))["user"][0]["id"]
    return "registerUserKeys", {"id": user}


@recipe("MailResetLink", grows=("password_reset",))
async def forgot_password(cloud: Cloud) -> Want:
    port = str(MailServer().port)
    for name, value in (("smtp.host", "127.0.0.1"), ("smtp.port", port), ("email.sender", "cloud@example.org")):
        await cloud.done("updateConfiguration", name=f"user.password.reset.{name}", value=value)
    user = (await cloud.done("listUsers", username="admin", listall="true"))["user"][0]["id"]

    async def want(cloud: Cloud) -> None:
        await cloud.engine.writing(lambda tx: cloud.engine.enqueue(tx, MailResetLink(user=user)))

    return want


@recipe("ChangeProject")
async def create_project(cloud: Cloud) -> Want:
    return "createProject", {"name": "p1", "displaytext": "p1"}


@recipe("Done")
async def leave_a_project(cloud: Cloud) -> Want:
    project, name = await shared(cloud), "member"
    await tenant(cloud, name)
    await cloud.done("addAccountToProject", projectid=project, account=name)
    return "deleteAccountFromProject", {"projectid": project, "account": name}


@recipe("MailInvitation", grows=("projectinvitation",))
async def invite_by_mail(cloud: Cloud) -> Want:
    await cloud.done("updateConfiguration", name="project.smtp.host", value="127.0.0.1")
    await cloud.done("updateConfiguration", name="project.smtp.port", value=str(MailServer().port))
    await cloud.done("updateConfiguration", name="project.email.sender", value="cloud@example.org")
    return "addAccountToProject", {"projectid": await shared(cloud), "email": "a@example.org"}


@recipe("SuspendProject", grows=HALTED)
async def suspend(cloud: Cloud) -> Want:
    project = await shared(cloud)
    own = await network(cloud.done, cloud.ids, "of the project", projectid=project)
    await vm(cloud, networkids=own, projectid=project)
    return "suspendProject", {"id": project}


@recipe("RemoveProject")
async def remove_a_project(cloud: Cloud) -> Want:
    project = await shared(cloud)
    await cloud.done("createSSHKeyPair", name="k", projectid=project)
    return "deleteProject", {"id": project, "cleanup": "true"}


@recipe("RemoveAccount")
async def remove_an_account(cloud: Cloud) -> Want:
    made = await tenant(cloud, "leaver")
    await cloud.done("createSSHKeyPair", name="k", account="leaver", domainid=made["domainid"])
    return "deleteAccount", {"id": made["id"]}


@recipe("RemoveAccount")
async def remove_an_account_with_machines(cloud: Cloud) -> Want:
    made = await tenant(cloud, "leaver")
    whose = {"account": "leaver", "domainid": made["domainid"]}
    await cloud.done("createSSHKeyPair", name="k", **whose)
    await vm(cloud, networkids=await network(cloud.done, cloud.ids, "own", **whose), **whose)
    return "deleteAccount", {"id": made["id"]}


@recipe("RemoveDomain")
async def remove_a_domain(cloud: Cloud) -> Want:
    domain = (await cloud.done("createDomain", name="d"))["domain"]["id"]
    await tenant(cloud, "leaver", domainid=domain)
    return "deleteDomain", {"id": domain, "cleanup": "true"}


@recipe("DisableAccount", grows=HALTED)
async def disable_an_account(cloud: Cloud) -> Want:
    made = await tenant(cloud, "stopped")
    whose = {"account": "stopped", "domainid": made["domainid"]}
    await vm(cloud, networkids=await network(cloud.done, cloud.ids, "own", **whose), **whose)
    return "disableAccount", {"id": made["id"], "lock": "false"}


@recipe("DisableUser")
async def disable_a_user(cloud: Cloud) -> Want:
    return "disableUser", {"id": (await tenant(cloud, "out"))["user"][0]["id"]}


@recipe("MarkZone")
async def mark_a_default_zone(cloud: Cloud) -> Want:
    made = await tenant(cloud, "settler")
    return "markDefaultZoneForAccount", {
        "account": "settler", "domainid": made["domainid"], "zoneid": cloud.ids["zone"]
    }  # fmt: skip


async def tenant(cloud: Cloud, name: str, **other: Any) -> dict[str, Any]:
    """An account with a user."""
    made = await cloud.done(
        "createAccount", username=name, password="p", email="e@x.org", firstname="F", lastname="L", **other
    )
    return dict(made["account"])


async def shared(cloud: Cloud) -> str:
    """A project of the admin."""
    made = await cloud.done("createProject", name="shared", displaytext="shared")
    id: str = made["project"]["id"] if "project" in made else made["id"]
    return id


# -- what is noted, told and counted ---------------------------------------------------------------------------------------


@recipe("RaiseAlert")
async def raise_alert(cloud: Cloud) -> Want:
    return "generateAlert", {"type": 14, "name": "Generator", "description": "it smokes"}


@recipe("PurgeExpunged")
async def purge_expunged(cloud: Cloud) -> Want:
    return "purgeExpungedResources", {}


@recipe("CountReservations")
async def count_reservations(cloud: Cloud) -> Want:
    await vm(cloud)
    return "cleanVMReservations", {}


@recipe("DeliverWebhook", grows=("webhookdelivery",))
async def deliver_webhook(cloud: Cloud) -> Want:
    await cloud.done("updateConfiguration", name="webhook.allowed.internal.sites", value="127.0.0.0/8")
    made = await cloud.done("createWebhook", name="nowhere", payloadurl="http://127.0.0.1:9/", state="Disabled")

    async def want(cloud: Cloud) -> None:
        def write(tx: Tx) -> None:
            hook = tx.one(Webhook, made["webhook"]["id"])
            whose = {"account_id": hook.account_id, "domain_id": hook.domain_id}
            row = tx.add(WebhookDelivery(webhook_id=hook.id, payload="{}", **whose))
            cloud.engine.enqueue(tx, DeliverWebhook(delivery=row.id))

        await cloud.engine.writing(write)

    return want


@recipe("GenerateUsage", grows=("usagerecord",))
async def generate_usage(cloud: Cloud) -> Want:
    await vm(cloud)
    noon = time.time() // 86400 * 86400

    def age(tx: Tx) -> None:
        for each in tx.find(UsageEvent):
            tx.set(each, at=clock.at(noon - 2 * 86400))

    await cloud.engine.writing(age)

    async def want(cloud: Cloud) -> None:
        op = GenerateUsage(start=noon - 86400, end=noon)
        await cloud.engine.writing(lambda tx: cloud.engine.enqueue(tx, op))

    return want
