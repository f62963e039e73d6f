// Mold's own certificate authority: the certificate that browsers and programs have to trust, and one more for a server.

import { Button, Group, Loader, Paper, Stack, Text, Title } from "@mantine/core";
import { IconDownload } from "@tabler/icons-react";
import { useQuery } from "@tanstack/react-query";
import { useEffect, useState } from "react";
import { call, type Row } from "../api/client";
import { run } from "../api/jobs";
import { useModel } from "../api/model";
import { CommandForm } from "../parts/CommandForm";
import { CopyButton } from "../parts/CliLine";
import { FaultNote } from "../parts/FaultNote";
import { useWords } from "../words";

function save(name: string, text: string): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "application/x-pem-file" }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

export default function Certificates() {
  const w = useWords();
  const { commands } = useModel();
  const [made, setMade] = useState<Row>();
  useEffect(() => void (document.title = `${w.t("nav.certificates")} · Mold`), [w]);
  const found = useQuery({ queryKey: ["listCaCertificate"], queryFn: async () => String((await call("listCaCertificate", {})).cacertificates?.certificate ?? "") });
  const [issue, revoke] = [commands.get("issueCertificate"), commands.get("revokeCertificate")];
  return (
    <Stack gap="lg" maw={820}>
      <div><Title order={1} fz={26}>{w.t("nav.certificates")}</Title><Text c="dimmed" mt={4}>{w.t("ca.about")}</Text></div>
      <Paper p="lg">
        <Group justify="space-between" mb="sm"><Title order={2} fz={16}>{w.noun("CaCertificate")}</Title>{found.data && <Group gap={4}><CopyButton text={found.data} /><Button size="xs" variant="default" leftSection={<IconDownload size={16} aria-hidden />} onClick={() => save("mold-ca.pem", found.data)}>{w.t("ca.save")}</Button></Group>}</Group>
        {found.isError ? <FaultNote fault={found.error} again={() => void found.refetch()} /> : found.isPending ? <Loader size={20} /> : <code className="line" tabIndex={0} style={{ maxHeight: 220, overflow: "auto" }}>{found.data}</code>}
      </Paper>
      {issue && (
        <Paper p="lg">
          <Title order={2} fz={16}>{w.command("issueCertificate")}</Title>
          <Text size="sm" c="dimmed" mt={4} mb="md">{w.t("ca.issue.how")}</Text>
          <CommandForm command={issue} first={["domain", "ipaddress", "duration"]} without={["provider"]} submit={w.t("ca.issue")} onSubmit={async (params) => {
            const ran = await run("issueCertificate", params);
            const job = await ran.ended;
            setMade((job?.result?.certificates ?? ran.answer.certificates) as Row);
          }} />
          {made && (
            <Stack mt="md" gap="xs" aria-live="polite">
              {(["certificate", "privatekey", "cacertificates"] as const).filter((k) => made[k]).map((k) => (
                <div key={k}><Group justify="space-between"><Text size="sm" fw={560}>{w.field(k)}</Text><Group gap={4}><CopyButton text={String(made[k])} /><Button size="compact-xs" variant="default" onClick={() => save(`${k}.pem`, String(made[k]))}>{w.t("ca.save")}</Button></Group></Group><code className="line" tabIndex={0} style={{ maxHeight: 140, overflow: "auto" }}>{String(made[k])}</code></div>
              ))}
              {made.privatekey && <Text size="sm" c="dimmed">{w.t("ca.once")}</Text>}
            </Stack>
          )}
        </Paper>
      )}
      {revoke && <Paper p="lg"><Title order={2} fz={16} mb="md">{w.command("revokeCertificate")}</Title><CommandForm command={revoke} without={["provider"]} danger submit={w.t("ca.revoke")} /></Paper>}
    </Stack>
  );
}
