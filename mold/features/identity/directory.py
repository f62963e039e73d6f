"""LDAP: which directories there are, which domains and accounts their groups are linked to, and who comes from there.

People of a linked group become users when they first sign in.  What a directory knows is asked before a command's
transaction (`asks` of commands), at sign-in likewise; so a directory that hangs holds up nobody else.
"""

from __future__ import annotations

from collections.abc import Awaitable
from pathlib import Path
from typing import Annotated, Any, Literal

import sqlalchemy as sa
import structlog

from mold.api.answer import Field, show
from mold.api.command import Ctx, Details, Param, command
from mold.api.lists import Query, lists, paged, window
from mold.api.permit import ADMINS, FALSE, OPERATORS, ROOT, TRUE, Caller, Policy, RoleType, below, condition
from mold.base import ids, net
from mold.base.errors import Conflict, Denied, Invalid, NotFound, Unsupported
from mold.drivers import directory as contract
from mold.drivers.directory import Directory, DirectoryAway, Found, Security, Server, Where
from mold.features.identity import signin
from mold.features.identity.accounts import BY_TYPE, Account, chosen_id, new_account, role_for
from mold.features.identity.domains import Domain, check_suffix
from mold.features.identity.roles import Role
from mold.features.identity.signin import Way
from mold.features.identity.users import User, new_user
from mold.store import Resource, Tx, column, created, refers
from mold.store.settings import Declared, reset, setting, store

log = structlog.get_logger()
GROUP = "LDAP"


def _text(name: str, default: str, doc: str, **more: Any) -> Declared[str]:
    return setting(f"ldap.{name}", default, doc, group=GROUP, scopes=("domain",), **more)


def _file(text: str) -> str | None:
    return None if not text or Path(text).is_file() else "there is no such file on this management server."


BASE = _text("basedn", "", "DN below which people and groups are looked for.")
PRINCIPAL = _text("bind.principal", "", "DN as which the directory is asked; empty: as nobody.", category="Secure", secret=True)
PASSWORD = _text("bind.password", "", "The password that goes with ldap.bind.principal.", category="Secure", secret=True)
EMAIL = _text("email.attribute", "mail", "Attribute with a person's mail address.")
FIRSTNAME = _text("firstname.attribute", "givenname", "Attribute with a person's first name.")
LASTNAME = _text("lastname.attribute", "sn", "Attribute with a person's last name.")
USERNAME = _text("username.attribute", "uid", "Attribute with the name that a person signs in with.")
USER_OBJECT = _text("user.object", "inetOrgPerson", "Object class of people.")
GROUP_OBJECT = _text("group.object", "groupOfUniqueNames", "Object class of groups.")
MEMBER = _text("group.user.uniquemember", "uniquemember", "Attribute of a group that names its members.")
MEMBER_OF = _text("user.memberof.attribute", "memberof", "Attribute of a person that names the groups.")
ONLY_GROUP = _text("search.group.principle", "", "DN of a group that everybody must be a member of; empty: nobody need.")
NESTED = setting(
    "ldap.nested.groups.enable", True, "Whether members of groups in a group count.", group=GROUP, scopes=("domain",)
)
PROVIDER = _text("provider", "openldap", "The kind of directory.", choices=("openldap", "microsoftad"))
TIMEOUT = setting(
    "ldap.read.timeout", 1000, "How long a directory may take to connect and for each answer.", group=GROUP,
    scopes=("domain",), low=50, high=60_000, unit="milliseconds", shape="Long",
)  # fmt: skip
PAGE = setting(
    "ldap.request.page.size", 1000, "How many people are asked for at a time.", group=GROUP, scopes=("domain",),
    low=1, high=10_000, unit="people",
)  # fmt: skip
TRUSTSTORE = _text(
    "truststore",
    "",
    "File (PEM) of the authorities that a directory's certificate must come from; setting it asks for LDAPS.",
    check=_file,
)
SECURITY = _text(
    "connection.security",
    "auto",
    "How directories are spoken to; auto: LDAPS where ldap.truststore is set or the port is 636 or 3269, else plainly.",
    choices=("auto", "plain", "starttls", "ldaps"),
)
NAMES = {
    "base": BASE, "principal": PRINCIPAL, "password": PASSWORD, "email": EMAIL, "firstname": FIRSTNAME,
    "lastname": LASTNAME, "username": USERNAME, "user_object": USER_OBJECT, "group_object": GROUP_OBJECT,
    "member": MEMBER, "member_of": MEMBER_OF, "only_group": ONLY_GROUP,
}  # fmt: skip
AWAY = "The company's directory does not answer now; try again shortly, or ask an admin to look at it."


