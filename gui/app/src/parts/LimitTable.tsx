// Limits of an account, a domain or a project: how much of each is used, and the limit, changed where it stands.

import { ActionIcon, Button, Checkbox, Group, Loader, NumberInput, Paper, Stack, Text } from "@mantine/core";
import { notifications } from "@mantine/notifications";
import { IconPencil } from "@tabler/icons-react";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { call, rows, type Params, type Row } from "../api/client";
import { useModel } from "../api/model";
import { queries } from "../api/queries";
import { useWords } from "../words";
import { Bar } from "./Bar";
import { FaultNote } from "./FaultNote";
import { bytes } from "./Value";

/** Whose limits: an account by name and domain, a domain, or a project. */
export interface Party { account?: string; domainid?: string; projectid?: string } // prettier-ignore

/** The field of an account, domain or project that counts a kind. */
const COUNTED: Record<string, string> = {
  user_vm: "vmtotal", public_ip: "iptotal", primary_storage: "primarystoragetotal", secondary_storage: "secondarystoragetotal", backup_storage: "backupstoragetotal", object_storage: "objectstoragetotal",
}; // prettier-ignore

export default function LimitTable({ party }: { party: Party }) {
  const w = useWords();
  const { commands } = useModel();
  const key = ["listResourceLimits", "party", party];
  const found = useQuery({
    queryKey: key,
    queryFn: async ({ signal }) => {
      const [list, ask]: [string, Params] = party.projectid ? ["listProjects", { id: party.projectid }] : party.account ? ["listAccounts", { name: party.account, domainid: party.domainid }] : ["listDomains", { id: party.domainid }];
      const [limits, owner] = await Promise.all([call("listResourceLimits", { ...party, pagesize: 100, page: 1 }, signal), call(list, ask, signal)]);
      return { limits: rows(limits).rows, owner: rows(owner).rows[0] as Row | undefined };
    },
  });
  if (found.isError) return <FaultNote fault={found.error} again={() => void found.refetch()} />;
  if (found.isPending) return <Group role="status"><Loader size={20} /><Text size="sm" c="dimmed">{w.t("loading")}</Text></Group>;
  if (!found.data.limits.length) return <Text c="dimmed">{w.t("limits.none")}</Text>;
  return (
    <Paper role="list" aria-label={w.noun("ResourceLimits")} maw={820}>
      {found.data.limits.map((l) => <Line key={l.resourcetype} limit={l} used={Number(found.data.owner?.[COUNTED[String(l.resourcetypename)] ?? `${l.resourcetypename}total`] ?? 0)} party={party} may={commands.has("updateResourceLimit")} settled={() => queries.invalidateQueries({ queryKey: ["listResourceLimits"] })} />)}
    </Paper>
  );
}

function Line({ limit, used, party, may, settled }: { limit: Row; used: number; party: Party; may: boolean; settled: () => Promise<void> }) {
  const w = useWords();
  const [editing, setEditing] = useState(false);
  const [value, setValue] = useState<number | string>("");
  const [free, setFree] = useState(false);
  const [busy, setBusy] = useState(false);
  const [fault, setFault] = useState<unknown>();
  const kind = String(limit.resourcetypename);
  const name = w.maybe(`limit.${kind}`) ?? w.phrase(kind);
  const max = Number(limit.max);
  const of = (n: number) => (kind === "memory" ? bytes(n * 1024 ** 2, w) : /storage/.test(kind) ? `${w.number(n, { maximumFractionDigits: 1 })} GiB` : w.number(n));
  const unit = kind === "memory" ? "MiB" : /storage/.test(kind) ? "GiB" : "";
  return (
    <div role="listitem" aria-label={name} style={{ padding: "10px 16px", borderBottom: "1px solid light-dark(#eff1f3, #272d31)" }}>
      <Group justify="space-between" gap="md" wrap="nowrap" align="center">
        <div style={{ flex: 1, minWidth: 0 }}>
          {max >= 0 ? <Bar name={name} label={name} used={used} total={max} of={of} /> : <Group justify="space-between"><Text size="sm">{name}</Text><Text size="sm" c="dimmed">{of(used)} / {w.t("limits.free")}</Text></Group>}
        </div>
        {may && !editing && <ActionIcon variant="subtle" color="gray" size="lg" aria-label={w.t("limits.edit", { name })} onClick={() => (setValue(max < 0 ? used : max), setFree(max < 0), setEditing(true))}><IconPencil size={17} /></ActionIcon>}
      </Group>
      {editing && (
        <form onSubmit={async (e) => {
          e.preventDefault();
          setBusy(true);
          setFault(undefined);
          try {
            await call("updateResourceLimit", { ...party, resourcetype: limit.resourcetype, max: free ? -1 : Number(value) });
            await settled();
            setEditing(false);
            notifications.show({ color: "mold", message: w.t("limits.saved", { name }) });
          } catch (no) {
            setFault(no);
          } finally {
            setBusy(false);
          }
        }}>
          <Stack gap="xs" mt="sm">
            <Group align="center" gap="md">
              <NumberInput w={180} aria-label={w.t("limits.value", { name })} min={0} allowDecimal={false} thousandSeparator="," suffix={unit ? ` ${unit}` : undefined} disabled={free} value={value} onChange={setValue} autoFocus />
              <Checkbox label={w.t("limits.free")} checked={free} onChange={(e) => setFree(e.currentTarget.checked)} />
              <Group gap="xs"><Button size="xs" variant="default" onClick={() => (setEditing(false), setFault(undefined))}>{w.t("cancel")}</Button><Button size="xs" type="submit" loading={busy} disabled={!free && value === ""}>{w.t("save")}</Button></Group>
            </Group>
            {!free && Number(value) < used && <Text size="xs" c="dimmed">{w.t("limits.below")}</Text>}
            {fault !== undefined && <FaultNote fault={fault} />}
          </Stack>
        </form>
      )}
    </div>
  );
}
