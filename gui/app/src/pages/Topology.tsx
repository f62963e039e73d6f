// The networks as they hang together: zone, the way out, router, network, machines. Every network is a column of its own:
// the way out on top, its machines below. A general graph (React Flow and dagre: 75 kB more) was weighed and left: a cloud's
// graph is a tree but for machines in several networks, columns wrap on any width and stay legible with hundreds of
// networks, and they are plain lists and links to keyboards and screen readers. A machine in several networks stands in
// each, says so, and all its places light up together. The number of questions to the server does not grow with the
// networks: three or four lists, which the stream of events keeps up to date.

import { ActionIcon, Alert, Button, Group, Loader, Paper, SegmentedControl, Stack, Text, TextInput, Title } from "@mantine/core";
import { useMediaQuery } from "@mantine/hooks";
import { IconDeviceDesktop, IconNetwork, IconRouter, IconSearch, IconWorld, IconX } from "@tabler/icons-react";
import { useSearch } from "@tanstack/react-router";
import { useDeferredValue, useEffect, useMemo, useState, type ReactNode } from "react";
import type { Row } from "../api/client";
import { useModel } from "../api/model";
import { useRows } from "../api/rows";
import { scoped, useScope } from "../api/scope";
import { counted, drawn, sifted, type Member, type Net, type Zone } from "../network/topology";
import { DataTable, type Column } from "../parts/DataTable";
import { FaultNote } from "../parts/FaultNote";
import { matches } from "../parts/matches";
import { Mark, State, toneOf } from "../parts/State";
import { pageOf, To, useSearchWriter } from "../parts/To";
import { nameOf } from "../parts/Value";
import { useWords } from "../words";
import { NotFound } from "./NotFound";

/** With more networks than this, a network shows how many machines it has until it is opened. */
const MANY_NETWORKS = 12;
/** So many machines of a network are shown until all are asked for. */
const FEW = 8;
/** And so many even then; more are a list, not a picture. */
const MOST = 200;

export default function Topology() {
  const w = useWords();
  const model = useModel();
  const scope = useScope();
  const rewrite = useSearchWriter();
  const search = useSearch({ strict: false }) as { view?: string; q?: string; network?: string };
  const phone = useMediaQuery("(max-width: 48em)", undefined, { getInitialValueInEffect: false }) ?? false;
  const view = search.view ?? (phone ? "list" : "graph");
  useEffect(() => void (document.title = `${w.t("nav.topology")} · Mold`), [w]);

  const ask = (list: string, more = {}) => {
    const command = model.commands.get(list);
    // biome-ignore lint/correctness/useHookAtTopLevel: called in the same order each time
    return useRows(list, { ...(command && scoped(command, scope)), ...more }, Boolean(command));
  };
  const networks = ask("listNetworks");
  const machines = ask("listVirtualMachines", { details: "nics" });
  const routers = ask("listRouters");
  const addresses = ask("listPublicIpAddresses", { issourcenat: true });
  const all = [networks, machines, routers, addresses];
  // What is still arriving is drawn as it comes; a network that is not there yet is not one that may not be seen.
  const whole = !networks.loading && networks.rows.length >= networks.count;
  const graph = useMemo(() => drawn(networks.rows, whole ? machines.rows : machines.rows.map((m) => ({ ...m, nic: (m.nic ?? []).filter((n: Row) => networks.rows.some((k) => k.id === n.networkid)) })), routers.rows, addresses.rows), [whole, networks.rows, machines.rows, routers.rows, addresses.rows]);
  const one = search.network;
  const only = useMemo(() => (one ? graph.zones.flatMap((z) => ({ ...z, nets: z.nets.filter((n) => n.network.id === one) })).filter((z) => z.nets.length) : graph.zones), [graph, one]);
  const chosen = one ? only[0]?.nets[0]?.network : undefined;

  if (!model.commands.has("listNetworks")) return <NotFound />;
  const fault = networks.fault ?? machines.fault;
  const more = all.find((a) => a.more);
  return (
    <Stack gap="lg">
      <Group justify="space-between">
        <div><Title order={1} fz={26}>{w.t("nav.topology")}</Title><Text size="sm" c="dimmed" mt={2}>{w.t("topology.about")}</Text></div>
        <SegmentedControl aria-label={w.t("topology.view")} value={view} onChange={(v) => rewrite({ view: v, q: undefined, sort: undefined })} data={[{ value: "graph", label: w.t("topology.graph") }, { value: "list", label: w.t("topology.list") }]} />
      </Group>
      {one && (
        <Alert role="note" color="gray" py="xs">
          <Group justify="space-between" gap="xs"><Text size="sm">{chosen ? w.t("topology.one", { name: String(chosen.name) }) : networks.loading ? w.t("loading") : w.t("topology.one.gone")}</Text><Button size="xs" variant="default" onClick={() => rewrite({ network: undefined })}>{w.t("topology.all")}</Button></Group>
        </Alert>
      )}
      {fault ? <FaultNote fault={fault} again={() => all.forEach((a) => a.again())} /> : networks.loading || machines.loading ? (
        <Group justify="center" p="xl" role="status"><Loader size={22} /><Text c="dimmed" size="sm">{w.t("loading")}</Text></Group>
      ) : view === "list" ? <AsList zones={only} loose={one ? [] : graph.loose} /> : (
        <Graph zones={only} loose={one ? [] : graph.loose} all={Boolean(one)} />
      )}
      {more && <Group justify="center"><Text size="sm" c="dimmed">{w.t("topology.limit")}</Text><Button size="xs" variant="light" onClick={() => all.forEach((a) => a.more?.())}>{w.t("table.all")}</Button></Group>}
    </Stack>
  );
}

