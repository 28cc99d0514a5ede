"""The webhooks: who may ask, who gets the agent, and the next document after a stream or after a transfer."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import re
from collections.abc import AsyncIterator
from functools import partial
from typing import Any, cast
from urllib.parse import urlencode

import httpx
import pytest
import structlog
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from relay.call.machine import Next
from relay.call.vocabulary import CallSid, EndReason
from relay.ledger import rows
from relay.server import admission, human_transfer, webhooks
from relay.session.call_file import ASKS_WITHIN_S
from relay.twilio.signature import SIGNATURE_HEADER, sign
from tests.helpers.play import ACCOUNT, PUBLIC_URL, Play, stage
from tests.helpers.webhook import FORM, SID, Document, OpenStream, ask, call_file, caller

PATHS = [f"/twilio/{name}" for name in
         ("incoming", "after", "status", "stream-status", "whisper", "accept", "dialed", "message")]  # fmt: skip
HUMAN, ALSO = "+12125550102", "+12125550103"
Clock = trio.testing.MockClock


def outcome(play: Play) -> rows.OutcomeRow:
    (row,) = play.ledger.of(rows.OutcomeRow, SID)
    return row


def action_of(document: Document) -> str:
    """The URL that Twilio asks after a `<Dial>`."""
    (dial,) = document.all("Dial")
    return dial.attrib["action"].removeprefix(PUBLIC_URL)


# Who may ask


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("signature", [None, "", "wrong", "right+"])
async def test_every_webhook_refuses_a_request_without_a_signature_or_with_a_wrong_signature(
    path: str, signature: str | None, autojump_clock: Clock
) -> None:
    async with stage() as play:
        assert (await ask(play, path, signature=signature)).status == 403
        assert play.daemon.desk.files == {}
        assert b"relay_refused_webhooks_total 1.0" in play.daemon.desk.metrics.text()


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("sid", ["", "CA1", "CA" + "z" * 32, "PN" + "1" * 32, "CA" + "1" * 33, "../../etc"])
async def test_every_webhook_refuses_an_invalid_call_sid(path: str, sid: str, autojump_clock: Clock) -> None:
    async with stage() as play:
        assert (await ask(play, path, {"CallSid": sid})).status == 400
        assert (await ask(play, f"{path}?{urlencode({'call': sid})}")).status == (400 if sid else 200)


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS"])
@pytest.mark.parametrize("path", PATHS)
async def test_other_http_methods_open_no_call(method: str, path: str, autojump_clock: Clock) -> None:
    async with stage() as play:
        assert (await ask(play, path, method=method, body=b"")).status in (200, 405)
        assert play.daemon.desk.files == {}


@pytest.mark.parametrize("path", PATHS)
async def test_every_webhook_accepts_get(path: str, autojump_clock: Clock) -> None:
    async with stage() as play:
        assert (await ask(play, path, method="GET")).status == 200


async def test_a_signature_counts_only_for_the_requested_url(autojump_clock: Clock) -> None:
    fields = {"CallSid": SID, "From": "+12125550101"}
    elsewhere = sign(ACCOUNT.auth_token, "https://evil.example.com/twilio/incoming", fields.items())
    async with stage() as play:
        body = urlencode(fields).encode()
        assert (await ask(play, "/twilio/incoming", signature=elsewhere, body=body)).status == 403


async def test_json_with_a_signed_hash_is_read_and_json_without_one_is_refused(autojump_clock: Clock) -> None:
    body = json.dumps({"CallSid": SID}).encode()
    path = f"/twilio/status?CallSid={SID}&bodySHA256={hashlib.sha256(body).hexdigest()}"
    signature = sign(ACCOUNT.auth_token, f"{PUBLIC_URL}{path}")
    async with stage() as play:
        kind = "application/json"
        assert (await ask(play, path, signature=signature, body=body, content_type=kind)).status == 200
        assert (await ask(play, path, signature=signature, body=body + b" ", content_type=kind)).status == 403
        assert (await ask(play, "/twilio/status", signature=signature, body=body, content_type=kind)).status == 403


@settings(max_examples=25)
@given(garbage=st.binary(max_size=300), path=st.sampled_from(PATHS))
def test_garbage_in_the_body_is_refused(garbage: bytes, path: str) -> None:
    async def play_it() -> None:
        async with stage() as play:
            assert (await ask(play, path, signature="AAAA", body=garbage)).status == 403

    trio.run(play_it, clock=Clock(autojump_threshold=0))


@pytest.mark.parametrize("path", PATHS)
async def test_a_request_with_nonsense_in_its_fields_gets_a_document(path: str, autojump_clock: Clock) -> None:
    nonsense = {
        "From": "sip:a@b\x00",
        "To": "😀" * 500,
        "FromState": "California",
        "Digits": "\x07" * 40,
        "DialCallStatus": "<x/>" * 50,
        "DialBridged": "?",
        "CallStatus": "levitating",
        "StreamEvent": "stream-error",
        "StreamError": "\t" * 999,
        "RecordingUrl": "javascript:alert(1)",
        "RecordingDuration": "-1",
        "RecordingStatus": "completed",
    }
    async with stage() as play:
        got = await ask(play, path, nonsense)
        assert got.status == 200
        assert isinstance(got.verbs, list)
        assert play.ledger.of(rows.MessageRow) == [] or "javascript" not in str(play.ledger.of(rows.MessageRow))


async def test_a_request_with_two_signatures_is_refused(autojump_clock: Clock) -> None:
    fields = {"CallSid": SID}
    headers = [(SIGNATURE_HEADER, sign(ACCOUNT.auth_token, f"{PUBLIC_URL}/twilio/incoming", fields.items()))]
    async with stage() as play:
        transport = httpx.ASGITransport(cast(Any, play.daemon.app))
        async with httpx.AsyncClient(transport=transport) as client:
            for more, status in (([], 200), ([(SIGNATURE_HEADER, "x")], 403)):
                got = await client.post(f"{PUBLIC_URL}/twilio/incoming", data=fields, headers=[*headers, *more])
                assert got.status_code == status


@pytest.mark.parametrize("announced", [True, False])
async def test_a_body_that_is_too_big_for_a_webhook_is_not_read(announced: bool, autojump_clock: Clock) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b"a=%41&" * 1_000

    async with stage() as play:
        transport = httpx.ASGITransport(cast(Any, play.daemon.app))
        async with httpx.AsyncClient(transport=transport) as client:
            headers = {"Content-Type": FORM, SIGNATURE_HEADER: "x"}
            body = b"a=%41&" * 100_000 if announced else pieces()
            got = await client.post(f"{PUBLIC_URL}/twilio/incoming", content=body, headers=headers)
    assert got.status_code == 413


async def test_a_body_that_does_not_come_is_given_up(autojump_clock: Clock) -> None:
    async def never() -> AsyncIterator[bytes]:
        yield b"CallSid="
        await trio.sleep(30)

    async with stage() as play:
        transport = httpx.ASGITransport(cast(Any, play.daemon.app))
        async with httpx.AsyncClient(transport=transport, timeout=60) as client:
            began = trio.current_time()
            headers = {"Content-Type": FORM, SIGNATURE_HEADER: "x"}
            got = await client.post(f"{PUBLIC_URL}/twilio/incoming", content=never(), headers=headers)
    assert got.status_code == 408
    assert trio.current_time() - began < 10


# Admission


async def test_a_ringing_call_gets_a_stream_and_a_redirect_after_it(autojump_clock: Clock) -> None:
    async with stage() as play:
        got = await ask(play, "/twilio/incoming", {"CallStatus": "ringing"})
    assert got.verbs == ["Connect", "Redirect"]
    (stream,) = got.all("Stream")
    assert stream.attrib["url"].startswith("wss://relay.example.com/twilio/stream/local/")
    after = got.all("Redirect")[0].text or ""
    assert after == "https://relay.example.com/twilio/after"
    assert stream.attrib["statusCallback"] == "https://relay.example.com/twilio/stream-status"


async def test_a_repeated_incoming_webhook_is_one_call(autojump_clock: Clock) -> None:
    async with stage() as play:
        first, second = [await ask(play, "/twilio/incoming") for _ in range(2)]
        assert first.verbs == second.verbs == ["Connect", "Redirect"]
        assert len(play.daemon.desk.files) == 1
        assert len(play.daemon.desk.warm) == 1


async def test_a_repeated_incoming_webhook_of_a_refused_call_is_refused_again(autojump_clock: Clock) -> None:
    async with stage() as play:
        play.daemon.desk.draining = True
        first = await ask(play, "/twilio/incoming")
        play.daemon.desk.draining = False
        second = await ask(play, "/twilio/incoming")
        assert first.verbs == second.verbs == ["Say", "Dial"]
        assert len(play.daemon.desk.warm) == 0


@pytest.mark.parametrize("why", ["draining", "capacity", "day_spend", "too_often"])
async def test_a_call_that_is_not_admitted_goes_to_the_human_and_is_stored(why: str, autojump_clock: Clock) -> None:
    async with stage(settings={"MAX_CALLS": "1"}) as play:
        desk = play.daemon.desk
        match why:
            case "draining":
                desk.draining = True
            case "capacity":
                OpenStream(desk.open_file(CallSid(SID[:-1] + "2"), caller("+12125550109"), "", 0.0))
            case "day_spend":
                desk.day_usd = 50.0
            case "too_often":
                for number in range(admission.CALLS_PER_WINDOW):
                    desk.open_file(CallSid(f"CA{number:032d}"), caller(), "", trio.current_time())
        got = await ask(play, "/twilio/incoming")
        assert got.verbs == ["Say", "Dial"]
        assert [number.text for number in got.all("Number")] == [HUMAN]
        assert len(desk.warm) == 0
        row = outcome(play)
        assert (row.outcome, row.transfer_result, row.dialled) == (why, "asked", HUMAN)
        assert len(play.ledger.of(rows.CallRow, SID)) == 1


async def test_a_ringing_call_already_counts_for_max_calls(autojump_clock: Clock) -> None:
    async with stage(settings={"MAX_CALLS": "2"}) as play:
        sids = [f"CA{number:032d}" for number in range(4)]
        got = [(await ask(play, "/twilio/incoming", {"CallSid": sid})).verbs[0] for sid in sids[:3]]
        assert got == ["Connect", "Connect", "Say"]
        # The first caller hangs up before the stream begins. The second caller's stream never comes.
        await ask(play, "/twilio/status", {"CallSid": sids[0], "CallStatus": "completed"})
        assert play.daemon.desk.lines_taken == 1
        await trio.sleep(ASKS_WITHIN_S)
        assert play.daemon.desk.lines_taken == 0


async def test_later_webhooks_of_a_call_are_sent_to_the_machine_that_knows_it(autojump_clock: Clock) -> None:
    async with (
        stage(settings={"FLY_MACHINE_ID": "148e0000"}) as play,
        stage(settings={"FLY_MACHINE_ID": "148e2f9a"}) as other,
    ):
        (redirect,) = (await ask(play, "/twilio/incoming")).all("Redirect")
        path = (redirect.text or "").removeprefix(PUBLIC_URL)
        call_file(play, why="they asked for a person")
        sent = await ask(other, path)
        assert (sent.status, sent.headers["fly-replay"]) == (
            307,
            "instance=148e0000;timeout=500ms;fallback=prefer_self",
        )
        assert SID not in other.daemon.desk.files
        assert (await ask(play, path)).said() == ""  # the caller hears no apology for a lost line
        # The other machine is gone, so the request has come back. This machine takes over.
        back = await ask(other, path, headers={"fly-replay-failed": "148e0000"})
        assert (back.status, back.verbs) == (200, ["Say", "Dial"])


async def test_only_calls_within_the_window_are_counted_and_callers_without_a_number_count_together(
    autojump_clock: Clock,
) -> None:
    async with stage() as play:
        for number in range(admission.HIDDEN_CALLS_PER_WINDOW - 1):
            play.daemon.desk.open_file(CallSid(f"CA{number:032d}"), caller(""), "", trio.current_time())
            play.daemon.desk.open_file(CallSid(f"CB{number:032d}"), caller(), "", trio.current_time())
        assert (await ask(play, "/twilio/incoming", {"From": "anonymous"})).verbs == ["Connect", "Redirect"]
        await trio.sleep(admission.WINDOW_S)
        assert (await ask(play, "/twilio/incoming", {"CallSid": "CA" + "3" * 32})).verbs == ["Connect", "Redirect"]


# Small mistakes in the settings at Twilio


@pytest.mark.parametrize("path", PATHS)
async def test_a_slash_at_the_end_of_a_webhooks_path_makes_no_difference(path: str, autojump_clock: Clock) -> None:
    async with stage() as play:
        plain = await ask(play, path, {"CallSid": "CA" + "2" * 32})
        slashed = await ask(play, f"{path}/", {"CallSid": "CA" + "3" * 32})
        assert (slashed.status, slashed.verbs) == (plain.status, plain.verbs) == (200, plain.verbs)


@pytest.mark.parametrize("public_url", ["https://Relay.Example.com", "https://RELAY.example.com"])
async def test_capital_letters_in_public_url_make_no_difference(public_url: str, autojump_clock: Clock) -> None:
    async with stage(settings={"PUBLIC_URL": public_url}) as play:
        assert (await ask(play, "/twilio/incoming")).verbs == ["Connect", "Redirect"]  # signed in small letters
        signed = sign(ACCOUNT.auth_token, f"{public_url}/twilio/status", {"CallSid": SID}.items())
        fields = f"CallSid={SID}".encode()
        assert (await ask(play, "/twilio/status", signature=signed, body=fields)).status == 200


@pytest.mark.parametrize(
    ("path", "fields", "right"),
    [
        ("/incoming-call", {"CallStatus": "ringing"}, "/twilio/incoming"),
        ("/twilio/voice", {"CallStatus": "ringing"}, "/twilio/incoming"),
        ("/", {"CallStatus": "ringing"}, "/twilio/incoming"),
        ("/status", {"CallStatus": "completed"}, "/twilio/status"),
        ("/stream", {"StreamEvent": "stream-started"}, "/twilio/stream-status"),
    ],
)
async def test_the_answer_to_a_signed_request_for_an_unknown_path_names_the_right_path(
    path: str, fields: dict[str, str], right: str, autojump_clock: Clock
) -> None:
    async with stage() as play:
        with structlog.testing.capture_logs() as lines:
            got = await ask(play, path, fields)
            for stranger in (None, "forged"):
                assert (await ask(play, path, fields, signature=stranger)).text == "not found\n"
        assert (got.status, f"{PUBLIC_URL}{right}" in got.text) == (404, True)
        told = [line for line in lines if line["event"] == "webhook.wrong_path"]
        assert [(line["path"], line["do"].endswith(PUBLIC_URL + right)) for line in told] == [(path, True)]


async def test_a_call_with_our_token_and_another_account_sid_is_served_and_the_setting_is_named(
    autojump_clock: Clock,
) -> None:
    other = "AC" + "7" * 32
    async with stage() as play:
        with structlog.testing.capture_logs() as lines:
            for which in range(2):
                got = await ask(play, "/twilio/incoming", {"AccountSid": other, "CallSid": f"CA{which:032d}"})
                assert got.verbs == ["Connect", "Redirect"]
        (line,) = [line for line in lines if line["event"] == "account.another"]
        assert line["do"] == f"set TWILIO_ACCOUNT_SID={other}"
        assert {file.account_sid for file in play.daemon.desk.files.values()} == {other}


@pytest.mark.parametrize("token", ["old-token", ACCOUNT.auth_token])
async def test_both_the_old_and_the_new_auth_token_are_accepted(token: str, autojump_clock: Clock) -> None:
    async with stage(settings={"TWILIO_AUTH_TOKEN": f"old-token, {ACCOUNT.auth_token}"}) as play:
        signed = sign(token, f"{PUBLIC_URL}/twilio/incoming", {"CallSid": SID}.items())
        got = await ask(play, "/twilio/incoming", signature=signed, body=f"CallSid={SID}".encode())
        assert got.verbs == ["Connect", "Redirect"]


# After the stream


@pytest.mark.parametrize(
    ("then", "streams", "ended", "status", "verbs"),
    [
        (Next.HUMAN, 1, EndReason.TRANSFERRED, "in-progress", ["Dial"]),
        (Next.HANG_UP, 1, EndReason.AGENT_SAID_GOODBYE, "in-progress", ["Hangup"]),
        (Next.NOTHING, 1, EndReason.AGENT_SAID_GOODBYE, "in-progress", ["Hangup"]),  # the stream broke in the goodbye
        (Next.NOTHING, 1, EndReason.CALLER_HUNG_UP, "in-progress", ["Connect", "Redirect"]),  # nobody hung up
        (Next.NOTHING, 1, EndReason.CALLER_HUNG_UP, "completed", ["Hangup"]),
        (Next.RESUME, 1, EndReason.CALLER_SOCKET_LOST, "in-progress", ["Connect", "Redirect"]),
        (Next.NOTHING, 0, None, "in-progress", ["Say", "Dial"]),  # no stream began
        (Next.HUMAN, 1, EndReason.TRANSFERRED, "completed", ["Hangup"]),  # the caller has gone
        (Next.RESUME, 1, EndReason.CALLER_SOCKET_LOST, "failed", ["Hangup"]),
    ],
)
async def test_the_document_after_a_stream_follows_how_the_stream_ended(
    then: Next, streams: int, ended: EndReason | None, status: str, verbs: list[str], autojump_clock: Clock
) -> None:
    async with stage() as play:
        call_file(play, streams=streams, then=then, reason=ended)
        assert (await ask(play, "/twilio/after", {"CallStatus": status})).verbs == verbs


async def test_the_after_webhook_is_answered_at_once_and_ends_a_stream_whose_socket_died_unnoticed(
    autojump_clock: Clock,
) -> None:
    async with stage() as play:
        file = call_file(play, then=Next.NOTHING)
        began = trio.current_time()
        for then, verbs in ((Next.HUMAN, ["Dial"]), (Next.RESUME, ["Connect", "Redirect"]), (Next.HANG_UP, ["Hangup"])):
            stream = OpenStream(file, then)
            assert (await ask(play, "/twilio/after")).verbs == verbs
            assert stream.ended == [EndReason.CALLER_SOCKET_LOST]
        assert trio.current_time() == began


@pytest.mark.parametrize("status", sorted(webhooks._OVER))
@pytest.mark.parametrize("path", ["/twilio/status", "/twilio/after"])
async def test_when_twilio_reports_a_call_as_over_its_stream_ends_at_once(
    path: str, status: str, autojump_clock: Clock
) -> None:
    async with stage() as play:
        stream = OpenStream(call_file(play))
        await ask(play, path, {"CallStatus": "in-progress"}) if path.endswith("status") else None
        assert stream.ended == []
        await ask(play, path, {"CallStatus": status})
        assert stream.ended == [EndReason.CALLER_HUNG_UP]


@pytest.mark.parametrize("event", ["stream-stopped", "stream-error"])
async def test_when_twilio_reports_a_stream_as_over_only_that_stream_ends(event: str, autojump_clock: Clock) -> None:
    async with stage() as play:
        stream = OpenStream(call_file(play))
        await ask(play, "/twilio/stream-status", {"StreamEvent": event, "StreamSid": "MZ" + "8" * 32})
        await ask(play, "/twilio/stream-status", {"StreamEvent": "stream-started", "StreamSid": stream.stream_sid})
        assert stream.ended == []
        await ask(play, "/twilio/stream-status", {"StreamEvent": event, "StreamSid": stream.stream_sid})
        assert stream.ended == [EndReason.CALLER_SOCKET_LOST]


@pytest.mark.parametrize(
    ("reason", "verbs"),
    [
        (None, ["Say", "Dial"]),
        ("drained", ["Say", "Dial"]),
        ("caller_socket_lost", ["Say", "Dial"]),
        ("transferred", ["Say", "Dial"]),
        ("agent_said_goodbye", ["Hangup"]),
        ("cost_cap", ["Hangup"]),
        ("silence_cap", ["Hangup"]),
    ],
)
async def test_the_document_for_a_call_that_began_at_another_relay_follows_its_rows_in_the_ledger(
    reason: str | None, verbs: list[str], autojump_clock: Clock
) -> None:
    async with stage() as play:
        now = play.daemon.desk.utc_now()
        play.ledger.record(rows.CallRow(call_sid=SID, started_at=now))
        if reason is not None:
            play.ledger.record(rows.OutcomeRow(call_sid=SID, ended_at=now, end_reason=reason))
        assert (await ask(play, "/twilio/after")).verbs == verbs


async def test_while_postgres_is_away_a_call_that_began_at_another_relay_goes_to_the_human(
    autojump_clock: Clock,
) -> None:
    async with stage() as play:
        play.ledger.away = True
        assert (await ask(play, "/twilio/after")).verbs == ["Say", "Dial"]


async def test_a_lost_stream_is_resumed_three_times_and_then_the_human_is_dialled(autojump_clock: Clock) -> None:
    async with stage() as play:
        file = call_file(play, then=Next.RESUME)
        for _ in range(human_transfer.RESUMES):
            assert (await ask(play, "/twilio/after")).verbs == ["Connect", "Redirect"]
        assert (await ask(play, "/twilio/after")).verbs == ["Say", "Dial"]
        assert file.resumed_as == "lost"


# The human


@pytest.mark.parametrize(
    ("accepted", "status", "bridged", "verbs", "result"),
    [
        (True, "completed", "true", ["Hangup"], "accepted"),
        (True, "answered", "true", ["Hangup"], "accepted"),
        (True, "completed", None, ["Hangup"], "accepted"),  # Twilio sent no DialBridged
        (False, "completed", "true", ["Connect", "Redirect"], "declined"),  # bridged without the key: counted as missed
        (False, "completed", "false", ["Connect", "Redirect"], "declined"),  # the human declined, or it was a voicemail
        (True, "completed", "false", ["Connect", "Redirect"], "declined"),  # the human hung up after the key
        (False, "busy", "false", ["Connect", "Redirect"], "busy"),
        (False, "no-answer", "false", ["Connect", "Redirect"], "no-answer"),
        (False, "failed", "false", ["Connect", "Redirect"], "failed"),
        (False, "canceled", "false", ["Connect", "Redirect"], "canceled"),
        (False, "", None, ["Connect", "Redirect"], "unknown"),
    ],
)
async def test_the_document_after_a_dial_follows_its_result(
    accepted: bool, status: str, bridged: str | None, verbs: list[str], result: str, autojump_clock: Clock
) -> None:
    async with stage() as play:
        file = call_file(play, reason=EndReason.TRANSFERRED, why="asked for a person")
        await ask(play, "/twilio/after")
        file.human.accepted = accepted
        fields = {"DialCallStatus": status} | ({"DialBridged": bridged} if bridged is not None else {})
        assert (await ask(play, f"/twilio/dialed?call={SID}", fields)).verbs == verbs
        assert outcome(play).transfer_result == result
        callbacks = play.ledger.of(rows.MessageRow, SID)
        assert len(callbacks) == (result != "accepted")
        assert all(row.phone == "+12125550101" and "asked for a person" in (row.text or "") for row in callbacks)


async def test_the_other_numbers_are_dialled_in_turn_before_the_agent_comes_back(
    autojump_clock: Clock,
) -> None:
    async with stage(settings={"HUMAN_NUMBERS_ALSO": ALSO}) as play:
        call_file(play, reason=EndReason.TRANSFERRED)
        first = await ask(play, "/twilio/after")
        second = await ask(play, action_of(first), {"DialCallStatus": "busy", "DialBridged": "false"})
        again = await ask(play, action_of(first), {"DialCallStatus": "busy", "DialBridged": "false"})
        third = await ask(play, action_of(second), {"DialCallStatus": "no-answer", "DialBridged": "false"})
        assert [each.text for each in first.all("Number") + second.all("Number")] == [HUMAN, ALSO]
        assert again.text == second.text  # Twilio sent the webhook twice
        assert third.verbs == ["Connect", "Redirect"]


async def test_a_relay_that_was_started_while_the_first_number_rang_dials_the_next_number(
    autojump_clock: Clock,
) -> None:
    async with stage(settings={"HUMAN_NUMBERS_ALSO": ALSO}) as play:
        call_file(play, reason=EndReason.TRANSFERRED)
        first = await ask(play, "/twilio/after")
    async with stage(settings={"HUMAN_NUMBERS_ALSO": ALSO}) as play:
        busy = {"DialCallStatus": "busy", "DialBridged": "false"}
        second = await ask(play, action_of(first), busy)
        assert [each.text for each in second.all("Number")] == [ALSO]
        assert (await ask(play, action_of(second), busy)).verbs == ["Say", "Record", "Hangup"]


@pytest.mark.parametrize(
    ("ended", "resumes", "streams", "draining"),
    [
        (EndReason.MODEL_LOST, 0, 1, False),
        (EndReason.MODEL_UNREACHABLE, 0, 1, False),
        (EndReason.TRANSFERRED, human_transfer.RESUMES, 1, False),
        (EndReason.TRANSFERRED, 0, 1, True),
    ],
)
async def test_when_there_is_no_agent_to_go_back_to_a_message_is_recorded(
    ended: EndReason, resumes: int, streams: int, draining: bool, autojump_clock: Clock
) -> None:
    async with stage() as play:
        call_file(play, reason=ended, resumes=resumes, streams=streams)
        await ask(play, "/twilio/after")
        play.daemon.desk.draining = draining
        got = await ask(play, f"/twilio/dialed?call={SID}", {"DialCallStatus": "busy", "DialBridged": "false"})
        assert got.verbs == ["Say", "Record", "Hangup"]
        assert "recorded" in got.said()


async def test_a_recorded_message_is_one_row_and_reaches_the_business_once(autojump_clock: Clock) -> None:
    fields = {"RecordingUrl": "https://api.twilio.com/2010-04-01/Accounts/AC1/Recordings/RE1", "RecordingDuration": "7"}
    async with stage() as play:
        path = f"/twilio/message?call={SID}"
        assert (await ask(play, path, fields)).verbs == ["Say", "Hangup"]
        for _ in range(2):
            assert (await ask(play, path, fields | {"RecordingStatus": "completed"})).verbs == []
        (row,) = play.ledger.of(rows.MessageRow, SID)
        assert "RE1" in (row.text or "")
        assert row.delivered
        assert len(play.business.diary.messages) == 1


async def test_outside_the_humans_hours_a_human_is_dialled_only_in_an_emergency(autojump_clock: Clock) -> None:
    async with stage(settings={"HUMAN_HOURS": "sun 03:00-03:01"}) as play:
        call_file(play, reason=EndReason.TRANSFERRED)
        assert (await ask(play, "/twilio/after")).verbs == ["Connect", "Redirect"]
        assert (outcome(play).transfer_result, outcome(play).dialled) == ("closed", None)
        call_file(play, reason=EndReason.EMERGENCY)
        assert (await ask(play, "/twilio/after")).verbs == ["Dial"]


async def test_a_human_whose_hours_end_at_two_in_the_night_is_dialled_at_one(autojump_clock: Clock) -> None:
    async with stage(settings={"HUMAN_HOURS": "sun 20:00-02:00", "BUSINESS_TZ": "UTC"}) as play:
        for hour, verbs in ((1, ["Dial"]), (3, ["Connect", "Redirect"])):
            monday = dt.datetime(2026, 11, 23, hour, tzinfo=dt.UTC)
            play.daemon.desk.utc_now = partial(dt.datetime.astimezone, monday, dt.UTC)
            call_file(play, reason=EndReason.TRANSFERRED)
            assert (await ask(play, "/twilio/after")).verbs == verbs


@pytest.mark.parametrize(
    ("hours", "clock", "there", "changes_s"),
    [
        ("mon 09:00-17:00", "08:55:30", False, 270.0),
        ("mon 09:00-17:00", "16:55:30", True, 270.0),
        ("mon 09:00-17:00", "16:59:59", True, 1.0),
        ("mon 09:00-17:00", "12:00:00", True, None),
        ("mon 09:00-12:00, mon 12:00-17:00", "11:59:00", True, None),
        ("tue 00:00-24:00", "23:52:00", False, 480.0),
        ("always", "12:00:00", True, None),
    ],
)
async def test_a_running_call_notices_when_the_humans_hours_begin_or_end(
    hours: str, clock: str, there: bool, changes_s: float | None, autojump_clock: Clock
) -> None:
    async with stage(settings={"HUMAN_HOURS": hours, "BUSINESS_TZ": "UTC"}) as play:
        monday = dt.datetime.fromisoformat(f"2026-11-23T{clock}+00:00")
        play.daemon.desk.utc_now = partial(dt.datetime.astimezone, monday, dt.UTC)
        plan = play.daemon.desk.plan(call_file(play))
        assert (plan.human_available, plan.human_changes_s) == (there, changes_s)


@pytest.mark.parametrize(
    "withheld",
    ["anonymous", "+266696687", "266696687", "+1266696687", "+7378742833", "+2562533", "+8656696", "+86282452253"],
)
async def test_callers_without_a_number_are_not_taken_for_one_person(withheld: str, autojump_clock: Clock) -> None:
    async with stage() as play:
        await ask(play, "/twilio/incoming", {"From": withheld})
        assert play.daemon.desk.files[SID].caller.number == ""  # they must not share bookings


@pytest.mark.parametrize(("digits", "verbs"), [("1", []), ("2", ["Hangup"]), ("", ["Hangup"]), ("11", ["Hangup"])])
@pytest.mark.parametrize("known", [True, False])
async def test_only_the_key_1_connects_the_human_with_the_caller(
    digits: str, verbs: list[str], known: bool, autojump_clock: Clock
) -> None:
    async with stage() as play:
        if known:
            call_file(play)
        got = await ask(play, f"/twilio/accept?call={SID}", {"Digits": digits, "CallSid": "CA" + "9" * 32})
        assert got.verbs == verbs


async def test_a_transfer_that_began_under_an_earlier_relay_is_not_followed_by_an_apology(
    autojump_clock: Clock,
) -> None:
    async with stage() as play:
        fields = {"DialCallStatus": "completed", "DialBridged": "true"}
        assert (await ask(play, f"/twilio/dialed?call={SID}", fields)).verbs == ["Hangup"]
    async with stage() as play:
        fields = {"DialCallStatus": "no-answer", "DialBridged": "false"}
        assert (await ask(play, f"/twilio/dialed?call={SID}", fields)).verbs == ["Say", "Record", "Hangup"]


@pytest.mark.parametrize(
    ("caller_number", "why", "summary", "sentence"),
    [
        ("+12125550101", "asked for a person", "Jane wants to move her table. It is urgent!",
         "A call from the virtual assistant, from 1 2 1 2 5 5 5 0 1 0 1, asked for a person: "
         "Jane wants to move her table, It is urgent. Press 1 to accept it."),
        ("", "", "", "A call from the virtual assistant, from a hidden number. Press 1 to accept it."),
    ],
)  # fmt: skip
async def test_the_human_is_told_who_calls_and_why_in_one_sentence(
    caller_number: str, why: str, summary: str, sentence: str, autojump_clock: Clock
) -> None:
    async with stage() as play:
        call_file(play, number=caller_number, why=why, summary=summary)
        got = await ask(play, f"/twilio/whisper?call={SID}", {"CallSid": "CA" + "9" * 32})
        assert got.said() == sentence
        assert got.verbs == ["Gather", "Hangup"]  # without a key, as with a voicemail, the call is hung up


async def test_the_human_is_told_the_callers_name_and_what_was_done_so_far(autojump_clock: Clock) -> None:
    async with stage() as play:
        file = call_file(play, why="asked for a person", summary="I want another table", caller_name="Jane Doe")
        file.deeds.returned("book_appointment", True, {"done": "booked"}, 1.0)
        assert (await ask(play, f"/twilio/whisper?call={SID}")).said() == (
            "A call from the virtual assistant, from Jane Doe, 1 2 1 2 5 5 5 0 1 0 1, asked for a person, "
            "the booking was made: I want another table. Press 1 to accept it."
        )


async def test_a_long_summary_is_shortened_before_it_is_read_out(autojump_clock: Clock) -> None:
    async with stage() as play:
        call_file(play, why="because of something " * 50, summary="a word or two " * 100, caller_name="Jane " * 50)
        said = (await ask(play, f"/twilio/whisper?call={SID}")).said()
        assert len(said) < 500
        words = {*re.findall(r"[A-Za-z]+", said.split(", from ", 1)[1])}
        assert words <= {*"Jane because of something a word or two Press to accept it".split()}  # no word is cut


# The end of a call


async def test_a_hang_up_of_the_caller_while_the_humans_phone_rings_is_stored(autojump_clock: Clock) -> None:
    async with stage() as play:
        call_file(play, reason=EndReason.TRANSFERRED)
        await ask(play, "/twilio/after")
        await ask(play, f"/twilio/status?call={SID}", {"CallStatus": "completed", "CallSid": "CA" + "9" * 32})
        # This webhook was about the human's leg of the call, so the caller has not hung up.
        assert outcome(play).transfer_result == "asked"
        await ask(play, "/twilio/status", {"CallStatus": "completed"})
        assert outcome(play).transfer_result == "caller_hung_up"


async def test_a_call_without_a_transfer_has_no_transfer_result(autojump_clock: Clock) -> None:
    async with stage() as play:
        call_file(play, reason=EndReason.AGENT_SAID_GOODBYE)
        await ask(play, "/twilio/status", {"CallStatus": "completed"})
        assert play.ledger.of(rows.OutcomeRow, SID) == []


async def test_a_call_that_ends_before_its_stream_is_stored_and_its_warm_session_is_closed(
    autojump_clock: Clock,
) -> None:
    async with stage() as play:
        await ask(play, "/twilio/incoming", {"CallStatus": "ringing"})
        assert len(play.daemon.desk.warm) == 1
        await ask(play, "/twilio/status", {"CallStatus": "no-answer"})
        await trio.testing.wait_all_tasks_blocked()
        assert len(play.daemon.desk.warm) == 0
        assert outcome(play).end_reason == EndReason.CALLER_HUNG_UP


async def test_all_urls_of_all_documents_are_absolute(autojump_clock: Clock) -> None:
    async with stage() as play:
        call_file(play, reason=EndReason.MODEL_LOST)
        documents = [
            await ask(play, "/twilio/incoming"),
            await ask(play, "/twilio/after"),
            await ask(play, f"/twilio/whisper?call={SID}"),
            await ask(play, f"/twilio/dialed?call={SID}", {"DialCallStatus": "busy", "DialBridged": "false"}),
        ]
        names = ("url", "action", "statusCallback", "recordingStatusCallback")
        urls = [e.attrib[n] for d in documents for tag in ("Stream", "Dial", "Number", "Gather", "Record")
                for e in d.all(tag) for n in names if n in e.attrib]  # fmt: skip
        assert len(urls) >= 8
        assert all(url.startswith(("https://relay.example.com/", "wss://relay.example.com/")) for url in urls)
        assert all(len(document.text) < 4_000 for document in documents)
