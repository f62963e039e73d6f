import { useEffect } from "react";
import { words } from "../words";
import { seen, useUnread } from "../api/alerts";
import { noun } from "./index";

/** Whoever has the list open has seen what is in it. */
function Seen() {
  const fresh = useUnread();
  useEffect(seen, [fresh]);
  return null;
}

export default noun({
  list: "listAlerts",
  columns: [{ field: "name", wide: 1.2, value: (row) => `${words().phrase(String(row.name))} ${row.name}`, cell: (row) => (words().language === "ko" ? words().phrase(String(row.name)) : String(row.name)) }, { field: "description", wide: 3, cell: (row) => <span lang="en">{String(row.description ?? "")}</span> }, "sent"],
  facets: ["name"],
  bulk: ["archiveAlerts", "deleteAlerts"],
  param: { archiveAlerts: "ids", deleteAlerts: "ids" },
  banner: () => <Seen />,
});
