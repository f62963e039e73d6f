"""Answers as people and programs want them: table, wide, json, yaml, csv, name, text.

json and yaml give the answer without its envelope (`{"count": 2, "zone": [...]}`),
the other forms give its rows.  Control characters of the server's texts never
reach a terminal.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
import sys
import unicodedata
from collections.abc import Iterable, Sequence
from typing import NamedTuple, TextIO

from mold.cli.client import Answer, Json
from mold.cli.words import say

Row = dict[str, Json]

FORMS = ("table", "wide", "json", "yaml", "csv", "name", "text")
LABELS = ("name", "displayname", "username", "ipaddress", "displaytext", "command", "key", "type", "description", "id")
STATES = ("state", "status", "allocationstate", "resourcestate", "jobstatus", "level")
DEFAULT = (LABELS[:-1], ("value",), STATES, ("zonename",), ("account",), ("created",))
WIDE = (
    "displayname", "type", "domain", "ipaddress", "hostname", "hypervisor", "podname", "clustername", "templatename",
    "serviceofferingname", "ostypename", "cpunumber", "memory", "size", "networkname", "cidr", "virtualsize", "description",
)  # fmt: skip
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
PLAIN = re.compile(r"[A-Za-z_/][A-Za-z0-9_./@ -]*")
YAML_WORDS = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n"})
GOOD = frozenset(
    {"running", "up", "enabled", "ready", "allocated", "implemented", "active", "connected", "done", "backedup"}
)
BAD = frozenset({"error", "down", "failed", "disconnected", "alert", "disabled", "unknown"})


class Rows(NamedTuple):
    """What an answer is about: its rows, whether it is a list, and the rows' key in the answer."""

    rows: list[Row]
    is_list: bool
    key: str | None


def rows_of(answer: Answer, *, is_list: bool = False) -> Rows:
    """The rows of an answer; `is_list` settles what an empty one means."""
    keys = [key for key in answer if key != "count"]
    if len(keys) == 1:
        value = answer[keys[0]]
        if isinstance(value, dict) and set(value) == {"responses"}:
            value = value["responses"]  # asynchronous lists arrive one level deeper
        if isinstance(value, list):
            return Rows([row if isinstance(row, dict) else {keys[0]: row} for row in value], True, keys[0])
        if isinstance(value, dict):
            return Rows([value], False, keys[0])
    if not keys and (is_list or "count" in answer):
        return Rows([], True, None)
    return Rows([answer] if answer else [], False, None)


def pick(row: Row, column: str) -> Json:
    """The value at `column`; `nic.ipaddress` gathers from nested values."""
    if column in row:
        return row[column]
    head, dot, rest = column.partition(".")
    inner = row.get(head) if dot else None
    if isinstance(inner, dict):
        return pick(inner, rest)
    if isinstance(inner, list):
        found = [pick(entry, rest) for entry in inner if isinstance(entry, dict)]
        return [value for value in found if value is not None]
    return None


