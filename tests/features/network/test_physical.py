"""Physical networks, traffic types, public ranges, network offerings: what an operator brings."""

from __future__ import annotations

from typing import Any

import pytest
from cloud import ApiError, Cloud, Site


@pytest.fixture(scope="module")
def site(cloud: Cloud) -> Site:
    return cloud.zone(hosts=1)


def refused(cloud: Cloud, command: str, code: int, text: str, **params: Any) -> None:
    with pytest.raises(ApiError) as no:
        cloud.admin.call(command, **params)
    assert no.value.code == code and text in no.value.text, no.value


def test_a_physical_network_and_its_traffic(cloud: Cloud) -> None:
    zone = cloud.zone(hosts=0).zone
    made = cloud.admin.createPhysicalNetwork(zoneid=zone, name="second", vlan="100-200,300", tags="a,b")
    assert (made["state"], made["isolationmethods"], made["vlan"], made["tags"]) == (
        "Disabled",
        "VLAN",
        "100-200,300",
        "a,b",
    )
    traffic = cloud.admin.addTrafficType(physicalnetworkid=made["id"], traffictype="Guest", kvmnetworklabel="cloudbr1")
    assert (traffic["traffictype"], traffic["kvmnetworklabel"]) == ("Guest", "cloudbr1")
    refused(
        cloud, "addTrafficType", 431, "carries Guest traffic already", physicalnetworkid=made["id"], traffictype="Guest"
    )
    for label in ("a-name-that-is-too-long", "a/b", "a b"):
        refused(
            cloud,
            "addTrafficType",
            431,
            "name of a network device",
            physicalnetworkid=made["id"],
            traffictype="Public",
            kvmnetworklabel=label,
        )
    assert cloud.admin.updateTrafficType(id=traffic["id"], kvmnetworklabel="br2")["kvmnetworklabel"] == "br2"
    assert cloud.admin.updatePhysicalNetwork(id=made["id"], state="Enabled", vlan="100-110")["vlan"] == "100-110"
    cloud.admin.deleteTrafficType(id=traffic["id"])
    assert cloud.admin.listTrafficTypes(physicalnetworkid=made["id"]) == []
    cloud.admin.deletePhysicalNetwork(id=made["id"])
    assert cloud.admin.listPhysicalNetworks(zoneid=zone, name="second") == []


def test_ranges_of_ids(cloud: Cloud) -> None:
    zone = cloud.zone(hosts=0).zone
    for vlan, method in (
        ("200-100", "VLAN"),
        ("0-5", "VLAN"),
        ("4000-5000", "VLAN"),
        ("x", "VLAN"),
        ("1-16777216", "VXLAN"),
        ("²", "VXLAN"),
        ("1,,2", "VXLAN"),
        ("1-2-3", "VXLAN"),
    ):
        refused(
            cloud, "createPhysicalNetwork", 431, "", zoneid=zone, name=f"bad {vlan}", vlan=vlan, isolationmethods=method
        )
    refused(cloud, "createPhysicalNetwork", 431, "is not offered", zoneid=zone, name="gre", isolationmethods="GRE")
    cloud.admin.createPhysicalNetwork(zoneid=zone, name="wide", isolationmethods="vxlan", vlan="5000-16777215")


def test_ids_in_use_stay_in_the_range(cloud: Cloud) -> None:
    own = cloud.zone(hosts=1, vlan="5000-5000")
    own.deploy(cloud.admin)
    refused(cloud, "updatePhysicalNetwork", 536, "The id 5000 is used by a network", id=own.physical, vlan="6000-7000")
    assert cloud.admin.updatePhysicalNetwork(id=own.physical, vlan="4000-6000")["vlan"] == "4000-6000"
    refused(cloud, "deletePhysicalNetwork", 536, "is used by", id=own.physical)
    guest = next(
        t["id"] for t in cloud.admin.listTrafficTypes(physicalnetworkid=own.physical) if t["traffictype"] == "Guest"
    )
    refused(cloud, "deleteTrafficType", 536, "still use this physical network", id=guest)


