// A machine's screen: the console's own page, inside this one or in a window of its own. The page asks the signed-in
// pages of this browser for a new ticket when it has lost its connection (shell/tickets.ts).

import { ActionIcon, Alert, Button, Group, Loader, Stack, Text, Tooltip } from "@mantine/core";
import { IconExternalLink, IconTerminal2 } from "@tabler/icons-react";
import { useEffect, useState } from "react";
import { call, type Row } from "../api/client";
import { useModel } from "../api/model";
import { tell } from "../parts/act";
import { explain, FaultNote } from "../parts/FaultNote";
import { isMoving } from "../parts/State";
import { useSearchWriter } from "../parts/To";
import { nameOf } from "../parts/Value";
import { useWords, words } from "../words";

/** The address of the console's page, good for one connection. Only a page of this server is taken. */
async function address(row: Row): Promise<string> {
  const made = (await call("createConsoleEndpoint", { virtualmachineid: row.id })).consoleendpoint as Row;
  if (!made.success) throw new Error(String(made.details ?? ""));
  const url = new URL(String(made.url));
  return `/client/console/vnc.html${url.search}`;
}

/** Opened before the answer is there: a browser lets a window open only while it handles a click. */
export async function openConsole(row: Row): Promise<void> {
  const w = words();
  const opened = window.open("about:blank", `mold-console-${row.id}`, "popup,width=1100,height=820");
  if (!opened) return void tell({ color: "red", message: w.t("console.blocked"), autoClose: 10_000 });
  try {
    opened.location.replace(new URL(await address(row), location.href));
  } catch (no) {
    opened.close();
    const told = explain(no, w);
    tell({ color: "red", title: told.what, message: told.said ?? told.why, autoClose: 10_000 });
  }
}

export function ConsoleButtons({ row }: { row: Row }) {
  const w = useWords();
  const rewrite = useSearchWriter();
  if (!useModel().commands.has("createConsoleEndpoint")) return null;
  const why = row.state === "Running" ? undefined : w.t("vm.needs.running");
  return (
    <Group gap={0} wrap="nowrap">
      <Tooltip label={why} disabled={!why}>
        <Button variant="light" leftSection={<IconTerminal2 size={17} aria-hidden />} aria-disabled={Boolean(why)} data-disabled={why ? true : undefined} title={why} style={{ borderTopRightRadius: 0, borderBottomRightRadius: 0 }} onClick={() => !why && rewrite({ tab: "console" })}>{w.t("console.title")}</Button>
      </Tooltip>
      <Tooltip label={why ?? w.t("console.window")}>
        <ActionIcon variant="light" size={36} aria-label={w.t("console.window")} aria-disabled={Boolean(why)} data-disabled={why ? true : undefined} style={{ borderTopLeftRadius: 0, borderBottomLeftRadius: 0, borderInlineStart: "1px solid var(--mantine-color-default-border)" }} onClick={() => !why && void openConsole(row)}><IconExternalLink size={17} /></ActionIcon>
      </Tooltip>
    </Group>
  );
}

export function Console({ row }: { row: Row }) {
  const w = useWords();
  const [url, setUrl] = useState<string>();
  const [fault, setFault] = useState<unknown>();
  const [tries, setTries] = useState(0);
  const on = row.state === "Running";
  const off = !on && !isMoving(row.state);
  useEffect(() => void (off && setUrl(undefined)), [off]); // started again it has another screen
  useEffect(() => {
    if (!on || url) return;
    let here = true;
    setFault(undefined);
    address(row).then((found) => here && setUrl(found), (no) => here && setFault(no));
    return () => void (here = false);
  }, [on, url === undefined, tries]);
  if (!on && !url) return <Alert role="note" color="gray">{w.t("console.off")}</Alert>;
  return (
    <Stack gap="sm">
      <Group justify="space-between" gap="sm">
        <Text size="sm" c="dimmed">{w.t("console.about")}</Text>
        <Button size="xs" variant="default" leftSection={<IconExternalLink size={15} aria-hidden />} onClick={() => void openConsole(row)}>{w.t("console.window")}</Button>
      </Group>
      {fault !== undefined && <FaultNote fault={fault} again={() => setTries((n) => n + 1)} />}
      {!url && fault === undefined && <Group role="status"><Loader size={20} /><Text size="sm" c="dimmed">{w.t("console.connecting")}</Text></Group>}
      {url && <iframe title={w.t("console.of", { name: nameOf(row) })} src={url} allow="fullscreen; clipboard-read" style={{ width: "100%", height: "max(360px, calc(100dvh - 300px))", border: 0, borderRadius: 14, background: "#101214" }} />}
    </Stack>
  );
}
