import { words } from "../words";
import { noun } from "./index";

const running = (row: Record<string, unknown>) => row.state === "Running" || words().t("vm.needs.running");

export default noun({
  list: "listRouters",
  columns: ["name", "state", "hostcontrolstate", "publicip", "guestnetworkname", "hostname", "zonename", "account"],
  facets: ["state", "zonename"],
  primary: ["startRouter", "stopRouter", "rebootRouter"],
  bulk: ["startRouter", "stopRouter", "rebootRouter"],
  ready: { rebootRouter: running, stopRouter: running, startRouter: (row) => row.state === "Stopped" || words().t("vm.needs.stopped") },
  hides: (row) => ["role", "nic", ...(row.isredundantrouter ? [] : ["isredundantrouter", "redundantstate"]), ...(row.requiresupgrade ? [] : ["requiresupgrade"])],
  overview: [
    { title: () => words().t("overview.about"), fields: ["state", "hostcontrolstate", "version", "softwareversion", "requiresupgrade", "isredundantrouter", "redundantstate", "hypervisor", "created"] },
    { title: () => words().t("overview.place"), fields: ["hostname", "podname", "zonename", "guestnetworkname", "publicip", "publicnetmask", "gateway", "guestipaddress", "guestnetmask", "dns1", "dns2", "account", "domain"] },
  ],
});
