import { words } from "../words";
import { noun } from "./index";

export default noun({
  list: "listServiceOfferings",
  columns: ["name", "displaytext", "cpunumber", "cpuspeed", "memory", "storagetype", "iscustomized", "domain", "state"],
  facets: ["state", "storagetype"],
  primary: ["updateServiceOffering"],
  first: { createServiceOffering: ["name", "displaytext", "cpunumber", "cpuspeed", "memory", "rootdisksize", "storagetype", "offerha"], updateServiceOffering: ["name", "displaytext", "state", "hosttags", "storagetags"] },
  overview: [
    { title: () => words().t("overview.about"), fields: ["displaytext", "state", "cpunumber", "cpuspeed", "memory", "iscustomized", "rootdisksize", "storagetype", "provisioningtype"] },
    { title: () => words().t("offering.place"), fields: ["hosttags", "storagetags", "deploymentplanner", "offerha", "limitcpuuse", "dynamicscalingenabled", "networkrate"] },
    { title: () => words().t("offering.whose"), fields: ["domain", "zone", "created"] },
  ],
});
