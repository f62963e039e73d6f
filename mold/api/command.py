"""Commands: declared once, by a function.  The signature is the parameters, the docstring the manual.

The first paragraph of the docstring describes the command; lines `name: text` below it describe parameters.
A parameter typed with a resource arrives looked up and permitted.  `listApis`, OpenAPI, the command line
and the console are made from what is declared here.
"""

from __future__ import annotations

import inspect
import re
import types
import typing
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin, get_type_hints

from mold.api.permit import EVERYONE, Access, RoleType
from mold.api.since import since
from mold.base import ids
from mold.store import Resource, Tx

if TYPE_CHECKING:
    from mold.work.engine import Engine
    from mold.work.job import Job
    from mold.work.operation import Operation

Kind = Literal["string", "integer", "long", "boolean", "double", "uuid", "list", "map", "date", "short", "float"]


@dataclass(frozen=True)
class Param:
    """Options of a parameter, given with `Annotated[type, Param(...)]`, and what was found out about it."""

    name: str = ""
    kind: Kind = "string"
    item: str = ""
    required: bool = False
    length: int = 255
    roles: frozenset[RoleType] = EVERYONE
    keys: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()
    low: int | None = None
    high: int | None = None
    access: Access | None = None
    resource: type[Resource] | None = None
    resources: tuple[type[Resource], ...] = ()
    of: str = ""
    """Kind of the resource when it is declared on a higher floor; `settle` looks it up once everything is loaded."""
    secret: bool = False
    since: str = ""
    doc: str = ""
    default: Any = None
    refused: str = ""
    """Not offered: a value is refused with this reason."""
    unit: str = ""
    """What a number counts, as MiB."""
    by_name: bool = False
    """Accepts the resource's name as well as its id."""
    post_only_over: int = 0
    label: bool = False
    """Must be a host-name label (RFC 1123)."""


Long = Annotated[int, Param(kind="long")]
Date = Annotated[str, Param(kind="date")]
Details = Annotated[dict[str, str], Param(keys=("*",))]
Tags = Annotated[dict[str, str], Param(keys=("key", "value"))]


@dataclass(frozen=True)
class Owner:
    """Parameter type: whose a new thing will be. On the wire: account, domainid, projectid."""

    account_id: str
    domain_id: str
    project_id: str | None
    account: Any

    def columns(self) -> dict[str, Any]:
        """The columns of `Owned`."""
        return {"account_id": self.account_id, "domain_id": self.domain_id, "project_id": self.project_id}


@dataclass
class Command:
    """One command of the API."""

    name: str
    function: Callable[..., Any]
    params: dict[str, Param] = field(default_factory=dict)
    roles: frozenset[RoleType] = EVERYONE
    answers: type[Resource] | None = None
    key: str = ""
    shape: Literal["list", "object", "success", "flat"] = "success"
    envelope: str = ""
    job: bool = False
    creates: bool = False
    waits: bool = False
    event: str = ""
    reads: bool = False
    doc: str = ""
    owner: bool = False
    fields: tuple[Any, ...] = ()
    listed: bool = True
    open: bool = False
    """Answered without a session."""
    error_envelope: str = ""
    """The envelope of refusals, where it is another."""
    wait_seconds: float = 300
    since: str = ""
    source: Callable[..., Any] | None = None
    """The function as written, where `function` wraps it (lists)."""
    asks: Callable[..., Awaitable[Any]] | None = None
    """What is asked of the world before the command's transaction begins; see `command`."""


COMMANDS: dict[str, Command] = {}

