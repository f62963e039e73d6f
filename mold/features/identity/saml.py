"""SAML 2.0: signing in with a company's identity provider. Who may, is said for each user (`authorizeSamlSso`).

A browser goes to the provider with a request that is kept as a row, and comes back with an assertion that must answer it:
each is taken once.  Nobody becomes a user this way; the assertion names one whose provider was entered before.
"""

from __future__ import annotations

import datetime
import time
from typing import Annotated, Any
from urllib.parse import quote

import sqlalchemy as sa
import structlog
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from mold.api.answer import Field
from mold.api.command import Ctx, Param, command
from mold.api.door import Door, Entry, Request
from mold.api.lists import Query, lists
from mold.api.permit import ADMINS, Policy
from mold.base import ids
from mold.base.errors import Invalid, Refusal, Unauthorized, Unsupported
from mold.drivers import assertions as contract
from mold.drivers.assertions import Algorithm, IdentityProvider, NotProven, Own, Proven, ProviderAway, SingleSignOn
from mold.features.identity import sessions, signin, twofactor
from mold.features.identity.accounts import Account
from mold.features.identity.apikeys import OneOfUser
from mold.features.identity.domains import Domain
from mold.features.identity.sessions import Session
from mold.features.identity.spent import spend
from mold.features.identity.users import User
from mold.store import Resource, Tx, column, created, refers
from mold.store.settings import CHANGED, Declared, setting
from mold.work import change, look, reconciler

log = structlog.get_logger()


def _text(name: str, default: str, doc: str, **more: Any) -> Declared[str]:
    return setting(f"saml2.{name}", default, doc, group="SAML", **more)


def _url(text: str) -> str | None:
    fine = not text or text.startswith(("https://", "http://", "file:///"))
    return None if fine else "it must begin with https://, http:// or file:///."


def _page(text: str) -> str | None:
    return None if not text or text.startswith(("https://", "http://")) else "it must begin with https:// or http://."


ENABLED = setting("saml2.enabled", False, "Whether people sign in with SAML identity providers.", group="SAML")
METADATA = _text("idp.metadata.url", "", "Where the identity providers' metadata is (XML).", check=_url)
REFRESH = setting(
    "saml2.timeout", 1800, "How often the metadata is read anew.", group="SAML", low=300, unit="seconds"
)
DEFAULT = _text("default.idpid", "", "Entity id of the provider that is taken where several are known and none is named.")
ATTRIBUTE = _text("user.attribute", "uid", "The assertion's attribute with the user's name; NameID: the subject's own.")
REDIRECT = _text("redirect.url", "http://localhost:8080/client", "The page that browsers are sent to in the end.", check=_page)
FAILED = _text(
    "failed.login.redirect.url", "", "The page that browsers are sent to when sign-in fails; empty: our own console, which says why.",
    check=_page,
)  # fmt: skip
SP_ID = _text("sp.id", "mold", "Our own entity id, as providers know us.")
SSO_URL = _text(
    "sp.sso.url", "http://localhost:8080/client/api?command=samlSso", "The address that providers send browsers back to.",
    check=_page,
)  # fmt: skip
SLO_URL = _text(
    "sp.slo.url", "http://localhost:8080/client/", "The address that providers send browsers to after signing out.",
    check=_page,
)  # fmt: skip
ORGANIZATION = _text("sp.org.name", "Mold", "Our organization's name, in our metadata.")
ORGANIZATION_URL = _text("sp.org.url", "https://mold.invalid", "Our organization's page, in our metadata.")
CONTACT = _text("sp.contact.person", "Mold administrator", "Whom providers may ask, in our metadata.")
CONTACT_EMAIL = _text("sp.contact.email", "admin@mold.invalid", "And at which address.")
ALGORITHM = _text("sigalg", "SHA256", "How our requests are signed.", choices=("SHA1", "SHA256", "SHA384", "SHA512"))
FORCE = setting(
    "saml2.force.authn", False, "Whether providers must ask for the password each time.", group="SAML"
)
PASSWORD = setting(
    "saml2.require.password", True, "Whether providers are asked to have seen a password.", group="SAML"
)
KEY_PATH = _text("user.sessionkey.path", "", "Path of the session key's cookie that the console reads; empty: /.")
REQUEST_SECONDS = 900.0
"""How long somebody may take at the provider's."""
OFF = "SAML sign-in is off (saml2.enabled)."


