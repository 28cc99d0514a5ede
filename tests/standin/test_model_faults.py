"""Each fault of the stand-in model has its effect, but only in the response or connection for which it was ordered."""

from __future__ import annotations

import base64
import dataclasses
import json
from typing import Any

import pytest

from relay.standin.model.realtime_peer import RealtimePeer
from relay.standin.model.script import Faults, Reaction, Script, ScriptError
from relay.standin.speech.voice import clips
from tests.helpers.model_peer import HOURS_TOOL, SERVER_VAD, error, listening, say
from tests.helpers.realtime_line import EAR, EPOCH_S, HEADERS, PCMU, URL, Line, one, types

LONG = clips()["hours"].text


def faulty(**faults: Any) -> Line:
    return Line(Script(faults=Faults(**faults), first_delta_ms=(300, 300)))


def spoken(line: Line, seconds: float = 5, text: str = LONG) -> list[dict[str, Any]]:
    """The events of one spoken response."""
    start = len(line.events)
    say(line, text)
    line.wait(seconds)
    return [event for _, event in line.events[start:]]


def count(events: list[dict[str, Any]], type_: str) -> int:
    return sum(event["type"] == type_ for event in events)


def test_with_silent_after_connect_no_event_comes() -> None:
    line = faulty(silent_after_connect=True)
    assert line.send("session.update", session={"type": "realtime"}) == []
    assert line.events == []
    assert line.wait(5000) == []
    assert line.pings == []


@pytest.mark.parametrize("code", ["invalid_api_key", "model_not_found", "insufficient_quota", "odd_code"])
def test_a_connection_fails_with_the_error_that_was_ordered(code: str) -> None:
    line = faulty(connect_error=code)
    assert line.events[0][1]["error"]["code"] == code
    assert line.closed is not None
    assert line.closed.reason.endswith(f".{code}")


def test_a_refused_update_causes_an_error_and_changes_nothing() -> None:
    line = faulty(refuse_update=True)
    assert line.configure(instructions="x")["error"]["type"] == "server_error"
    assert line.peer.session["instructions"] != "x"


def test_a_wrong_format_is_reported_and_used_for_the_audio() -> None:
    line = faulty(wrong_format=True)
    assert line.configure()["session"]["audio"]["output"]["format"] == PCMU
    spoken(line)
    assert line.audio() == clips()["hours"].mulaw


def test_a_deaf_model_hears_nothing_after_the_ordered_number_of_turns() -> None:
    line = faulty(deaf_after_turns=1)
    line.configure(audio=listening())
    line.caller("hello")
    line.wait(3)
    assert line.caller("ask_hours") == []
    assert line.peer.report.heard == ["Hello?"]


def test_an_ordered_failure_of_the_transcription_comes_instead_of_the_words() -> None:
    line = faulty(transcription_failed=True)
    line.configure(audio={"input": {"transcription": {"model": "gpt-transcribe"}, "turn_detection": SERVER_VAD}})
    line.caller("hello")
    failed = one(line.wait(3), "conversation.item.input_audio_transcription.failed")
    assert failed["error"]["code"] == "audio_unintelligible"


@pytest.mark.parametrize("pace", [1.0, 0.5])
def test_the_audio_comes_as_slowly_as_ordered(pace: float) -> None:
    line = faulty(pace=pace)
    spoken(line, 60)
    times = line.when("response.output_audio.delta")
    assert times[1] - times[0] == pytest.approx(0.25 / pace)


def test_a_stalled_response_never_ends_but_the_session_goes_on() -> None:
    line = faulty(stall_after_deltas=2)
    events = spoken(line, 1000)
    assert count(events, "response.output_audio.delta") == 2
    assert count(events, "response.done") == 0
    assert line.configure()["type"] == "session.updated"
    assert "response.done" in types(line.send("response.cancel"))


def test_a_stall_of_some_seconds_ends_by_itself() -> None:
    line = faulty(stall_after_deltas=2, stall_s=3.0)
    assert count(spoken(line, 60), "response.done") == 1
    times = line.when("response.output_audio.delta")
    assert times[2] - times[1] == pytest.approx(3.05)


