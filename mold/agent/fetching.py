"""Fetching over HTTP from addresses that strangers name, without letting them reach into the cloud.

The name is resolved here, every address checked, and the connection made to exactly the address that was checked:
a name that means something else a moment later gains nothing.  The same at every redirect.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx

from mold.base.egress import IP, Network, may_reach, resolved
from mold.base.errors import Failed, Invalid

REDIRECTS_MAX = 5
CONNECT_SECONDS = 15.0
IDLE_SECONDS = 60.0
CHUNK = 1 << 20
URL_MAX = 2048
_REDIRECTS = (301, 302, 303, 307, 308)


@dataclass(frozen=True)
class Terms:
    """What a fetch may do: the private networks it may reach, how long a silence may last, whose servers it believes."""

    allow: tuple[Network, ...] = ()
    idle_seconds: float = IDLE_SECONDS
    authorities: str = ""
    may_downgrade: bool = False
    """Whether a redirect may lead from https to http (a checksum makes up for it)."""


@asynccontextmanager
async def opened(url: str, terms: Terms) -> AsyncIterator[httpx.Response]:
    """The answer to a GET of `url` after redirects, its body not yet read. Invalid: the URL; Failed: the server."""
    limits = httpx.Timeout(CONNECT_SECONDS, read=terms.idle_seconds)
    async with httpx.AsyncClient(verify=_trust(terms), trust_env=False, follow_redirects=False, timeout=limits) as client:
        at = _parsed(url)
        for _ in range(REDIRECTS_MAX + 1):
            response = await _get(client, at, terms)
            try:
                if response.status_code not in _REDIRECTS:
                    if response.status_code != 200:
                        raise Failed(f"{at.host} answered {response.status_code} instead of the image.", status=response.status_code)
                    yield response
                    return
                at = _next(at, response, terms)
            finally:
                await response.aclose()
        raise Failed(f"{_parsed(url).host} redirected more than {REDIRECTS_MAX} times.")


async def body(response: httpx.Response) -> AsyncIterator[bytes]:
    """The bytes of the file, as they lie on the server. Failed when they stop."""
    try:
        async for piece in response.aiter_raw(CHUNK):
            yield piece
    except httpx.TimeoutException:
        raise Failed(f"{_host(response)} stopped sending in the middle of the image.") from None
    except httpx.HTTPError as error:
        raise Failed(f"{_host(response)} broke off in the middle of the image: {error or type(error).__name__}.") from error


def length(response: httpx.Response) -> int:
    """How many bytes the server says it will send; 0 when it does not say."""
    text = response.headers.get("content-length", "")
    return int(text) if text.isdecimal() and len(text) < 20 else 0


async def _get(client: httpx.AsyncClient, url: httpx.URL, terms: Terms) -> httpx.Response:
    addresses = await _resolved(url, terms)
    problem = ""
    for address in addresses:
        request = client.build_request(
            "GET",
            url.copy_with(host=str(address)),
            headers={"Host": url.netloc.decode("ascii"), "Accept-Encoding": "identity", "User-Agent": "mold-agent"},
            extensions={"sni_hostname": url.raw_host.decode("ascii")},
        )
        try:
            return await client.send(request, stream=True)
        except httpx.TimeoutException:
            problem = f"{url.host} ({address}) did not answer in time."
        except httpx.HTTPError as error:
            problem = f"{url.host} ({address}) could not be asked for the image: {error or type(error).__name__}."
    raise Failed(problem, host=url.host)


async def _resolved(url: httpx.URL, terms: Terms) -> list[IP]:
    """The addresses of the URL's host, all of which may be reached; the first few."""
    host = url.raw_host.decode("ascii")
    addresses = await resolved(host)
    for address in addresses:
        if not may_reach(address, terms.allow):
            text = (
                f"{host} is at {address}, which is not an address of the public internet; an administrator may allow "
                "its network for fetching images."
            )
            raise Invalid(text, host=host, address=str(address))
    return addresses[:3]


def _parsed(text: str) -> httpx.URL:
    if len(text) > URL_MAX:
        raise Invalid(f"The URL has more than {URL_MAX} characters.")
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL as error:
        raise Invalid(f"'{text[:200]}' is not a URL: {error}.", url=text[:200]) from None
    if url.scheme not in ("http", "https") or not url.host:
        raise Invalid("Images are fetched by http:// and https:// URLs only.", scheme=url.scheme[:40])
    if url.userinfo:
        raise Invalid("The URL has a user name or password in it, which everybody who sees it could read; leave it out.")
    return url


def _next(at: httpx.URL, response: httpx.Response, terms: Terms) -> httpx.URL:
    try:
        to = at.join(response.headers.get("location", ""))
    except httpx.InvalidURL:
        raise Failed(f"{at.host} redirected to something that is not a URL.") from None
    if at.scheme == "https" and to.scheme == "http" and not terms.may_downgrade:
        raise Failed(f"{at.host} redirected from https to http; give a checksum, or the URL of a server that does not.")
    return _parsed(str(to))


def _trust(terms: Terms) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if terms.authorities:
        context.load_verify_locations(cafile=terms.authorities)
    return context


def _host(response: httpx.Response) -> str:
    return response.request.headers["Host"]