WORDS: dict[str, str] = {
    "id": "the id",
    "ids": "ids, comma separated",
    "name": "the name",
    "keyword": "text to look for",
    "page": "number of the page, from 1",
    "pagesize": "how many on a page",
    "account": "name of the owning account; needs domainid",
    "domainid": "id of the domain",
    "projectid": "id of the project; -1 for all projects",
    "listall": "everything the caller may see, not only the caller's own",
    "isrecursive": "with the domains below",
    "zoneid": "id of the zone",
    "podid": "id of the pod",
    "clusterid": "id of the cluster",
    "hostid": "id of the host",
    "displaytext": "a description for people",
    "details": "further details, details[0].name=value",
    "tags": "tags, tags[0].key=…&tags[0].value=…",
    "hypervisor": "the hypervisor, as KVM or Simulator",
    "state": "the state",
    "allocationstate": "Enabled or Disabled: whether new machines may be placed there",
    "showicon": "with icons",
    "showcapacities": "with capacities",
    "sortkey": "position in lists",
    "forced": "do it even if it is in use or running",
    "startip": "first address of the range",
    "endip": "last address of the range",
    "gateway": "address of the gateway",
    "netmask": "the netmask",
    "vlan": "the VLAN or its range",
    "url": "the URL",
    "templateid": "id of the template",
    "serviceofferingid": "id of the compute offering",
    "networkofferingid": "id of the network offering",
    "networkid": "id of the network",
    "physicalnetworkid": "id of the physical network",
    "virtualmachineid": "id of the machine",
    "storageid": "id of the primary storage",
    "userdata": "base64 text that the machine finds at its metadata service",
    "keypair": "name of an SSH key pair",
    "keypairs": "names of SSH key pairs",
    "customid": "an id chosen by the caller (admins)",
    "accountid": "id of the account",
    "acltype": "who may use the network: Account",
    "accounttype": "0 user, 1 root admin, 2 domain admin, 3 resource admin",
    "arch": "CPU architecture: x86_64 or aarch64",
    "availability": "Optional or Required",
    "bits": "64 or 32",
    "bootable": "whether machines can start from it",
    "bootintosetup": "stop at the firmware's boot menu",
    "bootmode": "LEGACY or SECURE",
    "boottype": "BIOS or UEFI",
    "bytesreadrate": "bytes/s that may be read",
    "byteswriterate": "bytes/s that may be written",
    "cachemode": "none, writeback or writethrough",
    "capacityiops": "IOPS that it can do, as the operator says",
    "clustertype": "CloudManaged",
    "conservemode": "whether one public address may carry rules of several services",
    "customer": "a word of the caller's own by which tags can be told apart",
    "deploymentplanner": "how the host is chosen; listDeploymentPlanners names the ways",
    "diskofferingid": "id of the disk offering",
    "displaynetwork": "whether users see it",
    "displayoffering": "whether users see it",
    "displayvm": "whether users see it",
    "displayvolume": "whether users see it",
    "dns1": "first DNS server",
    "dns2": "second DNS server",
    "domain": "DNS suffix of the zone's networks",
    "dynamicscalingenabled": "kept with the offering, for the version that scales running machines",
    "email": "the user's e-mail address",
    "fingerprint": "fingerprint of the key",
    "firstname": "the user's first name",
    "forsystemvms": "kept for the cloud's own machines: no network of a tenant gets one",
    "forvirtualnetwork": "for isolated networks",
    "forvpc": "for VPCs",
    "group": "name of a group that people sort it into",
    "guestcidraddress": "the CIDR that isolated networks get when none is given",
    "guestiptype": "Isolated",
    "haenable": "kept with the machine, for the version that restarts machines elsewhere",
    "imagestoreid": "id of the secondary storage",
    "imagestoreuuid": "id of the secondary storage",
    "internaldns1": "first DNS server for the cloud's own machines",
    "internaldns2": "second DNS server for the cloud's own machines",
    "iopsreadrate": "reads/s",
    "iopswriterate": "writes/s",
    "ip6dns1": "first DNS server, IPv6",
    "ip6dns2": "second DNS server, IPv6",
    "ipaddress": "the address",
    "isdefault": "those that came with the installation",
    "isdynamicallyscalable": "kept, for the version that scales running machines",
    "isextractable": "whether it may be downloaded",
    "isfeatured": "shown first to everybody (root admins)",
    "isolationmethod": "how guest networks are kept apart: VLAN or VXLAN",
    "ispersistent": "networks keep their router when no machine runs",
    "ispublic": "whether everybody may use it",
    "isready": "those that can be used, or not yet",
    "issystem": "for the cloud's own machines",
    "istagged": "those with tags, or without",
    "isvolatile": "whether the root disk is made anew at each start",
    "key": "the tag's key",
    "keyboard": "layout of its screen's keyboard, as us or de",
    "lastname": "the user's last name",
    "level": "the level",
    "limitcpuuse": "machines get no more CPU than their speed, even on an idle host",
    "enabled": "whether it is set to work",
    "localstorageenabled": "whether disks may lie on a host's own storage",
    "macaddress": "the MAC address of its first network card",
    "managedstate": "Managed or Unmanaged",
    "managementserverid": "id of the manager",
    "maxcpunumber": "most cores that may be chosen",
    "maxmemory": "most MiB that may be chosen",
    "mincpunumber": "fewest cores that may be chosen",
    "minmemory": "least MiB that may be chosen",
    "networkdomain": "DNS suffix of networks",
    "networkrate": "Mbit/s",
    "networkspeed": "speed as people write it, as 10G",
    "networktype": "Advanced",
    "offerha": "kept with the offering, for the version that restarts machines elsewhere",
    "ostypeid": "id of the guest's OS type",
    "parent": "name of the setting that these belong to",
    "password": "the password",
    "passwordenabled": "machines take passwords from the cloud",
    "path": "the path",
    "protocol": "protocol, as file",
    "provider": "name of the provider",
    "provisioningtype": "thin, sparse or fat",
    "readonly": "true: those that take no new images",
    "requireshvm": "needs hardware virtualization; always so with KVM",
    "resourceid": "id of the thing",
    "resourceids": "ids of the things",
    "resourcestate": "what the operator wants of it: Enabled, Disabled or Maintenance",
    "resourcetype": "type of the things, as VirtualMachine",
    "restartrequired": "those that want a restart",
    "scope": "CLUSTER, ZONE or HOST",
    "servicecapabilitylist": "capabilities, servicecapabilitylist[0].service=…&….capabilitytype=…&….capabilityvalue=…",
    "serviceofferingdetails": "further details, serviceofferingdetails[0].name=value",
    "sourcenatsupported": "those with source NAT, or without",
    "specifyipranges": "for networks with ranges given by an operator",
    "specifyvlan": "root admins choose the VLAN",
    "sshkeyenabled": "machines take SSH keys from the cloud",
    "storagetype": "shared or local",
    "subgroup": "subgroup of settings",
    "supportedservices": "names of services, comma separated",
    "systemvmtype": "kind of the cloud's own machines",
    "templatetag": "host tag that machines made from it need (root admins)",
    "templatetype": "type of the template: USER",
    "timezone": "the user's time zone",
    "traffictype": "kind of traffic",
    "type": "the type",
    "userdatadetails": "values of the variables in the user data",
    "userdataid": "id of user data that is kept under a name",
    "userid": "id of the user",
    "username": "name of the user",
    "value": "the value",
    "version": "the version",
    "volumeid": "id of the volume",
    "zoneids": "ids of zones, comma separated",
    "fordisplay": "whether users see it",
    "allocatedonly": "true, the default: only addresses in use",
    "issourcenat": "those that carry a network's source NAT",
    "rootdisksize": "GiB of the root disk",
    "projectids": "ids of projects, comma separated",
    "cleanupdetails": "forget all details",
    "user": "name of the user",
}


