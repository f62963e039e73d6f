"""The databases that the tests run on are what they claim to be."""

from __future__ import annotations

import psycopg
import pytest
import sqlalchemy as sa

from mold.store.store import Store


def test_the_store_opens_the_chosen_database(database_url: str, request: pytest.FixtureRequest) -> None:
    store = Store(database_url)
    try:
        assert store.postgres == ("postgres" in request.node.name.partition("[")[2])
        with store.engine.connect() as connection:
            assert connection.execute(sa.text("select 1")).scalar_one() == 1
            assert sa.inspect(connection).get_table_names() == []
    finally:
        store.engine.dispose()


@pytest.mark.postgres
def test_the_private_postgres_listens_on_no_port(postgres_url: str) -> None:
    with psycopg.connect(postgres_url) as connection:
        row = connection.execute("select current_setting('listen_addresses'), current_setting('fsync')").fetchone()
    assert row == ("", "off")
