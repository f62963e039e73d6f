import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";

test("every component that is used has its styles", () => {
  const listed = readFileSync(join(import.meta.dirname, "../src/styles.ts"), "utf8");
  const styles = join(import.meta.dirname, "../../node_modules/@mantine/core/styles");
  const sources = import.meta.glob("../src/**/*.tsx", { query: "?raw", import: "default", eager: true }) as Record<string, string>;
  const used = new Set(Object.values(sources).flatMap((text) => [...text.matchAll(/import \{([^}]+)\} from "@mantine\/core"/g)].flatMap(([, names]) => names.split(",").map((n) => n.trim()))));
  expect(used.size).toBeGreaterThan(20);
  expect([...used].filter((name) => existsSync(join(styles, `${name}.css`)) && !listed.includes(`/${name}.css"`))).toEqual([]);
});
