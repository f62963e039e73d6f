// All rows of a list: a hundred at once, so that there is something to see, the rest as they arrive, up to a limit beyond
// which one asks for more. What the stream of events tells is patched in.

import { useInfiniteQuery } from "@tanstack/react-query";
import { useEffect, useMemo, useState } from "react";
import { isMoving } from "../parts/State";
import { call, rows, type Params, type Row } from "./client";
import { live } from "./live";

const FIRST = 100;
const PAGE = 500;
const UNASKED = 5000;

export function useRows(list: string, params: Params, enabled = true) {
  const [all, setAll] = useState(false);
  const on = live.use();
  const query = useInfiniteQuery({
    queryKey: [list, "rows", params],
    enabled,
    // Page 0 is the short one; page 1 begins with the same rows, which are left out of it.
    initialPageParam: 0,
    queryFn: async ({ pageParam, signal }) => {
      const told = rows(await call(list, { ...params, page: pageParam || 1, pagesize: pageParam ? PAGE : FIRST }, signal));
      return pageParam === 1 ? { ...told, rows: told.rows.slice(FIRST) } : told;
    },
    getNextPageParam: (last, pages) => ((pages.length > 1 ? (pages.length - 1) * PAGE : FIRST) < last.count && (last.rows.length || pages.length === 2) ? pages.length : undefined),
    refetchInterval: ({ state }) => {
      const pages = state.data?.pages ?? [];
      if (on || pages.length > 1) return on ? false : 60_000;
      return pages[0]?.rows.some((r) => isMoving(r.state) || r.jobstatus === 0) ? 3000 : 15_000;
    },
  });
  const found = useMemo(() => query.data?.pages.flatMap((p) => p.rows) ?? [], [query.data]);
  const count = query.data?.pages.at(-1)?.count ?? 0;
  const more = query.hasNextPage && !query.isFetchingNextPage && !query.isError && (all || found.length < UNASKED);
  useEffect(() => {
    if (more) void query.fetchNextPage();
  }, [more, found.length]);
  return { rows: found, count, fault: query.error, loading: query.isPending && enabled, fetching: query.isFetching, again: () => void query.refetch(), more: query.hasNextPage && !all && found.length >= UNASKED ? () => setAll(true) : undefined };
}
export type Rows = ReturnType<typeof useRows>;

/** Put fresh rows in the place of the old ones; what is gone goes, what is new comes first. */
export function renewed(old: { pages: { rows: Row[]; count: number }[]; pageParams: unknown[] } | undefined, ids: string[], fresh: Row[], adds: boolean) {
  if (!old?.pages.length) return old;
  const now = new Map(fresh.map((r) => [String(r.id), r]));
  const gone = new Set(ids.filter((id) => !now.has(id)));
  let lost = 0;
  const pages = old.pages.map((page) => ({
    ...page,
    rows: page.rows.flatMap((r) => {
      const id = String(r.id);
      if (gone.has(id)) {
        lost++;
        return [];
      }
      const better = now.get(id);
      now.delete(id);
      return [better ?? r];
    }),
  }));
  const added = adds ? [...now.values()] : [];
  pages[0] = { ...pages[0], rows: [...added, ...pages[0].rows] };
  return { ...old, pages: pages.map((p) => ({ ...p, count: p.count + added.length - lost })) };
}
