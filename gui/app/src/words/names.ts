// Names of commands, nouns, fields and states in Korean and English, put together from a glossary:
// `deployVirtualMachine` is verb + noun, `serviceofferingid` is the words service, offering and id.

/** `[English, Korean]`; one text alone is the Korean, and the English is the key with a capital. */
type Entry = string | [string, string];
export interface Glossary {
  verbs: Record<string, Entry>;
  words: Record<string, Entry>;
  nouns: Record<string, Entry>;
  fields: Record<string, Entry>;
  commands: Record<string, Entry>;
  states: Record<string, Entry>;
}

/** The glossary as far as one language needs it: the other one weighs as much again. */
export function half(g: Glossary, language: "ko" | "en"): Glossary {
  const cut = (entry: Entry): Entry | [string] => (language === "ko" ? (typeof entry === "string" ? entry : entry[1]) : typeof entry === "string" ? "" : [entry[0]]);
  const tables = Object.entries(g).map(([name, table]) => [name, Object.fromEntries(Object.entries(table as Record<string, Entry>).map(([key, entry]) => [key, cut(entry)]))]);
  return Object.fromEntries(tables) as Glossary;
}

const capital = (text: string) => text.charAt(0).toUpperCase() + text.slice(1);
const spaced = (text: string) => text.replace(/Virtual ?Machine/g, "Virtualmachine").replace(/([a-z\d])([A-Z])/g, "$1 $2").replace(/([A-Z]+)([A-Z][a-z])/g, "$1 $2").split(/[\s_.:-]+/).filter(Boolean);

/** The words that a run of letters without spaces is made of, or null: the fewest pieces, longest first. */
export function segments(text: string, known: Record<string, unknown>): string[] | null {
  const best: (string[] | null)[] = [[]];
  for (let end = 1; end <= text.length; end++) {
    best[end] = null;
    for (let from = Math.max(0, end - 24); from < end; from++) {
      const before = best[from];
      const piece = text.slice(from, end);
      if (!before || !(/^\d+$/.test(piece) || Object.hasOwn(known, piece))) continue;
      const so = best[end];
      if (!so || before.length + 1 < so.length) best[end] = [...before, piece];
    }
  }
  return best[text.length];
}

export function composer(g: Glossary, language: "ko" | "en") {
  const at = language === "ko" ? 1 : 0;
  const say = (table: Record<string, Entry>, key: string): string | undefined => {
    if (!Object.hasOwn(table, key)) return undefined;
    const entry = table[key];
    if (typeof entry !== "string") return entry[at];
    return at ? entry : capital(key);
  };
  /** Words in a row; what nobody knows stays as it is. */
  const phrase = (text: string): string => {
    const out: string[] = [];
    for (const piece of spaced(text)) {
      const low = piece.toLowerCase();
      for (const word of segments(low, g.words) ?? [piece]) {
        const said = say(g.words, word) ?? word;
        if (said) out.push(!at && out.length && !/[A-Z].*[A-Z]|^[A-Z]$/.test(said) && !PROPER.test(said) ? said.toLowerCase() : said);
      }
    }
    return at ? out.join(" ") : capital(out.join(" "));
  };
  /** Whether every part of it is in the glossary. */
  const knows = (text: string): boolean => spaced(text).every((piece) => segments(piece.toLowerCase(), g.words) !== null);
  const split = (command: string): [string, string] => {
    const verb = command.match(/^[a-z\d]+/)?.[0] ?? command;
    return [verb, command.slice(verb.length)];
  };

  const noun = (name: string): string => say(g.nouns, name) ?? say(g.nouns, name.replace(/s$/, "")) ?? phrase(name);
  const field = (name: string): string => say(g.fields, name.toLowerCase()) ?? phrase(name);
  /** What a value of a fixed set is called, or the value itself. */
  const choice = (value: string): string => say(g.states, value) ?? value;
  const state = (value: string): string => say(g.states, value) ?? say(g.states, value.toLowerCase()) ?? (at && knows(value) ? phrase(value) : at ? value : capital(spaced(value).join(" ")));
  const command = (name: string): string => {
    const whole = say(g.commands, name);
    if (whole) return whole;
    const [verb, rest] = split(name);
    const does = say(g.verbs, verb);
    if (!does) return phrase(name);
    return at ? `${noun(rest)} ${does}`.trim() : `${does} ${lower(noun(rest))}`.trim();
  };
  /** What a command does to the thing one looks at: "시작", "마이그레이션"; the rest of the name when it says more. */
  const action = (name: string, of: string): string => {
    const [verb, rest] = split(name);
    const does = say(g.verbs, verb);
    const own = say(g.commands, `${name}!`);
    if (own) return own;
    const same = rest === of || `${rest}s` === of || rest === of.replace(/ies$/, "y") || rest === of.replace(/s$/, "");
    return does && same ? does : command(name);
  };
  /** An event type as VM.CREATE. */
  const event = (type: string): string => {
    const whole = say(g.commands, type);
    if (whole) return whole;
    const parts = type.toLowerCase().split(".");
    const end = [parts.length - 1, 0].find((i) => parts.length > 1 && Object.hasOwn(g.verbs, parts[i]));
    if (end === undefined) return phrase(parts.join(" "));
    const what = phrase(parts.filter((_, i) => i !== end).join(" "));
    const does = say(g.verbs, parts[end]);
    return at ? `${what} ${does}` : `${does} ${lower(what)}`;
  };

  return { event, noun, field, state, choice, command, action, phrase, knows, verb: (name: string) => say(g.verbs, split(name)[0]), split };
}

const PROPER = /^(Affinity|Zone|Pod|Cisco|Docker|Brocade|Kubernetes|Intel|Xen|Tungsten|Netris|Palo|Swift)/;
const lower = (text: string) => (/^[A-Z][a-z]/.test(text) && !PROPER.test(text) ? text.charAt(0).toLowerCase() + text.slice(1) : text);
