"""Mail, handed to a server: over TLS that is verified where TLS is asked for, and never a password without it."""

from __future__ import annotations

import smtplib
import ssl
from dataclasses import dataclass
from email.message import EmailMessage

TLS_PORT = 465
NOT_TAKEN = (OSError, smtplib.SMTPException, ValueError)
"""What sending ends with when the server cannot be reached, refuses, or is sent what no mail may hold."""


@dataclass(frozen=True)
class MailServer:
    """A server and how it is spoken to. With a user name but no STARTTLS, or on port 465, the whole connection is TLS."""

    host: str
    port: int
    starttls: bool = False
    username: str = ""
    password: str = ""
    connect_seconds: float = 30
    seconds: float = 30

    def send(self, messages: list[EmailMessage]) -> dict[str, str]:
        """Send messages over one connection; blocks, so call it in a thread.

        Returns what went wrong with single ones, by Message-ID.  Raises NOT_TAKEN when nothing could be sent.
        """
        problems: dict[str, str] = {}
        trust = ssl.create_default_context()
        direct = not self.starttls and (bool(self.username) or self.port == TLS_PORT)
        made: smtplib.SMTP = (
            smtplib.SMTP_SSL(self.host, self.port, timeout=self.connect_seconds, context=trust)
            if direct
            else smtplib.SMTP(self.host, self.port, timeout=self.connect_seconds)
        )
        with made as server:
            if server.sock is not None:
                server.sock.settimeout(self.seconds)
            if self.starttls:
                server.starttls(context=trust)
            if self.username:
                server.login(self.username, self.password)
            for each in messages:
                try:
                    server.send_message(each)
                except (smtplib.SMTPRecipientsRefused, smtplib.SMTPSenderRefused, smtplib.SMTPDataError) as no:
                    if len(messages) == 1:
                        raise
                    problems[str(each["Message-ID"])] = str(no)[:300]
                    server.rset()
        return problems
