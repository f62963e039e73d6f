"""Secrets at rest: AES-GCM under one key per installation.

The key is 32 random bytes in the data folder (mode 600), or in the environment variable MOLD_KEY
(URL-safe base64) where several managers share one PostgreSQL: they must share the key as well.
"""

from __future__ import annotations

import base64
import hmac
import os
import secrets
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

MARK = "s1:"
_key: AESGCM | None = None
_marks: bytes | None = None


def load(folder: Path) -> None:
    """Load the installation's key, making it at the first start."""
    text = os.environ.get("MOLD_KEY")
    if text:
        _use(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        return
    path = folder / "secret.key"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        draft = folder / f".secret.{os.getpid()}"
        draft.write_bytes(secrets.token_bytes(32))
        draft.chmod(0o600)
        try:
            os.link(draft, path)  # the first of several starters wins
        except FileExistsError:
            pass
        draft.unlink()
    _use(path.read_bytes())


def _use(key: bytes) -> None:
    global _key, _marks
    _key = AESGCM(key)
    _marks = hmac.digest(key, b"marks", "sha256")  # a key of its own, so that a mark says nothing of what is sealed


def mark(*words: str) -> str:
    """A mark (HMAC-SHA256, URL-safe base64) that only this installation can put on these words in this order."""
    if _marks is None:
        raise RuntimeError("the installation's key is not loaded; call seal.load first")
    text = "\0".join(f"{len(w)}:{w}" for w in words)
    return base64.urlsafe_b64encode(hmac.digest(_marks, text.encode(), "sha256")).decode().rstrip("=")


def same(expected: str, given: str) -> bool:
    """Whether two marks are the same, in a time that tells nothing of where they differ."""
    return hmac.compare_digest(expected.encode(), given.encode())


def _cipher() -> AESGCM:
    if _key is None:
        raise RuntimeError("the installation's key is not loaded; call seal.load first")
    return _key


def close(text: str) -> str:
    """Encrypt."""
    nonce = secrets.token_bytes(12)
    return MARK + base64.urlsafe_b64encode(nonce + _cipher().encrypt(nonce, text.encode(), None)).decode()


def open(sealed: str) -> str:
    """Decrypt; RuntimeError when the key is not the one it was sealed with."""
    data = base64.urlsafe_b64decode(sealed.removeprefix(MARK))
    try:
        return _cipher().decrypt(data[:12], data[12:], None).decode()
    except InvalidTag:
        raise RuntimeError(
            "a secret in the database was sealed with another key; restore secret.key of this installation"
        ) from None
