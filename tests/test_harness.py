"""The harness is quick enough to be used everywhere, and honest."""

from __future__ import annotations

import time

from cloud import Cloud


def test_a_zone_and_a_machine(fresh_cloud: Cloud) -> None:
    began = time.monotonic()
    site = fresh_cloud.zone(hosts=3)
    print("zone", time.monotonic() - began)
    began = time.monotonic()
    tenant = fresh_cloud.tenant()
    print("tenant", time.monotonic() - began)
    began = time.monotonic()
    vm = site.deploy(tenant, name="web")
    print("deploy", time.monotonic() - began)
    assert vm["state"] == "Running"
    assert any(vm["nic"][0]["ipaddress"] for _ in vm["nic"])


def test_another(fresh_cloud: Cloud) -> None:
    assert fresh_cloud.admin.listZones() == []
