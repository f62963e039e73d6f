"""Templates: fetched, shown, shared, guarded; and volumes as they are listed."""

from __future__ import annotations

from typing import Any

import pytest
from cloud import Actor, ApiError, Cloud, Site


@pytest.fixture(scope="module")
def site(cloud: Cloud) -> Site:
    return cloud.zone(hosts=2)


def register(site: Site, actor: Actor, name: str, **params: Any) -> dict[str, Any]:
    wish = {
        "url": "http://images.invalid/x.qcow2",
        "format": "QCOW2",
        "hypervisor": "Simulator",
        "zoneid": site.zone,
        **params,
    }
    made = dict(actor.registerTemplate(name=name, **wish))
    site.cloud.idle()
    return dict(actor.one("listTemplates", templatefilter="self", id=made["id"]))


def test_a_template_becomes_ready(cloud: Cloud, site: Site) -> None:
    tenant = cloud.tenant()
    wish = site.wish(tenant)
    cloud.simulator.latency = 1.0
    try:
        begun = tenant.registerTemplate(
            name="fresh", url="https://images.invalid/x", format="qcow2", hypervisor="simulator", zoneid=site.zone
        )
        assert (begun["isready"], begun["status"], begun["format"], begun["hypervisor"]) == (
            False,
            "Downloading",
            "QCOW2",
            "Simulator",
        )
        with pytest.raises(ApiError, match="is not ready: Downloading"):
            tenant.deployVirtualMachine(**{**wish, "templateid": begun["id"]})
    finally:
        cloud.simulator.latency = 0.0
        cloud.idle()
    ready = tenant.one("listTemplates", templatefilter="self", id=begun["id"])
    assert (ready["isready"], ready["status"], ready["size"], ready["account"]) == (
        True,
        "Download Complete",
        64 * 1024**2,
        tenant.name,
    )
    assert "url" not in ready and "downloaddetails" not in ready, "for root admins"
    assert cloud.admin.one("listTemplates", templatefilter="all", id=begun["id"])["url"] == "https://images.invalid/x"
    assert site.deploy(tenant, templateid=begun["id"])["templatename"] == "fresh"


def test_a_template_that_cannot_be_fetched_says_why(cloud: Cloud, site: Site) -> None:
    tenant = cloud.tenant()
    cloud.simulator.plant(call="FetchImage", text="the server answered 404")
    failed = register(site, tenant, "broken")
    assert failed["isready"] is False and "the server answered 404" in failed["status"]
    with pytest.raises(ApiError, match="the server answered 404"):
        site.deploy(tenant, templateid=failed["id"])
    assert failed["id"] not in {t["id"] for t in tenant.listTemplates(templatefilter="executable")}
    tenant.deleteTemplate(id=failed["id"])
    assert tenant.listTemplates(templatefilter="self") == []


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"url": "ftp://images.invalid/x"}, "must begin with http"),
        ({"url": "file:///etc/passwd"}, "must begin with http"),
        ({"url": "http://"}, "must begin with http"),
        ({"url": "http://user:secret@images.invalid/x"}, "must not hold a user or password"),
        ({"format": "OVA"}, "are not offered; give QCOW2 or RAW"),
        ({"hypervisor": "XenServer"}, "is not offered; choose"),
        ({"zoneid": None}, "Give zoneid or zoneids"),
        ({"isfeatured": True}, "Only root admins feature"),
        ({"templatetag": "gpu"}, "Only root admins tag"),
        ({"templatetype": "SYSTEM"}, "Only root admins choose"),
    ],
)
def test_what_cannot_be_registered(cloud: Cloud, site: Site, wrong: dict[str, Any], text: str) -> None:
    tenant = cloud.tenant()
    with pytest.raises(ApiError) as no:
        register(site, tenant, "bad", **wrong)
    assert no.value.code in (431, 531) and text in no.value.text
    assert tenant.listTemplates(templatefilter="self") == []


