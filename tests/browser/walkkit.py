"""Walking through the whole console within one page, as fast as it goes, and looking at each stop with machine's eyes."""

from __future__ import annotations

import json
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from playwright.sync_api import ConsoleMessage, Page
from test_app import AXE, TEXTS, english

WALK = """
async ({ path, tab, axeOn, wholePage }) => {
  const rest = (ms) => new Promise((go) => setTimeout(go, ms));
  const frame = () => new Promise((go) => requestAnimationFrame(() => setTimeout(go)));
  const main = () => document.querySelector("#main");
  const until = performance.now() + 15000;
  if (tab === undefined) {
    const [title, heading] = [document.title, main().querySelector("h1")];
    if (location.pathname + location.search !== "/client/" + path) {
      history.pushState(null, "", "/client/" + path);
      while (performance.now() < until) {
        const now = main().querySelector("h1, [role=note]");
        if (now && (now !== heading || document.title !== title)) break;
        await rest(10);
      }
    }
  } else main().querySelectorAll("[role=tab]")[tab].click();
  const busy = () => main().querySelector("[role=status], [aria-busy=true], .mantine-Skeleton-root, .mantine-Loader-root") || !main().querySelector("h1, [role=note]");
  for (let calm = 0; calm < 3 && performance.now() < until; calm = busy() ? 0 : calm + 1) await frame();
  for (const more of main().querySelectorAll("form button[aria-expanded=false]")) more.click();
  await frame();
  const own = (one) => [...main().querySelectorAll(one)];
  const out = {
    late: performance.now() >= until,
    heading: main().querySelector("h1")?.textContent ?? "",
    tabs: own("[role=tab]").map((t) => t.textContent),
    links: own("a.main").map((a) => a.getAttribute("href")),
    called: own("a.main").map((a) => a.textContent),
    every: [...document.querySelectorAll("a[href]")].map((a) => a.href),
    alerts: own("[role=alert]").map((a) => a.innerText),
    wide: document.documentElement.scrollWidth > document.documentElement.clientWidth,
    texts: (TEXTS)(),
    faults: [],
  };
  if (axeOn) {
    const found = await axe.run(wholePage ? document : "#main", { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"], resultTypes: ["violations"] });
    out.faults = found.violations.map((v) => `${v.id}: ` + v.nodes.slice(0, 3).map((n) => n.html.slice(0, 160) + " " + (n.any[0]?.message ?? "")).join(" | "));
  }
  return out;
}
""".replace("TEXTS", TEXTS)


@dataclass
class Walk:
    """One page that goes everywhere. `faults` is what was wrong, by the place; `seen` how many stops there were."""

    page: Page
    names: frozenset[str] | None = frozenset()
    """Texts that are names here, and may be English; None: any text may be one."""
    faults: dict[str, list[str]] = field(default_factory=dict)
    seen: int = 0
    looked: Counter[str] = field(default_factory=Counter)
    began: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self.page.wait_for_selector("#main h1")
        self.page.evaluate(AXE.read_text())  # as the debugger does: the page's policy lets no script in
        self.page.on("console", self._said)
        self.path = ""

    def _said(self, message: ConsoleMessage) -> None:
        """What the browser complains of; a refusal that is expected is told by the page, and by the browser too."""
        if message.type == "error" and "Simulated machines have no screen" not in message.text:
            self._wrong(f"console: {message.text[:300]}")

    def _wrong(self, what: str) -> None:
        self.faults.setdefault(self.path, []).append(what)

    def visit(self, path: str, *, tab: int | None = None, axe: bool = True, whole: bool = False, alerts: bool = False) -> dict[str, Any]:
        """Go there and look. `alerts`: something there may say that something is wrong."""
        self.path = path if tab is None else f"{path} tab {tab}"
        asked: dict[str, Any] = {"path": path, "axeOn": axe, "wholePage": whole}
        told: dict[str, Any] = self.page.evaluate(WALK, asked if tab is None else {**asked, "tab": tab})
        self.seen += 1
        if told["late"]:
            self._wrong("does not come to rest")
        if told["wide"]:
            self._wrong("wider than the screen")
        if alerts:
            self.faults.pop(self.path, None)
        elif told["alerts"]:
            self._wrong(f"says: {told['alerts']}")
        for fault in told["faults"]:
            self._wrong(fault)
        for text in [] if self.names is None else english([t for t in told["texts"] if t not in self.names]):
            self._wrong(f"English: {text!r}")
        for link in told["every"]:
            if not link.startswith(("http://127.0.0.1", "http://localhost", "blob:")):
                self._wrong(f"a link to {link[:80]}")
        return told

    def thing(self, path: str, *, tabs: bool = True, axe: bool = True) -> None:
        """The page of one thing with all its tabs; axe looks at each kind of tab a few times only."""
        told = self.visit(path, axe=axe)
        for number, label in enumerate(told["tabs"][1:] if tabs else [], 1):
            self.looked[label] += 1
            self.visit(path, tab=number, axe=axe and self.looked[label] <= 2)

    def done(self) -> None:
        """Say how far it went; nothing was wrong."""
        took = time.monotonic() - self.began
        print(f"\n{self.seen} stops in {took:.0f} s, {took / max(1, self.seen) * 1000:.0f} ms each")
        assert not self.faults, json.dumps(self.faults, ensure_ascii=False, indent=1)
