"""Prepared statements behave as SQLAlchemy's own do: types, refusals, lost connections."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError, OperationalError

from mold.base.errors import Conflict
from mold.server.app import load
from mold.store import REGISTRY, Among, Prepared, Store, seal

load()
Zone, Host = REGISTRY["zone"], REGISTRY["host"]


@pytest.fixture
def store(database_url: str, tmp_path: Path) -> Iterator[Store]:
    seal.load(tmp_path)
    made = Store(database_url)
    made.create()
    yield made
    made.close()


def zone(name: str) -> object:
    return Zone(name=name, dns1="192.0.2.1", internaldns1="192.0.2.1", resource_details={"a": "b"})


def test_values_come_back_as_they_went_in(store: Store) -> None:
    with store.write() as tx:
        made = tx.add(zone("one"))
        tx.set(made, local_storage_enabled=True, resource_details={"c": "d"})
    with store.read() as tx:
        read = tx.one(Zone, made.id)
        same = tx.first(Zone, Zone.c.id == made.id)
    assert read.__dict__ == same.__dict__ == made.__dict__
    assert read.local_storage_enabled is True
    assert read.resource_details == {"c": "d"}


def test_a_taken_name_is_a_conflict_and_the_next_transaction_works(store: Store) -> None:
    with store.write() as tx:
        tx.add(zone("one"))
    with pytest.raises(Conflict), store.write() as tx:
        tx.add(zone("one"))
    with store.write() as tx:
        assert tx.add_free(zone("one")) is False
        assert tx.add_free(zone("two")) is True
    with store.read() as tx:
        assert tx.count(Zone) == 2


def test_a_broken_constraint_is_sqlalchemys_error(store: Store) -> None:
    wrong = Prepared(sa.update(Zone.table).values(name=sa.bindparam("to")))
    with store.write() as tx:
        tx.add(zone("one"))
        tx.add(zone("two"))
    with pytest.raises(IntegrityError), store.write() as tx:
        tx.done(wrong, {"to": "same"})


def test_a_list_cannot_be_prepared(store: Store) -> None:
    several = Prepared(sa.select(Zone.c.id).where(Zone.c.name.in_(["one", "two"])))
    with pytest.raises(TypeError, match="cannot be prepared"), store.read() as tx:
        tx.rows(several, {})


def test_many_values_are_one_whatever_is_in_them(store: Store) -> None:
    names = ['plain', 'a,b', '{c}', '"d"', "e\\", "f\\\"g", "'h'", "NULL", "", "한국", "line\nbreak"]
    among = Prepared(sa.select(Zone.c.name).where(Among(Zone.c.name, "names")))
    with store.write() as tx:
        for name in (*names, "other", "a", "b"):
            tx.add(zone(name))
    with store.read() as tx:
        assert {row[0] for row in tx.rows(among, {"names": names})} == set(names)
        assert [tx.rows(among, {"names": [name]}) for name in names] == [[(name,)] for name in names]
        assert tx.rows(among, {"names": []}) == []


def test_a_lost_connection_leaves_the_pool(store: Store) -> None:
    if not store.postgres:
        pytest.skip("SQLite has no connection to lose")
    with store.write() as tx:
        made = tx.add(zone("one"))
    with store.read() as tx:
        pid = tx.execute(sa.text("select pg_backend_pid()")).scalar_one()
        with store.engine.connect() as other:
            other.execute(sa.text("select pg_terminate_backend(:pid)"), {"pid": pid})
        with pytest.raises(OperationalError) as lost:
            tx.one(Zone, made.id)
        assert lost.value.connection_invalidated
    for _ in range(3):
        with store.read() as tx:
            assert tx.one(Zone, made.id).name == "one"


def test_what_is_remembered_ends_with_a_change(store: Store) -> None:
    with store.write() as tx:
        made = tx.add(zone("one"))
    with store.read() as tx:
        assert tx.known(Zone, made.id).name == "one"
    with store.write() as tx:
        tx.execute(sa.update(Zone.table).values(name="two"))  # no row was named, and yet it is noticed
        assert tx.known(Zone, made.id).name == "two"
        with store.read() as other:
            if store.postgres:
                assert other.known(Zone, made.id).name == "one", "not committed yet"
    with store.read() as tx:
        assert tx.known(Zone, made.id).name == "two"
