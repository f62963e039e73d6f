// A new network: what its kind means, and whether its addresses are used elsewhere, before it is asked for.

import { Alert, Button, Group, Paper, Select, SimpleGrid, Stack, Text, TextInput, Title } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useEffect, useState, type FormEvent } from "react";
import { call, rows, type Row } from "../api/client";
import { run } from "../api/jobs";
import { useModel } from "../api/model";
import { scoped, useScope } from "../api/scope";
import { Choice } from "../parts/Choice";
import { free, overlaps, parts } from "../parts/cidr";
import { CliLine } from "../parts/CliLine";
import { FaultNote } from "../parts/FaultNote";
import { pageOf, To, useGo } from "../parts/To";
import { useWords } from "../words";
import { NotFound } from "./NotFound";

export default function NetworkNew() {
  const w = useWords();
  const model = useModel();
  const scope = useScope();
  const go = useGo();
  const command = model.commands.get("createNetwork");
  const [name, setName] = useState("");
  const [zone, setZone] = useState<string>();
  const [offering, setOffering] = useState<Row>();
  const [cidr, setCidr] = useState<string>();
  const [vlan, setVlan] = useState("");
  const [tried, setTried] = useState(false);
  const [busy, setBusy] = useState(false);
  const [fault, setFault] = useState<unknown>();
  useEffect(() => void (document.title = `${w.command("createNetwork")} · Mold`), [w]);
  const own = command ? scoped(command, scope) : {};
  const zones = useQuery({ queryKey: ["listZones", "choose", {}], queryFn: async () => rows(await call("listZones", { available: true })).rows });
  const zoneid = zone ?? zones.data?.[0]?.id;
  const offerings = useQuery({ queryKey: ["listNetworkOfferings", "choose", zoneid], enabled: Boolean(zoneid), queryFn: async () => rows(await call("listNetworkOfferings", { zoneid, state: "Enabled", traffictype: "Guest", forvpc: false })).rows });
  const networks = useQuery({ queryKey: ["listNetworks", "own", zoneid, scope], enabled: Boolean(zoneid), queryFn: async () => rows(await call("listNetworks", { zoneid, ...(scope.project ? { projectid: scope.project } : { listall: true }), page: 1, pagesize: 500 })).rows });
  const all = offerings.data ?? [];
  useEffect(() => {
    if (all.length && !all.some((o) => o.id === offering?.id)) setOffering(all[0]);
  }, [offerings.data]);
  if (!command) return <NotFound />;

  const kind = String(offering?.guestiptype ?? "Isolated");
  const layer2 = kind === "L2";
  const range = cidr ?? (layer2 ? "" : free((networks.data ?? []).map((n) => String(n.cidr ?? ""))));
  const found = range ? parts(range) : undefined;
  const clash = (networks.data ?? []).filter((n) => n.cidr && range && overlaps(String(n.cidr), range));
  const wrongName = !name.trim() ? w.t("form.required") : undefined;
  const wrongRange = layer2 ? undefined : !range ? (kind === "Shared" ? w.t("form.required") : undefined) : !found ? w.t("network.cidr.wrong") : undefined;
  const asked = { ...own, name: name.trim(), zoneid, networkofferingid: offering?.id, ...(!layer2 && found ? { gateway: found.gateway, netmask: found.netmask } : {}), vlan: offering?.specifyvlan ? vlan : undefined };
  const submit = async (event: FormEvent) => {
    event.preventDefault();
    setTried(true);
    if (wrongName || wrongRange || !offering) return;
    setBusy(true);
    setFault(undefined);
    try {
      const ran = await run("createNetwork", asked, { subject: name.trim(), list: "listNetworks" });
      go(pageOf({ slug: "networks", id: String(ran.answer.network?.id ?? ran.answer.id ?? "") }));
    } catch (no) {
      setFault(no);
    } finally {
      setBusy(false);
    }
  };
  const about = (o: Row) => <><div translate="no">{o.displaytext !== o.name && o.displaytext}</div><div>{w.t("network.gives", { what: ((o.service ?? []) as Row[]).map((s) => w.phrase(String(s.name))).join(", ") || "–" })}</div></>;
  return (
    <Stack gap="lg" maw={880}>
      <div><Text size="sm" mb={4}><To className="plain" to="/networks">← {w.noun("Networks")}</To></Text><Title order={1} fz={24}>{w.command("createNetwork")}</Title></div>
      <form onSubmit={submit} noValidate>
        <Paper p={{ base: "md", sm: "xl" }}>
          <Stack gap="lg">
            <SimpleGrid cols={{ base: 1, sm: 2 }}>
              <TextInput label={w.field("name")} required value={name} error={tried && wrongName} onChange={(e) => setName(e.currentTarget.value)} autoComplete="off" />
              {(zones.data?.length ?? 0) > 1 && <Select label={w.field("zoneid")} required allowDeselect={false} value={zoneid ?? null} onChange={(v) => setZone(v ?? undefined)} data={zones.data?.map((z) => ({ value: String(z.id), label: String(z.name) }))} />}
            </SimpleGrid>
            <div>
              <Text fw={600} size="sm" mb="xs">{w.field("networkofferingid")}</Text>
              {offerings.isError ? <FaultNote fault={offerings.error} again={() => void offerings.refetch()} /> : <Choice cols={1} label={w.field("networkofferingid")} value={offering ? [String(offering.id)] : []} onChange={([id]) => setOffering(all.find((o) => o.id === id))} options={all.map((o) => ({ id: String(o.id), title: String(o.name), about: about(o) }))} />}
              {offerings.isSuccess && !all.length && <Text c="dimmed" size="sm">{w.t("list.empty", { name: w.noun("NetworkOfferings") })}</Text>}
            </div>
            {offering && <Group wrap="nowrap" align="center" gap="lg" className="stackable"><Diagram kind={kind} /><div><Text fw={600} size="sm">{w.state(kind)}</Text><Text size="sm" c="dimmed">{w.t(`network.kind.${kind.toLowerCase()}`)}</Text></div></Group>}
            {!layer2 && (
              <div>
                <TextInput maw={340} label="CIDR" description={w.t("network.cidr.how")} styles={{ input: { fontFamily: "var(--mantine-font-family-monospace)" } }} value={range} error={(tried || cidr !== undefined) && wrongRange} onChange={(e) => setCidr(e.currentTarget.value)} autoComplete="off" spellCheck={false} />
                {found && <Text size="sm" c="dimmed" mt={6} aria-live="polite">{w.t("network.cidr.means", { gateway: found.gateway, netmask: found.netmask, count: w.number(found.hosts) })}</Text>}
              </div>
            )}
            {clash.length > 0 && <Alert color="yellow" role="alert" title={w.t("network.overlap")}>{w.t("network.overlap.about", { names: clash.map((n) => `${n.name} (${n.cidr})`).join(", ") })}</Alert>}
            {offering?.specifyvlan && <TextInput maw={200} label={w.field("vlan")} value={vlan} onChange={(e) => setVlan(e.currentTarget.value)} />}
            {fault !== undefined && <FaultNote fault={fault} />}
            <CliLine command="createNetwork" params={asked} />
            <Group justify="flex-end"><Button variant="default" renderRoot={(p) => <To {...p} to="/networks" />}>{w.t("cancel")}</Button><Button type="submit" loading={busy}>{w.verb("createNetwork")}</Button></Group>
          </Stack>
        </Paper>
      </form>
    </Stack>
  );
}

