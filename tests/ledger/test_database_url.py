"""DATABASE_URL in the forms that people have: which work, what is removed, and which are refused with helpful words."""

from __future__ import annotations

import pytest

from relay.settings import SettingsInvalid, load
from relay.settings.database_url import DatabaseUrlUnclear, understood


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://relay:pw@db.example.com:5432/relay",
        "postgresql://relay:p%40ss@db.example.com/relay?sslmode=require",
        "postgresql://relay:p:q#r@db.example.com/relay",
        "postgres://postgres@/postgres?host=%2Ftmp%2Fx&port=5432",
        "postgresql:///relay?host=/var/run/postgresql&user=me%40server",
        "postgresql://relay:pw@one,two:5433/relay?target_session_attrs=read-write",
        "postgresql://relay:pw@[::1]:5432/relay",
        "host=/tmp user=relay password='p@ss'",
    ],
)
def test_a_url_that_libpq_reads_is_left_as_it_is(url: str) -> None:
    assert understood(url) == url


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://relay:SEC@RET@db.example.com/relay",
        "postgresql://relay:SEC@RET@db.example.com:5432/relay",
        "postgresql://relay:SEC/RET@db.example.com/relay",
        "postgresql://relay@server:SECRET@db.example.com/relay",
        "postgresql://relay:SEC%RET@db.example.com/relay",
    ],
)
def test_a_password_that_is_not_percent_encoded_is_refused_and_not_shown(url: str) -> None:
    with pytest.raises(SettingsInvalid, match=r"DATABASE_URL has .*percent-encoded") as refusal:
        load({"DATABASE_URL": url}, serving=False)
    assert "SEC" not in str(refusal.value)
    assert "RET" not in str(refusal.value)


def test_parameters_for_prisma_are_removed_from_the_url() -> None:
    url = "postgresql://relay:pw@pool.example.com:6543/postgres?pgbouncer=true&connection_limit=1&schema=public"
    assert understood(url) == "postgresql://relay:pw@pool.example.com:6543/postgres"
    assert understood(url + "&sslmode=require").endswith("/postgres?sslmode=require")
    assert load({"DATABASE_URL": url}, serving=False).database_url == understood(url)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("postgresql://relay:SECRET@db/relay?schema=app", "search_path"),
        ("postgresql://relay:SECRET@db/relay?sslmode=require&pool_size=5", "parameter pool_size,"),
        ("postgresql://relay:SECRET@db:54x/relay", "one port from 1 to 65535"),
        ("postgresql+asyncpg://relay:SECRET@db/relay", "postgresql://user"),
        ("mysql://relay:SECRET@db/relay", "postgresql://user"),
    ],
)
def test_a_url_that_cannot_be_read_is_refused_with_the_reason(url: str, words: str) -> None:
    with pytest.raises(DatabaseUrlUnclear, match=words) as refusal:
        understood(url)
    assert "SECRET" not in str(refusal.value)
