// Requests to the public API. `call` answers with what is inside the envelope; what goes wrong is a `Fault`.

import { current, isHalf, renewed } from "./session";

export type Value = string | number | boolean | undefined | null;
export type Params = Record<string, Value>;
// biome-ignore lint/suspicious/noExplicitAny: answers have the shape that the model says
export type Row = Record<string, any>;

/** A refusal of the server, or a server that does not answer. `why` is the server's sentence. */
export class Fault extends Error {
  constructor(
    readonly why: string,
    readonly about: { code: number; key?: string; params?: Row; command: string; job?: string },
  ) {
    super(why);
  }
}

const ADDRESS = "/client/api";

async function send(command: string, params: Params, signal?: AbortSignal): Promise<Row> {
  const key = current()?.sessionkey ?? "";
  const body = new URLSearchParams({ command, response: "json" });
  for (const [name, value] of Object.entries(params)) if (value !== undefined && value !== null && value !== "") body.set(name, String(value));
  if (key) body.set("sessionkey", key);
  let answer: Response;
  try {
    answer = await fetch(ADDRESS, { method: "POST", body, signal, credentials: "same-origin" });
  } catch (broken) {
    if (signal?.aborted) throw broken;
    throw new Fault("", { code: 0, key: "Unreachable", command });
  }
  let said: Row = {};
  try {
    const whole = await answer.json();
    said = Object.values(whole as Row)[0] as Row;
  } catch {
    if (answer.ok) throw new Fault("", { code: answer.status, key: "Garbled", command });
  }
  if (answer.ok) return said ?? {};
  if (answer.status === 401 && key && !isHalf() && !/not available for user/.test(String(said?.errortext)) && command !== "login") {
    await renewed(key);
    return send(command, params, signal);
  }
  throw new Fault(String(said?.errortext ?? ""), { code: answer.status, key: said?.errorkey, params: said?.errorparams, command });
}

export const call = send;

/** The rows of a list answer and how many there are in all. */
export function rows(answer: Row): { rows: Row[]; count: number } {
  const found = Object.entries(answer).find(([name, value]) => name !== "count" && Array.isArray(value));
  const list = (found?.[1] as Row[] | undefined) ?? [];
  return { rows: list, count: Number(answer.count ?? list.length) };
}

/** All rows of a list of moderate length, page by page as large as the server gives them. */
export async function everything(list: string, params: Params, signal?: AbortSignal): Promise<Row[]> {
  const out: Row[] = [];
  for (let page = 1; ; page++) {
    const found = rows(await send(list, { ...params, page, pagesize: PAGE }, signal));
    out.push(...found.rows);
    if (out.length >= found.count || !found.rows.length) return out;
  }
}
const PAGE = 500;

/** The row of a list by id; null when there is none that the caller may see. */
export async function one(list: string, id: string, params: Params = {}, signal?: AbortSignal): Promise<Row | null> {
  try {
    const found = rows(await send(list, { ...params, id }, signal)).rows;
    // A list that cannot be asked for one of it answers with all.
    return found.find((r) => String(r.id) === id) ?? null;
  } catch (no) {
    if (no instanceof Fault && (no.about.key === "NotFound" || no.about.params?.parameter === "id")) return null;
    throw no;
  }
}

/** A parameter map as the API spells it: details[0].name=value. */
export function mapped(name: string, entries: Row[] | Row): Params {
  const list = Array.isArray(entries) ? entries : [entries];
  return Object.fromEntries(list.flatMap((entry, i) => Object.entries(entry).map(([k, v]) => [`${name}[${i}].${k}`, v as Value])));
}
