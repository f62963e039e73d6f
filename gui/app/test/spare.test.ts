import { expect, test } from "vitest";
import { loadOf, lossOf, needed, roomOf, usualSize, withMore, worstLoss, type Load, type Room } from "../src/parts/spare";

const GiB = 1024 ** 3;
const room = (name: string, memory: number, used: number, more: Partial<Room> = {}): Room => ({ id: name, name, cpu: 10_000, memory: memory * GiB, used: { cpu: 0, memory: used * GiB }, takes: true, ...more });
const load = (name: string, where: string, memory: number, cpu = 100): Load => ({ id: name, name, room: where, cpu, memory: memory * GiB });

test("what fits elsewhere has a place, the largest first", () => {
  const rooms = [room("a", 16, 12), room("b", 16, 8), room("c", 16, 12)];
  const loads = [load("small", "a", 4), load("large", "a", 8)];
  // large goes to b (8 free), small to c (4 free); the other way round large would stand in the street.
  expect(lossOf(rooms[0], rooms, loads).homeless).toEqual([]);
  expect(lossOf(rooms[0], rooms, [...loads, load("more", "a", 1)]).homeless.map((l) => l.name)).toEqual(["more"]);
});

test("CPU counts as memory does, and hosts that take nothing do not", () => {
  const rooms = [room("a", 16, 4), room("b", 16, 0, { used: { cpu: 9950, memory: 0 } }), room("off", 64, 0, { takes: false })];
  expect(lossOf(rooms[0], rooms, [load("x", "a", 4)]).homeless).toHaveLength(1);
  rooms[1].used.cpu = 9900;
  expect(lossOf(rooms[0], rooms, [load("x", "a", 4)]).homeless).toHaveLength(0);
});

test("the worst loss is told, and how many hosts more would bear it", () => {
  const rooms = [room("a", 8, 8), room("b", 16, 16), room("c", 8, 2)];
  const loads = [load("a1", "a", 4), load("a2", "a", 4), ...[1, 2, 3, 4].map((i) => load(`b${i}`, "b", 4)), load("c1", "c", 2)];
  const worst = worstLoss(rooms, loads);
  expect([worst?.room.name, worst?.loads.length, worst?.homeless.length]).toEqual(["b", 4, 3]);
  expect(usualSize(rooms)).toEqual({ cpu: 10_000, memory: 8 * GiB });
  expect(needed(rooms, loads, usualSize(rooms))).toBe(2);
  expect(worstLoss(withMore(rooms, 2, usualSize(rooms)), loads)?.homeless).toEqual([]);
  expect(needed(rooms, loads, { cpu: 1, memory: 1 })).toBeUndefined();
  expect(worstLoss([], [])).toBeUndefined();
});

test("as the server tells them", () => {
  expect(roomOf({ id: "h", name: "host", cpuwithoverprovisioning: "8000", memorywithoverprovisioning: "1024", cpuallocatedvalue: 500, memoryallocatedbytes: 512, state: "Up", resourcestate: "Enabled" })).toEqual({ id: "h", name: "host", cpu: 8000, memory: 1024, used: { cpu: 500, memory: 512 }, takes: true });
  expect(roomOf({ id: "h", name: "host", state: "Up", resourcestate: "Disabled" }).takes).toBe(false);
  expect(loadOf({ id: "v", name: "vm", displayname: "", hostid: "h", cpunumber: 2, cpuspeed: 1000, memory: 1 })).toEqual({ id: "v", name: "vm", room: "h", cpu: 2000, memory: 1024 ** 2 });
});
