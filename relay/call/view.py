"""Shows a watcher what a call does: its stage, who speaks, and the last words. It changes nothing in the call.

A view is made only while the page Live is open, so calls that nobody watches cost nothing.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from relay.call.consent import Words
from relay.call.state import Call, Next, Phase

LAST_TURNS = 4


class Stage(enum.StrEnum):
    """What the call does now, as the page Live names it."""

    RINGING = "ringing"  # There is no stream yet.
    GREETING = "greeting"
    NOTICE = "notice"  # The notice is playing.
    TALK = "talk"
    FUNCTION = "function"  # A function runs, and the caller waits for it.
    HOLDING = "holding"  # The agent has stopped, because the caller may be speaking.
    TRANSFERRING = "transferring"  # The caller hears that they are connected, or the human's phone rings.
    HUMAN = "human"  # A human has taken the call.
    ENDING = "ending"


@dataclass(frozen=True, slots=True)
class Said:
    """A turn: who spoke, and the words.

    For the caller: the words of the transcript. For the agent: those that were heard, or all words while they play.
    """

    by: str  # "caller" or "agent".
    words: str


@dataclass(frozen=True, slots=True)
class View:
    """What a call does at one moment. `said` is empty while no words may be stored."""

    stage: Stage
    caller_speaks: bool
    agent_speaks: bool
    consent: Words
    said: tuple[Said, ...]


def look(call: Call, now: float) -> View:
    return View(
        stage=_stage(call, now),
        caller_speaks=call.phase is not Phase.GONE and (call.voice.is_up or call.floor.speech is not None),
        agent_speaks=call.playout.is_speaking(now),
        consent=call.consent.words,
        said=_last_said(call) if call.consent.may_keep else (),
    )


def _stage(call: Call, now: float) -> Stage:
    if call.ending is not None:
        return Stage.TRANSFERRING if call.ending.then is Next.HUMAN else Stage.ENDING
    notice = call.notice_item
    if not call.consented and notice is not None and call.playout.heard_ms(notice, now) is not None:
        return Stage.NOTICE
    if call.functions.is_awaited:
        return Stage.FUNCTION
    if call.floor.is_holding:
        return Stage.HOLDING
    has_begun = call.presence.asked or any(turn.role == "caller" for turn in call.conversation.turns())
    is_greeting = call.figures.greeting_ms is None or call.playout.is_speaking(now)
    return Stage.GREETING if is_greeting and not has_begun else Stage.TALK


def _last_said(call: Call) -> tuple[Said, ...]:
    said: list[Said] = []
    for turn in reversed(call.conversation.turns()):
        words = turn.said if turn.heard is None else turn.heard
        if words:
            said.append(Said("caller" if turn.role == "caller" else "agent", words))
        if len(said) == LAST_TURNS:
            break
    return tuple(reversed(said))
