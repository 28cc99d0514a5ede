"""Stopping the agent, undoing that, and giving its answer up exactly where it was heard.

Upstream: turns.py, leaving.py.  Downstream: state.py, playout.py (knows what was heard).
"""

from __future__ import annotations

from relay.call.actions import (
    Action,
    ClearPlayback,
    CreateItem,
    DeleteItem,
    TruncateItem,
)
from relay.call.conversation import heard_words
from relay.call.floor import Move
from relay.call.playout import Cut
from relay.call.state import Call, Phase
from relay.call.vocabulary import ItemId, ResponseId


def carry_out(call: Call, move: Move, now: float, out: list[Action]) -> None:
    """Do what the floor decided."""
    if move is Move.NOTHING or call.phase is not Phase.TALKING:
        return
    speech = call.floor.speech
    was_heard = speech is not None and speech.over_agent  # the agent, when it was stopped
    if move is Move.HOLD:
        call.held_at = now
        if call.playout.hold(now):
            out.append(ClearPlayback())
    elif move is Move.RESUME:
        if call.playout.is_held:
            call.figures.false_stops += was_heard
            call.playout.resume()
            call.due(now, out)
    else:
        call.figures.barge_ins += was_heard
        if speech is not None:
            call.interruptions.add(speech.item_id)
        cut_off(call, now, out)


def cut_off(call: Call, now: float, out: list[Action]) -> None:
    """The agent's answer is given up, exactly where it was heard."""
    if call.playout.hold(now):
        out.append(ClearPlayback())
    cuts = call.playout.cut(now)
    active = call.answers.active
    cancel = call.answers.cancel()
    if cancel is not None:
        out.append(cancel)
    for cut in cuts:
        _cut_item(call, cut, now, out)
    if active is not None:
        drop_unheard(call, active)


def drop_unheard(call: Call, response_id: ResponseId) -> None:
    """Words of an answer that never got a sound, and get none any more: deleted once the answer has ended."""
    for item in call.answer_items.get(response_id, []):
        turn = call.conversation.turn(item)
        if turn is not None and not turn.whole and turn.said_ms == 0:
            call.conversation.drop(item)
            call.unheard_items.setdefault(response_id, set()).add(item)


def _cut_item(call: Call, cut: Cut, now: float, out: list[Action]) -> None:
    turn = call.conversation.turn(cut.item)
    if turn is None:
        return
    heard = heard_words(turn.said, cut.said_ms, cut.heard_ms, cut.complete)
    in_full = cut.complete and int(cut.heard_ms) >= int(cut.said_ms)
    if not turn.whole:
        call.finish_turn(turn, heard, now, out, interrupted=not in_full)
    known = call.ids.get(cut.item)
    if not call.model_is_ready or known is None or in_full:
        return
    if cut.own or known != cut.item:  # text in this session: it cannot be truncated, only said anew
        out.append(DeleteItem(known))
        del call.ids[cut.item]
        if heard:
            call.ids[cut.item] = ItemId(f"{known}_h")
            out.append(CreateItem(call.ids[cut.item], "assistant", heard))
    elif cut.heard_ms < 1.0:
        out.append(DeleteItem(known))
        del call.ids[cut.item]
    else:
        out.append(TruncateItem(known, int(cut.heard_ms)))
