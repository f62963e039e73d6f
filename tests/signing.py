"""How a client signs a request, written from the wire format's description and from nothing in `mold`."""

from __future__ import annotations

import base64
import hashlib
import hmac
from urllib.parse import quote

JAVA_SAFE = "-_.*"


def text_to_sign(params: dict[str, str], *, safe: str = JAVA_SAFE, fold_names: bool = False) -> str:
    """What is signed: names sorted, values encoded, joined, in lower case.

    `quote` leaves letters, digits and `_.-~` raw whatever `safe` says, so `~` is encoded by hand unless it is in `safe`.
    """
    pairs = sorted(params.items(), key=(lambda i: i[0].lower()) if fold_names else None)
    words = []
    for name, value in pairs:
        if name.lower() == "signature":
            continue
        word = quote(value, safe=safe)
        words.append(f"{name}={word if '~' in safe else word.replace('~', '%7E')}")
    return "&".join(words).lower()


def signature(params: dict[str, str], secret: str, *, safe: str = JAVA_SAFE, fold_names: bool = False) -> str:
    """HMAC-SHA1 of the text, base64."""
    text = text_to_sign(params, safe=safe, fold_names=fold_names)
    return base64.b64encode(hmac.new(secret.encode(), text.encode(), hashlib.sha1).digest()).decode()
