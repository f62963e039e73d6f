import { Progress, Stack, Text } from "@mantine/core";
import type { Row } from "../api/client";
import { current } from "../api/session";
import { Mark } from "../parts/State";
import { Sharing, sought, Zones } from "../parts/TemplateTabs";
import { UploadList } from "../parts/UploadList";
import { words } from "../words";
import { noun } from "./index";

const ready = (row: Row) => row.isready === true || words().t("templates.needs.ready");

/** Ready, on its way, or why not: the status itself is a sentence of the server. */
function Ready({ row }: { row: Row }) {
  const w = words();
  if (row.isready) return <Mark tone="good">{w.t("templates.ready")}</Mark>;
  if (/waiting for the upload|go on with the upload/i.test(String(row.status))) return <Mark tone="calm" title={String(row.status)}>{w.t("templates.waits")}</Mark>;
  const percent = Number(((row.downloaddetails ?? []) as Row[])[0]?.downloadPercent ?? 0);
  const moving = /download|upload|wait|install|creat/i.test(String(row.status)) && !/fail|error|not uploaded|invalid/i.test(String(row.status));
  return <Mark tone={moving ? "busy" : "bad"} title={String(row.status ?? "")}>{moving && percent > 0 ? w.t("templates.coming.percent", { percent }) : w.t(moving ? "templates.coming" : "templates.failed")}</Mark>;
}

export default noun({
  list: "listTemplates",
  views: { param: "templatefilter", values: () => (current()?.type === "0" ? ["executable", "self", "featured", "shared"] : ["all", "self", "featured", "community"]), label: (value) => words().t(`templates.view.${value}`) },
  sought,
  columns: ["name", { field: "isready", title: undefined, facet: true, values: (row) => [words().t(row.isready ? "yes" : "no")], value: (row) => words().t(row.isready ? "templates.ready" : "templates.failed"), cell: (row) => <Ready row={row} /> }, "ostypename", "size", "format", "zonename", "account", "created"],
  facets: ["zonename", "ostypename"],
  create: ["registerTemplate"],
  createPage: "/templates-new",
  createLabel: () => words().t("templates.new"),
  primary: ["updateTemplate", "updateTemplatePermissions"],
  ready: { updateTemplatePermissions: ready },
  first: { updateTemplatePermissions: ["ispublic", "isfeatured", "isextractable"], updateTemplate: ["name", "displaytext", "ostypeid", "passwordenabled", "sshkeyenabled", "isdynamicallyscalable"] },
  related: false,
  banner: () => <UploadList />,
  above: (row) => (row.isready ? null : (
    <Stack gap={6}>
      <UploadList only={String(row.id)} />
      <Ready row={row} />
      {Number(((row.downloaddetails ?? []) as Row[])[0]?.downloadPercent ?? 0) > 0 && <Progress aria-label={words().t("templates.coming")} value={Number(row.downloaddetails[0].downloadPercent)} />}
      {row.status && <Text size="sm" c="dimmed" lang="en">{words().language === "ko" && words().t("fault.said")} “{row.status}”</Text>}
    </Stack>
  )),
  overview: [
    { title: () => words().t("overview.about"), fields: ["name", "displaytext", "ostypename", "size", "physicalsize", "format", "hypervisor", "arch", "created", "account", "domain"] },
    { title: () => words().t("templates.inside"), fields: ["passwordenabled", "sshkeyenabled", "requireshvm", "isdynamicallyscalable", "userdataname", "url", "checksum"] },
    { title: () => words().t("templates.who"), fields: ["ispublic", "isfeatured", "isextractable"] },
  ],
  tabs: [
    { id: "zones", label: () => words().t("templates.zones"), render: (row) => <Zones row={row} /> },
    { id: "share", label: () => words().t("templates.share"), render: (row) => <Sharing row={row} /> },
  ],
});
