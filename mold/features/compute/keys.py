"""SSH key pairs and user data: what a machine finds at its metadata service when it boots."""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import Annotated, Any, Literal

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from mold.api.answer import Field, show, shown
from mold.api.command import Ctx, Owner, Param, command
from mold.api.lists import Query, lists
from mold.api.permit import Owned
from mold.base.errors import InUse, Invalid, NotFound
from mold.features.infra.settings import setting
from mold.features.storage.templates import Template
from mold.store import Tx, column, created

USERDATA_MAX = setting("vm.userdata.max.length", 32768, "Bytes that user data may have.", low=0, unit="bytes")


class SshKeyPair(Owned):
    """The public half of a key pair."""

    kind = "sshkeypair"
    title = "SSH key pair"
    unique = (("account_id", "name"),)

    name: str = column(filter=True, keyword=True)
    fingerprint: str = column(filter=True)
    publickey: str = column(hidden=True)
    created: str = created()


class UserData(Owned):
    """User data kept under a name. `userdata` is base64."""

    kind = "userdata"
    title = "user data"
    unique = (("account_id", "name"),)
    appears = {"userdataid": "id", "userdataname": "name"}

    name: str = column(filter=True, keyword=True)
    userdata: str = column()
    params: str | None = column(default=None)
    created: str = created()


@shown(Template, Field("userdataname"), Field("userdataparams"))
def _linked(tx: Tx, rows: list[Any], caller: Any) -> dict[str, dict[str, Any]]:
    found = tx.among(UserData, [t.userdata_id for t in rows if t.userdata_id])
    return {
        t.id: {"userdataname": found[t.userdata_id].name, "userdataparams": found[t.userdata_id].params}
        for t in rows
        if t.userdata_id in found
    }


@shown(UserData, Field("accountid"), Field("hasannotations", "boolean"))
def _owner(tx: Tx, rows: list[Any], caller: Any) -> dict[str, dict[str, Any]]:
    return {u.id: {"accountid": u.account_id, "hasannotations": False} for u in rows}


@shown(SshKeyPair, Field("hasannotations", "boolean"))
def _notes(tx: Tx, rows: list[Any], caller: Any) -> dict[str, dict[str, Any]]:
    return {k.id: {"hasannotations": False} for k in rows}


KINDS = (
    "ssh-rsa",
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
)


def public_key(text: str) -> tuple[str, str]:
    """(key, fingerprint) of an OpenSSH public key; accepts the base64 that clients wrap it in. Invalid when it is none."""
    word = text.strip()
    if not word.startswith(("ssh-", "ecdsa-", "sk-")):
        try:
            word = base64.b64decode(word, validate=True).decode().strip()
        except (binascii.Error, ValueError, UnicodeDecodeError):
            pass
    parts = word.split(None, 2)
    try:
        if len(parts) < 2 or parts[0] not in KINDS or "\n" in word:
            raise ValueError("no key")
        blob = base64.b64decode(parts[1], validate=True)
        if blob[4 : 4 + len(parts[0])].decode() != parts[0]:
            raise ValueError("kind and key differ")
        serialization.load_ssh_public_key(" ".join(parts[:2]).encode())
    except Exception as broken:  # noqa: BLE001 - the library raises many kinds for many ways of being no key
        raise Invalid(
            "publickey is not an OpenSSH public key; give the line out of an id_….pub file.",
            parameter="publickey",
            inner=str(broken),
        ) from None
    digest = hashlib.md5(blob, usedforsecurity=False).hexdigest()
    return word, ":".join(digest[i : i + 2] for i in range(0, 32, 2))


@lists("listSSHKeyPairs", SshKeyPair, key="sshkeypair")
def _list(q: Query) -> None:
    """Lists SSH key pairs."""


KEY_FIELDS = (
    Field("id"),
    Field("name"),
    Field("fingerprint"),
    Field("account"),
    Field("domain"),
    Field("domainid"),
    Field("privatekey"),
)


@command("createSSHKeyPair", shape="object", key="keypair", event="REGISTER.SSH.KEYPAIR", fields=KEY_FIELDS)
def create(ctx: Ctx, owner: Owner, name: str) -> dict[str, Any]:
    """Makes a new SSH key pair; the private key is in this answer and nowhere else."""
    key = ed25519.Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH).decode()
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    ).decode()
    line, print_ = public_key(public)
    made = ctx.tx.add(SshKeyPair(name=name, fingerprint=print_, publickey=line, **owner.columns()))
    return {"keypair": {**show(ctx.tx, made, ctx.caller), "privatekey": private}}


