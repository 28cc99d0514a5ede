"""Writes rows of several weeks of invented calls into Postgres, for the console's tests. The calls end in all ways."""

from __future__ import annotations

import datetime as dt
import json
import random

import psycopg

NOW = dt.datetime(2026, 11, 29, 18, 30, tzinfo=dt.UTC)
ENDS = (
    ("caller_hung_up", None, "informed", None),
    ("agent_said_goodbye", None, "booked", None),
    ("transferred", None, "talked", "accepted"),
    ("transferred", None, "talked", "no-answer"),
    ("model_lost", "model_lost", "talked", None),
    ("silence_cap", None, "talked", None),
    ("caller_hung_up", None, "booked unverified", None),
)
NAMES = ("Jane Doe", "Amir Haddad", "Zoë Lindqvist", "Maria O'Neil", "Wei Chen")
SAYINGS = (
    "Hi, what time do you open tomorrow?",
    "Can I book a table for two tomorrow at seven in the evening?",
    "Do you have parking behind the house?",
    "I'm allergic to peanuts, is that a problem?",
    "Could you ask the manager to call me back about the delivery?",
)


def sid(number: int) -> str:
    """The sid of the n-th call."""
    return f"CA{number:032x}"


def fill(url: str, calls: int, *, seed: int = 1, words: bool = True) -> None:
    """Write this many calls before NOW, one an hour. In every sixth call the caller left a message that is not done."""
    chance = random.Random(seed)
    with psycopg.connect(url) as connection:
        cursor = connection.cursor()
        for number in range(calls):
            _one(cursor, chance, number, words=words)


def _one(cursor: psycopg.Cursor[tuple[object, ...]], chance: random.Random, number: int, *, words: bool) -> None:
    call_sid, began = sid(number), NOW - dt.timedelta(hours=number, minutes=5)
    reason, fault, outcome, transfer = ENDS[number % len(ENDS)]
    name, saying = NAMES[number % len(NAMES)], SAYINGS[number % len(SAYINGS)]
    seconds = chance.uniform(20, 240)
    cursor.execute(
        "insert into calls (call_sid, started_at, from_number, to_number, model, voice, prompt_hash, greeting_ms)"
        " values (%s, %s, %s, '+12125550190', 'gpt-realtime-2.1-mini', 'marin', 'f264db1e862c', 21.5)",
        (call_sid, began, None if number % 11 == 10 else f"+1212555{100 + number % 100:04d}"),
    )
    cursor.execute(
        "insert into call_outcomes (call_sid, ended_at, end_reason, fault, seconds, turns, barge_ins, cost_usd, cost,"
        " outcome, latency_p50_ms, latency_p95_ms, verified, transfer_result)"
        " values (%s, %s, %s, %s, %s, 6, 1, %s, %s, %s, %s, %s, %s, %s)",
        (
            call_sid,
            began + dt.timedelta(seconds=seconds),
            reason,
            fault,
            seconds,
            round(seconds / 60 * 0.03, 6),
            json.dumps({"usd": {"gpt-realtime-2.1-mini": round(seconds / 60 * 0.028, 6), "transcription": 0.0013}}),
            outcome,
            1180.0,
            1850.0 if number % 5 == 0 else 1320.0,
            "unverified" not in outcome,
            transfer,
        ),
    )
    cursor.execute(
        "insert into consents (call_sid, seq, announced, announced_at, heard_at) values (%s, 1,"
        " 'This call may be transcribed to help with your request.', %s, %s)",
        (call_sid, began, began + dt.timedelta(seconds=7.5)),
    )
    for turn in range(6):
        said = (saying if turn == 1 else "Yes please.") if turn % 2 else "We are open from eleven until ten at night."
        cursor.execute(
            "insert into transcripts (call_sid, seq, role, item_id, said, heard, started_ms, ended_ms, interrupted,"
            " latency) values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
            (
                call_sid,
                turn * 10,
                "caller" if turn % 2 else "agent",
                f"item_{turn}",
                said if words else None,
                None if turn % 2 or not words else ("We are open" if turn == 2 else said),
                turn * 4000,
                turn * 4000 + 3000,
                turn == 2,
                json.dumps({"stopped_heard": 500, "first_delta": 1100, "first_written": 1110, "first_heard": 1180})
                if turn in (2, 4)
                else None,
            ),
        )
    if "booked" in outcome:
        cursor.execute(
            "insert into function_calls (call_sid, function_call_id, name, arguments, output, ok, took_ms, state,"
            " recorded_at) values (%s, 'call_1', 'book_appointment', %s, %s, true, 198.8, 'done', %s)",
            (
                call_sid,
                json.dumps({"name": name, "start": "2026-11-30T19:00:00-05:00", "service": "table for two"}),
                json.dumps({"id": f"apt_{number}", "done": "booked", "when": "tomorrow at seven in the evening"}),
                began + dt.timedelta(seconds=14),
            ),
        )
    if number % 6 == 1:
        cursor.execute(
            "insert into messages (call_sid, seq, name, phone, text, created_at) values (%s, 1, %s, %s, %s, %s)",
            (
                call_sid,
                name,
                f"+1212555{100 + number % 100:04d}",
                "The delivery this morning was two boxes short." if words else None,
                began + dt.timedelta(seconds=30),
            ),
        )
