"""Durable operations, reconcilers, and the engine that runs them."""

from mold.work import purge as _purge  # noqa: F401 - registers its reconciler
from mold.work.engine import Engine, error_of
from mold.work.job import Job
from mold.work.operation import OPERATIONS, Done, Operation, operation, step
from mold.work.reconcile import RECONCILERS, reconciler
from mold.work.run import ask, change, look, note, pour, progress, renew_patience, together, unattended

__all__ = [
    "OPERATIONS",
    "RECONCILERS",
    "Engine",
    "Job",
    "Done",
    "Operation",
    "ask",
    "change",
    "error_of",
    "look",
    "note",
    "operation",
    "pour",
    "progress",
    "reconciler",
    "renew_patience",
    "step",
    "together",
    "unattended",
]
