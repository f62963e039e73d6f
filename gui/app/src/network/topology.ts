// Which machines hang on which network, by what the lists say: pure, so that it can be tested.

import type { Row } from "../api/client";

export interface Member {
  row: Row;
  nic: Row;
  /** Names of the other networks that it is in. */
  also: string[];
}
export interface Net {
  network: Row;
  /** False: known by a machine's card only; the caller may not look at it. */
  known: boolean;
  routers: Row[];
  /** The public address by which it goes out. */
  outside?: string;
  members: Member[];
}
export interface Zone {
  id: string;
  name: string;
  nets: Net[];
}

const nicsOf = (row: Row) => (row.nic ?? []) as Row[];

/** Zones with their networks in the order of the lists, and the machines that are in none. */
export function drawn(networks: Row[], machines: Row[], routers: Row[], addresses: Row[]): { zones: Zone[]; loose: Row[] } {
  const zones = new Map<string, Zone>();
  const nets = new Map<string, Net>();
  const put = (network: Row, known: boolean): Net => {
    const net: Net = { network, known, routers: [], members: [] };
    nets.set(String(network.id), net);
    const id = String(network.zoneid ?? "");
    const zone = zones.get(id) ?? { id, name: String(network.zonename ?? ""), nets: [] };
    zone.nets.push(net);
    zones.set(id, zone);
    return net;
  };
  for (const n of networks) if (!nets.has(String(n.id))) put(n, true);
  for (const r of routers) nets.get(String(r.guestnetworkid))?.routers.push(r);
  for (const a of addresses) {
    const net = a.issourcenat ? nets.get(String(a.associatednetworkid)) : undefined;
    if (net) net.outside = String(a.ipaddress);
  }
  for (const row of machines) {
    for (const nic of nicsOf(row)) {
      const net = nets.get(String(nic.networkid)) ?? put({ id: nic.networkid, name: nic.networkname, zoneid: row.zoneid, zonename: row.zonename }, false);
      net.members.push({ row, nic, also: nicsOf(row).filter((o) => o.networkid !== nic.networkid).map((o) => String(o.networkname)) });
    }
  }
  return { zones: [...zones.values()], loose: machines.filter((m) => !nicsOf(m).length) };
}

/** How many machines are in which state, the most frequent first. */
export function counted(members: Member[]): [string, number][] {
  const counts = new Map<string, number>();
  for (const { row } of members) counts.set(String(row.state), (counts.get(String(row.state)) ?? 0) + 1);
  return [...counts].sort(([, a], [, b]) => b - a);
}

/** What of it a search finds: a network by its own words with all machines, else those of its machines that fit. */
export function sifted(zones: Zone[], fits: (words: string) => boolean): Zone[] {
  return zones.flatMap((zone) => {
    const nets = zone.nets.flatMap((net) => {
      if (fits([net.network.name, net.network.cidr, net.outside, ...net.routers.map((r) => r.name)].filter(Boolean).join("\n"))) return [net];
      const members = net.members.filter(({ row, nic }) => fits([row.name, row.displayname, nic.ipaddress].filter(Boolean).join("\n")));
      return members.length ? [{ ...net, members }] : [];
    });
    return nets.length ? [{ ...zone, nets }] : [];
  });
}