class SamlKey(Resource):
    """Our own key and certificate as a service provider; there is one."""

    kind = "samlkey"
    title = "SAML key"
    policy = Policy()

    only: int = column(default=1, unique=True, hidden=True)
    key: str = column(secret=True)
    certificate: str = column(hidden=True)
    created: str = created()


class SamlMetadata(Resource):
    """The providers' metadata as it was last read from a URL. `tried`: when; `failed`: why it could not be had."""

    kind = "samlmetadata"
    title = "SAML metadata"
    policy = Policy()

    url: str = column(unique=True, hidden=True)
    text: str = column(default="", hidden=True)
    tried: float = column(hidden=True)
    failed: str = column(default="", hidden=True)


class SamlRequest(Resource):
    """A browser that was sent to a provider and has not come back yet."""

    kind = "samlrequest"
    title = "SAML request"
    policy = Policy()

    request: str = column(unique=True, hidden=True)
    idpid: str = column(hidden=True)
    domain_id: str | None = refers("domain", default=None, filter=False, cascade=True)
    browser: str = column(default="", hidden=True)
    until: float = column(hidden=True, index=True)


class SamlAuthorization(Resource):
    """A user who may sign in with a provider."""

    kind = "samlauthorization"
    title = "SAML authorization"
    policy = OneOfUser()

    user_id: str = refers("user", filter=False, cascade=True, unique=True, shows={"userid": "id"})
    idpid: str = column()
    status: bool = column(default=True)


class SamlSession(Resource):
    """What a session that began with an assertion remembers of it, to sign out at the provider's as well."""

    kind = "samlsession"
    title = "SAML session"
    policy = Policy()

    session_id: str = refers("login_session", filter=False, cascade=True, unique=True)
    idpid: str = column(hidden=True)
    username: str = column(hidden=True)
    name_id: str = column(hidden=True)
    name_format: str = column(hidden=True)
    session_index: str = column(hidden=True)


# -- who we are, and whom we trust -----------------------------------------------------------------------------------


def _library() -> SingleSignOn:
    if not contract.installed:
        raise Unsupported(
            "This management server cannot do SAML: it lacks pysaml2 (the extra `saml`) or the program xmlsec1."
        )
    return contract.installed[0]


def _new_key() -> tuple[str, str]:
    """A key of our own and its certificate (PEM); providers are given the certificate with our metadata."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=3072)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Mold service provider")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=3650)).sign(key, hashes.SHA256())
    )  # fmt: skip
    pem = serialization.Encoding.PEM
    text = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return text.decode(), made.public_bytes(pem).decode()


async def _own(door: Door) -> tuple[Own, str]:
    """Who we are, and the providers' metadata. Unsupported when SAML is off or there is none."""
    _library()
    row, enabled = await door.engine.reading(lambda tx: (tx.first(SamlKey), ENABLED.get(tx)))
    if not enabled:
        raise Unsupported(OFF)
    if row is None:
        key, certificate = _new_key()
        await door.engine.writing(lambda tx: tx.add_free(SamlKey(key=key, certificate=certificate)))
    return await door.engine.reading(_described)


def _described(tx: Tx) -> tuple[Own, str]:
    row = tx.first(SamlKey)
    assert row is not None
    algorithm: Algorithm = next((a for a in ("SHA1", "SHA384", "SHA512") if a == ALGORITHM.get(tx)), "SHA256")
    own = Own(
        id=SP_ID.get(tx),
        sso_url=SSO_URL.get(tx),
        slo_url=SLO_URL.get(tx),
        organization=ORGANIZATION.get(tx),
        organization_url=ORGANIZATION_URL.get(tx),
        contact=CONTACT.get(tx),
        contact_email=CONTACT_EMAIL.get(tx),
        algorithm=algorithm,
        force=FORCE.get(tx),
        require_password=PASSWORD.get(tx),
        certificate=row.certificate,
        key=row.key,
    )
    return own, _metadata(tx)


