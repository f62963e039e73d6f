"""What people note about things: annotations, tags, details and icons; who reads and writes them, and that they go with the thing."""

from __future__ import annotations

import base64
import hashlib
import hmac
import struct
import zlib

import pytest
import sqlalchemy as sa
from cloud import Actor, ApiError, Cloud, Site

from mold.features.identity.things import ENTITIES, TYPES, known


@pytest.fixture(scope="module")
def site(cloud: Cloud) -> Site:
    return cloud.zone(hosts=1)


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(width: int = 2, height: int = 2, extra: bytes = b"", tail: bytes = b"") -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = b"".join(b"\0" + b"\7" * min(width, 8) for _ in range(min(height, 8)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"") + tail


def jpeg(width: int = 3, height: int = 5, tail: bytes = b"") -> bytes:
    frame = struct.pack(">BHHB", 8, height, width, 1) + b"\1\x11\0"
    return (
        b"\xff\xd8" + b"\xff\xe0" + struct.pack(">H", 4) + b"ab"
        + b"\xff\xc0" + struct.pack(">H", 2 + len(frame)) + frame
        + b"\xff\xda" + struct.pack(">H", 8) + b"\1\1\0\0\x3f\0" + b"\x12\xff\0\x34\xff\xd0\x56" + b"\xff\xd9" + tail
    )  # fmt: skip


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


# ── annotations ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_annotation_is_read_by_who_sees_the_thing(cloud: Cloud, site: Site) -> None:
    parent = cloud.domain()
    mine, boss, beside, other = (
        cloud.tenant(parent), cloud.tenant(parent, role="DomainAdmin"), cloud.tenant(parent), cloud.tenant()
    )  # fmt: skip
    net = site.network(mine)["id"]
    assert mine.one("listNetworks", id=net)["hasannotations"] is False
    note = mine.addAnnotation(entitytype="NETWORK", entityid=net, annotation="for 회계")
    assert (note["entitytype"], note["entityid"], note["entityname"]) == ("NETWORK", net, "net")
    assert (note["userid"], note["username"], note["annotation"]) == (mine.user, mine.name, "for 회계")
    assert note["adminsonly"] is False and note["created"]
    for who in (mine, boss, cloud.admin):
        assert who.one("listAnnotations", entitytype="NETWORK", entityid=net)["id"] == note["id"]
        assert who.one("listAnnotations", id=note["id"])["annotation"] == "for 회계"
        assert who.one("listNetworks", id=net, listall=True)["hasannotations"] is True
    for who in (beside, other):
        for asked in ({"id": note["id"]}, {"entitytype": "NETWORK", "entityid": net}):
            with pytest.raises(ApiError, match="There is no|does not exist"):
                who.listAnnotations(**asked)
        assert who.listAnnotations() == [] == who.listAnnotations(userid=mine.user)
        with pytest.raises(ApiError, match="There is no|does not exist"):
            who.removeAnnotation(id=note["id"])
        with pytest.raises(ApiError, match="There is no|does not exist"):
            who.addAnnotation(entitytype="NETWORK", entityid=net, annotation="mine")
    assert [a["id"] for a in mine.listAnnotations(keyword="회계")] == [note["id"]]
    with pytest.raises(ApiError, match="There is no|does not exist"):
        boss.removeAnnotation(id=note["id"])
    mine.removeAnnotation(id=note["id"])
    assert mine.listAnnotations() == []
    assert {"ANNOTATION.CREATE", "ANNOTATION.REMOVE"} <= {e["type"] for e in mine.listEvents()}


def test_what_admins_write_for_admins(cloud: Cloud, site: Site) -> None:
    parent = cloud.domain()
    mine, boss = cloud.tenant(parent), cloud.tenant(parent, role="DomainAdmin")
    net = site.network(mine)["id"]
    note = boss.addAnnotation(entitytype="NETWORK", entityid=net, annotation="watch this one", adminsonly=True)
    assert boss.one("listAnnotations", id=note["id"])["adminsonly"] is True
    assert mine.listAnnotations() == [] and mine.one("listNetworks", id=net)["hasannotations"] is False
    with pytest.raises(ApiError, match="There is no|does not exist"):
        mine.listAnnotations(id=note["id"])
    with pytest.raises(ApiError, match="admins only"):
        mine.addAnnotation(entitytype="NETWORK", entityid=net, annotation="x", adminsonly=True)
    with pytest.raises(ApiError):
        mine.updateAnnotationVisibility(id=note["id"], adminsonly=False)
    cloud.admin.updateAnnotationVisibility(id=note["id"], adminsonly=False)
    assert mine.one("listAnnotations", entitytype="NETWORK", entityid=net)["id"] == note["id"]
    assert mine.one("listNetworks", id=net)["hasannotations"] is True
    assert boss.listAnnotations(annotationfilter="self") and mine.listAnnotations(annotationfilter="self") == []


def test_every_type_can_be_annotated_and_forgets_with_the_thing(cloud: Cloud, site: Site) -> None:
    tenant = cloud.tenant()
    vm = site.deploy(tenant)
    admin = cloud.admin
    pod = admin.createPod(
        zoneid=site.zone, name=cloud.name("pod"), gateway="172.29.0.1", netmask="255.255.0.0", startip="172.29.0.10"
    )["id"]
    things = {
        "VM": vm["id"], "VOLUME": tenant.one("listVolumes")["id"], "NETWORK": tenant.one("listNetworks")["id"],
        "TEMPLATE": site.template, "SERVICE_OFFERING": site.offering, "ZONE": site.zone, "POD": pod,
        "CLUSTER": site.cluster, "HOST": site.hosts[0], "DOMAIN": tenant.domain, "PRIMARY_STORAGE": site.pool,
        "SECONDARY_STORAGE": site.store, "NETWORK_OFFERING": site.network_offering,
        "PUBLIC_IP_ADDRESS": tenant.listPublicIpAddresses()[0]["id"], "VR": admin.listRouters(listall=True)[0]["id"],
        "DISK_OFFERING": admin.listDiskOfferings()[0]["id"] if admin.listDiskOfferings()
        else admin.createDiskOffering(name="d", displaytext="d", disksize=1)["id"],
        "SSH_KEYPAIR": tenant.createSSHKeyPair(name="k")["id"],
        "USER_DATA": tenant.registerUserData(name="u", userdata=b64(b"#cloud-config\n"))["id"],
    }  # fmt: skip
    assert set(known(ENTITIES)) - {"ISO"} <= set(things) | {"SNAPSHOT", "VM_SNAPSHOT", "VPC", "INSTANCE_GROUP"}
    for kind, id in things.items():
        made = admin.addAnnotation(entitytype=kind, entityid=id, annotation=f"about {kind}")
        assert made["entitytype"] == kind
        assert admin.one("listAnnotations", entitytype=kind, entityid=id)["id"] == made["id"]
    assert not [a for a in cloud.tenant().listAnnotations() if a["entitytype"] in ("HOST", "POD", "VM", "PRIMARY_STORAGE")]
    admin.deletePod(id=pod)
    admin.destroyVirtualMachine(id=vm["id"], expunge=True)
    gone = {"POD", "VM", "VOLUME"}
    assert not gone & {a["entitytype"] for a in admin.listAnnotations()}
    for asked in ({}, {"entitytype": "NONSENSE", "entityid": pod, "annotation": "x"}, {"entitytype": "POD", "entityid": pod, "annotation": "x"}):
        with pytest.raises(ApiError):
            admin.addAnnotation(**asked)


# ── tags ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_tags_of_every_type(cloud: Cloud, site: Site) -> None:
    tenant = cloud.tenant()
    vm = site.deploy(tenant)
    things = {
        "UserVm": vm["id"], "Volume": tenant.one("listVolumes")["id"], "Network": tenant.one("listNetworks")["id"],
        "PublicIpAddress": tenant.listPublicIpAddresses()[0]["id"],
        "Project": tenant.createProject(name=cloud.name("p"), displaytext="p")["id"],
    }  # fmt: skip
    for kind, id in things.items():
        tenant.createTags(resourcetype=kind, resourceids=[id], tags={"color": "blue"}, customer="me")
        row = tenant.one("listTags", resourcetype=kind, resourceid=id, listall=True)
        assert (row["key"], row["value"], row["resourcetype"], row["customer"]) == ("color", "blue", kind, "me")
        with pytest.raises(ApiError, match="There is no|does not exist"):
            cloud.tenant().createTags(resourcetype=kind, resourceids=[id], tags={"color": "red"})
        with pytest.raises(ApiError, match="There is no|does not exist"):
            cloud.tenant().deleteTags(resourcetype=kind, resourceids=[id])
    assert tenant.one("listVirtualMachines", id=vm["id"])["tags"][0]["value"] == "blue"
    assert [t["id"] for t in tenant.listVirtualMachines(tags={"color": "blue"})] == [vm["id"]]
    admin = cloud.admin
    for kind, id in {"Zone": site.zone, "Template": site.template, "ServiceOffering": site.offering, "Domain": tenant.domain,
                     "Storage": site.pool, "Host": site.hosts[0]}.items():  # fmt: skip
        admin.createTags(resourcetype=kind, resourceids=[id], tags={"room": "7"})
        assert admin.one("listTags", resourcetype=kind, resourceid=id)["value"] == "7"
        with pytest.raises(ApiError, match="There is no|does not exist"):
            tenant.createTags(resourcetype=kind, resourceids=[id], tags={"room": "8"})
        admin.deleteTags(resourcetype=kind, resourceids=[id], tags={"room": "7"})
        assert admin.listTags(resourcetype=kind, resourceid=id) == []
    with pytest.raises(ApiError, match="there are UserVm"):
        admin.createTags(resourcetype="Nonsense", resourceids=[site.zone], tags={"a": "b"})
    assert "UserVm" in known(TYPES)


# ── details ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_details(cloud: Cloud, site: Site) -> None:
    tenant, other = cloud.tenant(), cloud.tenant()
    net = site.network(tenant)["id"]
    admin = cloud.admin
    admin.addResourceDetail(resourcetype="Network", resourceid=net, details=[{"key": "cost", "value": "7"}])
    admin.addResourceDetail(
        resourcetype="Network", resourceid=net, details=[{"key": "owed", "value": "9"}], fordisplay=False
    )
    rows = {r["key"]: r for r in admin.listResourceDetails(resourcetype="Network", resourceid=net, listall=True)}
    assert (rows["cost"]["value"], rows["cost"]["fordisplay"], rows["owed"]["fordisplay"]) == ("7", True, False)
    assert rows["cost"]["resourceid"] == net and rows["cost"]["resourcetype"] == "Network"
    (seen,) = tenant.listResourceDetails(resourcetype="Network", resourceid=net)
    assert seen["key"] == "cost" and "fordisplay" not in seen
    with pytest.raises(ApiError, match="There is no|does not exist"):
        other.listResourceDetails(resourcetype="Network", resourceid=net)
    assert other.listResourceDetails(resourcetype="Network", listall=True) == []
    with pytest.raises(ApiError):
        tenant.addResourceDetail(resourcetype="Network", resourceid=net, details=[{"key": "cost", "value": "0"}])
    admin.addResourceDetail(resourcetype="Network", resourceid=net, details=[{"key": "cost", "value": "8"}])
    assert admin.one("listResourceDetails", resourcetype="Network", resourceid=net, key="cost", listall=True)["value"] == "8"
    assert admin.one("listResourceDetails", resourcetype="Network", listall=True, fordisplay=False, value="9")
    admin.removeResourceDetail(resourcetype="Network", resourceid=net, key="owed")
    assert [r["key"] for r in admin.listResourceDetails(resourcetype="Network", resourceid=net, listall=True)] == ["cost"]
    tenant.deleteNetwork(id=net)
    assert admin.listResourceDetails(resourcetype="Network", listall=True) == []
    made = site.network(tenant)["id"]
    assert tenant.listResourceDetails(resourcetype="Network", resourceid=made) == []


# ── icons ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def icon(actor: Actor, command: str, id: str, **more: object) -> object:
    return actor.one(command, id=id, **more).get("icon")


def test_icons(cloud: Cloud, site: Site) -> None:
    tenant, other = cloud.tenant(), cloud.tenant()
    net = site.network(tenant)["id"]
    for image in (png(), jpeg()):
        tenant.uploadResourceIcon(resourcetype="Network", resourceids=[net], base64image=b64(image))
        (row,) = tenant.listResourceIcon(resourcetype="Network", resourceids=[net])
        assert row == {"resourcetype": "Network", "resourceid": net, "base64image": b64(image)}
    assert icon(tenant, "listNetworks", net, showicon=True) == row
    assert icon(tenant, "listNetworks", net) is None
    assert icon(tenant, "listNetworks", site.network(tenant, name="two")["id"], showicon=True) is None
    for command, extra in (("uploadResourceIcon", {"base64image": b64(png())}), ("deleteResourceIcon", {}), ("listResourceIcon", {})):
        with pytest.raises(ApiError, match="There is no|does not exist"):
            getattr(other, command)(resourcetype="Network", resourceids=[net], **extra)
    with pytest.raises(ApiError, match="There is no|does not exist"):
        tenant.uploadResourceIcon(resourcetype="Zone", resourceids=[site.zone], base64image=b64(png()))
    tenant.deleteResourceIcon(resourcetype="Network", resourceids=[net])
    assert tenant.listResourceIcon(resourcetype="Network", resourceids=[net]) == []
    for kind, id, command in (
        ("Zone", site.zone, "listZones"), ("Account", tenant.account, "listAccounts"), ("Domain", tenant.domain, "listDomains"),
        ("User", tenant.user, "listUsers"),
    ):  # fmt: skip
        cloud.admin.uploadResourceIcon(resourcetype=kind, resourceids=[id], base64image="data:image/png;base64," + b64(png()))
        assert icon(cloud.admin, command, id, showicon=True)["resourcetype"] == kind  # type: ignore[index]
    cloud.admin.uploadResourceIcon(resourcetype="Template", resourceids=[site.template], base64image=b64(png()))
    assert icon(tenant, "listTemplates", site.template, templatefilter="executable", showicon=True)


@pytest.mark.parametrize(
    "bad",
    [
        b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>", b"GIF89a", b"", b"\x89PNG\r\n\x1a\n", png(2000, 2), png(0, 2),
        png(tail=b"<script>"), jpeg(tail=b"<script>"), jpeg()[:-2], png()[:-4], png()[:40] + b"x" + png()[41:], b"\xff\xd8\xff",
        jpeg(2000), png(extra=chunk(b"tEXt", b"x" * 300_000)),
    ],
    ids=range(14),
)  # fmt: skip
def test_what_is_no_icon(cloud: Cloud, bad: bytes) -> None:
    tenant = cloud.tenant()
    with pytest.raises(ApiError) as no:
        tenant.uploadResourceIcon(resourcetype="Account", resourceids=[tenant.account], base64image=b64(bad))
    assert no.value.code == 431 and tenant.listResourceIcon(resourcetype="Account", resourceids=[tenant.account]) == []
    for text in ("no base64!", "data:image/svg+xml;base64," + b64(png())):
        with pytest.raises(ApiError):
            tenant.uploadResourceIcon(resourcetype="Account", resourceids=[tenant.account], base64image=text)


# ── the rest ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_is_left_of_things_that_are_gone(cloud: Cloud, site: Site) -> None:
    """Another manager may note something while a thing goes: here, by hand."""
    tenant = cloud.tenant()
    net = site.network(tenant)["id"]
    tenant.addAnnotation(entitytype="NETWORK", entityid=net, annotation="x")

    def lose(tx: object) -> None:
        tx.execute(sa.text("update annotation set entity_id = 'gone' where entity_id = :net"), {"net": net})  # type: ignore[attr-defined]

    cloud.run(cloud.manager.engine.writing(lose))
    assert cloud.admin.purgeExpungedResources(resourcetype="Volume")["resourcecount"] == 0
    assert cloud.admin.purgeExpungedResources(enddate="2001-01-01")["resourcecount"] == 0
    assert cloud.admin.purgeExpungedResources(batchsize=10)["resourcecount"] == 1
    assert cloud.admin.purgeExpungedResources()["resourcecount"] == 0
    with pytest.raises(ApiError):
        tenant.purgeExpungedResources()


def test_promises_are_counted_anew(cloud: Cloud, site: Site) -> None:
    tenant = cloud.tenant()
    site.deploy(tenant)
    before = cloud.admin.one("listHosts", id=site.hosts[0])["cpuallocatedvalue"]
    cloud.admin.cleanVMReservations()
    assert cloud.admin.one("listHosts", id=site.hosts[0])["cpuallocatedvalue"] == before
    cloud.run(cloud.manager.engine.writing(lambda tx: tx.execute(sa.text("update host set cpu_reserved = cpu_reserved + 5000"))))
    assert cloud.admin.one("listHosts", id=site.hosts[0])["cpuallocatedvalue"] != before
    cloud.admin.cleanVMReservations()
    assert cloud.admin.one("listHosts", id=site.hosts[0])["cpuallocatedvalue"] == before


def test_the_clouds_identifier(cloud: Cloud) -> None:
    tenant = cloud.tenant()
    told = tenant.getCloudIdentifier(userid=tenant.user)
    assert tenant.keys is not None
    mark = hmac.new(tenant.keys[1].encode(), told["cloudidentifier"].encode(), hashlib.sha1).digest()
    assert told["signature"] == base64.b64encode(mark).decode() and told["userid"] == tenant.user
    for who in (cloud.tenant(), cloud.tenant(role="DomainAdmin")):
        with pytest.raises(ApiError):
            who.getCloudIdentifier(userid=tenant.user)
