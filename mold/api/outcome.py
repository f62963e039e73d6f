"""Outcomes: what a finished job answers, read when somebody asks.

A job keeps no copy of its answer: it names the thing, and the answer is the thing as it is now and as the caller
may see it.  So no secret lies in a job, and an old job tells no old story.
"""

from __future__ import annotations

from typing import Any

import msgspec

from mold.api.answer import view
from mold.api.command import COMMANDS
from mold.store import Resource, Tx
from mold.work import OPERATIONS, Job, Operation


def outcomes(tx: Tx, jobs: list[Any], caller: Any, *, listed: bool = False) -> dict[str, dict[str, Any]]:
    """What finished jobs answer, by job id: the things they made or changed as they are now, read kind by kind.

    What an operation `tells` beyond that is for the account that asked for it, and for root admins; not in lists.
    """
    wanted: dict[type[Resource], dict[str, list[Job]]] = {}
    out: dict[str, dict[str, Any]] = {}
    for job in jobs:
        if job.status != 1:
            continue
        kind, made = OPERATIONS.get(job.operation), COMMANDS.get(job.cmd)
        if kind is None or (made is not None and made.shape == "success"):
            out[job.id] = {"success": True}
        elif kind.answers is None:
            told = {} if listed else _told(tx, kind, job, caller)
            out[job.id] = {made.key: told} if told and made is not None and made.key else {"success": True}
        else:
            resource, attribute = kind.answers
            wanted.setdefault(resource, {}).setdefault(job.args.get(attribute, ""), []).append(job)
    for resource, by_id in wanted.items():
        rows = list(tx.among(resource, list(by_id)).values())
        seen = {r.id: values for r, values in zip(rows, view(resource).page(tx, rows, caller), strict=True)}
        for id, its in by_id.items():
            for job in its:
                made = COMMANDS.get(job.cmd)
                key = made.key if made is not None and made.key else resource.kind
                values = seen.get(id)
                if values is None:
                    out[job.id] = {key: {"id": id}}
                else:
                    told = {} if listed else _told(tx, OPERATIONS[job.operation], job, caller)
                    out[job.id] = {key: {**values, **told}}
    return out


def _told(tx: Tx, kind: type[Operation], job: Job, caller: Any) -> dict[str, Any]:
    if kind.tells is Operation.tells or not (caller.root or caller.account_id == job.account_id):
        return {}
    return msgspec.convert(job.args, kind).tells(tx)
