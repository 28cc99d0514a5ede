"""The stand-in model answers as OpenAI does. The numbers in the test names are the points of the conformance list.

realtime_line.Line checks every event against the official package's types when it comes.
"""

from __future__ import annotations

import base64
import itertools
import json
from typing import Any

import numpy as np
import pytest

import dsp
from relay.standin.model.audio import to_wire
from relay.standin.model.script import Reaction, Script
from relay.standin.speech.voice import clips
from tests.helpers.model_peer import BOOKING, HOURS_TOOL, SERVER_VAD, error, listening, say
from tests.helpers.realtime_line import HEADERS, PCM, PCMU, URL, Line, one, types

SPOKEN = [
    "response.output_item.added",
    "conversation.item.added",
    "response.content_part.added",
    "response.output_audio_transcript.delta",
    "response.output_audio.delta",
]
CLOSING = [
    "response.output_audio.done",
    "response.output_audio_transcript.done",
    "response.content_part.done",
    "conversation.item.done",
    "response.output_item.done",
    "response.done",
    "rate_limits.updated",
]


# 1. Connecting


def test_01_a_good_connection_begins_with_session_created_and_nothing_else() -> None:
    line = Line()
    assert [(at, event["type"]) for at, event in line.events] == [(0.0, "session.created")]
    session = line.events[0][1]["session"]
    assert session["audio"]["input"]["turn_detection"]["silence_duration_ms"] == 200
    assert session["model"] == "gpt-realtime-2.1-mini"
    assert session["expires_at"] == 1_795_392_000 + 3600


@pytest.mark.parametrize(
    ("url", "headers", "code", "message", "close", "reason"),
    [
        (URL, {}, None, "Missing bearer or basic authentication in header", 3000, "invalid_request_error"),
        (URL, {"authorization": "Bearer sk-wrong"}, "invalid_api_key",
         "Incorrect API key provided: sk-wrong. You can find your API key at "
         "https://platform.openai.com/account/api-keys.", 3000, "invalid_request_error.invalid_api_key"),
        ("/v1/realtime", HEADERS, "missing_model",
         "You must provide a model parameter, for example wss://api.openai.com/v1/realtime?model=gpt-realtime-1.5",
         4000, "invalid_request_error.missing_model"),
        ("/v1/realtime?model=gpt-nope", HEADERS, "invalid_model",
         'Model "gpt-nope" is not supported in realtime mode.', 4000, "invalid_request_error.invalid_model"),
        (URL, {**HEADERS, "openai-beta": "realtime=v1"}, "beta_api_shape_disabled",
         "The Realtime Beta API is no longer supported. Please use /v1/realtime for the GA API.",
         4000, "invalid_request_error.beta_api_shape_disabled"),
    ],
)  # fmt: skip
def test_01_a_bad_connection_gets_one_error_and_the_close_at_the_same_moment(
    url: str, headers: dict[str, str], code: str | None, message: str, close: int, reason: str
) -> None:
    line = Line(Script(api_key=HEADERS["authorization"].removeprefix("Bearer ")), url, headers)
    ((at, event),) = line.events
    assert at == 0.0
    assert event["error"] == {
        "type": "invalid_request_error", "code": code, "message": message, "param": None, "event_id": None,
    }  # fmt: skip
    assert line.closed is not None
    assert (line.closed.code, line.closed.reason) == (close, reason)
    assert line.send("response.create") == []
    assert line.wait(100) == []


def test_01_a_key_in_a_subprotocol_is_accepted() -> None:
    line = Line(headers={"sec-websocket-protocol": "realtime, openai-insecure-api-key.ek_1"})
    assert line.events[0][1]["type"] == "session.created"


# 2. Keep-alive


def test_02_an_idle_connection_gets_a_ping_every_20_s_and_nothing_else() -> None:
    line = Line()
    assert line.wait(70) == []
    assert line.pings == [20.0, 40.0, 60.0]
    assert "response.created" in types(line.send("response.create"))


# 3. session.update


def test_03_an_update_changes_only_what_it_names_and_the_answer_has_the_whole_session() -> None:
    line = Line()
    before = line.events[0][1]["session"]
    answer = line.configure(audio={"input": {"turn_detection": {"type": "server_vad", "threshold": 0.7}}})
    assert answer["type"] == "session.updated"
    expected = json.loads(json.dumps(before))
    expected["audio"]["input"]["turn_detection"]["threshold"] = 0.7
    assert answer["session"] == expected


def test_03_an_update_with_an_unknown_key_is_discarded_as_a_whole() -> None:
    line = Line()
    answer = line.configure(instructions="Be brief.", bogus_field=1)
    assert answer["error"] == {
        "type": "invalid_request_error", "code": "unknown_parameter", "param": "session.bogus_field",
        "message": "Unknown parameter: 'session.bogus_field'.", "event_id": None,
    }  # fmt: skip
    assert line.configure()["session"]["instructions"] != "Be brief."


