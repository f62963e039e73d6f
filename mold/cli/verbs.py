"""The curated verbs, noun first: `mold vm create web1 --image debian`. One table; `curated.py` carries it out.

A row says which command of the server a verb is, what its plain words mean and what its options are called.  How
an option becomes a parameter:

    zoneid          the option's value, a name or an id
    networkids*     may be given several times; joined with commas
    forced=true     takes no value and sends this one
    tags[]          KEY=VALUE, a list of pairs (tags[0].key=…, tags[0].value=…)
    details{}       KEY=VALUE, one map (details[0].KEY=VALUE)
    publickey@      the text of a file, `-` for stdin
    userdata@64     the same in base64

Every other parameter of the command is an option as well, under the server's name; those of the table are the ones
that people look for.  Several commands with `|` between them are the same thing: the first that the server has.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Verb(NamedTuple):
    """One curated verb."""

    noun: str
    name: str
    commands: tuple[str, ...]
    takes: tuple[str, ...]
    """Parameters that plain words are for; the last of a verb about an `id` may be given several times."""
    may: frozenset[str]
    """Those of them that may be left out, in the table with a `?`."""
    options: Mapping[str, str]
    sends: Mapping[str, str]
    """Parameters that are sent unless given otherwise."""
    columns: str
    example: str
    way: str
    """How it is carried out when calling the command is not all: show, ssh, console, upload, set-limit, …"""

    @property
    def words(self) -> str:
        return f"{self.noun} {self.name}"


VERBS: dict[tuple[str, str], Verb] = {}


def _v(
    words: str,
    commands: str,
    takes: str = "",
    *,
    sends: Mapping[str, str] | None = None,
    columns: str = "",
    eg: str = "",
    way: str = "",
    **options: str,
) -> None:
    noun, name = words.split()
    named = {spelling.strip("_").replace("_", "-"): param for spelling, param in options.items()}
    VERBS[noun, name] = Verb(
        noun,
        name,
        tuple(commands.split("|")),
        tuple(takes.replace("?", "").split()),
        frozenset(word[:-1] for word in takes.split() if word.endswith("?")),
        named,
        sends or {},
        columns,
        eg,
        way,
    )


def _lists(
    noun: str,
    command: str,
    columns: str = "",
    *,
    by: str = "id",
    sends: Mapping[str, str] | None = None,
    **options: str,
) -> None:
    """`list` and `show` of a noun."""
    _v(f"{noun} list", command, columns=columns, sends=sends, **options)
    _v(f"{noun} show", command, by, sends=sends, way="show")


def _simple(noun: str, **commands: str) -> None:
    """Verbs about one thing, or several, that need nothing but which."""
    for name, command in commands.items():
        _v(f"{noun} {name.strip('_').replace('_', '-')}", command, "id")


# fmt: off
# ---- machines

_v(
    "vm create", "deployVirtualMachine", "name?",
    eg="web1 --image debian --offering small --network net1 --key me",
    image="templateid", offering="serviceofferingid", network="networkids*", key="keypairs*", zone="zoneid",
    disk_offering="diskofferingid", disk_size="size", root_size="rootdisksize", host="hostid", cluster="clusterid",
    pod="podid", group="group", ip="ipaddress", mac="macaddress", userdata="userdataid",
    userdata_file="userdata@64", detail="details{}", display_name="displayname", stopped="startvm=false",
    password="password", affinity="affinitygroupnames*", security_group="securitygroupnames*",
)
_lists(
    "vm", "listVirtualMachines", "name state ipaddress zonename account id", sends={"listall": "true"},
    state="state", zone="zoneid", network="networkid", host="hostid", image="templateid",
    offering="serviceofferingid", tag="tags[]", name="name",
)
_v("vm start", "startVirtualMachine", "id", host="hostid", cluster="clusterid", pod="podid", eg="web1")
_v("vm stop", "stopVirtualMachine", "id", force="forced=true", eg="web1 web2")
_v("vm reboot", "rebootVirtualMachine", "id", force="forced=true")
_v("vm destroy", "destroyVirtualMachine", "id", expunge="expunge=true", volumes="volumeids*", eg="web1 --expunge --yes")
_simple("vm", recover="recoverVirtualMachine", expunge="expungeVirtualMachine")
_v("vm scale", "scaleVirtualMachine|changeServiceForVirtualMachine", "id", offering="serviceofferingid", detail="details{}", eg="web1 --offering large")
_v("vm update", "updateVirtualMachine", "id", rename="name", display_name="displayname", group="group", detail="details{}", protect="deleteprotection=true", unprotect="deleteprotection=false", userdata="userdataid", userdata_file="userdata@64")
_v("vm migrate", "migrateVirtualMachine", "virtualmachineid", host="hostid", storage="storageid")
_v("vm reinstall", "restoreVirtualMachine", "virtualmachineid", image="templateid")
_v("vm console", "createConsoleEndpoint", "virtualmachineid", way="console")
_v("vm ssh", "listVirtualMachines", "id", way="ssh", user="=user", sends={"listall": "true"})
_v("vm password", "resetPasswordForVirtualMachine", "id", password="password")
_v("vm set-key", "resetSSHKeyForVirtualMachine", "id", key="keypairs*", eg="web1 --key me")
_v("vm set-userdata", "resetUserDataForVirtualMachine", "id", userdata="userdataid", file="userdata@64")
_v("vm userdata", "getVirtualMachineUserData", "virtualmachineid")
_v("vm nics", "listNics", "virtualmachineid", columns="networkname ipaddress gateway macaddress isdefault id")
_v("vm add-nic", "addNicToVirtualMachine", "virtualmachineid", network="networkid", ip="ipaddress", mac="macaddress")
_v("vm remove-nic", "removeNicFromVirtualMachine", "virtualmachineid nicid")
_v("vm attach-iso", "attachIso", "virtualmachineid id", eg="web1 rescue")
_v("vm detach-iso", "detachIso", "virtualmachineid")
_v("vm snapshot", "createVMSnapshot", "virtualmachineid", name="name", memory="snapshotmemory=true")
_v("vm snapshots", "listVMSnapshot", columns="name state current virtualmachinename created id", sends={"listall": "true"}, vm="virtualmachineid")
_v("vm revert", "revertToVMSnapshot", "vmsnapshotid")

# ---- disks

_v("volume create", "createVolume", "name", offering="diskofferingid", size="size", zone="zoneid", snapshot="snapshotid", eg="data1 --offering disk --size 20")
_lists("volume", "listVolumes", "name state type size vmname zonename account id", sends={"listall": "true"}, vm="virtualmachineid", zone="zoneid", type="type", state="state", tag="tags[]")
_v("volume attach", "attachVolume", "id virtualmachineid", eg="data1 web1")
_v("volume resize", "resizeVolume", "id", size="size", offering="diskofferingid", shrink="shrinkok=true")
_simple("volume", detach="detachVolume", delete="deleteVolume", destroy="destroyVolume", recover="recoverVolume")
_v("volume upload", "uploadVolume", "name", source="url", format="format", zone="zoneid")
_v("snapshot create", "createSnapshot", "volumeid", name="name", tag="tags[]", eg="data1 --name before-upgrade")
_lists("snapshot", "listSnapshots", "name state volumename snapshottype created account id", sends={"listall": "true"}, volume="volumeid", zone="zoneid")
_simple("snapshot", revert="revertSnapshot", delete="deleteSnapshot")

# ---- images

_v("image register", "registerTemplate", "name", eg="debian12 --source https://HOST/debian-12.qcow2 --os 'Debian GNU/Linux 12 (64-bit)'",
   source="url", format="format", hypervisor="hypervisor", os="ostypeid", zone="zoneid", checksum="checksum", arch="arch",
   public="ispublic=true", featured="isfeatured=true", password_script="passwordenabled=true", detail="details{}",
   sends={"format": "QCOW2", "hypervisor": "?hypervisor", "zoneid": "-1"})
_v("image upload", "getUploadParamsForTemplate", "name", way="upload", eg="mine --file disk.qcow2",
   file="=file", format="format", hypervisor="hypervisor", os="ostypeid", zone="zoneid", checksum="checksum",
   public="ispublic=true", sends={"format": "QCOW2", "hypervisor": "?hypervisor"})
_lists("image", "listTemplates", "name isready status hypervisor size zonename account id", sends={"templatefilter": "executable", "listall": "true"}, which="templatefilter", zone="zoneid", hypervisor="hypervisor", tag="tags[]")
_v("image update", "updateTemplate", "id", rename="name", os="ostypeid", detail="details{}", description="displaytext")
_v("image share", "updateTemplatePermissions", "id", account="accounts*", project="projectids*", public="ispublic=true", private="ispublic=false", op="op")
_v("image delete", "deleteTemplate", "id", zone="zoneid")
_v("image copy", "copyTemplate", "id", to="destzoneids*", eg="debian12 --to busan")
_v("image create", "createTemplate", "name", volume="volumeid", snapshot="snapshotid", os="ostypeid")
_v("os list", "listOsTypes", columns="description id", name="description")
_v("iso register", "registerIso", "name", source="url", os="ostypeid", zone="zoneid", public="ispublic=true", sends={"zoneid": "-1"})
_lists("iso", "listIsos", "name isready size zonename account id", sends={"isofilter": "executable", "listall": "true"}, which="isofilter", zone="zoneid")
_v("iso delete", "deleteIso", "id", zone="zoneid")

# ---- networks

_v("network create", "createNetwork", "name", eg="net1 --offering isolated --gateway 10.1.1.1 --netmask 255.255.255.0",
   offering="networkofferingid", zone="zoneid", gateway="gateway", netmask="netmask", vlan="vlan", domain_name="networkdomain",
   start_ip="startip", end_ip="endip", vpc="vpcid", description="displaytext")
_lists("network", "listNetworks", "name state type cidr zonename account id", sends={"listall": "true"}, zone="zoneid", type="type", tag="tags[]")
_v("network update", "updateNetwork", "id", rename="name", description="displaytext", offering="networkofferingid", domain_name="networkdomain")
_v("network restart", "restartNetwork", "id", cleanup="cleanup=true", eg="net1 --cleanup")
_v("network delete", "deleteNetwork", "id", force="forced=true")
_v("ip allocate", "associateIpAddress", network="networkid", vpc="vpcid", zone="zoneid", ip="ipaddress")
_lists("ip", "listPublicIpAddresses", "ipaddress state issourcenat isstaticnat virtualmachinename associatednetworkname account id", sends={"listall": "true"}, zone="zoneid", network="associatednetworkid")
_v("ip release", "disassociateIpAddress", "id")
_v("ip static-nat", "enableStaticNat", "ipaddressid", vm="virtualmachineid", eg="203.0.113.7 --vm web1")
_v("ip no-static-nat", "disableStaticNat", "ipaddressid")
_v("firewall create", "createFirewallRule", ip="ipaddressid", protocol="protocol", start="startport", end="endport", cidr="cidrlist*", eg="--ip 203.0.113.7 --protocol tcp --start 22 --end 22")
_lists("firewall", "listFirewallRules", "ipaddress protocol startport endport cidrlist state id", sends={"listall": "true"}, ip="ipaddressid", network="networkid")
_v("firewall delete", "deleteFirewallRule", "id")
_v("egress create", "createEgressFirewallRule", network="networkid", protocol="protocol", start="startport", end="endport", cidr="cidrlist*")
_lists("egress", "listEgressFirewallRules", "protocol startport endport cidrlist state id", sends={"listall": "true"}, network="networkid")
_v("egress delete", "deleteEgressFirewallRule", "id")
_v("forward create", "createPortForwardingRule", ip="ipaddressid", vm="virtualmachineid", protocol="protocol", public="publicport", private="privateport", eg="--ip 203.0.113.7 --vm web1 --protocol tcp --public 8080 --private 80")
_lists("forward", "listPortForwardingRules", "ipaddress protocol publicport privateport virtualmachinename state id", sends={"listall": "true"}, ip="ipaddressid", network="networkid")
_v("forward delete", "deletePortForwardingRule", "id")
_v("vpc create", "createVPC", "name", cidr="cidr", offering="vpcofferingid", zone="zoneid", description="displaytext")
_lists("vpc", "listVPCs", "name state cidr zonename account id", sends={"listall": "true"}, zone="zoneid")
_v("vpc restart", "restartVPC", "id", cleanup="cleanup=true")
_simple("vpc", delete="deleteVPC")
_lists("router", "listRouters", "name state networkname publicip hostname zonename id", sends={"listall": "true"}, zone="zoneid", network="networkid")
_simple("router", start="startRouter", stop="stopRouter", reboot="rebootRouter", destroy="destroyRouter")

# ---- what goes into machines

_v("key create", "createSSHKeyPair", "name", save="=save", way="save", eg="me --save ~/.ssh/me")
_v("key register", "registerSSHKeyPair", "name", file="publickey@", eg="me --file ~/.ssh/id_ed25519.pub")
_lists("key", "listSSHKeyPairs", "name fingerprint account id", by="name", sends={"listall": "true"})
_v("key delete", "deleteSSHKeyPair", "name")
_v("userdata register", "registerUserData", "name", file="userdata@64", params="params", eg="web --file cloud-init.yaml")
_lists("userdata", "listUserData", "name account domain params id", sends={"listall": "true"})
_simple("userdata", delete="deleteUserData")

# ---- offerings

_v("offering create", "createServiceOffering", "name", cores="cpunumber", mhz="cpuspeed", memory="memory", tag="tags", host_tag="hosttags", storage="storagetype", ha="offerha=true", root_size="rootdisksize", planner="deploymentplanner", description="displaytext", zone="zoneid*", domain="domainid*", eg="small --cores 1 --mhz 1000 --memory 1024")
_lists("offering", "listServiceOfferings", "name cpunumber cpuspeed memory storagetype state id", state="state", zone="zoneid")
_v("offering update", "updateServiceOffering", "id", rename="name", description="displaytext", host_tag="hosttags", tag="storagetags", state="state")
_simple("offering", delete="deleteServiceOffering")
_v("disk-offering create", "createDiskOffering", "name", size="disksize", custom="customized=true", tag="tags", storage="storagetype", description="displaytext", eg="disk20 --size 20")
_lists("disk-offering", "listDiskOfferings", "name disksize iscustomized storagetype state id", zone="zoneid")
_v("disk-offering update", "updateDiskOffering", "id", rename="name", description="displaytext", tag="tags", state="state")
_simple("disk-offering", delete="deleteDiskOffering")
_v("network-offering create", "createNetworkOffering", "name", type="guestiptype", traffic="traffictype", service="supportedservices*", description="displaytext", enable="enable=true", vlan="specifyvlan=true", sends={"traffictype": "GUEST"})
_lists("network-offering", "listNetworkOfferings", "name guestiptype traffictype state isdefault id", state="state", zone="zoneid")
_v("network-offering update", "updateNetworkOffering", "id", rename="name", description="displaytext", state="state")
_simple("network-offering", delete="deleteNetworkOffering")

# ---- the machine rooms

_v("zone create", "createZone", "name", dns="dns1", dns2="dns2", internal_dns="internaldns1", guest_cidr="guestcidraddress", type="networktype", local_storage="localstorageenabled=true", sends={"networktype": "Advanced"}, eg="seoul --dns 192.0.2.53 --internal-dns 10.0.0.53")
_lists("zone", "listZones", "name allocationstate networktype dns1 id")
_v("zone update", "updateZone", "id", rename="name", dns="dns1", dns2="dns2", internal_dns="internaldns1", guest_cidr="guestcidraddress")
_v("pod create", "createPod", "name", zone="zoneid", gateway="gateway", netmask="netmask", start_ip="startip", end_ip="endip", eg="pod1 --gateway 10.0.0.1 --netmask 255.255.255.0 --start-ip 10.0.0.50 --end-ip 10.0.0.99")
_lists("pod", "listPods", "name allocationstate gateway zonename id", zone="zoneid")
_v("pod update", "updatePod", "id", rename="name", start_ip="startip", end_ip="endip")
_v("cluster create", "addCluster", "clustername", zone="zoneid", pod="podid", hypervisor="hypervisor", arch="arch", sends={"clustertype": "CloudManaged", "hypervisor": "KVM"}, eg="c1 --pod pod1")
_lists("cluster", "listClusters", "name allocationstate hypervisortype podname zonename id", zone="zoneid", pod="podid")
_v("cluster update", "updateCluster", "id", rename="clustername", arch="arch", managed="managedstate=Managed", unmanaged="managedstate=Unmanaged")
_v("host add", "addHost", "url", zone="zoneid", pod="podid", cluster="clusterid", hypervisor="hypervisor", user="username", password="password", tag="hosttags*", sends={"hypervisor": "KVM"}, eg="http://10.0.0.11 --cluster c1 --user root --password -")
_lists("host", "listHosts", "name state resourcestate hypervisor ipaddress clustername zonename id", sends={"type": "Routing"}, zone="zoneid", cluster="clusterid", state="state", type="type")
_v("host update", "updateHost", "id", rename="name", tag="hosttags*")
_simple("host", maintenance="prepareHostForMaintenance", resume="cancelHostMaintenance", reconnect="reconnectHost")
_v("host delete", "deleteHost", "id", force="forced=true")
for _noun, _command in (("zone", "updateZone"), ("pod", "updatePod"), ("cluster", "updateCluster"), ("host", "updateHost")):
    _states = ("Enable", "Disable") if _noun == "host" else ("Enabled", "Disabled")
    for _name, _state in zip(("enable", "disable"), _states, strict=True):
        _v(f"{_noun} {_name}", _command, "id", sends={"allocationstate": _state})
_simple("zone", delete="deleteZone")
_simple("pod", delete="deletePod")
_simple("cluster", delete="deleteCluster")
_v("storage add", "createStoragePool", "name", source="url", zone="zoneid", pod="podid", cluster="clusterid", scope="scope", provider="provider", tag="tags", hypervisor="hypervisor", eg="pool1 --source nfs://10.0.0.5/pool1 --scope cluster --cluster c1")
_lists("storage", "listStoragePools", "name state type scope ipaddress path disksizetotal disksizeused id", zone="zoneid", cluster="clusterid")
_v("storage update", "updateStoragePool", "id", rename="name", tag="tags*")
_simple("storage", maintenance="enableStorageMaintenance", resume="cancelStorageMaintenance", delete="deleteStoragePool")
_v("image-store add", "addImageStore", "url", name="name", provider="provider", zone="zoneid", detail="details{}", sends={"provider": "NFS"}, eg="nfs://10.0.0.5/images")
_lists("image-store", "listImageStores", "name protocol url providername zonename id", zone="zoneid")
_simple("image-store", delete="deleteImageStore")
_v("physical-network create", "createPhysicalNetwork", "name", zone="zoneid", vlan="vlan", isolation="isolationmethods*", tag="tags*", eg="physical1 --vlan 100-199")
_lists("physical-network", "listPhysicalNetworks", "name state isolationmethods vlan id", zone="zoneid")
_v("physical-network enable", "updatePhysicalNetwork", "id", sends={"state": "Enabled"})
_v("physical-network disable", "updatePhysicalNetwork", "id", sends={"state": "Disabled"})
_simple("physical-network", delete="deletePhysicalNetwork")
_v("traffic add", "addTrafficType", "traffictype", network="physicalnetworkid", label="kvmnetworklabel", eg="Guest --network physical1")
_v("traffic list", "listTrafficTypes", "physicalnetworkid", columns="traffictype kvmnetworklabel id")
_v("traffic delete", "deleteTrafficType", "id")
_v("provider list", "listNetworkServiceProviders", columns="name state servicelist id", network="physicalnetworkid")
_v("provider enable", "updateNetworkServiceProvider", "id", sends={"state": "Enabled"})
_v("provider disable", "updateNetworkServiceProvider", "id", sends={"state": "Disabled"})
_v("ip-range create", "createVlanIpRange", zone="zoneid", network="physicalnetworkid", vlan="vlan", gateway="gateway", netmask="netmask", start_ip="startip", end_ip="endip", sends={"forvirtualnetwork": "true", "zoneid": "?only", "physicalnetworkid": "?only"}, eg="--gateway 203.0.113.1 --netmask 255.255.255.0 --start-ip 203.0.113.10 --end-ip 203.0.113.99 --vlan untagged")
_v("ip-range list", "listVlanIpRanges", columns="vlan gateway netmask startip endip account id", zone="zoneid", network="physicalnetworkid")
_simple("ip-range", delete="deleteVlanIpRange")
_v("capacity list", "listCapacity", columns="name type zonename capacityused capacitytotal percentused", zone="zoneid", pod="podid", cluster="clusterid", type="type")

_v("certificate issue", "issueCertificate", csr="csr@", name="domain*", ip="ipaddress*", days="duration", eg="--csr host.csr")
_v("certificate renew", "provisionCertificate", "hostid", eg="host1")
_v("certificate revoke", "revokeCertificate", "serial", name="cn")
_v("certificate authority", "listCaCertificate")

# ---- tenants

_v("domain create", "createDomain", "name", parent="parentdomainid", network_domain="networkdomain", eg="dev --parent ROOT")
_lists("domain", "listDomains", "path level state id", sends={"listall": "true"})
_v("domain update", "updateDomain", "id", rename="name", network_domain="networkdomain")
_v("domain move", "moveDomain", "domainid", parent="parentdomainid", eg="dev --parent ROOT/lab")
_v("domain delete", "deleteDomain", "id", cleanup="cleanup=true")
_v("account create", "createAccount", "account", username="username", password="password", first_name="firstname", last_name="lastname", email="email", role="roleid", domain="domainid", sends={"username": "?account"}, eg="kim --first-name Minji --last-name Kim --email kim@example.com --role User --password -")
_lists("account", "listAccounts", "name state rolename domain vmtotal id", sends={"listall": "true"}, state="state")
_v("account update", "updateAccount", "id", rename="newname", role="roleid", detail="accountdetails{}")
_v("account enable", "enableAccount", "id")
_v("account disable", "disableAccount", "id", sends={"lock": "false"})
_v("account lock", "disableAccount", "id", sends={"lock": "true"})
_simple("account", delete="deleteAccount")
_v("user create", "createUser", "username", account="account", domain="domainid", password="password", first_name="firstname", last_name="lastname", email="email", eg="lee --account kim --first-name Jun --last-name Lee --email lee@example.com --password -")
_lists("user", "listUsers", "username state account rolename domain email id", sends={"listall": "true"}, state="state")
_v("user update", "updateUser", "id", rename="username", password="password", current_password="currentpassword", email="email", first_name="firstname", last_name="lastname")
_v("user move", "moveUser", "id", account="account", eg="lee --account kim")
_v("user keys", "registerUserKeys", "id")
_simple("user", enable="enableUser", disable="disableUser", lock="lockUser", delete="deleteUser")
_v("project create", "createProject", "name", description="displaytext", account="account", domain="domainid", eg="web --description 'The web team'")
_lists("project", "listProjects", "name state domain displaytext id", sends={"listall": "true"}, state="state")
_v("project update", "updateProject", "id", rename="name", description="displaytext")
_simple("project", activate="activateProject", suspend="suspendProject")
_v("project delete", "deleteProject", "id", cleanup="cleanup=true")
_v("project add-account", "addAccountToProject", "projectid account", role="projectroleid", eg="web kim")
_v("project remove-account", "deleteAccountFromProject", "projectid account")
_v("project add-user", "addUserToProject", "projectid username", role="projectroleid")
_v("project remove-user", "deleteUserFromProject", "projectid userid")
_v("project members", "listProjectAccounts", "projectid", columns="account role username userid")
_v("project-role create", "createProjectRole", "projectid name", description="description", eg="web operator")
_v("project-role list", "listProjectRoles", "projectid", columns="name description id")
_v("project-role delete", "deleteProjectRole", "projectid id")
_v("project-role allow", "createProjectRolePermission", "projectid projectroleid rule", sends={"permission": "allow"}, eg="web operator 'list*'")
_v("project-role deny", "createProjectRolePermission", "projectid projectroleid rule", sends={"permission": "deny"})
_v("project-role rules", "listProjectRolePermissions", "projectid projectroleid?", columns="rule permission description id")
_v("project-role remove-rule", "deleteProjectRolePermission", "projectid id")
_v("invitation list", "listProjectInvitations", columns="project account userid state domain id", sends={"listall": "true"}, state="state")
_v("invitation accept", "updateProjectInvitation", "projectid", sends={"accept": "true"}, account="account")
_v("invitation decline", "updateProjectInvitation", "projectid", sends={"accept": "false"}, account="account")
_v("invitation delete", "deleteProjectInvitation", "id")
_v("role create", "createRole", "name", type="type", copy="roleid", description="description", eg="operator --type User")
_lists("role", "listRoles", "name type state isdefault description id")
_v("role update", "updateRole", "id", rename="name", description="description", type="type")
_simple("role", enable="enableRole", disable="disableRole", delete="deleteRole")
_v("role allow", "createRolePermission", "roleid rule", sends={"permission": "allow"}, eg="operator 'list*'")
_v("role deny", "createRolePermission", "roleid rule", sends={"permission": "deny"})
_v("role rules", "listRolePermissions", "roleid", columns="rule permission description id")
_v("role remove-rule", "deleteRolePermission", "id")
_v("limit list", "listResourceLimits", columns="resourcetypename max account domain project", type="resourcetype")
_v("limit set", "updateResourceLimit", "resourcetype max", eg="user_vm 20 --account kim --domain ROOT")
_v("limit recount", "updateResourceCount", "domainid", type="resourcetype", account="account")
_v("tag add", "createTags", "resourcetype resourceids", tag="tags[]", way="tag", eg="vm web1 --tag env=prod")
_v("tag list", "listTags", columns="resourcetype key value account resourceid", sends={"listall": "true"}, type="resourcetype", key="key")
_v("tag remove", "deleteTags", "resourcetype resourceids", tag="tags[]", way="tag", eg="vm web1 --tag env=prod")

# ---- running the cloud

_v("setting list", "listConfigurations", columns="name value category description", category="category", group="group", name="name", zone="zoneid", cluster="clusterid", storage="storageid", eg="--name expunge.delay")
_v("setting show", "listConfigurations", "name", way="show", zone="zoneid", cluster="clusterid", storage="storageid")
_v("setting set", "updateConfiguration", "name value", zone="zoneid", cluster="clusterid", storage="storageid", eg="expunge.delay 3600")
_v("setting reset", "resetConfiguration", "name", zone="zoneid", cluster="clusterid", storage="storageid")
_lists("event", "listEvents", "created type level state account description", sends={"listall": "true"}, type="type", level="level", since="startdate", until="enddate")
_v("event types", "listEventTypes")
_v("event archive", "archiveEvents", "ids?", type="type", since="startdate", until="enddate")
_v("event delete", "deleteEvents", "ids?", type="type", since="startdate", until="enddate", eg="--until 2026-01-01 --yes")
_lists("alert", "listAlerts", "sent name description id", type="type")
_lists("manager", "listManagementServers", "name state version id")
_v("job list", "listAsyncJobs", columns="cmd jobstatus jobprogress created account jobid", way="jobs", sends={"listall": "true"}, since="startdate")
_v("job watch", "queryAsyncJobResult", "jobid", way="watch")
_v("job show", "queryAsyncJobResult", "jobid")

# fmt: on
GIVEN_ONCE = ("password", "privatekey", "apikey", "secretkey")
"""What an answer gives once and no list shows."""


def usual(verb: Verb) -> list[str]:
    """The columns that people look for in the verb's answer: its own, else those of its noun's list."""
    if verb.way == "show":
        return []
    listed = VERBS.get((verb.noun, "list"))
    columns = verb.columns.split() or (listed.columns.split() if listed and not verb.name.endswith("s") else [])
    return [*columns, *GIVEN_ONCE] if columns and verb.name != "list" else columns


NOUNS: tuple[str, ...] = tuple(dict.fromkeys(noun for noun, _ in VERBS))


def verbs_of(noun: str) -> dict[str, Verb]:
    """The verbs of `noun`, in the table's order."""
    return {name: verb for (of, name), verb in VERBS.items() if of == noun}