def test_filters(cloud: Cloud, site: Site) -> None:
    owner, other = cloud.tenant(), cloud.tenant()
    mine, public = register(site, owner, "mine"), register(site, owner, "public", ispublic=True)
    featured = register(site, cloud.admin, "featured", ispublic=True, isfeatured=True)

    def ids(actor: Actor, word: str) -> set[str]:
        found = {t["id"] for t in actor.listTemplates(templatefilter=word)}
        return found & {mine["id"], public["id"], featured["id"]}

    assert ids(owner, "self") == ids(owner, "selfexecutable") == {mine["id"], public["id"]}
    assert ids(owner, "executable") == {mine["id"], public["id"], featured["id"]}
    assert ids(other, "executable") == {public["id"], featured["id"]}
    assert ids(other, "featured") == {featured["id"]} and ids(other, "community") == {public["id"]}
    assert ids(other, "self") == ids(other, "shared") == ids(other, "sharedexecutable") == set()
    assert ids(cloud.admin, "all") == {mine["id"], public["id"], featured["id"]}
    with pytest.raises(ApiError, match="templatefilter=all is for admins") as no:
        other.listTemplates(templatefilter="all")
    assert no.value.code == 531
    with pytest.raises(ApiError, match="it must be one of featured"):
        other.listTemplates(templatefilter="everything")
    with pytest.raises(ApiError, match="missing parameter templatefilter"):
        other.listTemplates()
    assert {
        t["id"] for t in owner.listTemplates(templatefilter="self", name="mine", zoneid=site.zone, isready=True)
    } == {mine["id"]}


def test_account_and_domain_say_for_whom(cloud: Cloud, site: Site) -> None:
    """What an account may use is more than what it owns; an operator sees it with the account's eyes."""
    owner = cloud.tenant()
    other = cloud.tenant(owner.domain)
    mine = register(site, owner, "mine")
    public = register(site, owner, "for all", ispublic=True)
    about = {"account": other.name, "domainid": other.domain}

    def ids(actor: Actor, templatefilter: str, **scope: Any) -> set[str]:
        return {t["id"] for t in actor.listTemplates(templatefilter=templatefilter, **scope)} & {mine["id"], public["id"]}

    assert ids(cloud.admin, "executable", **about) == {public["id"]}
    assert ids(cloud.admin, "self", **about) == ids(cloud.admin, "all", **about) == set()
    assert ids(cloud.admin, "community", **about) == {public["id"]}
    owned = {"account": owner.name, "domainid": owner.domain}
    assert ids(cloud.admin, "self", **owned) == ids(cloud.admin, "executable", **owned) == {mine["id"], public["id"]}
    owner.updateTemplatePermissions(id=mine["id"], op="add", accounts=other.name)
    assert ids(cloud.admin, "executable", **about) == {mine["id"], public["id"]}
    assert ids(cloud.admin, "sharedexecutable", **about) == {mine["id"]}
    assert ids(other, "executable", **about) == {mine["id"], public["id"]}
    assert ids(cloud.admin, "self", domainid=owner.domain) == {mine["id"], public["id"]}
    with pytest.raises(ApiError):
        ids(other, "self", **{**owned, "domainid": cloud.domain("elsewhere")})


def test_public_templates_of_users_can_be_forbidden(cloud: Cloud, site: Site) -> None:
    tenant = cloud.tenant()
    cloud.set("allow.public.user.templates", False, accountid=tenant.account)
    with pytest.raises(ApiError, match="may not make templates public"):
        register(site, tenant, "public", ispublic=True)
    assert register(site, cloud.tenant(), "public", ispublic=True)["ispublic"] is True


def test_only_its_owner_changes_a_template(cloud: Cloud, site: Site) -> None:
    owner, other = cloud.tenant(), cloud.tenant()
    made = register(site, owner, "mine", ispublic=True, details={"a": "1"})
    changed = owner.updateTemplate(
        id=made["id"], name="still mine", displaytext="x" * 3000, details={"b": "2"}, sortkey=7
    )
    assert (changed["name"], changed["details"]) == ("still mine", {"a": "1", "b": "2"})
    assert "details" not in owner.updateTemplate(id=made["id"], cleanupdetails=True)
    for command in ("updateTemplate", "deleteTemplate"):
        with pytest.raises(ApiError, match="entity does not exist"):
            other.call(command, id=made["id"])
    with pytest.raises(ApiError, match="Only root admins"):
        owner.updateTemplate(id=made["id"], templatetag="x")


def test_a_template_stays_while_disks_stand_on_it(cloud: Cloud, site: Site) -> None:
    tenant = cloud.tenant()
    made = register(site, tenant, "base")
    vm = site.deploy(tenant, templateid=made["id"])
    stores = cloud.simulator.stores
    assert made["id"] in stores[site.store].images and made["id"] in stores[site.pool].images
    with pytest.raises(ApiError, match=r"The volume ROOT-.* stands on the template base") as no:
        tenant.deleteTemplate(id=made["id"])
    assert no.value.code == 536
    assert tenant.one("listTemplates", templatefilter="self", id=made["id"])["isready"] is True
    cloud.admin.destroyVirtualMachine(id=vm["id"], expunge=True)
    tenant.deleteTemplate(id=made["id"])
    assert made["id"] not in stores[site.store].images and made["id"] not in stores[site.pool].images
    with pytest.raises(ApiError, match="entity does not exist"):
        tenant.listTemplates(templatefilter="self", id=made["id"])


