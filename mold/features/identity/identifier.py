"""The installation's own identifier, signed so that a user can show elsewhere that she belongs to it."""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import Annotated, Any

from mold.api.answer import Field
from mold.api.command import Ctx, Param, command
from mold.base.errors import Invalid
from mold.features.identity.domains import Domain
from mold.features.identity.users import User
from mold.store import REGISTRY

FIELDS = (Field("userid"), Field("cloudidentifier"), Field("signature"))


@command("getCloudIdentifier", shape="object", key="cloudidentifier", reads=True, fields=FIELDS)
def identify(ctx: Ctx, userid: Annotated[User, Param(access="operate")]) -> dict[str, Any]:
    """Answers this cloud's identifier, signed with a user's secret key (HMAC-SHA1, base64).

    userid: whose secret key signs it; she must have one
    """
    kind = REGISTRY["keypair"]
    keys = ctx.tx.first(kind, kind.c.user_id == userid.id, order=kind.c.number.desc())
    if keys is None:
        raise Invalid("The user has no keys; make some with registerUserKeys.", parameter="userid")
    root = ctx.tx.first(Domain, Domain.c.parent_id.is_(None))
    assert root is not None, "an installation has a root domain"
    word = root.id
    mark = hmac.new(str(keys.__dict__["secret"]).encode(), word.encode(), hashlib.sha1).digest()
    body = {"userid": userid.id, "cloudidentifier": word, "signature": base64.b64encode(mark).decode()}
    return {"cloudidentifier": body}
