"""State machines: a table of moves with one door.

`machine("Stopped", start="Stopped>Starting", lost="Running|Stopping>Stopped")` names each
move, the states it may start from and the one it ends in.  The store makes a move with one
guarded UPDATE; nobody assigns to `state`.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Move:
    """One named move: from any of `sources` to `target`."""

    name: str
    sources: tuple[str, ...]
    target: str


@dataclass(frozen=True)
class Machine:
    """A table of moves and the state a new row starts in."""

    initial: str
    moves: dict[str, Move]

    @property
    def states(self) -> tuple[str, ...]:
        """Every state the table names, the initial one first."""
        seen = {self.initial: None}
        for move in self.moves.values():
            seen.update(dict.fromkeys((*move.sources, move.target)))
        return tuple(seen)


def machine(initial: str, **moves: str) -> Machine:
    """Read a table of moves; each is written `A|B>C`."""
    table: dict[str, Move] = {}
    for name, text in moves.items():
        sources, arrow, target = text.partition(">")
        if not arrow or not target:
            raise ValueError(f"move {name}={text!r} is not of the form A|B>C")
        table[name] = Move(name, tuple(sources.split("|")), target)
    return Machine(initial, table)
