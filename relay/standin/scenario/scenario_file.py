"""The scenario format: a TOML file that says who says what and when, what goes wrong, and what the result must be.

```toml
title = "The caller asks for the hours and hangs up"

[caller]
steps = [
  { listen = true },                                  # until the agent has spoken and has been quiet for 0.9 s
  { say = "Hi, what time do you open tomorrow?" },    # a clip, by its text or its id
  { interrupt_after_ms = 900, say = "oh_wait" },      # 900 ms into the agent's next answer
  { press = "0" },                                    # a key
  { cough = true },
  { mute_s = 2 },                                     # the line sends no frames at all
  { silent_s = 5 },                                   # only wait
  { until = "bridged" },                              # wait for an event of the stand-in Twilio
  { play = "in.wav" },
  { after_ms = 300, hang_up = true },
]

[human]                                               # or [[human]], one for each time somebody is dialled
does = "accepts"                                      # declines hangs_up no_answer busy failed voicemail

[network]
delay_ms = 40

[number]                                              # the TwiML of "primary handler fails": Twilio hosts it
fallback_twiml = "<Response><Dial>+12125550102</Dial></Response>"

[[trouble]]                                           # what goes wrong during the call: see Trouble
does = "socket_cut"
upon = "stream_started"                               # an event of the stand-in Twilio (default: "ringing")
after_s = 6

# The tables from here to [relay] are for `relay demo --scenario`. `relay call` calls a relay as it is, with its own
# model and settings.

[model]                                               # relay/standin/model/script.py
first_delta_ms = 400

[voice]                                               # ElevenLabs speaks: relay/standin/elevenlabs/voice_script.py
faults = { drops_after_ms = 1500 }

[backend]                                             # relay/standin/business/faults.py
"POST /appointments" = { kind = "slow", ms = 2000 }   # or "/appointments", or "*" for all

[business]                                            # the relay's own business.toml: see BusinessTable
file = "..."

[relay]                                               # settings, by their names in the environment
MAX_CALL_S = "60"

[expect]
greeting_within_ms = 500
heard = ["We are open tomorrow"]
dialled = ["+12125550102"]
```

The classes below have the keys of all tables, each with its meaning.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from relay.settings import Settings
from relay.standin.business.faults import Faults
from relay.standin.elevenlabs.voice_script import VoiceScript, VoiceScriptError
from relay.standin.model.script import Script, ScriptError
from relay.standin.speech.audio_files import AudioRefused, read_wav
from relay.standin.speech.voice import find, words
from relay.standin.table_errors import in_words
from relay.standin.twilio.call_state import EndedBy, EventKind, Place, Status
from relay.standin.twilio.caller_speech import Silence
from relay.standin.twilio.dialling import Behaviour, Human
from relay.standin.twilio.exchange import LOS_ANGELES, CallerLine
from relay.standin.twilio.streaming import Network

FOLDER = Path(__file__).parent / "scenarios"

ANSWERED_MS = 3_000
"""An answer is over when the agent has been quiet for this long. Pauses after holding phrases are shorter."""

NO_ANSWERS = tuple(f"{{{key}}}" for key in (
    "one_moment", "one_moment_again", "holding", "holding_again", "still_there", "nobody_there", "trouble",
    "trouble_message", "limit"))  # fmt: skip
"""The phrases that the relay says if no answer of the model comes."""

ANY_NUMBER = "?"
"""Used in `dialled` for a number that is not known here."""

QUIET_MS = 900
"""The shortest quiet time after which a caller may think that the agent has finished."""

Seconds = Annotated[float, msgspec.Meta(ge=0, le=86_400)]
Ms = Annotated[float, msgspec.Meta(ge=0, le=86_400_000)]
WholeMs = Annotated[int, msgspec.Meta(ge=0, le=86_400_000)]
Count = Annotated[int, msgspec.Meta(ge=0)]
AtLeast = Annotated[str, msgspec.Meta(pattern=r"^[0-9]{1,9}\+$")]


ACTIONS = ("say", "play", "cough", "press", "listen", "until", "silent_s", "mute_s", "hang_up")
"""The keys that say what a step does. All other keys say when."""


class ScenarioError(Exception):
    """A scenario has a mistake, or cannot be played here. The message says what is wrong."""


class Step(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One action of the caller. `after_ms` and `interrupt_after_ms` say when."""

    # The text or the id of a clip in relay/standin/speech/clips/index.toml. Any other text is babbled.
    say: str | None = None
    play: str | None = None  # The path of a WAV file, relative to the folder in which the command runs.
    cough: bool = False
    press: str | None = None  # Keys to press, one after the other: 0-9 * # A-D, and w for a pause of half a second.
    # Wait until the agent has said something new and has been quiet for 900 ms, or for this many ms.
    listen: bool | WholeMs = False
    until: EventKind | None = None
    silent_s: Seconds | None = None
    mute_s: Seconds | None = None  # The line sends nothing at all, not even silence.
    hang_up: bool = False

    after_ms: WholeMs = 0  # Wait this long first.
    interrupt_after_ms: WholeMs | None = None  # First wait until the agent has spoken for this many ms.
    limit_s: Seconds = 30.0  # If the wait takes longer than this, the step has failed and the call ends.

    @property
    def kinds(self) -> list[str]:
        """The action keys that are set. A correct step has exactly one."""
        given = {name: getattr(self, name) for name in ACTIONS}
        return [name for name, value in given.items() if value is not None and value is not False]


