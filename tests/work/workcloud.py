"""A small simulated cloud, built by its API: what drills and kill tests work on."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
from collections.abc import AsyncIterator, Awaitable
from copy import deepcopy
from pathlib import Path
from typing import Any, Protocol

from workkit import kill

from mold.api.door import Request
from mold.plugins.simulator import Simulator
from mold.server.app import Manager, Options
from mold.work import Engine, Job

Ids = dict[str, str]


class Refused(Exception):
    """The API said no."""


class Call(Protocol):
    """Asks the API: a command and its parameters; the body of the answer, or Refused."""

    def __call__(self, command: str, /, **params: Any) -> Awaitable[dict[str, Any]]: ...


class Cloud:
    """One manager in this process, asked through its front door."""

    def __init__(self, manager: Manager) -> None:
        self.manager = manager
        self.ids: Ids = {}

    @property
    def engine(self) -> Engine:
        """The manager's engine."""
        return self.manager.engine

    @property
    def simulator(self) -> Simulator:
        """The hosts."""
        return self.manager.hub.simulator

    async def call(self, command: str, /, **params: Any) -> dict[str, Any]:
        """Ask; a job is returned as it is accepted."""
        given = {k: str(v) for k, v in params.items() if v is not None}
        request = Request(params={"command": command, "response": "json", **given}, integration=True)
        answer = await self.manager.door.answer(request)
        (body,) = json.loads(answer.body).values()
        if answer.status != 200:
            raise Refused(f"{command}: {body.get('errortext')}")
        return dict(body)

    async def done(self, command: str, /, **params: Any) -> dict[str, Any]:
        """Ask, and wait for the job if there is one."""
        body = await self.call(command, **params)
        if "jobid" not in body:
            return body
        async with asyncio.timeout(30):
            while True:
                job = await self.engine.reading(lambda tx: tx.one(Job, body["jobid"]))
                if job.phase == "over":
                    break
                await asyncio.sleep(0.01)
        if job.status != 1:
            raise Refused(f"{command}: {job.error}")
        return body


async def build(done: Call, hosts: int = 2, primary: str = "/primary") -> Ids:
    """Zone, networks, pod, cluster, hosts, storages, a template, offerings; the ids of what later tests need."""
    zone = (
        await done("createZone", name="z", dns1="9.9.9.9", internaldns1="9.9.9.9", networktype="Advanced",
                   guestcidraddress="10.1.1.0/24")
    )["zone"]["id"]  # fmt: skip
    ids: Ids = {"zone": zone}
    await done("createPhysicalNetwork", zoneid=zone, name="net1", isolationmethods="VXLAN", vlan="1000-3999")
    ids["physical"] = (await done("listPhysicalNetworks", zoneid=zone))["physicalnetwork"][0]["id"]
    for traffic in ("Management", "Public", "Guest"):
        await done("addTrafficType", physicalnetworkid=ids["physical"], traffictype=traffic)
    await done("updatePhysicalNetwork", id=ids["physical"], state="Enabled")
    await done("createVlanIpRange", zoneid=zone, vlan="untagged", gateway="172.30.251.1", netmask="255.255.255.0",
               startip="172.30.251.10", endip="172.30.251.250", forvirtualnetwork="true",
               physicalnetworkid=ids["physical"])  # fmt: skip
    pod = await done("createPod", zoneid=zone, name="p", gateway="172.30.0.1", netmask="255.255.0.0",
                     startip="172.30.0.10", endip="172.30.255.250")  # fmt: skip
    ids["pod"] = pod["pod"]["id"]
    cluster = await done("addCluster", zoneid=zone, podid=ids["pod"], clustername="c", hypervisor="Simulator",
                         clustertype="CloudManaged")  # fmt: skip
    found = cluster["cluster"]
    ids["cluster"] = (found[0] if isinstance(found, list) else found)["id"]
    await done("updateZone", id=zone, allocationstate="Enabled")
    for number in range(1, hosts + 1):
        made = await add_host(done, ids, number)
        ids[f"host{number}"] = made["host"][0]["id"]
    pool = await done("createStoragePool", zoneid=zone, podid=ids["pod"], clusterid=ids["cluster"], name="primary",
                      url=f"sharedmountpoint://localhost{primary}", scope="CLUSTER")  # fmt: skip
    ids["pool"] = pool["storagepool"]["id"]
    store = await done("addImageStore", provider="NFS", url="file:///secondary", name="secondary", zoneid=zone)
    ids["store"] = store["imagestore"]["id"]
    offering = await done("createServiceOffering", name="Tiny", displaytext="1 core, 256 MiB", cpunumber=1,
                          cpuspeed=500, memory=256)  # fmt: skip
    ids["offering"] = offering["serviceoffering"]["id"]
    ids["networkoffering"] = (await done("listNetworkOfferings", state="Enabled", guestiptype="Isolated"))[
        "networkoffering"
    ][0]["id"]
    ids["template"] = await template(done, ids, "tiny")
    ids["network"] = await network(done, ids, "n1")
    return ids


async def add_host(done: Call, ids: Ids, number: int) -> dict[str, Any]:
    """Add a simulated host."""
    return await done(
        "addHost", zoneid=ids["zone"], podid=ids["pod"], clusterid=ids["cluster"], hypervisor="Simulator",
        url=f"http://sim-{number}",
    )  # fmt: skip


async def template(done: Call, ids: Ids, name: str) -> str:
    """Register a template and wait until it is ready; its id."""
    made = await done(
        "registerTemplate", name=name, displaytext=name, url="http://images.invalid/tiny.qcow2", format="QCOW2",
        hypervisor="Simulator", zoneid=ids["zone"], passwordenabled="true",
    )  # fmt: skip
    id: str = made["template"][0]["id"]
    async with asyncio.timeout(30):
        while not (await done("listTemplates", templatefilter="self", id=id))["template"][0]["isready"]:
            await asyncio.sleep(0.02)
    return id


async def network(done: Call, ids: Ids, name: str, **whose: str) -> str:
    """Create an isolated network; its id."""
    made = await done(
        "createNetwork", name=name, zoneid=ids["zone"], networkofferingid=ids["networkoffering"], **whose
    )
    id: str = made["network"]["id"]
    return id


def machine(ids: Ids, name: str, **other: Any) -> dict[str, Any]:
    """The parameters that deploy a machine."""
    return {"name": name, "zoneid": ids["zone"], "templateid": ids["template"], "serviceofferingid": ids["offering"],
            "networkids": ids["network"], **other}  # fmt: skip


@contextlib.asynccontextmanager
async def managed(folder: Path, simulator: Simulator | None = None) -> AsyncIterator[Cloud]:
    """A manager on the data folder, with these simulated hosts. A killed one is not stopped cleanly."""
    manager = Manager(Options(data=folder, admin_password="drill"), simulator=simulator)
    cloud = Cloud(manager)
    await asyncio.wait_for(manager.start(agents=False), 30)
    try:
        yield cloud
    finally:
        if manager.engine.stopping:
            manager._task.cancel()  # type: ignore[union-attr]
            await asyncio.gather(manager._task, return_exceptions=True)  # type: ignore[arg-type]
            manager.store.close()
        else:
            await manager.stop()


def copied(folder: Path, simulator: Simulator, to: Path) -> tuple[Path, Simulator]:
    """A copy of a world whose manager is stopped."""
    shutil.copytree(folder, to)
    fresh = Simulator()
    fresh.boxes, fresh.stores = deepcopy(simulator.boxes), deepcopy(simulator.stores)
    return to, fresh


async def dead(cloud: Cloud) -> None:
    """Kill a cloud's manager."""
    await kill(cloud.engine)

