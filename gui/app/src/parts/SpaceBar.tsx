import { Paper, Stack } from "@mantine/core";
import type { Row } from "../api/client";
import { useWords } from "../words";
import { Bar } from "./Bar";
import { bytes } from "./Value";

/** How full a storage is: in a cell of a table, or above its page with what is promised too. */
export function SpaceBar({ row, small }: { row: Row; small?: boolean }) {
  const w = useWords();
  const total = Number(row.disksizetotal ?? 0);
  const of = (n: number) => bytes(n, w);
  const promised = Number(row.disksizeallocated ?? 0);
  const factor = Number(row.overprovisionfactor ?? 1) || 1;
  if (!total) return small ? <>–</> : null;
  if (small) return <Bar small name={String(row.name)} label="" used={Number(row.disksizeused ?? 0)} total={total} of={of} />;
  return (
    <Paper p="lg">
      <Stack>
        <Bar name={w.t("space.used")} label={w.t("space.used")} used={Number(row.disksizeused ?? 0)} total={total} of={of} />
        {row.disksizeallocated !== undefined && <Bar name={w.t("space.promised")} label={factor > 1 ? w.t("space.promised.over", { factor }) : w.t("space.promised")} used={promised} total={total * factor} of={of} />}
      </Stack>
    </Paper>
  );
}
