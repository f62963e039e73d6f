"""Request signatures: HMAC-SHA1 over the sorted, lower-cased query, as CloudStack's clients make it."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import time
from collections.abc import Iterator
from urllib.parse import quote_plus

from mold.base import clock
from mold.base.errors import Unauthorized

REFUSED = "unable to verify user credentials and/or request signature"


def _encode(value: str, safe: str) -> str:
    return quote_plus(value, safe=safe).replace("+", "%20")


def candidates(params: dict[str, str]) -> Iterator[str]:
    """The texts that may have been signed: the documented one first, then what common clients really do.

    Differences between clients: the order of names (case-sensitive, or after lower-casing), and whether `~`
    and `[]` in values are left raw.
    """
    items = [(k, v) for k, v in params.items() if k.lower() != "signature"]
    seen: set[str] = set()
    for ordered in (sorted(items), sorted(items, key=lambda i: i[0].lower())):
        # quote_plus leaves `_.-~` raw; Java's form style leaves `*` raw and encodes `~`.
        for safe, tilde in (("*", True), ("*", False), ("*[]", True), ("*[]", False), ("[]", False), ("", False)):
            parts = []
            for k, v in ordered:
                word = _encode(v, safe)
                if tilde:
                    word = word.replace("~", "%7e")
                parts.append(f"{k}={word}")
            text = "&".join(parts).lower()
            if text not in seen:
                seen.add(text)
                yield text


def sign(text: str, secret: str) -> str:
    """The signature of a text."""
    return base64.b64encode(hmac.new(secret.encode(), text.encode(), hashlib.sha1).digest()).decode()


def verify(params: dict[str, str], secret: str) -> None:
    """Check signature and expiry of a request; Unauthorized (always the same text) when either fails."""
    low = {k.lower(): v for k, v in params.items()}
    if low.get("signatureversion") == "3":
        try:
            expires = clock.parse(low["expires"])
        except (KeyError, ValueError):
            raise Unauthorized(REFUSED, inner="signature version 3 without a readable expires") from None
        if expires <= time.time():
            raise Unauthorized(REFUSED, inner="signature expired")
    try:
        given = base64.b64decode(low.get("signature", ""), validate=True)
    except (binascii.Error, ValueError):
        raise Unauthorized(REFUSED, inner="signature is not base64") from None
    for text in candidates(params):
        if hmac.compare_digest(base64.b64decode(sign(text, secret)), given):
            return
    raise Unauthorized(REFUSED, inner="signature does not fit")
