// Files on their way to the cloud. They go on while one looks at other pages. What breaks off, is stopped or loses its
// page goes on where it was: the server says how much is there, and the file, chosen again, is sent from that byte on.

import type { Row } from "../api/client";
import { settle } from "../api/queries";
import { current } from "../api/session";
import { store } from "../api/store";

/** What must be known to go on, also after the page was closed. */
interface Kept {
  /** The template's. */
  id: string;
  name: string;
  /** The list command that shows it. */
  list: string;
  user: string;
  file: { name: string; size: number; changed: number };
  /** Where to, and the right to send it: good for this template alone. */
  to: { path: string; signature: string; metadata: string; expires: string };
}
export interface Upload extends Kept {
  /** 0 to 1 */
  part: number;
  /** again: broken off, to be tried again by itself; waiting: the file must be chosen again. */
  state: "sending" | "again" | "sent" | "failed" | "stopped" | "waiting";
  why?: string;
}
const DRAWER = "mold.uploads";
/** Seconds before each try to go on by itself. */
const TRIES = [1, 3, 8, 15, 30];
const BUSY_SECONDS = 90;

export const uploads = store<Upload[]>([]);
const files = new Map<string, File>();
const running = new Map<string, AbortController>();
const change = (id: string, facts: Partial<Upload>) => uploads.set((all) => all.map((u) => (u.id === id ? { ...u, ...facts } : u)));
const find = (id: string) => uploads.get().find((u) => u.id === id);

const kept = (): Kept[] => {
  try {
    return JSON.parse(localStorage.getItem(DRAWER) ?? "[]") as Kept[];
  } catch {
    return [];
  }
};
const keep = (all: Kept[]) => localStorage.setItem(DRAWER, JSON.stringify(all.slice(0, 20)));
const forget = (id: string) => {
  files.delete(id);
  keep(kept().filter((k) => k.id !== id));
};

const hold = (event: BeforeUnloadEvent) => event.preventDefault();
const wait = (seconds: number) => new Promise((go) => setTimeout(go, seconds * 1000));
const rights = ({ to }: Kept) => ({ "X-Signature": to.signature, "X-Metadata": to.metadata, "X-Expires": to.expires });

/** Send a file with what getUploadParamsForTemplate answered. Only to this server. */
export function send(file: File, name: string, to: Row, list: string): void {
  const one: Kept = {
    id: String(to.id), name, list, user: String(current()?.userid ?? ""), file: { name: file.name, size: file.size, changed: file.lastModified },
    to: { path: new URL(String(to.postURL)).pathname, signature: String(to.signature), metadata: String(to.metadata), expires: String(to.expires) },
  }; // prettier-ignore
  keep([one, ...kept()]);
  files.set(one.id, file);
  uploads.set((all) => [{ ...one, part: 0, state: "sending" as const }, ...all].slice(0, 20));
  void carry(one.id);
}

/** How many bytes are there; undefined when nothing more is wanted of it, null when the server does not say now. */
async function there(one: Kept): Promise<number | undefined | null> {
  for (let waited = 0; ; waited += 2) {
    const answer = await fetch(one.to.path, { method: "HEAD", headers: rights(one), cache: "no-store" }).catch(() => null);
    if (!answer || answer.status >= 500) return null;
    if (answer.ok) return Number(answer.headers.get("Upload-Offset") ?? 0);
    // The end of a connection that broke is seen by the server a little later; until then the file counts as being sent.
    if (answer.status !== 423 || waited >= BUSY_SECONDS) return undefined;
    await wait(2);
  }
}

/** One part, from `offset` to the end of the file. */
function push(one: Upload, file: File, offset: number, signal: AbortSignal): Promise<{ status: number; said: Row }> {
  return new Promise((done) => {
    const asked = new XMLHttpRequest();
    const over = (status: number) => {
      let said: Row = {};
      try {
        said = (JSON.parse(asked.responseText) as { uploadresponse: Row }).uploadresponse;
      } catch {
        // no answer, or not ours
      }
      done({ status, said });
    };
    asked.upload.onprogress = (event) => change(one.id, { part: (offset + event.loaded) / file.size, state: "sending" });
    asked.onload = () => over(asked.status);
    asked.onerror = asked.onabort = () => over(0);
    signal.addEventListener("abort", () => asked.abort());
    asked.open("PATCH", one.to.path);
    for (const [name, value] of Object.entries({ ...rights(one), "Content-Type": "application/offset+octet-stream", "Upload-Offset": String(offset), "Upload-Length": String(file.size) })) asked.setRequestHeader(name, value);
    asked.send(file.slice(offset));
  });
}

async function carry(id: string): Promise<void> {
  const one = find(id);
  const file = files.get(id);
  if (!one || !file || running.has(id)) return;
  const control = new AbortController();
  running.set(id, control);
  addEventListener("beforeunload", hold);
  const end = (facts: Partial<Upload>) => {
    running.delete(id);
    if (!running.size) removeEventListener("beforeunload", hold);
    if (facts.state === "sent" || facts.state === "failed") forget(id);
    change(id, facts);
    settle(one.list);
  };
  let why = "";
  for (let tried = 0; tried < TRIES.length; ) {
    const offset = await there(one);
    if (control.signal.aborted) return end({ state: "stopped", why: undefined });
    if (offset === undefined) return end({ state: "failed", why });
    if (offset !== null) {
      change(id, { part: offset / file.size, state: "sending", why: undefined });
      const { status, said } = await push(one, file, offset, control.signal);
      if (control.signal.aborted) return end({ state: "stopped" });
      if (status && status < 300 && said.success) return end({ state: "sent", part: 1 });
      why = String(said.errortext ?? "");
      // What was taken of it counts: only tries without any progress are few.
      const now = find(id)?.part ?? 0;
      if (now * file.size - offset > 1024 * 1024) tried = 0;
      if (status >= 400 && status !== 409 && status !== 423 && status < 500) {
        const still = await there(one);
        return end(still === undefined || still === null ? { state: "failed", why } : { state: "stopped", part: still / file.size, why });
      }
    }
    change(id, { state: "again", why });
    await wait(TRIES[tried++]);
    if (control.signal.aborted) return end({ state: "stopped", why: undefined });
  }
  end({ state: "stopped", why });
}

export const stop = (id: string) => running.get(id)?.abort();
/** Go on with a file that this page still has. */
export const goOn = (id: string) => void carry(id);
export const has = (id: string) => files.has(id);
/** Go on with a file that was chosen again; false when it is another one. */
export function choose(id: string, file: File): boolean {
  const one = find(id);
  if (!one || file.name !== one.file.name || file.size !== one.file.size || file.lastModified !== one.file.changed) return false;
  files.set(id, file);
  goOn(id);
  return true;
}
/** Take it from the list; a file that is not whole is given up by the cloud after a while. */
export function drop(id: string): void {
  stop(id);
  forget(id);
  uploads.set((all) => all.filter((u) => u.id !== id));
}

let looked = "";
/** What this user began and did not end, once for each page. */
export async function restore(): Promise<void> {
  const user = String(current()?.userid ?? "");
  if (!user || looked === user) return;
  looked = user;
  for (const one of kept().filter((k) => k.user === user && !find(k.id))) {
    const offset = await there(one);
    if (offset === undefined) forget(one.id);
    else if (!find(one.id)) uploads.set((all) => [...all, { ...one, part: (offset ?? 0) / one.file.size, state: "waiting" as const }]);
  }
}
