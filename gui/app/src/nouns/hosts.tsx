import { lazy } from "react";
import { Placement } from "../parts/Placement";
import { words } from "../words";
import { noun } from "./index";

const RelatedNoun = lazy(() => import("../parts/RelatedNoun"));

export default noun({
  list: "listHosts",
  columns: ["name", "state", "resourcestate", "type", "ipaddress", "clustername", "podname", "zonename", "hypervisor"],
  facets: ["state", "resourcestate", "clustername"],
  primary: ["prepareHostForMaintenance", "reconnectHost", "updateHost"],
  create: ["addHost"],
  ready: {
    reconnectHost: (row) => row.state !== "Removed" || words().t("host.removed"),
    cancelHostMaintenance: (row) => /Maintenance/.test(String(row.resourcestate)) || words().t("host.not.maintained"),
    prepareHostForMaintenance: (row) => !/Maintenance/.test(String(row.resourcestate)) || words().t("host.maintained"),
  },
  first: { addHost: ["zoneid", "podid", "clusterid", "hypervisor", "url", "username", "password", "hosttags"], updateHost: ["name", "hosttags", "allocationstate"] },
  overview: [
    { title: () => words().t("overview.about"), fields: ["state", "resourcestate", "type", "ipaddress", "hypervisor", "hypervisorversion", "version", "arch", "hosttags", "problems"] },
    { title: () => words().t("host.room"), fields: ["clustername", "podname", "zonename", "managementservername"] },
    { title: () => words().t("host.use"), fields: ["cpunumber", "cpuspeed", "cpusockets", "cpuused", "cpuloadaverage", "memorytotal", "memoryused", "networkkbsread", "networkkbswrite", "lastpinged", "disconnected"] },
  ],
  above: (row) => <Placement row={row} list="listHosts" update="updateHost" on={row.resourcestate === "Enabled"} to={(on) => ({ allocationstate: on ? "Enable" : "Disable" })} />,
  tabs: [
    { id: "machines", label: () => words().noun("VirtualMachines"), render: (row) => <RelatedNoun list="listVirtualMachines" params={{ hostid: row.id }} /> },
    { id: "pools", label: () => words().noun("StoragePools"), render: (row) => <RelatedNoun list="listStoragePools" params={{ clusterid: row.clusterid }} /> },
  ],
});
