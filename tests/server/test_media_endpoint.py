"""The door of the media socket: who may open it, which message must be first, and how a refused socket ends."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest
import trio
import trio.testing
from websockets.datastructures import Headers

from relay.call.machine import Next
from relay.call.vocabulary import EndReason
from relay.ledger import rows
from relay.notify.news import News
from relay.server import media_endpoint as door
from relay.session.call_file import Decision
from relay.standin.twilio.signing import signature as sign
from relay.transport.handshake import Refused, upgrade
from relay.transport.websocket import Gone, WebSocketEnd
from relay.transport.wire import StreamWire
from tests.helpers.play import ACCOUNT, Play, stage
from tests.helpers.webhook import SID, ask, call_file

Clock = trio.testing.MockClock
CONNECTED = {"event": "connected", "protocol": "Call", "version": "1.0.0"}
FORMAT = {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1}


def start(**changes: Any) -> dict[str, Any]:
    """Twilio's start message for our call. `changes` replace values in the object `start` of this message."""
    inner = {"accountSid": ACCOUNT.sid, "streamSid": "MZ" + "1" * 32, "callSid": SID, "tracks": ["inbound"],
             "mediaFormat": FORMAT, "customParameters": {}} | changes  # fmt: skip
    return {"event": "start", "sequenceNumber": "1", "start": inner, "streamSid": inner["streamSid"]}


async def ring(play: Play) -> str:
    """Let our call ring, and return the stream's URL."""
    (stream,) = (await ask(play, "/twilio/incoming", {"CallStatus": "ringing"})).all("Stream")
    return stream.attrib["url"]


@asynccontextmanager
async def socket(play: Play, url: str, headers: dict[str, str] | None = None) -> AsyncIterator[WebSocketEnd]:
    """A media socket to the relay. It is signed unless other headers are given."""
    raw = await play.door.open_stream(url)
    given = {"x-twilio-signature": sign(ACCOUNT.auth_token, url)} if headers is None else headers
    end = await upgrade(StreamWire(raw), url, given)
    try:
        yield end
    finally:
        await end.close()


async def ended(end: WebSocketEnd) -> Gone:
    """Read until the relay closes."""
    with trio.fail_after(60):
        while True:
            try:
                await end.receive()
            except Gone as gone:
                return gone


async def refused(play: Play, url: str, headers: dict[str, str] | None = None) -> int:
    with pytest.raises(Refused) as refusal:
        async with socket(play, url, headers):
            pass
    return refusal.value.status


async def nothing_is_left(play: Play) -> None:
    await trio.testing.wait_all_tasks_blocked()
    assert play.daemon.desk.live_calls == 0
    assert not any(file.live for file in play.daemon.desk.files.values())


async def test_a_socket_with_twilios_signature_and_a_valid_token_is_served(autojump_clock: Clock) -> None:
    async with stage() as play:
        async with socket(play, await ring(play)) as end:
            await end.send(json.dumps(CONNECTED).encode(), json.dumps(start()).encode())
            first = json.loads((await end.receive())[0])
            assert (first["event"], first["streamSid"]) == ("media", "MZ" + "1" * 32)
            assert play.daemon.desk.live_calls == 1
        await trio.sleep(3)
        await nothing_is_left(play)


async def test_the_count_of_running_calls_is_right_also_after_sockets_that_never_start(autojump_clock: Clock) -> None:
    def told(play: Play) -> bool:
        return b"relay_live_calls 1.0" in play.daemon.desk.metrics.text()

    async with stage() as play:
        async with socket(play, await ring(play)):
            await trio.sleep(1)
            assert told(play)
        await trio.sleep(3)
        await nothing_is_left(play)
        assert not told(play)


@pytest.mark.parametrize("slash", ["", "/"])
async def test_the_handshake_may_be_signed_for_the_url_or_for_the_url_with_a_slash_at_its_end(
    slash: str, autojump_clock: Clock
) -> None:
    async with stage() as play:
        url = await ring(play)
        async with socket(play, url, {"X-Twilio-Signature": sign(ACCOUNT.auth_token, url + slash)}):
            pass


