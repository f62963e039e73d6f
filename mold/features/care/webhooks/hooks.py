"""Webhooks: addresses that accounts want told of events, and which events. Secrets are sealed at rest and in no answer."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import sqlalchemy as sa

from mold.api.command import Ctx, Owner, Param, command
from mold.api.lists import Query, lists
from mold.api.permit import ADMINS, ROOT, Caller, Owned, Policy, RoleType, condition
from mold.base.errors import Denied, Invalid
from mold.features.care.webhooks.sending import checked
from mold.features.identity.accounts import Account
from mold.store import Resource, column, created, refers

Scope = Literal["Local", "Domain", "Global"]
State = Literal["Enabled", "Disabled"]


class Webhook(Owned):
    """A webhook. `scope`: events of the account (Local), of its domain and those below (Domain), or all (Global)."""

    kind = "webhook"
    unique = (("account_id", "name"),)

    name: str = column(keyword=True)
    description: str | None = column(default=None)
    state: str = column(default="Enabled", filter=True)
    payload_url: str = column(api="payloadurl")
    secret: str | None = column(default=None, secret=True)
    verify: bool = column(default=True, api="sslverification")
    scope: str = column(default="Local", filter=True)
    created: str = created()


class OfWebhook(Policy):
    """What belongs to a webhook is seen and changed by who may do that with the webhook."""

    def _of(self, caller: Caller, t: Any, access: Literal["see", "operate"]) -> Any:
        return t.c.webhook_id.in_(sa.select(Webhook.c.id).where(condition(Webhook, caller, access)))

    def see(self, caller: Caller, t: Any) -> Any:
        return self._of(caller, t, "see")

    def operate(self, caller: Caller, t: Any) -> Any:
        return self._of(caller, t, "operate")


class WebhookFilter(Resource):
    """A filter: which types of events a webhook is told of. With several that include, one must fit; none that excludes may."""

    kind = "webhookfilter"
    title = "filter"
    unique = (("webhook_id", "mode", "match", "value"),)
    policy = OfWebhook()

    webhook_id: str = refers("webhook", shows={"webhookid": "id", "webhookname": "name"}, cascade=True, filter=False)
    type: str = column(default="EventType")
    mode: str = column(default="Include")
    match: str = column(default="Exact", api="matchtype")
    value: str = column(keyword=True)
    created: str = created()

    def fits(self, type: str) -> bool:
        """Whether it speaks of this type of events."""
        mine, theirs = self.value.upper(), type.upper()
        how = {"Exact": theirs == mine, "Prefix": theirs.startswith(mine), "Suffix": theirs.endswith(mine)}
        return how.get(self.match, mine in theirs)


@lists("listWebhooks", Webhook)
def _list(q: Query) -> None:
    """Lists webhooks."""


def _scope(caller: Caller, scope: str) -> None:
    if scope == "Global" and not caller.root:
        raise Denied("Only root admins hear of all events; use the scope Domain or Local.")
    if scope == "Domain" and caller.role not in ADMINS:
        raise Denied("Only admins hear of a domain's events; use the scope Local.")


@command("createWebhook", answers=Webhook, event="WEBHOOK.CREATE")
def create(
    ctx: Ctx,
    name: str,
    payloadurl: str,
    owner: Owner,
    description: str | None = None,
    secretkey: Annotated[str | None, Param(secret=True)] = None,
    sslverification: bool = True,
    scope: Annotated[Scope, Param(roles=ADMINS)] = "Local",
    state: State = "Enabled",
) -> Webhook:
    """Creates a webhook: an address that is told of events.

    description: what it is for
    payloadurl: where the events go, http or https
    secretkey: the receiver checks the signature X-CS-Signature with it
    sslverification: whether the certificate of an https receiver is checked
    scope: Local: events of the account; Domain: of its domain and those below; Global: all
    state: Enabled or Disabled
    """
    _scope(ctx.caller, scope)
    if RoleType(owner.account.role_type) not in {"Global": ROOT, "Domain": ADMINS}.get(scope, {*RoleType}):
        raise Denied(f"The account {owner.account.name} may not hear of events of the scope {scope}.")
    return ctx.tx.add(
        Webhook(
            name=name,
            description=description,
            payload_url=checked(ctx.tx, payloadurl),
            secret=secretkey or None,
            verify=sslverification,
            scope=scope,
            state=state,
            **owner.columns(),
        )
    )


@command("updateWebhook", answers=Webhook, event="WEBHOOK.EDIT")
def update(
    ctx: Ctx,
    id: Webhook,
    name: str | None = None,
    description: str | None = None,
    payloadurl: str | None = None,
    secretkey: Annotated[str | None, Param(secret=True)] = None,
    sslverification: bool | None = None,
    scope: Annotated[Scope | None, Param(roles=ADMINS)] = None,
    state: State | None = None,
) -> Webhook:
    """Changes a webhook.

    description: what it is for
    payloadurl: where the events go, http or https
    secretkey: the receiver checks the signature with it; empty: none
    sslverification: whether the certificate of an https receiver is checked
    scope: Local, Domain or Global
    state: Enabled or Disabled
    """
    if scope is not None:
        _scope(ctx.caller, scope)
        account = ctx.tx.one(Account, id.account_id)
        if RoleType(account.role_type) not in {"Global": ROOT, "Domain": ADMINS}.get(scope, {*RoleType}):
            raise Denied(f"The account {account.name} may not hear of events of the scope {scope}.")
    changes: dict[str, Any] = {
        "name": name,
        "description": description,
        "payload_url": checked(ctx.tx, payloadurl) if payloadurl is not None else None,
        "verify": sslverification,
        "scope": scope,
        "state": state,
    }
    found = {k: v for k, v in changes.items() if v is not None}
    if secretkey is not None:
        found["secret"] = secretkey or None
    return ctx.tx.set(id, **found)


@command("deleteWebhook", event="WEBHOOK.DELETE")
def delete(ctx: Ctx, id: Webhook) -> None:
    """Deletes a webhook, with its deliveries and filters."""
    ctx.tx.remove(id)


@lists("listWebhookFilters", WebhookFilter)
def _filters(q: Query, webhookid: Webhook | None = None) -> None:
    """Lists filters of webhooks.

    webhookid: those of this webhook
    """
    if webhookid is not None:
        q.where(WebhookFilter.c.webhook_id == webhookid.id)


@command("addWebhookFilter", answers=WebhookFilter, event="WEBHOOK.EDIT")
def add_filter(
    ctx: Ctx,
    webhookid: Annotated[Webhook, Param(access="operate")],
    value: str,
    mode: Literal["Include", "Exclude"] = "Include",
    matchtype: Literal["Exact", "Prefix", "Suffix", "Contains"] = "Exact",
) -> WebhookFilter:
    """Has a webhook told of some types of events only, or of all but some.

    webhookid: the webhook
    value: the type of event, or a part of it, as VM.
    mode: Include: only such events; Exclude: none of them
    matchtype: Exact, Prefix, Suffix or Contains
    """
    if not value.strip():
        raise Invalid("A filter needs a value, as VM.CREATE.", parameter="value")
    return ctx.tx.add(WebhookFilter(webhook_id=webhookid.id, mode=mode, match=matchtype, value=value.strip()))


@command("deleteWebhookFilter", event="WEBHOOK.EDIT")
def delete_filter(
    ctx: Ctx, id: WebhookFilter | None = None, webhookid: Annotated[Webhook | None, Param(access="operate")] = None
) -> None:
    """Takes a filter away, or all of a webhook.

    webhookid: all filters of this webhook
    """
    if id is None and webhookid is None:
        raise Invalid("Say which filter: id, or webhookid for all of one.", parameter="id")
    if id is not None:
        ctx.tx.remove(id)
    if webhookid is not None:
        for each in ctx.tx.by(WebhookFilter, webhook_id=webhookid.id):
            ctx.tx.remove(each)
