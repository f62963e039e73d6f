"""Refusals: the closed list of ways in which Mold says no.

Every refusal is a sentence a person can act on, carries the API's error codes
and the facts as fields.  What a caller may not see is `NotFound`, never `Denied`.
Only `Unreachable` means "we do not know whether it happened"; only the operation
engine retries, and it retries only that.
"""

from __future__ import annotations

from typing import ClassVar

Fact = str | int | float | bool | None | list[str] | list[dict[str, object]] | dict[str, object]


class Refusal(Exception):
    """Base of all refusals.

    `code` is the HTTP status and `errorcode` of the API, `cs` its `cserrorcode`;
    `facts` travel as `errorparams`; `inner` goes to the log only.
    """

    code: ClassVar[int] = 530
    cs: ClassVar[int] = 4250
    envelope: ClassVar[str | None] = None
    hidden: ClassVar[bool] = False
    """True: callers who are not root admins get `public` instead of the text."""
    plain: ClassVar[bool] = False
    """True: the answer is the bare text, neither JSON nor XML."""
    public: ClassVar[str] = "Internal error executing command, please contact your system administrator"

    def __init__(self, text: str, *, inner: str | None = None, **facts: Fact) -> None:
        super().__init__(text)
        self.text = text
        self.inner = inner
        self.facts = facts

    @property
    def key(self) -> str:
        """The error's machine-readable name, `errorkey` on the wire."""
        return type(self).__name__


class Invalid(Refusal):
    """A parameter is missing, malformed or makes no sense."""

    code, cs = 431, 4350


class Missing(Invalid):
    """A required parameter is missing (the API's plain ServerApi error)."""

    cs = 9999


class Malformed(Refusal):
    """A map parameter is not of the form name[i].field=value."""

    code, cs = 430, 9999


class NotFound(Refusal):
    """No such thing, or none that the caller may see."""

    code, cs = 431, 4350


class Unsupported(Refusal):
    """The thing asked for is known to the API but not offered here."""

    code, cs = 432, 4390
    envelope = "errorresponse"


class UnknownCommand(Refusal):
    """No such command, or none that the caller's role may call."""

    code, cs = 432, 9999
    envelope = "errorresponse"


class Unauthorized(Refusal):
    """Nobody is signed in, or the signature is wrong. Carries no cserrorcode."""

    code, cs = 401, 0


class BadRequest(Refusal):
    """The HTTP request itself is wrong. Carries no cserrorcode."""

    code, cs = 400, 0


class TooMany(Refusal):
    """The account has called too often; `retryafter` says in how many milliseconds it may again."""

    code, cs = 429, 4545


class TooLarge(BadRequest):
    """The request body is larger than the server reads."""

    code = 413


class Denied(Refusal):
    """The caller sees the thing but may not do this to it."""

    code, cs = 531, 4365


class OverLimit(Refusal):
    """A limit of the account, domain or project is reached."""

    code, cs = 535, 4370


class NoCapacity(Refusal):
    """No host, pool, address or VLAN is left that would do."""

    code, cs = 533, 4335
    hidden = True


class Unavailable(Refusal):
    """A resource exists but cannot serve now (host down, pool in maintenance)."""

    code, cs = 534, 4380
    hidden = True


class InUse(Refusal):
    """Something else still uses the thing."""

    code, cs = 536, 4375


class Conflict(Refusal):
    """The thing is in a state that does not allow this, or a name is taken."""

    code, cs = 431, 4300


class RuleConflict(Refusal):
    """Two network rules contradict each other."""

    code, cs = 537, 4360


class Failed(Refusal):
    """A host or a step said no, for a reason given."""

    code, cs = 530, 4250


class Unreachable(Refusal):
    """No answer from a host in time: we do not know whether it happened."""

    code, cs = 530, 4285


class Cancelled(Refusal):
    """Somebody cancelled the operation; what it had done is undone."""

    code, cs = 530, 4560


class Fenced(Exception):
    """Another manager has taken this operation over; this one must stop at once."""


EVERY: tuple[type[Refusal], ...] = (
    Invalid,
    Missing,
    Malformed,
    NotFound,
    Unsupported,
    UnknownCommand,
    Unauthorized,
    BadRequest,
    TooMany,
    TooLarge,
    Denied,
    OverLimit,
    NoCapacity,
    Unavailable,
    InUse,
    Conflict,
    RuleConflict,
    Failed,
    Unreachable,
    Cancelled,
)
BY_KEY = {c.__name__: c for c in EVERY}


def revive(key: str, text: str, facts: dict[str, Fact] | None = None) -> Refusal:
    """The refusal that travelled as (key, text, facts); an unknown key becomes `Failed`."""
    made = BY_KEY.get(key, Failed)(text)
    made.facts = dict(facts or {})
    return made
