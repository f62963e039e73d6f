// A new machine in four steps. Every step has a good choice made already: five clicks from the list to a machine.

import { Button, Group, NumberInput, Select, SimpleGrid, Skeleton, Stack, Tabs, Text, Textarea, TextInput } from "@mantine/core";
import { IconPlus } from "@tabler/icons-react";
import { useQuery } from "@tanstack/react-query";
import { useEffect, useState } from "react";
import { call, rows, type Params, type Row } from "../api/client";
import { run } from "../api/jobs";
import { useModel } from "../api/model";
import { scoped, useScope, type Scope } from "../api/scope";
import { Review } from "../deploy/Review";
import { open, params, type Wanted } from "../deploy/values";
import { act, follow } from "../parts/act";
import { Choice } from "../parts/Choice";
import { FaultNote } from "../parts/FaultNote";
import { Pick } from "../parts/Pick";
import { pageOf, To, useGo } from "../parts/To";
import { bytes } from "../parts/Value";
import { Wizard } from "../parts/Wizard";
import { useWords } from "../words";
import { NotFound } from "./NotFound";

/** All rows of a list for one step; asked again when one was made in place. */
function useChoices(list: string, asked: Params, enabled = true) {
  return useQuery({ queryKey: [list, "wizard", asked], enabled, queryFn: async ({ signal }) => rows(await call(list, { ...asked, page: 1, pagesize: 500 }, signal)).rows });
}
type Set = (change: Partial<Wanted>) => void;
const FEW = 12;

export default function Deploy() {
  const w = useWords();
  const model = useModel();
  const scope = useScope();
  const go = useGo();
  const command = model.commands.get("deployVirtualMachine");
  useEffect(() => void (document.title = `${w.command("deployVirtualMachine")} · Mold`), [w]);
  if (!command) return <NotFound />;
  const end = (start: boolean) => async (v: Wanted) => {
    const ran = await run("deployVirtualMachine", { ...scoped(command, scope), ...params(v), startvm: start ? undefined : false }, { subject: v.name?.trim() || undefined, list: "listVirtualMachines" });
    follow(ran, v.name?.trim() || undefined);
    go(pageOf({ slug: "virtualmachines", id: String(ran.answer.id) }));
  };
  return (
    <Stack gap="xs">
      <Text size="sm"><To className="plain" to="/virtualmachines">← {w.noun("VirtualMachines")}</To></Text>
      <Wizard<Wanted>
        id="deploy" title={w.command("deployVirtualMachine")} initial={{ networks: [], keys: [] }} finish={w.t("deploy.start")} onFinish={end(true)} other={{ label: w.t("deploy.create"), run: end(false) }}
        steps={[
          { id: "image", title: w.t("deploy.image"), missing: (v) => (v.zone && v.template ? undefined : w.t("deploy.image.missing")), render: (v, set) => <Image v={v} set={set} scope={scope} /> },
          { id: "size", title: w.t("deploy.size"), missing: (v) => (!v.offering || open(v).some((f) => !v[f]) || (v.disk?.iscustomized && !v.disksize) ? w.t("deploy.size.missing") : undefined), render: (v, set) => <Size v={v} set={set} /> },
          { id: "network", title: w.t("deploy.network"), missing: (v) => (v.networks.length ? undefined : w.t("deploy.network.missing")), render: (v, set) => <Network v={v} set={set} scope={scope} /> },
        ]}
        review={(v, to, set) => <Review v={v} scope={scope} to={to} set={set} />}
      />
    </Stack>
  );
}

