// Why a host was chosen and why the others were not: codes of the server, said in the user's language.

import { Alert, Group, Stack, Text } from "@mantine/core";
import type { Row } from "../api/client";
import { useWords } from "../words";
import { Mark } from "./State";

/** `plan` is the answer of findDeploymentPlan; for tenants it names no hosts but counts reasons. */
export function Explain({ plan }: { plan: Row }) {
  const w = useWords();
  const accepted = Number(plan.accepted ?? 0);
  const reason = (code: string, facts: Row = {}) => w.maybe(`reason.${code}`, facts) ?? w.phrase(code);
  return (
    <Stack gap="sm">
      <Text fw={600}>{accepted ? w.t("explain.fits", { count: accepted }) : w.t("explain.none")}</Text>
      {plan.quota?.fits === false && <Alert color="red">{w.t("explain.over")}{w.language === "en" && ` ${plan.quota.reason}`}</Alert>}
      {(plan.candidate as Row[] | undefined)?.map((c) => (
        <Group key={c.hostid ?? c.hostname} justify="space-between" wrap="nowrap" align="flex-start" gap="sm">
          <div>
            <Text size="sm" fw={560} translate="no">{c.hostname}</Text>
            {((c.reason ?? c.reasons ?? []) as Row[]).map((r, i) => <Text key={i} size="xs" c="dimmed">{reason(String(r.code), r)}</Text>)}
          </div>
          <Group gap="xs" wrap="nowrap">{c.accepted && <Text size="xs" c="dimmed">{w.t("explain.score", { score: c.score })}</Text>}<Mark tone={c.accepted ? "good" : "calm"}>{w.t(c.accepted ? "explain.yes" : "explain.no")}</Mark></Group>
        </Group>
      ))}
      {!plan.candidate && Object.entries((plan.reasons ?? {}) as Row).map(([code, count]) => <Text key={code} size="sm" c="dimmed">{reason(code)}: {w.number(Number(count))}</Text>)}
    </Stack>
  );
}
