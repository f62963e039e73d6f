// Everything around a page: what there is, whose it is, what is under way, who one is.

import { pageOf, To, useSearchWriter } from "../parts/To";
import { ActionIcon, AppShell, Burger, Button, Collapse, Group, Indicator, Menu, Loader, ScrollArea, Stack, Text, Tooltip, UnstyledButton } from "@mantine/core";
import { useDisclosure, useMediaQuery } from "@mantine/hooks";
import { IconBell, IconChevronDown, IconCloudComputing, IconHome2, IconActivity, IconLogout, IconMenu2, IconUser, IconFilter } from "@tabler/icons-react";
import { useQuery } from "@tanstack/react-query";
import { Outlet, useLocation } from "@tanstack/react-router";
import { lazy, Suspense, useEffect, useRef, useState } from "react";
import { call, rows } from "../api/client";
import { seen, useUnread } from "../api/alerts";
import { live } from "../api/live";
import { forget, useModel, type Model } from "../api/model";
import { queries } from "../api/queries";
import { useScope } from "../api/scope";
import { current, signedOut, useSession } from "../api/session";
import { ActionHost } from "../parts/ActionHost";
import { JobTray } from "../parts/Jobs";

import { useWords } from "../words";
import { sectionsOf } from "./nav";
import { Palette, PaletteButton } from "./PaletteButton";
import { LanguageButton, ThemeButton } from "./Switches";
import { answerConsoles } from "./tickets";

/** Which lists show a kind of thing of which the stream of events speaks. */
export function listsOf(model: Model) {
  const found = new Map<string, string[]>();
  for (const noun of model.nouns.values()) {
    const kinds = [noun.name.replace(/ies$/, "y").replace(/s$/, "").toLowerCase(), ...(KINDS[noun.list.name] ?? [])];
    for (const kind of kinds) found.set(kind, [...(found.get(kind) ?? []), noun.list.name]);
  }
  return (kind: string) => found.get(kind) ?? [];
}
const KINDS: Record<string, string[]> = { listAsyncJobs: ["job"], listPublicIpAddresses: ["publicipaddress", "ipaddress", "publicip"], listIsos: ["template"], listVMSnapshot: ["vmsnapshot"], listRouters: ["domainrouter", "virtualmachine"], listSystemVms: ["systemvm", "virtualmachine"] };

export async function leave(): Promise<void> {
  const me = current();
  if (!me?.saml) await call("logout", {}).catch(() => undefined);
  live.stop();
  signedOut();
  queries.clear();
  forget();
  // The session at the identity provider ends too: the server ends this one and sends the browser there.
  location.assign(me?.saml ? `/client/api?command=samlSlo&sessionkey=${encodeURIComponent(me.sessionkey)}` : "/client/");
}

export function Shell() {
  const w = useWords();
  const model = useModel();
  const [menu, { toggle, close }] = useDisclosure();
  const phone = useMediaQuery("(max-width: 48em)");
  const where = useLocation({ select: (l) => l.pathname });
  useEffect(() => {
    live.start(listsOf(model));
    return answerConsoles();
  }, [model]);
  useEffect(close, [where]);
  // Who came to another page by the palette or a dialog, which are gone, goes on from there.
  const came = useRef(where);
  useEffect(() => {
    if (came.current !== where && (!document.activeElement || document.activeElement === document.body)) document.getElementById("main")?.focus({ preventScroll: true });
    came.current = where;
  }, [where]);
  return (
    <AppShell header={{ height: 56 }} navbar={{ width: 248, breakpoint: "sm", collapsed: { mobile: !menu } }} footer={phone ? { height: 62 } : undefined} padding={{ base: "md", md: "xl" }}>
      <a className="skip" href="#main">{w.t("skip")}</a>
      <AppShell.Header px={{ base: 8, sm: "md" }}>
        <Group h="100%" justify="space-between" wrap="nowrap" gap="xs">
          <Group gap="sm" wrap="nowrap">
            <Burger opened={menu} onClick={toggle} hiddenFrom="sm" size="sm" aria-label={w.t("menu")} />
            <To to="/" className="plain" aria-label="Mold"><Group gap={10} wrap="nowrap"><img src="/client/icon.svg" width={28} height={28} alt="" /><Text fw={700} fz={19} visibleFrom="sm">Mold</Text></Group></To>
            <Scope />
          </Group>
          <Group gap={2} wrap="nowrap">
            <PaletteButton />
            <JobTray />
            {model.commands.has("listAlerts") && <Alerts />}
            <Group gap={2} visibleFrom="sm" wrap="nowrap"><LanguageButton /><ThemeButton /></Group>
            <Me />
          </Group>
        </Group>
      </AppShell.Header>
      <AppShell.Navbar p="sm" component="nav" aria-label={w.t("menu")} inert={phone && !menu}>
        <ScrollArea type="hover" scrollbarSize={7} style={{ flex: 1 }}><Navigation /></ScrollArea>
        <Group hiddenFrom="sm" pt="sm"><LanguageButton /><ThemeButton /></Group>
      </AppShell.Navbar>
      <AppShell.Main id="main" tabIndex={-1} style={{ outline: "none" }}><Outlet /></AppShell.Main>
      {phone && <AppShell.Footer><BottomTabs toggle={toggle} /></AppShell.Footer>}
      <Palette />
      <ActionHost />
    </AppShell>
  );
}

