"""The stand-in voice service keeps the protocol: what it refuses, when it speaks, and the times of the characters."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pybase64
import pytest
import trio
from trio.testing import MockClock

from relay.cli import main
from relay.standin.elevenlabs.server import StandInVoice
from relay.standin.elevenlabs.voice_script import SAYS, VoiceFaults, VoiceScript, VoiceScriptError
from relay.standin.speech.voice import Voice
from relay.transport.handshake import Refused, dial, upgrade
from relay.transport.websocket import Gone, WebSocketEnd
from relay.transport.wire import StreamWire
from relay.voices import elevenlabs_protocol as protocol
from relay.voices.elevenlabs_socket import ElevenLabs, VoiceAccess
from tests.helpers.pipe import pipe

PATH = protocol.path("voice", "eleven_flash_v2_5")
PLAIN = "/v1/text-to-speech/voice/multi-stream-input?model_id=eleven_flash_v2_5&output_format=ulaw_8000"


@asynccontextmanager
async def client(
    script: dict[str, Any] | None = None, path: str = PATH
) -> AsyncIterator[tuple[WebSocketEnd, StandInVoice]]:
    service = StandInVoice(VoiceScript.from_table(script or {}))
    async with trio.open_nursery() as nursery:
        ours, theirs = pipe()
        nursery.start_soon(service.speak_to, theirs)
        yield await upgrade(StreamWire(ours), f"ws://x{path}", {"xi-api-key": "k"}), service
        nursery.cancel_scope.cancel()


async def messages(end: WebSocketEnd, for_s: float) -> list[dict[str, Any]]:
    got: list[dict[str, Any]] = []
    with trio.move_on_after(for_s):
        try:
            while True:
                got += [json.loads(message) for message in await end.receive()]
        except Gone as gone:
            got.append({"gone": gone.code})
    return got


async def test_a_text_of_fewer_than_forty_characters_waits_until_a_flush(autojump_clock: MockClock) -> None:
    async with client() as (end, _):
        await end.send(protocol.begin_context("a"), protocol.speak("a", "Of course. ", flush=False))
        assert await messages(end, 10) == []
        await end.send(protocol.speak("a", "", flush=True))
        assert await messages(end, 10) != []


async def test_without_auto_mode_a_text_of_fewer_than_120_characters_waits_for_more(autojump_clock: MockClock) -> None:
    async with client(path=PLAIN) as (end, _):
        await end.send(protocol.begin_context("a"), protocol.speak("a", "Of course. " * 10, flush=False))
        assert await messages(end, 10) == []
        await end.send(protocol.speak("a", "Of course. ", flush=False))
        assert await messages(end, 10) != []


async def test_when_a_context_is_closed_its_text_is_still_spoken_to_its_end(autojump_clock: MockClock) -> None:
    async with client() as (end, _):
        await end.send(
            protocol.begin_context("a"), protocol.speak("a", "Still there? ", flush=False), protocol.close_context("a")
        )
        got = await messages(end, 10)
        sound = b"".join(pybase64.b64decode(m["audio"]) for m in got if m.get("audio"))
        assert sound == Voice().say("Still there?")
        assert got[-1].get("isFinal", got[-1].get("is_final")) is True


async def test_the_times_of_the_characters_begin_at_zero_in_each_message_and_no_character_is_missing(
    autojump_clock: MockClock,
) -> None:
    text = "No problem. What can I do for you? "
    async with client({"spelling": "camel"}) as (end, _):
        await end.send(protocol.begin_context("a"), protocol.speak("a", text, flush=True))
        got = await messages(end, 10)
        assert len(got) > 3
        assert "".join(c for m in got for c in m["alignment"]["chars"]) == text
        for message in got:
            starts = message["alignment"]["charStartTimesMs"]
            assert starts == sorted(starts)
            assert all(0 <= each <= len(pybase64.b64decode(message["audio"])) / 8 for each in starts)


async def test_a_sixth_context_is_refused_and_ends_the_socket(autojump_clock: MockClock) -> None:
    async with client() as (end, _):
        await end.send(*(protocol.begin_context(str(n)) for n in range(5)))
        assert await messages(end, 5) == []
        await end.send(protocol.begin_context("5"))
        refused, gone = await messages(end, 5)
        assert (refused["error"], refused["code"], gone) == ("max_active_conversations", 1008, {"gone": 1008})


@pytest.mark.parametrize(("query", "limit_s"), [("", 20), ("&inactivity_timeout=180", 180)])
async def test_the_socket_of_a_client_that_sends_nothing_for_too_long_is_closed(
    autojump_clock: MockClock, query: str, limit_s: float
) -> None:
    async with client(path=PLAIN + query) as (end, _):
        await end.send(protocol.begin_context("a"))
        assert await messages(end, limit_s - 1) == []
        await end.send(protocol.keep_alive("a"))
        assert await messages(end, limit_s - 1) == []
        told, gone = await messages(end, 3)
        assert (told["error"], gone) == ("input_timeout_exceeded", {"gone": 1008})


async def test_settings_are_accepted_only_in_the_first_message_of_a_context(autojump_clock: MockClock) -> None:
    async with client() as (end, _):
        await end.send(protocol.keep_alive("a"), protocol.begin_context("a"))  # the keep-alive was the first message
        assert [m.get("error") for m in await messages(end, 5)] == ["invalid_input_message", None]


@pytest.mark.parametrize("rubbish", [b"x", b"[]", b'{"text": 5}', b'{"flush": "yes"}'])
async def test_a_message_that_is_not_in_the_protocol_is_refused(autojump_clock: MockClock, rubbish: bytes) -> None:
    async with client() as (end, _):
        await end.send(rubbish)
        assert (await messages(end, 5))[0]["error"] == "invalid_input_message"


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/text-to-speech/voice/stream-input", 404),
        (PATH.replace("ulaw_8000", "mp3_44100_128"), 400),
        (PATH.replace("eleven_flash_v2_5", "eleven_v4_turbo"), 400),
        (PLAIN + "&inactivity_timeout=181", 400),
    ],
)
async def test_a_connection_that_the_real_service_would_refuse_is_refused(
    autojump_clock: MockClock, path: str, status: int
) -> None:
    with pytest.RaisesGroup(pytest.RaisesExc(Refused, check=lambda e: e.status == status)):
        async with client(path=path):
            pass


def test_each_fault_has_a_description_and_the_error_for_a_wrong_fault_names_it() -> None:
    fields = {field.name for field in msgspec.structs.fields(VoiceFaults)}
    assert set(SAYS) == fields - {"from_connection", "connections"}
    assert len(VoiceFaults.described()) == len(SAYS)
    script = VoiceScript().with_faults("wrong_key, drops_after_ms=700, riff")
    assert (script.faults.wrong_key, script.faults.drops_after_ms, script.faults.riff) == ("socket", 700, True)
    for wrong in ("explode", "pace=0", "wrong_key=maybe", "late_chunks=-1"):
        with pytest.raises(VoiceScriptError, match=wrong.partition("=")[0]):
            VoiceScript().with_faults(wrong)
    with pytest.raises(VoiceScriptError, match="first_audio"):
        VoiceScript.from_table({"first_audio": 1})


def test_a_fault_affects_only_the_connections_that_it_is_ordered_for() -> None:
    faults = VoiceFaults(from_connection=2, connections=2)
    assert [faults.strikes(n) for n in (1, 2, 3, 4)] == [False, True, True, False]


def test_the_command_says_what_is_wrong_with_its_faults(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["standin", "elevenlabs", "--faults", "explode"]) == 2
    assert "explode" in capsys.readouterr().err


@pytest.mark.real
async def test_on_a_real_socket_a_phrase_is_spoken_and_an_ordered_cut_breaks_the_connection() -> None:
    async with trio.open_nursery() as nursery:
        for faults, ends in (({}, "whole"), ({"drops_after_ms": 300}, "cut")):
            script = VoiceScript.from_table({"first_audio_ms": [1, 2], "pace": 100, "faults": faults})
            service = StandInVoice(script)
            port = await nursery.start(service.serve, 0)
            voices = ElevenLabs(VoiceAccess(f"ws://127.0.0.1:{port}", "k", "voice"), dial)
            text = "I'm sorry, that time is already taken. Would half past seven work for you?"
            if ends == "whole":
                assert len(await voices.render(text)) > 8000
            else:
                with pytest.raises(Exception, match="connection ended"):
                    await voices.render(text)
            assert voices.open_sockets == 0
        nursery.cancel_scope.cancel()
