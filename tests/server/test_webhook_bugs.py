"""Our own code fails in a webhook: what the caller hears, whether a human is reached, and what is written down."""

from __future__ import annotations

from functools import partial
from typing import Any, cast
from urllib.parse import urlencode

import httpx
import pytest
import structlog
import trio
import trio.testing

from relay.call.machine import Next
from relay.call.vocabulary import EndReason
from relay.ledger import rows
from relay.server import admission, http, human_transfer, webhooks
from relay.server.human_transfer import Transfers
from relay.session.call_file import ASKS_WITHIN_S
from relay.standin.scenario.report import CallReport
from relay.standin.scenario.run import run_scenario
from relay.standin.scenario.scenario_file import parse
from relay.twilio import signature
from tests.helpers.play import ACCOUNT, PUBLIC_URL, Play, stage
from tests.helpers.webhook import SID, OpenStream, ask, call_file

Clock = trio.testing.MockClock
Patch = pytest.MonkeyPatch
HUMAN, ALSO = "+12125550102", "+12125550103"
TWILIO_WAITS_S = 15.0  # docs/protocol/twilio.md 1.2
NO_ANSWER = {"DialCallStatus": "no-answer", "DialBridged": "false"}
TALKED = {"DialCallStatus": "completed", "DialBridged": "true"}
CALL = """
title = "t"
[caller]
steps = [{ until = "%s", limit_s = 90 }, { silent_s = 4 }, { hang_up = true }]
[human]
does = "%s"
ring_s = 1
talk_s = 2
"""


def broken(*_: Any, **__: Any) -> Any:
    raise ZeroDivisionError("a bug")


async def stuck(*_: Any, **__: Any) -> Any:
    await trio.sleep_forever()


def break_handler(patch: Patch, name: str, fault: Any = broken) -> None:
    """Let the handler of this webhook fail. Must be called before the stage is set."""
    if name in ("whisper", "accept", "dialed", "message"):
        patch.setattr(Transfers, name, fault)
    else:
        patch.setattr(webhooks.Webhooks, f"_{name.replace('-', '_')}", fault)


async def ring(play: Play, does: str, until: str = "dial_ended") -> CallReport:
    """A call whose human does this. The caller hangs up some seconds after the event `until`."""
    return await run_scenario(parse(CALL % (until, does), "t"), play.exchange)


# Each webhook


@pytest.mark.parametrize("fault", [broken, stuck])
@pytest.mark.parametrize(
    ("path", "fields", "verbs"),
    [
        ("incoming", {}, ["Say", "Dial"]),
        ("after", {}, ["Say", "Dial"]),
        ("after/", {}, ["Say", "Dial"]),
        ("whisper?call={SID}", {}, ["Gather", "Hangup"]),
        ("whisper", {}, ["Gather", "Hangup"]),
        ("accept?call={SID}", {"Digits": "1"}, []),
        ("accept?call={SID}", {"Digits": "2"}, ["Hangup"]),
        ("accept", {}, ["Hangup"]),
        ("dialed?call={SID}&which=0", NO_ANSWER, ["Dial"]),
        ("dialed?call={SID}&which=1", NO_ANSWER, ["Say", "Record", "Hangup"]),
        ("dialed?call={SID}&which=" + "9" * 5_000, NO_ANSWER, ["Dial"]),
        ("dialed", {}, ["Dial"]),
        ("dialed?call={SID}&which=0", TALKED, ["Hangup"]),
        ("message?call={SID}", {}, ["Say", "Hangup"]),
        ("message?call={SID}", {"RecordingStatus": "completed"}, []),
        ("status", {"CallStatus": "completed"}, []),
        ("stream-status", {}, []),
    ],
)
@pytest.mark.parametrize("known", [True, False])
async def test_a_webhook_with_a_bug_is_answered_in_time_with_valid_twiml_and_the_bug_is_logged(
    fault: Any,
    path: str,
    fields: dict[str, str],
    verbs: list[str],
    known: bool,
    monkeypatch: Patch,
    autojump_clock: Clock,
) -> None:
    break_handler(monkeypatch, path.partition("?")[0].strip("/"), fault)
    async with stage(settings={"HUMAN_NUMBERS_ALSO": ALSO}) as play:
        if known:
            call_file(play)
        began = trio.current_time()
        with structlog.testing.capture_logs() as lines:
            got = await ask(play, "/twilio/" + path.replace("{SID}", SID), fields)
        assert trio.current_time() - began < TWILIO_WAITS_S
        assert (got.status, got.verbs) == (200, verbs)
        (line,) = [line for line in lines if line["event"] == "webhook.broke"]
        assert line["log_level"] == "error"
        assert line["caller_hears"]
        assert line["do"]
        assert "webhook.bug_not_noted" not in [line["event"] for line in lines]