def test_a_public_range(cloud: Cloud, site: Site) -> None:
    wish = {"zoneid": site.zone, "gateway": "198.51.100.1", "netmask": "255.255.255.0", "vlan": "77"}
    made = cloud.admin.createVlanIpRange(startip="198.51.100.10", endip="198.51.100.20", **wish)
    assert (made["startip"], made["endip"], made["vlan"], made["cidr"]) == (
        "198.51.100.10",
        "198.51.100.20",
        "vlan://77",
        "198.51.100.0/24",
    )
    assert [r["id"] for r in cloud.admin.listVlanIpRanges(vlan="vlan://77")] == [made["id"]]
    for bad in ({"startip": "198.51.100.15"}, {"startip": "198.51.100.1"}, {"startip": "10.0.0.1"}, {"startip": "198.51.100.30", "endip": "198.51.100.25"},
                {"startip": "198.51.100.255"}, {"startip": "198.51.100.40", "vlan": "x"}, {"startip": "198.51.100.40", "vlan": "²"}, {"startip": "198.51.100.40", "netmask": "255.255.255.255"}):  # fmt: skip
        refused(cloud, "createVlanIpRange", 431, "", **{**wish, **bad})
    changed = cloud.admin.updateVlanIpRange(id=made["id"], endip="198.51.100.30")
    assert changed["endip"] == "198.51.100.30"
    refused(cloud, "updateVlanIpRange", 431, "not a usable address", id=made["id"], endip="198.51.101.3")
    cloud.admin.deleteVlanIpRange(id=made["id"])
    refused(cloud, "listVlanIpRanges", 431, "entity does not exist", id=made["id"])


def test_a_range_in_use_stays(cloud: Cloud) -> None:
    own = cloud.zone(hosts=1, public=1)
    own.deploy(cloud.tenant())
    used = cloud.admin.listRouters(zoneid=own.zone)[0]["publicip"]
    assert used == "203.0.112.11"
    refused(cloud, "deleteVlanIpRange", 536, f"The address {used} of the range is in use", id=own.public_range)
    refused(
        cloud,
        "updateVlanIpRange",
        536,
        "would fall out of the range",
        id=own.public_range,
        startip="203.0.112.12",
        endip="203.0.112.20",
    )
    refused(
        cloud, "updateVlanIpRange", 536, "gateway and netmask cannot change", id=own.public_range, gateway="203.0.112.2"
    )


def test_network_offerings(cloud: Cloud, site: Site) -> None:
    wish = {"guestiptype": "Isolated", "traffictype": "Guest"}
    made = cloud.admin.createNetworkOffering(
        name="dhcp only", supportedservices="dhcp,Dns", serviceproviderlist=[{"service": "Dhcp", "provider": "VirtualRouter"}], **wish
    )  # fmt: skip
    assert (made["state"], [s["name"] for s in made["service"]], made["guestiptype"]) == (
        "Disabled",
        ["Dhcp", "Dns"],
        "Isolated",
    )
    tenant = cloud.tenant()
    assert tenant.listNetworkOfferings(id=made["id"]) == []
    with pytest.raises(ApiError, match="is disabled"):
        site.network(tenant, networkofferingid=made["id"])
    cloud.admin.updateNetworkOffering(id=made["id"], state="Enabled")
    assert tenant.listNetworkOfferings(id=made["id"], supportedservices="Dhcp", sourcenatsupported=False)
    assert tenant.listNetworkOfferings(id=made["id"], sourcenatsupported=True) == []
    network = site.network(tenant, networkofferingid=made["id"])
    refused(cloud, "deleteNetworkOffering", 536, "is used by the network", id=made["id"])
    tenant.deleteNetwork(id=network["id"])
    cloud.admin.deleteNetworkOffering(id=made["id"])
    refused(cloud, "deleteNetworkOffering", 431, "Default offerings cannot be deleted", id=site.network_offering)
    for bad in ({"guestiptype": "Shared"}, {"guestiptype": "L2"}, {"forvpc": True}, {"supportedservices": "Lb"}, {"supportedservices": "Teleport"}, {"specifyipranges": True},
                {"supportedservices": "Dhcp", "serviceproviderlist": [{"service": "Dhcp", "provider": "Netscaler"}]},
                {"servicecapabilitylist": [{"service": "SourceNat", "capabilitytype": "RedundantRouter", "capabilityvalue": "true"}]},
                {"serviceproviderlist": [{"service": "Dhcp", "nonsense": "x"}]}):  # fmt: skip
        refused(cloud, "createNetworkOffering", 431, "", name="bad", **{**wish, **bad})
    refused(
        cloud,
        "createNetworkOffering",
        431,
        "already",
        name="DefaultIsolatedNetworkOfferingWithSourceNatService",
        **wish,
    )


