"""The start of RFB, the protocol of VNC, spoken by the console's proxy on both sides.

To the machine's screen the proxy is a viewer that knows the password; to the browser it is a screen that asks for none:
the ticket has let the browser in already, and the password never leaves the server.  After the two handshakes the proxy
understands nothing any more: ClientInit and all that follows is between browser and screen (RFC 6143, version 3.8).
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable

from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.modes import ECB

from mold.base.errors import Denied, Failed

VERSION = b"RFB 003.008\n"
OPEN, PASSWORD = 1, 2
"""Security types: none, and the challenge encrypted with the password."""
REASON_MAX = 512
NOT_SPOKEN = "This viewer does not speak RFB 3.8 without a password; use the page that came with the ticket."

Send = Callable[[bytes], Awaitable[None]]


class Inflow:
    """Bytes that arrive in messages, taken by count. `more` waits for the next message and raises at the end."""

    def __init__(self, more: Callable[[], Awaitable[bytes]]) -> None:
        self.more = more
        self.rest = b""
        """What has come and was not taken yet."""

    async def take(self, count: int) -> bytes:
        """Exactly `count` bytes."""
        while len(self.rest) < count:
            self.rest += await self.more()
        taken, self.rest = self.rest[:count], self.rest[count:]
        return taken


def answer(password: str, challenge: bytes) -> bytes:
    """The answer to a VNC challenge: it encrypted with DES, the first eight characters of the password as key.

    VNC reads every byte of the key backwards.  DES alone is not offered any more; three times the same key is DES.
    """
    word = password.encode("latin-1", "replace")[:8].ljust(8, b"\0")
    key = bytes(int(f"{byte:08b}"[::-1], 2) for byte in word)
    cipher = Cipher(TripleDES(key * 3), ECB()).encryptor()  # noqa: S305 - RFB prescribes it; the way is TLS
    return cipher.update(challenge) + cipher.finalize()


async def enter(screen: Inflow, send: Send, password: str) -> None:
    """Sign in to a machine's screen. Failed when it refuses or speaks something else."""
    greeting = await screen.take(len(VERSION))
    if not re.fullmatch(rb"RFB \d{3}\.\d{3}\n", greeting) or greeting < VERSION:
        raise Failed("The machine's screen does not speak RFB 3.8.", inner=repr(greeting))
    await send(VERSION)
    count = (await screen.take(1))[0]
    if not count:
        raise Failed(f"The machine's screen lets nobody in: {await _reason(screen)}")
    offered = await screen.take(count)
    if PASSWORD in offered:
        await send(bytes([PASSWORD]))
        await send(answer(password, await screen.take(16)))
    elif OPEN in offered:
        await send(bytes([OPEN]))
    else:
        raise Failed("The machine's screen asks for a kind of sign-in that Mold does not know.", inner=offered.hex())
    if any(await screen.take(4)):
        raise Failed(f"The machine's screen did not take its password: {await _reason(screen)}")


async def admit(viewer: Inflow, send: Send) -> None:
    """Let a browser in without a password. Denied when it speaks another version."""
    await send(VERSION)
    if await viewer.take(len(VERSION)) != VERSION:
        raise Denied(NOT_SPOKEN)
    await send(bytes([1, OPEN]))
    if (await viewer.take(1))[0] != OPEN:
        raise Denied(NOT_SPOKEN)
    await send(bytes(4))


async def _reason(screen: Inflow) -> str:
    length = int.from_bytes(await screen.take(4))
    return (await screen.take(min(length, REASON_MAX))).decode("utf-8", "replace")
