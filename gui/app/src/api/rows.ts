// All rows of a list: a hundred at once, so that there is something to see, the rest as they arrive, up to a limit. What
// lies beyond is asked for page by page where somebody looks at it (`useFar`), or altogether on request.
// What the stream of events tells is patched in.

import { useInfiniteQuery, useQueries } from "@tanstack/react-query";
import { useCallback, useEffect, useMemo, useState } from "react";
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
  // While everything arrives, what is shown of it grows in steps: each of them is searched and put in order.
  const step = all && query.hasNextPage ? Math.floor((query.data?.pages.length ?? 0) / 20) : query.data;
  const found = useMemo(() => query.data?.pages.flatMap((p) => p.rows) ?? [], [step]);
  const count = query.data?.pages.at(-1)?.count ?? 0;
  const more = enabled && query.hasNextPage && !query.isFetchingNextPage && !query.isError && (all || found.length < UNASKED);
  useEffect(() => {
    if (more) void query.fetchNextPage();
  }, [more, query.data?.pages.length]);
  return { rows: found, count, fault: query.error, loading: query.isPending && enabled, fetching: query.isFetching, again: () => void query.refetch(), more: query.hasNextPage && !all && found.length >= UNASKED ? () => setAll(true) : undefined };
}
export type Rows = ReturnType<typeof useRows>;

/** Rows by their place in a list that is longer than what is loaded of it: `want` says which are looked at. */
export function useFar(list: string, params: Params, enabled: boolean) {
  const [pages, setPages] = useState<number[]>([]);
  const found = useQueries({
    queries: (enabled ? pages : []).map((page) => ({
      queryKey: [list, "far", params, page],
      gcTime: 60_000,
      queryFn: async ({ signal }: { signal: AbortSignal }) => rows(await call(list, { ...params, page, pagesize: PAGE }, signal)),
    })),
  });
  const want = useCallback((from: number, to: number) => {
    const now = Array.from({ length: Math.floor(to / PAGE) - Math.floor(from / PAGE) + 1 }, (_, i) => Math.floor(from / PAGE) + 1 + i);
    setPages((old) => (now.every((p) => old.includes(p)) ? old : now));
  }, []);
  const at = (index: number): Row | undefined => found[pages.indexOf(Math.floor(index / PAGE) + 1)]?.data?.rows[index % PAGE];
  return { at, want, fault: found.find((q) => q.error)?.error };
}

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