async def test_after_a_bug_in_the_check_of_the_signature_nobody_gets_the_humans_number(
    monkeypatch: Patch, caplog: pytest.LogCaptureFixture, autojump_clock: Clock
) -> None:
    # Twilio then asks the number's fallback URL, as if no relay had answered.
    monkeypatch.setattr(signature, "check_webhook", broken)
    async with stage() as play:
        got = await ask(play, "/twilio/incoming", signature=None)
        assert got.status == 500
        assert HUMAN not in got.text
        assert [record.levelname for record in caplog.records if "Exception on request" in record.message] == ["ERROR"]


@pytest.mark.real
async def test_over_a_real_port_a_whisper_with_a_bug_still_asks_for_the_key_1(monkeypatch: Patch) -> None:
    monkeypatch.setattr(human_transfer, "whisper_words", broken)
    async with stage() as play:
        stop = trio.Event()
        serve = partial(http.serve, bind=["127.0.0.1:0"], doors={}, graceful_s=1.0, shutdown=stop)
        (url,) = await play.nursery.start(serve, cast("Any", play.daemon.app))
        path, fields = f"/twilio/whisper?call={SID}", {"CallSid": "CA" + "9" * 32}
        signed = signature.sign(ACCOUNT.auth_token, f"{PUBLIC_URL}{path}", fields.items())
        async with httpx.AsyncClient(trust_env=False) as client:
            headers = {signature.SIGNATURE_HEADER: signed, "Content-Type": "application/x-www-form-urlencoded"}
            got = await client.post(f"{url}{path}", content=urlencode(fields), headers=headers)
        stop.set()
    assert got.status_code == 200
    assert "<Gather" in got.text
    assert f"/twilio/accept?call={SID}" in got.text
    assert "<Hangup" in got.text


# Whole calls


@pytest.mark.parametrize("fault", [broken, stuck])
@pytest.mark.parametrize(("does", "taken"), [("voicemail", False), ("accepts", True), ("declines", False)])
async def test_after_a_bug_in_the_whisper_only_a_human_who_presses_1_takes_the_call(
    fault: Any, does: str, taken: bool, monkeypatch: Patch, autojump_clock: Clock
) -> None:
    break_handler(monkeypatch, "whisper", fault)
    async with stage() as play:
        play.daemon.desk.day_usd = 1_000_000.0  # so the human's phone rings at once
        got = await ring(play, does)
        assert (got.bridged_s > 0) is taken
        assert len(got.whispers) == 1
        assert play.ledger.of(rows.OutcomeRow, got.call_sid)[-1].transfer_result == (
            "accepted" if taken else "declined"
        )


async def test_after_a_bug_in_the_answer_to_the_key_1_the_human_has_the_call(
    monkeypatch: Patch, autojump_clock: Clock
) -> None:
    break_handler(monkeypatch, "accept")
    async with stage() as play:
        play.daemon.desk.day_usd = 1_000_000.0
        got = await ring(play, "accepts")
        assert got.bridged_s > 0
        assert not any("nobody" in text.casefold() for text in got.read_out)
        assert play.ledger.of(rows.OutcomeRow, got.call_sid)[-1].transfer_result == "accepted"


@pytest.mark.parametrize(("does", "taken"), [("voicemail", False), ("accepts", True)])
async def test_after_a_bug_when_the_phone_rings_the_human_hears_a_whisper_and_the_rows_name_the_fault(
    does: str, taken: bool, monkeypatch: Patch, autojump_clock: Clock
) -> None:
    monkeypatch.setattr(admission.Admission, "judge", broken)
    async with stage() as play:
        got = await ring(play, does)
        assert (got.bridged_s > 0) is taken
        assert "internal error" in got.whispers[0]
        assert got.read_out[0] == "Sorry, we were cut off. I am connecting you with a person."
        assert ("Nobody can take your call" in " ".join(got.read_out)) is not taken
        (row,) = play.ledger.of(rows.CallRow, got.call_sid)
        assert row.started_at is not None
        outcome = play.ledger.of(rows.OutcomeRow, got.call_sid)[-1]
        assert (outcome.end_reason, outcome.outcome) == (EndReason.RELAY_FAULT, "relay_broke")
        assert outcome.transfer_result == ("accepted" if taken else "declined")
        await trio.sleep(ASKS_WITHIN_S)
        assert play.daemon.desk.calls_in_hand == 0


