// Choosing one or several things of a list. It is asked for when opened, narrowed by what the form says already.

import { Loader, MultiSelect, Select, Text } from "@mantine/core";
import { useDebouncedValue } from "@mantine/hooks";
import { useQuery } from "@tanstack/react-query";
import { useEffect, useState } from "react";
import { call, rows, type Params, type Row } from "../api/client";
import { useModel } from "../api/model";
import { scoped, useScope } from "../api/scope";
import { useWords } from "../words";
import { FILTERS } from "./fields";
import { nameOf } from "./Value";

/** Places of which there is often just one: it is chosen then, where one is required. */
const SINGLE = /^list(Zones|Pods|Clusters|PhysicalNetworks)$/;
/** What says of the new thing itself what it is, and nothing of what to choose from. */
const OWN = /^(id|name|keyword|username|displayname|displaytext|description|state|type|tags|size)$/;

interface Props {
  list: string;
  value: unknown;
  onChange: (value: unknown, row?: Row) => void;
  many?: boolean;
  /** What is sent; default the id. */
  by?: "id" | "name";
  /** Narrowing parameters; those that the list command does not have are left out. */
  near?: Params;
  label?: string;
  description?: string;
  error?: string;
  required?: boolean;
  placeholder?: string;
  "aria-label"?: string;
  size?: string;
}

export function Pick({ list, value, onChange, many, by = "id", near = {}, ...input }: Props) {
  const w = useWords();
  const command = useModel().commands.get(list);
  const scope = useScope();
  const single = Boolean(input.required) && !many && SINGLE.test(list);
  const [opened, setOpened] = useState(single || Boolean(value && (!Array.isArray(value) || value.length)));
  const [search, setSearch] = useState("");
  const [typed] = useDebouncedValue(search, 250);
  const fit = Object.fromEntries(Object.entries(near).filter(([k, v]) => v && !OWN.test(k) && command?.params.some((p) => p.name === k && p.type !== "map")));
  const asked: Params = { ...(command ? scoped(command, scope) : {}), ...FILTERS[list], ...fit, pagesize: 200, page: 1 };
  const first = useQuery({
    queryKey: [list, "choose", asked],
    queryFn: async ({ signal }) => rows(await call(list, asked, signal)),
    enabled: opened && Boolean(command),
  });
  const only = single && !value && first.data?.count === 1 ? first.data.rows[0] : undefined;
  useEffect(() => {
    if (only?.[by]) onChange(String(only[by]), only);
  }, [only]);
  const more = (first.data?.count ?? 0) > 200 && typed;
  const searched = useQuery({
    queryKey: [list, "choose", { ...asked, keyword: typed }],
    queryFn: async ({ signal }) => rows(await call(list, { ...asked, keyword: typed }, signal)),
    enabled: Boolean(more),
  });
  const found = [...(first.data?.rows ?? []), ...(more ? (searched.data?.rows ?? []) : [])];
  const seen = new Map(found.filter((r) => r[by]).map((r) => [String(r[by]), r]));
  const data = [...seen.values()].map((r) => ({ value: String(r[by]), label: nameOf(r) }));
  const missing = (Array.isArray(value) ? value : [value]).filter((v) => v && !seen.has(String(v))).map((v) => ({ value: String(v), label: String(v) }));
  const common = {
    ...input,
    data: [...data, ...missing],
    searchable: true,
    clearable: !input.required,
    ...(many ? {} : { allowDeselect: !input.required }),
    onDropdownOpen: () => setOpened(true),
    onSearchChange: setSearch,
    nothingFoundMessage: first.isFetching ? w.t("loading") : first.isError ? w.t("pick.failed") : w.t("pick.none", { name: w.noun(list.slice(4)) }),
    rightSection: opened && first.isFetching ? <Loader size={16} /> : undefined,
    placeholder: input.placeholder ?? w.t("pick"),
    maxDropdownHeight: 280,
  };
  if (!command) return <Text size="sm" c="dimmed">{input.label}: {w.t("pick.denied")}</Text>;
  if (many) return <MultiSelect {...common} value={(value as string[]) ?? []} onChange={(v) => onChange(v)} />;
  return <Select {...common} value={(value as string) ?? null} onChange={(v) => onChange(v ?? undefined, v ? seen.get(v) : undefined)} />;
}
