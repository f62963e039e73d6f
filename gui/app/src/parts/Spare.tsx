// What the loss of one host would mean for a cluster, in words, and what one more host would change.

import { Alert, Anchor, Button, Group, Loader, NumberInput, Paper, Stack, Text, Title, UnstyledButton } from "@mantine/core";
import { IconChevronDown, IconCircleCheck, IconAlertTriangle } from "@tabler/icons-react";
import { useQuery } from "@tanstack/react-query";
import { useMemo, useState } from "react";
import { call, everything, rows, type Row } from "../api/client";
import { useWords, type Words } from "../words";
import { amount, Bar } from "./Bar";
import { FaultNote } from "./FaultNote";
import { loadOf, needed, roomOf, usualSize, withMore, worstLoss, type Amount, type Load, type Loss, type Room } from "./spare";
import { pageOf, To } from "./To";
import { bytes } from "./Value";

/** Above this many machines a browser would be at it too long. */
export const MOST = 5000;
const SHOWN = 50;
const sum = (of: Amount[]): Amount => of.reduce<Amount>((all, one) => ({ cpu: all.cpu + one.cpu, memory: all.memory + one.memory }), { cpu: 0, memory: 0 });
const told = (a: Amount, w: Words) => w.t("spare.amount", { memory: bytes(a.memory, w), cpu: amount(1, a.cpu, w) });

interface Facts { rooms: Room[]; loads: Load[]; machines: number } // prettier-ignore

async function look(cluster: string, signal: AbortSignal): Promise<Facts> {
  const running = { clusterid: cluster, state: "Running", listall: true, details: "min" };
  const [hosts, counted] = await Promise.all([everything("listHosts", { clusterid: cluster, type: "Routing" }, signal), call("listVirtualMachines", { ...running, page: 1, pagesize: 1 }, signal)]);
  const { count } = rows(counted);
  const machines = count && count <= MOST ? await everything("listVirtualMachines", running, signal) : [];
  return { rooms: hosts.map(roomOf), loads: machines.map(loadOf), machines: count };
}

export default function Spare({ cluster, title }: { cluster: Row; title?: boolean }) {
  const w = useWords();
  const found = useQuery({ queryKey: ["listHosts", "spare", cluster.id], queryFn: ({ signal }) => look(String(cluster.id), signal), staleTime: 30_000 });
  return (
    <Paper p="lg" component="section" aria-label={String(cluster.name)}>
      <Stack gap="md">
        {title && <Title order={2} fz={17} translate="no"><To className="plain" to={pageOf({ slug: "clusters", id: String(cluster.id) })}>{String(cluster.name)}</To><Text span c="dimmed" size="sm" fw={400}> {[cluster.zonename, cluster.podname].filter(Boolean).join(" · ")}</Text></Title>}
        {found.isError ? <FaultNote fault={found.error} again={() => void found.refetch()} /> : found.isPending ? <Group role="status"><Loader size={20} /><Text size="sm" c="dimmed">{w.t("loading")}</Text></Group> : <Verdict facts={found.data} />}
      </Stack>
    </Paper>
  );
}

function Verdict({ facts }: { facts: Facts }) {
  const w = useWords();
  const { rooms, loads, machines } = facts;
  const worst = useMemo(() => worstLoss(rooms, loads), [rooms, loads]);
  if (!rooms.length) return <Text c="dimmed">{w.t("spare.nohosts")}</Text>;
  if (machines > MOST) return <Alert role="note" color="gray" title={w.t("spare.toomany", { count: machines })}>{w.t("spare.toomany.about")}</Alert>;
  const taking = rooms.filter((r) => r.takes);
  const all = sum(taking);
  const used = sum(taking.map((r) => r.used));
  return (
    <>
      {worst && <Statement loss={worst} rooms={rooms} loads={loads} />}
      <Group grow preventGrowOverflow={false} gap="lg" align="flex-start">
        <div style={{ minWidth: 220, flex: 1 }}><Bar name={w.t("capacity.0")} label={w.t("capacity.0")} used={used.memory} total={all.memory} of={(n) => bytes(n, w)} /></div>
        <div style={{ minWidth: 220, flex: 1 }}><Bar name={w.t("capacity.1")} label={w.t("capacity.1")} used={used.cpu} total={all.cpu} of={(n) => amount(1, n, w)} /></div>
      </Group>
      <WhatIf rooms={rooms} loads={loads} />
    </>
  );
}

