"""The second factor: a code from an authenticator (TOTP, RFC 6238), asked for once in each session.

A session that has not shown it may do nothing but show it.  Each code is taken once.  Changing or switching off the
factor needs a code shown shortly before in the same session: a stolen session, or an API key, is not enough.
"""

from __future__ import annotations

import time
from typing import Annotated, Any

import pyotp
import sqlalchemy as sa
from pyotp.utils import strings_equal

from mold.api import events
from mold.api.answer import Field, shown
from mold.api.command import Command, Ctx, Param, command
from mold.api.door import Door, Entry
from mold.api.model import capability
from mold.api.permit import Caller, Policy
from mold.base.errors import Conflict, Denied, Invalid, Refusal, Unauthorized, Unsupported
from mold.features.identity import sessions
from mold.features.identity.sessions import Session
from mold.features.identity.users import User
from mold.store import Resource, Tx, column, created, refers
from mold.store.settings import setting

DOMAIN = ("domain",)
OFFERED = setting(
    "enable.user.2fa", False, "Whether users may have a second factor.", group="Access", scopes=DOMAIN
)
MANDATED = setting(
    "mandate.user.2fa",
    False,
    "Whether every user must have a second factor; needs enable.user.2fa.",
    group="Access",
    scopes=DOMAIN,
)
PROVIDER = setting(
    "user.2fa.default.provider",
    "totp",
    "The kind of second factor that is set up when none is named.",
    group="Access",
    scopes=DOMAIN,
    choices=("totp",),
)
ISSUER = setting(
    "user.2fa.issuer", "Mold", "What authenticators call this cloud.", group="Access", scopes=DOMAIN
)
PROVIDERS = {"totp": "Codes of six digits from an authenticator application, as Google's, Microsoft's or any other."}
FRESH_SECONDS = 300.0
"""How long a code that was shown allows to change the factor."""
PERIOD_SECONDS = 30
DRIFT = 1
"""Periods that a phone's clock may be off."""
WRONG_MAX = 5
PAUSE_SECONDS = 900.0
"""After `WRONG_MAX` wrong codes in a row no code is taken for so long: who has the password guesses for two years on average."""
VERIFYING = frozenset({"setupUserTwoFactorAuthentication", "listUserTwoFactorAuthenticatorProviders"})
"""What an unverified session may call, besides what needs no session (login, logout and the code itself)."""


class SecondFactor(Resource):
    """A user's factor. `secret` is set once a code was shown for it; until then it is `pending`, and the old one counts."""

    kind = "second_factor"
    title = "second factor"
    policy = Policy()

    user_id: str = refers("user", cascade=True, filter=False, unique=True)
    provider: str = column(default="totp")
    secret: str | None = column(default=None, secret=True)
    pending: str | None = column(default=None, secret=True)
    last_period: int = column(default=0, hidden=True)
    wrong: int = column(default=0, hidden=True)
    paused: float = column(default=0.0, hidden=True)
    created: str = created()


class Unverified(Refusal):
    """The session has yet to show its second factor."""

    code, cs = 511, 4295


class WrongCode(Unverified):
    """The code is not the one that the authenticator shows, or was used before."""


class ManyWrongCodes(Conflict):
    """Codes are not taken for a while. `seconds` says how long."""


class StepUp(Denied):
    """The second factor is changed by who shows a code of it first."""


def factor_of(tx: Tx, user_id: str) -> SecondFactor | None:
    """The factor of a user, also one that is not set up to the end."""
    return tx.first(SecondFactor, SecondFactor.c.user_id == user_id)


def has(factor: SecondFactor | None) -> bool:
    """Whether it is set up."""
    return factor is not None and factor.secret is not None


def offered(tx: Tx, user: User) -> bool:
    """Whether users of this domain may have one."""
    return OFFERED.get(tx, domain=user.domain_id)


def mandated(tx: Tx, user: User) -> bool:
    """Whether this user must have one."""
    return offered(tx, user) and (user.mandate_2fa or MANDATED.get(tx, domain=user.domain_id))


def standing(tx: Tx, user: User) -> tuple[bool, bool, str]:
    """Of a user who signs in: whether a factor is asked of her, whether she has one, and the issuer's name."""
    if not offered(tx, user):
        return False, False, ""
    mine = has(factor_of(tx, user.id))
    return mine or mandated(tx, user), mine, ISSUER.get(tx, domain=user.domain_id)


