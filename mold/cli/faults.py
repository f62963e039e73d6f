"""The ways in which the command line fails, each with its exit code.

0 is success, 2 a wrong call, 3 not signed in, 4 refused by the server (or no
server there), 5 a failed job, 6 out of time.  Every fault is one sentence.
"""

from __future__ import annotations

from typing import ClassVar

Fact = str | int | list[str]


class Fault(Exception):
    """Any failure that ends the command; `facts` travel in the JSON form of the error."""

    exit_code: ClassVar[int] = 4

    def __init__(self, text: str, **facts: Fact) -> None:
        super().__init__(text)
        self.text = text
        self.facts = facts


class Usage(Fault):
    """The command was called wrongly; nothing was sent that changes anything."""

    exit_code = 2


class NotSignedIn(Fault):
    """The server does not accept the credentials, or there are none."""

    exit_code = 3


class Refused(Fault):
    """The server understood and said no, or answered what is no answer."""


class Unreachable(Fault):
    """Nobody answers at the address."""


class JobFailed(Fault):
    """The job ran and failed."""

    exit_code = 5


class TimedOut(Fault):
    """The time given with --timeout is over; what was started may go on."""

    exit_code = 6