class OfDomain(Policy):
    """Directories and links: operators, and admins for their own domains; users need not know of them."""

    def see(self, caller: Caller, t: Any) -> Any:
        if caller.role in OPERATORS:
            return TRUE
        return below(caller.domain_trail, t.c.domain_id) if caller.role is RoleType.DOMAIN else FALSE


class LdapConfiguration(Resource):
    """A server of a directory: for one domain, or for all that have none of their own."""

    kind = "ldapconfiguration"
    title = "LDAP server"
    unique = (("hostname", "port", "domain_id"),)
    policy = OfDomain()

    hostname: str = column(filter=True, keyword=True, doc="the server's name or address")
    port: int = column(filter=True, kind="integer", doc="the server's port")
    domain_id: str | None = refers(
        "domain", default=None, shows={"domainid": "id"}, filter=False, cascade=True
    )

class LdapLink(Resource):
    """A group or unit of a directory whose people become users of a domain, or of one account in it."""

    kind = "ldaplink"
    title = "link to LDAP"
    unique = (("domain_id", "account_id"),)
    policy = OfDomain()

    domain_id: str = refers("domain", filter=False, cascade=True)
    account_id: str | None = refers("account", default=None, filter=False, cascade=True)
    type: str = column()
    name: str = column()
    accounttype: int = column(default=0)
    created: str = created()


# -- what a directory is like --------------------------------------------------------------------------------------


def _directory() -> Directory:
    if not contract.installed:
        raise Unsupported(
            "This management server has no library for directories; install it with the extra `ldap` (see make setup)."
        )
    return contract.installed[0]


def _security(tx: Tx, domain_id: str, port: int) -> Security:
    word = SECURITY.get(tx, domain=domain_id)
    if word == "auto":
        return "ldaps" if port in (636, 3269) or TRUSTSTORE.get(tx, domain=domain_id) else "plain"
    return "starttls" if word == "starttls" else "ldaps" if word == "ldaps" else "plain"


def servers_of(tx: Tx, domain: Domain) -> list[LdapConfiguration]:
    """The servers for a domain: its own, else the nearest domain's above that has some, else those for everybody."""
    found = tx.find(LdapConfiguration)
    at: Domain | None = domain
    while at is not None:
        here = at.id
        if mine := [c for c in found if c.domain_id == here]:
            return mine
        at = tx.known(Domain, at.parent_id) if at.parent_id is not None else None
    return [c for c in found if c.domain_id is None]


def where_of(tx: Tx, domain: Domain, only: tuple[tuple[str, int], ...] = ()) -> Where | None:
    """What the directory of a domain is like; None when it has none. `only` are servers to ask instead of the domain's."""
    places = only or tuple((c.hostname, c.port) for c in servers_of(tx, domain))
    if not places:
        return None
    authorities = TRUSTSTORE.get(tx, domain=domain.id)
    return Where(
        servers=tuple(Server(h, p, _security(tx, domain.id, p), authorities) for h, p in places),
        seconds=TIMEOUT.get(tx, domain=domain.id) / 1000,
        page=PAGE.get(tx, domain=domain.id),
        nested=NESTED.get(tx, domain=domain.id),
        active_directory=PROVIDER.get(tx, domain=domain.id) == "microsoftad",
        **{name: each.get(tx, domain=domain.id) for name, each in NAMES.items()},
    )


def needed(tx: Tx, domain: Domain) -> Where:
    """What the directory of a domain is like; Invalid when none is configured."""
    found = where_of(tx, domain)
    if found is None:
        raise Invalid(f"No directory is configured for the domain {domain.path}; add one with addLdapConfiguration.")
    if not found.base:
        raise Invalid("The setting ldap.basedn is empty: it says where in the directory people are.", name=BASE.name)
    return found


def _domain(ctx: Ctx, given: Domain | None) -> Domain:
    return given or ctx.tx.one(Domain, ctx.caller.domain_id)


