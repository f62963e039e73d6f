import { lazy } from "react";
import { SpaceBar } from "../parts/SpaceBar";
import { words } from "../words";
import { noun } from "./index";

const ScopedSettings = lazy(() => import("../parts/ScopedSettings"));

export default noun({
  list: "listStoragePools",
  columns: ["name", "state", { field: "disksizeused", wide: 1.6, value: (row) => Number(row.disksizeused ?? 0), cell: (row) => <SpaceBar row={row} small /> }, "type", "scope", "clustername", "zonename"],
  facets: ["state", "type", "zonename"],
  primary: ["updateStoragePool", "enableStorageMaintenance", "cancelStorageMaintenance"],
  createPage: "/storagepools-new",
  overview: [
    { title: () => words().t("overview.about"), fields: ["state", "type", "scope", "path", "ipaddress", "provider", "tags", "disksizetotal", "disksizeused", "disksizeallocated", "overprovisionfactor"] },
    { title: () => words().t("host.room"), fields: ["clustername", "podname", "zonename", "hypervisor", "created"] },
  ],
  above: (row) => <SpaceBar row={row} />,
  tabs: [
    { id: "configuration", label: () => words().t("settings.own"), render: (row) => <ScopedSettings place={{ storageid: row.id }} /> },
  ],
});
