"""Access: which commands a caller may call. The door asks here, for every request; `listApis` asks the same.

The account's role is asked first, then the rules of the API key if it carries any, then the caller's role in the project.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from mold.api.command import Command, Owner
from mold.api.permit import Caller
from mold.base.errors import Denied, Refusal, UnknownCommand
from mold.features.identity import project_roles, projects, roles
from mold.features.identity.projects import KEPT_OPEN, Project
from mold.store import Resource, Tx


def refusal(tx: Tx, caller: Caller, made: Command) -> Refusal | None:
    """Why the caller may not call the command; None when she may."""
    if caller.internal:
        return None
    role = roles.standing(tx, caller.role_id)
    if not role.enabled:
        return Denied(f"The role {role.name} of the account {caller.account} is disabled; ask an admin to enable it.")
    if not role.allows(made):
        return UnknownCommand(
            f"The API [{made.name}] does not exist or is not available for the account {caller.account}.",
            command=made.name,
        )
    # A key never does more than its account may: its rules were within the role's when it was made, the role may have changed.
    if caller.rules is not None and not caller.rules.verdict(made.name):
        return UnknownCommand(f"The rules of this API key do not allow {made.name}.", command=made.name)
    return None


def within_projects(tx: Tx, caller: Caller, made: Command, params: dict[str, str]) -> Caller:
    """The caller as far as project roles go: projects whose role denies the command are not hers while she calls it.

    Denied when the request names such a project.
    """
    if not caller.project_roles:
        return caller
    closed = {
        account_id: project_id
        for account_id, (project_id, role_id) in caller.project_roles.items()
        if project_roles.rules(tx, role_id).verdict(made.name) is False
    }
    if not closed:
        return caller
    wanted = next((v for k, v in params.items() if k.lower() == "projectid"), "").strip().lower()
    if wanted in closed.values():
        raise Denied(f"Your role in this project does not allow {made.name}.", projectid=wanted)
    return replace(caller, projects=tuple(p for p in caller.projects if p not in closed))


def unsuspended(tx: Tx, made: Command, given: dict[str, Any]) -> None:
    """Conflict when a command would change something of a project that is suspended."""
    if made.reads or made.name in KEPT_OPEN:
        return
    touched: set[str | None] = set()
    for value in given.values():
        for each in value if isinstance(value, list) else (value,):
            if isinstance(each, Project):
                touched.add(each.id)
            elif isinstance(each, Owner):
                touched.add(each.project_id)
            elif isinstance(each, Resource):
                touched.add(each.__dict__.get("project_id"))
    projects.unsuspended(tx, touched)
