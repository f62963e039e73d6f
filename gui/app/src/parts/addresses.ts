// IPv4 as forms check it before the server does. Pure.

import type { Params } from "../api/client";

/** Field -> key of the words for what is wrong with it. */
export type Checked = Record<string, string>;

/** An IPv4 address as a number; undefined when it is none. */
export function four(text: string): number | undefined {
  const parts = text.trim().split(".");
  if (parts.length !== 4 || !parts.every((p) => /^(0|[1-9]\d{0,2})$/.test(p) && Number(p) < 256)) return undefined;
  return parts.reduce((n, p) => n * 256 + Number(p), 0);
}

/** How many leading ones a netmask has; undefined when it is none. */
export function prefix(mask: string): number | undefined {
  const n = four(mask);
  if (n === undefined) return undefined;
  const bits = n.toString(2).padStart(32, "0");
  return /^1*0*$/.test(bits) ? bits.replace(/0/g, "").length : undefined;
}

/** What is wrong with a gateway, netmask, startip and endip that belong together. */
export function rangeFaults(values: Params): Checked {
  const [gateway, start, end] = ["gateway", "startip", "endip"].map((k) => four(String(values[k] ?? "")));
  const bits = prefix(String(values.netmask ?? ""));
  if (bits === undefined) return { netmask: "form.netmask" };
  const net = (n: number | undefined) => Math.floor((n ?? -1) / 2 ** (32 - bits));
  if (net(start) !== net(gateway)) return { startip: "form.range.outside" };
  if (net(end) !== net(gateway)) return { endip: "form.range.outside" };
  if ((start ?? 0) > (end ?? 0)) return { endip: "form.range.order" };
  if ((start ?? 0) <= (gateway ?? 0) && (gateway ?? 0) <= (end ?? 0)) return { gateway: "form.range.gateway" };
  return {};
}
