// Secrets that the cloud tells once, when it makes them: a machine's first password, the private half of a key.

import type { Row } from "../api/client";
import { store } from "../api/store";

export interface Secret {
  kind: "password" | "privatekey";
  /** Whose it is, by name. */
  of: string;
  value: string;
}
export const secrets = store<Secret[]>([]);

/** What is secret in an answer or in the result of a job. */
export function secretsIn(answer: Row | undefined, subject?: string): Secret[] {
  const things = answer ? [answer, ...Object.values(answer).filter((v) => v && typeof v === "object" && !Array.isArray(v))] : [];
  return things.flatMap((thing: Row) =>
    (["password", "privatekey"] as const).flatMap((kind) => (typeof thing[kind] === "string" && thing[kind] ? [{ kind, of: String(subject ?? thing.displayname ?? thing.name ?? ""), value: thing[kind] }] : [])),
  );
}
export function reveal(answer: Row | undefined, subject?: string): void {
  const found = secretsIn(answer, subject);
  if (found.length) secrets.set((all) => [...all, ...found]);
}
