import { lazy } from "react";
import { words } from "../words";
import { noun } from "./index";

const Members = lazy(() => import("../parts/Members"));
const LimitTable = lazy(() => import("../parts/LimitTable"));

export default noun({
  list: "listProjects",
  columns: ["name", "state", "displaytext", "domain", "vmtotal", "volumetotal", "created"],
  facets: ["state", "domain"],
  // What it may have and has is in the tab of limits.
  hides: (row) => Object.keys(row).filter((f) => /(limit|available)$/.test(f)),
  primary: ["updateProject", "suspendProject", "activateProject"],
  create: ["createProject"],
  first: { createProject: ["name", "displaytext"], updateProject: ["name", "displaytext"] },
  ready: {
    activateProject: (row) => row.state !== "Active" || words().t("project.active"),
    suspendProject: (row) => row.state === "Active" || words().t("project.notactive"),
  },
  overview: [{ title: () => words().t("overview.about"), fields: ["state", "displaytext", "domain", "created", "vmtotal", "vmrunning", "volumetotal", "networktotal", "iptotal", "tags"] }],
  tabs: [
    { id: "members", label: () => words().t("project.members"), render: (row) => <Members project={row} /> },
    { id: "limits", label: () => words().noun("ResourceLimits"), render: (row) => <LimitTable party={{ projectid: row.id }} /> },
  ],
});
