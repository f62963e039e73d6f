// One job: what it does to what, step by step, and how it ended.

import { Alert, Code, Group, Loader, Paper, Progress, Stack, Text, Title } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useParams } from "@tanstack/react-router";
import { useEffect } from "react";
import { call, Fault } from "../api/client";
import { FaultNote } from "../parts/FaultNote";
import { Mark } from "../parts/State";
import { Subject } from "../parts/subject";
import { To } from "../parts/To";
import { ago, date, instant } from "../parts/Value";
import { useWords } from "../words";

const TONES = ["busy", "good", "bad"] as const;
const STEP = { done: "good", running: "busy", waiting: "calm", undone: "warn" } as const;

export default function JobPage() {
  const w = useWords();
  const { id } = useParams({ strict: false }) as { id: string };
  const found = useQuery({ queryKey: ["listAsyncJobs", "one", id], queryFn: ({ signal }) => call("queryAsyncJobResult", { jobid: id }, signal), refetchInterval: ({ state }) => (Number(state.data?.jobstatus ?? 1) === 0 ? 1500 : false) });
  const job = found.data;
  const title = job?.command ? w.command(String(job.command)) : w.noun("AsyncJobs");
  useEffect(() => void (document.title = `${title} · Mold`), [title]);
  const crumb = <Text size="sm" mb={4}><To className="plain" to="/asyncjobs">← {w.noun("AsyncJobs")}</To></Text>;
  if (found.isError) return <Stack>{crumb}<FaultNote fault={found.error} again={() => void found.refetch()} /></Stack>;
  if (!job) return <Stack>{crumb}<Group role="status"><Loader size={20} /><Text c="dimmed" size="sm">{w.t("loading")}</Text></Group></Stack>;
  const status = Number(job.jobstatus);
  const result = job.jobresult as Record<string, unknown> | undefined;
  const [began, ended] = [instant(job.created), instant(job.completed)];
  return (
    <Stack gap="lg" maw={860}>
      <div>{crumb}<Group gap="sm"><Title order={1} fz={26}>{title}</Title><Mark tone={TONES[status] ?? "calm"}>{w.t(`job.status.${status}`)}</Mark></Group></div>
      {status === 0 && <div><Group justify="space-between" mb={4}><Text size="sm">{w.t("job.progress")}</Text><Text size="sm" c="dimmed">{Number(job.jobprogress ?? 0)}%</Text></Group><Progress value={Number(job.jobprogress ?? 0)} aria-label={w.t("job.progress")} animated /></div>}
      {status === 2 && <FaultNote fault={new Fault(String(result?.errortext ?? ""), { code: Number(result?.errorcode ?? 530), key: result?.errorkey as string, params: result?.errorparams as Record<string, unknown>, command: String(job.command), job: id })} />}
      <Paper p="lg">
        <dl className="facts">
          {job.jobinstanceid && <div><dt>{w.field("resourcename")}</dt><dd><Subject type={job.jobinstancetype} id={job.jobinstanceid} name={job.jobinstanceid} /></dd></div>}
          {job.account && <div><dt>{w.field("account")}</dt><dd>{String(job.account)}</dd></div>}
          {began && <div><dt>{w.field("created")}</dt><dd>{date(began, w)} ({ago(began, w)})</dd></div>}
          {ended && <div><dt>{w.field("completed")}</dt><dd>{date(ended, w)}</dd></div>}
          {began && ended && <div><dt>{w.t("job.took")}</dt><dd>{w.t("job.seconds", { seconds: w.number((ended.getTime() - began.getTime()) / 1000, { maximumFractionDigits: 1 }) })}</dd></div>}
          <div><dt>ID</dt><dd><Code>{id}</Code></dd></div>
        </dl>
      </Paper>
      {Array.isArray(job.jobsteps) && job.jobsteps.length > 0 && (
        <Paper p="lg">
          <Title order={2} fz={16} mb="sm">{w.t("job.steps")}</Title>
          <ol style={{ listStyle: "none", margin: 0, padding: 0 }} aria-live="polite">
            {job.jobsteps.map((s: Record<string, string>, i: number) => (
              <li key={s.name} style={{ display: "flex", justifyContent: "space-between", gap: 12, padding: "8px 0", borderTop: i ? "1px solid light-dark(#eff1f3, #272d31)" : undefined }}>
                <div><Text size="sm">{w.t("job.step", { number: i + 1 })} <Code lang="en">{s.name}</Code></Text>{s.text && <Text size="xs" c="dimmed" lang="en">{s.text}</Text>}</div>
                <Mark tone={STEP[s.state as keyof typeof STEP] ?? "calm"}>{w.state(s.state)}</Mark>
              </li>
            ))}
          </ol>
        </Paper>
      )}
      {status === 0 && <Alert role="note" color="gray">{w.t("job.leave")}</Alert>}
    </Stack>
  );
}
