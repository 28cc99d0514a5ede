"""The keeper of the embedded Postgres: starts it, restarts it if it dies, and stops it when nobody uses it any more.

The keeper is a process of its own, because several commands share the server. If one command ends, even by SIGKILL, the
others still have the server. Every command holds a shared lock on `users.lock`. The kernel releases the lock when the
command's process ends. The keeper waits for the exclusive lock. It gets this lock when no command uses the server any
more. If the keeper itself is killed, Linux sends Postgres a signal to stop (PR_SET_PDEATHSIG). Linux sends this signal
when the *thread* that started Postgres ends. So the main thread starts Postgres.

embedded.py runs this file as a script, with the standard library alone: `python -I -S keeper.py '<Keep as JSON>'`. The
script prints one line: `ready`, or what failed.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO, TypedDict

# The limit for a start. It is long because a crashed cluster first replays its log. Measured without a crash: initdb
# takes 1 to 2 s, and a start 0.1 s.
START_S = 60.0
# The limit for a fast shutdown, which writes a checkpoint. After this time the server is killed. It then replays its
# log at the next start.
STOP_S = 60.0
# The keeper gives up after this many starts in a row that failed, or after which Postgres died within START_S. If no
# start has succeeded yet, it may give up earlier (_serve).
TRIES = 5
PAUSE_S = 0.5
PR_SET_PDEATHSIG = 1  # <linux/prctl.h>


class Keep(TypedDict):
    """What embedded.py tells the keeper. `user` and `group` are set only if embedded.py runs as root.

    `folder` belongs to the keeper and holds the locks and the log. `folder/server` belongs to the user of Postgres and
    holds `data`. `sockets` is the socket's folder: `folder/server`, or a temporary folder if that path is too long.
    """

    folder: str
    binaries: str
    sockets: str
    durable: bool
    user: int | None
    group: int | None


class Failed(Exception):
    """Postgres could not be started. The message says why."""


def main() -> int:
    keep: Keep = json.loads(sys.argv[1])
    folder = Path(keep["folder"])
    os.umask(0o077)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with open_lock(folder / "keeper.lock") as lock, (folder / "postgres.log").open("wb", buffering=0) as log:
            fcntl.flock(lock, fcntl.LOCK_EX)
            lock.truncate()
            # The pid of the process that holds the lock. It means nothing while the lock is free.
            lock.write(str(os.getpid()))
            lock.flush()  # This raises OSError if the disk is full.
            threading.Thread(target=_wait_for_the_last_user, args=(folder, stop), daemon=True).start()
            _initdb(keep, log)
            _serve(keep, log, stop)
    except (Failed, OSError) as failure:
        _say(str(failure))
        return 1
    return 0


def open_lock(path: Path) -> IO[str]:
    """Open a file for a lock. Its mode keeps other users out: a user who can read the file could hold the lock."""
    return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600), "r+")


def _say(words: str) -> None:
    """Write one line to the process that started the keeper. That process reads only this line."""
    try:
        print(words.replace("\n", " "), flush=True)
        os.close(1)
        os.open(os.devnull, os.O_WRONLY)  # It gets file descriptor 1.
    except OSError:
        pass  # The process that started us has ended. _wait_for_the_last_user() stops us if no other command is left.


def _wait_for_the_last_user(folder: Path, stop: threading.Event) -> None:
    with open_lock(folder / "users.lock") as users:
        fcntl.flock(users, fcntl.LOCK_EX)
        stop.set()
        # The keeper holds this lock until it ends. A command that comes now waits for the lock, and then starts a new
        # keeper.
        threading.Event().wait()


def _as_user(keep: Keep) -> dict[str, object]:
    return {} if keep["user"] is None else {"user": keep["user"], "group": keep["group"], "extra_groups": []}


def _environment() -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    return inherited | {"LC_ALL": "C", "TZ": "UTC"}


def _initdb(keep: Keep, log: IO[bytes]) -> None:
    """Make the cluster in a temporary folder, then rename the folder.

    So an interrupted initdb leaves no incomplete cluster.
    """
    data = Path(keep["folder"], "server", "data")
    if os.path.lexists(data):
        return
    fresh = data.with_name("data.new")
    shutil.rmtree(fresh, ignore_errors=True)
    options = ["--username=postgres", "--auth=trust", "--encoding=UTF8", "--no-instructions", "--locale=C"]
    options += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    options += [] if keep["durable"] else ["--no-sync"]
    command = [Path(keep["binaries"], "initdb"), "-D", fresh, *options]
    done = subprocess.run(command, stdout=log, stderr=log, cwd="/", env=_environment(), **_as_user(keep))  # type: ignore[call-overload]  # noqa: S603  # our own binary, no shell
    if done.returncode != 0:
        raise Failed(f"initdb ended with {done.returncode}: {_tail(keep)}")
    fresh.rename(data)


def _serve(keep: Keep, log: IO[bytes], stop: threading.Event) -> None:
    """Keep Postgres running until `stop`. Raises Failed if Postgres does not start, or dies again and again."""
    failures, said = 0, False
    while not stop.is_set():
        started_s = time.monotonic()
        postgres = _start(keep, log)
        if _wait_ready(keep, postgres, stop):
            if not said:
                _say("ready")
                said = True
            while postgres.poll() is None and not stop.wait(0.2):
                pass
        if stop.is_set():
            _stop(postgres)
            return
        _stop(postgres)
        failures = 1 if time.monotonic() - started_s > START_S else failures + 1
        # The first start is tried again for one reason only: the server of a killed keeper may still be shutting down.
        if failures >= TRIES or not (said or "postmaster.pid" in _tail(keep)):
            raise Failed(f"postgres ended with {postgres.returncode}: {_tail(keep)}")
        stop.wait(PAUSE_S)


def _start(keep: Keep, log: IO[bytes]) -> subprocess.Popen[bytes]:
    settings = ["listen_addresses=", "logging_collector=off", "port=5432", f"unix_socket_directories={keep['sockets']}"]
    # Rows hold callers' words and phone numbers. Postgres must not write them into its log.
    settings += ["log_min_error_statement=panic", "log_error_verbosity=terse", "log_parameter_max_length_on_error=0"]
    if not keep["durable"]:
        settings += ["fsync=off", "synchronous_commit=off", "full_page_writes=off"]
    command: list[str | Path] = [Path(keep["binaries"], "postgres"), "-D", Path(keep["folder"], "server", "data")]
    for setting in settings:
        command += ["-c", setting]
    return subprocess.Popen(  # type: ignore[call-overload,no-any-return]  # noqa: S603  # our own binary, no shell
        command,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        cwd="/",
        env=_environment(),
        start_new_session=True,
        preexec_fn=_die_with_the_keeper if sys.platform == "linux" else None,
        **_as_user(keep),
    )


def _die_with_the_keeper() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGINT)  # SIGINT: Postgres' fast shutdown


def read_of_server(folder: Path, name: str) -> str | None:
    """The text of a small file of the cluster. None if there is no such file.

    As root we read in a folder that another user owns, and that user may put links and pipes there. So the file must be
    a plain file of the owner of `data`, and neither `server` nor `data` may be a link.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    opened: list[int] = []
    try:
        for part in (folder / "server", "data", name):
            above = opened[-1] if opened else None
            opened.append(os.open(part, flags | (0 if part is name else os.O_DIRECTORY), dir_fd=above))
        found = os.fstat(opened[-1])
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.fstat(opened[1]).st_uid:
            return None
        return os.read(opened[-1], 4_096).decode(errors="replace")
    except OSError:
        return None
    finally:
        for number in opened:
            os.close(number)


