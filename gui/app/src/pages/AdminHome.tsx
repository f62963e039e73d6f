// What an operator wants to know first: is anything wrong, is anything full, what is being done. Every number is a link
// to what it counts.

import { Alert, Group, Paper, Progress, SimpleGrid, Stack, Text, Title } from "@mantine/core";
import { IconAlertTriangle } from "@tabler/icons-react";
import { useQuery } from "@tanstack/react-query";
import { lazy, Suspense, type ReactNode } from "react";
import { call, rows, type Params, type Row } from "../api/client";
import { useModel } from "../api/model";
import { scoped, useScope } from "../api/scope";
import { amount, Bar, FULL, sums, WARN } from "../parts/Bar";
import { FaultNote } from "../parts/FaultNote";
import { Mark, State, toneOf } from "../parts/State";
import { To } from "../parts/To";
import { ago, instant } from "../parts/Value";
import { useWords } from "../words";

const Jobs = lazy(() => import("../parts/JobChart"));
const EVERY = 30_000;

export default function AdminHome() {
  const w = useWords();
  const model = useModel();
  const has = (c: string) => model.commands.has(c);
  const zones = useQuery({ queryKey: ["listZones", "any"], queryFn: async () => rows(await call("listZones", { page: 1, pagesize: 1 })).count });
  return (
    <Stack gap="lg">
      {zones.data === 0 && has("createZone") && (
        <Alert color="mold" title={w.t("infra.none")}><Text size="sm" mb="sm">{w.t("infra.none.do")}</Text><To to="/zones-new" style={{ color: "var(--mantine-color-anchor)", fontWeight: 600 }}>{w.t("setup")} →</To></Alert>
      )}
      <SimpleGrid cols={{ base: 1, md: 2 }} spacing="lg">
        {has("listHosts") && <States list="listHosts" field="state" states={["Up", "Connecting", "Alert", "Disconnected", "Down"]} />}
        {has("listVirtualMachines") && <States list="listVirtualMachines" field="state" states={["Running", "Starting", "Stopping", "Stopped", "Migrating", "Error", "Destroyed"]} />}
      </SimpleGrid>
      <SimpleGrid cols={{ base: 1, lg: 2 }} spacing="lg">
        {has("listCapacity") && <Capacity />}
        <Stack gap="lg">
          {has("listAlerts") && <Alerts />}
          {has("listAsyncJobs") && <Working />}
          {has("listEvents") && <Failures />}
        </Stack>
      </SimpleGrid>
    </Stack>
  );
}

function Card({ title, to, children }: { title: string; to?: string; children: ReactNode }) {
  const w = useWords();
  return (
    <Paper p="lg" component="section" aria-label={title}>
      <Group justify="space-between" mb="md"><Title order={2} fz={16}>{title}</Title>{to && <To to={to} aria-label={`${title}: ${w.t("jobs.all")}`} style={{ fontSize: 14, color: "var(--mantine-color-anchor)" }}>{w.t("jobs.all")}</To>}</Group>
      {children}
    </Paper>
  );
}

/** How many there are of each state; the server counts, no rows are sent. */
function States({ list, field, states }: { list: string; field: string; states: string[] }) {
  const w = useWords();
  const noun = useModel().nouns.get(list)!;
  const scope = useScope();
  const base: Params = { ...scoped(noun.list, scope), ...(list === "listHosts" ? { type: "Routing" } : {}), page: 1, pagesize: 1 };
  const found = useQuery({
    queryKey: ["count", list, "states", base], refetchInterval: EVERY,
    queryFn: async ({ signal }) => {
      const count = async (params: Params) => rows(await call(list, { ...base, ...params }, signal)).count;
      const [all, ...each] = await Promise.all([count({}), ...states.map((s) => count({ [field]: s }))]);
      return { all, each: states.map((s, i) => [s, each[i]] as const).filter(([, n]) => n > 0) };
    },
  });
  const COLOUR = { good: "mold", busy: "blue", warn: "yellow", bad: "red", calm: "gray" } as const;
  return (
    <Card title={w.noun(noun.name)} to={`/${noun.slug}`}>
      {found.isError ? <FaultNote fault={found.error} again={() => void found.refetch()} /> : (
        <Stack gap="sm">
          <Text fz={30} fw={680} lh={1.1}>{found.data ? w.number(found.data.all) : "–"}</Text>
          <Progress.Root size="md" aria-hidden>{found.data?.each.map(([s, n]) => <Progress.Section key={s} value={(n / Math.max(1, found.data.all)) * 100} color={COLOUR[toneOf(s)]} />)}</Progress.Root>
          <Group gap="xs">{found.data?.each.map(([s, n]) => <To key={s} to={`/${noun.slug}?${field}=${s}`} className="plain" aria-label={`${w.noun(noun.name)} ${w.state(s)} ${n}`}><Mark tone={toneOf(s)}>{w.state(s)} {w.number(n)}</Mark></To>)}</Group>
          {found.data?.all === 0 && <Text c="dimmed" size="sm">{w.t("table.empty")}</Text>}
        </Stack>
      )}
    </Card>
  );
}

