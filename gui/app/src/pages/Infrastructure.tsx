// The cloud as it stands in its rooms: zone, pod, cluster, host, each with its state and how full it is. A cluster asks
// for its hosts when it is opened, so the page stays quick however many there are.

import { ActionIcon, Button, Group, Loader, Paper, SimpleGrid, Stack, Text, Title } from "@mantine/core";
import { IconBuilding, IconChevronDown, IconPlus, IconServer, IconStack2, IconWorld } from "@tabler/icons-react";
import { useQuery } from "@tanstack/react-query";
import { useEffect, useState, type ReactNode } from "react";
import { call, rows, type Params, type Row } from "../api/client";
import { useModel } from "../api/model";
import { act } from "../parts/act";
import { amount, Bar, sums } from "../parts/Bar";
import { FaultNote } from "../parts/FaultNote";
import { State } from "../parts/State";
import { pageOf, To } from "../parts/To";
import { useWords } from "../words";

const MOST = 500;
const list = async (command: string, params: Params) => rows(await call(command, { ...params, page: 1, pagesize: MOST }));

/** Kinds beside the tree, each a card with its number. */
const BESIDE = ["listStoragePools", "listImageStores", "listPhysicalNetworks", "listRouters", "listSystemVms", "listManagementServers"];

export default function Infrastructure() {
  const w = useWords();
  const model = useModel();
  useEffect(() => void (document.title = `${w.t("nav.infrastructure")} · Mold`), [w]);
  const found = useQuery({
    queryKey: ["infrastructure"], refetchInterval: 30_000,
    queryFn: async () => {
      const ask = (command: string) => (model.commands.has(command) ? list(command, { showcapacities: true }) : Promise.resolve({ rows: [], count: 0 }));
      const [zones, pods, clusters] = await Promise.all([ask("listZones"), ask("listPods"), ask("listClusters")]);
      return { zones: zones.rows, pods: pods.rows, clusters: clusters.rows };
    },
  });
  return (
    <Stack gap="lg">
      <Group justify="space-between">
        <Title order={1} fz={26}>{w.t("nav.infrastructure")}</Title>
        {model.commands.has("createZone") && <Button leftSection={<IconPlus size={17} aria-hidden />} renderRoot={(p) => <To {...p} to="/zones-new" />}>{w.t(found.data?.zones.length === 0 ? "setup" : "setup.another")}</Button>}
      </Group>
      <div style={{ display: "grid", gap: 16, gridTemplateColumns: "repeat(auto-fit, minmax(150px, 1fr))" }}>{BESIDE.filter((l) => model.nouns.has(l)).map((l) => <Card key={l} list={l} />)}</div>
      {found.isError ? <FaultNote fault={found.error} again={() => void found.refetch()} /> : found.isPending ? <Group justify="center" role="status"><Loader size={22} /><Text c="dimmed" size="sm">{w.t("loading")}</Text></Group> : found.data.zones.length === 0 ? (
        <Paper p="xl"><Stack align="center" gap="xs"><Text fw={600}>{w.t("infra.none")}</Text><Text c="dimmed" size="sm" ta="center">{w.t("infra.none.do")}</Text></Stack></Paper>
      ) : (
        <Stack gap="md" role="list" aria-label={w.t("infra.tree")}>
          {found.data.zones.map((z) => (
            <Paper key={z.id} p={0} style={{ overflow: "hidden" }}>
              <Node level={1} row={z} slug="zones" icon={<IconWorld size={19} aria-hidden />} kind={w.field("zoneid")} open>
                {found.data.pods.filter((p) => p.zoneid === z.id).map((p) => (
                  <Node key={p.id} level={2} row={p} slug="pods" icon={<IconBuilding size={18} aria-hidden />} kind={w.field("podid")} open>
                    {found.data.clusters.filter((c) => c.podid === p.id).map((c) => (
                      <Node key={c.id} level={3} row={c} slug="clusters" icon={<IconStack2 size={18} aria-hidden />} kind={w.field("clusterid")} open={found.data.clusters.length <= 4} lazy={() => <Hosts cluster={c} />} />
                    ))}
                  </Node>
                ))}
              </Node>
              {found.data.pods.every((p) => p.zoneid !== z.id) && <Group px="md" pb="md"><Text size="sm" c="dimmed">{w.t("infra.unfinished")}</Text><Button size="xs" variant="default" renderRoot={(p) => <To {...p} to={`/zones-new?zone=${z.id}`} />}>{w.t("infra.resume")}</Button></Group>}
            </Paper>
          ))}
        </Stack>
      )}
    </Stack>
  );
}

function Card({ list: command }: { list: string }) {
  const w = useWords();
  const noun = useModel().nouns.get(command)!;
  const found = useQuery({ queryKey: ["count", command, "infra"], queryFn: async () => rows(await call(command, { page: 1, pagesize: 1, ...(noun.list.params.some((p) => p.name === "listall") ? { listall: true } : {}) })).count, refetchInterval: 60_000 });
  return (
    <Paper p="md" component={To} to={`/${noun.slug}`} className="plain">
      <Text size="sm" c="dimmed">{w.noun(noun.name)}</Text>
      <Text fz={24} fw={680} lh={1.3}>{found.data === undefined ? "–" : w.number(found.data)}</Text>
    </Paper>
  );
}

