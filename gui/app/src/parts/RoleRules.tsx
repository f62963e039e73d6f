// The rules of a role: what is allowed command by command, the rules in the order in which they are asked, and the menu
// that somebody with this role sees. A cell that is pressed makes a rule for just that command, in front of the others.

import { ActionIcon, Alert, Autocomplete, Button, Group, Loader, Paper, SegmentedControl, Stack, Tabs, Text, TextInput, Title, Tooltip, UnstyledButton } from "@mantine/core";
import { useMediaQuery } from "@mantine/hooks";
import { IconArrowDown, IconArrowUp, IconChevronDown, IconPlus, IconSearch, IconTrash } from "@tabler/icons-react";
import { useQuery } from "@tanstack/react-query";
import { useDeferredValue, useMemo, useRef, useState } from "react";
import { call, everything, type Row } from "../api/client";
import { modelOf, useModel } from "../api/model";
import { queries } from "../api/queries";
import { sectionsOf } from "../shell/nav";
import { useWords } from "../words";
import { FaultNote } from "./FaultNote";
import { matches } from "./matches";
import { grouped, judge, type Verdict } from "./rules";
import { Mark } from "./State";

export default function RoleRules({ role }: { role: Row }) {
  const w = useWords();
  const model = useModel();
  const phone = useMediaQuery("(max-width: 48em)") ?? false;
  const key = ["listRolePermissions", role.id];
  const found = useQuery({ queryKey: key, queryFn: ({ signal }) => everything("listRolePermissions", { roleid: role.id }, signal) });
  const [fault, setFault] = useState<unknown>();
  const [busy, setBusy] = useState(false);
  const supplied = role.isdefault === true;
  const may = !supplied && !phone && model.commands.has("updateRolePermission");
  const rules = found.data ?? [];
  const said = useMemo(() => judge(rules), [found.data]);

  async function change(what: () => Promise<unknown>) {
    setBusy(true);
    setFault(undefined);
    try {
      await what();
    } catch (no) {
      setFault(no);
    } finally {
      await queries.invalidateQueries({ queryKey: key });
      setBusy(false);
    }
  }
  const order = (ids: string[]) => call("updateRolePermission", { roleid: role.id, ruleorder: ids.join(",") });
  /** A rule for one command: asked before all others, or gone so that these decide. */
  const set = (command: string, to: "allow" | "deny" | "inherit") =>
    change(async () => {
      const own = rules.find((r) => String(r.rule).toLowerCase() === command.toLowerCase());
      if (to === "inherit") return own && call("deleteRolePermission", { id: own.id });
      const id = own ? String(own.id) : String((await call("createRolePermission", { roleid: role.id, rule: command, permission: to })).rolepermission?.id);
      if (own) await call("updateRolePermission", { roleid: role.id, ruleid: id, permission: to });
      return order([id, ...rules.map((r) => String(r.id)).filter((x) => x !== id)]);
    });

  if (found.isError) return <FaultNote fault={found.error} again={() => void found.refetch()} />;
  if (found.isPending) return <Group role="status"><Loader size={20} /><Text size="sm" c="dimmed">{w.t("loading")}</Text></Group>;
  return (
    <Stack>
      {supplied && <Alert role="note" color="gray">{w.t("role.supplied")}</Alert>}
      {!supplied && phone && <Alert role="note" color="gray">{w.t("role.phone")}</Alert>}
      {fault !== undefined && <FaultNote fault={fault} />}
      <Tabs defaultValue="matrix" variant="pills" keepMounted={false}>
        <Tabs.List mb="md"><Tabs.Tab value="matrix">{w.t("role.matrix")}</Tabs.Tab><Tabs.Tab value="order">{w.t("role.order")} {rules.length}</Tabs.Tab><Tabs.Tab value="menu">{w.t("role.menu")}</Tabs.Tab></Tabs.List>
        <Tabs.Panel value="matrix"><Matrix said={said} set={may ? set : undefined} busy={busy} /></Tabs.Panel>
        <Tabs.Panel value="order"><Order rules={rules} may={may} busy={busy} change={change} order={order} role={role} /></Tabs.Panel>
        <Tabs.Panel value="menu"><Menu said={said} role={role} /></Tabs.Panel>
      </Tabs>
    </Stack>
  );
}

function Word({ verdict }: { verdict: Verdict }) {
  const w = useWords();
  return verdict.allow === undefined ? <Mark tone="calm">{w.t("role.unsaid")}</Mark> : <Mark tone={verdict.allow ? "good" : "bad"}>{w.t(verdict.allow ? "role.allow" : "role.deny")}</Mark>;
}

