// From an empty system to a running zone. Nothing is kept in the browser: every step is a change on the server, and
// where one stands follows from what is there. So it goes on after a closed browser, from another machine, or after
// somebody made a part of it by hand.

import { Alert, Anchor, Button, Checkbox, Group, Loader, Paper, PasswordInput, Progress, Select, SimpleGrid, Stack, Text, TextInput, Title, UnstyledButton } from "@mantine/core";
import { useMediaQuery } from "@mantine/hooks";
import { IconCheck, IconCircle, IconCircleDot } from "@tabler/icons-react";
import { useQuery } from "@tanstack/react-query";
import { useSearch } from "@tanstack/react-router";
import { useEffect, useRef, useState, type FormEvent, type ReactNode } from "react";
import { call, Fault, rows, type Params, type Row } from "../api/client";
import { finish } from "../api/finish";
import { useModel } from "../api/model";
import { queries } from "../api/queries";
import { FaultNote } from "../parts/FaultNote";
import { Mark, State } from "../parts/State";
import { To, useGo, useSearchWriter } from "../parts/To";
import { bytes } from "../parts/Value";
import { useWords, type Words } from "../words";
import { four, rangeFaults, type Checked } from "../parts/addresses";

interface Found {
  zone?: Row;
  physical?: Row;
  traffic: Row[];
  ranges: Row[];
  pods: Row[];
  clusters: Row[];
  hosts: Row[];
  pools: Row[];
  stores: Row[];
}
const NOTHING: Found = { traffic: [], ranges: [], pods: [], clusters: [], hosts: [], pools: [], stores: [] };

async function look(zoneid: string): Promise<Found> {
  const list = async (command: string, params: Params) => rows(await call(command, { ...params, page: 1, pagesize: 100 })).rows;
  const [zones, physicals, ranges, pods, clusters, hosts, pools, stores] = await Promise.all([
    list("listZones", { id: zoneid }),
    ...["listPhysicalNetworks", "listVlanIpRanges", "listPods", "listClusters"].map((c) => list(c, { zoneid })),
    list("listHosts", { zoneid, type: "Routing" }),
    list("listStoragePools", { zoneid }),
    list("listImageStores", { zoneid }),
  ]);
  const physical = physicals[0];
  const traffic = physical ? await list("listTrafficTypes", { physicalnetworkid: physical.id }) : [];
  return { zone: zones[0], physical, traffic, ranges, pods, clusters, hosts, pools, stores };
}

const TRAFFIC = ["Management", "Public", "Guest"] as const;
const carried = (f: Found) => TRAFFIC.every((t) => f.traffic.some((x) => x.traffictype === t));
const STEPS: { id: string; done: (f: Found) => boolean }[] = [
  { id: "zone", done: (f) => Boolean(f.zone) },
  { id: "physical", done: (f) => f.physical?.state === "Enabled" && carried(f) },
  { id: "public", done: (f) => f.ranges.length > 0 },
  { id: "pod", done: (f) => f.pods.length > 0 },
  { id: "cluster", done: (f) => f.clusters.length > 0 },
  { id: "host", done: (f) => f.hosts.length > 0 },
  { id: "primary", done: (f) => f.pools.length > 0 },
  { id: "secondary", done: (f) => f.stores.length > 0 },
  { id: "check", done: (f) => f.zone?.allocationstate === "Enabled" },
];

