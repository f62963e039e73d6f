"""The agent's life: read the settings, probe the host, keep the link, end when told. Guests outlive it.

Every module of this folder is imported at the start, so that the functions in it that answer calls are known.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib
import os
import pkgutil
import signal
import sys
from pathlib import Path

import structlog

from mold import agent
from mold.agent import config, facts, identity, pools, routers, segments
from mold.agent.here import Here
from mold.agent.link import Link
from mold.agent.serve import HANDLERS, Desk
from mold.agent.virt import Virt
from mold.base.errors import Refusal

log = structlog.get_logger()


def gather_handlers() -> None:
    """Import every room of the agent; what answers a call registers itself."""
    for room in pkgutil.iter_modules(agent.__path__):
        if room.name not in ("__main__", "main"):
            importlib.import_module(f"mold.agent.{room.name}")


def prepare(folder: Path) -> Here:
    """An agent with the settings in `folder`, its own folders made. Invalid says what is wrong with the settings."""
    settings = config.load(folder)
    identity.settle(settings)
    pools.OWN = settings.guid[:8]
    # QEMU runs as another user and must pass through to its sockets, but nobody looks around.
    settings.data.mkdir(mode=0o711, parents=True, exist_ok=True)
    settings.run.mkdir(mode=0o711, exist_ok=True)
    return Here(settings=settings, virt=Virt(settings.uri))


async def run(config_dir: str | Path) -> None:
    """Serve until SIGTERM, SIGINT or a manager's dismissal."""
    gather_handlers()
    here = prepare(Path(config_dir))
    link = Link(here, Desk(here), facts.Reporter(here))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, link.stop)
    log.info("agent starts", guid=here.settings.guid, name=here.settings.name, pid=os.getpid(), calls=len(HANDLERS))
    if not here.settings.managers:
        log.warning("no managers", text=f"host= in {config_dir}/{config.FILE} is empty; name a manager there.")
    routers.DATA = here.settings.data
    routers.INSTANCE = here.settings.words.get("instance", "")
    segments.DEFAULT_LABEL = here.settings.words.get("guest.network.device", "")
    await routers.resume()
    watching = asyncio.create_task(routers.watch())
    try:
        told = await link.unless_stopped(facts.gather(here))
        if told is not None:
            log.info("host", domain_type=told.domain_type, hypervisor=told.hypervisor_version, problems=told.problems)
        await link.run()
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        await here.close()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
    log.info("agent ends", dismissed=here.dismissed)


def set_up(folder: Path, managers: list[str]) -> str:
    """Write the managers' addresses and make a key; a signing request (PEM) whose certificate is to come as host.crt.next.

    The key never leaves this machine. With `host.crt.next` and `ca.crt.next` beside it the next start takes all three.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    config.keep_managers(folder, managers)
    return identity.fresh_request(config.load(folder))


def set_up_logs() -> None:
    """One JSON object per line, on standard error."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.StackInfoRenderer(),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


def main(argv: list[str] | None = None) -> int:
    """`mold agent [--config DIR]`; 0 after a clean end, 2 when the settings are wrong."""
    parser = argparse.ArgumentParser(prog="mold agent", description="Serve this host to a Mold cloud.")
    parser.add_argument("--config", default=config.DEFAULT_FOLDER, help="folder with agent.properties and certificates")
    parser.add_argument(
        "--set-up",
        metavar="MANAGERS",
        help="write the managers' addresses (host:port, with commas between), make a key, print a signing request, and end",
    )
    words = parser.parse_args(argv)
    set_up_logs()
    try:
        if words.set_up is not None:
            sys.stdout.write(set_up(Path(words.config), words.set_up.split(",")))
            return 0
        with contextlib.suppress(KeyboardInterrupt), asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(run(words.config))
    except Refusal as no:
        log.error("agent cannot start", error=no.text)  # noqa: TRY400 - a refusal says all there is to say
        return 2
    return 0


def _loop_factory() -> type[asyncio.AbstractEventLoop] | None:
    """uvloop where it is installed."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.Loop