function Navigation() {
  const w = useWords();
  const sections = sectionsOf(useModel());
  const where = useLocation({ select: (l) => l.pathname });
  const inside = (to: string) => where === to || where.startsWith(`${to}/`);
  const [open, setOpen] = useState<Record<string, boolean>>(() => JSON.parse(localStorage.getItem("mold.nav") ?? "{}"));
  const turn = (id: string, to: boolean) => setOpen((old) => {
    const now = { ...old, [id]: to };
    localStorage.setItem("mold.nav", JSON.stringify(now));
    return now;
  });
  return (
    <Stack gap={4}>
      <To to="/" className="navlink" exact><IconHome2 size={18} aria-hidden />{w.t("nav.home")}</To>
      {sections.map((s) => {
        const shown = open[s.id] ?? (s.id === "compute" || s.id === "storage" || s.id === "network" || s.entries.some((e) => inside(e.to)));
        return (
          <div key={s.id}>
            <button type="button" className="navsection" aria-expanded={shown} onClick={() => turn(s.id, !shown)}>
              <s.icon size={17} aria-hidden /><span style={{ flex: 1 }}>{w.t(`nav.${s.id}`)}</span><IconChevronDown size={14} aria-hidden style={{ transform: shown ? undefined : "rotate(-90deg)" }} />
            </button>
            <Collapse expanded={shown}>
              {shown && <Stack gap={1} pl={18}>{s.entries.map((e) => <To key={e.to} to={e.to} className="navlink">{e.noun ? w.noun(e.noun.name) : w.t(e.label ?? "")}</To>)}</Stack>}
            </Collapse>
          </div>
        );
      })}
    </Stack>
  );
}

function BottomTabs({ toggle }: { toggle: () => void }) {
  const w = useWords();
  const model = useModel();
  const tab = (to: string, label: string, Icon: typeof IconHome2) => <To to={to} exact={to === "/"}><Icon size={21} aria-hidden />{label}</To>;
  return (
    <nav className="bottomtabs" aria-label={w.t("tabs")}>
      {tab("/", w.t("nav.home"), IconHome2)}
      {tab("/virtualmachines", w.t("tabs.machines"), IconCloudComputing)}
      {tab("/asyncjobs", w.t("jobs"), IconActivity)}
      {model.commands.has("listAlerts") ? tab("/alerts", w.t("alerts"), IconBell) : tab("/eventlog", w.noun("Events"), IconBell)}
      <button type="button" onClick={toggle}><IconMenu2 size={21} aria-hidden />{w.t("all")}</button>
    </nav>
  );
}

function Alerts() {
  const w = useWords();
  const fresh = useUnread();
  return (
    <Tooltip label={w.t("alerts")}>
      <Indicator disabled={!fresh} label={fresh > 99 ? "99+" : fresh} size={17} offset={5} color="red" visibleFrom="sm">
        <ActionIcon variant="subtle" color="gray" size={38} aria-label={fresh ? w.t("alerts.new", { count: fresh }) : w.t("alerts")} renderRoot={(p) => <To {...p} to={pageOf({ slug: "alerts" })} onClick={seen} />}><IconBell size={20} /></ActionIcon>
      </Indicator>
    </Tooltip>
  );
}

const ScopeBox = lazy(() => import("./ScopeBox"));

/** Everything, a project, or a domain with its accounts. */
function Scope() {
  const w = useWords();
  const scope = useScope();
  const rewrite = useSearchWriter();
  const model = useModel();
  const projects = model.commands.has("listProjects");
  const domains = model.commands.has("listDomains");
  const name = useQuery({
    queryKey: ["scope", scope],
    enabled: Boolean(scope.project || scope.domain),
    queryFn: async () => {
      if (scope.project) return rows(await call("listProjects", { id: scope.project, listall: true })).rows[0]?.name as string | undefined;
      const domain = rows(await call("listDomains", { id: scope.domain, listall: true })).rows[0]?.path as string | undefined;
      return scope.account ? `${domain} · ${scope.account}` : domain;
    },
  });
  if (!projects && !domains) return null;
  const choose = (to: Record<string, string | undefined>) => rewrite({ project: undefined, domain: undefined, account: undefined, ...to });
  return (
    <Menu position="bottom-start" width={300} closeOnItemClick={false}>
      <Menu.Target>
        <Button variant={scope.project || scope.domain ? "light" : "subtle"} color={scope.project || scope.domain ? undefined : "gray"} size="sm" px={8} leftSection={<IconFilter size={16} aria-hidden />} aria-label={w.t("scope.now", { name: name.data ?? w.t("scope.all") })}>
          <Text span inherit truncate lh={1.5} maw={{ base: 74, sm: 200 }}>{name.data ?? w.t("scope.all")}</Text>
        </Button>
      </Menu.Target>
      <Menu.Dropdown p="md">
        <Suspense fallback={<Loader size={20} />}><ScopeBox choose={choose} /></Suspense>
      </Menu.Dropdown>
    </Menu>
  );
}

function Me() {
  const w = useWords();
  const me = useSession();
  return (
    <Menu position="bottom-end" width={240}>
      <Menu.Target>
        <Tooltip label={w.t("me")}><UnstyledButton aria-label={w.t("me.menu", { name: me?.username ?? "" })} w={38} h={38} style={{ borderRadius: 10, display: "grid", placeItems: "center" }} c="dimmed"><IconUser size={20} aria-hidden /></UnstyledButton></Tooltip>
      </Menu.Target>
      <Menu.Dropdown>
        <Menu.Label>{[me?.firstname, me?.lastname].filter(Boolean).join(" ") || me?.username} · {me?.account}</Menu.Label>
        <Menu.Item leftSection={<IconUser size={16} aria-hidden />} renderRoot={(p) => <To {...p} to="/me" />}>{w.t("me")}</Menu.Item>
        <Menu.Divider />
        <Menu.Item leftSection={<IconLogout size={16} aria-hidden />} onClick={() => void leave()}>{w.t("signout")}</Menu.Item>
      </Menu.Dropdown>
    </Menu>
  );
}
