"""An empty home, a small cloud, and ways to run the command line against it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from small_cloud import Mold, Ran, SmallCloud

from mold.cli.main import main


@pytest.fixture
def cloud() -> Iterator[SmallCloud]:
    """A fresh small cloud on loopback."""
    small = SmallCloud()
    yield small
    small.close()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home and no MOLD_ variables."""
    for name in list(os.environ):
        if name.startswith(("MOLD_", "_MOLD", "XDG_", "LC_")) or name in ("LANG", "NO_COLOR"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def mold(capsys: pytest.CaptureFixture[str]) -> Mold:
    """Run the command line in this process."""

    def run(*words: str) -> Ran:
        capsys.readouterr()
        code = main(words)
        out, err = capsys.readouterr()
        return Ran(code, out, err)

    return run


@pytest.fixture
def signed(cloud: SmallCloud, monkeypatch: pytest.MonkeyPatch, mold: Mold) -> Mold:
    """Run the command line with an API key of the small cloud."""
    monkeypatch.setenv("MOLD_URL", cloud.url)
    monkeypatch.setenv("MOLD_API_KEY", "KEY-1")
    monkeypatch.setenv("MOLD_SECRET_KEY", cloud.keys["KEY-1"])
    return mold


@pytest.fixture
def program() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the command line as a program of its own."""

    def run(*words: str, **env: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "mold.cli.main", *words]
        return subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=60,
            env=os.environ | env,
            check=False,
            stdin=subprocess.DEVNULL,
        )

    return run