function Matrix({ said, set, busy }: { said: (c: string) => Verdict; set?: (command: string, to: "allow" | "deny" | "inherit") => void; busy: boolean }) {
  const w = useWords();
  const model = useModel();
  const [typed, setTyped] = useState("");
  const query = useDeferredValue(typed);
  const [open, setOpen] = useState<string>();
  const groups = useMemo(() => grouped(model).map((g) => ({ id: g.noun?.slug ?? "others", title: g.noun ? w.noun(g.noun.name) : w.t("role.others"), commands: g.commands.map((c) => ({ name: c, label: w.command(c) })) })).sort((a, b) => a.title.localeCompare(b.title, w.language)), [model, w]);
  const shown = query ? groups.map((g) => ({ ...g, commands: g.commands.filter((c) => matches(`${c.name} ${c.label} ${g.title}`.toLowerCase(), query)) })).filter((g) => g.commands.length) : groups;
  return (
    <Stack gap="sm">
      <TextInput maw={420} leftSection={<IconSearch size={16} aria-hidden />} aria-label={w.t("commands.search")} placeholder={w.t("palette.in")} value={typed} onChange={(e) => setTyped(e.currentTarget.value)} />
      <Paper style={{ overflow: "hidden" }}>
        {shown.map((g) => {
          const verdicts = g.commands.map((c) => said(c.name));
          const yes = verdicts.filter((v) => v.allow).length;
          const expanded = open === g.id || (query !== "" && shown.length <= 6);
          return (
            <div key={g.id} style={{ borderBottom: "1px solid var(--mantine-color-default-border)" }}>
              <UnstyledButton w="100%" px="md" py={10} aria-expanded={expanded} onClick={() => setOpen(expanded ? undefined : g.id)}>
                <Group justify="space-between" wrap="nowrap"><Group gap={8} wrap="nowrap"><IconChevronDown size={15} aria-hidden style={{ transform: expanded ? undefined : "rotate(-90deg)" }} /><Text size="sm" fw={600}>{g.title}</Text></Group><Text size="sm" c="dimmed">{w.t("role.count", { yes, all: g.commands.length })}</Text></Group>
              </UnstyledButton>
              {expanded && g.commands.map((c, i) => {
                const v = verdicts[i];
                return (
                  <Group key={c.name} justify="space-between" gap="sm" pr="md" py={6} pl={{ base: "md", sm: 40 }} style={{ borderTop: "1px solid light-dark(#eff1f3, #272d31)" }}>
                    <div style={{ minWidth: 0, flex: "1 1 220px" }}>
                      <Text size="sm">{c.label}</Text>
                      <Text size="xs" c="dimmed" ff="monospace" lang="en">{c.name}</Text>
                    </div>
                    <Group gap="sm">
                      {v.rule && !v.exact && <Text size="xs" c="dimmed">{w.t("role.by")} <span lang="en" style={{ fontFamily: "monospace" }}>{String(v.rule.rule)}</span></Text>}
                      {set ? (
                        <Group gap="xs">
                          {!v.exact && <Word verdict={v} />}
                          <SegmentedControl size="xs" disabled={busy} aria-label={w.t("role.cell", { command: c.label })} value={v.exact ? (v.allow ? "allow" : "deny") : "inherit"} onChange={(to) => set(c.name, to as "allow" | "deny" | "inherit")} data={[{ value: "allow", label: w.t("role.allow") }, { value: "deny", label: w.t("role.deny") }, { value: "inherit", label: w.t("role.inherit") }]} />
                        </Group>
                      ) : <Word verdict={v} />}
                    </Group>
                  </Group>
                );
              })}
            </div>
          );
        })}
        {!shown.length && <Text c="dimmed" p="lg" ta="center">{w.t("table.nothing")}</Text>}
      </Paper>
    </Stack>
  );
}

