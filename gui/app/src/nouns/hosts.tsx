import { lazy } from "react";
import { amount, Bar } from "../parts/Bar";
import { Placement } from "../parts/Placement";
import { words } from "../words";
import { noun } from "./index";

const RelatedNoun = lazy(() => import("../parts/RelatedNoun"));

const share = (used: unknown, all: unknown) => (Number(all) ? Math.round((1000 * Number(used ?? 0)) / Number(all)) / 10 : 0);

export default noun({
  list: "listHosts",
  columns: [
    "name", "state", "resourcestate", "ipaddress",
    { field: "memoryallocatedbytes", wide: 1.1, value: (row) => share(row.memoryallocatedbytes, row.memorywithoverprovisioning), cell: (row) => <Bar small brief label="" name={words().t("capacity.0")} used={Number(row.memoryallocatedbytes ?? 0)} total={Number(row.memorywithoverprovisioning ?? 0)} of={(n) => amount(0, n)} /> },
    { field: "cpuallocatedvalue", wide: 1.1, value: (row) => share(row.cpuallocatedvalue, row.cpuwithoverprovisioning), cell: (row) => <Bar small brief label="" name={words().t("capacity.1")} used={Number(row.cpuallocatedvalue ?? 0)} total={Number(row.cpuwithoverprovisioning ?? 0)} of={(n) => amount(1, n)} /> },
    "clustername", "podname", "zonename",
  ],
  facets: ["state", "resourcestate", "clustername"],
  primary: ["prepareHostForMaintenance", "reconnectHost", "updateHost"],
  create: ["addHost"],
  ready: {
    reconnectHost: (row) => row.state !== "Removed" || words().t("host.removed"),
    cancelHostMaintenance: (row) => /Maintenance/.test(String(row.resourcestate)) || words().t("host.not.maintained"),
    prepareHostForMaintenance: (row) => !/Maintenance/.test(String(row.resourcestate)) || words().t("host.maintained"),
  },
  needs: { addHost: ["clusterid"] },
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
