"""Runs plays: the relay and all its stand-ins in one Trio run, on memory streams and any clock.

Nothing inside the relay is replaced. Its HTTP app answers the exchange's requests, and its media door gets the
exchange's stream. Its model sessions reach the stand-in model, and its functions the stand-in business. Its rows go to
a ledger in memory.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import ssl
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import cache, partial
from pathlib import Path
from typing import Any, cast

import httpx
import msgspec
import trio
from trio.testing import lockstep_stream_pair

from relay import settings as environment
from relay.business.diary import MemoryDiary
from relay.business.owner_files import read
from relay.functions import Backend
from relay.ledger import rows
from relay.ledger.memory import MemoryLedger
from relay.phrases.phrase_book import PhraseBook, trimmed
from relay.server.app import Daemon, open_desk
from relay.standin.business.app import BusinessApp, business_app, stage_diary
from relay.standin.business.faults import Faults
from relay.standin.elevenlabs.server import StandInVoice
from relay.standin.elevenlabs.voice_script import VoiceScript
from relay.standin.model.script import Script
from relay.standin.model.server import StandInModel
from relay.standin.scenario import own_business
from relay.standin.scenario import scenario_file as scenarios
from relay.standin.scenario.fitting import fitted, own_words, settings_of
from relay.standin.scenario.report import CallReport, Evidence
from relay.standin.scenario.run import run_scenario
from relay.standin.speech.voice import Voice
from relay.standin.twilio.exchange import Account, Exchange, PhoneNumber
from relay.standin.twilio.relay_connections import Reply
from relay.standin.twilio.rest import RestApi, asgi_app
from relay.transport.handshake import answer, upgrade
from relay.transport.websocket import Gone, WebSocketEnd
from relay.twilio.rest import TwilioRest
from tests.helpers.pipe import PipeWire, pipe

PUBLIC_URL = "https://relay.example.com"
NUMBER = "+12125550100"
EPOCH = dt.datetime(2026, 11, 23, 15, 0, tzinfo=dt.UTC)
# A call that has ended still waits for late words and running functions, so its last row comes within this time.
ROWS_LIMIT_S = 5.0
ACCOUNT = Account("AC" + "0" * 31 + "1", "play-auth-token")
ENVIRONMENT = {
    "OPENAI_API_KEY": "sk-play",
    "OPENAI_REALTIME_URL": "ws://127.0.0.1:1/v1/realtime",
    "TWILIO_ACCOUNT_SID": ACCOUNT.sid,
    "TWILIO_AUTH_TOKEN": ACCOUNT.auth_token,
    "TWILIO_PHONE_NUMBER": NUMBER,
    "TWILIO_API_BASE": "http://127.0.0.1:3",
    "BUSINESS_API_BASE": "http://127.0.0.1:2",
    "HUMAN_TRANSFER_NUMBER": "+12125550102",
    "PUBLIC_URL": PUBLIC_URL,
    "DATABASE_URL": "postgresql://play",
    "BUSINESS_NAME": "Harbor Table",
    "AGENT_NAME": "Robin",
}
ANOTHER_VOICE = {
    "VOICE": "elevenlabs",
    "ELEVENLABS_API_KEY": "sk_play",
    "ELEVENLABS_VOICE_ID": "standInVoice000000000",
    "ELEVENLABS_URL": "ws://127.0.0.1:4",
}


class PlayDoor:
    """The exchange's connection to the relay of the same run."""

    def __init__(self, play: Play) -> None:
        self._play = play
        self.dead = False  # if True, the relay does not answer at all

    async def request(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes, connect_limit_s: float = 5.0
    ) -> Reply:
        if self.dead:
            raise ConnectionRefusedError("the relay is dead")
        transport = httpx.ASGITransport(cast(Any, self._play.daemon.app))
        async with httpx.AsyncClient(transport=transport) as client:
            got = await client.request(method, url, headers=dict(headers), content=body)
        return Reply(got.status_code, {k.lower(): v for k, v in got.headers.items()}, got.content)

    async def open_stream(self, url: str) -> trio.abc.Stream:
        if self.dead:
            raise ConnectionRefusedError("the relay is dead")
        ours, theirs = pipe()
        self._play.nursery.start_soon(self._play.open_door, theirs)
        return ours


