"""Answers a webhook in which our own code has failed: it raised an exception, or gave no answer in time.

The answers depend only on the request and on the settings, because the ledger or the call's file may have failed. There
is one exception: if Twilio does not say whether human and caller have talked, the file says whether the human has
pressed key 1. Each answer is valid TwiML. A human always hears a whisper and must press key 1, also after a bug in the
whisper. No answer leads back to an earlier webhook of the call, so a bug that comes again makes no loop.
"""

from __future__ import annotations

from relay.server.human_transfer import LEAVE_MESSAGE, THANKS, Transfers
from relay.twilio import twiml

CUT_OFF = "Sorry, we were cut off. I am connecting you with a person."
WHISPER = "A call from the virtual assistant. Press 1 to accept it."
NOTHING = "no change, but this step of the call is lost"


def answer_after_bug(name: str, fields: dict[str, str], transfers: Transfers) -> tuple[str, str]:
    """The TwiML for the webhook `name` after a bug in it, and what the caller hears then."""
    call_sid = fields.get("call") or fields.get("CallSid", "")
    match name:
        case "incoming" | "after":
            return transfers.dial_document(call_sid, 0, CUT_OFF), f"{CUT_OFF} Then the human's phone rings"
        case "dialed":
            return _after_dial(call_sid, fields, transfers)
        case "whisper":
            # Twilio connects human and caller at once if this document has no <Gather>. A voicemail would take the
            # call. So the human must press key 1 after a bug too.
            return twiml.whisper(WHISPER, transfers.url("accept", call=call_sid)), (
                "no change: the human hears only that a call comes, and must press key 1"
            )
        case "accept" if fields.get("Digits") == "1":
            return twiml.empty(), "the human, who has pressed key 1"
        case "accept":
            return twiml.hang_up(), "no change: this human does not take the call"
        case "message" if "RecordingStatus" not in fields:
            return twiml.say_and_hang_up(THANKS), f"{THANKS} The recorded message is at Twilio, but not in the relay"
    return twiml.empty(), NOTHING


def _after_dial(call_sid: str, fields: dict[str, str], transfers: Transfers) -> tuple[str, str]:
    if transfers.was_bridged(fields):
        return twiml.hang_up(), "the end of the call, after a talk with the human"
    following = transfers.following(fields)
    if following is not None:
        return transfers.dial_document(call_sid, following), "no change: the next human's phone rings"
    return transfers.message_document(call_sid), LEAVE_MESSAGE