# -- signing in ----------------------------------------------------------------------------------------------------


def _way(tx: Tx, domain: Domain, user: User | None, username: str) -> Way | None:
    """How somebody of a directory signs in: an LDAP user, or a person of a linked group who is no user yet."""
    if user is not None and user.source != "ldap":
        return None
    links = tx.find(LdapLink, LdapLink.c.domain_id == domain.id)
    if not contract.installed or (user is None and not links):
        return None
    where = where_of(tx, domain)
    if where is None or not where.base:
        return None
    known: Where = where

    async def ask(password: str) -> tuple[Found, tuple[str, ...]] | None:
        directory = _directory()
        try:
            people = await directory.people(known, username=username)
            same = [p for p in people if p.username.lower() == username.lower()]
            if len(same) != 1 or not same[0].enabled:
                return None
            person = same[0]
            if not await directory.proves(known, person.principal, password):
                return None
            dns = tuple((link.type, link.name) for link in links)
            return person, await directory.within(known, person.principal, dns) if dns else ()
        except DirectoryAway as away:
            raise Denied(AWAY, inner=away.text) from away

    return Way(ask, lambda tx, learnt: _arrived(tx, domain, links, *learnt))


signin.WAYS.append(_way)


def _arrived(tx: Tx, domain: Domain, links: list[LdapLink], person: Found, groups: tuple[str, ...]) -> User:
    """The user that a person of the directory is, made, moved and brought up to date as its groups say."""
    out = Denied(
        f"{person.username} is known to the directory, but belongs to no group that is linked to this domain; ask an admin."
    )
    mine = [link for link in links if link.name in groups]
    accounts = [link.account_id for link in mine if link.account_id is not None]
    of_domain = next((link for link in links if link.account_id is None), None)
    user = tx.first(User, User.c.username == person.username, User.c.domain_id == domain.id)
    if user is not None and user.source != "ldap":
        raise out
    if len(accounts) > 1:
        raise Denied(
            f"{person.username} belongs to groups of several accounts; only one may be linked. Ask an admin of the directory."
        )
    if user is None:
        if accounts:
            account = tx.one(Account, accounts[0])
        elif of_domain in mine and of_domain is not None:
            account = _own_account(tx, domain, person.username, BY_TYPE.get(of_domain.accounttype, RoleType.USER))
        else:
            raise out
        return _made(tx, account, person)
    linked = {link.account_id for link in links if link.account_id is not None}
    if accounts and user.account_id != accounts[0]:
        tx.set(user, account_id=accounts[0])
    elif not accounts and (user.account_id in linked or (of_domain is not None and of_domain not in mine)):
        raise out
    return _refreshed(tx, user, person)


def _own_account(tx: Tx, domain: Domain, name: str, role: RoleType) -> Account:
    found = tx.first(Account, Account.c.name == name, Account.c.domain_id == domain.id)
    if found is not None:
        raise Denied(f"An account {name} exists in this domain already and is not from the directory; ask an admin.")
    return new_account(tx, name=name, domain=domain, role=role)


def _made(tx: Tx, account: Account, person: Found, timezone: str | None = None, id: str | None = None) -> User:
    return new_user(
        tx,
        account,
        username=person.username,
        password="",
        firstname=person.firstname or person.username,
        lastname=person.lastname or person.username,
        email=person.email,
        timezone=timezone,
        id=id,
        source="ldap",
    )


def _refreshed(tx: Tx, user: User, person: Found) -> User:
    """The user as the directory knows her now."""
    new = {"email": person.email, "firstname": person.firstname, "lastname": person.lastname}
    changed = {k: v for k, v in new.items() if v and v != getattr(user, k)}
    return tx.set(user, **changed) if changed else user


# -- servers -------------------------------------------------------------------------------------------------------

CONFIGURATION = "ldapconfigurationresponse"
PEOPLE = "ldapuserresponse"
Port = Annotated[int, Param(low=1, high=65535)]


def _try(ctx: Ctx, hostname: str, port: int, domainid: Domain | None = None) -> Awaitable[None]:
    where = where_of(ctx.tx, _domain(ctx, domainid), ((_host(hostname), port),))
    assert where is not None
    return _directory().answers(where)


