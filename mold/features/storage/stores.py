"""Secondary storage: where templates lie. A directory that the hosts of a zone reach."""

from __future__ import annotations

from typing import Annotated, Any

from mold.api.answer import Field, shown
from mold.api.command import LATER, Ctx, Param, Tags, command
from mold.api.lists import Query, lists, paged
from mold.api.permit import OPERATORS, ROOT, Infra
from mold.base import net
from mold.base.errors import Conflict, Invalid, Unavailable
from mold.base.states import machine
from mold.features.infra.capacity import Amount, gauge
from mold.features.infra.hosts import Host
from mold.features.infra.zones import Zone
from mold.store import Resource, Tx, column, created, refers
from mold.wire import calls as w
from mold.work import Operation, ask, look, operation, step


class ImageStore(Resource):
    """A secondary storage."""

    kind = "imagestore"
    title = "secondary storage"
    appears = {"imagestoreid": "id", "imagestorename": "name"}
    policy = Infra()
    states = machine("Initialized", mounted="Initialized>Up")

    zone_id: str | None = refers("zone", default=None)
    name: str = column(unique=True, filter=True, keyword=True)
    url: str = column()
    protocol: str = column(default="file", filter=True)
    providername: str = column(default="NFS")
    path: str = column(hidden=True)
    readonly: bool = column(default=False)
    state: str = column(default="Initialized", hidden=True)
    disk_size_total: int = column(default=0)
    disk_size_used: int = column(default=0)
    created: str = created()

    def spec(self) -> w.PoolSpec:
        """What a host needs to know to use it."""
        return w.PoolSpec(id=self.id, type="Directory", path=self.path)


@shown(ImageStore, Field("scope", "scopetype"), Field("hasannotations", "boolean"))
def _scope(tx: Tx, rows: list[Any], caller: Any) -> dict[str, dict[str, Any]]:
    return {s.id: {"scope": "ZONE" if s.zone_id else "REGION", "hasannotations": False} for s in rows}


@gauge
def _secondary(tx: Tx) -> list[Amount]:
    stores = tx.find(ImageStore, ImageStore.c.state == "Up", ImageStore.c.zone_id.is_not(None))
    return [Amount(6, s.zone_id or "", None, None, s.disk_size_used, s.disk_size_total) for s in stores]


PROVIDERS = (("DefaultPrimary", "primary"), ("NFS", "image"))


@command(
    "listStorageProviders",
    roles=OPERATORS,
    shape="list",
    key="dataStoreProvider",
    reads=True,
    fields=(Field("name"), Field("type")),
)
def list_providers(
    ctx: Ctx,
    type: Annotated[str, Param(choices=("primary", "image", "object"))],
    keyword: str | None = None,
    page: int | None = None,
    pagesize: int | None = None,
) -> dict[str, Any]:
    """Lists who provides storage.

    type: primary, image or object
    """
    rows = [
        {"name": n, "type": t} for n, t in PROVIDERS if t == type and (keyword is None or keyword.lower() in n.lower())
    ]
    return paged("dataStoreProvider", rows, page, pagesize)


@lists("listImageStores", ImageStore, roles=ROOT)
def _list(q: Query, provider: str | None = None, readonly: bool | None = None) -> None:
    """Lists secondary storages."""
    if provider is not None:
        q.where(ImageStore.c.providername == provider)
    if readonly is not None:
        q.where(ImageStore.c.readonly == readonly)


@operation
class MountImageStore(Operation):
    """Have a host look at a new secondary storage and measure it."""

    locks = ("store",)
    answers = (ImageStore, "store")
    patience = 10
    store: str

    @step
    def begin(self, tx: Tx) -> None:
        """Apart from the choice of a host, so that the row goes when there is none."""
        tx.one(ImageStore, self.store)

    @begin.undo
    def withdraw(self, tx: Tx) -> None:
        store = tx.get(ImageStore, self.store)
        if store is not None:
            tx.remove(store)

    @step
    def choose(self, tx: Tx) -> str:
        return any_host(tx, tx.one(ImageStore, self.store).zone_id).id

    @step
    async def mount(self, choose: str) -> w.PoolFacts:
        spec = await look(lambda tx: tx.one(ImageStore, self.store).spec())
        facts: w.PoolFacts = await ask(choose, w.MountStore(store=spec))
        return facts

    @mount.undo
    async def unmount(self, choose: str) -> None:
        spec = await look(lambda tx: tx.one(ImageStore, self.store).spec())
        await ask(choose, w.UnmountPool(pool=spec, force=True))

    @step
    def settle(self, tx: Tx, mount: w.PoolFacts) -> None:
        tx.move(tx.one(ImageStore, self.store), "mounted", disk_size_total=mount.capacity, disk_size_used=mount.used)


