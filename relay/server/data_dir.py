"""Holds a lock on DATA_DIR, so that only one `relay serve` uses the folder.

Two processes would both write the rows that wait there to Postgres. The slower process would then write older rows over
newer ones. Both would also repair the recordings of a dead process. The operating system frees the lock when the
process ends, also after a kill. Other commands (`relay greet`, `relay erase` and so on) may run at the same time.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog

from relay.ledger.dev_postgres.keeper import open_lock

log = structlog.get_logger()

LOCK = "serve.lock"


class DataDirInUse(Exception):
    """Another relay uses this DATA_DIR. The message says what to do."""


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold the lock on this folder while the block runs. Raises DataDirInUse.

    If the file system has no locks or cannot be written to, the relay serves without the lock, because calls need no
    disk.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = open_lock(folder / LOCK)
    except OSError as error:
        log.warning("data_dir.not_locked", words=error.strerror, do=f"let this user write to {folder / LOCK}")
        yield
        return
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DataDirInUse(
                f"another relay uses the folder {folder}. Wait until it has ended, or set DATA_DIR to another folder."
            ) from None
        except OSError as error:
            do = f"start no second relay with the folder {folder}: this file system has no locks"
            log.warning("data_dir.not_locked", words=error.strerror, do=do)
        yield
