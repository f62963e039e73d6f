// What people have written down about a thing: for everybody who sees it, or for admins only.

import { Button, Checkbox, Group, Loader, Modal, Paper, Stack, Text, Textarea } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useState, type FormEvent } from "react";
import { call, everything, type Row } from "../api/client";
import { useModel } from "../api/model";
import { settle } from "../api/queries";
import { isAdmin, useSession } from "../api/session";
import { useWords } from "../words";
import { tell } from "./act";
import { FaultNote } from "./FaultNote";
import { Mark } from "./State";
import { nameOf, Value } from "./Value";

/** `type` is the API's `entitytype`, `list` the list command of the thing. */
export default function Notes({ row, type, list }: { row: Row; type: string; list: string }) {
  const w = useWords();
  const me = useSession();
  const { commands } = useModel();
  const admin = me?.type !== "0";
  const [text, setText] = useState("");
  const [hidden, setHidden] = useState(false);
  const [busy, setBusy] = useState(false);
  const [fault, setFault] = useState<unknown>();
  const [going, setGoing] = useState<Row>();
  const found = useQuery({ queryKey: ["listAnnotations", "of", type, row.id], queryFn: ({ signal }) => everything("listAnnotations", { entitytype: type, entityid: row.id }, signal) });
  async function change(command: string, params: Record<string, string | boolean>, message: string): Promise<boolean> {
    setBusy(true);
    setFault(undefined);
    try {
      await call(command, params);
      settle("listAnnotations");
      settle(list);
      tell({ color: "mold", message });
      return true;
    } catch (no) {
      setFault(no);
      return false;
    } finally {
      setBusy(false);
    }
  }
  async function write(event: FormEvent) {
    event.preventDefault();
    if (!text.trim()) return;
    if (await change("addAnnotation", { entitytype: type, entityid: String(row.id), annotation: text.trim(), ...(admin ? { adminsonly: hidden } : {}) }, w.t("notes.written"))) {
      setText("");
      setHidden(false);
    }
  }
  return (
    <Stack maw={760}>
      {commands.has("addAnnotation") && (
        <form onSubmit={write}>
          <Stack gap="sm">
            <Textarea label={w.t("notes.new")} description={w.t("notes.new.how")} autosize minRows={3} maxRows={12} value={text} onChange={(e) => setText(e.currentTarget.value)} />
            <Group justify="space-between">
              {admin ? <Checkbox label={w.t("notes.admins")} checked={hidden} onChange={(e) => setHidden(e.currentTarget.checked)} /> : <span />}
              <Button type="submit" loading={busy && !going} disabled={!text.trim()}>{w.t("notes.write")}</Button>
            </Group>
          </Stack>
        </form>
      )}
      {fault !== undefined && !going && <FaultNote fault={fault} />}
      {found.isError ? <FaultNote fault={found.error} again={() => void found.refetch()} /> : found.isPending ? <Group role="status"><Loader size={20} /><Text size="sm" c="dimmed">{w.t("loading")}</Text></Group> : !found.data.length ? <Text c="dimmed">{w.t("notes.none")}</Text> : (
        <Stack gap="sm" role="list" aria-label={w.t("tab.notes")}>
          {found.data.map((n) => (
            <Paper key={n.id} p="md" role="listitem">
              <Text size="sm" style={{ whiteSpace: "pre-wrap", overflowWrap: "anywhere" }} translate="no">{String(n.annotation)}</Text>
              <Group justify="space-between" mt={8} gap="xs">
                <Group gap={8}><Text size="xs" c="dimmed"><span translate="no">{String(n.username ?? "")}</span> · <Value field="created" row={n} short /></Text>{n.adminsonly === true && <Mark tone="warn">{w.t("notes.adminsonly")}</Mark>}</Group>
                <Group gap={4}>
                  {commands.has("updateAnnotationVisibility") && <Button size="compact-sm" variant="subtle" disabled={busy} onClick={() => void change("updateAnnotationVisibility", { id: String(n.id), adminsonly: n.adminsonly !== true }, w.t("saved"))}>{w.t(n.adminsonly === true ? "notes.show" : "notes.hide")}</Button>}
                  {commands.has("removeAnnotation") && (isAdmin() || n.userid === me?.userid) && <Button size="compact-sm" variant="subtle" color="red" onClick={() => setGoing(n)}>{w.t("notes.remove")}</Button>}
                </Group>
              </Group>
            </Paper>
          ))}
        </Stack>
      )}
      <Modal opened={Boolean(going)} onClose={() => (setGoing(undefined), setFault(undefined))} title={<Text fw={650} fz="lg">{w.t("notes.remove.title", { name: nameOf(row) })}</Text>} closeButtonProps={{ "aria-label": w.t("close") }}>
        {going && (
          <Stack>
            <Text size="sm" lineClamp={4} translate="no" style={{ whiteSpace: "pre-wrap" }}>{String(going.annotation)}</Text>
            <Text size="sm" c="dimmed">{w.t("ask.final")}</Text>
            {fault !== undefined && <FaultNote fault={fault} />}
            <Group justify="flex-end"><Button variant="default" data-autofocus onClick={() => setGoing(undefined)}>{w.t("cancel")}</Button><Button color="red" loading={busy} onClick={() => void change("removeAnnotation", { id: String(going.id) }, w.t("notes.removed")).then((good) => good && setGoing(undefined))}>{w.t("notes.remove")}</Button></Group>
          </Stack>
        )}
      </Modal>
    </Stack>
  );
}
