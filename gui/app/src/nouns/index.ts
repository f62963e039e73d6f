// Declarations of nouns. A file nouns/<slug>.ts(x) with a default export of `noun(...)` makes the pages of that noun
// better than the generated ones; what it leaves out stays generated.

import { useQuery } from "@tanstack/react-query";
import type { ReactNode } from "react";
import type { Params, Row } from "../api/client";
import type { Command, Noun } from "../api/model";
import type { Column } from "../parts/DataTable";
import { words } from "../words";

export interface Tab {
  id: string;
  label: () => string;
  render: (row: Row, noun: Noun) => ReactNode;
}
export interface Declared {
  list: string;
  /** Further parameters of the list command, as templatefilter. */
  params?: Params;
  /** Parts of the list to choose from above the table, by a parameter that it must have; the first unless the address says another. */
  views?: { param: string; values: () => string[]; label: (value: string) => string };
  /** Further parameters with which one is looked for, each until it is found. */
  sought?: () => Params[];
  /** Fields shown in the table; a Column where the field alone will not do. Default: what most nouns have. */
  columns?: (string | Column)[];
  /** Of these fields the table offers a filter. */
  facets?: string[];
  /** Up to three commands as buttons on the page of one; default: the first that are allowed. */
  primary?: string[];
  /** Commands offered for several rows at once. */
  bulk?: string[];
  /** The parameter of a bulk command that carries the row's id; default `id`. */
  param?: Record<string, string>;
  /** Commands that make one; default: those of the model. */
  create?: string[];
  /** A page of its own for making one, by its address below /client. */
  createPage?: string;
  /** What stands on the button that leads there; default: the name of the first command that makes one. */
  createLabel?: () => string;
  /** Why a command does not go now: true, or the reason as a sentence. */
  ready?: Record<string, (row: Row) => true | string>;
  /** Parameters shown first in the form of a command. */
  first?: Record<string, string[]>;
  /** Parameters that the form of a command asks for though the API leaves them open. */
  needs?: Record<string, string[]>;
  /** What the form of a command begins with. */
  starts?: Record<string, Record<string, unknown>>;
  /** Parameters that are not asked for in the form of a command. */
  without?: Record<string, string[]>;
  /** Stands in the dialog of a command, above its form: what goes and what stays. */
  asks?: Record<string, (row: Row) => ReactNode>;
  /** Stands before the buttons of the page of one. */
  buttons?: (row: Row, noun: Noun) => ReactNode;
  /** False: no tab with the lists that can be narrowed to this one, because the other tabs have them. */
  related?: false;
  /** What the settings cannot change now, and why. */
  locked?: (row: Row) => { params: string[]; why: string } | undefined;
  /** Fields on the overview, in groups. Default: all. */
  overview?: { title: () => string; fields: string[] }[];
  /** Stands above the tabs, whichever is open: what must not be overlooked. */
  notice?: (row: Row, noun: Noun) => ReactNode;
  /** Fields that say nothing about this one, and are shown nowhere on its page. */
  hides?: (row: Row) => string[];
  /** Stands above the overview: charts, warnings. */
  above?: (row: Row, noun: Noun) => ReactNode;
  tabs?: Tab[];
  /** Stands above the table. */
  banner?: () => ReactNode;
}
export const noun = (about: Declared): Declared => about;

const files = import.meta.glob<{ default: Declared }>(["./*.ts", "./*.tsx", "!./index.ts"]);

export async function declared(slug: string, list: string): Promise<Declared> {
  const load = files[`./${slug}.tsx`] ?? files[`./${slug}.ts`];
  return load ? (await load()).default : { list };
}
/** The declaration of a noun; undefined while it is loaded. */
export function useDeclared(n: Noun | undefined): Declared | undefined {
  return useQuery({ queryKey: ["declared", n?.slug], queryFn: () => declared(n?.slug ?? "", n?.list.name ?? ""), enabled: Boolean(n), staleTime: Infinity, retry: false }).data;
}

/** What most nouns have, in the order in which people look for it. */
const USUAL = ["name", "displayname", "displaytext", "username", "description", "ipaddress", "state", "status", "resourcestate", "allocationstate", "type", "value", "zonename", "podname", "clustername", "hostname", "virtualmachinename", "size", "cidr", "networkname", "account", "domain", "created"];

export function columnsOf(n: Noun, about: Declared): { columns: Column[]; shown: string[] } {
  const has = [...n.fields.keys()];
  const named = n.fields.has("name");
  const picked = about.columns ?? USUAL.filter((f) => n.fields.has(f) && !(named && /^(displayname|displaytext|username|description)$/.test(f)));
  const shown = picked.map((c) => (typeof c === "string" ? c : c.field)).slice(0, about.columns ? undefined : 8);
  const simple = (field: string): Column => ({ field, facet: about.facets ? about.facets.includes(field) : /^(state|status|zonename|type|level|resourcestate)$/.test(field) });
  const special = new Map(picked.flatMap((c) => (typeof c === "string" ? [] : [[c.field, c] as const])));
  const order = [...shown, ...has.filter((f) => !shown.includes(f) && !HIDDEN.test(f) && (n.fields.get(f) ?? "") !== "set")];
  return { columns: order.map((f) => special.get(f) ?? simple(f)), shown: shown.length ? shown : has.slice(0, 6) };
}
export const HIDDEN = /^(jobid|jobstatus|hasannotations|.*icon|details|readonlydetails|userdata|permission|password|isdisplay|display(vm|volume|network|offering))$/;

/** Whether a command goes for this row: by the declaration, else by what its state says. */
export function readiness(command: Command, row: Row, about: Declared): true | string {
  const own = about.ready?.[command.name]?.(row);
  if (own !== undefined) return own;
  const w = words();
  const state = String(row.state ?? row.resourcestate ?? row.allocationstate ?? "");
  if (row.jobid && row.jobstatus === 0) return w.t("ready.busy");
  const verb = command.name.match(/^[a-z]+/)?.[0];
  const no = (key: string) => w.t(key, { state: w.state(state) });
  if (verb === "start" && /^(Running|Starting)$/.test(state)) return no("ready.state");
  if ((verb === "stop" || verb === "reboot") && /^(Stopped|Stopping|Destroyed|Expunging)$/.test(state)) return no("ready.state");
  if (verb === "recover" && state && state !== "Destroyed") return no("ready.state");
  if (verb === "enable" && state === "Enabled") return no("ready.state");
  if (verb === "disable" && state === "Disabled") return no("ready.state");
  if (state === "Destroyed" && !/^(recover|expunge|delete|update)/.test(command.name)) return no("ready.state");
  return true;
}