@dataclasses.dataclass
class Play:
    """The stage of a play: the relay and all the stand-ins, for the test to use."""

    nursery: trio.Nursery
    daemon: Daemon
    exchange: Exchange
    model: StandInModel
    business: BusinessApp
    ledger: MemoryLedger
    rest: RestApi
    door: PlayDoor
    media_scopes: list[trio.CancelScope] = dataclasses.field(default_factory=list)
    model_scopes: list[trio.CancelScope] = dataclasses.field(default_factory=list)  # one for each open connection
    start_relay: Callable[[], Awaitable[Daemon]] | None = None
    media_streams: list[trio.abc.Stream] = dataclasses.field(default_factory=list)
    diary: MemoryDiary | None = None  # only if the relay has the embedded backend
    own: scenarios.BusinessTable = dataclasses.field(default_factory=scenarios.BusinessTable)
    model_is_gone: bool = False
    alone: bool = True  # True if there is only one call at a time, so every model session belongs to that call
    voice: StandInVoice = dataclasses.field(default_factory=StandInVoice)
    broken: list[str] = dataclasses.field(default_factory=list)  # what `observe` found to be wrong

    async def make(self, trouble: str) -> None:
        """Make the trouble of a scenario that has this name."""
        match trouble:
            case "relay_dies":
                self.door.dead = True
                self.daemon.desk.ledger = MemoryLedger()  # rows that this relay still writes are lost
                for stream in self.media_streams:
                    await trio.aclose_forcefully(stream)  # the kernel closes the sockets of a killed process
                self.kill_model_sessions()
                for scope in self.media_scopes:
                    scope.cancel()
            case "relay_starts":
                assert self.start_relay is not None
                self.daemon = await self.start_relay()
                self.door.dead = False
            case "relay_drains":
                self.daemon.desk.begin_drain(10.0)
            case "model_dies" | "model_stays_away":
                self.model_is_gone = trouble == "model_stays_away"
                self.kill_model_sessions()
            case "postgres_leaves" | "postgres_returns":
                self.ledger.away = trouble == "postgres_leaves"
            case "business_changes" | "business_breaks" | "slot_is_taken":
                await self.owner_does(trouble)
            case "day_is_spent":
                self.daemon.desk.day_usd = 1_000_000.0
            case _:
                assert self.rest.faults.make(trouble), f"a play cannot make the trouble {trouble}"

    async def owner_does(self, trouble: str) -> None:
        """Make the trouble that needs a change of the business: of its file, or of its diary."""
        desk = self.daemon.desk
        path = desk.settings.business_file
        if trouble == "slot_is_taken":
            assert self.diary is not None
            await self.diary.write(partial(own_business.take_slot, self.own, path, desk.utc_now()), limit_s=1.0)
            return
        if trouble == "business_changes":
            own_business.change(self.own, path, desk.settings.tz, desk.utc_now())
        else:
            own_business.break_(path)
        self.nursery.start_soon(desk.tasks["files"])

    def observe(self, kind: str, fields: dict[str, Any]) -> None:
        """Check two rules at each event: a call with a human has no model session, and only settings are dialled."""
        if kind == "bridged" and self.alone and any(not scope.cancel_called for scope in self.model_scopes):
            self.broken.append("a model session was open, and paid for, while the caller talked with a human")
        ours = self.daemon.desk.settings
        if kind == "dialled" and fields["number"] not in (ours.human_transfer_number, *ours.human_numbers_also):
            self.broken.append(f"{fields['number']} was dialled, which is not in the settings")

    def kill_model_sessions(self) -> None:
        """Break every connection to the model without a close frame, as if the model's process had died."""
        for scope in self.model_scopes:
            scope.cancel()

    async def serve_model(self, stream: trio.abc.Stream) -> None:
        """Serve one connection to the stand-in model."""
        scope = trio.CancelScope()
        self.model_scopes.append(scope)
        with scope:
            await self.model.speak_to(stream)
        self.model_scopes.remove(scope)

    async def open_door(self, stream: trio.abc.Stream) -> None:
        """Serve a media connection, as server/http.py does."""
        scope = trio.CancelScope()
        self.media_scopes.append(scope)
        self.media_streams.append(stream)
        with scope:
            try:
                request, end = await answer(PipeWire(stream))
            except Gone:
                return
            try:
                await self.daemon.door.open(request, end)
            except Gone:
                pass
            finally:
                await end.close()

    def evidence(self, call_sid: str) -> Evidence:
        """The facts about a call that are in the ledger and in the business's diary."""
        outcomes = self.ledger.of(rows.OutcomeRow, call_sid)
        functions = self.ledger.of(rows.FunctionCallRow, call_sid)
        turns = self.ledger.of(rows.TranscriptRow, call_sid)
        counts = {
            "calls": rows.CallRow,
            "transcripts": rows.TranscriptRow,
            "function_calls": rows.FunctionCallRow,
            "call_outcomes": rows.OutcomeRow,
            "consents": rows.ConsentRow,
            "messages": rows.MessageRow,
        }
        return Evidence(
            end_reason=outcomes[-1].end_reason or "" if outcomes else "",
            outcome=outcomes[-1].outcome or "" if outcomes else "",
            functions=[f.name for f in functions if f.ok is not None],
            transcript=[(t.role, t.said or "") for t in turns],
            cut=sum(bool(t.interrupted) for t in turns),
            transfer=outcomes[-1].transfer_result or "" if outcomes else "",
            rows={name: len(self.ledger.of(kind, call_sid)) for name, kind in counts.items()},
            bookings=len(self.diary.store.appointments if self.diary else self.business.diary.bookings),
            messages=len(self.business.diary.messages),
            asked=self.business.asked,
        )


