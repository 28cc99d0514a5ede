"""Gives the console's page Live what it shows of each call of this process, and gives the owner's orders to a call."""

from __future__ import annotations

from collections.abc import Iterator

import trio

from relay.call.machine import Next
from relay.call.view import Stage, look
from relay.call.vocabulary import CallSid, EndReason, HangUpOrdered, Order, OrderAnswer, PutThroughOrdered
from relay.console.live import LiveCall
from relay.console.wording import short_number
from relay.session.call_file import CallFile
from relay.session.call_session import CallSession
from relay.session.context import Desk


class CallsInHand:
    """The calls of this process. Calls of other machines are not among them."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    @property
    def machine(self) -> str:
        """The name of this machine."""
        return self._desk.settings.machine

    def seen(self) -> Iterator[LiveCall]:
        """The running calls, oldest first. The state of a call is read only when the iterator reaches it.

        A call is left out while its stream has ended and Twilio has not asked yet what comes next.
        """
        for file in sorted(self._desk.files.at_hand(), key=lambda file: file.rang_at):
            if (call := _seen(file, trio.current_time())) is not None:
                yield call

    async def order(self, call_sid: str, order: Order) -> OrderAnswer | None:
        """Give an order to a call. Returns None if this process does not have the call."""
        file = self._desk.files.get(CallSid(call_sid))
        if file is None:
            return None
        session = session_of(file)
        if session is not None:
            answer = await session.order(order)
        elif _rings(file):
            answer = OrderAnswer.ALREADY if order in file.orders else OrderAnswer.DONE
            if answer is OrderAnswer.DONE:
                file.orders.append(order)  # The session carries the order out when the stream begins.
        else:
            answer = _too_late(file, order)
        self._desk.metrics.orders.labels(_NAMES.get(type(order), "say"), str(answer)).inc()
        return answer


_NAMES: dict[type[Order], str] = {PutThroughOrdered: "put_through", HangUpOrdered: "hang_up"}


def session_of(file: CallFile) -> CallSession | None:
    """The CallSession of the stream on which the caller is now. None if the caller is on no stream."""
    streams = [stream for stream in file.open_streams if isinstance(stream, CallSession) and not stream.is_decided]
    return streams[-1] if streams else None


def can_listen(session: CallSession, file: CallFile) -> bool:
    """True while the owner may listen in: the call is recorded, and its words may be kept now."""
    return session.recorder is not None and file.consent.may_keep


def _rings(file: CallFile) -> bool:
    """True if a stream of this call is still expected: after the ring, or after a lost stream.

    Called only while the caller is on no stream.
    """
    waits = file.brings_stream and trio.current_time() < file.asks_until
    return file.is_served or (waits and file.decision.then is not Next.HUMAN)


def _too_late(file: CallFile, order: Order) -> OrderAnswer:
    """The answer to an order that came after the agent had left the call.

    Returns ALREADY if a transfer was ordered and was decided before, or if a hang-up was ordered and the owner has hung
    up before. In all other cases returns TOO_LATE.
    """
    was_put = isinstance(order, PutThroughOrdered) and file.decision.then is Next.HUMAN
    was_hung_up = isinstance(order, HangUpOrdered) and file.decision.reason is EndReason.HUNG_UP_BY_OWNER
    return OrderAnswer.ALREADY if was_put or was_hung_up else OrderAnswer.TOO_LATE


def _seen(file: CallFile, now: float) -> LiveCall | None:
    caller, seconds, usd = short_number(file.caller.id.presented), int(now - file.rang_at), file.talk.spent_usd
    session = session_of(file)
    if session is None:
        if _rings(file):
            stage = Stage.RINGING
        elif file.decision.then is Next.HUMAN and file.human.result == "asked":
            stage = Stage.HUMAN if file.human.accepted else Stage.TRANSFERRING
        else:
            return None  # The call has ended, or Twilio has not asked yet what comes next.
        has_agent = stage is Stage.RINGING
        return LiveCall(file.call_sid, caller, stage, seconds, round(usd, 3), has_agent=has_agent, is_test=file.is_test)
    view = look(session.machine.call, now)
    return LiveCall(
        file.call_sid,
        caller,
        view.stage,
        seconds,
        round(usd, 3),
        view.caller_speaks,
        view.agent_speaks,
        view.consent.value,
        tuple((said.by, said.words) for said in view.said),
        has_agent=True,
        can_listen=can_listen(session, file),
        is_test=file.is_test,
    )
