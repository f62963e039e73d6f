// Tabs of a machine's page. The network cards come with the machine; disks are asked for when looked at.

import { Anchor, Badge, Group, Paper, SimpleGrid, Text, Title } from "@mantine/core";
import type { Row } from "../api/client";
import { useModel } from "../api/model";
import { Related } from "../parts/DetailPage";
import { pageOf, To } from "../parts/To";
import { useWords } from "../words";

const FIELDS = ["ipaddress", "secondaryip", "gateway", "netmask", "macaddress", "type", "ip6address"];

export function Nics({ row }: { row: Row }) {
  const w = useWords();
  const nics = (row.nic ?? []) as Row[];
  if (!nics.length) return <Text c="dimmed">{w.t("vm.nics.none")}</Text>;
  return (
    <SimpleGrid cols={{ base: 1, md: 2 }}>
      {nics.map((nic) => (
        <Paper key={nic.id} p="lg">
          <Group justify="space-between" mb="md" wrap="nowrap">
            <Title order={2} fz={16}><Anchor inherit renderRoot={(p) => <To {...p} to={pageOf({ slug: "networks", id: String(nic.networkid) })} />}>{nic.networkname}</Anchor></Title>
            {nic.isdefault && <Badge variant="light" style={{ flex: "none" }}>{w.t("vm.nic.default")}</Badge>}
          </Group>
          <dl className="facts" style={{ gridTemplateColumns: "repeat(auto-fill, minmax(150px, 1fr))" }}>
            {FIELDS.filter((f) => (Array.isArray(nic[f]) ? nic[f].length : nic[f])).map((f) => (
              <div key={f}><dt>{w.field(f)}</dt><dd><Text span ff="monospace" fz="0.92em">{Array.isArray(nic[f]) ? nic[f].map((each: Row) => each.ipaddress).join(", ") : f === "type" ? w.state(String(nic[f])) : nic[f]}</Text></dd></div>
            ))}
          </dl>
        </Paper>
      ))}
    </SimpleGrid>
  );
}

export function Disks({ row }: { row: Row }) {
  const noun = useModel().nouns.get("listVolumes");
  return noun ? <Related noun={noun} params={{ virtualmachineid: row.id }} always /> : null;
}
