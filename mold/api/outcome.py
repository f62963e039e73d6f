"""Outcomes: what a finished job answers, read when somebody asks.

A job keeps no copy of its answer: it names the thing, and the answer is the thing as it is now and as the caller
may see it.  So no secret lies in a job, and an old job tells no old story.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mold.api.answer import view
from mold.api.command import COMMANDS
from mold.store import Resource, Tx
from mold.work import OPERATIONS, Job

REVEALED: dict[str, Callable[[Any], dict[str, Any]]] = {}
"""What the answer of a command shows once more to the user who gave it: command -> function of the row."""


def reveals(*commands: str) -> Callable[[Callable[[Any], dict[str, Any]]], Callable[[Any], dict[str, Any]]]:
    """Register a function that adds to the outcome of jobs of these commands, for the user who asked for the job."""

    def keep(function: Callable[[Any], dict[str, Any]]) -> Callable[[Any], dict[str, Any]]:
        REVEALED.update(dict.fromkeys(commands, function))
        return function

    return keep


def outcomes(tx: Tx, jobs: list[Any], caller: Any) -> dict[str, dict[str, Any]]:
    """What finished jobs answer, by job id: the things they made or changed as they are now, read kind by kind."""
    wanted: dict[type[Resource], dict[str, list[Job]]] = {}
    out: dict[str, dict[str, Any]] = {}
    for job in jobs:
        if job.status != 1:
            continue
        kind, made = OPERATIONS.get(job.operation), COMMANDS.get(job.cmd)
        if kind is None or kind.answers is None or (made is not None and made.shape == "success"):
            out[job.id] = {"success": True}
            continue
        resource, attribute = kind.answers
        wanted.setdefault(resource, {}).setdefault(job.args.get(attribute, ""), []).append(job)
    for resource, by_id in wanted.items():
        known = tx.among(resource, list(by_id))
        rows = list(known.values())
        seen = {r.id: values for r, values in zip(rows, view(resource).page(tx, rows, caller), strict=True)}
        for id, its in by_id.items():
            for job in its:
                made = COMMANDS.get(job.cmd)
                key = made.key if made is not None and made.key else resource.kind
                values = seen.get(id, {"id": id})
                reveal = REVEALED.get(job.cmd)
                if reveal is not None and id in seen and job.user_id == caller.user_id:
                    values = {**values, **reveal(known[id])}
                out[job.id] = {key: values}
    return out
