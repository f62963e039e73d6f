import { expect, it } from "vitest";
import { seek } from "../src/api/seek";
import { calm, fill, speak, words } from "../src/words";
import { model } from "./model";

const machines = model.commands.get("listVirtualMachines");
const known = [{ id: "1", name: "web", state: "Running", zonename: "서울", zoneid: "z1" }, { id: "2", name: "db", state: "Stopped", zonename: "부산", zoneid: "z2", account: "kim", domainid: "d1" }];

it("asks the server for what a search means", async () => {
  globalThis.localStorage ??= { getItem: () => null, setItem: () => {} } as unknown as Storage;
  globalThis.document ??= { documentElement: {} } as unknown as Document;
  await speak("ko");
  if (!machines) throw new Error("no listVirtualMachines");
  const asks = (query: string, chosen: [string, string][] = []) => seek(machines, query, chosen, known, words());
  expect(asks("copy-43210")).toEqual({ keyword: "copy-43210" });
  expect(asks("10.64.1")).toEqual({ keyword: "10.64.1" });
  expect(asks("정지됨 web")).toEqual({ state: "Stopped", keyword: "web" });
  expect(asks("a longest b")).toEqual({ keyword: "longest" });
  expect(asks("")).toBeUndefined();
  expect(asks("", [["state", "Error"]])).toEqual({ state: "Error" });
  expect(asks("실행", [["state", "Error"]])).toEqual({ state: "Error", keyword: "실행" });
  expect(asks("", [["zonename", "부산"]])).toEqual({ zoneid: "z2" });
  expect(asks("", [["account", "kim"]])).toEqual({ account: "kim", domainid: "d1" });
});

it("lets a name turn nothing but itself", () => {
  expect(calm("\u202egnp.exe\u2066")).toBe("gnp.exe");
  expect(fill("{name|을/를} 정지할까요?", { name: "\u202e웹" })).toBe("웹을 정지할까요?");
});
