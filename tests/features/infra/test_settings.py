"""Settings: typed, bounded, scoped, effective at once."""

from __future__ import annotations

import pytest
from cloud import ApiError, Cloud


def value(cloud: Cloud, name: str, **scope: str) -> str:
    return str(cloud.admin.one("listConfigurations", name=name, **scope)["value"])


def test_a_setting_and_its_default(cloud: Cloud) -> None:
    shown = cloud.admin.one("listConfigurations", name="expunge.delay")
    assert (shown["value"], shown["defaultvalue"], shown["type"], shown["isdynamic"]) == (
        "86400",
        "86400",
        "Number",
        True,
    )
    cloud.set("expunge.delay", 60)
    assert value(cloud, "expunge.delay") == "60"
    cloud.set("expunge.delay", 86400)


def test_values_are_checked(cloud: Cloud) -> None:
    for name, bad in (
        ("expunge.delay", "soon"),
        ("expunge.delay", "-1"),
        ("vm.instancename.flag", "yes"),
        ("vm.allocation.algorithm", "best"),
        ("cpu.overprovisioning.factor", "0.5"),
        ("no.such.setting", "1"),
    ):
        with pytest.raises(ApiError) as no:
            cloud.admin.updateConfiguration(name=name, value=bad)
        assert no.value.code == 431 and name in no.value.text


def test_scopes(cloud: Cloud) -> None:
    site, other = cloud.zone(hosts=0), cloud.zone(hosts=0)
    cloud.set("guest.domain.suffix", "here.example", zoneid=site.zone)
    assert value(cloud, "guest.domain.suffix", zoneid=site.zone) == "here.example"
    assert (
        value(cloud, "guest.domain.suffix", zoneid=other.zone) == value(cloud, "guest.domain.suffix") == "cs.internal"
    )
    with pytest.raises(ApiError, match="cannot be set for a cluster"):
        cloud.set("guest.domain.suffix", "x", clusterid=site.cluster)
    with pytest.raises(ApiError, match="one scope only"):
        cloud.set("guest.domain.suffix", "x", clusterid=site.cluster, zoneid=site.zone)


def test_a_setting_of_something_that_is_not_there(cloud: Cloud) -> None:
    with pytest.raises(ApiError, match="Invalid parameter zoneid value=0") as no:
        cloud.set("guest.domain.suffix", "x", zoneid="00000000-0000-4000-8000-000000000000")
    assert no.value.code == 431


def test_lists_of_settings(cloud: Cloud) -> None:
    everything = cloud.admin.ask("listConfigurations")
    assert everything["count"] == len(everything["configuration"]) > 40
    names = [c["name"] for c in everything["configuration"]]
    assert names == sorted(names)
    page = cloud.admin.ask("listConfigurations", page=2, pagesize=10)
    assert [c["name"] for c in page["configuration"]] == names[10:20] and page["count"] == len(names)
    assert {c["group"] for c in cloud.admin.listConfigurations(group="Limits")} == {"Limits"}
    assert all("overprovisioning" in c["name"] for c in cloud.admin.listConfigurations(keyword="OVERprovisioning"))
    assert cloud.admin.ask("listConfigurations", name="nothing") == {}
