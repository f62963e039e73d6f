// Files on their way to the cloud. They go on while one looks at other pages; a closed page ends them.

import type { Row } from "../api/client";
import { settle } from "../api/queries";
import { store } from "../api/store";

export interface Upload {
  id: string;
  name: string;
  /** 0 to 1 */
  part: number;
  bytes: number;
  state: "sending" | "sent" | "failed" | "stopped";
  why?: string;
}
export const uploads = store<Upload[]>([]);
const running = new Map<string, XMLHttpRequest>();
const change = (id: string, facts: Partial<Upload>) => uploads.set((all) => all.map((u) => (u.id === id ? { ...u, ...facts } : u)));

const hold = (event: BeforeUnloadEvent) => event.preventDefault();

/** Send a file with what getUploadParamsForTemplate answered. Only to this server. */
export function send(file: File, name: string, to: Row, list: string): void {
  const id = String(to.id);
  const asked = new XMLHttpRequest();
  running.set(id, asked);
  addEventListener("beforeunload", hold);
  uploads.set((all) => [{ id, name, part: 0, bytes: file.size, state: "sending" as const }, ...all].slice(0, 20));
  const over = (facts: Partial<Upload>) => {
    running.delete(id);
    if (!running.size) removeEventListener("beforeunload", hold);
    change(id, facts);
    settle(list);
  };
  asked.upload.onprogress = (event) => change(id, { part: event.total ? event.loaded / event.total : 0 });
  asked.onload = () => {
    if (asked.status < 300) return over({ state: "sent", part: 1 });
    let why = "";
    try {
      why = String((Object.values(JSON.parse(asked.responseText))[0] as Row)?.errortext ?? "");
    } catch {
      why = `${asked.status}`;
    }
    over({ state: "failed", why });
  };
  asked.onerror = () => over({ state: "failed", why: "" });
  asked.onabort = () => over({ state: "stopped" });
  const form = new FormData();
  form.append("file", file);
  asked.open("POST", new URL(String(to.postURL)).pathname);
  for (const word of ["signature", "metadata", "expires"]) asked.setRequestHeader(`X-${word}`, String(to[word]));
  asked.send(form);
}
export const stop = (id: string) => running.get(id)?.abort();