function Graph({ zones, loose, all }: { zones: Zone[]; loose: Row[]; all: boolean }) {
  const w = useWords();
  const rewrite = useSearchWriter();
  const search = useSearch({ strict: false }) as { q?: string };
  const [typed, setTyped] = useState(search.q ?? "");
  useEffect(() => setTyped(search.q ?? ""), [search.q]);
  const query = useDeferredValue(typed.trim());
  const found = useMemo(() => (query ? sifted(zones, (words) => matches(words.toLowerCase(), query)) : zones), [zones, query]);
  const apart = query ? loose.filter((m) => matches(`${m.name}\n${m.displayname ?? ""}`.toLowerCase(), query)) : loose;
  const [lit, setLit] = useState<string>();
  const count = zones.reduce((n, z) => n + z.nets.length, 0);
  const many = count > MANY_NETWORKS && !query && !all;
  if (!count && !loose.length) return <Empty />;
  return (
    <>
      <Group gap="sm">
        <TextInput
          style={{ flex: "1 1 180px", maxWidth: 340 }} aria-label={w.t("table.search", { name: w.t("nav.topology") })} placeholder={w.t("topology.find")} value={typed} leftSection={<IconSearch size={16} aria-hidden />}
          rightSection={typed && <ActionIcon variant="transparent" color="gray" aria-label={w.t("clear")} onClick={() => (setTyped(""), rewrite({ q: undefined }))}><IconX size={16} /></ActionIcon>}
          onChange={(e) => setTyped(e.currentTarget.value)} onBlur={() => rewrite({ q: typed || undefined })} onKeyDown={(e) => !e.nativeEvent.isComposing && e.key === "Enter" && rewrite({ q: typed || undefined })}
        />
        <Text size="sm" c="dimmed" aria-live="polite">{w.t("topology.count", { networks: w.number(found.reduce((n, z) => n + z.nets.length, 0)), machines: w.number(new Set(found.flatMap((z) => z.nets.flatMap((n) => n.members.map((m) => m.row.id)))).size + apart.length) })}</Text>
      </Group>
      {!found.length && !apart.length && <Paper p="xl"><Text c="dimmed" ta="center">{w.t("table.nothing")}</Text></Paper>}
      {found.map((z) => (
        <section key={z.id} className="topo" aria-label={`${w.t("topology.zone")} ${z.name}`}>
          <Group gap={8} wrap="nowrap"><IconWorld size={19} aria-hidden /><Title order={2} fz={16}><Text span inherit c="dimmed" fw={500}>{w.t("topology.zone")} </Text><span translate="no">{z.name}</span></Title></Group>
          <ul className="topo-nets">{z.nets.map((n) => <Branch key={n.network.id} net={n} shut={many} searched={Boolean(query)} lit={lit} light={setLit} />)}</ul>
        </section>
      ))}
      {apart.length > 0 && (
        <section className="topo" aria-label={w.t("topology.loose")}>
          <Title order={2} fz={16}>{w.t("topology.loose")}</Title>
          <ul className="topo-loose">{apart.slice(0, MOST).map((m) => <li key={m.id}><Machine member={{ row: m, nic: {}, also: [] }} lit={lit} light={setLit} /></li>)}</ul>
        </section>
      )}
    </>
  );
}