@pytest.mark.parametrize(
    ("session", "code", "param"),
    [
        ({"input_audio_format": "g711_ulaw"}, "unknown_parameter", "session.input_audio_format"),
        ({"temperature": 0.8}, "unknown_parameter", "session.temperature"),
        ({"modalities": ["text"]}, "unknown_parameter", "session.modalities"),
        ({"audio": {"output": {"format": {"type": "audio/pcm"}}}}, "missing_required_parameter",
         "session.audio.output.format.rate"),
        ({"audio": {"input": {"format": {"type": "audio/pcm", "rate": 16000}}}}, "integer_below_min_value",
         "session.audio.input.format.rate"),
        ({"audio": {"input": {"format": {"type": "audio/pcmu", "rate": 8000}}}}, "unknown_parameter",
         "session.audio.input.format.rate"),
        ({"audio": {"input": {"format": "g711_ulaw"}}}, "invalid_type", "session.audio.input.format"),
        ({"audio": {"output": {"voice": "fable"}}}, "invalid_value", "session.audio.output.voice"),
        ({"audio": {"input": {"turn_detection": {"type": "server_vad", "idle_timeout_ms": 3000}}}},
         "integer_below_min_value", "session.audio.input.turn_detection.idle_timeout_ms"),
        ({"output_modalities": ["audio", "text"]}, "invalid_value", "session.output_modalities"),
        ({"instructions": 5}, "invalid_type", "session.instructions"),
        ({"max_output_tokens": 9999}, "integer_above_max_value", "session.max_output_tokens"),
        ({"tools": [{**HOURS_TOOL, "strict": True}]}, "unknown_parameter", "session.tools[0].strict"),
        ({"tool_choice": "sometimes"}, "invalid_value", "session.tool_choice"),
        ({"type": "transcription"}, "invalid_value", "session.type"),
        ({"model": "gpt-realtime-1.5"}, "invalid_value", "session.model"),
        ({"audio": {"input": {"transcription": {"model": "gpt-transcrib"}}}}, "invalid_value",
         "session.audio.input.transcription.model"),
        ({"prompt": {"id": "pmpt_1", "variables": 1}}, "invalid_type", "session.prompt.variables"),
        ({"tracing": {"metadata": 1}}, "invalid_type", "session.tracing.metadata"),
        ({"tools": [{**HOURS_TOOL, "parameters": "{}"}]}, "invalid_type", "session.tools[0].parameters"),
        ({"tools": [{**HOURS_TOOL, "parameters": {"type": "string"}}]}, "invalid_function_parameters",
         "session.tools[0].parameters"),
    ],
)  # fmt: skip
def test_03_a_wrong_update_is_refused_with_a_code_and_the_path_of_the_mistake(
    session: dict[str, Any], code: str, param: str
) -> None:
    line = Line()
    before = line.peer.session
    answer = line.configure(**session)
    assert (answer["error"]["code"], answer["error"]["param"]) == (code, param)
    assert line.peer.session is before


def test_03_an_update_without_a_type_is_refused() -> None:
    assert error(Line().send("session.update", session={}))["param"] == "session.type"


def test_03_reasoning_is_refused_by_a_model_that_does_not_reason() -> None:
    assert Line().configure(reasoning={"effort": "low"})["type"] == "session.updated"
    line = Line(url="/v1/realtime?model=gpt-realtime-1.5")
    assert line.configure(reasoning={"effort": "low"})["type"] == "error"


def test_03_a_new_format_replaces_the_whole_old_format() -> None:
    audio = Line().configure(audio={"input": {"format": PCMU}, "output": {"format": PCMU}})["session"]["audio"]
    assert audio["input"]["format"] == audio["output"]["format"] == PCMU


def test_03_the_voice_cannot_be_changed_after_the_first_audio_of_the_assistant() -> None:
    line = Line()
    assert line.configure(audio={"output": {"voice": "cedar"}})["type"] == "session.updated"
    say(line, "Goodbye.")
    line.wait(3)
    answer = line.configure(audio={"output": {"voice": "marin"}}, tools=[HOURS_TOOL])
    assert answer["error"]["code"] == "cannot_update_voice"
    assert line.configure()["session"]["tools"] == []


def test_03_the_voice_can_be_changed_before_the_first_audio_and_after_all_audio_was_deleted() -> None:
    line = Line(Script(first_delta_ms=(300, 300)))
    say(line, "Goodbye.")
    assert line.configure(audio={"output": {"voice": "cedar"}})["type"] == "session.updated"
    line.wait(3)
    other = {"audio": {"output": {"voice": "marin"}}}
    assert error(line.send("response.create", response=other))["code"] == "cannot_update_voice"
    item_id = one([event for _, event in line.events], "response.output_item.done")["item"]["id"]
    line.send("conversation.item.delete", item_id=item_id)
    assert line.send("response.create", response=other)[0]["type"] == "response.created"


def test_03_tracing_cannot_be_changed_after_it_was_enabled() -> None:
    line = Line()
    assert line.configure(tracing="auto")["session"]["tracing"] == "auto"
    assert line.configure(tracing="auto")["type"] == "session.updated"
    assert line.configure(tracing=None, instructions="x")["error"]["param"] == "session.tracing"
    assert line.configure()["session"]["instructions"] != "x"


# 4. Messages that cannot be understood


def test_04_an_unknown_type_or_invalid_text_or_a_binary_message_is_refused_and_the_session_goes_on() -> None:
    line = Line()
    unknown = error(line.send("nope", event_id="mine"))
    assert unknown["message"].startswith("Invalid value: 'nope'. Supported values are: 'session.update', ")
    assert (unknown["code"], unknown["param"], unknown["event_id"]) == ("invalid_value", "type", "mine")
    assert error(line.send_raw("{"))["code"] == "invalid_json"
    assert error(line.send_raw("{"))["message"].startswith("Invalid event: failed to parse JSON value. ")
    binary = error(line.send_raw(b"\0"))
    assert binary["code"] == "invalid_event"
    assert binary["message"] == "Expected a text WebSocket message; binary frames are not supported."
    assert binary["event_id"] is None
    assert error(line.send_raw("{}"))["message"] == "The 'type' field is missing."
    assert line.closed is None
    assert line.configure()["type"] == "session.updated"


def test_04_unknown_and_missing_keys_of_an_event_are_refused() -> None:
    line = Line()
    assert error(line.send("input_audio_buffer.append", audio="", rate=8000))["code"] == "unknown_parameter"
    assert error(line.send("input_audio_buffer.append"))["code"] == "missing_required_parameter"
    assert error(line.send("input_audio_buffer.append", audio="?"))["param"] == "audio"
    assert error(line.send("input_audio_buffer.append", audio="QQ=="))["param"] == "audio"  # half a PCM16 sample
    assert error(line.send("output_audio_buffer.clear"))["code"] == "invalid_value"


