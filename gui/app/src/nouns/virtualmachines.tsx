import { words } from "../words";
import { noun } from "./index";

const running = (row: Record<string, unknown>) => row.state === "Running" || words().t("vm.needs.running");
const stopped = (row: Record<string, unknown>) => row.state === "Stopped" || words().t("vm.needs.stopped");

export default noun({
  list: "listVirtualMachines",
  columns: ["name", "state", "ipaddress", "serviceofferingname", "templatename", "hostname", "zonename", "account"],
  facets: ["state", "zonename"],
  primary: ["startVirtualMachine", "stopVirtualMachine", "rebootVirtualMachine"],
  bulk: ["startVirtualMachine", "stopVirtualMachine", "rebootVirtualMachine", "destroyVirtualMachine"],
  create: ["deployVirtualMachine"],
  ready: {
    startVirtualMachine: stopped,
    rebootVirtualMachine: running,
    resetPasswordForVirtualMachine: stopped,
    resetSSHKeyForVirtualMachine: stopped,
    changeServiceForVirtualMachine: stopped,
    expungeVirtualMachine: (row) => row.state === "Destroyed" || words().t("vm.needs.destroyed"),
  },
  first: {
    deployVirtualMachine: ["name", "zoneid", "templateid", "serviceofferingid", "networkids", "keypairs"],
    updateVirtualMachine: ["displayname", "group", "haenable", "deleteprotection", "isdynamicallyscalable"],
    stopVirtualMachine: ["forced"],
  },
  overview: [
    { title: () => words().t("overview.about"), fields: ["state", "osdisplayname", "templatename", "serviceofferingname", "cpunumber", "memory", "created", "group", "tags"] },
    { title: () => words().t("overview.place"), fields: ["zonename", "hostname", "ipaddress", "nic", "account", "domain", "project"] },
  ],
});
