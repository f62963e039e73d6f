import type { Row } from "../api/client";
import { Text } from "@mantine/core";
import { Mark } from "../parts/State";
import { words } from "../words";
import { noun } from "./index";

const TONES = ["busy", "good", "bad"] as const;

/** What a job was about, by name, as far as its result says. */
const subject = (row: Row): string => {
  const inside = Object.values((row.jobresult ?? {}) as Row).find((v) => v && typeof v === "object" && !Array.isArray(v)) as Row | undefined;
  return String(inside?.displayname || inside?.name || inside?.username || "");
};

export default noun({
  list: "listAsyncJobs",
  columns: [
    { field: "command", wide: 1.8, value: (row) => words().command(String(row.command)) + (words().language === "en" ? "" : ` (${row.command})`), cell: (row) => words().command(String(row.command)) },
    { field: "jobinstanceid", wide: 1.2, value: subject, cell: subject },
    { field: "jobstatus", value: (row) => words().t(`job.status.${row.jobstatus}`), cell: (row) => <Mark tone={TONES[Number(row.jobstatus)] ?? "calm"}>{words().t(`job.status.${row.jobstatus}`)}</Mark> },
    { field: "jobprogress", value: (row) => Number(row.jobprogress ?? 0), cell: (row) => <Text span inherit>{row.jobstatus === 0 ? `${row.jobprogress ?? 0}%` : "–"}</Text> },
    "account", "created", "completed",
  ], // prettier-ignore
});
