"""Carries out the owner's orders to a running call: put it through, hang up, say this sentence.

The same order may come twice, from one person or from two people, and an order may come too late. Each order gets one
answer. A repeated order is not carried out again. Only a sentence is said again, if SAME_SENTENCE_S are over.
"""

from __future__ import annotations

from relay.call import ending, wording
from relay.call.actions import Action, AnswerOwner, Report
from relay.call.state import Call, Next, Phase
from relay.call.vocabulary import (
    EndReason,
    HangUpOrdered,
    Order,
    OrderAnswer,
    PutThroughOrdered,
    SentenceOrdered,
)

WHY = "the owner put the call through"
# If the same sentence is ordered again within this time, somebody has clicked twice, or a second person has ordered it.
# Then the agent does not say it again.
SAME_SENTENCE_S = 10.0


def obey(call: Call, order: Order, now: float, out: list[Action]) -> None:
    """Carry out an order if the call allows it, and report the result."""
    match order:
        case PutThroughOrdered():
            answer = _put_through(call, now, out)
        case HangUpOrdered():
            answer = _hang_up(call, now, out)
        case SentenceOrdered(text):
            answer = _say(call, text, now, out)
    out.append(AnswerOwner(answer))
    name = {PutThroughOrdered: "put_through", HangUpOrdered: "hang_up", SentenceOrdered: "say"}[type(order)]
    out.append(Report("owner.ordered", "info", (("order", name), ("answer", str(answer)))))


def _put_through(call: Call, now: float, out: list[Action]) -> OrderAnswer:
    if call.ending is not None and call.ending.then is Next.HUMAN:
        return OrderAnswer.ALREADY
    if call.phase not in (Phase.TALKING, Phase.LEAVING):
        return OrderAnswer.TOO_LATE
    put = ending.transfer(call, EndReason.TRANSFERRED, WHY, "", now, out, by_owner=True)
    return OrderAnswer.DONE if put else OrderAnswer.TOO_LATE


def _hang_up(call: Call, now: float, out: list[Action]) -> OrderAnswer:
    if call.phase in (Phase.TALKING, Phase.LEAVING):
        ending.hang_up(call, EndReason.HUNG_UP_BY_OWNER, now, out)
        return OrderAnswer.DONE
    by_us = call.ending is not None and call.ending.reason is EndReason.HUNG_UP_BY_OWNER
    return OrderAnswer.ALREADY if by_us else OrderAnswer.TOO_LATE


def _say(call: Call, text: str, now: float, out: list[Action]) -> OrderAnswer:
    if call.phase is not Phase.TALKING:
        return OrderAnswer.TOO_LATE
    if text == call.sentence and now - call.sentence_at < SAME_SENTENCE_S:
        return OrderAnswer.ALREADY
    call.sentence, call.sentence_at = text, now
    words = wording.OWNER_SAYS.format(text=text.replace('"', "'"))
    # If this session is lost before it has said the sentence, the next session gets the text.
    call.conversation.noted("system", words)
    if call.sessions.serves:
        out.append(call.note(words))
    call.rest.forget()  # The agent says this sentence now, and not the rest of an earlier answer.
    call.answers.want("order")
    return OrderAnswer.DONE