# 5. Items and the input buffer


def test_05_a_created_item_is_reported_as_added_and_as_done_with_its_place() -> None:
    line = Line()
    user = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]}
    added, done = line.send("conversation.item.create", item={**user, "id": "mine"})
    assert (added["type"], done["type"]) == ("conversation.item.added", "conversation.item.done")
    assert added["item"] == {**user, "id": "mine", "status": "completed"}
    assert added["previous_item_id"] is None
    system = {"type": "message", "role": "system", "content": [{"type": "input_text", "text": "Verified."}]}
    assert line.send("conversation.item.create", item=system)[0]["previous_item_id"] == "mine"
    root, _ = line.send("conversation.item.create", item=system, previous_item_id="root")
    assert root["previous_item_id"] is None
    assert line.send("conversation.item.create", item=user, previous_item_id="mine")[0]["previous_item_id"] == "mine"


def test_05_a_wrong_item_is_refused() -> None:
    line = Line()
    user = {"id": "a", "type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]}
    line.send("conversation.item.create", item=user)
    assert error(line.send("conversation.item.create", item=user))["code"] == "item_create_duplicate_item_id"
    audio = {"type": "message", "role": "assistant", "content": [{"type": "output_audio", "audio": "AAAA"}]}
    assert error(line.send("conversation.item.create", item=audio))["param"] == "item.content[0].type"
    orphan = {"type": "function_call_output", "call_id": "call_x", "output": "{}"}
    assert "'call_x' not found" in error(line.send("conversation.item.create", item=orphan))["message"]
    assert error(line.send("conversation.item.create", item={"type": "poem"}))["param"] == "item.type"


def test_05_an_item_can_be_deleted_and_retrieved() -> None:
    line = Line()
    line.configure(audio={"output": {"format": PCMU}})
    say(line, "Goodbye.")
    line.wait(3)
    item_id = one([event for _, event in line.events], "response.output_item.done")["item"]["id"]
    (retrieved,) = line.send("conversation.item.retrieve", item_id=item_id)
    assert base64.b64decode(retrieved["item"]["content"][0]["audio"]) == line.audio()
    (deleted,) = line.send("conversation.item.delete", item_id=item_id)
    assert (deleted["type"], deleted["item_id"]) == ("conversation.item.deleted", item_id)
    assert error(line.send("conversation.item.delete", item_id=item_id))["code"] == "item_delete_invalid_item_id"


def test_05_a_commit_of_less_than_100_ms_is_refused_and_a_clear_is_confirmed() -> None:
    line = Line()
    line.configure(audio={"input": {"turn_detection": None}})
    line.hear(80)
    assert error(line.send("input_audio_buffer.commit"))["message"] == (
        "Error committing input audio buffer: buffer too small. Expected at least 100ms of audio, "
        "but buffer only has 80.00ms of audio."
    )
    (cleared,) = line.send("input_audio_buffer.clear")
    assert cleared["type"] == "input_audio_buffer.cleared"
    assert "only has 0.00ms" in error(line.send("input_audio_buffer.commit"))["message"]


def test_05_without_a_vad_the_client_commits_and_no_answer_comes_by_itself() -> None:
    line = Line()
    line.configure(audio={"input": {"turn_detection": None}})
    line.hear(clips()["hello"].mulaw)
    assert types(line.send("input_audio_buffer.commit")) == [
        "input_audio_buffer.committed", "conversation.item.added", "conversation.item.done",
    ]  # fmt: skip
    assert line.wait(5) == []
    line.send("response.create")
    line.wait(3)
    assert line.peer.report.heard == ["Hello?"]
    assert line.peer.report.said == ["How can I help you?"]


# 6. The cascade


def test_06_a_spoken_response_sends_all_its_events_in_order() -> None:
    line = Line()
    line.configure()
    start = len(line.events)
    say(line, "Goodbye, and thank you for calling.", metadata={"kind": "goodbye"})
    line.wait(5)
    events = [event for _, event in line.events[start:]]
    order = types(events)
    assert order[: 1 + len(SPOKEN)] == ["response.created", *SPOKEN]
    assert order[-len(CLOSING) :] == CLOSING
    created, done = one(events, "response.created")["response"], one(events, "response.done")["response"]
    changing = {"status", "output", "usage"}
    assert {k: v for k, v in created.items() if k not in changing} == {
        k: v for k, v in done.items() if k not in changing
    }
    assert (created["status"], created["output"], created["usage"]) == ("in_progress", [], None)
    assert (done["status"], done["status_details"], done["metadata"]) == ("completed", None, {"kind": "goodbye"})
    content = done["output"][0]["content"][0]
    assert content == {"type": "output_audio", "transcript": "Goodbye, and thank you for calling."}
    words = "".join(e["delta"] for e in events if e["type"] == "response.output_audio_transcript.delta")
    assert words == content["transcript"]
    assert line.when("rate_limits.updated")[0] - line.when("response.done")[0] == pytest.approx(0.043)


def test_06_the_usage_counts_audio_and_counts_the_beginning_that_was_already_known_as_cached() -> None:
    line = Line()
    line.configure(instructions="You answer the phone of a restaurant. " * 40, audio=listening())
    line.caller("hello", 1000)
    line.wait(4)
    line.caller("can_you_hear", 1000)
    line.wait(4)
    first, second = [event["response"]["usage"] for _, event in line.events if event["type"] == "response.done"]
    assert first["input_token_details"]["cached_tokens"] == 0
    details = second["input_token_details"]
    cached = details["cached_tokens_details"]
    assert details["cached_tokens"] == cached["text_tokens"] + cached["audio_tokens"] > 0
    assert cached["text_tokens"] % 64 == 0
    assert cached["text_tokens"] <= details["text_tokens"]
    assert second["total_tokens"] == second["input_tokens"] + second["output_tokens"]
    assert first["output_token_details"]["audio_tokens"] == clips()["how_help"].ms // 50


def test_06_answers_with_other_instructions_do_not_change_the_cache_of_the_conversation() -> None:
    line = Line()
    line.configure(instructions="You answer the phone of a restaurant. " * 40)
    for response in ({}, {"instructions": "Be brief."}, {"conversation": "none", "input": []}, {}):
        line.send("response.create", response=response)
        line.wait(4)
    first, other, beside, last = [
        event["response"]["usage"]["input_token_details"]
        for _, event in line.events
        if event["type"] == "response.done"
    ]
    assert other["text_tokens"] < first["text_tokens"]
    assert (first["cached_tokens"], other["cached_tokens"]) == (0, 0)
    assert beside["audio_tokens"] == 0  # its only input is the instructions, which are cached
    assert beside["text_tokens"] - beside["cached_tokens"] < 64
    assert last["cached_tokens_details"]["text_tokens"] == beside["cached_tokens_details"]["text_tokens"] > 300
    assert last["audio_tokens"] > 0


def test_06_a_text_response_sends_the_events_of_text() -> None:
    line = Line()
    line.configure(output_modalities=["text"])
    start = len(line.events)
    say(line, "Goodbye.")
    line.wait(3)
    order = types([event for _, event in line.events[start:]])
    assert "response.output_text.delta" in order
    assert order[order.index("response.output_text.done") :] == ["response.output_text.done", *CLOSING[2:]]
    assert line.audio() == b""


def limited(tokens: int, text: str, **session: Any) -> tuple[Line, dict[str, Any]]:
    """Ask for a response with too few tokens, and check that it is incomplete. Return the client and the response."""
    line = Line()
    line.configure(max_output_tokens=tokens, **session)
    say(line, text)
    response = one(line.wait(5), "response.done")["response"]
    assert response["status_details"] == {"type": "incomplete", "reason": "max_output_tokens"}
    assert response["output"][-1]["status"] == "incomplete"
    assert response["usage"]["output_tokens"] <= tokens
    return line, response


def test_06_max_output_tokens_cuts_the_audio_together_with_its_words() -> None:
    line, response = limited(20, clips()["hours"].text)
    assert len(line.audio()) == 15 * 50 * 48  # 15 tokens of audio of 50 ms each, and 5 tokens of words
    words = response["output"][0]["content"][0]["transcript"]
    assert clips()["hours"].text.startswith(words)
    assert len(words) == pytest.approx(len(clips()["hours"].text) * 750 / clips()["hours"].ms, abs=2)


def test_06_max_output_tokens_cuts_a_text_answer() -> None:
    _, response = limited(5, "This takes more than five tokens.", output_modalities=["text"])
    assert response["output"][0]["content"] == [{"type": "output_text", "text": "This takes more than"}]


def test_06_max_output_tokens_cuts_the_arguments_of_a_call() -> None:
    line = Line(Script(reactions=(Reaction(call="lookup_hours", arguments={"date": "2026-11-24"}),)))
    line.configure(tools=[HOURS_TOOL], max_output_tokens=3)
    line.send("response.create")
    response = one(line.wait(5), "response.done")["response"]
    assert (response["status"], response["output"][0]["status"]) == ("incomplete", "incomplete")
    assert response["output"][0]["arguments"] == '{"date": "20'


# 7. Pace


def test_07_audio_comes_in_250_ms_deltas_five_times_faster_than_it_plays() -> None:
    line = Line(Script(first_delta_ms=(400, 400)))
    line.configure()
    say(line, clips()["hours"].text)
    line.wait(5)
    times = line.when("response.output_audio.delta")
    assert times[0] == pytest.approx(0.4)
    assert [b - a for a, b in itertools.pairwise(times)] == pytest.approx([0.05] * (len(times) - 1))
    sizes = [len(base64.b64decode(e["delta"])) for _, e in line.events if e["type"] == "response.output_audio.delta"]
    assert set(sizes[:-1]) == {12000}
    played_s = len(line.audio()) / 48000
    assert played_s == pytest.approx(clips()["hours"].ms / 1000, abs=0.01)
    assert line.when("response.done")[0] < played_s / 4


def test_07_the_first_delta_comes_after_300_to_700_ms() -> None:
    delays = []
    for seed in range(20):
        line = Line(Script(seed=seed))
        line.send("response.create")
        line.wait(1)
        delays.append(line.when("response.output_audio.delta")[0])
    assert 0.3 <= min(delays) < 0.4
    assert 0.6 < max(delays) <= 0.7


def test_07_pcmu_output_has_the_same_bytes_as_the_clip() -> None:
    line = Line()
    line.configure(audio={"output": {"format": PCMU}})
    say(line, clips()["booked"].text)
    line.wait(5)
    assert line.audio() == clips()["booked"].mulaw


def test_07_pcm_output_has_the_same_beginning_as_the_clip() -> None:
    clip = clips()["booked"]
    pcm = np.frombuffer(to_wire(clip.mulaw, PCM), "<i2").astype(float)
    wanted = np.repeat(dsp.decode(clip.mulaw).astype(float), 3)
    assert len(pcm) == len(wanted)
    # 0.25 ms are allowed for the filter, whose delay is not the same for all pitches.
    alike = {shift: float(wanted[50:-50] @ pcm[50 + shift : len(pcm) - 50 + shift]) for shift in range(-40, 41)}
    best = max(alike, key=lambda shift: alike[shift])
    assert abs(best) <= 6


# 8. Turn detection


def test_08_the_vad_measures_time_in_bytes_and_commits_a_turn() -> None:
    line = Line()
    line.configure(audio=listening())
    events = line.hear(1000, clips()["ask_hours"].mulaw, 800)
    assert types(events)[:6] == [
        "input_audio_buffer.speech_started", "input_audio_buffer.speech_stopped", "input_audio_buffer.committed",
        "conversation.item.added", "conversation.item.done", "response.created",
    ]  # fmt: skip
    started = one(events, "input_audio_buffer.speech_started")
    stopped = one(events, "input_audio_buffer.speech_stopped")
    speech_ms = 1000 + 70  # the clip begins with 70 ms of silence
    assert started["audio_start_ms"] == pytest.approx(speech_ms - 300, abs=50)
    assert stopped["audio_end_ms"] == pytest.approx(1000 + clips()["ask_hours"].ms - 70 + 500, abs=60)
    assert len({events[i]["item_id"] for i in range(3)}) == 1
    assert line.peer.report.heard == ["Hi, what time do you open tomorrow?"]


def test_08_without_audio_the_clock_of_the_vad_stands_still() -> None:
    line = Line()
    line.configure(audio=listening())
    line.hear(clips()["hello"].mulaw, 200)
    assert line.wait(60) == []
    assert "input_audio_buffer.speech_stopped" in types(line.hear(500))


@pytest.mark.parametrize("form", [PCM, PCMU, {"type": "audio/pcma"}])
def test_08_speech_is_heard_in_every_format(form: dict[str, Any]) -> None:
    line = Line()
    line.configure(audio={"input": {"format": form, "turn_detection": {**SERVER_VAD}}})
    if form["type"] == "audio/pcma":
        mulaw = clips()["ask_hours"].mulaw + b"\xff" * 6400
        alaw = _alaw(mulaw)
        line.send("input_audio_buffer.append", audio=base64.b64encode(alaw).decode())
    else:
        line.caller("ask_hours", 800)
    assert line.peer.report.heard == ["Hi, what time do you open tomorrow?"]


def _alaw(mulaw: bytes) -> bytes:
    return to_wire(mulaw, {"type": "audio/pcma"})


def test_08_speech_cancels_a_response_that_is_being_generated() -> None:
    line = Line(Script(pace=1.0))
    line.configure(audio=listening())
    say(line, clips()["hours"].text)
    line.wait(2)
    events = line.caller("oh_wait")
    order = types(events)
    cut = order.index("input_audio_buffer.speech_started")
    assert order[cut + 1 :][:7] == [each for each in CLOSING if each != "rate_limits.updated"] + ["rate_limits.updated"]
    done = one(events, "response.done")["response"]
    assert done["status_details"] == {"type": "cancelled", "reason": "turn_detected"}
    assert done["output"][0]["status"] == "incomplete"


def test_08_speech_after_the_end_of_a_response_cancels_nothing() -> None:
    line = Line()
    line.configure(audio=listening())
    say(line, clips()["hours"].text)
    line.wait(4)
    events = line.caller("oh_wait")
    assert "response.done" not in types(events)[:3]
    assert [e["response"]["status"] for _, e in line.events if e["type"] == "response.done"] == ["completed"]


def test_08_without_interrupt_and_create_the_server_only_reports_speech() -> None:
    line = Line(Script(pace=1.0))
    line.configure(audio=listening(create_response=False, interrupt_response=False))
    say(line, clips()["hours"].text)
    line.wait(2)
    line.caller("oh_wait")
    line.wait(12)
    assert line.peer.report.heard == ["Oh wait, sorry."]
    assert [e["response"]["status"] for _, e in line.events if e["type"] == "response.done"] == ["completed"]


def test_08_if_interruption_is_off_a_turn_during_a_response_gets_the_error_of_a_second_response() -> None:
    line = Line(Script(pace=1.0))
    line.configure(audio=listening(interrupt_response=False))
    say(line, clips()["hours"].text)
    line.wait(1)
    events = line.caller("oh_wait")
    assert error(events)["code"] == "conversation_already_has_active_response"
    assert error(events)["event_id"] is None


def test_08_a_cough_becomes_a_turn_without_words() -> None:
    line = Line()
    line.configure(audio=listening())
    line.caller("cough")
    assert line.peer.report.heard == [""]


# 9. Truncation


def speaking(seconds: float) -> tuple[Line, str]:
    """A client in the middle of a long answer, and the id of the answer's item."""
    line = Line(Script(first_delta_ms=(300, 300)))
    line.configure()
    say(line, clips()["hours"].text)
    line.wait(seconds)
    added = one([event for _, event in line.events], "response.output_item.added")
    return line, added["item"]["id"]


def truncate(line: Line, item_id: str, audio_end_ms: int) -> dict[str, Any]:
    (answer,) = line.send("conversation.item.truncate", item_id=item_id, content_index=0, audio_end_ms=audio_end_ms)
    return answer


def test_09_a_truncation_while_audio_is_still_sent_is_confirmed_and_the_session_goes_on() -> None:
    line, item_id = speaking(0.5)
    answer = truncate(line, item_id, 700)
    assert (answer["type"], answer["audio_end_ms"]) == ("conversation.item.truncated", 700)
    line.wait(5)
    assert line.peer.history.require(item_id, "retrieve").audio_ms == 700
    assert "response.done" in types([event for _, event in line.events])


def test_09_a_truncation_beyond_the_generated_audio_is_refused_with_the_real_sentence() -> None:
    line, item_id = speaking(0.5)
    generated_ms = len(line.audio()) // 48
    answer = truncate(line, item_id, generated_ms + 60)
    message = f"Audio content of {generated_ms}ms is already shorter than {generated_ms + 60}ms"
    assert (answer["error"]["code"], answer["error"]["message"]) == ("invalid_value", message)
    assert truncate(line, item_id, generated_ms)["type"] == "conversation.item.truncated"


def test_09_only_audio_of_the_model_can_be_truncated() -> None:
    line = Line(Script(first_delta_ms=(300, 300)))
    user = {"id": "u", "type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]}
    line.send("conversation.item.create", item=user)
    agent = {"id": "a", "type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Hello."}]}
    line.send("conversation.item.create", item=agent)
    for item_id in ("u", "a"):
        assert truncate(line, item_id, 100)["error"]["message"] == "Only model output audio messages can be truncated"
    assert truncate(line, "nobody", 100)["error"]["code"] == "item_truncate_invalid_item_id"
    assert truncate(line, "a", -1)["error"]["code"] == "integer_below_min_value"


