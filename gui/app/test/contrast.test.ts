import { expect, test } from "vitest";
import { TOKENS, TONES } from "../src/theme";

function luminance(hex: string): number {
  const [r, g, b] = [1, 3, 5].map((at) => Number.parseInt(hex.slice(at, at + 2), 16) / 255).map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}
export function contrast(a: string, b: string): number {
  const [light, dark] = [luminance(a), luminance(b)].sort((x, y) => y - x);
  return (light + 0.05) / (dark + 0.05);
}

test("text can be read in both modes", () => {
  expect(contrast("#000000", "#ffffff")).toBeCloseTo(21);
  for (const mode of ["light", "dark"] as const) {
    const t = TOKENS[mode];
    for (const ground of [t.ground, t.paper]) {
      for (const name of ["text", "dimmed", "error", "placeholder", "accent"] as const) expect(contrast(t[name], ground), `${mode} ${name} on ${ground}`).toBeGreaterThanOrEqual(4.5);
    }
    for (const [name, tone] of Object.entries(TONES)) expect(contrast(tone[mode][1], tone[mode][0]), `${mode} ${name}`).toBeGreaterThanOrEqual(4.5);
  }
  expect(contrast("#ffffff", "#22697c")).toBeGreaterThanOrEqual(4.5);
});
