"""The sources of the pages: the same words in every language, all of them used, and a lock that names no host."""

from __future__ import annotations

import json
import re
from pathlib import Path

GUI = Path(__file__).parents[2] / "gui"
LANGUAGES = {path.stem: json.loads(path.read_text()) for path in (GUI / "words").glob("*.json")}


def test_every_language_has_the_same_words_and_facts() -> None:
    assert set(LANGUAGES) == {"en", "ko"}
    english, korean = LANGUAGES["en"], LANGUAGES["ko"]
    assert list(english) == list(korean), "the same keys in the same order"
    for key, text in english.items():
        assert text.strip() and korean[key].strip(), key
        assert set(re.findall(r"\{\w+\}", text)) == set(re.findall(r"\{\w+\}", korean[key])), key
        assert not re.search("[가-힣]", text.replace("한/영", "")), key
        assert re.search("[가-힣]", korean[key]), key


def test_every_word_is_used_and_every_used_word_is_there() -> None:
    script, page = (GUI / "console" / "console.js").read_text(), (GUI / "console" / "vnc.html").read_text()
    used = set(re.findall(r'\bword\(["`]([\w.]+)["`]', script)) | set(
        re.findall(r'data-(?:word|label)="([\w.]+)"', page)
    )
    used |= set(re.findall(r'alive \? "([\w.]+)" : "([\w.]+)"', script)[0])
    kinds = re.findall(r'"(refused|gone|failed|broken)"', script)
    assert len(set(kinds)) == 4
    used |= {f"ended.{kind}{end}" for kind in kinds for end in ("", ".why")}
    assert {f"console.{word}" for word in used} == set(LANGUAGES["en"])


def test_the_page_holds_no_script_and_no_style() -> None:
    page = (GUI / "console" / "vnc.html").read_text()
    assert re.findall(r"<script[^>]*>", page) == ['<script type="module" src="console.js">']
    assert "style=" not in page and "<style" not in page and not re.search(r"\son\w+=", page)
    assert "innerHTML" not in (GUI / "console" / "console.js").read_text()


def test_the_lock_names_hashes_and_no_host() -> None:
    text = (GUI / "package-lock.json").read_text()
    assert "://" not in text and '"resolved"' not in text
    packages = {name: about for name, about in json.loads(text)["packages"].items() if name}
    assert packages and all(about["integrity"].startswith("sha512-") for about in packages.values())
    version = packages["node_modules/@novnc/novnc"]["version"]
    assert f'"./novnc-{version}/core/rfb.js"' in (GUI / "console" / "console.js").read_text()
