// Finding a page or a command by what people type: its Korean or English name, the command's own name, initial
// consonants (ㄱㅅㅁㅅ), and Korean typed with the keyboard in English mode (rktkdajtls), or the other way round.

import { convertHangulToQwerty, convertQwertyToHangul, getChoseong } from "es-hangul";

const flat = (text: string) => text.toLowerCase().replace(/[\s·,/()-]+/g, "");

export interface Target {
  label: string;
  english: string;
  name: string;
}

/** How well a query fits: 0 not at all, more is better. */
export function score(query: string, target: Target): number {
  const q = flat(query);
  if (!q) return 1;
  const label = flat(target.label);
  const best = (text: string, weight: number) => (text === q ? 100 * weight : text.startsWith(q) ? 60 * weight : text.includes(q) ? 30 * weight : 0) - text.length / 1000;
  let found = Math.max(best(label, 1), best(flat(target.english), 0.95), best(target.name.toLowerCase(), 0.9));
  if (found < 1 && /^[ㄱ-ㅎ]+$/.test(q)) found = Math.max(found, best(flat(getChoseong(target.label)), 0.8));
  if (found < 1 && /^[a-z]+$/.test(q)) {
    const typed = flat(convertQwertyToHangul(q));
    if (/[가-힣ㄱ-ㅎ]/.test(typed) && best(label, 0.7) < 1) {
      const hit = label === typed ? 70 : label.startsWith(typed) ? 45 : label.includes(typed) ? 25 : flat(getChoseong(target.label)).includes(typed) ? 15 : 0;
      found = Math.max(found, hit);
    }
  }
  if (found < 1 && /[가-힣ㄱ-ㅎㅏ-ㅣ]/.test(q)) {
    const typed = convertHangulToQwerty(q).toLowerCase();
    found = Math.max(found, flat(target.english).includes(typed) || target.name.toLowerCase().includes(typed) ? 20 : 0);
  }
  return found > 0 ? found : 0;
}

export function search<T extends Target>(query: string, targets: T[], most = 40): T[] {
  return targets.map((t) => [score(query, t), t] as const).filter(([s]) => s > 0).sort(([a], [b]) => b - a).slice(0, most).map(([, t]) => t);
}
