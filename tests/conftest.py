"""What all tests share: how hard hypothesis tries, and a real Postgres: one server a session, a database a test."""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import structlog
from hypothesis import HealthCheck, settings
from psycopg.sql import SQL, Identifier

from relay.ledger.dev_postgres.embedded import embedded
from relay.ledger.migrate import migrate
from relay.settings import Settings
from relay.settings.env_file import CHOICE

# What is exported where the tests are started is some business's: its database, its keys. Nor is its `.env` read.
for _name in [name for name in os.environ if name.lower() in Settings.__dataclass_fields__ or name.startswith("PG")]:
    del os.environ[_name]
os.environ[CHOICE] = ""

# No deadlines: other work on the machine must not fail a property. `fast` draws the same examples every time.
settings.register_profile("fast", max_examples=100, deadline=None, derandomize=True)
settings.register_profile(
    "deep", max_examples=10_000, deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fast"))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """One more than there are cores, since real tests mostly wait; five at most, since each has all to import."""
    return min(os.cpu_count() or 1, 4) + 1


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Real tests first: they wait while the plays compute, and nobody waits for them at the end."""
    items.sort(key=lambda item: item.get_closest_marker("real") is None)


@pytest.fixture(autouse=True)
def _log_as_it_was() -> Iterator[None]:
    """A test that configures the log (every command does) leaves none of it to the next."""
    yield
    structlog.reset_defaults()


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user may enter (as root, Postgres runs as another one; pytest's own are for us alone)."""
    yield from _open_folder()


def _open_folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="relay-test-"))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """A running server: the URL of its first database. `template1` holds the migrated tables."""
    for folder in _open_folder():
        with embedded(folder, durable=False) as url:
            migrate(url.replace("/postgres?", "/template1?"))
            yield url


@pytest.fixture
def database_url(postgres: str) -> Iterator[str]:
    """An own, migrated database."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(SQL("create database {}").format(Identifier(name)))
        yield postgres.replace("/postgres?", f"/{name}?")
        connection.execute(SQL("drop database {} with (force)").format(Identifier(name)))


@pytest.fixture
def empty_database_url(postgres: str) -> Iterator[str]:
    """An own database without a table."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(SQL("create database {} template template0").format(Identifier(name)))
        yield postgres.replace("/postgres?", f"/{name}?")
        connection.execute(SQL("drop database {} with (force)").format(Identifier(name)))
