import { To } from "../parts/To";
import { Button, Stack, Text, Title } from "@mantine/core";

import { useWords } from "../words";

export function NotFound() {
  const w = useWords();
  return (
    <Stack align="center" mt="10vh" gap="sm" ta="center">
      <Title order={1} fz={26}>{w.t("notfound")}</Title>
      <Text c="dimmed" maw={460}>{w.t("notfound.why")}</Text>
      <Button mt="md" renderRoot={(p) => <To {...p} to="/" />}>{w.t("notfound.home")}</Button>
    </Stack>
  );
}

/** When the page itself is at fault. */
export function Broken({ error, reset }: { error: unknown; reset?: () => void }) {
  const w = useWords();
  return (
    <Stack align="center" mt="10vh" gap="sm" ta="center" role="alert">
      <Title order={1} fz={24}>{w.t("fault.page")}</Title>
      <Text c="dimmed" maw={480}>{w.t("fault.page.do")}</Text>
      <Text size="xs" c="dimmed" ff="monospace" maw={560} lang="en">{error instanceof Error ? error.message : String(error)}</Text>
      <Button mt="md" onClick={() => (reset ? reset() : location.reload())}>{w.t("again")}</Button>
      <Button variant="subtle" onClick={() => location.reload()}>{w.t("reload")}</Button>
    </Stack>
  );
}
