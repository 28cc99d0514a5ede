"""Media sockets, webhooks and hang-ups in any order: no bug is logged, nothing stays open, one outcome is stored."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
import structlog
import trio
import trio.testing

from relay.ledger import rows
from relay.standin.twilio.signing import signature as sign
from relay.transport.handshake import Refused, upgrade
from relay.transport.websocket import Gone, WebSocketEnd
from relay.transport.wire import StreamWire
from tests.helpers.play import ACCOUNT, Play, stage
from tests.helpers.webhook import SID, Document, ask

Clock = trio.testing.MockClock
FORMAT = {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1}
STEPS = 14


class Twilio:
    """One random phone call: sockets may break without a stop message, and webhooks come early, late, or twice."""

    def __init__(self, play: Play, seed: int) -> None:
        self.play, self.random = play, random.Random(seed)
        self.ends: list[tuple[str, WebSocketEnd]] = []
        self.url = ""
        self.over = False
        self.told: list[str] = []

    async def ask(self, path: str, **fields: str) -> Document:
        self.told.append(f"{path} {fields}")
        got = await ask(self.play, path, fields)
        assert got.status == 200
        for stream in got.all("Stream"):
            self.url = stream.attrib["url"]
        return got

    async def open(self) -> None:
        """Open a socket with the URL of the last document. The relay may refuse a URL that was used already."""
        if not self.url:
            return
        self.told.append("socket")
        sid = f"MZ{len(self.ends):032d}"
        raw = await self.play.door.open_stream(self.url)
        try:
            end = await upgrade(StreamWire(raw), self.url, {"x-twilio-signature": sign(ACCOUNT.auth_token, self.url)})
        except (Refused, ConnectionError):
            return
        self.ends.append((sid, end))
        self.play.nursery.start_soon(self._give_marks_back, sid, end)
        inner = {"accountSid": ACCOUNT.sid, "streamSid": sid, "callSid": SID, "tracks": ["inbound"]}
        await self.say(sid, end, event="start", start=inner | {"mediaFormat": FORMAT, "customParameters": {}})

    async def _give_marks_back(self, sid: str, end: WebSocketEnd) -> None:
        try:
            while True:
                for message in map(json.loads, await end.receive()):
                    if message["event"] == "mark":
                        await self.say(sid, end, event="mark", mark=message["mark"])
        except Gone:
            pass

    async def say(self, sid: str, end: WebSocketEnd, **message: Any) -> None:
        self.told.append(str(message["event"]))
        try:
            await end.send(json.dumps({"streamSid": sid, **message}).encode())
        except Gone:
            pass

    async def step(self) -> None:
        sid, end = self.ends[-1] if self.ends else ("MZ", None)
        match self.random.choice(["ring", "open", "open", "after", "after", "key", "stop", "close", "status", "event"]):
            case "ring":
                await self.ask("/twilio/incoming", CallStatus="ringing")
            case "open":
                await self.open()
            case "after":
                await self.ask("/twilio/after")
            case "key" if end is not None:
                await self.say(sid, end, event="dtmf", dtmf={"digit": self.random.choice("012#")})
            case "stop" if end is not None:
                await self.say(sid, end, event="stop", stop={})
            case "close" if end is not None:
                end.abort()
            case "event":
                event = self.random.choice(["stream-started", "stream-stopped", "stream-error"])
                await self.ask("/twilio/stream-status", StreamEvent=event, StreamSid=sid)
            case "status" if self.random.random() < 0.3:
                await self.ask("/twilio/status", CallStatus="completed")
        await trio.sleep(self.random.choice([0.0, 0.0, 0.02, 0.3, 1.2, 3.0]))


async def in_any_order(seed: int) -> None:
    async with stage() as play:
        twilio = Twilio(play, seed)
        with structlog.testing.capture_logs() as lines:
            await twilio.ask("/twilio/incoming", CallStatus="ringing")
            for _ in range(STEPS):
                await twilio.step()
            await twilio.ask("/twilio/status", CallStatus="completed")
            await trio.sleep(8)
        broken = [line["event"] for line in lines if line["event"] in ("webhook.broke", "call.broke", "function.bug")]
        assert broken == [], twilio.told
        assert play.daemon.desk.live_calls == 0, twilio.told
        assert play.model_scopes == [], twilio.told
        assert len(play.ledger.of(rows.OutcomeRow, SID)) == 1, twilio.told
        assert play.daemon.desk.calls_in_hand == 0 or await _forgets(play), twilio.told


async def _forgets(play: Play) -> bool:
    """True if the relay no longer counts this caller after 30 s, so that a drain does not wait for them."""
    await trio.sleep(30)
    return not play.daemon.desk.calls_in_hand


@pytest.mark.parametrize("seed", range(12))
async def test_messages_and_webhooks_in_any_order_leave_one_outcome_and_nothing_open(
    seed: int, autojump_clock: Clock
) -> None:
    await in_any_order(seed)


@pytest.mark.deep
@pytest.mark.parametrize("seed", range(1_000, 1_400))
async def test_many_calls_with_messages_in_any_order_leave_one_outcome_each_and_nothing_open(
    seed: int, autojump_clock: Clock
) -> None:
    await in_any_order(seed)
