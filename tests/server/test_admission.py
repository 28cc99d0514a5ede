"""Which incoming calls get the agent, which the human's phone, and which nobody."""

from __future__ import annotations

import dataclasses

import pytest
import structlog
import trio
import trio.testing

from relay.ledger import rows
from relay.server import admission
from relay.standin.twilio.numbers import fictional_number
from tests.helpers.play import NUMBER, Play, stage
from tests.helpers.webhook import Document, ask

Clock = trio.testing.MockClock
AGENT, HUMAN, NOBODY = "agent", "human", "nobody"
MAIN_LINE, HUMANS_PHONE = "+12125550150", "+12125550102"


def gets(document: Document) -> str:
    return {"Connect": AGENT, "Say": HUMAN, "Dial": HUMAN, "Reject": NOBODY}[document.verbs[0]]


async def rings(play: Play, times: int, number: str, **fields: str) -> list[str]:
    """Make calls one after the other, and return who each of them got."""
    got = []
    for _ in range(times):
        sid = f"CA{len(play.daemon.desk.files):032d}"
        ring = {"CallSid": sid, "From": number, "CallStatus": "ringing"} | fields
        document = await ask(play, "/twilio/incoming", ring)
        got.append(gets(document))
        await ask(play, "/twilio/status", {"CallSid": sid, "CallStatus": "completed"})
        await trio.sleep(1)
    return got


# Calls from the relay's own number


@pytest.mark.parametrize("dress", [NUMBER, f"sip:{NUMBER}@carrier.example.com"])
@pytest.mark.parametrize("forwarded", [{}, {"ForwardedFrom": HUMANS_PHONE}, {"ForwardedFrom": fictional_number(7)}])
async def test_a_call_from_the_relays_own_number_gets_no_model_and_dials_nobody(
    dress: str, forwarded: dict[str, str], autojump_clock: Clock
) -> None:
    async with stage() as play:
        with structlog.testing.capture_logs() as lines:
            assert await rings(play, 1, dress, **forwarded) == [NOBODY]
        assert len(play.daemon.desk.warm) == 0
        (outcome,) = play.ledger.of(rows.OutcomeRow)
        assert (outcome.end_reason, outcome.outcome, outcome.dialled) == ("rejected", "own_number", None)
        (line,) = [line for line in lines if line["event"] == "call.rejected"]
        assert "forwards" in line["do"]


async def test_every_number_that_was_ever_called_counts_as_the_relays_own(autojump_clock: Clock) -> None:
    second = fictional_number(12)
    async with stage() as play:
        assert await rings(play, 1, second) == [AGENT]  # not known yet as a number of the relay
        assert await rings(play, 1, fictional_number(3), To=second) == [AGENT]
        assert await rings(play, 1, second) == [NOBODY]
        assert await rings(play, 1, fictional_number(3)) == [AGENT]


@pytest.mark.parametrize(
    ("number", "fields"),
    [
        (HUMANS_PHONE, {}),  # the owner tries the relay, or their line forwards calls without the customer's number
        (HUMANS_PHONE, {"ForwardedFrom": HUMANS_PHONE}),
        (fictional_number(5), {"ForwardedFrom": HUMANS_PHONE}),  # a customer whose call the main line forwards
        (NUMBER, {"Direction": "outbound-api", "To": fictional_number(6)}),  # a call that the relay made
    ],
)
async def test_other_calls_are_not_taken_for_calls_from_the_relays_own_number(
    number: str, fields: dict[str, str], autojump_clock: Clock
) -> None:
    async with stage() as play:
        assert await rings(play, 2, number, **fields) == [AGENT, AGENT]
        assert await rings(play, 1, fictional_number(6)) == [AGENT]  # a number that the relay called is not its own


async def test_the_humans_number_does_not_become_a_number_of_the_relay_when_it_is_called(autojump_clock: Clock) -> None:
    async with stage() as play:
        assert await rings(play, 1, fictional_number(1), To=HUMANS_PHONE) == [AGENT]
        assert await rings(play, 1, HUMANS_PHONE) == [AGENT]


# Numbers that many callers share


