"""Clients of OpenAI's own make a voice turn, a barge-in and a function call with the stand-in model.

They are the official `openai` client and the `openai-agents` SDK. Each runs in a thread beside the Trio run that
serves the stand-in.
"""

from __future__ import annotations

import asyncio  # noqa: TID251 -- the SDK is an asyncio program
import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
import trio
from openai import OpenAI
from openai.resources.realtime.realtime import RealtimeConnection

import dsp
from relay.standin.model.script import Script
from relay.standin.model.server import PATH, StandInModel
from relay.standin.speech.voice import clips

pytestmark = pytest.mark.real

MODEL = "gpt-realtime-2.1-mini"
PCM = {"type": "audio/pcm", "rate": 24000}
HOURS = {
    "type": "function",
    "name": "lookup_hours",
    "description": "Opening hours of a day.",
    "parameters": {"type": "object", "properties": {"date": {"type": "string"}}, "required": ["date"]},
}
VAD = {"type": "server_vad", "silence_duration_ms": 500}


def spoken(clip: str) -> bytes:
    """A caller's clip and 700 ms of silence, as PCM16 at 24 kHz."""
    return dsp.Uplink().feed(clips()[clip].mulaw + b"\xff" * 5600)


async def against(model: StandInModel, client: Callable[[int], None]) -> None:
    """Run a blocking client against the stand-in on a port."""
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            port = await nursery.start(model.serve, 0)
            await trio.to_thread.run_sync(client, port, abandon_on_cancel=True)
            nursery.cancel_scope.cancel()


class Official:
    """The official client's connection, and the events that have come so far."""

    def __init__(self, connection: RealtimeConnection) -> None:
        self.connection = connection
        self.events: list[Any] = []

    def until(self, type_: str) -> Any:
        """Read up to an event of this type. An error event fails the test."""
        while True:
            event = self.connection.recv()
            self.events.append(event)
            assert type_ == "error" or event.type != "error", event
            if event.type == type_:
                return event

    def say(self, clip: str) -> None:
        audio = spoken(clip)
        for at in range(0, len(audio), 9600):
            self.connection.input_audio_buffer.append(audio=base64.b64encode(audio[at : at + 9600]).decode())


def with_official(port: int, talk: Callable[[Official], None]) -> None:
    client = OpenAI(api_key="sk-nobody", base_url=f"http://127.0.0.1:{port}/v1")
    with client.realtime.connect(model=MODEL) as connection:
        official = Official(connection)
        official.until("session.created")
        connection.session.update(
            session={
                "type": "realtime",
                "instructions": "You answer the phone.",
                "tools": [HOURS],  # type: ignore[list-item]
                "audio": {
                    "input": {"format": PCM, "turn_detection": VAD, "transcription": {"model": "gpt-transcribe"}},  # type: ignore[typeddict-item]
                    "output": {"format": PCM, "voice": "marin"},  # type: ignore[typeddict-item]
                },
            }
        )
        official.until("session.updated")
        talk(official)
    client.close()


async def test_the_official_client_can_make_a_voice_turn() -> None:
    def talk(official: Official) -> None:
        official.say("hello")
        done = official.until("response.done").response
        assert done.status == "completed"
        assert done.usage.output_token_details.audio_tokens == clips()["how_help"].ms // 50
        audio = b"".join(base64.b64decode(e.delta) for e in official.events if e.type == "response.output_audio.delta")
        assert len(audio) == 6 * len(clips()["how_help"].mulaw)
        completed = official.until("conversation.item.input_audio_transcription.completed")
        assert completed.transcript == "Hello?"

    model = StandInModel()
    await against(model, lambda port: with_official(port, talk))
    assert model.sessions[0].report.said == ["How can I help you?"]


async def test_the_official_client_can_barge_in_and_truncate() -> None:
    def talk(official: Official) -> None:
        text = clips()["hours"].text
        official.connection.response.create(response={"instructions": f"Say exactly: {text}"})
        delta = official.until("response.output_audio.delta")
        official.say("oh_wait")
        official.until("input_audio_buffer.speech_started")
        official.connection.conversation.item.truncate(item_id=delta.item_id, content_index=0, audio_end_ms=200)
        assert official.until("conversation.item.truncated").audio_end_ms == 200
        while official.until("response.done").response.status != "completed":
            pass
        first, *_ = [event.response for event in official.events if event.type == "response.done"]
        assert (first.status, first.status_details.reason) == ("cancelled", "turn_detected")

    model = StandInModel(Script(pace=1.0))
    await against(model, lambda port: with_official(port, talk))
    assert model.sessions[0].report.said[-1] == "No problem. What can I do for you?"


