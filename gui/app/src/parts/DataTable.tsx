// A table of any length that turns into cards on a phone. Filters, order and columns lie in the address, so that the
// way back loses nothing and a link shows the same to others. Only what is on the screen is drawn.

import { pageOf, To, useGo, useSearchWriter } from "./To";
import { ActionIcon, Button, Checkbox, Group, Loader, Menu, Paper, Select, Skeleton, Stack, Text, TextInput, Tooltip, VisuallyHidden } from "@mantine/core";
import { useDebouncedValue, useElementSize, useMediaQuery } from "@mantine/hooks";
import { IconArrowDown, IconArrowUp, IconColumns3, IconDownload, IconSearch, IconX } from "@tabler/icons-react";
import { useSearch } from "@tanstack/react-router";
import { useWindowVirtualizer } from "@tanstack/react-virtual";
import { memo, useDeferredValue, useEffect, useMemo, useRef, useState, type KeyboardEvent, type ReactNode } from "react";
import type { Params, Row } from "../api/client";
import type { Command } from "../api/model";
import { useFar, useRows } from "../api/rows";
import { SCOPE } from "../api/scope";
import { seek } from "../api/seek";
import { useWords } from "../words";
import { download } from "./download";
import { FaultNote } from "./FaultNote";
import { matches } from "./matches";
import { instant, rememberedText, text, Value } from "./Value";

export interface Column {
  field: string;
  title?: string;
  /** Share of the width; default 1. */
  wide?: number;
  /** What stands in the cell; default: the field, drawn by its kind. */
  cell?: (row: Row) => ReactNode;
  /** What is searched, sorted and exported; default: the field. */
  value?: (row: Row) => string | number;
  /** Several values of a row, each to filter by, as its tags. */
  values?: (row: Row) => string[];
  /** Offer a filter by its values. */
  facet?: boolean;
}
export interface Bulk {
  label: string;
  icon?: ReactNode;
  danger?: boolean;
  run: (rows: Row[]) => void;
}
interface Props {
  /** Names it to screen readers and in the file of an export. */
  title: string;
  columns: Column[];
  /** The columns shown unless the user chose others; default: all. */
  shown?: string[];
  rows: Row[];
  count?: number;
  loading?: boolean;
  fetching?: boolean;
  fault?: unknown;
  again?: () => void;
  /** Ask for the rows beyond the limit. */
  more?: () => void;
  /** Where the rows come from: then what is not loaded is searched, and shown, all the same. */
  source?: { command: Command; params: Params };
  /** The page of a row. */
  to?: (row: Row) => { slug: string; id: string } | undefined;
  onOpen?: (row: Row) => void;
  bulk?: Bulk[];
  /** What to do with one row: a menu at its end. */
  menu?: (row: Row) => ReactNode;
  empty?: ReactNode;
  toolbar?: ReactNode;
  /** A small table inside a page: no search in the address. */
  embedded?: boolean;
}

/** The word of a filter in the address: the field, but for those by which the scope goes there. */
const wordOf = (column: Column) => (SCOPE.some((s) => s === column.field) ? `in${column.field}` : column.field);
const LEAST = 128; // pixels that a column needs
/** By what the filter of a column finds a row. */
const kinds = (column: Column, row: Row): string[] => column.values?.(row) ?? [String(row[column.field] ?? "")];

/** What is drawn again only when something of `on` is another: scrolling moves rows, it does not make them. */
const Kept = memo(({ draw }: { draw: () => ReactNode; on: unknown[] }) => draw(), (a, b) => a.on.length === b.on.length && a.on.every((x, i) => Object.is(x, b.on[i])));

