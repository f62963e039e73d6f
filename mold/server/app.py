"""Wiring: one management server out of its parts."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import pkgutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa
import structlog

import mold.features
from mold.api.door import Door, begin_event, finish_event
from mold.base import ids
from mold.drivers import assertions, directory
from mold.plugins.ldap import Ldap
from mold.plugins.saml import Saml, ready
from mold.plugins.simulator import Simulator
from mold.store import Store, Tx, seal
from mold.work import Engine

log = structlog.get_logger()


def load() -> None:
    """Import every slice, so that resources, commands, operations and reconcilers are registered."""
    from mold.api import (
        command,
        model,  # noqa: F401 - registers commands
    )

    for each in pkgutil.walk_packages(mold.features.__path__, "mold.features."):
        importlib.import_module(each.name)
    command.settle()


@dataclass
class Options:
    """How a manager is started."""

    data: Path
    database: str = ""
    bind: str = "127.0.0.1"
    port: int = 8080
    https_port: int = 0
    agent_bind: str = "127.0.0.1"
    agent_port: int = 8250
    advertise: str = "127.0.0.1"
    integration_port: int | None = None
    """Port without sign-in; 0: none, None: what the setting integration.api.port says."""
    metrics_port: int = 0
    name: str = ""
    admin_password: str = ""
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """The database's URL."""
        return self.database or f"sqlite:///{self.data / 'mold.db'}"


def bootstrap(tx: Tx, password: str) -> str | None:
    """The rows of a new installation; returns the admin's password when this was the first start."""
    from mold.api.permit import RoleType
    from mold.features.identity import accounts, domains, roles, users
    from mold.features.infra import certificates, guest_os, hypervisors
    from mold.features.infra import offerings as compute
    from mold.features.network import offerings as network
    from mold.store import migrate

    if tx.postgres:  # several managers may start for the first time at once
        tx.execute(sa.text("select pg_advisory_xact_lock(:key)"), {"key": migrate.LOCK})
    certificates.authority(tx)
    if tx.first(domains.Domain, domains.Domain.c.parent_id.is_(None)) is not None:
        return None
    roles.defaults(tx)
    root = domains.place(tx, domains.Domain(name="ROOT", parent_id=None))
    system = accounts.new_account(tx, name="system", domain=root, role=RoleType.ADMIN)
    users.new_user(
        tx, system, username="system", password=ids.token(32), firstname="system", lastname="cloud", email=""
    )
    admin = accounts.new_account(tx, name="admin", domain=root, role=RoleType.ADMIN)
    chosen = password or ids.password(16)
    users.new_user(
        tx, admin, username="admin", password=chosen, firstname="admin", lastname="cloud", email="admin@localhost"
    )
    compute.defaults(tx)
    network.defaults(tx)
    guest_os.defaults(tx)
    hypervisors.defaults(tx)
    return chosen


class Manager:
    """One management server."""

    def __init__(self, options: Options, *, store: Store | None = None, simulator: Simulator | None = None) -> None:
        from mold.server.feed import Feed
        from mold.server.hub import Hub

        load()
        self.options = options
        seal.load(options.data)
        self.store = store or Store(options.url)
        self.hub = Hub(simulator)
        self.engine = Engine(self.store, self.hub, manager=self._identity())
        from mold.features.identity import access, signin
        from mold.features.infra import alerts

        self.door = Door(
            self.store,
            self.engine,
            authenticators=[signin.by_signature, signin.by_session],
            system=signin.system,
            rule=signin.refusal,
            narrow=access.within_projects,
            guard=access.unsuspended,
        )
        directory.installed[:] = [Ldap()] if importlib.util.find_spec("bonsai") is not None else []
        assertions.installed[:] = [Saml()] if ready() else []
        self.engine.on_begin.append(begin_event)
        self.engine.on_finish.append(finish_event)
        self.engine.on_finish.append(alerts.job_over)
        self.feed = Feed(self.door, self.engine)
        self.first_password: str | None = None
        self._task: asyncio.Task[None] | None = None

    def _identity(self) -> str:
        """This manager's id, the same over restarts."""
        path = self.options.data / "manager.id"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(ids.new_id())
        return path.read_text().strip()

    async def start(self, *, agents: bool = True) -> None:
        """Bring the database up to date, begin to work, listen for agents."""
        from mold.store import migrate

        await asyncio.get_running_loop().run_in_executor(self.engine.writes, migrate.upgrade, self.store)
        self.first_password = await self.engine.writing(lambda tx: bootstrap(tx, self.options.admin_password))
        if not self.hub.simulator.boxes:
            from mold.server.recall import recall

            await self.engine.reading(lambda tx: recall(tx, self.hub.simulator))
        self.hub.engine = self.engine
        if agents:
            port = await self.hub.start(
                self.engine,
                bind=self.options.agent_bind,
                port=self.options.agent_port,
                address=f"{self.options.advertise}:{self.options.agent_port}",
            )
            log.info("listening for agents", port=port)
            from mold.features.infra import hosts
            from mold.server.install import SshInstaller

            installer = SshInstaller(self.options.data, self.engine, self.hub)
            await asyncio.to_thread(installer.own_key)  # so that it can be given to machines before they are added
            hosts.install[:] = [installer]
        self._task = asyncio.create_task(self.engine.run())
        await self.engine.ready.wait()
        await self.feed.start()

    async def stop(self) -> None:
        """Stop cleanly; jobs under way go on with the next manager."""
        self.engine.stopping = True
        await self.feed.stop()
        await self.hub.stop()
        await self.engine.stop()
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        self.store.close()