function Node({ level, row, slug, icon, kind, open: at = false, lazy, children }: { level: number; row: Row; slug: string; icon: ReactNode; kind: string; open?: boolean; lazy?: () => ReactNode; children?: ReactNode }) {
  const w = useWords();
  const [open, setOpen] = useState(at);
  const some = lazy !== undefined || (Array.isArray(children) ? children.length > 0 : Boolean(children));
  const state = String(row.allocationstate ?? "");
  const bars = sums(row.capacity as Row[]).filter((s) => (level === 1 ? [0, 1, 3, 4, 6] : [0, 1, 3]).includes(s.type));
  return (
    <div role="listitem" aria-level={level} aria-label={`${kind} ${row.name}`}>
      <Group gap="md" pr="md" py={10} pl={{ base: 8 + (level - 1) * 10, sm: 12 + (level - 1) * 26 }} align="flex-start" style={{ borderBottom: "1px solid light-dark(#eff1f3, #272d31)" }}>
        <Group gap={6} wrap="nowrap" style={{ flex: "1 1 240px", minWidth: 0 }}>
          {some ? <ActionIcon variant="subtle" color="gray" aria-expanded={open} aria-label={w.t(open ? "tree.shut" : "tree.open", { name: String(row.name) })} onClick={() => setOpen(!open)}><IconChevronDown size={16} style={{ transform: open ? undefined : "rotate(-90deg)" }} /></ActionIcon> : <span style={{ width: 28 }} />}
          {icon}
          <div style={{ minWidth: 0 }}>
            <Text size="xs" c="dimmed" lh={1.2}>{kind}{row.hypervisortype ? ` · ${w.state(String(row.hypervisortype))}` : ""}</Text>
            <Text fw={600} className="plain" translate="no"><To className="plain" to={pageOf({ slug, id: String(row.id) })}>{String(row.name)}</To></Text>
          </div>
          {state && <State value={state} />}
        </Group>
        <SimpleGrid cols={{ base: 1, sm: Math.min(3, bars.length || 1) }} spacing="md" verticalSpacing={6} style={{ flex: "0 1 530px", minWidth: 0 }}>
          {bars.map((s) => <Bar key={s.type} small brief name={`${row.name} ${w.t(`capacity.${s.type}`)}`} label={s.type === 3 ? w.t("limit.primary_storage") : w.t(`capacity.${s.type}`)} {...s} of={(n) => amount(s.type, n, w)} />)}
        </SimpleGrid>
      </Group>
      {open && some && <div role="list">{lazy ? lazy() : children}</div>}
    </div>
  );
}

function Hosts({ cluster }: { cluster: Row }) {
  const w = useWords();
  const model = useModel();
  const noun = model.nouns.get("listHosts");
  const found = useQuery({ queryKey: ["listHosts", "tree", cluster.id], enabled: Boolean(noun), refetchInterval: 30_000, queryFn: () => list("listHosts", { clusterid: cluster.id, type: "Routing" }) });
  if (found.isError) return <FaultNote fault={found.error} again={() => void found.refetch()} />;
  return (
    <>
      {found.isPending && <Group p="md" justify="center" role="status"><Loader size={18} /></Group>}
      {found.data?.rows.map((h) => {
        const [memory, memoryAll] = [Number(h.memoryallocatedbytes ?? h.memoryallocated ?? 0), Number(h.memorytotal ?? 0)];
        const cpuAll = Number(h.cpunumber ?? 0) * Number(h.cpuspeed ?? 0);
        return (
          <div key={h.id} role="listitem" aria-level={4} aria-label={`${w.noun("Hosts")} ${h.name}`}>
            <Group gap="md" pr="md" py={8} pl={{ base: 44, sm: 122 }} align="flex-start" style={{ borderBottom: "1px solid light-dark(#eff1f3, #272d31)" }}>
              <Group gap={8} style={{ flex: "1 1 200px", minWidth: 0 }}>
                <IconServer size={17} aria-hidden />
                <To className="plain" to={pageOf({ slug: "hosts", id: String(h.id) })}><Text size="sm" fw={560} span translate="no">{String(h.name)}</Text></To>
                <State value={String(h.state)} />{h.resourcestate !== "Enabled" && <State value={String(h.resourcestate)} />}
              </Group>
              <SimpleGrid cols={{ base: 1, sm: 2 }} spacing="md" verticalSpacing={6} style={{ flex: "0 1 530px", minWidth: 0 }}>
                {memoryAll > 0 && <Bar small name={`${h.name} ${w.t("capacity.0")}`} label={w.t("capacity.0")} used={memory} total={memoryAll} of={(n) => amount(0, n, w)} />}
                {cpuAll > 0 && <Bar small name={`${h.name} ${w.t("capacity.1")}`} label={w.t("capacity.1")} used={Number(h.cpuallocatedvalue ?? 0)} total={cpuAll} of={(n) => amount(1, n, w)} />}
              </SimpleGrid>
            </Group>
          </div>
        );
      })}
      {found.data && found.data.count > found.data.rows.length && <Text size="sm" c="dimmed" p="md"><To to={`/hosts?clusterid=${cluster.id}`}>{w.t("table.limit", { part: found.data.rows.length, all: found.data.count })}</To></Text>}
      {found.data?.rows.length === 0 && <Group pl={{ base: 44, sm: 122 }} py="sm"><Text size="sm" c="dimmed">{w.t("infra.nohosts")}</Text>{model.commands.has("addHost") && <Button size="xs" variant="default" onClick={() => act({ command: "addHost", noun, fixed: { zoneid: cluster.zoneid, podid: cluster.podid, clusterid: cluster.id, hypervisor: cluster.hypervisortype }, first: ["url", "username", "password"] })}>{w.command("addHost")}</Button>}</Group>}
    </>
  );
}
