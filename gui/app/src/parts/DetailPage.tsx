// The page of one thing, the same for every noun: what it is called, how it is, what can be done, and its tabs.

import { pageOf, To, useSearchWriter } from "./To";
import { Alert, Button, Group, Loader, Paper, Skeleton, Stack, Tabs, Text, Title, Tooltip } from "@mantine/core";
import { IconChevronDown } from "@tabler/icons-react";
import { useQuery } from "@tanstack/react-query";
import { useSearch } from "@tanstack/react-router";
import { lazy, Suspense, useEffect } from "react";
import { one, type Params, type Row } from "../api/client";
import { live } from "../api/live";
import { useModel, type Command, type Noun } from "../api/model";
import { columnsOf, HIDDEN, readiness, useDeclared, type Declared } from "../nouns";
import { useRows } from "../api/rows";
import { useWords } from "../words";
import { act, DANGEROUS, tell } from "./act";
import { ActionMenu, ordered } from "./ActionMenu";
import { CommandForm, initialOf } from "./CommandForm";
import { DataTable } from "./DataTable";
import { FaultNote } from "./FaultNote";
import { fieldsOf, FILTERS } from "./fields";
import { relatedOf } from "./related";
import { isMoving, State } from "./State";
import { nameOf, Value } from "./Value";

const Notes = lazy(() => import("./Notes"));

