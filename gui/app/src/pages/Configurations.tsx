// Settings: found by their Korean name, their key or what they say; the changed ones first; edited where they stand, and
// taken back. For one zone, cluster, storage, domain or account: those that can be set there.

import { ActionIcon, Alert, Badge, Button, Checkbox, Code, Group, Loader, Modal, NumberInput, Paper, Select, Stack, Switch, TagsInput, Text, TextInput, Title, Tooltip } from "@mantine/core";
import { useMediaQuery } from "@mantine/hooks";
import { notifications } from "@mantine/notifications";
import { IconArrowBackUp, IconHistory, IconPencil, IconSearch, IconX } from "@tabler/icons-react";
import { useQuery } from "@tanstack/react-query";
import { useSearch } from "@tanstack/react-router";
import { useDeferredValue, useEffect, useMemo, useState, type FormEvent } from "react";
import { call, everything, rows, type Params, type Row } from "../api/client";
import { useModel } from "../api/model";
import { settle } from "../api/queries";
import { FaultNote } from "../parts/FaultNote";
import { matches } from "../parts/matches";
import { Mark } from "../parts/State";
import { Value } from "../parts/Value";
import { useSearchWriter } from "../parts/To";
import korean from "../../../words/settings.json";
import { useWords, type Words } from "../words";

/** What a setting is, in Korean; the server says it in English. */
const KOREAN: Record<string, string> = korean;
const nameOf = (s: Row, w: Words): string => (w.language === "ko" ? (KOREAN[s.name] ?? (w.knows(String(s.name)) ? w.phrase(String(s.name)) : String(s.name))) : String(s.displaytext || s.name));
const differs = (s: Row) => String(s.value ?? "") !== String(s.defaultvalue ?? "");

export default function ConfigurationsPage() {
  const w = useWords();
  useEffect(() => void (document.title = `${w.noun("Configurations")} · Mold`), [w]);
  return (
    <Stack gap="lg">
      <div><Title order={1} fz={26}>{w.noun("Configurations")}</Title><Text c="dimmed" mt={4}>{w.t("settings.about")}</Text></div>
      <Settings />
    </Stack>
  );
}

/** `place` narrows to what can be set for one thing, as {zoneid}. */
export function Settings({ place = {} }: { place?: Params }) {
  const w = useWords();
  const search = useSearch({ strict: false }) as { q?: string; group?: string; changed?: string };
  const write = useSearchWriter();
  const [typed, setTyped] = useState(search.q ?? "");
  useEffect(() => setTyped(search.q ?? ""), [search.q]);
  const query = useDeferredValue(typed);
  const scoped = Object.keys(place).length > 0;
  const found = useQuery({ queryKey: ["listConfigurations", "all", place], queryFn: ({ signal }) => everything("listConfigurations", place, signal) });
  const global = useQuery({ queryKey: ["listConfigurations", "all", {}], enabled: scoped, retry: false, queryFn: ({ signal }) => everything("listConfigurations", {}, signal) });
  const above = useMemo(() => new Map(global.data?.map((s) => [s.name, s.value])), [global.data]);
  const hay = useMemo(() => new Map(found.data?.map((s) => [s, `${s.name}\n${nameOf(s, w)}\n${s.description ?? ""}\n${s.value ?? ""}\n${s.group ?? ""} ${w.phrase(String(s.group ?? ""))} ${w.phrase(String(s.subgroup ?? ""))}`.toLowerCase()])), [found.data, w]);
  const groups = useMemo(() => [...new Set(found.data?.map((s) => String(s.group ?? "")).filter(Boolean))], [found.data]);
  const changed = (s: Row) => (scoped && above.size ? String(above.get(s.name) ?? "") !== String(s.value ?? "") : differs(s));
  const shown = useMemo(
    () =>
      (found.data ?? [])
        .filter((s) => (!query || matches(hay.get(s) ?? "", query)) && (!search.group || s.group === search.group) && (!search.changed || changed(s)))
        .sort((a, b) => Number(changed(b)) - Number(changed(a)) || String(a.name).localeCompare(String(b.name))),
    [found.data, above, hay, query, search.group, search.changed],
  );
  const [most, setMost] = useState(60);
  if (found.isError) return <FaultNote fault={found.error} again={() => void found.refetch()} />;
  if (found.isPending) return <Group justify="center" role="status"><Loader size={22} /><Text c="dimmed" size="sm">{w.t("loading")}</Text></Group>;
  const number = found.data.filter(changed).length;
  return (
    <Stack gap="sm">
      <Group gap="sm">
        <TextInput style={{ flex: "1 1 240px", maxWidth: 420 }} aria-label={w.t("settings.search")} placeholder={w.t("settings.search.in")} leftSection={<IconSearch size={16} aria-hidden />} value={typed}
          rightSection={typed && <ActionIcon variant="transparent" color="gray" aria-label={w.t("clear")} onClick={() => (setTyped(""), write({ q: undefined }))}><IconX size={16} /></ActionIcon>}
          onChange={(e) => setTyped(e.currentTarget.value)} onBlur={() => write({ q: typed || undefined })} onKeyDown={(e) => !e.nativeEvent.isComposing && e.key === "Enter" && write({ q: typed || undefined })} />
        {groups.length > 1 && <Select w={190} aria-label={w.field("group")} placeholder={w.field("group")} clearable value={search.group ?? null} onChange={(v) => write({ group: v ?? undefined })} data={groups.map((g) => ({ value: g, label: w.language === "en" ? g : w.phrase(g) }))} />}
        <Checkbox label={w.t("settings.changed", { count: number })} checked={search.changed === "1"} onChange={(e) => write({ changed: e.currentTarget.checked ? "1" : undefined })} />
      </Group>
      <Text size="sm" c="dimmed" aria-live="polite">{w.t("table.part", { part: shown.length, all: found.data.length })}</Text>
      <Paper role="list" aria-label={w.noun("Configurations")} style={{ overflow: "clip" }}>
        {shown.slice(0, most).map((s) => <Setting key={s.name} setting={s} place={place} changed={changed(s)} above={scoped ? above.get(s.name) : undefined} />)}
        {!shown.length && <Text c="dimmed" ta="center" p="xl">{w.t("table.nothing")}</Text>}
      </Paper>
      {shown.length > most && <Button variant="default" onClick={() => setMost(most + 200)}>{w.t("settings.more", { count: shown.length - most })}</Button>}
    </Stack>
  );
}

