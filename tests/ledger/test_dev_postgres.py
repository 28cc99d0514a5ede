"""The embedded Postgres: the first command starts it, others share it, and it stops when the last command ends."""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

import psycopg
import pytest

from relay.ledger.dev_postgres import embedded as embedded_module
from relay.ledger.dev_postgres import keeper as keeper_module
from relay.ledger.dev_postgres.embedded import EmbeddedPostgresFailed, database, embedded

pytestmark = pytest.mark.real

# The program of another command. It uses the embedded Postgres, prints the URL, and ends when its standard input ends.
USER = """
import pathlib, sys
from relay.ledger.dev_postgres.embedded import embedded
if "hidden wheel" in sys.argv:  # as if .venv were under a folder that only root may enter
    from relay.ledger.dev_postgres import embedded as module
    runs = module._runs
    module._runs = lambda command, *who: "site-packages" not in str(command[0]) and runs(command, *who)
if "together" in sys.argv:
    print("here", flush=True)
    sys.stdin.readline()
with embedded(pathlib.Path(sys.argv[1]), durable=False) as url:
    print(url, flush=True)
    sys.stdin.read()
"""
NOBODY = pwd.getpwnam("nobody")
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="says what happens to root only")


def user(folder: Path, *words: str) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, "-c", USER, folder, *words], stdin=pipe, stdout=pipe, text=True)


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def leave(process: subprocess.Popen[str]) -> None:
    process.communicate("", timeout=60)
    assert process.returncode == 0


def answers(url: str) -> bool:
    try:
        with psycopg.connect(url, connect_timeout=5) as connection:
            return connection.execute("select 1").fetchone() == (1,)
    except psycopg.OperationalError:
        return False