def _host(text: str) -> str:
    """A host's name or address; Invalid when it is anything else."""
    word = text.strip().strip("[]")
    named = len(word) <= 253 and all(ids.LABEL.match(part) for part in word.split("."))
    if not (named or net.is_address(word)):
        raise Invalid("hostname must be the name or the address of a server, without ldap:// and port.", parameter="hostname")
    return word


@command(
    "addLdapConfiguration",
    roles=OPERATORS,
    answers=LdapConfiguration,
    key="LdapAddConfiguration",
    envelope=CONFIGURATION,
    event="LDAP.CONFIGURATION.ADD",
    asks=_try,
)
def add(ctx: Ctx, hostname: str, port: Port, domainid: Domain | None = None) -> LdapConfiguration:
    """Adds a server of a directory, after having signed in to it as the settings ldap.* say.

    hostname: the server's name or address
    port: the server's port, mostly 389 or 636
    domainid: the domain it is for; default: all domains that have none of their own
    """
    name, domain = _host(hostname), domainid.id if domainid else None
    c = LdapConfiguration.c
    if domain is None and ctx.tx.first(LdapConfiguration, c.hostname == name, c.port == port, c.domain_id.is_(None)):
        raise Conflict(f"The server {name}:{port} is configured already.")  # unique does not count rows without domain
    return ctx.tx.add(LdapConfiguration(hostname=name, port=port, domain_id=domain))


@command(
    "deleteLdapConfiguration",
    roles=OPERATORS,
    answers=LdapConfiguration,
    key="LdapDeleteConfiguration",
    envelope=CONFIGURATION,
    event="LDAP.CONFIGURATION.DELETE",
)
def delete(
    ctx: Ctx,
    id: LdapConfiguration | None = None,
    hostname: str | None = None,
    port: Port | None = None,
    domainid: Domain | None = None,
) -> dict[str, Any]:
    """Removes a server of a directory, named by its id or by host name and port. Users who came from it stay.

    hostname: the server's name or address
    port: the server's port; default: 389
    domainid: the domain it is for
    """
    found = id
    if found is None:
        if hostname is None:
            raise Invalid("Say which server: its id, or hostname and port.", parameter="id")
        c = LdapConfiguration.c
        found = ctx.tx.first(
            LdapConfiguration,
            c.hostname == hostname,
            c.port == (port or 389),
            c.domain_id == domainid.id if domainid else c.domain_id.is_(None),
        )
        if found is None:
            raise NotFound(f"No server {hostname[:100]}:{port or 389} is configured for this domain.")
    shown = show(ctx.tx, found, ctx.caller)
    ctx.tx.remove(found)
    ctx.tell(f"Removed the LDAP server {found.hostname}:{found.port}")
    return shown


@lists("listLdapConfigurations", LdapConfiguration, key="LdapConfiguration", envelope=CONFIGURATION, everyones=True)
def _configurations(
    q: Query, domainid: Domain | None = None, port: Port | None = None, listall: bool = False
) -> None:
    """Lists the servers of directories that the caller administers.

    port: the server's port
    domainid: those of this domain
    listall: without domainid: those of every domain, not only those for all
    """
    if port is not None:
        q.where(LdapConfiguration.c.port == port)
    if domainid is not None:
        q.where(LdapConfiguration.c.domain_id == domainid.id)
    elif not listall and "id" not in q.ctx.given and q.ctx.caller.role in OPERATORS:
        q.where(LdapConfiguration.c.domain_id.is_(None))


LEGACY = tuple(Field(n) for n in ("hostname", "port", "ssl", "searchbase", "binddn"))