export default function ZoneSetup() {
  const w = useWords();
  const search = useSearch({ strict: false }) as { zone?: string; step?: string };
  const write = useSearchWriter();
  const phone = useMediaQuery("(max-width: 48em)");
  const heading = useRef<HTMLHeadingElement>(null);
  useEffect(() => void (document.title = `${w.t("setup")} · Mold`), [w]);
  // Without a zone in the address: one that somebody began and did not end.
  const begun = useQuery({
    queryKey: ["listZones", "begun"], enabled: !search.zone, staleTime: 0,
    queryFn: async () => {
      for (const z of rows(await call("listZones", { page: 1, pagesize: 100 })).rows.filter((z) => z.allocationstate === "Disabled")) {
        const f = await look(String(z.id));
        if (!STEPS.slice(0, -1).every((s) => s.done(f))) return String(z.id);
      }
      return null;
    },
  });
  useEffect(() => {
    if (begun.data) write({ zone: begun.data });
  }, [begun.data]);
  const id = search.zone && search.zone !== "new" ? search.zone : undefined;
  const query = useQuery({
    queryKey: ["setup", id], enabled: Boolean(id), queryFn: () => look(id as string), staleTime: 0,
    refetchInterval: ({ state }) => (state.data?.hosts.some((h) => h.state !== "Up") || state.data?.pools.some((p) => p.state !== "Up") ? 3000 : false),
  });
  if ((!search.zone && begun.isPending) || (id && query.isPending)) return <Group justify="center" mt="xl" role="status"><Loader /><Text c="dimmed">{w.t("loading")}</Text></Group>;
  if (query.isError) return <FaultNote fault={query.error} again={() => void query.refetch()} />;
  const found = (id && query.data) || NOTHING;
  const first = STEPS.findIndex((s) => !s.done(found));
  const wanted = STEPS.findIndex((s) => s.id === search.step);
  const at = Math.max(0, wanted >= 0 && (wanted <= first || first < 0) ? wanted : first < 0 ? STEPS.length - 1 : first);
  const step = STEPS[at];
  const count = STEPS.filter((s) => s.done(found)).length;
  const go = (to: string | undefined) => {
    write({ step: to });
    requestAnimationFrame(() => heading.current?.focus());
  };
  /** A step is through: what is there now is asked for, and the first open step shows. */
  const through = async (made?: Row) => {
    if (made?.id && made.id !== id) {
      await queries.fetchQuery({ queryKey: ["setup", made.id], queryFn: () => look(String(made.id)) });
      write({ zone: String(made.id), step: undefined });
    } else {
      await query.refetch();
      write({ step: undefined });
    }
    requestAnimationFrame(() => heading.current?.focus());
  };
  const list = (
    <ol style={{ listStyle: "none", margin: 0, padding: 0 }} aria-label={w.t("setup.steps")}>
      {STEPS.map((s, i) => {
        const done = s.done(found);
        const open = first < 0 || i <= first;
        return (
          <li key={s.id}>
            <UnstyledButton className="navlink" data-status={i === at ? "active" : undefined} aria-current={i === at ? "step" : undefined} disabled={!open} onClick={() => go(s.id)} style={open ? undefined : { opacity: 0.75, cursor: "not-allowed" }}>
              {done ? <IconCheck size={17} color="var(--mold-good)" aria-hidden /> : i === at ? <IconCircleDot size={17} aria-hidden /> : <IconCircle size={17} aria-hidden />}
              <span style={{ flex: 1 }}>{w.t(`setup.${s.id}`)}</span>
              {done && <Text size="xs" c="dimmed" span>{w.t("setup.done")}</Text>}
            </UnstyledButton>
          </li>
        );
      })}
    </ol>
  );
  return (
    <Stack maw={1040}>
      <div>
        <Text size="sm" mb={4}><To className="plain" to="/zones">← {w.noun("Zones")}</To></Text>
        <Group justify="space-between"><Title order={1} fz={26}>{w.t("setup")}{found.zone ? `: ${found.zone.name}` : ""}</Title>{found.zone && <State value={String(found.zone.allocationstate)} />}</Group>
        <Text c="dimmed" mt={4}>{w.t("setup.about")}</Text>
      </div>
      <div>
        <Text size="sm" c="dimmed" mb={6} aria-live="polite">{w.t("setup.progress", { done: count, all: STEPS.length })}</Text>
        <Progress value={(count / STEPS.length) * 100} aria-label={w.t("setup.progress", { done: count, all: STEPS.length })} />
      </div>
      <div style={{ display: "grid", gap: 20, gridTemplateColumns: phone ? "minmax(0, 1fr)" : "230px minmax(0, 1fr)", alignItems: "start" }}>
        {phone ? <details><summary style={{ minHeight: 44, display: "flex", alignItems: "center", cursor: "pointer" }}>{w.t("setup.steps")} · {at + 1}/{STEPS.length}</summary>{list}</details> : <nav>{list}</nav>}
        <Paper p={phone ? "md" : "xl"}>
          <Title order={2} fz={19} ref={heading} tabIndex={-1} style={{ outline: "none" }}>{w.t(`setup.${step.id}`)}</Title>
          <Text c="dimmed" size="sm" mt={4} mb="lg">{w.t(`setup.${step.id}.about`)}</Text>
          <Body key={step.id + (id ?? "")} id={step.id} found={found} through={through} again={async () => void (await query.refetch())} go={go} />
        </Paper>
      </div>
    </Stack>
  );
}

