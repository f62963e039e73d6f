// Where the code of an authenticator is given: six digits, sent as soon as they are there; a wrong one is told under the field.

import { Button, Group, Stack, Text, TextInput } from "@mantine/core";
import { useEffect, useRef, useState, type FormEvent, type ReactNode } from "react";
import { call, Fault } from "../api/client";
import { useWords, type Words } from "../words";
import { explain } from "./FaultNote";

const DIGITS = 6;

function told(no: unknown, w: Words): string {
  if (no instanceof Fault && no.about.key === "WrongCode") return w.t("signin.code.wrong");
  if (no instanceof Fault && no.about.key === "ManyWrongCodes") return w.t("signin.code.many", { minutes: Math.ceil(Number(no.about.params?.seconds ?? 60) / 60) });
  const { why, todo } = explain(no, w);
  return `${why} ${todo}`;
}

/** `onDone` comes after the code was taken; what it rejects with is told under the field too. */
export function CodeForm({ how, send, danger, focus = true, onDone, onCancel }: { how: ReactNode; send: string; danger?: boolean; focus?: boolean; onDone: () => void | Promise<void>; onCancel?: ReactNode }) {
  const w = useWords();
  const [code, setCode] = useState("");
  const [fault, setFault] = useState<string>();
  const [busy, setBusy] = useState(false);
  const field = useRef<HTMLInputElement>(null);
  useEffect(() => {
    if (focus) field.current?.focus({ preventScroll: !fault }); // what stands above it is to be read first
    if (fault) field.current?.select();
  }, [fault]);

  async function submit(event?: FormEvent, given = code) {
    event?.preventDefault();
    if (busy) return;
    if (given.length !== DIGITS) {
      setFault(w.t("signin.code.short"));
      return field.current?.focus();
    }
    setBusy(true);
    setFault(undefined);
    try {
      await call("validateUserTwoFactorAuthenticationCode", { codefor2fa: given });
      await onDone();
    } catch (no) {
      setFault(told(no, w));
    } finally {
      setBusy(false);
    }
  }
  return (
    <form onSubmit={submit} noValidate>
      <Stack>
        <Text size="sm">{how}</Text>
        <TextInput ref={field} size="md" maw={320} label={w.t("signin.code")} inputMode="numeric" autoComplete="one-time-code" value={code} error={fault} readOnly={busy} styles={{ input: { letterSpacing: "0.28em", fontVariantNumeric: "tabular-nums" } }}
          onChange={(e) => {
            const digits = e.currentTarget.value.replace(/\D/g, "").slice(0, DIGITS);
            setCode(digits);
            if (digits.length === DIGITS && digits !== code) void submit(undefined, digits);
          }} />
        <Group gap="sm">
          <Button type="submit" size="md" loading={busy} color={danger ? "red" : undefined}>{send}</Button>
          {onCancel}
        </Group>
      </Stack>
    </form>
  );
}
