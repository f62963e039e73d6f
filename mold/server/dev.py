"""`mold dev`: a quick loop for the people who carry Mold on. Everything here reads the same declarations as the server does.

Run it from the repository's folder.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import inspect
import json
import os
import re
import subprocess
import sys
import tempfile
import textwrap
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import mold.features
from mold.api.answer import EXTRAS
from mold.api.command import COMMANDS, Command, Param
from mold.server.app import load
from mold.work import OPERATIONS, RECONCILERS
from mold.work.operation import Operation

ROOT = Path(mold.features.__path__[0]).parent.parent
ROOMS = ("identity", "infra", "storage", "network", "compute", "edge", "care")


def main(argv: list[str] | None = None) -> int:
    """Entry of `mold dev`; the exit code."""
    parser = argparse.ArgumentParser(prog="mold dev", description="Helpers for the people who carry Mold on.")
    chosen = parser.add_subparsers(dest="task", required=True, metavar="TASK")

    def task(name: str, text: str, function: Callable[[argparse.Namespace], int]) -> argparse.ArgumentParser:
        made = chosen.add_parser(name, help=text, description=text)
        made.set_defaults(run=function)
        return made

    task("why", "Shows the walk that a command takes.", _why).add_argument("command")
    cover = task("coverage", "Writes docs/COVERAGE.md.", _coverage)
    cover.add_argument("--reference", type=Path, help="a reference model to compare with (JSON with `commands`)")
    cover.add_argument("--output", type=Path, default=ROOT / "docs/COVERAGE.md")
    task("migration", "Writes a migration for changed tables.", _migration).add_argument("message")
    task("goldens", "Writes the golden files anew; look at the difference before you commit it.", _goldens)
    new = task("new", "Writes a slice and its test, to be filled in.", _new)
    new.add_argument("what", choices=("noun",))
    new.add_argument("name", help="singular, as in the API: bucket")
    new.add_argument("--room", choices=ROOMS, required=True)
    new.add_argument("--root", type=Path, default=ROOT, help=argparse.SUPPRESS)
    task("up", "Starts a cloud of three simulated hosts in ./data-dev; options go to quickstart.", _up).add_argument(
        "rest", nargs=argparse.REMAINDER
    )
    task("words", "Lists commands and parameters that nobody has described.", _words)
    given = parser.parse_args(sys.argv[1:] if argv is None else argv)
    code: int = given.run(given)
    return code


# -- why -----------------------------------------------------------------------------------------------------------


def _why(given: argparse.Namespace) -> int:
    load()
    found = next((c for n, c in COMMANDS.items() if n.lower() == given.command.lower()), None)
    if found is None:
        near = [n for n in COMMANDS if given.command.lower() in n.lower()]
        print(f"There is no command {given.command}." + (f" Near: {', '.join(near)}" if near else ""), file=sys.stderr)
        return 1
    print("\n".join(walk(found)))
    return 0


def _place(function: Any) -> str:
    try:
        return f"{Path(inspect.getfile(function)).relative_to(ROOT)}:{inspect.getsourcelines(function)[1]}"
    except (ValueError, OSError, TypeError):
        return "?"


def _source(made: Command) -> Callable[..., Any]:
    return made.source or made.function


def operations_of(function: Callable[..., Any], depth: int = 2) -> list[type[Operation]]:
    """The operations that a function names, by itself or through functions of its module."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    known = getattr(function, "__globals__", {})
    found: dict[str, type[Operation]] = {}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
            continue
        name = node.func.id
        if name in OPERATIONS and known.get(name) is OPERATIONS[name]:
            found[name] = OPERATIONS[name]
        elif depth and inspect.isfunction(known.get(name)) and known[name].__module__ == function.__module__:
            found.update((o.__name__, o) for o in operations_of(known[name], depth - 1))
    return list(found.values())


