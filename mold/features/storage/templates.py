"""Templates: images that root disks are made from. They lie on secondary storage; pools keep copies that disks stand on."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, Literal

import sqlalchemy as sa
import structlog

from mold.api import events
from mold.api.answer import Field, shown
from mold.api.command import LATER, Ctx, Details, Owner, Param, Tags, command
from mold.api.lists import Query, lists
from mold.api.model import capability
from mold.api.permit import OPERATORS, Caller, Owned, Private, RoleType
from mold.base import net
from mold.base.errors import Conflict, Denied, InUse, Invalid, NotFound, Unreachable
from mold.base.states import machine
from mold.base.units import GIB
from mold.features.identity import limits, removal
from mold.features.identity.accounts import Account
from mold.features.identity.limits import counted
from mold.features.identity.projects import Project
from mold.features.identity.tags import tags_of, untag
from mold.features.infra.alerts import failing
from mold.features.infra.clusters import hypervisor_named
from mold.features.infra.guest_os import OsType
from mold.features.infra.hosts import Host
from mold.features.infra.settings import setting
from mold.features.infra.zones import Zone
from mold.features.storage.pools import StoragePool, usable_of
from mold.features.storage.stores import ImageStore, any_host, of_zone
from mold.store import Resource, Tx, column, created, refers
from mold.wire import calls as w
from mold.work import (
    Engine,
    Operation,
    ask,
    change,
    look,
    operation,
    progress,
    reconciler,
    renew_patience,
    step,
    unattended,
)

log = structlog.get_logger()
MAX_SIZE = setting("max.template.iso.size", 50, "GiB that a template may have.", low=1, unit="GiB", shape="Long")
ALLOWED = setting(
    "secstorage.allowed.internal.sites",
    "",
    "CIDRs, comma separated, that templates may be fetched from although they are private.",
)
PUBLIC_BY_USERS = setting(
    "allow.public.user.templates", True, "Whether users may make templates public.", scopes=("account",)
)


class Shared(Private):
    """Templates: one's own, public ones, and those shared with one; changed by the owner only."""

    def see(self, caller: Any, t: Any) -> Any:
        mine = super().see(caller, t)
        if caller.role in OPERATORS:
            return mine
        shared = sa.select(Launch.c.template_id).where(Launch.c.account_id.in_((caller.account_id, *caller.projects)))
        return sa.or_(mine, t.c.is_public, t.c.id.in_(shared))

    def operate(self, caller: Any, t: Any) -> Any:
        return Private.see(self, caller, t)

    def surely(self, caller: Any, row: Any, access: Any) -> bool:
        return super().surely(caller, row, access) or (access != "operate" and bool(row.is_public))


class Template(Owned):
    """A template in one zone. `size` is what a disk made from it has, bytes."""

    kind = "template"
    steady = True
    appears = {"templateid": "id", "templatename": "name", "templatedisplaytext": "displaytext"}
    policy = Shared()
    states = machine(
        "Creating",
        ready="Creating|Failed|UploadInProgress>Ready",
        fail="Creating|UploadInProgress>Failed",
        retry="Failed>Creating",
        receive="NotUploaded>UploadInProgress",
        pause="UploadInProgress>NotUploaded",
        abandon="NotUploaded>UploadAbandoned",
        drop="Creating|Ready|Failed|NotUploaded|UploadAbandoned|Removing>Removing",
    )

    name: str = column(filter=True, keyword=True)
    displaytext: str = column(default="", keyword=True)
    zone_id: str = refers("zone")
    store_id: str = refers("imagestore", hidden=True, filter=False)
    os_type_id: str | None = refers(
        "ostype", default=None, shows={"ostypeid": "id", "ostypename": "name"}, filter=False
    )
    hypervisor: str = column(default="KVM", filter=True)
    format: str = column(default="QCOW2", kind="imageformat")
    url: str | None = column(default=None, admin=True)
    checksum: str | None = column(default=None)
    size: int = column(default=0)
    physical_size: int = column(default=0)
    state: str = column(default="Creating", hidden=True)
    status: str = column(default="")
    is_public: bool = column(default=False)
    is_featured: bool = column(default=False)
    is_extractable: bool = column(default=False)
    password_enabled: bool = column(default=False)
    sshkey_enabled: bool = column(default=True)
    requires_hvm: bool = column(default=True)
    bootable: bool = column(default=True)
    is_dynamically_scalable: bool = column(default=False)
    bits: int = column(default=64, kind="int")
    arch: str = column(default="x86_64", filter=True)
    template_type: str = column(default="USER", filter=True)
    templatetag: str | None = column(default=None)
    details: dict[str, str] | None = column(default=None)
    userdata_id: str | None = column(default=None)
    userdata_policy: str | None = column(default=None)
    sortkey: int = column(default=0, hidden=True)
    sent_bytes: int = column(default=0, hidden=True)
    """Of a file that is sent in parts: how much is in the store, of `sent_length`, since `sent_at`."""
    sent_length: int = column(default=0, hidden=True)
    sent_at: str | None = column(default=None, hidden=True)
    created: str = created()


