"""Forgotten passwords: a link by mail, good once and for a while. Off until there is a mail server to send it.

Nobody learns here who is a user: asking always looks the same, and the mail goes to the address that is known already.
"""

from __future__ import annotations

import asyncio
import smtplib
import time
from email.message import EmailMessage
from typing import Any
from urllib.parse import urlencode

import structlog

from mold.api import events
from mold.api.command import Param, command
from mold.api.door import Door, Entry, Request
from mold.api.permit import Policy
from mold.base import ids
from mold.base.errors import Denied, Failed, Invalid, Refusal
from mold.features.identity import lockout, passwords, signin
from mold.features.identity.domains import Domain
from mold.features.identity.users import User
from mold.store import Resource, Tx, column, created, refers
from mold.store.settings import setting
from mold.work import Operation, change, operation, step

log = structlog.get_logger()
TEMPLATE_TEXT = """\
Hello {{username}},

somebody asked for a new password for you at {{domainUrl}}. If it was you, follow this link within {{minutes}} minutes:

{{resetLink}}

If it was not you, do nothing: your password stays as it is.
"""
PREFIX = "user.password.reset"
ENABLED = setting(
    f"{PREFIX}.enabled", False, "Whether users who forgot their password get a link by mail.", group="Access"
)
SENDER = setting(f"{PREFIX}.email.sender", "", "The address that such mails come from.", group="Access")
PAGE = setting(
    f"{PREFIX}.mail.domain.url", "", "The address of the console as users write it, as https://cloud.example.org.",
    group="Access", check=lambda t: None if not t or t.startswith(("https://", "http://")) else "it must begin with https:// or http://.",
)  # fmt: skip
TEMPLATE = setting(
    f"{PREFIX}.mail.template",
    TEMPLATE_TEXT,
    "The mail's text; {{username}}, {{firstname}}, {{lastname}}, {{domainUrl}}, {{resetLink}} and {{minutes}} are filled in.",
    group="Access",
)
TTL = setting(
    f"{PREFIX}.ttl", 30, "How long such a link is good.", group="Access", low=1, high=1440, unit="minutes", shape="Long"
)
HOST = setting(f"{PREFIX}.smtp.host", "", "The mail server; empty: no mail is sent.", group="Access")
PORT = setting(f"{PREFIX}.smtp.port", 25, "Port of the mail server.", group="Access", low=1, high=65535)
AUTH = setting(f"{PREFIX}.smtp.useAuth", False, "Whether the mail server wants a user name.", group="Access")
STARTTLS = setting(f"{PREFIX}.smtp.useStartTLS", False, "Whether it is asked to encrypt (STARTTLS).", group="Access")
NAME = setting(f"{PREFIX}.smtp.username", "", "User name at the mail server.", group="Access")
PASSWORD = setting(
    f"{PREFIX}.smtp.password", "", "Password at the mail server.", category="Secure", group="Access", secret=True
)
MAIL_SECONDS = 20.0


class PasswordReset(Resource):
    """A link that was sent, or is about to be: `token_digest` is empty until then. The last one of a user is good."""

    kind = "password_reset"
    title = "password reset"
    policy = Policy()

    user_id: str = refers("user", cascade=True, filter=False, unique=True)
    token_digest: str = column(default="", hidden=True)
    until: float = column(hidden=True)
    created: str = created()


@operation
class MailResetLink(Operation):
    """A link for a new password goes to a user by mail; what it holds is known to her and, as a digest, to the database."""

    hidden = True
    patience = 0
    user: str

    @step
    async def send(self) -> None:
        token = ids.token(32)

        def note(tx: Tx) -> tuple[EmailMessage, tuple[Any, ...]] | None:
            user = tx.get(User, self.user)
            if user is None or "@" not in user.email or not HOST.get(tx) or "@" not in SENDER.get(tx):
                return None
            found = tx.first(PasswordReset, PasswordReset.c.user_id == user.id)
            until = time.time() + TTL.get(tx) * 60
            if found is None:
                tx.add(PasswordReset(user_id=user.id, token_digest=ids.digest(token), until=until))
            else:
                tx.set(found, token_digest=ids.digest(token), until=until)
            server = (HOST.get(tx), PORT.get(tx), STARTTLS.get(tx), AUTH.get(tx), NAME.get(tx), PASSWORD.get(tx))
            return _mail(tx, user, token), server

        noted = await change(note)
        if noted is None:
            return
        mail, (host, port, *rest) = noted
        try:
            await asyncio.to_thread(_send, mail, host, port, *rest)
        except (OSError, smtplib.SMTPException, ValueError) as broken:
            log.warning("password reset mail not sent", server=f"{host}:{port}", error=str(broken)[:200])
            raise Failed(f"The mail server {host}:{port} did not take the mail.") from broken


