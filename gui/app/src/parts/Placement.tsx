// Above the page of a zone, pod, cluster or host: how full it is, and the switch for whether new machines come here.

import { Paper, SimpleGrid, Stack, Switch, Text } from "@mantine/core";
import { useState } from "react";
import { call, type Params, type Row } from "../api/client";
import { useModel } from "../api/model";
import { settle } from "../api/queries";
import { useQuery } from "@tanstack/react-query";
import { rows } from "../api/client";
import { useWords } from "../words";
import { amount, Bar, sums, type Sum } from "./Bar";
import { FaultNote } from "./FaultNote";

/** `list` is asked for capacities by id; for a host they are in the row. */
export function Placement({ row, list, update, on, to }: { row: Row; list: string; update: string; on: boolean; to: (on: boolean) => Params }) {
  const w = useWords();
  const { commands } = useModel();
  const [busy, setBusy] = useState(false);
  const [fault, setFault] = useState<unknown>();
  const own = list === "listHosts";
  const asked = useQuery({ queryKey: [list, "capacity", row.id], enabled: !own, queryFn: async () => sums(rows(await call(list, { id: row.id, showcapacities: true })).rows[0]?.capacity as Row[]) });
  const bars = own ? hostSums(row) : (asked.data ?? []);
  return (
    <Paper p="lg">
      <Stack>
        {commands.has(update) && (
          <div>
            <Switch label={w.t("placement")} checked={on} disabled={busy} onChange={async (e) => {
              const now = e.currentTarget.checked;
              setBusy(true);
              setFault(undefined);
              try {
                await call(update, { id: row.id, ...to(now) });
                settle(list);
              } catch (no) {
                setFault(no);
              } finally {
                setBusy(false);
              }
            }} />
            <Text size="xs" c="dimmed" mt={4}>{w.t(on ? "placement.on" : "placement.off")}</Text>
          </div>
        )}
        {fault !== undefined && <FaultNote fault={fault} />}
        {bars.length > 0 && <SimpleGrid cols={{ base: 1, sm: 2, lg: 3 }} spacing="lg">{bars.map((s) => <Bar key={s.type} name={w.t(`capacity.${s.type}`)} label={w.t(`capacity.${s.type}`)} {...s} of={(n) => amount(s.type, n, w)} />)}</SimpleGrid>}
      </Stack>
    </Paper>
  );
}

const hostSums = (h: Row): Sum[] =>
  [
    { type: 0, used: Number(h.memoryallocatedbytes ?? h.memoryallocated ?? 0), total: Number(h.memorywithoverprovisioning ?? h.memorytotal ?? 0) },
    { type: 1, used: Number(h.cpuallocatedvalue ?? 0), total: Number(h.cpuwithoverprovisioning ?? Number(h.cpunumber ?? 0) * Number(h.cpuspeed ?? 0)) },
  ].filter((s) => s.total > 0); // prettier-ignore
