// Domains as the tree that they are; each with how many accounts it has, and what can be done with it.

import { ActionIcon, Button, Group, Loader, Paper, Stack, Text, TextInput, Title } from "@mantine/core";
import { IconChevronDown, IconDots, IconPlus, IconSearch, IconSitemap } from "@tabler/icons-react";
import { useEffect, useMemo, useState } from "react";
import type { Row } from "../api/client";
import { useModel } from "../api/model";
import { useRows } from "../api/rows";
import { useDeclared } from "../nouns";
import { act } from "../parts/act";
import { ActionMenu } from "../parts/ActionMenu";
import { FaultNote } from "../parts/FaultNote";
import { pageOf, To } from "../parts/To";
import { useWords } from "../words";
import { NotFound } from "./NotFound";

export default function Domains() {
  const w = useWords();
  const model = useModel();
  const noun = model.nouns.get("listDomains");
  const about = useDeclared(noun);
  const found = useRows("listDomains", { listall: true }, Boolean(noun));
  const [typed, setTyped] = useState("");
  const [shut, setShut] = useState<ReadonlySet<string>>(new Set());
  useEffect(() => void (document.title = `${w.noun("Domains")} · Mold`), [w]);
  const lines = useMemo(() => {
    const known = new Set(found.rows.map((d) => String(d.id)));
    const below = new Map<string, Row[]>();
    for (const d of found.rows) {
      const parent = known.has(String(d.parentdomainid)) ? String(d.parentdomainid) : "";
      below.set(parent, [...(below.get(parent) ?? []), d]);
    }
    const out: { row: Row; level: number; some: boolean }[] = [];
    const walk = (parent: string, level: number) => {
      for (const row of (below.get(parent) ?? []).sort((a, b) => String(a.name).localeCompare(String(b.name), w.language))) {
        const some = below.has(String(row.id));
        out.push({ row, level, some });
        if (some && (!shut.has(String(row.id)) || typed)) walk(String(row.id), level + 1);
      }
    };
    walk("", 1);
    return typed ? out.filter((l) => String(l.row.path ?? l.row.name).toLowerCase().includes(typed.toLowerCase())) : out;
  }, [found.rows, shut, typed, w]);
  if (!noun) return <NotFound />;
  const create = (parent?: Row) => act({ command: "createDomain", noun, fixed: parent ? { parentdomainid: parent.id } : {}, first: parent ? ["name"] : ["name", "parentdomainid"] });
  const turn = (id: string) => setShut((old) => {
    const now = new Set(old);
    if (!now.delete(id)) now.add(id);
    return now;
  });
  return (
    <Stack gap="lg">
      <Group justify="space-between"><Title order={1} fz={26}>{w.noun("Domains")}</Title>{model.commands.has("createDomain") && <Button leftSection={<IconPlus size={17} aria-hidden />} onClick={() => create()}>{w.command("createDomain")}</Button>}</Group>
      <Group justify="space-between"><TextInput maw={340} style={{ flex: 1 }} aria-label={w.t("table.search", { name: w.noun("Domains") })} placeholder={w.t("domains.search")} leftSection={<IconSearch size={16} aria-hidden />} value={typed} onChange={(e) => setTyped(e.currentTarget.value)} /><Text size="sm" c="dimmed" aria-live="polite">{w.t("table.count", { count: found.count })}</Text></Group>
      {found.fault ? <FaultNote fault={found.fault} again={found.again} /> : (
        <Paper role={found.loading ? undefined : "list"} aria-label={found.loading ? undefined : w.noun("Domains")}>
          {found.loading && <Group p="xl" justify="center" role="status"><Loader size={22} /></Group>}
          {lines.map(({ row, level, some }) => (
            <div key={row.id} role="listitem" aria-level={level} aria-label={String(row.name)} style={{ borderBottom: "1px solid light-dark(#eff1f3, #272d31)" }}>
              <Group justify="space-between" wrap="nowrap" gap="xs" pr="md" py={7} pl={{ base: 8 + (level - 1) * 14, sm: 12 + (level - 1) * 26 }}>
                <Group gap={6} wrap="nowrap" style={{ minWidth: 0 }}>
                  {some ? <ActionIcon variant="subtle" color="gray" aria-expanded={!shut.has(String(row.id))} aria-label={w.t(shut.has(String(row.id)) ? "tree.open" : "tree.shut", { name: String(row.name) })} onClick={() => turn(String(row.id))}><IconChevronDown size={16} style={{ transform: shut.has(String(row.id)) ? "rotate(-90deg)" : undefined }} /></ActionIcon> : <span style={{ width: 28, flex: "none" }} />}
                  <IconSitemap size={17} aria-hidden style={{ flex: "none" }} />
                  <div style={{ minWidth: 0 }}><To className="plain" to={pageOf({ slug: "domains", id: String(row.id) })}><Text fw={560} size="sm" span translate="no">{String(row.name)}</Text></To>{level > 1 && <Text size="xs" c="dimmed" truncate lang="en">{String(row.path ?? "")}</Text>}</div>
                </Group>
                <Group gap="xs" wrap="nowrap">
                  <To to={`/accounts?domain=${row.id}`} className="plain" style={{ fontSize: 13 }}>{w.noun("Accounts")}</To>
                  {model.commands.has("createDomain") && <ActionIcon variant="subtle" color="gray" aria-label={w.t("domains.below", { name: String(row.name) })} onClick={() => create(row)}><IconPlus size={17} /></ActionIcon>}
                  {about && <ActionMenu noun={noun} about={about} row={row}><ActionIcon variant="subtle" color="gray" aria-label={w.t("row.menu", { name: String(row.name) })}><IconDots size={18} /></ActionIcon></ActionMenu>}
                </Group>
              </Group>
            </div>
          ))}
          {!found.loading && !lines.length && <Text c="dimmed" p="xl" ta="center">{w.t("table.nothing")}</Text>}
        </Paper>
      )}
    </Stack>
  );
}