def refusal(caller: Caller, made: Command) -> Refusal | None:
    """Why an unverified session may not call a command: all it may do is to verify."""
    if not caller.extra.get("unverified") or made.name in VERIFYING:
        return None
    return Unverified(
        "This session has yet to show the second factor: give the code with validateUserTwoFactorAuthenticationCode, "
        "or set the factor up first with setupUserTwoFactorAuthentication."
    )


def _caller_may(tx: Tx, caller: Any) -> bool:
    return bool(caller.user_id) and not caller.internal and OFFERED.get(tx, domain=caller.domain_id)


capability("secondfactoroffered", _caller_may)
"""Whether the caller may have one: consoles offer to set it up."""


@shown(User, Field("is2faenabled", "boolean"), Field("is2famandated", "boolean"))
def _shown(tx: Tx, rows: list[Any], caller: Any) -> dict[str, dict[str, Any]]:
    c = SecondFactor.c
    found = tx.execute(sa.select(c.user_id).where(tx.any_of(c.user_id, [u.id for u in rows]), c.secret.is_not(None)))
    mine = {user for (user,) in found}
    return {u.id: {"is2faenabled": u.id in mine, "is2famandated": mandated(tx, u)} for u in rows}


def _session(ctx: Ctx) -> Session | None:
    return ctx.tx.get(Session, ctx.caller.session) if ctx.caller.session is not None else None


def _proven(session: Session | None) -> bool:
    return session is not None and session.proved is not None and time.time() - session.proved <= FRESH_SECONDS


STEP_UP = (
    "This needs a code of the present second factor, shown in this session within the last five minutes: "
    "give it with validateUserTwoFactorAuthenticationCode and try again."
)


@command(
    "listUserTwoFactorAuthenticatorProviders",
    shape="list",
    key="providers",
    reads=True,
    fields=(Field("name"), Field("description")),
)
def list_providers(ctx: Ctx, name: str | None = None) -> dict[str, Any]:
    """Lists the kinds of second factor that users may have.

    name: name of a kind
    """
    found = [{"name": n, "description": d} for n, d in PROVIDERS.items() if name is None or n == name.lower()]
    return {"count": len(found), "providers": found} if found else {}


@command(
    "setupUserTwoFactorAuthentication",
    shape="object",
    key="setup2fa",
    event="USER.TWOFACTOR",
    fields=(Field("id"), Field("username"), Field("accountid"), Field("secretcode"), Field("issuer")),
)
def setup(
    ctx: Ctx,
    enable: bool = True,
    provider: str | None = None,
    userid: Annotated[User | None, Param(access="operate")] = None,
) -> dict[str, Any]:
    """Begins to set up the caller's second factor, or takes it away; an admin may take away that of a user who lost hers.

    The secret code is shown now and never again; the factor counts once a code of it was validated.

    enable: false takes the factor away
    provider: the kind of factor: totp
    userid: whose factor an admin takes away
    """
    tx, caller = ctx.tx, ctx.caller
    user = userid or (tx.get(User, caller.user_id) if caller.user_id else None)
    if user is None or (caller.internal and userid is None):
        raise Invalid("Say whose second factor it is.", parameter="userid")
    own = user.id == caller.user_id
    factor = factor_of(tx, user.id)
    body = {"id": user.id, "username": user.username, "accountid": user.account_id}
    if not enable:
        return {"setup2fa": {**body, **_take_away(ctx, user, factor, own=own)}}
    if not own:
        raise Denied("Only the user herself sets up her second factor: its secret is shown to nobody else.")
    if not offered(tx, user):
        raise Denied("Second factors are not enabled here (enable.user.2fa).")
    session = _session(ctx)
    if session is None:
        raise Denied("A second factor belongs to signed-in sessions; sign in with your password to set it up.")
    wanted = (provider or PROVIDER.get(tx, domain=user.domain_id)).lower()
    if wanted not in PROVIDERS:
        raise Unsupported(
            f"There is no second factor of the kind {wanted[:80]}; there is {', '.join(PROVIDERS)}. A fixed PIN is only a second password.",
            parameter="provider",
        )
    if has(factor) and not _proven(session):
        raise StepUp(STEP_UP)
    secret = pyotp.random_base32()
    if factor is None:
        tx.add(SecondFactor(user_id=user.id, provider=wanted, pending=secret))
    else:
        tx.set(factor, provider=wanted, pending=secret)
    ctx.tell(f"Began to set up the second factor of {user.username}", about=user)
    return {"setup2fa": {**body, "secretcode": secret, "issuer": ISSUER.get(tx, domain=user.domain_id)}}


