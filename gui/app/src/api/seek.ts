// Searching where not all rows are here: what the server can be asked of a search and of filters.

import type { Words } from "../words";
import { text } from "../parts/Value";
import type { Params, Row } from "./client";
import type { Command } from "./model";

/** Parameters of a list command that find what `query` and the chosen values of fields mean; undefined when it has none for them. */
export function seek(command: Command, query: string, chosen: [field: string, value: string][], known: Row[], w: Words): Params | undefined {
  const has = (name: string) => command.params.some((p) => p.name === name && !p.refused);
  const out: Params = {};
  for (const [field, value] of chosen) {
    const id = `${field.replace(/name$/, "")}id`;
    if (has(field)) out[field] = value;
    if (field === "account") out.domainid = known.find((r) => r.account === value)?.domainid; // a name that several domains may have
    if (!has(field) && field.endsWith("name") && has(id)) out[id] = known.find((r) => String(r[field]) === value)?.[id];
  }
  const states = has("state") && !out.state ? [...new Set(known.map((r) => String(r.state ?? "")))] : [];
  const words = query.toLowerCase().split(/\s+/).filter((word) => {
    const meant = word ? states.filter((s) => text("state", s, w).toLowerCase().startsWith(word)) : [];
    if (meant.length === 1) out.state ??= meant[0];
    return word && meant.length !== 1;
  });
  // The other words narrow what is found, here.
  if (words.length && has("keyword")) out.keyword = words.reduce((a, b) => (b.length > a.length ? b : a));
  return Object.values(out).some((v) => v !== undefined) ? out : undefined;
}