def walk(made: Command) -> list[str]:
    """The walk of a command: where it stands, what it reads, what it starts, who adds to its answer."""
    function = _source(made)
    how = (
        "reads"
        if made.reads
        else "starts a job"
        if made.job
        else "waits for its job"
        if made.waits
        else "one transaction"
    )
    lines = [f"{made.name}  ({how})", f"  {made.doc}", f"  declared in {_place(function)}"]
    lines.append(f"  for {', '.join(sorted(made.roles))}; answers {made.envelope} / {made.key or made.shape}")
    lines.append("  parameters")
    for spec in made.params.values():
        lines.append("    " + _param_line(spec))
    for op in operations_of(function):
        locks = f", locks {', '.join(op.locks)}" if op.locks else ""
        lines.append(f"  operation {op.__name__} in {_place(op)}{locks}, patience {op.patience:g} s")
        for step in op.steps:
            undo = f"   undone by {step.back.function.__name__}" if step.back else ""
            lines.append(f"    {'world' if step.world else 'rows '} {step.name}({', '.join(step.inputs)}){undo}")
    if made.event:
        lines.append(f"  event {made.event}")
    if made.answers is not None:
        extras = EXTRAS.get(made.answers.kind, [])
        if extras:
            lines.append(f"  the answer is made of {made.answers.kind}'s columns and")
            lines += [f"    {e.function.__name__} in {_place(e.function)}" for e in extras]
    module = function.__module__
    near = [r for r in RECONCILERS.values() if r.function.__module__ == module]
    if near:
        lines.append("  reconcilers in the same file")
        lines += [f"    {r.name}, {r.rhythm}" for r in near]
    return lines


def _param_line(spec: Param) -> str:
    if spec.refused:
        return f"{spec.name}: refused, {spec.refused}"
    text = (
        f"{spec.name}: {spec.kind}"
        + (f" of {spec.item}" if spec.item else "")
        + (", required" if spec.required else "")
    )
    if spec.resource is not None:
        policy = type(spec.resource.policy).__name__ if spec.resource.policy is not None else "none"
        text += f", a {spec.resource.kind} that the caller may {spec.access} (policy {policy})"
    if spec.choices:
        text += f", one of {', '.join(spec.choices)}"
    return text


# -- coverage ------------------------------------------------------------------------------------------------------


def tested_words(folder: Path) -> dict[str, set[str]]:
    """{command: words of the test files that name it}."""
    texts = [p.read_text(encoding="utf-8", errors="replace") for p in sorted(folder.rglob("*.py"))]
    words = [set(re.findall(r"[A-Za-z][A-Za-z0-9]*", t)) for t in texts]
    out: dict[str, set[str]] = {}
    for name in COMMANDS:
        mine = [w for w in words if name in w]
        if mine:
            out[name] = set().union(*mine)
    return out


def coverage(tests: Path, reference: dict[str, Any] | None) -> str:
    """The text of docs/COVERAGE.md."""
    tested = tested_words(tests)
    files: dict[str, list[Command]] = defaultdict(list)
    for made in COMMANDS.values():
        files[_place(_source(made)).rsplit(":", 1)[0]].append(made)
    total: Counter[str] = Counter()
    tables: list[str] = []
    for file in sorted(files):
        tables += [
            f"\n### {file}\n",
            "| command | parameters | working | tested | not offered |",
            "|---|--:|--:|--:|---|",
        ]
        for made in sorted(files[file], key=lambda c: c.name):
            working = [p for p in made.params.values() if not p.refused]
            seen = [p for p in working if p.name in tested.get(made.name, ())]
            refused = sorted(p.name for p in made.params.values() if p.refused)
            total.update(
                commands=1,
                tested_commands=made.name in tested,
                parameters=len(made.params),
                working=len(working),
                tested=len(seen),
            )
            mark = "" if made.name in tested else " (untested)"
            tables.append(
                f"| {made.name}{mark} | {len(made.params)} | {len(working)} | {len(seen)} | {', '.join(refused)} |"
            )
    head = [
        "# Coverage",
        "",
        "Written by `mold dev coverage`; do not edit. A parameter is *working* when it is honoured, not refused; *tested* when a",
        "test that names the command names it too.",
        "",
        "| | declared | working | tested |",
        "|---|--:|--:|--:|",
        f"| commands | {total['commands']} | {total['commands']} | {total['tested_commands']} |",
        f"| parameters | {total['parameters']} | {total['working']} | {total['tested']} |",
    ]
    if reference is not None:
        head += _against(reference)
    return "\n".join([*head, *tables]) + "\n"