def cell(value: Json) -> str:
    """One value on one line."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return " ".join(f"{key}={cell(inner)}" for key, inner in value.items())
    if isinstance(value, list):
        gap = "; " if any(isinstance(entry, dict) for entry in value) else ", "
        return gap.join(cell(entry) for entry in value)
    return clean(str(value))


def clean(text: str) -> str:
    """`text` with control characters made visible, so that no server text drives a terminal."""
    return CONTROL.sub(lambda found: f"\\x{ord(found.group()):02x}" if found.group() not in "\n\t" else " ", text)


def default_columns(rows: Sequence[Row], asked: Iterable[str], *, wide: bool) -> list[str]:
    """The columns worth a line: what it is called, state, place, owner, age, what was asked for, id."""
    here = {key for row in rows for key in row}
    columns: list[str] = []
    for group in DEFAULT:
        columns += [key for key in group if key in here and key not in columns][:1]
    columns += [key for key in asked if key in here and key not in columns and key != "id"]
    if wide:
        columns += [key for key in WIDE if key in here and key not in columns]
    for row in rows[:1]:
        for key, value in row.items():
            if len(columns) < 4 and key not in columns and key != "id" and not isinstance(value, dict | list):
                columns.append(key)
    return [*columns, "id"] if "id" in here else columns


def show(
    answer: Answer,
    *,
    form: str,
    columns: Sequence[str] = (),
    usual: Sequence[str] = (),
    header: bool = True,
    is_list: bool = False,
    asked: Iterable[str] = (),
    out: TextIO | None = None,
) -> None:
    """Print `answer` in `form`: `columns` when given, else in a table the `usual` ones with those that were `asked` about."""
    out = out or sys.stdout
    rows, many, key = rows_of(answer, is_list=is_list)
    for column in columns:
        if rows and all(pick(row, column) is None for row in rows):
            print("mold: " + say("no.column", name=column), file=sys.stderr)
    if form in ("json", "yaml"):
        whole: Answer = answer if rows or not many else {"count": answer.get("count", 0)}
        if columns:
            picked: list[Json] = [{column: pick(row, column) for column in columns} for row in rows]
            inner: Json = picked if many else (picked[0] if picked else {})
            if key is not None:
                whole = {**({"count": answer["count"]} if "count" in answer else {}), key: inner}
            elif not many:
                whole = inner if isinstance(inner, dict) else {}
        if form == "json":
            print(json.dumps(whole, indent=2, ensure_ascii=False), file=out)
        else:
            print("\n".join(yaml_lines(whole)), file=out)
        _mention_more(answer, len(rows))
        return
    if form == "name":
        for row in rows:
            chosen = columns or [next((label for label in LABELS if row.get(label) not in (None, "")), "id")]
            print(" ".join(cell(pick(row, column)) for column in chosen), file=out)
    elif form == "csv":
        _csv(rows, columns or list(dict.fromkeys(key for row in rows for key in row)), header, out)
    elif form == "text":
        _text(rows, columns, out)
    elif many:
        chosen = list(columns) or _usual(rows, usual, asked, form) or default_columns(rows, asked, wide=form == "wide")
        _table(rows, chosen, header, out, fits=form == "table" and not columns)
    else:
        for row in rows:
            few = _usual([row], usual, (), form) if form == "table" and len([c for c in usual if c in row]) > 1 else []
            _pairs(row, columns or few, out)
    _mention_more(answer, len(rows))


def _usual(rows: Sequence[Row], usual: Sequence[str], asked: Iterable[str], form: str) -> list[str]:
    """The columns of a table that says which: those that hold anything."""
    if not usual:
        return []
    more = [key for key in (*asked, *(WIDE if form == "wide" else ())) if any(key in row for row in rows)]
    names = dict.fromkeys([*(name for name in usual if name != "id"), *more, *(name for name in usual if name == "id")])
    return [name for name in names if any(pick(row, name) not in (None, [], "") for row in rows)]


def _mention_more(answer: Answer, shown: int) -> None:
    count = answer.get("count")
    if isinstance(count, int) and shown and count > shown:
        print("mold: " + say("more", shown=shown, count=count), file=sys.stderr)


def _csv(rows: Sequence[Row], columns: Sequence[str], header: bool, out: TextIO) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    if header and columns:
        writer.writerow(columns)
    for row in rows:
        writer.writerow([cell(pick(row, column)) for column in columns])
    out.write(text.getvalue())


def _text(rows: Sequence[Row], columns: Sequence[str], out: TextIO) -> None:
    for index, row in enumerate(rows):
        if index:
            print(file=out)
        for key in columns or row:
            print(f"{key} = {cell(pick(row, key))}", file=out)


def _pairs(row: Row, columns: Sequence[str], out: TextIO) -> None:
    """One object, a line for each field; nested objects below, indented."""
    keys = list(columns or row)
    width = max((len(key) for key in keys), default=0)
    for key in keys:
        value = pick(row, key)
        nested = value if isinstance(value, list) else [value]
        if value and any(isinstance(entry, dict) for entry in nested):
            print(key, file=out)
            for entry in nested:
                print(f"  {cell(entry)}", file=out)
        else:
            text = cell(value)
            print(f"{key.ljust(width)}  {_coloured(key, text, text, out)}".rstrip(), file=out)


def _table(rows: Sequence[Row], columns: Sequence[str], header: bool, out: TextIO, *, fits: bool) -> None:
    if not rows or not columns:
        return
    lines = [[cell(pick(row, column)) for column in columns] for row in rows]
    heads = [column.upper() for column in columns]
    widths = [max(width_of(line[at]) for line in [*lines, *([heads] if header else [])]) for at in range(len(columns))]
    if fits and out.isatty():
        import shutil

        _shrink(widths, columns, shutil.get_terminal_size().columns)
    if header:
        print("  ".join(_fit(text, width) for text, width in zip(heads, widths, strict=True)).rstrip(), file=out)
    for line in lines:
        parts = [
            _coloured(column, text, _fit(text, width), out)
            for column, text, width in zip(columns, line, widths, strict=True)
        ]
        print("  ".join(parts).rstrip(), file=out)


def _shrink(widths: list[int], columns: Sequence[str], limit: int) -> None:
    """Narrow the widest columns until a line fits; ids stay whole, they are made to be copied."""
    narrow = [at for at, column in enumerate(columns) if column != "id"]
    while sum(widths) + 2 * (len(widths) - 1) > limit and narrow:
        widest = max(narrow, key=lambda at: widths[at])
        if widths[widest] <= 8:
            return
        widths[widest] -= 1


def width_of(text: str) -> int:
    """Columns that `text` takes on a terminal: two for East Asian wide characters."""
    if text.isascii():
        return len(text)
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def _fit(text: str, width: int) -> str:
    if width_of(text) > width:
        while text and width_of(text) > width - 1:
            text = text[:-1]
        text += "…"
    return text + " " * (width - width_of(text))


def _coloured(column: str, value: str, padded: str, out: TextIO) -> str:
    if column not in STATES or not out.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return padded
    word = value.lower()
    colour = "32" if word in GOOD else "31" if word in BAD else "33" if word.endswith("ing") else ""
    return f"\x1b[{colour}m{padded}\x1b[0m" if colour else padded


def yaml_lines(value: Json, indent: str = "") -> list[str]:
    """`value` as YAML: blocks for what is nested, JSON strings wherever a plain word could be misread."""
    lines: list[str] = []
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            if isinstance(inner, dict | list) and inner:
                deeper = indent + ("  " if isinstance(inner, dict) else "")
                lines += [f"{indent}{_scalar(key)}:", *yaml_lines(inner, deeper)]
            else:
                lines.append(f"{indent}{_scalar(key)}: {_scalar(inner)}")
    elif isinstance(value, list) and value:
        for entry in value:
            if isinstance(entry, dict | list) and entry:
                inner_lines = yaml_lines(entry, indent + "  ")
                lines += [f"{indent}- {inner_lines[0][len(indent) + 2 :]}", *inner_lines[1:]]
            else:
                lines.append(f"{indent}- {_scalar(entry)}")
    else:
        lines.append(indent + _scalar(value))
    return lines


def _scalar(value: Json) -> str:
    if isinstance(value, str):
        if PLAIN.fullmatch(value) and value.lower() not in YAML_WORDS and not value.endswith(" "):
            return value
        quoted = json.dumps(value, ensure_ascii=False)
        return "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in quoted)
    text = json.dumps(value)
    return text.replace("e", ".0e") if isinstance(value, float) and "." not in text else text  # 1e-07 is a word to YAML
