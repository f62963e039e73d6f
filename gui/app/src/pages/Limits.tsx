import { Alert, Group, Select, Stack, Text, Title } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useEffect } from "react";
import { call, rows } from "../api/client";
import { useModel } from "../api/model";
import { useScope } from "../api/scope";
import { useSession } from "../api/session";
import LimitTable from "../parts/LimitTable";
import { Pick } from "../parts/Pick";
import { useSearchWriter } from "../parts/To";
import { useWords } from "../words";

/** Limits and what is used of them, of whom the scope names: a project, a domain, or an account of it. */
export default function LimitsPage() {
  const w = useWords();
  const me = useSession();
  const scope = useScope();
  const { commands } = useModel();
  const write = useSearchWriter();
  useEffect(() => void (document.title = `${w.noun("ResourceLimits")} · Mold`), [w]);
  const accounts = useQuery({ queryKey: ["listAccounts", "choose", scope.domain], enabled: Boolean(scope.domain) && commands.has("listAccounts"), queryFn: async () => rows(await call("listAccounts", { domainid: scope.domain, pagesize: 500, page: 1 })).rows });
  const party = scope.project ? { projectid: scope.project } : scope.domain ? { domainid: scope.domain, account: scope.account } : { domainid: me?.domainid, account: me?.account };
  return (
    <Stack gap="lg">
      <div><Title order={1} fz={26}>{w.noun("ResourceLimits")}</Title><Text c="dimmed" mt={4}>{w.t("limits.about")}</Text></div>
      <Group gap="sm" align="flex-end">
        {commands.has("listDomains") && <Pick list="listDomains" label={w.field("domainid")} value={scope.project ? undefined : scope.domain} onChange={(v) => write({ domain: v as string, account: undefined, project: undefined })} placeholder={w.t("limits.mine")} />}
        {scope.domain && <Select label={w.field("account")} placeholder={w.t("limits.domain")} clearable searchable data={(accounts.data ?? []).map((a) => String(a.name))} value={scope.account ?? null} onChange={(v) => write({ account: v ?? undefined })} />}
        {commands.has("listProjects") && <Pick list="listProjects" label={w.field("projectid")} value={scope.project} onChange={(v) => write({ project: v as string, domain: undefined, account: undefined })} placeholder={w.t("scope.none")} />}
      </Group>
      {!scope.project && !scope.domain && <Alert role="note" color="gray">{w.t("limits.choose")}</Alert>}
      <LimitTable key={JSON.stringify(party)} party={party} />
    </Stack>
  );
}
