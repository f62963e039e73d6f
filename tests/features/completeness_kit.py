"""A small cloud in memory for the tests of completeness: a manager, a zone, two simulated hosts, a template, a network."""

from __future__ import annotations

import asyncio
import functools
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from mold.api.door import Request
from mold.server.app import Manager, Options


def alone(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run an async test in a loop of its own."""

    @functools.wraps(test)
    def run(*args: Any, **given: Any) -> None:
        asyncio.run(test(*args, **given))

    return run


class Refused(Exception):
    """The API said no. `code` and `text` are its errorcode and errortext."""

    def __init__(self, body: dict[str, Any]) -> None:
        super().__init__(body.get("errortext"))
        self.code, self.text = body.get("errorcode"), str(body.get("errortext"))


class Cloud:
    """Calls to one manager; ids of what was built are attributes."""

    def __init__(self, manager: Manager) -> None:
        self.manager = manager
        self.ids: dict[str, str] = {}

    async def raw(self, command: str, **params: Any) -> dict[str, Any]:
        """The body of an answer, as the integration port gives it; Refused when it is an error."""
        words = {k.replace("__", "[0]."): str(v) for k, v in params.items()}
        request = Request({"command": command, "response": "json", **words}, post=True, integration=True)
        answer = await self.manager.door.answer(request)
        (body,) = json.loads(answer.body).values()
        if answer.status != 200:
            raise Refused(body)
        return dict(body)

    async def call(self, command: str, **params: Any) -> dict[str, Any]:
        """Like `raw`, and waits for the job if there is one: its result."""
        body = await self.raw(command, **params)
        if "jobid" not in body:
            return body
        for _ in range(600):
            job = await self.raw("queryAsyncJobResult", jobid=body["jobid"])
            if job["jobstatus"] == 1:
                return dict(job["jobresult"])
            if job["jobstatus"] == 2:
                raise Refused(job["jobresult"])
            await asyncio.sleep(0.05)
        raise AssertionError(f"{command} took too long")

    async def build(self) -> None:
        """Everything that a first machine needs."""
        ids = self.ids
        zone = await self.call("createZone", name="z", dns1="9.9.9.9", internaldns1="9.9.9.9", networktype="Advanced")
        ids["zone"] = zone["zone"]["id"]
        made = await self.call("createPhysicalNetwork", name="p", zoneid=ids["zone"], vlan="100-199")
        ids["physical"] = made["physicalnetwork"]["id"]
        for kind in ("Guest", "Public"):
            await self.call("addTrafficType", physicalnetworkid=ids["physical"], traffictype=kind)
        await self.call("updatePhysicalNetwork", id=ids["physical"], state="Enabled")
        made = await self.call(
            "createVlanIpRange",
            zoneid=ids["zone"],
            startip="10.9.0.10",
            endip="10.9.0.19",
            gateway="10.9.0.1",
            netmask="255.255.255.0",
        )
        ids["range"] = made["vlan"]["id"]
        net = {"gateway": "10.8.0.1", "netmask": "255.255.255.0", "startip": "10.8.0.5", "endip": "10.8.0.9"}
        ids["pod"] = (await self.call("createPod", zoneid=ids["zone"], name="pod", **net))["pod"]["id"]
        place = {"zoneid": ids["zone"], "podid": ids["pod"], "hypervisor": "Simulator"}
        made = await self.call("addCluster", **place, clustername="c", clustertype="CloudManaged")
        ids["cluster"] = made["cluster"][0]["id"]
        for name in ("h1", "h2"):
            made = await self.call("addHost", **place, clusterid=ids["cluster"], url=f"http://{name}", hosttags="fast")
            ids[name] = made["host"][0]["id"]
        made = await self.call(
            "createStoragePool",
            name="pool",
            url="SharedMountPoint://localhost/pool",
            zoneid=ids["zone"],
            podid=ids["pod"],
            clusterid=ids["cluster"],
            scope="CLUSTER",
            tags="ssd,shared",
        )
        ids["pool"] = made["storagepool"]["id"]
        await self.call("addImageStore", provider="NFS", url="file:///images", zoneid=ids["zone"])
        await self.call("updateZone", id=ids["zone"], allocationstate="Enabled")
        made = await self.call(
            "registerTemplate",
            name="t",
            url="http://example.org/t.qcow2",
            format="QCOW2",
            hypervisor="Simulator",
            zoneid=ids["zone"],
            passwordenabled="true",
        )
        ids["template"] = made["template"][0]["id"]
        for _ in range(200):
            rows = await self.call("listTemplates", templatefilter="all", id=ids["template"])
            if rows["template"][0]["isready"]:
                break
            await asyncio.sleep(0.05)
        offerings = (await self.call("listNetworkOfferings"))["networkoffering"]
        made = await self.call("createNetwork", name="n", zoneid=ids["zone"], networkofferingid=offerings[0]["id"])
        ids["network"] = made["network"]["id"]
        ids["offering"] = await self.offering("small", 1, 500, 256)

    async def offering(self, name: str, cores: int, mhz: int, mib: int, **more: Any) -> str:
        """The id of a new compute offering."""
        made = await self.call("createServiceOffering", name=name, cpunumber=cores, cpuspeed=mhz, memory=mib, **more)
        return str(made["serviceoffering"]["id"])

    async def deploy(self, **more: Any) -> dict[str, Any]:
        """A new machine, as the finished job shows it."""
        ids = self.ids
        made = await self.call(
            "deployVirtualMachine",
            **{
                "zoneid": ids["zone"],
                "templateid": ids["template"],
                "serviceofferingid": ids["offering"],
                "networkids": ids["network"],
                **more,
            },
        )
        return dict(made["virtualmachine"])


@asynccontextmanager
async def small_cloud(folder: Path, database: str = "", *, built: bool = True) -> AsyncIterator[Cloud]:
    """A cloud that lives as long as the block."""
    manager = Manager(Options(data=folder, database=database, admin_password="secret"))
    await manager.start(agents=False)
    try:
        cloud = Cloud(manager)
        if built:
            await cloud.build()
        yield cloud
    finally:
        await manager.stop()
