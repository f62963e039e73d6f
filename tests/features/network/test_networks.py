"""Guest networks: made, served while machines run on them, exhausted, restarted, put to rest, removed."""

from __future__ import annotations

import time
from typing import Any

import pytest
from cloud import ApiError, Cloud, Site

from mold.wire import calls as w


@pytest.fixture(scope="module")
def site(cloud: Cloud) -> Site:
    return cloud.zone(hosts=2)


def routers(cloud: Cloud) -> dict[str, w.RouterSpec]:
    """What the simulated hosts serve, by the router's id."""
    return {id: spec for box in cloud.simulator.boxes.values() for id, spec in box.routers.items()}


def test_a_network_has_no_router_until_a_machine_starts(cloud: Cloud, site: Site) -> None:
    tenant = cloud.tenant()
    before = set(routers(cloud))
    net = site.network(
        tenant,
        "office",
        displaytext="The office",
        gateway="10.5.0.1",
        netmask="255.255.255.0",
        networkdomain="office.example",
    )
    assert (net["state"], net["cidr"], net["gateway"], net["networkdomain"], net["type"]) == (
        "Allocated",
        "10.5.0.0/24",
        "10.5.0.1",
        "office.example",
        "Isolated",
    )
    assert {s["name"] for s in net["service"]} == {"Dhcp", "Dns", "UserData", "SourceNat"}
    assert "vlan" not in net and "broadcasturi" not in net
    assert set(routers(cloud)) == before
    vm = site.deploy(tenant, networkids=net["id"], startvm=False)
    assert set(routers(cloud)) == before
    tenant.startVirtualMachine(id=vm["id"])
    (made,) = set(routers(cloud)) - before
    assert tenant.one("listNetworks", id=net["id"])["state"] == "Implemented"
    shown = cloud.admin.one("listNetworks", id=net["id"])
    assert 1000 <= int(shown["vlan"]) <= 3999 and shown["broadcasturi"] == f"vxlan://{shown['vlan']}"
    assert routers(cloud)[made].segment.tag == int(shown["vlan"])


def test_suffixes(cloud: Cloud, site: Site) -> None:
    domain = cloud.admin.createDomain(name=cloud.name("suffixed"), networkdomain="of-the-domain.example")["id"]
    assert site.network(cloud.tenant(domain))["networkdomain"] == "of-the-domain.example"
    assert site.network(cloud.tenant())["networkdomain"] == "cloud.internal"
    cloud.admin.updateZone(id=site.zone, domain="of-the-zone.example")
    assert site.network(cloud.tenant())["networkdomain"] == "of-the-zone.example"


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"gateway": "10.1.1.1"}, 431), ({"netmask": "255.255.255.0"}, 431), ({"gateway": "10.1.1.0", "netmask": "255.255.255.0"}, 431),
        ({"gateway": "8.8.8.1", "netmask": "255.255.255.0"}, 431), ({"gateway": "10.1.1.1", "netmask": "255.255.255.252"}, 431),
        ({"gateway": "10.0.0.1", "netmask": "254.0.0.0"}, 431), ({"gateway": "ten", "netmask": "255.255.255.0"}, 431),
        ({"gateway": "10.1.1.1", "netmask": "255.255.255.0", "startip": "10.2.0.1"}, 431), ({"networkdomain": "a b"}, 431),
        ({"networkdomain": "x" * 64 + ".example"}, 431), ({"dns1": "dns.example"}, 431), ({"vlan": "77"}, 531), ({"acltype": "Domain"}, 431),
        ({"ip6gateway": "fd00::1"}, 432), ({"vpcid": "1"}, 432), ({"name": ""}, 431),
    ],
)  # fmt: skip
def test_networks_that_cannot_be(cloud: Cloud, site: Site, wrong: dict[str, Any], code: int) -> None:
    tenant = cloud.tenant()
    with pytest.raises(ApiError) as no:
        tenant.createNetwork(
            **{"name": "bad", "networkofferingid": site.network_offering, "zoneid": site.zone, **wrong}
        )
    assert no.value.code == code
    assert tenant.listNetworks() == []


def test_a_chosen_vlan(cloud: Cloud, site: Site) -> None:
    offering = cloud.admin.createNetworkOffering(
        name="choose",
        guestiptype="Isolated",
        traffictype="Guest",
        supportedservices="Dhcp",
        specifyvlan=True,
        enable=True,
    )["id"]
    net = site.network(cloud.admin, "chosen", networkofferingid=offering, vlan="vlan://4242")
    assert net["vlan"] == "4242"
    for vlan in (None, "x", "0", "²", str(2**24)):
        with pytest.raises(ApiError, match="431"):
            site.network(cloud.admin, "bad", networkofferingid=offering, vlan=vlan)
    with pytest.raises(ApiError, match=r"collides|already") as no:
        site.network(cloud.admin, "same", networkofferingid=offering, vlan="4242")
    assert no.value.code == 431
    with pytest.raises(ApiError, match="531"):
        site.network(cloud.tenant(), "bad", networkofferingid=offering, vlan="4243")
    vm = site.deploy(cloud.admin, networkids=net["id"])
    cloud.admin.destroyVirtualMachine(id=vm["id"], expunge=True)
    assert cloud.admin.one("listNetworks", id=net["id"])["vlan"] == "4242"


