import { words } from "../words";
import { noun } from "./index";

export default noun({
  list: "listPublicIpAddresses",
  columns: ["ipaddress", "state", "associatednetworkname", "issourcenat", "isstaticnat", "virtualmachinename", "zonename", "account", "allocated"],
  facets: ["state", "zonename"],
  overview: [
    { title: () => words().t("overview.about"), fields: ["ipaddress", "state", "issourcenat", "isstaticnat", "associatednetworkname", "virtualmachinename", "allocated"] },
    { title: () => words().t("overview.place"), fields: ["zonename", "account", "domain", "project"] },
  ],
});
