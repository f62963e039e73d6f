// What is said on the screen. Sentences come from gui/words/<language>.json, names of commands, fields and states are
// put together from gui/words/glossary.json. `useWords()` gives both and draws again when the language changes.

import { useSyncExternalStore } from "react";
import { particle } from "./josa";
import { composer, type Glossary } from "./names";

export type Language = "ko" | "en";
export type Facts = Record<string, string | number | undefined>;

const KEPT = "mold.language";
/** What a language's file holds when `?spoken` is asked for, see vite.config.ts. */
type Spoken = { default: { sentences: Record<string, string>; glossary: Glossary } };
const loaders: Record<Language, () => Promise<Spoken>> = { ko: () => import("../../../words/ko.json?spoken"), en: () => import("../../../words/en.json?spoken") };
const listeners = new Set<() => void>();

function preferred(): Language {
  const kept = localStorage.getItem(KEPT);
  if (kept === "ko" || kept === "en") return kept;
  const first = navigator.languages.find((each) => /^(ko|en)\b/i.test(each)) ?? "ko";
  return first.slice(0, 2).toLowerCase() as Language;
}

/** A name without the marks that would turn the words around it (right-to-left overrides and the like). */
export const calm = (name: string) => name.replace(/[\u202a-\u202e\u2066-\u2069]/g, "");

/** A sentence with its facts in: `{name}` and, in Korean, `{name|을/를}`. */
export function fill(text: string, facts: Facts = {}): string {
  return text.replace(/\{(\w+)(?:\|([^}]+))?\}/g, (_, name: string, pair?: string) => {
    const value = calm(String(facts[name] ?? ""));
    return pair ? value + particle(value, pair) : value;
  });
}

/** Formats of one kind, each made once: making one costs as much as using it a thousand times. */
export function formats<T, O>(make: (options: O | undefined) => T): (options?: O) => T {
  const made = new Map<string, T>();
  return (options) => {
    const key = options ? JSON.stringify(options) : "";
    let found = made.get(key);
    if (!found) made.set(key, (found = make(options)));
    return found;
  };
}

function made(language: Language, { sentences, glossary }: Spoken["default"]) {
  const numbers = formats((options: Intl.NumberFormatOptions | undefined) => new Intl.NumberFormat(language, options));
  return {
    language,
    /** The sentence of a key. */
    t: (key: string, facts?: Facts) => fill(sentences[key] ?? key, facts),
    /** The sentence of a key that may be missing. */
    maybe: (key: string, facts?: Facts) => (key in sentences ? fill(sentences[key], facts) : undefined),
    ...composer(glossary, language),
    number: (value: number, options?: Intl.NumberFormatOptions) => numbers(options).format(value),
  };
}
export type Words = ReturnType<typeof made>;

let now: Words;

/** Speak this language from now on. Rejects when its words cannot be loaded. */
export async function speak(language: Language): Promise<void> {
  now = made(language, (await loaders[language]()).default);
  document.documentElement.lang = language;
  localStorage.setItem(KEPT, language);
  listeners.forEach((tell) => tell());
}

export const begin = () => speak(preferred());
/** The words outside of components. */
export const words = () => now;

export function useWords(): Words {
  return useSyncExternalStore((tell) => {
    listeners.add(tell);
    return () => listeners.delete(tell);
  }, words);
}
