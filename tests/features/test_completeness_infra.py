"""Capacity, tags of hosts and storage, hypervisors, managers, settings: what operators look up."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa
from completeness_kit import Refused, alone, small_cloud


@alone
async def test_capacity_counts_what_is_taken(database_url: str, tmp_path: Path) -> None:
    async with small_cloud(tmp_path, database_url) as cloud:
        before = {c["name"]: c for c in (await cloud.call("listCapacity", zoneid=cloud.ids["zone"]))["capacity"]}
        assert {"MEMORY", "CPU", "STORAGE", "STORAGE_ALLOCATED", "SECONDARY_STORAGE", "VLAN", "CPU_CORE"} <= set(before)
        assert (before["VLAN"]["capacityused"], before["VLAN"]["capacitytotal"]) == (0, 100)
        assert before["VIRTUAL_NETWORK_PUBLIC_IP"]["capacitytotal"] == 10
        await cloud.deploy()
        after = {c["name"]: c for c in (await cloud.call("listCapacity"))["capacity"]}
        taken = {n: after[n]["capacityused"] - before[n]["capacityused"] for n in after}
        assert taken["MEMORY"] == 256 * 1024**2
        assert taken["CPU"] == 500
        assert taken["CPU_CORE"] == taken["VLAN"] == taken["VIRTUAL_NETWORK_PUBLIC_IP"] == 1
        assert taken["STORAGE_ALLOCATED"] > 0
        (one,) = (await cloud.call("listCapacity", type=1, clusterid=cloud.ids["cluster"]))["capacity"]
        assert (one["capacityused"], one["clusterid"], one["podname"]) == (500, cloud.ids["cluster"], "pod")
        fullest = (await cloud.call("listCapacity", sortby="usage"))["capacity"]
        shares = [float(c["percentused"]) for c in fullest]
        assert shares == sorted(shares, reverse=True)
        with pytest.raises(Refused, match="not measured"):
            await cloud.call("listCapacity", type=8)


@alone
async def test_capacity_in_lists_only_when_asked(tmp_path: Path) -> None:
    async with small_cloud(tmp_path) as cloud:
        for command, key in (("listZones", "zone"), ("listPods", "pod"), ("listClusters", "cluster")):
            (plain,) = (await cloud.call(command))[key]
            assert "capacity" not in plain
            (full,) = (await cloud.call(command, showcapacities="true"))[key]
            assert {c["name"] for c in full["capacity"]} >= {"MEMORY", "CPU"}


@alone
async def test_overprovisioning_counts_at_once(tmp_path: Path) -> None:
    async with small_cloud(tmp_path) as cloud:
        cluster = cloud.ids["cluster"]

        async def cpu() -> int:
            (one,) = (await cloud.call("listCapacity", type=1, clusterid=cluster))["capacity"]
            return int(one["capacitytotal"])

        plain = await cpu()
        await cloud.call("updateConfiguration", name="cpu.overprovisioning.factor", value="2.0", clusterid=cluster)
        assert await cpu() == 2 * plain
        told = await cloud.call("resetConfiguration", name="cpu.overprovisioning.factor", clusterid=cluster)
        assert told["configuration"]["value"] == "1.0"
        assert await cpu() == plain


@alone
async def test_lookups_of_operators(tmp_path: Path) -> None:
    async with small_cloud(tmp_path) as cloud:
        zone = cloud.ids["zone"]
        assert (await cloud.call("listHostTags"))["hosttag"] == [{"name": "fast", "isimplicit": False}]
        assert [t["name"] for t in (await cloud.call("listStorageTags"))["storagetag"]] == ["shared", "ssd"]
        assert await cloud.call("listStorageTags", keyword="nothing") == {}
        assert (await cloud.call("listHypervisors", zoneid=zone))["hypervisor"] == [{"name": "Simulator"}]
        assert {h["name"] for h in (await cloud.call("listHypervisors"))["hypervisor"]} == {"KVM", "Simulator"}
        assert (await cloud.call("listStorageProviders", type="image"))["dataStoreProvider"][0]["name"] == "NFS"
        assert "FirstFitPlanner" in str(await cloud.call("listDeploymentPlanners"))
        assert (await cloud.call("listRegions"))["region"][0]["id"] == 1
        (manager,) = (await cloud.call("listManagementServers"))["managementserver"]
        assert manager["state"] == "Up"
        assert manager["id"] == cloud.manager.engine.session
        assert [m["name"] for m in (await cloud.call("listNetworkIsolationMethods"))["isolationmethod"]] == [
            "VLAN",
            "VXLAN",
        ]
        host = (await cloud.call("listHosts", id=cloud.ids["h1"]))["host"][0]
        assert "PingTimeout" in host["events"]
        assert "disconnected" not in host
        with pytest.raises(Refused, match="comes with moving machines"):
            await cloud.call("listHosts", virtualmachineid=zone)


@alone
async def test_capabilities_follow_the_settings(tmp_path: Path) -> None:
    async with small_cloud(tmp_path, built=False) as cloud:
        told = (await cloud.call("listCapabilities"))["capability"]
        assert (told["defaultuipagesize"], told["allowuserforcestopvm"], told["customdiskofferingmaxsize"]) == (
            20,
            True,
            1024,
        )
        for name, value in (
            ("default.ui.page.size", "50"),
            ("allow.user.force.stop.vm", "false"),
            ("custom.diskoffering.size.max", "10"),
            ("allow.user.create.projects", "false"),
        ):
            await cloud.call("updateConfiguration", name=name, value=value)
        told = (await cloud.call("listCapabilities"))["capability"]
        assert (told["defaultuipagesize"], told["allowuserforcestopvm"], told["customdiskofferingmaxsize"]) == (
            50,
            False,
            10,
        )
        assert told["allowusercreateprojects"] is False
        with pytest.raises(Refused, match="invalid value"):
            await cloud.call("listCapabilities", domainid="no-such-id")


@alone
async def test_settings_are_narrowed_by_every_filter(tmp_path: Path) -> None:
    async with small_cloud(tmp_path, built=False) as cloud:
        everything = await cloud.call("listConfigurations")
        access = await cloud.call("listConfigurations", group="access", subgroup="account")
        assert 0 < access["count"] < everything["count"]
        assert await cloud.call("listConfigurations", category="Hidden") == {}
        assert await cloud.call("listConfigurations", parent="ping.interval") == {}
        page = await cloud.call("listConfigurations", page=2, pagesize=5)
        assert page["count"] == everything["count"]
        assert page["configuration"] == everything["configuration"][5:10]
        with pytest.raises(Refused, match="required"):
            await cloud.call("listConfigurations", page=1)


@alone
async def test_a_certificate_comes_with_the_job_and_its_key_is_forgotten(tmp_path: Path) -> None:
    from mold.features.infra import certificates

    async with small_cloud(tmp_path, built=False) as cloud:
        at_once = await cloud.raw("issueCertificate", domain="host.example.org")
        later = await cloud.raw("queryAsyncJobResult", jobid=at_once["jobid"])
        while later["jobstatus"] == 0:
            later = await cloud.raw("queryAsyncJobResult", jobid=at_once["jobid"])
        given = later["jobresult"]["certificates"]
        assert given == at_once["certificates"]
        assert "PRIVATE KEY" in given["privatekey"]
        stored = await cloud.manager.engine.reading(
            lambda tx: tx.execute(sa.text("SELECT key FROM certificate WHERE key IS NOT NULL")).scalars().all()
        )
        assert len(stored) == 1
        assert "PRIVATE KEY" not in stored[0], "it lies sealed in the database"

        def age(tx: object) -> None:
            found = tx.first(certificates.Certificate, certificates.Certificate.c.key.is_not(None))  # type: ignore[attr-defined]
            tx.set(found, created="2020-01-01T00:00:00+0000")  # type: ignore[attr-defined]
            certificates._forget_keys(tx)  # type: ignore[arg-type]

        await cloud.manager.engine.writing(age)
        again = await cloud.raw("queryAsyncJobResult", jobid=at_once["jobid"])
        assert "privatekey" not in again["jobresult"]["certificates"]
