// A user's first page: what one has and may have, how the machines are, what happened, and what one does most.

import { Button, Group, Paper, Progress, SimpleGrid, Skeleton, Stack, Text, Title } from "@mantine/core";
import { IconKey, IconNetwork, IconPhoto, IconPlus } from "@tabler/icons-react";
import { useQuery } from "@tanstack/react-query";
import type { ReactNode } from "react";
import { call, rows, type Row } from "../api/client";
import { useModel } from "../api/model";
import { scoped, useScope } from "../api/scope";
import { useSession } from "../api/session";
import { act } from "../parts/act";
import { FaultNote } from "../parts/FaultNote";
import { State } from "../parts/State";
import { pageOf, To } from "../parts/To";
import { ago, bytes, instant } from "../parts/Value";
import { useWords } from "../words";

export default function HomeTenant() {
  const model = useModel();
  return (
    <Stack gap="lg">
      <Quick />
      {model.commands.has("listVirtualMachines") && <Machines />}
      <SimpleGrid cols={{ base: 1, lg: 2 }} spacing="lg">
        <Usage />
        {model.commands.has("listEvents") && <Events />}
      </SimpleGrid>
    </Stack>
  );
}

function Quick() {
  const w = useWords();
  const model = useModel();
  const may = (c: string) => model.commands.has(c);
  return (
    <Group gap="sm">
      {may("deployVirtualMachine") && <Button leftSection={<IconPlus size={17} aria-hidden />} renderRoot={(p) => <To {...p} to="/virtualmachines-new" />}>{w.command("deployVirtualMachine")}</Button>}
      {may("createNetwork") && <Button variant="default" leftSection={<IconNetwork size={17} aria-hidden />} renderRoot={(p) => <To {...p} to="/networks-new" />}>{w.command("createNetwork")}</Button>}
      {may("registerTemplate") && <Button variant="default" leftSection={<IconPhoto size={17} aria-hidden />} renderRoot={(p) => <To {...p} to="/templates-new" />}>{w.t("templates.new")}</Button>}
      {may("createSSHKeyPair") && <Button variant="default" leftSection={<IconKey size={17} aria-hidden />} onClick={() => act({ command: "createSSHKeyPair", noun: model.nouns.get("listSSHKeyPairs"), first: ["name"] })}>{w.command("createSSHKeyPair")}</Button>}
    </Group>
  );
}

/** How many machines are in which state; one question without rows for each. */
const STATES = ["Running", "Stopped", "Starting", "Stopping", "Error", "Destroyed"];
function Machines() {
  const w = useWords();
  const model = useModel();
  const scope = useScope();
  const list = model.commands.get("listVirtualMachines");
  const asked = { ...(list ? scoped(list, scope) : {}), retrieveonlyresourcecount: true, page: 1, pagesize: 1 };
  const found = useQuery({
    queryKey: ["listVirtualMachines", "states", asked], refetchInterval: 60_000,
    queryFn: async ({ signal }) => Promise.all(STATES.map(async (state) => [state, rows(await call("listVirtualMachines", { ...asked, state }, signal)).count] as const)),
  });
  if (found.isError) return <FaultNote fault={found.error} again={() => void found.refetch()} />;
  const shown = (found.data ?? []).filter(([state, count]) => count > 0 || /^(Running|Stopped|Error)$/.test(state));
  return (
    <section aria-label={w.noun("VirtualMachines")}>
      <SimpleGrid cols={{ base: shown.length === 3 ? 3 : 2, sm: 3, lg: Math.max(3, shown.length) }} spacing={{ base: "xs", sm: "md" }}>
        {found.isPending ? [1, 2, 3].map((n) => <Skeleton key={n} h={92} radius="lg" />) : shown.map(([state, count]) => (
          <Paper key={state} p="md" component={StateLink} state={state} className="plain">
            <State value={state} />
            <Text fz={28} fw={680} lh={1.3} mt={4}>{w.number(count)}</Text>
          </Paper>
        ))}
      </SimpleGrid>
    </section>
  );
}
const StateLink = ({ state, ...rest }: { state: string; className?: string; children?: ReactNode }) => <To {...rest} to="/virtualmachines" find={{ state }} />;