export function DataTable(p: Props) {
  const w = useWords();
  const go = useGo();
  const rewrite = useSearchWriter();
  const inUrl = useSearch({ strict: false }) as Record<string, string | undefined>;
  const [own, setOwn] = useState<Record<string, string | undefined>>({});
  const search = p.embedded ? own : inUrl;
  const write = (change: Record<string, string | undefined>) =>
    p.embedded ? setOwn((old) => ({ ...old, ...change })) : rewrite(change);

  const phone = useMediaQuery("(max-width: 48em)") ?? false;
  const { ref: box, width } = useElementSize();
  const [typed, setTyped] = useState(search.q ?? "");
  useEffect(() => setTyped(search.q ?? ""), [search.q]);
  const query = useDeferredValue(typed);
  const [chosen, setChosen] = useState<ReadonlyMap<string, Row>>(new Map());
  const [active, setActive] = useState(0);

  const names = search.cols?.split(",") ?? p.shown ?? p.columns.map((c) => c.field);
  const wanted = names.map((n) => p.columns.find((c) => c.field === n)).filter((c) => c !== undefined);
  const room = phone ? 5 : Math.max(2, Math.floor((width || 900) / LEAST));
  const columns = search.cols && !phone ? wanted : wanted.slice(0, room);
  const [sortBy, sortDown] = [search.sort?.replace(/^-/, ""), search.sort?.startsWith("-")];
  const plain = (column: Column, row: Row) => (column.value ? String(column.value(row)) : text(column.field, row[column.field], w));

  // Of a long list not everything is here. What is searched or filtered by is asked of the server as well.
  const total = Math.max(p.count ?? 0, p.rows.length);
  const partial = Boolean(p.source) && total > p.rows.length && !p.loading;
  const picks = p.columns.filter((c) => c.facet && !c.values && search[wordOf(c)]).map((c): [string, string] => [c.field, search[wordOf(c)] as string]);
  const [slow] = useDebouncedValue(query, 250);
  const asked = partial && p.source ? seek(p.source.command, slow, picks, p.rows, w) : undefined;
  const sought = useRows(p.source?.command.name ?? "", { ...p.source?.params, ...asked }, Boolean(asked));
  const seeking = sought.loading || (partial && query !== slow);
  const rows = useMemo(() => {
    if (!sought.rows.length || !asked) return p.rows;
    const here = new Set(p.rows.map((r) => r.id));
    return [...p.rows, ...sought.rows.filter((r) => !here.has(r.id))];
  }, [p.rows, sought.rows, Boolean(asked)]);

  // Made once for each row, when there is something to find.
  const kept = useMemo(() => new WeakMap<Row, string>(), [p.columns.map((c) => c.field).join(), w]);
  const remembered = useMemo(() => rememberedText(w), [w]);
  const hay = (row: Row): string => {
    let said = kept.get(row);
    if (said === undefined) kept.set(row, (said = `${p.columns.map((c) => (c.value ? c.value(row) : remembered(c.field, row[c.field]))).join("\n")}\n${row.id ?? ""}\n${text("tags", row.tags, w)}`.toLowerCase()));
    return said;
  };
  const facets = useMemo(() => p.columns.filter((c) => c.facet).map((c) => ({ column: c, values: [...new Set(rows.flatMap((r) => kinds(c, r)).filter(Boolean))].sort() })).filter((f) => f.values.length > 1 || search[wordOf(f.column)]), [rows, p.columns, search]);
  const shown = useMemo(() => {
    let out = rows;
    for (const { column } of facets) if (search[wordOf(column)]) out = out.filter((r) => kinds(column, r).includes(search[wordOf(column)] as string));
    if (query) out = out.filter((r) => matches(hay(r), query));
    const by = sortBy ? p.columns.find((c) => c.field === sortBy) : undefined;
    if (by) {
      const order = new Intl.Collator(w.language, { numeric: true });
      const key = (r: Row) => {
        const v = by.value ? by.value(r) : r[by.field];
        return instant(v)?.getTime() ?? (typeof v === "number" ? v : by.value ? String(v) : text(by.field, v, w));
      };
      out = out.map((row) => [key(row), row] as const).sort(([a], [b]) => (typeof a === "number" && typeof b === "number" ? a - b : order.compare(String(a), String(b)))).map(([, row]) => row);
      if (sortDown) out.reverse();
    }
    return out;
  }, [rows, p.columns, kept, query, search, sortBy, sortDown, w]);

  // Untouched, the list is as long as it is: what is not here is fetched where somebody looks.
  const whole = partial && !query && !sortBy && !facets.some((f) => search[wordOf(f.column)]);
  const far = useFar(p.source?.command.name ?? "", p.source?.params ?? {}, whole);
  const length = whole ? total : shown.length;
  const rowAt = (index: number): Row | undefined => shown[index] ?? (whole ? far.at(index) : undefined);

  const list = useRef<HTMLDivElement>(null);
  const [top, setTop] = useState(0);
  useEffect(() => {
    const at = list.current?.getBoundingClientRect();
    if (at) setTop(at.top + window.scrollY);
  }, [p.loading, width, chosen.size > 0, facets.length]);
  const virtual = useWindowVirtualizer({ count: length, estimateSize: () => (phone ? 124 : 46), overscan: 12, scrollMargin: top, getItemKey: (i) => String(shown[i]?.id ?? i) });
  const [from, to] = [virtual.range?.startIndex ?? 0, virtual.range?.endIndex ?? 0];
  const [beyond] = useDebouncedValue(whole && to >= p.rows.length ? `${Math.max(from, p.rows.length)} ${to}` : "", 120);
  useEffect(() => {
    if (beyond) far.want(...(beyond.split(" ").map(Number) as [number, number]));
  }, [beyond]);

  // Rows measured as cards are not so high as rows of a table.
  useEffect(() => virtual.measure(), [phone]);

  const picked = [...shown.filter((r) => chosen.has(String(r.id))), ...(whole ? [...chosen.values()].filter((r) => !shown.some((s) => s.id === r.id)) : [])];
  const selects = Boolean(p.bulk?.length);
  const toggle = (row: Row) => setChosen((old) => {
    const out = new Map(old);
    if (!out.delete(String(row.id))) out.set(String(row.id), row);
    return out;
  });
  const focus = (to: number) => {
    const at = Math.max(0, Math.min(length - 1, to));
    setActive(at);
    virtual.scrollToIndex(at, { align: "auto" });
    requestAnimationFrame(() => requestAnimationFrame(() => list.current?.querySelector<HTMLElement>(`[data-index="${at}"]`)?.focus()));
  };
  const keys = (event: KeyboardEvent, row: Row, at: number) => {
    if (event.target !== event.currentTarget) return;
    const step = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: length - 1, PageDown: at + 12, PageUp: at - 12 }[event.key];
    if (step !== undefined) focus(step);
    else if (event.key === "Enter") open(row);
    else if (event.key === " " && selects) toggle(row);
    else return;
    event.preventDefault();
  };
  const open = (row: Row) => {
    const to = p.to?.(row);
    if (p.onOpen) p.onOpen(row);
    else if (to) go(pageOf(to));
  };
  const cell = (column: Column, row: Row, first: boolean) => {
    const inner = column.cell ? column.cell(row) : <Value field={column.field} row={row} short />;
    const to = first ? p.to?.(row) : undefined;
    return to ? <To className="main" to={pageOf(to)}>{inner}</To> : inner;
  };

  function save() {
    const quote = (s: string) => `"${(/^[=+\-@\t\r]/.test(s) ? `'${s}` : s).replaceAll('"', '""')}"`;
    const csv = [wanted.map((c) => quote(c.title ?? w.field(c.field))), ...shown.map((r) => wanted.map((c) => quote(plain(c, r))))].map((line) => line.join(",")).join("\r\n");
    download(`${p.title}.csv`, `\ufeff${csv}`, "text/csv;charset=utf-8");
  }

  const stamp = [p, w, names.join(), room, phone, length, top]; // with these a row is drawn as before
  const grid = `${selects ? "26px " : ""}${columns.map((c, i) => `minmax(0, ${c.wide ?? (i ? 1 : 1.5)}fr)`).join(" ")}${p.menu ? " 36px" : ""}`;
  const filtered = shown.length !== rows.length;
  return (
    <Stack gap="sm" ref={box}>
      <Group gap="sm" justify="space-between">
        <Group gap="sm" style={{ flex: phone ? "1 1 100%" : 1, minWidth: 0 }}>
          {(!p.embedded || p.rows.length > 8) && (
            <TextInput
              style={phone ? { flex: "1 1 100%" } : { flex: "1 1 180px", maxWidth: 340 }} aria-label={w.t("table.search", { name: p.title })} placeholder={w.t("table.search.in")} value={typed}
              leftSection={<IconSearch size={16} aria-hidden />} rightSection={typed && <ActionIcon variant="transparent" color="gray" aria-label={w.t("clear")} onClick={() => (setTyped(""), write({ q: undefined }))}><IconX size={16} /></ActionIcon>}
              onChange={(e) => setTyped(e.currentTarget.value)}
              onBlur={() => write({ q: typed || undefined })}
              onKeyDown={(e) => !e.nativeEvent.isComposing && e.key === "Enter" && write({ q: typed || undefined })}
            />
          )}
          {facets.map(({ column, values }) => (
            <Select key={column.field} w={150} style={phone ? { flex: "1 1 130px" } : undefined} aria-label={column.title ?? w.field(column.field)} placeholder={column.title ?? w.field(column.field)} clearable value={search[wordOf(column)] ?? null} onChange={(v) => write({ [wordOf(column)]: v ?? undefined })} data={values.map((v) => ({ value: v, label: column.values ? v : text(column.field, v, w) }))} />
          ))}
        </Group>
        <Group gap={6} ml="auto">
          {((p.fetching && !p.loading) || seeking) && <Loader size={16} aria-label={w.t("loading")} />}
          <Text size="sm" c="dimmed" aria-live="polite">{p.loading ? "" : filtered ? w.t("table.part", { part: w.number(shown.length), all: w.number(total) }) : w.t("table.count", { count: w.number(total) })}</Text>
          {!p.embedded && (
            <>
              {!phone && (
                <Menu closeOnItemClick={false} position="bottom-end">
                  <Menu.Target><Tooltip label={w.t("table.columns")}><ActionIcon variant="subtle" color="gray" size="lg" aria-label={w.t("table.columns")}><IconColumns3 size={18} /></ActionIcon></Tooltip></Menu.Target>
                  <Menu.Dropdown mah={420} style={{ overflow: "auto" }}>
                    {p.columns.map((c) => (
                      <Menu.Item key={c.field} role="menuitemcheckbox" aria-checked={names.includes(c.field)} leftSection={<Checkbox size="xs" checked={names.includes(c.field)} readOnly tabIndex={-1} aria-hidden />} onClick={() => write({ cols: (names.includes(c.field) ? names.filter((n) => n !== c.field) : [...names, c.field]).join(",") || undefined })}>
                        {c.title ?? w.field(c.field)}
                      </Menu.Item>
                    ))}
                    {search.cols && <><Menu.Divider /><Menu.Item onClick={() => write({ cols: undefined })}>{w.t("table.columns.reset")}</Menu.Item></>}
                  </Menu.Dropdown>
                </Menu>
              )}
              <Tooltip label={w.t("table.csv")}><ActionIcon variant="subtle" color="gray" size="lg" aria-label={w.t("table.csv")} onClick={save}><IconDownload size={18} /></ActionIcon></Tooltip>
            </>
          )}
          {p.toolbar}
        </Group>
      </Group>

      {p.more && (sortBy || filtered) && <Group gap="xs"><Text size="sm" c="dimmed">{w.t(sortBy ? "table.limit.sorted" : "table.limit", { part: w.number(p.rows.length), all: w.number(total) })}</Text><Button size="xs" variant="light" onClick={p.more}>{w.t("table.all")}</Button></Group>}
      {!p.fault && (far.fault ?? sought.fault) ? <FaultNote fault={far.fault ?? sought.fault} again={sought.again} /> : null}

      {selects && picked.length > 0 && (
        <Paper p="xs" px="md" pos="sticky" top="calc(var(--app-shell-header-height, 0px) + 6px)" style={{ zIndex: 5 }} shadow="sm" role="region" aria-label={w.t("table.chosen", { count: picked.length })}>
          <Group gap="xs">
            <Text size="sm" fw={600} mr="auto">{w.t("table.chosen", { count: picked.length })}</Text>
            {p.bulk?.map((b) => <Button key={b.label} size="xs" variant="light" color={b.danger ? "red" : undefined} leftSection={b.icon} onClick={() => b.run(picked)}>{b.label}</Button>)}
            <Button size="xs" variant="subtle" color="gray" onClick={() => setChosen(new Map())}>{w.t("table.unchoose")}</Button>
          </Group>
        </Paper>
      )}

      {p.fault ? <FaultNote fault={p.fault} again={p.again} /> : (
        <Paper style={{ overflow: "clip" }}>
          {p.loading ? (
            <Group p="xl" justify="center" role="status"><Loader size={22} /><Text c="dimmed" size="sm">{w.t("loading")}</Text></Group>
          ) : !length ? (
            <Stack align="center" p={40} gap="xs">{seeking ? <Loader size={20} aria-label={w.t("loading")} /> : filtered ? <Text c="dimmed">{w.t("table.nothing")}</Text> : (p.empty ?? <Text c="dimmed">{w.t("table.empty")}</Text>)}</Stack>
          ) : phone ? (
            <div className="cards" ref={list} role="list" aria-label={p.title} style={{ height: virtual.getTotalSize(), position: "relative" }}>
              {virtual.getVirtualItems().map((item) => {
                const row = rowAt(item.index);
                if (!row) return <div key={item.key} role="listitem" className="card" data-index={item.index} aria-busy="true" style={{ position: "absolute", insetInline: 0, top: item.start - top, height: item.size }}><Skeleton h={16} w="40%" /></div>;
                return (
                  <Kept key={item.key} on={[...stamp, row, item.index, item.start, chosen.has(String(row.id))]} draw={() => (
                  <div role="listitem" className="card" data-index={item.index} ref={virtual.measureElement} style={{ position: "absolute", insetInline: 0, top: item.start - top }} aria-setsize={length} aria-posinset={item.index + 1}>
                    <Group justify="space-between" wrap="nowrap" gap="sm">
                      <Group wrap="nowrap" gap="sm" style={{ minWidth: 0 }}>
                        {selects && <Checkbox aria-label={w.t("table.choose", { name: plain(wanted[0], row) })} checked={chosen.has(String(row.id))} onChange={() => toggle(row)} />}
                        <Text fw={600} truncate className="plain">{cell(columns[0], row, true)}</Text>
                      </Group>
                      <Group gap={4} wrap="nowrap">{columns[1] && cell(columns[1], row, false)}{p.menu?.(row)}</Group>
                    </Group>
                    <dl>{columns.slice(2).map((c) => <div key={c.field}><dt>{c.title ?? w.field(c.field)}</dt><dd>{cell(c, row, false)}</dd></div>)}</dl>
                  </div>
                  )} />
                );
              })}
            </div>
          ) : (
            <div className="table" role="table" aria-label={p.title} aria-rowcount={length + 1} aria-colcount={columns.length}>
              <div role="rowgroup">
                <div className="head" role="row" aria-rowindex={1} style={{ gridTemplateColumns: grid }}>
                  {selects && <span role="columnheader"><Checkbox size="xs" aria-label={w.t("table.choose.all")} checked={picked.length > 0 && picked.length === shown.length} indeterminate={picked.length > 0 && picked.length < shown.length} onChange={(e) => setChosen(e.currentTarget.checked ? new Map(shown.map((r) => [String(r.id), r])) : new Map())} /></span>}
                  {columns.map((c) => {
                    const mine = sortBy === c.field;
                    return (
                      <span key={c.field} role="columnheader" aria-sort={mine ? (sortDown ? "descending" : "ascending") : "none"} style={{ minWidth: 0 }}>
                        <button type="button" onClick={() => write({ sort: mine ? (sortDown ? undefined : `-${c.field}`) : c.field })}>
                          <Text span inherit truncate>{c.title ?? w.field(c.field)}</Text>
                          {mine && (sortDown ? <IconArrowDown size={13} aria-hidden /> : <IconArrowUp size={13} aria-hidden />)}
                        </button>
                      </span>
                    );
                  })}
                  {p.menu && <span role="columnheader"><VisuallyHidden>{w.t("more")}</VisuallyHidden></span>}
                </div>
              </div>
              <div ref={list} role="rowgroup" style={{ height: virtual.getTotalSize(), position: "relative" }}>
                {virtual.getVirtualItems().map((item) => {
                  const row = rowAt(item.index);
                  if (!row) return <div key={item.key} role="row" className="row" aria-busy="true" data-index={item.index} aria-rowindex={item.index + 2} style={{ position: "absolute", insetInline: 0, top: item.start - top, height: item.size }}><span role="cell"><Skeleton h={12} w="30%" /></span></div>;
                  return (
                    <Kept key={item.key} on={[...stamp, row, item.index, item.start, item.size, chosen.has(String(row.id)), item.index === Math.min(active, length - 1)]} draw={() => (
                    <div
                      role="row" className="row" data-index={item.index} aria-rowindex={item.index + 2} data-chosen={chosen.has(String(row.id)) || undefined}
                      tabIndex={item.index === Math.min(active, length - 1) ? 0 : -1} onKeyDown={(e) => keys(e, row, item.index)} onFocus={() => setActive(item.index)}
                      style={{ gridTemplateColumns: grid, position: "absolute", insetInline: 0, top: item.start - top, height: item.size }}
                    >
                      {selects && <span role="cell"><Checkbox size="xs" aria-label={w.t("table.choose", { name: plain(wanted[0] ?? p.columns[0], row) })} checked={chosen.has(String(row.id))} onChange={() => toggle(row)} /></span>}
                      {columns.map((c, i) => <span key={c.field} role="cell" className="cell">{cell(c, row, i === 0)}</span>)}
                      {p.menu && <span role="cell">{p.menu(row)}</span>}
                    </div>
                    )} />
                  );
                })}
              </div>
            </div>
          )}
        </Paper>
      )}
    </Stack>
  );
}