def is_ready(folder: Path, pid: int | None = None) -> bool:
    """True if the server takes connections. If `pid` is given, the server must also have this pid.

    Line 1 of the file `postmaster.pid` is the server's pid, line 8 is its state.
    """
    try:
        lines = (read_of_server(folder, "postmaster.pid") or "").splitlines()
        found = int(lines[0])
        os.kill(found, 0)
    except PermissionError:
        pass  # The process exists and belongs to another user.
    except (OSError, ValueError, IndexError):
        return False
    return len(lines) > 7 and lines[7].strip() == "ready" and (pid is None or pid == found)


def _wait_ready(keep: Keep, postgres: subprocess.Popen[bytes], stop: threading.Event) -> bool:
    deadline_s = time.monotonic() + START_S
    while time.monotonic() < deadline_s and postgres.poll() is None and not stop.is_set():
        if is_ready(Path(keep["folder"]), postgres.pid):
            return True
        stop.wait(0.01)
    return False


def _stop(postgres: subprocess.Popen[bytes]) -> None:
    if postgres.poll() is None:
        postgres.send_signal(signal.SIGINT)
        try:
            postgres.wait(STOP_S)
        except subprocess.TimeoutExpired:
            postgres.send_signal(signal.SIGQUIT)
            postgres.wait()


def _tail(keep: Keep) -> str:
    log = Path(keep["folder"], "postgres.log").read_text(errors="replace").strip()
    return " / ".join(log.splitlines()[-3:])[-500:] or "it said nothing"


if __name__ == "__main__":
    sys.exit(main())
