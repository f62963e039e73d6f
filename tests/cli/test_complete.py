"""Completion: what is offered, and that real shells offer it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from small_cloud import Mold, SmallCloud, uid

from mold.cli.complete import Source, candidates, source_of, split


@pytest.fixture
def source(cloud: SmallCloud, signed: Mold) -> Source:
    """The small cloud as completion knows it after a first call."""
    assert signed("sync").code == 0
    cloud.seen.clear()
    return source_of({})


def offered(source: Source, line: str) -> list[str]:
    return candidates(*split(line), source)


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("mold v", ["version", "vm"]),
        ("mold vm st", ["start", "stop"]),
        ("mold vm mig", []),  # the server has no such command
        ("mold vm create --im", ["--image"]),
        ("mold vm create --stop", ["--stopped"]),
        ("mold vm create web --image ", ["Debian 12"]),
        ("mold vm create web --offering sm", ["small", "smaller"]),
        ("mold vm start ", ["twin", "web1"]),
        ("mold vm start web1 t", ["twin"]),
        ("mold -o json vm list --zone b", ["busan"]),
        ("mold vm create ", []),  # a name of one's own
        ("mold lis", ["list"]),
        ("mold list zo", ["zones"]),
        ("mold start virtualmachine ", ["id="]),
        ("mold start virtualmachine id=w", ["id=web1"]),
        ("mold list zones available=t", ["available=true"]),
        ("mold --outp", ["--output"]),
        ("mold api listZ", ["listZones"]),
        ("mold profile u", ["use"]),
        ("mold tag add vo", ["volume"]),
        ("mold completion z", ["zsh"]),
    ],
)
def test_what_is_offered(source: Source, line: str, found: list[str]) -> None:
    assert offered(source, line) == found


def test_names_are_asked_for_once_a_minute(cloud: SmallCloud, source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    assert offered(source, "mold vm start ") == ["twin", "web1"]
    cloud.machines.append({"id": uid("new"), "name": "new", "state": "Running", "zonename": "seoul"})
    assert "new" not in offered(source, "mold vm start ")
    assert len(cloud.calls("listVirtualMachines")) == 1
    soon = time.time() + 61
    monkeypatch.setattr(time, "time", lambda: soon)
    assert "new" in offered(source, "mold vm start ")


def test_a_server_that_says_no_offers_nothing(
    cloud: SmallCloud, source: Source, capsys: pytest.CaptureFixture[str]
) -> None:
    cloud.keys.clear()
    assert offered(source, "mold vm start ") == []
    assert capsys.readouterr() == ("", "")


def test_without_a_server_there_are_the_built_in_words(mold: Mold) -> None:
    assert offered(Source(None, None), "mold prof") == ["profile"]
    assert offered(Source(None, None), "mold vm sta") == ["start"]


@pytest.fixture
def program_on_path(cloud: SmallCloud, signed: Mold, home: Path) -> dict[str, str]:
    """An environment in which a shell finds `mold`."""
    signed("sync")
    (home / "mold").write_text(f'#!/bin/sh\nexec {sys.executable} -m mold.cli.main "$@"\n')
    (home / "mold").chmod(0o755)
    return os.environ | {"PATH": f"{home}:{os.environ['PATH']}"}


def test_a_real_bash(program_on_path: dict[str, str]) -> None:
    """bash breaks words at `=`: what stands before it is not repeated; a name with a space arrives escaped."""
    script = """
    source <(mold completion bash)
    ask() { COMP_LINE="$1"; COMP_POINT=${#1}; COMPREPLY=(); _mold_completion; printf '[%s]' "${COMPREPLY[@]}"; echo; }
    ask 'mold vm sta'; ask 'mold vm create --image '; ask 'mold list zones available=t'; ask 'mold vm create --image Debian\\ '
    ask 'mold -o json vm start tw'
    """
    done = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, timeout=60, check=True, env=program_on_path
    )
    assert done.stdout.splitlines() == ["[start ]", "[Debian\\ 12 ]", "[true ]", "[Debian\\ 12 ]", "[twin ]"]


@pytest.mark.skipif(shutil.which("fish") is None, reason="fish is not installed")
def test_a_real_fish(program_on_path: dict[str, str]) -> None:
    script = "mold completion fish | source; complete -C 'mold vm sta'; complete -C 'mold vm start t'"
    done = subprocess.run(
        ["fish", "-c", script], capture_output=True, text=True, timeout=60, check=True, env=program_on_path
    )
    assert done.stdout.split() == ["start", "twin"]


@pytest.mark.skipif(shutil.which("zsh") is None, reason="zsh is not installed")
def test_a_real_zsh(program_on_path: dict[str, str], home: Path) -> None:
    """zsh loads the script; what it would offer is seen by standing in for `compadd`."""
    (home / "_mold").write_text(
        subprocess.run(
            ["mold", "completion", "zsh"], capture_output=True, text=True, env=program_on_path, check=True
        ).stdout
    )
    script = """
    autoload -U compinit; compinit -u -D; source _mold
    compadd() { [[ $1 = -S ]] && shift 2; shift; print -rl -- "$@" }
    _files() { print files }
    words=(mold vm sta); CURRENT=3; _mold; words=(mold start virtualmachine ''); CURRENT=4; _mold
    """
    done = subprocess.run(
        ["zsh", "-fc", script], capture_output=True, text=True, timeout=60, check=True, env=program_on_path
    )
    assert done.stdout.split() == ["start", "id="], done.stderr


def test_a_shell_that_nobody_knows(mold: Mold) -> None:
    assert mold("completion", "tcsh").code == 2
