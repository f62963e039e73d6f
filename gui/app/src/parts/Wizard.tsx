// Several steps to one end. What was entered is kept in this browser until the end, so a closed page loses nothing.

import { Button, Group, Paper, Progress, Stack, Stepper, Text, Title } from "@mantine/core";
import { useMediaQuery } from "@mantine/hooks";
import { useEffect, useRef, useState, type ReactNode } from "react";
import { useWords } from "../words";
import { FaultNote } from "./FaultNote";

export interface Step<T> {
  id: string;
  title: string;
  /** A sentence when the step is not complete; undefined when one may go on. */
  missing?: (values: T) => string | undefined;
  render: (values: T, set: (change: Partial<T>) => void) => ReactNode;
}

export function Wizard<T extends object>({ id, title, steps, initial, review, finish, onFinish, other }: { id: string; title: string; steps: Step<T>[]; initial: T; review: (values: T, go: (step: number) => void, set: (change: Partial<T>) => void) => ReactNode; finish: string; onFinish: (values: T) => Promise<void>; /** A second way to end. */ other?: { label: string; run: (values: T) => Promise<void> } }) {
  const w = useWords();
  const phone = useMediaQuery("(max-width: 48em)");
  const drawer = `mold.wizard.${id}`;
  const [kept] = useState(() => {
    try {
      return JSON.parse(sessionStorage.getItem(drawer) ?? "null") as { step: number; values: T } | null;
    } catch {
      return null;
    }
  });
  const [values, setValues] = useState<T>({ ...initial, ...kept?.values });
  const [step, setStep] = useState(Math.min(kept?.step ?? 0, steps.length));
  const [busy, setBusy] = useState(false);
  const [fault, setFault] = useState<unknown>();
  const heading = useRef<HTMLHeadingElement>(null);
  useEffect(() => sessionStorage.setItem(drawer, JSON.stringify({ step, values })), [step, values]);
  const go = (to: number) => {
    setStep(to);
    setFault(undefined);
    requestAnimationFrame(() => heading.current?.focus());
  };
  const set = (change: Partial<T>) => setValues((old) => ({ ...old, ...change }));
  const end = (run: (values: T) => Promise<void>) => async () => {
    setBusy(true);
    setFault(undefined);
    try {
      await run(values);
      sessionStorage.removeItem(drawer);
    } catch (no) {
      setFault(no);
    } finally {
      setBusy(false);
    }
  };
  const last = step === steps.length;
  const missing = last ? undefined : steps[step].missing?.(values);
  return (
    <Stack maw={880}>
      <Title order={1} fz={24}>{title}</Title>
      {phone ? (
        <div>
          <Text size="sm" c="dimmed" mb={6}>{w.t("wizard.step", { now: step + 1, all: steps.length + 1 })}</Text>
          <Progress value={((step + 1) / (steps.length + 1)) * 100} size="sm" aria-label={w.t("wizard.step", { now: step + 1, all: steps.length + 1 })} />
        </div>
      ) : (
        <Stepper active={step} onStepClick={(to) => to < step && go(to)} size="sm">
          {steps.map((s) => <Stepper.Step key={s.id} label={s.title} allowStepSelect />)}
          <Stepper.Step label={w.t("wizard.review")} />
        </Stepper>
      )}
      <Paper p={phone ? "md" : "xl"}>
        <Title order={2} fz={18} mb="md" ref={heading} tabIndex={-1} style={{ outline: "none" }}>{last ? w.t("wizard.review") : steps[step].title}</Title>
        {last ? review(values, go, set) : steps[step].render(values, set)}
      </Paper>
      {fault !== undefined && <FaultNote fault={fault} />}
      <Group justify="space-between">
        <Button variant="default" disabled={step === 0} onClick={() => go(step - 1)}>{w.t("wizard.back")}</Button>
        {last ? (
          <Group gap="sm">
            {other && <Button variant="default" disabled={busy} onClick={end(other.run)}>{other.label}</Button>}
            <Button loading={busy} onClick={end(onFinish)}>{finish}</Button>
          </Group>
        ) : (
          <Button disabled={Boolean(missing)} title={missing} onClick={() => go(step + 1)}>{w.t("wizard.next")}</Button>
        )}
      </Group>
    </Stack>
  );
}
