import { lazy } from "react";
import { words } from "../words";
import { noun } from "./index";

const RelatedNoun = lazy(() => import("../parts/RelatedNoun"));

export default noun({
  list: "listPhysicalNetworks",
  columns: ["name", "state", "isolationmethods", "vlan", "networkspeed", "tags", "zonename"],
  facets: ["state", "zonename"],
  primary: ["updatePhysicalNetwork"],
  first: { createPhysicalNetwork: ["zoneid", "name", "isolationmethods", "vlan"], updatePhysicalNetwork: ["state", "vlan", "tags", "networkspeed"] },
  tabs: [
    { id: "traffic", label: () => words().noun("TrafficTypes"), render: (row) => <RelatedNoun list="listTrafficTypes" params={{ physicalnetworkid: row.id }} add="addTrafficType" first={["traffictype", "kvmnetworklabel"]} /> },
    { id: "ranges", label: () => words().noun("VlanIpRanges"), render: (row) => <RelatedNoun list="listVlanIpRanges" params={{ physicalnetworkid: row.id }} add="createVlanIpRange" fixed={{ zoneid: row.zoneid }} first={["gateway", "netmask", "startip", "endip", "vlan"]} /> },
    { id: "providers", label: () => words().noun("NetworkServiceProviders"), render: (row) => <RelatedNoun list="listNetworkServiceProviders" params={{ physicalnetworkid: row.id }} /> },
  ],
});