@command(
    "ldapConfig",
    roles=ROOT,
    shape="list",
    key="ldapconfig",
    event="LDAP.CONFIGURATION.ADD",
    fields=LEGACY,
    refused={
        "queryfilter:string": "not offered: people are found by ldap.user.object and ldap.username.attribute",
        "truststorepass:string": "not offered: ldap.truststore is a file of certificates (PEM), which has no password",
    },
)
def legacy(
    ctx: Ctx,
    hostname: str | None = None,
    port: Port | None = None,
    ssl: bool | None = None,
    searchbase: str | None = None,
    binddn: str | None = None,
    bindpass: Annotated[str | None, Param(secret=True)] = None,
    truststore: str | None = None,
    listall: bool = False,
) -> list[dict[str, Any]]:
    """Configures the one directory for all domains, in one call as older clients do; with listall only tells of it.

    hostname: the server's name or address
    port: the server's port; default: 389, or 636 with ssl
    ssl: speak LDAPS
    searchbase: value of the setting ldap.basedn
    binddn: value of the setting ldap.bind.principal
    bindpass: value of the setting ldap.bind.password
    truststore: value of the setting ldap.truststore
    listall: tell what is configured
    """
    tx, c = ctx.tx, LdapConfiguration.c
    if not listall:
        if hostname is None or searchbase is None:
            raise Invalid("Give hostname and searchbase, or listall=true.", parameter="hostname")
        place = port or (636 if ssl else 389)
        for each in tx.find(LdapConfiguration, c.domain_id.is_(None)):
            tx.remove(each)
        tx.add(LdapConfiguration(hostname=_host(hostname), port=place, domain_id=None))
        for declared, text in (
            (BASE, searchbase), (PRINCIPAL, binddn), (PASSWORD, bindpass), (TRUSTSTORE, truststore),
        ):  # fmt: skip
            if text is not None:
                store(tx, declared.name, text)
        if ssl is not None:
            store(tx, SECURITY.name, "ldaps" if ssl else "plain")
    ctx.tell("Configured the LDAP server for all domains" if not listall else "Looked at the LDAP server for all domains")
    root = tx.one(Domain, ctx.caller.domain_id)
    return [
        {
            "hostname": each.hostname,
            "port": str(each.port),
            "ssl": str(_security(tx, root.id, each.port) == "ldaps").lower(),
            "searchbase": BASE.get(tx),
            "binddn": PRINCIPAL.get(tx),
        }
        for each in tx.find(LdapConfiguration, c.domain_id.is_(None))
    ]


@command("ldapRemove", roles=ROOT, shape="object", key="ldapremove", event="LDAP.CONFIGURATION.DELETE", fields=LEGACY)
def legacy_remove(ctx: Ctx) -> dict[str, Any]:
    """Removes the servers for all domains, and what the settings say of how to sign in to them."""
    for each in ctx.tx.find(LdapConfiguration, LdapConfiguration.c.domain_id.is_(None)):
        ctx.tx.remove(each)
    for declared in (BASE, PRINCIPAL, PASSWORD, TRUSTSTORE, SECURITY):
        reset(ctx.tx, declared.name)
    ctx.tell("Removed the LDAP servers for all domains")
    return {"ldapremove": {}}


# -- people --------------------------------------------------------------------------------------------------------

PERSON_FIELDS = tuple(
    Field(n) for n in ("username", "principal", "email", "firstname", "lastname", "domain", "conflictingusersource")
)


def _shown(person: Found, domain: Domain, **more: str | None) -> dict[str, Any]:
    body = {
        "username": person.username,
        "principal": person.principal,
        "email": person.email,
        "firstname": person.firstname,
        "lastname": person.lastname,
        "domain": domain.name,
        **more,
    }
    return {k: v for k, v in body.items() if v}


def _sources(tx: Tx, people: list[Found], *where: Any) -> dict[str, str]:
    """Name in lower case -> source, of the people who are users already."""
    names = [p.username.lower() for p in people]
    found = tx.execute(
        sa.select(User.c.username, User.c.source).where(tx.any_of(sa.func.lower(User.c.username, type_=sa.Text), names), *where)
    )
    return {name.lower(): source for name, source in found}


def _people(ctx: Ctx, keyword: str | None = None, domainid: Domain | None = None, **_: Any) -> Awaitable[list[Found]]:
    return _directory().people(needed(ctx.tx, _domain(ctx, domainid)), word=keyword or "")


