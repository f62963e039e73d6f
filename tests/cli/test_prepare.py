"""Preparing a machine, as far as that can be tried without changing this one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mold.cli import prepare


def test_it_runs_without_any_environment() -> None:
    """-I -S: no site packages, no path of the project; exactly what a fresh machine has."""
    asked = subprocess.run(
        [sys.executable, "-I", "-S", prepare.__file__, "--check", "host", "test"],
        capture_output=True, text=True, cwd="/", check=False,
    )  # fmt: skip
    assert asked.returncode in (0, 1), asked.stderr
    assert asked.stdout


def test_an_unknown_role_is_refused() -> None:
    with pytest.raises(prepare.NotPrepared, match="roles are: manager, host, test"):
        prepare.missing("toaster")


def fake_programs(folder: Path, monkeypatch: pytest.MonkeyPatch, **scripts: str) -> Path:
    """Stand-ins for dpkg-query and apt-get that know one folder of installed packages, and write down their calls."""
    for name, text in scripts.items():
        program = folder / name.replace("_", "-")
        program.write_text(f'#!/bin/sh\necho "{program.name} $*" >>{folder}/calls\n{text}\n')
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return folder / "calls"


NOTHING_INSTALLED = "exit 1"
INSTALLED_IF_MARKED = 'cd "$(dirname "$0")"; [ -e done ] && for p; do echo "$p installed"; done; exit 0'


def test_only_root_installs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = fake_programs(tmp_path, monkeypatch, dpkg_query=NOTHING_INSTALLED, apt_get="exit 0")
    monkeypatch.setattr(prepare.os, "geteuid", lambda: 1000)
    with pytest.raises(prepare.NotPrepared, match=r"sudo apt-get install --no-install-recommends postgresql .*chromium"):
        prepare.ensure("test")
    assert "apt-get" not in calls.read_text()


def test_old_package_lists_are_refreshed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    apt_get = 'cd "$(dirname "$0")"; case "$*" in *update*) : >fresh ;; *install*) [ -e fresh ] && : >done ;; esac'
    calls = fake_programs(tmp_path, monkeypatch, dpkg_query=INSTALLED_IF_MARKED, apt_get=apt_get)
    monkeypatch.setattr(prepare.os, "geteuid", lambda: 0)
    assert prepare.ensure("test") == list(prepare.packages_for("test"))
    verbs = [word for line in calls.read_text().splitlines() for word in line.split() if word in ("install", "update")]
    assert verbs == ["install", "update", "install"]
    assert prepare.ensure("test") == []


def test_a_failing_apt_get_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_programs(tmp_path, monkeypatch, dpkg_query=NOTHING_INSTALLED, apt_get="exit 100")
    monkeypatch.setattr(prepare.os, "geteuid", lambda: 0)
    with pytest.raises(prepare.NotPrepared, match="apt-get ended with 100"):
        prepare.ensure("test")


@pytest.mark.host
def test_libvirt_answers(libvirtd: str) -> None:
    asked = subprocess.run(["virsh", "-c", libvirtd, "version"], capture_output=True, text=True, check=True)
    assert "QEMU" in asked.stdout
    prepare.ensure_libvirtd()  # a second call finds it and does nothing
