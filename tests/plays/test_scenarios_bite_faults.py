"""Every fault of the stand-ins has a scenario with only this fault, and the scenario fails without a defence.

The names of the faults come from the stand-ins' own types. So these tests fail if a fault is added without a scenario
and a defence. `good_call` and `transfer_accepted` need no defence.
"""

from __future__ import annotations

import dataclasses
import itertools
import typing
from collections.abc import Callable, Iterable
from typing import Any

import msgspec
import pytest
import trio

from relay.call import cost, ending, failover, playout, response_queue, state, turn_taking, turns, voice_loss
from relay.call.conversation import Conversation
from relay.call.early_answer import EarlyAnswer
from relay.call.vocabulary import FunctionAsked
from relay.functions import idempotency, registry
from relay.functions.backend import client, contract
from relay.realtime import protocol as model_dialect
from relay.server import human_transfer
from relay.session import call_rows, caller_probe, context, downlink, leaving
from relay.standin.business.faults import Fault, Kind
from relay.standin.model.script import Faults, Script
from relay.standin.scenario import scenario_file as scenarios
from relay.standin.scenario.scenario_file import NetworkTable, NumberTable, Scenario, Trouble, load, shipped
from relay.standin.twilio.dialling import Behaviour
from relay.standin.twilio.rest import RestFaults
from relay.transport import wire
from relay.twilio import caller_id, rest, twiml
from tests.helpers.defences import DEFENCES, Patch, no, nothing, put, unrescued
from tests.helpers.play import perform

pytestmark = pytest.mark.usefixtures("same_order")


def no_order_but_the_live_one(patch: Patch) -> None:
    """Let the reader accept response.output_item.done only after conversation.item.done for the same item."""
    done: set[str] = set()
    read = model_dialect._READERS["response.output_item.done"]

    def noted(message: model_dialect.Message) -> None:
        done.add(str(message.item and message.item.id))

    def after_it(message: model_dialect.Message) -> Any:
        return read(message) if str(message.item and message.item.id) in done else None

    patch.setitem(model_dialect._READERS, "conversation.item.done", noted)
    patch.setitem(model_dialect._READERS, "response.output_item.done", after_it)


def follow_redirects(patch: Patch) -> None:
    enter = client.Backend.__aenter__

    async def follow(business: client.Backend) -> client.Backend:
        business._client.follow_redirects = True
        return await enter(business)

    patch.setattr(client.Backend, "__aenter__", follow)


def taken_is_a_refusal(patch: Patch) -> None:
    def accept(answer: contract.Answer) -> None:
        if answer.status >= 400:
            raise contract.Refused(f"{answer.route} answered {answer.status}", answer.status)

    patch.setattr(contract.Answer, "accept", accept)


def take_silence_for_the_end(probe: caller_probe.CallerProbe, now: float) -> str:
    return "dead" if now - probe.heard_at > caller_probe.NOTHING_HEARD_S else "nothing"


def wait_for_a_reader(patch: Patch) -> None:
    """Take away both limits for a peer that does not read: the limit of time and the limit of bytes."""
    patch.setattr(wire, "NO_PROGRESS_S", 1e6)
    patch.setattr(wire, "OUT_LIMIT_BYTES", 1 << 40)


def every_mark_in_time(patch: Patch) -> None:
    """Do not learn the usual delay of marks. Then the relay takes a constant long delay for a late playback."""
    marked = playout.Playout.marked

    def as_on_a_short_way(line: playout.Playout, name: str, now: float) -> Any:
        line.usual_lag_s = 0.0
        return marked(line, name, now)

    patch.setattr(playout.Playout, "marked", as_on_a_short_way)


def lead(low_ms: int) -> Callable[[Patch], None]:
    """Send more audio only when Twilio has less than `low_ms` of audio."""
    return put(playout.Lead.__init__, "__defaults__", (low_ms, 400))


def ask_rest_for_ever(patch: Patch) -> None:
    patch.setattr(leaving, "HANG_UP_LIMIT_S", 1e6)
    patch.setattr(rest, "MAX_TRIES", 10**9)


def no_fallback(patch: Patch) -> None:
    def without(name: str) -> Scenario:
        return msgspec.structs.replace(load(name), number=NumberTable())

    patch.setattr(scenarios, "load", without)


