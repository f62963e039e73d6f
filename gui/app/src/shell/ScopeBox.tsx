import { Button, Select, Stack } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { call, rows } from "../api/client";
import { useModel } from "../api/model";
import { useScope } from "../api/scope";
import { Pick } from "../parts/Pick";
import { useWords } from "../words";

/** Everything, a project, or a domain with its accounts. */
export default function ScopeBox({ choose }: { choose: (to: Record<string, string | undefined>) => void }) {
  const w = useWords();
  const scope = useScope();
  const { commands } = useModel();
  return (
    <Stack gap="sm">
      {commands.has("listProjects") && <Pick list="listProjects" label={w.noun("Projects")} value={scope.project} onChange={(v) => choose({ project: v as string })} placeholder={w.t("scope.none")} />}
      {commands.has("listDomains") && <Pick list="listDomains" label={w.noun("Domains")} value={scope.domain} onChange={(v) => choose({ domain: v as string })} placeholder={w.t("scope.none")} />}
      {scope.domain && commands.has("listAccounts") && <AccountPick domain={scope.domain} value={scope.account} onChange={(account) => choose({ domain: scope.domain, account })} />}
      <Button variant="default" size="xs" onClick={() => choose({})}>{w.t("scope.all")}</Button>
    </Stack>
  );
}

function AccountPick({ domain, value, onChange }: { domain: string; value?: string; onChange: (name?: string) => void }) {
  const w = useWords();
  const found = useQuery({ queryKey: ["listAccounts", "choose", domain], queryFn: async () => rows(await call("listAccounts", { domainid: domain, pagesize: 500, page: 1 })).rows });
  return <Select label={w.noun("Accounts")} placeholder={w.t("scope.none")} clearable searchable data={(found.data ?? []).map((a) => String(a.name))} value={value ?? null} onChange={(v) => onChange(v ?? undefined)} />;
}
