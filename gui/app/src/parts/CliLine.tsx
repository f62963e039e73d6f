// The same thing as a line to copy. Secrets are left out of it.

import { ActionIcon, Box, Group, SegmentedControl, Tooltip } from "@mantine/core";
import { IconCheck, IconCopy } from "@tabler/icons-react";
import { useState } from "react";
import type { Params } from "../api/client";
import { lines } from "../api/lines";
import { useModel } from "../api/model";
import { useWords } from "../words";

/** Copy, also where the browser offers no clipboard (plain HTTP). */
export async function copy(text: string): Promise<void> {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const area = document.createElement("textarea");
  area.value = text;
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}

export function CopyButton({ text, name }: { text: string; name?: string }) {
  const w = useWords();
  const [done, setDone] = useState(false);
  return (
    <Tooltip label={w.t(done ? "copied" : "copy")}>
      <ActionIcon variant="subtle" aria-label={name ?? w.t("copy")} onClick={() => void copy(text).then(() => (setDone(true), setTimeout(() => setDone(false), 1500)))}>
        {done ? <IconCheck size={18} /> : <IconCopy size={18} />}
      </ActionIcon>
    </Tooltip>
  );
}

export function CliLine({ command, params }: { command: string; params: Params }) {
  const w = useWords();
  const about = useModel().commands.get(command);
  const [form, setForm] = useState<"cli" | "curl" | "python">("cli");
  const shown = Object.fromEntries(Object.entries(params).map(([k, v]) => [k, about?.params.find((p) => p.name === k)?.secret || /password|secret/i.test(k) ? "…" : v]));
  const text = lines(command, shown)[form];
  return (
    <Box>
      <Group justify="space-between" mb={6}>
        <SegmentedControl size="xs" aria-label={w.t("line.form")} value={form} onChange={(v) => setForm(v as typeof form)} data={[{ value: "cli", label: "CLI" }, { value: "curl", label: "curl" }, { value: "python", label: "Python" }]} />
        <CopyButton text={text} />
      </Group>
      <code className="line" tabIndex={0}>{text}</code>
    </Box>
  );
}
