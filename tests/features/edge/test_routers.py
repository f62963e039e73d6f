"""Routers: the document a host gets is complete, its serial only grows, and a router can be made anew."""

from __future__ import annotations

from cloud import Cloud

from mold.wire import calls as w


def test_the_document(cloud: Cloud) -> None:
    site = cloud.zone(hosts=2)
    tenant = cloud.tenant()
    seen = cloud.calls_to_hosts()
    first = site.deploy(tenant, name="first")
    second = site.deploy(tenant, name="second", startvm=False)
    shown = cloud.admin.one("listRouters", zoneid=site.zone)
    assert (shown["state"], shown["role"], shown["guestnetworkid"], shown["account"]) == (
        "Running",
        "VIRTUAL_ROUTER",
        first["nic"][0]["networkid"],
        tenant.name,
    )
    assert shown["publicip"] == "203.0.112.11" and shown["hostid"] in site.hosts
    spec = cloud.simulator.boxes[shown["hostid"]].routers[shown["id"]]
    assert (spec.gateway, spec.prefix, spec.domain) == ("10.1.1.1", 24, "cloud.internal")
    assert spec.segment.method == "vxlan" and 1000 <= spec.segment.tag <= 3999
    assert (
        set(spec.services) == {"Dhcp", "Dns", "UserData", "SourceNat"}
        and spec.egress == "allow"
        and spec.dns == ["9.9.9.9"]
    )
    assert spec.public is not None
    assert (
        spec.public.ip,
        spec.public.prefix,
        spec.public.gateway,
        spec.public.source_nat,
        spec.public.segment.method,
    ) == ("203.0.112.11", 20, "203.0.112.1", True, "untagged")
    assert [x.name for x in spec.leases] == ["first"]
    cloud.reconcile("follow_networks")
    spec = cloud.simulator.boxes[shown["hostid"]].routers[shown["id"]]
    assert {x.name: x.ip for x in spec.leases} == {
        "first": first["nic"][0]["ipaddress"],
        "second": second["nic"][0]["ipaddress"],
    }
    serials = [c.router.serial for _, c in seen if isinstance(c, w.ApplyRouter)]
    assert serials == sorted(set(serials)), "every document is newer than the one before"
    cloud.admin.destroyVirtualMachine(id=second["id"], expunge=True)
    cloud.reconcile("follow_networks")
    assert [x.name for x in cloud.simulator.boxes[shown["hostid"]].routers[shown["id"]].leases] == ["first"]


def test_rebooting_makes_it_anew(cloud: Cloud) -> None:
    site = cloud.zone(hosts=1)
    site.deploy(cloud.tenant())
    router = cloud.admin.one("listRouters", zoneid=site.zone)
    seen = cloud.calls_to_hosts()
    assert cloud.admin.rebootRouter(id=router["id"])["state"] == "Running"
    assert [type(c).__name__ for _, c in seen] == ["RemoveRouter", "ApplyRouter"]
    assert router["id"] in cloud.simulator.boxes[site.hosts[0]].routers


def test_offerings_without_source_nat_take_no_address(cloud: Cloud) -> None:
    site = cloud.zone(hosts=1, public=1)
    offering = cloud.admin.createNetworkOffering(
        name="quiet",
        guestiptype="Isolated",
        traffictype="Guest",
        supportedservices="Dhcp,Dns",
        enable=True,
        egressdefaultpolicy=False,
    )["id"]
    tenant = cloud.tenant()
    net = site.network(tenant, networkofferingid=offering)["id"]
    site.deploy(tenant, networkids=net)
    router = cloud.admin.one("listRouters", networkid=net)
    spec = cloud.simulator.boxes[site.hosts[0]].routers[router["id"]]
    assert (
        "publicip" not in router
        and spec.public is None
        and set(spec.services) == {"Dhcp", "Dns"}
        and spec.egress == "deny"
    )
