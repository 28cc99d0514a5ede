"""A real Chromium with a fake microphone calls the relay: it asks, interrupts the answer, and says goodbye."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import psycopg
import pytest
from scipy.io import wavfile
from scipy.signal import resample_poly
from selenium.webdriver.common.by import By

import dsp
from relay.standin.speech.clip_recogniser import ClipRecogniser
from relay.standin.speech.voice import clips
from tests.helpers.chromium import (
    be_a_phone,
    be_of_scheme,
    check_fits_and_is_named,
    chromium,
    troubles_for_screen_readers,
    wait,
)
from tests.helpers.server_process import ROOT, serving

pytestmark = [pytest.mark.browser, pytest.mark.real]
TAPE = (ROOT / "tests" / "helpers" / "tape.js").read_text()
# The only warning that the browser may log. The recorder of this test causes it, and not the page.
TAPES_OWN = ("ScriptProcessorNode is deprecated",)
CHUNK = 4096  # the tape records this many samples at once
LOUD = 500  # an int16 peak; the silence of clips is zero
CALL_LIMIT_S = 100


@pytest.fixture(scope="module")
def address(database_of_the_file: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A relay with a stand-in model, in a process of its own, started once."""
    with serving("talk_server", database_of_the_file, tmp_path_factory.mktemp("talk")) as server:
        yield server.address


def speak(path: Path, *parts: str | float) -> Path:
    """A WAV file at 48 kHz. A string is a clip, and a number is that many seconds of silence."""
    sound = [
        resample_poly(dsp.decode(clips()[part].mulaw).astype(np.float64), 6, 1)
        if isinstance(part, str)
        else np.zeros(round(part * 48_000))
        for part in parts
    ]
    wavfile.write(path, 48_000, np.concatenate(sound).clip(-32_768, 32_767).astype(np.int16))
    return path


def _clock(times: list[float], samples: int) -> npt.NDArray[np.float64]:
    """The browser's time of each sample, in ms. It is computed from the times at which chunks were reported."""
    begun = min(at - (number + 1) * samples / 8 for number, at in enumerate(times))
    return begun + np.arange(len(times) * samples) / 8


@dataclass
class Tape:
    """The audio that the page played and sent. Each sample has the browser's time."""

    played: npt.NDArray[np.int16]
    played_at: npt.NDArray[np.float64]  # the time of each sample, in ms
    sent: npt.NDArray[np.int16]
    sent_at: npt.NDArray[np.float64]

    @classmethod
    def of(cls, browser: Any) -> Tape:
        # The tape records CHUNK samples at once (512 ms). The end of the call is in a chunk that is not complete yet.
        chunks = browser.execute_script("return tape.chunks.length")
        wait(browser, lambda: browser.execute_script("return tape.chunks.length") >= chunks + 2)
        told = browser.execute_script("return [tape.played(), tape.sent]")
        played = np.frombuffer(base64.b64decode(told[0]["pcm"]), np.int16)
        frames = [dsp.decode(base64.b64decode(mulaw)) for _, _, mulaw in told[1]]
        return cls(
            played,
            _clock(told[0]["times"], CHUNK),
            np.concatenate(frames),
            _clock([at for at, _, _ in told[1]], 160),
        )

    def answers(self) -> list[tuple[str, float, float]]:
        """The agent's sentences: the clip, its beginning and its end, in ms of the browser's clock."""
        return self._found(("agent",), self.played, self.played_at)

    def said(self) -> list[tuple[str, float, float]]:
        """The caller's sentences, as the page sent them."""
        return self._found(("caller",), self.sent, self.sent_at)

    @staticmethod
    def _found(
        speakers: tuple[str, ...], sound: npt.NDArray[np.int16], at: npt.NDArray[np.float64]
    ) -> list[tuple[str, float, float]]:
        spoken = []
        for heard in ClipRecogniser(speakers).hear(sound, 8000):
            first, last = heard.start_ms * 8, min(heard.start_ms * 8 + len(heard.clip.mulaw), len(sound)) - 1
            loud = np.flatnonzero(np.abs(sound[first : last + 1]) > LOUD)
            spoken.append((heard.clip.id, float(at[first + loud[0]]), float(at[first + loud[-1]])))
        return spoken

    def first_sound_after(self, ms: float) -> float:
        """The time of the first sound after this time, in ms."""
        later = self.played_at > ms
        return float(self.played_at[later][np.flatnonzero(np.abs(self.played[later]) > LOUD)[0]])

    def last_sound_before(self, ms: float) -> float:
        """The time of the last sound before this time, in ms."""
        before = self.played_at < ms
        return float(self.played_at[before][np.flatnonzero(np.abs(self.played[before]) > LOUD)[-1]])


FAKE_DEVICE = "--use-fake-device-for-media-stream"


def with_microphone(wav: Path) -> tuple[str, ...]:
    """The flags of a browser whose microphone plays this file once, beginning when it is opened."""
    return ("--use-fake-ui-for-media-stream", FAKE_DEVICE, f"--use-file-for-fake-audio-capture={wav}%noloop")


@contextmanager
def page(address: str, *flags: str) -> Iterator[Any]:
    with chromium(*flags, may_say=TAPES_OWN) as browser:
        browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": TAPE})
        browser.get(f"{address}/console/talk")
        yield browser


def state(browser: Any) -> str:
    return str(browser.find_element(By.ID, "state").text)


def told(browser: Any) -> str:
    return str(browser.find_element(By.ID, "told").text)


def call(browser: Any) -> None:
    browser.find_element(By.ID, "begin").click()
    wait(browser, lambda: browser.find_element(By.ID, "end").is_displayed())


