// A field of an answer as people read it: sizes, dates, states, links, lists.

import { pageOf, To } from "./To";
import { Anchor, Code, Group, Text } from "@mantine/core";

import type { Row } from "../api/client";
import { nounOfField, useModel, type Model } from "../api/model";
import { current } from "../api/session";
import { calm, formats, words, useWords, type Words } from "../words";
import { State } from "./State";

/** Fields whose values are of a fixed set, as the API spells them. */
const CHOICE = /^(type|scope|networktype|managedstate|clustertype|usersource|apikeyaccess|roletype|storagetype|provisioningtype|broadcastdomainrange|.*(limit|available))$/;
const BYTES = /^(size|virtualsize|physicalsize|(memory|disksize|storage|primarystorage|secondarystorage).*(total|used|allocated)|.*bytes.*)$/;
const MIB = /^(memory|cpumemory)$/;
const STATE = /^(state|status|resourcestate|allocationstate|powerstate|agentstate|result|hastate|redundantstate|isolatestate|hostcontrolstate|level)$/;
const CODE = /^(id|.*uuid|cidr|.*cidr|gateway|netmask|.*ipaddress|ipaddress|ip6.*|macaddress|vlan|.*uri|url|path|fingerprint|instancename)$/;

/** 1536 → 1.5 KiB */
export function bytes(value: number, w: Words = words()): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
  let at = 0;
  while (Math.abs(value) >= 1024 && at < units.length - 1) {
    value /= 1024;
    at++;
  }
  return `${w.number(value, { maximumFractionDigits: at ? 1 : 0 })} ${units[at]}`;
}

/** An instant in the user's time zone; undefined when it is none. */
export function instant(text: unknown): Date | undefined {
  if (typeof text !== "string" || !/^\d{4}-\d\d-\d\dT/.test(text)) return undefined;
  const at = new Date(text.replace(/([+-]\d\d)(\d\d)$/, "$1:$2"));
  return Number.isNaN(at.getTime()) ? undefined : at;
}
const SHAPE: Intl.DateTimeFormatOptions = { year: "numeric", month: "2-digit", day: "2-digit", hour: "2-digit", minute: "2-digit", hourCycle: "h23" };
const dates = formats((o: { language: string; timeZone?: string } | undefined) => {
  try {
    return new Intl.DateTimeFormat(o?.language, { ...SHAPE, timeZone: o?.timeZone });
  } catch {
    return new Intl.DateTimeFormat(o?.language, SHAPE); // a time zone that this browser does not know
  }
});
export const date = (at: Date, w: Words = words()): string => dates({ language: w.language, timeZone: current()?.timezone || undefined }).format(at);
const spans = formats((language: string | undefined) => new Intl.RelativeTimeFormat(language, { numeric: "auto" }));
/** "3분 전"; a date when it is more than a week away. */
export function ago(at: Date, w: Words = words()): string {
  const seconds = (at.getTime() - Date.now()) / 1000;
  const say = spans(w.language);
  const far = Math.abs(seconds);
  if (far < 60) return say.format(Math.round(seconds), "second");
  if (far < 3600) return say.format(Math.round(seconds / 60), "minute");
  if (far < 86400) return say.format(Math.round(seconds / 3600), "hour");
  if (far < 7 * 86400) return say.format(Math.round(seconds / 86400), "day");
  return date(at, w);
}

/** The name by which people know a row. */
export const nameOf = (row: Row): string =>
  calm(String(row.displayname || row.name || row.username || row.description || row.displaytext || row.ipaddress || row.publicip || row.tag || row.command || row.id || ""));

const pairs = (row: Row, w: Words) => Object.entries(row).map(([k, v]) => `${w.field(k)} ${v}`).join(", ");

/** A field as plain text: for sorting, searching and CSV. */
export function text(field: string, value: unknown, w: Words = words()): string {
  if (value === undefined || value === null || value === "") return "";
  if (typeof value === "boolean") return w.t(value ? "yes" : "no");
  if (Array.isArray(value)) return value.map((v) => (typeof v === "object" && v ? nameOf(v as Row) || pairs(v as Row, w) : String(v))).join(", ");
  if (typeof value === "object") return Object.entries(value).map(([k, v]) => `${k}=${v}`).join(", ");
  if (STATE.test(field) || (field === "type" && /^(Isolated|Shared)$/.test(String(value)))) return w.state(String(value));
  if (CHOICE.test(field) && typeof value === "string") return w.maybe(`value.${field}.${value}`) ?? w.choice(value);
  if (BYTES.test(field) && Number.isFinite(Number(value))) return bytes(Number(value), w);
  if (MIB.test(field) && Number.isFinite(Number(value))) return bytes(Number(value) * 1024 ** 2, w);
  if (typeof value === "number") return w.number(value, { maximumFractionDigits: 2, useGrouping: value >= 10000 && !/port|vlan|number$/i.test(field) });
  const at = instant(value);
  return at ? date(at, w) : String(value);
}

/** `text` that remembers what it said of values that are not plain text: there are few of them, in very many rows. */
export function rememberedText(w: Words): typeof text {
  const said = new Map<string, string>();
  return (field, value) => {
    if (typeof value === "string" && !STATE.test(field) && !/^\d{4}-\d\d-/.test(value)) return value;
    if (value === undefined || value === null || typeof value === "object") return text(field, value, w);
    const key = `${field} ${value}`;
    let found = said.get(key);
    if (found === undefined) said.set(key, (found = text(field, value, w)));
    return found;
  };
}

/** The page of what a field names (`zonename` beside `zoneid`), when the caller may list such things. */
export function linkOf(model: Model, field: string, row: Row): { slug: string; id: string } | undefined {
  const base = field.replace(/(display)?name$/, "").replace(/id$/, "");
  if (/^vm(display)?name$/.test(field) && row.virtualmachineid && model.nouns.has("listVirtualMachines")) return { slug: "virtualmachines", id: String(row.virtualmachineid) };
  if (!base && field !== "name") return undefined;
  const id = row[`${base}id`];
  if (!base || !id || typeof id !== "string" || (field === base && !/^(account|domain|project|ipaddress)$/.test(field))) return undefined;
  const noun = nounOfField(model, `${base}id`);
  return noun && { slug: noun.slug, id };
}

/** One field of a row, drawn. */
export function Value({ field, row, short }: { field: string; row: Row; short?: boolean }) {
  const w = useWords();
  const model = useModel();
  const value = row[field];
  if (value === undefined || value === null || value === "" || (Array.isArray(value) && !value.length)) return <Text span c="dimmed" inherit>–</Text>;
  if (STATE.test(field) && typeof value === "string") return <State value={value} />;
  const link = linkOf(model, field, row);
  if (link)
    return (
      <Anchor inherit renderRoot={(p) => <To {...p} to={pageOf(link)} />}>
        {text(field, value, w)}
      </Anchor>
    );
  const at = instant(value);
  if (at) return <time dateTime={at.toISOString()} title={date(at, w)}>{short ? ago(at, w) : date(at, w)}</time>;
  if (!short && Array.isArray(value) && value.every((v) => typeof v === "object"))
    return (
      <Group gap={6}>
        {value.map((v: Row, i) => (
          <Code key={v.id ?? i}>{"key" in v && "value" in v ? `${v.key}=${v.value}` : nameOf(v) || pairs(v, w)}</Code>
        ))}
      </Group>
    );
  const said = text(field, value, w);
  return CODE.test(field) ? <Text span ff="monospace" fz="0.92em">{said}</Text> : <>{said}</>;
}

