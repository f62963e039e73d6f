"""Durable operations, reconcilers, and the engine that runs them."""

from mold.work.engine import Engine, ask, change, error_of, look, pour, progress
from mold.work.job import Job
from mold.work.operation import OPERATIONS, Operation, operation, step
from mold.work.reconcile import RECONCILERS, reconciler

__all__ = [
    "OPERATIONS",
    "RECONCILERS",
    "Engine",
    "Job",
    "Operation",
    "ask",
    "change",
    "error_of",
    "look",
    "operation",
    "pour",
    "progress",
    "reconciler",
    "step",
]