/** A long time in the unit that people would use: 86,400 seconds are a day. */
function span(value: number, unit: string, w: Words): string {
  const scale: Record<string, number> = { milliseconds: 0.001, seconds: 1, minutes: 60, hours: 3600 };
  const seconds = value * (scale[unit] ?? 0);
  const better = ([["day", 86400], ["hour", 3600], ["minute", 60], ["second", 1]] as const).find(([, size]) => seconds >= size && seconds % size === 0);
  if (!better || `${better[0]}s` === unit) return "";
  return ` (${new Intl.NumberFormat(w.language, { style: "unit", unit: better[0], unitDisplay: "long" }).format(seconds / better[1])})`;
}

/** The parameter of resetConfiguration for a place; secondary storage has another name there. */
const again = (place: Params): Params => Object.fromEntries(Object.entries(place).map(([k, v]) => [k === "imagestoreuuid" ? "imagestoreid" : k, v]));

function Setting({ setting: s, place, changed, above }: { setting: Row; place: Params; changed: boolean; above?: string }) {
  const w = useWords();
  const { commands } = useModel();
  const phone = useMediaQuery("(max-width: 48em)");
  const [editing, setEditing] = useState(false);
  const [value, setValue] = useState<string>("");
  const [busy, setBusy] = useState(false);
  const [fault, setFault] = useState<unknown>();
  const key = String(s.name);
  const name = nameOf(s, w);
  const now = String(s.value ?? "");
  const unit = s.unit && s.unit !== "things" ? (w.maybe(`unit.${s.unit}`) ?? String(s.unit)) : "";
  const say = (v: string) => (v === "" ? w.t("settings.empty") : s.type === "Boolean" ? w.t(v === "true" ? "yes" : "no") : v);
  const [history, setHistory] = useState(false);
  /** What takes a change back: the value that held, or that there was none of its own. */
  const before = () => (changed || s.updated ? () => save(undefined, now, false) : () => back(false));
  const done = (message: string, undo?: () => void) => {
    settle("listConfigurations");
    settle("listEvents");
    setEditing(false);
    const id = notifications.show({
      color: "mold", autoClose: undo ? 10_000 : 4000, closeButtonProps: { "aria-label": w.t("close") },
      message: undo ? <Group justify="space-between" gap="xs"><Text size="sm" style={{ flex: 1 }}>{message}</Text><Button size="compact-sm" variant="light" onClick={() => (notifications.hide(id), undo())}>{w.t("undo")}</Button></Group> : message,
    });
  };
  async function change(command: string, params: Params, message: string, undo?: () => void) {
    setBusy(true);
    setFault(undefined);
    try {
      await call(command, params);
      done(message, undo);
    } catch (no) {
      setFault(no);
    } finally {
      setBusy(false);
    }
  }
  const save = (event?: FormEvent, to = value, undo = true) => {
    event?.preventDefault();
    void change("updateConfiguration", { name: key, value: to, ...place }, w.t(s.isdynamic === false ? "settings.saved.restart" : "settings.saved", { name }), undo ? before() : undefined);
  };
  const back = (undo = true) => void change("resetConfiguration", { name: key, ...again(place) }, w.t("settings.reset.done", { name }), undo ? before() : undefined);
  const may = commands.has("updateConfiguration");
  const label = w.t("settings.value", { name });
  return (
    <div role="listitem" aria-label={name} style={{ padding: phone ? "12px 14px" : "12px 18px", borderBottom: "1px solid light-dark(#eff1f3, #272d31)" }}>
      <Group justify="space-between" align="flex-start" gap="md">
        <div style={{ flex: "2 1 300px", minWidth: 0 }}>
          <Group gap={8}><Text fw={600} size="sm">{name}</Text>{changed && <Mark tone="busy">{w.t("settings.isset")}</Mark>}{s.isdynamic === false && <Mark tone="warn">{w.t("settings.restart")}</Mark>}</Group>
          {name !== key && <Code fz={12} bg="transparent" px={0} c="dimmed">{key}</Code>}
          {s.description && (w.language === "en" || !KOREAN[key]) && <Text size="xs" c="dimmed" mt={2} lang="en">{s.description}</Text>}
          <Group gap={6} mt={5}>
            <Text size="xs" c="dimmed">{w.t("settings.default")} <span lang="en">{say(String(s.defaultvalue ?? ""))}</span></Text>
            {above !== undefined && <Text size="xs" c="dimmed">· {w.t("settings.above")} <span lang="en">{say(String(above))}</span></Text>}
            {String(s.scope ?? "").split(",").filter((x) => x && x !== "Global").map((x) => <Badge key={x} size="sm" variant="light" color="gray" tt="none">{w.noun(`${x}s`)}</Badge>)}
          </Group>
          {s.updated && (
            <Group gap={6} mt={3}>
              <Text size="xs" c="dimmed">{w.t("settings.by", { who: String(s.updatedby || w.t("settings.system")) })} <Value field="updated" row={s} short />{s.previousvalue !== undefined && <> · {w.t("settings.before")} <span lang="en">{say(String(s.previousvalue))}</span></>}</Text>
              {may && s.previousvalue !== undefined && String(s.previousvalue) !== now && <Button size="compact-xs" variant="subtle" aria-label={w.t("settings.former.of", { name })} onClick={() => save(undefined, String(s.previousvalue))}>{w.t("settings.former")}</Button>}
            </Group>
          )}
        </div>
        <div style={{ flex: "1 1 220px", minWidth: 0, maxWidth: phone ? undefined : 380 }}>
          {editing ? (
            <form onSubmit={save}>
              <Stack gap="xs">
                {s.options ? (
                  <Select aria-label={label} data={String(s.options).split(",")} value={value} allowDeselect={false} onChange={(v) => setValue(v ?? "")} data-autofocus autoFocus />
                ) : s.type === "Number" || s.type === "Decimal" ? (
                  <NumberInput aria-label={label} value={value === "" ? "" : Number(value)} onChange={(v) => setValue(String(v))} allowDecimal={s.type === "Decimal"} suffix={unit ? ` ${unit}` : undefined} autoFocus />
                ) : s.type === "CSV" ? (
                  <TagsInput aria-label={label} placeholder={w.t("form.tags")} value={value ? value.split(",").map((x) => x.trim()) : []} onChange={(v) => setValue(v.join(","))} autoFocus />
                ) : (
                  <TextInput aria-label={label} value={value} onChange={(e) => setValue(e.currentTarget.value)} autoFocus spellCheck={false} />
                )}
                <Group gap="xs" justify="flex-end"><Button size="xs" variant="default" onClick={() => (setEditing(false), setFault(undefined))}>{w.t("cancel")}</Button><Button size="xs" type="submit" loading={busy} disabled={value === now}>{w.t("save")}</Button></Group>
              </Stack>
            </form>
          ) : (
            <Group justify="flex-end" gap={4} wrap="nowrap">
              {s.type === "Boolean" ? (
                <Switch aria-label={label} checked={now === "true"} disabled={!may || busy} onChange={(e) => save(undefined, String(e.currentTarget.checked))} />
              ) : (
                <Text size="sm" ff={now && s.type === "String" ? "monospace" : undefined} c={now ? undefined : "dimmed"} style={{ overflowWrap: "anywhere" }} lang={now && !unit ? "en" : undefined}>{unit && now ? <>{w.number(Number(now))}{w.language === "en" ? " " : ""}{unit}<Text span size="xs" c="dimmed">{span(Number(now), String(s.unit), w)}</Text></> : say(now)}</Text>
              )}
              {may && s.type !== "Boolean" && <ActionIcon variant="subtle" color="gray" size="lg" aria-label={w.t("settings.edit", { name })} onClick={() => (setValue(now), setEditing(true))}><IconPencil size={17} /></ActionIcon>}
              {changed && commands.has("resetConfiguration") && <Tooltip label={w.t(above === undefined ? "settings.reset" : "settings.reset.above")}><ActionIcon variant="subtle" color="gray" size="lg" loading={busy} aria-label={w.t("settings.undo", { name })} onClick={() => back()}><IconArrowBackUp size={18} /></ActionIcon></Tooltip>}
              {commands.has("listEvents") && <Tooltip label={w.t("settings.history")}><ActionIcon variant="subtle" color="gray" size="lg" aria-label={w.t("settings.history.of", { name })} onClick={() => setHistory(true)}><IconHistory size={17} /></ActionIcon></Tooltip>}
            </Group>
          )}
        </div>
      </Group>
      {fault !== undefined && <div style={{ marginTop: 8 }}><FaultNote fault={fault} /></div>}
      {history && <History name={name} setting={key} say={say} close={() => setHistory(false)} />}
      {editing && s.isdynamic === false && <Alert mt="xs" color="yellow" p="xs">{w.t("settings.restart.about")}</Alert>}
    </div>
  );
}