export function DetailPage({ noun, id }: { noun: Noun; id: string }) {
  const w = useWords();
  const model = useModel();
  const about = useDeclared(noun);
  const rewrite = useSearchWriter();
  const search = useSearch({ strict: false }) as { tab?: string };
  const on = live.use();
  const params: Params = { ...FILTERS[noun.list.name], ...about?.params, ...(noun.list.name === "listIsos" ? { isofilter: "all" } : {}), ...(noun.list.params.some((p) => p.name === "listall") ? { listall: true } : {}) };
  const query = useQuery({
    queryKey: [noun.list.name, "one", id],
    queryFn: async ({ signal }) => {
      for (const more of about?.sought?.() ?? [{}]) {
        const found = await one(noun.list.name, id, { ...params, ...more }, signal);
        if (found) return found;
      }
      return null;
    },
    enabled: Boolean(about),
    refetchInterval: ({ state }) => (state.data && isMoving((state.data as Row).state) ? 2000 : on ? false : 15_000),
  });
  const row = query.data as Row | null | undefined;
  const name = row ? nameOf(row) : "";
  useEffect(() => void (document.title = name ? `${name} · Mold` : "Mold"), [name]);

  const crumb = <Text size="sm" mb={4}><To className="plain" to={pageOf({ slug: noun.slug })}>← {w.noun(noun.name)}</To></Text>;
  if (query.isError) return <Stack>{crumb}<FaultNote fault={query.error} again={() => void query.refetch()} /></Stack>;
  if (query.isSuccess && !row) return <Stack>{crumb}<Alert role="note" color="gray" title={w.t("detail.gone")}>{w.t("detail.gone.do")}</Alert></Stack>;
  if (!row || !about) return <Stack aria-busy="true">{crumb}<Skeleton h={34} w={260} /><Skeleton h={220} radius="lg" /></Stack>;

  const commands = ordered(noun, about);
  const front = commands.filter((c) => !DANGEROUS.test(c.name) || about.primary?.includes(c.name) || /^stop/.test(c.name)).slice(0, 3);
  const rest: Declared = { ...about };
  const other = { ...noun, actions: commands.filter((c) => !front.includes(c)) };
  const state = String(row.state ?? row.status ?? row.resourcestate ?? row.allocationstate ?? "");
  const update = noun.actions.find((c) => c.name === `update${noun.name.replace(/ies$/, "y").replace(/s$/, "")}`) ?? noun.actions.find((c) => /^update/.test(c.name));
  const related = about.related === false ? [] : relatedOf([...model.nouns.values()], noun);
  const has = (list: string) => model.commands.has(list);
  const tabs = [
    { id: "overview", label: w.t("tab.overview"), body: () => <Overview noun={noun} about={about} row={row} /> },
    ...(about.tabs ?? []).map((t) => ({ id: t.id, label: t.label(), body: () => t.render(row, noun) })),
    ...(related.length ? [{ id: "related", label: w.t("tab.related"), body: () => <Stack gap="xl">{related.map((r) => <Related key={r.noun.list.name + r.param} noun={r.noun} params={{ [r.param]: id }} />)}</Stack> }] : []),
    ...(has("listEvents") ? [{ id: "events", label: w.t("tab.events"), body: () => <Stack gap="xl">{model.nouns.get("listAsyncJobs")?.list.params.some((p) => p.name === "resourceid") && <Related noun={model.nouns.get("listAsyncJobs") as Noun} params={{ resourceid: id }} />}<Related noun={model.nouns.get("listEvents") as Noun} params={{ resourceid: id }} always /></Stack> }] : []),
    ...(update ? [{ id: "settings", label: w.t("tab.settings"), body: () => <Settings command={update} noun={noun} row={row} about={about} /> }] : []),
    ...(has("listAnnotations") && entityType(noun) ? [{ id: "notes", label: w.t(row.hasannotations === true ? "tab.notes.some" : "tab.notes"), body: () => <Notes row={row} type={entityType(noun) ?? ""} list={noun.list.name} /> }] : []),
  ];
  const tab = tabs.find((t) => t.id === search.tab) ?? tabs[0];
  return (
    <Stack gap="lg">
      <div>
        {crumb}
        <Group justify="space-between" align="flex-start">
          <Group gap="sm" style={{ minWidth: 0 }}><Title order={1} fz={26} style={{ overflowWrap: "anywhere" }}>{name}</Title>{state && <State value={state} />}</Group>
          <Group gap="xs">
            {about.buttons?.(row, noun)}
            {front.map((c, i) => {
              const why = readiness(c, row, about);
              return (
                <Tooltip key={c.name} label={why} disabled={why === true}>
                  <Button variant={i === 0 && why === true ? "filled" : "default"} aria-disabled={why !== true} data-disabled={why !== true || undefined} title={why === true ? undefined : why}
                    onClick={(e) => (why === true ? act({ command: c.name, noun, rows: [row], first: about.first?.[c.name] }) : e.preventDefault())}>
                    {w.action(c.name, noun.name)}
                  </Button>
                </Tooltip>
              );
            })}
            <ActionMenu noun={other} about={rest} row={row}><Button variant="default" rightSection={<IconChevronDown size={16} aria-hidden />}>{w.t("more")}</Button></ActionMenu>
          </Group>
        </Group>
      </div>
      {about.notice?.(row, noun)}
      <Tabs value={tab.id} onChange={(v) => rewrite({ ...CLEAN, tab: v === "overview" ? undefined : (v ?? undefined) })} keepMounted={false}>
        <Tabs.List style={{ flexWrap: "nowrap", overflowX: "auto", overflowY: "hidden" }} mb="md">{tabs.map((t) => <Tabs.Tab key={t.id} value={t.id}>{t.label}</Tabs.Tab>)}</Tabs.List>
        {tabs.map((t) => <Tabs.Panel key={t.id} value={t.id}>{t.id === tab.id && <Suspense fallback={<Loader size={20} />}>{t.body()}</Suspense>}</Tabs.Panel>)}
      </Tabs>
    </Stack>
  );
}

/** Fields that say nothing beside others: an id beside a name of the same thing, and what is equal to another. */
const SAME: Record<string, string[]> = { guestosid: ["osdisplayname", "ostypename"], ostypeid: ["osdisplayname", "ostypename"], virtualmachineid: ["vmname"], related: ["id"], domainpath: ["domain"], displayname: ["name"], vmname: ["vmdisplayname"], virtualsize: ["size"] };
const ID = /id$/;

