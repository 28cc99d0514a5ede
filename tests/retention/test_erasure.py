"""`relay erase` with a real Postgres, real files and a real bucket."""

from __future__ import annotations

import datetime as dt
import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
import trio

from relay.cli import main
from relay.ledger.store import PostgresLedger
from relay.recordings.stores import ObjectStore, S3Access
from relay.retention.erasure import Whom
from relay.retention.old_words import STATEMENTS
from tests.helpers.owner_data import NOW, fill, sid
from tests.helpers.recorded import KEY, begin_file, put_file
from tests.helpers.traces import NUMBER, OTHER, SECRET, delete_words, leave_traces, name_the_number, places

pytestmark = pytest.mark.real

CALL, BYSTANDER = sid(3), sid(4)
Connection = psycopg.Connection[tuple[object, ...]]


class Stage:
    """A relay's database and DATA_DIR with the traces of one caller in them, and the command `relay erase`."""

    def __init__(self, connection: Connection, data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.connection, self.data_dir = connection, data_dir
        self.recordings, self.spill = data_dir / "recordings", data_dir / "ledger-spill"
        self._capsys = capsys

    def erase(self, *words: str) -> tuple[int, str]:
        """Run the command. Returns its exit code and everything that it said."""
        code = main(["erase", *words])
        said = self._capsys.readouterr()
        return code, said.out + said.err

    def one(self, query: str, *values: object) -> object:
        row = self.connection.execute(query.encode(), values).fetchone()
        return row[0] if row is not None and len(row) == 1 else row

    def left(self) -> set[tuple[str, str]]:
        """The columns that still hold the caller's number or words."""
        return places(self.connection, NUMBER) | places(self.connection, SECRET)

    def files(self) -> list[str]:
        return sorted(str(path.relative_to(self.recordings)) for path in self.recordings.glob("*/*"))


@pytest.fixture
def stage(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Stage]:
    for name in [name for name in os.environ if name.startswith(("AWS_", "RECORD"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    fill(database_url, 8)
    with psycopg.connect(database_url, autocommit=True) as connection:
        leave_traces(connection, CALL)
        yield Stage(connection, tmp_path, capsys)


def _typed(monkeypatch: pytest.MonkeyPatch, answer: str) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda _: answer)


# What is deleted


def test_an_erased_caller_is_in_no_column_of_any_table_and_the_figures_stay(stage: Stage) -> None:
    name_the_number(stage.connection)
    assert len({table for table, _ in stage.left()}) == 9, "a table with nothing of theirs proves nothing"
    figures = "select call_sid, seconds, cost_usd, cost, end_reason, outcome from call_outcomes order by 1"
    before = stage.connection.execute(figures).fetchall()
    others = stage.one("select count(*) from transcripts where call_sid = %s", BYSTANDER)
    code, said = stage.erase(NUMBER, "--yes")
    assert code == 0, said
    assert stage.left() == set()
    assert places(stage.connection, "555-0901") | places(stage.connection, "555 0901") == set()
    assert stage.connection.execute(figures).fetchall() == before
    assert stage.one("select count(*) from transcripts where call_sid = %s", BYSTANDER) == others
    assert stage.one("select verdict from reviews where call_sid = %s", CALL) == "bad"
    assert stage.one("select words_deleted_at is not null from calls where call_sid = %s", CALL) is True


def test_in_a_call_of_another_number_only_the_rows_that_name_the_erased_number_are_deleted(stage: Stage) -> None:
    name_the_number(stage.connection)
    code, said = stage.erase(NUMBER, "--yes")
    assert code == 0
    assert f"Only the rows that name it are deleted: {OTHER}" in said
    assert stage.one("select from_number from calls where call_sid = %s", OTHER) == "+13105550177"
    assert stage.one("select string_agg(said, '') from transcripts where call_sid = %s", OTHER) == "Gladly."
    assert (
        stage.one("select string_agg(text, '') from messages where call_sid = %s", OTHER) == "Unrelated: +12125550902"
    )
    assert stage.one("select key from function_calls where call_sid = %s", OTHER) == "other"
    assert stage.one("select notes from appointments where phone = '+13105550177'") == ""


def test_recordings_and_their_remains_after_a_crash_are_deleted(stage: Stage) -> None:
    put_file(stage.recordings, NOW, CALL)
    left_over = begin_file(stage.recordings, NOW, CALL)
    left_over._release()  # its process has died
    (stage.recordings / "2026-11-29" / f"183000-{CALL}-00000000.rec.closing").write_bytes(b"half")
    other = put_file(stage.recordings, NOW, BYSTANDER)
    code, said = stage.erase(NUMBER, "--yes")
    assert (code, stage.files()) == (0, [other])
    assert "3 recordings" in said
    assert stage.one("select bool_and(deleted_at is not null and peaks is null) from recordings") is True


def test_recordings_in_the_bucket_are_deleted(stage: Stage, bucket: S3Access, monkeypatch: pytest.MonkeyPatch) -> None:
    _use(bucket, monkeypatch)
    store = ObjectStore(bucket)
    names = [put_file(stage.recordings, NOW, call_sid) for call_sid in (CALL, BYSTANDER)]
    for name in names:
        store.put(name, stage.recordings / name)
        (stage.recordings / name).unlink()
    code, said = stage.erase(NUMBER, "--yes")
    assert (code, list(store.names())) == (0, names[1:])
    assert "1 recording," in said


def test_lines_that_postgres_refused_are_deleted_from_the_disk(stage: Stage) -> None:
    stage.spill.mkdir()
    lines = [f'{{"row":{{"call_sid":"{one}","text":"{SECRET}"}}}}\n' for one in (CALL, BYSTANDER)]
    for name in ("refused-2026-11-28.jsonl", "refused-2026-11-29.jsonl"):
        (stage.spill / name).write_text("".join([*lines, f'{{"phone":"{NUMBER}"}}\n']))
    half = stage.spill / "rows-1-1.new"
    half.write_text(SECRET)
    os.utime(half, (0, 0))
    code, said = stage.erase(NUMBER, "--yes")
    assert code == 0
    assert re.search(r"rows that Postgres refused +4\n", said)
    assert sorted((path.name, path.read_text()) for path in stage.spill.iterdir()) == [
        ("refused-2026-11-28.jsonl", lines[1]),
        ("refused-2026-11-29.jsonl", lines[1]),
    ]


@pytest.mark.parametrize("asked", [["+12125550999"], ["--call", "CA" + "9" * 32]], ids=["number", "call"])
def test_a_caller_of_whom_only_refused_lines_are_left_is_erased_from_them(stage: Stage, asked: list[str]) -> None:
    stage.spill.mkdir()
    path = stage.spill / "refused-2026-11-29.jsonl"
    path.write_text(f'{{"row":{{"call_sid":"CA{"9" * 32}","from_number":"+12125550999"}}}}\nother\n')
    code, said = stage.erase(*asked, "--yes")
    assert (code, path.read_text()) == (0, "other\n"), said
    assert "Nothing is known" in stage.erase(*asked, "--yes")[1]


def test_one_call_is_erased_by_its_sid_and_the_callers_other_call_stays(stage: Stage) -> None:
    stage.connection.execute("update calls set from_number = %s where call_sid = %s", (NUMBER, BYSTANDER))
    put_file(stage.recordings, NOW, CALL)
    code, _ = stage.erase("--call", CALL, "--yes")
    assert (code, stage.files()) == (0, [])
    assert places(stage.connection, SECRET) == set()
    assert stage.left() == {("calls", "from_number")}
    assert stage.erase("--call", CALL, "--yes") == (0, f"Nothing is known of {CALL}.\n")


async def test_an_erased_caller_does_not_count_as_one_who_hides_the_number(database_url: str, tmp_path: Path) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        insert = "insert into calls (call_sid, started_at, from_number) values (%s, clock_timestamp(), %s)"
        for call_sid, number in ((CALL, NUMBER), (BYSTANDER, None)):
            connection.execute(insert, (call_sid, number))
            connection.execute("insert into call_outcomes (call_sid, ended_at) values (%s, '2020-01-01')", [call_sid])
    await trio.to_thread.run_sync(delete_words, database_url, CALL)
    ledger = PostgresLedger(database_url, spill_dir=tmp_path)
    async with trio.open_nursery() as nursery:
        await nursery.start(ledger.run)
        assert await ledger.calls_from("", 3600, limit_s=10) == 1
        nursery.cancel_scope.cancel()


# What the command says and asks


def test_the_command_first_says_what_it_deletes_and_names_each_future_appointment(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BUSINESS_TZ", "America/New_York")
    put_file(stage.recordings, NOW, CALL)
    stage.connection.execute(
        "update messages set text = 'A recorded message of 9 s: https://api.twilio.com/2010-04-01/Accounts/AC1/Recordings/"
        "RE123' where call_sid = %s",
        [CALL],
    )
    code, said = stage.erase(NUMBER)
    lines = [" ".join(line.split()) for line in said.splitlines()]
    assert code == 2
    assert lines[0] == f"{NUMBER}: 1 call, Sun 29 Nov 2026 10:25. This will be deleted:"
    assert {"recordings (sound) 1", "transcripts 6 rows", "messages 1 row", "appointments 1 row"} <= {*lines}
    assert "Mon 05 Jan 2037 10:00 a haircut" in lines
    assert "https://api.twilio.com/2010-04-01/Accounts/AC1/Recordings/RE123" in lines


def test_without_a_terminal_and_without_yes_nothing_is_deleted_and_the_command_says_what_to_do(stage: Stage) -> None:
    put_file(stage.recordings, NOW, CALL)
    left = stage.left()
    code, said = stage.erase(NUMBER)
    assert code == 2
    assert said.splitlines()[-1] == (
        "relay erase: nothing was deleted, because nobody can be asked here. Add --yes to delete"
    )
    assert (stage.left(), len(stage.files())) == (left, 1)


def test_if_the_user_types_another_number_nothing_is_deleted(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    left = stage.left()
    _typed(monkeypatch, "+12125550902")
    code, said = stage.erase(NUMBER)
    assert code == 1
    assert "nothing was deleted" in said
    assert stage.left() == left


def test_if_the_user_types_the_number_in_another_spelling_the_caller_is_erased(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    _typed(monkeypatch, " 212.555.0901 ")
    assert stage.erase("(212) 555-0901")[0] == 0
    assert stage.left() == set()


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["tomorrow"], "is no phone number: write it like +12125550101"),
        (["555-0901"], "is no phone number"),
        (["--call", "yesterday's"], "is not the SID of a call"),
        (["+12125550190"], "TWILIO_PHONE_NUMBER"),
    ],
)
def test_a_text_that_is_not_a_callers_number_is_refused_in_one_sentence(
    words: list[str], why: str, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TWILIO_PHONE_NUMBER", "+12125550190")
    code, said = stage.erase(*words, "--yes")
    assert code == 2
    assert why in said
    assert said.count("\n") == 1


def test_in_a_folder_without_data_the_command_says_so_and_makes_no_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    assert main(["erase", NUMBER, "--yes"]) == 1
    assert "run this command in the folder of your .env" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_for_an_unknown_number_the_command_says_that_nothing_is_known(stage: Stage) -> None:
    assert stage.erase("+12125550999", "--yes") == (0, "Nothing is known of +12125550999.\n")


def test_the_audit_row_and_the_log_line_have_counts_and_neither_number_nor_word(stage: Stage) -> None:
    _, said = stage.erase(NUMBER, "--yes")
    assert stage.one("select what from audit where call_sid is null and address is null") == "erased a caller, calls: 1"
    (line,) = [line for line in said.splitlines() if "caller.erased" in line]
    assert {"calls": 1, "recordings": 0, "complete": True}.items() <= json.loads(line).items()
    assert NUMBER not in line
    assert SECRET not in line


# Rows and recordings that may still come after the command


def test_a_running_call_is_not_erased_until_the_command_runs_again_after_the_call(stage: Stage) -> None:
    running = "CA" + "d" * 32
    stage.connection.execute(
        "insert into calls (call_sid, started_at, from_number) values (%s, clock_timestamp(), %s)", (running, NUMBER)
    )
    stage.connection.execute(
        "insert into function_calls (call_sid, function_call_id, name, arguments, key, state)"
        " values (%s, '1', 'book_appointment', %s, 'k', 'reserved')",
        (running, json.dumps({"phone": NUMBER})),
    )
    stage.connection.execute(
        "insert into appointments (service, resource, span, minutes, name, phone, call_sid) select 'cut', resource,"
        " '[2037-02-05 15:00+00, 2037-02-05 15:30+00)', 30, 'Ann', %s, %s from diary_resources limit 1",
        (NUMBER, running),
    )
    code, said = stage.erase(NUMBER, "--yes")
    assert code == 1
    assert "A call of this caller is running, or has just ended. Run the command again after it." in said
    kept = {("calls", "from_number"), ("function_calls", "arguments"), ("appointments", "phone")}
    assert stage.left() == kept
    assert "05 Feb 2037" not in said
    assert stage.one("select key from function_calls where call_sid = %s", running) == "k"
    ended = "insert into call_outcomes (call_sid, ended_at) values (%s, clock_timestamp() - interval '2 minutes')"
    stage.connection.execute(ended, [running])
    assert stage.erase(NUMBER, "--yes")[0] == 0
    assert stage.left() == set()


def test_a_call_with_a_human_counts_as_running_until_its_transfer_has_a_result(stage: Stage) -> None:
    stage.connection.execute(
        "update calls set started_at = clock_timestamp() - interval '20 minutes' where call_sid = %s", [CALL]
    )
    ended = "update call_outcomes set ended_at = clock_timestamp() - interval '9 minutes', dialled = '+13105550111', "
    stage.connection.execute(f"{ended} transfer_result = null where call_sid = %s".encode(), [CALL])
    assert stage.erase("--call", CALL, "--yes")[0] == 1
    stage.connection.execute("update call_outcomes set transfer_result = 'accepted' where call_sid = %s", [CALL])
    assert stage.erase("--call", CALL, "--yes")[0] == 0


def test_a_recording_that_is_being_written_shows_that_its_call_runs(stage: Stage) -> None:
    begin_file(stage.recordings, NOW, CALL)
    code, said = stage.erase(NUMBER, "--yes")
    assert code == 1
    assert "is running" in said
    assert len(stage.files()) == 1
    assert ("calls", "from_number") in stage.left()


def test_rows_that_wait_on_the_disk_are_reported_and_the_number_finds_their_call_again(stage: Stage) -> None:
    stage.spill.mkdir()
    waiting = stage.spill / "rows-00000000000000000001-1.jsonl"
    waiting.write_text(f'{{"statement":"keep_transcripts","row":{{"call_sid":"{CALL}","seq":9,"role":"caller"}}}}\n')
    code, said = stage.erase(NUMBER, "--yes")
    assert code == 1
    assert "Rows of this caller wait in DATA_DIR/ledger-spill" in said
    assert stage.left() == {("calls", "from_number")}
    waiting.unlink()
    assert stage.erase(NUMBER, "--yes")[0] == 0
    assert stage.left() == set()


def test_a_row_on_the_disk_that_only_names_the_number_is_reported(stage: Stage) -> None:
    stage.erase(NUMBER, "--yes")
    stage.spill.mkdir()
    row = f'{{"statement":"keep_calls","row":{{"call_sid":"CA{"c" * 32}","from_number":"{NUMBER}"}}}}\n'
    (stage.spill / "rows-00000000000000000001-1.jsonl").write_text(row)
    code, said = stage.erase(NUMBER, "--yes")
    assert code == 1
    assert "DATA_DIR/ledger-spill" in said


def test_the_number_is_kept_while_a_recording_may_be_on_another_machine(stage: Stage) -> None:
    name = f"2026-11-29/120000-{CALL}-00000001.rec"
    insert = "insert into recordings (name, call_sid, stored_in, created_at) values (%s, %s, 'disk', clock_timestamp())"
    stage.connection.execute(insert, (name, CALL))
    code, said = stage.erase(NUMBER, "--yes")
    assert code == 1
    assert f"Recordings of {CALL} are not on this disk" in said
    assert stage.left() == {("calls", "from_number")}
    assert stage.one("select deleted_at from recordings where name = %s", name) is None
    stage.connection.execute(
        "update recordings set created_at = created_at - interval '32 days' where name = %s", [name]
    )
    assert stage.erase(NUMBER, "--yes")[0] == 0
    assert stage.left() == set()


def test_the_number_is_kept_while_another_machine_may_have_rows_of_a_call_without_an_end(stage: Stage) -> None:
    began = dt.datetime.now(dt.UTC) - dt.timedelta(hours=5)
    stage.connection.execute("update calls set machine = 'm2', started_at = %s where call_sid = %s", (began, CALL))
    stage.connection.execute("delete from call_outcomes where call_sid = %s", [CALL])
    code, said = stage.erase(NUMBER, "--yes")
    assert code == 1
    assert "machine m2" in said
    assert stage.left() == {("calls", "from_number")}


def _use(bucket: S3Access, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "RECORDINGS_URL": bucket.url, "AWS_ENDPOINT_URL_S3": bucket.endpoint, "AWS_REGION": bucket.region,
        "AWS_ACCESS_KEY_ID": bucket.access_key_id, "AWS_SECRET_ACCESS_KEY": bucket.secret_access_key,
        "RECORDING_KEY": KEY,
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)


def test_a_recording_whose_upload_may_be_running_needs_a_second_run_of_the_command(
    stage: Stage, bucket: S3Access, monkeypatch: pytest.MonkeyPatch
) -> None:
    _use(bucket, monkeypatch)
    name = put_file(stage.recordings, NOW, CALL)
    upload = stage.data_dir / "open"
    upload.write_bytes((stage.recordings / name).read_bytes())
    code, said = stage.erase(NUMBER, "--yes")
    assert code == 1
    assert "Run the command again in two minutes." in said
    store = ObjectStore(bucket)
    store.put(name, upload)  # the upload that had begun ends now
    assert stage.erase(NUMBER, "--yes")[0] == 0
    assert (list(store.names()), stage.left()) == ([], set())


# Faults


def _killed_before(step: Callable[[], None]) -> Callable[..., None]:
    def killed(*_: object, **__: object) -> None:
        step()
        raise KeyboardInterrupt

    return killed


@pytest.mark.parametrize(
    "target", ["relay.recordings.stores.FolderStore.delete", "relay.retention.erasure.delete_set_aside"]
)
def test_a_command_that_is_killed_in_the_middle_is_finished_by_a_second_run(
    target: str, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = put_file(stage.recordings, NOW, CALL)
    insert = "insert into recordings (name, call_sid, stored_in, created_at) values (%s, %s, 'disk', clock_timestamp())"
    stage.connection.execute(insert, (name, CALL))
    with monkeypatch.context() as patch:
        patch.setattr(target, _killed_before(lambda: None))
        assert stage.erase(NUMBER, "--yes")[0] == 130
    assert ("calls", "from_number") in stage.left()
    assert stage.erase(NUMBER, "--yes")[0] == 0
    assert (stage.left(), stage.files()) == (set(), [])


def test_if_a_statement_about_the_rows_fails_no_row_is_deleted(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    left = stage.left() - {("recordings", "peaks")}
    broken = {**STATEMENTS, "erased": b"insert into audit (nothing) values (%(what)s)"}
    with monkeypatch.context() as patch:
        patch.setattr("relay.retention.erasure.STATEMENTS", broken)
        code, said = stage.erase(NUMBER, "--yes")
    assert code == 1
    assert "Run the command again" in said
    assert stage.left() - {("recordings", "peaks")} == left


def test_while_the_bucket_is_away_nothing_is_deleted(
    stage: Stage, bucket: S3Access, monkeypatch: pytest.MonkeyPatch
) -> None:
    _use(bucket, monkeypatch)
    monkeypatch.setenv("RECORDINGS_URL", "s3://no-such-bucket-here")
    put_file(stage.recordings, NOW, CALL)
    left = stage.left()
    code, said = stage.erase(NUMBER, "--yes")
    assert code == 1
    assert "Nothing was deleted" in said
    assert (stage.left(), len(stage.files())) == (left, 1)


def test_a_missing_postgres_gives_one_sentence_and_no_file_is_deleted(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_file(stage.recordings, NOW, CALL)
    monkeypatch.setenv("DATABASE_URL", "postgresql://nobody@127.0.0.1:9/none")
    code, said = stage.erase(NUMBER, "--yes")
    assert code == 1
    assert said.count("\n") == 1
    assert len(stage.files()) == 1


# A number as people write it


@pytest.mark.parametrize(
    ("number", "found", "not_found"),
    [
        ("+12125550901", ["+12125550901", "1-212-555-0901", "(212) 555 0901", "212.555.0901", '"2125550901"'],
         ["+12125550902", "92125550901", "21255509011", "212555090"]),
        ("+442079460958", ["+44 20 7946 0958", "020 7946 0958", "0044 (0)20 79460958"], ["+442079460959"]),
        ("+999123456", ["+999 123 456"], ["+999 123 457"]),
    ],
)  # fmt: skip
def test_a_number_is_found_in_the_spellings_that_people_use(
    number: str, found: list[str], not_found: list[str], database_url: str
) -> None:
    written = Whom(number=number).written
    with psycopg.connect(database_url) as connection:

        def is_found(text: str) -> object:
            row = connection.execute("select %s::text ~ %s::text", (text, written)).fetchone()
            return row and row[0]

        assert [text for text in found if not is_found(text)] == []
        assert [text for text in not_found if is_found(text)] == []
