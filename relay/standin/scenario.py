"""The scenario format: a TOML file that says who says what when, what goes wrong, and what must come of it.

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
  { until = "bridged" },                              # wait for an event of the exchange
  { play = "in.wav" },
  { after_ms = 300, hang_up = true },
]

[human]                                               # or [[human]], one for each time somebody is dialled
does = "accepts"                                      # declines hangs_up no_answer busy failed voicemail

[network]
delay_ms = 40

[[trouble]]                                           # what happens meanwhile; see Trouble
does = "socket_cut"
upon = "stream_started"                               # an event of the exchange; else the first ring
after_s = 6

[expect]
greeting_within_ms = 500
heard = ["We are open tomorrow"]
dialled = ["+15550100002"]
```

`[model]` is for the stand-in model (relay/standin/script.py), `[backend]` for the stand-in business, `[relay]` holds
settings that are different for this scenario, by their names in the environment.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, Literal

import msgspec

from relay.standin.audio_files import AudioRefused, read_wav
from relay.standin.caller import LOS_ANGELES, CallerLine
from relay.standin.dialling import Behaviour, Human
from relay.standin.exchange import EndedBy, EventKind, Place, Status
from relay.standin.mouth import Silence
from relay.standin.streaming import Network
from relay.standin.voice import find

FOLDER = Path(__file__).parent / "scenarios"

QUIET_MS = 900
"""So long must the agent be quiet before a caller thinks that it has finished."""


class ScenarioError(Exception):
    """A scenario that cannot be understood; the message names the file and the place in it."""


class Step(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One thing the caller does; `after_ms` and `interrupt_after_ms` say when."""

    say: str | None = None
    play: str | None = None
    cough: bool = False
    press: str | None = None
    listen: bool | int = False  # or the ms of quiet to wait for
    until: EventKind | None = None
    silent_s: float | None = None
    mute_s: float | None = None
    hang_up: bool = False

    after_ms: int = 0
    interrupt_after_ms: int | None = None
    limit_s: float = 30.0

    @property
    def kinds(self) -> list[str]:
        """The actions that are set; a proper step has one."""
        names = ("say", "play", "cough", "press", "listen", "until", "silent_s", "mute_s", "hang_up")
        return [name for name in names if getattr(self, name) not in (None, False)]


