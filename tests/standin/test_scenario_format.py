"""Scenarios: their files, the caller who acts them, and the report that compares a call with the expectations."""

from __future__ import annotations

import base64
import json
import ssl
import tomllib
import wave
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache, partial
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
import trio
import trio.testing
import trustme

from relay.standin.commands.call import FAILED, OK, UNREACHABLE, USAGE, Target, main_call, main_caller
from relay.standin.model.script import Script
from relay.standin.scenario import scenario_file
from relay.standin.scenario.report import CallReport, Evidence
from relay.standin.scenario.run import run_scenario
from relay.standin.scenario.scenario_file import ACTIONS, Expect, Scenario, ScenarioError, load, parse, shipped
from relay.standin.speech.audio_files import AudioRefused, mulaw_of, write_stereo
from relay.standin.speech.voice import find
from relay.standin.twilio.exchange import APPLICATION_ERROR, Exchange, PhoneNumber
from relay.standin.twilio.listening import is_loud
from relay.standin.twilio.relay_connections import NetworkConnections
from relay.transport.handshake import answer
from relay.transport.websocket import Gone
from relay.transport.wire import StreamWire
from tests.helpers.tiny_relay import ACCOUNT, ORIGIN, Media, TinyRelay, exchange, twiml

CONNECT = twiml('<Connect><Stream url="wss://voice.example.com/s"/></Connect><Hangup/>')
ANSWER_S = 0.5


class Agent:
    """A small agent. It greets at `start`, and answers each sentence of the caller with its next clip."""

    def __init__(self, greeting: str, *answers: str, resume_after: int = 0, stutter: bool = False) -> None:
        self.greeting, self.answers = greeting, list(answers)
        # After an interruption the agent goes on when the caller was silent for `resume_after` frames (0: it does not).
        self.resume_after, self.stutter = resume_after, stutter

    async def __call__(self, media: Media) -> None:
        start = await media.next("start")
        media.stream_sid = start["streamSid"]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.listen, media, nursery)
            await self.say(media, self.greeting)

    async def say(self, media: Media, clip: str) -> None:
        found = find(clip)
        assert found is not None
        self.left, self.since = found.mulaw, trio.current_time()
        half = len(found.mulaw) // 2 - 1280 if self.stutter else 0  # in the middle of a word
        if half:
            await self.send(media, found.mulaw[:half])
            await trio.sleep(half / 8000 + 0.2)
        await self.send(media, found.mulaw[half:])

    async def send(self, media: Media, mulaw: bytes) -> None:
        await media.send(event="media", media={"payload": base64.b64encode(mulaw).decode()})

    async def listen(self, media: Media, nursery: trio.Nursery) -> None:
        quiet, talked, stopped = 0, 0, False
        while True:
            try:
                messages = await media.end.receive()
            except Gone:
                nursery.cancel_scope.cancel()
                return
            for data in messages:
                message = msgspec.json.decode(data)
                if message["event"] != "media":
                    continue
                if is_loud(base64.b64decode(message["media"]["payload"])):
                    talked, quiet = talked + 1, 0
                else:
                    quiet += 1
                if talked == 3 and not stopped:
                    stopped, heard = True, round((trio.current_time() - self.since) * 8000)
                    await media.send(event="clear")
                if stopped and self.resume_after and heard < len(self.left):
                    if quiet == self.resume_after:
                        await self.send(media, self.left[heard:])
                        talked, stopped = 0, False
                elif talked > 2 and quiet == 25:
                    talked, stopped = 0, False
                    if not self.answers:
                        nursery.cancel_scope.cancel()
                        return
                    nursery.start_soon(self.say, media, self.answers.pop(0))


async def play(text: str, agent: Agent, evidence: Evidence | None = None) -> CallReport:
    scenario = parse(text, "test")

    async def found(call_sid: str) -> Evidence:
        assert evidence is not None
        return evidence

    relay = TinyRelay({"/twilio/incoming": CONNECT}, agent)
    async with trio.open_nursery() as nursery:
        relay.nursery = nursery
        report = await run_scenario(scenario, exchange(relay), found if evidence else None)
        nursery.cancel_scope.cancel()
    return report


def steps(*lines: str, more: str = "") -> str:
    return 'title = "t"\n' + more + "\n[caller]\nsteps = [" + ",".join(lines) + "]\n"


