// Korean particles after names that may end in Latin letters or digits: "vm-001을", "vm-002를", "서울로".

import { josa as pick } from "es-hangul";

/** How the last character sounds in Korean, as one syllable; "" when nothing is known about it. */
const SOUND: Record<string, string> = {
  "0": "영", "1": "일", "2": "이", "3": "삼", "4": "사", "5": "오", "6": "육", "7": "칠", "8": "팔", "9": "구",
  a: "이", b: "비", c: "씨", d: "디", e: "이", f: "프", g: "지", h: "치", i: "이", j: "이", k: "이", l: "엘", m: "엠",
  n: "엔", o: "오", p: "피", q: "큐", r: "알", s: "스", t: "티", u: "유", v: "비", w: "유", x: "스", y: "이", z: "트",
}; // prettier-ignore

type Pair = Parameters<typeof pick.pick>[1];

/** The particle of a pair such as 을/를 that fits the word. Brackets and quotation marks at the end are not heard. */
export function particle(word: string, pair: string): string {
  const heard = word.replace(/[^\p{L}\p{N}]+$/u, "");
  const last = heard.at(-1)?.toLowerCase() ?? "";
  const syllable = /[가-힣]/.test(last) ? last : SOUND[last];
  if (!syllable) return pair;
  return pick.pick(syllable, pair as Pair);
}
