"""`relay diary`, with which the owner changes the diary, and `relay check`, which names every mistake of the files."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from relay.business.diary import MemoryDiary
from relay.business.file import load
from relay.business.owner import Asked, OwnerRefused, carry_out
from relay.cli import main
from relay.phrases import prompts
from relay.server.check import mistakes
from relay.settings import Settings
from relay.settings.shipped import folder
from tests.helpers.business_play import local

BARBER = load(folder("prompts") / "business.barber.toml")
NOW = local("2026-11-24T10:05", BARBER.tz)


async def ask(diary: MemoryDiary, do: str, *rest: str, name: str = "Dana Reed", **more: object) -> str:
    return await carry_out(Asked(do, rest, name=name, **more), BARBER, diary, lambda: NOW)  # type: ignore[arg-type]


async def test_the_list_shows_what_the_owner_has_added_and_moved_and_cancelled() -> None:
    diary = MemoryDiary()
    added = await ask(diary, "add", "haircut", "2026-11-26 14:00", who="Tom", phone="+442079460123", notes="short")
    assert added == "booked apt_1: haircut, Thu 26 Nov 2026 14:00, Tom, Dana Reed"
    listed = await ask(diary, "2026-11-26")
    assert [
        word for word in ("14:00-14:30", "Tom", "Dana Reed", "+442079460123", "short", "apt_1") if word not in listed
    ] == []
    assert await ask(diary, "move", "apt_1", "2026-11-27 10:00") == (
        "moved apt_1: haircut, Fri 27 Nov 2026 10:00, Tom, Dana Reed"
    )
    assert "nothing is booked" in await ask(diary, "2026-11-26")
    assert "apt_1" in await ask(diary, "week")
    assert (await ask(diary, "cancel", "apt_1")).startswith("cancelled apt_1")
    assert "nothing is booked" in await ask(diary, "week")
    assert [(change.by, change.key) for change in diary.store.history] == [("owner", "")] * 3


async def test_the_list_can_be_printed_as_json() -> None:
    diary = MemoryDiary()
    await ask(diary, "add", "haircut", "2026-11-24 14:00")
    await ask(diary, "block", "2026-11-24 16:00", "2026-11-24 17:00", who="Maria", why="dentist")
    shown = json.loads(await ask(diary, "today", as_json=True))
    assert [each["start"] for each in shown["appointments"]] == ["2026-11-24T14:00:00+00:00"]
    assert [(each["with"], each["why"]) for each in shown["blocks"]] == [("Maria", "dentist")]


async def test_a_block_prints_the_appointments_in_its_time_and_prevents_new_appointments() -> None:
    diary = MemoryDiary()
    await ask(diary, "add", "haircut", "2026-11-26 14:00", who="Tom")
    blocked = await ask(diary, "block", "2026-11-26", "2026-11-27", who="tom")
    assert "apt_1 (Thu 26 Nov 2026 14:00)" in blocked
    with pytest.raises(OwnerRefused, match="Tom is not free"):
        await ask(diary, "add", "haircut", "2026-11-27 10:00", who="Tom")
    assert await ask(diary, "unblock", "blk_1") == "unblocked blk_1"
    await ask(diary, "add", "haircut", "2026-11-27 10:00", who="Tom")


async def test_the_option_anyway_allows_a_booking_outside_the_hours_but_never_two_bookings_at_the_same_time() -> None:
    diary = MemoryDiary()
    with pytest.raises(OwnerRefused, match="--anyway"):
        await ask(diary, "add", "haircut", "2026-11-26 20:00", who="Maria")
    await ask(diary, "add", "haircut", "2026-11-26 20:00", who="Maria", anyway=True)
    with pytest.raises(OwnerRefused):
        await ask(diary, "add", "haircut", "2026-11-26 20:10", who="Maria", anyway=True)


@pytest.mark.parametrize(
    "time",
    ["2026-11-24 09:00", "2026-11-24 10:10", "2026-11-26 20:00", "2028-11-24 12:00"],
    ids=["in the past", "too soon", "closed", "too far ahead"],
)
async def test_with_anyway_a_taken_time_is_refused_only_because_it_is_taken(time: str) -> None:
    diary = MemoryDiary()
    await ask(diary, "add", "haircut", time, who="Maria", anyway=True)
    await ask(diary, "add", "haircut", "2026-11-26 14:00", who="Maria")
    for wish in (("add", "haircut", time), ("move", "apt_2", time)):
        with pytest.raises(OwnerRefused) as refused:
            await ask(diary, *wish, who="Maria", anyway=True)
        words = str(refused.value)
        assert "Maria is not free on" in words
        assert "Free then: Tom" in words
        for reason in ("has passed", "ahead", "closed", "--anyway"):
            assert reason not in words
    await ask(diary, "add", "haircut", time, who="Tom", anyway=True)
    with pytest.raises(OwnerRefused, match="is taken"):
        await ask(diary, "add", "haircut", time, anyway=True)


async def test_with_anyway_an_appointment_of_a_person_who_has_left_is_not_moved_and_the_text_says_why() -> None:
    diary = MemoryDiary()
    await ask(diary, "add", "haircut", "2026-11-26 14:00", who="Tom")
    services = tuple(replace(each, people=()) for each in BARBER.services)
    left = replace(BARBER, people=(), services=services)
    with pytest.raises(OwnerRefused, match="Nobody in the business file does this"):
        await carry_out(Asked("move", ("apt_1", "2026-11-24 09:00"), anyway=True), left, diary, lambda: NOW)


@pytest.mark.parametrize(
    ("do", "rest", "words"),
    [
        ("add", ("haircut",), "Allowed is"),
        ("add", ("haircut", "soon"), "like '2026-11-24 19:00'"),
        ("add", ("lawn", "2026-11-26 14:00"), "There are: haircut"),
        ("move", ("apt_9", "2026-11-26 14:00"), "No appointment apt_9"),
        ("cancel", ("apt_9",), "No appointment apt_9"),
        ("block", ("2026-11-26", "2026-11-24"), "not after"),
        ("unblock", ("blk_9",), "no block blk_9"),
        ("yesterday", (), "Allowed is"),
    ],
)
async def test_a_command_that_cannot_be_done_is_answered_with_a_sentence(
    do: str, rest: tuple[str, ...], words: str
) -> None:
    with pytest.raises(OwnerRefused, match=words):
        await ask(MemoryDiary(), do, *rest)


async def test_the_error_for_a_booking_without_a_name_or_with_a_wrong_phone_number_or_person_names_the_mistake() -> (
    None
):
    for more, words in (
        ({"name": ""}, "--name is missing"),
        ({"phone": "12"}, "--phone"),
        ({"who": "Zoe"}, "Nobody called Zoe"),
    ):
        with pytest.raises(OwnerRefused, match=words):
            await ask(MemoryDiary(), "add", "haircut", "2026-11-26 14:00", **more)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, in which the commands run without the environment variables of the tester."""
    monkeypatch.chdir(tmp_path)
    for name in ("BUSINESS_API_BASE", "BUSINESS_FILE", "FUNCTIONS", "DATABASE_URL", "DATA_DIR", "RECORD"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def test_check_names_the_mistakes_of_settings_and_files_together(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "mine.toml").write_text('name = "Mine"\n[hours]\nmon = "9-5"\n')
    for name, value in {"BUSINESS_FILE": "mine.toml", "PORT": "many", "FUNCTIONS": "nowhere.at.all"}.items():
        monkeypatch.setenv(name, value)
    assert main(["check"]) == 2
    told = capsys.readouterr().err
    for words in ("PORT must be", "OPENAI_API_KEY is not set", "mine.toml, line 3: hours.mon", "timezone is missing",
                  "nowhere.at.all cannot be imported"):  # fmt: skip
        assert words in told


def test_check_says_that_everything_is_right_if_there_is_no_mistake(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in {
        "OPENAI_API_KEY": "sk-x", "TWILIO_ACCOUNT_SID": "AC" + "0" * 32, "TWILIO_AUTH_TOKEN": "t",
        "TWILIO_PHONE_NUMBER": "+12125550100", "HUMAN_TRANSFER_NUMBER": "+12125550102",
        "PUBLIC_URL": "https://relay.example.com", "DATABASE_URL": "postgresql://u:p@db/relay",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    assert main(["check"]) == 0, capsys.readouterr().err
    assert "everything is right" in capsys.readouterr().out
    (here / "shop_functions.py").write_text(
        "from relay.functions import CallContext, function\n\n\n@function()\n"
        'async def dish_left(call: CallContext) -> dict[str, object]:\n    """Whether it is left."""\n    return {}\n'
    )
    monkeypatch.syspath_prepend(here)
    monkeypatch.setenv("FUNCTIONS", "shop_functions")
    assert main(["check"]) == 0, capsys.readouterr().err
    assert "functions of yours: dish_left" in capsys.readouterr().out


def test_check_says_that_the_day_and_the_number_must_stand_at_the_end_of_the_prompt(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = here / "prompts"
    shutil.copytree(folder("prompts"), mine)
    monkeypatch.setattr(prompts, "PROMPTS_DIR", mine)
    assert not any("first half" in line for line in mistakes(Settings, {})[1])
    text = (mine / "system.md").read_text()
    (mine / "system.md").write_text("Today is {TODAY}. The caller's number is {CALLER}.\n" + text)
    wrong, told = mistakes(Settings, {})
    assert wrong == []
    assert any("prompts/system.md names {TODAY} and {CALLER} in its first half" in line for line in told)


@pytest.mark.real
def test_the_diary_command_stores_appointments_in_postgres(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], database_url: str
) -> None:
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("BUSINESS_FILE", str(folder("prompts") / "business.barber.toml"))
    add = ["diary", "add", "haircut", "2099-11-26 14:00", "--name", "Dana Reed", "--with", "Tom"]
    assert main(add) == 1
    assert "days ahead" in capsys.readouterr().err
    assert main([*add, "--anyway"]) == 0
    assert main(["diary", "2099-11-26", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out.split("\n", 1)[1])
    assert [each["name"] for each in shown["appointments"]] == ["Dana Reed"]
    monkeypatch.setenv("BUSINESS_API_BASE", "https://business.example.com")
    assert main(["diary"]) == 2