def any_host(tx: Tx, zone_id: str | None) -> Host:
    """A host that can work on images of a zone; Unavailable when none is Up."""
    where = [Host.c.state == "Up"]
    if zone_id is not None:
        where.append(Host.c.zone_id == zone_id)
    host = tx.first(Host, *where, order=(Host.c.cpu_reserved, Host.c.number))
    if host is None:
        raise Unavailable(
            "No host of the zone is Up to work on images; add one or bring one back.",
            public="No host can work on images now; try again later.",
        )
    return host


def of_zone(tx: Tx, zone_id: str) -> ImageStore:
    """The secondary storage new images of a zone go to; Unavailable when there is none."""
    c = ImageStore.c
    found = tx.first(
        ImageStore,
        c.state == "Up",
        ~c.readonly,
        (c.zone_id == zone_id) | c.zone_id.is_(None),
        order=(c.disk_size_used, c.number),
    )
    if found is None:
        raise Unavailable(
            "The zone has no secondary storage that takes images; add one with addImageStore.",
            public="This zone has nowhere to keep images yet.",
        )
    return found


@command("addImageStore", roles=ROOT, answers=ImageStore, waits=True, event="IMAGE.STORE.CREATE")
def add(
    ctx: Ctx,
    provider: str,
    url: Annotated[str | None, Param(length=2048)] = None,
    name: str | None = None,
    zoneid: Zone | None = None,
    details: Tags | None = None,
) -> ImageStore:
    """Adds a secondary storage.

    provider: NFS (with a file:// URL: a directory that every host of the zone mounts)
    url: file:///absolute/path
    """
    if provider.upper() not in ("NFS", "FILE", "DIRECTORY"):
        raise Invalid(
            f"Secondary storage of the provider {provider[:40]} is not offered yet; give NFS with a file:// URL.",
            parameter="provider",
        )
    if details:
        raise Invalid("A directory has no details; leave them out.", parameter="details")
    parts = net.url(url or "")
    if parts.scheme != "file" or not parts.path.startswith("/") or ".." in parts.path.split("/") or len(parts.path) < 2:
        raise Invalid(
            "url must be file:// and the absolute path of a directory that every host of the zone mounts.",
            parameter="url",
        )
    if ctx.tx.first(ImageStore, ImageStore.c.path == parts.path.rstrip("/")) is not None:
        raise Conflict(f"The directory {parts.path} is a secondary storage already.")
    made = ctx.tx.add(
        ImageStore(
            zone_id=zoneid.id if zoneid else None,
            name=name or parts.path,
            url=url or "",
            path=parts.path.rstrip("/"),
            providername="NFS",
        )
    )
    ctx.start(MountImageStore(store=made.id))
    return made


@command(
    "addSecondaryStorage",
    roles=ROOT,
    answers=ImageStore,
    key="secondarystorage",
    waits=True,
    event="IMAGE.STORE.CREATE",
)
def add_secondary(ctx: Ctx, url: str, zoneid: Zone | None = None, details: Tags | None = None) -> ImageStore:
    """Adds a secondary storage (the older name of addImageStore)."""
    made: ImageStore = add(ctx, "NFS", url, None, zoneid, details)
    return made


@command(
    "updateImageStore",
    roles=ROOT,
    answers=ImageStore,
    envelope="updateImageStoreresponse",
    error_envelope="updateImageStore",
    event="IMAGE.STORE.EDIT",
    refused={"capacitybytes:long": LATER},
)
def update(ctx: Ctx, id: ImageStore, name: str | None = None, readonly: bool | None = None) -> ImageStore:
    """Changes a secondary storage.

    readonly: true: no new images are put there
    """
    changes = {"name": name, "readonly": readonly}
    return ctx.tx.set(id, **{k: v for k, v in changes.items() if v is not None})


@command("deleteImageStore", roles=ROOT, event="IMAGE.STORE.DELETE")
def delete(ctx: Ctx, id: ImageStore) -> None:
    """Removes a secondary storage that holds no images any more; what lies in the directory is left alone."""
    ctx.tx.remove(id)
