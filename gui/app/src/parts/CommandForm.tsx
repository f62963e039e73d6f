// A form for a command, made from the model. Required fields first, the others behind a button; the same request to
// copy as a line; refusals under the field that they speak of.

import { ActionIcon, Button, Checkbox, Collapse, Group, NumberInput, PasswordInput, Select, Stack, TagsInput, Text, Textarea, TextInput, UnstyledButton } from "@mantine/core";
import { IconChevronDown, IconPlus, IconTerminal2, IconX } from "@tabler/icons-react";
import { useEffect, useRef, useState, type FormEvent, type ReactNode } from "react";
import { Fault, type Params, type Row } from "../api/client";
import { run, type Ran } from "../api/jobs";
import type { Command } from "../api/model";
import { scoped, useScope } from "../api/scope";
import { useWords } from "../words";
import { CliLine } from "./CliLine";
import { FaultNote } from "./FaultNote";
import { BY_NAME, faultsOf, fieldsOf, localTime, paramsOf, type FormField, type Values } from "./fields";
import { Pick } from "./Pick";

interface Props {
  command: Command;
  /** Known already; not asked for. */
  fixed?: Params;
  initial?: Values;
  /** Parameters to show first, in this order, and others to leave out altogether. */
  first?: string[];
  without?: string[];
  /** Asked for, whatever the API says. */
  needs?: string[];
  subject?: string;
  list?: string;
  target?: string;
  submit?: string;
  danger?: boolean;
  /** False holds the button back. */
  allowed?: boolean;
  children?: ReactNode;
  onDone?: (ran: Ran) => void;
  onCancel?: () => void;
  /** Instead of running the command. */
  onSubmit?: (params: Params) => Promise<void>;
}