/** What an event says of a change: the place (empty: the whole cloud), the value now and the one before. */
const SAID = /^The setting (\S+)(?: of the (.+?))? (?:is (['"])(.*)\3, it was (['"])(.*)\5|has been changed)\.$/s;

/** Who changed a setting, when and to what, as the events have it. */
function History({ name, setting, say, close }: { name: string; setting: string; say: (value: string) => string; close: () => void }) {
  const w = useWords();
  const phone = useMediaQuery("(max-width: 48em)");
  const found = useQuery({
    queryKey: ["listEvents", "setting", setting],
    queryFn: async ({ signal }) => rows(await call("listEvents", { type: "CONFIGURATION.VALUE.EDIT", keyword: `setting ${setting}`, listall: true, page: 1, pagesize: 100 }, signal)).rows.filter((e) => String(e.description).match(SAID)?.[1] === setting),
  });
  return (
    <Modal opened onClose={close} fullScreen={phone} size="lg" title={<Text fw={650} fz="lg">{w.t("settings.history.of", { name })}</Text>} closeButtonProps={{ "aria-label": w.t("close") }}>
      {found.isError ? <FaultNote fault={found.error} again={() => void found.refetch()} /> : found.isPending ? <Group role="status"><Loader size={20} /><Text size="sm" c="dimmed">{w.t("loading")}</Text></Group> : !found.data.length ? <Text c="dimmed">{w.t("settings.history.none")}</Text> : (
        <div role="list" aria-label={w.t("settings.history")}>
          {found.data.map((e) => {
            const [, , where, quoted, after, , was] = String(e.description).match(SAID) ?? [];
            return (
              <div key={e.id} role="listitem" style={{ padding: "9px 0", borderBottom: "1px solid light-dark(#eff1f3, #272d31)" }}>
                <Text size="sm">{quoted ? <><span lang="en">{say(was)}</span> → <b lang="en">{say(after)}</b></> : w.t("settings.history.secret")}{where && <Text span c="dimmed" size="xs" lang="en"> · {where}</Text>}</Text>
                <Text size="xs" c="dimmed"><span translate="no">{String(e.username)}</span> · <Value field="created" row={e} /></Text>
              </div>
            );
          })}
        </div>
      )}
      <Text size="xs" c="dimmed" mt="sm">{w.t("settings.history.about")}</Text>
    </Modal>
  );
}