interface Part { id: string; found: Found; through: (made?: Row) => Promise<void>; again: () => Promise<void>; go: (step: string) => void } // prettier-ignore

function Body(p: Part) {
  const w = useWords();
  const { found: f } = p;
  const z = String(f.zone?.id ?? "");
  const kinds = useQuery({ queryKey: ["listHypervisors"], enabled: p.id === "cluster", queryFn: async () => rows(await call("listHypervisors", {})).rows.map((r) => String(r.name)) });
  switch (p.id) {
    case "zone":
      if (f.zone) return <There rows={[f.zone]} slug="zones" fields={["name", "dns1", "internaldns1", "guestcidraddress", "allocationstate"]} next={() => p.go("physical")} />;
      return (
        <Fields
          fields={[
            { name: "name", initial: "zone1", required: true }, { name: "dns1", required: true, example: "192.0.2.53", kind: "ip" }, { name: "internaldns1", required: true, example: "192.0.2.53", kind: "ip" },
            { name: "guestcidraddress", initial: "10.1.1.0/24" }, { name: "domain", title: w.t("setup.domain"), example: "cloud.internal" }, { name: "localstorageenabled", kind: "switch" },
          ]} // prettier-ignore
          run={async (v) => p.through((await finish("createZone", { ...v, networktype: "Advanced", allocationstate: "Disabled" }, { list: "listZones" })).zone)}
        />
      );
    case "physical": {
      const label = (t: string) => f.traffic.find((x) => x.traffictype === t)?.kvmnetworklabel as string | undefined;
      const done = f.physical?.state === "Enabled" && carried(f);
      if (done) return <There rows={[f.physical as Row]} slug="physicalnetworks" fields={["name", "isolationmethods", "vlan", "state"]} next={() => p.go("public")}><Text size="sm">{w.t("setup.carries", { what: f.traffic.map((t) => w.state(String(t.traffictype))).join(", ") })}</Text></There>;
      return (
        <Fields
          fields={[
            ...(f.physical ? [] : ([{ name: "name", initial: "net1", required: true }, { name: "isolationmethods", initial: "VXLAN", choices: ["VXLAN", "VLAN"], required: true }, { name: "vlan", initial: "1000-3999", required: true }] as FieldAbout[])),
            ...TRAFFIC.filter((t) => !f.traffic.some((x) => x.traffictype === t)).map((t) => ({ name: `label.${t}`, title: w.t("setup.label", { traffic: w.state(t) }), initial: label(t), example: "br0" })),
          ]}
          run={async (v) => {
            const physical = f.physical ?? (await finish("createPhysicalNetwork", { zoneid: z, name: v.name, isolationmethods: v.isolationmethods, vlan: v.vlan }, { subject: String(v.name), list: "listPhysicalNetworks" })).physicalnetwork;
            for (const t of TRAFFIC) if (!f.traffic.some((x) => x.traffictype === t)) await finish("addTrafficType", { physicalnetworkid: physical.id, traffictype: t, kvmnetworklabel: v[`label.${t}`] }, { subject: w.state(t), list: "listTrafficTypes" });
            if (physical.state !== "Enabled") await finish("updatePhysicalNetwork", { id: physical.id, state: "Enabled" }, { subject: physical.name, list: "listPhysicalNetworks" });
            await p.through();
          }}
          broken={p.again}
        />
      );
    }
    case "public":
      return (
        <There rows={f.ranges} fields={["startip", "endip", "gateway", "netmask", "vlan"]} next={() => p.go("pod")} more={w.t("setup.public.more")}>
          <Fields fields={[{ name: "gateway", required: true, kind: "ip", example: "203.0.113.1" }, { name: "netmask", required: true, kind: "ip", initial: "255.255.255.0" }, { name: "startip", required: true, kind: "ip", example: "203.0.113.10" }, { name: "endip", required: true, kind: "ip", example: "203.0.113.250" }, { name: "vlan", initial: "untagged", required: true }]} check={rangeFaults}
            run={async (v) => { await finish("createVlanIpRange", { ...v, zoneid: z, physicalnetworkid: f.physical?.id, forvirtualnetwork: true }, { list: "listVlanIpRanges" }); await p.through(); }} />
        </There>
      ); // prettier-ignore
    case "pod":
      return (
        <There rows={f.pods} slug="pods" fields={["name", "gateway", "netmask"]} next={() => p.go("cluster")} more={w.t("setup.pod.more")}>
          <Fields fields={[{ name: "name", initial: `pod${f.pods.length + 1}`, required: true }, { name: "gateway", required: true, kind: "ip", example: "172.30.0.1" }, { name: "netmask", required: true, kind: "ip", initial: "255.255.255.0" }, { name: "startip", required: true, kind: "ip", example: "172.30.0.10" }, { name: "endip", required: true, kind: "ip", example: "172.30.0.250" }]} check={rangeFaults}
            run={async (v) => { await finish("createPod", { ...v, zoneid: z }, { list: "listPods" }); await p.through(); }} />
        </There>
      ); // prettier-ignore
    case "cluster":
      return (
        <There rows={f.clusters} slug="clusters" fields={["name", "hypervisortype", "podname", "allocationstate"]} next={() => p.go("host")} more={w.t("setup.cluster.more")}>
          <Fields key={kinds.data?.join()} fields={[{ name: "clustername", initial: `cluster${f.clusters.length + 1}`, required: true }, { name: "hypervisor", choices: kinds.data ?? [], initial: kinds.data?.[0], required: true }, ...podField(f, w)]}
            run={async (v) => { await finish("addCluster", { clustername: v.clustername, hypervisor: v.hypervisor, podid: v.podid ?? f.pods[0]?.id, zoneid: z, clustertype: "CloudManaged" }, { list: "listClusters" }); await p.through(); }} />
        </There>
      ); // prettier-ignore
    case "host": {
      const kind = (c: unknown) => String(f.clusters.find((x) => x.id === c)?.hypervisortype ?? f.clusters[0]?.hypervisortype ?? "");
      return (
        <There rows={f.hosts} slug="hosts" fields={["name", "state", "clustername", "ipaddress"]} next={() => p.go("primary")} more={w.t("setup.host.more")}>
          <Fields
            fields={[
              { name: "url", title: w.t("setup.host.address"), required: true, example: "host1.example.org" },
              ...(kind(undefined) === "Simulator" ? [] : ([{ name: "username", example: "root" }, { name: "password", kind: "secret" }] as FieldAbout[])), ...clusterField(f, w),
            ]} // prettier-ignore
            run={async (v) => {
              const cluster = f.clusters.find((c) => c.id === v.clusterid) ?? f.clusters[0];
              const url = String(v.url).includes("//") ? v.url : `http://${v.url}`;
              await finish("addHost", { url, username: v.username, password: v.password, zoneid: z, podid: cluster?.podid, clusterid: cluster?.id, hypervisor: kind(cluster?.id) }, { subject: String(v.url), list: "listHosts" });
              await p.again();
              p.go("host");
            }}
            busy={w.t("setup.host.busy")}
          />
        </There>
      );
    }
    case "primary":
      return (
        <There rows={f.pools} slug="storagepools" fields={["name", "state", "type", "path", "disksizetotal"]} next={() => p.go("secondary")} more={w.t("setup.primary.more")}>
          <Fields fields={[{ name: "name", initial: `primary${f.pools.length + 1}`, required: true }, { name: "path", title: w.t("setup.path"), required: true, kind: "path", example: "/mnt/primary" }, { name: "scope", choices: ["CLUSTER", "ZONE"], initial: "CLUSTER", required: true }, ...clusterField(f, w)]}
            run={async (v) => {
              const cluster = f.clusters.find((c) => c.id === v.clusterid) ?? f.clusters[0];
              const place = v.scope === "ZONE" ? { hypervisor: cluster?.hypervisortype as string } : { podid: cluster?.podid, clusterid: cluster?.id };
              await finish("createStoragePool", { name: v.name, url: `SharedMountPoint://localhost${v.path}`, scope: v.scope, zoneid: z, ...place }, { subject: String(v.name), list: "listStoragePools" });
              await p.through();
            }} />
        </There>
      ); // prettier-ignore
    case "secondary":
      return (
        <There rows={f.stores} slug="imagestores" fields={["name", "url", "disksizetotal"]} next={() => p.go("check")} more={w.t("setup.secondary.more")}>
          <Fields fields={[{ name: "name", initial: `secondary${f.stores.length + 1}`, required: true }, { name: "path", title: w.t("setup.path"), required: true, kind: "path", example: "/mnt/secondary" }]}
            run={async (v) => { await finish("addImageStore", { provider: "NFS", url: `file://${v.path}`, name: v.name, zoneid: z }, { subject: String(v.name), list: "listImageStores" }); await p.through(); }} />
        </There>
      ); // prettier-ignore
    default:
      return <Check {...p} />;
  }
}

