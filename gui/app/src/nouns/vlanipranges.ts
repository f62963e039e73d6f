import { noun } from "./index";

export default noun({ list: "listVlanIpRanges", columns: ["startip", "endip", "gateway", "netmask", "vlan", "account", "domain"], starts: { createVlanIpRange: { vlan: "untagged", forvirtualnetwork: true } }, needs: { createVlanIpRange: ["zoneid", "physicalnetworkid", "gateway", "netmask", "startip", "endip"] }, first: { createVlanIpRange: ["zoneid", "physicalnetworkid", "gateway", "netmask", "startip", "endip", "vlan"] } });