@command(
    "listLdapUsers",
    roles=ADMINS,
    shape="list",
    key="LdapUser",
    envelope=PEOPLE,
    reads=True,
    fields=PERSON_FIELDS,
    asks=_people,
)
def list_people(
    ctx: Ctx,
    keyword: str | None = None,
    listtype: Literal["all", "new"] = "all",
    userfilter: Literal["NoFilter", "LocalDomain", "AnyDomain", "PotentialImport"] = "NoFilter",
    domainid: Domain | None = None,
    page: int | None = None,
    pagesize: int | None = None,
) -> dict[str, Any]:
    """Lists the people of a directory, and which of them are users already.

    keyword: text in a name or an address
    listtype: new: only those who are no users yet; default: all
    userfilter: NoFilter; LocalDomain: without users of the domain; AnyDomain: without users of any domain; PotentialImport: who can be imported, and whose name somebody else has
    domainid: the domain whose directory it is; default: the caller's
    """
    people: list[Found] = ctx.heard
    domain = _domain(ctx, domainid)
    here = _sources(ctx.tx, people, User.c.domain_id == domain.id)
    mine = [] if ctx.caller.role in OPERATORS else [below(ctx.caller.domain_trail, User.c.domain_id)]
    anywhere = _sources(ctx.tx, people, *mine)
    out = []
    for person in people:
        name = person.username.lower()
        source = here.get(name)
        if (listtype == "new" or userfilter == "AnyDomain") and name in anywhere:
            continue
        if (userfilter == "LocalDomain" and source) or (userfilter == "PotentialImport" and source == "ldap"):
            continue
        out.append(_shown(person, domain, conflictingusersource=source))
    return paged("LdapUser", out, page, pagesize)


def _asked(ctx: Ctx, query: str, **_: Any) -> Awaitable[list[Found]]:
    return _directory().people(needed(ctx.tx, _domain(ctx, None)), word=query)


@command(
    "searchLdap", roles=ROOT, shape="list", key="LdapUser", envelope=PEOPLE, reads=True, fields=PERSON_FIELDS,
    asks=_asked,
)  # fmt: skip
def search(
    ctx: Ctx, query: str, keyword: str | None = None, page: int | None = None, pagesize: int | None = None
) -> dict[str, Any]:
    """Searches people in the directory.

    query: text in a name or an address
    keyword: text that must be in the user's name as well
    """
    domain = _domain(ctx, None)
    people: list[Found] = ctx.heard
    out = [_shown(p, domain) for p in people if keyword is None or keyword.lower() in p.username.lower()]
    return paged("LdapUser", out, page, pagesize)


def _person(ctx: Ctx, username: str, domainid: Domain | None = None, **_: Any) -> Awaitable[list[Found]]:
    return _directory().people(needed(ctx.tx, _domain(ctx, domainid)), username=username)


def _only(people: list[Found], username: str) -> Found:
    same = [p for p in people if p.username.lower() == username.lower()]
    if len(same) != 1:
        raise Invalid(
            f"The directory knows {len(same) or 'nobody'} with the name {username[:100]}; it must be exactly one.",
            parameter="username",
        )
    if not same[0].enabled:
        raise Invalid(f"{same[0].username} is disabled in the directory.", parameter="username")
    return same[0]


@command(
    "ldapCreateAccount",
    roles=OPERATORS,
    answers=Account,
    envelope="createaccountresponse",
    event="ACCOUNT.CREATE",
    asks=_person,
)
def create_account(
    ctx: Ctx,
    username: str,
    account: str | None = None,
    domainid: Domain | None = None,
    accounttype: int | None = None,
    roleid: Role | None = None,
    networkdomain: str | None = None,
    timezone: str | None = None,
    accountid: str | None = None,
    userid: str | None = None,
    accountdetails: Details | None = None,
) -> Account:
    """Makes a user of a person of the directory, who signs in with the directory's password; the account too if it is not there.

    username: the person's name in the directory
    account: name of the account; default: the user's name
    roleid: id of the role; decides instead of accounttype
    timezone: the user's time zone, as Asia/Seoul
    accountid: the id that the account is to have (a uuid)
    userid: the id that the user is to have (a uuid)
    accountdetails: details of an account that is made, accountdetails[0].name=value
    """
    domain = _domain(ctx, domainid)
    person = _only(ctx.heard, username)
    check_suffix(networkdomain)
    found = _account(
        ctx, account or person.username, domain, roleid, accounttype, id=accountid, networkdomain=networkdomain,
        details=accountdetails,
    )  # fmt: skip
    _made(ctx.tx, found, person, timezone, chosen_id(userid, "userid"))
    return found


