import { Menu, Text, Tooltip } from "@mantine/core";
import type { Row } from "../api/client";
import type { Command, Noun } from "../api/model";
import { readiness, type Declared } from "../nouns";
import { useWords } from "../words";
import { act, DANGEROUS } from "./act";
import { pageOf, useGo } from "./To";

/** Commands of a thing in the order in which they are offered: what is declared, then by kind, the dangerous last. */
export function ordered(noun: Noun, about: Declared): Command[] {
  const at = (c: Command) => {
    const own = about.primary?.indexOf(c.name) ?? -1;
    if (own >= 0) return own;
    const verb = ["start", "stop", "reboot", "restart", "enable", "update"].findIndex((v) => c.name.startsWith(v));
    return DANGEROUS.test(c.name) && !/^(stop|reset|disable)/.test(c.name) ? 300 : verb >= 0 ? 100 + verb : 200;
  };
  return [...noun.actions].sort((a, b) => at(a) - at(b));
}

export function ActionMenu({ noun, about, row, from = 0, children }: { noun: Noun; about: Declared; row: Row; from?: number; children: React.ReactElement }) {
  const w = useWords();
  const go = useGo();
  const all = ordered(noun, about).slice(from);
  const soft = all.filter((c) => !DANGEROUS.test(c.name) || /^(stop|reset|disable)/.test(c.name));
  const hard = all.filter((c) => !soft.includes(c));
  const uses = noun.uses.filter((u) => !/^(create|deploy|register|upload|import)/.test(u.command.name));
  const back = () => go(pageOf({ slug: noun.slug }));
  const item = (c: Command, param?: string) => {
    const why = readiness(c, row, about);
    return (
      <Tooltip key={c.name + (param ?? "")} label={why} disabled={why === true} position="left">
        <Menu.Item color={hard.includes(c) ? "red" : undefined} aria-disabled={why !== true} data-disabled={why !== true || undefined} closeMenuOnClick={why === true}
          onClick={() => why === true && act({ command: c.name, noun, rows: [row], param, first: about.first?.[c.name], onDone: /^(delete|expunge|remove)/.test(c.name) && !param ? back : undefined })}>
          {w.action(c.name, noun.name)}{why !== true && <Text size="xs" c="dimmed" maw={240} style={{ whiteSpace: "normal" }}>{why}</Text>}
        </Menu.Item>
      </Tooltip>
    );
  };
  if (!all.length && !uses.length) return null;
  return (
    <Menu position="bottom-end" withinPortal>
      <Menu.Target>{children}</Menu.Target>
      <Menu.Dropdown mah="60vh" miw={200} style={{ overflow: "auto" }}>
        {soft.map((c) => item(c))}
        {uses.length > 0 && <Menu.Divider />}
        {uses.map((u) => item(u.command, u.param))}
        {hard.length > 0 && (soft.length > 0 || uses.length > 0) && <Menu.Divider />}
        {hard.map((c) => item(c))}
      </Menu.Dropdown>
    </Menu>
  );
}