def _metadata(tx: Tx) -> str:
    found = tx.first(SamlMetadata, SamlMetadata.c.url == METADATA.get(tx))
    return found.text if found is not None else ""


@reconciler(every=10)
async def saml_metadata() -> int:
    """Reads the identity providers' metadata when it is old, or is another now."""

    def wanted(tx: Tx) -> str:
        url = METADATA.get(tx)
        if not url or not ENABLED.get(tx) or not contract.installed:
            return ""
        found = tx.first(SamlMetadata, SamlMetadata.c.url == url)
        old = REFRESH.get(tx) if found is not None and not found.failed else 60
        return url if found is None or time.time() - found.tried > old else ""

    url = await look(wanted)
    if not url:
        return 0
    text, failed = "", ""
    try:
        text = await _library().fetch(url)
    except ProviderAway as away:
        failed = away.text
        log.warning("identity providers' metadata", text=away.text)

    def keep(tx: Tx) -> None:
        tx.execute(sa.delete(SamlMetadata.table).where(SamlMetadata.c.url != url))
        found = tx.first(SamlMetadata, SamlMetadata.c.url == url)
        now = time.time()
        if found is None:
            tx.add(SamlMetadata(url=url, text=text, tried=now, failed=failed))
        else:  # what was read before is good until something better comes
            tx.set(found, text=text or found.text, tried=now, failed=failed)

    await change(keep)
    return 1


def _forget(tx: Tx, scope: str, scope_id: str) -> None:
    tx.execute(sa.delete(SamlMetadata.table))


CHANGED[METADATA.name] = _forget


async def _providers(door: Door) -> list[IdentityProvider]:
    def read(tx: Tx) -> str:
        return _metadata(tx) if ENABLED.get(tx) else ""

    text = await door.engine.reading(read)
    return await _library().providers(text) if text else []


# -- signing in ------------------------------------------------------------------------------------------------------


@command(
    "listIdps",
    shape="list",
    key="idp",
    open=True,
    fields=(Field("id"), Field("orgName"), Field("orgUrl")),
)
async def list_idps(door: Door, entry: Entry) -> dict[str, Any]:
    """Lists the identity providers with which people may sign in; anybody may ask."""
    if not contract.installed:
        return {}
    found = [
        {"id": p.id, "orgName": p.name or p.id, **({"orgUrl": p.url} if p.url else {})} for p in await _providers(door)
    ]
    return {"count": len(found), "idp": found} if found else {}


@command("getSPMetadata", shape="object", envelope="spmetadataresponse", open=True, fields=(Field("metadata"),))
async def sp_metadata(door: Door, entry: Entry) -> dict[str, Any] | str:
    """Gives our own metadata, for identity providers; as the bare document unless JSON is asked for."""
    own, _ = await _own(door)
    text = await _library().describe(own)
    if entry.request.given("response").lower() == "json":
        return {"metadata": text}
    entry.kind = "application/samlmetadata+xml; charset=UTF-8"
    return text


BINDING = "samlrequest"
"""The cookie that ties a request to the browser it was made for; only over HTTPS, where it may go along with the way back."""


@command(
    "samlSso",
    shape="flat",
    envelope="loginresponse",
    open=True,
    fields=signin.LOGIN_FIELDS,
    takes=(
        Param("idpid", required=True, doc="entity id of the identity provider; may be left out where there is one"),
        Param("domain", doc="path of the user's domain, where the same name is in several"),
    ),
)
async def saml_sso(door: Door, entry: Entry) -> Any:
    """Sends the browser to an identity provider to sign in, and takes what comes back from there."""
    request = entry.request
    try:
        if request.given("samlart"):
            raise Unsupported("Assertions are taken by POST only, not by reference (artifact).")
        response = request.given("samlresponse")
        return await (_take(door, entry, response) if response else _send(door, entry))
    except Refusal as no:
        page = await door.engine.reading(FAILED.get) if isinstance(no, Unauthorized) else ""
        if not page and _by_a_person(request):
            page = f"{CONSOLE}?signin={no.key}"
        if not page:
            raise
        log.info("refused", command="samlSso", text=no.text, inner=no.inner)
        entry.redirect = page
        return {}