TALK = steps(
    "{ listen = true }",
    '{ say = "ask_hours" }',
    "{ listen = true }",
    '{ say = "bye" }',
    "{ listen = true }",
    "{ hang_up = true }",
)


# the format


@pytest.mark.parametrize("name", shipped())
def test_every_shipped_scenario_can_be_read(name: str) -> None:
    scenario = load(name)
    assert scenario.title
    assert scenario.expect != Expect()
    assert Script.from_table(scenario.model)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('title = "x"', "`caller`"),
        ('title = "x"\ncolour = "red"\n[caller]\nsteps = []', "colour"),
        (steps('{ say = "ask_hours", press = "1" }'), "step 1 must do one thing, not say and press"),
        (steps("{ hang_up = true }", "{ after_ms = 5 }"), "step 2 must do one thing, not nothing"),
        (steps('{ say = "..." }'), "there is not a word in '...'"),
        (steps('{ press = "5x" }'), "keys are"),
        (steps("{ interrupt_after_ms = 3, silent_s = 1 }"), "cannot interrupt"),
        (steps('{ shout = "x" }'), "caller.steps 1: unknown field `shout`; there are: after_ms, cough"),
        (steps('{ until = "bridge" }'), "caller.steps 1.until: Invalid enum value 'bridge'; there are: agent_said"),
        (steps('{ press = "1" }', '{ press = "1", after_ms = -5 }'), "caller.steps 2.after_ms: Expected `int` >= 0"),
        (steps("{ silent_s = nan }"), "caller.steps 1.silent_s: "),
        (steps() + '[[trouble]]\ndoes = "socket_cut"\nupon = "stream_start"', "trouble 1.upon: Invalid enum value"),
        (steps() + '[human]\ndoes = "sings"', "human.does: Invalid enum value 'sings'; there are: accepts, busy"),
        (steps() + '[[human]]\n[[human]]\ndoes = "sings"', "human 2.does: Invalid enum value 'sings'; there are: "),
        (steps() + "[expect]\ngreeting_within = 3", "expect: unknown field `greeting_within`; there are: answer_"),
        (steps() + '[expect]\nended_by = "nobody"', "'nobody'; there are: caller, human, relay, twilio"),
        (steps() + '[expect]\nrows = { calls = "many" }', "expect.rows: "),
        (steps() + "[network]\ndelay_ms = -40", "network.delay_ms: "),
        (steps() + '[relay]\nMAX_CALLS_S = "9"', "relay: no setting 'MAX_CALLS_S'; there are: AGENT_NAME"),
        (steps() + '[backend]\n"/hours" = "5OO"', "backend: /hours: kind: Invalid enum value '5OO'; there are: 409"),
        (steps() + '[backend]\n"/hours" = { kind = "500", times = 0 }', "backend: /hours: times: "),
        (steps() + '[backend]\nhours = "500"', "backend: 'hours': a place is"),
        (steps() + "[model.faults]\nstalls = 1", "model.faults: unknown key 'stalls'; there are: "),
        ("title = 3 =", "at line 1"),
    ],
)
def test_a_wrong_scenario_is_refused_with_the_place_of_the_mistake(text: str, words: str) -> None:
    with pytest.raises(ScenarioError, match="scenario test") as caught:
        parse(text, "test")
    assert words in str(caught.value)


def test_the_example_in_the_header_of_the_format_can_be_read(tmp_path: Path) -> None:
    write_stereo(tmp_path / "in.wav", b"\x10\x90" * 800, b"")
    example = (scenario_file.__doc__ or "").split("```")[1].removeprefix("toml")
    read = parse(example.replace("in.wav", str(tmp_path / "in.wav")), "example")
    tables = set(tomllib.loads(example)) - {"title"}
    assert tables == set(Scenario.__struct_fields__) - {"title", "name"}
    assert {kind for step in read.caller.steps for kind in step.kinds} == set(ACTIONS)


def test_a_wait_of_zero_ms_is_a_valid_step() -> None:
    (step,) = parse(steps("{ silent_s = 0 }"), "test").caller.steps
    assert step.kinds == ["silent_s"]


def test_the_error_for_an_unknown_scenario_names_the_known_ones() -> None:
    with pytest.raises(ScenarioError, match="good_call"):
        load("no_such")


