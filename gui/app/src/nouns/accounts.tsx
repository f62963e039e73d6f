import { lazy } from "react";
import { words } from "../words";
import { noun } from "./index";

const RelatedNoun = lazy(() => import("../parts/RelatedNoun"));
const LimitTable = lazy(() => import("../parts/LimitTable"));
const ScopedSettings = lazy(() => import("../parts/ScopedSettings"));

export default noun({
  list: "listAccounts",
  columns: ["name", "state", "rolename", "domain", "vmtotal", "volumetotal", "created"],
  facets: ["state", "rolename", "domain"],
  primary: ["updateAccount", "disableAccount", "enableAccount"],
  create: ["createAccount"],
  bulk: ["disableAccount", "enableAccount"],
  ready: {
    enableAccount: (row) => row.state !== "enabled" || words().t("user.enabled"),
    disableAccount: (row) => row.state === "enabled" || words().t("user.notenabled"),
  },
  first: { createAccount: ["account", "roleid", "domainid", "username", "password", "firstname", "lastname", "email"], disableAccount: ["lock"] },
  overview: [
    { title: () => words().t("overview.about"), fields: ["state", "rolename", "roletype", "domain", "domainpath", "networkdomain", "isdefault", "created"] },
    { title: () => words().t("account.has"), fields: ["vmtotal", "vmrunning", "vmstopped", "volumetotal", "snapshottotal", "templatetotal", "networktotal", "iptotal", "cputotal", "memorytotal"] },
  ],
  tabs: [
    { id: "users", label: () => words().noun("Users"), render: (row) => <RelatedNoun list="listUsers" params={{ account: row.name, domainid: row.domainid }} add="createUser" fixed={{ account: row.name, domainid: row.domainid }} first={["username", "password", "firstname", "lastname", "email", "timezone"]} /> },
    { id: "limits", label: () => words().noun("ResourceLimits"), render: (row) => <LimitTable party={{ account: row.name, domainid: row.domainid }} /> },
    { id: "configuration", label: () => words().t("settings.own"), render: (row) => <ScopedSettings place={{ accountid: row.id }} /> },
  ],
});
