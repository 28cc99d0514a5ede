"""Fixtures and settings for all tests: the number of hypothesis's examples, a fixed task order, and a real Postgres.

Each test process has one Postgres server, and each test that needs one gets a database of its own.
"""

from __future__ import annotations

import gc
import os
import random
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
import structlog
import trio._core._run as trio_run
from hypothesis import HealthCheck, settings
from psycopg.sql import SQL, Identifier

from relay.ledger.dev_postgres.embedded import embedded
from relay.ledger.migrate import migrate
from relay.settings import Settings
from relay.settings.env_file import CHOICE

# Exported variables, such as DATABASE_URL and the keys, may belong to a real business. So they are removed, and `.env`
# is not read.
for _name in [name for name in os.environ if name.lower() in Settings.__dataclass_fields__ or name.startswith("PG")]:
    del os.environ[_name]
os.environ[CHOICE] = ""

# No deadlines: other work on the machine must not make a property fail. `fast` draws the same examples every time, so
# a later run finds nothing new.
settings.register_profile("fast", max_examples=50, deadline=None, derandomize=True)
settings.register_profile(
    "deep", max_examples=10_000, deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fast"))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Use one worker more than there are cores, because tests with real processes mostly wait.

    Five is the most, because each worker must import everything.
    """
    return min(os.cpu_count() or 1, 4) + 1


def pytest_sessionstart() -> None:
    """Switch the garbage collector off while pytest collects the tests. This makes half a million lasting objects."""
    gc.disable()


def pytest_collection_finish() -> None:
    """Switch the garbage collector on again. It skips the objects that exist now."""
    gc.freeze()
    gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the tests marked `real` first. They mostly wait, so other workers can compute plays meanwhile."""
    items.sort(key=lambda item: item.get_closest_marker("real") is None)


@pytest.fixture(autouse=True)
def _log_as_it_was() -> Iterator[None]:
    """Restore the configuration of the log after each test, because the relay's commands change it."""
    yield
    structlog.reset_defaults()


@pytest.fixture
def same_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a play run ready tasks in the same order each time. Trio's own order is random on purpose."""
    monkeypatch.setattr(trio_run, "_r", random.Random(1))
    monkeypatch.setattr(trio_run, "_ALLOW_DETERMINISTIC_SCHEDULING", True)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user may enter.

    If the tests run as root, Postgres runs as another user, who cannot enter pytest's own folders.
    """
    yield from _open_folder()


def _open_folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="relay-test-"))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL of the first database of a running server. `template1` has the migrated tables."""
    for folder in _open_folder():
        with embedded(folder, durable=False) as url:
            migrate(url.replace("/postgres?", "/template1?"))
            yield url


@contextmanager
def _database(server: str, template: str) -> Iterator[str]:
    name = f"test_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(SQL("create database {} template {}").format(Identifier(name), Identifier(template)))
        yield server.replace("/postgres?", f"/{name}?")
        connection.execute(SQL("drop database {} with (force)").format(Identifier(name)))


@pytest.fixture
def database_url(postgres: str) -> Iterator[str]:
    """The URL of a new database with the migrated tables."""
    with _database(postgres, "template1") as url:
        yield url


@pytest.fixture(scope="module")
def database_of_the_file(postgres: str) -> Iterator[str]:
    """The URL of a database with the migrated tables, which the tests of one file share."""
    with _database(postgres, "template1") as url:
        yield url


@pytest.fixture
def empty_database_url(postgres: str) -> Iterator[str]:
    """The URL of a new database without tables."""
    with _database(postgres, "template0") as url:
        yield url