@pytest.mark.parametrize("key", ["", "another-token"])
async def test_a_handshake_without_twilios_signature_is_refused_and_its_token_stays_valid(
    key: str, autojump_clock: Clock
) -> None:
    async with stage() as play:
        url = await ring(play)
        headers = {"x-twilio-signature": sign(key, url)} if key else {}
        assert await refused(play, url, headers) == 403
        await nothing_is_left(play)
        async with socket(play, url):
            pass


async def test_a_request_with_two_signatures_is_refused(autojump_clock: Clock) -> None:
    async with stage() as play:
        url = await ring(play)
        both = Headers([("x-twilio-signature", sign(ACCOUNT.auth_token, url)), ("x-twilio-signature", "x")])
        request = type("Request", (), {"path": urlsplit(url).path, "headers": both})()
        assert door._one(request, "x-twilio-signature") is None


async def test_a_token_opens_one_socket(autojump_clock: Clock) -> None:
    async with stage() as play:
        url = await ring(play)
        async with socket(play, url) as end:
            await end.send(json.dumps(start()).encode())
            await end.receive()
            assert await refused(play, url) == 403
        assert await refused(play, url) == 403


async def test_a_token_is_valid_for_one_minute(autojump_clock: Clock) -> None:
    async with stage() as play:
        url = await ring(play)
        await trio.sleep(61)
        assert await refused(play, url) == 403


async def test_an_older_token_of_the_same_call_opens_no_second_stream(autojump_clock: Clock) -> None:
    async with stage() as play:
        older, newer = await ring(play), await ring(play)
        async with socket(play, newer) as end:
            await end.send(json.dumps(start()).encode())
            await end.receive()
            assert await refused(play, older) == 403


@pytest.mark.parametrize("token", ["", "x" * 22, "../..", "%00", "a" * 4000])
async def test_an_invalid_token_is_refused(token: str, autojump_clock: Clock) -> None:
    async with stage() as play:
        url = f"{(await ring(play)).rpartition('/')[0]}/{token}"
        assert await refused(play, url) == 403
        await nothing_is_left(play)


@pytest.mark.parametrize(
    ("ours", "named", "headers", "status"),
    [
        ("", "148e2f9a", {}, 403),  # without a fleet there is no other machine
        ("148e0000", "148e2f9a", {}, 307),
        ("148e0000", "148e2f9a", {"fly-replay-failed": "1"}, 403),  # it was sent there and came back
        ("148e0000", "not-a-machine", {}, 403),
        ("148e0000", "a" * 65, {}, 403),
        ("148e0000", "", {}, 403),
    ],
)
async def test_a_request_for_another_machine_is_sent_there_once(
    ours: str, named: str, headers: dict[str, str], status: int, autojump_clock: Clock
) -> None:
    async with stage(settings={"FLY_MACHINE_ID": ours}) as play:
        url = f"wss://relay.example.com/twilio/stream/{named}/{'x' * 22}"
        with pytest.raises(Refused) as refusal:
            async with socket(play, url, headers):
                pass
        assert refusal.value.status == status


@pytest.mark.parametrize(
    "said",
    [
        start(callSid="CA" + "2" * 32),
        start(accountSid="AC" + "9" * 32),
        start(mediaFormat=FORMAT | {"encoding": "audio/l16"}),
        start(mediaFormat=FORMAT | {"sampleRate": 16000}),
        start(mediaFormat=FORMAT | {"channels": 2}),
        {"event": "media", "streamSid": "MZ1", "media": {"payload": "", "timestamp": "1"}},
        {"event": "dtmf", "streamSid": "MZ1", "dtmf": {"digit": "1"}},
        {"event": "stop", "streamSid": "MZ1"},
        {"event": "start", "start": {}},
        {"event": "start"},
        {},
        [],
        "connected",
        None,
    ],
    ids=lambda said: json.dumps(said)[:50],
)
async def test_a_wrong_first_message_closes_the_socket_with_1008_and_the_caller_gets_the_human(
    said: Any, autojump_clock: Clock
) -> None:
    async with stage() as play:
        async with socket(play, await ring(play)) as end:
            await end.send(json.dumps(CONNECTED).encode(), json.dumps(said).encode())
            assert (await ended(end)).code == 1008
        await nothing_is_left(play)
        after = await ask(play, "/twilio/after")
        assert after.verbs == ["Say", "Dial"]
        (outcome,) = play.ledger.of(rows.OutcomeRow, SID)
        assert outcome.outcome == "no_stream"


