"""Prompts are filled in at start. A mistake in them is reported and not spoken."""

from __future__ import annotations

import datetime as dt
import shutil
from pathlib import Path

import pytest

from relay.phrases import prompts
from relay.phrases.phrase_book import shipped_clip
from relay.settings import Settings, load


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copytree(prompts.PROMPTS_DIR, tmp_path / "prompts")
    return tmp_path / "prompts"


def test_names_are_filled_in_and_the_notice_is_in_the_part_that_cannot_be_interrupted() -> None:
    texts = prompts.load(load({"BUSINESS_NAME": "Harbor Table", "AGENT_NAME": "Ann"}, serving=False))
    opening, question = texts.greeting(announces=True)
    assert "Harbor Table" in opening
    assert "Ann" in opening
    assert "transcribed" in opening
    assert question
    assert "transcribed" not in " ".join(texts.greeting(announces=False))


def test_the_greeting_says_that_the_agent_is_a_virtual_assistant() -> None:
    opening, _ = prompts.load(Settings()).greeting(announces=False)
    assert "virtual assistant" in opening


def test_a_recorded_call_is_announced_as_recorded() -> None:
    opening, _ = prompts.load(load({"RECORD": "on"}, serving=False)).greeting(announces=True)
    assert "recorded" in opening


def test_nothing_is_announced_when_no_words_are_kept() -> None:
    texts = prompts.load(load({"RECORD": "off"}, serving=False))
    assert texts.notice == ""
    assert texts.greeting(announces=True) == texts.greeting(announces=False)


def test_the_instructions_have_the_day_and_the_callers_number() -> None:
    told = prompts.load(Settings()).instructions(dt.date(2026, 11, 23), "+12125550101")
    assert "Monday, November 23, 2026" in told
    assert "+12125550101" in told
    assert "{" not in told


def test_the_instructions_say_that_an_mm_hmm_over_the_agents_words_needs_no_answer() -> None:
    told = prompts.load(Settings()).instructions(dt.date(2026, 11, 24), "").split("# Interruptions")[1].split("#")[0]
    assert "mm-hmm" in told
    assert "go on from there" in told


@pytest.mark.parametrize(
    ("text", "early"),
    [
        ("Today is {TODAY}. The number is {CALLER}." + " A rule." * 20, ["{TODAY}", "{CALLER}"]),
        ("The number is {CALLER}." + " A rule." * 20 + " Today is {TODAY}.", ["{CALLER}"]),
        ("A rule." * 20 + " Today is {TODAY}. The number is {CALLER}.", []),
        ("You are {AGENT_NAME}. Book a table.", []),
    ],
)
def test_a_placeholder_of_the_call_in_the_first_half_of_the_prompt_is_found(
    folder: Path, text: str, early: list[str]
) -> None:
    (folder / "system.md").write_text(text)
    assert prompts.load(Settings(), folder).too_early == early


def test_the_error_for_an_unknown_placeholder_names_it_and_its_file(folder: Path) -> None:
    (folder / "system.md").write_text("You are {AGENT_NAME} of {COMPANY}.")
    with pytest.raises(prompts.PromptsInvalid, match=r"system\.md: \{COMPANY\} is not known"):
        prompts.load(Settings(), folder)


def test_every_mistake_of_all_files_is_named(folder: Path) -> None:
    (folder / "greeting.md").unlink()
    (folder / "phrases.toml").write_text('goodbye = 3\nfoo = "x"')
    (folder / "escalation.toml").write_text("human_words = 3\nwhat = 1")
    with pytest.raises(prompts.PromptsInvalid) as failure:
        prompts.load(Settings(), folder)
    for words in (
        "greeting.md cannot be read",
        "goodbye must be a sentence",
        "foo is not known",
        "human_words must be",
        "what is",
    ):
        assert words in str(failure.value)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("greeting.md", "---\nHow can I help?", "it has no text above ---"),
        ("greeting.md", "Hello.\n---\nHow can I help?\n---\nWell?", "more than one line ---"),
        ("greeting.md", "Hello, this is { AGENT_NAME }.", "a brace that is no placeholder would be read out"),
        ("phrases.toml", "goodbye = ", "phrases.toml: Invalid value"),
        ("phrases.toml", b"\xff", "phrases.toml cannot be read: it is not UTF-8"),
    ],
)
def test_a_text_that_would_be_read_out_by_mistake_is_named_in_one_line(
    name: str, content: str | bytes, words: str, folder: Path
) -> None:
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(prompts.PromptsInvalid) as failure:
        prompts.load(Settings(), folder)
    (line,) = [line for line in str(failure.value).splitlines() if line.startswith("  - ")]
    assert words in line


def test_when_all_phrases_are_missing_the_error_names_each_one(folder: Path) -> None:
    (folder / "phrases.toml").write_text("")
    with pytest.raises(prompts.PromptsInvalid) as failure:
        prompts.load(Settings(), folder)
    assert str(failure.value).count("must be a sentence") >= len(prompts.PHRASES)


def test_a_files_byte_order_mark_is_not_spoken(folder: Path) -> None:
    (folder / "greeting.md").write_text("Hello.\n---\nHow can I help?", "utf-8-sig")
    assert prompts.load(Settings(), folder).greeting(announces=False) == ("Hello.", "How can I help?")


@pytest.mark.parametrize("key", prompts.PHRASES)
def test_every_phrase_has_a_shipped_clip_with_exactly_its_words(key: str) -> None:
    clip = shipped_clip(key)
    assert clip.text == prompts.load(Settings()).phrases[key]
    assert clip.mulaw is not None
    assert len(clip.mulaw) % 160 == 0
    assert len(clip.mulaw) / 8 > 500