def _account(
    ctx: Ctx,
    name: str,
    domain: Domain,
    roleid: Role | None,
    accounttype: int | None,
    *,
    id: str | None = None,
    networkdomain: str | None = None,
    details: dict[str, str] | None = None,
) -> Account:
    """The account of this name that the caller may add users to, made if it is not there."""
    tx = ctx.tx
    taken = tx.first(Account, Account.c.name == name, Account.c.domain_id == domain.id)
    if taken is None:
        return new_account(
            tx,
            name=name,
            domain=domain,
            role=role_for(ctx, roleid, accounttype, domain),
            id=chosen_id(id, "accountid"),
            networkdomain=networkdomain,
            details=details,
        )
    if tx.first(Account, Account.c.id == taken.id, condition(Account, ctx.caller, "operate")) is None:
        raise Denied(f"You may not add users to the account {name}.")
    return taken


def _import(
    ctx: Ctx, keyword: str | None = None, group: str | None = None, domainid: Domain | None = None, **_: Any
) -> Awaitable[list[Found]]:
    return _directory().people(needed(ctx.tx, _domain(ctx, domainid)), word=keyword or "", group=group or "")


@command(
    "importLdapUsers",
    roles=OPERATORS,
    shape="list",
    key="LdapUser",
    envelope=PEOPLE,
    event="LDAP.USERS.IMPORT",
    fields=PERSON_FIELDS,
    asks=_import,
)
def import_people(
    ctx: Ctx,
    account: str | None = None,
    accounttype: int | None = None,
    roleid: Role | None = None,
    domainid: Domain | None = None,
    group: str | None = None,
    keyword: str | None = None,
    timezone: str | None = None,
    accountdetails: Details | None = None,
    page: int | None = None,
    pagesize: int | None = None,
) -> list[dict[str, Any]]:
    """Makes users of the people of a directory, and brings those up to date who came from it before. Answers whom it took.

    account: the account that all of them belong to; default: one of its own for each, with the user's name
    roleid: id of the role of new accounts; decides instead of accounttype
    group: name or DN of a group; default: everybody
    keyword: text in a name or an address
    timezone: the users' time zone, as Asia/Seoul
    domainid: the domain they become users of; default: the caller's
    accountdetails: details of accounts that are made, accountdetails[0].name=value
    """
    tx, domain = ctx.tx, _domain(ctx, domainid)
    people: list[Found] = [p for p in ctx.heard if p.enabled]
    names = [p.username for p in people]
    known = {u.username: u for u in tx.find(User, tx.any_of(User.c.username, names), User.c.domain_id == domain.id)}
    taken = []
    for person in people:
        user = known.get(person.username)
        if user is not None and user.source != "ldap":
            taken.append(_shown(person, domain, conflictingusersource=user.source))
            continue
        if user is not None:
            _refreshed(tx, user, person)
        else:
            target = _account(ctx, account or person.username, domain, roleid, accounttype, details=accountdetails)
            _made(tx, target, person, timezone)
        taken.append(_shown(person, domain))
    ctx.tell(f"Imported {len(taken)} people from the directory into {domain.path}", about=domain)
    offset, limit = window(page, pagesize)
    return taken[offset : offset + limit]


# -- links ---------------------------------------------------------------------------------------------------------

LINK_FIELDS = (
    *(Field(n) for n in ("domainid", "name", "ldapdomain", "type")),
    Field("accounttype", "integer"),
    Field("accountid"),
)
LinkType = Literal["GROUP", "OU"]


def _link_shown(link: LdapLink, key: str, **more: Any) -> dict[str, Any]:
    body = {
        "domainid": link.domain_id,
        "name": link.name,
        "ldapdomain": link.name,
        "type": link.type,
        "accounttype": link.accounttype,
        **more,
    }
    return {key: {k: v for k, v in body.items() if v is not None}}


def _admin(ctx: Ctx, domainid: Domain, admin: str | None = None, **_: Any) -> Awaitable[list[Found]]:
    if admin is None:
        return _nobody()
    return _directory().people(needed(ctx.tx, domainid), username=admin)


async def _nobody() -> list[Found]:
    return []