def _against(reference: dict[str, Any]) -> list[str]:
    wanted = {n: c for n, c in reference.items() if c.get("tier", "core") == "core" and c.get("indoc", True)}
    groups: dict[str, Counter[str]] = defaultdict(Counter)
    missing: dict[str, list[str]] = defaultdict(list)
    for name, entry in wanted.items():
        names = {p["name"].lower() for p in entry["params"] if p.get("indoc", True)}
        made = COMMANDS.get(name)
        have = {p.name.lower(): p for p in made.params.values()} if made else {}
        for counter in (groups[entry["group"]], groups[""]):
            counter.update(
                commands=1,
                ours=int(made is not None),
                parameters=len(names),
                declared=len(names & set(have)),
                working=sum(1 for n in names if n in have and not have[n].refused),
            )
        if made is None:
            missing[entry["group"]].append(name)

    def row(label: str, c: Counter[str]) -> str:
        return f"| {label} | {c['ours']} of {c['commands']} | {c['declared']} of {c['parameters']} | {c['working']} |"

    lines = [
        "",
        "## Against the reference",
        "",
        "| group | commands | parameters declared | working |",
        "|---|--:|--:|--:|",
    ]
    lines.append(row("**all**", groups[""]))
    lines += [row(g, groups[g]) for g in sorted(groups) if g and groups[g]["ours"]]
    rest = sorted(g for g in groups if g and not groups[g]["ours"])
    lines += ["", f"Groups without a command yet: {', '.join(rest)}.", "", "## Commands"]
    return lines


def _coverage(given: argparse.Namespace) -> int:
    load()
    reference = None
    if given.reference is not None:
        reference = json.loads(given.reference.read_text(encoding="utf-8"))["commands"]
    given.output.parent.mkdir(parents=True, exist_ok=True)
    given.output.write_text(coverage(ROOT / "tests", reference), encoding="utf-8")
    print(f"{given.output.name}: {len(COMMANDS)} commands")
    return 0


# -- migrations, goldens, words ------------------------------------------------------------------------------------


def _migration(given: argparse.Namespace) -> int:
    from alembic import command

    from mold.store import Store, migrate

    load()
    versions = Path(inspect.getfile(migrate)).parent / "migrations/versions"
    number = 1 + max((int(p.name[:4]) for p in versions.glob("[0-9]*.py")), default=0)
    with tempfile.TemporaryDirectory() as folder:
        store = Store(f"sqlite:///{folder}/now.db")
        migrate.upgrade(store)
        if not migrate.differences(store):
            print("Tables and declarations agree; there is nothing to migrate.")
            return 0
        with store.engine.begin() as conn:
            command.revision(migrate.config(conn), message=given.message, autogenerate=True, rev_id=f"{number:04d}")
        migrate.upgrade(store)
        left = migrate.differences(store)
        store.close()
    if left:
        print(f"The migration does not cover everything; finish it by hand: {left}", file=sys.stderr)
        return 1
    print(f"Revision {number:04d} written; read it before you commit it.")
    return 0


def _goldens(given: argparse.Namespace) -> int:
    command = [sys.executable, "-m", "pytest", "-q", str(ROOT / "tests/rules")]
    return subprocess.run(command, cwd=ROOT, env={**os.environ, "MOLD_GOLDEN": "write"}, check=False).returncode


def undescribed() -> list[str]:
    """Commands and parameters without a word of description."""
    out = []
    for made in sorted(COMMANDS.values(), key=lambda c: c.name):
        if not made.doc:
            out.append(made.name)
        out += [f"{made.name} {p.name}" for p in made.params.values() if not p.doc]
    return out


def _words(given: argparse.Namespace) -> int:
    load()
    missing = undescribed()
    print("\n".join(missing) if missing else "Every command and parameter is described.")
    return 1 if missing else 0


