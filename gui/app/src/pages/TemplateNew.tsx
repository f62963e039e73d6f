// A new template: from an address that the cloud reads, or from a file of this computer.

import { FileInput, Paper, SegmentedControl, Stack, Text, Title } from "@mantine/core";
import { IconUpload } from "@tabler/icons-react";
import { useQuery } from "@tanstack/react-query";
import { useEffect, useState } from "react";
import { call, rows, type Params } from "../api/client";
import { useModel } from "../api/model";
import { settle } from "../api/queries";
import { CommandForm } from "../parts/CommandForm";
import { pageOf, To, useGo } from "../parts/To";
import { send } from "../parts/uploads";
import { bytes } from "../parts/Value";
import { useWords } from "../words";
import { NotFound } from "./NotFound";

const FIRST = ["name", "displaytext", "url", "zoneid", "hypervisor", "format", "ostypeid", "passwordenabled"];

export default function TemplateNew() {
  const w = useWords();
  const model = useModel();
  const go = useGo();
  const both = ["registerTemplate", "getUploadParamsForTemplate"].filter((c) => model.commands.has(c));
  const [way, setWay] = useState(both[0]);
  const [file, setFile] = useState<File | null>(null);
  const [missing, setMissing] = useState(false);
  // What most want, so that a name and an address are enough.
  const usual = useQuery({
    queryKey: ["listZones", "usual"], staleTime: Infinity,
    queryFn: async () => {
      const [zones, hypervisors] = await Promise.all([call("listZones", { available: true }).then(rows), call("listHypervisors", {}).then(rows)]);
      return { zoneid: zones.rows[0]?.id, hypervisor: (hypervisors.rows.find((h) => h.name === "KVM") ?? hypervisors.rows[0])?.name, format: "QCOW2" };
    },
  });
  useEffect(() => void (document.title = `${w.t("templates.new")} · Mold`), [w]);
  const command = model.commands.get(way ?? "");
  if (!command) return <NotFound />;
  const submit = async (params: Params) => {
    if (way === "registerTemplate") {
      const made = rows(await call(way, params)).rows[0];
      settle("listTemplates");
      return go(made?.id ? pageOf({ slug: "templates", id: String(made.id) }) : "/templates");
    }
    setMissing(!file);
    if (!file) return;
    const to = (await call(way, params)).getuploadparams;
    send(file, String(params.name), to, "listTemplates");
    settle("listTemplates");
    go("/templates", { templatefilter: "self" });
  };
  return (
    <Stack gap="lg" maw={720}>
      <div><Text size="sm" mb={4}><To className="plain" to="/templates">← {w.noun("Templates")}</To></Text><Title order={1} fz={24}>{w.t("templates.new")}</Title></div>
      {both.length > 1 && <SegmentedControl w="fit-content" aria-label={w.t("templates.way")} value={way} onChange={setWay} data={both.map((c) => ({ value: c, label: w.t(`templates.way.${c}`) }))} />}
      <Text size="sm" c="dimmed">{w.t(`templates.way.${way}.about`)}</Text>
      {usual.isFetched && (
        <Paper p={{ base: "md", sm: "xl" }}>
          <CommandForm key={way} command={command} initial={usual.data} first={FIRST} without={["zoneids", "account", "domainid", "projectid"]} list="listTemplates" submit={w.t(way === "registerTemplate" ? "templates.register" : "templates.upload")} onSubmit={submit}>
            {way !== "registerTemplate" && <FileInput required leftSection={<IconUpload size={17} aria-hidden />} label={w.t("templates.file")} description={file ? bytes(file.size, w) : w.t("templates.file.how")} placeholder={w.t("pick")} value={file} onChange={(f) => (setFile(f), setMissing(false))} error={missing ? w.t("form.required") : undefined} clearable clearButtonProps={{ "aria-label": w.t("clear") }} />}
          </CommandForm>
        </Paper>
      )}
    </Stack>
  );
}