class Launch(Resource):
    """An account that a template is shared with."""

    kind = "launch_permission"
    title = "share"
    unique = (("template_id", "account_id"),)
    policy = Private()

    template_id: str = refers("template", cascade=True)
    account_id: str = refers("account", cascade=True)


class Placed(Resource):
    """A template's copy on a primary storage."""

    kind = "placed"
    title = "copy of a template"
    unique = (("template_id", "pool_id"),)
    policy = Private()
    states = machine("Wanted", there="Wanted>Ready")

    template_id: str = refers("template", cascade=True)
    pool_id: str = refers("storagepool", cascade=True)
    state: str = column(default="Wanted")
    size: int = column(default=0)


DOWNLOAD_STATES = {
    "Ready": "DOWNLOADED",
    "Failed": "DOWNLOAD_ERROR",
    "NotUploaded": "NOT_UPLOADED",
    "UploadInProgress": "UPLOAD_IN_PROGRESS",
    "UploadAbandoned": "UPLOAD_ABANDONED",
}


@shown(
    Template,
    Field("isready", "boolean"),
    Field("crossZones", "boolean"),
    Field("accountid"),
    Field("directdownload", "boolean"),
    Field("deployasis", "boolean"),
    Field("forcks", "boolean"),
    Field("downloaddetails", "list"),
    Field("tags", "set"),
    Field("hasannotations", "boolean"),
)
def _ready(tx: Tx, rows: list[Any], caller: Any) -> dict[str, dict[str, Any]]:
    tags = tags_of(tx, "template", [t.id for t in rows])
    return {
        t.id: {
            "isready": t.state == "Ready",
            "crossZones": False,
            "tags": tags.get(t.id, []),
            "hasannotations": False,
            "accountid": t.account_id,
            "directdownload": False,
            "deployasis": False,
            "forcks": False,
            "size": t.size or None,
            "downloaddetails": [
                {
                    "datastore": t.store_id,
                    "downloadPercent": "100" if t.state == "Ready" else "0",
                    "downloadState": DOWNLOAD_STATES.get(t.state, "DOWNLOAD_IN_PROGRESS"),
                }
            ]
            if caller.root
            else None,
        }
        for t in rows
    }


FILTERS = ("featured", "self", "selfexecutable", "sharedexecutable", "executable", "community", "shared", "all")


