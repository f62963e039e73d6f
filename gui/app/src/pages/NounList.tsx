import { To, useGo, useSearchWriter } from "../parts/To";
import { ActionIcon, Button, Group, Menu, Stack, Tabs, Text, Title } from "@mantine/core";
import { IconChevronDown, IconDots, IconPlus } from "@tabler/icons-react";
import { useParams, useSearch } from "@tanstack/react-router";
import { useEffect } from "react";
import type { Row } from "../api/client";
import { nounBySlug, useModel, type Noun } from "../api/model";
import { useRows } from "../api/rows";
import { scoped, useScope } from "../api/scope";
import { columnsOf, useDeclared } from "../nouns";
import { act, DANGEROUS } from "../parts/act";
import { DataTable } from "../parts/DataTable";
import { ActionMenu } from "../parts/ActionMenu";
import { fieldsOf, FILTERS } from "../parts/fields";

import { useWords } from "../words";
import { NotFound } from "./NotFound";

export default function NounListPage() {
  const { slug } = useParams({ strict: false }) as { slug: string };
  const noun = nounBySlug(useModel(), slug);
  return noun ? <NounList key={noun.slug} noun={noun} /> : <NotFound />;
}

function NounList({ noun }: { noun: Noun }) {
  const w = useWords();
  const model = useModel();
  const go = useGo();
  const scope = useScope();
  const rewrite = useSearchWriter();
  const search = useSearch({ strict: false }) as Record<string, string>;
  const about = useDeclared(noun);
  const narrowed = Object.fromEntries(noun.list.params.filter((p) => p.type === "uuid" && p.name !== "id" && search[p.name]).map((p) => [p.name, search[p.name]]));
  const needs = fieldsOf(noun.list).filter((f) => f.required && !FILTERS[noun.list.name]?.[f.param.name] && !(f.param.name in (about?.params ?? {})) && f.param.name !== about?.views?.param);
  const view = about?.views;
  const viewed = view && (view.values().find((v) => v === search[view.param]) ?? view.values()[0]);
  const params = { ...scoped(noun.list, scope), ...FILTERS[noun.list.name], ...about?.params, ...narrowed, ...(view ? { [view.param]: viewed } : {}) };
  const found = useRows(noun.list.name, params, Boolean(about) && !needs.length);
  const title = w.noun(noun.name);
  useEffect(() => void (document.title = `${title} · Mold`), [title]);
  if (!about) return null;
  const { columns, shown } = columnsOf(noun, about);
  const create = (about.create ?? noun.create.map((c) => c.name)).filter((c) => model.commands.has(c));
  const make = (command: string) => act({ command, noun, first: about.first?.[command] });
  const bulk = (about.bulk ?? noun.actions.filter((c) => /^(start|stop|reboot|delete|destroy)/.test(c.name) && !fieldsOf(c, { id: "" }).some((f) => f.required)).map((c) => c.name)).filter((c) => model.commands.has(c));
  const to = (r: Row) => (r.id ? { slug: noun.slug, id: String(r.id) } : undefined);
  return (
    <Stack gap="lg">
      <Group justify="space-between">
        <Title order={1} fz={26}>{title}</Title>
        {about.createPage && create.length > 0 ? (
          <Button leftSection={<IconPlus size={17} aria-hidden />} renderRoot={(p) => <To {...p} to={about.createPage} />}>{about.createLabel?.() ?? w.command(create[0])}</Button>
        ) : create.length === 1 ? (
          <Button leftSection={<IconPlus size={17} aria-hidden />} onClick={() => make(create[0])}>{w.command(create[0])}</Button>
        ) : create.length > 1 ? (
          <Menu position="bottom-end">
            <Menu.Target><Button leftSection={<IconPlus size={17} aria-hidden />} rightSection={<IconChevronDown size={16} aria-hidden />}>{w.t("create")}</Button></Menu.Target>
            <Menu.Dropdown>{create.map((c) => <Menu.Item key={c} onClick={() => make(c)}>{w.command(c)}</Menu.Item>)}</Menu.Dropdown>
          </Menu>
        ) : null}
      </Group>
      {about.banner?.()}
      {view && viewed && <Tabs value={viewed} onChange={(v) => rewrite({ [view.param]: v === view.values()[0] ? undefined : (v ?? undefined) })}><Tabs.List style={{ flexWrap: "nowrap", overflowX: "auto", overflowY: "hidden" }}>{view.values().map((v) => <Tabs.Tab key={v} value={v}>{view.label(v)}</Tabs.Tab>)}</Tabs.List></Tabs>}
      {needs.length ? (
        <Stack><Text>{w.t("list.needs", { what: needs.map((f) => w.field(f.param.name)).join(", ") })}</Text><Button w="fit-content" variant="light" onClick={() => go(`/commands/${noun.list.name}`)}>{w.command(noun.list.name)}</Button></Stack>
      ) : (
        <DataTable
          title={title} columns={columns} shown={shown} {...found} source={{ command: noun.list, params }} to={to}
          bulk={bulk.map((c) => ({ label: w.action(c, noun.name), danger: DANGEROUS.test(c) && !/^stop/.test(c), run: (rows) => act({ command: c, noun, rows, param: about.param?.[c] }) }))}
          menu={noun.actions.length ? (row) => <ActionMenu noun={noun} about={about} row={row}><ActionIcon variant="subtle" color="gray" aria-label={w.t("row.menu", { name: String(row.name ?? row.id ?? "") })}><IconDots size={18} /></ActionIcon></ActionMenu> : undefined}
          empty={<><Text c="dimmed">{w.t("list.empty", { name: title })}</Text>{about.createPage && create.length > 0 && <Button variant="light" renderRoot={(p) => <To {...p} to={about.createPage} />}>{about.createLabel?.() ?? w.command(create[0])}</Button>}{!about.createPage && create.length > 0 && <Group gap="xs" justify="center">{create.slice(0, 2).map((c) => <Button key={c} variant="light" onClick={() => make(c)}>{w.command(c)}</Button>)}</Group>}</>}
        />
      )}
    </Stack>
  );
}