def _docs(function: Callable[..., Any]) -> tuple[str, dict[str, str]]:
    text = inspect.getdoc(function) or ""
    first, _, rest = text.partition("\n\n")
    words = dict(re.findall(r"^([a-z0-9]+): (.+)$", rest, re.MULTILINE))
    return " ".join(first.split()), words


def _param(name: str, hint: Any, default: Any, words: dict[str, str], access: Access) -> Param:
    spec = Param()
    if get_origin(hint) is Annotated:
        hint, *notes = get_args(hint)
        spec = next((n for n in notes if isinstance(n, Param)), spec)
    args = get_args(hint)
    optional = False
    if get_origin(hint) in (typing.Union, types.UnionType) and type(None) in args:
        rest = [a for a in args if a is not type(None)]
        optional = True
        if len(rest) == 1:
            hint = rest[0]
            if get_origin(hint) is Annotated:
                hint, *notes = get_args(hint)
                inner = next((n for n in notes if isinstance(n, Param)), Param())
                # `Annotated[Long | None, Param(low=1)]`: what the type says, and what is said of this parameter.
                spec = _with(spec, kind=inner.kind if spec.kind == "string" else spec.kind, keys=spec.keys or inner.keys)
    kind: Kind = "string"
    item = ""
    resource = None
    origin = get_origin(hint)
    if isinstance(hint, type) and issubclass(hint, Resource):
        kind, resource = "uuid", None if spec.of else hint
    elif origin is list:
        (of,) = get_args(hint)
        if isinstance(of, type) and issubclass(of, Resource):
            kind, item, resource = "list", "uuid", of
        elif get_origin(of) is dict:
            kind = "map"
        else:
            kind, item = "list", "string"
    elif origin is dict:
        kind = "map"
    elif origin is Literal:
        spec = _with(spec, choices=tuple(get_args(hint)))
    elif hint is bool:
        kind = "boolean"
    elif hint is int:
        kind = "integer"
    elif hint is float:
        kind = "double"
    if spec.kind != "string":
        kind = spec.kind
    if origin is dict and not spec.keys:
        # A plain `dict` in a signature is one map; without keys it would arrive as a list of groups.
        spec = _with(spec, keys=("key", "value") if name == "tags" else ("*",))
    missing = default is inspect.Parameter.empty
    return _with(
        spec,
        name=name,
        kind=kind,
        item=item or spec.item,
        resource=resource or spec.resource,
        default=None if missing else default,
        required=missing and not optional,
        access=spec.access or access,
        doc=spec.doc or words.get(name) or WORDS.get(name, ""),
    )


