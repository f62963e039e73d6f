import { expect, test } from "vitest";
import { counted, drawn, sifted } from "../src/network/topology";

const nic = (networkid: string, networkname: string, ipaddress: string) => ({ id: `${networkid}-${ipaddress}`, networkid, networkname, ipaddress });
const networks = [{ id: "a", name: "work", cidr: "10.1.0.0/24", zoneid: "z1", zonename: "one" }, { id: "b", name: "test", zoneid: "z2", zonename: "two" }];
const machines = [
  { id: "1", name: "web", state: "Running", zoneid: "z1", zonename: "one", nic: [nic("a", "work", "10.1.0.5")] },
  { id: "2", name: "db", state: "Stopped", zoneid: "z1", zonename: "one", nic: [nic("a", "work", "10.1.0.6"), nic("c", "hidden", "10.3.0.6")] },
  { id: "3", name: "alone", state: "Running", zoneid: "z1", zonename: "one", nic: [] },
];
const graph = drawn(networks, machines, [{ id: "r", name: "r-1", guestnetworkid: "a" }, { id: "x", guestnetworkid: "gone" }], [{ issourcenat: true, associatednetworkid: "a", ipaddress: "192.0.2.1" }, { issourcenat: false, associatednetworkid: "b", ipaddress: "192.0.2.2" }]);

test("machines hang on their networks, each in every one of its own", () => {
  expect(graph.zones.map((z) => [z.name, z.nets.map((n) => [n.network.name, n.known, n.members.map((m) => m.row.name)])])).toEqual([
    ["one", [["work", true, ["web", "db"]], ["hidden", false, ["db"]]]],
    ["two", [["test", true, []]]],
  ]);
  const [work] = graph.zones[0].nets;
  expect(work.members[1].also).toEqual(["hidden"]);
  expect(work.routers.map((r) => r.name)).toEqual(["r-1"]);
  expect([work.outside, graph.zones[1].nets[0].outside]).toEqual(["192.0.2.1", undefined]);
  expect(graph.loose.map((m) => m.name)).toEqual(["alone"]);
  expect(counted([...work.members, work.members[0]])).toEqual([["Running", 2], ["Stopped", 1]]);
});

test("a search finds a network whole, or the machines in it", () => {
  const names = (query: string) => sifted(graph.zones, (words) => words.includes(query)).flatMap((z) => z.nets.map((n) => [n.network.name, n.members.length]));
  expect(names("work")).toEqual([["work", 2]]);
  expect(names("192.0.2.1")).toEqual([["work", 2]]);
  expect(names("db")).toEqual([["work", 1], ["hidden", 1]]);
  expect(names("nothing")).toEqual([]);
});