@pytest.mark.parametrize(
    ("number", "fields"),
    [
        (MAIN_LINE, {"ForwardedFrom": MAIN_LINE}),
        (HUMANS_PHONE, {}),
        (NUMBER, {"Direction": "outbound-api", "To": fictional_number(6)}),
        ("+12562533", {}),
        ("+18656696", {}),
        ("+10000000000", {}),
    ],
)
async def test_a_call_from_a_shared_number_is_always_admitted_and_counts_as_without_a_number(
    number: str, fields: dict[str, str], autojump_clock: Clock
) -> None:
    async with stage() as play:
        assert await rings(play, 14, number, **fields) == [AGENT] * 14
        assert {file.caller.number for file in play.daemon.desk.files.values()} == {""}


# Too often


async def test_a_number_that_calls_too_often_gets_first_the_agent_then_the_human_then_nobody(
    autojump_clock: Clock,
) -> None:
    async with stage() as play:
        got = await rings(play, 60, fictional_number(9))
        agent, human = admission.CALLS_PER_WINDOW, admission.HUMAN_CALLS_PER_WINDOW
        assert got == [AGENT] * agent + [HUMAN] * human + [NOBODY] * (60 - agent - human)
        assert await rings(play, 1, fictional_number(10)) == [AGENT]  # other callers are still admitted
        await trio.sleep(admission.WINDOW_S)
        assert await rings(play, 1, fictional_number(9)) == [AGENT]


@pytest.mark.parametrize("number", ["anonymous", "+266696687", "+10000000000"])
async def test_all_callers_without_a_number_share_one_limit(number: str, autojump_clock: Clock) -> None:
    async with stage() as play:
        got = await rings(play, 60, number)
        assert got.count(AGENT) == admission.HIDDEN_CALLS_PER_WINDOW
        assert got.count(HUMAN) == admission.HUMAN_CALLS_PER_WINDOW
        assert await rings(play, 1, fictional_number(10)) == [AGENT]


@pytest.mark.parametrize(("number", "agents"), [(fictional_number(9), 10), ("anonymous", 30)])
async def test_the_first_calls_of_a_burst_get_the_agent(number: str, agents: int, autojump_clock: Clock) -> None:
    got: list[str] = []

    async def ring(which: int) -> None:
        fields = {"CallSid": f"CA{which:032d}", "From": number, "CallStatus": "ringing"}
        got.append(gets(await ask(play, "/twilio/incoming", fields)))

    async with stage() as play:
        async with trio.open_nursery() as nursery:
            for which in range(40):
                nursery.start_soon(ring, which)
        assert (got.count(AGENT), got.count(HUMAN)) == (agents, admission.HUMAN_CALLS_PER_WINDOW)


async def test_the_limit_for_the_humans_phone_also_holds_while_no_agent_is_available(autojump_clock: Clock) -> None:
    async with stage() as play:
        play.daemon.desk.draining = True
        got = await rings(play, 20, fictional_number(9))
        assert got == [HUMAN] * 13 + [NOBODY] * 7


@pytest.mark.parametrize("number", [fictional_number(9), "anonymous"])
async def test_the_calls_on_all_machines_are_counted(number: str, autojump_clock: Clock) -> None:
    async with stage() as play:
        now = play.daemon.desk.utc_now()
        play.ledger._utc_now = play.daemon.desk.utc_now
        presented = number if number.startswith("+") else None
        for which in range(40):
            play.ledger.record(rows.CallRow(call_sid=f"CB{which}", from_number=presented, started_at=now))
        assert await rings(play, 1, number) == [NOBODY]
        assert await rings(play, 1, fictional_number(10)) == [AGENT]


async def test_without_the_ledger_only_the_calls_on_this_machine_are_counted(autojump_clock: Clock) -> None:
    async with stage() as play:
        play.ledger.away = True
        assert await rings(play, 11, fictional_number(9)) == [AGENT] * 10 + [HUMAN]


# The network's verification of a number


@pytest.mark.parametrize(
    ("verstat", "believed"),
    [("TN-Validation-Passed-A", True), ("TN-Validation-Failed-C", False), ("No-TN-Validation", False), ("", False)],
)
async def test_the_networks_verification_of_a_number_reaches_the_functions(
    verstat: str, believed: bool, autojump_clock: Clock
) -> None:
    async with stage() as play:
        assert await rings(play, 1, fictional_number(9), StirVerstat=verstat) == [AGENT]
        (file,) = play.daemon.desk.files.values()
        assert dataclasses.astuple(file.caller.id)[3] is believed