async def test_a_stream_of_the_account_that_signed_the_webhook_is_served_even_if_the_settings_name_another_account(
    autojump_clock: Clock,
) -> None:
    other = "AC" + "7" * 32
    async with stage() as play:
        (stream,) = (await ask(play, "/twilio/incoming", {"AccountSid": other})).all("Stream")
        async with socket(play, stream.attrib["url"]) as end:
            await end.send(json.dumps(start(accountSid=other)).encode())
            assert json.loads((await end.receive())[0])["event"] == "media"


async def test_a_first_message_that_is_not_json_closes_the_socket_with_1008(autojump_clock: Clock) -> None:
    async with stage() as play:
        async with socket(play, await ring(play)) as end:
            await end.send(b'{"event":"conn')
            assert (await ended(end)).code == 1008
        await nothing_is_left(play)


async def test_a_socket_without_a_first_message_is_closed_after_five_seconds(autojump_clock: Clock) -> None:
    async with stage() as play:
        async with socket(play, await ring(play)) as end:
            began = trio.current_time()
            await end.send(json.dumps(CONNECTED).encode())
            assert (await ended(end)).code == 1008
            assert trio.current_time() - began == pytest.approx(door.START_LIMIT_S)
        await nothing_is_left(play)


@pytest.mark.parametrize("politely", [True, False])
async def test_a_socket_that_closes_before_start_leaves_no_call_open(politely: bool, autojump_clock: Clock) -> None:
    async with stage() as play:
        raw = await play.door.open_stream(url := await ring(play))
        end = await upgrade(StreamWire(raw), url, {"x-twilio-signature": sign(ACCOUNT.auth_token, url)})
        await end.send(json.dumps(CONNECTED).encode())
        await trio.testing.wait_all_tasks_blocked()
        assert play.daemon.desk.live_calls == 1
        if politely:
            await end.close()
        else:
            await trio.aclose_forcefully(raw)
        await nothing_is_left(play)


async def test_a_socket_that_is_cancelled_before_start_leaves_no_call_open(autojump_clock: Clock) -> None:
    async with stage() as play:
        async with socket(play, await ring(play)):
            await trio.testing.wait_all_tasks_blocked()
            play.media_scopes[-1].cancel()
        await nothing_is_left(play)


async def test_unknown_messages_before_start_are_ignored(autojump_clock: Clock) -> None:
    async with stage() as play:
        async with socket(play, await ring(play)) as end:
            await end.send(json.dumps({"event": "new-in-2027", "x": 1}).encode(), json.dumps(start()).encode())
            assert json.loads((await end.receive())[0])["event"] == "media"
            await end.send(json.dumps({"event": "stop", "streamSid": "MZ" + "1" * 32, "stop": {}}).encode())
            await ended(end)
        await nothing_is_left(play)
        (outcome,) = play.ledger.of(rows.OutcomeRow, SID)
        assert outcome.end_reason == EndReason.CALLER_HUNG_UP


# Messages that come with the start, sockets that die in silence, and the ends of a stream


STREAM_SID = "MZ" + "1" * 32
ZERO = {"event": "dtmf", "streamSid": STREAM_SID, "dtmf": {"track": "inbound_track", "digit": "0"}}


def said(message: dict[str, Any]) -> bytes:
    return json.dumps(message).encode()


