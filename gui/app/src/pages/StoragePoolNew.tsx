// A new primary storage: of the kinds that this cloud takes, each said in words, and only what that kind needs is asked.

import { Alert, Button, Group, Paper, Stack, TagsInput, Text, TextInput, Title } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useEffect, useRef, useState, type FormEvent } from "react";
import { call, rows, type Params, type Row } from "../api/client";
import { finish } from "../api/finish";
import { useModel } from "../api/model";
import { Choice } from "../parts/Choice";
import { CliLine } from "../parts/CliLine";
import { FaultNote } from "../parts/FaultNote";
import { Pick } from "../parts/Pick";
import { pageOf, To, useGo } from "../parts/To";
import { useWords } from "../words";
import { NotFound } from "./NotFound";

type Kind = "shared" | "local";

/** Why a text is no path of a directory; see `createStoragePool`. */
export const pathFault = (path: string): string | undefined => (!path ? "form.required" : !/^\/[^/]/.test(path) || path.includes("//") || path.split("/").includes("..") ? "pool.path.wrong" : undefined);

export default function StoragePoolNew() {
  const w = useWords();
  const go = useGo();
  const command = useModel().commands.get("createStoragePool");
  const [kind, setKind] = useState<Kind>("shared");
  const [scope, setScope] = useState("CLUSTER");
  const [values, setValues] = useState<{ name: string; path: string; tags: string[] }>({ name: "", path: "", tags: [] });
  const [zone, setZone] = useState<string>();
  const [cluster, setCluster] = useState<Row>();
  const [host, setHost] = useState<Row>();
  const [tried, setTried] = useState(false);
  const [busy, setBusy] = useState(false);
  const [fault, setFault] = useState<unknown>();
  const form = useRef<HTMLFormElement>(null);
  useEffect(() => void (document.title = `${w.command("createStoragePool")} · Mold`), [w]);
  const zones = useQuery({ queryKey: ["listZones", "choose", {}], queryFn: async ({ signal }) => rows(await call("listZones", { page: 1, pagesize: 200 }, signal)).rows });
  const zoneid = zone ?? (zones.data?.length === 1 ? String(zones.data[0].id) : undefined);
  const clusters = useQuery({ queryKey: ["listClusters", "choose", { zoneid }], enabled: Boolean(zoneid), queryFn: async ({ signal }) => rows(await call("listClusters", { zoneid, page: 1, pagesize: 200 }, signal)).rows });
  useEffect(() => {
    setCluster(clusters.data?.length === 1 ? clusters.data[0] : undefined);
    setHost(undefined);
  }, [clusters.data, zoneid]);
  useEffect(() => {
    if (tried) form.current?.querySelector<HTMLElement>('[aria-invalid="true"]')?.focus();
  }, [tried, fault]);
  if (!command) return <NotFound />;

  const path = values.path.trim().replace(/(.)\/+$/, "$1");
  const wrongPath = pathFault(path);
  const wrong = {
    name: values.name.trim() ? undefined : w.t("form.required"),
    path: wrongPath && w.t(wrongPath),
    zone: zoneid ? undefined : w.t("form.required"),
    cluster: kind === "shared" && scope === "CLUSTER" && !cluster ? w.t("form.required") : undefined,
    host: kind === "local" && !host ? w.t("form.required") : undefined,
  };
  const hypervisor = String(clusters.data?.[0]?.hypervisortype ?? "KVM");
  const place: Params = kind === "local" ? { url: `Filesystem://${host?.name ?? ""}${path}`, scope: "HOST" } : { url: `SharedMountPoint://localhost${path}`, scope, ...(scope === "CLUSTER" ? { podid: cluster?.podid, clusterid: cluster?.id } : { hypervisor }) };
  const asked: Params = { name: values.name.trim(), zoneid, ...place, tags: values.tags.join(",") };
  async function submit(event: FormEvent) {
    event.preventDefault();
    setTried(true);
    setFault(undefined);
    if (Object.values(wrong).some(Boolean)) return form.current?.querySelector<HTMLElement>('[aria-invalid="true"]')?.focus();
    setBusy(true);
    try {
      const made = (await finish("createStoragePool", asked, { subject: values.name.trim(), list: "listStoragePools" })).storagepool as Row;
      go(pageOf({ slug: "storagepools", id: String(made.id) }));
    } catch (no) {
      setFault(no);
      setBusy(false);
    }
  }
  const said = <K extends keyof typeof wrong>(name: K) => (tried ? wrong[name] : undefined);
  return (
    <Stack gap="lg" maw={880}>
      <div><Text size="sm" mb={4}><To className="plain" to="/storagepools">← {w.noun("StoragePools")}</To></Text><Title order={1} fz={24}>{w.command("createStoragePool")}</Title></div>
      <form ref={form} onSubmit={submit} noValidate>
        <Paper p={{ base: "md", sm: "xl" }}>
          <Stack gap="lg">
            <div>
              <Text fw={600} size="sm" mb="xs">{w.t("pool.kind")}</Text>
              <Choice label={w.t("pool.kind")} value={[kind]} onChange={([k]) => setKind(k as Kind)} options={[{ id: "shared", title: w.t("pool.shared"), about: w.t("pool.shared.about") }, { id: "local", title: w.t("pool.local"), about: w.t("pool.local.about") }]} />
            </div>
            <TextInput label={w.field("name")} required value={values.name} error={said("name")} onChange={(e) => setValues({ ...values, name: e.currentTarget.value })} autoComplete="off" maxLength={255} />
            {(zones.data?.length ?? 0) !== 1 && <Pick list="listZones" label={w.field("zoneid")} required value={zoneid} error={said("zone")} onChange={(v) => setZone(v as string | undefined)} />}
            {kind === "shared" ? (
              <>
                <div>
                  <Text fw={600} size="sm" mb="xs">{w.t("pool.scope")}</Text>
                  <Choice label={w.t("pool.scope")} value={[scope]} onChange={([s]) => setScope(s)} options={[{ id: "CLUSTER", title: w.t("pool.scope.cluster"), about: w.t("pool.scope.cluster.about") }, { id: "ZONE", title: w.t("pool.scope.zone"), about: w.t("pool.scope.zone.about") }]} />
                </div>
                {scope === "CLUSTER" && (clusters.data?.length !== 1 ? <Pick key={zoneid} list="listClusters" near={{ zoneid }} label={w.field("clusterid")} required value={cluster?.id} error={said("cluster")} onChange={(_, row) => setCluster(row)} /> : <Text size="sm">{w.field("clusterid")}: <b translate="no">{String(cluster?.name ?? "")}</b></Text>)}
              </>
            ) : (
              <Pick key={zoneid} list="listHosts" near={{ zoneid }} label={w.field("hostid")} required value={host?.id} error={said("host")} onChange={(_, row) => setHost(row)} />
            )}
            <TextInput label={w.t("setup.path")} description={w.t(kind === "shared" ? "pool.path.shared" : "pool.path.local")} placeholder="/mnt/primary" required value={values.path} error={said("path")} onChange={(e) => setValues({ ...values, path: e.currentTarget.value })} styles={{ input: { fontFamily: "var(--mantine-font-family-monospace)" } }} spellCheck={false} autoComplete="off" />
            <TagsInput label={w.field("tags")} description={w.t("pool.tags.how")} placeholder={values.tags.length ? undefined : w.t("form.tags")} value={values.tags} onChange={(tags) => setValues({ ...values, tags })} />
            {kind === "local" && <Alert role="note" color="gray">{w.t("pool.local.note")}</Alert>}
            {fault !== undefined && <FaultNote fault={fault} />}
            <CliLine command="createStoragePool" params={asked} />
            <Group justify="flex-end"><Button variant="default" renderRoot={(p) => <To {...p} to="/storagepools" />}>{w.t("cancel")}</Button><Button type="submit" loading={busy}>{w.verb("createStoragePool")}</Button></Group>
          </Stack>
        </Paper>
      </form>
    </Stack>
  );
}