@command("registerSSHKeyPair", answers=SshKeyPair, key="keypair", event="REGISTER.SSH.KEYPAIR")
def register(ctx: Ctx, owner: Owner, name: str, publickey: Annotated[str, Param(length=5120)]) -> SshKeyPair:
    """Registers the public half of a key pair.

    publickey: a line as in an id_….pub file
    """
    line, print_ = public_key(publickey)
    return ctx.tx.add(SshKeyPair(name=name, fingerprint=print_, publickey=line, **owner.columns()))


@command("deleteSSHKeyPair", event="SSH.KEYPAIR.DELETE")
def delete(ctx: Ctx, owner: Owner, name: str) -> None:
    """Deletes a key pair; machines keep the keys they have."""
    found = ctx.tx.first(SshKeyPair, SshKeyPair.c.name == name, SshKeyPair.c.account_id == owner.account_id)
    if found is None:
        raise NotFound(f"There is no SSH key pair {name} of this account.", name=name)
    ctx.tx.remove(found)


def check_userdata(ctx: Ctx, text: str) -> str:
    """User data as stored (base64); Invalid when it is not base64 or too long."""
    if not ctx.asked.post and len(text) > 4096:
        raise Invalid("User data of more than 4096 characters must be sent by POST.", parameter="userdata")
    try:
        plain = base64.b64decode(text.replace(" ", "+").replace("-", "+").replace("_", "/"), validate=True)
    except (binascii.Error, ValueError):
        raise Invalid("User data must be base64.", parameter="userdata") from None
    most = USERDATA_MAX.get(ctx.tx)
    if len(plain) > most:
        raise Invalid(
            f"User data may have {most} bytes; this has {len(plain)}.",
            parameter="userdata",
            limit=most,
            given=len(plain),
        )
    return base64.b64encode(plain).decode()


@lists("listUserData", UserData)
def _list_userdata(q: Query) -> None:
    """Lists user data."""


@command("registerUserData", answers=UserData, event="REGISTER.USER.DATA")
def register_userdata(
    ctx: Ctx,
    owner: Owner,
    name: str,
    userdata: Annotated[str, Param(length=1048576, secret=True)],
    params: str | None = None,
) -> UserData:
    """Keeps user data under a name.

    params: names of variables that the user data holds, comma separated
    """
    return ctx.tx.add(UserData(name=name, userdata=check_userdata(ctx, userdata), params=params, **owner.columns()))


@command("deleteUserData", event="USER.DATA.DELETE")
def delete_userdata(ctx: Ctx, owner: Owner, id: UserData) -> None:
    """Deletes user data that no machine refers to."""
    if {"account", "projectid"} & ctx.given and id.account_id != owner.account_id:
        raise NotFound(f"The account {owner.account.name} has no user data {id.id}.", id=id.id)
    linked = ctx.tx.first(Template, Template.c.userdata_id == id.id)
    if linked is not None:
        raise InUse(f"The user data {id.name} is linked to the template {linked.name}.", templateid=linked.id)
    ctx.tx.remove(id)


@command(
    "linkUserDataToTemplate",
    answers=Template,
    event="TEMPLATE.EDIT",
    refused={"isoid:uuid": "ISOs are not offered yet"},
)
def link_userdata(
    ctx: Ctx,
    templateid: Annotated[Template | None, Param(access="operate")] = None,
    userdataid: UserData | None = None,
    userdatapolicy: Literal["ALLOWOVERRIDE", "APPEND", "DENYOVERRIDE"] = "ALLOWOVERRIDE",
) -> Template:
    """Gives a template user data of its own; without userdataid takes it away.

    userdatapolicy: what happens when a deploy brings user data too: ALLOWOVERRIDE, APPEND or DENYOVERRIDE
    """
    if templateid is None:
        raise Invalid("Give templateid: ISOs are not offered yet.", parameter="templateid")
    return ctx.tx.set(
        templateid,
        userdata_id=userdataid.id if userdataid else None,
        userdata_policy=userdatapolicy if userdataid else None,
    )
