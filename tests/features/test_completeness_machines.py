"""Machines and what belongs to them: another offering, cards, addresses, statistics, details, passwords."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from completeness_kit import Refused, alone, small_cloud

from mold.features.care import stats
from mold.wire import calls as w


@alone
async def test_another_offering_counts_from_the_next_start(database_url: str, tmp_path: Path) -> None:
    async with small_cloud(tmp_path, database_url) as cloud:
        vm = await cloud.deploy()
        big = await cloud.offering("big", 4, 1000, 2048)
        local = await cloud.offering("local", 1, 500, 256, storagetype="local")
        fits = (await cloud.call("listServiceOfferings", virtualmachineid=vm["id"])) or {}
        assert fits == {}, "a running machine keeps its size"
        with pytest.raises(Refused, match="is Running; stop it first"):
            await cloud.call("changeServiceForVirtualMachine", id=vm["id"], serviceofferingid=big)
        await cloud.call("stopVirtualMachine", id=vm["id"], forced="true")
        names = {
            o["name"] for o in (await cloud.call("listServiceOfferings", virtualmachineid=vm["id"]))["serviceoffering"]
        }
        assert "big" in names
        assert not names & {"small", "local"}
        with pytest.raises(Refused, match="local"):
            await cloud.call("changeServiceForVirtualMachine", id=vm["id"], serviceofferingid=local)
        changed = (await cloud.call("changeServiceForVirtualMachine", id=vm["id"], serviceofferingid=big))[
            "virtualmachine"
        ]
        assert (changed["cpunumber"], changed["memory"], changed["serviceofferingname"]) == (4, 2048, "big")
        (account,) = (await cloud.call("listAccounts"))["account"]
        assert (account["cputotal"], account["memorytotal"]) == (4, 2048)
        await cloud.call("startVirtualMachine", id=vm["id"], considerlasthost="false")
        (cpu,) = (await cloud.call("listCapacity", type=1))["capacity"]
        assert cpu["capacityused"] == 4000
        await cloud.call("destroyVirtualMachine", id=vm["id"], expunge="true")
        (account,) = (await cloud.call("listAccounts"))["account"]
        assert (account["cputotal"], account["memorytotal"], account["vmtotal"]) == (0, 0, 0)


@alone
async def test_an_offering_beyond_the_limit_changes_nothing(tmp_path: Path) -> None:
    async with small_cloud(tmp_path) as cloud:
        root = (await cloud.call("listDomains"))["domain"][0]["id"]
        about = {"username": "ann", "password": "x", "email": "a@example.org", "firstname": "a", "lastname": "b"}
        await cloud.call("createAccount", **about, domainid=root)
        whose = {"account": "ann", "domainid": root}
        await cloud.call("updateTemplatePermissions", id=cloud.ids["template"], ispublic="true")
        offering = (await cloud.call("listNetworkOfferings"))["networkoffering"][0]["id"]
        made = await cloud.call(
            "createNetwork", name="a", zoneid=cloud.ids["zone"], networkofferingid=offering, **whose
        )
        vm = await cloud.deploy(startvm="false", networkids=made["network"]["id"], **whose)
        await cloud.call("updateResourceLimit", resourcetype=8, max=2, **whose)
        big = await cloud.offering("big", 4, 1000, 512)
        with pytest.raises(Refused, match="limit of cpu is 2"):
            await cloud.call("changeServiceForVirtualMachine", id=vm["id"], serviceofferingid=big)
        (same,) = (await cloud.call("listVirtualMachines", id=vm["id"]))["virtualmachine"]
        assert (same["cpunumber"], same["serviceofferingname"]) == (1, "small")


@alone
async def test_cards_and_addresses_are_listed(tmp_path: Path) -> None:
    async with small_cloud(tmp_path) as cloud:
        assert await cloud.call("listPublicIpAddresses") == {}
        vm = await cloud.deploy()
        (nic,) = (await cloud.call("listNics", virtualmachineid=vm["id"]))["nic"]
        assert nic["id"] == vm["nic"][0]["id"]
        assert nic["virtualmachineid"] == vm["id"]
        assert await cloud.call("listNics", virtualmachineid=vm["id"], nicid=vm["id"]) == {}
        (ip,) = (await cloud.call("listPublicIpAddresses", issourcenat="true"))["publicipaddress"]
        assert (ip["state"], ip["associatednetworkid"], ip["vlanid"]) == (
            "Allocated",
            cloud.ids["network"],
            cloud.ids["range"],
        )
        assert await cloud.call("listPublicIpAddresses", issourcenat="false") == {}
        free = await cloud.call("listPublicIpAddresses", allocatedonly="false", state="Free")
        assert free["count"] == 9
        assert await cloud.call("listPublicIpAddresses", retrieveonlyresourcecount="true") == {"count": 1}
        same = await cloud.call("listPublicIpAddresses", associatednetworkid=cloud.ids["network"])
        assert same["publicipaddress"] == [ip]
        assert await cloud.call("listVolumes", retrieveonlyresourcecount="true") == {"count": 1}
        (root,) = (await cloud.call("listVolumes", virtualmachineid=vm["id"]))["volume"]
        assert (root["virtualmachineid"], root["clusterid"]) == (vm["id"], cloud.ids["cluster"])
        (router,) = (await cloud.call("listRouters", podid=cloud.ids["pod"]))["router"]
        assert (router["guestipaddress"], router["gateway"], router["publicip"]) == (
            "10.1.1.1",
            "10.9.0.1",
            ip["ipaddress"],
        )
        assert await cloud.call("listRouters", forvpc="true") == {}


@alone
async def test_ranges_for_the_clouds_own_machines_are_not_given_away(tmp_path: Path) -> None:
    async with small_cloud(tmp_path) as cloud:
        await cloud.call("updateVlanIpRange", id=cloud.ids["range"], forsystemvms="true")
        with pytest.raises(Refused, match="No public IP address of the zone is free"):
            await cloud.deploy()
        assert await cloud.call("listVirtualMachines") == {}


@alone
async def test_a_disabled_provider_serves_nothing(tmp_path: Path) -> None:
    async with small_cloud(tmp_path) as cloud:
        (provider,) = (await cloud.call("listNetworkServiceProviders", physicalnetworkid=cloud.ids["physical"]))[
            "networkserviceprovider"
        ]
        assert (provider["name"], provider["state"]) == ("VirtualRouter", "Enabled")
        assert {s["name"] for s in (await cloud.call("listSupportedNetworkServices"))["networkservice"]} == set(
            provider["servicelist"]
        )
        changed = await cloud.call("updateNetworkServiceProvider", id=provider["id"], state="Disabled")
        assert changed["networkserviceprovider"]["state"] == "Disabled"
        with pytest.raises(Refused, match="enabled VirtualRouter"):
            await cloud.deploy()
        await cloud.call("updateNetworkServiceProvider", id=provider["id"], state="Enabled")
        await cloud.deploy()
        with pytest.raises(Refused, match="serves the network"):
            await cloud.call("updateNetworkServiceProvider", id=provider["id"], state="Disabled")


@alone
async def test_statistics_come_from_reports(database_url: str, tmp_path: Path) -> None:
    async with small_cloud(tmp_path, database_url) as cloud:
        vm = await cloud.deploy()
        engine, tick = cloud.manager.engine, time.time()

        def report(at: float, cpu: float, received: int) -> dict[str, w.HostReport]:
            told = w.MachineFacts(
                name="x", state="Running", id=vm["id"], cpu_seconds=cpu, received=received, memory=256 * 1024**2
            )
            stranger = w.MachineFacts(name="y", state="Running", id="no-machine-of-ours")
            return {"agent": w.HostReport(machines=[told, stranger], at=at)}

        async def shown() -> dict[str, object]:
            return dict((await cloud.call("listVirtualMachines", id=vm["id"]))["virtualmachine"][0])

        assert "networkkbsread" not in await shown()
        assert await engine.writing(lambda tx: stats.note(tx, report(tick, 10.0, 4096))) == 1
        first = await shown()
        assert (first["networkkbsread"], first["memorykbs"], "cpuused" in first) == (4, 262144, False)
        assert await engine.writing(lambda tx: stats.note(tx, report(tick + 5, 11.0, 5000))) == 0, "too soon"
        assert await engine.writing(lambda tx: stats.note(tx, report(tick + 100, 60.0, 8192))) == 1
        later = await shown()
        assert (later["cpuused"], later["networkkbsread"]) == ("50.00%", 8)
        await engine.writing(lambda tx: stats.note(tx, report(tick + 200, 1.0, 1024)))
        assert "cpuused" not in await shown(), "the guest began anew: there is no rate over that"
        assert (
            "networkkbsread"
            not in (await cloud.call("listVirtualMachines", id=vm["id"], details="min"))["virtualmachine"][0]
        )
        await cloud.call("destroyVirtualMachine", id=vm["id"], expunge="true")
        assert await engine.reading(lambda tx: len(tx.execute(stats.meter.select()).all())) == 0


@alone
async def test_passwords_come_with_the_job_only(tmp_path: Path) -> None:
    async with small_cloud(tmp_path) as cloud:
        vm = await cloud.deploy(password="Given-1")
        assert vm["password"] == "Given-1"
        assert "password" not in (await cloud.call("listVirtualMachines"))["virtualmachine"][0]
        await cloud.call("stopVirtualMachine", id=vm["id"], forced="true")
        reset = (await cloud.call("resetPasswordForVirtualMachine", id=vm["id"]))["virtualmachine"]
        assert reset["password"] != "Given-1"
        assert (await cloud.call("getVMPassword", id=vm["id"]))["password"]["password"] == reset["password"]
        assert "password" not in (await cloud.call("startVirtualMachine", id=vm["id"]))["virtualmachine"]


@alone
async def test_details_user_data_and_options(tmp_path: Path) -> None:
    async with small_cloud(tmp_path) as cloud:
        vm = await cloud.deploy(startvm="false", userdata="aGVsbG8=", details__nicAdapter="e1000")
        (plain,) = (await cloud.call("listVirtualMachines"))["virtualmachine"]
        assert plain["details"] == {"nicAdapter": "e1000"}
        assert "rootDiskController" in plain["readonlydetails"]
        assert "userdata" not in plain
        (full,) = (await cloud.call("listVirtualMachines", userdata="true"))["virtualmachine"]
        assert full["userdata"] == "aGVsbG8="
        assert full["nic"] == plain["nic"]
        options = (await cloud.call("listDetailOptions", resourcetype="UserVm"))["detailoptions"]["details"]
        assert "virtio" in options["rootDiskController"]
        with pytest.raises(Refused, match="keeps its id"):
            await cloud.call("updateVirtualMachine", id=vm["id"], customid="11111111-2222-4333-8444-555555555555")


@alone
async def test_offerings_move_between_domains(tmp_path: Path) -> None:
    async with small_cloud(tmp_path) as cloud:
        domain = (await cloud.call("createDomain", name="d"))["domain"]["id"]
        offering = cloud.ids["offering"]
        moved = (await cloud.call("updateServiceOffering", id=offering, domainid=domain))["serviceoffering"]
        assert (moved["domainid"], moved["domain"]) == (domain, "ROOT/d")
        assert (await cloud.call("listServiceOfferings", domainid=domain))["count"] == 1
        usable = (await cloud.call("listServiceOfferings", account="admin"))["serviceoffering"]
        assert offering not in {o["id"] for o in usable}
        back = (await cloud.call("updateServiceOffering", id=offering, domainid="public"))["serviceoffering"]
        assert "domainid" not in back
        with pytest.raises(Refused, match="There is no domain"):
            await cloud.call("updateServiceOffering", id=offering, domainid="11111111-2222-4333-8444-555555555555")
        disks = (await cloud.call("listDiskOfferings", storageid=cloud.ids["pool"]))["diskoffering"]
        assert len(disks) == 4
        await cloud.call("createDiskOffering", name="slow", disksize=1, tags="tape")
        assert (await cloud.call("listDiskOfferings", storageid=cloud.ids["pool"]))["count"] == 4
