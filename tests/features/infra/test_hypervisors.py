"""Hypervisors: how many machines a host runs, how many hosts a cluster has."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from cloud import ApiError, Cloud


@pytest.fixture
def simulator(cloud: Cloud) -> Iterator[str]:
    about = cloud.admin.one("listHypervisorCapabilities", hypervisor="simulator")
    yield str(about["id"])
    cloud.admin.updateHypervisorCapabilities(id=about["id"], maxguestslimit=50, maxhostspercluster=100_000)


def test_what_is_listed(cloud: Cloud) -> None:
    rows = {r["hypervisor"]: r for r in cloud.admin.listHypervisorCapabilities()}
    assert set(rows) == {"KVM", "Simulator"}
    assert (rows["KVM"]["maxguestslimit"], rows["KVM"]["hypervisorversion"]) == (50, "default")
    assert rows["KVM"]["securitygroupenabled"] is False and "maxhostspercluster" not in rows["KVM"]
    assert cloud.admin.one("listHypervisorCapabilities", keyword="kv") == rows["KVM"]
    with pytest.raises(ApiError) as no:
        cloud.tenant().listHypervisorCapabilities()
    assert no.value.code == 432


def test_a_host_runs_no_more_machines_than_it_may(cloud: Cloud, simulator: str) -> None:
    site = cloud.zone(hosts=1)
    tenant = cloud.tenant()
    made = cloud.admin.updateHypervisorCapabilities(hypervisor="Simulator", maxguestslimit=2)
    assert made["maxguestslimit"] == 2
    site.deploy(tenant)
    vm = site.deploy(tenant)
    with pytest.raises(ApiError) as no:
        site.deploy(cloud.admin)
    assert no.value.code == 533 and "it runs 2 machines already, 2 at most" in no.value.text
    plan = cloud.admin.findDeploymentPlan(
        serviceofferingid=site.offering, templateid=site.template, zoneid=site.zone
    )
    assert [r["code"] for r in plan["candidate"][0]["reason"]] == ["Guests"]
    tenant.stopVirtualMachine(id=vm["id"], forced=True)
    assert site.deploy(cloud.admin)["state"] == "Running"


def test_a_cluster_has_no_more_hosts_than_it_may(cloud: Cloud, simulator: str) -> None:
    site = cloud.zone(hosts=1)
    cloud.admin.updateHypervisorCapabilities(id=simulator, maxhostspercluster=2)
    site.add_host(cloud.name("second"))
    with pytest.raises(ApiError, match="clusters have 2 at most"):
        site.add_host(cloud.name("third"))


def test_what_cannot_be_changed(cloud: Cloud, simulator: str) -> None:
    for wrong in (
        {}, {"id": simulator, "hypervisor": "KVM"}, {"hypervisor": "Xen"}, {"id": simulator, "maxguestslimit": 0},
        {"hypervisor": "KVM", "hypervisorversion": "9.9"}, {"id": simulator, "securitygroupenabled": True},
    ):  # fmt: skip
        with pytest.raises(ApiError) as no:
            cloud.admin.updateHypervisorCapabilities(**wrong)
        assert no.value.code in (431, 432), wrong
