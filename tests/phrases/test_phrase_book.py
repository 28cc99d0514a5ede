"""The phrase book: phrases are rendered once, checked, kept on disk and in Postgres, and found again by a hash."""

from __future__ import annotations

import dataclasses
import datetime as dt
from pathlib import Path

import numpy as np
import pytest
import structlog.testing
import trio
from trio.testing import MockClock

import dsp
from relay import settings
from relay.ledger.memory import MemoryLedger
from relay.phrases import phrase_book as phrase_book_module
from relay.phrases import prompts
from relay.phrases.phrase_book import NotRendered, PhraseBook, Rendered, by_model, check, key_of, trimmed
from relay.phrases.prompts import Prompts
from relay.realtime.client import ModelAccess
from relay.standin.model.script import Faults, Script
from relay.standin.speech.voice import Voice
from tests.helpers.model_door import MODEL, ModelDoor

VOICE = "marin"
QUICK = Script(first_delta_ms=(10, 10), pace=50.0)


def texts(record: str = "transcripts") -> Prompts:
    """The shipped texts with only two of the phrases. So the book has five texts: these two, the question of the
    greeting, and its opening with and without the notice.
    """
    names = {"BUSINESS_NAME": "Harbor Table", "AGENT_NAME": "Robin", "RECORD": record}
    loaded = prompts.load(settings.load(names, serving=False))
    return dataclasses.replace(loaded, phrases={key: loaded.phrases[key] for key in ("goodbye", "emergency")})


class Shelf:
    """A relay's folder and database, and books that use them."""

    def __init__(self, folder: Path, ledger: MemoryLedger | None = None) -> None:
        self.folder = folder
        self.ledger = ledger or MemoryLedger()

    def book(self, which: Prompts | None = None, voice: str = VOICE, model: str = MODEL) -> PhraseBook:
        return PhraseBook(which or texts(), voice, model, self.folder, self.ledger)


async def filled(book: PhraseBook, script: Script = QUICK, *, again: bool = False) -> tuple[dict[str, str], int]:
    """Fill the book. Return what is missing and why, and how many sessions were opened."""
    async with trio.open_nursery() as nursery:
        door = ModelDoor(nursery, script)
        missing = await book.fill(by_model(door.realtime, MODEL), again=again)
        assert door.open_ends == 0
        nursery.cancel_scope.cancel()
    return missing, len(door.urls)


