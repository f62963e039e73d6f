"""Alembic's entry: runs migrations on the connection it is given."""

from typing import Any

from alembic import context
from alembic.operations.ops import CreateTableOp

from mold.store.resource import Json, Sealed


def render(kind: str, item: Any, autogen: Any) -> Any:
    """Our own column types are plain text in the database, and migrations must not import declarations."""
    return "sa.Text()" if kind == "type" and isinstance(item, Json | Sealed) else False


def counted(ctx: Any, revision: Any, directives: list[Any]) -> None:
    """Numbers are never used twice, on SQLite either: machines' internal names are made from them."""
    for script in directives:
        for each in script.upgrade_ops.ops:
            if isinstance(each, CreateTableOp) and any(getattr(c, "name", "") == "number" for c in each.columns):
                each.kw["sqlite_autoincrement"] = True


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=context.config.attributes["metadata"],
    render_as_batch=True,
    render_item=render,
    process_revision_directives=counted,
    transaction_per_migration=False,
)
context.run_migrations()
