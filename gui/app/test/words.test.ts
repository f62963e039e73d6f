import { expect, test } from "vitest";
import en from "../../words/en.json";
import glossary from "../../words/glossary.json";
import ko from "../../words/ko.json";
import { fill } from "../src/words";
import { particle } from "../src/words/josa";
import { composer, half, segments, type Glossary } from "../src/words/names";
import { model } from "./model";

const KO = composer(glossary as unknown as Glossary, "ko");
const EN = composer(glossary as unknown as Glossary, "en");

test("particles fit what one hears", () => {
  for (const [word, pair, said] of [
    ["vm-001", "을/를", "을"], ["vm-002", "을/를", "를"], ["vm-7", "으로/로", "로"], ["서울", "으로/로", "로"], ["부산", "으로/로", "으로"],
    ["web", "이/가", "가"], ["mail", "이/가", "이"], ["host-3", "은/는", "은"], ["disk (root)", "을/를", "를"], ["vm-10", "와/과", "과"],
    ["vm-6", "으로/로", "으로"], ["가상머신", "이/가", "이"], ["네트워크", "이/가", "가"], ["admin", "을/를", "을"],
  ]) expect(`${word}${particle(word, pair)}`, `${word} ${pair}`).toBe(`${word}${said}`); // prettier-ignore
  expect(particle("→", "을/를")).toBe("을/를");
  expect(fill("{name|을/를} 시작할까요?", { name: "vm-002" })).toBe("vm-002를 시작할까요?");
  expect(fill("{name} {missing}", { name: "<b>" })).toBe("<b> ");
});

test("both languages have the same sentences, none empty, with the same facts", () => {
  expect(Object.keys(ko)).toEqual(Object.keys(en));
  const facts = (text: string) => [...new Set([...text.matchAll(/\{(\w+)/g)].map((m) => m[1]))].sort();
  for (const [key, text] of Object.entries(en) as [keyof typeof ko, string][]) {
    expect(text.trim() && ko[key].trim(), key).toBeTruthy();
    expect(facts(ko[key]), key).toEqual(facts(text));
  }
});

test("every sentence that the pages ask for is there", () => {
  const sources = import.meta.glob("../src/**/*.{ts,tsx}", { query: "?raw", import: "default", eager: true }) as Record<string, string>;
  const missing: string[] = [];
  for (const [file, source] of Object.entries(sources)) {
    for (const [, key] of source.matchAll(/\b(?:t|no)\(\s*"([\w.]+)"/g)) if (!(key in ko)) missing.push(`${file}: ${key}`);
    for (const [, a, b] of source.matchAll(/\bt\([^"()]*\? "([\w.]+)" : "([\w.]+)"/g)) for (const key of [a, b]) if (!(key in ko)) missing.push(`${file}: ${key}`);
  }
  expect(missing).toEqual([]);
});

test("a run of letters is cut into words", () => {
  expect(segments("serviceofferingid", glossary.words)).toEqual(["service", "offering", "id"]);
  expect(segments("qqq", glossary.words)).toBeNull();
  expect(KO.field("publicmtu")).toBe("공인 MTU");
  expect(EN.field("guestvlanrange")).toBe("Guest VLAN range");
});

test("commands have names in both languages", () => {
  for (const [name, korean, english] of [
    ["startVirtualMachine", "가상머신 시작", "Start virtual machine"], ["deleteVolume", "볼륨 삭제", "Delete volume"], ["listZones", "Zone 목록", "List Zones"],
    ["deployVirtualMachine", "새 가상머신", "New virtual machine"], ["createNetworkACL", "네트워크 ACL 생성", "Create network ACL"], ["addHost", "호스트 추가", "Add host"],
  ]) {
    expect(KO.command(name)).toBe(korean);
    expect(EN.command(name)).toBe(english);
  } // prettier-ignore
  expect(KO.action("startVirtualMachine", "VirtualMachines")).toBe("시작");
  expect(KO.action("resetPasswordForVirtualMachine", "VirtualMachines")).toBe("비밀번호 재설정");
  expect(KO.event("VM.CREATE")).toBe("가상머신 생성");
});

test("every command and field of the server has a Korean name", () => {
  const plain = new Set<string>();
  const check = (what: string, korean: string) => {
    // Names of products and abbreviations are written in Latin letters in Korean too.
    const latin = korean.split(/[\s()/,·-]+/).filter((word) => /^[a-z]{3,}$/.test(word));
    if (latin.length) plain.add(`${what}: ${korean}`);
  };
  for (const command of model.commands.values()) {
    check(command.name, KO.command(command.name));
    for (const { name } of [...command.params, ...command.response]) check(`${command.name}.${name}`, KO.field(name));
  }
  expect([...plain]).toEqual([]);
});

test("each language goes by with its half of the glossary", () => {
  for (const [language, whole] of [["ko", KO], ["en", EN]] as const) {
    const part = composer(half(glossary as unknown as Glossary, language), language);
    for (const command of model.commands.keys()) expect(part.command(command)).toBe(whole.command(command));
    for (const word of ["serviceofferingid", "Running", "VM.CREATE", "displayname"]) for (const say of ["field", "state", "event", "noun"] as const) expect(part[say](word)).toBe(whole[say](word));
  }
});
