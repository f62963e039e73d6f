"""What is given is what is shown, found and changed: parameters that no story of their own is told about elsewhere."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from cloud import ApiError, Cloud, Site


@pytest.fixture(scope="module")
def site(cloud: Cloud) -> Site:
    return cloud.zone(hosts=1)


def shows(answer: dict[str, Any], **wanted: Any) -> str:
    """That an answer has these values; its id."""
    assert {k: answer.get(k) for k in wanted} == wanted
    return str(answer["id"])


def ids(rows: list[dict[str, Any]]) -> set[str]:
    return {str(r["id"]) for r in rows}


def test_offerings(cloud: Cloud) -> None:
    root = cloud.admin
    rates = {"byteswriterate": 1000, "iopsreadrate": 10, "iopswriterate": 20}
    shown = {"diskBytesWriteRate": 1000, "diskIopsReadRate": 10, "diskIopsWriteRate": 20}
    disk = shows(
        root.createDiskOffering(
            name=cloud.name("disk"), displaytext="d", disksize=1, provisioningtype="fat", displayoffering=False, **rates
        ),
        provisioningtype="fat", displayoffering=False, **shown,
    )  # fmt: skip
    changed = root.updateDiskOffering(
        id=disk, sortkey=7, displayoffering=True, byteswriterate=2000, iopsreadrate=30, iopswriterate=40
    )
    shows(changed, displayoffering=True, diskBytesWriteRate=2000, diskIopsReadRate=30, diskIopsWriteRate=40)
    size = {"displaytext": "d", "cpunumber": 1, "cpuspeed": 100, "memory": 128}
    tiny = shows(
        root.createServiceOffering(
            name=cloud.name("size"), limitcpuuse=True, provisioningtype="sparse", dynamicscalingenabled=False, **size, **rates
        ),
        limitcpuuse=True, provisioningtype="sparse", dynamicscalingenabled=False, **shown,
    )  # fmt: skip
    root.updateServiceOffering(id=tiny, sortkey=-7)
    inner = shows(
        root.createServiceOffering(name=cloud.name("inner"), issystem=True, systemvmtype="domainrouter", **size),
        issystem=True, systemvmtype="domainrouter",
    )  # fmt: skip
    assert inner in ids(root.listServiceOfferings(issystem=True, systemvmtype="domainrouter"))
    assert inner not in ids(root.listServiceOfferings(issystem=True, systemvmtype="consoleproxy"))
    net = shows(
        root.createNetworkOffering(
            name=cloud.name("net"), displaytext="n", guestiptype="Isolated", traffictype="Guest", supportedservices="Dhcp",
            availability="Required", conservemode=False, ispersistent=True, networkrate=100, details={"internetProtocol": "ipv4"},
            serviceProviderList=[{"service": "Dhcp", "provider": "VirtualRouter"}],
        ),
        availability="Required", conservemode=False, ispersistent=True, networkrate=100, isdefault=False,
        details={"internetProtocol": "ipv4"},
    )  # fmt: skip
    shows(root.updateNetworkOffering(id=net, displaytext="m", sortkey=1, availability="Optional"), displaytext="m", availability="Optional")  # fmt: skip
    assert net in ids(root.listNetworkOfferings(availability="Optional", isdefault=False, specifyvlan=False, istagged=False))
    for other in ({"availability": "Required"}, {"isdefault": True}, {"specifyvlan": True}, {"istagged": True}):
        assert net not in ids(root.listNetworkOfferings(**other))
    (dhcp,) = root.listSupportedNetworkServices(service="Dhcp")
    assert dhcp["name"] == "Dhcp"


def test_zones_and_physical_networks(cloud: Cloud) -> None:
    root = cloud.admin
    dns = {"dns2": "1.1.1.1", "internaldns2": "1.0.0.1", "ip6dns1": "2001:db8::1", "ip6dns2": "2001:db8::2"}
    made = root.createZone(
        name=cloud.name("zone"), dns1="9.9.9.9", internaldns1="9.9.9.9", localstorageenabled=True, networktype="Advanced", **dns
    )
    zone = shows(made, localstorageenabled=True, **dns)
    dns = {"dns2": "8.8.8.8", "internaldns2": "8.8.4.4", "ip6dns1": "2001:db8::3", "ip6dns2": "2001:db8::4"}
    shows(root.updateZone(id=zone, localstorageenabled=False, sortkey=3, **dns), localstorageenabled=False, **dns)
    with pytest.raises(ApiError, match="dhcpprovider|DHCP"):
        root.updateZone(id=zone, dhcpprovider="Nobody")
    wire = shows(
        root.createPhysicalNetwork(name=cloud.name("wire"), zoneid=zone, networkspeed="10G", broadcastdomainrange="POD"),
        networkspeed="10G", broadcastdomainrange="POD",
    )  # fmt: skip
    shows(root.updatePhysicalNetwork(id=wire, networkspeed="25G"), networkspeed="25G")


def test_networks(cloud: Cloud, site: Site) -> None:
    root, tenant = cloud.admin, cloud.tenant()
    net = shows(site.network(root, dns1="9.9.9.9", dns2="1.1.1.1", displaynetwork=False), dns2="1.1.1.1", displaynetwork=False)
    assert net in ids(root.listNetworks(displaynetwork=False, issystem=False, specifyipranges=False))
    for other in ({"displaynetwork": True}, {"issystem": True}, {"specifyipranges": True}):
        assert net not in ids(root.listNetworks(**other))
    shows(root.updateNetwork(id=net, dns1="9.9.9.9", dns2="8.8.8.8", displaynetwork=True), dns2="8.8.8.8", displaynetwork=True)
    mine = site.network(tenant)["id"]
    assert ids(tenant.listNetworks(networkfilter="account")) == {mine}
    assert tenant.listNetworks(networkfilter="shared") == []
    assert tenant.ask("listNetworks", retrieveonlyresourcecount=True) == {"count": 1}
    site.deploy(tenant, networkids=mine)
    (address,) = tenant.listPublicIpAddresses(networkid=mine, forvirtualnetwork=True, isstaticnat=False)
    assert address["issourcenat"] and address["associatednetworkid"] == mine
    assert tenant.listPublicIpAddresses(networkid=mine, isstaticnat=True) == []
    (router,) = root.listRouters(networkid=mine)
    assert ids(root.listRouters(version=router["version"], networkid=mine)) == {router["id"]}
    assert root.listRouters(version="0.0.1", networkid=mine) == []


def test_machines_and_their_user_data(cloud: Cloud, site: Site) -> None:
    tenant = cloud.tenant()
    words = base64.b64encode(b"#cloud-config\nhostname: {{ name }}\n").decode()
    data = tenant.registerUserData(name=cloud.name("data"), userdata=words, params="name")["id"]
    (row,) = tenant.listUserData(id=data)
    assert ids(tenant.listUserData(name=row["name"])) == {data} and tenant.listUserData(name="other") == []
    given = {"userdataid": data, "userdatadetails": {"name": "one"}}
    vm = shows(site.deploy(tenant, boottype="UEFI", bootmode="SECURE", **given), userdataid=data, bootmode="SECURE")
    assert ids(tenant.listVirtualMachines(userdataid=data, arch="x86_64")) == {vm}
    assert tenant.listVirtualMachines(userdataid=data, arch="aarch64") == []
    (full,) = tenant.listVirtualMachines(id=vm, userdata=True, details="userdata,all")
    assert json.loads(full["userdatadetails"]) == {"name": "one"}
    with pytest.raises(ApiError, match="in use|used by"):
        tenant.deleteUserData(id=data)
    tenant.stopVirtualMachine(id=vm, forced=True)
    shows(tenant.updateVirtualMachine(id=vm, isdynamicallyscalable=True), isdynamicallyscalable=True)
    shows(tenant.updateVirtualMachine(id=vm, cleanupdetails=True), details={})
    root = cloud.admin
    shows(root.resetUserDataForVirtualMachine(id=vm, userdataid=data, userdatadetails={"name": "two"}), userdataid=data)
    (full,) = tenant.listVirtualMachines(id=vm, userdata=True, details="userdata,all")
    assert json.loads(full["userdatadetails"]) == {"name": "two"}
    disk = {"virtualmachineid": vm, "listall": True}
    assert root.listVolumes(displayvolume=True, **disk) and not root.listVolumes(displayvolume=False, **disk)


def test_templates(cloud: Cloud, site: Site) -> None:
    root, tenant = cloud.admin, cloud.tenant()
    about = {"arch": "x86_64", "isdynamicallyscalable": True, "isextractable": True, "requireshvm": False, "sshkeyenabled": True}
    upload = root.getUploadParamsForTemplate(
        name=cloud.name("upload"), displaytext="t", format="QCOW2", zoneid=site.zone, hypervisor="Simulator", bits=64,
        isfeatured=True, templatetag="fast", templatetype="USER", **about,
    )  # fmt: skip
    (row,) = root.listTemplates(templatefilter="all", id=upload["id"])
    shows(row, templatetag="fast", templatetype="USER", isfeatured=True, bits=64, **about)
    made = root.registerTemplate(
        name=cloud.name("far"), displaytext="t", format="QCOW2", zoneid=site.zone, hypervisor="Simulator",
        url="http://images.invalid/t.qcow2", **{**about, "arch": "aarch64"},
    )  # fmt: skip
    far = shows(made, **{**about, "arch": "aarch64"})
    assert ids(root.listTemplates(templatefilter="all", arch="aarch64")) == {far}
    kind = root.listOsTypes()[-1]["id"]
    flags = {"bootable": False, "passwordenabled": True, "requireshvm": True, "sshkeyenabled": False, "isdynamicallyscalable": False}
    shows(root.updateTemplate(id=far, ostypeid=kind, **flags), ostypeid=kind, **flags)
    project = tenant.createProject(name=cloud.name("project"), displaytext="p")["id"]
    root.updateTemplatePermissions(id=far, op="add", projectids=project)
    assert project in str(root.listTemplatePermissions(id=far))
    root.updateTemplatePermissions(id=far, isextractable=False)
    (row,) = root.listTemplates(templatefilter="all", id=far)
    assert row["isextractable"] is False
    store = row["downloaddetails"][0]["datastore"] if row.get("downloaddetails") else root.listImageStores()[0]["id"]
    assert far in ids(root.listTemplates(templatefilter="all", imagestoreid=store))


def test_people(cloud: Cloud) -> None:
    root = cloud.admin
    about = {"password": "a password of 20", "email": "a@example.org", "firstname": "A", "lastname": "B"}
    name = cloud.name("user")
    user = shows(root.createUser(username=name, account="admin", passwordchangerequired=True, **about), username=name)
    shows(root.updateUser(id=user, mandate2fa=True), is2famandated=False)
    cloud.set("enable.user.2fa", True)
    shows(root.updateUser(id=user, apikeyaccess="DISABLED"), apikeyaccess="DISABLED", is2famandated=True)
    cloud.set("enable.user.2fa", False)
    root.updateUser(id=user, passwordchangerequired=False)
    tenant = cloud.tenant()
    shows(root.updateAccount(id=tenant.listAccounts()[0]["id"], apikeyaccess="DISABLED"), apikeyaccess="DISABLED")
    with pytest.raises(ApiError):
        tenant.listZones()


def test_what_operators_look_up(cloud: Cloud, site: Site) -> None:
    root = cloud.admin
    (cluster,) = root.listClusters(arch="x86_64", zoneid=site.zone)
    assert root.listClusters(arch="aarch64") == []
    shows(root.updateCluster(id=cluster["id"], arch="x86_64"), arch="x86_64")
    (store,) = root.listImageStores(provider="NFS", protocol="file", readonly=False, zoneid=site.zone)
    for other in ({"provider": "S3"}, {"readonly": True}, {"protocol": "nfs"}):
        assert store["id"] not in ids(root.listImageStores(zoneid=site.zone, **other))
    (pool,) = root.listStoragePools(status="Up", zoneid=site.zone)
    assert root.listStoragePools(status="Maintenance", zoneid=site.zone) == []
    with pytest.raises(ApiError, match="capacityiops"):
        root.updateStoragePool(id=pool["id"], capacityiops=-1)
    shows(root.updateStoragePool(id=pool["id"], capacityiops=5000), capacityiops=5000)
    (manager,) = root.listManagementServers(peers=True)
    assert ids(root.listManagementServers(version=manager["version"])) == {manager["id"]}
    assert root.listManagementServers(version="0.0.1") == []
    assert {t["isfeatured"] for t in root.listOsCategories(isfeatured=True)} == {True}
    (provider,) = root.listCAProviders(name="root")
    assert provider["name"] == "root" and root.listCAProviders(name="other") == []
    assert {c["name"] for c in root.listCapacity(fetchlatest=True)} >= {"MEMORY", "CPU"}
    assert root.listConfigurations(imagestoreuuid=store["id"]) == [], "no setting has this scope yet"
    with pytest.raises(ApiError, match="The root disk would have 1000000 GiB; the largest volume"):
        root.findDeploymentPlan(**site.wish(root, rootdisksize=1_000_000))