def frame(number: int) -> dict[str, Any]:
    """20 ms of the caller's silence."""
    media = {"track": "inbound", "chunk": str(number + 1), "timestamp": str(100 + 20 * number)}
    return {"event": "media", "streamSid": STREAM_SID, "media": media | {"payload": "/" * 212 + "8="}}


async def talk(end: WebSocketEnd, frames: int) -> None:
    for number in range(frames):
        await end.send(said(frame(number)))
        await trio.sleep(0.02)


async def give_marks_back(end: WebSocketEnd) -> None:
    """Return marks at once, as Twilio does, until the relay closes."""
    try:
        while True:
            for message in await end.receive():
                if json.loads(message)["event"] == "mark":
                    await end.send(
                        said({"event": "mark", "streamSid": STREAM_SID, "mark": json.loads(message)["mark"]})
                    )
    except Gone:
        pass


@pytest.mark.parametrize("after", [0, 1, 25])
@pytest.mark.parametrize("together", [True, False])
async def test_messages_that_come_together_with_start_reach_the_call(
    after: int, together: bool, autojump_clock: Clock
) -> None:
    async with stage() as play:
        async with socket(play, await ring(play)) as end:
            opening = [said(CONNECTED), said(start())]
            following = [*(said(frame(number)) for number in range(after)), said(ZERO)]
            if together:
                await end.send(*opening, *following)
            else:
                await end.send(*opening)
                await trio.sleep(0.01)
                await end.send(*following)
            await give_marks_back(end)  # the key brings the human, so the relay closes the socket
        assert (await ask(play, "/twilio/after")).verbs == ["Dial"]
        (outcome,) = play.ledger.of(rows.OutcomeRow, SID)
        assert outcome.end_reason == EndReason.TRANSFERRED


async def test_a_socket_that_died_unnoticed_is_replaced_by_the_next_socket_at_once(
    autojump_clock: Clock,
) -> None:
    async with stage() as play:
        async with socket(play, await ring(play)) as dead:
            await dead.send(said(CONNECTED), said(start()))
            await talk(dead, 100)
            began = trio.current_time()
            after = await ask(play, "/twilio/after")
            assert after.verbs == ["Connect", "Redirect"]
            assert trio.current_time() == began
            (stream,) = after.all("Stream")
            async with socket(play, stream.attrib["url"]) as again:
                await again.send(said(CONNECTED), said(start(streamSid="MZ" + "2" * 32)))
                first = json.loads((await again.receive())[0])
                assert first["streamSid"] == "MZ" + "2" * 32
                assert trio.current_time() - began < 2
                file = play.daemon.desk.files[SID]
                assert (file.streams, file.resumes, play.daemon.desk.live_calls) == (2, 1, 1)
                await again.send(said({"event": "stop", "streamSid": "MZ" + "2" * 32, "stop": {}}))
                await ended(again)
        await nothing_is_left(play)
        (outcome,) = play.ledger.of(rows.OutcomeRow, SID)
        assert outcome.end_reason == EndReason.CALLER_HUNG_UP


async def test_the_after_webhook_ends_a_socket_that_still_waits_for_its_start_message(autojump_clock: Clock) -> None:
    async with stage() as play:
        async with socket(play, await ring(play)) as end:
            await end.send(said(CONNECTED))
            await trio.testing.wait_all_tasks_blocked()
            began = trio.current_time()
            assert (await ask(play, "/twilio/after")).verbs == ["Say", "Dial"]
            await ended(end)
            assert trio.current_time() == began
        await nothing_is_left(play)


@pytest.mark.parametrize("over", ["/twilio/after", "/twilio/status"])
async def test_a_fault_is_news_if_the_caller_leaves_before_the_agents_new_stream_has_started(
    over: str, autojump_clock: Clock
) -> None:
    async with stage() as play:
        desk = play.daemon.desk
        desk.news = News(["email"], desk.utc_now)
        call_file(play).decide(Decision(Next.RESUME, EndReason.CALLER_SOCKET_LOST))
        (stream,) = (await ask(play, "/twilio/after")).all("Stream")
        async with socket(play, stream.attrib["url"]):
            await trio.sleep(1)
            assert play.ledger.of(rows.OutboxRow) == []
            await ask(play, over, {"CallStatus": "completed"})
        assert [(row.kind, row.body["fault"]) for row in play.ledger.of(rows.OutboxRow)] == [
            ("fault", "caller_socket_lost")
        ]


