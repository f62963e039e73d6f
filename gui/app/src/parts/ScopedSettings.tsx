import { Stack, Text } from "@mantine/core";
import type { Params } from "../api/client";
import { useModel } from "../api/model";
import { Settings } from "../pages/Configurations";
import { useWords } from "../words";

/** The settings that can be set for one thing alone. */
export default function ScopedSettings({ place }: { place: Params }) {
  const w = useWords();
  const { commands } = useModel();
  if (!commands.has("listConfigurations")) return <Text c="dimmed">{w.t("pick.denied")}</Text>;
  return <Stack><Text size="sm" c="dimmed">{w.t("settings.own.about")}</Text><Settings place={place} /></Stack>;
}
