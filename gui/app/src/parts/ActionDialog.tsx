// The dialog of an action: asks, runs, and tells how it went, item by item.

import { Alert, Badge, Button, Drawer, Group, List, Loader, Modal, Stack, Text, TextInput } from "@mantine/core";
import { useMediaQuery } from "@mantine/hooks";
import { IconCheck, IconX } from "@tabler/icons-react";
import { useState } from "react";
import { Fault, type Params, type Row } from "../api/client";
import { refused, run } from "../api/jobs";
import { useDeclared } from "../nouns";
import { useModel } from "../api/model";
import { useWords } from "../words";
import { DANGEROUS, follow, IRREVERSIBLE, tell, type Act } from "./act";
import { CommandForm, initialOf } from "./CommandForm";
import { explain } from "./FaultNote";
import { fieldsOf } from "./fields";
import { nameOf } from "./Value";

export default function Dialog({ what, close }: { what: Act; close: () => void }) {
  const w = useWords();
  const phone = useMediaQuery("(max-width: 48em)");
  const command = useModel().commands.get(what.command);
  const [typed, setTyped] = useState("");
  const about = useDeclared(what.noun);
  if (!command || (what.noun && !about)) return null;
  const rows = what.rows ?? [];
  const row = rows.length === 1 ? rows[0] : undefined;
  const subject = row ? nameOf(row) : undefined;
  const title = what.noun ? w.action(what.command, what.noun.name) : w.command(what.command);
  if (rows.length > 1) return <Many what={what} title={title} close={close} />;

  const param = what.param ?? "id";
  const fixed: Params = { ...(row ? { [param]: row.id } : {}), ...what.fixed };
  const without = [...(what.without ?? []), ...(about?.without?.[what.command] ?? [])];
  const fields = fieldsOf(command, fixed).filter((f) => !without.includes(f.param.name));
  const asks = fields.some((f) => f.required);
  const updates = /^update|^configure/.test(what.command);
  const final = IRREVERSIBLE.test(what.command) && subject;
  const danger = DANGEROUS.test(what.command);
  const body = (
    <CommandForm
      command={command}
      fixed={fixed}
      initial={row && updates && param === "id" ? initialOf(command, row) : about?.starts?.[what.command]}
      needs={about?.needs?.[what.command]}
      first={what.first ?? about?.first?.[what.command] ?? (updates ? fields.slice(0, 6).map((f) => f.param.name) : undefined)}
      without={without}
      subject={subject}
      list={what.noun?.list.name}
      target={row?.id}
      submit={title}
      danger={danger}
      allowed={!final || typed === subject}
      onCancel={close}
      onDone={(ran) => {
        close();
        follow(ran, subject);
        if (!ran.job) tell({ color: "mold", message: w.t("done", { what: subject ? `${subject} · ${title}` : w.command(what.command) }), autoClose: 3000 });
        what.onDone?.(ran);
      }}
    >
      {row && !updates && <Text>{w.verb(what.command) === title ? w.t("ask", { subject, verb: title.toLowerCase() }) : w.t("ask.other", { subject, action: title })}</Text>}
      {w.maybe(`about.${what.command}`) && <Text size="sm" c="dimmed">{w.t(`about.${what.command}`)}</Text>}
      {row && about?.asks?.[what.command]?.(row)}
      {final && (
        <>
          <Alert color="red" variant="light">{w.t("ask.final")}</Alert>
          <TextInput data-autofocus label={w.t("ask.type", { subject })} value={typed} onChange={(e) => setTyped(e.currentTarget.value)} autoComplete="off" />
        </>
      )}
    </CommandForm>
  );
  const heading = <Text fw={650} fz="lg">{row && !asks ? title : w.command(what.command)}</Text>;
  if (asks || updates || (!row && fields.length > 3))
    return <Drawer opened onClose={close} position="right" size={phone ? "100%" : 520} title={heading} closeButtonProps={{ "aria-label": w.t("close") }}>{body}</Drawer>;
  return <Modal opened onClose={close} fullScreen={phone && fields.length > 6} title={heading} size="md" closeButtonProps={{ "aria-label": w.t("close") }}>{body}</Modal>;
}

