"""What is published and what is stored, written down: a change shows up in review.

MOLD_GOLDEN=write rewrites the files in tests/golden; look at the difference before it goes in.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa
from cloud import Blueprint, Cloud
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateIndex, CreateTable

from mold.api.answer import EXTRAS
from mold.api.command import COMMANDS
from mold.api.lists import NARROWS
from mold.api.model import fields_of, param_of
from mold.drivers.elements import ELEMENTS
from mold.features.compute import placement
from mold.features.infra import hosts
from mold.features.infra.settings import SETTINGS
from mold.features.network import networks
from mold.features.storage import pools, templates
from mold.server.app import load
from mold.store import Store, metadata, migrate
from mold.wire import calls
from mold.work import OPERATIONS
from mold.work.reconcile import RECONCILERS

load()
GOLDEN = Path(__file__).parent.parent / "golden"


def commands() -> Any:
    """The model of all commands, roles included."""
    out = {}
    for made in sorted(COMMANDS.values(), key=lambda c: c.name):
        params = {}
        for p in sorted(made.params.values(), key=lambda p: p.name):
            shown = param_of(p)
            about = {
                k: shown[k]
                for k in ("type", "length", "required", "choices", "default", "refused", "secret")
                if k in shown
            }
            if p.resource is not None:
                about["access"] = f"{p.access} {p.resource.kind}"
            if len(p.roles) < 4:
                about["roles"] = sorted(r.value for r in p.roles)
            params[p.name] = about
        out[made.name] = {
            "envelope": made.envelope,
            "key": made.key,
            "shape": made.shape,
            "async": made.job,
            "creates": made.creates,
            "waits": made.waits,
            "event": made.event,
            "http": "GET" if made.reads else "POST",
            "roles": sorted(r.value for r in made.roles) if not made.open else ["nobody signed in"],
            "params": params,
            "answer": sorted(f"{f['name']}: {f['type']}" for f in fields_of(made, root=True)),
        }
    return out


def operations() -> Any:
    """Operations: fields and steps are what the journals of running clouds hold."""
    return {
        name: {
            "fields": {f.name: str(f.type) for f in msgspec.structs.fields(kind)},
            "locks": list(kind.locks),
            "steps": [
                f"{s.name}({', '.join(s.inputs)}) {'world' if s.world else 'plain'}{', undone' if s.back else ''}"
                for s in kind.steps
            ],
        }
        for name, kind in sorted(OPERATIONS.items())
    }


def wire() -> Any:
    """Calls and frames with their fields: what agents of other versions must still understand."""
    kinds = {
        n: k for n, k in vars(calls).items() if isinstance(k, type) and issubclass(k, msgspec.Struct) and k.__module__ == calls.__name__
    }  # fmt: skip
    return {
        name: {f.encode_name: f"{f.type}{'' if f.required else ' (optional)'}" for f in msgspec.structs.fields(kind)}
        for name, kind in sorted(kinds.items())
    }


def hooks() -> Any:
    """Every way in which a higher room has its say in a lower one, and what runs by itself."""

    def where(function: Any) -> str:
        made = function if hasattr(function, "__qualname__") else type(function)
        return f"{made.__module__}.{made.__qualname__}"

    return {
        "extend": {
            kind: [f"{where(e.function)}: {', '.join(f.name for f in e.fields)}" for e in extras]
            for kind, extras in sorted(EXTRAS.items())
        },
        "narrows": {n: {p: where(f) for p, f in fs.items()} for n, fs in sorted(NARROWS.items())},
        "placement_rule": sorted(map(where, placement.RULES)),
        "pool_blockers": sorted(map(where, pools.blockers)),
        "template_blockers": sorted(map(where, templates.blockers)),
        "network_blockers": sorted(map(where, networks.blockers)),
        "host_removed": sorted(map(where, hosts.on_remove)),
        "elements": sorted(map(where, ELEMENTS)),
        "reconcilers": {n: r.rhythm for n, r in sorted(RECONCILERS.items())},
        "settings": {
            n: f"{type(s.default).__name__} {s.default!r}{' for ' + ', '.join(s.scopes) if s.scopes else ''}"
            for n, s in sorted(SETTINGS.items())
        },
    }


def schema() -> str:
    """The tables, as PostgreSQL is told to make them."""
    dialect = postgresql.dialect()
    parts = []
    for table in sorted(metadata.tables.values(), key=lambda t: t.name):
        if table.name == "alembic_version":
            continue
        parts.append(str(CreateTable(table).compile(dialect=dialect)).strip() + ";")
        parts += [
            str(CreateIndex(i).compile(dialect=dialect)) + ";" for i in sorted(table.indexes, key=lambda i: str(i.name))
        ]
    return "\n\n".join("\n".join(line.rstrip() for line in p.splitlines()) for p in parts) + "\n"


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("commands.json", commands),
        ("operations.json", operations),
        ("wire.json", wire),
        ("hooks.json", hooks),
        ("schema.sql", schema),
    ],
)
def test_golden(name: str, make: Any) -> None:
    found = make()
    text = found if isinstance(found, str) else json.dumps(found, indent=1, ensure_ascii=False) + "\n"
    path = GOLDEN / name
    if os.environ.get("MOLD_GOLDEN") == "write":
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    assert path.exists(), "write it with MOLD_GOLDEN=write"
    assert text == path.read_text(), f"{name} differs; look at the change and rewrite it with MOLD_GOLDEN=write"


def test_migrations_make_what_is_declared(database_url: str) -> None:
    store = Store(database_url)
    try:
        migrate.upgrade(store)
        assert migrate.differences(store) == []
        assert migrate.current(store) is not None
        migrate.upgrade(store)  # a second time there is nothing to do
        assert migrate.differences(store) == []
    finally:
        store.close()


def test_a_running_installation_has_the_declared_tables(fresh_cloud: Cloud, blueprint: Blueprint) -> None:
    with fresh_cloud.manager.store.engine.connect() as connection:
        found = set(sa.inspect(connection).get_table_names()) - {"alembic_version", "sqlite_sequence"}
    assert found == {t.name for t in metadata.tables.values()} - {"alembic_version"}