def until(done: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not done():
        assert time.monotonic() < end, "it did not happen within 60 s"
        time.sleep(0.02)


def keeper_pid(folder: Path) -> int:
    return int((folder / "postgres" / "keeper.lock").read_text())


def postmaster_pid(folder: Path) -> int:
    return int((folder / "postgres" / "server" / "data" / "postmaster.pid").read_text().splitlines()[0])


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_written_rows_are_there_after_a_restart(open_folder: Path) -> None:
    with embedded(open_folder) as url, psycopg.connect(url) as connection:
        connection.execute("create table kept (word text)")
        connection.execute("insert into kept values ('naïve 😀')")
    assert not answers(url)
    with embedded(open_folder) as url, psycopg.connect(url) as connection:
        assert connection.execute("select word from kept").fetchone() == ("naïve 😀",)


def test_a_second_command_uses_the_same_server_and_survives_the_end_of_the_first(open_folder: Path) -> None:
    first = user(open_folder)
    url = first_line(first)
    second = user(open_folder)
    assert first_line(second) == url
    leave(first)
    assert answers(url)
    leave(second)
    assert not answers(url)


def test_a_second_command_works_on_when_the_first_one_is_killed(open_folder: Path) -> None:
    first = user(open_folder)
    url = first_line(first)
    with embedded(open_folder, durable=False):
        first.kill()
        first.communicate()
        assert answers(url)
        keeper = keeper_pid(open_folder)
    until(lambda: not lives(keeper))
    assert not answers(url)


def test_the_server_stops_when_its_last_user_is_killed(open_folder: Path) -> None:
    only = user(open_folder)
    url = first_line(only)
    keeper, postmaster = keeper_pid(open_folder), postmaster_pid(open_folder)
    only.kill()
    only.communicate()
    until(lambda: not lives(keeper) and not lives(postmaster))
    assert not answers(url)


def test_when_the_keeper_is_killed_the_server_stops_and_the_next_command_starts_another(open_folder: Path) -> None:
    with embedded(open_folder, durable=False) as url:
        postmaster = postmaster_pid(open_folder)
        os.kill(keeper_pid(open_folder), signal.SIGKILL)
        with embedded(open_folder, durable=False):  # while the old server may still be shutting down
            assert answers(url)
            assert postmaster_pid(open_folder) != postmaster
        assert answers(url), "the server has stopped, although the first command still uses it"
    assert not answers(url)


def test_a_server_that_dies_is_started_again(open_folder: Path) -> None:
    with embedded(open_folder, durable=False) as url:
        postmaster = postmaster_pid(open_folder)
        os.kill(postmaster, signal.SIGKILL)
        until(lambda: not lives(postmaster))
        until(lambda: answers(url))
    assert not answers(url)


def test_many_commands_at_once_share_one_server(open_folder: Path) -> None:
    users = [user(open_folder, "together") for _ in range(5)]
    assert {first_line(process) for process in users} == {"here"}
    for process in users:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    urls = {first_line(process) for process in users}
    assert len(urls) == 1
    for process in users[1:]:
        leave(process)
    assert answers(urls.pop())
    leave(users[0])


def test_after_ctrl_c_in_the_terminal_the_server_runs_on_for_the_process_that_drains(open_folder: Path) -> None:
    only = user(open_folder)
    url = first_line(only)
    assert os.getsid(keeper_pid(open_folder)) != os.getsid(only.pid)
    assert os.getsid(postmaster_pid(open_folder)) != os.getsid(only.pid)
    leave(only)
    assert not answers(url)


def test_a_long_path_gets_a_short_socket(open_folder: Path) -> None:
    deep = open_folder / ("d" * 60) / ("e" * 60) / "data"
    deep.mkdir(parents=True)
    with embedded(deep, durable=False) as url:
        assert answers(url)
        assert "relay-socket-" in url
    Path(psycopg.conninfo.conninfo_to_dict(url)["host"]).rmdir()  # type: ignore[arg-type]  # the host is this path


def test_an_interrupted_initdb_is_started_again(open_folder: Path) -> None:
    half = open_folder / "postgres" / "server" / "data.new"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("18\n")
    if os.geteuid() == 0:
        os.chown(half.parent, NOBODY.pw_uid, NOBODY.pw_gid)
    with embedded(open_folder, durable=False) as url:
        assert answers(url)


def test_a_cluster_of_another_version_is_refused_with_its_version(open_folder: Path) -> None:
    data = open_folder / "postgres" / "server" / "data"
    data.mkdir(parents=True)
    (data / "PG_VERSION").write_text("12\n")
    with (
        pytest.raises(EmbeddedPostgresFailed, match=r"PostgreSQL 12, and PostgreSQL 18 .*pg_dump"),
        embedded(open_folder),
    ):
        pass


def test_a_broken_cluster_is_reported_with_its_log(open_folder: Path) -> None:
    with embedded(open_folder, durable=False):
        pass
    (open_folder / "postgres" / "server" / "data" / "global" / "pg_control").unlink()
    with pytest.raises(EmbeddedPostgresFailed, match=r"did not start: .*DATABASE_URL"), embedded(open_folder):
        pass


def test_a_keeper_that_cannot_write_reports_the_reason(open_folder: Path) -> None:
    (open_folder / "postgres" / "postgres.log").mkdir(parents=True)  # so the keeper cannot open its log
    with pytest.raises(EmbeddedPostgresFailed, match=r"did not start: .*Is a directory"), embedded(open_folder):
        pass


def test_the_error_for_a_folder_that_cannot_be_made_names_it(open_folder: Path) -> None:
    (open_folder / "file").write_text("")
    with pytest.raises(EmbeddedPostgresFailed, match=r"file.*DATA_DIR"), embedded(open_folder / "file" / "data"):
        pass


def test_a_folder_that_an_attacker_could_have_made_is_refused(open_folder: Path) -> None:
    (open_folder / "postgres").symlink_to("/etc")
    with pytest.raises(EmbeddedPostgresFailed, match="belongs to another user"), embedded(open_folder):
        pass


@as_root
def test_a_folder_of_another_user_is_refused(open_folder: Path) -> None:
    (open_folder / "postgres").mkdir()
    os.chown(open_folder / "postgres", 12_345, 12_345)
    with pytest.raises(EmbeddedPostgresFailed, match="belongs to another user"), embedded(open_folder):
        pass


def test_if_a_database_url_is_given_no_postgres_is_started(open_folder: Path) -> None:
    with database("postgresql://somewhere/relay", open_folder) as url:
        assert url == "postgresql://somewhere/relay"
    assert list(open_folder.iterdir()) == []


@pytest.mark.parametrize("asked", [None, "", "embedded"])
def test_without_a_database_url_the_embedded_postgres_is_used(open_folder: Path, asked: str | None) -> None:
    with database(asked, open_folder, durable=False) as url:
        assert answers(url)


@as_root
def test_as_root_only_the_servers_own_folder_gets_another_owner(open_folder: Path) -> None:
    before = open_folder.stat()
    with embedded(open_folder, durable=False):
        after = open_folder.stat()
        own, given = (open_folder / "postgres").stat(), (open_folder / "postgres" / "server").stat()
    assert (after.st_mode, after.st_uid) == (before.st_mode, before.st_uid)
    assert (own.st_uid, own.st_mode & 0o777) == (0, 0o711)
    assert (given.st_uid, given.st_mode & 0o777) == (NOBODY.pw_uid, 0o700)


@as_root
def test_as_root_a_folder_that_the_servers_user_cannot_reach_is_replaced_by_a_short_one(
    open_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    private, temporary = open_folder / "private", open_folder / "tmp"
    private.mkdir(mode=0o700)
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    for _ in range(2):  # the second time the same folder is found
        with embedded(private / "data", durable=False) as url:
            assert answers(url)
            assert f"{temporary.name}%2Frelay-postgres-" in url
    assert len(list(temporary.iterdir())) == 1
    assert private.stat().st_mode & 0o777 == 0o700
    temporary.chmod(0o700)
    with pytest.raises(EmbeddedPostgresFailed, match="can enter neither"), embedded(private / "data"):
        pass


@as_root
def test_as_root_binaries_that_the_servers_user_cannot_reach_are_copied(
    open_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded_module, "_runs", _runs_but_not_from_the_wheel)
    for _ in range(2):
        with embedded(open_folder, durable=False) as url:
            assert answers(url)
            assert f"{open_folder}/postgres/binaries-".encode() in _command_line(postmaster_pid(open_folder))


_runs = embedded_module._runs


def _runs_but_not_from_the_wheel(command: list[str | Path], user: int, group: int) -> bool:
    """Act as if .venv were in a folder that only root may enter."""
    return "site-packages" not in str(command[0]) and _runs(command, user, group)


@as_root
def test_as_root_commands_that_start_at_the_same_time_copy_the_binaries_once(open_folder: Path) -> None:
    hidden = [user(open_folder, "together", "hidden wheel") for _ in range(4)]
    assert {first_line(process) for process in hidden} == {"here"}
    for process in hidden:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    assert len({first_line(process) for process in hidden}) == 1
    for process in hidden:
        leave(process)
    assert {path.name for path in (open_folder / "postgres").glob("binaries*")} == {
        f"binaries-{version('embedded-postgres')}",
        "binaries.lock",
    }


def test_leaving_does_not_kill_a_process_that_got_the_pid_of_a_dead_keeper(open_folder: Path) -> None:
    other = subprocess.Popen(["sleep", "60"])
    with embedded(open_folder, durable=False):
        postmaster = postmaster_pid(open_folder)
        os.kill(keeper_pid(open_folder), signal.SIGKILL)
        until(lambda: not embedded_module._has_keeper(open_folder / "postgres"))
        (open_folder / "postgres" / "keeper.lock").write_text(str(other.pid))
    assert other.poll() is None
    until(lambda: not lives(postmaster))
    other.kill()
    other.wait()


@as_root
@pytest.mark.parametrize("name", ["PG_VERSION", "postmaster.pid"])
def test_as_root_a_link_that_the_servers_user_made_is_not_followed(
    open_folder: Path, tmp_path: Path, name: str
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("12\n0\n0\n0\n0\n0\n0\nready\n")
    data = open_folder / "postgres" / "server" / "data"
    data.mkdir(parents=True)
    (data / name).symlink_to(secret)
    for path in (data, data.parent):
        os.chown(path, NOBODY.pw_uid, NOBODY.pw_gid)
    assert keeper_module.read_of_server(open_folder / "postgres", name) is None
    (data / name).unlink()
    (data / name).write_text("18\n")
    os.chown(data / name, NOBODY.pw_uid, NOBODY.pw_gid)
    assert keeper_module.read_of_server(open_folder / "postgres", name) == "18\n"
    os.chown(data / name, 0, 0)  # as a hard link to a file of root would look
    assert keeper_module.read_of_server(open_folder / "postgres", name) is None


@as_root
def test_as_root_a_cluster_that_is_a_link_is_refused(open_folder: Path, tmp_path: Path) -> None:
    server = open_folder / "postgres" / "server"
    server.mkdir(parents=True)
    (server / "data").symlink_to(tmp_path)
    os.chown(server, NOBODY.pw_uid, NOBODY.pw_gid)
    with pytest.raises(EmbeddedPostgresFailed, match="is not a folder but a link"), embedded(open_folder):
        pass


def test_no_other_user_can_open_the_socket_folder(open_folder: Path) -> None:
    deep = open_folder / ("d" * 60) / ("e" * 60) / "data"
    deep.mkdir(parents=True)
    for folder in (open_folder, deep):  # the socket is beside the cluster, or in the temporary folder
        with embedded(folder, durable=False) as url:
            sockets = Path(str(psycopg.conninfo.conninfo_to_dict(url)["host"]))
            assert sockets.stat().st_mode & 0o777 == 0o700
    sockets.rmdir()


def test_the_servers_log_has_no_word_of_a_statement_or_a_row(open_folder: Path) -> None:
    with embedded(open_folder, durable=False) as url:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("create table kept (word text primary key, number int)")
            for statement, values in [
                ("insert into kept values (%s, %s)", ["SECRET", 1]),
                ("insert into kept values (%s, %s)", ["SECRET", 1]),  # a duplicate, whose error detail quotes the row
                ("insert into kept values ('SECRET', 'SECRET2')", None),
                ("insert into kept values (%s, %s::int)", ["x", "SECRET"]),
                ("insert SECRET into nowhere", None),
            ]:
                with suppress(psycopg.Error):
                    connection.execute(statement.encode(), values)
        log = (open_folder / "postgres" / "postgres.log").read_text()
    assert "ERROR" in log
    assert "DETAIL" not in log
    assert "STATEMENT" not in log


def _command_line(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()