type Outcome = { row: Row; state: "waiting" | "busy" | "good" | "bad"; why?: string; said?: string };

function Many({ what, title, close }: { what: Act; title: string; close: () => void }) {
  const w = useWords();
  const isJob = useModel().commands.get(what.command)?.isasync;
  const [out, setOut] = useState<Outcome[]>((what.rows ?? []).map((row) => ({ row, state: "waiting" })));
  const [begun, setBegun] = useState(false);
  const left = out.filter((o) => o.state === "waiting" || o.state === "busy").length;
  const failed = out.filter((o) => o.state === "bad");
  const mark = (row: Row, change: Partial<Outcome>) => setOut((all) => all.map((o) => (o.row === row ? { ...o, ...change } : o)));

  const told = (no: unknown) => {
    const { why, said } = explain(no, w);
    return { why, said };
  };
  async function each(rows: Row[]) {
    setBegun(true);
    const queue = [...rows];
    const together = isJob ? { id: `${Date.now()} ${rows[0]?.id}`, all: rows.length } : undefined;
    const worker = async () => {
      for (let row = queue.shift(); row; row = queue.shift()) {
        const now = row;
        mark(now, { state: "busy", why: undefined, said: undefined });
        try {
          const job = await (await run(what.command, { [what.param ?? "id"]: now.id, ...what.fixed }, { subject: nameOf(now), list: what.noun?.list.name, target: now.id, together })).ended;
          mark(now, job?.status === 2 ? { state: "bad", ...told(new Fault(job.error?.text ?? "", { code: job.error?.code ?? 530, key: job.error?.key, params: job.error?.params, command: what.command })) } : { state: "good" });
        } catch (no) {
          if (together) refused({ command: what.command, subject: nameOf(now), target: now.id, together }, no);
          mark(now, { state: "bad", ...told(no) });
        }
      }
    };
    await Promise.all(Array.from({ length: 4 }, worker));
  }

  return (
    <Modal opened onClose={close} title={<Text fw={650} fz="lg">{title}</Text>} size="lg" closeButtonProps={{ "aria-label": w.t("close") }}>
      <Stack>
        <Text>{begun ? w.t("many.now", { done: out.length - left, all: out.length }) : w.t("many.ask", { count: out.length, action: title })}</Text>
        <List spacing={6} listStyleType="none" mah={320} style={{ overflow: "auto" }} aria-live="polite">
          {out.map((o) => (
            <List.Item key={o.row.id}>
              <Group gap={8} wrap="nowrap" align="flex-start">
                {o.state === "busy" ? <Loader size={16} /> : o.state === "good" ? <IconCheck size={18} color="var(--mold-good)" aria-label={w.t("many.good")} /> : o.state === "bad" ? <IconX size={18} color="var(--mold-bad)" aria-label={w.t("many.bad")} /> : <Badge variant="light" color="gray" size="sm">{w.t("many.waiting")}</Badge>}
                <div><Text size="sm">{nameOf(o.row)}</Text>{o.why && <Text size="xs" c="red">{o.why}</Text>}{o.said && <Text size="xs" c="dimmed" lang="en">“{o.said}”</Text>}</div>
              </Group>
            </List.Item>
          ))}
        </List>
        <Group justify="flex-end">
          <Button variant="default" onClick={close}>{w.t(begun ? "close" : "cancel")}</Button>
          {!begun && <Button color={DANGEROUS.test(what.command) ? "red" : undefined} onClick={() => void each(out.map((o) => o.row))}>{title}</Button>}
          {begun && !left && failed.length > 0 && <Button onClick={() => void each(failed.map((o) => o.row))}>{w.t("many.again", { count: failed.length })}</Button>}
        </Group>
      </Stack>
    </Modal>
  );
}