def proofless(patch: Patch) -> None:
    """Take away both proofs that an answer was heard to its end: the mark that returns, and the playback clock."""
    marked = playout.Playout.marked

    def late_and_unheeded(line: playout.Playout, name: str, now: float) -> Any:
        heard = marked(line, name, now)
        if heard is not None and heard.own:
            return heard
        line._late_s = 1.0
        return None

    patch.setattr(playout.Playout, "marked", late_and_unheeded)


def interruptible_never(patch: Patch) -> None:
    own = state.Call.own

    def protected(call: state.Call, phrase: Any, now: float, out: Any, **how: Any) -> Any:
        return own(call, phrase, now, out, **how | {"protected": True})

    patch.setattr(state.Call, "own", protected)


def wait_for_its_end(patch: Patch) -> None:
    """Drop the report, at the beginning of the second message, that the first message is over."""
    spoke = downlink.AnswerAudio.spoke
    patch.setattr(downlink.AnswerAudio, "spoke", lambda self, *told, **more: spoke(self, *told, **more)[-1:])


def ring_one_number(patch: Patch) -> None:
    ring = human_transfer.Transfers._ring

    def ring_once(transfers: human_transfer.Transfers, file: Any, which: int, say: str | None = None) -> str:
        return twiml.hang_up() if which else ring(transfers, file, which, say)

    patch.setattr(human_transfer.Transfers, "_ring", ring_once)


def sure_of_everything(patch: Patch) -> None:
    failed = registry._failed
    patch.setattr(registry, "_failed", lambda *words: dataclasses.replace(failed(*words), unsure=False))


def run_each_call_that_comes(patch: Patch) -> None:
    """Run a function call that is reported twice also twice, even if it was held until the caller's turn ended."""
    called = EarlyAnswer.called

    def hold_again(early: EarlyAnswer, event: FunctionAsked) -> str:
        runs = called(early, event)
        if runs == "held" and early._held[-1] is not event:
            early._held.append(event)
        return runs

    patch.setattr(EarlyAnswer, "called", hold_again)
    put(Conversation, "knows_call", no)(patch)


def another_key_each_time(patch: Patch) -> None:
    numbers = itertools.count()
    patch.setattr(idempotency.Wish, "digest", lambda *_: f"{next(numbers):064}")


