"""Holds what a call knows before it begins: greeting, phrases, limits and rules. All are frozen values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from relay.call.early_governor import Governor
from relay.call.escalation import Rules


@dataclass(frozen=True, slots=True)
class Phrase:
    """A sentence of the relay's own, with its sound. `mulaw` is None if the sound is not rendered yet."""

    text: str
    mulaw: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Greeting:
    """The agent's first words, in two parts: `opening` and `question`.

    An opening with a notice cannot be interrupted. The question of a kept greeting can be interrupted. A live greeting
    is one item, so a notice protects all of it.
    """

    opening: Phrase
    question: Phrase
    # The part of the opening that says that the call is written down or recorded. "" if there is none.
    notice: str = ""

    @property
    def text(self) -> str:
        """All words of the greeting, as the model's conversation gets them."""
        return f"{self.opening.text} {self.question.text}".strip()

    @property
    def announces(self) -> bool:
        """True if the greeting has a notice. No words are stored before the caller has heard it."""
        return bool(self.notice)

    @property
    def is_kept(self) -> bool:
        """True if the sound of every part is stored."""
        return all(part.mulaw is not None for part in (self.opening, self.question) if part.text)


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits at which the relay ends a call: its length in seconds, and its cost in USD.

    After `silence_s` seconds of silence the agent asks whether the caller is there. If the caller stays silent,
    the call ends later.
    """

    call_s: float = 600.0
    silence_s: float = 30.0
    call_usd: float = 2.0


@dataclass(frozen=True, slots=True)
class Price:
    """The price of a model: USD for a million tokens of each kind."""

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
    """The voice that speaks the model's text. `name` is its name on the bill.

    If `name` is "", the model itself speaks.
    """

    name: str = ""
    usd_per_character: float = 0.0


@dataclass(frozen=True, slots=True)
class Bill:
    """What a call has cost: tokens and characters by kind, and USD by model.

    In `usd_by`, the transcription and the voice (`Voice.name`) count as models, too.
    """

    tokens: Mapping[str, int] = field(default_factory=dict)
    usd_by: Mapping[str, float] = field(default_factory=dict)
    # How many early answers were asked for, how many were taken back, and what those that were taken back have cost
    # (tokens, characters, USD). `usd_by` includes these USD.
    early: Mapping[str, float] = field(default_factory=dict)

    @property
    def usd(self) -> float:
        """The whole cost in USD."""
        return sum(self.usd_by.values())


@dataclass(frozen=True, slots=True)
class PastTurn:
    """A turn, a note of the relay's to the model, or a function call, as text for a new model session."""

    role: str  # "user", "assistant", "system", or "function".
    text: str
    name: str = ""
    arguments: str = ""
    function_call_id: str = ""


@dataclass(frozen=True, slots=True)
class Midnight:
    """Midnight at the business. It comes `in_s` seconds after the stream began. `day` is the new date.

    `in_s` is 0 if midnight has passed between the ring and the stream.
    """

    in_s: float
    day: str


@dataclass(frozen=True, slots=True)
class CallPlan:
    """Everything that the machine knows before the stream begins."""

    call_sid: str
    greeting: Greeting
    phrases: dict[str, Phrase]
    limits: Limits
    rules: Rules
    model: str  # The model that the call uses at first.
    model_hard: str  # The stronger model for difficult calls (OPENAI_MODEL_HARD).
    price: Price
    price_hard: Price
    transcription_usd_per_minute: float
    keep_words: bool  # False with RECORD=off: no words are stored.
    answer_early: bool = False  # True if early answers are allowed.
    # For each function, the key of its holding phrase. None: nothing is said before LIMIT_S (liveness.py).
    holding: dict[str, str | None] = field(default_factory=dict)
    voice: Voice = Voice()
    human_available: bool = True  # True if a human is there when the stream begins.
    # The seconds from the stream's beginning until HUMAN_HOURS begin or end. From then on, `human_available` is
    # reversed. None if this does not happen during the call.
    human_changes_s: float | None = None
    midnight: Midnight | None = None
    # The fields from here on come from the earlier streams of this call.
    history: tuple[PastTurn, ...] = ()
    first_seq: int = 0
    bill: Bill = Bill()
    early: Governor = field(default_factory=Governor)  # Is not changed: the stream goes on with a copy.
    misunderstandings: int = 0
    failed_attempts: Mapping[str, int] = field(default_factory=dict)
    offered_human: bool = False
    notice_heard: bool = False
    words_refused: bool = False  # True if the caller has said that their words must not be stored.
    resumed: str | None = None  # Why the caller is back: "no_answer", "lost" and so on. None in the first stream.
