import { noun } from "./index";

export default noun({
  list: "listNetworkOfferings",
  columns: ["name", "displaytext", "state", "guestiptype", "traffictype", "isdefault", "egressdefaultpolicy", "domain"],
  facets: ["state", "guestiptype"],
  primary: ["updateNetworkOffering"],
  starts: { createNetworkOffering: { traffictype: "Guest", enable: true } },
  first: { createNetworkOffering: ["name", "displaytext", "guestiptype", "traffictype", "supportedservices", "enable"], updateNetworkOffering: ["name", "displaytext", "state", "availability"] },
});