const USED: [string, string, (n: number, w: ReturnType<typeof useWords>) => string][] = [
  ["user_vm", "vm", (n, w) => w.number(n)],
  ["cpu", "cpu", (n, w) => w.number(n)],
  ["memory", "memory", (n, w) => bytes(n * 1024 ** 2, w)],
  ["volume", "volume", (n, w) => w.number(n)],
  ["primary_storage", "primarystorage", (n, w) => bytes(n * 1024 ** 3, w)],
  ["network", "network", (n, w) => w.number(n)],
  ["public_ip", "ip", (n, w) => w.number(n)],
  ["template", "template", (n, w) => w.number(n)],
  ["secondary_storage", "secondarystorage", (n, w) => bytes(n * 1024 ** 3, w)],
];
function Usage() {
  const w = useWords();
  const me = useSession();
  const scope = useScope();
  const list = scope.project ? "listProjects" : "listAccounts";
  const asked = scope.project ? { id: scope.project, listall: true } : { name: me?.account, domainid: me?.domainid };
  const found = useQuery({ queryKey: [list, "quota", asked], refetchInterval: 60_000, queryFn: async ({ signal }) => rows(await call(list, asked, signal)).rows[0] as Row | undefined });
  return (
    <Paper p="lg">
      <Title order={2} fz={16} mb="md">{w.t("home.limits")}</Title>
      {found.isError ? <FaultNote fault={found.error} again={() => void found.refetch()} /> : found.isPending ? <Skeleton h={240} radius="md" /> : (
        <Stack gap="md">
          {USED.filter(([, f]) => found.data?.[`${f}total`] !== undefined).map(([name, f, say]) => {
            const [used, limit] = [Number(found.data?.[`${f}total`] ?? 0), Number(found.data?.[`${f}limit`])];
            const label = name === "user_vm" ? w.noun("VirtualMachines") : w.phrase(name);
            const part = limit > 0 ? (used / limit) * 100 : used > 0 && limit === 0 ? 100 : 0;
            return (
              <div key={name}>
                <Group justify="space-between" mb={4} gap="xs"><Text size="sm">{label}</Text><Text size="sm" c="dimmed">{limit >= 0 ? `${say(used, w)} / ${say(limit, w)}` : `${say(used, w)} · ${w.t("deploy.unlimited")}`}</Text></Group>
                {limit >= 0 && <Progress aria-label={label} value={part} color={part > 90 ? "red" : part > 75 ? "yellow" : "mold"} />}
              </div>
            );
          })}
        </Stack>
      )}
    </Paper>
  );
}

function Events() {
  const w = useWords();
  const model = useModel();
  const scope = useScope();
  const list = model.commands.get("listEvents");
  const asked = { ...(list ? scoped(list, scope) : {}), page: 1, pagesize: 30 };
  const found = useQuery({ queryKey: ["listEvents", "last", asked], refetchInterval: 30_000, queryFn: async ({ signal }) => rows(await call("listEvents", asked, signal)).rows });
  // One line for each thing that was done: its end, or its beginning while it goes on.
  const done = new Set<string>();
  const shown = (found.data ?? []).filter((e) => {
    const key = String(e.parentid ?? e.id);
    return done.has(key) ? false : Boolean(done.add(key));
  }).slice(0, 8);
  const page = (e: Row) => [...model.nouns.values()].find((n) => e.resourceid && `${String(e.resourcetype).toLowerCase()}s` === n.slug);
  return (
    <Paper p="lg">
      <Group justify="space-between" mb="md"><Title order={2} fz={16}>{w.t("home.events")}</Title><To to="/eventlog" style={{ fontSize: 14, color: "var(--mantine-color-anchor)" }}>{w.t("jobs.all")}</To></Group>
      {found.isError ? <FaultNote fault={found.error} again={() => void found.refetch()} /> : found.isPending ? <Skeleton h={240} radius="md" /> : (
        <Stack gap={10}>
          {shown.map((e) => {
            const at = instant(e.created);
            const noun = page(e);
            const said = <Text size="sm" truncate>{w.event(String(e.type))}{e.resourcename ? ` · ${e.resourcename}` : ""}</Text>;
            return (
              <Group key={e.id} justify="space-between" wrap="nowrap" gap="sm">
                <Group gap="sm" wrap="nowrap" style={{ minWidth: 0 }}><State value={String(e.level === "INFO" ? e.state : e.level)} />{noun ? <To className="plain" style={{ minWidth: 0 }} to={pageOf({ slug: noun.slug, id: String(e.resourceid) })}>{said}</To> : said}</Group>
                <Text size="xs" c="dimmed" style={{ whiteSpace: "nowrap" }}>{at && ago(at, w)}</Text>
              </Group>
            );
          })}
          {!shown.length && <Text c="dimmed" size="sm">{w.t("table.empty")}</Text>}
        </Stack>
      )}
    </Paper>
  );
}
