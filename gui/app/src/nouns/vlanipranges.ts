import { noun } from "./index";

export default noun({ list: "listVlanIpRanges", columns: ["startip", "endip", "gateway", "netmask", "vlan", "account", "domain"], first: { createVlanIpRange: ["zoneid", "physicalnetworkid", "gateway", "netmask", "startip", "endip", "vlan"] } });
