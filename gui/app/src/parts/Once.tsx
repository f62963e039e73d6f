// The dialog in which a secret is shown. Closed, it is gone: neither the browser nor the server has it any more.

import { Alert, Button, Code, Group, Modal, Stack, Text } from "@mantine/core";
import { IconAlertTriangle, IconDownload } from "@tabler/icons-react";
import { useWords } from "../words";
import { CopyButton } from "./CliLine";
import { download } from "./download";
import { secrets } from "./once";

export default function Once() {
  const w = useWords();
  const [first, ...rest] = secrets.use();
  if (!first) return null;
  const close = () => secrets.set(rest);
  return (
    <Modal opened onClose={close} closeOnClickOutside={false} size={first.kind === "privatekey" ? "lg" : "md"} title={<Text fw={650} fz="lg">{w.t(`once.${first.kind}`, { name: first.of })}</Text>} closeButtonProps={{ "aria-label": w.t("close") }}>
      <Stack>
        <Alert color="yellow" icon={<IconAlertTriangle aria-hidden />}>{w.t(`once.${first.kind}.about`)}</Alert>
        <Group wrap="nowrap" gap="xs" align="flex-start">
          <Code block={first.kind === "privatekey"} fz={first.kind === "password" ? "lg" : "xs"} tabIndex={0} style={{ flex: 1, overflow: "auto", maxHeight: 240 }} data-testid="secret">{first.value}</Code>
          <CopyButton text={first.value} />
        </Group>
        <Group justify="flex-end">
          {first.kind === "privatekey" && <Button variant="default" leftSection={<IconDownload size={17} aria-hidden />} onClick={() => download(`${first.of || "key"}.pem`, first.value, "application/x-pem-file")}>{w.t("once.save")}</Button>}
          <Button onClick={close}>{w.t("once.done")}</Button>
        </Group>
      </Stack>
    </Modal>
  );
}