@lists(
    "listTemplates",
    Template,
    everyones=True,
    for_whom=True,
    refused={
        "extensionid:uuid": LATER,
        "forcks:boolean": LATER,
        "isvnf:boolean": LATER,
        "parenttemplateid:uuid": LATER,
        "showremoved:boolean": LATER,
        "showunique:boolean": LATER,
        "oscategoryid:uuid": LATER,
    },
)
def _list(
    q: Query,
    templatefilter: Literal[
        "featured", "self", "selfexecutable", "sharedexecutable", "executable", "community", "shared", "all"
    ],
    ids: list[Template] | None = None,
    hypervisor: str | None = None,
    imagestoreid: ImageStore | None = None,
    storageid: StoragePool | None = None,
    isready: bool | None = None,
    details: list[str] | None = None,
    showicon: bool | None = None,
    tags: Tags | None = None,
    zoneid: Zone | None = None,
) -> None:
    """Lists templates.

    templatefilter: featured, self, selfexecutable, sharedexecutable, executable, community, shared or all (admins)
    details: sets of fields, comma separated: min, resource, all; templates have one set, so nothing is left out
    """
    c, caller = Template.c, q.ctx.caller
    holders = q.holders if q.owned is not None else (caller.account_id, *caller.projects)
    mine = q.owned if q.owned is not None else c.account_id.in_(holders)
    ready = c.state == "Ready"
    shared = c.id.in_(sa.select(Launch.c.template_id).where(Launch.c.account_id.in_(holders)))
    match templatefilter:
        case "featured":
            q.where(c.is_featured, c.is_public)
        case "self":
            q.where(mine)
        case "selfexecutable":
            q.where(mine, ready)
        case "sharedexecutable" | "shared":
            q.where(shared, *([ready] if templatefilter == "sharedexecutable" else []))
        case "executable":
            every = caller.root and q.owned is None
            q.where(sa.true() if every else sa.or_(mine, c.is_public, shared), ready)
        case "community":
            q.where(c.is_public, ~c.is_featured)
        case "all":
            if caller.role is RoleType.USER:
                raise Denied("templatefilter=all is for admins; say executable.", parameter="templatefilter")
            if q.owned is not None:
                q.where(q.owned)
    if ids is not None:
        q.where(q.tx.any_of(c.id, [t.id for t in ids]))
    if hypervisor is not None:
        q.where(sa.func.lower(c.hypervisor) == hypervisor.lower())
    if isready is not None:
        q.where(ready if isready else ~ready)
    if zoneid is not None:
        q.where(c.zone_id == zoneid.id)
    if imagestoreid is not None:
        q.where(c.store_id == imagestoreid.id)
    if storageid is not None:
        q.where(c.id.in_(sa.select(Placed.c.template_id).where(Placed.c.pool_id == storageid.id)))
    if tags:
        from mold.api.lists import tagged

        q.where(tagged(Template, tags))
    q.where(c.state != "Removing")
    q.order = [c.sortkey, c.number]


@operation
class FetchTemplate(Operation):
    """Fetch a template by its URL onto secondary storage, checked; when that fails the template says why."""

    locks = ("template",)
    answers = (Template, "template")
    patience = 120
    template: str

    @step
    def begin(self, tx: Tx) -> None:
        """Apart from the choice of a host, so that the template says why when there is none."""
        told(tx, tx.one(Template, self.template), "START", "Fetching the image of template {}")

    @begin.undo
    def blame(self, tx: Tx, error: str) -> None:
        blamed(tx, self.template, error)

    @step
    def choose(self, tx: Tx) -> list[str]:
        template = tx.one(Template, self.template)
        return [any_host(tx, template.zone_id).id, str(MAX_SIZE.get(tx) * GIB), ALLOWED.get(tx)]

    @step
    async def fetch(self, choose: list[str]) -> w.ImageFacts:
        template, store = await look(
            lambda tx: ((t := tx.one(Template, self.template)), tx.one(ImageStore, t.store_id))
        )
        facts: w.ImageFacts = await ask(
            choose[0],
            w.FetchImage(
                store=store.spec(),
                image=template.id,
                url=template.url or "",
                format=template.format,
                checksum=template.checksum or "",
                max_size=int(choose[1]),
                allow=[c.strip() for c in choose[2].split(",") if c.strip()],
            ),
        )
        progress(100)
        return facts

    @fetch.undo
    async def drop(self, choose: list[str]) -> None:
        await drop_image(self.template, choose[0])

    @step
    def settle(self, tx: Tx, fetch: w.ImageFacts) -> None:
        settled(tx, self.template, fetch)


events.ALSO |= {f"TEMPLATE.DOWNLOAD.{word}" for word in ("START", "SUCCESS", "FAILED")}


def told(tx: Tx, template: Template, word: str, text: str, level: str = "INFO") -> None:
    """Record how the fetching of a template goes; `text` holds {} for its name."""
    whose: dict[str, Any] = {n: template.__dict__[n] for n in ("account_id", "domain_id", "project_id")}
    said = text.replace("{}", template.name, 1)
    events.record(tx, f"TEMPLATE.DOWNLOAD.{word}", said, resource=template, level=level, **whose)