export function CommandForm(p: Props) {
  const w = useWords();
  const scope = useScope();
  const fixed = p.fixed ?? {};
  const all = fieldsOf(p.command, fixed).filter((f) => !p.without?.includes(f.param.name)).map((f) => (p.needs?.includes(f.param.name) ? { ...f, required: true } : f));
  const front = all.filter((f) => f.required || p.first?.includes(f.param.name)).sort((a, b) => rank(p.first, a) - rank(p.first, b));
  const rest = all.filter((f) => !front.includes(f));
  const [values, setValues] = useState<Values>(p.initial ?? {});
  const [touched, setTouched] = useState(false);
  const [open, setOpen] = useState(front.length === 0 && rest.length > 0 && rest.length <= (p.target && !p.initial ? 2 : 6)); // few; a question about a thing stays a question
  const [line, setLine] = useState(false);
  const [busy, setBusy] = useState(false);
  const [fault, setFault] = useState<unknown>();
  const form = useRef<HTMLFormElement>(null);

  // An update sends what was changed; anything else all that the form says.
  const changed = p.initial && /^(update|configure)/.test(p.command.name) ? Object.fromEntries(Object.entries(values).filter(([k, v]) => v !== p.initial?.[k])) : values;
  const whose = Object.fromEntries(Object.entries(p.command.name.startsWith("list") ? {} : scoped(p.command, scope)).filter(([k]) => !(k in fixed) && values[k] === undefined));
  const params: Params = { ...whose, ...fixed, ...paramsOf(all, changed) };
  const wrong = touched ? faultsOf(all, values) : {};
  const refused = fault instanceof Fault ? String(fault.about.params?.parameter ?? "") : "";
  const set = (name: string, value: unknown) => setValues((old) => ({ ...old, [name]: value }));

  useEffect(() => {
    if (fault || Object.keys(wrong).length) form.current?.querySelector<HTMLElement>('[aria-invalid="true"]')?.focus();
  }, [fault, touched]);

  async function submit(event: FormEvent) {
    event.preventDefault();
    event.stopPropagation();
    setTouched(true);
    const faults = faultsOf(all, values);
    if (Object.keys(faults).length) {
      if (rest.some((f) => f.param.name in faults)) setOpen(true);
      return;
    }
    setBusy(true);
    setFault(undefined);
    try {
      if (p.onSubmit) await p.onSubmit(params);
      else p.onDone?.(await run(p.command.name, params, { subject: p.subject ?? (typeof values.name === "string" ? values.name : undefined), list: p.list, target: p.target }));
    } catch (no) {
      setFault(no);
      if (no instanceof Fault && rest.some((f) => f.param.name === no.about.params?.parameter)) setOpen(true);
    } finally {
      setBusy(false);
    }
  }

  const draw = (f: FormField) => (
    <FieldInput
      key={f.param.name}
      field={f}
      of={p.command.name}
      value={values[f.param.name]}
      near={{ ...fixed, ...(values as Params) }}
      error={wrong[f.param.name] ? w.t(wrong[f.param.name], { max: f.param.length }) : refused === f.param.name ? w.t("form.refused") : undefined}
      onChange={(v) => set(f.param.name, v)}
    />
  );
  return (
    <form ref={form} onSubmit={submit} noValidate>
      <Stack gap="md">
        {p.children}
        {front.map(draw)}
        {rest.length > 0 && (
          <>
            <UnstyledButton type="button" aria-expanded={open} onClick={() => setOpen(!open)}>
              <Group gap={6} c="var(--mantine-color-anchor)">
                <IconChevronDown size={16} style={{ transform: open ? "rotate(180deg)" : undefined }} aria-hidden />
                <Text size="sm" fw={560}>{w.t("form.more", { count: rest.length })}</Text>
              </Group>
            </UnstyledButton>
            {open && <Stack gap="md">{rest.map(draw)}</Stack>}
          </>
        )}
        {fault !== undefined && <FaultNote fault={fault} />}
        <Group justify="space-between" mt="xs">
          <Button type="button" variant="subtle" size="compact-sm" leftSection={<IconTerminal2 size={16} aria-hidden />} aria-expanded={line} onClick={() => setLine(!line)}>{w.t("line.show")}</Button>
          <Group gap="sm">
            {p.onCancel && <Button type="button" variant="default" onClick={p.onCancel}>{w.t("cancel")}</Button>}
            <Button type="submit" loading={busy} disabled={p.allowed === false} color={p.danger ? "red" : undefined}>{p.submit ?? w.verb(p.command.name) ?? w.t("run")}</Button>
          </Group>
        </Group>
        <Collapse expanded={line}>{line && <CliLine command={p.command.name} params={params} />}</Collapse>
      </Stack>
    </form>
  );
}

const rank = (first: string[] | undefined, f: FormField) => {
  const at = first?.indexOf(f.param.name) ?? -1;
  return at < 0 ? 1000 - Number(f.required) : at;
};

