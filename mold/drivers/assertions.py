"""Single sign-on: another house says who somebody is. The contract of SAML 2.0.

Nothing here is remembered between calls: what a browser was sent away with is a row, and comes back with the answer.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, Protocol

from mold.base.errors import Failed, Unauthorized

Algorithm = Literal["SHA1", "SHA256", "SHA384", "SHA512"]


class NotProven(Unauthorized):
    """An assertion that does not prove anything. `inner` says why, for the log."""


class ProviderAway(Failed):
    """The providers' metadata cannot be had. The text is for admins."""


@dataclass(frozen=True)
class Own:
    """Who we are for identity providers: the service provider. `key` and `certificate` are PEM."""

    id: str
    sso_url: str
    slo_url: str
    organization: str
    organization_url: str
    contact: str
    contact_email: str
    algorithm: Algorithm
    force: bool
    require_password: bool
    certificate: str
    key: str = field(repr=False)


@dataclass(frozen=True)
class IdentityProvider:
    """A provider that has a certificate to check its assertions with."""

    id: str
    name: str
    url: str


@dataclass(frozen=True)
class Sent:
    """Where a browser is sent, and what the answer will refer to."""

    url: str
    request: str


@dataclass(frozen=True)
class Proven:
    """What an assertion proves. `attributes` are by name and by friendly name; `until` is when it expires (seconds)."""

    provider: str
    assertion: str
    request: str
    name_id: str
    name_format: str
    session_index: str
    until: float
    attributes: dict[str, list[str]]


class SingleSignOn(Protocol):
    """What single sign-on can do."""

    async def fetch(self, url: str) -> str:
        """The providers' metadata, read and checked."""

    async def providers(self, metadata: str) -> list[IdentityProvider]:
        """The providers in it whose assertions can be checked."""

    async def describe(self, own: Own) -> str:
        """Our own metadata (XML)."""

    async def ask(self, own: Own, metadata: str, provider: str) -> Sent:
        """Where to send a browser to sign in."""

    async def judge(self, own: Own, metadata: str, response: str) -> Proven:
        """What a response (base64) proves; NotProven for everything that is not beyond doubt."""

    async def leave(self, own: Own, metadata: str, provider: str, who: Proven) -> Sent | None:
        """Where to send a browser to sign out; None where the provider offers no way."""


installed: list[SingleSignOn] = []
"""Single sign-on, where it is installed."""
