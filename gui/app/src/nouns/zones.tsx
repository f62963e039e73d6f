import { lazy } from "react";
import { Placement } from "../parts/Placement";
import { words } from "../words";
import { noun } from "./index";

const ScopedSettings = lazy(() => import("../parts/ScopedSettings"));

export default noun({
  list: "listZones",
  columns: ["name", "allocationstate", "networktype", "dns1", "internaldns1", "guestcidraddress", "created"],
  facets: ["allocationstate"],
  primary: ["updateZone"],
  createPage: "/zones-new",
  overview: [{ title: () => words().t("overview.about"), fields: ["allocationstate", "networktype", "dns1", "dns2", "internaldns1", "internaldns2", "guestcidraddress", "domain", "localstorageenabled", "created"] }],
  above: (row) => <Placement row={row} list="listZones" update="updateZone" on={row.allocationstate === "Enabled"} to={(on) => ({ allocationstate: on ? "Enabled" : "Disabled" })} />,
  tabs: [{ id: "configuration", label: () => words().t("settings.own"), render: (row) => <ScopedSettings place={{ zoneid: row.id }} /> }],
});