BITES: list[tuple[str, str, Callable[[Patch], None]]] = [
    # The model
    ("model_breaks_in_answer", "a session that broke is dialled again", put(failover, "RECONNECTS", 0)),
    (
        "model_is_over_its_limit",
        "a failed answer is asked for again",
        unrescued(put(response_queue.Answers, "_ask_again", no)),
    ),
    ("model_says_twice", "a function is run once", run_each_call_that_comes),
    ("model_done_in_other_order", "the done events may come in either order", no_order_but_the_live_one),
    ("model_two_messages", "the first of two messages is over when the second begins", wait_for_its_end),
    ("model_without_bills", "cost without a bill is estimated", put(cost.Meter, "_estimate_usd", lambda *_: 0.0)),
    ("model_pauses_in_answer", "a pause is waited for", put(response_queue, "PROGRESS_LIMIT_S", 1.0)),
    ("model_reads_slowly", "a session that does not read is replaced", wait_for_a_reader),
    ("model_dies_in_silence", "a lost session is dialled again", put(failover, "RECONNECTS", 0)),
    ("model_dies_for_good", "a model that stays away is given up", put(failover, "RECONNECTS", 10**9)),
    # Another voice
    ("voice_drops", "after a voice is lost the model speaks", put(voice_loss, "lost", nothing)),
    ("voice_refuses_key", "after a voice is lost the model speaks", put(voice_loss, "lost", nothing)),
    # Actions of callers
    ("backchannel", "an answer that a listener's sound cut off goes on", put(turns, "go_on", no)),
    ("barge_in_greeting", "the question after the notice can be interrupted", interruptible_never),
    ("barge_in_after_the_end", "an item that was heard to its end is not cut", proofless),
    (
        "barge_in_twice",
        "speech during an answer stops it",
        put(turn_taking.Floor, "_judge", lambda *_: turn_taking.Step.NOTHING),
    ),
    ("hangup_during_greeting", "a hang-up ends the call", put(ending, "caller_left", nothing)),
    ("hangup_during_answer", "the part that was not heard is known", put(playout.Playout, "cut", lambda *_: [])),
    ("hangup_during_function", "the end waits for a running booking", put(ending, "_is_awaited", no)),
    ("booking_never_answered", "a lost answer does not count as a failure", sure_of_everything),
    ("socket_cut_while_booking", "the same request has the same key", another_key_each_time),
    (
        "key_zero_without_words",
        "the next step is known before the socket is closed",
        put(call_rows.CallRows, "decide", nothing),
    ),
    ("anonymous", "only a number is read out as one", put(caller_id, "as_presented", lambda text, _: text)),
    ("one_party_state", "the notice is only for those who need it", put(context, "must_announce", lambda *_: True)),
    ("capacity_and_nobody", "a message is recorded", put(twiml, "record_message", lambda *_: twiml.hang_up())),
    ("transfer_second_number", "the next number is dialled", ring_one_number),
    ("relay_killed_second_number", "the next relay knows which number was dialled", ring_one_number),
    # The business
    ("backend_redirect", "no redirect is followed", follow_redirects),
    ("backend_huge", "an answer has a limit in bytes", put(client, "BODY_LIMIT_BYTES", 1 << 30)),
    ("booking_taken", "409 means that a time is taken", taken_is_a_refusal),
    # Humans
    ("transfer_hangs_up", "a caller whom no human took goes back to the agent", put(human_transfer, "RESUMES", 0)),
    ("transfer_no_answer", "a call back is kept", put(human_transfer.Transfers, "_keep_callback", nothing)),
    ("transfer_failed", "a call back is kept", put(human_transfer.Transfers, "_keep_callback", nothing)),
    # The network
    ("network_delay", "a constant delay of marks is not a late playback", every_mark_in_time),
    ("network_jitter", "the audio at Twilio is topped up before it runs out", lead(-100)),
    ("rough_network", "the audio at Twilio is topped up before it runs out", lead(-100)),
    ("network_bursts", "the audio at Twilio is topped up before it runs out", lead(-100)),
    (
        "muted_for_good",
        "while a phone is muted, a mark shows that the line lives",
        put(caller_probe.CallerProbe, "due", take_silence_for_the_end),
    ),
    # Twilio's API, and the number
    ("goodbye_rest_fails", "REST requests are not repeated for ever", ask_rest_for_ever),
    ("goodbye_rest_busy", "REST requests are not repeated for ever", ask_rest_for_ever),
    ("goodbye_rest_hangs", "the end does not wait for REST", ask_rest_for_ever),
    ("relay_dead", "the phone number has a fallback URL", no_fallback),
    ("relay_dies_in_call", "the phone number has a fallback URL", no_fallback),
]


@pytest.mark.parametrize(("name", "defence", "take_away"), BITES, ids=[f"{b[0]}: {b[1]}" for b in BITES])
async def test_a_scenario_with_a_fault_fails_without_its_defence(
    name: str,
    defence: str,
    take_away: Callable[[Patch], None],
    monkeypatch: pytest.MonkeyPatch,
    autojump_clock: trio.testing.MockClock,
) -> None:
    take_away(monkeypatch)
    _, wrong, _ = await perform(name)
    assert wrong, f"{name} passes without its defence: {defence}"


# All faults, and all scenarios

WHOM_IT_HITS = {"response", "connections"}
RECOVERIES = {"relay_starts", "postgres_returns"}


def of_model(faults: Faults) -> set[str]:
    """The names of the faults in a model's table. Some faults have several names, one for each kind of value."""
    names = {f.name for f in dataclasses.fields(Faults) if getattr(faults, f.name) != f.default} - WHOM_IT_HITS
    if "close_after_deltas" in names:
        names = names - {"close_after_deltas", "close_code"} | {f"close {faults.close_code}"}
    if "response_failed" in names:
        names = names - {"response_failed"} | {faults.response_failed}
    if "stall_s" in names:
        names -= {"stall_after_deltas"}  # a stall that ends (stall_s) is another fault than a stall without an end
    return {f"model: {name}" for name in names}