function Capacity() {
  const w = useWords();
  const found = useQuery({ queryKey: ["listCapacity", "sum"], refetchInterval: EVERY, queryFn: async () => sums(rows(await call("listCapacity", {})).rows) });
  const near = found.data?.filter((s) => (s.used / s.total) * 100 >= WARN) ?? [];
  const full = near.filter((s) => (s.used / s.total) * 100 >= FULL);
  return (
    <Card title={w.t("home.capacity")} to="/capacityplan">
      {found.isError ? <FaultNote fault={found.error} again={() => void found.refetch()} /> : (
        <Stack gap="md">
          {found.data && found.data.length > 0 && <Text size="sm" c="dimmed">{near.length ? w.t(full.length ? "home.capacity.full" : "home.capacity.near", { what: (full.length ? full : near).map((s) => w.t(`capacity.${s.type}`)).join(", ") }) : w.t("home.capacity.good", { percent: WARN })}</Text>}
          {found.data?.map((s) => <Bar key={s.type} name={w.t(`capacity.${s.type}`)} label={w.t(`capacity.${s.type}`)} {...s} of={(n) => amount(s.type, n, w)} />)}
          {found.data?.length === 0 && <Text c="dimmed" size="sm">{w.t("home.capacity.none")}</Text>}
        </Stack>
      )}
    </Card>
  );
}

function Alerts() {
  const w = useWords();
  const found = useQuery({ queryKey: ["listAlerts", "last"], refetchInterval: EVERY, queryFn: async () => rows(await call("listAlerts", { page: 1, pagesize: 5 })) });
  return (
    <Card title={`${w.t("alerts")}${found.data?.count ? ` ${w.number(found.data.count)}` : ""}`} to="/alerts">
      {found.isError ? <FaultNote fault={found.error} /> : <Lines rows={found.data?.rows} none={w.t("home.alerts.none")} line={(a) => <Group gap="xs" wrap="nowrap" style={{ minWidth: 0 }}><IconAlertTriangle size={16} color="var(--mold-warn)" aria-hidden style={{ flex: "none" }} /><To className="plain" to={`/alerts/${a.id}`} style={{ minWidth: 0 }}><Text size="sm" truncate>{w.language === "ko" ? w.phrase(String(a.name)) : ""}{a.description && <Text span inherit c={w.language === "ko" ? "dimmed" : undefined} lang="en"> {String(a.description)}</Text>}</Text></To></Group>} at={(a) => a.sent ?? a.created} />}
    </Card>
  );
}

/** Work under way, with how far it is; and how the last ones went, as a chart that also says it in a sentence. */
function Working() {
  const w = useWords();
  const found = useQuery({ queryKey: ["listAsyncJobs", "home"], refetchInterval: 10_000, queryFn: async () => rows(await call("listAsyncJobs", { listall: true, page: 1, pagesize: 200 })).rows });
  const now = found.data?.filter((j) => Number(j.jobstatus) === 0) ?? [];
  const ended = found.data?.filter((j) => Number(j.jobstatus) !== 0) ?? [];
  return (
    <Card title={w.t("home.working")} to="/asyncjobs">
      {found.isError ? <FaultNote fault={found.error} /> : (
        <Stack gap="md">
          {now.slice(0, 5).map((j) => (
            <div key={j.jobid}>
              <Group justify="space-between" gap="xs"><To className="plain" to={`/asyncjobs/${j.jobid}`}><Text size="sm">{w.command(String(j.command))}</Text></To><Text size="xs" c="dimmed">{Number(j.jobprogress ?? 0)}%</Text></Group>
              <Progress size="xs" mt={3} value={Number(j.jobprogress ?? 0)} aria-label={w.command(String(j.command))} animated />
            </div>
          ))}
          {found.data && !now.length && <Text size="sm" c="dimmed">{w.t("home.working.none")}</Text>}
          {ended.length > 1 && <Suspense fallback={null}><Jobs jobs={ended} /></Suspense>}
        </Stack>
      )}
    </Card>
  );
}

function Failures() {
  const w = useWords();
  const noun = useModel().nouns.get("listEvents")!;
  const scope = useScope();
  const params = { ...scoped(noun.list, scope), level: "ERROR", page: 1, pagesize: 5 };
  const found = useQuery({ queryKey: ["listEvents", "failures", params], refetchInterval: EVERY, queryFn: async ({ signal }) => rows(await call("listEvents", params, signal)).rows });
  return (
    <Card title={w.t("home.failures")} to="/eventlog?level=ERROR">
      {found.isError ? <FaultNote fault={found.error} /> : <Lines rows={found.data} none={w.t("home.failures.none")} line={(e) => <Group gap="sm" wrap="nowrap" style={{ minWidth: 0 }}><State value={String(e.level)} /><To className="plain" to={`/eventlog/${e.id}`} style={{ minWidth: 0 }}><Text size="sm" truncate>{w.event(String(e.type))}{e.resourcename ? ` · ${e.resourcename}` : ""}</Text></To></Group>} at={(e) => e.created} />}
    </Card>
  );
}

function Lines({ rows: all, none, line, at }: { rows?: Row[]; none: string; line: (row: Row) => ReactNode; at: (row: Row) => unknown }) {
  const w = useWords();
  if (all?.length === 0) return <Text c="dimmed" size="sm">{none}</Text>;
  return (
    <Stack gap={10}>
      {all?.map((row) => {
        const when = instant(at(row));
        return <Group key={row.id} justify="space-between" wrap="nowrap" gap="sm">{line(row)}<Text size="xs" c="dimmed" style={{ whiteSpace: "nowrap" }}>{when && ago(when, w)}</Text></Group>;
      })}
    </Stack>
  );
}
