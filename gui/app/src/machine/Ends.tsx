// What becomes of a machine that is destroyed, what can still be undone, and what not.

import { Alert, Button, Group, List, Loader, Text } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { call, rows, type Row } from "../api/client";
import { known, useModel } from "../api/model";
import { isAdmin } from "../api/session";
import { act } from "../parts/act";
import { useGo } from "../parts/To";
import { bytes } from "../parts/Value";
import { useWords, words } from "../words";

/** Whether this caller may bring destroyed machines back, or remove them for good. */
export const mayEnd = (): true | string => isAdmin() || known()?.capabilities.allowuserexpungerecovervm === true || words().t("vm.ends.denied");

/** In the dialog that asks: what goes with the machine and what stays. */
export function Ends({ row, final }: { row: Row; final?: boolean }) {
  const w = useWords();
  const can = useModel().commands.has("listVolumes");
  const disks = useQuery({ queryKey: ["listVolumes", "of", row.id], queryFn: async ({ signal }) => rows(await call("listVolumes", { virtualmachineid: row.id, listall: true }, signal)).rows, enabled: can });
  const named = (d: Row) => `${d.name} (${bytes(Number(d.size), w)})`;
  const root = (disks.data ?? []).filter((d) => d.type === "ROOT");
  const data = (disks.data ?? []).filter((d) => d.type !== "ROOT");
  const addresses = ((row.nic ?? []) as Row[]).map((n) => n.ipaddress).filter(Boolean).join(", ");
  return (
    <>
      <div>
        <Text size="sm" fw={600}>{w.t(final ? "vm.goes.final" : "vm.goes")}</Text>
        <List size="sm">
          <List.Item>{w.t("vm.goes.machine", { name: row.displayname ?? row.name })}</List.Item>
          {disks.isFetching ? <List.Item><Loader size={12} /></List.Item> : root.map((d) => <List.Item key={d.id}>{w.t("vm.goes.root", { name: named(d) })}</List.Item>)}
          {addresses && <List.Item>{w.t("vm.goes.ip", { address: addresses })}</List.Item>}
        </List>
      </div>
      <div>
        <Text size="sm" fw={600}>{w.t("vm.stays")}</Text>
        <List size="sm">
          {data.map((d) => <List.Item key={d.id}>{w.t("vm.stays.disk", { name: named(d) })}</List.Item>)}
          <List.Item>{w.t("vm.stays.rest")}</List.Item>
        </List>
      </div>
    </>
  );
}

/** On the page of a destroyed machine: the way back, as long as there is one. */
export function Gone({ row }: { row: Row }) {
  const w = useWords();
  const model = useModel();
  const go = useGo();
  if (row.state !== "Destroyed") return null;
  const noun = model.nouns.get("listVirtualMachines");
  const may = mayEnd();
  return (
    <Alert color="yellow" title={w.t("vm.gone")}>
      <Text size="sm">{may === true ? w.t("vm.gone.about") : may}</Text>
      {may === true && (
        <Group mt="sm" gap="xs">
          {model.commands.has("recoverVirtualMachine") && <Button size="xs" onClick={() => act({ command: "recoverVirtualMachine", noun, rows: [row] })}>{w.t("vm.undo")}</Button>}
          {model.commands.has("expungeVirtualMachine") && <Button size="xs" variant="subtle" color="red" onClick={() => act({ command: "expungeVirtualMachine", noun, rows: [row], onDone: () => go("/virtualmachines") })}>{w.action("expungeVirtualMachine", "VirtualMachines")}</Button>}
        </Group>
      )}
    </Alert>
  );
}
