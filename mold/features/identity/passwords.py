"""What a password must be like (`password.policy.*`, per domain), and how it is set.

The rules are looked at when a password is set, never when somebody signs in: a stricter rule locks nobody out.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from mold.base.errors import Invalid
from mold.features.identity import sessions
from mold.features.identity.credentials import hash_password
from mold.store import Tx
from mold.store.settings import Declared, setting

if TYPE_CHECKING:
    from mold.features.identity.users import User

DOMAIN = ("domain",)


def _least(what: str, doc: str) -> Declared[int]:
    return setting(f"password.policy.minimum.{what}", 0, doc, group="Password policy", scopes=DOMAIN, low=0)


LENGTH = _least("length", "How many characters a password must have.")
DIGITS = _least("digits", "How many digits (0-9) a password must have.")
LOWER = _least("lowercase.letters", "How many lower-case letters a password must have.")
UPPER = _least("uppercase.letters", "How many upper-case letters a password must have.")
SPECIAL = _least("special.characters", "How many characters a password must have that are neither letters nor digits.")
NAME = setting(
    "password.policy.allowPasswordToContainUsername",
    True,
    "Whether a password may contain the user's name.",
    group="Password policy",
    scopes=DOMAIN,
)
REGEX = setting(
    "password.policy.regex",
    ".+",
    "A regular expression that the whole password must match.",
    group="Password policy",
    scopes=DOMAIN,
)
COUNTS = (
    (LENGTH, "characters", lambda c: True),
    (DIGITS, "digits", lambda c: c.isdigit()),
    (LOWER, "lower-case letters", lambda c: c.islower()),
    (UPPER, "upper-case letters", lambda c: c.isupper()),
    (SPECIAL, "special characters", lambda c: not c.isalnum()),
)


def check(tx: Tx, domain_id: str, username: str, password: str, *, parameter: str = "password") -> None:
    """Invalid says every rule of the domain that the password breaks; the password itself is in no text."""
    wrong = []
    for least, what, fits in COUNTS:
        wanted = least.get(tx, domain=domain_id)
        if wanted and sum(map(fits, password)) < wanted:
            wrong.append(f"at least {wanted} {what}")
    if not NAME.get(tx, domain=domain_id) and username and username.lower() in password.lower():
        wrong.append("not the user's name in it")
    pattern = REGEX.get(tx, domain=domain_id)
    if pattern not in ("", ".+"):
        try:
            fits_whole = re.fullmatch(pattern, password) is not None
        except re.error as broken:
            raise Invalid(
                f"No password can be set: the setting {REGEX.name} is no regular expression ({broken}). Ask an admin to correct it.",
                name=REGEX.name,
            ) from None
        if not fits_whole:
            wrong.append("to match the pattern that the admin has set")
    if wrong:
        raise Invalid(f"The password needs {', '.join(wrong)}.", parameter=parameter, needs=wrong)


def change(tx: Tx, user: User, password: str, *, session: str | None = None) -> None:
    """Set a user's password, by the rules of her domain. Her sessions end, but for `session`, in which she does it."""
    if user.source != "native":
        raise Invalid(
            f"The password of {user.username} is kept elsewhere ({user.source}); change it there.", source=user.source
        )
    check(tx, user.domain_id, user.username, password)
    tx.set(user, password_hash=hash_password(password), change_password=False, failed_logins=0)
    sessions.close_all(tx, user.id, but=session)