function Image({ v, set, scope }: { v: Wanted; set: Set; scope: Scope }) {
  const w = useWords();
  const [whose, setWhose] = useState("executable");
  const [typed, setTyped] = useState("");
  const zones = useChoices("listZones", { available: true });
  const templates = useChoices("listTemplates", { templatefilter: whose, zoneid: v.zone?.id, ...(scope.project ? { projectid: scope.project } : {}) }, Boolean(v.zone));
  const ready = (templates.data ?? []).filter((t) => t.isready);
  useEffect(() => {
    if (!v.zone && zones.data?.length) set({ zone: zones.data[0] });
  }, [zones.data]);
  useEffect(() => {
    if (templates.data && whose === "executable" && (!v.template || !ready.some((t) => t.id === v.template?.id))) set({ template: ready[0] });
  }, [templates.data]);
  const shown = ready.filter((t) => `${t.name} ${t.displaytext ?? ""} ${t.ostypename ?? ""}`.toLowerCase().includes(typed.toLowerCase()));
  if (zones.isError || templates.isError) return <FaultNote fault={zones.error ?? templates.error} again={() => void (zones.isError ? zones : templates).refetch()} />;
  return (
    <Stack>
      {(zones.data?.length ?? 0) > 1 && <Select label={w.field("zoneid")} allowDeselect={false} value={v.zone?.id ?? null} data={zones.data?.map((z) => ({ value: String(z.id), label: String(z.name) }))} onChange={(id) => set({ zone: zones.data?.find((z) => z.id === id), template: undefined, networks: [] })} maw={340} />}
      {zones.data?.length === 0 && <Text>{w.t("deploy.no.zone")}</Text>}
      <Tabs value={whose} onChange={(x) => setWhose(x ?? "executable")} keepMounted={false}>
        <Tabs.List>{["executable", "featured", "self"].map((f) => <Tabs.Tab key={f} value={f}>{w.t(`templates.${f}`)}</Tabs.Tab>)}</Tabs.List>
      </Tabs>
      {ready.length > FEW && <TextInput aria-label={w.t("table.search", { name: w.noun("Templates") })} placeholder={w.t("table.search.in")} value={typed} onChange={(e) => setTyped(e.currentTarget.value)} maw={340} />}
      {templates.isPending ? <Skeleton h={84} radius="lg" /> : shown.length ? (
        <Choice label={w.noun("Templates")} value={v.template ? [String(v.template.id)] : []} onChange={([id]) => set({ template: ready.find((t) => t.id === id) })} options={shown.slice(0, 60).map((t) => ({ id: String(t.id), title: String(t.name), about: <><div translate="no">{t.displaytext !== t.name && t.displaytext}</div><div translate="no">{[t.ostypename, bytes(Number(t.size), w), t.arch].filter(Boolean).join(" · ")}</div></> }))} />
      ) : (
        <Stack align="flex-start" gap="xs"><Text c="dimmed">{w.t(typed ? "table.nothing" : "deploy.no.image")}</Text>{!typed && <Button variant="light" size="xs" renderRoot={(p) => <To {...p} to="/templates-new" />}>{w.t("templates.new")}</Button>}</Stack>
      )}
      {shown.length > 60 && <Text size="sm" c="dimmed">{w.t("table.limit", { part: 60, all: shown.length })}</Text>}
    </Stack>
  );
}

function Size({ v, set }: { v: Wanted; set: Set }) {
  const w = useWords();
  const offerings = useChoices("listServiceOfferings", { zoneid: v.zone?.id });
  const disks = useChoices("listDiskOfferings", { zoneid: v.zone?.id });
  const all = [...(offerings.data ?? [])].filter((o) => o.state !== "Inactive").sort((a, b) => Number(a.memory ?? 1e9) - Number(b.memory ?? 1e9) || Number(a.cpunumber ?? 1e9) - Number(b.cpunumber ?? 1e9));
  useEffect(() => {
    if (offerings.data && !all.some((o) => o.id === v.offering?.id)) set({ offering: all[0] });
  }, [offerings.data]);
  if (offerings.isError) return <FaultNote fault={offerings.error} again={() => void offerings.refetch()} />;
  if (offerings.isPending) return <Skeleton h={84} radius="lg" />;
  const about = (o: Row) => [o.cpunumber ? w.t("deploy.cores", { count: o.cpunumber }) : w.t("deploy.cores.free"), o.cpuspeed && `${w.number(o.cpuspeed / 1000, { maximumFractionDigits: 1 })} GHz`, o.memory ? bytes(o.memory * 1024 ** 2, w) : w.t("deploy.memory.free")].filter(Boolean).join(" · ");
  const least = Math.ceil(Number(v.template?.size ?? 0) / 1024 ** 3) || 1;
  return (
    <Stack>
      {all.length ? <Choice label={w.noun("ServiceOfferings")} value={v.offering ? [String(v.offering.id)] : []} onChange={([id]) => set({ offering: all.find((o) => o.id === id) })} options={all.map((o) => ({ id: String(o.id), title: String(o.name), about: about(o) }))} /> : <Text c="dimmed">{w.t("list.empty", { name: w.noun("ServiceOfferings") })}</Text>}
      {open(v).length > 0 && <SimpleGrid cols={{ base: 1, sm: 3 }}>{open(v).map((f) => <NumberInput key={f} label={`${w.field(f)}${f === "memory" ? " (MiB)" : f === "cpuspeed" ? " (MHz)" : ""}`} required min={1} value={v[f] ?? ""} onChange={(n) => set({ [f]: Number(n) || undefined })} />)}</SimpleGrid>}
      <SimpleGrid cols={{ base: 1, sm: 2 }}>
        <NumberInput label={w.t("deploy.root")} description={w.t("deploy.root.how", { size: bytes(Number(v.template?.size ?? 0), w) })} suffix=" GiB" min={least} allowDecimal={false} placeholder={bytes(Number(v.template?.size ?? 0), w)} value={v.rootdisk ?? ""} onChange={(n) => set({ rootdisk: Number(n) || undefined })} />
        {(disks.data?.length ?? 0) > 0 && <Select label={w.t("deploy.disk")} description={w.t("deploy.disk.how")} clearable placeholder={w.t("form.leave")} value={v.disk?.id ?? null} onChange={(id) => set({ disk: disks.data?.find((d) => d.id === id), disksize: undefined })} data={disks.data?.map((d) => ({ value: String(d.id), label: `${d.name}${d.iscustomized ? "" : ` (${d.disksize} GiB)`}` }))} />}
        {v.disk?.iscustomized && <NumberInput label={w.t("deploy.disk.size")} required suffix=" GiB" min={1} value={v.disksize ?? ""} onChange={(n) => set({ disksize: Number(n) || undefined })} />}
      </SimpleGrid>
    </Stack>
  );
}

