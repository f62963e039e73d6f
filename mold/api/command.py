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
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin, get_type_hints

from mold.api.permit import EVERYONE, Access, RoleType
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
    secret: bool = False
    since: str = ""
    doc: str = ""
    default: Any = None
    refused: str = ""
    """Not offered: a value is refused with this reason."""
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
    wait_seconds: float = 300


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
    "arch": "the CPU architecture: x86_64 or aarch64",
    "availability": "Optional or Required",
    "bits": "32 or 64",
    "bootable": "whether machines can boot from it",
    "bootintosetup": "stop at the firmware's boot menu",
    "bootmode": "LEGACY or SECURE",
    "boottype": "BIOS or UEFI",
    "bytesreadrate": "most bytes read from a disk per second",
    "byteswriterate": "most bytes written to a disk per second",
    "cachemode": "how the host caches a disk: none, writeback or writethrough",
    "capacityiops": "operations per second that the storage can do",
    "clustertype": "CloudManaged",
    "conservemode": "whether one public address may serve several services",
    "customer": "not used",
    "deploymentplanner": "how the host is chosen (root admins)",
    "diskofferingid": "id of the disk offering",
    "displaynetwork": "whether tenants see it (root admins)",
    "displayoffering": "whether tenants see it",
    "displayvm": "whether tenants see it (root admins)",
    "displayvolume": "whether tenants see it (root admins)",
    "dns1": "first DNS server",
    "dns2": "second DNS server",
    "domain": "DNS suffix",
    "dynamicscalingenabled": "whether running machines may grow",
    "email": "address for mail to the user",
    "fingerprint": "fingerprint of the key",
    "firstname": "the user's first name",
    "forsystemvms": "only for the cloud's own machines",
    "forvirtualnetwork": "whether it is for isolated networks",
    "forvpc": "whether it is for VPCs",
    "group": "name of the group",
    "guestcidraddress": "the CIDR that isolated networks get when none is given",
    "guestiptype": "Isolated, Shared or L2",
    "haenable": "whether it is started again when its host fails",
    "imagestoreid": "id of the secondary storage",
    "imagestoreuuid": "id of the secondary storage",
    "internaldns1": "first DNS server for the cloud's own machines",
    "internaldns2": "second DNS server for the cloud's own machines",
    "iopsreadrate": "most reads from a disk per second",
    "iopswriterate": "most writes to a disk per second",
    "ip6dns1": "first IPv6 DNS server",
    "ip6dns2": "second IPv6 DNS server",
    "ipaddress": "the address",
    "isdefault": "whether it is a default one",
    "isdynamicallyscalable": "whether machines from it may grow while they run",
    "isextractable": "whether it may be downloaded",
    "isfeatured": "whether it is shown first (root admins)",
    "isolationmethod": "VLAN or VXLAN",
    "ispersistent": "whether its networks keep their router without machines",
    "ispublic": "whether everybody may use it",
    "isready": "whether it can be used",
    "issystem": "whether it is for the cloud's own machines",
    "istagged": "whether it has tags",
    "isvolatile": "whether the root disk is made anew at each start",
    "key": "the key",
    "keyboard": "the console's keyboard layout, as us or de",
    "lastname": "the user's last name",
    "level": "level in the tree of domains, 0 for ROOT",
    "limitcpuuse": "whether machines get no more CPU than promised, even when there is some to spare",
    "localstorageenabled": "whether disks may lie on a host's own storage",
    "macaddress": "its MAC address on the default network",
    "managedstate": "Managed or Unmanaged",
    "managementserverid": "id of the manager",
    "maxcpunumber": "most cores that a deploy may choose",
    "maxmemory": "most MiB that a deploy may choose",
    "mincpunumber": "fewest cores that a deploy may choose",
    "minmemory": "fewest MiB that a deploy may choose",
    "networkdomain": "DNS suffix of the networks",
    "networkrate": "Mbit/s of each network card",
    "networkspeed": "the network's speed, as 10G",
    "networktype": "Advanced or Basic",
    "offerha": "whether machines are started again when their host fails",
    "ostypeid": "id of the OS type",
    "parent": "name of the setting that these belong to",
    "password": "the password",
    "passwordenabled": "whether machines from it take a password from the cloud",
    "path": "the path",
    "protocol": "the protocol",
    "provider": "name of the provider",
    "provisioningtype": "thin, sparse or fat",
    "readonly": "whether it takes no new images",
    "requireshvm": "whether it needs hardware virtualization",
    "resourceid": "id of the thing",
    "resourceids": "ids of the things, comma separated",
    "resourcestate": "Enabled, Disabled or in maintenance",
    "resourcetype": "type of the thing: UserVm, Template, Network, Volume",
    "restartrequired": "whether its router must be made anew",
    "scope": "ZONE, CLUSTER or HOST",
    "servicecapabilitylist": "capabilities, servicecapabilitylist[0].service=…&servicecapabilitylist[0].capabilitytype=…&servicecapabilitylist[0].capabilityvalue=…",
    "serviceofferingdetails": "further details, serviceofferingdetails[0].name=value",
    "sourcenatsupported": "whether it offers source NAT",
    "specifyipranges": "whether address ranges are given with the network",
    "specifyvlan": "whether root admins choose the VLAN",
    "sshkeyenabled": "whether machines from it take SSH keys from the cloud",
    "storagetype": "shared or local",
    "subgroup": "subgroup of settings",
    "supportedservices": "names of services, comma separated",
    "systemvmtype": "kind of the cloud's own machines",
    "templatetag": "host tag that machines from it need (root admins)",
    "templatetype": "USER; root admins: also others",
    "timezone": "the user's time zone",
    "traffictype": "the kind of traffic",
    "type": "the type",
    "userdatadetails": "values of variables in the user data, userdatadetails[0].name=value",
    "userdataid": "id of the user data",
    "userid": "id of the user",
    "username": "the user's name",
    "value": "the value",
    "version": "the version",
    "volumeid": "id of the volume",
    "zoneids": "ids of zones, comma separated",
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
                spec = next((n for n in notes if isinstance(n, Param)), spec)
    kind: Kind = "string"
    item = ""
    resource = None
    origin = get_origin(hint)
    if isinstance(hint, type) and issubclass(hint, Resource):
        kind, resource = "uuid", hint
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
    """A parameter that the API knows and that is not offered: `name:kind` or `name:list/uuid`."""
    name, _, rest = text.partition(":")
    kind, _, item = (rest or "string").partition("/")
    shape: Any = kind
    return Param(
        name,
        shape,
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
    wait_seconds: float = 300,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Declare a command.

    `answers` is the resource that the function returns (or that its operation ends with), shown under `key`
    (default: the resource's kind); `job` makes it asynchronous, `creates` adds the new thing's id to the answer,
    `waits` makes a synchronous command wait for the operation it started.  `refused` names parameters of the API
    that are known but not offered, written `name:type` -> reason.
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
            wait_seconds=wait_seconds,
        )
        access: Access = "see" if reads else "use"
        if open:  # works on the request itself: its parameters are those that its docstring tells of
            made.params = {n: Param(n, doc=text, secret=n == "password") for n, text in words.items()}
            return _kept(made)
        for pname, p in list(inspect.signature(function).parameters.items())[1:]:
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
    ) -> None:
        self.caller = caller
        self.tx = tx
        self.command = made
        self.engine = engine
        self.asked = asked
        self.given = given
        """Names of the parameters that were given."""
        self.job: Job | None = None
        self.custom_job_id: str | None = None

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
