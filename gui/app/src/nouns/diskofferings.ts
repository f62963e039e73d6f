import { noun } from "./index";

export default noun({
  list: "listDiskOfferings",
  columns: ["name", "displaytext", "disksize", "iscustomized", "storagetype", "tags", "domain", "state"],
  facets: ["state", "storagetype"],
  primary: ["updateDiskOffering"],
  first: { createDiskOffering: ["name", "displaytext", "disksize", "customized", "storagetype", "tags"], updateDiskOffering: ["name", "displaytext", "state", "tags"] },
});