function Network({ v, set, scope }: { v: Wanted; set: Set; scope: Scope }) {
  const w = useWords();
  const model = useModel();
  const [write, setWrite] = useState(Boolean(v.userdata));
  const own = scope.project ? { projectid: scope.project } : {};
  const networks = useChoices("listNetworks", { zoneid: v.zone?.id, canusefordeploy: true, ...own });
  const all = networks.data ?? [];
  useEffect(() => {
    if (networks.data && !v.networks.some((n) => all.some((x) => x.id === n.id))) set({ networks: all.slice(0, 1) });
  }, [networks.data]);
  const may = (command: string) => model.commands.has(command);
  const about = (n: Row) => [w.state(String(n.type)), n.cidr, v.networks.length > 1 && v.networks[0].id === n.id && w.t("vm.nic.default")].filter(Boolean).join(" · ");
  return (
    <Stack gap="lg">
      <div>
        <Group justify="space-between" mb="xs"><Text fw={600} size="sm">{w.t("deploy.networks")}</Text>{may("createNetwork") && <Button size="compact-sm" variant="subtle" leftSection={<IconPlus size={15} aria-hidden />} onClick={() => act({ command: "createNetwork", noun: model.nouns.get("listNetworks"), fixed: { zoneid: String(v.zone?.id) }, first: ["name", "networkofferingid"], onDone: (ran) => void networks.refetch().then(({ data }) => set({ networks: [...v.networks, ...(data ?? []).filter((n) => n.id === (ran.answer.network?.id ?? ran.answer.id))] })) })}>{w.command("createNetwork")}</Button>}</Group>
        {networks.isError ? <FaultNote fault={networks.error} again={() => void networks.refetch()} /> : networks.isPending ? <Skeleton h={70} radius="lg" /> : all.length ? (
          <Choice many label={w.t("deploy.networks")} value={v.networks.map((n) => String(n.id))} onChange={(ids) => set({ networks: ids.map((id) => all.find((n) => n.id === id) as Row).filter(Boolean) })} options={all.map((n) => ({ id: String(n.id), title: String(n.name), about: about(n) }))} />
        ) : <Text c="dimmed" size="sm">{w.t("deploy.no.network")}</Text>}
      </div>
      {may("listSSHKeyPairs") && (
        <div>
          <Group align="flex-end" gap="xs" wrap="nowrap">
            <div style={{ flex: 1, minWidth: 0 }}><Pick many by="name" list="listSSHKeyPairs" label={w.noun("SSHKeyPairs")} description={w.t("deploy.keys.how")} value={v.keys} onChange={(keys) => set({ keys: keys as string[] })} /></div>
            {may("createSSHKeyPair") && <Button variant="default" onClick={() => act({ command: "createSSHKeyPair", noun: model.nouns.get("listSSHKeyPairs"), first: ["name"], without: ["account", "domainid", "projectid"], onDone: (ran) => set({ keys: [...v.keys, String(ran.answer.keypair?.name ?? "")].filter(Boolean) }) })}>{w.t("deploy.keys.new")}</Button>}
          </Group>
        </div>
      )}
      <div>
        {may("listUserData") && !write && <Pick list="listUserData" label={w.noun("UserData")} description={w.t("deploy.userdata.how")} value={v.userdataid} onChange={(id) => set({ userdataid: id as string | undefined, userdata: undefined })} />}
        {write && <Textarea autosize minRows={5} maxRows={16} spellCheck={false} styles={{ input: { fontFamily: "var(--mantine-font-family-monospace)" } }} label={w.noun("UserData")} description={w.t("deploy.userdata.how")} placeholder={"#cloud-config\n"} value={v.userdata ?? ""} onChange={(e) => set({ userdata: e.currentTarget.value, userdataid: undefined })} />}
        <Button mt={6} size="compact-sm" variant="subtle" onClick={() => (setWrite(!write), write && set({ userdata: undefined }))}>{w.t(write ? "deploy.userdata.pick" : "deploy.userdata.write")}</Button>
      </div>
    </Stack>
  );
}
