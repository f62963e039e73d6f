// IPv4 networks as text and as numbers.

const number = (text: string): number | undefined => {
  const parts = text.trim().split(".");
  if (parts.length !== 4 || !parts.every((p) => /^\d{1,3}$/.test(p) && Number(p) < 256)) return undefined;
  return parts.reduce((sum, p) => sum * 256 + Number(p), 0);
};
const text = (n: number) => [24, 16, 8, 0].map((by) => Math.floor(n / 2 ** by) % 256).join(".");

/** First and last address of `10.1.1.0/24`; undefined when it is none. */
export function range(cidr: string): [number, number] | undefined {
  const [address, bits, more] = cidr.trim().split("/");
  const from = number(address ?? "");
  if (from === undefined || more !== undefined || !/^\d{1,2}$/.test(bits ?? "") || Number(bits) > 32) return undefined;
  const many = 2 ** (32 - Number(bits));
  const first = Math.floor(from / many) * many;
  return [first, first + many - 1];
}
export function overlaps(a: string, b: string): boolean {
  const [x, y] = [range(a), range(b)];
  return Boolean(x && y && x[0] <= y[1] && y[0] <= x[1]);
}
/** What createNetwork wants of a network: its gateway is the first address. Only what can hold a gateway and a machine. */
export function parts(cidr: string): { gateway: string; netmask: string; hosts: number } | undefined {
  const r = range(cidr);
  const bits = Number(cidr.split("/")[1]);
  if (!r || bits < 8 || bits > 30) return undefined;
  return { gateway: text(r[0] + 1), netmask: text(2 ** 32 - 2 ** (32 - bits)), hosts: r[1] - r[0] - 2 };
}
/** A /24 that none of these networks uses, for a proposal. */
export function free(taken: string[]): string {
  for (let a = 1; a < 255; a++) for (let b = 1; b < 255; b++) if (!taken.some((t) => overlaps(t, `10.${a}.${b}.0/24`))) return `10.${a}.${b}.0/24`;
  return "";
}
