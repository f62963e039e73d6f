// Every command that the caller may use, and a form for each, made from the model.

import { To } from "../parts/To";
import { Alert, Badge, Code, Group, Paper, Stack, Text, TextInput, Title } from "@mantine/core";
import { IconSearch } from "@tabler/icons-react";
import { useParams } from "@tanstack/react-router";
import { useEffect, useMemo, useState } from "react";
import glossary from "../../../words/glossary.json";
import { call, rows, type Params, type Row } from "../api/client";
import { run, type Job } from "../api/jobs";
import { useModel, type Command } from "../api/model";
import { CommandForm } from "../parts/CommandForm";
import { DataTable } from "../parts/DataTable";
import { FILTERS } from "../parts/fields";
import { CopyButton } from "../parts/CliLine";

import { search } from "../shell/palette";
import { useWords } from "../words";
import { composer, type Glossary } from "../words/names";
import { NotFound } from "./NotFound";

const english = composer(glossary as unknown as Glossary, "en");

export function CommandsPage() {
  const w = useWords();
  const model = useModel();
  const [typed, setTyped] = useState("");
  useEffect(() => void (document.title = `${w.t("nav.commands")} · Mold`), [w]);
  const all = useMemo(() => [...model.commands.values()].map((c) => ({ c, label: w.command(c.name), english: english.command(c.name), name: c.name })).sort((a, b) => a.label.localeCompare(b.label, w.language)), [model, w]);
  const shown = typed ? search(typed, all, 500) : all;
  return (
    <Stack gap="lg">
      <div><Title order={1} fz={26}>{w.t("nav.commands")}</Title><Text c="dimmed" mt={4}>{w.t("commands.about", { count: all.length })}</Text></div>
      <TextInput maw={420} leftSection={<IconSearch size={16} aria-hidden />} aria-label={w.t("commands.search")} placeholder={w.t("palette.in")} value={typed} onChange={(e) => setTyped(e.currentTarget.value)} />
      <Text size="sm" c="dimmed" aria-live="polite">{w.t("table.count", { count: shown.length })}</Text>
      <Paper>
        {shown.map(({ c, label }) => (
          <To key={c.name} to={`/commands/${c.name}`} className="plain">
            <Group justify="space-between" wrap="nowrap" px="md" py={9} style={{ borderBottom: "1px solid var(--mantine-color-default-border)" }}>
              <div style={{ minWidth: 0 }}><Text size="sm" fw={560}>{label}</Text>{w.language === "en" && <Text size="xs" c="dimmed" truncate>{c.description}</Text>}</div>
              <Group gap={6} wrap="nowrap">{c.isasync && <Badge size="sm" variant="light" color="gray" visibleFrom="sm">{w.t("commands.job")}</Badge>}<Code>{c.name}</Code></Group>
            </Group>
          </To>
        ))}
      </Paper>
    </Stack>
  );
}

export default function CommandPage() {
  const { name } = useParams({ strict: false }) as { name?: string };
  const command = useModel().commands.get(name ?? "");
  if (!name) return <CommandsPage />;
  return command ? <One key={name} command={command} /> : <NotFound />;
}

function One({ command }: { command: Command }) {
  const w = useWords();
  const [answer, setAnswer] = useState<Row>();
  const [job, setJob] = useState<Job>();
  const reads = command.httprequesttype === "GET";
  useEffect(() => void (document.title = `${w.command(command.name)} · Mold`), [w]);
  const submit = async (params: Params) => {
    setJob(undefined);
    if (reads) return setAnswer(await call(command.name, params));
    const ran = await run(command.name, params);
    setAnswer(ran.answer);
    void ran.ended.then((j) => j && (setJob(j), setAnswer(j.result ?? ran.answer)));
  };
  const found = answer && reads ? rows(answer) : undefined;
  const json = answer ? JSON.stringify(answer, null, 2) : "";
  return (
    <Stack gap="lg">
      <div>
        <Text size="sm" mb={4}><To className="plain" to={"/commands"}>← {w.t("nav.commands")}</To></Text>
        <Title order={1} fz={26}>{w.command(command.name)}</Title>
        <Group gap={8} mt={6}><Code>{command.name}</Code>{command.isasync && <Badge variant="light" color="gray">{w.t("commands.job")}</Badge>}</Group>
        {w.language === "en" && <Text c="dimmed" mt="xs">{command.description}</Text>}
      </div>
      <Paper p="lg" maw={720}><CommandForm command={command} initial={FILTERS[command.name]} submit={w.t("run")} onSubmit={submit} /></Paper>
      {job?.status === 2 && <Alert color="red" title={w.t("job.failed")}><span lang="en">{job.error?.text}</span></Alert>}
      {found && found.rows.length > 0 && <DataTable embedded title={w.command(command.name)} columns={Object.keys(found.rows[0]).filter((f) => typeof found.rows[0][f] !== "object").map((field) => ({ field }))} rows={found.rows} count={found.count} />}
      {answer && (
        <Paper p="md" aria-live="polite">
          <Group justify="space-between"><Title order={2} fz={16}>{w.t("commands.answer")}</Title><CopyButton text={json} /></Group>
          <code className="line" tabIndex={0} style={{ maxHeight: 480, overflow: "auto" }}>{json}</code>
        </Paper>
      )}
    </Stack>
  );
}
