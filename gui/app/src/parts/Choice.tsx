// One or several of a few things, each told with a line about it: cards to press.

import { Group, Paper, SimpleGrid, Text, UnstyledButton } from "@mantine/core";
import { IconCheck } from "@tabler/icons-react";
import type { KeyboardEvent, ReactNode } from "react";

export interface Option {
  id: string;
  title: string;
  about?: ReactNode;
  mark?: ReactNode;
  /** Why it cannot be chosen. */
  not?: string;
}

export function Choice({ label, options, value, onChange, many, cols = 2 }: { label: string; options: Option[]; value: string[]; onChange: (value: string[]) => void; many?: boolean; cols?: number }) {
  const free = options.filter((o) => !o.not);
  const at = Math.max(0, free.findIndex((o) => value.includes(o.id)));
  const press = (id: string) => onChange(many ? (value.includes(id) ? value.filter((v) => v !== id) : [...value, id]) : [id]);
  const keys = (event: KeyboardEvent<HTMLElement>) => {
    const step = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 }[event.key];
    if (many || !step || !free.length) return;
    event.preventDefault();
    const next = free[(at + step + free.length) % free.length];
    onChange([next.id]);
    event.currentTarget.querySelector<HTMLElement>(`[data-id="${CSS.escape(next.id)}"]`)?.focus();
  };
  return (
    <SimpleGrid cols={{ base: 1, sm: cols }} spacing="sm" role={many ? "group" : "radiogroup"} aria-label={label} onKeyDown={keys}>
      {options.map((o) => {
        const on = value.includes(o.id);
        return (
          <UnstyledButton key={o.id} data-id={o.id} role={many ? "checkbox" : "radio"} aria-checked={on} aria-disabled={Boolean(o.not) || undefined} tabIndex={many || (free[at] ?? options[0])?.id === o.id ? 0 : -1} onClick={() => !o.not && press(o.id)} className="choice" data-on={on || undefined}>
            <Paper p="md" h="100%">
              <Group justify="space-between" wrap="nowrap" align="flex-start" gap="sm">
                <div style={{ minWidth: 0 }}>
                  <Text fw={600} size="sm" translate="no">{o.title}</Text>
                  {o.about && <Text size="xs" c="dimmed" component="div" mt={3}>{o.about}</Text>}
                  {o.not && <Text size="xs" c="var(--mold-warn)" mt={3}>{o.not}</Text>}
                </div>
                <Group gap={6} wrap="nowrap">{o.mark}<span className="tick" data-many={many || undefined} aria-hidden>{on && <IconCheck size={13} stroke={3} />}</span></Group>
              </Group>
            </Paper>
          </UnstyledButton>
        );
      })}
    </SimpleGrid>
  );
}
