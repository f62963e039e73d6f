import type { Row } from "../api/client";
import { isPlain } from "../api/session";
import { Subject } from "../parts/subject";
import { words } from "../words";
import { noun } from "./index";

export default noun({
  list: "listEvents",
  get columns() {
    return [
      { field: "type", wide: 1.4, value: (row: Row) => `${words().event(String(row.type))} ${row.type}`, cell: (row: Row) => words().event(String(row.type)) },
      "state",
      // Who signs in is what the event is about; the server names other things only.
      { field: "resourcename", cell: (row: Row) => <Subject type={row.resourcetype} id={row.resourceid} name={row.resourcename ?? (/^USER\.LOG/.test(String(row.type)) ? row.username : undefined)} /> },
      "created", "username", "level", ...(isPlain() ? [] : ["account"]),
    ];
  },
  facets: ["level", "state"],
  bulk: ["archiveEvents", "deleteEvents"],
  param: { archiveEvents: "ids", deleteEvents: "ids" },
});
