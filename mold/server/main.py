"""`mold server`: one management server."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import fcntl
import gc
import logging
import os
import signal
import ssl
import sys
from pathlib import Path
from typing import Any

import structlog
import structlog.tracebacks
import uvicorn
from sqlalchemy.exc import OperationalError

from mold.server.app import Manager, Options

log = structlog.get_logger()


def set_up_logs(level: str = "INFO") -> None:
    """Structured logs, one JSON object a line, to standard error."""
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(message)s")
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            # Without local variables: they hold passwords and keys of the request that failed.
            structlog.processors.ExceptionRenderer(structlog.tracebacks.ExceptionDictTransformer(show_locals=False)),
            structlog.processors.JSONRenderer(ensure_ascii=False),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper(), logging.INFO)),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )


def options(argv: list[str]) -> Options:
    """The options on the command line."""
    parser = argparse.ArgumentParser(prog="mold server", description="Runs a management server.")
    parser.add_argument(
        "--data-dir", type=Path, default=Path("data"), help="folder of the installation: key, database, id"
    )
    parser.add_argument(
        "--database", default="", help="sqlite:////path or postgresql://…; default: mold.db in the data folder"
    )
    parser.add_argument("--bind", default="127.0.0.1", help="address to listen on for HTTP")
    parser.add_argument("--port", type=int, default=8080, help="port for HTTP")
    parser.add_argument(
        "--https-port", type=int, default=0, help="port for HTTPS, on the address of --bind; 0: none"
    )
    parser.add_argument("--agent-bind", default="127.0.0.1", help="address to listen on for agents")
    parser.add_argument("--agent-port", type=int, default=8250, help="port for agents")
    parser.add_argument(
        "--advertise", default="127.0.0.1", help="address at which agents and other managers reach this one"
    )
    parser.add_argument(
        "--integration-port",
        type=int,
        help="port without sign-in, on loopback only; 0: none; default: what the setting integration.api.port says",
    )
    given = parser.parse_args(argv)
    return Options(
        data=given.data_dir.resolve(),
        database=given.database,
        bind=given.bind,
        port=given.port,
        https_port=given.https_port,
        agent_bind=given.agent_bind,
        agent_port=given.agent_port,
        advertise=given.advertise,
        integration_port=given.integration_port,
        admin_password=os.environ.get("MOLD_ADMIN_PASSWORD", ""),
    )


@contextlib.contextmanager
def sole(folder: Path) -> Any:
    """One process owns a data folder at a time."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "manager.lock").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SystemExit(
                f"Another management server already runs on {folder}; stop it, or choose another --data-dir."
            ) from None
        yield


async def run(chosen: Options) -> int:
    """Serve until a signal comes."""
    from mold.features.identity.signin import INTEGRATION_PORT
    from mold.server.http import application, integration

    try:
        manager = Manager(chosen)
        await manager.start()
    except OperationalError as broken:
        why = str(broken.orig).strip().splitlines()[0]
        log.error(  # noqa: TRY400 - the sentence says all there is to say
            "cannot start", text=f"The database does not answer: {why}. Check --database and the server behind it."
        )
        return 1
    except OSError as broken:
        log.error(  # noqa: TRY400 - the sentence says all there is to say
            "cannot start", text=f"The agent port {chosen.agent_port} or the data folder cannot be used: {broken}."
        )
        return 1
    servers = [uvicorn.Server(_config(application(manager), chosen.bind, chosen.port))]
    secure: asyncio.Task[None] | None = None
    if chosen.https_port > 0:
        from mold.server.secure import Secure

        https = Secure(manager.engine, chosen.advertise)
        await https.look()
        servers.append(uvicorn.Server(_config(application(manager), chosen.bind, chosen.https_port, https.context)))
        secure = asyncio.create_task(https.keep())
    inner = chosen.integration_port
    if inner is None:
        inner = await manager.engine.reading(INTEGRATION_PORT.get)
    if inner > 0:
        servers.append(uvicorn.Server(_config(integration(manager), "127.0.0.1", inner)))
    for each in servers:
        each.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    serving = [asyncio.create_task(each._serve()) for each in servers]
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    log.info(
        "ready",
        http=f"{chosen.bind}:{chosen.port}",
        https=chosen.https_port if chosen.https_port > 0 else None,
        agents=manager.hub.address,
        integration=inner if inner > 0 else None,
    )
    if manager.first_password is not None and not chosen.admin_password:
        path = chosen.data / "admin.password"
        path.touch(0o600)
        path.write_text(manager.first_password + "\n")
        log.info("first start: the password of admin is in a file", path=str(path))
    code = 0
    waiting = asyncio.create_task(stop.wait())
    done, _ = await asyncio.wait([waiting, *serving], return_when=asyncio.FIRST_COMPLETED)
    if waiting not in done:
        log.error("a listener has ended", ports=[chosen.port, inner])
        code = 1
    await manager.feed.stop()
    if secure is not None:
        secure.cancel()
    for each in servers:
        each.should_exit = True
    with contextlib.suppress(asyncio.TimeoutError, SystemExit):
        await asyncio.wait_for(asyncio.gather(*serving, return_exceptions=True), 5)
    await manager.stop()
    log.info("stopped")
    return code


def _config(app: Any, host: str, port: int, tls: ssl.SSLContext | None = None) -> uvicorn.Config:
    from mold.server.http import Bounded

    made = uvicorn.Config(
        app,
        host=host,
        port=port,
        log_config=None,
        access_log=False,
        loop="none",
        http=Bounded,
        ws="websockets-sansio",
        lifespan="off",
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=3,
        ws_max_size=1 << 20,
        ws_per_message_deflate=False,  # screens come compressed; once more costs a core and 300 KB each
        timeout_keep_alive=65,
        h11_max_incomplete_event_size=65536,
    )
    made.load()
    made.ssl = tls  # a context that is shown other certificates later, where uvicorn would read files once
    return made


def main(argv: list[str] | None = None) -> int:
    """Entry of `mold server`."""
    import uvloop

    chosen = options(sys.argv[1:] if argv is None else argv)
    set_up_logs(os.environ.get("MOLD_LOG", "INFO"))
    with sole(chosen.data):
        return uvloop.run(run(chosen))


if __name__ == "__main__":
    raise SystemExit(main())
