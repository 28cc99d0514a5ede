"""Compares what the agent says it has done with what functions did. Only English is understood.

Rule 1: a claim says that a deed is done: "I've booked", "your table is booked". Offers, questions, plans, conditions,
        denials, and a summary before "shall I?" are no claims. Words that are not clear are no claim, because a false
        alarm would make the agent contradict itself.
Rule 2: a deed is a function's success with `done` in its output. If a look-up showed a booking, the agent
        may say that something *is* booked, but not that it has booked it.
Rule 3: some words tell the caller that a deed was done, but do not claim it: "see you at seven", "all set". In another
        language than English, any words count as telling the deed, because this file does not understand them.
Rule 4: only the kind of the deed is checked. The day and the hour may differ from those that were booked.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from relay.functions.claims.patterns import (
    BOOKED,
    CANCELLED,
    CLAIMS,
    DONE,
    LISTED,
    MESSAGE,
    MOVED,
    OWN,
    SENT,
    WHEN,
    Pattern,
)

TOLD_AS: Final = {
    BOOKED: "the booking was made",
    CANCELLED: "the appointment was cancelled",
    MOVED: "the appointment was moved",
    MESSAGE: "the message was taken",
    SENT: "something was sent",
    DONE: "it was done",
}

# "It isn't booked yet", "I couldn't get that cancelled". But not: "you won't be charged for cancelling".
_NOT: Final = (
    r"(?:\b(?:is|was|has|have|had|could|can|did|are|were)(?:n't| not)|\b(?:cannot|unable|never|not|nothing))"
    r"(?: (?:yet|been|has|was|is|able|to|get|have|be|that|it|you|actually|your|the|a|any|anything))* "
)
_DENIALS: Final = tuple(
    (re.compile(_NOT + pattern), deed)
    for pattern, deed in (
        (r"(?:book|booked|reserve|reserved|schedule|scheduled|confirmed)\b", BOOKED),
        (r"cancel(?:l?ed)?\b", CANCELLED),
        (r"(?:move|moved|reschedule|rescheduled|change|changed)\b", MOVED),
        (r"(?:take|taken|leave|left|pass|passed)(?: [\w']+){0,3} message\b", MESSAGE),
        (r"(?:send|sent|text|texted|e-?mail|e-?mailed)\b", SENT),
    )
)
# If one of these words stands before the claim in the same clause, the clause claims nothing: it is an offer, a plan, a
# wish, a denial or a report.
_NOT_A_CLAIM: Final = re.compile(
    r"\b(?:would|shall|should|could|might|may|must|can(?! (?:see|confirm|tell))|cannot|not|never|no|nothing|without|"
    r"want|need|like|let|let's|going to|gonna|about to|try|trying|make sure|making sure|to (?:have|get|see|be)|"
    r"do you|did you|have you|wish|pretend|say|said|says|think|thought|looks like|seems?|unfortunately|sorry|afraid|"
    r"last (?:time|week|month|year)|according to|records|shows?|none|understand|hear|heard|(?<!can )see|currently|"
    r"right now|somebody|someone|appears|apparently|should|just need|it seems|whether|who|was told|were told)\b|"
    r"n't\b|'ll\b|\bwill\b|'d\b|\b(?:after|while|hopefully)\s*$"
)
# Conditions. The first pattern is searched in the sentence before the claim. The second one is searched in the clause
# after the claim. It also has words for the past, such as "yesterday".
_CONDITION_BEFORE: Final = re.compile(r"\b(?:if|unless|once|as soon as|until|whether|when|whenever|in case|before)\b")
_CONDITION_AFTER: Final = re.compile(
    r"\b(?:if|unless|once|as soon as|when|by (?:someone|somebody|another)|yesterday|earlier|already|within|it seems|"
    r"(?<!as )last (?:week|night|month|year)|(?:day|week|month|year|hour)s? ago|as far as i|in my notes|"
    r"in the meantime|i think|i believe|i hope|apparently)\b|^ by (?!phone|text|e-?mail|now)|\bfirst$"
)
# If a table is kept for other guests, that is no booking of this caller.
_FOR_OTHERS: Final = re.compile(rf"^ (?:for|to) (?!you\b|your\b|the two\b|the \w+ of you|{WHEN}|under\b)")
# In "That's confirmed, seven is free", a fact is confirmed and not a booking.
_FACT: Final = re.compile(r"^(?:yes |yep |and |okay |so )*(?:that|it)(?:'s| is) (?:\w+ )?confirmed$")
_STATES_FACT: Final = re.compile(r"\b(?:is|are|'s|'re|do|does|have|has|free|open|available|works)\b")
# A question that asks for no detail. A sentence before it may claim a deed.
_CLOSING: Final = re.compile(r"\belse\b|\b(?:okay|all right|alright|sound good|sounds good|fair enough)\s*\?$")
# An offer. The sentence before it only sums up what the agent would do.
_OFFER: Final = r"\b(?:(?:shall|should|can|may|could) i|(?:would you like|do you want|want) me to)(?: \w+){0,3}? "
_OFFERED: Final = {
    BOOKED: re.compile(rf"{_OFFER}(?:book|reserve|schedule|confirm|put|go ahead\W*$)"),
    CANCELLED: re.compile(rf"{_OFFER}(?:cancel|go ahead\W*$)"),
    MOVED: re.compile(rf"{_OFFER}(?:move|reschedule|change|switch|update|book|confirm|save|go ahead\W*$)"),
}
_TAKEN: Final = re.compile(
    r"\b(?:sorry|unfortunately|afraid|fully|someone else|somebody else|another (?:guest|party|caller))\b"
)
_DONE: Final = r"done|all set|you're set|all good|taken care of|went through|see you|confirm\w*"
_TELLS: Final = {
    BOOKED: rf"\b(?:{_DONE}|book\w*|reserv\w*|schedul\w*|appointment|set for|down for|look(?:ing)? forward)\b",
    CANCELLED: rf"\b(?:{_DONE}|cancel\w*|removed|off the books|no longer|moved|reschedul\w*|changed|instead)\b",
    MOVED: rf"\b(?:{_DONE}|moved|reschedul\w*|changed|switched|pushed|now (?:at|for|on)|instead|booked|set for)\b",
    MESSAGE: rf"\b(?:{_DONE}|message|noted|wrote|written|pass\w* (?:it|that|this)|let \w+(?: \w+)? know|back to you|"
    r"call you back|make sure)\b",
    SENT: rf"\b(?:{_DONE}|sent|text\w*|e-?mail\w*|on (?:its|the) way|receive)\b",
}
_TELLS_NOT: Final = re.compile(
    r"n't\b|\b(?:cannot|not|never|no|unable|unfortunately|sorry|afraid|would|shall|should|could|do you|if)\b"
)
_TAGS: Final = frozenset(
    {"", "right", "correct", "yes", "is that right", "is that correct", "then", "isn't it", "aren't you"}
)
_ENGLISH: Final = re.compile(r"\b(?:the|you|your|i'm|i've|it's|that|this|and|for|sorry|thanks?|what|how|we)\b")
_SENTENCES: Final = re.compile(r"(?<=[.!?;])\s+|\n+")
_CLAUSES: Final = re.compile(r"[,:;()\u2013\u2014]|\s-\s|\b(?:but|and|so|because|then)\b")


@dataclass(frozen=True)
class Verdict:
    """What was found in a turn of the agent.

    `unproved`: deeds that the turn claims and no function did. `told`: new deeds that the turn may tell the caller.
    `untold`: new deeds that the turn does not tell. `withdrawn`: deeds that the turn denies. `correction`: instructions
    with which the agent must correct itself. None if the turn is right.
    """

    unproved: frozenset[str] = frozenset()
    untold: frozenset[str] = frozenset()
    withdrawn: frozenset[str] = frozenset()
    correction: str | None = None
    told: frozenset[str] = frozenset()


@functools.lru_cache(maxsize=64)  # The same turn is checked once for each deed that the caller must be told.
def claims(said: str) -> tuple[frozenset[str], ...]:
    """The claims in these words of the agent. Each claim is a set of deeds: it is true if one of them was done."""
    found: list[frozenset[str]] = []
    sentences = _SENTENCES.split(_plain(said))
    for sentence, following in zip(sentences, [*sentences[1:], ""], strict=True):
        # The condition is searched once in each sentence, because a sentence may have a thousand clauses.
        condition = _CONDITION_BEFORE.search(sentence)
        offset = 0
        for clause in _clauses(sentence):
            start = sentence.index(clause, offset)
            offset = start + len(clause)
            if (condition is not None and condition.end() <= start) or _asks(sentence, offset):
                continue
            pattern = _claimed_in(clause.strip(), sentence, sentence[offset:])
            if pattern is not None and not _is_taken_back(pattern, sentence[offset:], following):
                swapped = BOOKED in pattern.deeds and re.search(r"\binstead\b", clause)
                found.append(pattern.deeds | ({MOVED} if swapped else set()))
    return tuple(found)


def _is_taken_back(pattern: Pattern, rest: str, following: str) -> bool:
    """True if a question follows that shows that nothing is done yet, such as "Shall I book it?" or "Which name?"."""
    question = rest if rest.rstrip().endswith("?") else following
    if not question.endswith("?"):
        return False
    if question is following and question.rpartition(",")[2].strip(" ?") in _TAGS:
        return True
    if pattern.is_weak and not _CLOSING.search(question):
        return True
    return any(_OFFERED[deed].search(question) for deed in pattern.deeds & _OFFERED.keys())


def check(said: str, deeds: Collection[str], news: Collection[str] = (), *, more_comes: bool = False) -> Verdict:
    """Check a turn of the agent that has ended.

    `deeds`: all deeds of this call. `news`: the deeds that were done before this turn, and that no turn has told the
    caller. `more_comes`: True if another answer follows, which may still tell them.
    """
    claimed = claims(said)
    # A booking and a cancellation together are a move.
    proved = set(deeds) | ({MOVED} if {BOOKED, CANCELLED} <= set(deeds) else set())
    proved |= {DONE} if proved - {LISTED} else set()  # Functions of the owner's own have deeds with other names.
    unproved = frozenset(_first(claim) for claim in claimed if not claim & proved)
    unproved = unproved - {DONE} or unproved  # "Done. Booked for seven." is one claim.
    told = frozenset(deed for deed in news if tells(said, deed))
    silent = frozenset() if more_comes else (frozenset(news) - told) & TOLD_AS.keys()
    return Verdict(unproved, silent, withdrawn(said), _correction(unproved, silent), told)


def tells(said: str, deed: str) -> bool:
    """True if these words may tell the caller that a deed was done. Also True if that is not clear."""
    plain = _plain(said)
    if deed not in _TELLS or (plain and not _ENGLISH.search(plain)):
        return True
    if any(deed in claim for claim in claims(said)):
        return True
    told = [each for each in _SENTENCES.split(plain) if not each.endswith("?") and not _TELLS_NOT.search(each)]
    return any(re.search(_TELLS[deed], each) for each in told)


def withdrawn(said: str) -> frozenset[str]:
    """The deeds that these words deny: "it is not booked yet", "I couldn't cancel it"."""
    sentences = [each for each in _SENTENCES.split(_plain(said)) if not each.endswith("?")]
    clauses = [clause for sentence in sentences for clause in _clauses(sentence)]
    return frozenset(deed for pattern, deed in _DENIALS for each in clauses if pattern.search(each))


def _plain(said: str) -> str:
    text = " ".join(said.replace("\u2019", "'").casefold().split())
    text = re.sub(r"\b(dr|mr|mrs|ms)\. ", r"\1 ", text)  # The point after such a title does not end a sentence.
    text = re.sub(
        r"\b(?:booked|confirmed|set|scheduled) and (?:ready|confirmed|good to go|set|booked)\b", "confirmed", text
    )
    text = re.sub(r"\b([ap])\.m\.", r"\1m", text)
    return re.sub(r"\b(?:gone|went) ahead and ", "", text)  # The "and" in these words does not separate two clauses.


def _clauses(sentence: str) -> list[str]:
    return [each for each in _CLAUSES.split(sentence) if each.strip(" .!?")]


def _asks(sentence: str, end: int) -> bool:
    """True if the clause that ends at `end` is a question: only "?" or a tag such as "is that right" follows."""
    return sentence.endswith("?") and sentence[end:].strip(" ,?") in _TAGS


def _claimed_in(clause: str, sentence: str, rest: str) -> Pattern | None:
    """The pattern that shows that this clause claims a deed. None if it claims none.

    `rest` is the part of the sentence after the clause.
    """
    clause = clause.strip(" .!?\"'")
    is_own = OWN.search(clause) is not None
    for pattern in CLAIMS:
        match = pattern.regex.search(clause) if is_own or not pattern.is_own else None
        if match is None:
            continue
        head, tail = clause[: match.start()], clause[match.end() :]
        if _NOT_A_CLAIM.search(head) or _CONDITION_BEFORE.search(head + match.group()) or _CONDITION_AFTER.search(tail):
            continue
        if pattern.is_state and ("already" in match.group() or _TAKEN.search(sentence)):
            continue  # "That one is already booked" means: by somebody else.
        if pattern.is_state and "your" not in match.group() and "you" not in match.group() and _FOR_OTHERS.search(tail):
            continue
        if _FACT.search(clause) and _STATES_FACT.search(rest):
            continue
        return pattern
    return None


def _first(claim: frozenset[str]) -> str:
    """The deed that stands for the whole claim: the first one in this order."""
    return next(deed for deed in (DONE, BOOKED, CANCELLED, MOVED, SENT, MESSAGE) if deed in claim)


def _correction(unproved: frozenset[str], untold: frozenset[str]) -> str | None:
    parts: list[str] = []
    if unproved:
        what = " and ".join(TOLD_AS[deed] for deed in sorted(unproved))
        parts.append(
            f"You told the caller that {what}. No function has done that in this call. "
            "Correct yourself now in one short sentence. If the caller still wants it, call the function, "
            "and say that it is done only when its result says so."
        )
    if untold:
        what = " and ".join(TOLD_AS[deed] for deed in sorted(untold))
        parts.append(
            f"By its function's result, {what}, and the caller does not know. Tell them now in one short sentence."
        )
    return " ".join(parts) or None
