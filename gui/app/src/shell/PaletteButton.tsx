import { Group, Kbd, Text, UnstyledButton, VisuallyHidden } from "@mantine/core";
import { useHotkeys } from "@mantine/hooks";
import { IconSearch } from "@tabler/icons-react";
import { lazy, Suspense } from "react";
import { store } from "../api/store";
import { useWords } from "../words";

const palette = store(false);
const Box = lazy(() => import("./Palette"));

export function Palette() {
  const open = palette.use();
  useHotkeys([["mod+K", () => palette.set((o) => !o)]], []);
  return open ? <Suspense><Box close={() => palette.set(false)} /></Suspense> : null;
}

export function PaletteButton() {
  const w = useWords();
  return (
    <UnstyledButton onClick={() => palette.set(true)} aria-keyshortcuts="Control+K" px="sm" h={38} style={{ border: "1px solid var(--mantine-color-default-border)", borderRadius: 10 }}>
      <Group gap={8} wrap="nowrap" c="dimmed"><IconSearch size={18} aria-hidden /><Text size="sm" visibleFrom="md" miw={140}>{w.t("palette.short")}</Text><VisuallyHidden hiddenFrom="md">{w.t("palette.short")}</VisuallyHidden><Kbd size="xs" visibleFrom="md" aria-hidden>{/mac/i.test(navigator.userAgent) ? "⌘" : "Ctrl"} K</Kbd></Group>
    </UnstyledButton>
  );
}