def _with(spec: Param, **changes: Any) -> Param:
    from dataclasses import replace

    return replace(spec, **changes)


def refused_param(text: str, reason: str) -> Param:
    """A parameter that the API knows and that is not offered: `name:kind`, `name:list/uuid` or `name:string:length`."""
    name, _, rest = text.partition(":")
    rest, _, length = (rest or "string").partition(":")
    kind, _, item = rest.partition("/")
    shape: Any = kind
    return Param(
        name,
        shape,
        length=int(length or 255),
        item=item or ("string" if kind == "list" else ""),
        refused=reason,
        keys=("*",) if kind == "map" else (),
        doc=f"Not offered: {reason}",
    )


def command(
    name: str,
    *,
    roles: frozenset[RoleType] = EVERYONE,
    answers: type[Resource] | None = None,
    key: str = "",
    shape: Literal["list", "object", "success", "flat"] | None = None,
    envelope: str = "",
    job: bool = False,
    creates: bool = False,
    waits: bool = False,
    event: str = "",
    reads: bool = False,
    open: bool = False,
    listed: bool = True,
    fields: tuple[Any, ...] = (),
    refused: dict[str, str] | None = None,
    takes: tuple[Param, ...] = (),
    error_envelope: str = "",
    wait_seconds: float = 300,
    asks: Callable[..., Awaitable[Any]] | None = None,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Declare a command.

    `answers` is the resource that the function returns (or that its operation ends with), shown under `key`
    (default: the resource's kind); `job` makes it asynchronous, `creates` adds the new thing's id to the answer,
    `waits` makes a synchronous command wait for the operation it started.  `refused` names parameters of the API
    that are known but not offered, written `name:type` -> reason.  `takes` describes the parameters of an `open` command,
    which reads the request by itself.

    `asks` is for the few commands whose answer lies outside, in a company's directory say: a function with the command's
    own parameters, called in a reading transaction with the caller already permitted.  It reads what it needs and returns
    an awaitable, which is awaited when that transaction is over; the command's own begins after that, permits the caller
    anew and finds what came back in `ctx.heard`.  So no transaction is ever open while the world is talked to.
    """

    def keep(function: Callable[..., Any]) -> Callable[..., Any]:
        doc, words = _docs(function)
        known = getattr(function, "__globals__", {})
        hints = get_type_hints(function, globalns=known, include_extras=True)
        made = Command(
            name,
            function,
            roles=roles,
            answers=answers,
            key=key or (answers.kind if answers else ""),
            envelope=envelope or f"{name.lower()}response",
            shape=shape or ("object" if answers else "success"),
            job=job,
            creates=creates,
            waits=waits,
            event=event,
            reads=reads,
            doc=doc,
            open=open,
            listed=listed,
            fields=fields,
            error_envelope=error_envelope,
            wait_seconds=wait_seconds,
            asks=asks,
        )
        access: Access = "see" if reads else "use"
        made.params.update((p.name, p) for p in takes)
        if (
            open
        ):  # works on the request itself: its parameters are those it says it takes, and what its docstring tells of
            made.params = {
                **{n: Param(n, doc=text, secret=n == "password") for n, text in words.items()},
                **made.params,
            }
            return _kept(made)
        for pname, p in list(inspect.signature(function).parameters.items())[1:]:
            if open:
                break
            hint = hints[pname]
            if hint is Owner:
                made.owner = True
                from mold.store import REGISTRY

                made.params["account"] = Param("account", doc=WORDS["account"])
                made.params["domainid"] = Param(
                    "domainid", "uuid", resource=REGISTRY["domain"], access="see", doc=WORDS["domainid"]
                )
                made.params["projectid"] = Param(
                    "projectid", "uuid", resource=REGISTRY["project"], access="use", doc=WORDS["projectid"]
                )
                continue
            mode: Access = "operate" if pname == "id" and not reads else access
            made.params[pname] = _param(pname, hint, p.default, words, mode)
        for text, reason in (refused or {}).items():
            spec = refused_param(text, reason)
            made.params[spec.name] = spec
        return _kept(made)

    return keep


def _kept(made: Command) -> Callable[..., Any]:
    if made.name in COMMANDS:
        raise TypeError(f"two functions are the command {made.name}")
    COMMANDS[made.name] = made
    made.function.__dict__["command"] = made
    return made.function


LATER = "not offered by this version"


SETTLED: list[Callable[[], None]] = []
"""What is still to be done once every slice is loaded, each once."""


def settle() -> None:
    """Find the resources that parameters name by their kind, and since when they are; called when every slice is loaded."""
    from mold.store import REGISTRY

    for made in COMMANDS.values():
        made.since = since(made.name)
        for name, spec in made.params.items():
            resource = REGISTRY[spec.of] if spec.of and spec.resource is None else spec.resource
            made.params[name] = _with(spec, resource=resource, since=spec.since or since(made.name, name))
    while SETTLED:
        SETTLED.pop(0)()


@dataclass
class Asked:
    """The request as a command may need it."""

    base_url: str = ""
    address: str = ""
    post: bool = False
    session: str | None = None


class Ctx:
    """What a command gets: who asks, the transaction, and how to start an operation. It has no drivers."""

    def __init__(
        self,
        caller: Any,
        tx: Tx,
        made: Command,
        engine: Engine | None,
        asked: Asked,
        given: frozenset[str] = frozenset(),
        may: Callable[[Command], bool] = lambda made: True,
    ) -> None:
        self.caller = caller
        self.tx = tx
        self.command = made
        self.engine = engine
        self.asked = asked
        self.given = given
        """Names of the parameters that were given."""
        self.heard: Any = None
        """What the world answered before this transaction began; see `asks` of `command`."""
        self.may = may
        """Whether the caller may call a command."""
        self.job: Job | None = None
        self.custom_job_id: str | None = None
        self.told: tuple[str, Resource | None] | None = None
        self.etag = ""
        """What the answer is a version of: who has it already is answered 304."""

    def tell(self, text: str, *, about: Resource | None = None) -> None:
        """What the command's event says, and of what; without it the event says what the command does."""
        self.told = (text, about)

    def start(self, op: Operation) -> Job:
        """Want an operation done; it begins when the command's transaction commits."""
        assert self.engine is not None
        about: dict[str, Any] = {"cmd": self.command.name}
        if self.caller.user_id:
            about.update(
                account_id=self.caller.account_id, user_id=self.caller.user_id, domain_id=self.caller.domain_id
            )
        if self.command.event:
            about["event"] = self.command.event
            about["event_id"] = ids.new_id()
        if self.custom_job_id:
            about["id"] = self.custom_job_id
        self.job = self.engine.enqueue(self.tx, op, **about)
        return self.job