def blamed(tx: Tx, template_id: str, error: str) -> None:
    """An image that did not arrive: its template says why."""
    template = tx.get(Template, template_id)
    if template is not None and template.state in ("Creating", "UploadInProgress"):
        if template.state == "Creating":
            told(tx, template, "FAILED", f"Could not fetch the image of template {{}}: {error}", level="ERROR")
        tx.move(template, "fail", status=error)


def settled(tx: Tx, template_id: str, facts: w.ImageFacts) -> None:
    """An image that arrived: its template is ready and counts against its owner's limit."""
    template = tx.one(Template, template_id)
    account = tx.one(Account, template.account_id)
    limits.reserve(tx, account, secondary_storage=facts.physical)
    if template.state == "Creating":
        told(tx, template, "SUCCESS", "Fetched the image of template {}")
    tx.move(
        template,
        "ready",
        size=facts.size,
        physical_size=facts.physical,
        checksum=facts.checksum or template.checksum,
        status="Download Complete",
    )


def _pool_spec(pool_id: str, tx: Tx) -> w.PoolSpec | None:
    pool = tx.get(StoragePool, pool_id)
    return pool.spec() if pool is not None else None


async def drop_image(template_id: str, host: str) -> None:
    """Remove a template's image from its store, whole or half arrived."""
    spec = await look(
        lambda tx: tx.one(ImageStore, t.store_id).spec() if (t := tx.get(Template, template_id)) else None
    )
    if spec is not None:
        await ask(host, w.RemoveImage(store=spec, image=template_id))


NOT_YET = {
    "deployasis:boolean": "for VMware, which is not offered yet",
    "directdownload:boolean": LATER,
    "extensionid:uuid": LATER,
    "externaldetails:map": LATER,
    "forcks:boolean": LATER,
    "isrouting:boolean": LATER,
}
FORMATS = ("QCOW2", "RAW")


def new_template(
    ctx: Ctx,
    owner: Owner,
    zone: Zone,
    *,
    name: str,
    displaytext: str | None,
    format: str,
    hypervisor: str,
    ostypeid: OsType | None,
    ispublic: bool,
    isfeatured: bool,
    **other: Any,
) -> Template:
    """Insert a template, within the owner's limit."""
    if format.upper() not in FORMATS:
        raise Invalid(
            f"Templates of the format {format[:20]} are not offered; give {' or '.join(FORMATS)}.", parameter="format"
        )
    kind = hypervisor_named(hypervisor)
    caller = ctx.caller
    if isfeatured and not caller.root:
        raise Denied("Only root admins feature templates.", parameter="isfeatured")
    if ispublic and caller.role is RoleType.USER and not PUBLIC_BY_USERS.get(ctx.tx, account=owner.account_id):
        raise Denied("Users may not make templates public here.", parameter="ispublic")
    store = of_zone(ctx.tx, zone.id)
    limits.reserve(ctx.tx, owner.account, template=1)
    return ctx.tx.add(
        Template(
            name=name,
            displaytext=displaytext or name,
            zone_id=zone.id,
            store_id=store.id,
            os_type_id=ostypeid.id if ostypeid else None,
            hypervisor=kind,
            format=format.upper(),
            is_public=ispublic,
            is_featured=isfeatured,
            **{k: v for k, v in other.items() if v is not None},
            **owner.columns(),
        )
    )


def only_root_tags(caller: Caller, templatetag: str | None, templatetype: str | None) -> None:
    """Only root admins say on which hosts a template runs, and of which type it is."""
    if templatetype not in (None, "USER") and not caller.root:
        raise Denied("Only root admins choose a template's type.", parameter="templatetype")
    if templatetag is not None and not caller.root:
        raise Denied("Only root admins tag templates for hosts.", parameter="templatetag")