CONSOLE = "/client/"
"""Our own console, which says in the person's language why a sign-in was refused: `signin` is the error's key."""


def _by_a_person(request: Request) -> bool:
    """Whether a browser shows the answer as a page, to somebody who was sent from page to page."""
    return not request.given("response") and "text/html" in request.headers.get("accept", "")


async def _send(door: Door, entry: Entry) -> dict[str, Any]:
    request = entry.request
    own, metadata = await _own(door)
    known = await _library().providers(metadata) if metadata else []
    wanted = request.given("idpid")
    default = await door.engine.reading(DEFAULT.get)
    if not wanted:
        wanted = known[0].id if len(known) == 1 else default
    if wanted not in {p.id for p in known}:
        raise Invalid(f"There is no identity provider {wanted[:200]}; listIdps names those there are.", parameter="idpid")
    sent = await _library().ask(own, metadata, wanted)
    browser = ids.token(16) if request.secure else ""

    def keep(tx: Tx) -> None:
        domain = signin.domain_of(tx, request)[0] if request.given("domain") or request.given("domainid") else None
        tx.execute(sa.delete(SamlRequest.table).where(SamlRequest.c.until < time.time()))
        tx.add(
            SamlRequest(
                request=sent.request,
                idpid=wanted,
                domain_id=domain.id if domain else None,
                browser=ids.digest(browser) if browser else "",
                until=time.time() + REQUEST_SECONDS,
            )
        )

    await door.engine.writing(keep)
    if browser:
        about = {"httponly": True, "secure": True, "samesite": "none", "path": "/client"}
        entry.cookies.append((BINDING, browser, about))
    entry.redirect = sent.url
    return {}


async def _take(door: Door, entry: Entry, response: str) -> dict[str, Any]:
    request = entry.request
    own, metadata = await _own(door)
    if not request.post:
        raise NotProven("An assertion comes by POST.", inner="SAMLResponse by GET")
    if not metadata:
        raise NotProven("No identity provider is known.", inner="no metadata")
    proven = await _library().judge(own, metadata, response)

    def settle(tx: Tx) -> Any:
        wrong = NotProven("The identity provider's answer does not prove who you are; sign in again.")
        asked = tx.first(SamlRequest, SamlRequest.c.request == proven.request)
        if asked is None or asked.until < time.time() or asked.idpid != proven.provider:
            wrong.inner = "no such request is open: it was answered before, is too old, or was made to somebody else"
            return wrong
        if asked.browser and ids.digest(request.cookies.get(BINDING, "")) != asked.browser:
            wrong.inner = "the request was made by another browser"
            return wrong
        tx.remove(asked)
        if not spend(tx, "saml", f"{proven.provider} {proven.assertion}", proven.until):
            wrong.inner = "the assertion was used before"
            return wrong
        name = ATTRIBUTE.get(tx)
        names = [proven.name_id] if name == "NameID" else proven.attributes.get(name, [])
        if len(names) != 1 or not names[0]:
            wrong.inner = f"the assertion has {len(names)} values of {name}"
            return wrong
        users = _users(tx, names[0], proven.provider)
        here = [u for u in users if asked.domain_id is None or u.domain_id == asked.domain_id]
        if not here:
            return Unauthorized(
                "You are known to the identity provider, but no user here may sign in with it under your name; ask an admin.",
                inner=f"no user {names[0][:100]} is authorized for {proven.provider}",
            )
        return _begin(tx, door, entry, here[0], proven, names[0])

    out = await door.engine.writing(settle)
    if isinstance(out, Refusal):
        raise out
    entry.cookies += out
    entry.redirect = await door.engine.reading(REDIRECT.get)
    return {}


def _users(tx: Tx, username: str, idpid: str) -> list[User]:
    """The enabled users of this name who may sign in with this provider, in whatever domain."""
    mine = sa.select(SamlAuthorization.c.user_id).where(
        SamlAuthorization.c.idpid == idpid, SamlAuthorization.c.status.is_(True)
    )
    return tx.find(
        User, User.c.username == username, User.c.source == "saml2", User.c.state == "enabled", User.c.id.in_(mine)
    )


