"""SAML 2.0 with pysaml2 and the program xmlsec1.

A response is looked at twice: first its shape, by ourselves and strictly (one assertion, directly in the response, with one
signature of its own that names it; no DTD; no weak algorithm), then signature, audience, times and recipient by the library.
So whatever the library might take for the assertion is the very one that was signed.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import shutil
import tempfile
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx
import structlog

from mold.drivers.assertions import IdentityProvider, NotProven, Own, Proven, ProviderAway, Sent

log = structlog.get_logger()
T = TypeVar("T")
REFUSED = "The identity provider's answer does not prove who you are; sign in again."
METADATA_MAX = 8 << 20
FETCH_SECONDS = 20.0
DRIFT_SECONDS = 60
"""How far the provider's clock may be off."""
SAML, SAMLP = "urn:oasis:names:tc:SAML:2.0:assertion", "urn:oasis:names:tc:SAML:2.0:protocol"
DS, MD = "http://www.w3.org/2000/09/xmldsig#", "urn:oasis:names:tc:SAML:2.0:metadata"
MORE = "http://www.w3.org/2001/04/xmldsig-more#"
SIGNATURES = frozenset(
    f"{MORE}{kind}-{word}" for kind in ("rsa", "ecdsa") for word in ("sha256", "sha384", "sha512")
)
DIGESTS = frozenset(
    {f"{MORE}sha384", "http://www.w3.org/2001/04/xmlenc#sha256", "http://www.w3.org/2001/04/xmlenc#sha512"}
)
REQUESTED = "urn:oasis:names:tc:SAML:2.0:ac:classes:PasswordProtectedTransport"


def ready() -> bool:
    """Whether this machine has what SAML needs."""
    import importlib.util

    return importlib.util.find_spec("saml2") is not None and shutil.which("xmlsec1") is not None


