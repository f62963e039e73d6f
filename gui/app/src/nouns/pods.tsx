import { Placement } from "../parts/Placement";
import { noun } from "./index";

export default noun({
  list: "listPods",
  columns: ["name", "allocationstate", "zonename", "gateway", "netmask", "startip", "endip"],
  facets: ["zonename", "allocationstate"],
  primary: ["updatePod"],
  hides: () => ["ipranges", "forsystemvms", "vlanid"],
  needs: { createPod: ["gateway", "netmask", "startip"] },
  first: { createPod: ["zoneid", "name", "gateway", "netmask", "startip", "endip"] },
  above: (row) => <Placement row={row} list="listPods" update="updatePod" on={row.allocationstate === "Enabled"} to={(on) => ({ allocationstate: on ? "Enabled" : "Disabled" })} />,
});