function Overview({ noun, about, row }: { noun: Noun; about: Declared; row: Row }) {
  const w = useWords();
  const hides = new Set(about.hides?.(row));
  const fields = Object.keys(row).filter((f) => !HIDDEN.test(f) && !hides.has(f) && row[f] !== "" && row[f] !== null && !(f.endsWith("id") && f !== "id" && (`${f.slice(0, -2)}name` in row || f.slice(0, -2) in row)) && !(Array.isArray(row[f]) && !row[f].length) && !SAME[f]?.some((other) => other in row && (ID.test(f) || row[other] === row[f])));
  const order = [...noun.fields.keys()];
  const all = fields.sort((a, b) => Number(b === "id") * -1 + Number(a === "id") || order.indexOf(a) - order.indexOf(b));
  const groups = about.overview ?? [{ title: () => w.t("overview.about"), fields: all }];
  const used = new Set(groups.flatMap((g) => g.fields));
  const rest = about.overview ? all.filter((f) => !used.has(f)) : [];
  return (
    <Stack>
      {about.above?.(row, noun)}
      {[...groups, ...(rest.length ? [{ title: () => w.t("overview.rest"), fields: rest }] : [])].map((g, i) => (
        <Paper key={i} p="lg">
          <Title order={2} fz={16} mb="md">{g.title()}</Title>
          <dl className="facts">{g.fields.filter((f) => row[f] !== undefined && row[f] !== "" && !hides.has(f)).map((f) => <div key={f}><dt>{w.field(f)}</dt><dd><Value field={f} row={row} /></dd></div>)}</dl>
        </Paper>
      ))}
    </Stack>
  );
}

function Settings({ command, noun, row, about }: { command: Command; noun: Noun; row: Row; about: Declared }) {
  const w = useWords();
  const why = readiness(command, row, about);
  const locked = about.locked?.(row);
  return (
    <Paper p="lg" maw={640}>
      {why !== true && <Alert role="note" color="yellow" mb="md">{why}</Alert>}
      {why === true && locked && <Alert role="note" color="gray" mb="md">{locked.why}</Alert>}
      <CommandForm key={`${row.id} ${Boolean(locked)}`} without={[...(locked?.params ?? []), ...(about.without?.[command.name] ?? [])]} command={command} fixed={{ id: row.id }} initial={initialOf(command, row)} first={about.first?.[command.name] ?? fieldsOf(command, { id: "" }).slice(0, 8).map((f) => f.param.name)} subject={nameOf(row)} list={noun.list.name} target={row.id} submit={w.t("save")} allowed={why === true} onDone={() => tell({ color: "mold", message: w.t("saved") })} />
    </Paper>
  );
}

/** A table of another noun inside a page; nothing when it is empty, unless `always`. */
export function Related({ noun, params, always }: { noun: Noun; params: Params; always?: boolean }) {
  const w = useWords();
  const about = useDeclared(noun);
  const all = { ...FILTERS[noun.list.name], ...about?.params, ...params, ...(noun.list.params.some((p) => p.name === "listall") ? { listall: true } : {}) };
  const found = useRows(noun.list.name, all, Boolean(about));
  if (!about || (!always && !found.loading && !found.rows.length && !found.fault)) return null;
  const { columns, shown } = columnsOf(noun, about);
  return (
    <div>
      <Title order={2} fz={16} mb="xs">{w.noun(noun.name)}</Title>
      <DataTable embedded title={w.noun(noun.name)} columns={columns} shown={shown.slice(0, 6)} {...found} to={(r) => (r.id ? { slug: noun.slug, id: String(r.id) } : undefined)} />
    </div>
  );
}

/** The search of a table in a tab is not the next tab's. */
const CLEAN = { q: undefined, sort: undefined, cols: undefined };

/** What annotations call this kind of thing; undefined where nothing can be noted about it. */
const entityType = (noun: Noun): string | undefined => ({ virtualmachines: "VM", volumes: "VOLUME", snapshots: "SNAPSHOT", vmsnapshot: "VM_SNAPSHOT", instancegroups: "INSTANCE_GROUP", sshkeypairs: "SSH_KEYPAIR", userdata: "USER_DATA", networks: "NETWORK", vpcs: "VPC", publicipaddresses: "PUBLIC_IP_ADDRESS", vpncustomergateways: "VPN_CUSTOMER_GATEWAY", templates: "TEMPLATE", isos: "ISO", kubernetesclusters: "KUBERNETES_CLUSTER", hosts: "HOST", clusters: "CLUSTER", pods: "POD", zones: "ZONE", storagepools: "PRIMARY_STORAGE", imagestores: "SECONDARY_STORAGE", domains: "DOMAIN", serviceofferings: "SERVICE_OFFERING", diskofferings: "DISK_OFFERING", networkofferings: "NETWORK_OFFERING", routers: "VR", systemvms: "SYSTEM_VM", autoscalevmgroups: "AUTOSCALE_VM_GROUP", objectstoragepools: "OBJECT_STORAGE" })[noun.slug];
