"""The callers and the model of bench.turns. The callers speak and listen. The model has a VAD.

A caller's wait begins when the last loud frame of a turn was sent, and ends when the first frame of the answer is
played. An answer that is played before that last loud frame is a false cut. The model's first delta comes 300 to 700 ms
after the request. Then deltas come five times as fast as real time.

Each relay gets the same turns. The words of a turn and its pauses depend only on the run, the caller and the number of
the turn. So does the delay of the model's answer, but it is another one if the relay asks before the end of the turn.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pybase64

import dsp
from bench.turns.sounds import FRAME_MS, Say, turns
from relay.standin.load import audio
from relay.standin.load.caller import _HEAD, Caller
from relay.standin.load.generator import Load
from relay.standin.load.loop import clock
from relay.standin.load.model import Session, _Answer
from relay.standin.load.stage import Stage
from relay.standin.model.vad import Started, Vad

FIRST_DELTA_S = (0.300, 0.700)
ANSWER_DELTAS = 4  # 1 s of audio
TRANSCRIBED_AFTER_S = 1.2
# The `silence_duration_ms` of the VAD if the session does not set it. 500 is the documented default. In captures the
# default is 200 ms (docs/protocol/openai.md 2.1).
SILENCE_MS = 500
FIRST_TURN_S = 7.0
REST_S = (0.5, 1.2)  # the seconds between an answer and the next turn
NO_ANSWER_S = 6.0
SOUND_DBFS = -50.0


@dataclass(slots=True)
class Turn:
    """One turn as its caller experienced it."""

    caller: int
    number: int  # the first turn of the caller has the number 1
    pause_ms: int
    wait_ms: float | None = None  # from the caller's last sound to the answer; None means that no answer came
    was_cut: bool = False

    @property
    def key(self) -> tuple[int, int]:
        """The name of a turn within its round. It is the same for all relays."""
        return self.caller, self.number


@dataclass(slots=True)
class Found:
    """The figures of a run."""

    turns: list[Turn] = field(default_factory=list)
    asked: int = 0
    cancelled: int = 0
    refused: int = 0  # requests that came while another response was active


class Speaker(Caller):
    """A caller who says clips and waits for the answer to each."""

    _saying: Say | None = None
    _at = 0
    _turn: Turn | None = None
    _spoke_at = 0.0  # when the last loud frame of the turn was sent; 0 while the turn runs
    _next_at = 0.0
    _turns = 0

    @property
    def delay_s(self) -> float:
        """The delay of the model's answer. An answer in a pause has another delay than the answer after the turn."""
        place = "end" if self._spoke_at else "pause"
        return random.Random(f"{self._load.run_id}/{self.number}/{self._turns}/{place}").uniform(*FIRST_DELTA_S)

    def _frame(self) -> None:
        if not self.is_streaming:
            return
        now, number = clock(), self._sent
        self._sent = number + 1
        due = self.began + number * FRAME_MS / 1000
        self._load.window.lateness(now - due)
        payload = self._payload(now)
        tail = payload + b'"},"streamSid":"%b"}' % self._stream_sid.encode()
        self._send(_HEAD % (number + 2, number + 1, 100 + number * 20) + tail)
        marks = self._marks
        while marks and marks[0][0] <= now:
            self._return_mark(marks.popleft()[1])
        self._load.loop.at(due + FRAME_MS / 1000, self._frame)

    def _payload(self, now: float) -> bytes:
        load = self._load
        assert isinstance(load, TurnsLoad)
        if self._saying is None:
            self._next_at = self._next_at or self.began + FIRST_TURN_S + self.number * 0.17
            if load.is_on and now >= self._next_at and self.hears_for_s(now) == 0.0:
                self._saying, self._at = next(load.sayings[self.number]), 0
                self._turns += 1
                self._turn, self._spoke_at = Turn(self.number, self._turns, self._saying.pause_ms), 0.0
            else:
                return audio.QUIET
        if self._at < len(self._saying.frames):
            frame = self._saying.frames[self._at]
            if self._at == self._saying.last_loud:
                self._spoke_at = now + FRAME_MS / 1000  # the frame's audio ends then
            self._at += 1
            return pybase64.b64encode(frame)
        self._wait(now)
        return audio.QUIET

    def _wait(self, now: float) -> None:
        load, turn = self._load, self._turn
        assert isinstance(load, TurnsLoad)
        if turn is None:
            return
        if (turn.wait_ms is not None and self.hears_for_s(now) == 0.0) or now - self._spoke_at > NO_ANSWER_S:
            load.found.turns.append(turn)
            self._saying, self._turn = None, None
            rest_s = random.Random(f"{load.run_id}/{self.number}/{self._turns}/rest").uniform(*REST_S)
            self._next_at = now + rest_s

    def _play(self, payload: bytes, now: float) -> None:
        turn, at = self._turn, max(now, self._play_end)
        super()._play(payload, now)
        if turn is None or turn.wait_ms is not None or self._at == 0:
            return
        if dsp.level_dbfs(pybase64.b64decode(payload)[:160]) < SOUND_DBFS:
            return
        if not self._spoke_at:
            turn.was_cut = True
        else:
            turn.wait_ms = (at - self._spoke_at) * 1000


