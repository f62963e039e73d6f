"""Operations: durable work in named steps, each with its undo.

A plain `def` step gets a transaction and commits together with its journal entry: it happens exactly once.  An
`async def` step talks to the world: it may happen again after a crash, so it must be idempotent.  The
parameters of a step are named after earlier steps and receive what those returned; `tx` is the transaction, and
`error` (in an undo) the sentence that the operation failed with.  Undo runs bottom to top, over every step that was
begun; the first step's undo runs whenever the operation fails, even before that step: it takes back what the request
that wanted the operation did.  What a step did not live to return is None in an undo.  An operation's fields are what
it needs to know and nothing else: ids, never secrets, because they are stored and shown.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, ClassVar, TypeVar, get_type_hints

import msgspec

from mold.store import Resource, Tx

O = TypeVar("O", bound="type[Operation]")  # noqa: E741
F = TypeVar("F", bound=Callable[..., Any])


class Part:
    """One function of an operation: a step or an undo."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.world = inspect.iscoroutinefunction(function)
        names = list(inspect.signature(function).parameters)[1:]
        self.wants_tx = "tx" in names
        self.wants_error = "error" in names
        self.inputs = tuple(n for n in names if n not in ("tx", "error"))
        self.gives: Any = None


class Step(Part):
    """A step; `undo` decorates the function that takes it back."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        self.name = function.__name__
        self.back: Part | None = None

    def undo(self, function: F) -> F:
        """Declare how this step is undone. Runs as well when it is not known whether the step happened."""
        self.back = Part(function)
        return function


def step(function: Callable[..., Any]) -> Step:
    """Declare a step; steps run in the order of their declaration."""
    return Step(function)


class Operation(msgspec.Struct, kw_only=True):
    """Base of operations; see the module's docstring.

    `locks` names fields whose values only one operation may hold at a time (written with the field's name, so
    that two operations on field `vm` exclude each other); `patience` is how long (seconds) a step is tried
    again while a host does not answer; `answers` is the (resource, field) that the finished job shows, and
    `instance` the same for the job's instance when the operation answers nothing but success.
    """

    steps: ClassVar[tuple[Step, ...]] = ()
    locks: ClassVar[tuple[str, ...]] = ()
    patience: ClassVar[float] = 60
    answers: ClassVar[tuple[type[Resource], str] | None] = None
    instance: ClassVar[tuple[type[Resource], str] | None] = None
    hidden: ClassVar[bool] = False
    """True: internal work that no caller asked for; not listed as a job."""

    def wanted_locks(self) -> list[str]:
        """What this operation locks."""
        return sorted({f"{name}:{value}" for name in self.locks if (value := getattr(self, name, None))})

    def tells(self, tx: Tx) -> dict[str, Any]:
        """What the finished job's own answer says beyond its resource, to its owner: a password that is shown there only.

        Without `answers` it is the whole answer.  Made anew at every look, so nothing secret is kept with the job.
        """
        return {}

    def subject(self) -> tuple[str, str] | None:
        """Kind and id of the thing that the job is about."""
        shown = self.answers or self.instance
        return (shown[0].kind, getattr(self, shown[1])) if shown is not None else None

    def before(self, tx: Tx) -> None:
        """Called in the transaction that enqueues the operation; may refuse."""


OPERATIONS: dict[str, type[Operation]] = {}


def operation(kind: O) -> O:
    """Register an operation and check that its steps fit together."""
    found: dict[str, Step] = {}
    for klass in reversed(kind.__mro__):
        for value in klass.__dict__.values():
            if isinstance(value, Step):
                found[value.name] = value
    if not found:
        raise TypeError(f"{kind.__name__} has no steps")
    earlier: list[str] = []
    for each in found.values():
        for wanted in each.inputs:
            if wanted not in earlier:
                raise TypeError(f"{kind.__name__}.{each.name} wants {wanted}, which is no earlier step")
        each.gives = get_type_hints(each.function).get("return", type(None))
        earlier.append(each.name)
        if each.back is not None:
            for wanted in each.back.inputs:
                if wanted not in earlier:
                    raise TypeError(f"the undo of {kind.__name__}.{each.name} wants {wanted}, which is no earlier step")
        for part in filter(None, (each, each.back)):
            if part.world and part.wants_tx:
                raise TypeError(f"{kind.__name__}.{each.name} talks to the world and may not hold a transaction")
    for name in kind.locks:
        if name not in kind.__struct_fields__:
            raise TypeError(f"{kind.__name__} locks {name}, which is no field")
    kind.steps = tuple(found.values())
    if kind.__name__ in OPERATIONS:
        raise TypeError(f"two operations are named {kind.__name__}")
    OPERATIONS[kind.__name__] = kind
    return kind


@operation
class Done(Operation):
    """All was done with the request and nothing in the world follows; the API has a job for it nevertheless.

    `kind` and `id` say what it was about.
    """

    kind: str = ""
    id: str = ""

    @classmethod
    def to(cls, row: Resource) -> Done:
        """What was done to a row."""
        return cls(kind=row.kind, id=row.id)

    @step
    def done(self, tx: Tx) -> None:
        """The end of the job."""
        del tx

    def subject(self) -> tuple[str, str] | None:
        """What was given."""
        return (self.kind, self.id) if self.id else None
