import { To } from "../parts/To";
import { Paper, SimpleGrid, Stack, Text, Title } from "@mantine/core";

import { useEffect } from "react";
import { useModel } from "../api/model";

import { useWords } from "../words";

/** Every kind of thing there is, also those that no section of the menu names. */
export default function Nouns() {
  const w = useWords();
  const model = useModel();
  useEffect(() => void (document.title = `${w.t("nav.nouns")} · Mold`), [w]);
  const all = [...model.nouns.values()].map((n) => ({ n, label: w.noun(n.name) })).sort((a, b) => a.label.localeCompare(b.label, w.language));
  return (
    <Stack gap="lg">
      <div><Title order={1} fz={26}>{w.t("nav.nouns")}</Title><Text c="dimmed" mt={4}>{w.t("nouns.about", { count: all.length })}</Text></div>
      <SimpleGrid cols={{ base: 1, xs: 2, md: 3, lg: 4 }}>
        {all.map(({ n, label }) => <Paper key={n.slug} p="md" component={To} to={`/${n.slug}`} className="plain"><Text fw={560}>{label}</Text><Text size="xs" c="dimmed">{n.list.name}</Text></Paper>)}
      </SimpleGrid>
    </Stack>
  );
}
