// Which alerts this browser's user has not looked at yet: those sent since the list of alerts was last open.

import { useQuery } from "@tanstack/react-query";
import { call, rows } from "./client";
import { alertCount } from "./live";
import { queries } from "./queries";

const KEPT = "mold.alerts.seen";
const KEY = ["listAlerts", "unread"];
const MOST = 100;
interface Fresh { count: number; newest: string } // prettier-ignore

/** How many are new, by the server's clock. The stream of events has it asked again. */
export function useUnread(): number {
  const found = useQuery({
    queryKey: KEY,
    refetchInterval: 60_000,
    queryFn: async ({ signal }): Promise<Fresh> => {
      const sent = rows(await call("listAlerts", { page: 1, pagesize: MOST }, signal)).rows.map((a) => String(a.sent ?? ""));
      const until = localStorage.getItem(KEPT) ?? "";
      return { count: sent.filter((s) => s > until).length, newest: sent.sort().at(-1) ?? until };
    },
  });
  return found.data?.count ?? 0;
}

/** All that there is now has been seen. */
export function seen(): void {
  const now = queries.getQueryData<Fresh>(KEY);
  if (now) {
    localStorage.setItem(KEPT, now.newest);
    queries.setQueryData<Fresh>(KEY, { ...now, count: 0 });
  }
  alertCount.set(0);
}
