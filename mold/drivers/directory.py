"""Directories: where a company keeps its people. The contract of LDAP, and of whatever else will do that work.

The words are LDAP's: a person has a distinguished name (DN), groups have members.  A call may take as long as its server's
`seconds`; it is never made inside a transaction.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, Protocol

from mold.base.errors import Failed

Security = Literal["plain", "starttls", "ldaps"]


class DirectoryAway(Failed):
    """No server of the directory did what it was asked. The text is for admins; it names server and reason."""


@dataclass(frozen=True)
class Server:
    """One server. `authorities` is a file of certificates (PEM) that its own must come from; empty: the system's."""

    host: str
    port: int
    security: Security
    authorities: str = ""


@dataclass(frozen=True)
class Where:
    """What a directory is like: its servers, asked in turn, and how people and groups are written there.

    `principal` and `password` are who asks; both empty asks as nobody.  `seconds` bounds connecting and each answer.
    """

    servers: tuple[Server, ...]
    base: str
    principal: str
    password: str = field(repr=False)
    seconds: float
    page: int
    user_object: str
    username: str
    email: str
    firstname: str
    lastname: str
    group_object: str
    member: str
    member_of: str
    nested: bool
    active_directory: bool
    only_group: str = ""
    """DN of a group that everybody must be a member of; empty: nobody need."""


@dataclass(frozen=True)
class Found:
    """A person found. `principal` is the DN; `enabled` False where the directory itself says that the person is out."""

    username: str
    principal: str
    email: str
    firstname: str
    lastname: str
    enabled: bool = True


class Directory(Protocol):
    """What a directory can do."""

    async def people(
        self, where: Where, *, word: str = "", username: str = "", group: str = "", unit: str = ""
    ) -> list[Found]:
        """The people who have `word` in a name or address, this very `username`, are in the group or below the unit (DNs)."""

    async def proves(self, where: Where, principal: str, password: str) -> bool:
        """Whether the password is the person's; an empty one never is."""

    async def within(self, where: Where, principal: str, dns: tuple[tuple[str, str], ...]) -> tuple[str, ...]:
        """Of these (GROUP or OU, DN) the DNs that the person belongs to."""

    async def answers(self, where: Where) -> None:
        """Nothing, once a server has let us in; DirectoryAway otherwise."""


installed: list[Directory] = []
"""The directory, where one is installed."""
