// How much of something is used: a bar that also says it in words, because colour alone tells nobody.

import { Group, Progress, Text } from "@mantine/core";
import type { ReactNode } from "react";
import { useWords, words, type Words } from "../words";
import { Mark } from "./State";
import { bytes } from "./Value";

/** Percent from which a bar warns, and from which it is full for all practical purposes. */
export const WARN = 75;
export const FULL = 90;

/** Numbers of listCapacity's types whose unit is bytes; 1 counts MHz, the others count things. */
const SIZES = new Set([0, 2, 3, 6, 9]);
export function amount(type: number, n: number, w: Words = words()): string {
  if (SIZES.has(type)) return bytes(n, w);
  return type === 1 ? `${w.number(n / 1000, { maximumFractionDigits: 1 })} GHz` : w.number(n);
}

export function Bar({ label, name, used, total, of, small, brief }: { label: ReactNode; name: string; used: number; total: number; of: (n: number) => string; small?: boolean; /** The percentage only; the rest when pointed at. */ brief?: boolean }) {
  const w = useWords();
  const part = total > 0 ? (used / total) * 100 : 0;
  const tone = part >= FULL ? "bad" : part >= WARN ? "warn" : undefined;
  const said = total > 0 ? `${of(used)} / ${of(total)} (${w.number(part, { maximumFractionDigits: part > 0 && part < 10 ? 1 : 0 })}%)` : of(used);
  return (
    <div>
      <Group justify="space-between" mb={small ? 2 : 4} gap="xs">
        <Group gap={8}><Text size={small ? "xs" : "sm"}>{label}</Text>{tone && <Mark tone={tone}>{w.t(tone === "bad" ? "bar.full" : "bar.warn")}</Mark>}</Group>
        <Text size={small ? "xs" : "sm"} c="dimmed" title={brief ? said : undefined} style={{ whiteSpace: "nowrap" }}>{brief && total > 0 ? said.slice(said.indexOf("(") + 1, -1) : said}</Text>
      </Group>
      <Progress size={small ? 5 : "sm"} aria-label={`${name}: ${said}`} value={Math.min(100, part)} color={tone === "bad" ? "red" : tone === "warn" ? "yellow" : "mold"} />
    </div>
  );
}

export interface Sum { type: number; used: number; total: number } // prettier-ignore

/** Lines of listCapacity, or of showcapacities, added up by type. */
export function sums(lines: Record<string, unknown>[] | undefined): Sum[] {
  const by = new Map<number, Sum>();
  for (const c of lines ?? []) {
    const sum = by.get(Number(c.type)) ?? { type: Number(c.type), used: 0, total: 0 };
    by.set(sum.type, { type: sum.type, used: sum.used + Math.max(Number(c.capacityused ?? 0), Number(c.capacityallocated ?? 0)), total: sum.total + Number(c.capacitytotal) });
  }
  return [...by.values()].filter((s) => s.total > 0).sort((a, b) => a.type - b.type);
}
