import { lazy } from "react";
import { words } from "../words";
import { noun } from "./index";

const RelatedNoun = lazy(() => import("../parts/RelatedNoun"));
const LimitTable = lazy(() => import("../parts/LimitTable"));
const ScopedSettings = lazy(() => import("../parts/ScopedSettings"));

export default noun({
  list: "listDomains",
  columns: ["name", "path", "state", "created"],
  // What it may have and has is in the tab of limits.
  hides: (row) => ["level", ...Object.keys(row).filter((f) => /(limit|available|total)$/.test(f))],
  primary: ["updateDomain", "moveDomain"],
  overview: [{ title: () => words().t("overview.about"), fields: ["path", "parentdomainname", "level", "networkdomain", "state", "created"] }],
  tabs: [
    { id: "accounts", label: () => words().noun("Accounts"), render: (row) => <RelatedNoun list="listAccounts" params={{ domainid: row.id }} add="createAccount" fixed={{ domainid: row.id }} first={["account", "roleid", "username", "password", "firstname", "lastname", "email"]} /> },
    { id: "limits", label: () => words().noun("ResourceLimits"), render: (row) => <LimitTable party={{ domainid: row.id }} /> },
    { id: "configuration", label: () => words().t("settings.own"), render: (row) => <ScopedSettings place={{ domainid: row.id }} /> },
  ],
});