def test_ids_run_out_and_come_back(cloud: Cloud) -> None:
    own = cloud.zone(hosts=1, vlan="7000-7001")
    tenant = cloud.tenant()
    nets = [own.network(tenant, f"n{n}")["id"] for n in range(3)]
    for net in nets[:2]:
        own.deploy(tenant, networkids=net)
    tags = {n["vlan"] for n in cloud.admin.listNetworks(listall=True, zoneid=own.zone) if "vlan" in n}
    assert tags == {"7000", "7001"}
    with pytest.raises(ApiError, match="The zone has no network segment left") as no:
        own.deploy(tenant, networkids=nets[2])
    assert no.value.code == 533
    cloud.admin.updatePhysicalNetwork(id=own.physical, vlan="7000-7002")
    own.deploy(tenant, networkids=nets[2])


def test_public_addresses_run_out(cloud: Cloud) -> None:
    own = cloud.zone(hosts=1, public=1)
    first, second = cloud.tenant(), cloud.tenant()
    own.deploy(first)
    with pytest.raises(ApiError, match="No public IP address is free in this zone") as no:
        own.deploy(second)
    assert no.value.code == 533
    assert second.listVirtualMachines() == [] and len(cloud.admin.listRouters(zoneid=own.zone)) == 1
    assert second.listNetworks()[0]["state"] == "Allocated"


def test_addresses_of_a_network_run_out(cloud: Cloud, site: Site) -> None:
    tenant = cloud.tenant()
    net = site.network(tenant, "tiny", gateway="10.7.0.1", netmask="255.255.255.248")["id"]
    machines = [site.deploy(tenant, networkids=net, startvm=False) for _ in range(5)]
    used = {m["nic"][0]["ipaddress"] for m in machines}
    assert used == {f"10.7.0.{n}" for n in range(2, 7)}, "all but network, gateway and broadcast"
    with pytest.raises(ApiError, match="has no free address left") as no:
        site.deploy(tenant, networkids=net, startvm=False)
    assert no.value.code == 533
    cloud.admin.destroyVirtualMachine(id=machines[0]["id"], expunge=True)
    assert (
        site.deploy(tenant, networkids=net, startvm=False)["nic"][0]["ipaddress"] == machines[0]["nic"][0]["ipaddress"]
    )


def test_a_wished_address_and_range(cloud: Cloud, site: Site) -> None:
    tenant = cloud.tenant()
    net = site.network(
        tenant, "ranged", gateway="10.8.0.1", netmask="255.255.255.0", startip="10.8.0.100", endip="10.8.0.101"
    )["id"]
    vm = site.deploy(tenant, networkids=net, ipaddress="10.8.0.101", macaddress="02:00:00:00:00:AA", startvm=False)
    assert (vm["nic"][0]["ipaddress"], vm["nic"][0]["macaddress"]) == ("10.8.0.101", "02:00:00:00:00:aa")
    for wish, code in (
        ({"ipaddress": "10.8.0.101"}, 431),
        ({"ipaddress": "10.8.0.1"}, 431),
        ({"ipaddress": "10.8.0.50"}, 431),
        ({"ipaddress": "10.9.0.5"}, 431),
        ({"ipaddress": "x"}, 431),
        ({"macaddress": "01:00:00:00:00:01"}, 431),
        ({"macaddress": "zz"}, 431),
    ):
        with pytest.raises(ApiError) as no:
            site.deploy(tenant, networkids=net, startvm=False, **wish)
        assert no.value.code == code, wish
    assert site.deploy(tenant, networkids=net, startvm=False)["nic"][0]["ipaddress"] == "10.8.0.100"


def test_several_networks_of_one_machine(cloud: Cloud, site: Site) -> None:
    tenant = cloud.tenant()
    one, two = site.network(tenant, "one")["id"], site.network(tenant, "two")["id"]
    vm = site.deploy(tenant, networkids=[two, one])
    assert [(n["networkid"], n["isdefault"]) for n in vm["nic"]] == [(two, True), (one, False)]
    assert vm["ipaddress"] == vm["nic"][0]["ipaddress"]
    pairs = [{"networkid": one, "ip": "10.1.1.77"}, {"networkid": two}]
    vm = site.deploy(tenant, iptonetworklist=pairs)
    assert vm["nic"][0]["ipaddress"] == "10.1.1.77"
    with pytest.raises(ApiError, match="is named twice"):
        site.deploy(tenant, iptonetworklist=[{"networkid": one}, {"networkid": one}])
    with pytest.raises(ApiError, match="several networks"):
        tenant.deployVirtualMachine(serviceofferingid=site.offering, templateid=site.template, zoneid=site.zone)
    with pytest.raises(ApiError, match="belongs to another account"):
        site.deploy(cloud.admin, networkids=one)
    elsewhere = cloud.zone(hosts=0)
    with pytest.raises(ApiError, match="is in another zone"):
        site.deploy(tenant, networkids=elsewhere.network(tenant, "far")["id"])


