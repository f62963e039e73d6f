import { Button, Group, Stack } from "@mantine/core";
import { IconPlus } from "@tabler/icons-react";
import type { Params } from "../api/client";
import { useModel } from "../api/model";
import { useWords } from "../words";
import { act, follow } from "./act";
import { Related } from "./DetailPage";

/** A table of another noun in a tab, and the button that makes one more with these parameters. */
export default function RelatedNoun({ list, params, add, fixed, first }: { list: string; params: Params; add?: string; fixed?: Params; first?: string[] }) {
  const w = useWords();
  const model = useModel();
  const noun = model.nouns.get(list);
  if (!noun) return null;
  const made = add !== undefined && model.commands.has(add) ? add : undefined;
  return (
    <Stack>
      {made && <Group justify="flex-end"><Button size="sm" leftSection={<IconPlus size={16} aria-hidden />} onClick={() => act({ command: made, noun, fixed: { ...params, ...fixed }, first, onDone: (ran) => ran.job === undefined && follow(ran) })}>{w.command(made)}</Button></Group>}
      <Related noun={noun} params={params} always />
    </Stack>
  );
}
