import { Text } from "@mantine/core";
import { Mark } from "../parts/State";
import { words } from "../words";
import { noun } from "./index";

const TONES = ["busy", "good", "bad"] as const;

export default noun({
  list: "listAsyncJobs",
  columns: [
    { field: "command", wide: 1.8, value: (row) => words().command(String(row.command)) + (words().language === "en" ? "" : ` (${row.command})`), cell: (row) => words().command(String(row.command)) },
    { field: "jobstatus", value: (row) => words().t(`job.status.${row.jobstatus}`), cell: (row) => <Mark tone={TONES[Number(row.jobstatus)] ?? "calm"}>{words().t(`job.status.${row.jobstatus}`)}</Mark> },
    { field: "jobprogress", value: (row) => Number(row.jobprogress ?? 0), cell: (row) => <Text span inherit>{row.jobstatus === 0 ? `${row.jobprogress ?? 0}%` : "–"}</Text> },
    "account", "created", "completed",
  ], // prettier-ignore
});