def _up(given: argparse.Namespace) -> int:
    quickstart = importlib.import_module("mold.cli.quickstart")
    rest = [w for w in given.rest if w != "--"]
    code: int = quickstart.main(["--simulator", "--hosts", "3", "--data-dir", "data-dev", *rest])
    return code


# -- new noun ------------------------------------------------------------------------------------------------------

SLICE = '''"""@Titles: say here what they are, and the rule that would surprise."""

from __future__ import annotations

from mold.api.command import Ctx, Owner, command
from mold.api.lists import Query, lists
from mold.api.permit import Owned
from mold.store import column, created


class @Title(Owned):
    """A @noun."""

    kind = "@noun"
    unique = (("account_id", "name"),)
    appears = {"@nounid": "id", "@nounname": "name"}

    name: str = column(filter=True, keyword=True)
    created: str = created()


@lists("list@Titles", @Title)
def _list(q: Query) -> None:
    """Lists @nouns."""


@command("create@Title", answers=@Title, event="@UPPER.CREATE")
def create(ctx: Ctx, owner: Owner, name: str) -> @Title:
    """Creates a @noun."""
    return ctx.tx.add(@Title(name=name, **owner.columns()))


@command("update@Title", answers=@Title, event="@UPPER.UPDATE")
def update(ctx: Ctx, id: @Title, name: str) -> @Title:
    """Renames a @noun."""
    return ctx.tx.set(id, name=name)


@command("delete@Title", event="@UPPER.DELETE")
def delete(ctx: Ctx, id: @Title) -> None:
    """Deletes a @noun."""
    ctx.tx.remove(id)
'''

TEST = '''"""@Titles, through the front door."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from mold.api.door import Request
from mold.server.app import Manager, Options


def test_a_@noun_is_made_named_and_removed(tmp_path: Path) -> None:
    asyncio.run(_life(tmp_path))


async def _life(tmp_path: Path) -> None:
    manager = Manager(Options(data=tmp_path))
    await manager.start(agents=False)

    async def call(command: str, **params: str) -> Any:
        request = Request({"command": command, "response": "json", **params}, integration=True)
        answer = await manager.door.answer(request)
        (body,) = json.loads(answer.body).values()
        assert answer.status == 200, body
        return body

    try:
        made = (await call("create@Title", name="first"))["@noun"]
        await call("update@Title", id=made["id"], name="second")
        assert [x["name"] for x in (await call("list@Titles"))["@noun"]] == ["second"]
        await call("delete@Title", id=made["id"])
        assert await call("list@Titles") == {}
    finally:
        await manager.stop()
'''


def plural(noun: str) -> str:
    """The plural of a noun, as files are named."""
    if noun.endswith("y") and noun[-2:-1] not in "aeiou":
        return noun[:-1] + "ies"
    return noun + ("es" if noun.endswith(("s", "x", "ch", "sh")) else "s")


def _filled(text: str, noun: str) -> str:
    words = {"@Titles": plural(noun).capitalize(), "@Title": noun.capitalize(), "@nouns": plural(noun)}
    for mark, word in {**words, "@noun": noun, "@UPPER": noun.upper()}.items():
        text = text.replace(mark, word)
    return text


def _new(given: argparse.Namespace) -> int:
    noun = given.name.lower()
    if not re.fullmatch(r"[a-z][a-z0-9]{1,30}", noun):
        print("The name must be one lower-case word of letters and digits, singular.", file=sys.stderr)
        return 1
    targets = {
        given.root / "mold/features" / given.room / f"{plural(noun)}.py": SLICE,
        given.root / "tests/features" / f"test_{plural(noun)}.py": TEST,
    }
    taken = [p for p in targets if p.exists()]
    if taken:
        print(f"{_names(taken, given.root)} is there already.", file=sys.stderr)
        return 1
    for path, text in targets.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(_filled(text, noun), encoding="utf-8")
    print(f'Written: {_names(targets, given.root)}. Then: mold dev migration "{plural(noun)}" && mold dev goldens')
    return 0


def _names(paths: Iterable[Path], root: Path) -> str:
    return ", ".join(p.relative_to(root).as_posix() for p in paths)


if __name__ == "__main__":
    raise SystemExit(main())