def until_over(browser: Any) -> None:
    wait(browser, lambda: state(browser) == "No call is running." and told(browser), CALL_LIMIT_S)


@pytest.mark.sound
def test_a_question_is_answered_and_an_interruption_stops_the_answer_and_a_goodbye_ends_the_call(
    address: str, database_of_the_file: str, tmp_path: Path
) -> None:
    # The browser raises the level of the microphone during the first sentence. So the stand-in does not understand that
    # sentence, and the test says one more before the real question.
    wav = speak(tmp_path / "mic.wav", 10.0, "off_topic", 7.0, "ask_hours", 6.0, "oh_wait", 6.0, "bye", 8.0, "bye", 60.0)
    with page(address, *with_microphone(wav)) as browser:
        call(browser)
        until_over(browser)
        assert told(browser).startswith("The agent said goodbye.")
        tape = Tape.of(browser)
        browser.find_element(By.LINK_TEXT, "Read the call").click()
        wait(browser, lambda: browser.title.startswith("Call "))
        assert browser.find_element(By.CSS_SELECTOR, "h1 .tag").text == "test"
        call_sid = str(browser.current_url).rsplit("/", 1)[-1]
    said = {clip: (begun, over) for clip, begun, over in tape.said()}
    answers = [clip for clip, _, _ in tape.answers()]
    assert {"ask_hours", "oh_wait", "bye"} <= said.keys()
    assert answers[0] == "greeting"
    # "Oh, wait" has an answer of its own. The browser changes the sound, so the stand-in may ask again instead.
    assert answers[-2] in {"no_problem", "repeat"}
    assert answers[-1] == "goodbye"
    assert "hours" not in answers  # this answer was begun and cut off
    latency_ms = tape.first_sound_after(said["ask_hours"][1]) - said["ask_hours"][1]
    stop_ms = tape.last_sound_before(said["oh_wait"][1] + 400) - said["oh_wait"][0]
    print(f"question's end to the answer's first sound: {latency_ms:.0f} ms; interruption to silence: {stop_ms:.0f} ms")
    with psycopg.connect(database_of_the_file) as connection:
        heard, spoken = connection.execute(
            "select heard, said from transcripts where call_sid = %s and interrupted and said like 'We are open%%'",
            (call_sid,),
        ).fetchone() or ("", "")
        (is_test,) = connection.execute("select is_test from calls where call_sid = %s", (call_sid,)).fetchone() or (
            None,
        )
    assert is_test is True
    assert 0 < len(heard) < len(spoken) - 40


def test_without_a_microphone_the_caller_can_use_the_buttons(address: str) -> None:
    with page(address, FAKE_DEVICE) as browser:
        setting = {"permission": {"name": "microphone"}, "setting": "denied", "origin": address}
        browser.execute_cdp_cmd("Browser.setPermission", setting)
        call(browser)
        assert "was not allowed to use the microphone" in told(browser)
        assert "You can still use the sentences below." in told(browser)
        for button in ("Ask for the hours", "Interrupt it", "Ask for a person"):
            wait(browser, lambda: state(browser) == "The agent speaks.", CALL_LIMIT_S)
            if button != "Interrupt it":
                wait(browser, lambda: state(browser) == "The agent listens.", CALL_LIMIT_S)
            found = browser.find_element(By.XPATH, f"//button[text()='{button}']")
            wait(browser, found.is_enabled)
            found.click()
        until_over(browser)
        assert "A caller would be put through now: the phone … 0102 would ring." in told(browser)
        assert [clip for clip, _, _ in Tape.of(browser).said()] == ["ask_hours", "oh_wait", "ask_human"]


def test_hang_up_ends_the_call_and_another_call_can_be_made(address: str, tmp_path: Path) -> None:
    with page(address, *with_microphone(speak(tmp_path / "mic.wav", 60.0))) as browser:
        for _ in range(2):
            call(browser)
            wait(browser, lambda: state(browser) == "The agent speaks.")
            browser.find_element(By.ID, "end").click()
            until_over(browser)
            assert told(browser).startswith("You hung up.")


def test_a_page_that_came_over_http_says_why_no_call_is_possible(address: str) -> None:
    with page(address) as browser:
        browser.execute_script("Object.defineProperty(window, 'isSecureContext', { get: () => false })")
        browser.find_element(By.ID, "begin").click()
        wait(browser, lambda: "only over https, or from this machine itself" in told(browser))
        assert state(browser) == "No call is running."


def test_when_the_relay_refuses_the_call_the_page_says_why(address: str, tmp_path: Path) -> None:
    with page(address, *with_microphone(speak(tmp_path / "mic.wav", 5.0))) as browser:
        number = browser.find_element(By.NAME, "number")
        number.clear()
        number.send_keys("12")
        browser.find_element(By.ID, "begin").click()
        wait(browser, lambda: told(browser).startswith("12 is not a phone number."))
        assert state(browser) == "No call is running."


def test_the_page_fits_the_screen_of_a_phone_and_works_with_a_screen_reader_in_both_colour_schemes(
    address: str, axe: str
) -> None:
    with page(address) as browser:
        for scheme in ("light", "dark"):
            be_of_scheme(browser, scheme)
            browser.get(f"{address}/console/talk")
            browser.find_element(By.TAG_NAME, "summary").click()
            assert not browser.find_element(By.ID, "end").is_displayed()
            assert troubles_for_screen_readers(browser, axe) == [], scheme
        be_a_phone(browser)
        browser.get(f"{address}/console/talk")
        check_fits_and_is_named(browser)
