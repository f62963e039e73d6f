import { words } from "../words";
import { noun } from "./index";

export default noun({
  list: "listEvents",
  columns: [{ field: "type", wide: 1.6, value: (row) => `${words().event(String(row.type))} ${row.type}`, cell: (row) => words().event(String(row.type)) }, "resourcename", "level", "state", "username", "account", "created"],
  facets: ["level", "state"],
});