def _begin(tx: Tx, door: Door, entry: Entry, user: User, proven: Proven, username: str) -> list[Any]:
    """Begin the session; the cookies that tell the console about it."""
    body, cookies = signin.issued(tx, door, user, entry.request, "saml2")
    session = tx.first(Session, Session.c.cookie_digest == ids.digest(cookies[0][1]))
    assert session is not None
    tx.add(
        SamlSession(
            session_id=session.id,
            idpid=proven.provider,
            username=username,
            name_id=proven.name_id,
            name_format=proven.name_format,
            session_index=proven.session_index,
        )
    )
    about = cookies[1][2]
    told = {
        "userid": body["userid"],
        "domainid": body["domainid"],
        "role": body["type"],
        "username": body["username"],
        "account": body["account"],
        "isSAML": "true",
        "twoFaEnabled": body["is2faenabled"],
        "twoFaProvider": body.get("providerfor2fa", ""),
        "userfullname": f"{body['firstname']} {body['lastname']}",
        "timezone": body.get("timezone", ""),
        "managementserverid": body.get("managementserverid", ""),
    }
    plain = {**about, "httponly": False, "path": "/"}
    out = [cookies[0], ("sessionkey", body["sessionkey"], {**about, "path": "/client/api"})]
    out.append(("sessionkey", body["sessionkey"], {**plain, "path": KEY_PATH.get(tx) or "/"}))
    return out + [(n, quote(str(v)), plain) for n, v in told.items() if v]


@command("samlSlo", shape="flat", envelope="logoutresponse", open=True, fields=(Field("description"),))
async def saml_slo(door: Door, entry: Entry) -> dict[str, str]:
    """Ends the session here, and sends the browser to the identity provider to end the one there."""
    request = entry.request
    if request.given("samlrequest"):
        raise Unsupported("Signing out begins here: a provider's own wish to end sessions is not taken.")
    entry.redirect = await door.engine.reading(REDIRECT.get)
    if request.given("samlresponse") or not request.cookies.get("JSESSIONID"):
        return {"description": "success"}  # back from the provider, or signed out already
    cookie = request.cookies["JSESSIONID"]

    def leave(tx: Tx) -> tuple[bool, SamlSession | None]:
        try:
            caller = signin.by_session(tx, request)
        except Unauthorized:
            return False, None
        found = tx.first(SamlSession, SamlSession.c.session_id == caller.session) if caller and caller.session else None
        sessions.close(tx, cookie)
        return True, found

    left, was = await door.engine.writing(leave)
    if not left:
        if not _by_a_person(request):
            raise Unauthorized(signin.BAD_SESSION, inner="session key is missing or wrong")
        return {"description": "success"}  # it has ended already, or it is another page's wish: nothing ends by it
    for name in request.cookies:
        entry.cookies.append((name, "", {"max_age": 0, "path": "/client" if name == "JSESSIONID" else "/"}))
    entry.cookies.append(("sessionkey", "", {"max_age": 0, "path": "/client/api"}))
    if was is not None and contract.installed and await door.engine.reading(ENABLED.get):
        own, metadata = await _own(door)
        who = Proven(was.idpid, "", "", was.name_id, was.name_format, was.session_index, 0, {})
        if metadata and was.idpid in {p.id for p in await _library().providers(metadata)}:
            sent = await _library().leave(own, metadata, was.idpid, who)
            if sent is not None:
                entry.redirect = sent.url
    return {"description": "success"}


SWITCH_FIELDS = tuple(Field(n) for n in ("userId", "domainId", "userName", "accountName", "domainName", "idpId"))


