import { words } from "../words";
import { noun } from "./index";

export default noun({
  list: "listVolumes",
  columns: ["name", "state", "type", "size", "vmdisplayname", "diskofferingname", "zonename", "account"],
  facets: ["state", "type", "zonename"],
  overview: [
    { title: () => words().t("overview.about"), fields: ["state", "type", "size", "physicalsize", "utilization", "diskofferingname", "templatename", "created", "attached"] },
    { title: () => words().t("overview.place"), fields: ["vmdisplayname", "zonename", "storage", "storagetype", "account", "domain", "project"] },
  ],
});