const podField = (f: Found, w: Words): FieldAbout[] => (f.pods.length > 1 ? [{ name: "podid", title: w.field("podid"), required: true, initial: String(f.pods[0].id), options: f.pods.map((x) => ({ value: String(x.id), label: String(x.name) })) }] : []);
const clusterField = (f: Found, w: Words): FieldAbout[] => (f.clusters.length > 1 ? [{ name: "clusterid", title: w.field("clusterid"), required: true, initial: String(f.clusters[0].id), options: f.clusters.map((x) => ({ value: String(x.id), label: String(x.name) })) }] : []);

/** What this step has made already; the form for one more waits behind a button then. */
function There({ rows: have, slug, fields, next, more, children }: { rows: Row[]; slug?: string; fields: string[]; next: () => void; more?: string; children?: ReactNode }) {
  const w = useWords();
  const [open, setOpen] = useState(false);
  if (!have.length) return <>{children}</>;
  return (
    <Stack>
      {have.map((row) => (
        <Paper key={row.id} p="md" radius="md">
          <dl className="facts" style={{ gridTemplateColumns: "repeat(auto-fill, minmax(150px, 1fr))" }}>
            {fields.filter((f) => row[f] !== undefined && row[f] !== null).map((f) => (
              <div key={f}>
                <dt>{w.field(f)}</dt>
                <dd>{/state$/.test(f) ? <State value={String(row[f])} /> : f === "name" && slug ? <Anchor inherit renderRoot={(x) => <To {...x} to={`/${slug}/${row.id}`} />}>{String(row[f])}</Anchor> : /^disksize/.test(f) ? bytes(Number(row[f]), w) : String(row[f])}</dd>
              </div>
            ))}
          </dl>
        </Paper>
      ))}
      {more ? open && <div>{children}</div> : children}
      <Group justify="flex-end">
        {more && !open && <Button variant="default" onClick={() => setOpen(true)}>{more}</Button>}
        <Button onClick={next}>{w.t("wizard.next")}</Button>
      </Group>
    </Stack>
  );
}

