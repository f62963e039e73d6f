"""The helpers of `mold dev`, and rules over all commands that they stand on."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from mold.api.command import COMMANDS
from mold.server import dev
from mold.server.app import load


def test_everything_is_described() -> None:
    load()
    assert dev.undescribed() == []


def test_parameters_of_higher_floors_are_found() -> None:
    load()
    loose = [f"{c.name} {p.name}" for c in COMMANDS.values() for p in c.params.values() if p.of and p.resource is None]
    assert loose == []


HARMLESS = {
    "showicon": "there are no icons",
    "listall": "offerings and routers belong to no account",
    "acltype": "one value only, checked",
    "clustertype": "one value only, checked",
    "fetchlatest": "nothing is cached",
    "details": "templates have one set of fields",
    "forced": "a router is always made anew without being asked",
}
"""Parameters that may be declared and not looked at, and why nothing is lost by that."""
ALIKE = {("listCapabilities", "domainid"), ("listDetailOptions", "resourceid")}
"""Whatever these name (and it is checked that they name something one may see), the answer is the same."""


EMPTY = {"listPortForwardingRules", "listIpForwardingRules"}
"""Lists of what cannot be made yet (see `mold/features/edge/forwarding.py`): empty whatever is asked."""


def test_no_parameter_is_declared_and_ignored() -> None:
    load()
    ignored = []
    for made in COMMANDS.values():
        if made.open or made.name in EMPTY:
            continue
        (tree,) = ast.parse(textwrap.dedent(inspect.getsource(made.source or made.function))).body
        assert isinstance(tree, ast.FunctionDef)
        used = {n.id for part in tree.body for n in ast.walk(part) if isinstance(n, ast.Name)}
        if made.asks is not None:
            used |= {n.id for n in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(made.asks)))) if isinstance(n, ast.Name)}
        names = [a.arg for a in (*tree.args.args, *tree.args.kwonlyargs)][1:]
        ignored += [
            f"{made.name} {n}" for n in names if n not in used and n not in HARMLESS and (made.name, n) not in ALIKE
        ]
    assert ignored == []


def test_why_shows_the_walk(capsys: pytest.CaptureFixture[str]) -> None:
    assert dev.main(["why", "deployvirtualmachine"]) == 0
    text = capsys.readouterr().out
    assert "mold/features/compute/machines/deploy.py" in text
    assert "operation StartVm" in text
    assert "world boot(choose)   undone by unboot" in text
    assert "templateid: uuid, a template that the caller may use (policy Shared)" in text
    assert dev.main(["why", "listClusters"]) == 0
    assert "mold/features/infra/clusters.py" in capsys.readouterr().out
    assert dev.main(["why", "machine"]) == 1
    assert "startVirtualMachine" in capsys.readouterr().err


def test_coverage_tells_working_from_refused_and_tested(tmp_path: Path) -> None:
    load()
    (tmp_path / "test_x.py").write_text('call("listHosts", details="min")\n')
    reference = {
        "listHosts": {"group": "host", "params": [{"name": "details"}, {"name": "hahost"}, {"name": "later"}]},
        "flyToTheMoon": {"group": "moon", "params": []},
    }
    text = dev.coverage(tmp_path, reference)
    (line,) = [x for x in text.splitlines() if x.startswith("| listHosts |")]
    declared, working, tested = (int(n) for n in line.split("|")[2:5])
    assert declared > working > tested == 1
    assert "hahost" in line
    assert "| host | 1 of 1 | 2 of 3 | 1 |" in text
    assert "Groups without a command yet: moon." in text
    assert "listZones (untested)" in text


def test_a_new_noun_passes_the_linter(tmp_path: Path) -> None:
    assert dev.main(["new", "noun", "Bucketry", "--room", "storage", "--root", str(tmp_path)]) == 0
    made = sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*.py"))
    assert made == ["mold/features/storage/bucketries.py", "tests/features/test_bucketries.py"]
    ruff = Path(sys.executable).with_name("ruff")
    config = ["--config", str(dev.ROOT / "pyproject.toml")]
    files = [str(p) for p in tmp_path.rglob("*.py")]
    subprocess.run([ruff, "check", "--no-cache", *config, *files], check=True)
    subprocess.run([ruff, "format", "--no-cache", "--check", *config, *files], check=True)
    assert dev.main(["new", "noun", "bucketry", "--room", "storage", "--root", str(tmp_path)]) == 1
    assert dev.main(["new", "noun", "no good", "--room", "storage", "--root", str(tmp_path)]) == 1
