"""The sources of the pages: the same words in every language, all of them used, and a lock that names no host."""

from __future__ import annotations

import json
import re
from pathlib import Path

GUI = Path(__file__).parents[2] / "gui"
LANGUAGES = {name: json.loads((GUI / "words" / f"{name}.json").read_text()) for name in ("en", "ko")}


def facts(text: str) -> set[str]:
    """The facts that a sentence takes; in Korean with the particle that follows: {name|을/를}."""
    return set(re.findall(r"\{(\w+)(?:\|[^}]+)?\}", text))


def test_every_language_has_the_same_words_and_facts() -> None:
    english, korean = LANGUAGES["en"], LANGUAGES["ko"]
    assert list(english) == list(korean), "the same keys in the same order"
    for key, text in english.items():
        assert text.strip() and korean[key].strip(), key
        assert facts(text) == facts(korean[key]), key
        assert not re.search("[가-힣]", text.replace("한/영", "")), key
        assert re.search("[가-힣]", korean[key]) or korean[key] == text, key


def test_every_name_is_there_in_both_languages() -> None:
    glossary = json.loads((GUI / "words" / "glossary.json").read_text())
    assert set(glossary) == {"verbs", "words", "nouns", "fields", "commands", "states"}
    for table in glossary.values():
        for key, entry in table.items():
            both = entry if isinstance(entry, list) else [key, entry]
            assert len(both) == 2 and (all(both) or not any(both)), key
            assert not re.search("[가-힣]", both[0]), key


def test_every_word_is_used_and_every_used_word_is_there() -> None:
    script, page = (GUI / "console" / "console.js").read_text(), (GUI / "console" / "vnc.html").read_text()
    used = set(re.findall(r'\bword\(["`]([\w.]+)["`]', script)) | set(
        re.findall(r'data-(?:word|label)="([\w.]+)"', page)
    )
    used |= set(re.findall(r'alive \? "([\w.]+)" : "([\w.]+)"', script)[0])
    kinds = re.findall(r'"(refused|gone|failed|broken)"', script)
    assert len(set(kinds)) == 4
    used |= {f"ended.{kind}{end}" for kind in kinds for end in ("", ".why")}
    app = "\n".join(p.read_text() for p in (GUI / "app" / "src").rglob("*.ts*"))
    used |= {word for word in re.findall(r'"console\.(\w+)"', app) if f"console.{word}" in LANGUAGES["en"]}
    assert {f"console.{word}" for word in used} == {key for key in LANGUAGES["en"] if key.startswith("console.")}


def test_every_sentence_of_the_app_is_used() -> None:
    sources = "\n".join(p.read_text() for p in (GUI / "app" / "src").rglob("*.ts*"))
    # Keys that are put together: the page of a section, a fault by its name, a reason by its code.
    made = re.compile(r"^(console|nav|fault|reason|about|capacity|job\.status|palette|help|setup|limit|unit|once|upload|signin\.refused|keys\.state|value|network\.kind|templates|usage\.type)\.")
    unused = [key for key in LANGUAGES["en"] if not made.match(key) and f'"{key}"' not in sources]
    assert unused == []


def test_the_page_holds_no_script_and_no_style() -> None:
    page = (GUI / "console" / "vnc.html").read_text()
    assert re.findall(r"<script[^>]*>", page) == ['<script type="module" src="console.js">']
    assert "style=" not in page and "<style" not in page and not re.search(r"\son\w+=", page)
    assert "innerHTML" not in (GUI / "console" / "console.js").read_text()


def test_the_lock_names_hashes_and_no_host() -> None:
    text = (GUI / "package-lock.json").read_text()
    assert not re.search(r'"resolved"|registry|npmjs', text)
    # What is left are the pages where authors ask for money.
    assert set(re.findall(r'"(\w+)": "\w+://', text)) <= {"url", "funding"}
    packages = {name: about for name, about in json.loads(text)["packages"].items() if name}
    assert packages and all(about["integrity"].startswith("sha512-") for about in packages.values())
    version = packages["node_modules/@novnc/novnc"]["version"]
    assert f'"./novnc-{version}/core/rfb.js"' in (GUI / "console" / "console.js").read_text()
