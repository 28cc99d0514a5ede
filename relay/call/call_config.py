"""What a call is told before it begins: its greeting, its phrases, its limits, its rules. All are frozen values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from relay.call.escalation import Rules


@dataclass(frozen=True, slots=True)
class Phrase:
    """A sentence of ours with its sound. `mulaw` is 8 kHz G.711, or None if it is not rendered yet."""

    text: str
    mulaw: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Greeting:
    """The first words. The `opening` cannot be interrupted if it has a notice. The `question` can be interrupted."""

    opening: Phrase
    question: Phrase
    notice: str = ""  # The part of the opening that says that the call is written down or recorded.

    @property
    def text(self) -> str:
        """All words of the greeting. The model is told that the agent said this text."""
        return f"{self.opening.text} {self.question.text}".strip()

    @property
    def announces(self) -> bool:
        """True if the greeting has a notice. The notice must be heard before anything is stored."""
        return bool(self.notice)

    @property
    def is_kept(self) -> bool:
        """True if every part with words has its sound."""
        return all(part.mulaw is not None for part in (self.opening, self.question) if part.text)


@dataclass(frozen=True, slots=True)
class Limits:
    """The four limits of a call: time, silence, dollars, and time without frames."""

    call_s: float = 600.0
    silence_s: float = 30.0
    call_usd: float = 2.0


@dataclass(frozen=True, slots=True)
class Price:
    """The price of a million tokens of each kind, in USD."""

    text_in: float
    text_cached: float
    text_out: float
    audio_in: float
    audio_cached: float
    audio_out: float
    image_in: float = 0.0
    image_cached: float = 0.0


@dataclass(frozen=True, slots=True)
class Voice:
    """The voice that speaks the model's text, by its name on the bill. "" means that the model speaks by itself."""

    name: str = ""
    usd_per_character: float = 0.0


@dataclass(frozen=True, slots=True)
class Bill:
    """The cost of a call: tokens and characters by kind, and USD by model. Transcription counts as a model."""

    tokens: Mapping[str, int] = field(default_factory=dict)
    usd_by: Mapping[str, float] = field(default_factory=dict)
    # The part of `usd_by` that was paid for early answers that were taken back.
    early: Mapping[str, float] = field(default_factory=dict)

    @property
    def usd(self) -> float:
        """The whole cost in USD."""
        return sum(self.usd_by.values())


@dataclass(frozen=True, slots=True)
class PastTurn:
    """A turn or function call from before this stream. A new model session gets it as text."""

    role: str  # "user", "assistant", "system", or "function".
    text: str
    name: str = ""
    arguments: str = ""
    function_call_id: str = ""


@dataclass(frozen=True, slots=True)
class Midnight:
    """The end of the business's day, if it comes during the call: seconds after the stream began, and the new day."""

    in_s: float
    day: str


@dataclass(frozen=True, slots=True)
class CallPlan:
    """Everything that the machine must know before the call begins."""

    call_sid: str
    greeting: Greeting
    phrases: dict[str, Phrase]
    limits: Limits
    rules: Rules
    model: str  # The model that serves the call when the stream begins.
    model_hard: str
    price: Price
    price_hard: Price
    transcription_usd_per_minute: float
    keep_words: bool  # False: RECORD=off, so no words are stored.
    answer_early: bool = False  # True: early answers may be asked for.
    # Function -> its holding phrase. None: nothing is said.
    holding: dict[str, str | None] = field(default_factory=dict)
    voice: Voice = Voice()
    human_available: bool = True  # True if a human is there when the stream begins.
    human_changes_s: float | None = None  # After this time a human comes or goes: `human_available` changes.
    history: tuple[PastTurn, ...] = ()
    first_seq: int = 0
    # From the earlier streams of this call
    bill: Bill = Bill()
    misunderstandings: int = 0
    failed_attempts: Mapping[str, int] = field(default_factory=dict)
    offered_human: bool = False
    notice_heard: bool = False
    midnight: Midnight | None = None
    words_refused: bool = False  # The caller has said that their words must not be kept.
    resumed: str | None = None  # Why the caller is back: "no_answer", "lost" and so on.