def test_09_a_truncated_item_has_no_transcript_any_more() -> None:
    line, item_id = speaking(4)
    truncate(line, item_id, 1000)
    (retrieved,) = line.send("conversation.item.retrieve", item_id=item_id)
    assert retrieved["item"]["content"][0]["transcript"] is None
    assert len(base64.b64decode(retrieved["item"]["content"][0]["audio"])) == 48000


# 10. One response at a time


def test_10_a_second_response_in_the_conversation_is_refused_with_the_id_of_the_first() -> None:
    line, _ = speaking(0.5)
    response_id = one([event for _, event in line.events], "response.created")["response"]["id"]
    refused = error(line.send("response.create", event_id="second"))
    assert refused["code"] == "conversation_already_has_active_response"
    assert refused["event_id"] == "second"
    assert refused["message"] == (
        f"Conversation already has an active response in progress: {response_id}. "
        "Wait until the response is finished before creating a new one."
    )


def test_10_a_cancel_ends_the_running_response_and_is_refused_if_no_response_runs() -> None:
    line, _ = speaking(0.5)
    events = line.send("response.cancel")
    assert types(events) == CLOSING[:-1]
    assert one(events, "response.done")["response"]["status_details"] == {
        "type": "cancelled", "reason": "client_cancelled",
    }  # fmt: skip
    refused = error(line.send("response.cancel"))
    assert (refused["code"], refused["message"]) == (
        "response_cancel_not_active", "Cancellation failed: no active response found",
    )  # fmt: skip


