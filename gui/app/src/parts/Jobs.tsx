// Jobs: one with its steps, and the tray of all that this browser began.

import { pageOf, To } from "./To";
import { ActionIcon, Anchor, Group, Indicator, Popover, Progress, ScrollArea, Stack, Text, Tooltip } from "@mantine/core";
import { IconActivity, IconCheck, IconCircle, IconLoader2, IconX } from "@tabler/icons-react";

import { useState } from "react";
import type { Row } from "../api/client";
import { jobs, type Job } from "../api/jobs";
import { slugOf } from "../api/model";
import { useWords } from "../words";
import { ago } from "./Value";

export function Steps({ steps }: { steps: Row[] }) {
  const w = useWords();
  return (
    <Stack gap={4} component="ol" m={0} p={0} style={{ listStyle: "none" }}>
      {steps.map((s, i) => {
        const state = String(s.state ?? s.status ?? "");
        const Icon = /done|completed|success/i.test(state) ? IconCheck : /fail|error/i.test(state) ? IconX : /running|now|busy/i.test(state) ? IconLoader2 : IconCircle;
        return <Group component="li" key={i} gap={8} wrap="nowrap"><Icon size={15} aria-hidden /><Text size="sm">{w.phrase(String(s.name ?? s.step ?? s))}</Text>{state && <Text size="xs" c="dimmed">{w.state(state)}</Text>}</Group>;
      })}
    </Stack>
  );
}

export function JobProgress({ job }: { job: Job }) {
  const w = useWords();
  const bad = job.status === 2;
  return (
    <Stack gap={4}>
      <Group justify="space-between" wrap="nowrap" gap="sm">
        <Text size="sm" fw={560} truncate>{job.subject ? `${job.subject} · ` : ""}{w.command(job.command)}</Text>
        <Text size="xs" c="dimmed" style={{ whiteSpace: "nowrap" }}>{job.status === 0 ? (job.percent === undefined ? w.t("job.now") : `${Math.round(job.percent)}%`) : ago(new Date(job.ended ?? job.began), w)}</Text>
      </Group>
      {job.status === 0 && <Progress aria-label={w.command(job.command)} value={job.percent ?? 100} animated={job.percent === undefined} size="sm" />}
      {job.status === 0 && job.step && <Text size="xs" c="dimmed">{w.phrase(job.step)}</Text>}
      {job.status === 1 && <Text size="xs" c="var(--mold-good)">{w.t("job.done")}</Text>}
      {bad && <Text size="xs" c="var(--mold-bad)">{w.t("job.failed")}: {w.language === "en" ? job.error?.text : (w.maybe(`fault.${job.error?.key ?? ""}`) ?? w.maybe(`fault.${job.error?.code}`) ?? w.t("fault.other"))}</Text>}
      {bad && w.language !== "en" && job.error?.text && <Text size="xs" c="dimmed" lang="en">“{job.error.text}”</Text>}
      {job.status === 1 && job.list && job.target && <Anchor size="xs" renderRoot={(p) => <To {...p} to={pageOf({ slug: slugOf(job.list as string), id: job.target as string })} />}>{w.t("job.open")}</Anchor>}
    </Stack>
  );
}

/** What was begun for many at once is one piece of work: how many are done, and those that failed. */
function Together({ some, all }: { some: Job[]; all: number }) {
  const w = useWords();
  const done = some.filter((j) => j.status !== 0).length;
  return (
    <Stack gap={4}>
      <Group justify="space-between" wrap="nowrap" gap="sm">
        <Text size="sm" fw={560} truncate>{w.command(some[0].command)}</Text>
        <Text size="xs" c="dimmed" style={{ whiteSpace: "nowrap" }}>{done < all ? `${Math.round((100 * done) / all)}%` : ago(new Date(some[0].ended ?? some[0].began), w)}</Text>
      </Group>
      {done < all && <Progress aria-label={w.command(some[0].command)} value={(100 * done) / all} size="sm" />}
      <Text size="xs" c="dimmed">{w.t("many.now", { done, all })}</Text>
      {some.filter((j) => j.status === 2).map((j) => <JobProgress key={j.id} job={j} />)}
    </Stack>
  );
}

/** Jobs, the newest first, those that were begun together in one. */
function pieces(all: Job[]): Job[][] {
  const found = new Map<string, Job[]>();
  for (const job of all) {
    const key = job.together?.id ?? job.id;
    found.set(key, [...(found.get(key) ?? []), job]);
  }
  return [...found.values()];
}

export function JobTray() {
  const w = useWords();
  const all = pieces(jobs.use());
  const [open, setOpen] = useState(false);
  const now = all.filter((piece) => piece.some((j) => j.status === 0)).length;
  return (
    <Popover opened={open} onChange={setOpen} width={360} position="bottom-end" shadow="md" trapFocus returnFocus>
      <Popover.Target>
        <Tooltip label={w.t("jobs")}>
          <Indicator disabled={!now} label={now} size={17} offset={5} processing={now > 0}>
            <ActionIcon variant="subtle" color="gray" size={38} aria-label={now ? w.t("jobs.now", { count: now }) : w.t("jobs")} aria-expanded={open} onClick={() => setOpen(!open)}><IconActivity size={20} /></ActionIcon>
          </Indicator>
        </Tooltip>
      </Popover.Target>
      <Popover.Dropdown role="dialog" aria-label={w.t("jobs")}>
        <Group justify="space-between" mb="sm"><Text fw={650}>{w.t("jobs")}</Text><Anchor size="sm" renderRoot={(p) => <To {...p} to={pageOf({ slug: "asyncjobs" })} onClick={() => setOpen(false)} />}>{w.t("jobs.all")}</Anchor></Group>
        <ScrollArea.Autosize mah={420} viewportProps={{ tabIndex: 0, "aria-label": w.t("jobs") }}>
          <Stack gap="md" aria-live="polite">{all.length ? all.slice(0, 20).map(([j, ...more]) => (j.together ? <Together key={j.together.id} some={[j, ...more]} all={j.together.all} /> : <JobProgress key={j.id} job={j} />)) : <Text size="sm" c="dimmed">{w.t("jobs.none")}</Text>}</Stack>
        </ScrollArea.Autosize>
      </Popover.Dropdown>
    </Popover>
  );
}