async def test_a_signed_webhook_with_the_status_completed_ends_the_stream_and_its_session_at_once(
    autojump_clock: Clock,
) -> None:
    async with stage() as play:
        async with socket(play, await ring(play)) as end:
            await end.send(said(CONNECTED), said(start()))
            await talk(end, 50)
            assert play.model_scopes
            await ask(play, "/twilio/status", {"CallStatus": "completed"})
            began = trio.current_time()
            await ended(end)
            assert trio.current_time() - began < 3
        await nothing_is_left(play)
        assert play.model_scopes == []
        (outcome,) = play.ledger.of(rows.OutcomeRow, SID)
        assert outcome.end_reason == EndReason.CALLER_HUNG_UP


@pytest.mark.parametrize("says_stop", [True, False])
async def test_a_stream_that_twilio_reports_as_stopped_ends_with_or_without_a_stop_message(
    says_stop: bool, autojump_clock: Clock
) -> None:
    async with stage() as play:
        async with socket(play, await ring(play)) as end:
            await end.send(said(CONNECTED), said(start()))
            await talk(end, 20)
            began = trio.current_time()
            await ask(play, "/twilio/stream-status", {"StreamEvent": "stream-stopped", "StreamSid": STREAM_SID})
            assert trio.current_time() == began
            if says_stop:  # the message was on its way
                await end.send(said({"event": "stop", "streamSid": STREAM_SID, "stop": {}}))
            await ended(end)
            assert trio.current_time() - began < 4
        await nothing_is_left(play)
        (outcome,) = play.ledger.of(rows.OutcomeRow, SID)
        ends = {True: EndReason.CALLER_HUNG_UP, False: EndReason.CALLER_SOCKET_LOST}
        assert outcome.end_reason == ends[says_stop]


@pytest.mark.parametrize("close_takes_s", [0.0, 1.0, 1.9, 5.0])
async def test_a_caller_who_wants_a_human_gets_one_even_if_the_socket_closes_slowly(
    close_takes_s: float, autojump_clock: Clock
) -> None:
    async with stage() as play:
        async with socket(play, await ring(play)) as end:
            await end.send(said(CONNECTED), said(start()), said(ZERO))
            while True:  # read without the library, because the library would answer a close frame
                data = await end._wire.read()
                end._feed(data)
                for message in map(json.loads, end._ready):
                    if message["event"] == "mark":
                        await end.send(said({"event": "mark", "streamSid": STREAM_SID, "mark": message["mark"]}))
                end._ready.clear()
                if end._protocol.close_rcvd is not None:
                    break
            assert (await ask(play, "/twilio/after")).verbs == ["Dial"]
            await trio.sleep(close_takes_s)
        await trio.sleep(3)
        (outcome,) = play.ledger.of(rows.OutcomeRow, SID)
        assert (outcome.end_reason, outcome.transfer_result) == (EndReason.TRANSFERRED, "asked")


@pytest.mark.parametrize("answers", [True, False])
async def test_a_muted_phone_is_not_taken_for_a_dead_socket(answers: bool, autojump_clock: Clock) -> None:
    async with stage() as play:
        async with socket(play, await ring(play)) as end:
            await end.send(said(CONNECTED), said(start()))
            if answers:
                play.nursery.start_soon(give_marks_back, end)
            await talk(end, 50)
            await trio.sleep(25)  # no more frames come
            assert play.daemon.desk.live_calls == answers
        await trio.sleep(3)
        (outcome,) = play.ledger.of(rows.OutcomeRow, SID)
        ends = {True: EndReason.CALLER_HUNG_UP, False: EndReason.NO_CALLER_AUDIO}
        assert outcome.end_reason == ends[answers]