@command("registerTemplate", answers=Template, shape="list", event="TEMPLATE.CREATE", refused=NOT_YET)
def register(
    ctx: Ctx,
    owner: Owner,
    name: str,
    url: Annotated[str, Param(length=2048)],
    format: str,
    hypervisor: str,
    displaytext: Annotated[str | None, Param(length=4096)] = None,
    zoneid: Zone | None = None,
    zoneids: list[Zone] | None = None,
    ostypeid: OsType | None = None,
    arch: Literal["x86_64", "aarch64"] = "x86_64",
    bits: int = 64,
    checksum: str | None = None,
    details: Details | None = None,
    isdynamicallyscalable: bool = False,
    isextractable: bool = False,
    isfeatured: bool = False,
    ispublic: bool = False,
    passwordenabled: bool = False,
    requireshvm: bool = True,
    sshkeyenabled: bool = True,
    templatetag: str | None = None,
    templatetype: str | None = None,
) -> list[Template]:
    """Registers a template by URL; it is fetched in the background and ready when `isready` is true.

    url: http or https
    format: QCOW2 or RAW
    checksum: {SHA-256}hex or {MD5}hex of the file
    """
    parts = net.url(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise Invalid("url must begin with http:// or https:// and name a host.", parameter="url")
    if parts.username or parts.password:
        raise Invalid(
            "url must not hold a user or password: it would be shown to everyone who sees the template.",
            parameter="url",
        )
    zones = zoneids or ([zoneid] if zoneid else [])
    if not zones:
        raise Invalid("Give zoneid or zoneids.", parameter="zoneid")
    only_root_tags(ctx.caller, templatetag, templatetype)
    made = []
    for zone in zones:
        template = new_template(
            ctx,
            owner,
            zone,
            name=name,
            displaytext=displaytext,
            format=format,
            hypervisor=hypervisor,
            ostypeid=ostypeid,
            ispublic=ispublic,
            isfeatured=isfeatured,
            url=url,
            arch=arch,
            bits=bits,
            checksum=checksum,
            details=details,
            is_dynamically_scalable=isdynamicallyscalable,
            is_extractable=isextractable,
            password_enabled=passwordenabled,
            requires_hvm=requireshvm,
            sshkey_enabled=sshkeyenabled,
            templatetag=templatetag,
            template_type=templatetype,
            status="Downloading",
        )
        ctx.start(FetchTemplate(template=template.id))
        made.append(template)
    return made


@command(
    "updateTemplate",
    answers=Template,
    event="TEMPLATE.EDIT",
    refused={
        "forceupdateostype:boolean": LATER,
        "forcks:boolean": LATER,
        "format:string": "fixed when the template is registered",
        "isrouting:boolean": LATER,
        "arch:string": "fixed when the template is registered",
    },
)
def update(
    ctx: Ctx,
    id: Template,
    name: Annotated[str | None, Param(length=251)] = None,
    displaytext: Annotated[str | None, Param(length=4096)] = None,
    ostypeid: OsType | None = None,
    bootable: bool | None = None,
    passwordenabled: bool | None = None,
    requireshvm: bool | None = None,
    sshkeyenabled: bool | None = None,
    isdynamicallyscalable: bool | None = None,
    sortkey: int | None = None,
    details: Details | None = None,
    cleanupdetails: bool = False,
    templatetag: str | None = None,
    templatetype: str | None = None,
) -> Template:
    """Changes what is known of a template.

    cleanupdetails: forget all details
    """
    if (templatetag is not None or templatetype is not None) and not ctx.caller.root:
        raise Denied("Only root admins change a template's tag and type.", parameter="templatetag")
    changes: dict[str, Any] = {
        "name": name,
        "displaytext": displaytext,
        "os_type_id": ostypeid.id if ostypeid else None,
        "bootable": bootable,
        "password_enabled": passwordenabled,
        "requires_hvm": requireshvm,
        "sshkey_enabled": sshkeyenabled,
        "is_dynamically_scalable": isdynamicallyscalable,
        "sortkey": sortkey,
        "templatetag": templatetag,
        "template_type": templatetype,
    }
    changes = {k: v for k, v in changes.items() if v is not None}
    if cleanupdetails:
        changes["details"] = None
    elif details:
        changes["details"] = {**(id.details or {}), **details}
    return ctx.tx.set(id, **changes)


SHARE_FIELDS = (
    Field("id"),
    Field("ispublic", "boolean"),
    Field("domainid"),
    Field("account", "list"),
    Field("projectids", "list"),
)


@command("listTemplatePermissions", shape="object", key="templatepermission", reads=True, fields=SHARE_FIELDS)
def permissions(ctx: Ctx, id: Annotated[Template, Param(access="operate")]) -> dict[str, Any]:
    """Says with whom a template is shared."""
    shared = ctx.tx.find(Launch, Launch.c.template_id == id.id)
    accounts = ctx.tx.among(Account, [s.account_id for s in shared]).values()
    body: dict[str, Any] = {
        "id": id.id,
        "ispublic": id.is_public,
        "account": sorted(a.name for a in accounts if a.project_id is None),
        "projectids": sorted(a.project_id for a in accounts if a.project_id is not None),
    }
    if ctx.caller.rank >= 1:
        body["domainid"] = id.domain_id
    return {"templatepermission": body}


@command("updateTemplatePermissions", event="TEMPLATE.EDIT")
def share(
    ctx: Ctx,
    id: Template,
    op: Annotated[str | None, Param(choices=("add", "remove", "reset"))] = None,
    accounts: list[str] | None = None,
    projectids: list[Project] | None = None,
    ispublic: bool | None = None,
    isfeatured: bool | None = None,
    isextractable: bool | None = None,
) -> None:
    """Shares a template with accounts and projects, or with everybody.

    op: add or remove those named, or reset: share it with nobody
    accounts: names of accounts of the template's domain
    """
    tx = ctx.tx
    if (isfeatured is not None or isextractable is not None) and not ctx.caller.root:
        raise Denied("Only root admins feature templates and let them be downloaded.", parameter="isfeatured")
    if ispublic and ctx.caller.role is RoleType.USER and not PUBLIC_BY_USERS.get(tx, account=id.account_id):
        raise Denied("Users may not make templates public here.", parameter="ispublic")
    flags = {"is_public": ispublic, "is_featured": isfeatured, "is_extractable": isextractable}
    tx.set(id, **{k: v for k, v in flags.items() if v is not None})
    if (accounts or projectids) and op not in ("add", "remove"):
        raise Invalid("Say op=add or op=remove.", parameter="op")
    if op == "reset":
        for each in tx.find(Launch, Launch.c.template_id == id.id):
            tx.remove(each)
        tx.set(id, is_public=False, is_featured=False)
        return
    whom = [p.project_account_id for p in projectids or []]
    for name in accounts or []:
        found = tx.first(Account, Account.c.name == name, Account.c.domain_id == id.domain_id)
        if found is None:
            raise NotFound(f"There is no account {name} in the template's domain.", account=name)
        whom.append(found.id)
    for account_id in dict.fromkeys(whom):
        known = tx.first(Launch, Launch.c.template_id == id.id, Launch.c.account_id == account_id)
        if op == "add" and known is None and account_id != id.account_id:
            tx.add(Launch(template_id=id.id, account_id=account_id))
        if op == "remove" and known is not None:
            tx.remove(known)


@counted("template")
def _count(tag: str | None) -> Any:
    return sa.select(Template.c.account_id, sa.func.count()).group_by(Template.c.account_id)


@counted("secondary_storage")
def _sum(tag: str | None) -> Any:
    return sa.select(Template.c.account_id, sa.func.sum(Template.c.physical_size)).group_by(Template.c.account_id)


capability("userpublictemplateenabled", lambda tx, caller: PUBLIC_BY_USERS.get(tx, account=caller.account_id))


@operation
class RemoveTemplate(Operation):
    """Remove a template: its copies on primary storage, its image, its row. What fails is tried again."""

    locks = ("template",)
    instance = (Template, "template")
    patience = 60
    template: str

    @step
    def begin(self, tx: Tx) -> list[list[str]]:
        template = tx.one(Template, self.template)
        for used in blockers:
            text = used(tx, template)
            if text:
                raise InUse(text, templateid=template.id)
        tx.move(template, "drop")
        places = []
        for placed in tx.find(Placed, Placed.c.template_id == template.id):
            pool = tx.one(StoragePool, placed.pool_id)
            host = tx.first(Host, usable_of(pool), Host.c.state == "Up", Host.c.hypervisor == pool.hypervisor)
            places.append([pool.id, host.id if host else ""])
        return places

    @step
    async def displace(self, begin: list[list[str]]) -> None:
        for pool_id, host in begin:
            spec = await look(partial(_pool_spec, pool_id))
            if spec is not None:
                if not host:
                    raise Unreachable("No host that reaches the primary storage is Up.")
                await ask(host, w.RemovePlaced(pool=spec, image=self.template))

    @step
    async def drop(self) -> None:
        host = await look(lambda tx: any_host(tx, tx.one(Template, self.template).zone_id).id)
        await drop_image(self.template, host)

    @step
    def forget(self, tx: Tx) -> None:
        template = tx.one(Template, self.template)
        limits.give_back(tx, template.account_id, template=1, secondary_storage=template.physical_size)
        untag(tx, "template", template.id)
        tx.remove(template)


@reconciler(every=60)
async def finish_template_removals() -> int:
    """Templates whose removal began and failed, because a host was away, are removed now."""

    def go(tx: Tx) -> int:
        assert Engine.here is not None
        stuck = unattended(tx, Template, Template.c.state == "Removing")
        for template in stuck:
            Engine.here.enqueue(tx, RemoveTemplate(template=template.id))
        return len(stuck)

    return await change(go)


@removal.leaves(Template, order=50)
def _of_accounts(tx: Tx, whose: Any, most: int) -> list[tuple[str, Operation]]:
    found = tx.find(Template, whose(Template.c.account_id), limit=most)
    return [(t.id, RemoveTemplate(template=t.id)) for t in found]


blockers: list[Any] = []
"""Functions (tx, template) -> reason why it cannot go, or None; higher floors add to it."""


@command(
    "deleteTemplate",
    job=True,
    event="TEMPLATE.DELETE",
    refused={
        "issystem:boolean": LATER,
        "forced:boolean": "not offered: disks that stand on the template would break; remove the machines first",
    },
)
def delete(ctx: Ctx, id: Template, zoneid: Zone | None = None) -> Template:
    """Deletes a template that no machine stands on."""
    if zoneid is not None and zoneid.id != id.zone_id:
        raise Invalid("The template is not in this zone.", parameter="zoneid")
    if id.state == "Removing":
        raise Conflict(f"The template {id.name} is being removed already.")
    ctx.start(RemoveTemplate(template=id.id))
    return id


async def place(template_id: str, pool_id: str, host: str) -> None:
    """Make sure that a template has its copy on a pool; called from world steps. Done at once when it is there."""
    state = await look(
        lambda tx: next((p.state for p in tx.by(Placed, template_id=template_id, pool_id=pool_id)), None)
    )
    if state == "Ready":
        return
    # Wanted before it is there, so that a copy which a crash orphans is known and goes with the template.
    await _noting(template_id, pool_id, 0)
    template, store, pool = await look(
        lambda tx: ((t := tx.one(Template, template_id)), tx.one(ImageStore, t.store_id), tx.one(StoragePool, pool_id))
    )
    facts: w.VolumeFacts = await ask(
        host, w.PlaceImage(store=store.spec(), pool=pool.spec(), image=template_id, format=template.format)
    )
    await _noting(template_id, pool_id, facts.physical, ready=True)
    renew_patience()


async def _noting(template_id: str, pool_id: str, size: int, *, ready: bool = False) -> None:
    """Note that a copy is wanted, or there; another operation may have noted the same a moment ago."""

    def note(tx: Tx) -> None:
        placed = tx.first(Placed, Placed.c.template_id == template_id, Placed.c.pool_id == pool_id)
        if placed is None:
            placed = tx.add(Placed(template_id=template_id, pool_id=pool_id))
        if ready and placed.state != "Ready":
            tx.move(placed, "there", size=size)

    try:
        await change(note)
    except Conflict:
        log.debug("another operation placed the same template", template=template_id, pool=pool_id)


failing("UPLOAD.FAILED", FetchTemplate, text="Could not fetch template")
