"""Makes alarms: a few kinds of log lines become news for the owner. Each alarm says what to do.

Each kind of alarm is sent at most once in each hour of the clock (UTC), by all machines together: the hour is part of
an alarm's id, and the outbox holds an id only once. An alarm never quotes a caller, because the log does not quote
callers. While Postgres is away, alarms wait.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime

from relay.ledger.rows import Json

MISSED_IN_A_ROW = 3  # The alarm comes after this many transfers in a row that nobody took.

# For each event in the log that always makes an alarm: the alarm's kind, its title, and what to do.
_ALARMS: dict[str, tuple[str, str, str]] = {
    "greeting.slo_broken": (
        "greeting_late",
        "a greeting came later than half a second",
        "Look at relay_loop_lag_ms: the machine may carry too many calls. Lower MAX_CALLS, or add a machine.",
    ),
    "greeting.missing": (
        "greeting_missing",
        "the greeting could not be rendered",
        "Run `relay greet`: it says what OpenAI answers. Callers are greeted live, or by a clip.",
    ),
    "model.unreachable": (
        "model_unreachable",
        "OpenAI could not be reached",
        "Look at status.openai.com and at the key's balance. Callers wait, or are put through to the human.",
    ),
    "function.failed": (
        "backend_failing",
        "your booking system failed",
        "Look at its log. Callers are told that it did not work, and are offered a message or a person.",
    ),
    "ledger.unavailable": (
        "database_away",
        "the database did not take rows",
        "Look at the database. Rows wait on the relay's disk, and are written when it is back.",
    ),
    "ledger.spill_failed": (
        "disk_low",
        "the disk took no rows",
        "Make room in DATA_DIR at once: rows wait in memory, and are lost when that is full.",
    ),
    "recording.stopped": (
        "recording_stopped",
        "a recording stopped",
        "Look at the free space in DATA_DIR, and at `relay calls` for the call.",
    ),
    "files.broken": (
        "file_broken",
        "business.toml or a prompt has a mistake",
        "Run `relay check`: it names every mistake. The old files stay in use until the mistakes are corrected.",
    ),
    "webhook.broke": (
        "relay_broke",
        "the relay had an internal error when Twilio asked what comes next in a call",
        "Report the log line `webhook.broke`: it is a bug. Callers still reach a person, or leave a message.",
    ),
    "call.told_wrong": (
        "claim_without_deed",
        "the agent told a caller of something that was not done",
        "Open the call in the console, and call back if it matters.",
    ),
}
_REFUSED = {
    "capacity": (
        "no_capacity",
        "callers were sent to the human: all lines were taken",
        "Raise MAX_CALLS if `relay bench` says that the machine can carry more, or add a machine.",
    ),
    "day_spend": (
        "no_money",
        "callers were sent to the human: the day's money is spent",
        "Raise MAX_DAY_USD, or look in `relay calls` who called so much.",
    ),
}
_MISSED = (
    "nobody_answers",
    f"nobody took {MISSED_IN_A_ROW} transfers in a row",
    "Check that HUMAN_TRANSFER_NUMBER is right, and that somebody is there in HUMAN_HOURS.",
)

Tell = Callable[[str, str, Json], None]  # Id, kind, body.


class Alarms:
    """Makes alarms of the log lines of a process. `saw` must be called with each line."""

    def __init__(self, tell: Tell, utc_now: Callable[[], datetime]) -> None:
        self._tell, self._utc_now = tell, utc_now
        self._told: dict[str, str] = {}  # Kind -> the hour in which it was last sent.
        self._missed = 0  # The transfers in a row that nobody took.
        self._telling = False

    def saw(self, line: Mapping[str, object]) -> None:
        """Make an alarm of a log line, if there is an alarm for its event."""
        if self._telling or line.get("test"):
            return  # A line that is logged while an alarm is recorded, or in a test call, makes no alarm.
        alarm = self._alarm_of(line)
        if alarm is None:
            return
        kind, title, do = alarm
        hour = f"{self._utc_now():%Y-%m-%dT%H}"
        if self._told.get(kind) == hour:
            return
        self._told[kind] = hour
        self._telling = True
        try:
            body: Json = {"alarm": kind, "title": title, "do": do}
            if call := line.get("call_sid"):
                body["call"] = str(call)  # The call whose log line made the alarm. The mail links to it.
            self._tell(f"alarm.{kind}.{hour}", "alarm", body)
        finally:
            self._telling = False

    def _alarm_of(self, line: Mapping[str, object]) -> tuple[str, str, str] | None:
        event = line.get("event")
        if event == "human.accepted":
            self._missed = 0
        elif event == "human.missed":
            self._missed += 1
            if self._missed >= MISSED_IN_A_ROW:
                self._missed = 0
                return _MISSED
        elif event == "call.not_admitted":
            return _REFUSED.get(str(line.get("why")))
        return _ALARMS.get(str(event))
