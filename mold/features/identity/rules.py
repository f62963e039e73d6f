"""Rules: ordered lines of "this command, yes or no", as roles, project roles and API keys carry them.

A pattern is a command's name, or part of one with `*` for any run of letters and digits; the first that matches decides.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal

from mold.base.errors import Invalid

Permission = Literal["allow", "deny"]
PATTERN = re.compile(r"[A-Za-z0-9*]{1,255}")


class Rules:
    """Rules ready to be asked. Answers are remembered: most commands are asked for again and again."""

    def __init__(self, lines: Iterable[tuple[str, bool]]) -> None:
        self._exact: dict[str, tuple[int, bool]] = {}
        self._wild: list[tuple[int, re.Pattern[str], bool]] = []
        self._known: dict[str, bool | None] = {}
        for place, (pattern, allow) in enumerate(lines):
            if "*" in pattern:
                # Runs of stars mean what one does, and would take exponential time to match.
                text = r"\w*".join(map(re.escape, re.split(r"\*+", pattern)))
                self._wild.append((place, re.compile(text, re.IGNORECASE), allow))
            else:
                self._exact.setdefault(pattern.lower(), (place, allow))

    def verdict(self, command: str) -> bool | None:
        """What the first rule that matches says; None when none does."""
        if command not in self._known:
            self._known[command] = self._first(command)
        return self._known[command]

    def _first(self, command: str) -> bool | None:
        exact = self._exact.get(command.lower())
        for place, pattern, allow in self._wild:
            if exact is not None and exact[0] < place:
                break
            if pattern.fullmatch(command):
                return allow
        return exact[1] if exact is not None else None


def pattern_of(text: str) -> str:
    """A rule's pattern, checked."""
    if not PATTERN.fullmatch(text):
        raise Invalid(
            f"The rule '{text[:80]}' is no command's name; it has letters and digits, and * for any run of them.",
            parameter="rule",
        )
    return text


def permission_of(text: str) -> Permission:
    """A rule's permission, checked."""
    word = text.strip().lower()
    if word == "allow":
        return "allow"
    if word == "deny":
        return "deny"
    raise Invalid(f"The permission '{text[:80]}' must be allow or deny.", parameter="permission")