class ListeningSession(Session):
    """A model session with a VAD that obeys `silence_duration_ms`."""

    def __init__(self, load: Stage, link: Any) -> None:
        super().__init__(load, link)
        assert isinstance(load, TurnsLoad)
        self._turns_load = load
        self._vad: Vad | None = None
        self._item_id = ""
        self._answer_now: TurnAnswer | None = None
        self._interrupts = True

    def begin_turns(self, caller: Any) -> None:
        """Do nothing, because the caller begins its turns by itself."""

    def _configure(self, session: dict[str, Any]) -> None:
        super()._configure(session)
        heard = (session.get("audio") or {}).get("input") or {}
        detection = heard.get("turn_detection") or session.get("turn_detection") or {}
        self._interrupts = detection.get("interrupt_response", True)
        silence_ms = detection.get("silence_duration_ms") or SILENCE_MS
        self._vad = Vad(8_000 if self._in_kind == "audio/pcmu" else 24_000, silence_ms=silence_ms)

    def _on_message(self, raw: bytes) -> None:
        if b'"response.cancel"' in raw[:200]:
            if self._answer_now is not None:
                self._answer_now.cancel("client_cancelled")
            return
        super()._on_message(raw)

    def _hear(self, raw: bytes) -> None:
        if self.caller is None or self._vad is None:
            return
        begin = raw.find(b'"', raw.find(b'"audio"') + 7) + 1
        data = pybase64.b64decode(raw[begin : raw.find(b'"', begin)])
        samples = dsp.decode(data) if self._in_kind == "audio/pcmu" else np.frombuffer(data, "<i2")
        for event in self._vad.feed(samples):
            if isinstance(event, Started):
                self._item_id = self._id("item")
                self._tell(
                    "input_audio_buffer.speech_started", item_id=self._item_id, audio_start_ms=event.audio_start_ms
                )
                if self._interrupts and self._answer_now is not None:
                    self._answer_now.cancel("turn_detected")
            else:
                self._stopped(self._item_id, event.audio_end_ms)

    def _stopped(self, item_id: str, end_ms: int) -> None:
        self._tell("input_audio_buffer.speech_stopped", item_id=item_id, audio_end_ms=end_ms)
        self._tell("input_audio_buffer.committed", item_id=item_id, previous_item_id=None)
        content = [{"type": "input_audio", "transcript": None}]
        item = {"id": item_id, "type": "message", "role": "user", "status": "completed", "content": content}
        self._tell("conversation.item.added", previous_item_id=None, item=item)
        self._load.loop.at(clock() + TRANSCRIBED_AFTER_S, lambda: self._transcribed(item_id))
        if self._answers_itself:
            self._answer({})

    def _answer(self, wanted: dict[str, Any]) -> None:
        if self.caller is None or "instructions" in wanted:  # the relay asks for a phrase or the greeting
            super()._answer(wanted)
            return
        found = self._turns_load.found
        found.asked += 1
        if self._is_answering:
            found.refused += 1
        else:
            self._is_answering = True
            assert isinstance(self.caller, Speaker)
            self._answer_now = TurnAnswer(self, self._load, wanted.get("metadata"), self.caller.delay_s)


class TurnAnswer(_Answer):
    """An answer whose first delta comes after a delay. It can be cancelled."""

    def __init__(self, session: ListeningSession, load: Stage, metadata: object, first_s: float) -> None:
        self._first_s = first_s
        self._mine, self._is_cancelled, self._began = session, False, False
        super().__init__(session, load, metadata, "")
        self._left = ANSWER_DELTAS

    def _delta(self, *, first: bool = False) -> None:
        if self._is_cancelled:
            return
        if first and not self._began:
            self._began = True
            self._load.loop.at(clock() + self._first_s, self._delta)
            return
        super()._delta()

    def _end(self) -> None:
        super()._end()
        self._mine._answer_now = None

    def cancel(self, reason: str) -> None:
        """Send no more audio of this answer, and its response.done."""
        self._is_cancelled, self._mine._answer_now, self._mine._is_answering = True, None, False
        self._mine._turns_load.found.cancelled += 1
        details = {"type": "cancelled", "reason": reason}
        self._mine._tell("response.done", response=self._response("cancelled", status_details=details))


class TurnsLoad(Load):
    """Callers who begin their turns at their own pace."""

    caller_class = Speaker
    session_class = ListeningSession

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.found, self.is_on = Found(), False
        self.sayings = {number: turns(f"{self.run_id}/{number}") for number in range(1, 200)}