interface FieldAbout {
  name: string;
  title?: string;
  initial?: string;
  example?: string;
  required?: boolean;
  kind?: "ip" | "switch" | "secret" | "path";
  choices?: string[];
  options?: { value: string; label: string }[];
}

function Fields({ fields, run, check, broken, busy: says }: { fields: FieldAbout[]; run: (values: Params) => Promise<void>; check?: (values: Params) => Checked; broken?: () => Promise<void>; busy?: string }) {
  const w = useWords();
  const [values, setValues] = useState<Params>(() => Object.fromEntries(fields.map((f) => [f.name, f.initial])));
  const [touched, setTouched] = useState(false);
  const [busy, setBusy] = useState(false);
  const [fault, setFault] = useState<unknown>();
  const form = useRef<HTMLFormElement>(null);
  const wrong: Checked = {};
  for (const f of fields) {
    const v = String(values[f.name] ?? "").trim();
    if (f.required && !v) wrong[f.name] = "form.required";
    else if (v && f.kind === "ip" && four(v) === undefined) wrong[f.name] = "form.ip";
    else if (v && f.kind === "path" && (!v.startsWith("/") || v.length < 2 || v.split("/").includes(".."))) wrong[f.name] = "form.path";
  }
  if (check && !Object.keys(wrong).length) Object.assign(wrong, check(values));
  const refused = fault instanceof Fault ? String(fault.about.params?.parameter ?? fault.about.params?.field ?? "") : "";
  useEffect(() => {
    if (touched) form.current?.querySelector<HTMLElement>('[aria-invalid="true"]')?.focus();
  }, [touched, fault]);
  async function submit(event: FormEvent) {
    event.preventDefault();
    setTouched(true);
    if (Object.keys(wrong).length) return form.current?.querySelector<HTMLElement>('[aria-invalid="true"]')?.focus();
    setBusy(true);
    setFault(undefined);
    try {
      await run(Object.fromEntries(Object.entries(values).map(([k, v]) => [k, typeof v === "string" ? v.trim() : v])));
    } catch (no) {
      setFault(no);
      await broken?.().catch(() => undefined);
    } finally {
      setBusy(false);
    }
  }
  return (
    <form ref={form} onSubmit={submit} noValidate>
      <Stack>
        <SimpleGrid cols={{ base: 1, sm: 2 }} spacing="md" verticalSpacing="md">
          {fields.map((f) => {
            const set = (v: Params[string]) => setValues((old) => ({ ...old, [f.name]: v }));
            const common = {
              label: f.title ?? w.field(f.name), description: w.maybe(`setup.help.${f.name}`), required: f.required, withAsterisk: f.required, placeholder: f.example && w.t("setup.example", { text: f.example }),
              error: touched && wrong[f.name] ? w.t(wrong[f.name]) : refused === f.name ? w.t("form.refused") : undefined,
            }; // prettier-ignore
            const text = String(values[f.name] ?? "");
            const data = f.options ?? f.choices?.map((c) => ({ value: c, label: w.state(c) }));
            if (f.kind === "switch") return <Checkbox key={f.name} mt="lg" label={common.label} description={common.description} checked={values[f.name] === true} onChange={(e) => set(e.currentTarget.checked)} />;
            if (data) return <Select key={f.name} {...common} allowDeselect={false} data={data} value={text || null} onChange={(v) => set(v ?? undefined)} />;
            if (f.kind === "secret") return <PasswordInput key={f.name} {...common} visibilityToggleButtonProps={{ "aria-label": w.t("signin.show") }} autoComplete="new-password" value={text} onChange={(e) => set(e.currentTarget.value)} />;
            return <TextInput key={f.name} {...common} autoComplete="off" spellCheck={false} value={text} onChange={(e) => set(e.currentTarget.value)} />;
          })}
        </SimpleGrid>
        {fault !== undefined && <FaultNote fault={fault} />}
        {busy && says && <Text size="sm" c="dimmed" role="status">{says}</Text>}
        <Group justify="flex-end"><Button type="submit" loading={busy}>{w.t("setup.save")}</Button></Group>
      </Stack>
    </form>
  );
}

