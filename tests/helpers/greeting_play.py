"""Plays one call with a few steps of a scenario. The result has what was sent, heard and stored."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import trio

from relay.ledger import rows
from relay.standin.model.script import Faults, Script
from relay.standin.scenario.report import CallReport
from relay.standin.scenario.run import run_scenario
from relay.standin.scenario.scenario_file import parse
from tests.helpers.play import Play

OPENING = "Hello, thank you for calling Harbor Table. This is Robin, the virtual assistant."
NOTICE = "This call may be transcribed to help with your request."
QUESTION = "How can I help you?"
WHOLE = f"{OPENING} {NOTICE} {QUESTION}"
CLIP = "Thank you for calling, one moment please."
TROUBLE = "I'm sorry, we are having a technical problem. I'm connecting you with a colleague."


def prompt_model(faults: Faults | None = None) -> Script:
    """A model that is so quick that the live greeting comes before the stream begins."""
    return Script(first_delta_ms=(50, 50), faults=faults or Faults())


@dataclass
class Told:
    """The result of a call."""

    report: CallReport
    play: Play
    events: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    @property
    def first_ms(self) -> list[int]:
        """For each stream: the time from `start` until the exchange got the first audio, in ms."""
        return [fields["after_ms"] for kind, fields in self.events if kind == "first_media"]

    @property
    def heard(self) -> str:
        return " | ".join(self.report.heard)

    @property
    def call(self) -> rows.CallRow:
        """The call's row, with all its versions merged."""
        merged: dict[str, Any] = {}
        for row in self.play.ledger.of(rows.CallRow, self.report.call_sid):
            merged |= {name: value for name in row.__slots__ if (value := getattr(row, name)) is not None}
        return rows.CallRow(**merged)

    @property
    def turns(self) -> list[rows.TranscriptRow]:
        return self.play.ledger.of(rows.TranscriptRow, self.report.call_sid)

    @property
    def said(self) -> str:
        return " | ".join(f"{row.role}: {row.said}" for row in self.turns)

    @property
    def consents(self) -> list[rows.ConsentRow]:
        return self.play.ledger.of(rows.ConsentRow, self.report.call_sid)

    @property
    def end_reason(self) -> str:
        return self.play.evidence(self.report.call_sid).end_reason


async def ring(
    play: Play, steps: str = "{ listen = true }, { hang_up = true }", caller: str = "", rest: str = ""
) -> Told:
    """Make a call. `steps`, `caller` and `rest` are pieces of a scenario in TOML."""
    scenario = parse(f'title = "told"\n[caller]\nsteps = [{steps}]\n{caller}\n{rest}', "told")
    events: list[tuple[str, dict[str, Any]]] = []
    before, play.exchange.on_event = play.exchange.on_event, lambda kind, fields: events.append((kind, fields))
    try:
        report = await run_scenario(scenario, play.exchange)
    finally:
        play.exchange.on_event = before
    file = play.daemon.desk.files[next(reversed(play.daemon.desk.files))]
    while file.live:  # noqa: ASYNC110 -- a play's clock jumps: nothing is lost by looking
        await trio.sleep(0.05)
    return Told(report, play, events)


def items(play: Play, session: int = -1) -> list[tuple[str, str]]:
    """The items in a model session's conversation, as (role, text). The default is the last session."""
    return [(item.role or item.type, item.text) for item in play.model.sessions[session].history.items]
