import { ActionIcon, Button, Tooltip, useComputedColorScheme, useMantineColorScheme } from "@mantine/core";
import { IconMoon, IconSun } from "@tabler/icons-react";
import { speak, useWords } from "../words";

export function LanguageButton() {
  const w = useWords();
  const other = w.language === "ko" ? "en" : "ko";
  return (
    <Tooltip label={w.t("language")}>
      <Button variant="subtle" color="gray" size="sm" px={8} lang={other} aria-label={other === "en" ? "EN, English" : "한국어"} onClick={() => void speak(other)}>{other === "en" ? "EN" : "한국어"}</Button>
    </Tooltip>
  );
}

export function ThemeButton() {
  const w = useWords();
  const { setColorScheme } = useMantineColorScheme();
  const dark = useComputedColorScheme("light") === "dark";
  const label = w.t(dark ? "theme.light" : "theme.dark");
  return (
    <Tooltip label={label}>
      <ActionIcon variant="subtle" color="gray" size={38} aria-label={label} onClick={() => setColorScheme(dark ? "light" : "dark")}>{dark ? <IconSun size={20} /> : <IconMoon size={20} />}</ActionIcon>
    </Tooltip>
  );
}