class Caller(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who calls, from where, and what they do."""

    steps: tuple[Step, ...]
    number: str = "+15550100001"
    state: str | None = None
    silence: Silence = "ff"
    patience_s: float = 20.0  # how long the caller stays on the line after the last step
    calls_before: int = 0  # how often the same number rang before, and hung up at once
    calls_meanwhile: int = 0  # how many other callers are on the line


class HumanTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a human who is dialled behaves."""

    does: Behaviour = "accepts"
    ring_s: float = 4.0
    talk_s: float = 5.0


class NetworkTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The way between Twilio and the relay; see streaming.Network."""

    connect_ms: float = 365.0
    delay_ms: float = 0.0
    jitter_ms: float = 0.0
    bursts_per_minute: float = 0.0
    burst_ms: float = 233.0


class Trouble(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Something that happens to the relay, or to what it stands on, while the call lasts.

    `socket_cut` is done by the exchange: it works against every relay. The others need whoever set the stage.
    """

    does: Literal[
        "socket_cut",  # the media connection breaks, without a close
        "relay_dies",  # killed: nothing is written any more, nothing answers
        "relay_starts",  # another one takes its place, with the same ledger
        "relay_drains",  # told to stop
        "model_dies",  # every connection to it breaks
        "model_stays_away",  # the same, and nobody listens there any more
        "postgres_leaves",
        "postgres_returns",
        "rest_fails",  # Twilio's REST API answers 500
        "rest_is_busy",  # it answers 429
        "rest_hangs",  # it takes requests and does not answer
        "day_is_spent",  # the other calls of the day have cost what a day may cost
    ]
    upon: EventKind | Literal["before"] = "ringing"  # "before": before the phone rings
    after_s: float = 0.0
    times: int = 1  # upon so many events of that kind; 0: upon every one


class NumberTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the phone number is set up at Twilio."""

    fallback_twiml: str = ""


class Expect(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What must come of the call; what is not named does not matter."""

    greeting_within_ms: int | None = None
    answer_within_ms: int | None = None  # each turn: from the caller's last sound to the agent's first
    heard: tuple[str, ...] = ()  # texts the caller heard in full, in this order
    not_heard: tuple[str, ...] = ()
    read_out: tuple[str, ...] = ()  # parts of what Twilio itself said with <Say>
    stopped_within_ms: int | None = None  # each interruption: from the caller's first sound to the agent's last
    said: tuple[str, ...] = ()  # parts of the ledger's transcript, either side's
    not_said: tuple[str, ...] = ()
    cut: int | None = None  # how many turns of the agent's the ledger calls interrupted
    transfer: str | None = None  # how the ledger says a transfer went
    ended_by: EndedBy | None = None
    end_reason: str | None = None
    outcome: str | None = None
    dialled: tuple[str, ...] | None = None
    whisper_contains: str | None = None
    bridged: bool | None = None
    human_legs: tuple[Status, ...] | None = None  # how each call to a human ended, in order
    functions: tuple[str, ...] | None = None  # those that ran, in any order
    bookings: int | None = None
    messages: int | None = None
    asked: dict[str, int] = {}  # how often the business was asked for what: "GET /hours" = 1
    recordings: int | None = None
    streams: int | None = None  # how many media streams the call had
    no_gap_over_ms: int | None = None  # while the agent speaks, the buffer runs dry
    no_silence_over_ms: int | None = None  # from the caller's last sound until the agent speaks
    within_s: float | None = None  # the whole call
    no_complaints: bool = True
    complaints: tuple[int, ...] = ()  # codes that must appear; they are not held against the call
    rows: dict[str, int | str] = {}  # rows by table: a number, or "3+"

    def without_ledger(self) -> Expect:
        """What can be seen from outside the relay."""
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
    backend: dict[str, Any] = {}
    relay: dict[str, str] = {}
    expect: Expect = Expect()

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


def parse(text: str, name: str) -> Scenario:
    """Read a scenario; `name` is what errors call it. Raises ScenarioError."""
    try:
        scenario = msgspec.convert({"name": name, **tomllib.loads(text)}, Scenario)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise ScenarioError(f"scenario {name}: {error}") from error
    for number, step in enumerate(scenario.caller.steps, 1):
        _check(step, f"scenario {name}, step {number}")
    return scenario


def of_recording(path: Path) -> Scenario:
    """A caller who hears the greeting, plays a recording, hears the answer and hangs up. Raises ScenarioError."""
    steps = (Step(listen=True), Step(play=str(path)), Step(listen=True), Step(hang_up=True))
    _check(steps[1], "the recording")
    return Scenario(title=f"plays {path.name}", caller=Caller(steps=steps), name=path.stem)


def load(name: str) -> Scenario:
    """A shipped scenario by its name, or one from a path that ends in .toml. Raises ScenarioError."""
    path = Path(name) if name.endswith(".toml") else FOLDER / f"{name}.toml"
    try:
        return parse(path.read_text(), path.stem)
    except FileNotFoundError as error:
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
    if step.say is not None and find(step.say) is None:
        raise ScenarioError(f"{where}: there is no clip {step.say!r} (relay/standin/clips/index.toml lists them)")
    if step.play is not None:
        try:
            read_wav(Path(step.play))
        except (AudioRefused, OSError, ValueError) as error:  # a path may hold what no path can
            raise ScenarioError(f"{where}: {step.play} cannot be played: {error}") from error
    if step.press is not None and (not step.press or set(step.press) - set("0123456789*#ABCDw")):
        raise ScenarioError(f"{where}: keys are 0-9 * # A-D, and w for half a second: {step.press!r}")
    if step.interrupt_after_ms is not None and step.kinds[0] in ("listen", "until", "silent_s"):
        raise ScenarioError(f"{where}: {step.kinds[0]} waits and cannot interrupt")


def _hello(does: Behaviour) -> bytes:
    clip = find("voicemail" if does == "voicemail" else "human_hello")
    return clip.mulaw if clip is not None else b""