def test_10_a_response_that_is_cancelled_before_its_first_delta_is_empty() -> None:
    line = Line()
    say(line, "Goodbye.")
    (done,) = line.send("response.cancel")
    assert (done["response"]["status"], done["response"]["output"]) == ("cancelled", [])
    assert types(line.wait(5)) == ["rate_limits.updated"]


def test_10_an_out_of_band_response_runs_beside_another_one_and_does_not_change_the_conversation() -> None:
    line, _ = speaking(0.5)
    before = len(line.peer.history.items)
    item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Say exactly: {}"}]}
    events = line.send(
        "response.create",
        response={"conversation": "none", "output_modalities": ["text"], "metadata": {"topic": "x"}, "input": [item]},
    )
    created = one(events, "response.created")["response"]
    assert (created["conversation_id"], created["metadata"]) == (None, {"topic": "x"})
    later = [e for e in line.wait(1) if created["id"] in (e.get("response_id"), e.get("response", {}).get("id"))]
    assert later[-1]["type"] == "response.done"
    assert later[-1]["response"]["output"][0]["content"] == [{"type": "output_text", "text": "{}"}]
    assert len(line.peer.history.items) == before


def test_10_a_cancel_without_an_id_cancels_the_response_of_the_conversation() -> None:
    line = Line()
    created = line.send("response.create", response={"conversation": "none"})[0]["response"]
    assert error(line.send("response.cancel"))["code"] == "response_cancel_not_active"
    (done,) = line.send("response.cancel", response_id=created["id"])
    assert done["response"]["status"] == "cancelled"


