// What happens in the cloud, as it happens: one stream of events per browser. The tab that holds the lock reads the
// stream and passes it on to the others; where the browser has no locks (plain HTTP to another machine), every tab
// reads its own. Without a stream the pages ask by themselves, and seldom when nothing changes.

import { call, rows, type Params, type Row } from "./client";
import { heard } from "./jobs";
import { queries } from "./queries";
import { renewed } from "./rows";
import { current } from "./session";
import { store } from "./store";

const ADDRESS = "/client/events";
type Told = { kind: "resource" | "job" | "alert" | "state" | "reset"; data: Row };

const connected = store(false);
export const alertCount = store(0);
let source: EventSource | null = null;
let channel: BroadcastChannel | null = null;
let release: (() => void) | null = null;
let stopped = false;
let again: ReturnType<typeof setTimeout> | undefined;

/** Which list commands show a kind of thing; set by the shell out of the model. */
let lists: (kind: string) => string[] = () => [];
const dirty = new Map<string, Set<string>>();
let timer: ReturnType<typeof setTimeout> | undefined;

/** Patch states on the screen at once; what the event does not say is asked for a moment later, by id. */
function changed(told: Row): void {
  for (const list of lists(String(told.type ?? "").toLowerCase())) {
    if (told.state) queries.setQueriesData({ queryKey: [list] }, (old: unknown) => patched(old, String(told.id), String(told.state)));
    dirty.set(list, (dirty.get(list) ?? new Set()).add(String(told.id)));
  }
  timer ??= setTimeout(() => void refresh(), 300);
}

async function refresh(): Promise<void> {
  timer = undefined;
  const those = [...dirty];
  dirty.clear();
  for (const [list, set] of those) {
    const ids = [...set];
    void queries.invalidateQueries({ predicate: ({ queryKey }) => queryKey[0] === list && queryKey[1] !== "rows" });
    for (const query of queries.getQueryCache().findAll({ queryKey: [list, "rows"], type: "active" })) {
      if (ids.length > 50) {
        void queries.invalidateQueries({ queryKey: query.queryKey });
        continue;
      }
      try {
        const asked = query.queryKey[2] as Params;
        const told = await Promise.all(ids.map((id) => call(list, { ...asked, id }).then(rows)));
        queries.setQueryData(query.queryKey, (old: Parameters<typeof renewed>[0]) => renewed(old, ids, told.flatMap((t) => t.rows), true));
      } catch {
        void queries.invalidateQueries({ queryKey: query.queryKey });
      }
    }
  }
}

/** What is kept of an answer, with the state of one row changed. */
export function patched(old: unknown, id: string, state: string): unknown {
  const swap = (row: Row): Row => (row?.id === id && "state" in row && row.state !== state ? { ...row, state } : row);
  if (!old || typeof old !== "object") return old;
  if (Array.isArray(old)) return old.map(swap);
  const box = old as Row;
  if (Array.isArray(box.pages)) return { ...box, pages: box.pages.map((page: Row) => patched(page, id, state)) };
  if (Array.isArray(box.rows)) return { ...box, rows: box.rows.map(swap) };
  return swap(box);
}

function take({ kind, data }: Told): void {
  if (kind === "resource") changed(data);
  else if (kind === "job") {
    heard(data);
    void queries.invalidateQueries({ queryKey: ["listAsyncJobs"] });
  } else if (kind === "alert") {
    alertCount.set((n) => n + 1);
    void queries.invalidateQueries({ queryKey: ["listAlerts"] });
  } else if (kind === "reset") void queries.invalidateQueries();
  else connected.set(Boolean(data.on));
}

function pass(told: Told): void {
  take(told);
  channel?.postMessage(told);
}

let failures = 0;
function listen(): void {
  if (stopped || !current()) return;
  source = new EventSource(`${ADDRESS}?sessionkey=${encodeURIComponent(current()?.sessionkey ?? "")}`);
  // A stream that follows another, of this tab or of one that was closed, does not know what that one missed.
  let follows = performance.now() > 10_000;
  source.onopen = () => {
    failures = 0;
    pass({ kind: "state", data: { on: true } });
    if (follows) pass({ kind: "reset", data: {} });
    follows = false;
  };
  source.onerror = () => {
    pass({ kind: "state", data: { on: false } });
    if (source?.readyState !== EventSource.CLOSED) return; // it comes back by itself
    failures += 1;
    again = setTimeout(listen, Math.min(2000 * 2 ** failures, 120_000));
  };
  for (const kind of ["resource", "job", "alert", "reset"] as const) {
    source.addEventListener(kind, (event) => {
      try {
        pass({ kind, data: JSON.parse((event as MessageEvent).data) });
      } catch {
        // half a message: the next question to the API tells the truth
      }
    });
  }
}

export const live = {
  on: connected.get,
  use: connected.use,
  start(listsOf: (kind: string) => string[]): void {
    lists = listsOf;
    if (source || release) return;
    stopped = false;
    if (!navigator.locks || !window.isSecureContext) return listen();
    channel = new BroadcastChannel("mold-live");
    channel.onmessage = ({ data }) => {
      if (data === "who") {
        if (source) channel?.postMessage({ kind: "state", data: { on: connected.get() } });
      } else take(data as Told);
    };
    channel.postMessage("who");
    release = () => {};
    void navigator.locks.request("mold-live", () => {
      if (stopped) return;
      listen();
      return new Promise<void>((go) => (release = go));
    });
  },
  stop(): void {
    stopped = true;
    clearTimeout(again);
    source?.close();
    source = null;
    release?.();
    release = null;
    channel?.close();
    channel = null;
    connected.set(false);
  },
};
