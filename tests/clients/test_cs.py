"""The PyPI client `cs`, unchanged, against a real manager: signed requests of version 3, by GET and by POST."""

from __future__ import annotations

import asyncio
import importlib.util
import uuid
from datetime import timedelta
from typing import Any

import pytest
from clients_cloud import Running
from cs import CloudStack, CloudStackApiException


def client(running: Running, **about: Any) -> CloudStack:
    """The client with admin's keys; it asks for a job's end often, to be quick."""
    keys = {"key": running.about["apikey"], "secret": running.about["secretkey"]}
    return CloudStack(endpoint=running.endpoint, poll_interval=0.05, **{**keys, **about})


@pytest.fixture(params=["get", "post"])
def cs(running: Running, request: pytest.FixtureRequest) -> CloudStack:
    """The client, once with GET and once with POST."""
    return client(running, method=request.param)


def wishes(cs: CloudStack) -> dict[str, str]:
    """The ids that a deploy needs."""
    return {
        "zoneid": cs.listZones()["zone"][0]["id"],
        "templateid": cs.listTemplates(templatefilter="executable", name="tiny-linux")["template"][0]["id"],
        "serviceofferingid": cs.listServiceOfferings(name="Tiny")["serviceoffering"][0]["id"],
        "networkids": cs.listNetworks(name="first-network")["network"][0]["id"],
    }


def test_a_machine_lives_and_dies(cs: CloudStack) -> None:
    """Deploy, list, stop, start, reboot and destroy a machine, waiting for each job."""
    name = f"cs-{uuid.uuid4().hex[:8]}"
    job = cs.deployVirtualMachine(**wishes(cs), name=name, displayname="web 01+a*b~c [x] äöü 한", details={"a": "b~*"})
    assert set(job) == {"id", "jobid"}
    vm = cs._jobresult(job["jobid"])["virtualmachine"]
    assert (vm["id"], vm["state"], vm["displayname"]) == (job["id"], "Running", "web 01+a*b~c [x] äöü 한")

    assert cs.listVirtualMachines(id=vm["id"])["virtualmachine"][0]["name"] == name
    stopped = cs.stopVirtualMachine(id=vm["id"], fetch_result=True)
    assert stopped["virtualmachine"]["state"] == "Stopped"
    assert cs.startVirtualMachine(id=vm["id"], fetch_result=True)["virtualmachine"]["state"] == "Running"
    assert cs.rebootVirtualMachine(id=vm["id"], fetch_result=True)["virtualmachine"]["state"] == "Running"

    assert cs.createTags(resourceids=vm["id"], resourcetype="UserVm", tags=[{"key": "env", "value": "prod"}], fetch_result=True) == {"success": True}
    assert [v["id"] for v in cs.listVirtualMachines(tags={"key": "env", "value": "prod"})["virtualmachine"]] == [vm["id"]]

    cs.destroyVirtualMachine(id=vm["id"], expunge=True, fetch_result=True)
    assert vm["id"] not in {v["id"] for v in cs.listVirtualMachines(fetch_list=True)}


def test_every_page_of_a_list(cs: CloudStack) -> None:
    """`fetch_list` gathers what several pages hold, each thing once."""
    whole = cs.listOsTypes()["ostype"]
    assert len(whole) > 10
    found = cs.listOsTypes(fetch_list=True, pagesize=7)
    assert [o["id"] for o in found] == [o["id"] for o in whole]
    assert cs.listProjects(fetch_list=True) == []


def test_refusals(cs: CloudStack) -> None:
    """A refusal arrives with its code and its sentence; so does a job's."""
    with pytest.raises(CloudStackApiException) as caught:
        cs.deployVirtualMachine(zoneid=wishes(cs)["zoneid"])
    assert caught.value.error["errorcode"] == 431
    assert "missing parameter serviceofferingid" in caught.value.error["errortext"]
    offering = cs.createServiceOffering(name=f"huge {uuid.uuid4()}", displaytext="x", cpunumber=64, cpuspeed=100, memory=4 * 1024 * 1024)
    with pytest.raises(CloudStackApiException) as caught:
        cs.deployVirtualMachine(**{**wishes(cs), "serviceofferingid": offering["serviceoffering"]["id"]}, fetch_result=True)
    assert caught.value.error["errorcode"] == 533
    assert "memory" in caught.value.error["errortext"].lower()


def test_signatures(running: Running) -> None:
    """A wrong secret and an expired request are refused; version 1 (no expiry) and no JSON work."""
    with pytest.raises(CloudStackApiException) as caught:
        client(running, secret="wrong").listZones()
    assert caught.value.error["errorcode"] == 401
    with pytest.raises(CloudStackApiException) as caught:
        client(running).listZones(expires="2020-01-01T00:00:00+0000", signatureVersion="3")
    assert caught.value.error["errorcode"] == 401
    first = client(running, expiration=timedelta(seconds=-1))
    assert first.listZones()["count"] == 1
    assert first.listZones(json=False).startswith('<?xml version="1.0" encoding="UTF-8"?><listzonesresponse')


@pytest.mark.skipif(importlib.util.find_spec("aiohttp") is None, reason="cs's asynchronous client needs aiohttp")
def test_asynchronous(running: Running) -> None:
    """The asynchronous client deploys, lists and destroys."""
    from cs import AIOCloudStack

    keys = {"key": running.about["apikey"], "secret": running.about["secretkey"]}

    async def go() -> None:
        async with AIOCloudStack(endpoint=running.endpoint, poll_interval=0.05, **keys) as cs:
            chosen = wishes(client(running))
            names = [f"aio-{uuid.uuid4().hex[:8]}" for _ in range(3)]
            made = await asyncio.gather(
                *(cs.deployVirtualMachine(**chosen, name=n, fetch_result=True) for n in names)
            )
            assert [m["virtualmachine"]["state"] for m in made] == ["Running"] * 3
            listed = await cs.listVirtualMachines(fetch_list=True, pagesize=2)
            assert {v["name"] for v in listed} >= set(names)
            await asyncio.gather(
                *(cs.destroyVirtualMachine(id=m["virtualmachine"]["id"], expunge=True, fetch_result=True) for m in made)
            )
            assert not {v["name"] for v in await cs.listVirtualMachines(fetch_list=True)} & set(names)

    asyncio.run(go())