def _mail(tx: Tx, user: User, token: str) -> EmailMessage:
    page = (PAGE.get(tx) or "http://localhost:8080").rstrip("/")
    path = tx.known(Domain, user.domain_id).path.removeprefix("ROOT").strip("/")
    query = urlencode({"username": user.username, "token": token, **({"domain": path} if path else {})})
    values = {
        "username": user.username,
        "firstname": user.firstname,
        "lastname": user.lastname,
        "domainUrl": page,
        "resetLink": f"{page}/client/#/user/resetPassword?{query}",
        "minutes": str(TTL.get(tx)),
    }
    text = TEMPLATE.get(tx)
    for word, value in values.items():
        text = text.replace("{{" + word + "}}", value)
    mail = EmailMessage()
    mail["Subject"] = "A new password"
    mail["From"], mail["To"] = SENDER.get(tx), user.email
    mail.set_content(text)
    return mail


def _send(mail: EmailMessage, host: str, port: int, tls: bool, auth: bool, name: str, password: str) -> None:
    connect = smtplib.SMTP_SSL if port == 465 and not tls else smtplib.SMTP
    with connect(host, port, timeout=MAIL_SECONDS) as server:
        if tls:
            server.starttls()
        if auth:
            server.login(name, password)
        server.send_message(mail)


def _off(tx: Tx) -> Denied | None:
    if not ENABLED.get(tx):
        return Denied(f"Passwords are not reset by mail here ({ENABLED.name}); ask an admin for a new one.")
    if not HOST.get(tx) or not SENDER.get(tx):
        return Denied(f"No mail server is set ({HOST.name}, {SENDER.name}); ask an admin for a new password.")
    return None


def _user(tx: Tx, request: Request) -> User | None:
    """The user that a request is about, if she has a password here and may sign in."""
    domain = signin.domain_of(tx, request)[0]
    if domain is None:
        return None
    return tx.first(
        User,
        User.c.username == request.given("username"),
        User.c.domain_id == domain.id,
        User.c.source == "native",
        User.c.state == "enabled",
    )


DOMAIN = Param("domain", doc="path of the user's domain, as ROOT/sales; default: ROOT")
USERNAME = Param("username", required=True, doc="name of the user")


@command("forgotPassword", open=True, takes=(USERNAME, DOMAIN))
async def forgot(door: Door, entry: Entry) -> dict[str, Any]:
    """Sends a user a link by mail with which she sets a new password. It says the same whether there is such a user or not."""
    request = entry.request
    _own_page(request)

    def want(tx: Tx) -> Refusal | None:
        off = _off(tx)
        user = None if off is not None else _user(tx, request)
        if user is not None and user.email:
            door.engine.enqueue(tx, MailResetLink(user=user.id), cmd="forgotPassword")
        return off

    lockout.refuse(request.address, await door.engine.reading(lockout.allowed))
    lockout.failures.add(request.address)  # asking often is guessing, too
    refusal = await door.engine.writing(want)
    if refusal is not None:
        raise refusal
    return {"success": True}


@command(
    "resetPassword",
    open=True,
    takes=(
        USERNAME,
        Param("token", required=True, secret=True, doc="the token of the link"),
        Param("password", required=True, secret=True, doc="the new password"),
        DOMAIN,
    ),
)
async def reset(door: Door, entry: Entry) -> dict[str, Any]:
    """Sets a new password with the token of a link that came by mail; all sessions of the user end."""
    request = entry.request
    _own_page(request)
    token, password = request.given("token"), request.given("password")
    lockout.refuse(request.address, await door.engine.reading(lockout.allowed))

    def settle(tx: Tx) -> Refusal | None:
        if (off := _off(tx)) is not None:
            return off
        wrong = Denied("This link is not good any more, or never was; ask for another one.")
        user = _user(tx, request)
        found = tx.first(PasswordReset, PasswordReset.c.user_id == user.id) if user is not None else None
        if user is None or found is None or not token or found.until < time.time():
            return wrong
        if found.token_digest != ids.digest(token):
            return wrong
        if not password:
            return Invalid("The new password must not be empty.", parameter="password")
        passwords.change(tx, user, password)
        tx.remove(found)
        events.record(
            tx, "USER.UPDATE", f"{user.username} set a new password with a link that came by mail",
            account_id=user.account_id, domain_id=user.domain_id, user_id=user.id, username=user.username, resource=user,
        )  # fmt: skip
        return None

    refusal = await door.engine.writing(settle)
    if refusal is not None:
        if isinstance(refusal, Denied):
            lockout.failures.add(request.address)
        raise refusal
    return {"success": True}


def _own_page(request: Request) -> None:
    if not request.post:
        raise signin.WrongMethod("Please use HTTP POST to authenticate using this API")
    if request.foreign:
        raise signin.foreign(request)


