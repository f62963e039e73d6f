// What a role's rules say of a command, as the server asks them: the first that matches decides. Pure.

import type { Row } from "../api/client";
import type { Model, Noun } from "../api/model";

/** A pattern of a rule as a regular expression: letters, digits, and * for any run of them. */
const pattern = (rule: string) => new RegExp(`^${rule.split(/\*+/).join("\\w*")}$`, "i");

export interface Verdict {
  /** undefined: no rule speaks of it, and the kind of the role decides. */
  allow?: boolean;
  /** The rule that decides, and whether it names just this command. */
  rule?: Row;
  exact?: boolean;
}

/** Ready to be asked for one command after another. */
export function judge(rules: Row[]): (command: string) => Verdict {
  const lines = rules.map((row) => ({ row, test: pattern(String(row.rule)), allow: row.permission === "allow" }));
  return (command) => {
    const hit = lines.find((l) => l.test.test(command));
    return hit ? { allow: hit.allow, rule: hit.row, exact: String(hit.row.rule).toLowerCase() === command.toLowerCase() } : {};
  };
}

/** The commands by the noun that they are about; what belongs to none comes last. */
export function grouped(model: Model): { noun?: Noun; commands: string[] }[] {
  const left = new Set([...model.commands.keys()].filter((c) => !/^(login|logout|listApis|listCapabilities|queryAsyncJobResult)$/.test(c)));
  const out: { noun?: Noun; commands: string[] }[] = [];
  for (const noun of model.nouns.values()) {
    const own = [noun.list, ...noun.create, ...noun.actions].map((c) => c.name).filter((c) => left.delete(c));
    if (own.length) out.push({ noun, commands: own });
  }
  for (const group of out) for (const { command } of group.noun?.uses ?? []) if (left.delete(command.name)) group.commands.push(command.name);
  if (left.size) out.push({ commands: [...left].sort() });
  return out;
}
