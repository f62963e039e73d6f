// Whether a cluster outlives the loss of a host: where the machines of each host would go. First fit decreasing over memory
// and CPU, in what there is with over-provisioning. Pure, and tested.

import type { Row } from "../api/client";

/** MHz and bytes. */
export interface Amount { cpu: number; memory: number } // prettier-ignore
export interface Room extends Amount {
  id: string;
  name: string;
  /** Taken, by whatever it is. */
  used: Amount;
  /** Whether new machines are put there. */
  takes: boolean;
}
export interface Load extends Amount { id: string; name: string; room: string } // prettier-ignore
export interface Loss {
  room: Room;
  /** What runs there, and what of it finds no place elsewhere. */
  loads: Load[];
  homeless: Load[];
}

export const roomOf = (host: Row): Room => ({
  id: String(host.id),
  name: String(host.name),
  cpu: Number(host.cpuwithoverprovisioning ?? 0),
  memory: Number(host.memorywithoverprovisioning ?? 0),
  used: { cpu: Number(host.cpuallocatedvalue ?? 0), memory: Number(host.memoryallocatedbytes ?? 0) },
  takes: host.state === "Up" && host.resourcestate === "Enabled",
});
export const loadOf = (machine: Row): Load => ({
  id: String(machine.id),
  name: String(machine.displayname || machine.name),
  room: String(machine.hostid ?? ""),
  cpu: Number(machine.cpunumber ?? 0) * Number(machine.cpuspeed ?? 0),
  memory: Number(machine.memory ?? 0) * 1024 ** 2,
});

/** What becomes of the machines of one host when it fails. */
export function lossOf(room: Room, rooms: Room[], loads: Load[]): Loss {
  const mine = loads.filter((l) => l.room === room.id);
  const left = rooms.filter((r) => r.id !== room.id && r.takes).map((r) => ({ cpu: r.cpu - r.used.cpu, memory: r.memory - r.used.memory }));
  const all = rooms.reduce((sum, r) => ({ cpu: sum.cpu + r.cpu, memory: sum.memory + r.memory }), { cpu: 1, memory: 1 });
  const share = (l: Load) => Math.max(l.cpu / all.cpu, l.memory / all.memory);
  const homeless = mine.slice().sort((a, b) => share(b) - share(a)).filter((l) => {
    const to = left.find((r) => r.cpu >= l.cpu && r.memory >= l.memory);
    if (to) {
      to.cpu -= l.cpu;
      to.memory -= l.memory;
    }
    return !to;
  });
  return { room, loads: mine, homeless };
}

/** The loss that hurts most: most machines without a place, then most machines at all. */
export function worstLoss(rooms: Room[], loads: Load[]): Loss | undefined {
  return rooms.map((r) => lossOf(r, rooms, loads)).sort((a, b) => b.homeless.length - a.homeless.length || b.loads.length - a.loads.length || b.room.memory - a.room.memory)[0];
}

/** `count` empty hosts of one size more. */
export const withMore = (rooms: Room[], count: number, size: Amount): Room[] => [
  ...rooms,
  ...Array.from({ length: count }, (_, i) => ({ id: `more-${i}`, name: "", ...size, used: { cpu: 0, memory: 0 }, takes: true })),
];

/** How many hosts of this size it takes until every loss can be borne; undefined when `most` are not enough. */
export function needed(rooms: Room[], loads: Load[], size: Amount, most = 32): number | undefined {
  for (let count = 0; count <= most; count++) if (!worstLoss(withMore(rooms, count, size), loads)?.homeless.length) return count;
  return undefined;
}

/** What most hosts of these are like: the size in the middle. */
export function usualSize(rooms: Room[]): Amount {
  const sorted = rooms.slice().sort((a, b) => a.memory - b.memory || a.cpu - b.cpu);
  const one = sorted[Math.floor(sorted.length / 2)];
  return one ? { cpu: one.cpu, memory: one.memory } : { cpu: 0, memory: 0 };
}
