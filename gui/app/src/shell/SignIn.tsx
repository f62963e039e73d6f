// Signing in: as a page of its own, and as a dialog over a page whose session has ended.

import { Alert, Box, Button, Center, Group, Modal, Paper, PasswordInput, Stack, Text, TextInput, Title } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { lazy, Suspense, useEffect, useRef, useState, type FormEvent } from "react";
import { call, Fault, rows, type Row } from "../api/client";
import { queries } from "../api/queries";
import { forget } from "../api/model";
import { current, halfway, signedIn, signedInQuietly, signedOut, useExpired, type Session } from "../api/session";
import { CodeForm } from "../parts/CodeForm";
import { useWords } from "../words";
import { LanguageButton, ThemeButton } from "./Switches";

const SecondFactorSetup = lazy(() => import("../parts/SecondFactorSetup"));

function take(said: Row): void {
  if (!signedIn(said as Session)) {
    queries.clear();
    forget();
    location.assign("/client/");
  }
}

function Form({ username: given }: { username?: string }) {
  const w = useWords();
  const [username, setUsername] = useState(given ?? "");
  const [password, setPassword] = useState("");
  const [domain, setDomain] = useState("");
  const [withDomain, setWithDomain] = useState(false);
  const [second, setSecond] = useState<Row | undefined>(halfway);
  const [fault, setFault] = useState<string>();
  const [busy, setBusy] = useState(false);
  const secret = useRef<HTMLInputElement>(null);
  // Where the server sends who was refused after signing in with an identity provider; see mold.features.identity.saml.
  const [refused] = useState(() => new URLSearchParams(location.search).get("signin"));
  const idps = useQuery({ queryKey: ["listIdps"], queryFn: async () => rows(await call("listIdps", {})).rows, retry: false, staleTime: Infinity });

  const reason = (no: unknown): string => {
    if (!(no instanceof Fault)) return w.t("fault.other");
    if (no.about.code === 0) return w.t("fault.Unreachable");
    if (no.about.code === 429) return w.t("signin.often");
    if (/disabled|locked/i.test(no.why)) return w.t("signin.locked");
    if (no.about.code === 531 || no.about.code === 401) return w.t("signin.wrong");
    return w.maybe(`fault.${no.about.code}`) ?? no.why;
  };
  async function submit(event?: FormEvent) {
    event?.preventDefault();
    setBusy(true);
    setFault(undefined);
    try {
      const said = await call("login", { username: username.trim(), password, domain: domain.trim() });
      if (said.is2faenabled === "true" && said.is2faverified !== "true") {
        signedInQuietly(said as Session);
        setSecond(said);
      } else take(said);
    } catch (no) {
      setFault(reason(no));
      requestAnimationFrame(() => {
        secret.current?.focus();
        secret.current?.select();
      });
    } finally {
      setBusy(false);
    }
  }

  if (second) {
    const back = <Button size="md" variant="subtle" onClick={() => (signedOut(), setSecond(undefined))}>{w.t("signin.back")}</Button>;
    if (second.providerfor2fa) return <CodeForm how={w.t("signin.code.how")} send={w.t("signin.code.send")} onDone={() => take(second)} onCancel={back} />;
    return (
      <Stack>
        <Alert role="note" color="mold" title={w.t("factor.forced")}>{w.t("factor.forced.about")}</Alert>
        <Suspense fallback={null}><SecondFactorSetup onDone={() => take(second)} cancel={back} /></Suspense>
      </Stack>
    );
  }
  return (
    <form onSubmit={submit} noValidate>
      <Stack>
        {refused && <Alert color="red" title={w.t("signin.refused")} role="alert"><Text size="sm">{w.maybe(`signin.refused.${refused}`) ?? w.t("signin.refused.other")}</Text></Alert>}
        <TextInput size="md" label={w.t("signin.user")} name="username" autoComplete="username" autoFocus={!given} readOnly={Boolean(given)} value={username} onChange={(e) => setUsername(e.currentTarget.value)} />
        <PasswordInput size="md" ref={secret} label={w.t("signin.password")} name="password" autoComplete="current-password" autoFocus={Boolean(given)} value={password} error={fault} onChange={(e) => setPassword(e.currentTarget.value)} visibilityToggleButtonProps={{ "aria-label": w.t("signin.show") }} />
        {withDomain ? <TextInput size="md" label={w.t("signin.domain")} description={w.t("signin.domain.how")} placeholder="ROOT" autoComplete="organization" value={domain} onChange={(e) => setDomain(e.currentTarget.value)} /> : <Button variant="subtle" size="compact-sm" w="fit-content" onClick={() => setWithDomain(true)}>{w.t("signin.domain.ask")}</Button>}
        <Button type="submit" size="md" loading={busy} disabled={!username || !password}>{w.t("signin")}</Button>
        {idps.data?.map((idp) => <Button key={idp.id} variant="default" size="md" component="a" href={`/client/api?command=samlSso&idpid=${encodeURIComponent(idp.id)}${domain ? `&domain=${encodeURIComponent(domain)}` : ""}`}>{w.t("signin.saml", { name: idp.orgName || idp.orgname || idp.id })}</Button>)}
      </Stack>
    </form>
  );
}

export function SignInPage() {
  const w = useWords();
  useEffect(() => void (document.title = `${w.t("signin")} · Mold`), [w]);
  return (
    <Center mih="100dvh" p="md">
      <Box w="100%" maw={440} component="main">
        <Group justify="center" gap="sm" mb="xl"><img src="/client/icon.svg" width={40} height={40} alt="" /><Title order={1} fz={30} fw={700}>Mold</Title></Group>
        <Paper p="xl" shadow="sm"><Form /></Paper>
        <Group justify="center" mt="lg" gap="xs"><LanguageButton /><ThemeButton /></Group>
      </Box>
    </Center>
  );
}

/** Over the page that one was on; what was typed there stays. */
export function SignInAgain() {
  const w = useWords();
  const expired = useExpired();
  if (!expired) return null;
  const leave = () => {
    signedOut();
    queries.clear();
    forget();
    location.assign("/client/");
  };
  return (
    <Modal opened onClose={() => {}} withCloseButton={false} closeOnEscape={false} closeOnClickOutside={false} title={<Text fw={650} fz="lg">{w.t("signin.again")}</Text>} zIndex={1000}>
      <Stack>
        <Alert color="mold">{w.t("signin.again.why")}</Alert>
        <Form username={current()?.username} />
        <Button variant="subtle" color="gray" size="compact-sm" onClick={leave}>{w.t("signin.other")}</Button>
      </Stack>
    </Modal>
  );
}