def of_business(table: dict[str, Any]) -> Iterable[str]:
    for place in table.values():
        for each in place if isinstance(place, list) else [place]:
            fault = msgspec.convert({"kind": each} if isinstance(each, str) else each, Fault)
            yield "business: after" if fault.after else f"business: {fault.kind}"


def faults_of(scenario: Scenario) -> set[str]:
    """The names of the faults in a scenario."""
    humans = scenario.human if isinstance(scenario.human, tuple) else (scenario.human,)
    way, smooth = scenario.network, NetworkTable()
    return {
        *of_model(Script.from_table(scenario.model).faults),
        *of_business(scenario.backend),
        *(f"human: {each.does}" for each in humans if each.does != "accepts"),
        *(f"trouble: {each.does}" for each in scenario.trouble if each.does not in RECOVERIES),
        *(f"network: {name}" for name in NetworkTable.__struct_fields__ if getattr(way, name) != getattr(smooth, name)),
    }


def known() -> set[str]:
    """Every fault that a stand-in can be told to have."""
    of_faults = {f.name for f in dataclasses.fields(Faults)} - WHOM_IT_HITS
    several = {"close_after_deltas", "close_code", "response_failed"}
    closes = {f"close {code}" for code in (1001, 1006, 1011)}
    troubles = typing.get_args(typing.get_type_hints(Trouble)["does"])
    return {
        *(f"model: {name}" for name in of_faults - several | closes | {"server_error", "rate_limit_exceeded"}),
        *(f"business: {kind}" for kind in (*typing.get_args(Kind), "after")),
        *(f"human: {does}" for does in set(typing.get_args(Behaviour)) - {"accepts"}),
        *(f"trouble: {does}" for does in set(troubles) - RECOVERIES),
        # The time until a stream is open is not a fault. The length of a burst is only its degree.
        *(f"network: {name}" for name in set(NetworkTable.__struct_fields__) - {"connect_ms", "burst_ms"}),
    }


WITH_FAULTS = [bite for bite in DEFENCES + BITES if faults_of(load(bite[0]))]


@pytest.mark.deep
@pytest.mark.parametrize(("name", "defence", "take_away"), WITH_FAULTS, ids=[f"{b[0]}: {b[1]}" for b in WITH_FAULTS])
async def test_without_the_fault_a_call_passes_also_without_the_defence(
    name: str,
    defence: str,
    take_away: Callable[[Patch], None],
    monkeypatch: pytest.MonkeyPatch,
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The scenario record_off has no fault: a caller asks for the hours, gets them and hangs up."""
    take_away(monkeypatch)
    _, wrong, _ = await perform("record_off")
    assert wrong == [], f"the defence of {name} matters also without its fault: {defence}"


# The relay reads changed files in a thread, and the fake clock does not wait for threads. So in a play these two
# troubles have their effect too late. tests/plays/test_embedded_play.py tests the reload, also without its defences.
BY_A_THREAD = {"trouble: business_breaks", "trouble: business_changes"}


@pytest.mark.parametrize("fault", sorted(known() - BY_A_THREAD))
def test_each_fault_has_a_scenario_of_its_own_that_fails_without_a_defence(fault: str) -> None:
    biting = {name for name, _, _ in DEFENCES + BITES}
    alone = {name for name in biting if faults_of(load(name)) == {fault}}
    assert alone, f"no scenario in the lists has only the fault {fault!r}"


def test_each_fault_of_a_scenario_is_in_the_list_of_known_faults() -> None:
    """The two lists are made in different ways, so a name could be in only one of them."""
    assert {fault for name in shipped() for fault in faults_of(load(name))} <= known()


def test_each_fault_of_the_rest_api_is_a_trouble_that_a_scenario_can_order() -> None:
    troubles = [name for name in typing.get_args(typing.get_type_hints(Trouble)["does"]) if RestFaults().make(name)]
    changed = set()
    for name in troubles:
        faults = RestFaults()
        faults.make(name)
        changed |= {f.name for f in dataclasses.fields(faults) if getattr(faults, f.name) != f.default}
    assert changed == {f.name for f in dataclasses.fields(RestFaults)}


def test_each_scenario_has_a_defence() -> None:
    nothing_goes_wrong = {"good_call", "transfer_accepted", "business_reload", "business_broken"}
    assert set(shipped()) - {name for name, _, _ in DEFENCES + BITES} <= nothing_goes_wrong