/** Is everything there, and does it work? */
function Check({ found: f, through, go }: Part) {
  const w = useWords();
  const model = useModel();
  const open = useGo();
  const [busy, setBusy] = useState(false);
  const [fault, setFault] = useState<unknown>();
  const next = useQuery({
    queryKey: ["setup", "next", f.zone?.id],
    queryFn: async () => {
      const count = async (command: string, params: Params) => (model.commands.has(command) ? rows(await call(command, { ...params, page: 1, pagesize: 1 })).count : 0);
      return { offerings: await count("listServiceOfferings", {}), templates: await count("listTemplates", { templatefilter: "all", zoneid: f.zone?.id }) };
    },
  });
  const up = f.hosts.filter((h) => h.state === "Up");
  const pools = f.pools.filter((p) => p.state === "Up");
  const sum = (list: Row[]) => bytes(list.reduce((n, r) => n + Number(r.disksizetotal ?? 0), 0), w);
  const on = f.zone?.allocationstate === "Enabled";
  const items: { step: string; good: boolean; text: string }[] = [
    { step: "physical", good: f.physical?.state === "Enabled" && carried(f), text: w.t("setup.carries", { what: f.traffic.map((t) => w.state(String(t.traffictype))).join(", ") }) },
    { step: "public", good: f.ranges.length > 0, text: f.ranges.map((r) => `${r.startip}–${r.endip}`).join(", ") },
    { step: "pod", good: f.pods.some((p) => p.allocationstate === "Enabled"), text: f.pods.map((p) => p.name).join(", ") },
    { step: "cluster", good: f.clusters.some((c) => c.allocationstate === "Enabled"), text: f.clusters.map((c) => `${c.name} (${w.state(String(c.hypervisortype))})`).join(", ") },
    { step: "host", good: up.length > 0, text: w.t("setup.hosts.up", { up: up.length, all: f.hosts.length }) },
    { step: "primary", good: pools.length > 0, text: `${f.pools.map((p) => p.name).join(", ")} · ${sum(f.pools)}` },
    { step: "secondary", good: f.stores.length > 0, text: `${f.stores.map((s) => s.name).join(", ")} · ${sum(f.stores)}` },
  ];
  const all = items.every((i) => i.good);
  return (
    <Stack>
      <Stack gap={0} role="list">
        {items.map((i) => (
          <Group key={i.step} role="listitem" justify="space-between" py={9} gap="sm" style={{ borderBottom: "1px solid var(--mantine-color-default-border)" }}>
            <div style={{ minWidth: 0, flex: "1 1 200px" }}><Text size="sm" fw={560}>{w.t(`setup.${i.step}`)}</Text><Text size="sm" c="dimmed" translate="no">{i.text || "–"}</Text></div>
            <Group gap="xs"><Mark tone={i.good ? "good" : "warn"}>{w.t(i.good ? "setup.good" : "setup.open")}</Mark>{!i.good && <Button size="xs" variant="default" onClick={() => go(i.step)}>{w.t("setup.mend")}</Button>}</Group>
          </Group>
        ))}
      </Stack>
      {fault !== undefined && <FaultNote fault={fault} />}
      {on ? (
        <Alert color="mold" title={w.t("setup.on", { name: String(f.zone?.name) })} icon={<IconCheck aria-hidden />}>
          <Stack gap="xs">
            <Text size="sm">{w.t("setup.on.next")}</Text>
            <Group gap="xs">
              {next.data && !next.data.offerings && <Button size="xs" variant="default" onClick={() => open("/serviceofferings")}>{w.command("createServiceOffering")}</Button>}
              {next.data && !next.data.templates && <Button size="xs" variant="default" onClick={() => open("/templates")}>{w.command("registerTemplate")}</Button>}
              <Button size="xs" variant="default" onClick={() => open("/infrastructure")}>{w.t("nav.infrastructure")}</Button>
              <Button size="xs" onClick={() => open("/")}>{w.t("notfound.home")}</Button>
            </Group>
          </Stack>
        </Alert>
      ) : (
        <>
          {!all && <Alert color="yellow">{w.t("setup.notyet")}</Alert>}
          <Group justify="flex-end">
            <Button loading={busy} variant={all ? "filled" : "default"} onClick={async () => {
              setBusy(true);
              setFault(undefined);
              try {
                await finish("updateZone", { id: f.zone?.id, allocationstate: "Enabled" }, { list: "listZones" });
                await through();
              } catch (no) {
                setFault(no);
              } finally {
                setBusy(false);
              }
            }}>{w.t("setup.enable")}</Button>
          </Group>
        </>
      )}
    </Stack>
  );
}