def _take_away(ctx: Ctx, user: User, factor: SecondFactor | None, *, own: bool) -> dict[str, Any]:
    tx, caller = ctx.tx, ctx.caller
    if own:
        if mandated(tx, user):
            raise Denied("A second factor is mandatory for you; set up another one instead.")
        if has(factor) and not _proven(_session(ctx)):
            raise StepUp(STEP_UP)
    elif not caller.internal and has(factor_of(tx, caller.user_id)) and not _proven(_session(ctx)):
        raise StepUp(STEP_UP)  # the admin's own factor: what she may take from others is worth a code of hers
    if factor is not None:
        tx.remove(factor)
    if not own:
        sessions.close_all(tx, user.id)
    ctx.tell(f"Took away the second factor of {user.username}", about=user)
    return {}


def _note(tx: Tx, user: User, what: str, *, level: str = "INFO") -> None:
    events.record(
        tx,
        "USER.TWOFACTOR",
        f"{what} {user.username}",
        account_id=user.account_id,
        domain_id=user.domain_id,
        user_id=user.id,
        username=user.username,
        resource=user,
        level=level,
    )


def period_of(secret: str, code: str, *, after: int, now: float) -> int | None:
    """The period whose code this is, a little drift allowed; None when it is wrong or was used before (`after`)."""
    totp = pyotp.TOTP(secret, interval=PERIOD_SECONDS)
    present = int(now // PERIOD_SECONDS)
    for period in range(present - DRIFT, present + DRIFT + 1):
        if strings_equal(code, totp.generate_otp(period)) and period > after:
            return period
    return None


@command(
    "validateUserTwoFactorAuthenticationCode",
    open=True,
    takes=(Param("codefor2fa", required=True, secret=True, doc="the code that the authenticator shows now"),),
)
async def validate(door: Door, entry: Entry) -> dict[str, Any]:
    """Shows the second factor's code: the session is verified then, and a factor that was being set up counts."""
    request = entry.request
    code = request.given("codefor2fa").strip()

    def settle(tx: Tx) -> Refusal | None:
        caller = door.who(tx, request)
        session = tx.get(Session, caller.session) if caller.session is not None else None
        if session is None:
            return Unauthorized("unable to verify user credentials", inner="a second factor is shown in a session")
        user = tx.locked(User, caller.user_id)  # guesses that come at the same moment are judged one after the other
        factor = factor_of(tx, user.id)
        if factor is None:
            return Invalid("No second factor is set up; begin with setupUserTwoFactorAuthentication.")
        now = time.time()
        if factor.paused > now:
            left = int(factor.paused - now) + 1
            return ManyWrongCodes(f"Too many wrong codes; wait {left} seconds.", seconds=left)
        tries = ((factor.pending, True), (factor.secret, False))
        shown = [
            (period, pending)
            for secret, pending in tries
            if secret and (period := period_of(secret, code, after=factor.last_period, now=now)) is not None
        ]
        if not shown:
            return _missed(tx, user, factor, now)
        period, pending = shown[0]
        if pending and factor.secret is not None and not _proven(session):
            return StepUp(STEP_UP)
        fresh = {"secret": factor.pending, "pending": None} if pending else {}
        tx.set(factor, last_period=period, wrong=0, paused=0.0, **fresh)
        tx.set(session, verified=True, proved=now)
        if pending:
            sessions.close_all(tx, user.id, but=session.id)  # they have shown nothing
            _note(tx, user, "Set up the second factor of")
        return None

    refusal = await door.engine.writing(settle)
    if refusal is not None:
        raise refusal
    return {"success": True}


def _missed(tx: Tx, user: User, factor: SecondFactor, now: float) -> Refusal:
    wrong = factor.wrong + 1
    out = wrong >= WRONG_MAX
    tx.set(factor, wrong=0 if out else wrong, paused=now + PAUSE_SECONDS if out else 0.0)
    if out:
        _note(tx, user, f"{WRONG_MAX} wrong codes for the second factor of", level="WARN")
    return WrongCode("The code is wrong, or was used before; give the one that the authenticator shows now.")