/** One field. In Korean the model's English description is left out; the label says what it is. */
export function FieldInput({ field, of, value, near, error, onChange }: { field: FormField; of?: string; value: unknown; near: Params; error?: string; onChange: (value: unknown) => void }) {
  const w = useWords();
  const { param, widget, required } = field;
  const label = param.name === "id" && field.from ? w.noun(field.from.slice(4)) : w.field(param.name);
  const description = w.maybe(`help.${of}.${param.name}`) ?? w.maybe(`help.${param.name}`) ?? (w.language === "en" && param.description !== param.name ? param.description : undefined);
  const common = { label, description, error, required, withAsterisk: required, placeholder: param.default };
  switch (widget) {
    case "switch":
      return required || param.default !== undefined ? (
        <Checkbox label={label} description={description} error={error} checked={(value as boolean | undefined) ?? param.default === "true"} onChange={(e) => onChange(e.currentTarget.checked)} />
      ) : (
        <Select {...common} placeholder={w.t("form.leave")} clearable value={value === undefined ? null : String(value)} onChange={(v) => onChange(v === null ? undefined : v === "true")} data={[{ value: "true", label: w.t("yes") }, { value: "false", label: w.t("no") }]} />
      );
    case "pick":
      return <Pick list={field.from as string} by={param.name in BY_NAME ? "name" : "id"} value={value} onChange={onChange} near={near} label={label} description={description} error={error} required={required} />;
    case "picks":
      return <Pick many list={field.from as string} by={param.name in BY_NAME ? "name" : "id"} value={value} onChange={onChange} near={near} label={label} description={description} error={error} required={required} />;
    case "choice":
      return <Select {...common} clearable={!required} value={(value as string) ?? null} onChange={(v) => onChange(v ?? undefined)} data={(param.choices ?? []).map((c) => ({ value: c, label: w.state(c) }))} />;
    case "tags":
      return <TagsInput {...common} placeholder={w.t("form.tags")} value={(value as string[]) ?? []} onChange={onChange} />;
    case "number":
      return <NumberInput {...common} value={(value as number) ?? ""} onChange={onChange} allowDecimal={/double|float/.test(param.type)} thousandSeparator={/port|vlan/.test(param.name) ? undefined : ","} />;
    case "date":
      return <TextInput {...common} placeholder={undefined} type="datetime-local" value={localTime(String(value ?? ""))} onChange={(e) => onChange(e.currentTarget.value)} />;
    case "secret":
      return <PasswordInput {...common} visibilityToggleButtonProps={{ "aria-label": w.t("signin.show") }} autoComplete="new-password" value={(value as string) ?? ""} onChange={(e) => onChange(e.currentTarget.value)} />;
    case "long":
      return <Textarea {...common} autosize minRows={2} maxRows={14} spellCheck={false} value={(value as string) ?? ""} onChange={(e) => onChange(e.currentTarget.value)} />;
    case "map":
      return <Pairs label={label} description={description} error={error} required={required} value={(value as Pair[]) ?? []} onChange={onChange} />;
    default:
      return <TextInput {...common} value={(value as string) ?? ""} onChange={(e) => onChange(e.currentTarget.value)} />;
  }
}

interface Pair { key: string; value: string } // prettier-ignore
function Pairs({ label, description, error, required, value, onChange }: { label: string; description?: string; error?: string; required: boolean; value: Pair[]; onChange: (v: Pair[]) => void }) {
  const w = useWords();
  const edit = (at: number, change: Partial<Pair>) => onChange(value.map((e, i) => (i === at ? { ...e, ...change } : e)));
  return (
    <Stack gap={6} role="group" aria-label={label}>
      <Text size="sm" fw={500}>{label}{required && <Text span c="red"> *</Text>}</Text>
      {description && <Text size="xs" c="dimmed">{description}</Text>}
      {value.map((e, i) => (
        <Group key={i} gap={6} wrap="nowrap">
          <TextInput style={{ flex: 1 }} aria-label={`${label} ${i + 1} ${w.t("form.key")}`} placeholder={w.t("form.key")} value={e.key} onChange={(x) => edit(i, { key: x.currentTarget.value })} />
          <TextInput style={{ flex: 1 }} aria-label={`${label} ${i + 1} ${w.t("form.value")}`} placeholder={w.t("form.value")} value={e.value} onChange={(x) => edit(i, { value: x.currentTarget.value })} />
          <ActionIcon variant="subtle" color="gray" size="lg" aria-label={w.t("remove")} onClick={() => onChange(value.filter((_, x) => x !== i))}><IconX size={16} /></ActionIcon>
        </Group>
      ))}
      {error && <Text size="xs" c="red">{error}</Text>}
      <Button type="button" variant="light" size="xs" w="fit-content" leftSection={<IconPlus size={14} aria-hidden />} onClick={() => onChange([...value, { key: "", value: "" }])}>{w.t("form.add")}</Button>
    </Stack>
  );
}

/** A row's values as the start of an update form. */
export const initialOf = (command: Command, row: Row): Values =>
  Object.fromEntries(fieldsOf(command).flatMap(({ param, widget }) => {
    const value = row[param.name];
    if (value === undefined || value === null) return [];
    if (widget === "map") return [[param.name, Array.isArray(value) ? value : Object.entries(value).map(([key, v]) => ({ key, value: String(v) }))]];
    return typeof value === "object" ? [] : [[param.name, value]];
  }));