def test_10_in_response_create_null_stands_for_the_value_of_the_session() -> None:
    line = Line()
    created = line.send("response.create", response={"instructions": None, "metadata": None, "tools": None})[0]
    assert created["type"] == "response.created"


def test_10_a_wrong_response_create_is_refused() -> None:
    line = Line()
    assert error(line.send("response.create", response={"modalities": ["text"]}))["param"] == "response.modalities"
    assert error(line.send("response.create", response={"conversation": "other"}))["code"] == "invalid_value"
    metadata = {str(number): "x" for number in range(17)}
    assert error(line.send("response.create", response={"metadata": metadata}))["param"] == "response.metadata"
    assert error(line.send("response.create", response={"input": "Hello"}))["code"] == "invalid_type"


# 11. Functions


def asked(line: Line) -> list[dict[str, Any]]:
    """The events of the answer to the opening hours."""
    line.configure(tools=[HOURS_TOOL], audio=listening())
    start = len(line.events)
    line.caller("ask_hours")
    line.wait(3)
    return [event for _, event in line.events[start:]]


def test_11_a_message_comes_before_the_function_call() -> None:
    line = Line(BOOKING)
    events = asked(line)
    output = one(events, "response.done")["response"]["output"]
    assert [item["type"] for item in output] == ["message", "function_call"]
    call = output[1]
    assert json.loads(call["arguments"]) == {"date": "2026-11-23"}  # the day after 2026-11-22, 19:00 at -05:00
    arguments = "".join(e["delta"] for e in events if e["type"] == "response.function_call_arguments.delta")
    done = one(events, "response.function_call_arguments.done")
    assert arguments == done["arguments"] == call["arguments"]
    assert (done["output_index"], done["call_id"], done["name"]) == (1, call["call_id"], "lookup_hours")
    order = types(events)
    assert order.index("response.output_audio.done") < order.index("response.function_call_arguments.delta")


def answer(line: Line, events: list[dict[str, Any]], output: str) -> list[dict[str, Any]]:
    """Send the output of the function that was called in these events. Return the events that follow."""
    call_id = one(events, "response.function_call_arguments.done")["call_id"]
    item = {"type": "function_call_output", "call_id": call_id, "output": output}
    assert types(line.send("conversation.item.create", item=item)) == [
        "conversation.item.added", "conversation.item.done",
    ]  # fmt: skip
    line.send("response.create")
    return line.wait(5)


