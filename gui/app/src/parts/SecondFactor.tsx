// One's own second factor, and what an admin does about another's. Changing and switching off ask for a code first.

import { Alert, Anchor, Button, Group, Modal, Stack, Switch, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { lazy, Suspense, useState } from "react";
import { call, Fault, one, type Row } from "../api/client";
import { useModel } from "../api/model";
import { settle } from "../api/queries";
import { useSession } from "../api/session";
import { useWords } from "../words";
import { tell } from "./act";
import { CodeForm } from "./CodeForm";
import { FaultNote } from "./FaultNote";
import { Mark } from "./State";
import { To } from "./To";

const SecondFactorSetup = lazy(() => import("./SecondFactorSetup"));

type Step = "rest" | "prove" | "setup" | "off";

/** `row`: the user who is signed in, with `is2faenabled` and `is2famandated`. */
export function OwnSecondFactor({ row }: { row: Row }) {
  const w = useWords();
  const { capabilities, commands } = useModel();
  const [step, setStep] = useState<Step>("rest");
  const on = row.is2faenabled === true;
  const must = row.is2famandated === true;
  const done = (message: string) => {
    settle("listUsers");
    setStep("rest");
    tell({ color: "mold", message });
  };
  const cancel = <Button size="md" variant="default" onClick={() => setStep("rest")}>{w.t("cancel")}</Button>;
  const offered = capabilities.secondfactoroffered === true;
  return (
    <Stack>
      <Group gap="sm"><Mark tone={on ? "good" : must ? "warn" : "calm"}>{w.t(on ? "factor.on" : "factor.off")}</Mark><Text size="sm" c="dimmed">{w.t(on ? "factor.on.about" : "factor.off.about")}</Text></Group>
      {!offered && !on && <Alert role="note" color="gray">{w.t("factor.denied")}{commands.has("updateConfiguration") && <> <Anchor inherit td="underline" renderRoot={(p) => <To {...p} to="/configurations?q=enable.user.2fa" />}>{w.t("factor.denied.go")}</Anchor></>}</Alert>}
      {step === "rest" && (offered || on) && (
        <Group gap="sm">
          {offered && <Button variant="default" onClick={() => setStep(on ? "prove" : "setup")}>{w.t(on ? "factor.change" : "factor.begin")}</Button>}
          {on && <Button variant="default" color="red" disabled={must} onClick={() => setStep("off")}>{w.t("factor.end")}</Button>}
          {on && must && <Text size="sm" c="dimmed">{w.t("factor.must")}</Text>}
        </Group>
      )}
      {step === "prove" && <CodeForm how={w.t("factor.prove.how")} send={w.t("signin.code.send")} onDone={() => setStep("setup")} onCancel={cancel} />}
      {step === "setup" && <Suspense fallback={null}><SecondFactorSetup onDone={() => done(w.t("factor.begun"))} cancel={cancel} /></Suspense>}
      {step === "off" && (
        <>
          <Alert color="red" variant="light">{w.t("factor.end.about")}</Alert>
          <CodeForm danger how={w.t("factor.end.how")} send={w.t("factor.end")} onCancel={cancel}
            onDone={async () => {
              await call("setupUserTwoFactorAuthentication", { enable: false });
              done(w.t("factor.ended"));
            }} />
        </>
      )}
    </Stack>
  );
}

/** Of another user: whether she has one, whether she must, and taking it away when her device is lost. */
export default function SecondFactor({ user }: { user: Row }) {
  const w = useWords();
  const me = useSession();
  const { commands } = useModel();
  const found = useQuery({ queryKey: ["listUsers", "factor", user.id], queryFn: ({ signal }) => one("listUsers", String(user.id), { listall: true }, signal) });
  const [asked, setAsked] = useState(false);
  const [prove, setProve] = useState(false);
  const [busy, setBusy] = useState(false);
  const [fault, setFault] = useState<unknown>();
  const row = { ...user, ...found.data } as Row;
  if (me?.userid === user.id) return <OwnSecondFactor row={row} />;
  const on = row.is2faenabled === true;
  const must = row.is2famandated === true;
  async function change(command: string, params: Record<string, string | boolean>, message: string) {
    setBusy(true);
    setFault(undefined);
    try {
      await call(command, params);
      settle("listUsers");
      setAsked(false);
      setProve(false);
      tell({ color: "mold", message });
    } catch (no) {
      if (no instanceof Fault && no.about.key === "StepUp") setProve(true);
      else setFault(no);
    } finally {
      setBusy(false);
    }
  }
  const take = () => change("setupUserTwoFactorAuthentication", { userid: String(user.id), enable: false }, w.t("factor.taken", { name: String(row.username) }));
  const close = () => (setAsked(false), setProve(false), setFault(undefined));
  return (
    <Stack maw={640}>
      <Group gap="sm"><Mark tone={on ? "good" : must ? "warn" : "calm"}>{w.t(on ? "factor.on" : "factor.off")}</Mark>{must && !on && <Text size="sm" c="dimmed">{w.t("factor.must.theirs")}</Text>}</Group>
      {commands.has("updateUser") && <Switch label={w.t("factor.mandate")} description={w.t("factor.mandate.about")} checked={must} disabled={busy} onChange={(e) => void change("updateUser", { id: String(user.id), mandate2fa: e.currentTarget.checked }, w.t("saved"))} />}
      {on && commands.has("setupUserTwoFactorAuthentication") && <Button w="fit-content" variant="default" onClick={() => setAsked(true)}>{w.t("factor.take")}</Button>}
      {fault !== undefined && !asked && <FaultNote fault={fault} />}
      <Modal opened={asked} onClose={close} title={<Text fw={650} fz="lg">{w.t("factor.take")}</Text>} closeButtonProps={{ "aria-label": w.t("close") }}>
        <Stack>
          <Text>{w.t("factor.take.about", { name: String(row.username) })}</Text>
          {fault !== undefined && <FaultNote fault={fault} />}
          {prove ? (
            <CodeForm danger how={w.t("factor.prove.how")} send={w.t("factor.take")} onDone={take} onCancel={<Button size="md" variant="default" onClick={close}>{w.t("cancel")}</Button>} />
          ) : (
            <Group justify="flex-end"><Button variant="default" onClick={close}>{w.t("cancel")}</Button><Button color="red" loading={busy} onClick={() => void take()} data-autofocus>{w.t("factor.take")}</Button></Group>
          )}
        </Stack>
      </Modal>
    </Stack>
  );
}