def test_the_router_of_a_physical_network(cloud: Cloud) -> None:
    """What scripts that set up a zone do: find the provider's element, configure it, enable the provider."""
    site, root = cloud.zone(hosts=1), cloud.admin
    (provider,) = root.listNetworkServiceProviders(name="VirtualRouter", physicalnetworkid=site.physical)
    (element,) = root.listVirtualRouterElements(nspid=provider["id"])
    assert (element["enabled"], element["nspid"]) == (True, provider["id"])
    assert root.configureVirtualRouterElement(id=element["id"], enabled=False)["enabled"] is False
    assert root.listVirtualRouterElements(nspid=provider["id"], enabled=True) == []
    refused(cloud, "updateNetworkServiceProvider", 431, "has no enabled element", id=provider["id"], state="Enabled")
    with pytest.raises(ApiError, match="enabled VirtualRouter"):
        site.deploy(root)
    root.configureVirtualRouterElement(id=element["id"], enabled=True)
    site.deploy(root)
    refused(cloud, "configureVirtualRouterElement", 536, "serves the network", id=element["id"], enabled=False)
    refused(cloud, "deleteNetworkServiceProvider", 536, "serves the network", id=provider["id"])


def test_a_provider_goes_and_comes_again(cloud: Cloud) -> None:
    site, root = cloud.zone(hosts=1), cloud.admin
    physical = site.physical
    (provider,) = root.listNetworkServiceProviders(physicalnetworkid=physical)
    refused(cloud, "addNetworkServiceProvider", 431, "There is already", name="VirtualRouter", physicalnetworkid=physical)
    root.deleteNetworkServiceProvider(id=provider["id"])
    assert root.listNetworkServiceProviders(physicalnetworkid=physical) == []
    with pytest.raises(ApiError, match="enabled VirtualRouter"):
        site.deploy(root)
    refused(cloud, "addNetworkServiceProvider", 431, "there is VirtualRouter", name="Other", physicalnetworkid=physical)
    refused(cloud, "addNetworkServiceProvider", 431, "leave servicelist out", name="VirtualRouter", physicalnetworkid=physical, servicelist="Dhcp")  # fmt: skip
    new = root.addNetworkServiceProvider(name="VirtualRouter", physicalnetworkid=physical)
    assert new["state"] == "Disabled"
    refused(cloud, "createVirtualRouterElement", 431, "there is VirtualRouter", nspid=new["id"], providertype="Other")
    element = root.createVirtualRouterElement(nspid=new["id"], providertype="VirtualRouter")
    assert (element["enabled"], element["nspid"]) == (False, new["id"])
    refused(cloud, "createVirtualRouterElement", 431, "There is already", nspid=new["id"])
    root.configureVirtualRouterElement(id=element["id"], enabled=True)
    assert root.updateNetworkServiceProvider(id=new["id"], state="Enabled")["state"] == "Enabled"
    site.deploy(root)