function Order({ rules, may, busy, change, order, role }: { rules: Row[]; may: boolean; busy: boolean; change: (what: () => Promise<unknown>) => Promise<void>; order: (ids: string[]) => Promise<unknown>; role: Row }) {
  const w = useWords();
  const model = useModel();
  const [rule, setRule] = useState("");
  const [permission, setPermission] = useState("allow");
  const list = useRef<HTMLOListElement>(null);
  const move = async (at: number, to: number) => {
    if (to < 0 || to >= rules.length) return;
    const ids = rules.map((r) => String(r.id));
    ids.splice(to, 0, ...ids.splice(at, 1));
    await change(() => order(ids));
    requestAnimationFrame(() => list.current?.querySelectorAll<HTMLElement>("li")[to]?.focus());
  };
  return (
    <Stack>
      <Text size="sm" c="dimmed">{w.t(may ? "role.order.how" : "role.order.about")}</Text>
      {may && (
        <form onSubmit={(e) => {
          e.preventDefault();
          if (rule) void change(async () => {
            await call("createRolePermission", { roleid: role.id, rule, permission });
            setRule("");
          });
        }}>
          <Group align="flex-end" gap="sm">
            <Autocomplete style={{ flex: "1 1 240px" }} label={w.t("role.rule")} description={w.t("role.rule.how")} placeholder="list*" value={rule} onChange={setRule} limit={12} data={[...model.commands.keys()].sort()} />
            <SegmentedControl aria-label={w.t("role.permission")} value={permission} onChange={setPermission} data={[{ value: "allow", label: w.t("role.allow") }, { value: "deny", label: w.t("role.deny") }]} />
            <Button type="submit" loading={busy} disabled={!/^[A-Za-z0-9*]+$/.test(rule)} leftSection={<IconPlus size={16} aria-hidden />}>{w.t("role.add")}</Button>
          </Group>
        </form>
      )}
      <Paper>
        <ol ref={list} style={{ listStyle: "none", margin: 0, padding: 0 }} aria-label={w.t("role.order")}>
          {rules.map((r, i) => {
            const name = String(r.rule);
            return (
              <li key={r.id} tabIndex={may ? 0 : undefined} style={{ display: "flex", alignItems: "center", gap: 12, padding: "7px 16px", borderBottom: "1px solid light-dark(#eff1f3, #272d31)" }}
                onKeyDown={(e) => {
                  if (!may || e.target !== e.currentTarget || !e.altKey || !/^Arrow(Up|Down)$/.test(e.key)) return;
                  e.preventDefault();
                  void move(i, e.key === "ArrowUp" ? i - 1 : i + 1);
                }}>
                <Text size="xs" c="dimmed" w={28} ta="right">{i + 1}</Text>
                <div style={{ flex: 1, minWidth: 0 }}><Text size="sm" ff="monospace" lang="en" style={{ overflowWrap: "anywhere" }}>{name}</Text>{model.commands.has(name) && <Text size="xs" c="dimmed">{w.command(name)}</Text>}</div>
                {may ? (
                  <>
                    <SegmentedControl size="xs" disabled={busy} aria-label={w.t("role.cell", { command: name })} value={String(r.permission)} onChange={(to) => void change(() => call("updateRolePermission", { roleid: role.id, ruleid: r.id, permission: to }))} data={[{ value: "allow", label: w.t("role.allow") }, { value: "deny", label: w.t("role.deny") }]} />
                    <Tooltip label={w.t("role.up")}><ActionIcon variant="subtle" color="gray" disabled={busy || i === 0} aria-label={`${name} ${w.t("role.up")}`} onClick={() => void move(i, i - 1)}><IconArrowUp size={16} /></ActionIcon></Tooltip>
                    <Tooltip label={w.t("role.down")}><ActionIcon variant="subtle" color="gray" disabled={busy || i === rules.length - 1} aria-label={`${name} ${w.t("role.down")}`} onClick={() => void move(i, i + 1)}><IconArrowDown size={16} /></ActionIcon></Tooltip>
                    <Tooltip label={w.t("remove")}><ActionIcon variant="subtle" color="red" disabled={busy} aria-label={`${name} ${w.t("remove")}`} onClick={() => void change(() => call("deleteRolePermission", { id: r.id }))}><IconTrash size={16} /></ActionIcon></Tooltip>
                  </>
                ) : <Word verdict={{ allow: r.permission === "allow" }} />}
              </li>
            );
          })}
        </ol>
        {!rules.length && <Text c="dimmed" p="lg" ta="center">{w.t("role.norules")}</Text>}
      </Paper>
    </Stack>
  );
}

/** The menu as it is for this role: what its rules allow, of what this server offers. */
function Menu({ said, role }: { said: (c: string) => Verdict; role: Row }) {
  const w = useWords();
  const model = useModel();
  const allowed = useMemo(() => [...model.commands.values()].filter((c) => said(c.name).allow ?? false), [model, said]);
  const sections = useMemo(() => sectionsOf(modelOf(allowed)), [allowed]);
  return (
    <Stack maw={720}>
      <Text size="sm" c="dimmed">{w.t("role.menu.about", { name: String(role.name), count: allowed.length })}</Text>
      <Paper p="lg" component="section" aria-label={w.t("role.menu")}>
        <div style={{ display: "grid", gridTemplateColumns: "repeat(auto-fill, minmax(170px, 1fr))", gap: 20 }}>
          {sections.map((s) => (
            <div key={s.id}>
              <Group gap={8} mb={4}><s.icon size={16} aria-hidden /><Title order={3} fz={13} c="dimmed">{w.t(`nav.${s.id}`)}</Title></Group>
              {s.entries.map((e) => <Text key={e.to} size="sm" pl={24} lh={1.8}>{e.noun ? w.noun(e.noun.name) : w.t(e.label ?? "")}</Text>)}
            </div>
          ))}
        </div>
        {!sections.some((s) => s.entries.some((e) => e.noun)) && <Text c="dimmed">{w.t("role.menu.none")}</Text>}
      </Paper>
    </Stack>
  );
}
