"""Names that mean harm, on everything that has a name: nothing of them runs, and nothing comes apart."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from browserkit import PHONE, window
from clouds import Running
from clouds import running_here as running  # noqa: F401
from furnished import FREE, Furniture, admin_of
from playwright.sync_api import Browser, BrowserContext, Page, expect
from test_app import KOREAN, shot, state, url  # noqa: F401
from walkkit import Walk

pytestmark = pytest.mark.browser
RUNS = "window.ran=(window.ran||0)+1"
NAMES = (
    f"\"'><img src=x onerror={RUNS}><svg onload={RUNS}><script>{RUNS}</script>",
    f"' onmouseover='{RUNS}' autofocus onfocus='{RUNS}' x=\"",
    f"javascript:{RUNS}//{{{{constructor.constructor('{RUNS}')()}}}}${{{RUNS}}}<% {RUNS} %>",
    "=HYPERLINK(\"http://evil.invalid\",\"x\")-->]]></style></textarea><b>두껍게</b>&lt;i&gt;&#x3c;i>",
    "\u202egnp.exe\u2066 \u200f거꾸로\u200e",
    "W" * 120 + "\u1100\u1161\u11a8" * 30,
)  # fmt: skip
HOSTILE = re.compile("onerror|onmouseover|javascript:|HYPERLINK|gnp|WWWW")
NOTE = """
window.complaints = [];
document.addEventListener("securitypolicyviolation", (e) => window.complaints.push(e.violatedDirective + " " + e.blockedURI + " " + e.sample));
"""


@pytest.fixture(scope="module")
def furniture(running: Running) -> list[Furniture]:  # noqa: F811
    """One of everything with each name."""
    all_of_it = []
    for number, name in enumerate(NAMES):
        made = Furniture(admin_of(running), lambda noun, name=name: name)  # type: ignore[misc]
        made.all(number)
        assert made.made | set(made.refused) == FREE
        assert set(made.refused) <= {"domain"}, made.refused  # a domain's name is part of a path
        all_of_it.append(made)
    return all_of_it


def watched(context: BrowserContext) -> None:
    """Every page notes what its policy had to stop, and no dialog may open."""
    context.add_init_script(NOTE)
    context.on("dialog", lambda dialog: pytest.fail(f"a dialog: {dialog.message}"))


def unharmed(page: Page, where: str) -> None:
    """Nothing ran, nothing was stopped on its way either: it never was more than text."""
    told: dict[str, Any] = page.evaluate(
        """() => ({
          ran: window.ran ?? 0,
          complaints: window.complaints,
          made: [...document.querySelectorAll("#root img, #root svg[onload], script:not([src]), [onerror], [onmouseover], b, i")]
            .filter((e) => e.getAttribute("src") !== "/client/icon.svg").map((e) => e.outerHTML.slice(0, 80)),
          turned: [...document.querySelectorAll("[role=dialog], .mantine-Notification-root")].some((e) => /[\\u202a-\\u202e\\u2066-\\u2069]/.test(e.innerText)),
        })"""
    )
    assert told == {"ran": 0, "complaints": [], "made": [], "turned": False}, (where, told)


@pytest.mark.parametrize("kind", ["desk", "phone"])
def test_nothing_of_a_name_runs(browser: Browser, running: Running, state: Any, furniture: Any, kind: str) -> None:  # noqa: F811
    how = KOREAN if kind == "desk" else PHONE
    with window(browser, **how, reduced_motion="reduce", storage_state=state) as (context, page):
        watched(context)
        page.goto(url(running))
        walk = Walk(page, names=None)
        told = walk.visit("nouns")
        lists = sorted({a.partition("/client/")[2] for a in told["every"] if re.search(r"/client/[a-z]+$", a)})
        assert len(lists) > 60
        visited = 0
        for slug in lists:
            found = walk.visit(slug, axe=False, alerts=slug == "ldapusers")
            unharmed(page, slug)
            meant = [link for link, called in zip(found["links"], found["called"], strict=True) if HOSTILE.search(called)]
            visited += len(meant)
            # What is called so; of what is known by another name the first, since it is told there what that is part of.
            for number, link in enumerate(meant or found["links"][:1]):
                walk.thing(link.partition("/client/")[2], tabs=kind == "desk" and number < 2, axe=False)
                unharmed(page, link)
        assert visited >= 15 * len(NAMES), visited
        walk.done()


@pytest.mark.parametrize("number", range(len(NAMES)))
def test_dialogs_messages_and_what_is_found(browser: Browser, running: Running, state: Any, furniture: Any, number: int) -> None:  # noqa: F811
    """Search, export, the question, the message of the end, the tray, the list of what is done to many, the palette."""
    name = NAMES[number]
    machine = furniture[number].vm
    with window(browser, **KOREAN, reduced_motion="reduce", storage_state=state) as (context, page):
        watched(context)
        page.set_default_timeout(15_000)
        page.goto(url(running, "virtualmachines"))
        search = page.get_by_label("가상머신 검색")
        search.fill(name[:60])
        page.keyboard.press("Enter")
        expect(page.get_by_role("table", name="가상머신")).to_have_attribute("aria-rowcount", "2")
        unharmed(page, "search")
        page.reload()  # the search lies in the address
        expect(page.get_by_role("table", name="가상머신")).to_have_attribute("aria-rowcount", "2")
        with page.expect_download() as saved:
            page.get_by_role("button", name="CSV로 저장").click()
        cells = re.findall(r'(?:^|,)"((?:[^"]|"")*)"', Path(saved.value.path()).read_text().splitlines()[1])
        assert cells and not any(re.match(r"[=+\-@]", cell) for cell in cells), cells
        page.locator("#main [role=row] input[type=checkbox]").nth(1).click()
        page.get_by_role("region", name="1개 선택함").get_by_role("button", name="시작", exact=True).click()
        dialog = page.get_by_role("dialog")
        expect(dialog).to_be_visible()
        unharmed(page, "question from the list")
        page.keyboard.press("Escape")

        page.goto(url(running, f"virtualmachines/{machine}"))
        page.get_by_role("button", name="시작", exact=True).click()
        expect(dialog).to_be_visible()
        unharmed(page, "question")
        dialog.get_by_role("button", name="명령어로 보기").click()
        dialog.get_by_role("button", name="시작", exact=True).click()
        expect(page.locator(".mantine-Notification-root")).to_be_visible(timeout=60_000)
        unharmed(page, "message")
        page.get_by_role("button", name=re.compile("^작업")).click()
        expect(page.get_by_role("dialog", name="작업")).to_contain_text("가상머신 시작")
        unharmed(page, "tray")
        shot(page, f"hostile-{number}")
        assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
        page.keyboard.press("Escape")
        page.get_by_role("button", name="더보기").first.click()
        page.get_by_role("menuitem", name=re.compile("^파기")).click()
        expect(dialog.get_by_text("정지되고 목록에서 사라지는 것")).to_be_visible()
        unharmed(page, "destroy")
        page.keyboard.press("Escape")
        page.keyboard.press("Control+k")
        page.get_by_role("textbox", name="페이지와 명령 찾기").fill(name[:60])
        page.wait_for_timeout(300)
        unharmed(page, "palette")
