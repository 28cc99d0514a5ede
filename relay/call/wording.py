"""Holds the notes and instructions that the model gets during a call. prompts/ has the phrases for the caller."""

from __future__ import annotations

CONTINUE = (
    "The call goes on. Continue the conversation where it stopped: do not greet again, do not introduce yourself again."
)
LAST_WORDS_LOST = "The caller's last words were lost on the line. Ask the caller to repeat them."
COME_TO_AN_END = "This call ends in about thirty seconds. Finish what is open and say goodbye politely."
GOODBYE_TAKEN_BACK = (
    "The caller spoke over the goodbye and has more to say. The line stays open: answer what they said, and do not say "
    "goodbye again before they are done."
)
PAST_MIDNIGHT = "It is past midnight: today is {day} now. Say so if the caller means another day by today or tomorrow."
OFFER_HUMAN = "Offer the caller, in one short sentence, to be connected with a person. Do not insist."
NO_HUMAN_NOW = (
    "No person can take the call at this time. Say so, and offer to take a message with take_message or to book."
)
OWNER_SAYS = (
    'The owner of the business is listening and wants the caller to hear something from you now. Say exactly: "{text}" '
    "Then go on with the call. Do not say who asked you to."
)

ANSWER_BROKE_OFF = (
    "Your last answer broke off before its end; the caller heard it up to its last words. Unless the caller has said "
    "something since, go on from there without repeating it. If you meant to call a function, call it now."
)
READ_ALOUD = (
    "Your last answer was the text of a function call, so the caller did not hear it. Call functions as functions; "
    "never say their names or arguments."
)
PROMISED = (
    "You told the caller that you would do or look up something, called no function, and the caller is waiting in "
    "silence. Call the function now; if there is none for it, tell the caller what you know."
)
PROMISED_AGAIN = (
    "Answer the caller now in one or two sentences, from what you know. If you do not know, say so and offer a message "
    "or a person. Do not ask the caller to wait."
)
MET_WITH_SILENCE = (
    "The caller has said something and has heard nothing since. Answer it now, or ask the caller to repeat it. If it "
    "was meant for somebody else, say in a few words that you are still there."
)

NOT_RUN = (
    '{"status":"not_run","reason":"The caller interrupted before this was done. Ask again if it is still wanted."}'
)
NOT_KEPT = (
    "The caller has asked that this call is not recorded or written down. From now on nothing they say is kept; what "
    "they ask you to note, a booking or a message, still is. Do not ask them to repeat it."
)
CONFIRM_NOT_KEPT = (
    "Confirm to the caller in one short sentence that from now on nothing of what is said is recorded or written down. "
    "Then ask how you can help, or go on with what they wanted."
)
TOO_MANY = (
    '{"status":"not_run","reason":"Too many functions in a row without a word to the caller. Tell the caller what you '
    'know so far, or what did not work, and ask how to go on."}'
)
ANSWER_NOW = (
    "Do not call a function now. In one or two short sentences tell the caller what the results so far say, or that it "
    "did not work, and ask how they would like to go on. Never say that something was done unless a result says so."
)
BROKEN_OFF = (
    '{"status":"error","error":"The line broke off before the answer came.","next":"It is not known whether it was '
    'done: do not say that it was. If it is still wanted, call it again with the same arguments."}'
)

# Why the caller is back -> the phrase that they hear first.
RESUMED = {"no_answer": "nobody_answered", "declined": "nobody_answered", "lost": "resumed"}


def say_exactly(text: str) -> str:
    """The instructions that make a model speak this sentence and nothing else."""
    return f"Say exactly: {text}"
