"""What all tests share: real PostgreSQL, real libvirt, and a reason for every test that this machine cannot run.

`--database sqlite|postgres` (may be repeated) chooses on which database the tests that take `database_url` or a cloud
run; on PostgreSQL they count as marked `postgres`. Whatever is started here is ended here, by its pid.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import sys
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

sys.path.insert(0, str(Path(__file__).parent))  # cloud.py and the like, whatever folder a test lies in

import private_postgres
from cloud import Blueprint, Cloud, listen_for_canaries

from mold.cli.prepare import NotPrepared, ensure_libvirtd

# A shell that starts the tests in the background has them ignore Ctrl-C, and every program that they start with them.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
# A traceback in a failing test's output is a page, not ten with every local variable.
structlog.configure(
    processors=[
        listen_for_canaries,
        structlog.processors.add_log_level,
        structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback),
    ]
)
HOST_PROGRAMS = ("qemu-system-x86_64", "qemu-img", "libvirtd", "ip", "nft", "dnsmasq")
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--database",
        action="append",
        choices=["sqlite", "postgres"],
        help="run the tests that need a database on this one (default: sqlite; may be repeated)",
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    kinds = metafunc.config.getoption("--database") or ["sqlite"]
    marks = {"postgres": [pytest.mark.postgres]}
    chosen = [pytest.param(kind, marks=marks.get(kind, ()), id=kind) for kind in dict.fromkeys(kinds)]
    if "database_url" in metafunc.fixturenames:
        metafunc.parametrize("database_url", chosen, indirect=True)
    if "blueprint" in metafunc.fixturenames:
        metafunc.parametrize("blueprint", chosen, indirect=True, scope="session")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    obstacles = {"host": host_obstacle(), "postgres": postgres_obstacle(), "browser": browser_obstacle()}
    for item in items:
        for mark, obstacle in obstacles.items():
            if obstacle is not None and item.get_closest_marker(mark) is not None:
                item.add_marker(pytest.mark.skip(reason=f"{mark} tests cannot run here: {obstacle}"))


# ── what this machine cannot do; None where it can ───────────────────────────────────────────────────────────────────


def host_obstacle() -> str | None:
    """Why tests marked `host` cannot run."""
    if os.geteuid() != 0:
        return "they need root"
    absent = [program for program in HOST_PROGRAMS if shutil.which(program) is None]
    return f"not installed: {', '.join(absent)} (make setup installs them)" if absent else None


def postgres_obstacle() -> str | None:
    """Why tests marked `postgres` cannot run."""
    return "PostgreSQL is not installed (make setup installs it)" if private_postgres.programs() is None else None


def browser_obstacle() -> str | None:
    """Why tests marked `browser` cannot run."""
    return None if any(map(shutil.which, CHROMIUM)) else "Chromium is not installed (make setup installs it)"


# ── libvirt ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="session")
def libvirtd() -> str:
    """The URI of the system's libvirt, which answers. It is started where it did not run, and left running."""
    # Several processes of tests may want it at the same moment: one of them starts it.
    with (Path(tempfile.gettempdir()) / "mold-tests-libvirtd.lock").open("w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        try:
            ensure_libvirtd()
        except NotPrepared as refusal:
            pytest.skip(f"host tests cannot run here: {refusal}")
    return "qemu:///system"


# ── databases ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A private PostgreSQL server of this test run: its own folder, its own socket, no TCP port, no fsync.

    The URL ends in the database `postgres`; tests take `database_url`, which gives each its own.
    """
    obstacle = postgres_obstacle()
    if obstacle is not None:
        pytest.skip(f"postgres tests cannot run here: {obstacle}")
    with private_postgres.server(private_postgres.CARELESS) as url:
        yield url


@pytest.fixture
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of an empty database for one test, of the kind that `--database` chose."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'mold.db'}"
        return
    server_url: str = request.getfixturevalue("postgres_url")
    with private_postgres.database(server_url, f"test_{uuid.uuid4().hex}") as url:
        yield url


# ── clouds in memory ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="session")
def blueprint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Blueprint:
    """An installation on the kind of database that `--database` chose; clouds are copies of it."""
    server_url = request.getfixturevalue("postgres_url") if request.param == "postgres" else None
    return Blueprint(tmp_path_factory.mktemp(f"blueprint-{request.param}"), server_url)


@pytest.fixture(scope="module")
def cloud(blueprint: Blueprint, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cloud]:
    """A cloud that the tests of one module share: each makes its own zones and tenants, and leaves settings as they were."""
    made = blueprint.cloud(tmp_path_factory.mktemp("cloud"))
    yield made
    made.stop()


@pytest.fixture
def fresh_cloud(blueprint: Blueprint, tmp_path: Path) -> Iterator[Cloud]:
    """A cloud of the test's own. Not in a module that uses `cloud`: one cloud lives at a time."""
    made = blueprint.cloud(tmp_path)
    yield made
    made.stop()
