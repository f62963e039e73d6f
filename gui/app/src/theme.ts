// Colours and sizes. The pairs of text and ground are computed in test/contrast.test.ts: at least 4.5 to 1 in both modes.

import { createTheme, type CSSVariablesResolver, type MantineColorsTuple } from "@mantine/core";
import { words } from "./words";

const mold: MantineColorsTuple = ["#eef6f8", "#d9eaee", "#b6d6de", "#8fc1cd", "#6bacbc", "#4a95a8", "#2f7d92", "#22697c", "#1b5b6c", "#12475a"];

export const TOKENS = {
  light: { ground: "#f6f7f9", paper: "#ffffff", text: "#1d2327", dimmed: "#59626a", error: "#c92a2a", placeholder: "#6a7178", accent: "#1b5b6c" },
  dark: { ground: "#15181b", paper: "#1d2124", text: "#dfe3e6", dimmed: "#a4adb5", error: "#ff8787", placeholder: "#919aa2", accent: "#8fc1cd" },
} as const;

/** Badges: ground and text. A state is told by its word and its mark, never by colour alone. */
export const TONES = {
  good: { light: ["#e3f5ec", "#0b5a3c"], dark: ["#12382a", "#8ce0b8"] },
  busy: { light: ["#e4f0fb", "#124b80"], dark: ["#15304a", "#99cdfb"] },
  warn: { light: ["#fdf1d8", "#744700"], dark: ["#3d2e0c", "#f5cf7d"] },
  bad: { light: ["#fdeaea", "#9d1f1f"], dark: ["#451d1d", "#ffb0b0"] },
  calm: { light: ["#eceff1", "#454d54"], dark: ["#2b3136", "#c3cbd2"] },
} as const;
export type Tone = keyof typeof TONES;

export const theme = createTheme({
  primaryColor: "mold",
  primaryShade: { light: 7, dark: 7 },
  colors: { mold, dark: ["#dfe3e6", "#c3cbd2", "#a4adb5", "#6f7982", "#3a4248", "#2f363b", "#262c30", "#1d2124", "#15181b", "#101214"] },
  fontFamily: '"Pretendard Variable", Pretendard, -apple-system, BlinkMacSystemFont, "Segoe UI", "Apple SD Gothic Neo", "Malgun Gothic", "Noto Sans KR", "Noto Sans CJK KR", sans-serif',
  fontFamilyMonospace: 'ui-monospace, SFMono-Regular, "Cascadia Mono", "D2Coding", Menlo, Consolas, monospace',
  defaultRadius: "md",
  cursorType: "pointer",
  respectReducedMotion: true,
  headings: { fontWeight: "650" },
  components: {
    Tooltip: { defaultProps: { withArrow: true, openDelay: 250, multiline: true, maw: 320, events: { hover: true, focus: true, touch: true } } },
    Modal: { defaultProps: { centered: true, radius: "lg", overlayProps: { backgroundOpacity: 0.3, blur: 1 } } },
    Menu: { defaultProps: { shadow: "md", radius: "md" } },
    Notification: { defaultProps: () => ({ closeButtonProps: { "aria-label": words().t("close") } }) },
    Paper: { defaultProps: { radius: "lg", withBorder: true } },
    Select: { defaultProps: { checkIconPosition: "right", comboboxProps: { shadow: "md" } } },
  },
});

export const variables: CSSVariablesResolver = () => {
  const of = (mode: "light" | "dark"): Record<string, string> => {
    const c = TOKENS[mode];
    return {
      "--mantine-color-body": c.ground,
      "--mantine-color-text": c.text,
      "--mantine-color-dimmed": c.dimmed,
      "--mantine-color-error": c.error,
      "--mantine-color-placeholder": c.placeholder,
      "--mantine-color-anchor": c.accent,
      "--mantine-primary-color-light-color": c.accent,
      "--mantine-color-mold-light-color": c.accent,
      "--mantine-color-mold-text": c.accent,
      "--mantine-color-red-light-color": TONES.bad[mode][1],
      "--mantine-color-yellow-light-color": TONES.warn[mode][1],
      "--mantine-color-yellow-light": TONES.warn[mode][0],
      "--mantine-color-gray-light-color": TONES.calm[mode][1],
      "--mantine-color-gray-light": TONES.calm[mode][0],
      "--mantine-color-red-filled": "#b42525",
      "--mantine-color-red-filled-hover": "#961d1d",
      "--mold-paper": c.paper,
      ...Object.fromEntries(Object.entries(TONES).flatMap(([name, tone]) => [[`--mold-${name}-ground`, tone[mode][0]], [`--mold-${name}`, tone[mode][1]]])),
    };
  };
  return { variables: {}, light: of("light"), dark: of("dark") };
};