async def test_the_official_client_can_answer_a_function_call() -> None:
    def talk(official: Official) -> None:
        official.say("ask_hours")
        call = official.until("response.done").response.output[-1]
        assert (call.type, call.name) == ("function_call", "lookup_hours")
        assert list(json.loads(call.arguments)) == ["date"]
        answer = {"type": "function_call_output", "call_id": call.call_id, "output": '{"open": "11:00"}'}
        official.connection.conversation.item.create(item=answer)  # type: ignore[arg-type]
        official.connection.response.create()
        said = official.until("response.done").response.output[0].content[0].transcript
        assert said == clips()["hours"].text

    await against(StandInModel(), lambda port: with_official(port, talk))


# openai-agents


def with_agents(port: int, talk: Callable[[Any, list[Any]], Any]) -> None:
    # The import takes four seconds of CPU, so only the process that runs these tests does it.
    from agents import function_tool, set_tracing_disabled
    from agents.realtime import RealtimeAgent, RealtimeRunner

    set_tracing_disabled(True)

    @function_tool
    def lookup_hours(date: str) -> str:
        """Opening hours of a day."""
        return json.dumps({"date": date, "open": "11:00", "close": "22:00"})

    async def main() -> None:
        agent = RealtimeAgent(name="Robin", instructions="You answer the phone.", tools=[lookup_hours])
        settings: Any = {
            "model_name": MODEL,
            "audio": {"input": {"format": PCM, "turn_detection": VAD}, "output": {"format": PCM}},
        }
        config: Any = {
            "url": f"ws://127.0.0.1:{port}{PATH}?model={MODEL}",
            "api_key": "sk-nobody",
            "initial_model_settings": settings,
        }
        async with asyncio.timeout(50):
            session = await RealtimeRunner(agent).run(model_config=config)
            seen: list[Any] = []
            async with session:
                await talk(session, seen)

    asyncio.run(main())


async def until(session: Any, seen: list[Any], fits: Callable[[Any], bool]) -> Any:
    """Read the SDK's events up to one that fits. An error event fails the test."""
    async for event in session:
        seen.append(event)
        assert event.type != "error", event
        if fits(event):
            return event
    raise AssertionError("the session ended")


async def say(session: Any, clip: str) -> None:
    audio = spoken(clip)
    for at in range(0, len(audio), 9600):
        await session.send_audio(audio[at : at + 9600])


def raw(event: Any) -> str:
    """The type of the server's event that the SDK passes on."""
    inner = getattr(event, "data", None)
    server = getattr(inner, "data", None)
    return server.get("type", "") if isinstance(server, dict) else ""


async def test_the_agents_sdk_can_make_a_voice_turn_with_a_function_call() -> None:
    async def talk(session: Any, seen: list[Any]) -> None:
        await say(session, "ask_hours")
        await until(session, seen, lambda event: event.type == "tool_end")
        assert "11:00" in seen[-1].output
        await until(session, seen, lambda event: event.type == "audio_end")
        audio = b"".join(event.audio.data for event in seen if event.type == "audio")
        assert len(audio) == 6 * len(clips()["hours"].mulaw)

    model = StandInModel()
    await against(model, lambda port: with_agents(port, talk))
    report = model.sessions[0].report
    assert (report.heard, report.called) == (["Hi, what time do you open tomorrow?"], ["lookup_hours"])
    assert report.errors == []


async def test_the_agents_sdk_can_barge_in() -> None:
    async def talk(session: Any, seen: list[Any]) -> None:
        await say(session, "ask_hours")
        await until(session, seen, lambda event: event.type == "tool_end")
        await until(session, seen, lambda event: event.type == "audio")
        await asyncio.sleep(0.5)
        await say(session, "oh_wait")
        await until(session, seen, lambda event: event.type == "audio_interrupted")
        await until(session, seen, lambda event: raw(event) == "response.done")
        await until(session, seen, lambda event: event.type == "audio_end")

    model = StandInModel(Script(pace=1.0))
    await against(model, lambda port: with_agents(port, talk))
    report = model.sessions[0].report
    assert report.heard[:2] == ["Hi, what time do you open tomorrow?", "Oh wait, sorry."]
    assert "conversation.item.truncate" in report.received
    assert report.errors == []