def test_11_an_answer_speaks_the_fields_of_a_function_output() -> None:
    line = Line(BOOKING)
    answer(line, asked(line), '{"status":"ok","result":{"open":"11:00","hours":{"close":"22:00"}}}')
    assert line.peer.report.said[-1] == "We are open from 11:00 until 22:00."
    assert line.voice.babbled == ["We are open from 11:00 until 22:00."]


def test_11_a_reaction_that_waits_for_a_function_output_speaks_about_it() -> None:
    line = Line(BOOKING)
    answer(line, asked(line), '{"closed": true}')
    assert line.peer.report.said[-1] == "We are closed."


def test_11_the_model_calls_only_declared_functions() -> None:
    line = Line(BOOKING)
    line.configure(audio=listening())
    line.caller("ask_hours")
    line.wait(3)
    assert line.peer.report.called == []
    assert "lookup_hours" in line.peer.report.notes[0]
    assert line.peer.report.notes[0] in line.peer.report.story  # the operator reads it in its place in the story


def test_11_the_model_passes_only_declared_arguments_and_reports_missing_ones() -> None:
    tool = {**HOURS_TOOL, "parameters": {"type": "object", "properties": {"day": {}}, "required": ["day"]}}
    line = Line(BOOKING)
    line.configure(tools=[tool], audio=listening())
    line.caller("ask_hours")
    done = one(line.wait(3), "response.function_call_arguments.done")
    assert done["arguments"] == "{}"
    assert line.peer.report.notes == ["the script calls lookup_hours without day"]


def test_11_with_tool_choice_none_the_model_speaks_and_calls_nothing() -> None:
    line = Line(BOOKING)
    line.configure(tools=[HOURS_TOOL], audio=listening(create_response=False))
    line.caller("ask_hours")
    line.send("response.create", response={"tool_choice": "none"})
    line.wait(3)
    assert line.peer.report.said == ["Let me book that for you."]
    assert line.peer.report.called == []


BOOK_TOOL = {
    "type": "function",
    "name": "book_appointment",
    "parameters": {
        "type": "object",
        "properties": {
            "start": {"type": "string"}, "guests": {"type": "integer", "minimum": 1},
            "place": {"enum": ["inside", "outside"]}, "again": {"type": ["string", "null"]},
        },
        "required": ["start", "guests", "place", "again"],
    },
}  # fmt: skip


@pytest.mark.parametrize(
    ("choice", "name"),
    [("required", "lookup_hours"), ({"type": "function", "name": "book_appointment"}, "book_appointment")],
)
def test_11_a_model_with_a_required_tool_calls_it_without_words(choice: Any, name: str) -> None:
    line = Line(Script(reactions=()))
    line.configure(tools=[HOURS_TOOL, BOOK_TOOL])
    line.send("response.create", response={"tool_choice": choice})
    (item,) = one(line.wait(3), "response.done")["response"]["output"]
    assert (item["type"], item["name"]) == ("function_call", name)
    if name == "book_appointment":
        assert json.loads(item["arguments"]) == {"start": "", "guests": 1, "place": "inside", "again": ""}


def test_11_with_tool_choice_required_the_model_calls_functions_without_end() -> None:
    line = Line(Script(reactions=()))
    line.configure(tools=[HOURS_TOOL], tool_choice="required")
    line.send("response.create")
    events = line.wait(3)
    for _ in range(3):
        events = answer(line, events, "{}")
    assert line.peer.report.called == ["lookup_hours"] * 4
    assert line.peer.report.said == []


# 12. Transcription


def transcribing(model: str, script: Script | None = None) -> tuple[Line, list[dict[str, Any]]]:
    line = Line(script)
    line.configure(
        audio={"input": {"transcription": {"model": model, "language": "en"}, "turn_detection": {**SERVER_VAD}}}
    )
    line.caller("ask_hours")
    return line, line.wait(5)


def test_12_the_transcript_comes_1_to_1_5_s_after_the_commit() -> None:
    line, events = transcribing("gpt-4o-mini-transcribe")
    completed = one(events, "conversation.item.input_audio_transcription.completed")
    assert completed["transcript"] == "Hi, what time do you open tomorrow?"
    deltas = [e["delta"] for e in events if e["type"] == "conversation.item.input_audio_transcription.delta"]
    assert "".join(deltas) == completed["transcript"]
    assert completed["usage"]["type"] == "tokens"
    (committed,) = line.when("input_audio_buffer.committed")
    (arrived,) = line.when("conversation.item.input_audio_transcription.completed")
    first, *_, last = line.when("conversation.item.input_audio_transcription.delta")
    assert 1.0 <= first - committed < last - committed < arrived - committed <= 1.5
    assert line.when("response.created")[0] < arrived


def test_12_newer_transcribers_are_billed_by_the_second() -> None:
    _, events = transcribing("gpt-transcribe")
    usage = one(events, "conversation.item.input_audio_transcription.completed")["usage"]
    assert usage["type"] == "duration"
    assert usage["seconds"] > clips()["ask_hours"].ms / 1000


def test_12_speech_that_is_not_a_known_clip_becomes_a_turn_with_an_empty_transcript() -> None:
    line = Line()
    line.configure(audio={"input": {"transcription": {"model": "gpt-transcribe"}, "turn_detection": {**SERVER_VAD}}})
    line.hear(clips()["human_hello"].mulaw, 700)
    completed = one(line.wait(5), "conversation.item.input_audio_transcription.completed")
    assert completed["transcript"] == ""
    assert line.peer.report.said == ["Sorry, could you repeat that?"]


# 13. Idle timeout


def test_13_if_the_caller_is_silent_after_the_answer_was_played_an_empty_turn_follows() -> None:
    line = Line()
    line.configure(audio=listening(idle_timeout_ms=5000))
    say(line, clips()["how_help"].text)
    line.wait(1.5)
    (done,) = line.when("response.done")
    events = line.hear(5500)
    order = types(events)
    at = order.index("input_audio_buffer.timeout_triggered")
    assert order[at : at + 5] == [
        "input_audio_buffer.timeout_triggered", "input_audio_buffer.committed", "conversation.item.added",
        "conversation.item.done", "response.created",
    ]  # fmt: skip
    (fired,) = line.when("input_audio_buffer.timeout_triggered")
    assert fired - done == pytest.approx(clips()["how_help"].ms / 1000 + 5, abs=0.03)