function Statement({ loss, rooms, loads }: { loss: Loss; rooms: Room[]; loads: Load[] }) {
  const w = useWords();
  const [open, setOpen] = useState(false);
  const more = useMemo(() => (loss.homeless.length ? needed(rooms, loads, usualSize(rooms)) : 0), [loss, rooms, loads]);
  const host = <Link slug="hosts" id={loss.room.id} name={loss.room.name} />;
  if (!loss.loads.length) return <Group gap="sm" wrap="nowrap"><IconCircleCheck size={22} color="var(--mold-good)" aria-hidden style={{ flex: "none" }} /><Text fw={600}>{w.t("spare.idle")}</Text></Group>;
  if (!loss.homeless.length)
    return (
      <Group gap="sm" wrap="nowrap" align="flex-start">
        <IconCircleCheck size={22} color="var(--mold-good)" aria-hidden style={{ flex: "none" }} />
        <div><Text fw={600}>{w.t("spare.good")}</Text><Text size="sm" c="dimmed">{w.t("spare.worst")} {host} · {w.t("spare.good.about", { count: loss.loads.length, amount: told(sum(loss.loads), w) })}</Text></div>
      </Group>
    );
  return (
    <div>
      <Group gap="sm" wrap="nowrap" align="flex-start">
        <IconAlertTriangle size={22} color="var(--mold-bad)" aria-hidden style={{ flex: "none" }} />
        <div style={{ minWidth: 0 }}>
          <Text fw={600}>{w.t("spare.bad", { count: loss.homeless.length })}</Text>
          <Text size="sm" c="dimmed">{w.t("spare.worst")} {host} · {w.t("spare.bad.about", { all: loss.loads.length, count: loss.homeless.length, amount: told(sum(loss.homeless), w) })}</Text>
          {more !== undefined && more > 0 && <Text size="sm" c="dimmed">{w.t("spare.more", { count: more, amount: told(usualSize(rooms), w) })}</Text>}
          <UnstyledButton mt={6} aria-expanded={open} onClick={() => setOpen(!open)}>
            <Group gap={6} c="var(--mantine-color-anchor)"><IconChevronDown size={16} style={{ transform: open ? "rotate(180deg)" : undefined }} aria-hidden /><Text size="sm" fw={560}>{w.t("spare.which", { count: loss.homeless.length })}</Text></Group>
          </UnstyledButton>
        </div>
      </Group>
      {open && (
        <ul style={{ margin: "10px 0 0", paddingInlineStart: 48 }} aria-label={w.t("spare.which", { count: loss.homeless.length })}>
          {loss.homeless.slice(0, SHOWN).map((l) => <li key={l.id}><Text size="sm" component="span"><Link slug="virtualmachines" id={l.id} name={l.name} /> <Text span c="dimmed" size="xs">{told(l, w)}</Text></Text></li>)}
          {loss.homeless.length > SHOWN && <li><Text size="sm" c="dimmed">{w.t("spare.others", { count: loss.homeless.length - SHOWN })}</Text></li>}
        </ul>
      )}
    </div>
  );
}

const Link = ({ slug, id, name }: { slug: string; id: string; name: string }) => <Anchor inherit td="underline" translate="no" renderRoot={(p) => <To {...p} to={pageOf({ slug, id })} />}>{name}</Anchor>;

function WhatIf({ rooms, loads }: { rooms: Room[]; loads: Load[] }) {
  const w = useWords();
  const usual = useMemo(() => usualSize(rooms), [rooms]);
  const [open, setOpen] = useState(false);
  const [count, setCount] = useState<number | string>(1);
  const [memory, setMemory] = useState<number | string>(Math.round((usual.memory / 1024 ** 3) * 10) / 10);
  const [cpu, setCpu] = useState<number | string>(Math.round(usual.cpu / 100) / 10);
  const size = { memory: Number(memory) * 1024 ** 3, cpu: Number(cpu) * 1000 };
  const then = useMemo(() => (open ? worstLoss(withMore(rooms, Number(count) || 0, size), loads) : undefined), [open, rooms, loads, count, memory, cpu]);
  return (
    <div>
      <Button size="sm" variant="default" aria-expanded={open} onClick={() => setOpen(!open)}>{w.t("spare.whatif")}</Button>
      {open && (
        <Stack mt="sm" gap="sm">
          <Group align="flex-end" gap="sm">
            <NumberInput w={110} label={w.t("spare.whatif.count")} value={count} onChange={setCount} min={0} max={100} clampBehavior="strict" allowDecimal={false} />
            <NumberInput w={170} label={w.t("spare.whatif.memory")} value={memory} onChange={setMemory} min={0} decimalScale={1} suffix=" GiB" thousandSeparator="," />
            <NumberInput w={170} label={w.t("spare.whatif.cpu")} value={cpu} onChange={setCpu} min={0} decimalScale={1} suffix=" GHz" thousandSeparator="," />
          </Group>
          <Text size="sm" fw={560} aria-live="polite">{!then || !then.homeless.length ? w.t("spare.whatif.good", { count: Number(count) || 0 }) : w.t("spare.whatif.bad", { hosts: Number(count) || 0, count: then.homeless.length, host: then.room.name })}</Text>
          <Text size="xs" c="dimmed">{w.t("spare.whatif.about")}</Text>
        </Stack>
      )}
    </div>
  );
}