/** Who is joined with whom: machines, the router where there is one, the world. The words beside it say the same. */
function Diagram({ kind }: { kind: string }) {
  const line = { stroke: "var(--mantine-color-dimmed)", strokeWidth: 1.6, fill: "none" };
  const box = { fill: "var(--mold-good-ground)", stroke: "var(--mold-good)", strokeWidth: 1.4 };
  const node = { fill: "var(--mold-busy-ground)", stroke: "var(--mold-busy)", strokeWidth: 1.4 };
  return (
    <svg width="166" height="108" viewBox="20 -6 166 108" role="presentation" aria-hidden style={{ flex: "none", maxWidth: "100%" }}>
      <path d="M20 62H140M40 62v16M80 62v16M120 62v16" {...line} />
      {[40, 80, 120].map((x) => <rect key={x} x={x - 14} y={78} width={28} height={18} rx={4} {...box} />)}
      {kind !== "L2" && <><path d="M80 62V46M80 28V18" {...line} /><circle cx={80} cy={37} r={10} {...node} /></>}
      {kind === "Shared" && <><path d="M140 62h22v16" {...line} /><rect x={148} y={78} width={28} height={18} rx={4} fill="var(--mold-calm-ground)" stroke="var(--mold-calm)" strokeWidth={1.4} /></>}
      {kind !== "L2" && <path d="M62 18a9 9 0 0 1 3-16 14 14 0 0 1 26-1 9 9 0 0 1 6 17z" transform="translate(0 1)" {...line} />}
    </svg>
  );
}
