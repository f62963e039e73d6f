import type { Row } from "../api/client";
import { words } from "../words";
import { noun } from "./index";

/** The day so many days ago, as the API writes days. */
const day = (ago: number) => new Date(Date.now() - ago * 86_400_000).toISOString().slice(0, 10);
const SPANS = [7, 30, 90];
const hours = (row: Row) => Math.round(Number(row.rawusage ?? 0) * 100) / 100;

export default noun({
  list: "listUsageRecords",
  params: { enddate: day(0) },
  views: { param: "startdate", values: () => SPANS.map(day), label: (value) => words().t("usage.days", { count: SPANS.find((n) => day(n) === value) ?? "" }) },
  sought: () => [{ startdate: day(90) }],
  columns: [
    { field: "name", wide: 1.5 },
    { field: "usagetype", value: (row) => kindOf(row), cell: (row) => kindOf(row), facet: true },
    { field: "rawusage", value: hours, cell: (row) => words().t("usage.hours", { count: words().number(hours(row), { maximumFractionDigits: 2 }) }) },
    "account", "domain", "startdate", "enddate",
  ], // prettier-ignore
  facets: ["account", "domain"],
  overview: [{ title: () => words().t("overview.about"), fields: ["name", "description", "rawusage", "size", "cpunumber", "cpuspeed", "memory", "account", "domain", "project", "startdate", "enddate"] }],
});

const kindOf = (row: Row): string => words().maybe(`usage.type.${row.usagetype}`) ?? String(row.type ?? row.usagetype);
