// The last look before a machine is made: what, where it will go and why, what is left of the limits, and the same as a line.

import { ActionIcon, Alert, Divider, Group, Skeleton, Stack, Text, TextInput, Title, Tooltip } from "@mantine/core";
import { IconPencil } from "@tabler/icons-react";
import { useQuery } from "@tanstack/react-query";
import type { ReactNode } from "react";
import { call, rows, type Row } from "../api/client";
import { useModel } from "../api/model";
import { scoped, type Scope } from "../api/scope";
import { useSession } from "../api/session";
import { CliLine } from "../parts/CliLine";
import { Explain } from "../parts/Explain";
import { FaultNote } from "../parts/FaultNote";
import { bytes } from "../parts/Value";
import { useWords } from "../words";
import { params, planned, size, type Wanted } from "./values";

export function Review({ v, set, scope, to }: { v: Wanted; set: (change: Partial<Wanted>) => void; scope: Scope; to: (step: number) => void }) {
  const w = useWords();
  const command = useModel().commands.get("deployVirtualMachine");
  const line = { ...(command ? scoped(command, scope) : {}), ...params(v) };
  const has = size(v);
  const facts: [string, ReactNode, number][] = [
    [w.field("zoneid"), v.zone?.name, 0],
    [w.field("templateid"), v.template?.name, 0],
    [w.field("serviceofferingid"), `${v.offering?.name} (${w.t("deploy.cores", { count: has.cores })} · ${bytes(has.memory * 1024 ** 2, w)})`, 1],
    [w.t("deploy.root"), bytes(v.rootdisk ? v.rootdisk * 1024 ** 3 : Number(v.template?.size ?? 0), w), 1],
    ...(v.disk ? [[w.t("deploy.disk"), `${v.disk.name} (${v.disk.iscustomized ? v.disksize : v.disk.disksize} GiB)`, 1] as [string, ReactNode, number]] : []),
    [w.t("deploy.networks"), v.networks.map((n) => n.name).join(", "), 2],
    [w.noun("SSHKeyPairs"), v.keys.join(", ") || w.t("deploy.none"), 2],
    [w.noun("UserData"), v.userdata?.trim() ? w.t("deploy.userdata.own") : v.userdataid ? w.t("deploy.userdata.chosen") : w.t("deploy.none"), 2],
  ];
  return (
    <Stack gap="lg">
      <TextInput label={w.t("deploy.name")} description={w.t("deploy.name.how")} value={v.name ?? ""} onChange={(e) => set({ name: e.currentTarget.value })} maw={420} maxLength={63} autoComplete="off" />
      <dl className="facts">
        {facts.map(([label, value, step]) => (
          <div key={label}>
            <dt>{label}</dt>
            <dd><Group gap={2} wrap="nowrap"><span>{value}</span><Tooltip label={w.t("deploy.edit", { what: label })}><ActionIcon size={26} variant="subtle" color="gray" aria-label={w.t("deploy.edit", { what: label })} onClick={() => to(step)}><IconPencil size={15} /></ActionIcon></Tooltip></Group></dd>
          </div>
        ))}
      </dl>
      {!v.keys.length && v.template?.passwordenabled !== true && <Alert color="yellow">{w.t("deploy.noway")}</Alert>}
      {!v.keys.length && v.template?.passwordenabled === true && <Alert role="note" color="gray">{w.t("deploy.password")}</Alert>}
      <Plan v={v} scope={scope} />
      <Quota v={v} scope={scope} />
      <div><Title order={3} fz={15} mb="sm">{w.t("line.show")}</Title><CliLine command="deployVirtualMachine" params={line} /></div>
    </Stack>
  );
}

function Plan({ v, scope }: { v: Wanted; scope: Scope }) {
  const w = useWords();
  const command = useModel().commands.get("findDeploymentPlan");
  const asked = { ...planned(v), ...(command ? scoped(command, scope) : {}) };
  const plan = useQuery({ queryKey: ["findDeploymentPlan", asked], enabled: Boolean(command), staleTime: 0, queryFn: async ({ signal }) => (await call("findDeploymentPlan", asked, signal)).deploymentplan as Row });
  if (!command) return null;
  return (
    <div>
      <Divider mb="md" />
      <Title order={3} fz={15} mb="sm">{w.t("deploy.where")}</Title>
      {plan.isError ? <FaultNote fault={plan.error} again={() => void plan.refetch()} /> : plan.data ? <Explain plan={plan.data} /> : <Skeleton h={60} radius="md" />}
    </div>
  );
}

/** What of the limits the machine takes and what is left then; the account's row has both. */
function Quota({ v, scope }: { v: Wanted; scope: Scope }) {
  const w = useWords();
  const me = useSession();
  const model = useModel();
  const list = scope.project ? "listProjects" : "listAccounts";
  const asked = scope.project ? { id: scope.project, listall: true } : { name: scope.account ?? me?.account, domainid: scope.domain ?? me?.domainid };
  const found = useQuery({ queryKey: [list, "quota", asked], enabled: model.commands.has(list), queryFn: async ({ signal }) => rows(await call(list, asked, signal)).rows[0] as Row | undefined });
  if (!model.commands.has(list) || (found.isSuccess && !found.data)) return null;
  const has = size(v);
  const lines: [string, string, number, (n: number) => string][] = [
    ["user_vm", "vm", 1, (n) => w.number(n)],
    ["cpu", "cpu", has.cores, (n) => w.number(n)],
    ["memory", "memory", has.memory, (n) => bytes(n * 1024 ** 2, w)],
    ["volume", "volume", has.disks, (n) => w.number(n)],
    ["primary_storage", "primarystorage", has.disk, (n) => bytes(n * 1024 ** 3, w)],
  ];
  return (
    <div>
      <Title order={3} fz={15} mb="sm">{w.t("deploy.quota")}</Title>
      {found.isError ? <FaultNote fault={found.error} /> : !found.data ? <Skeleton h={60} radius="md" /> : (
        <dl className="facts" style={{ gridTemplateColumns: "repeat(auto-fill, minmax(150px, 1fr))" }}>
          {lines.map(([name, field, takes, say]) => {
            const left = Number(found.data?.[`${field}available`]);
            const free = Number.isNaN(left) || left < 0;
            return (
              <div key={name}>
                <dt>{name === "user_vm" ? w.noun("VirtualMachines") : w.phrase(name)}</dt>
                <dd>{free ? w.t("deploy.unlimited") : left - takes < 0 ? <Text span c="red" inherit fw={600}>{w.t("deploy.short", { left: say(left), takes: say(takes) })}</Text> : w.t("deploy.left", { left: say(left - takes), limit: say(Number(found.data?.[`${field}limit`])) })}</dd>
              </div>
            );
          })}
        </dl>
      )}
    </div>
  );
}