@cache
def _rendered(text: str) -> bytes:
    return trimmed(Voice().say(text))


def keep_greeting(book: PhraseBook) -> None:
    """Store all phrases in the stand-in's voice, as if `relay greet` had rendered them before the start."""
    for text in book.texts():
        book._kept[text] = _rendered(text)
    book.complete.set()


def clock_from(epoch: dt.datetime) -> Callable[[], dt.datetime]:
    """The wall clock of a play. It begins at `epoch` in every run."""
    began_s = trio.current_time()
    return lambda: epoch + dt.timedelta(seconds=trio.current_time() - began_s)


@asynccontextmanager
async def stage(
    *,
    script: Script | None = None,
    settings: Mapping[str, str] | None = None,
    faults: Faults | None = None,
    kept: bool = True,
    epoch: dt.datetime = EPOCH,
    diary: MemoryDiary | None = None,
    voice: VoiceScript | None = None,
) -> AsyncIterator[Play]:
    """Set the stage. With `kept` the greeting and all phrases are rendered already. The play begins at `epoch`."""
    env = {**ENVIRONMENT, **(settings or {})}
    with tempfile.TemporaryDirectory() as folder:
        env.setdefault("DATA_DIR", folder)
        config = environment.load(env, serving=True)
        utc_now = clock_from(epoch)  # one clock for the exchange, the business, the model, and each relay of the play
        ledger = MemoryLedger(keep_words=config.keeps_words, utc_now=utc_now)
        business = business_app(stage_diary(config.tz, utc_now), faults)
        model = StandInModel(dataclasses.replace(script or Script(), time_zone=config.business_tz), utc_now)
        speaker = StandInVoice(voice, model.said)
        dialled = 0
        async with trio.open_nursery() as nursery:

            async def dial(
                url: str, headers: Mapping[str, str], tls: ssl.SSLContext | None = None, limit_s: float = 5.0
            ) -> WebSocketEnd:
                nonlocal dialled
                if url.startswith(ANOTHER_VOICE["ELEVENLABS_URL"]):
                    return await connect(speaker.speak_to, pipe(), url, headers, limit_s)
                dialled += 1
                faults = model.script.faults
                if faults.connect_refused and (not faults.connections or dialled <= faults.connections):
                    raise ConnectionRefusedError("the stand-in model refuses")
                if play.model_is_gone:
                    raise ConnectionRefusedError("the stand-in model refuses")
                # A pipe takes every write at once. If the model reads slowly, a write must wait, as on a real socket.
                pair = lockstep_stream_pair() if faults.slow_read_s else pipe()
                return await connect(play.serve_model, pair, url, headers, limit_s)

            async def connect(
                serve: Callable[[trio.abc.Stream], Awaitable[None]],
                pair: tuple[trio.abc.Stream, trio.abc.Stream],
                url: str,
                headers: Mapping[str, str],
                limit_s: float,
            ) -> WebSocketEnd:
                nursery.start_soon(serve, pair[1])
                wire = PipeWire(pair[0])
                try:
                    with trio.fail_after(limit_s):
                        return await upgrade(wire, url, headers)
                except BaseException:  # a cancelled connect leaves no connection, as in relay/transport/handshake.py
                    wire.abort()
                    raise

            exchange = Exchange(
                cast(Any, None),
                ACCOUNT,
                PhoneNumber(
                    "+12125550100", f"{PUBLIC_URL}/twilio/incoming", status_callback=f"{PUBLIC_URL}/twilio/status"
                ),
                epoch=epoch,
            )
            rest = RestApi(exchange)
            backend = Backend("http://business", transport=httpx.ASGITransport(cast(Any, business)))
            twilio = TwilioRest(
                ACCOUNT.sid,
                (ACCOUNT.sid, ACCOUNT.auth_token),
                transport=httpx.ASGITransport(cast(Any, asgi_app(rest))),
            )
            async with backend, twilio:

                async def start_relay() -> Daemon:
                    theirs = None if config.business_is_embedded else backend
                    desk = open_desk(config, ledger, backend=theirs, diary=diary, rest=twilio, dial_end=dial)
                    desk.utc_now = utc_now
                    if kept:
                        keep_greeting(desk.phrases)
                    await nursery.start(desk.warm.run)
                    if desk.voices is not None:
                        await nursery.start(desk.voices.run)
                    nursery.start_soon(desk.ticker.run)
                    return Daemon(desk)

                await nursery.start(ledger.run)
                daemon = await start_relay()
                play = Play(nursery, daemon, exchange, model, business, ledger, rest, cast(PlayDoor, None))
                play.diary, play.voice = diary, speaker
                play.start_relay = start_relay
                play.door = PlayDoor(play)
                exchange.connections = play.door
                exchange.on_event = play.observe
                yield play
                nursery.cancel_scope.cancel()


