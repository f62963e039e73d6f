"""Every page of the console there is, for the operator who may do everything: lists, things with their tabs, forms."""

from __future__ import annotations

import re
from typing import Any

import pytest
from browserkit import PHONE, ROOT, window
from clouds import Running
from clouds import running_here as running  # noqa: F401
from furnished import FREE, Furniture, admin_of
from playwright.sync_api import Browser
from test_app import KOREAN, shot, state, url  # noqa: F401
from walkkit import Walk

pytestmark = pytest.mark.browser
UNREADY = {"ldapusers"}
"""Lists that say what must be configured first."""


@pytest.fixture(scope="module")
def furniture(running: Running) -> Furniture:  # noqa: F811
    """One of every noun, with calm names."""
    made = Furniture(admin_of(running), lambda noun: f"hello {noun}")
    made.all()
    assert made.made == FREE, FREE ^ made.made
    return made


def slugs(walk: Walk) -> tuple[list[str], list[str]]:
    """The addresses of all lists, and of all forms."""
    of_nouns = [a.partition("/client/")[2] for a in walk.visit("nouns", whole=True)["every"]]
    of_forms = [a.partition("/client/")[2] for a in walk.visit("commands", whole=True)["every"]]
    lists = sorted({a for a in of_nouns if a and not set("/?#") & set(a)})
    return lists, sorted({a for a in of_forms if a.startswith("commands/")})


def test_every_page(browser: Browser, running: Running, state: Any, furniture: Furniture) -> None:  # noqa: F811
    with window(browser, **KOREAN, reduced_motion="reduce", storage_state=state) as (_, page):
        page.goto(url(running))
        walk = Walk(page)
        lists, forms = slugs(walk)
        assert len(lists) > 60 and len(forms) > 250, (len(lists), len(forms))
        things = 0
        for slug in ["", *lists]:
            told = walk.visit(slug, whole=True, alerts=slug in UNREADY)
            if slug and told["links"]:
                walk.thing(told["links"][0].partition("/client/")[2])
                things += 1
        for form in forms:
            walk.visit(form)
        assert things > 35, things
        walk.done()


def test_every_list_on_a_telephone_in_the_dark(browser: Browser, running: Running, state: Any, furniture: Furniture) -> None:  # noqa: F811
    with window(browser, **PHONE, color_scheme="dark", reduced_motion="reduce", storage_state=state) as (_, page):
        page.goto(url(running))
        walk = Walk(page)
        lists, forms = slugs(walk)
        for slug in lists:
            told = walk.visit(slug, alerts=slug in UNREADY)
            if told["links"]:
                walk.visit(told["links"][0].partition("/client/")[2])
        for form in forms[::8]:
            walk.visit(form)
        shot(page, "everywhere-phone-dark")
        walk.done()


@pytest.mark.parametrize("kind", [{**KOREAN}, {**PHONE, "color_scheme": "dark"}], ids=["desk", "phone-dark"])
def test_every_page_that_is_no_list(browser: Browser, running: Running, state: Any, kind: Any) -> None:  # noqa: F811
    """Wizards, charts, one's own page: what the router names by itself."""
    named = re.findall(r'page\("/([a-z-]*)"', (ROOT / "gui" / "app" / "src" / "router.tsx").read_text())
    assert len(named) > 10
    with window(browser, **kind, reduced_motion="reduce", storage_state=state) as (_, page):
        page.goto(url(running))
        walk = Walk(page)
        for path in [*named, "nothing-of-the-kind"]:
            walk.visit(path, whole=True)
        walk.done()