class Caller(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The caller: number, line, and steps."""

    steps: tuple[Step, ...]
    number: str = "+12125550101"  # A text without a plus sign is not a number. "anonymous" means a hidden number.
    state: str | None = None  # The US state of the number, like "NY". None means a number in Los Angeles.
    silence: Silence = "ff"  # What the line sends while the caller is silent: mu-law +0, mu-law -0, or faint noise.
    patience_s: Seconds = 20.0  # How long the caller stays on the line after the last step.
    calls_before: Count = 0  # How many times the same number called before and hung up at once.
    calls_meanwhile: Count = 0  # How many other calls are running.


class HumanTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a dialled human behaves."""

    does: Behaviour = "accepts"
    ring_s: Seconds = 4.0  # The time until the phone is picked up.
    talk_s: Seconds = 5.0  # The time until the human hangs up, after the two were connected.


class NetworkTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The network between Twilio and the relay. A burst delays messages, and loses none."""

    connect_ms: Ms = 365.0  # The time from the TwiML to the open socket.
    delay_ms: Ms = 0.0  # The delay in each direction.
    jitter_ms: Ms = 0.0  # A random delay of up to this much is added.
    bursts_per_minute: Annotated[float, msgspec.Meta(ge=0, le=6_000)] = 0.0
    burst_ms: Ms = 233.0


class Trouble(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A fault of the relay, or of something that the relay needs, during the call.

    `socket_cut` works with every relay. Troubles of Twilio's REST API work with `relay call --rest-port`. All other
    troubles need `relay demo --scenario`, or a test on a fake clock.
    """

    does: Literal[
        "socket_cut",  # The media connection breaks, without a close.
        "relay_dies",  # The relay is killed. It writes and answers nothing more.
        "relay_starts",  # Another relay takes the place of the killed one, with the same ledger.
        "relay_drains",  # The relay is told to stop.
        "model_dies",  # Every connection to the model breaks.
        "model_stays_away",  # Every connection to the model breaks, and no new one can be opened.
        "postgres_leaves",
        "postgres_returns",
        "rest_fails",  # Twilio's REST API answers 500.
        "rest_is_busy",  # Twilio's REST API answers 429.
        "rest_hangs",  # Twilio's REST API accepts requests and does not answer.
        "day_is_spent",  # Other calls have cost as much as MAX_DAY_USD allows.
        "business_changes",  # The owner saves the changed file of [business].
        "business_breaks",  # The owner saves a file with a mistake.
        "slot_is_taken",  # Another caller books the time in [business] taken.
    ]
    upon: EventKind | Literal["before"] = "ringing"  # "before": before the phone rings
    after_s: Seconds = 0.0
    times: Count = 1  # The trouble comes at the first `times` of these events. 0 means at each of them.

    @property
    def of_rest(self) -> bool:
        """True if it is a trouble of Twilio's REST API."""
        return self.does in ("rest_fails", "rest_is_busy", "rest_hangs")


class BusinessTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The business of an embedded backend. own_business.py explains the placeholders in the texts."""

    file: str = ""  # The text of business.toml. If it is "", the relay uses the stand-in backend.
    changed: str = ""
    taken: str = ""  # A local time, such as {tomorrow}T19:00.


class NumberTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the phone number is configured at Twilio."""

    fallback_twiml: str = ""  # The TwiML at "primary handler fails". Twilio itself hosts it.


class Expect(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The expected result of the call. A key that is not set is not checked, except `no_complaints`."""

    greeting_within_ms: int | None = None
    answer_within_ms: int | None = None  # For each answered turn: from the caller's last sound to the agent's first.
    # The answer to the caller's last words must contain more than these texts.
    answered_beside: tuple[str, ...] | None = None
    heard: tuple[str, ...] = ()  # Texts that the caller heard in full, in this order.
    not_heard: tuple[str, ...] = ()
    read_out: tuple[str, ...] = ()  # Parts of the texts that Twilio itself said with <Say>.
    stopped_within_ms: int | None = None  # For each interruption: from the caller's first sound to the agent's last.
    said: tuple[str, ...] = ()  # Parts of the turns in the ledger's transcript, of both sides.
    not_said: tuple[str, ...] = ()
    cut: int | None = None  # How many of the agent's turns are marked as interrupted in the ledger.
    transfer: str | None = None  # The result of a transfer in the ledger.
    ended_by: EndedBy | None = None
    end_reason: str | None = None
    outcome: str | None = None
    dialled: tuple[str, ...] | None = None
    whisper_contains: str | None = None
    bridged: bool | None = None
    human_legs: tuple[Status, ...] | None = None  # The result of each call to a human, in order.
    functions: tuple[str, ...] | None = None  # The functions that ran, in any order.
    bookings: int | None = None
    messages: int | None = None
    asked: dict[str, Count] = {}  # Route -> how often the business was asked: "GET /hours" = 1.
    recordings: int | None = None
    streams: int | None = None  # The number of media streams in the call.
    no_gap_over_ms: int | None = None  # The longest gap while the agent speaks.
    no_silence_over_ms: int | None = None  # The longest silence before and inside the agent's answers.
    within_s: float | None = None  # The longest duration of the whole call.
    no_complaints: bool = True  # True if Twilio's debugger must have no complaints beside `complaints`.
    complaints: tuple[int, ...] = ()  # Codes that must appear in Twilio's debugger.
    rows: dict[str, Count | AtLeast] = {}  # Table -> its number of rows. "3+" means 3 or more.

    def without_ledger(self) -> Expect:
        """Only the expectations that can be checked from outside the relay."""
        return msgspec.structs.replace(
            self, said=(), not_said=(), cut=None, transfer=None, end_reason=None, outcome=None, functions=None,
            bookings=None, messages=None, asked={}, rows={},
        )  # fmt: skip


class Scenario(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A whole scenario."""

    title: str
    caller: Caller
    name: str = ""
    human: HumanTable | tuple[HumanTable, ...] = HumanTable()
    trouble: tuple[Trouble, ...] = ()
    network: NetworkTable = NetworkTable()
    number: NumberTable = NumberTable()
    model: dict[str, Any] = {}
    voice: dict[str, Any] | None = None  # If set, the stand-in of ElevenLabs speaks what the model writes.
    backend: dict[str, Any] = {}
    relay: dict[str, str] = {}
    business: BusinessTable = BusinessTable()
    expect: Expect = Expect()

    def sayings(self) -> tuple[str, ...]:
        """The caller's sentences."""
        return tuple(step.say for step in self.caller.steps if step.say is not None)

    def line(self) -> CallerLine:
        """The caller's telephone line."""
        place = LOS_ANGELES if self.caller.state is None else Place(state=self.caller.state, country="US")
        humans = self.human if isinstance(self.human, tuple) else (self.human,)
        return CallerLine(
            number=self.caller.number,
            place=place,
            silence=self.caller.silence,
            network=Network(**msgspec.structs.asdict(self.network)),
            humans=[Human(each.does, each.ring_s, each.talk_s, _hello(each.does)) for each in humans],
        )


def parse(text: str, name: str, file: str = "") -> Scenario:
    """Read a scenario. Raises ScenarioError, whose message begins with the file or the name."""
    where = f"scenario {file or name}"
    try:
        scenario = msgspec.convert({"name": name, **tomllib.loads(text)}, Scenario)
        Script.from_table(scenario.model)
        VoiceScript.from_table(scenario.voice or {})
        Faults.from_table(scenario.backend)
    except msgspec.ValidationError as error:
        raise ScenarioError(f"{where}: {in_words(error, Scenario)}") from error
    except (tomllib.TOMLDecodeError, ScriptError, VoiceScriptError) as error:
        raise ScenarioError(f"{where}: {error}") from error
    except ValueError as error:
        raise ScenarioError(f"{where}: backend: {error}") from error
    settings = {name.upper() for name in Settings.__dataclass_fields__}
    if unknown := sorted(set(scenario.relay) - settings):
        raise ScenarioError(f"{where}: relay: no setting {unknown[0]!r}; there are: {', '.join(sorted(settings))}")
    for number, step in enumerate(scenario.caller.steps, 1):
        _check(step, f"{where}, step {number}")
    return scenario


def of_recording(path: Path) -> Scenario:
    """A scenario whose caller hears the greeting, plays a recording, hears the answer, and hangs up.

    Raises ScenarioError.
    """
    steps = (Step(listen=True), Step(play=str(path)), Step(listen=ANSWERED_MS), Step(hang_up=True))
    _check(steps[1], "the recording")
    expect = Expect(not_heard=("{trouble}", "{trouble_message}"), answered_beside=NO_ANSWERS)
    return Scenario(title=f"plays {path.name}", caller=Caller(steps=steps), name=path.stem, expect=expect)


def load(name: str) -> Scenario:
    """Load a shipped scenario by its name, or a file whose path ends in .toml. Raises ScenarioError."""
    own = name.endswith(".toml")
    path = Path(name) if own else FOLDER / f"{name}.toml"
    try:
        return parse(path.read_text("utf-8"), path.stem, name if own else "")
    except FileNotFoundError as error:
        if own:
            raise ScenarioError(f"there is no file {name}") from error
        known = ", ".join(shipped())
        raise ScenarioError(f"there is no scenario {name!r}; shipped are: {known}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ScenarioError(f"scenario {name} cannot be read: {error}") from error


def shipped() -> list[str]:
    """The names of all scenarios that come with the relay."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def _check(step: Step, where: str) -> None:
    if len(step.kinds) != 1:
        raise ScenarioError(f"{where} must do one thing, not {' and '.join(step.kinds) or 'nothing'}")
    if step.say is not None and not words(step.say):
        raise ScenarioError(f"{where}: there is not a word in {step.say!r}")
    if step.play is not None:
        try:
            read_wav(Path(step.play))
        except (
            AudioRefused,
            OSError,
            ValueError,
        ) as error:  # ValueError: an impossible path.
            raise ScenarioError(f"{where}: {step.play} cannot be played: {error}") from error
    if step.press is not None and (not step.press or set(step.press) - set("0123456789*#ABCDw")):
        raise ScenarioError(f"{where}: keys are 0-9 * # A-D, and w for half a second: {step.press!r}")
    if step.interrupt_after_ms is not None and step.kinds[0] in ("listen", "until", "silent_s"):
        raise ScenarioError(f"{where}: {step.kinds[0]} waits and cannot interrupt")


def _hello(does: Behaviour) -> bytes:
    clip = find("voicemail" if does == "voicemail" else "human_hello")
    return clip.mulaw if clip is not None else b""
