import type { Row } from "../api/client";
import { isAdmin, isPlain } from "../api/session";
import { Console, ConsoleButtons } from "../machine/Console";
import { Ends, Gone, mayEnd } from "../machine/Ends";
import { Disks, Nics } from "../machine/Tabs";
import type { Column } from "../parts/DataTable";
import { nameOf } from "../parts/Value";
import { words } from "../words";
import { noun } from "./index";

const running = (row: Row) => row.state === "Running" || words().t("vm.needs.running");
const stopped = (row: Row) => row.state === "Stopped" || words().t("vm.needs.stopped");
const tagsOf = (row: Row) => ((row.tags ?? []) as Row[]).map((t) => `${t.key}=${t.value}`);

/** What people call it; the host name is found by the search too. */
const called: Column = { field: "name", value: (row) => (row.displayname && row.displayname !== row.name ? `${row.displayname} (${row.name})` : row.name), cell: nameOf };

export default noun({
  list: "listVirtualMachines",
  get columns() {
    return [called, "state", "ipaddress", "serviceofferingname", ...(isAdmin() ? ["hostname"] : []), "zonename", ...(isPlain() ? [] : ["account"]), { field: "tags", facet: true, values: tagsOf }];
  },
  facets: ["state", "zonename"],
  primary: ["startVirtualMachine", "stopVirtualMachine", "rebootVirtualMachine"],
  bulk: ["startVirtualMachine", "stopVirtualMachine", "rebootVirtualMachine", "destroyVirtualMachine"],
  create: ["deployVirtualMachine"],
  createPage: "/virtualmachines-new",
  related: false,
  ready: {
    startVirtualMachine: stopped,
    rebootVirtualMachine: running,
    createConsoleEndpoint: running,
    resetPasswordForVirtualMachine: (row) => (row.passwordenabled === false ? words().t("vm.needs.password") : stopped(row)),
    resetSSHKeyForVirtualMachine: stopped,
    resetUserDataForVirtualMachine: stopped,
    changeServiceForVirtualMachine: stopped,
    destroyVirtualMachine: (row) => (row.deleteprotection ? words().t("vm.protected") : row.state !== "Destroyed" || words().t("ready.state", { state: words().state("Destroyed") })),
    recoverVirtualMachine: (row) => (row.state === "Destroyed" ? mayEnd() : words().t("vm.needs.destroyed.first")),
    expungeVirtualMachine: (row) => (row.state === "Destroyed" || row.state === "Error" ? mayEnd() : words().t("vm.needs.destroyed")),
  },
  first: {
    updateVirtualMachine: ["displayname", "group", "haenable", "deleteprotection", "isdynamicallyscalable", "ostypeid"],
    stopVirtualMachine: ["forced"],
    rebootVirtualMachine: ["forced"],
    resetSSHKeyForVirtualMachine: ["keypairs"],
    resetUserDataForVirtualMachine: ["userdataid"],
  },
  without: { destroyVirtualMachine: ["expunge"], resetSSHKeyForVirtualMachine: ["keypair", "account", "domainid", "projectid"], resetUserDataForVirtualMachine: ["account", "domainid", "projectid"] },
  asks: { destroyVirtualMachine: (row) => <Ends row={row} />, expungeVirtualMachine: (row) => <Ends row={row} final /> },
  locked: (row) => (row.state === "Stopped" ? undefined : { params: ["details", "cleanupdetails", "ostypeid", "isdynamicallyscalable", "customid"], why: words().t("vm.locked") }),
  buttons: (row) => <ConsoleButtons row={row} />,
  notice: (row) => <Gone row={row} />,
  overview: [
    { title: () => words().t("overview.about"), fields: ["state", "osdisplayname", "templatename", "serviceofferingname", "cpunumber", "memory", "created", "keypairs", "userdataname", "group", "tags"] },
    { title: () => words().t("overview.place"), fields: ["zonename", "hostname", "ipaddress", "publicip", "account", "domain", "project"] },
  ],
  tabs: [
    { id: "console", label: () => words().t("console.title"), render: (row) => <Console key={row.id} row={row} /> },
    { id: "nics", label: () => words().t("vm.nics"), render: (row) => <Nics row={row} /> },
    { id: "disks", label: () => words().t("vm.disks"), render: (row) => <Disks row={row} /> },
  ],
});
