// Capacity plan: for every cluster, whether it outlives the loss of a host. Each cluster asks for its own hosts and
// machines; where there are many clusters, when it is opened.

import { Button, Group, Loader, Paper, Stack, Text, TextInput, Title } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useEffect, useState } from "react";
import { everything, type Row } from "../api/client";
import { FaultNote } from "../parts/FaultNote";
import { matches } from "../parts/matches";
import Spare from "../parts/Spare";
import { useWords } from "../words";

/** So many clusters are looked at without being asked to. */
const UNASKED = 6;

export default function CapacityPlan() {
  const w = useWords();
  useEffect(() => void (document.title = `${w.t("nav.capacityplan")} · Mold`), [w]);
  const [typed, setTyped] = useState("");
  const [opened, setOpened] = useState<string[]>([]);
  const found = useQuery({ queryKey: ["listClusters", "plan"], queryFn: ({ signal }) => everything("listClusters", {}, signal) });
  const few = (found.data?.length ?? 0) <= UNASKED;
  const shown = (found.data ?? []).filter((c: Row) => !typed || matches(`${c.name} ${c.zonename} ${c.podname}`.toLowerCase(), typed));
  return (
    <Stack gap="lg" maw={960}>
      <div><Title order={1} fz={26}>{w.t("nav.capacityplan")}</Title><Text c="dimmed" mt={4}>{w.t("spare.about")}</Text></div>
      {found.isError ? <FaultNote fault={found.error} again={() => void found.refetch()} /> : found.isPending ? <Group role="status" justify="center"><Loader size={22} /><Text size="sm" c="dimmed">{w.t("loading")}</Text></Group> : !found.data.length ? <Paper p="lg"><Text c="dimmed">{w.t("spare.noclusters")}</Text></Paper> : (
        <>
          {!few && <TextInput maw={420} aria-label={w.t("spare.search")} placeholder={w.t("spare.search")} value={typed} onChange={(e) => setTyped(e.currentTarget.value)} />}
          {shown.map((c: Row) =>
            few || opened.includes(String(c.id)) ? <Spare key={c.id} cluster={c} title /> : (
              <Paper key={c.id} p="md"><Group justify="space-between"><Text fw={600} translate="no">{String(c.name)} <Text span c="dimmed" size="sm" fw={400}>{[c.zonename, c.podname].filter(Boolean).join(" · ")}</Text></Text><Button size="sm" variant="default" aria-label={w.t("spare.look.at", { name: String(c.name) })} onClick={() => setOpened([...opened, String(c.id)])}>{w.t("spare.look")}</Button></Group></Paper>
            ),
          )}
          {!shown.length && <Text c="dimmed">{w.t("table.nothing")}</Text>}
          <Text size="sm" c="dimmed">{w.t("spare.ignores")}</Text>
        </>
      )}
    </Stack>
  );
}
