// How the parameters of a command become the fields of a form. Pure, and tested over every command there is.

import type { Params, Value } from "../api/client";
import { mapped } from "../api/client";
import type { Command, Param } from "../api/model";

export type Widget = "switch" | "pick" | "picks" | "choice" | "tags" | "number" | "map" | "date" | "text" | "long" | "secret" | "file";
export interface FormField {
  param: Param;
  widget: Widget;
  /** The list command to choose from. */
  from?: string;
  required: boolean;
}

/** Never asked for: paging, and what the console itself says. */
const SILENT = /^(page|pagesize|customjobid|response|command|sessionkey|keyword|listall|showicon|modelhash|brief|fordisplay|ctx.*)$/;
const SECRET = /password|secret|passphrase|privatekey|psk$/i;
const LONG = /^(userdata|publickey|certificate|certchain|privatekey|csr|contents|description|extraconfig|payload|jsonconfiguration|css|reason|annotation|activationrule|heuristicrule|rule)$/;
/** Lists that cannot be asked without saying which part of them. */
export const FILTERS: Record<string, Record<string, string>> = {
  listTemplates: { templatefilter: "executable" },
  listIsos: { isofilter: "executable" },
};

/** Parameters that take names out of a list, not ids. */
export const BY_NAME: Record<string, string> = { keypair: "listSSHKeyPairs", keypairs: "listSSHKeyPairs", hypervisor: "listHypervisors" };

export function widgetOf(p: Param): Widget {
  if (p.name in BY_NAME) return p.type === "list" ? "picks" : "pick";
  if (p.type === "boolean") return "switch";
  if (p.type === "map") return "map";
  if (p.type === "date") return "date";
  if (p.type === "list") return p.related ? "picks" : "tags";
  if (p.choices?.length) return "choice";
  if (p.type === "uuid" && p.related) return "pick";
  if (/^(integer|long|short|double|float)$/.test(p.type)) return "number";
  if (p.secret || SECRET.test(p.name)) return LONG.test(p.name) ? "long" : "secret";
  if (LONG.test(p.name) || (p.length > 1024 && !/url$|displaytext$/.test(p.name))) return "long";
  return "text";
}

/** The fields of a command: required ones first, in the order of the model. `fixed` ones are known already. */
export function fieldsOf(command: Command, fixed: Params = {}): FormField[] {
  const lists = command.name.startsWith("list");
  return command.params
    .filter((p) => !p.refused && !(p.name in fixed) && !(SILENT.test(p.name) && !(lists && /^(keyword|listall)$/.test(p.name))))
    .map((param) => ({ param, widget: widgetOf(param), from: param.related?.split(",")[0] || BY_NAME[param.name], required: param.required }))
    .sort((a, b) => Number(b.required) - Number(a.required));
}

export type Values = Record<string, unknown>;

/** What is wrong with the values, by field: a key of the words. */
export function faultsOf(fields: FormField[], values: Values): Record<string, string> {
  const out: Record<string, string> = {};
  for (const { param, widget, required } of fields) {
    const value = values[param.name];
    const empty = value === undefined || value === null || value === "" || (Array.isArray(value) && !value.length);
    if (required && empty && widget !== "switch") out[param.name] = "form.required";
    else if (!empty && typeof value === "string" && value.length > param.length && (widget === "text" || widget === "secret")) out[param.name] = "form.long";
    else if (widget === "number" && !empty && !Number.isFinite(Number(value))) out[param.name] = "form.number";
  }
  return out;
}

/** An instant as the API takes it: what `datetime-local` gives is of the browser's own zone. */
export function moment(local: string): string {
  const at = new Date(local);
  if (!local || Number.isNaN(at.getTime())) return "";
  return at.toISOString().replace(/\.\d+Z$/, "+0000");
}

/** An instant as `datetime-local` takes it, whichever form it has. */
export function localTime(value: string): string {
  const at = new Date(value);
  if (!value || Number.isNaN(at.getTime())) return "";
  return new Date(at.getTime() - at.getTimezoneOffset() * 60_000).toISOString().slice(0, 16);
}

/** The values as the API takes them. What was left alone is not sent. */
export function paramsOf(fields: FormField[], values: Values): Params {
  const out: Params = {};
  for (const { param, widget, required } of fields) {
    const value = values[param.name];
    if (widget === "switch") {
      if (typeof value === "boolean") out[param.name] = value;
      else if (required) out[param.name] = false;
    } else if (Array.isArray(value) && widget === "map") {
      const entries = (value as { key: string; value: string }[]).filter((e) => e.key);
      if (!entries.length) continue;
      Object.assign(out, /^tags$/.test(param.name) ? mapped(param.name, entries) : mapped(param.name, [Object.fromEntries(entries.map((e) => [e.key, e.value]))]));
    } else if (Array.isArray(value)) {
      if (value.length) out[param.name] = value.join(",");
    } else if (widget === "date") {
      if (value) out[param.name] = moment(String(value));
    } else if (value !== undefined && value !== null && value !== "") {
      out[param.name] = param.name === "userdata" && widget === "long" ? base64(String(value)) : (value as Value);
    }
  }
  return out;
}

/** Text as base64 of its UTF-8, which the API wants for user data. */
export function base64(text: string): string {
  return btoa(Array.from(new TextEncoder().encode(text), (byte) => String.fromCharCode(byte)).join(""));
}
