"""Alarms: each says what to do, and there is at most one of each kind an hour."""

from __future__ import annotations

import datetime as dt

import pytest

from relay.ledger.rows import Json
from relay.notify.alarms import Alarms

NOW = dt.datetime(2026, 11, 24, 17, 30, tzinfo=dt.UTC)


class Told:
    def __init__(self) -> None:
        self.now = NOW
        self.all: list[tuple[str, str]] = []
        self.alarms = Alarms(self.tell, lambda: self.now)

    def tell(self, news: str, kind: str, body: Json) -> None:
        assert kind == "alarm"
        self.all.append((news, str(body["do"])))
        self.alarms.saw({"event": "ledger.unavailable"})  # a log line that an alarm causes must cause no alarm


def test_one_alarm_of_a_kind_is_sent_an_hour_with_an_id_that_all_machines_share() -> None:
    told, other = Told(), Told()
    for _ in range(5):
        told.alarms.saw({"event": "model.unreachable", "words": "x"})
    told.alarms.saw({"event": "files.broken"})
    other.alarms.saw({"event": "model.unreachable"})
    ids = [news for news, _ in told.all]
    assert ids == ["alarm.model_unreachable.2026-11-24T17", "alarm.file_broken.2026-11-24T17"]
    assert other.all[0] == told.all[0]
    assert all(do for _, do in told.all)
    told.now += dt.timedelta(hours=1)
    told.alarms.saw({"event": "model.unreachable"})
    assert told.all[-1][0] == "alarm.model_unreachable.2026-11-24T18"


@pytest.mark.parametrize(("why", "kind"), [("capacity", "no_capacity"), ("day_spend", "no_money"), ("draining", None)])
def test_callers_who_were_not_admitted_cause_an_alarm_except_during_a_drain(why: str, kind: str | None) -> None:
    told = Told()
    told.alarms.saw({"event": "call.not_admitted", "why": why})
    assert [news.split(".")[1] for news, _ in told.all] == ([kind] if kind else [])


def test_three_transfers_in_a_row_that_no_human_took_cause_an_alarm() -> None:
    told = Told()
    for event in ("missed", "missed", "accepted", "missed", "missed"):
        told.alarms.saw({"event": f"human.{event}"})
    assert told.all == []
    told.alarms.saw({"event": "human.missed"})
    assert len(told.all) == 1


def test_an_alarm_from_a_call_names_the_call() -> None:
    bodies: list[Json] = []
    alarms = Alarms(lambda news, kind, body: bodies.append(body), lambda: NOW)
    alarms.saw({"event": "call.told_wrong", "call_sid": "CA1"})
    alarms.saw({"event": "files.broken"})
    assert [body.get("call") for body in bodies] == ["CA1", None]


def test_an_internal_error_in_a_webhook_causes_an_alarm() -> None:
    told = Told()
    told.alarms.saw({"event": "webhook.broke", "call_sid": "CA1"})
    assert [news.split(".")[1] for news, _ in told.all] == ["relay_broke"]


def test_other_log_lines_cause_no_alarm() -> None:
    told = Told()
    for event in ("call.ended", "function.refused", "outbox.dead", None):
        told.alarms.saw({"event": event})
    assert told.all == []


def test_a_log_line_of_a_test_call_causes_no_alarm() -> None:
    told = Told()
    told.alarms.saw({"event": "model.unreachable", "test": True})
    assert told.all == []
    told.alarms.saw({"event": "model.unreachable"})
    assert len(told.all) == 1
