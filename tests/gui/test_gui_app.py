"""The web console's own tests (gui/app/test), run over the model that this server publishes; and how large it is."""

from __future__ import annotations

import gzip
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from mold.api.command import COMMANDS
from mold.api.model import _brief, describe
from mold.api.permit import Caller, RoleType
from mold.server.app import load

ROOT = Path(__file__).parents[2]
APP = ROOT / "mold" / "gui" / "static" / "app"
load()


@pytest.mark.skipif(not (ROOT / "gui" / "node_modules").exists(), reason="the pages are not built here: make gui")
def test_the_app(tmp_path: Path) -> None:
    root = Caller("", "", "", "", "", "", RoleType.ADMIN, internal=True)
    model = tmp_path / "model.json"
    model.write_text(json.dumps([_brief(describe(made, root)) for made in COMMANDS.values() if made.listed]))
    ended = subprocess.run(
        [sys.executable, ROOT / "tools" / "gui.py", "test"],
        env={**os.environ, "MOLD_MODEL": str(model), "NO_COLOR": "1", "CI": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ended.returncode == 0, f"{ended.stdout}\n{ended.stderr}"


@pytest.mark.skipif(not APP.exists(), reason="the pages are not built here: make gui")
def test_the_build_is_small_and_whole() -> None:
    sizes = json.loads((APP / "sizes.json").read_text())
    assert 100_000 < sizes["first"] <= 320 * 1024, "compressed bytes of the first page with a list"
    assert sizes["parts"] and max(sizes["parts"].values()) <= 90 * 1024
    for file in APP.rglob("*"):
        if file.suffix in {".js", ".css", ".html", ".svg"}:
            assert gzip.decompress(file.with_name(f"{file.name}.gz").read_bytes()) == file.read_bytes(), file.name
    page = (APP / "index.html").read_text()
    assert not re.search(r"<script(?![^>]*src=)[^>]*>|<style|\son\w+=|https?://", page), "nothing inline, nothing foreign"
    licences = (APP / "THIRD_PARTY.txt").read_text()
    for name in ("react", "@mantine/core", "@tanstack/react-query", "es-hangul", "@novnc/novnc"):
        assert f"{name} " in licences