def test_a_network_with_machines_stays(cloud: Cloud, site: Site) -> None:
    tenant = cloud.tenant()
    vm = site.deploy(tenant, name="stayer")
    net = vm["nic"][0]["networkid"]
    with pytest.raises(ApiError, match="The machine stayer is on the network") as no:
        tenant.deleteNetwork(id=net)
    assert no.value.code == 536
    router = cloud.admin.one("listRouters", networkid=net)
    assert router["id"] in routers(cloud)
    cloud.admin.destroyVirtualMachine(id=vm["id"], expunge=True)
    tenant.deleteNetwork(id=net)
    assert router["id"] not in routers(cloud) and tenant.listNetworks() == []
    assert cloud.admin.listRouters(zoneid=site.zone, publicip=router["publicip"]) != [router]


def test_changes_reach_the_router(cloud: Cloud, site: Site) -> None:
    tenant = cloud.tenant()
    net = site.deploy(tenant)["nic"][0]["networkid"]
    router = cloud.admin.one("listRouters", networkid=net)["id"]
    before = routers(cloud)[router].serial
    tenant.updateNetwork(id=net, networkdomain="new.example", dns1="1.1.1.1", name="renamed")
    spec = routers(cloud)[router]
    assert spec.serial > before and spec.domain == "new.example" and spec.dns[0] == "1.1.1.1"
    assert tenant.one("listNetworks", id=net)["name"] == "renamed"


def test_restarting(cloud: Cloud, site: Site) -> None:
    tenant = cloud.tenant()
    net = site.network(tenant)["id"]
    with pytest.raises(ApiError, match="has a router only while machines run on it"):
        tenant.restartNetwork(id=net)
    site.deploy(tenant, networkids=net)
    router = cloud.admin.one("listRouters", networkid=net)["id"]
    seen = cloud.calls_to_hosts()
    tenant.restartNetwork(id=net)
    assert [type(c).__name__ for _, c in seen] == ["ApplyRouter"]
    tenant.restartNetwork(id=net, cleanup=True)
    assert [type(c).__name__ for _, c in seen] == ["ApplyRouter", "RemoveRouter", "ApplyRouter"]
    assert router in routers(cloud)


def test_idle_networks_give_back_router_address_and_id(cloud: Cloud, site: Site) -> None:
    tenant = cloud.tenant()
    vm = site.deploy(tenant)
    net = vm["nic"][0]["networkid"]
    router = cloud.admin.one("listRouters", networkid=net)
    tenant.stopVirtualMachine(id=vm["id"])
    cloud.reconcile("shut_idle_networks")
    assert tenant.one("listNetworks", id=net)["state"] == "Implemented", "it waits network.gc.wait"
    cloud.set("network.gc.wait", 0)
    try:
        time.sleep(1.1)
        cloud.reconcile("shut_idle_networks")
    finally:
        cloud.set("network.gc.wait", 600)
    shown = cloud.admin.one("listNetworks", id=net)
    assert shown["state"] == "Allocated" and "vlan" not in shown
    assert cloud.admin.listRouters(networkid=net) == [] and router["id"] not in routers(cloud)
    assert tenant.startVirtualMachine(id=vm["id"])["nic"][0]["ipaddress"] == vm["nic"][0]["ipaddress"]
    assert tenant.one("listNetworks", id=net)["state"] == "Implemented"


def test_a_router_that_cannot_be_told_is_told_later(cloud: Cloud, site: Site) -> None:
    tenant = cloud.tenant()
    vm = site.deploy(tenant)
    router = cloud.admin.one("listRouters", networkid=vm["nic"][0]["networkid"])["id"]
    tenant.updateVirtualMachine(id=vm["id"], name="renamed")
    assert [x.name for x in routers(cloud)[router].leases] == [vm["name"]]
    cloud.reconcile("follow_networks")
    assert [x.name for x in routers(cloud)[router].leases] == ["renamed"]
    assert cloud.reconcile("follow_networks") == 0, "a second run does nothing"


def test_filters_of_the_list(cloud: Cloud, site: Site) -> None:
    tenant = cloud.tenant()
    net = site.network(tenant, "findme")["id"]
    for found in (
        {"keyword": "FINDM"},
        {"type": "Isolated"},
        {"traffictype": "Guest"},
        {"supportedservices": "SourceNat"},
        {"zoneid": site.zone},
        {"networkofferingid": site.network_offering},
        {"restartrequired": False},
        {"canusefordeploy": True},
    ):
        assert [n["id"] for n in tenant.listNetworks(**found)] == [net], found
    for nothing in (
        {"keyword": "zzz"},
        {"type": "Shared"},
        {"forvpc": True},
        {"supportedservices": "Lb"},
        {"restartrequired": True},
    ):
        assert tenant.listNetworks(**nothing) == [], nothing
