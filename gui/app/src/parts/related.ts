import type { Noun } from "../api/model";
import { FILTERS } from "./fields";

/** Nouns whose list can be narrowed to this one, and the parameter that does it. */
export function relatedOf(nouns: Noun[], noun: Noun): { noun: Noun; param: string }[] {
  const stem = noun.name.replace(/ies$/, "y").replace(/s$/, "").toLowerCase();
  return nouns.flatMap((n) => {
    if (n === noun || /^list(Events|AsyncJobs|Capacity|Annotations|Configurations|Alerts|Tags)$/.test(n.list.name)) return [];
    // A list that asks for something else besides cannot be narrowed to this one alone.
    if (n.list.params.some((x) => x.required && !x.related?.split(",").includes(noun.list.name))) return [];
    const p = n.list.params.find((x) => x.type === "uuid" && !x.refused && x.related?.split(",").includes(noun.list.name) && (x.name === `${stem}id` || !/^(account|domain|project)id$/.test(x.name)) && x.name !== "id");
    const whole = n.list.params.every((x) => !x.required || x.refused || x === p || x.name in (FILTERS[n.list.name] ?? {}));
    return p && whole ? [{ noun: n, param: p.name }] : [];
  });
}
