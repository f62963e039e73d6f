"""Choosing from what the server answered: --filter, --sort-by and --query (JMESPath).

--filter and --sort-by work on the rows of all pages; --query on what `-o json` prints, after them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from mold.cli.faults import Usage
from mold.cli.show import Row, cell, pick, rows_of, show
from mold.cli.words import say

if TYPE_CHECKING:
    from mold.cli.client import Answer, Json
    from mold.cli.options import Options

CONDITION = re.compile(r"\s*([A-Za-z0-9_.-]+)\s*(!=|!~|<=|>=|=|~|<|>)\s*(.*)", re.DOTALL)
Key = tuple[int, float, str]


def sift(answer: Answer, filters: Sequence[str], sort_by: str | None) -> Answer:
    """The answer with those rows only that meet every filter, in order. Raises Usage for a filter that is none."""
    tests = [condition(text) for text in filters]
    rows, many, key = rows_of(answer)
    if key is None or not many:
        return answer
    chosen = [row for row in rows if all(test(row) for test in tests)]
    for name in reversed([name.strip() for name in (sort_by or "").split(",") if name.strip()]):
        column = name.removeprefix("-")
        chosen.sort(key=lambda row: order(pick(row, column)), reverse=name.startswith("-"))
    found: list[Json] = [*chosen]
    return {"count": len(found), key: found}


def condition(text: str) -> Callable[[Row], bool]:
    """`name=web1`, `state!=Running`, `name~web` (part of it), `memory>1024` as a test of a row. Raises Usage."""
    found = CONDITION.fullmatch(text)
    if found is None:
        raise Usage(say("bad.filter", text=text))
    column, sign, wanted = found.groups()
    wanted = wanted.strip()

    def holds(value: Json) -> bool:
        if isinstance(value, list):
            return any(holds(entry) for entry in value)
        here = cell(value)
        if sign in ("=", "!="):
            return here.lower() == wanted.lower()
        if sign in ("~", "!~"):
            return wanted.lower() in here.lower()
        if value is None:
            return False
        mine, yours = order(value), order(_number(wanted))
        return {"<": mine < yours, "<=": mine <= yours, ">": mine > yours, ">=": mine >= yours}[sign]

    if sign in ("!=", "!~"):
        return lambda row: not holds(pick(row, column))
    return lambda row: holds(pick(row, column))


def _number(text: str) -> Json:
    try:
        return float(text)
    except ValueError:
        return text


def order(value: Json) -> Key:
    """Sorts numbers as numbers, also those the server sends as text, before words; nothing comes first."""
    if value is None:
        return (0, 0.0, "")
    number = value if isinstance(value, int | float) else _number(value) if isinstance(value, str) else None
    return (1, float(number), "") if isinstance(number, int | float) else (2, 0.0, cell(value).lower())


def ask(answer: Answer, query: str) -> Json:
    """What the JMESPath expression finds in the answer. Raises Usage for a wrong expression."""
    import jmespath
    import jmespath.exceptions

    try:
        found: Json = jmespath.search(query, answer)
    except jmespath.exceptions.JMESPathError as wrong:
        raise Usage(say("bad.query", query=query, why=" ".join(str(wrong).split()))) from wrong
    return found


def show_found(found: Json, options: Options) -> None:
    """Print what a query found: objects as rows, everything else a line each."""
    if options.output in ("json", "yaml"):
        if options.output == "json":
            print(json.dumps(found, indent=2, ensure_ascii=False))
        else:
            from mold.cli.show import yaml_lines

            print("\n".join(yaml_lines(found)))
        return
    if isinstance(found, dict):
        show(found, form=options.output, columns=options.chosen_columns, header=not options.no_header)
        return
    entries = found if isinstance(found, list) else [] if found is None else [found]
    if entries and all(isinstance(entry, dict) for entry in entries):
        rows: Answer = {"found": [*entries]}
        columns = options.chosen_columns or list(
            dict.fromkeys(key for entry in entries if isinstance(entry, dict) for key in entry)
        )
        show(rows, form=options.output, columns=columns, header=not options.no_header, is_list=True)
        return
    for entry in entries:
        print("\t".join(cell(part) for part in entry) if isinstance(entry, list) else cell(entry))
