import { lazy } from "react";
import { words } from "../words";
import { noun } from "./index";

const SecondFactor = lazy(() => import("../parts/SecondFactor"));
const UserKeys = lazy(() => import("../parts/UserKeys"));

export default noun({
  list: "listUsers",
  columns: ["username", "state", "firstname", "lastname", "email", "account", "rolename", "domain", "usersource"],
  facets: ["state", "domain", "rolename"],
  primary: ["updateUser", "disableUser", "enableUser"],
  hides: () => ["accounttype", "iscallerchilddomain"],
  create: ["createUser"],
  bulk: ["disableUser", "enableUser", "lockUser"],
  first: { createUser: ["domainid", "account", "username", "password", "firstname", "lastname", "email", "timezone"], updateUser: ["username", "firstname", "lastname", "email", "timezone"] },
  ready: {
    enableUser: (row) => !/^enabled$/i.test(String(row.state)) || words().t("user.enabled"),
    disableUser: (row) => !/^disabled$/i.test(String(row.state)) || words().t("user.disabled"),
    lockUser: (row) => /^enabled$/i.test(String(row.state)) || words().t("user.notenabled"),
  },
  overview: [{ title: () => words().t("overview.about"), fields: ["username", "state", "firstname", "lastname", "email", "timezone", "account", "domain", "rolename", "usersource", "is2faenabled", "is2famandated", "created"] }],
  tabs: [
    { id: "keys", label: () => words().t("me.keys"), render: (row) => <UserKeys user={row} /> },
    { id: "factor", label: () => words().t("factor"), render: (row) => <SecondFactor user={row} /> },
  ],
});
