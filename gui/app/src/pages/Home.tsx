// The first page: how the cloud is for an admin, what one has for a user. Every number is a link to what it counts.

import { To } from "../parts/To";
import { Group, Paper, SimpleGrid, Stack, Text, Title } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";

import { lazy, Suspense, useEffect } from "react";
import { call, rows, type Row } from "../api/client";
import { useModel } from "../api/model";
import { scoped, useScope } from "../api/scope";
import { useSession } from "../api/session";
import { Bar } from "../parts/Bar";
import { FILTERS } from "../parts/fields";
import { FaultNote } from "../parts/FaultNote";
import { ago, bytes, instant } from "../parts/Value";
import { State } from "../parts/State";
import { useWords } from "../words";

const AdminHome = lazy(() => import("./AdminHome"));

const COUNTED = ["listVirtualMachines", "listVolumes", "listNetworks", "listTemplates"];

export default function Home() {
  const w = useWords();
  const model = useModel();
  const me = useSession();
  useEffect(() => void (document.title = `${w.t("nav.home")} · Mold`), [w]);
  return (
    <Stack gap="xl">
      <Title order={1} fz={26}>{w.t("home.hello", { name: me?.firstname || me?.username || "" })}</Title>
      {model.commands.has("listHosts") ? <Suspense fallback={null}><AdminHome /></Suspense> : <>
      <SimpleGrid cols={{ base: 2, md: 4 }} spacing="md">{COUNTED.filter((l) => model.nouns.has(l)).map((l) => <Count key={l} list={l} />)}</SimpleGrid>
      <SimpleGrid cols={{ base: 1, lg: 2 }} spacing="lg">
        {model.commands.has("listResourceLimits") && <Limits />}
        {model.commands.has("listEvents") && <Events />}
      </SimpleGrid>
      </>}
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

function Limits() {
  const w = useWords();
  const me = useSession();
  const scope = useScope();
  const asked = scope.project ? { projectid: scope.project } : { account: me?.account, domainid: me?.domainid };
  const found = useQuery({
    queryKey: ["listResourceLimits", "mine", asked],
    queryFn: async () => ({ limits: rows(await call("listResourceLimits", asked)).rows, account: rows(await call(scope.project ? "listProjects" : "listAccounts", scope.project ? { id: scope.project } : { name: me?.account, domainid: me?.domainid })).rows[0] as Row | undefined }),
  });
  const USED: Record<string, string> = { user_vm: "vmtotal", public_ip: "iptotal", volume: "volumetotal", snapshot: "snapshottotal", template: "templatetotal", network: "networktotal", vpc: "vpctotal", cpu: "cputotal", memory: "memorytotal", primary_storage: "primarystoragetotal", secondary_storage: "secondarystoragetotal", project: "projecttotal" };
  return (
    <Paper p="lg">
      <Title order={2} fz={16} mb="md">{w.t("home.limits")}</Title>
      {found.isError ? <FaultNote fault={found.error} again={() => void found.refetch()} /> : (
        <Stack gap="md">
          {found.data?.limits.filter((l) => USED[l.resourcetypename]).map((l) => {
            const name = String(l.resourcetypename);
            const of = (n: number) => (name === "memory" ? bytes(n * 1024 ** 2, w) : /storage/.test(name) ? `${w.number(n, { maximumFractionDigits: 1 })} GiB` : w.number(n));
            return <Bar key={name} name={w.phrase(name)} label={w.phrase(name)} used={Number(found.data?.account?.[USED[name]] ?? 0)} total={Number(l.max)} of={of} />;
          })}
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
