import { lazy } from "react";
import { Placement } from "../parts/Placement";
import { words } from "../words";
import { noun } from "./index";

const Spare = lazy(() => import("../parts/Spare"));
const ScopedSettings = lazy(() => import("../parts/ScopedSettings"));

export default noun({
  list: "listClusters",
  columns: ["name", "allocationstate", "managedstate", "hypervisortype", "podname", "zonename", "cpuovercommitratio", "memoryovercommitratio"],
  facets: ["zonename", "podname"],
  primary: ["updateCluster"],
  hides: (row) => (row.clustertype === "CloudManaged" ? ["clustertype"] : []),
  overview: [{ title: () => words().t("overview.about"), fields: ["allocationstate", "managedstate", "hypervisortype", "arch", "cpuovercommitratio", "memoryovercommitratio", "podname", "zonename", "created"] }],
  starts: { addCluster: { clustertype: "CloudManaged" } },
  first: { addCluster: ["zoneid", "podid", "clustername", "hypervisor", "clustertype"] },
  above: (row) => <Placement row={row} list="listClusters" update="updateCluster" on={row.allocationstate === "Enabled"} to={(on) => ({ allocationstate: on ? "Enabled" : "Disabled" })} />,
  tabs: [{ id: "spare", label: () => words().t("spare"), render: (row) => <Spare cluster={row} /> }, { id: "configuration", label: () => words().t("settings.own"), render: (row) => <ScopedSettings place={{ clusterid: row.id }} /> }],
});