@pytest.mark.parametrize("form", [PCMU, {"type": "audio/pcm", "rate": 24000}])
def test_odd_deltas_have_odd_lengths_and_lose_no_audio(form: dict[str, Any]) -> None:
    line, good = faulty(odd_deltas=True), Line()
    for each in (line, good):
        each.configure(audio={"output": {"format": form}})
    events = spoken(line)
    spoken(good)
    lengths = [len(base64.b64decode(e["delta"])) for e in events if e["type"] == "response.output_audio.delta"]
    assert all(length % 2 for length in lengths[:-2])
    assert line.audio() == good.audio()


def test_late_deltas_of_a_cancelled_response_come_after_its_end() -> None:
    line = faulty(late_deltas=3, pace=1.0)
    line.configure(audio=listening())
    say(line, LONG)
    line.wait(2)
    order = [event["type"] for event in line.caller("oh_wait")]
    done = order.index("response.done")
    assert done > order.index("input_audio_buffer.speech_started")
    assert order[done + 1 : done + 4] == ["response.output_audio.delta"] * 3


def test_late_deltas_continue_the_cancelled_audio_and_the_first_one_comes_twice() -> None:
    line, whole = faulty(late_deltas=3), faulty()
    for each in (line, whole):
        each.configure(audio={"output": {"format": PCMU}})
    say(line, LONG)
    line.wait(0.4)
    sent = len(line.audio())
    line.send("response.cancel")
    spoken(whole)
    late = whole.audio()[sent : sent + 4000]
    assert line.audio()[sent:] == late[:2000] + late


def test_a_response_that_was_cancelled_before_its_first_sound_has_no_late_deltas() -> None:
    line = faulty(late_deltas=2)
    say(line, LONG)
    assert types(line.send("response.cancel")) == ["response.done"]


def test_a_cancelled_response_is_billed_with_its_whole_input_and_the_output_until_then() -> None:
    line, whole = faulty(), faulty()
    for each in (line, whole):
        each.configure(audio={"output": {"format": PCMU}})
    say(line, LONG)
    line.wait(0.6)
    bill = one(line.send("response.cancel"), "response.done")["response"]["usage"]
    full = one(spoken(whole), "response.done")["response"]["usage"]
    assert bill["input_token_details"] == full["input_token_details"]
    sent_ms = len(line.audio()) // 8
    assert 0 < bill["output_token_details"]["audio_tokens"] == sent_ms // 50
    assert bill["output_tokens"] < full["output_tokens"]


def test_a_response_that_is_cancelled_before_its_first_sound_is_billed_with_its_input() -> None:
    line = faulty()
    say(line, LONG)
    bill = one(line.send("response.cancel"), "response.done")["response"]["usage"]
    assert bill["input_tokens"] > 0
    assert bill["output_tokens"] == 0


def test_a_response_can_be_cancelled_before_speech_started_comes() -> None:
    line = faulty(cancel_first=True, pace=1.0)
    line.configure(audio=listening())
    say(line, LONG)
    line.wait(2)
    order = types(line.caller("oh_wait"))
    assert order.index("response.done") < order.index("input_audio_buffer.speech_started")
    assert order.count("response.done") == 1


def test_one_event_of_15_mib_is_sent_as_ordered() -> None:
    line = faulty(huge_event=True)
    events = spoken(line)
    assert [len(json.dumps(event)) > 15 * 2**20 for event in events].count(True) == 1


def test_an_empty_response_is_completed_without_output() -> None:
    response = one(spoken(faulty(empty_response=True)), "response.done")["response"]
    assert (response["status"], response["output"]) == ("completed", [])


@pytest.mark.parametrize(
    ("what", "type_", "code"),
    [
        ("server_error", "server_error", None),
        ("rate_limit_exceeded", "rate_limit_error", "rate_limit_exceeded"),
        ("insufficient_quota", "insufficient_quota", "insufficient_quota"),
        ("inference_rate_limit_exceeded", "invalid_request_error", "inference_rate_limit_exceeded"),
    ],
)
def test_a_failed_response_has_its_reason(what: str, type_: str, code: str | None) -> None:
    response = one(spoken(faulty(response_failed=what)), "response.done")["response"]
    assert (response["status"], response["usage"]) == ("failed", None)
    error = response["status_details"]["error"]
    assert (error["type"], error["code"]) == (type_, code)