async def test_after_a_bug_when_the_stream_has_ended_the_human_is_rung(
    monkeypatch: Patch, autojump_clock: Clock
) -> None:
    break_handler(monkeypatch, "after")
    async with stage() as play:

        async def cut() -> None:
            await trio.sleep(4)
            play.media_scopes[-1].cancel()

        play.nursery.start_soon(cut)
        got = await ring(play, "accepts")
        assert (got.streams, got.bridged_s > 0) == (1, True)
        assert play.ledger.of(rows.OutcomeRow, got.call_sid)[-1].transfer_result == "accepted"


@pytest.mark.parametrize(("does", "taken"), [("voicemail", False), ("no_answer", False), ("accepts", True)])
async def test_with_a_bug_in_every_webhook_a_human_is_reached_or_a_message_recorded_and_the_call_ends(
    does: str, taken: bool, monkeypatch: Patch, autojump_clock: Clock
) -> None:
    for name in ("incoming", "after", "whisper", "accept", "dialed", "message", "status", "stream-status"):
        break_handler(monkeypatch, name)
    async with stage(settings={"HUMAN_NUMBERS_ALSO": ALSO}) as play:
        got = await ring(play, does, "dial_ended" if taken else "recording_started")
        assert (got.bridged_s > 0) is taken
        assert got.dialled == ([HUMAN] if taken else [HUMAN, ALSO])
        assert len(got.whispers) == (0 if does == "no_answer" else len(got.dialled))
        assert ("Nobody can take your call" in " ".join(got.read_out)) is not taken
        assert got.failures == []  # so the recording began


async def test_after_a_bug_when_the_stream_has_ended_its_socket_does_not_decide_over_the_transfer(
    monkeypatch: Patch, autojump_clock: Clock
) -> None:
    break_handler(monkeypatch, "after")
    async with stage() as play:
        file = call_file(play)
        stream = OpenStream(file)
        assert (await ask(play, "/twilio/after")).all("Dial")
        assert stream.ended == [EndReason.CALLER_SOCKET_LOST]
        assert (file.decision.then, file.decision.reason) == (Next.HUMAN, EndReason.RELAY_FAULT)
        assert file.human.result == "asked"


async def test_after_a_bug_when_the_caller_has_hung_up_no_humans_phone_counts_as_rung(
    monkeypatch: Patch, autojump_clock: Clock
) -> None:
    break_handler(monkeypatch, "after")
    async with stage() as play:
        file = call_file(play)
        stream = OpenStream(file)
        await ask(play, "/twilio/after", {"CallStatus": "completed"})
        assert stream.ended == [EndReason.CALLER_HUNG_UP]
        assert (file.human.result, play.ledger.of(rows.OutcomeRow, SID)) == ("", [])


async def test_after_a_bug_when_the_phone_rings_no_session_of_the_model_waits_for_the_call(
    monkeypatch: Patch, autojump_clock: Clock
) -> None:
    async with stage() as play:
        monkeypatch.setattr(webhooks.Webhooks, "_stream", broken)
        released: list[str] = []
        monkeypatch.setattr(play.daemon.desk.warm, "release", released.append)
        assert (await ask(play, "/twilio/incoming")).all("Dial")
        assert released == [SID]


@pytest.mark.parametrize(
    ("accepted", "said", "verbs", "result"),
    [
        (True, {"DialCallStatus": "completed"}, ["Hangup"], "accepted"),
        (True, {"DialCallStatus": "answered"}, ["Hangup"], "accepted"),
        (False, {"DialCallStatus": "completed"}, ["Dial"], "asked"),
        (True, {"DialCallStatus": "busy"}, ["Dial"], "asked"),
        (True, {"DialCallStatus": "completed", "DialBridged": "false"}, ["Dial"], "asked"),
    ],
)
async def test_after_a_bug_at_the_end_of_a_dial_the_humans_key_counts_if_twilio_does_not_say_who_talked(
    accepted: bool, said: dict[str, str], verbs: list[str], result: str, monkeypatch: Patch, autojump_clock: Clock
) -> None:
    break_handler(monkeypatch, "dialed")
    async with stage(settings={"HUMAN_NUMBERS_ALSO": ALSO}) as play:
        file = call_file(play)
        file.human.accepted = accepted
        assert (await ask(play, f"/twilio/dialed?call={SID}&which=0", said)).verbs == verbs
        assert file.human.result == result
