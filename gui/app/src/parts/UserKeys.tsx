// The API keys of a user: what each is for and may do, one more with dates and rules of its own, and revoking. The secret
// is shown once, when it is made.

import { ActionIcon, Alert, Button, Code, Group, Loader, Modal, Paper, SegmentedControl, Stack, Text, TextInput } from "@mantine/core";
import { useMediaQuery } from "@mantine/hooks";
import { IconAlertTriangle, IconPlus, IconX } from "@tabler/icons-react";
import { useQuery } from "@tanstack/react-query";
import { useState, type FormEvent } from "react";
import { call, everything, mapped, type Params, type Row } from "../api/client";
import { finish } from "../api/finish";
import { useModel } from "../api/model";
import { settle } from "../api/queries";
import { useWords } from "../words";
import { tell } from "./act";
import { CopyButton } from "./CliLine";
import { FaultNote } from "./FaultNote";
import { moment } from "./fields";
import { Mark } from "./State";
import { Value } from "./Value";

interface Rule { rule: string; permission: "allow" | "deny" } // prettier-ignore

export default function UserKeys({ user }: { user: Row }) {
  const w = useWords();
  const { commands } = useModel();
  const [making, setMaking] = useState(false);
  const [made, setMade] = useState<Row>();
  const [ending, setEnding] = useState<Row>();
  const found = useQuery({ queryKey: ["listUserKeys", "of", user.id], enabled: commands.has("listUserKeys"), queryFn: ({ signal }) => everything("listUserKeys", { userid: user.id, showpermissions: true }, signal) });
  return (
    <Stack maw={860}>
      <Group justify="space-between" gap="sm">
        <Text size="sm" c="dimmed" style={{ flex: "1 1 260px" }}>{w.t("me.keys.how")}</Text>
        {commands.has("registerUserKeys") && <Button size="sm" leftSection={<IconPlus size={16} aria-hidden />} onClick={() => setMaking(true)}>{w.t("me.keys.make")}</Button>}
      </Group>
      {found.isError ? <FaultNote fault={found.error} again={() => void found.refetch()} /> : found.isPending && found.isFetching ? <Group role="status"><Loader size={20} /><Text size="sm" c="dimmed">{w.t("loading")}</Text></Group> : !found.data?.length ? <Paper p="lg"><Text c="dimmed">{w.t("keys.none")}</Text></Paper> : (
        <Paper role="list" aria-label={w.t("me.keys")}>
          {found.data.map((k) => <Key key={k.id} row={k} end={commands.has("deleteUserKeys") ? () => setEnding(k) : undefined} />)}
        </Paper>
      )}
      {making && <New user={user} close={() => setMaking(false)} done={(k) => (setMaking(false), setMade(k))} />}
      {made && <Shown made={made} close={() => setMade(undefined)} />}
      {ending && <End row={ending} close={() => setEnding(undefined)} />}
    </Stack>
  );
}

function Key({ row, end }: { row: Row; end?: () => void }) {
  const w = useWords();
  const rules = (row.permissions ?? []) as Row[];
  return (
    <div role="listitem" aria-label={String(row.name)} style={{ padding: "12px 16px", borderBottom: "1px solid light-dark(#eff1f3, #272d31)" }}>
      <Group justify="space-between" align="flex-start" gap="sm">
        <div style={{ minWidth: 0, flex: "1 1 280px" }}>
          <Group gap={8}><Text fw={600} size="sm" translate="no" style={{ overflowWrap: "anywhere" }}>{String(row.name)}</Text><Mark tone={row.state === "ENABLED" ? "good" : row.state === "PENDING" ? "busy" : "warn"}>{w.t(`keys.state.${row.state}`)}</Mark></Group>
          {row.description && <Text size="sm" mt={2} translate="no">{String(row.description)}</Text>}
          <Group gap={4} wrap="nowrap" mt={4}><Code style={{ overflowWrap: "anywhere" }}>{String(row.apikey)}</Code><CopyButton text={String(row.apikey)} /></Group>
          <Text size="xs" c="dimmed" mt={4}>
            {w.field("created")} <Value field="created" row={row} />
            {row.startdate && <> · {w.field("startdate")} <Value field="startdate" row={row} /></>}
            {row.enddate && <> · {w.field("enddate")} <Value field="enddate" row={row} /></>}
          </Text>
          <Text size="xs" c="dimmed" mt={2}>{rules.length ? w.t("keys.rules") : w.t("keys.norules")} {rules.map((r, i) => <Code key={i} mr={4}>{r.permission === "allow" ? "+" : "−"}{r.rule}</Code>)}</Text>
        </div>
        {end && <Button size="xs" variant="default" color="red" aria-label={w.t("keys.end.of", { name: String(row.name) })} onClick={end}>{w.t("keys.end")}</Button>}
      </Group>
    </div>
  );
}

