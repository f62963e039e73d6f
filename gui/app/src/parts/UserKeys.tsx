import { Alert, Button, Code, Group, Paper, Stack, Text } from "@mantine/core";
import { useState } from "react";
import { call, type Row } from "../api/client";
import { useModel } from "../api/model";
import { settle } from "../api/queries";
import { useWords } from "../words";
import { CopyButton } from "./CliLine";
import { FaultNote } from "./FaultNote";
import RelatedNoun from "./RelatedNoun";

/** The keys of a user. The secret is shown once, when it is made. */
export default function UserKeys({ user }: { user: Row }) {
  const w = useWords();
  const { commands } = useModel();
  const [made, setMade] = useState<Row>();
  const [fault, setFault] = useState<unknown>();
  const [busy, setBusy] = useState(false);
  return (
    <Stack maw={820}>
      {commands.has("listUserKeys") && <RelatedNoun list="listUserKeys" params={{ userid: user.id }} />}
      <Paper p="lg">
        <Stack>
          {!made && user.apikey && <Group gap="xs" wrap="nowrap"><Text size="sm" w={90}>{w.field("apikey")}</Text><Code style={{ overflowWrap: "anywhere" }}>{String(user.apikey)}</Code></Group>}
          {made && (["apikey", "secretkey"] as const).map((k) => <Group key={k} gap="xs" wrap="nowrap"><Text size="sm" w={90}>{w.field(k)}</Text><Code style={{ overflowWrap: "anywhere" }}>{made[k]}</Code><CopyButton text={String(made[k])} /></Group>)}
          {made && <Alert color="yellow">{w.t("keys.once")}</Alert>}
          {fault !== undefined && <FaultNote fault={fault} />}
          <Text size="sm" c="dimmed">{w.t("me.keys.how")}</Text>
          {commands.has("registerUserKeys") && <Button w="fit-content" variant="default" loading={busy} onClick={async () => {
            setBusy(true);
            setFault(undefined);
            try {
              setMade((await call("registerUserKeys", { id: user.id })).userkeys);
              settle("listUsers");
            } catch (no) {
              setFault(no);
            } finally {
              setBusy(false);
            }
          }}>{w.t("me.keys.make")}</Button>}
        </Stack>
      </Paper>
    </Stack>
  );
}