function Empty() {
  const w = useWords();
  const model = useModel();
  return (
    <Paper p="xl"><Stack align="center" gap="xs">
      <Text c="dimmed">{w.t("topology.none")}</Text>
      {model.commands.has("createNetwork") && <Button variant="light" renderRoot={(p) => <To {...p} to="/networks-new" />}>{w.command("createNetwork")}</Button>}
    </Stack></Paper>
  );
}

/** One network: how it goes out, its router, itself, its machines. */
function Branch({ net, shut, searched, lit, light }: { net: Net; shut: boolean; searched: boolean; lit?: string; light: (id?: string) => void }) {
  const w = useWords();
  const [open, setOpen] = useState<boolean>();
  const { network, routers, members } = net;
  const full = open ?? false;
  const shown = full ? members.slice(0, MOST) : shut && open === undefined ? [] : members.length <= FEW + 1 || searched ? members.slice(0, searched ? MOST : FEW + 1) : members.slice(0, FEW);
  const hidden = members.length - shown.length;
  const name = String(network.name);
  const turn = w.t(full ? "topology.less" : shown.length ? "topology.more" : "topology.show", { count: w.number(hidden) });
  const routed = ((network.service ?? []) as Row[]).some((s) => s.name === "SourceNat");
  return (
    <li className="topo-net" aria-label={`${w.t("topology.network")} ${name}`}>
      {net.outside && <Box kind={w.t("topology.outside")} icon={<IconWorld size={17} aria-hidden />} name={net.outside} />}
      {routers.map((r) => <Box key={r.id} to={pageOf({ slug: "routers", id: String(r.id) })} kind={w.t("topology.router")} icon={<IconRouter size={17} aria-hidden />} name={nameOf(r)} state={String(r.state)} />)}
      {!routers.length && routed && network.gateway && <Box kind={w.field("gateway")} icon={<IconRouter size={17} aria-hidden />} name={String(network.gateway)} />}
      <Box bar to={net.known ? pageOf({ slug: "networks", id: String(network.id) }) : undefined} kind={`${w.t("topology.network")}${network.type ? ` · ${w.state(String(network.type))}` : ""}`} icon={<IconNetwork size={18} aria-hidden />} name={name} state={network.state && String(network.state)} more={network.cidr ? String(network.cidr) : undefined} />
      {members.length === 0 ? <Text size="sm" c="dimmed" className="topo-none">{w.t("topology.nomachines")}</Text> : (
        <>
          {!shown.length && <Group gap={6} className="topo-sum">{counted(members).map(([s, n]) => <Mark key={s} tone={toneOf(s)}>{w.state(s)} {w.number(n)}</Mark>)}</Group>}
          {shown.length > 0 && <ul className="topo-machines" aria-label={w.t("topology.machines", { name })}>{shown.map((m) => <li key={String(m.nic.id ?? m.row.id)}><Machine member={m} lit={lit} light={light} /></li>)}</ul>}
          {(hidden > 0 || full) && members.length > (shut ? 0 : FEW + 1) && (
            full && hidden > 0 ? <Text size="sm" className="topo-none"><To to={`/topology?view=list&network=${network.id}`}>{w.t("topology.rest", { count: w.number(hidden) })}</To></Text>
            : <Button size="compact-sm" mih={32} variant="subtle" ml={14} style={{ alignSelf: "flex-start" }} aria-expanded={full} aria-label={`${name}: ${turn}`} onClick={() => setOpen(full ? undefined : true)}>{turn}</Button>
          )}
        </>
      )}
    </li>
  );
}

