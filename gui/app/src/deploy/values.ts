// What the wizard gathers, and the command that it becomes. Pure.

import { mapped, type Params, type Row } from "../api/client";
import { base64 } from "../parts/fields";

export interface Wanted {
  zone?: Row;
  template?: Row;
  offering?: Row;
  /** Of an offering that leaves them open. */
  cpunumber?: number;
  cpuspeed?: number;
  memory?: number;
  /** GiB */
  rootdisk?: number;
  disk?: Row;
  disksize?: number;
  networks: Row[];
  keys: string[];
  userdataid?: string;
  userdata?: string;
  name?: string;
}

/** Resources that the machine will have: cores, memory in MiB, disks in GiB. */
export function size(v: Wanted): { cores: number; memory: number; disk: number; disks: number } {
  const root = v.rootdisk ?? Number(v.template?.size ?? 0) / 1024 ** 3;
  const extra = v.disk ? Number(v.disk.iscustomized ? (v.disksize ?? 0) : v.disk.disksize) : 0;
  return { cores: Number(v.offering?.cpunumber ?? v.cpunumber ?? 0), memory: Number(v.offering?.memory ?? v.memory ?? 0), disk: root + extra, disks: v.disk ? 2 : 1 };
}

/** The values that an offering leaves open and that are still missing. */
export const open = (v: Wanted): ("cpunumber" | "cpuspeed" | "memory")[] => (["cpunumber", "cpuspeed", "memory"] as const).filter((f) => v.offering && !v.offering[f]);

const details = (v: Wanted): Params => {
  const named = { cpunumber: "cpuNumber", cpuspeed: "cpuSpeed", memory: "memory" };
  const given = Object.fromEntries(open(v).flatMap((f) => (v[f] ? [[named[f], v[f]]] : [])));
  return Object.keys(given).length ? mapped("details", [given]) : {};
};

const HOST = /^[a-z]([a-z\d-]*[a-z\d])?$/i;

/** For findDeploymentPlan. */
export const planned = (v: Wanted): Params => ({ zoneid: v.zone?.id, templateid: v.template?.id, serviceofferingid: v.offering?.id, rootdisksize: v.rootdisk, ...details(v) });

/** For deployVirtualMachine. */
export const params = (v: Wanted): Params => ({
  ...planned(v),
  // What is no host name is shown to people only, and the machine gets one made for it.
  [HOST.test(v.name?.trim() ?? "") ? "name" : "displayname"]: v.name?.trim() || undefined,
  networkids: v.networks.map((n) => n.id).join(",") || undefined,
  diskofferingid: v.disk?.id,
  size: v.disk?.iscustomized ? v.disksize : undefined,
  keypairs: v.keys.join(",") || undefined,
  userdataid: v.userdataid,
  userdata: v.userdata?.trim() ? base64(v.userdata) : undefined,
});
