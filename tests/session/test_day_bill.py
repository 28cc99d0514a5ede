"""The day's bill: no call of any machine is missing or counted twice. A relay without calls does not read it."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import pytest
import trio
from trio.testing import MockClock

from relay.ledger import rows
from relay.ledger.memory import MemoryLedger
from relay.session.day_bill import EVERY_S, DayBill
from tests.helpers.greeting_play import ring
from tests.helpers.play import Play, stage
from tests.helpers.webhook import SID, OpenStream, ask, call_file

NOW = dt.datetime(2026, 11, 24, 1, tzinfo=dt.UTC)  # the evening of the 23rd in New York


async def test_a_call_that_ends_while_the_bill_is_read_is_not_forgotten(autojump_clock: MockClock) -> None:
    class Slow(MemoryLedger):
        async def spent_usd(self, day: dt.date, tz: dt.tzinfo, *, limit_s: float, besides: str = "") -> float:
            before = await super().spent_usd(day, tz, limit_s=limit_s, besides=besides)
            await trio.sleep(0.2)
            return before

    ledger = Slow()
    ledger.record(rows.OutcomeRow(call_sid="CA9", ended_at=NOW, cost_usd=Decimal(10)))
    bill = DayBill(ledger, dt.UTC, lambda: NOW)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bill.read)
        await trio.sleep(0.1)
        ledger.record(rows.OutcomeRow(call_sid="CA1", ended_at=NOW, cost_usd=Decimal(2), process=bill.process))
        bill.ended(2.0)
    assert bill.usd == 12.0
    await bill.read()  # the call's row is in the ledger by now
    assert bill.usd == 12.0


async def test_a_running_call_on_another_machine_counts_with_its_cost_so_far(autojump_clock: MockClock) -> None:
    async with stage() as play:
        other = DayBill(play.ledger, play.daemon.desk.settings.tz, play.daemon.desk.utc_now)
        file = call_file(play)
        OpenStream(file)
        play.nursery.start_soon(play.daemon._keep_day_bill)
        for usd in (0.5, 0.8):
            file.talk.spent_usd = usd
            await trio.sleep(EVERY_S + 1)
            await other.read()
            assert other.usd == usd
        assert play.daemon.desk.spent_today_usd == 0.8  # the relay's own running call is not counted twice


@pytest.mark.parametrize(("at", "counts"), [(NOW, True), (NOW - dt.timedelta(days=1), False)])
async def test_the_day_follows_the_time_zone_of_the_business(
    at: dt.datetime, counts: bool, autojump_clock: MockClock
) -> None:
    async with stage(settings={"MAX_DAY_USD": "5"}) as play:
        desk = play.daemon.desk
        desk.utc_now = lambda: NOW  # the 24th in UTC
        play.ledger.record(rows.OutcomeRow(call_sid="CA9", ended_at=at, cost_usd=Decimal(9)))
        play.nursery.start_soon(play.daemon._keep_day_bill)
        await trio.testing.wait_all_tasks_blocked()
        got = await ask(play, "/twilio/incoming")
        assert (got.verbs == ["Say", "Dial"]) is counts


async def test_a_relay_without_calls_does_not_read_the_bill_until_a_call_comes(autojump_clock: MockClock) -> None:
    async with stage() as play:
        asked: list[float] = []

        async def spent_usd(day: dt.date, tz: dt.tzinfo, *, limit_s: float, besides: str = "") -> float:
            asked.append(trio.current_time())
            return 0.0

        play.ledger.spent_usd = spent_usd  # type: ignore[method-assign]  # counts
        play.nursery.start_soon(play.daemon._keep_day_bill)
        await trio.sleep(24 * 3600)
        assert len(asked) == 1
        rang_at = trio.current_time()
        await ask(play, "/twilio/incoming")
        await trio.sleep(1)
        assert asked[1:] == [rang_at]


@pytest.mark.parametrize(("usd", "is_short"), [(3.9, False), (4.1, True)])
async def test_when_most_of_the_days_money_is_spent_no_call_asks_for_answers_early(
    usd: float, is_short: bool, autojump_clock: MockClock
) -> None:
    async with stage(settings={"MAX_DAY_USD": "5", "ANSWER_EARLY": "on"}) as play:
        play.daemon.desk.utc_now = lambda: NOW
        play.ledger.record(rows.OutcomeRow(call_sid="CA9", ended_at=NOW, cost_usd=Decimal(str(usd))))
        play.nursery.start_soon(play.daemon._keep_day_bill)
        told = await ring(play, '{ listen = true }, { say = "can_you_hear" }, { listen = true }, { hang_up = true }')
        outcome = play.ledger.of(rows.OutcomeRow, told.report.call_sid)[-1]
        assert ("early_answers" not in (outcome.cost or {})) is is_short


async def hang_up_at_once(play: Play, after_s: float) -> None:
    await ask(play, "/twilio/incoming")
    await trio.sleep(after_s)
    await ask(play, "/twilio/status", {"CallStatus": "completed"})
    await trio.sleep(1)


async def test_a_greeting_generated_for_a_caller_who_hung_up_is_billed(autojump_clock: MockClock) -> None:
    async with stage(kept=False) as play:  # the model generates the greeting while the phone rings
        desk = play.daemon.desk
        await hang_up_at_once(play, 5.0)
        (row,) = play.ledger.of(rows.OutcomeRow, SID)
        assert row.end_reason == "caller_hung_up"
        assert row.cost_usd
        assert desk.spent_today_usd == pytest.approx(float(row.cost_usd), abs=1e-6)
        assert b"relay_usd_total 0.0\n" not in desk.metrics.text()


async def test_a_caller_who_hung_up_on_a_kept_greeting_costs_nothing(autojump_clock: MockClock) -> None:
    async with stage() as play:
        await hang_up_at_once(play, 5.0)
        (row,) = play.ledger.of(rows.OutcomeRow, SID)
        assert row.cost_usd is None
        assert play.daemon.desk.spent_today_usd == 0.0
