// What was asked for, kept for a moment and asked again when something has happened to it.

import { QueryClient } from "@tanstack/react-query";
import { Fault } from "./client";

export const queries = new QueryClient({
  defaultOptions: {
    queries: {
      staleTime: 15_000,
      gcTime: 5 * 60_000,
      refetchOnWindowFocus: true,
      retry: (count, no) => count < 3 && no instanceof Fault && no.about.code === 0,
      retryDelay: (count) => Math.min(1000 * 2 ** count, 15_000),
    },
  },
});

/** Rows of this list command have changed: ask again for what is on the screen. Without one, for everything on it. */
export function settle(list?: string): void {
  void queries.invalidateQueries(list ? { predicate: ({ queryKey }) => queryKey[0] === list || queryKey[0] === "count" } : undefined);
}
