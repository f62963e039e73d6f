"""HTTPS: the certificate that this manager shows, and the looks whether another was uploaded."""

from __future__ import annotations

import asyncio
import socket
import ssl
import tempfile
import time
from pathlib import Path

import structlog
from sqlalchemy.exc import DBAPIError

from mold.base import net
from mold.features.infra import certificates, web_certificates
from mold.store import Tx
from mold.work import Engine

log = structlog.get_logger()
LOOK_SECONDS = 2.0
OWN_DAYS = 90


class Secure:
    """The TLS context of a manager's HTTPS port; connections made after a change see the new certificate."""

    def __init__(self, engine: Engine, name: str) -> None:
        self.engine = engine
        self.name = name
        """The name or address at which this manager is reached."""
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self.context.set_alpn_protocols(["http/1.1"])
        self._shown: tuple[str, str] | None = None
        self._renewal = 0.0

    async def look(self) -> bool:
        """Show what is to be shown now; whether that was something else before."""
        uploaded = await self.engine.reading(web_certificates.served)
        if uploaded is None:
            if self._shown is not None and time.time() < self._renewal:
                return False
            uploaded = await self.engine.writing(self._own)
            self._renewal = time.time() + OWN_DAYS * 86400 * 2 / 3
        elif uploaded == self._shown:
            return False
        else:
            self._renewal = 0.0
        with tempfile.TemporaryDirectory() as folder:  # readable by its owner alone
            pem = Path(folder) / "web.pem"
            pem.write_text(uploaded[1].strip() + "\n" + uploaded[0])
            self.context.load_cert_chain(pem)
        self._shown = uploaded
        return True

    def _own(self, tx: Tx) -> tuple[str, str]:
        names, addresses = [socket.gethostname(), "localhost"], ["127.0.0.1", "::1"]
        (addresses if net.is_address(self.name) else names).append(self.name)
        own, key, ca = certificates.issue(
            tx, names[0], names=names, addresses=list(dict.fromkeys(addresses)), server=True, days=OWN_DAYS,
            guid=self.engine.manager,
        )  # fmt: skip
        return own + ca, key

    async def keep(self) -> None:
        """Look again and again until cancelled."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                if await self.look():
                    log.info("HTTPS shows another certificate")
            except (DBAPIError, ssl.SSLError, OSError) as broken:
                log.warning("the certificate for HTTPS could not be looked at; what was shown is shown", error=str(broken)[:200])
