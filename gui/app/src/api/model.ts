// What the caller may do: the commands of listApis, and the nouns that follow from them. A noun is a list command with
// everything that can be done to what it lists.

import { useSyncExternalStore } from "react";
import { keep, kept } from "./cache";
import { call, type Row } from "./client";
import { current } from "./session";

export interface Param {
  name: string;
  description: string;
  type: string;
  length: number;
  required: boolean;
  /** List commands whose rows' ids fit here, comma separated. */
  related?: string;
  choices?: string[];
  default?: string;
  /** Set: not offered by this server, and why. */
  refused?: string;
  secret?: boolean;
}
export interface Command {
  name: string;
  description: string;
  isasync: boolean;
  httprequesttype: "GET" | "POST";
  /** List commands that answer with the same thing. */
  related: string;
  params: Param[];
  response: { name: string; type: string }[];
}
export interface Noun {
  /** In addresses: the list command without `list`, in small letters. */
  slug: string;
  list: Command;
  /** The list command's name without `list`: VirtualMachines. */
  name: string;
  fields: Map<string, string>;
  /** Commands that make one more. */
  create: Command[];
  /** Commands on one of them, by its `id`. */
  actions: Command[];
  /** Commands that need one of them among other things, and the name of that parameter. */
  uses: { command: Command; param: string }[];
}
export interface Model {
  commands: Map<string, Command>;
  nouns: Map<string, Noun>;
  capabilities: Row;
}

const CREATES = /^(create|add|register|deploy|import|upload|associate|acquire|allocate|reserve|generate|dedicate|configure|get(?=UploadParams))/;
/** Lists that answer with the same rows as another, in another form. */
const DOUBLE = /Metrics$|ForMigration$|^listApis$|^listDetailOptions$|^listCapabilities$|^listAndSwitchSamlAccount$/;
const SLUGS: Record<string, string> = { Events: "eventlog", Apis: "apilist" };

export const slugOf = (list: string) => SLUGS[list.slice(4)] ?? list.slice(4).toLowerCase();
const first = (text: string | undefined) => (text ? text.split(",") : []);
const stem = (name: string) => name.replace(/ies$/, "y").replace(/([sx])es$/, "$1").replace(/s$/, "").toLowerCase();

/** The nouns of these commands. */
export function nounsOf(commands: Map<string, Command>): Map<string, Noun> {
  const nouns = new Map<string, Noun>();
  for (const list of commands.values()) {
    if (!/^list[A-Z]/.test(list.name) || DOUBLE.test(list.name) || !list.params.some((p) => p.name === "pagesize" || p.name === "keyword") && !list.response.length) continue;
    const name = list.name.slice(4);
    nouns.set(list.name, {
      slug: slugOf(list.name), list, name, fields: new Map(list.response.map((f) => [f.name, f.type])), create: [], actions: [], uses: [],
    }); // prettier-ignore
  }
  /** Among lists of the same rows (templates and ISOs), the one that the command's own name speaks of. */
  const owner = (names: string[], command: string): Noun | undefined => {
    const found = names.map((n) => nouns.get(n)).filter((n) => n !== undefined);
    const said = command.toLowerCase();
    return found.sort((a, b) => Number(said.includes(stem(b.name))) - Number(said.includes(stem(a.name))) || a.name.length - b.name.length)[0];
  };
  for (const command of commands.values()) {
    if (/^(list|find|query)/.test(command.name)) continue;
    const own = command.params.find((p) => p.name === "id" && p.related);
    const target = own && owner(first(own.related), command.name);
    if (target) target.actions.push(command);
    else if (CREATES.test(command.name)) {
      const made = owner(first(command.related), command.name) ?? [...nouns.values()].find((n) => command.name.toLowerCase().endsWith(stem(n.name)));
      made?.create.push(command);
    }
    for (const param of command.params) {
      if (param.name === "id" || !param.required || !param.related || !/ids?$/.test(param.name)) continue;
      const user = owner(first(param.related), param.name);
      if (user && user !== target) user.uses.push({ command, param: param.name });
    }
  }
  return nouns;
}

export function modelOf(list: Command[], capabilities: Row = {}): Model {
  const commands = new Map(list.map((c) => [c.name, c]));
  return { commands, nouns: nounsOf(commands), capabilities };
}

let model: Model | null = null;
const listeners = new Set<() => void>();

/** Ask for the model, with the one kept in this browser when it still is the same. */
export async function learn(): Promise<Model> {
  const session = current();
  const drawer = `model ${session?.userid}`;
  const old = await kept<{ hash: string; api: Command[] }>(drawer);
  const [told, can] = await Promise.all([
    call("listApis", { brief: true, modelhash: old?.hash }),
    call("listCapabilities", {}).catch(() => ({}) as Row),
  ]);
  let api = told.api as Command[] | undefined;
  if (!api && old) api = old.api;
  else if (api && told.modelhash) void keep(drawer, { hash: told.modelhash, api });
  model = modelOf(api ?? [], can.capability ?? {});
  listeners.forEach((tell) => tell());
  return model;
}

export const known = () => model;
export function forget(): void {
  model = null;
  listeners.forEach((tell) => tell());
}
const subscribe = (tell: () => void) => {
  listeners.add(tell);
  return () => listeners.delete(tell);
};
/** The model; only under the shell, which waits for it. */
export const useModel = () => useSyncExternalStore(subscribe, known) as Model;
export const useLearned = () => useSyncExternalStore(subscribe, known) !== null;
export const nounBySlug = (m: Model, slug: string) => [...m.nouns.values()].find((n) => n.slug === slug);

/** The noun that a field such as `zoneid` or a parameter speaks of, so that it can be a link. */
export function nounOfField(m: Model, name: string): Noun | undefined {
  const found = name.match(/^(.*?)(id|uuid)$/)?.[1];
  if (!found) return undefined;
  const alias = ALIAS[found] ?? found;
  for (const noun of m.nouns.values()) if (stem(noun.name) === alias) return noun;
  return undefined;
}
const ALIAS: Record<string, string> = {
  vm: "virtualmachine", guestnetwork: "network", parent: "domain", storage: "storagepool", pool: "storagepool", associatednetwork: "network", group: "instancegroup",
  ipaddress: "publicipaddress", ostype: "ostype", guestos: "ostype", iso: "iso", router: "router", job: "asyncjob", vpcoffering: "vpcoffering", lastmanagementserver: "managementserver",
}; // prettier-ignore
