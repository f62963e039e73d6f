import { expect, test } from "vitest";
import { lines } from "../src/api/lines";
import { nounsOf, type Command, type Param } from "../src/api/model";
import { renewed } from "../src/api/rows";
import { base64, faultsOf, fieldsOf, localTime, moment, paramsOf, widgetOf } from "../src/parts/fields";
import { relatedOf } from "../src/parts/related";
import { model } from "./model";

const param = (name: string, type: string, more: Partial<Param> = {}): Param => ({ name, type, description: "", length: 255, required: false, ...more });

test("every parameter of every command has a widget that can carry it", () => {
  let seen = 0;
  for (const command of model.commands.values()) {
    const fields = fieldsOf(command);
    const offered = new Set(fields.map((f) => f.param.name));
    for (const p of command.params) {
      seen++;
      if (p.required && !p.refused) expect(offered.has(p.name), `${command.name}.${p.name} is required`).toBe(true);
      if (p.type === "uuid" && p.related) expect(widgetOf(p)).toBe("pick");
      if (p.refused) expect(offered.has(p.name)).toBe(false);
    }
    expect(fields.findLastIndex((f) => f.required)).toBeLessThanOrEqual(fields.filter((f) => f.required).length - 1);
  }
  expect(seen).toBeGreaterThan(1000);
});

test("every list the caller may use is a noun with a page, and every other command is reachable", () => {
  const lists = [...model.commands.keys()].filter((n) => /^list[A-Z]/.test(n));
  const without = lists.filter((n) => !model.nouns.has(n) && !/Metrics$|ForMigration$|^list(Apis|DetailOptions|Capabilities|AndSwitchSamlAccount)$/.test(n));
  expect(without).toEqual([]);
  const slugs = [...model.nouns.values()].map((n) => n.slug);
  expect(new Set(slugs).size).toBe(slugs.length);
  for (const taken of ["api", "events", "console", "upload", "openapi.json", "assets", "commands", "nouns", "me"]) expect(slugs).not.toContain(taken);
  const vms = model.nouns.get("listVirtualMachines")!;
  expect(vms.create.map((c) => c.name)).toContain("deployVirtualMachine");
  expect(vms.actions.map((c) => c.name)).toEqual(expect.arrayContaining(["startVirtualMachine", "stopVirtualMachine", "destroyVirtualMachine"]));
  expect(vms.actions.map((c) => c.name)).not.toContain("deployVirtualMachine");
  expect(model.nouns.get("listZones")!.create.map((c) => c.name)).toEqual(["createZone"]);
  expect(relatedOf([...model.nouns.values()], vms).map((r) => r.noun.list.name)).toContain("listVolumes");
});

test("types become widgets", () => {
  const kinds: [Param, string][] = [
    [param("forced", "boolean"), "switch"], [param("zoneid", "uuid", { related: "listZones" }), "pick"], [param("networkids", "list", { related: "listNetworks" }), "picks"],
    [param("keypairs", "list"), "picks"], [param("hosttags", "list"), "tags"], [param("size", "long"), "number"], [param("details", "map"), "map"], [param("startdate", "date"), "date"],
    [param("password", "string"), "secret"], [param("userdata", "string", { length: 1 << 20 }), "long"], [param("type", "string", { choices: ["a", "b"] }), "choice"], [param("name", "string"), "text"],
  ]; // prettier-ignore
  for (const [p, widget] of kinds) expect(widgetOf(p), p.name).toBe(widget);
});

test("values become parameters, and what was left alone is not sent", () => {
  const command = { name: "createThing", params: [param("name", "string", { required: true }), param("networkids", "list", { related: "listNetworks" }), param("details", "map"), param("tags", "map"), param("forced", "boolean"), param("userdata", "string", { length: 99999 })] } as Command;
  const fields = fieldsOf(command);
  expect(paramsOf(fields, { name: "a", networkids: ["1", "2"], details: [{ key: "cpuNumber", value: "2" }, { key: "memory", value: "512" }], tags: [{ key: "env", value: "prod" }, { key: "", value: "x" }], userdata: "안녕" })).toEqual({
    name: "a", networkids: "1,2", "details[0].cpuNumber": "2", "details[0].memory": "512", "tags[0].key": "env", "tags[0].value": "prod", userdata: base64("안녕"),
  }); // prettier-ignore
  expect(faultsOf(fields, {})).toEqual({ name: "form.required" });
  expect(faultsOf(fields, { name: "x".repeat(256) })).toEqual({ name: "form.long" });
  expect(Buffer.from(base64("안녕"), "base64").toString()).toBe("안녕");
});

test("lines to copy are quoted for the shell", () => {
  globalThis.location ??= { origin: "http://h" } as Location;
  const { cli, curl, python } = lines("startVirtualMachine", { id: "1", name: "it's; rm -rf /", empty: "" });
  expect(cli).toBe(`mold start virtualmachine id=1 'name=it'\\''s; rm -rf /'`);
  expect(curl).toContain(`--data-urlencode 'name=it'\\''s; rm -rf /'`);
  expect(python).toContain(`cloud.startVirtualMachine(id="1", name="it's; rm -rf /")`);
});

test("fresh rows take the place of old ones", () => {
  const old = { pages: [{ rows: [{ id: "1", state: "a" }, { id: "2" }], count: 3 }, { rows: [{ id: "3" }], count: 3 }], pageParams: [1, 2] };
  const now = renewed(old, ["1", "3", "9"], [{ id: "1", state: "b" }, { id: "9" }], true)!;
  expect(now.pages.map((p) => p.rows.map((r) => r.id))).toEqual([["9", "1", "2"], []]);
  expect(now.pages[0].rows[1].state).toBe("b");
  expect(now.pages[0].count).toBe(3);
});

test("a model of nothing has no nouns", () => expect(nounsOf(new Map()).size).toBe(0));

test("an instant is typed in the browser's own zone, and sent with one", () => {
  const field = { param: param("enddate", "date"), widget: "date" as const, required: false };
  const sent = paramsOf([field], { enddate: "2026-11-27T09:30" }).enddate as string;
  expect(sent).toMatch(/^2026-11-2[678]T\d\d:30:00\+0000$/);
  expect(new Date(sent).getTime()).toBe(new Date(2026, 10, 27, 9, 30).getTime());
  expect(localTime(sent)).toBe("2026-11-27T09:30");
  expect(moment("")).toBe("");
});
