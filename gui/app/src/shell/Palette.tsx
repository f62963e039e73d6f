import { useGo } from "../parts/To";
import { Badge, Combobox, Group, Modal, ScrollArea, Text, TextInput, useCombobox } from "@mantine/core";
import { IconSearch } from "@tabler/icons-react";

import { useDeferredValue, useMemo, useState } from "react";
import glossary from "../../../words/glossary.json";
import { useModel } from "../api/model";
import { declared } from "../nouns";
import { act } from "../parts/act";

import { useWords } from "../words";
import { composer, type Glossary } from "../words/names";
import { search, type Target } from "./palette";
import { sectionsOf } from "./nav";

const english = composer(glossary as unknown as Glossary, "en");
interface Hit extends Target { key: string; kind: "page" | "command"; go: () => void } // prettier-ignore

export default function Box({ close }: { close: () => void }) {
  const w = useWords();
  const model = useModel();
  const go = useGo();
  const [typed, setTyped] = useState("");
  const query = useDeferredValue(typed);
  const combobox = useCombobox();
  const targets = useMemo((): Hit[] => {
    const page = (to: string) => () => go(to);
    const pages = sectionsOf(model).flatMap((s) => s.entries.filter((e) => !e.noun).map((e): Hit => ({ key: e.to, kind: "page", label: w.t(e.label ?? ""), english: e.to.slice(1), name: e.to.slice(1), go: page(e.to) })));
    const home: Hit = { key: "/", kind: "page", label: w.t("nav.home"), english: "Dashboard", name: "dashboard", go: page("/") };
    const nouns = [...model.nouns.values()].map((n): Hit => ({ key: n.slug, kind: "page", label: w.noun(n.name), english: english.noun(n.name), name: n.list.name, go: page(`/${n.slug}`) }));
    const creators = new Map([...model.nouns.values()].flatMap((n) => n.create.map((c) => [c.name, n] as const)));
    const commands = [...model.commands.values()].filter((c) => !/^(list[A-Z]|login|logout)/.test(c.name)).map((c): Hit => ({
      key: c.name, kind: "command", label: w.command(c.name), english: english.command(c.name), name: c.name,
      go: () => {
        const noun = creators.get(c.name);
        if (!noun) return go(`/commands/${c.name}`);
        // Where a noun has a page for making one, that is meant, not the form of the command.
        void declared(noun.slug, noun.list.name).then((about) => (about.createPage && (about.create ?? noun.create.map((x) => x.name)).includes(c.name) ? go(about.createPage) : act({ command: c.name, noun })));
      },
    })); // prettier-ignore
    return [home, ...nouns, ...pages, ...commands];
  }, [model, w]);
  const hits = useMemo(() => (query ? search(query, targets) : targets.filter((t) => t.kind === "page").slice(0, 12)), [query, targets]);
  const pick = (key: string) => {
    close();
    targets.find((t) => t.key === key)?.go();
  };
  return (
    <Modal opened onClose={close} withCloseButton={false} size={620} padding={0} yOffset="10vh" centered={false} aria-label={w.t("palette")} title={undefined}>
      <Combobox store={combobox} withinPortal={false} onOptionSubmit={pick}>
        <Combobox.EventsTarget>
          <TextInput
            data-autofocus size="lg" variant="unstyled" px="md" leftSection={<IconSearch size={20} aria-hidden />} leftSectionWidth={46} aria-label={w.t("palette")} placeholder={w.t("palette.in")} value={typed}
            onChange={(e) => { setTyped(e.currentTarget.value); combobox.resetSelectedOption(); }}
            onKeyDownCapture={(e) => {
              if (e.key !== "Enter") return;
              // While a syllable is being put together, Enter ends it. Without a choice the best hit is meant, also when
              // the list still shows those of a letter ago.
              if (!e.nativeEvent.isComposing && combobox.getSelectedOptionIndex() >= 0) return;
              e.stopPropagation();
              const best = e.nativeEvent.isComposing ? undefined : typed === query ? hits[0] : search(typed, targets)[0];
              if (best) pick(best.key);
            }}
          />
        </Combobox.EventsTarget>
        <ScrollArea.Autosize mah="56vh" type="auto" viewportProps={{ tabIndex: 0 }} style={{ borderTop: "1px solid var(--mantine-color-default-border)" }}>
          <Combobox.Options p={8} aria-label={w.t("palette")}>
            {hits.map((h) => (
              <Combobox.Option key={h.kind + h.key} value={h.key}>
                <Group justify="space-between" wrap="nowrap" gap="sm">
                  <Text truncate>{h.label}</Text>
                  <Group gap={6} wrap="nowrap"><Text size="xs" c="dimmed" visibleFrom="xs">{h.kind === "command" ? h.name : h.english !== h.label ? h.english : ""}</Text><Badge size="sm" variant="light" color="gray">{w.t(`palette.${h.kind}`)}</Badge></Group>
                </Group>
              </Combobox.Option>
            ))}
            {!hits.length && <Combobox.Empty>{w.t("palette.none")}</Combobox.Empty>}
          </Combobox.Options>
        </ScrollArea.Autosize>
      </Combobox>
    </Modal>
  );
}