function Machine({ member: { row, nic, also }, lit, light }: { member: Member; lit?: string; light: (id?: string) => void }) {
  const w = useWords();
  const id = String(row.id);
  const many = also.length > 0;
  return (
    <Box
      to={pageOf({ slug: "virtualmachines", id })} icon={<IconDeviceDesktop size={17} aria-hidden />} name={nameOf(row)} state={String(row.state)} more={nic.ipaddress && String(nic.ipaddress)} lit={many && lit === id}
      note={many ? w.t("topology.also", { names: also.join(", ") }) : undefined} light={many ? (on) => light(on ? id : undefined) : undefined}
    />
  );
}

/** A thing of the graph: a link to it, its kind, its state in words. */
function Box({ to, kind, icon, name, state, more, note, bar, lit, light }: { to?: string; kind?: string; icon: ReactNode; name: string; state?: string; more?: string; note?: string; bar?: boolean; lit?: boolean; light?: (on: boolean) => void }) {
  const inner = (
    <>
      {icon}
      <span className="topo-words">
        {kind && <span className="topo-kind">{kind}</span>}
        <span className="topo-name" translate="no">{name}</span>
        {more && <span className="topo-more" translate="no">{more}</span>}
        {note && <span className="topo-kind">{note}</span>}
      </span>
      {state && <State value={state} />}
    </>
  );
  const about = { className: `topo-box${bar ? " topo-bar" : ""}`, "data-lit": lit || undefined };
  if (!to) return <div {...about}>{inner}</div>;
  return <To to={to} {...about} onMouseEnter={() => light?.(true)} onMouseLeave={() => light?.(false)} onFocus={() => light?.(true)} onBlur={() => light?.(false)}>{inner}</To>;
}

/** The same as a table: one row for each router, and for each machine in each of its networks. */
function AsList({ zones, loose }: { zones: Zone[]; loose: Row[] }) {
  const w = useWords();
  const rows = useMemo(() => {
    const line = (kind: string, slug: string | undefined, row: Row, where: string, more: Row): Row => ({ id: `${slug}/${row.id}/${where}`, slug, target: row.id, name: nameOf(row), state: row.state, kind, ...more });
    return [
      ...zones.flatMap((z) => z.nets.flatMap((n) => {
        const own = { networkname: n.network.name, zonename: z.name };
        return [
          line(w.t("topology.network"), n.known ? "networks" : undefined, n.network, "", { ...own, address: n.network.cidr }),
          ...n.routers.map((r) => line(w.t("topology.router"), "routers", r, String(n.network.id), { ...own, address: [n.network.gateway, n.outside].filter(Boolean).join(", ") })),
          ...n.members.map((m) => line(w.t("topology.machine"), "virtualmachines", m.row, String(m.nic.id), { ...own, address: m.nic.ipaddress })),
        ];
      })),
      ...loose.map((m) => line(w.t("topology.machine"), "virtualmachines", m, "", { zonename: m.zonename })),
    ];
  }, [zones, loose, w]);
  const columns: Column[] = useMemo(() => [
    { field: "name" }, { field: "state", facet: true, wide: 0.7 }, { field: "kind", title: w.t("topology.kind"), facet: true, values: (r) => [String(r.kind)], wide: 0.8 },
    { field: "networkname", title: w.t("topology.network"), facet: true, values: (r) => [String(r.networkname ?? "")] }, { field: "address", title: w.t("topology.address") }, { field: "zonename", facet: true, wide: 0.7 },
  ], [w]);
  return <DataTable title={w.t("nav.topology")} columns={columns} rows={rows} to={(r) => (r.slug ? { slug: String(r.slug), id: String(r.target) } : undefined)} empty={<Empty />} />;
}
