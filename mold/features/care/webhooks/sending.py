"""Sending a webhook's delivery: signed, once, to an address that was looked at.

Where it may go is `mold.base.egress`: the name is resolved here, every address checked, and the connection made to the
address that was checked, again at each redirect.  The body is signed as receivers of the API's webhooks expect:
`X-CS-Signature` is the HMAC-SHA256 of the body under the webhook's secret, hexadecimal.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import ipaddress
import ssl
from dataclasses import dataclass
from typing import NamedTuple

import httpx

from mold.base import egress, net
from mold.base.errors import Failed, Invalid, Refusal
from mold.features.infra.settings import setting
from mold.store import Tx


def _wrong(text: str) -> str | None:
    try:
        egress.networks([w for w in text.split(",") if w.strip()])
    except Invalid as no:
        return no.text
    return None


ALLOWED = setting(
    "webhook.allowed.internal.sites",
    "",
    "CIDRs, comma separated, that webhooks may go to although they are private.",
    check=_wrong,
)
REDIRECTS_MAX = 3
ANSWER_MAX = 4096
URL_MAX = 2048
_REDIRECTS = (301, 302, 307, 308)


@dataclass(frozen=True)
class Parcel:
    """A delivery that is ready to be sent."""

    delivery: str
    event_id: str
    event_type: str
    payload: str
    url: str
    secret: str | None
    verify: bool
    tries: int
    most: int
    seconds: float
    allow: tuple[egress.Network, ...]
    sender: str

    def headers(self, body: bytes) -> dict[str, str]:
        """The headers that say what it is; the signature, where there is a secret."""
        kind = "application/json" if self.payload.lstrip()[:1] in ("{", "[") else "text/plain"
        out = {
            "Content-Type": f"{kind}; charset=utf-8",
            "User-Agent": f"CS-Hookshot/{self.sender}",
            "X-CS-Event-ID": self.event_id,
            "X-CS-Event": self.event_type,
        }
        if self.secret:
            out["X-CS-Signature"] = hmac.new(self.secret.encode(), body, hashlib.sha256).hexdigest()
        return out


class Sent(NamedTuple):
    """What came of it."""

    success: bool
    response: str
    headers: str


def address(text: str) -> httpx.URL:
    """The parts of a receiver's URL; Invalid says what is wrong with it."""
    if len(text) > URL_MAX:
        raise Invalid(f"The URL has more than {URL_MAX} characters.", parameter="payloadurl")
    net.url(text, "payloadurl")
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL as error:
        raise Invalid(f"'{text[:80]}' is not a URL: {error}.", parameter="payloadurl") from None
    if url.scheme not in ("http", "https") or not url.host:
        raise Invalid("Webhooks go to http:// and https:// URLs only.", parameter="payloadurl")
    if url.userinfo:
        raise Invalid("The URL has a user name or password in it; use secretkey to let the receiver know us.", parameter="payloadurl")
    return url


def permitted(url: httpx.URL, found: list[egress.IP], allow: tuple[egress.Network, ...]) -> list[egress.IP]:
    """These addresses, when Mold may go to all of them; Invalid otherwise."""
    for each in found:
        listed = any(each.version == n.version and each in n for n in allow)
        if not egress.may_reach(each, allow) or (egress.own(each) and not listed):
            raise Invalid(
                f"{url.host} is at {each}, where webhooks may not go: it is private, or this cloud's own. A root admin may "
                "allow its network (webhook.allowed.internal.sites).",
                host=url.host,
                address=str(each),
                parameter="payloadurl",
            )
    return found[:3]


def networks_allowed(tx: Tx) -> tuple[egress.Network, ...]:
    return egress.networks([w for w in ALLOWED.get(tx).split(",") if w.strip()])


def checked(tx: Tx, text: str) -> str:
    """A receiver's URL as it is kept. One that names a forbidden address is refused now, not only when it is used."""
    url = address(text)
    try:
        literal = ipaddress.ip_address(url.host)
    except ValueError:
        return text
    permitted(url, [literal], networks_allowed(tx))
    return text


async def send(parcel: Parcel) -> Sent:
    """Send a delivery once. Never raises; what went wrong is in the answer."""
    body = parcel.payload.encode()
    headers = parcel.headers(body)
    written = "\n".join(f"{k}: {v}" for k, v in headers.items())
    try:
        async with asyncio.timeout(parcel.seconds):
            status, text = await _post(parcel, body, headers)
    except TimeoutError:
        return Sent(False, f"The receiver did not answer in {parcel.seconds:g} seconds.", written)
    except Refusal as no:
        return Sent(False, no.text, written)
    except (httpx.HTTPError, OSError, ValueError) as broken:
        return Sent(False, f"The receiver could not be told: {str(broken)[:300] or type(broken).__name__}.", written)
    return Sent(200 <= status < 300, f"{status} {text}".strip(), written)


async def _post(parcel: Parcel, body: bytes, headers: dict[str, str]) -> tuple[int, str]:
    trust = ssl.create_default_context()
    if not parcel.verify:
        trust.check_hostname, trust.verify_mode = False, ssl.CERT_NONE
    at = address(parcel.url)
    async with httpx.AsyncClient(verify=trust, trust_env=False, follow_redirects=False, timeout=parcel.seconds) as client:
        for _ in range(REDIRECTS_MAX + 1):
            places = permitted(at, await egress.resolved(at.raw_host.decode("ascii")), parcel.allow)
            response = await _sent(client, at, places, body, headers)
            try:
                if response.status_code not in _REDIRECTS:
                    return response.status_code, await _text(response)
                to = at.join(response.headers.get("location", ""))
            finally:
                await response.aclose()
            if at.scheme == "https" and to.scheme == "http":
                raise Failed(f"{at.host} redirected from https to http.")
            at = address(str(to))
    raise Failed(f"The receiver redirected more than {REDIRECTS_MAX} times.")


async def _sent(
    client: httpx.AsyncClient, at: httpx.URL, places: list[egress.IP], body: bytes, headers: dict[str, str]
) -> httpx.Response:
    """The answer of the first address that takes a connection."""
    broken: httpx.HTTPError | None = None
    for place in places:
        request = client.build_request(
            "POST",
            at.copy_with(host=str(place)),
            content=body,
            headers={**headers, "Host": at.netloc.decode("ascii"), "Accept-Encoding": "identity"},
            extensions={"sni_hostname": at.raw_host.decode("ascii")},
        )
        try:
            return await client.send(request, stream=True)
        except httpx.ConnectError as error:
            broken = error
    raise Failed(f"{at.host} could not be reached: {broken or 'it has no address'}.")


async def _text(response: httpx.Response) -> str:
    """The beginning of the answer; the rest is not read."""
    found = b""
    async for piece in response.aiter_raw():
        found += piece
        if len(found) >= ANSWER_MAX:
            break
    return found[:ANSWER_MAX].decode("utf-8", "replace").replace("\0", "")
