import { expect, test } from "vitest";
import glossary from "../../words/glossary.json";
import { matches } from "../src/parts/matches";
import { search } from "../src/shell/palette";
import { composer, type Glossary } from "../src/words/names";
import { model } from "./model";

const KO = composer(glossary as unknown as Glossary, "ko");
const EN = composer(glossary as unknown as Glossary, "en");
const targets = [...model.nouns.values()].map((n) => ({ label: KO.noun(n.name), english: EN.noun(n.name), name: n.list.name }));

test("a page is found by every way of typing it", () => {
  for (const typed of ["가상머신", "가상", "ㄱㅅㅁㅅ", "rktkdajtls", "virtual machines", "listVirtualMachines", "VIRTUALM"]) {
    expect(search(typed, targets)[0]?.label, typed).toBe("가상머신");
  }
  expect(search("ㅎㅅㅌ", targets)[0]?.label).toBe("호스트");
  expect(search("ghtmxm", targets)[0]?.label).toBe("호스트");
  expect(search("zzzzzz", targets)).toEqual([]);
});

test("a table is searched for all words", () => {
  expect(matches("web-01\n실행 중\n10.1.1.2", "실행 web")).toBe(true);
  expect(matches("web-01\n실행 중", "web 정지")).toBe(false);
});