@pytest.mark.parametrize("code", [1001, 1006, 1011])
def test_the_socket_is_closed_after_the_ordered_number_of_deltas(code: int) -> None:
    line = faulty(close_after_deltas=3, close_code=code)
    assert count(spoken(line), "response.output_audio.delta") == 3
    assert line.closed is not None
    assert line.closed.code == code
    assert line.send("response.create") == []


def asked(line: Line) -> list[dict[str, Any]]:
    line.configure(tools=[HOURS_TOOL], audio=listening())
    start = len(line.events)
    line.caller("ask_hours")
    line.wait(3)
    return [event for _, event in line.events[start:]]


def test_with_broken_arguments_a_function_call_is_cancelled_and_has_half_of_its_json() -> None:
    events = asked(faulty(broken_arguments=True))
    done = one(events, "response.done")["response"]
    assert done["status"] == "cancelled"
    assert done["output"][0]["status"] == "incomplete"
    with pytest.raises(json.JSONDecodeError):
        json.loads(one(events, "response.function_call_arguments.done")["arguments"])


def test_with_duplicate_ids_every_event_that_ends_something_comes_twice() -> None:
    events = asked(faulty(duplicate_ids=True))
    for type_ in ("response.output_item.done", "response.done"):
        first, second = [event for event in events if event["type"] == type_]
        assert first == second


TWO = "Let me book that for you. Is there anything else I can help with?"


def test_with_two_messages_in_an_answer_both_are_reported_as_done_after_the_second() -> None:
    line = faulty(two_messages=True)
    line.configure(audio={"output": {"format": PCMU}})
    events = spoken(line, text=TWO)
    added = [event["item"]["id"] for event in events if event["type"] == "response.output_item.added"]
    begun = [at for at, event in enumerate(events) if event["type"] == "response.content_part.added"]
    ended = [at for at, event in enumerate(events) if event["type"] == "response.output_audio.done"]
    assert begun[0] < begun[1] < ended[0] < ended[1]
    output = one(events, "response.done")["response"]["output"]
    assert [item["id"] for item in output] == added
    assert [item["content"][0]["transcript"] for item in output] == [
        "Let me book that for you.", "Is there anything else I can help with?",
    ]  # fmt: skip
    for item, clip in zip(added, ("booking", "anything_else"), strict=True):
        assert line.audio(item) == clips()[clip].mulaw


def test_the_second_of_two_messages_is_cut_and_the_first_one_is_whole() -> None:
    line = faulty(two_messages=True)
    say(line, TWO)
    line.wait(0.3 + clips()["booking"].ms / 5000 + 0.1)
    response = one(line.send("response.cancel"), "response.done")["response"]
    assert [item["status"] for item in response["output"]] == ["completed", "incomplete"]
    second = response["output"][1]["id"]
    (answer,) = line.send("conversation.item.truncate", item_id=second, content_index=0, audio_end_ms=400)
    assert answer["type"] == "conversation.item.truncated"


def test_with_swapped_done_events_they_come_in_the_other_order() -> None:
    order = types(spoken(faulty(swap_done=True)))
    assert order.index("response.output_item.done") + 1 == order.index("conversation.item.done")


def test_with_null_usage_the_usage_of_a_response_is_null() -> None:
    response = one(spoken(faulty(null_usage=True)), "response.done")["response"]
    assert (response["status"], response["usage"]) == ("completed", None)


def test_unknown_events_and_keys_come_between_the_known_ones() -> None:
    line = Line(Script(faults=Faults(unknown_events=True)), typed=False)
    events = spoken(line)
    assert count(events, "response.mood.updated") > 5
    assert all("x_undocumented" in event for event in events if event["type"] != "response.mood.updated")


# Which response or connection a fault affects


def test_a_fault_of_the_second_response_does_not_affect_the_first() -> None:
    line = faulty(response_failed="server_error", response=2)
    statuses = [one(spoken(line), "response.done")["response"]["status"] for _ in range(3)]
    assert statuses == ["completed", "failed", "completed"]


def test_a_fault_of_the_first_connection_does_not_affect_the_second() -> None:
    script = Script(faults=Faults(refuse_update=True, connections=1))
    first, second = (
        RealtimePeer(script, Line().voice, EAR, URL, HEADERS, EPOCH_S, connection) for connection in (1, 2)
    )
    assert (first.faults.refuse_update, second.faults.refuse_update) == (True, False)


