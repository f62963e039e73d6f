import { ActionIcon, Button, FileButton, Group, Paper, Progress, Stack, Text, Tooltip } from "@mantine/core";
import { IconPlayerPause, IconPlayerPlay, IconX } from "@tabler/icons-react";
import { useEffect, useState } from "react";
import { useWords } from "../words";
import { choose, drop, goOn, has, restore, stop, uploads, type Upload } from "./uploads";
import { bytes } from "./Value";

/** How far the files are that this page sends, or that another began; `only` of one template. */
export function UploadList({ only }: { only?: string }) {
  useEffect(() => void restore(), []);
  const all = uploads.use().filter((u) => !only || u.id === only);
  if (!all.length) return null;
  return (
    <Paper p="md">
      <Stack gap="md">{all.map((u) => <One key={u.id} upload={u} />)}</Stack>
    </Paper>
  );
}

function One({ upload: u }: { upload: Upload }) {
  const w = useWords();
  const [wrong, setWrong] = useState(false);
  const moving = u.state === "sending" || u.state === "again";
  const open = moving || u.state === "stopped" || u.state === "waiting";
  const again = u.state === "stopped" && has(u.id);
  const part = w.number(Math.floor(u.part * 100));
  return (
    <div role="group" aria-label={u.name}>
      <Group justify="space-between" gap="sm" mb={4}>
        <Text size="sm" fw={560} truncate style={{ flex: "1 1 140px" }} translate="no">{u.name}</Text>
        <Group gap={8} wrap="nowrap">
          <Text size="xs" c={u.state === "failed" ? "red" : "dimmed"} style={{ whiteSpace: "nowrap" }} aria-live={moving ? undefined : "polite"}>
            {open && `${part}% · ${bytes(u.file.size, w)}`}{open && u.state !== "sending" && " · "}{u.state !== "sending" && w.t(`upload.${u.state}`)}
          </Text>
          {moving && <Button size="compact-sm" mih={32} variant="default" leftSection={<IconPlayerPause size={15} aria-hidden />} aria-label={w.t("upload.stop.of", { name: u.name })} onClick={() => stop(u.id)}>{w.t("upload.stop")}</Button>}
          {again && <Button size="compact-sm" mih={32} variant="light" leftSection={<IconPlayerPlay size={15} aria-hidden />} aria-label={w.t("upload.go.of", { name: u.name })} onClick={() => goOn(u.id)}>{w.t("upload.go")}</Button>}
          {open && !moving && !again && <FileButton onChange={(file) => file && setWrong(!choose(u.id, file))}>{(p) => <Button {...p} size="compact-sm" mih={32} variant="light" aria-label={w.t("upload.choose.of", { name: u.name })}>{w.t("upload.choose")}</Button>}</FileButton>}
          {!moving && <Tooltip label={w.t("upload.drop")}><ActionIcon size={32} variant="subtle" color="gray" aria-label={w.t("upload.drop.of", { name: u.name })} onClick={() => drop(u.id)}><IconX size={16} /></ActionIcon></Tooltip>}
        </Group>
      </Group>
      {open && <Progress aria-label={u.name} value={u.part * 100} size="sm" color={u.state === "sending" ? undefined : "gray"} />}
      {u.state === "waiting" && !wrong && <Text size="xs" c="dimmed" mt={4}>{w.t("upload.waiting.do", { file: u.file.name })}</Text>}
      {wrong && open && !moving && <Text size="xs" c="red" mt={4} role="alert">{w.t("upload.wrong", { file: u.file.name, size: bytes(u.file.size, w) })}</Text>}
      {u.why && (u.state === "failed" || u.state === "stopped") && <Text size="xs" c="dimmed" mt={4} lang="en">“{u.why}”</Text>}
    </div>
  );
}
