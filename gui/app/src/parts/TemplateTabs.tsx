// Where a template is, and who else may use it.

import { ActionIcon, Button, Group, List, Paper, Stack, Switch, TagsInput, Text, Title } from "@mantine/core";
import { IconX } from "@tabler/icons-react";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { call, rows, type Params, type Row } from "../api/client";
import { useModel } from "../api/model";
import { queries } from "../api/queries";
import { current } from "../api/session";
import { useWords } from "../words";
import { DataTable } from "./DataTable";
import { FaultNote } from "./FaultNote";

/** Users must say among which templates they look: their own, or those that they may use. */
export const sought = (): Params[] => (current()?.type === "0" ? ["self", "executable"] : ["all"]).map((templatefilter) => ({ templatefilter }));

/** One row for every zone that has it. */
export function Zones({ row }: { row: Row }) {
  const w = useWords();
  const found = useQuery({ queryKey: ["listTemplates", "zones", row.id], queryFn: async ({ signal }) => {
    for (const asked of sought()) {
      const told = rows(await call("listTemplates", { ...asked, id: row.id, listall: true }, signal)).rows;
      if (told.length) return told;
    }
    return [];
  } });
  const percent = (r: Row) => ((r.downloaddetails ?? []) as Row[])[0]?.downloadPercent;
  return <DataTable embedded title={w.t("templates.zones")} loading={found.isPending} fault={found.error} rows={(found.data ?? []).map((r) => ({ ...r, id: `${r.id} ${r.zoneid}` }))} columns={[{ field: "zonename" }, { field: "isready" }, { field: "downloadpercent", title: w.t("templates.percent"), value: (r) => Number(percent(r) ?? 0), cell: (r) => (percent(r) === undefined ? "–" : `${percent(r)}%`) }, { field: "physicalsize" }, { field: "status", cell: (r) => <span lang="en">{r.status}</span> }]} />;
}

export function Sharing({ row }: { row: Row }) {
  const w = useWords();
  const model = useModel();
  const may = model.commands.has("updateTemplatePermissions");
  const [names, setNames] = useState<string[]>([]);
  const [fault, setFault] = useState<unknown>();
  const [busy, setBusy] = useState(false);
  const key = ["listTemplatePermissions", row.id];
  const found = useQuery({ queryKey: key, enabled: model.commands.has("listTemplatePermissions"), queryFn: async ({ signal }) => (await call("listTemplatePermissions", { id: row.id }, signal)).templatepermission as Row });
  const change = async (params: Params) => {
    setBusy(true);
    setFault(undefined);
    try {
      await call("updateTemplatePermissions", { id: row.id, ...params });
      await Promise.all([queries.invalidateQueries({ queryKey: key }), queries.invalidateQueries({ queryKey: ["listTemplates"] })]);
      return true;
    } catch (no) {
      setFault(no);
      return false;
    } finally {
      setBusy(false);
    }
  };
  if (found.isError) return <FaultNote fault={found.error} again={() => void found.refetch()} />;
  const accounts = (found.data?.account ?? []) as string[];
  return (
    <Paper p="lg" maw={640}>
      <Stack>
        <Title order={2} fz={16}>{w.t("templates.share")}</Title>
        <Switch disabled={!may || busy} checked={Boolean(found.data?.ispublic ?? row.ispublic)} onChange={(e) => void change({ ispublic: e.currentTarget.checked })} label={w.t("templates.public")} description={w.t("templates.public.how")} />
        <div>
          <Text size="sm" fw={560} mb={6}>{w.t("templates.accounts")}</Text>
          {accounts.length ? <List listStyleType="none" spacing={4}>{accounts.map((a) => <List.Item key={a}><Group gap={6}><Text size="sm">{a}</Text>{may && <ActionIcon size={26} variant="subtle" color="gray" disabled={busy} aria-label={w.t("templates.unshare", { name: a })} onClick={() => void change({ op: "remove", accounts: a })}><IconX size={15} /></ActionIcon>}</Group></List.Item>)}</List> : <Text size="sm" c="dimmed">{w.t("templates.accounts.none")}</Text>}
        </div>
        {may && (
          <Group align="flex-end" wrap="nowrap">
            <TagsInput style={{ flex: 1 }} label={w.t("templates.add")} description={w.t("templates.add.how")} placeholder={w.t("form.tags")} value={names} onChange={setNames} />
            <Button disabled={!names.length} loading={busy} onClick={() => void change({ op: "add", accounts: names.join(",") }).then((good) => good && setNames([]))}>{w.t("templates.share")}</Button>
          </Group>
        )}
        {fault !== undefined && <FaultNote fault={fault} />}
      </Stack>
    </Paper>
  );
}