@command(
    "listAndSwitchSamlAccount",
    shape="list",
    key="samluseraccount",
    open=True,
    fields=SWITCH_FIELDS,
    takes=(
        Param("userid", "uuid", doc="id of the user to go on as"),
        Param("domainid", "uuid", doc="id of that user's domain"),
    ),
)
async def switch(door: Door, entry: Entry) -> dict[str, Any]:
    """Lists the users that the person who signed in with an identity provider may be, or goes on as another of them."""
    request = entry.request
    userid = request.given("userid")

    def settle(tx: Tx) -> Any:
        caller = signin.by_session(tx, request)
        was = tx.first(SamlSession, SamlSession.c.session_id == caller.session) if caller and caller.session else None
        if caller is None or was is None:
            return Unauthorized("Only who has signed in with an identity provider has other users to go on as.")
        if caller.extra.get("unverified"):
            return twofactor.Unverified("This session has yet to show the second factor.")
        users = _users(tx, was.username, was.idpid)
        if not userid:
            return users, was.idpid, tx.among(Account, [u.account_id for u in users]), tx.known_among(
                Domain, [u.domain_id for u in users]
            )
        chosen = next((u for u in users if u.id == userid.lower()), None)
        if chosen is None or (request.given("domainid") and request.given("domainid").lower() != chosen.domain_id):
            return Invalid("That is not a user you may go on as; ask for the list without userid.", parameter="userid")
        proven = Proven(was.idpid, "", "", was.name_id, was.name_format, was.session_index, 0, {})
        return _begin(tx, door, entry, chosen, proven, was.username)

    out = await door.engine.writing(settle)
    if isinstance(out, Refusal):
        raise out
    if isinstance(out, list):
        entry.cookies += out
        return {"success": True}
    users, idpid, accounts, domains = out
    found = [
        {
            "userId": u.id,
            "domainId": u.domain_id,
            "userName": u.username,
            "accountName": accounts[u.account_id].name,
            "domainName": domains[u.domain_id].name,
            "idpId": idpid,
        }
        for u in users
    ]
    return {"count": len(found), "samluseraccount": found} if found else {}


# -- who may -----------------------------------------------------------------------------------------------------------


async def _known(text: str) -> frozenset[str]:
    return frozenset(p.id for p in await _library().providers(text)) if text else frozenset()


def _which(ctx: Ctx, **_: Any) -> Any:
    return _known(_metadata(ctx.tx) if ENABLED.get(ctx.tx) else "")


@command("authorizeSamlSso", roles=ADMINS, event="USER.UPDATE", asks=_which)
def authorize(
    ctx: Ctx,
    userid: Annotated[User, Param(access="operate")],
    enable: bool,
    entityid: Annotated[str | None, Param(length=1024)] = None,
) -> None:
    """Lets a user sign in with an identity provider, and with nothing else; or no more.

    userid: id of the user
    enable: whether she may
    entityid: entity id of the identity provider; needed to enable
    """
    tx, known = ctx.tx, ctx.heard
    found = tx.first(SamlAuthorization, SamlAuthorization.c.user_id == userid.id)
    if userid.id == ctx.caller.user_id:
        raise Invalid("You cannot change how you sign in yourself; let another admin do it.", parameter="userid")
    if enable:
        if userid.source not in ("native", "saml2", "saml2disabled"):
            raise Invalid(f"The user {userid.username} signs in with {userid.source}.", parameter="userid")
        if not entityid or entityid not in known:
            raise Invalid("entityid must be the id of an identity provider, as listIdps names them.", parameter="entityid")
        if found is None:
            tx.add(SamlAuthorization(user_id=userid.id, idpid=entityid, status=True))
        else:
            tx.set(found, idpid=entityid, status=True)
        tx.set(userid, source="saml2")
    elif found is not None:
        tx.set(found, status=False)
        tx.set(userid, source="saml2disabled")
    sessions.close_all(tx, userid.id)
    ctx.tell(f"{'Allowed' if enable else 'Forbade'} sign-in by SAML to {userid.username}", about=userid)


@lists("listSamlAuthorization", SamlAuthorization, roles=ADMINS, envelope="listsamlauthorizationsresponse", id_param=False)
def _authorizations(q: Query, userid: Annotated[User | None, Param(access="operate")] = None) -> None:
    """Lists who may sign in with an identity provider.

    userid: id of a user
    """
    if userid is not None:
        q.where(SamlAuthorization.c.user_id == userid.id)