function New({ user, close, done }: { user: Row; close: () => void; done: (made: Row) => void }) {
  const w = useWords();
  const phone = useMediaQuery("(max-width: 48em)");
  const [values, setValues] = useState({ name: "", description: "", startdate: "", enddate: "" });
  const [rules, setRules] = useState<Rule[]>([]);
  const [busy, setBusy] = useState(false);
  const [fault, setFault] = useState<unknown>();
  const set = (name: keyof typeof values) => (e: React.ChangeEvent<HTMLInputElement>) => setValues({ ...values, [name]: e.currentTarget.value });
  const edit = (at: number, change: Partial<Rule>) => setRules(rules.map((r, i) => (i === at ? { ...r, ...change } : r)));
  const late = values.startdate && values.enddate && values.enddate <= values.startdate ? w.t("keys.late") : values.enddate && new Date(values.enddate) <= new Date() ? w.t("keys.past") : undefined;
  async function submit(event: FormEvent) {
    event.preventDefault();
    if (late) return;
    setBusy(true);
    setFault(undefined);
    const kept = rules.filter((r) => r.rule.trim()).map((r) => ({ ...r, rule: r.rule.trim() }));
    const params: Params = { id: user.id, name: values.name.trim(), description: values.description.trim(), startdate: moment(values.startdate), enddate: moment(values.enddate), ...mapped("rules", kept) };
    try {
      const made = (await call("registerUserKeys", params)).userkeys as Row;
      settle("listUserKeys");
      settle("listUsers");
      done(made);
    } catch (no) {
      setFault(no);
    } finally {
      setBusy(false);
    }
  }
  return (
    <Modal opened onClose={close} fullScreen={phone} size="lg" title={<Text fw={650} fz="lg">{w.t("me.keys.make")}</Text>} closeButtonProps={{ "aria-label": w.t("close") }}>
      <form onSubmit={submit} noValidate>
        <Stack>
          <TextInput label={w.field("name")} description={w.t("keys.name.how")} value={values.name} onChange={set("name")} data-autofocus maxLength={255} />
          <TextInput label={w.field("description")} value={values.description} onChange={set("description")} maxLength={1024} />
          <Group grow align="flex-start" preventGrowOverflow={false}>
            <TextInput type="datetime-local" label={w.field("startdate")} description={w.t("keys.start.how")} value={values.startdate} onChange={set("startdate")} />
            <TextInput type="datetime-local" label={w.field("enddate")} description={w.t("keys.end.how")} value={values.enddate} error={late} onChange={set("enddate")} />
          </Group>
          <Stack gap={6} role="group" aria-label={w.t("keys.rules")}>
            <Text size="sm" fw={500}>{w.t("keys.rules")}</Text>
            <Text size="xs" c="dimmed">{w.t("keys.rules.how")}</Text>
            {rules.map((r, i) => (
              <Group key={i} gap={6} wrap="nowrap">
                <TextInput style={{ flex: 1, minWidth: 0 }} aria-label={w.t("keys.rule", { number: i + 1 })} placeholder="list*" value={r.rule} spellCheck={false} autoFocus onChange={(e) => edit(i, { rule: e.currentTarget.value })} />
                <SegmentedControl size="sm" aria-label={w.t("keys.rule.may", { number: i + 1 })} value={r.permission} onChange={(v) => edit(i, { permission: v as Rule["permission"] })} data={[{ value: "allow", label: w.t("role.allow") }, { value: "deny", label: w.t("role.deny") }]} />
                <ActionIcon variant="subtle" color="gray" size="lg" aria-label={w.t("remove")} onClick={() => setRules(rules.filter((_, x) => x !== i))}><IconX size={16} /></ActionIcon>
              </Group>
            ))}
            <Button type="button" variant="light" size="xs" w="fit-content" leftSection={<IconPlus size={14} aria-hidden />} onClick={() => setRules([...rules, { rule: "", permission: "allow" }])}>{w.t("keys.rule.add")}</Button>
          </Stack>
          {fault !== undefined && <FaultNote fault={fault} />}
          <Group justify="flex-end"><Button type="button" variant="default" onClick={close}>{w.t("cancel")}</Button><Button type="submit" loading={busy}>{w.t("keys.create")}</Button></Group>
        </Stack>
      </form>
    </Modal>
  );
}

function Shown({ made, close }: { made: Row; close: () => void }) {
  const w = useWords();
  return (
    <Modal opened onClose={close} closeOnClickOutside={false} size="lg" title={<Text fw={650} fz="lg">{w.t("keys.made", { name: String(made.name ?? "") })}</Text>} closeButtonProps={{ "aria-label": w.t("close") }}>
      <Stack>
        <Alert color="yellow" icon={<IconAlertTriangle aria-hidden />}>{w.t("keys.once")}</Alert>
        {(["apikey", "secretkey"] as const).map((k) => (
          <div key={k}>
            <Text size="sm" fw={560}>{w.field(k)}</Text>
            <Group gap={4} wrap="nowrap"><Code data-testid={k} style={{ overflowWrap: "anywhere" }}>{made[k]}</Code><CopyButton text={String(made[k])} name={w.t("keys.copy", { what: w.field(k) })} /></Group>
          </div>
        ))}
        <Group justify="flex-end"><Button onClick={close} data-autofocus>{w.t("once.done")}</Button></Group>
      </Stack>
    </Modal>
  );
}

function End({ row, close }: { row: Row; close: () => void }) {
  const w = useWords();
  const [busy, setBusy] = useState(false);
  const [fault, setFault] = useState<unknown>();
  async function end() {
    setBusy(true);
    setFault(undefined);
    try {
      await finish("deleteUserKeys", { keypairid: row.id }, { subject: String(row.name), list: "listUserKeys" });
      settle("listUsers");
      tell({ color: "mold", message: w.t("keys.ended", { name: String(row.name) }) });
      close();
    } catch (no) {
      setFault(no);
      setBusy(false);
    }
  }
  return (
    <Modal opened onClose={close} title={<Text fw={650} fz="lg">{w.t("keys.end")}</Text>} closeButtonProps={{ "aria-label": w.t("close") }}>
      <Stack>
        <Text>{w.t("keys.end.about", { name: String(row.name) })}</Text>
        {fault !== undefined && <FaultNote fault={fault} />}
        <Group justify="flex-end"><Button variant="default" onClick={close} data-autofocus>{w.t("cancel")}</Button><Button color="red" loading={busy} onClick={() => void end()}>{w.t("keys.end")}</Button></Group>
      </Stack>
    </Modal>
  );
}