# With another voice an answer may be later by this time: the stand-in voice needs VoiceScript.first_audio_ms for its
# first sound, and one frame is added. The model's first text comes as soon as its first audio would come.
VOICE_MS = 200


async def perform(
    name: str, epoch: dt.datetime = EPOCH, settings: Mapping[str, str] | None = None, *, another_voice: bool = False
) -> tuple[CallReport, list[str], Play]:
    """Play a shipped scenario. Return its report, the expectations that failed, and the stage."""
    scenario = scenarios.load(name)
    if another_voice or scenario.voice is not None:
        settings = {**(settings or {}), **ANOTHER_VOICE}
        limits = {key: getattr(scenario.expect, key) for key in ("answer_within_ms", "no_silence_over_ms")}
        later = {key: limit + VOICE_MS for key, limit in limits.items() if limit is not None}
        scenario = msgspec.structs.replace(scenario, expect=msgspec.structs.replace(scenario.expect, **later))
    table = settings_of(scenario, epoch) | dict(settings or {})
    with tempfile.TemporaryDirectory() as folder:
        if scenario.business.file:
            zone = environment.load(ENVIRONMENT | table, serving=False).tz
            table |= own_business.settings_of(scenario.business, Path(folder), zone, epoch)
        return await _perform(scenario, table, epoch)


async def _perform(
    scenario: scenarios.Scenario, table: dict[str, str], epoch: dt.datetime
) -> tuple[CallReport, list[str], Play]:
    played = environment.load(ENVIRONMENT | table, serving=False)
    found = read(played)
    own = own_words(played, found.prompts, epoch, is_closed=found.is_closed(epoch))
    scenario = fitted(scenario, own)
    script, voice = Script.from_table(scenario.model), VoiceScript.from_table(scenario.voice or {})
    faults = Faults.from_table(scenario.backend) if scenario.backend else None
    diary = MemoryDiary() if scenario.business.file else None
    async with stage(script=script, settings=table, faults=faults, epoch=epoch, diary=diary, voice=voice) as play:
        play.own = scenario.business
        play.alone = scenario.caller.calls_meanwhile == 0

        async def evidence(call_sid: str) -> Evidence:
            with trio.move_on_after(ROWS_LIMIT_S):
                while not play.ledger.of(rows.OutcomeRow, call_sid):  # noqa: ASYNC110 -- a ledger tells nobody
                    await trio.sleep(0.1)
            return play.evidence(call_sid)

        got = await run_scenario(scenario, play.exchange, evidence, stagehand=play.make, known_words=own.spoken)
        return got, [*got.check(scenario.expect), *play.broken], play