def test_the_error_names_the_path_of_a_wrong_or_missing_file(tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    with pytest.raises(ScenarioError, match=f"there is no file {own}$"):
        load(str(own))
    own.write_text(steps('{ shout = "x" }'))
    with pytest.raises(ScenarioError, match=f"scenario {own}: caller.steps 1"):
        load(str(own))


def test_humans_have_the_order_in_which_they_are_written() -> None:
    text = steps() + '[[human]]\ndoes = "busy"\n[[human]]\ndoes = "voicemail"\n'
    assert [human.does for human in parse(text, "test").line().humans] == ["busy", "voicemail"]


# acting


async def test_a_conversation_is_heard_timed_and_recognised(autojump_clock: Any) -> None:
    report = await play(TALK, Agent("greeting", "hours", "goodbye"))
    assert report.failures == []
    assert report.ended_by == "caller"
    assert [turn.who for turn in report.turns] == ["agent", "caller", "agent", "caller", "agent"]
    assert report.heard == [find(name).text for name in ("greeting", "hours", "goodbye")]  # type: ignore[union-attr]
    assert report.greeting_ms is not None
    assert 0 <= report.greeting_ms <= 200  # the clip begins with silence
    assert len(report.latencies_ms) == 2
    assert all(abs(ms - 1000 * ANSWER_S) < 250 for ms in report.latencies_ms)
    assert report.gaps_ms == []
    assert report.check(parse(TALK, "test").expect) == []


async def test_an_interruption_stops_the_agent_and_is_timed(autojump_clock: Any) -> None:
    text = steps(
        "{ listen = true }",
        '{ say = "ask_hours" }',
        '{ interrupt_after_ms = 2000, say = "oh_wait" }',
        "{ listen = true }",
        "{ hang_up = true }",
    )
    report = await play(text, Agent("greeting", "hours", "no_problem"))
    assert report.heard == [find(name).text for name in ("greeting", "no_problem")]  # type: ignore[union-attr]
    (stop_ms,) = report.stops_ms
    assert 40 <= stop_ms <= 200
    assert [turn.cut for turn in report.turns if turn.who == "agent"] == [False, True, False]


@pytest.mark.parametrize("resume_after", [15, 40])
async def test_an_answer_that_goes_on_after_a_cough_is_heard_whole(resume_after: int, autojump_clock: Any) -> None:
    text = steps(
        "{ listen = true }",
        '{ say = "ask_hours" }',
        "{ interrupt_after_ms = 2000, cough = true }",
        "{ listen = 1500 }",
        "{ hang_up = true }",
    )
    report = await play(text, Agent("greeting", "hours", resume_after=resume_after))
    assert report.heard[-1] == find("hours").text  # type: ignore[union-attr]


async def test_a_gap_in_the_agents_speech_is_counted(autojump_clock: Any) -> None:
    report = await play(steps("{ listen = true }", "{ hang_up = true }"), Agent("hours", stutter=True))
    assert report.gaps_ms == [200]
    assert "a gap in the agent's speech took 200 ms, more than 60 ms" in report.check(Expect(no_gap_over_ms=60))


async def test_a_caller_who_waits_in_vain_fails_the_scenario(autojump_clock: Any) -> None:
    report = await play(
        steps("{ listen = true }", '{ say = "bye" }', "{ listen = true, limit_s = 5 }", more=""),
        Agent("greeting", "hold_on"),
    )
    assert report.failures == ["the caller hung up 20 s after the last step"]
    report = await play(steps("{ until = 'bridged', limit_s = 5 }"), Agent("greeting"))
    assert report.failures[0] == "step 1 (until): it did not come within 5 s"


async def test_a_recording_can_be_played_to_the_agent(tmp_path: Path, autojump_clock: Any) -> None:
    spoken = find("ask_hours")
    assert spoken is not None
    write_stereo(tmp_path / "in.wav", spoken.mulaw, b"")
    text = steps(
        "{ listen = true }", f"{{ play = '{tmp_path / 'in.wav'}' }}", "{ listen = true }", "{ hang_up = true }"
    )
    report = await play(text, Agent("greeting", "hours"))
    assert report.heard[-1].startswith("We are open")


async def test_the_fallback_url_of_one_scenario_is_not_used_for_the_next(autojump_clock: Any) -> None:
    relay = TinyRelay({})
    at = exchange(relay)
    mine = ORIGIN + "/mine"
    with_it = parse(steps("{ silent_s = 60 }") + "[number]\nfallback_twiml = '<Response><Say>Hi</Say></Response>'", "t")
    without = parse(steps("{ silent_s = 60 }"), "t")
    assert (await run_scenario(with_it, at)).read_out == ["Hi"]
    assert (await run_scenario(without, at)).read_out == [APPLICATION_ERROR]
    at.number.voice_fallback_url = mine
    await run_scenario(without, at)
    assert mine in [asked.url for asked in relay.asked]


# expectations


FACTS = Evidence(
    end_reason="caller_hung_up",
    outcome="booked",
    functions=["lookup_hours"],
    transcript=[("caller", "What time?"), ("agent", "From eleven.")],
    rows={"calls": 1, "transcripts": 5},
    bookings=1,
)


CAN_FAIL = [
    ("greeting_within_ms = 1", "the greeting took"),
    ("answer_within_ms = 100", "an answer took"),
    ("stopped_within_ms = 100", "no sign of the stop"),
    ("no_silence_over_ms = 100", "a silence took"),
    ("within_s = 3", "the call took"),
    ('heard = ["hours", "greeting"]', "not heard"),
    ('not_heard = ["hours"]', "heard 'hours'"),
    ('read_out = ["Sorry"]', "not read out"),
    ('ended_by = "relay"', "ended by caller, not by relay"),
    ('dialled = ["+12125550102"]', "dialled nobody"),
    ('whisper_contains = "Jane"', "was not told 'Jane'"),
    ("bridged = true", "was not bridged"),
    ("recordings = 1", "recordings: 0, not 1"),
    ("streams = 2", "media streams: 1, not 2"),
    ("complaints = [31951]", "no complaint 31951"),
    ('end_reason = "transferred"', "end reason: caller_hung_up"),
    ('outcome = "none"', "outcome: booked"),
    ("bookings = 2", "bookings: 1, not 2"),
    ("messages = 1", "messages: 0, not 1"),
    ('functions = ["lookup_hours", "end_call"]', "functions ran: ['lookup_hours']"),
    ('said = ["From twelve"]', "not in the transcript: 'From twelve'"),
    ('rows = { transcripts = "6+" }', "5 rows in transcripts, not 6+"),
    ("rows = { calls = 2 }", "1 rows in calls, not 2"),
    ('not_said = ["eleven"]', "in the transcript: 'eleven'"),
    ('answered_beside = ["Goodbye, and thank you for calling."]', "the agent did not answer"),
    ("cut = 1", "turns cut off: 0, not 1"),
    ('transfer = "taken"', "transfer: , not taken"),
    ('human_legs = ["busy"]', "the human's phones ended [], not ['busy']"),
    ('asked = { "GET /hours" = 1 }', "the business was asked GET /hours: 0, not 1"),
]


@pytest.mark.parametrize(("expect", "words"), CAN_FAIL)
def test_each_expectation_can_fail_and_says_why(expect: str, words: str) -> None:
    wrong = a_good_talk().check(parse(TALK + "[expect]\n" + expect, "test").expect)
    assert len(wrong) >= 1
    assert words in wrong[0]


@cache
def a_good_talk() -> CallReport:
    """The report of one call, which several tests share. The call has a fake clock of its own."""
    clock = trio.testing.MockClock(autojump_threshold=0)
    return trio.run(play, TALK, Agent("greeting", "hours", "goodbye"), FACTS, clock=clock)


def test_every_expectation_is_in_the_test_that_sees_it_fail() -> None:
    elsewhere = {"no_gap_over_ms", "no_complaints"}  # other tests with other calls see these two fail
    assert {expect.partition(" = ")[0] for expect, _ in CAN_FAIL} | elsewhere == set(Expect.__struct_fields__)


def test_true_expectations_pass() -> None:
    text = TALK + (
        '[expect]\nheard = ["greeting", "hours"]\nnot_heard = ["booked"]\nended_by = "caller"\ndialled = []\n'
        'bridged = false\nrecordings = 0\nstreams = 1\nend_reason = "caller_hung_up"\nfunctions = ["lookup_hours"]\n'
        'bookings = 1\nsaid = ["what time", "from eleven"]\nanswer_within_ms = 900\nno_gap_over_ms = 0\n'
        'rows = { calls = 1, transcripts = "2+" }\n'
    )
    assert a_good_talk().check(parse(text, "test").expect) == []


async def test_without_a_ledger_the_expectations_about_it_fail_unless_they_are_left_out(autojump_clock: Any) -> None:
    expect = parse(TALK + "[expect]\nbookings = 1\nstreams = 1", "test").expect
    report = await play(TALK, Agent("greeting", "hours", "goodbye"))
    assert "cannot be seen from here" in report.check(expect)[0]
    assert report.check(expect.without_ledger()) == []


async def test_an_unexpected_complaint_fails_the_scenario(autojump_clock: Any) -> None:
    class Chatty(Agent):
        async def send(self, media: Media, mulaw: bytes) -> None:
            await media.send(event="ping")
            await super().send(media, mulaw)

    report = await play(TALK, Chatty("greeting", "hours", "goodbye"))
    assert "31951 only media, mark and clear are known" in report.check(Expect())[0]
    assert report.check(Expect(complaints=(31951,))) == []
    assert report.check(Expect(no_complaints=False)) == []


# files


def test_the_left_channel_of_the_wav_is_the_caller_and_the_right_one_the_agent(tmp_path: Path) -> None:
    report = a_good_talk()
    report.write_wav(tmp_path / "sub" / "call.wav")
    with wave.open(str(tmp_path / "sub" / "call.wav")) as file:
        assert (file.getnchannels(), file.getframerate(), file.getsampwidth()) == (2, 8000, 2)
        assert file.getnframes() == round(report.duration_s * 8000)
    greeting = find("greeting")
    assert greeting is not None
    assert greeting.mulaw in report.heard_mulaw
    assert greeting.mulaw not in report.caller_mulaw
    asked = find("ask_hours")
    assert asked is not None
    assert asked.mulaw in report.caller_mulaw


def test_a_wav_with_another_rate_is_converted_to_8_khz(tmp_path: Path) -> None:
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(b"\x00\x10" * 16_000)
    assert len(mulaw_of((tmp_path / "a.wav").read_bytes())) == 8000
    with pytest.raises(AudioRefused, match="this WAV file cannot be read"):
        mulaw_of(b"ID3")


# the command


async def test_relay_call_says_what_is_wrong_with_its_arguments() -> None:
    told: list[str] = []
    assert await main_call(Target("voice.example.com", ACCOUNT), tell=told.append) == USAGE
    assert await main_call(Target(ORIGIN, type(ACCOUNT)("AC1", "")), tell=told.append) == USAGE
    assert await main_call(Target(ORIGIN, ACCOUNT), scenario="no_such", tell=told.append) == USAGE
    assert await main_call(Target(ORIGIN, ACCOUNT), wav=Path("no.wav"), tell=told.append) == USAGE
    assert len(told) == 4


@pytest.mark.real
async def test_relay_call_to_a_port_without_a_listener_reports_unreachable() -> None:
    told: list[str] = []
    target = Target("http://127.0.0.1:9", ACCOUNT)
    assert await main_call(target, scenario="hangup_during_greeting", tell=told.append) == UNREACHABLE
    assert told[-1].startswith("The relay cannot be reached:")
    assert not any("WRONG" in line for line in told)


# over real sockets


async def _serve(agent: Agent, origin: list[str], stream: trio.abc.Stream) -> None:
    """Serve one connection: the webhook, whose TwiML opens a stream to this same server, or the stream itself."""
    data = b""
    while b"\r\n\r\n" not in data:
        try:
            more = await stream.receive_some()
        except trio.BrokenResourceError:
            return  # the client refused our certificate
        if not more:
            return
        data += more
    if b"upgrade: websocket" in data:
        request, end = await answer(StreamWire(stream), data)
        await end.accept(request)
        await agent(Media(end, request))
        return
    head, _, body = data.partition(b"\r\n\r\n")
    length = next(int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
    while len(body) < length:
        body += await stream.receive_some()
    url = origin[0].replace("http", "ws", 1) + "/s"
    document = twiml(f'<Connect><Stream url="{url}"/></Connect><Hangup/>').encode()
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/xml\r\nconnection: close\r\n"
    await stream.send_all(head + b"content-length: %d\r\n\r\n" % len(document) + document)
    await stream.aclose()


@asynccontextmanager
async def served(agent: Agent, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    origin: list[str] = []
    async with trio.open_nursery() as nursery:
        handler = partial(_serve, agent, origin)
        if tls is None:
            (listener,) = await nursery.start(partial(trio.serve_tcp, handler, 0, host="127.0.0.1"))
            port = listener.socket.getsockname()[1]
        else:
            (secure,) = await nursery.start(partial(trio.serve_ssl_over_tcp, handler, 0, tls, host="127.0.0.1"))
            port = secure.transport_listener.socket.getsockname()[1]
        origin.append(f"http{'s' if tls else ''}://127.0.0.1:{port}")
        yield origin[0]
        nursery.cancel_scope.cancel()


@pytest.mark.real
async def test_relay_call_calls_a_relay_over_the_network_and_its_exit_code_gives_the_result(tmp_path: Path) -> None:
    scenario = tmp_path / "short.toml"
    scenario.write_text(
        steps("{ interrupt_after_ms = 300, hang_up = true }") + '[expect]\nended_by = "caller"\n[model]\nping_s = 20\n'
    )
    told: list[str] = []
    with trio.fail_after(60):
        async with served(Agent("greeting")) as url:
            code = await main_call(
                Target(url, ACCOUNT), scenario=str(scenario), out=tmp_path / "call.wav", rest_port=0, tell=told.append
            )
            assert code == OK, told
            assert any("Only `relay demo --scenario` uses the scenario's [model]" in line for line in told)
            assert (tmp_path / "call.wav").stat().st_size > 8000
            scenario.write_text(scenario.read_text().replace('caller"\n', 'relay"\n'))
            told.clear()
            code = await main_call(
                Target(url, ACCOUNT), scenario=str(scenario), count=3, as_json=True, tell=told.append
            )
            assert code == FAILED
    reports = json.loads(told[0])
    assert [each["wrong"] for each in reports] == [["ended by caller, not by relay"]] * 3


@pytest.mark.real
async def test_the_exchange_as_a_server_makes_a_call_on_request(tmp_path: Path) -> None:
    async def gone(base: str) -> dict[str, Any]:
        async with httpx.AsyncClient(base_url=base) as http:
            assert (await http.post("/standin/ring?scenario=no_such")).status_code == 400
            assert "relay_dies" in (await http.post("/standin/ring?scenario=relay_dead")).json()["error"]
            assert (await http.post("/standin/ring?scenario=hangup_during_greeting")).status_code == 202
            assert (await http.get("/2010-04-01/Accounts/x/Calls/y.json")).status_code == 401
            while not (calls := (await http.get("/standin/calls")).json()):  # noqa: ASYNC110 -- over HTTP
                await trio.sleep(0.1)
            return dict(calls)

    told: list[str] = []
    with trio.fail_after(60):
        async with served(Agent("greeting")) as url, trio.open_nursery() as nursery:
            port = await nursery.start(main_caller, Target(url, ACCOUNT), 0, told.append)
            (report,) = (await gone(f"http://127.0.0.1:{port}")).values()
            nursery.cancel_scope.cancel()
    assert any(f"curl -X POST 'http://127.0.0.1:{port}/standin/ring?scenario=good_call'" in line for line in told)
    assert report["ended_by"] == "caller"
    assert report["streams"] == 1


@pytest.mark.real
@pytest.mark.parametrize("trusted", [True, False])
async def test_over_tls_an_unknown_certificate_is_refused(trusted: bool) -> None:
    authority, theirs, ours = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("127.0.0.1").configure_cert(theirs)
    if trusted:
        authority.configure_trust(ours)
    text = steps("{ interrupt_after_ms = 300, hang_up = true }")
    with trio.fail_after(60):
        async with served(Agent("greeting"), theirs) as url:
            door = NetworkConnections(ours)
            at = Exchange(door, ACCOUNT, PhoneNumber("+12125550190", url + "/twilio/incoming"))
            report = await run_scenario(parse(text, "test"), at)
            await door.aclose()
    assert (report.streams == 1) is trusted
    assert ([complaint.code for complaint in report.complaints] == [11220]) is not trusted
