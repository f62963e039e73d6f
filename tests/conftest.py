"""What all tests share: real PostgreSQL, real libvirt, and a reason for every test that this machine cannot run.

`--database sqlite|postgres` (may be repeated) chooses on which database the tests that take `database_url` or a cloud
run; on PostgreSQL they count as marked `postgres`. Whatever is started here is ended here, by its pid.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import structlog

sys.path.insert(0, str(Path(__file__).parent))  # cloud.py and signing.py, whatever folder a test lies in

from cloud import Blueprint, Cloud

from mold.cli.prepare import NotPrepared, ensure_libvirtd

# A traceback in a failing test's output is a page, not ten with every local variable.
structlog.configure(
    processors=[
        structlog.processors.add_log_level,
        structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback),
    ]
)
HOST_PROGRAMS = ("qemu-system-x86_64", "qemu-img", "libvirtd", "ip", "nft", "dnsmasq")
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
POSTGRES_START_SECONDS = 60.0


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
    return "PostgreSQL is not installed (make setup installs it)" if postgres_programs() is None else None


def browser_obstacle() -> str | None:
    """Why tests marked `browser` cannot run."""
    return None if any(map(shutil.which, CHROMIUM)) else "Chromium is not installed (make setup installs it)"


def postgres_programs() -> Path | None:
    """The folder of the newest PostgreSQL's server programs; Debian keeps them off the PATH."""
    if (on_path := shutil.which("initdb")) is not None:
        return Path(on_path).parent
    versions = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    return max(versions, key=lambda folder: int(folder.parent.name), default=None)


# ── libvirt ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="session")
def libvirtd() -> str:
    """The URI of the system's libvirt, which answers. It is started where it did not run, and left running."""
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
    programs = postgres_programs()
    if programs is None:
        pytest.skip(f"postgres tests cannot run here: {postgres_obstacle()}")
    # Not pytest's tmp_path: only its owner may enter that, and the server runs as another user.
    folder = Path(tempfile.mkdtemp(prefix="mold-postgres-"))
    user: list[str] = []
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", "--"]
        shutil.chown(folder, "postgres", "postgres")
    data, log = folder / "data", folder / "server.log"
    options = {"listen_addresses": "", "unix_socket_directories": str(folder), "fsync": "off", "max_connections": "200",
               "synchronous_commit": "off", "full_page_writes": "off", "shared_buffers": "64MB"}  # fmt: skip
    settings = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
    server: subprocess.Popen[bytes] | None = None
    try:
        subprocess.run(
            [*user, programs / "initdb", "-D", data, "-U", "mold", "--auth=trust", "--encoding=UTF8", "--no-locale",
             "--no-sync"], check=True, capture_output=True, cwd=folder,
        )  # fmt: skip
        with log.open("wb") as output:
            # setpriv becomes the server, so the pid is the server's own.
            server = subprocess.Popen(
                [*user, programs / "postgres", "-D", data, *settings], stdout=output, stderr=output, cwd=folder
            )
        url = f"postgresql://mold@/postgres?host={folder}"
        _wait_for_postgres(url, server, log)
        yield url
    finally:
        if server is not None and server.poll() is None:
            server.send_signal(signal.SIGINT)  # "fast": connections are cut, the server ends cleanly
            try:
                server.wait(30)
            except subprocess.TimeoutExpired:
                server.send_signal(signal.SIGQUIT)
                server.wait(30)
        shutil.rmtree(folder)


def _wait_for_postgres(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + POSTGRES_START_SECONDS
    while True:
        try:
            psycopg.connect(url).close()
            return
        except psycopg.OperationalError:
            if server.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"PostgreSQL did not start:\n{log.read_text()}") from None
            time.sleep(0.05)


@pytest.fixture
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of an empty database for one test, of the kind that `--database` chose."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'mold.db'}"
        return
    server_url: str = request.getfixturevalue("postgres_url")
    name = f"test_{uuid.uuid4().hex}"
    with psycopg.connect(server_url, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name}")
        yield server_url.replace("/postgres?", f"/{name}?")
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


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
