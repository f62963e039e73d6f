// What went wrong, why, and what to do about it.

import { Alert, Button, Text } from "@mantine/core";
import { IconAlertTriangle } from "@tabler/icons-react";
import { Fault } from "../api/client";
import { useWords, type Words } from "../words";

export interface Told {
  what: string;
  why: string;
  todo: string;
  /** The server's own words, where `why` is not already them. */
  said?: string;
  where?: string;
}

/** A fault in the language of the page. The server's sentence is English; in Korean it stands below as a quotation. */
export function explain(no: unknown, w: Words): Told {
  if (!(no instanceof Fault)) return { what: w.t("fault.page"), why: no instanceof Error ? no.message : String(no), todo: w.t("fault.page.do") };
  const { code, key, params, command, job } = no.about;
  const what = w.t("fault.what", { command: w.command(command) });
  const why = (key && w.maybe(`fault.${key}`)) || w.maybe(`fault.${code}`) || w.t("fault.other");
  const todo = (key && w.maybe(`fault.${key}.do`)) || w.maybe(`fault.${code}.do`) || w.t("fault.other.do");
  const parameter = params?.parameter ? w.t("fault.parameter", { name: w.field(String(params.parameter)) }) : "";
  return {
    what,
    why: w.language === "en" && no.why ? no.why : [why, parameter].filter(Boolean).join(" "),
    todo,
    said: w.language === "en" ? undefined : no.why || undefined,
    where: [code ? `${code}` : "", key, job && w.t("fault.job", { id: job })].filter(Boolean).join(" · "),
  };
}

export function FaultNote({ fault, again }: { fault: unknown; again?: () => void }) {
  const w = useWords();
  const told = explain(fault, w);
  return (
    <Alert color="red" icon={<IconAlertTriangle aria-hidden />} title={told.what} role="alert">
      <Text size="sm">{told.why}</Text>
      <Text size="sm" mt={4}>{told.todo}</Text>
      {told.said && <Text size="xs" mt={8} c="dimmed" lang="en">{w.t("fault.said")} “{told.said}”</Text>}
      {told.where && <Text size="xs" mt={4} c="dimmed" translate="no">{told.where}</Text>}
      {again && <Button mt="sm" size="xs" variant="light" color="red" onClick={again}>{w.t("again")}</Button>}
    </Alert>
  );
}