def test_deleting_in_the_wrong_zone(cloud: Cloud, site: Site) -> None:
    tenant = cloud.tenant()
    made = register(site, tenant, "here")
    with pytest.raises(ApiError, match="is not in this zone"):
        tenant.deleteTemplate(id=made["id"], zoneid=cloud.zone(hosts=0).zone)


def test_a_template_of_several_zones(cloud: Cloud, site: Site) -> None:
    other = cloud.zone(hosts=1)
    body = cloud.admin.ask(
        "registerTemplate",
        name="both",
        url="http://images.invalid/x",
        format="RAW",
        hypervisor="Simulator",
        zoneids=[site.zone, other.zone],
    )
    assert body["count"] == 2 and {t["zoneid"] for t in body["template"]} == {site.zone, other.zone}
    cloud.idle()
    here = next(t["id"] for t in body["template"] if t["zoneid"] == site.zone)
    with pytest.raises(ApiError, match="is not in the zone"):
        other.deploy(cloud.admin, templateid=here)


# ── volumes ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_root_disk_through_its_machines_life(cloud: Cloud, site: Site) -> None:
    tenant = cloud.tenant()
    vm = site.deploy(tenant, startvm=False, rootdisksize=3)
    (disk,) = tenant.listVolumes()
    assert (disk["state"], disk["type"], disk["size"], disk["deviceid"]) == ("Allocated", "ROOT", 3 * 1024**3, 0)
    assert (disk["virtualmachineid"], disk["vmname"], disk["vmstate"]) == (vm["id"], vm["name"], "Stopped")
    tenant.startVirtualMachine(id=vm["id"])
    disk = tenant.listVolumes()[0]
    assert disk["state"] == "Ready" and disk["vmstate"] == "Running" and "storage" not in disk and "path" not in disk
    assert disk["id"] in cloud.simulator.stores[site.pool].volumes
    assert cloud.admin.one("listVolumes", id=disk["id"])["storageid"] == site.pool
    tenant.destroyVirtualMachine(id=vm["id"])
    assert cloud.admin.one("listVolumes", id=disk["id"])["destroyed"] is True
    cloud.admin.expungeVirtualMachine(id=vm["id"])
    assert tenant.listVolumes() == [] and disk["id"] not in cloud.simulator.stores[site.pool].volumes


def test_lists_of_volumes(cloud: Cloud, site: Site) -> None:
    tenant = cloud.tenant()
    first, second = site.deploy(tenant), site.deploy(tenant, startvm=False)
    disks = {v["virtualmachineid"]: v["id"] for v in tenant.listVolumes()}
    assert set(disks) == {first["id"], second["id"]}
    assert [v["id"] for v in tenant.listVolumes(ids=[disks[first["id"]]])] == [disks[first["id"]]]
    assert [v["id"] for v in tenant.listVolumes(virtualmachineid=second["id"])] == [disks[second["id"]]]
    assert {v["id"] for v in tenant.listVolumes(type="ROOT", zoneid=site.zone)} == set(disks.values())
    assert tenant.listVolumes(type="DATADISK") == []
    assert disks[first["id"]] in {
        v["id"] for v in cloud.admin.listVolumes(listall=True, storageid=site.pool, hostid=site.hosts[0])
    }
    assert [v["id"] for v in tenant.listVolumes(state="Allocated")] == [disks[second["id"]]]


def test_a_root_disk_is_never_smaller_than_its_template(cloud: Cloud, site: Site) -> None:
    tenant = cloud.tenant()
    assert (
        tenant.one("listVolumes", id=site.deploy(tenant, startvm=False) and tenant.listVolumes()[0]["id"])["size"]
        == 64 * 1024**2
    )
    huge = cloud.simulator.stores[site.store]
    assert site.template in huge.images
    offering = cloud.admin.createDiskOffering(name="override", disksize=5)["id"]
    vm = site.deploy(tenant, startvm=False, overridediskofferingid=offering)
    assert next(v["size"] for v in tenant.listVolumes() if v["virtualmachineid"] == vm["id"]) == 5 * 1024**3
