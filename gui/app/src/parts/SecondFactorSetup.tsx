// Setting up a second factor: the secret as a picture and as text, and a code of it before it counts.

import { Code, Group, List, Loader, Stack, Text } from "@mantine/core";
import { useEffect, useRef, useState, type ReactNode } from "react";
import { encode } from "uqr";
import { call, type Row } from "../api/client";
import { useWords } from "../words";
import { CodeForm } from "./CodeForm";
import { CopyButton } from "./CliLine";
import { FaultNote } from "./FaultNote";

/** A QR code, dark on light in both themes, as cameras want it. */
function Qr({ text, label }: { text: string; label: string }) {
  const { data } = encode(text, { ecc: "M", border: 3 });
  const dots = data.flatMap((row, y) => row.flatMap((on, x) => (on ? [`M${x} ${y}h1v1h-1z`] : []))).join("");
  return (
    <svg role="img" aria-label={label} viewBox={`0 0 ${data.length} ${data.length}`} width={212} height={212} shapeRendering="crispEdges" style={{ borderRadius: 8, border: "1px solid #dfe3e6" }}>
      <rect width="100%" height="100%" fill="#fff" />
      <path d={dots} fill="#000" />
    </svg>
  );
}

/** What an authenticator reads from the picture. */
export const otpauth = (username: string, issuer: string, secret: string) =>
  `otpauth://totp/${encodeURIComponent(issuer)}:${encodeURIComponent(username)}?secret=${secret}&issuer=${encodeURIComponent(issuer)}`;

export default function SecondFactorSetup({ onDone, cancel }: { onDone: () => void; cancel?: ReactNode }) {
  const w = useWords();
  const [made, setMade] = useState<Row>();
  const [fault, setFault] = useState<unknown>();
  const begun = useRef(false); // each beginning makes another secret
  const begin = () => {
    setFault(undefined);
    call("setupUserTwoFactorAuthentication", { enable: true }).then((said) => setMade(said.setup2fa as Row), setFault);
  };
  useEffect(() => {
    if (!begun.current) begin();
    begun.current = true;
  }, []);
  if (fault !== undefined) return <Stack><FaultNote fault={fault} again={begin} />{cancel}</Stack>;
  if (!made) return <Group role="status"><Loader size={20} /><Text size="sm" c="dimmed">{w.t("loading")}</Text></Group>;
  const secret = String(made.secretcode);
  return (
    <Stack>
      <List type="ordered" size="sm" spacing={4}>
        <List.Item>{w.t("factor.step.app")}</List.Item>
        <List.Item>{w.t("factor.step.scan")}</List.Item>
        <List.Item>{w.t("factor.step.code")}</List.Item>
      </List>
      <Group align="center" gap="lg">
        <Qr text={otpauth(String(made.username), String(made.issuer || "Mold"), secret)} label={w.t("factor.qr", { name: String(made.username) })} />
        <div style={{ minWidth: 0, flex: "1 1 200px" }}>
          <Text size="sm" fw={560} id="factor-secret">{w.t("factor.secret")}</Text>
          <Group gap={4} wrap="nowrap"><Code aria-labelledby="factor-secret" data-testid="factor-secret" style={{ overflowWrap: "anywhere" }}>{secret.replace(/(.{4})(?=.)/g, "$1 ")}</Code><CopyButton text={secret} /></Group>
          <Text size="xs" c="dimmed" mt={6}>{w.t("factor.secret.how")}</Text>
        </div>
      </Group>
      <CodeForm how={w.t("factor.code.how")} send={w.t("factor.begin.send")} onDone={onDone} onCancel={cancel} />
    </Stack>
  );
}