class Saml:
    """Single sign-on of `mold.drivers.assertions`."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(2, "saml")
        # pysaml2 takes keys as files only: a folder of our own (mode 700), which goes with the process.
        self._known: tuple[tuple[Own, str], Any] | None = None
        self._keys = tempfile.TemporaryDirectory(prefix="mold-saml-")

    async def _run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    async def fetch(self, url: str) -> str:
        """See `SingleSignOn`. Redirects are not followed: the admin says where metadata is, not the server behind it."""
        parts = urlsplit(url)
        try:
            if parts.scheme == "file":
                text = await asyncio.to_thread(lambda: Path(parts.path).read_text())
            else:
                async with httpx.AsyncClient(timeout=FETCH_SECONDS, follow_redirects=False) as client:
                    answer = await client.get(url)
                if answer.status_code != 200:
                    raise ProviderAway(f"The metadata at {url[:200]} cannot be had: status {answer.status_code}.")
                text = answer.text
        except (httpx.HTTPError, OSError, UnicodeDecodeError) as broken:
            raise ProviderAway(f"The metadata at {url[:200]} cannot be had: {broken or type(broken).__name__}.") from None
        if len(text) > METADATA_MAX:
            raise ProviderAway(f"The metadata at {url[:200]} is larger than {METADATA_MAX} bytes.")
        await self.providers(text)
        return text

    async def providers(self, metadata: str) -> list[IdentityProvider]:
        """See `SingleSignOn`."""
        return await self._run(lambda: _providers(metadata))

    async def describe(self, own: Own) -> str:
        """See `SingleSignOn`."""

        def work() -> str:
            from saml2.metadata import entity_descriptor

            return str(entity_descriptor(self._config(own, None)))

        return await self._run(work)

    async def ask(self, own: Own, metadata: str, provider: str) -> Sent:
        """See `SingleSignOn`."""

        def work() -> Sent:
            import saml2
            from saml2.saml import AuthnContextClassRef
            from saml2.samlp import RequestedAuthnContext

            client, more = self._client(own, metadata), {}
            if own.require_password:
                wanted = AuthnContextClassRef(text=REQUESTED)
                more["requested_authn_context"] = RequestedAuthnContext(
                    authn_context_class_ref=[wanted], comparison="minimum"
                )
            if own.force:
                more["force_authn"] = "true"
            request, info = client.prepare_for_authenticate(
                entityid=provider,
                binding=saml2.BINDING_HTTP_REDIRECT,
                response_binding=saml2.BINDING_HTTP_POST,
                sign=True,
                sigalg=f"{MORE if own.algorithm != 'SHA1' else DS}rsa-{own.algorithm.lower()}",
                **more,
            )
            return Sent(dict(info["headers"])["Location"], request)

        return await self._run(work)

    async def judge(self, own: Own, metadata: str, response: str) -> Proven:
        """See `SingleSignOn`. The library raises plain Exception for some of what it finds wrong: all of it is a no."""
        (told,) = await asyncio.gather(
            self._run(lambda: self._judged(own, metadata, response)), return_exceptions=True
        )
        if isinstance(told, Proven):
            return told
        if isinstance(told, Exception) and not isinstance(told, NotProven):
            raise NotProven(REFUSED, inner=f"{type(told).__name__}: {told}"[:300]) from told
        raise told

    async def leave(self, own: Own, metadata: str, provider: str, who: Proven) -> Sent | None:
        """See `SingleSignOn`."""

        def work() -> Sent | None:
            import saml2
            from saml2.saml import NameID

            client = self._client(own, metadata)
            places = client.metadata.single_logout_service(provider, saml2.BINDING_HTTP_REDIRECT, "idpsso")
            if not places:
                return None
            where = places[0]["location"]
            name = NameID(text=who.name_id, format=who.name_format or None)
            request, message = client.create_logout_request(
                where, provider, name_id=name, session_indexes=[who.session_index] if who.session_index else None
            )
            info = client.apply_binding(
                saml2.BINDING_HTTP_REDIRECT,
                str(message),
                where,
                sign=True,
                sigalg=f"{MORE if own.algorithm != 'SHA1' else DS}rsa-{own.algorithm.lower()}",
            )
            return Sent(dict(info["headers"])["Location"], request)

        return await self._run(work)

    # -- the library ----------------------------------------------------------------------------------------------

    def _file(self, text: str, kind: str) -> str:
        path = Path(self._keys.name) / f"{hashlib.sha256(text.encode()).hexdigest()[:32]}.{kind}"
        if not path.exists():
            path.touch(0o600)
            path.write_text(text)
        return str(path)

    def _config(self, own: Own, metadata: str | None) -> Any:
        import saml2
        from saml2.config import SPConfig

        config = SPConfig()
        config.load(
            {
                "entityid": own.id,
                "xmlsec_binary": shutil.which("xmlsec1"),
                "key_file": self._file(own.key, "key"),
                "cert_file": self._file(own.certificate, "crt"),
                "accepted_time_diff": DRIFT_SECONDS,
                "only_use_keys_in_metadata": True,
                "allow_unknown_attributes": True,
                "delete_tmpfiles": True,
                **({"metadata": {"inline": [metadata]}} if metadata is not None else {}),
                "organization": {
                    "name": [(own.organization, "en")],
                    "display_name": [(own.organization, "en")],
                    "url": [(own.organization_url, "en")],
                },
                "contact_person": [
                    {"givenname": own.contact, "email_address": [own.contact_email], "contact_type": "technical"}
                ],
                "service": {
                    "sp": {
                        "name": own.organization,
                        "endpoints": {
                            "assertion_consumer_service": [(own.sso_url, saml2.BINDING_HTTP_POST)],
                            "single_logout_service": [(own.slo_url, saml2.BINDING_HTTP_REDIRECT)],
                        },
                        "allow_unsolicited": True,  # whom we asked is looked up by the caller, in the database
                        "want_assertions_signed": True,
                        "want_response_signed": False,
                        "authn_requests_signed": True,
                        "name_id_format": ["urn:oasis:names:tc:SAML:2.0:nameid-format:transient"],
                        "name_id_policy_format": None,
                    }
                },
            }
        )
        return config

    def _client(self, own: Own, metadata: str) -> Any:
        """A client for one use: it remembers whom it has seen, and nobody is to be mistaken for anybody else."""
        from saml2.client import Saml2Client

        known = self._known
        if known is None or known[0] != (own, metadata):  # reading metadata takes half a second
            known = self._known = (own, metadata), self._config(own, metadata)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return Saml2Client(config=known[1])

    def _judged(self, own: Own, metadata: str, response: str) -> Proven:
        try:
            raw = base64.b64decode(response, validate=False)
        except (binascii.Error, ValueError):
            raise NotProven(REFUSED, inner="not base64") from None
        shape(raw)
        import saml2

        told = self._client(own, metadata).parse_authn_request_response(response, saml2.BINDING_HTTP_POST)
        if told is None:
            raise NotProven(REFUSED, inner="nothing was found in it")
        return _proven(own, told)


def _tree(raw: bytes | str) -> Any:
    """The XML, parsed without DTD, entities or anything from outside; NotProven otherwise."""
    from xml.etree.ElementTree import ParseError

    from defusedxml import DefusedXmlException
    from defusedxml.ElementTree import fromstring

    try:
        return fromstring(raw, forbid_dtd=True, forbid_entities=True, forbid_external=True)
    except (ParseError, DefusedXmlException, ValueError, LookupError) as broken:
        raise NotProven(REFUSED, inner=f"XML: {type(broken).__name__} {broken}"[:300]) from None


def _providers(metadata: str) -> list[IdentityProvider]:
    try:
        tree = _tree(metadata.encode())
    except NotProven as no:
        raise ProviderAway(f"The providers' metadata is no sound XML ({no.inner}).") from None
    found: list[IdentityProvider] = []
    for each in [tree, *tree.iter(f"{{{MD}}}EntityDescriptor")]:
        role = each.find(f"{{{MD}}}IDPSSODescriptor")
        if role is None or each.tag != f"{{{MD}}}EntityDescriptor" or any(f.id == each.get("entityID") for f in found):
            continue
        keys = [k for k in role.findall(f"{{{MD}}}KeyDescriptor") if k.get("use") in (None, "signing")]
        if not any((c.text or "").strip() for k in keys for c in k.iter(f"{{{DS}}}X509Certificate")):
            log.warning("identity provider has no certificate", provider=each.get("entityID"))
            continue
        name = next((e.text or "" for e in each.iter(f"{{{MD}}}OrganizationDisplayName")), "")
        url = next((e.text or "" for e in each.iter(f"{{{MD}}}OrganizationURL")), "")
        found.append(IdentityProvider(each.get("entityID") or "", name.strip(), url.strip()))
    return found


def shape(raw: bytes) -> None:
    """NotProven unless it is a response with one assertion, directly in it, that has one signature of its own."""

    def no(why: str) -> NotProven:
        return NotProven(REFUSED, inner=f"shape: {why}")

    root = _tree(raw)
    if root.tag != f"{{{SAMLP}}}Response":
        raise no("not a response")
    every = list(root.iter())
    assertions = [e for e in every if e.tag == f"{{{SAML}}}Assertion"]
    if len(assertions) != 1 or assertions[0] not in list(root):
        raise no("not exactly one assertion directly in the response")
    if any(e.tag in (f"{{{SAML}}}EncryptedAssertion", f"{{{SAML}}}EncryptedID") for e in every):
        raise no("encrypted; no key was published for that")
    if sum(e.tag == f"{{{SAMLP}}}Response" for e in every) != 1:
        raise no("more than one response")
    ids = [e.attrib[k] for e in every for k in e.attrib if k.rpartition("}")[2].lower() == "id"]
    if len(ids) != len(set(ids)):
        raise no("an ID twice")
    assertion = assertions[0]
    signatures = [e for e in every if e.tag == f"{{{DS}}}Signature"]
    mine = [e for e in assertion if e.tag == f"{{{DS}}}Signature"]
    own = [e for e in root if e.tag == f"{{{DS}}}Signature"]
    if len(mine) != 1 or len(own) > 1 or len(signatures) != len(mine) + len(own):
        raise no("not exactly one signature of the assertion's own")
    for signature, signed in [(mine[0], assertion), *((s, root) for s in own)]:
        references = list(signature.iter(f"{{{DS}}}Reference"))
        if len(references) != 1 or not signed.get("ID") or references[0].get("URI") != f"#{signed.get('ID')}":
            raise no("the signature is of something else")
        for tag, allowed in (("SignatureMethod", SIGNATURES), ("DigestMethod", DIGESTS)):
            words = {e.get("Algorithm") for e in signature.iter(f"{{{DS}}}{tag}")}
            if not words or not words <= allowed:
                raise no(f"{tag} is {words}")


def _proven(own: Own, told: Any) -> Proven:
    """What a verified response says; NotProven where it leaves out what bounds it."""
    assertion = told.assertion
    conditions = assertion.conditions
    audiences = [a.text.strip() for r in conditions.audience_restriction for a in r.audience]
    if own.id not in audiences:
        raise NotProven(REFUSED, inner=f"it is for {audiences}")
    until = _instant(conditions.not_on_or_after)
    if until + DRIFT_SECONDS <= time.time():
        raise NotProven(REFUSED, inner="expired")
    bearer = [
        c.subject_confirmation_data
        for c in assertion.subject.subject_confirmation
        if c.method == "urn:oasis:names:tc:SAML:2.0:cm:bearer"
    ]
    if len(bearer) != 1 or bearer[0].recipient != own.sso_url:
        raise NotProven(REFUSED, inner="it is not for this address")
    if not bearer[0].in_response_to or bearer[0].in_response_to != told.response.in_response_to:
        raise NotProven(REFUSED, inner="nobody asked for it")
    if told.response.issuer is not None and told.response.issuer.text.strip() != assertion.issuer.text.strip():
        raise NotProven(REFUSED, inner="response and assertion come from different providers")
    name = assertion.subject.name_id
    attributes: dict[str, list[str]] = {}
    for statement in assertion.attribute_statement:
        for each in statement.attribute:
            values = [(v.text or "").strip() for v in each.attribute_value]
            for word in {each.name, each.friendly_name} - {None}:
                attributes.setdefault(word, []).extend(values)
    return Proven(
        provider=assertion.issuer.text.strip(),
        assertion=assertion.id,
        request=bearer[0].in_response_to,
        name_id=name.text.strip() if name is not None and name.text else "",
        name_format=(name.format or "") if name is not None else "",
        session_index=assertion.authn_statement[0].session_index or "",
        until=until + DRIFT_SECONDS,
        attributes=attributes,
    )


def _instant(text: str) -> float:
    import calendar

    from saml2.time_util import str_to_time

    return float(calendar.timegm(str_to_time(text)))
