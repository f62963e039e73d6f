import { Subject } from "../parts/subject";
import { words } from "../words";
import { noun } from "./index";

export default noun({
  list: "listEvents",
  columns: [{ field: "type", wide: 1.6, value: (row) => `${words().event(String(row.type))} ${row.type}`, cell: (row) => words().event(String(row.type)) }, { field: "resourcename", cell: (row) => <Subject type={row.resourcetype} id={row.resourceid} name={row.resourcename} /> }, "level", "state", "username", "account", "created"],
  facets: ["level", "state"],
  bulk: ["archiveEvents", "deleteEvents"],
  param: { archiveEvents: "ids", deleteEvents: "ids" },
});