def test_a_header_can_order_faults() -> None:
    line = Line(headers={**HEADERS, "x-standin-faults": "null_usage, stall_after_deltas=2, close_code = 1011"})
    assert line.peer.faults == Faults(null_usage=True, stall_after_deltas=2, close_code=1011)


@pytest.mark.parametrize("fault", [each.name for each in dataclasses.fields(Faults)])
def test_each_fault_can_be_ordered_by_a_scenario_and_by_a_header(fault: str) -> None:
    text = {
        "close_code": "1011",
        "connect_error": "invalid_model",
        "response_failed": "server_error",
        "noise_words": "Bye.",
    }.get(fault, "2")
    if isinstance(getattr(Faults(), fault), bool):
        text = "true"
    value = {"true": True}.get(text, int(text) if text.isdigit() else text)
    line = Line(headers={**HEADERS, "x-standin-faults": f"{fault}={text}"}, typed=False)
    assert line.peer.faults == Script.from_table({"faults": {fault: value}}).faults != Faults()


# Wrong orders


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("nul_usage", "unknown fault 'nul_usage'"),
        ("stall_after_deltas=many", "fault stall_after_deltas must be a whole number, not 'many'"),
        ("null_usage=perhaps", "fault null_usage must be true or false, not 'perhaps'"),
        ("close_code=99", "close_code must be a code that a close message may have, or 1006, not 99"),
        ("close_code=1005", "close_code must be a code that a close message may have, or 1006, not 1005"),
    ],
)
def test_the_error_for_a_wrong_fault_in_a_header_names_it(header: str, message: str) -> None:
    with pytest.raises(ScriptError, match=message):
        Faults().with_header(header)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (5, "model must be a table, not 5"),
        ({"first_delta": 3}, "model: unknown key 'first_delta'"),
        ({"pace": "fast"}, "model.pace must be a number, not 'fast'"),
        ({"faults": {"pace": True}}, "model.faults.pace must be a number, not True"),
        ({"faults": []}, "model.faults must be a table"),
        ({"reaction": [{"say": "x"}, {"sey": "x"}]}, "model.reaction 2: unknown key 'sey'"),
        ({"reaction": [{"then": "x"}]}, "model.reaction 1: a reaction with `then` needs `call`"),
        ({"reaction": [{"output": "x"}]}, "model.reaction 1: a reaction with `output` needs `after`"),
        ({"reaction": {"say": "x"}}, r"model.reaction must be written \[\[model.reaction\]\]"),
        ({"first_delta_ms": [700, 300]}, "model: first_delta_ms must be 0 or more, the smaller first"),
        ({"delta_ms": 0}, "model: delta_ms must be 1 to 60000, not 0"),
        ({"pace": 0}, "model: pace must be 0.01 to 1000, not 0"),
        ({"ping_s": float("nan")}, "model: ping_s must be 0.001 or more, not nan"),
        ({"utc_offset": "EST"}, "model: utc_offset must be like -05:00, not 'EST'"),
        ({"faults": {"stall_s": -1}}, "model.faults: stall_s must be 0 or more, not -1"),
        ({"first_delta_ms": [1, 2, 3]}, "model.first_delta_ms must be one number or two"),
        ({"reaction": [{"clip": "some_clip"}]}, "model.reaction 1: there is no clip 'some_clip'"),
    ],
)
def test_the_error_for_a_wrong_script_names_the_key(table: dict[str, Any], message: str) -> None:
    with pytest.raises(ScriptError, match=message):
        Script.from_table(table)


def test_the_script_of_a_scenario_has_precedence_over_that_of_the_demo() -> None:
    script = Script.from_table({"first_delta_ms": 400, "pace": 2, "reaction": [{"clip": "bye", "say": "Bye."}]})
    assert script.first_delta_ms == (400, 400)
    assert script.reactions[0] == Reaction(clip="bye", say="Bye.")
    assert len(script.reactions) > 10
    assert len(Script.from_table({"only_these": True, "reaction": [{"say": "Bye."}]}).reactions) == 1


def test_error_events_have_the_id_of_the_clients_event() -> None:
    line = Line()
    assert error(line.send("response.cancel", event_id="c1"))["event_id"] == "c1"