def _linked(ctx: Ctx, domain: Domain, account: Account | None, kind: str, name: str, accounttype: int) -> LdapLink:
    tx, c = ctx.tx, LdapLink.c
    if BY_TYPE.get(accounttype) is None:
        raise Invalid("accounttype must be 0 user, 1 root admin, 2 domain admin or 3 resource admin.", parameter="accounttype")
    if not name.strip() or "=" not in name:
        raise Invalid("ldapdomain must be the DN of a group or unit, as cn=staff,ou=groups,dc=example,dc=org.", parameter="ldapdomain")
    same = c.account_id == account.id if account is not None else c.account_id.is_(None)
    if tx.first(LdapLink, c.domain_id == domain.id, same) is not None:
        what = f"account {account.name}" if account is not None else f"domain {domain.path}"
        raise Conflict(f"The {what} is linked already; unlink the domain first (unlinkDomainFromLdap).")
    return tx.add(
        LdapLink(
            domain_id=domain.id,
            account_id=account.id if account is not None else None,
            type=kind,
            name=name.strip(),
            accounttype=accounttype,
        )
    )


@command(
    "linkDomainToLdap",
    roles=OPERATORS,
    shape="object",
    key="LinkDomainToLdap",
    event="LDAP.LINK",
    fields=LINK_FIELDS,
    asks=_admin,
)
def link_domain(
    ctx: Ctx,
    domainid: Annotated[Domain, Param(access="operate")],
    type: LinkType,
    ldapdomain: str,
    accounttype: int,
    admin: str | None = None,
) -> dict[str, Any]:
    """Links a domain to a group or unit of its directory: its people become users, each of an own account, when they sign in.

    domainid: id of the domain
    type: GROUP or OU
    ldapdomain: DN of the group or unit
    accounttype: type of the accounts: 0 user, 2 domain admin
    admin: name of a person of the directory who becomes an admin of the domain at once
    """
    role_for(ctx, None, accounttype, domainid)  # nobody gives more than she has
    link = _linked(ctx, domainid, None, type, ldapdomain, accounttype)
    made = None
    if admin is not None:
        account = _account(ctx, admin, domainid, None, 2)
        _made(ctx.tx, account, _only(ctx.heard, admin))
        made = account.id
    ctx.tell(f"Linked the domain {domainid.path} to {link.name} of its directory", about=domainid)
    return _link_shown(link, "LinkDomainToLdap", accountid=made)


@command(
    "linkAccountToLdap",
    roles=frozenset({RoleType.ADMIN, RoleType.DOMAIN}),
    shape="object",
    key="linkAccountToLdap",
    event="LDAP.LINK",
    fields=LINK_FIELDS,
    asks=_admin,
)
def link_account(
    ctx: Ctx,
    domainid: Annotated[Domain, Param(access="operate")],
    account: str,
    ldapdomain: str,
    type: LinkType = "GROUP",
    accounttype: int | None = None,
    roleid: Role | None = None,
    admin: str | None = None,
) -> dict[str, Any]:
    """Links an account to a group or unit of its domain's directory: its people become users of the account when they sign in.

    domainid: id of the account's domain
    account: name of the account; it is made if it is not there
    ldapdomain: DN of the group or unit
    type: GROUP or OU; default: GROUP
    roleid: id of the role of an account that is made; decides instead of accounttype
    admin: name of a person of the directory who becomes a user of the account at once
    """
    found = _account(ctx, account, domainid, roleid, accounttype)
    link = _linked(ctx, domainid, found, type, ldapdomain, found.type)
    if admin is not None:
        _made(ctx.tx, found, _only(ctx.heard, admin))
    ctx.tell(f"Linked the account {found.name} to {link.name} of its domain's directory", about=found)
    return _link_shown(link, "linkAccountToLdap", accountid=found.id)


@command("unlinkDomainFromLdap", roles=ROOT, event="LDAP.UNLINK")
def unlink(ctx: Ctx, domainid: Annotated[Domain, Param(access="operate")]) -> None:
    """Ends the links of a domain and its accounts to the directory. Users who came from there stay and sign in as before.

    domainid: id of the domain
    """
    links = ctx.tx.find(LdapLink, LdapLink.c.domain_id == domainid.id)
    if not links:
        raise NotFound(f"The domain {domainid.path} is not linked to a directory.")
    for link in links:
        ctx.tx.remove(link)
    ctx.tell(f"Unlinked the domain {domainid.path} from its directory", about=domainid)
