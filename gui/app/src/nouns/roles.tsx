import { lazy } from "react";
import { words } from "../words";
import { noun } from "./index";

const RoleRules = lazy(() => import("../parts/RoleRules"));
const own = (row: Record<string, unknown>) => row.isdefault !== true || words().t("role.supplied");

export default noun({
  list: "listRoles",
  columns: ["name", "type", "state", { field: "isdefault", value: (row) => words().t(row.isdefault ? "role.default" : "role.own"), cell: (row) => words().t(row.isdefault ? "role.default" : "role.own") }, "ispublic", "description"],
  facets: ["type"],
  primary: ["updateRole", "enableRole", "disableRole"],
  create: ["createRole"],
  first: { createRole: ["name", "description", "roleid", "type"] },
  ready: { updateRole: own, enableRole: (row) => (own(row) !== true ? own(row) : row.state !== "enabled" || words().t("user.enabled")), disableRole: (row) => (own(row) !== true ? own(row) : row.state === "enabled" || words().t("user.disabled")), deleteRole: own },
  overview: [{ title: () => words().t("overview.about"), fields: ["type", "state", "description", "isdefault", "ispublic"] }],
  tabs: [{ id: "rules", label: () => words().t("role.rules"), render: (row) => <RoleRules role={row} /> }],
});
