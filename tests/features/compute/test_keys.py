"""SSH key pairs and user data."""

from __future__ import annotations

import base64
import subprocess
from pathlib import Path

import pytest
from cloud import ApiError, Cloud, Site

ED = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIwBu4qvQ7cIv2FSxjNp8eQRMcFqEBGrQeCMGRbGhhqz me@example"


@pytest.fixture(scope="module")
def site(cloud: Cloud) -> Site:
    return cloud.zone(hosts=1)


def test_a_made_pair_is_one(cloud: Cloud, tmp_path: Path) -> None:
    tenant = cloud.tenant()
    made = tenant.createSSHKeyPair(name="made")
    key = tmp_path / "key"
    key.write_text(made["privatekey"])
    key.chmod(0o600)
    shown = subprocess.run(
        ["ssh-keygen", "-l", "-E", "md5", "-f", str(key)], capture_output=True, text=True, check=True
    ).stdout
    assert f"MD5:{made['fingerprint']}" in shown
    assert "privatekey" not in str(tenant.listSSHKeyPairs()) and "PRIVATE" not in str(tenant.listEvents())


def test_registering(cloud: Cloud) -> None:
    tenant = cloud.tenant()
    made = tenant.registerSSHKeyPair(name="mine", publickey=ED)
    wrapped = tenant.registerSSHKeyPair(name="wrapped", publickey=base64.b64encode(ED.encode()).decode())
    assert made["fingerprint"] == wrapped["fingerprint"] and len(made["fingerprint"]) == 47
    assert [k["name"] for k in tenant.listSSHKeyPairs(name="mine")] == ["mine"]
    assert len(tenant.listSSHKeyPairs(fingerprint=made["fingerprint"])) == 2
    with pytest.raises(ApiError, match="already"):
        tenant.registerSSHKeyPair(name="mine", publickey=ED)
    assert cloud.tenant().registerSSHKeyPair(name="mine", publickey=ED)["name"] == "mine", "names are an account's own"
    for bad in (
        "nonsense",
        "ssh-ed25519",
        "ssh-rsa " + ED.split()[1],
        ED + "\nssh-ed25519 AAAA",
        "ssh-ed25519 AAAA",
        "ssh-dss AAAA",
        base64.b64encode(b"\xff\xfe").decode(),
    ):
        with pytest.raises(ApiError, match="is not an OpenSSH public key"):
            tenant.registerSSHKeyPair(name="bad", publickey=bad)
    tenant.deleteSSHKeyPair(name="mine")
    with pytest.raises(ApiError, match="There is no SSH key pair mine"):
        tenant.deleteSSHKeyPair(name="mine")


def test_user_data(cloud: Cloud, site: Site) -> None:
    tenant = cloud.tenant()
    text = base64.b64encode(b"hello").decode()
    made = tenant.registerUserData(name="hello", userdata=text, params="a,b")
    assert (made["userdata"], made["params"]) == (text, "a,b")
    vm = site.deploy(tenant, userdataid=made["id"], startvm=False)
    assert (vm["userdataid"], vm["userdataname"]) == (made["id"], "hello")
    with pytest.raises(ApiError, match="is used by the machine") as no:
        tenant.deleteUserData(id=made["id"])
    assert no.value.code == 536
    with pytest.raises(ApiError, match="not both"):
        site.deploy(tenant, userdataid=made["id"], userdata=text)
    for bad in ("%%%", "a" * 5):
        with pytest.raises(ApiError, match="must be base64"):
            tenant.registerUserData(name="bad", userdata=bad)
    most = base64.b64encode(b"x" * 32768).decode()
    assert tenant.registerUserData(name="most", userdata=most)["userdata"] == most
    with pytest.raises(ApiError, match="may have 32768 bytes; this has 32769") as no:
        tenant.registerUserData(name="more", userdata=base64.b64encode(b"x" * 32769).decode())
    assert no.value.params["limit"] == 32768
    other = cloud.tenant()
    with pytest.raises(ApiError, match="entity does not exist"):
        site.deploy(other, userdataid=made["id"])


def test_a_templates_own_user_data(cloud: Cloud, site: Site) -> None:
    tenant = cloud.tenant()
    template = tenant.registerTemplate(
        name="with data", url="http://images.invalid/x", format="QCOW2", hypervisor="Simulator", zoneid=site.zone
    )["id"]
    cloud.idle()
    data = tenant.registerUserData(name="base", userdata="YmFzZQ==")["id"]
    tenant.linkUserDataToTemplate(templateid=template, userdataid=data, userdatapolicy="DENYOVERRIDE")
    vm = site.deploy(tenant, templateid=template, startvm=False)
    assert tenant.getVirtualMachineUserData(virtualmachineid=vm["id"])["userdata"] == "YmFzZQ=="
    with pytest.raises(ApiError, match="allows no other"):
        site.deploy(tenant, templateid=template, userdata="b3RoZXI=")
    tenant.linkUserDataToTemplate(templateid=template, userdataid=data, userdatapolicy="ALLOWOVERRIDE")
    vm = site.deploy(tenant, templateid=template, userdata="b3RoZXI=", startvm=False)
    assert tenant.getVirtualMachineUserData(virtualmachineid=vm["id"])["userdata"] == "b3RoZXI="
    with pytest.raises(ApiError, match="entity does not exist"):
        cloud.tenant().linkUserDataToTemplate(templateid=site.template)