async def test_everything_is_rendered_once_and_found_again_on_disk(autojump_clock: MockClock, tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    first = shelf.book()
    assert not first.greeting(True).is_kept
    assert await filled(first) == ({}, len(first.texts()))
    assert first.greeting(True).is_kept
    assert first.complete.is_set()
    shelf.ledger.away = True
    second = shelf.book()
    assert await filled(second) == ({}, 0)
    assert second.greeting(True) == first.greeting(True)


async def test_another_machine_gets_the_phrases_from_postgres(autojump_clock: MockClock, tmp_path: Path) -> None:
    here, there = Shelf(tmp_path / "a"), Shelf(tmp_path / "b")
    there.ledger = here.ledger
    rendered = here.book()
    await filled(rendered)
    fetched = there.book()
    assert await filled(fetched) == ({}, 0)
    assert fetched.greeting(True) == rendered.greeting(True)
    assert len(list(there.folder.iterdir())) == len(fetched.texts())  # they are also on its own disk now


async def test_with_the_option_again_phrases_that_are_already_stored_are_rendered_too(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    shelf = Shelf(tmp_path)
    await filled(shelf.book())
    book = shelf.book()
    assert await filled(book, again=True) == ({}, len(book.texts()))


@pytest.mark.parametrize("damage", ["flipped", "cut", "empty", "foreign"])
async def test_a_broken_file_is_refused_and_rendered_again(
    autojump_clock: MockClock, tmp_path: Path, damage: str
) -> None:
    shelf = Shelf(tmp_path)
    await filled(shelf.book())
    shelf.ledger.greetings.clear()
    opening = texts().greeting(True)[0]
    path = tmp_path / f"{key_of(opening, VOICE, MODEL)}.phrase"
    content = path.read_bytes()
    broken = {
        "flipped": content[:5000] + bytes([content[5000] ^ 1]) + content[5001:],
        "cut": content[:-160],
        "empty": b"",
        "foreign": b"\xff" * 16_000,
    }[damage]
    path.write_bytes(broken)
    book = shelf.book()
    assert await filled(book) == ({}, 1)
    assert path.read_bytes() == content
    assert book.greeting(True).is_kept


async def test_a_broken_row_in_postgres_is_refused_and_rendered_again(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    here, there = Shelf(tmp_path / "a"), Shelf(tmp_path / "b")
    there.ledger = here.ledger
    await filled(here.book())
    key = key_of(texts().greeting(True)[0], VOICE, MODEL)
    row = here.ledger.greetings[key]
    here.ledger.greetings[key] = dataclasses.replace(row, mulaw=row.mulaw[:800], ms=100)
    assert await filled(there.book()) == ({}, 1)
    assert there.ledger.greetings[key].mulaw == row.mulaw


async def test_the_row_in_postgres_describes_its_phrase(autojump_clock: MockClock, tmp_path: Path) -> None:
    shelf = Shelf(tmp_path)
    book = shelf.book()
    await filled(book)
    kept = book.greeting(True).opening
    row = shelf.ledger.greetings[key_of(kept.text, VOICE, MODEL)]
    assert (row.text, row.transcript, row.mulaw, row.voice, row.model) == (
        kept.text, kept.text, kept.mulaw, VOICE, MODEL,
    )  # fmt: skip
    assert row.ms == len(row.mulaw) // 8
    assert -40 < row.loudness_dbfs < -10
    assert row.created_at.tzinfo is dt.UTC


def test_everything_that_changes_the_audio_of_a_phrase_changes_its_key(monkeypatch: pytest.MonkeyPatch) -> None:
    told = texts().greeting(True)[0]
    recorded = texts("on").greeting(True)[0]  # this one has another notice
    keys = {key_of(told, VOICE, MODEL), key_of(recorded, VOICE, MODEL), key_of(told, "cedar", MODEL)}
    keys |= {key_of(told, VOICE, "gpt-realtime-2.1"), key_of(told + " Really.", VOICE, MODEL)}
    keys.add(key_of(told, VOICE, MODEL, "127.0.0.1/v1/realtime"))
    monkeypatch.setattr(phrase_book_module, "_STYLE", "You shout.")
    keys.add(key_of(told, VOICE, MODEL))
    assert len(keys) == 7
    assert all(len(key) == 64 for key in keys)


@pytest.mark.parametrize(
    ("url", "service"),
    [
        ("wss://api.openai.com/v1/realtime", "api.openai.com/v1/realtime"),
        ("wss://Api.OpenAI.com:8443/v1/realtime?a=1", "api.openai.com:8443/v1/realtime?a=1"),
        ("ws://127.0.0.1:41234/v1/realtime", "127.0.0.1/v1/realtime"),
        ("ws://[::1]:9/v1/realtime", "::1/v1/realtime"),
    ],
)
def test_a_local_service_has_the_same_key_at_each_port(url: str, service: str) -> None:
    assert ModelAccess(url, "sk", VOICE, "t").service == service


async def test_audio_from_a_stand_in_is_not_used_as_the_agents_own_voice(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    ledger = MemoryLedger()
    rehearsed = PhraseBook(texts(), VOICE, MODEL, tmp_path, ledger, rendered_by="127.0.0.1/v1/realtime")
    assert await filled(rehearsed) == ({}, 5)
    assert (await filled(PhraseBook(texts(), VOICE, MODEL, tmp_path, ledger, rendered_by="api.openai.com")))[1] == 5
    again = PhraseBook(texts(), VOICE, MODEL, tmp_path, ledger, rendered_by="127.0.0.1/v1/realtime")
    assert await filled(again) == ({}, 0)


@pytest.mark.parametrize(
    ("change", "rendered"),
    [({"voice": "cedar"}, "all"), ({"model": "gpt-realtime-2.1"}, "all"), ({"which": texts("on")}, "one")],
)
async def test_after_a_change_only_the_changed_texts_are_rendered(
    autojump_clock: MockClock, tmp_path: Path, change: dict[str, str], rendered: str
) -> None:
    shelf = Shelf(tmp_path)
    await filled(shelf.book())
    book = shelf.book(**change)  # type: ignore[arg-type] # a voice, a model, or other prompts
    missing, sessions = await filled(book)
    assert missing == {}
    assert sessions == (len(book.texts()) if rendered == "all" else 1)


async def test_without_a_folder_and_without_postgres_the_phrases_are_kept_in_memory(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    shelf = Shelf(tmp_path / "a file")
    shelf.folder.write_text("in the way")
    shelf.ledger.away = True
    book = shelf.book()
    assert (await filled(book))[0] == {}
    assert book.greeting(True).is_kept


# Rendered audio is checked


def spoken(text: str) -> Rendered:
    sound = Voice().say(text)
    return Rendered(sound + b"\xff" * (-len(sound) % 160), text)


def louder(mulaw: bytes, gain: float) -> bytes:
    return dsp.encode((dsp.decode(mulaw).astype(np.float64) * gain).clip(-32768, 32767).astype(np.int16))


def test_the_same_sentence_with_other_punctuation_is_accepted() -> None:
    text = "I'll hang up now. Goodbye, and thank you for calling."
    for transcript in (text, text.lower(), text.replace(",", " –"), text.replace("'", "’")):
        check(dataclasses.replace(spoken(text), transcript=transcript), text)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"transcript": "Goodbye, and thanks for calling."}, "other words"),
        ({"transcript": ""}, "other words"),
        ({"mulaw": b""}, "0 ms of sound"),
        ({"mulaw": spoken("Goodbye, and thank you for calling.").mulaw[:4_000]}, "500 ms of sound"),
        ({"mulaw": spoken("Goodbye, and thank you for calling.").mulaw * 5}, "cannot be a sentence"),
        ({"mulaw": b"\xff" * 24_000}, "its loudness is -100 dBFS"),
        ({"mulaw": louder(spoken("Goodbye, and thank you for calling.").mulaw, 0.005)}, "its loudness is"),
        ({"mulaw": b"\x80\x00" * 12_000}, "its loudness is"),
    ],
)
def test_audio_of_another_sentence_is_refused_with_a_reason(change: dict[str, object], words: str) -> None:
    text = "Goodbye, and thank you for calling."
    check(spoken(text), text)
    with pytest.raises(NotRendered, match=words):
        check(dataclasses.replace(spoken(text), **change), text)  # type: ignore[arg-type] # a sound or a transcript


@pytest.mark.parametrize("silence_ms", [0, 30, 75, 341, 900])
def test_silence_before_the_first_sound_is_cut_to_40_ms(silence_ms: int) -> None:
    sound = dsp.encode((12_000 * np.sin(np.arange(8_000) / 3)).astype(np.int16))
    cut = trimmed(b"\xff" * (8 * silence_ms) + sound)
    lead_ms = next(i for i, byte in enumerate(cut) if byte not in (0x7F, 0xFF)) / 8
    assert lead_ms <= min(silence_ms, 40) + 10
    assert len(cut) % 160 == 0
    assert sound in cut


FAULTS = [
    (Faults(connect_refused=True), "no connection"),
    (Faults(connect_error="invalid_api_key"), "invalid_api_key"),
    (Faults(silent_after_connect=True), "not configured within"),
    (Faults(refuse_update=True), "the model refused"),
    (Faults(response_failed="server_error"), "the model ended with failed"),
    (Faults(empty_response=True), "other words"),
    (Faults(stall_after_deltas=2), "nothing complete within 30 s"),
    (Faults(close_after_deltas=2, close_code=1011), "the model closed the session: 1011"),
    (Faults(close_after_deltas=1, close_code=1006), "the model closed the session"),
    (Faults(wrong_format=True), "audio is"),
]


@pytest.mark.parametrize(("faults", "words"), FAULTS, ids=[words for _, words in FAULTS])
async def test_if_the_model_fails_no_file_is_written_and_the_missing_phrases_are_reported(
    autojump_clock: MockClock, tmp_path: Path, faults: Faults, words: str
) -> None:
    shelf = Shelf(tmp_path / "greetings")
    book = shelf.book()
    missing, _ = await filled(book, dataclasses.replace(QUICK, faults=faults))
    assert set(missing) == set(book.texts())
    assert all(words in each for each in missing.values()), missing
    assert not shelf.folder.exists()
    assert shelf.ledger.greetings == {}
    assert not book.greeting(True).is_kept
    assert book.complete.is_set()


async def test_when_nothing_can_be_rendered_the_reason_is_reported_once_and_not_for_every_phrase(
    autojump_clock: MockClock, tmp_path: Path, nursery: trio.Nursery
) -> None:
    (tmp_path / "file").write_text("no folder")
    shelf = Shelf(tmp_path / "file")
    shelf.ledger.away = True
    door = ModelDoor(nursery, Script(faults=Faults(connect_error="invalid_api_key")))
    with structlog.testing.capture_logs() as lines:
        nursery.start_soon(shelf.book().keep, by_model(door.realtime, MODEL))
        await trio.sleep(1)
        assert lines[0]["event"] == "greeting.not_rendered"
        assert "invalid_api_key" in lines[0]["words"]
        await trio.sleep(30)
        assert [line["event"] for line in lines] == ["greeting.not_rendered", "greeting.missing"]
        assert lines[1]["phrases"] == len(shelf.book().texts())
        nursery.cancel_scope.cancel()


async def test_a_folder_that_cannot_be_made_and_an_unreachable_postgres_are_reported_once(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("no folder")
    shelf = Shelf(tmp_path / "file")
    shelf.ledger.away = True
    with structlog.testing.capture_logs() as lines:
        await filled(shelf.book())
    assert sorted(line["event"] for line in lines) == ["greeting.not_in_postgres", "greeting.not_on_disk"]


async def test_after_one_failure_of_the_model_the_phrase_is_rendered_again(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    faults = Faults(close_after_deltas=1, close_code=1011, connections=4)
    missing, _ = await filled(Shelf(tmp_path).book(), dataclasses.replace(QUICK, faults=faults))
    assert missing == {}


async def test_missing_phrases_are_rendered_later_while_the_relay_runs(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    book = Shelf(tmp_path).book()
    async with trio.open_nursery() as nursery:
        door = ModelDoor(nursery, dataclasses.replace(QUICK, faults=Faults(connect_refused=True)))
        nursery.start_soon(book.keep, by_model(door.realtime, MODEL))
        await trio.sleep(120)
        assert book.complete.is_set()
        assert not book.greeting(True).is_kept
        door.model.script = QUICK
        await trio.sleep(600)
        assert book.greeting(True).is_kept
        asked = len(door.urls)
        await trio.sleep(24 * 3600)
        assert len(door.urls) == asked  # when the phrase is there, no session is opened any more
        nursery.cancel_scope.cancel()


# Greetings that are learned from a call


async def test_a_greeting_from_a_call_is_used_for_the_next_call_and_after_the_next_start(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    shelf = Shelf(tmp_path)
    book = shelf.book()
    whole = book.greeting(True).text
    sound = spoken(whole)
    async with trio.open_nursery() as nursery:
        door = ModelDoor(nursery, dataclasses.replace(QUICK, faults=Faults(connect_refused=True)))
        nursery.start_soon(book.keep, by_model(door.realtime, MODEL))
        await trio.sleep(30)
        assert not book.learn(whole, sound.mulaw, "Hello, how can I help you?")
        assert not book.learn("Something else.", sound.mulaw, "Something else.")
        assert not book.learn(whole, sound.mulaw[:8_000], whole)
        assert book.learn(whole, sound.mulaw, whole)
        assert not book.learn(whole, sound.mulaw, whole)
        learned = book.greeting(True)
        assert learned.is_kept
        assert learned.text == whole
        assert learned.notice == texts().notice
        assert learned.opening.mulaw == trimmed(sound.mulaw)
        assert not book.greeting(False).is_kept  # the book has not learned the greeting without the notice
        await trio.sleep(1)
        nursery.cancel_scope.cancel()
    shelf.ledger.greetings.clear()  # Postgres has no greeting now; the disk has it
    restarted = shelf.book()
    await filled(restarted, dataclasses.replace(QUICK, faults=Faults(connect_refused=True)))
    assert restarted.greeting(True) == learned


async def test_a_greeting_from_a_call_is_also_stored_in_postgres_until_its_parts_are_rendered(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    here, there = Shelf(tmp_path / "a"), Shelf(tmp_path / "b")
    there.ledger = here.ledger
    book = here.book()
    whole = book.greeting(True).text
    async with trio.open_nursery() as nursery:
        door = ModelDoor(nursery, dataclasses.replace(QUICK, faults=Faults(connect_refused=True)))
        nursery.start_soon(book.keep, by_model(door.realtime, MODEL))
        await trio.sleep(30)
        assert book.learn(whole, spoken(whole).mulaw, whole)
        await trio.sleep(1)
        nursery.cancel_scope.cancel()
    other = there.book()
    await filled(other, dataclasses.replace(QUICK, faults=Faults(connect_refused=True)))
    assert other.greeting(True).opening.text == whole
    await filled(other)
    assert (other.greeting(True).opening.text, other.greeting(True).question.text) == texts().greeting(True)


@pytest.mark.parametrize(("country", "words"), [("US", "dial nine one one"), ("GB", "dial the emergency number")])
def test_an_emergency_phrase_that_is_not_rendered_yet_names_the_number_of_the_right_country_or_no_number(
    country: str, words: str, tmp_path: Path
) -> None:
    loaded = prompts.load(settings.load({"BUSINESS_COUNTRY": country}, serving=False))
    phrase = Shelf(tmp_path).book(loaded).phrases()["emergency"]
    assert words in phrase.text
    assert phrase.mulaw


async def test_the_emergency_number_is_rendered_before_calls_are_taken(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    book = Shelf(tmp_path).book(prompts.load(settings.load({"BUSINESS_COUNTRY": "GB"}, serving=False)))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(book.fill, by_model(ModelDoor(nursery, QUICK).realtime, MODEL))
        await book.complete.wait()
        assert "dial nine nine nine" in book.phrases()["emergency"].text
        nursery.cancel_scope.cancel()
