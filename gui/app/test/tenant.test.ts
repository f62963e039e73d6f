import { expect, test } from "vitest";
import { open, params, planned, size, type Wanted } from "../src/deploy/values";
import { free, overlaps, parts, range } from "../src/parts/cidr";
import { secretsIn } from "../src/parts/once";

test("networks are told apart by their addresses", () => {
  expect(range("10.1.1.128/25")).toEqual([0x0a010180, 0x0a0101ff]);
  for (const wrong of ["", "10.1.1.0", "10.1.1.300/24", "10.1.1.0/33", "10.1.1/24", "a/24", "10.1.1.0/24/1"]) expect(range(wrong), wrong).toBeUndefined();
  expect(overlaps("10.1.1.0/24", "10.1.1.128/25")).toBe(true);
  expect(overlaps("10.1.1.0/24", "10.1.2.0/24")).toBe(false);
  expect(overlaps("10.0.0.0/8", "10.200.0.0/16")).toBe(true);
  expect(overlaps("10.0.0.0/8", "what")).toBe(false);
  expect(parts("192.168.5.77/24")).toEqual({ gateway: "192.168.5.1", netmask: "255.255.255.0", hosts: 253 });
  expect(parts("255.255.255.252/30")).toEqual({ gateway: "255.255.255.253", netmask: "255.255.255.252", hosts: 1 });
  expect(parts("10.0.0.0/31")).toBeUndefined();
  expect(free([])).toBe("10.1.1.0/24");
  expect(free(["10.1.0.0/16"])).toBe("10.2.1.0/24");
});

test("what the wizard gathered becomes the command", () => {
  const v: Wanted = {
    zone: { id: "z" }, template: { id: "t", size: 2 * 1024 ** 3 }, offering: { id: "o", cpunumber: 2 }, cpuspeed: 1000, memory: 512, rootdisk: 20, disk: { id: "d", iscustomized: true }, disksize: 5,
    networks: [{ id: "n1" }, { id: "n2" }], keys: ["a", "b"], userdata: "안녕", name: " 웹서버 ",
  }; // prettier-ignore
  expect(open(v)).toEqual(["cpuspeed", "memory"]);
  expect(size(v)).toEqual({ cores: 2, memory: 512, disk: 25, disks: 2 });
  expect(planned(v)).toEqual({ zoneid: "z", templateid: "t", serviceofferingid: "o", rootdisksize: 20, "details[0].cpuSpeed": 1000, "details[0].memory": 512 });
  expect(params(v)).toMatchObject({ displayname: "웹서버", networkids: "n1,n2", diskofferingid: "d", size: 5, keypairs: "a,b", userdata: "7JWI64WV" });
  expect(params(v).name).toBeUndefined();
  expect(params({ ...v, name: "web-1" })).toMatchObject({ name: "web-1" });
  expect(params({ networks: [], keys: [] }).networkids).toBeUndefined();
});

test("secrets are found in answers, and nothing else is taken for one", () => {
  expect(secretsIn({ virtualmachine: { name: "vm", displayname: "웹", password: "abc" } })).toEqual([{ kind: "password", of: "웹", value: "abc" }]);
  expect(secretsIn({ keypair: { name: "laptop", privatekey: "-----" } }, "mine")).toEqual([{ kind: "privatekey", of: "mine", value: "-----" }]);
  expect(secretsIn({ virtualmachine: { name: "vm", password: "", passwordenabled: true } })).toEqual([]);
  expect(secretsIn(undefined)).toEqual([]);
});
