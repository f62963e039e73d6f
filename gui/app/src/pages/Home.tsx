// The first page: how the cloud is for an admin, what one has for a user. Every number is a link to what it counts.

import { To } from "../parts/To";
import { Group, Paper, Progress, SimpleGrid, Stack, Text, Title } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";

import { lazy, Suspense, useEffect } from "react";
import { call, rows } from "../api/client";
import { useModel } from "../api/model";
import { scoped, useScope } from "../api/scope";
import { isAdmin, useSession } from "../api/session";
import { FILTERS } from "../parts/fields";
import { FaultNote } from "../parts/FaultNote";
import { ago, bytes, instant } from "../parts/Value";
import { State } from "../parts/State";
import { useWords } from "../words";

const HomeTenant = lazy(() => import("./HomeTenant"));
const COUNTED = ["listVirtualMachines", "listVolumes", "listNetworks", "listTemplates", "listHosts", "listStoragePools"];

export default function Home() {
  const w = useWords();
  const model = useModel();
  const me = useSession();
  useEffect(() => void (document.title = `${w.t("nav.home")} · Mold`), [w]);
  return (
    <Stack gap="xl">
      <Title order={1} fz={26}>{w.t("home.hello", { name: me?.firstname || me?.username || "" })}</Title>
      {!isAdmin() && <Suspense><HomeTenant /></Suspense>}
      {isAdmin() && <><SimpleGrid cols={{ base: 2, md: 3, xl: 6 }} spacing="md">{COUNTED.filter((l) => model.nouns.has(l)).map((l) => <Count key={l} list={l} />)}</SimpleGrid>
      <SimpleGrid cols={{ base: 1, lg: 2 }} spacing="lg">
        {isAdmin() && model.commands.has("listCapacity") ? <Capacity /> : null}
        {model.commands.has("listEvents") && <Events />}
      </SimpleGrid></>}
    </Stack>
  );
}

function Count({ list }: { list: string }) {
  const w = useWords();
  const noun = useModel().nouns.get(list)!;
  const scope = useScope();
  const params = { ...scoped(noun.list, scope), ...FILTERS[list], page: 1, pagesize: 1 };
  const found = useQuery({ queryKey: ["count", list, params], queryFn: async ({ signal }) => rows(await call(list, params, signal)).count, refetchInterval: 60_000 });
  return (
    <Paper p="md" component={To} to={`/${noun.slug}`} className="plain">
      <Text size="sm" c="dimmed">{w.noun(noun.name)}</Text>
      <Text fz={28} fw={680} lh={1.3}>{found.data === undefined ? "–" : w.number(found.data)}</Text>
    </Paper>
  );
}

function Bar({ label, used, total, of }: { label: string; used: number; total: number; of: (n: number) => string }) {
  const w = useWords();
  const part = total > 0 ? (used / total) * 100 : 0;
  return (
    <div>
      <Group justify="space-between" mb={4}><Text size="sm">{label}</Text><Text size="sm" c="dimmed">{total > 0 ? `${of(used)} / ${of(total)} (${w.number(part, { maximumFractionDigits: 0 })}%)` : of(used)}</Text></Group>
      <Progress aria-label={label} value={part} color={part > 90 ? "red" : part > 75 ? "yellow" : "mold"} />
    </div>
  );
}

/** Numbers of listCapacity's types whose unit is bytes, and which is MHz. */
const SIZES = new Set([0, 2, 3, 6, 9]);

function Capacity() {
  const w = useWords();
  const found = useQuery({
    queryKey: ["listCapacity", "sum"], refetchInterval: 60_000,
    queryFn: async () => {
      const by = new Map<number, { used: number; total: number }>();
      for (const c of rows(await call("listCapacity", {})).rows) {
        const sum = by.get(Number(c.type)) ?? { used: 0, total: 0 };
        by.set(Number(c.type), { used: sum.used + Math.max(Number(c.capacityused), Number(c.capacityallocated ?? 0)), total: sum.total + Number(c.capacitytotal) });
      }
      return [...by];
    },
  });
  return (
    <Paper p="lg">
      <Title order={2} fz={16} mb="md">{w.t("home.capacity")}</Title>
      {found.isError ? <FaultNote fault={found.error} again={() => void found.refetch()} /> : (
        <Stack gap="md">
          {found.data?.filter(([, s]) => s.total > 0).map(([type, s]) => <Bar key={type} label={w.t(`capacity.${type}`)} {...s} of={(n) => (SIZES.has(type) ? bytes(n, w) : type === 1 ? `${w.number(n / 1000, { maximumFractionDigits: 1 })} GHz` : w.number(n))} />)}
          {found.data?.length === 0 && <Text c="dimmed" size="sm">{w.t("home.capacity.none")}</Text>}
        </Stack>
      )}
    </Paper>
  );
}

function Events() {
  const w = useWords();
  const noun = useModel().nouns.get("listEvents")!;
  const scope = useScope();
  const params = { ...scoped(noun.list, scope), page: 1, pagesize: 8 };
  const found = useQuery({ queryKey: ["listEvents", "last", params], queryFn: async ({ signal }) => rows(await call("listEvents", params, signal)).rows, refetchInterval: 30_000 });
  return (
    <Paper p="lg">
      <Group justify="space-between" mb="md"><Title order={2} fz={16}>{w.t("home.events")}</Title><To to={"/eventlog"} style={{ fontSize: 14, color: "var(--mantine-color-anchor)" }}>{w.t("jobs.all")}</To></Group>
      {found.isError ? <FaultNote fault={found.error} again={() => void found.refetch()} /> : (
        <Stack gap={10}>
          {found.data?.map((e) => {
            const at = instant(e.created);
            return (
              <Group key={e.id} justify="space-between" wrap="nowrap" gap="sm">
                <Group gap="sm" wrap="nowrap" style={{ minWidth: 0 }}><State value={String(e.level)} /><Text size="sm" truncate>{w.event(String(e.type))}{e.resourcename ? ` · ${e.resourcename}` : ""}</Text></Group>
                <Text size="xs" c="dimmed" style={{ whiteSpace: "nowrap" }}>{at && ago(at, w)}</Text>
              </Group>
            );
          })}
          {found.data?.length === 0 && <Text c="dimmed" size="sm">{w.t("table.empty")}</Text>}
        </Stack>
      )}
    </Paper>
  );
}