def test_13_speech_stops_the_idle_timeout() -> None:
    line = Line()
    line.configure(audio=listening(idle_timeout_ms=5000, create_response=False))
    say(line, clips()["how_help"].text)
    line.wait(3)
    line.caller("hello")
    assert "input_audio_buffer.timeout_triggered" not in types(line.wait(20))


def test_13_an_idle_timeout_that_was_switched_off_does_not_come() -> None:
    line = Line()
    line.configure(audio=listening(idle_timeout_ms=5000))
    say(line, clips()["how_help"].text)
    line.wait(3)
    line.configure(audio=listening(idle_timeout_ms=None))
    assert types(line.wait(20)) == []


# 14. Expiry


@pytest.mark.parametrize("lifetime_s", [3600.0, 30.0])
def test_14_a_session_that_expires_ends_with_an_error_and_close_1001(lifetime_s: float) -> None:
    line = Line(Script(lifetime_s=lifetime_s))
    assert line.wait(lifetime_s - 0.001) == []
    expired = error(line.wait(0.001))
    assert expired["code"] == "session_expired"
    assert expired["message"] == "Your session hit the maximum duration of 60 minutes."
    assert line.closed is not None
    assert (line.closed.code, line.closed.reason) == (1001, expired["message"])


# Behaviour that the relay relies on and that is not in the list


@pytest.mark.parametrize(
    ("instructions", "spoken"),
    [
        ("Say exactly: Goodbye.", "Goodbye."),
        ('Say exactly: "Are you still there?" and nothing else.', "Are you still there?"),
        ("Be kind.\nSay exactly the following: Hello.\nHow are you?", "Hello.\nHow are you?"),
        ("say exactly: “Good day.” Then stop.", "Good day."),
        ("Say exactly: ", "Hello, how can I help you?"),  # no words follow
    ],
)
def test_the_words_after_say_exactly_are_spoken_word_for_word(instructions: str, spoken: str) -> None:
    line = Line()
    line.send("response.create", response={"instructions": instructions})
    assert line.peer.report.said == [spoken]


def test_the_words_after_say_exactly_in_an_input_item_are_spoken_word_for_word() -> None:
    line = Line()
    item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Say exactly: Goodbye."}]}
    line.send("response.create", response={"input": [item], "conversation": "auto"})
    assert line.peer.report.said == ["Goodbye."]


@pytest.mark.parametrize(
    ("offset", "tomorrow"), [("-05:00", "2026-11-23"), ("-00:30", "2026-11-23"), ("Z", "2026-11-24")]
)
def test_tomorrow_follows_the_time_zone_of_the_business(offset: str, tomorrow: str) -> None:
    line = Line(Script(reactions=BOOKING.reactions, utc_offset=offset))
    call = one(asked(line), "response.done")["response"]["output"][-1]
    assert json.loads(call["arguments"]) == {"date": tomorrow}


def test_a_reaction_can_wait_for_a_system_message() -> None:
    line = Line(Script(reactions=(Reaction(told="come to an end", say="We have to come to an end soon."),)))
    system = {"type": "message", "role": "system", "content": [{"type": "input_text", "text": "Come to an end now."}]}
    line.send("conversation.item.create", item=system)
    line.send("response.create")
    assert line.peer.report.said == ["We have to come to an end soon."]


def test_reactions_are_chosen_by_turn_and_by_number_of_uses() -> None:
    reactions = (Reaction(turn=2, say="Second."), Reaction(heard="hello", times=1, say="First."), Reaction(say="Else."))
    line = Line(Script(reactions=reactions))
    line.configure(audio=listening())
    for _ in range(3):
        line.caller("hello")
        line.wait(3)
    assert line.peer.report.said == ["First.", "Second.", "Else."]


def test_a_reaction_hears_only_the_words_since_the_agent_last_spoke() -> None:
    reactions = (Reaction(heard="hello", say="First."), Reaction(heard="can you hear me", say="Second."))
    line = Line(Script(reactions=reactions))
    line.configure(audio=listening())
    for clip in ("hello", "can_you_hear"):
        line.caller(clip)
        line.wait(3)
    assert line.peer.report.said == ["First.", "Second."]


def test_after_a_function_call_the_words_that_led_to_it_cause_no_other_reaction() -> None:
    reactions = (
        Reaction(heard="what time do you open", call="lookup_hours", arguments={"date": "2026-11-24"}),
        Reaction(heard="oh wait", say="No problem. What can I do for you?"),
    )
    line = Line(Script(reactions=reactions))
    line.configure(tools=[HOURS_TOOL], audio=listening(), output_modalities=["text"])
    line.caller("ask_hours")
    line.wait(2)
    line.caller("oh_wait")
    assert line.peer.report.called == ["lookup_hours"]
    assert line.peer.report.said[-1] == "No problem. What can I do for you?"


def test_broken_audio_is_not_understood() -> None:
    line = Line()
    line.configure(audio=listening(), output_modalities=["text"])
    mulaw = bytearray(clips()["ask_hours"].mulaw)
    for at in range(0, len(mulaw), 800):
        mulaw[at : at + 160] = b"\xff" * 160
    line.hear(bytes(mulaw), 700)
    assert line.peer.report.heard == [""]


def test_long_silence_uses_no_more_memory() -> None:
    line = Line()
    line.configure(audio=listening())
    line.hear(60_000, frame_ms=100)
    assert line.peer._input.held_ms < 2000
    assert line.peer._input.clock_ms == pytest.approx(60_000, abs=1)
