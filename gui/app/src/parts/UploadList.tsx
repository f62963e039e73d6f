import { ActionIcon, Group, Paper, Progress, Stack, Text } from "@mantine/core";
import { IconX } from "@tabler/icons-react";
import { useWords } from "../words";
import { stop, uploads } from "./uploads";
import { bytes } from "./Value";

/** How far the files are that this page sends. */
export function UploadList() {
  const w = useWords();
  const all = uploads.use();
  if (!all.length) return null;
  return (
    <Paper p="md">
      <Stack gap="sm" aria-live="polite">
        {all.map((u) => (
          <div key={u.id}>
            <Group justify="space-between" wrap="nowrap" gap="sm" mb={4}>
              <Text size="sm" fw={560} truncate>{u.name}</Text>
              <Group gap={6} wrap="nowrap">
                <Text size="xs" c={u.state === "failed" ? "red" : "dimmed"} style={{ whiteSpace: "nowrap" }}>{u.state === "sending" ? `${w.number(u.part * 100, { maximumFractionDigits: 0 })}% · ${bytes(u.bytes, w)}` : w.t(`upload.${u.state}`)}</Text>
                {u.state === "sending" && <ActionIcon size={26} variant="subtle" color="gray" aria-label={w.t("upload.stop", { name: u.name })} onClick={() => stop(u.id)}><IconX size={15} /></ActionIcon>}
              </Group>
            </Group>
            {u.state === "sending" && <Progress aria-label={u.name} value={u.part * 100} size="sm" />}
            {u.state === "failed" && u.why && <Text size="xs" c="dimmed" lang="en">“{u.why}”</Text>}
          </div>
        ))}
      </Stack>
    </Paper>
  );
}
