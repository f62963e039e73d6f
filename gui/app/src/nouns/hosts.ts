import { noun } from "./index";

export default noun({
  list: "listHosts",
  columns: ["name", "state", "resourcestate", "type", "ipaddress", "clustername", "podname", "zonename", "hypervisor"],
  facets: ["state", "type", "clustername"],
  primary: ["prepareHostForMaintenance", "reconnectHost", "updateHost"],
  create: ["addHost"],
});
