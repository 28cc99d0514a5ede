"""Ends a stream: hangs up the phone by REST, and closes the caller's socket after the last words."""

from __future__ import annotations

import structlog
import trio

from relay.call.vocabulary import CallSid
from relay.transport.websocket import Gone, WebSocketEnd
from relay.transport.wire import NO_PROGRESS_S
from relay.twilio.rest import TwilioRefused, TwilioRest, TwilioUnreachable

log = structlog.get_logger()

HANG_UP_LIMIT_S = 6.0


async def hang_up(rest: TwilioRest, call_sid: CallSid) -> None:
    """End the phone call by REST. The caller of this function closes the stream afterwards."""
    try:
        await rest.hang_up(call_sid, HANG_UP_LIMIT_S)
    except (TwilioRefused, TwilioUnreachable) as error:
        log.error("call.hang_up_failed", words=str(error), caller_hears="the line closes a moment later")


async def close_behind_last_words(caller: WebSocketEnd) -> None:
    """Close the caller's socket when it has taken the messages that wait (the last words), or after NO_PROGRESS_S."""
    try:
        with trio.move_on_after(NO_PROGRESS_S):
            await caller.drain()
    except Gone:
        pass  # It is closed already.
    await caller.close()
