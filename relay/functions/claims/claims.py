"""What the agent says was done, held against what was done (pure, English).

Rule 1: a claim is a finished deed in the agent's own mouth: "I've booked", "your table is booked". Offers, questions,
plans, conditions, denials, and what is summed up before "shall I?" are none; in doubt it is no claim, since a false
alarm makes the agent contradict itself.
Rule 2: a deed is a success of a function that writes (`done` in its output). What a look-up showed stands for the
claim that something *is* booked, never for having booked it.
Rule 3: a deed is told by less than a claim ("see you at seven", "all set"); words in another language than English
are taken to tell everything, since nothing can be said of them.
Rule 4: there are words only. That the day and hour told are the ones booked is not looked at here.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

# Deeds, as functions name them in `done`; "listed" is a look-up that showed an appointment.
BOOKED, CANCELLED, MOVED, MESSAGE, SENT, LISTED = "booked", "cancelled", "moved", "message_taken", "sent", "listed"

TOLD_AS: Final = {
    BOOKED: "the booking was made",
    CANCELLED: "the appointment was cancelled",
    MOVED: "the appointment was moved",
    MESSAGE: "the message was taken",
    SENT: "something was sent",
}

_ADVERB = r"(?:(?:just|now|already|also|successfully|officially|all|then|finally)\s+)*"
_I = rf"\b(?:i|we)(?:'ve| have)?\s+{_ADVERB}"
_YOU_ARE = r"\byou(?:'re| are|'ve been| have been) "
_MANAGED = r"\b(?:(?:i|we) managed|i was able|we were able) to "
_GOT = r"\b(?:i|we)(?:'ve got|'ve| have got| have| got)\s+"
_YOURS = r"(?:you|it|that|this|everything|(?:your|the|a|an)(?: [\w'-]+){1,4}?)"
_THING = (
    r"(?:(?:it|that|this)(?: one)?|everything|"
    r"(?:your (?:[\w'-]+ ){0,2}|the (?:[\w'-]+ )?)"
    r"(?:table|booking|reservation|appointment|visit|spot|seats?|party|dinner|lunch|slot)"
    r"(?: [\w':,-]+){0,8}?)"
)
_IS = rf"(?:\s+(?:is|has been|was|are|have been)|'s been|'s|'re)\s+{_ADVERB}"
_BOOK = r"(?:booked|reserved|scheduled)"
_CANCEL = r"cancel(?:l)?ed"
_MOVE = r"(?:moved|rescheduled|changed|switched|shifted|pushed back|pushed)"

_STANDS: Final = {BOOKED, LISTED, MOVED}  # proves that something is booked, whoever did it
_PASSED: Final = {MESSAGE, SENT}
_VISIT: Final = r"(?:your (?:[\w'-]+ ){0,2}|the (?:[\w'-]+ )?)(?:table|booking|reservation|appointment)"
_OBJECT: Final = rf"(?:you|it|that|{_VISIT})"
_DEAL: Final = r"(?:booking|reservation|appointment)"
_DELIVERED: Final = r"(?:taken|noted|recorded|passed on|passed along|delivered|sent)"

# (pattern, the deeds any of which makes it true). Each is matched inside one clause in lower case.
_CLAIMS: Final = tuple(
    (re.compile(pattern), frozenset(deeds))
    for pattern, deeds in (
        (rf"{_I}(?:scheduled|arranged|booked|requested|set up) (?:a|the|your) call ?back", {MESSAGE, BOOKED}),
        (rf"{_I}{_BOOK}\b(?! up| solid| out)", {BOOKED}),
        (rf"{_I}(?:made|created|placed|entered|set up) (?:an?|the|your|that|this) (?:[\w'-]+ )?{_DEAL}", {BOOKED}),
        (rf"{_MANAGED}(?:book|reserve|schedule)\b", {BOOKED}),
        (rf"{_I}(?:put you down|got you down|set you up|signed you up|secured (?:a|the|your))\b", {BOOKED}),
        (rf"{_I}(?:put|got) you in (?:for|at|on)\b", {BOOKED}),
        (rf"{_I}confirmed (?:(?:it|that)(?= for | at | on |$)|{_VISIT}\b)", _STANDS),
        (rf"{_GOT}{_YOURS} {_ADVERB}(?:{_BOOK}|confirmed|down for|set for)", _STANDS),
        (rf"{_YOU_ARE}{_ADVERB}(?:{_BOOK}|confirmed|down for|set for)\b(?! up| solid| out)", _STANDS),
        (rf"\b(?!everything(?:'s| is) {_BOOK}){_THING}{_IS}(?:{_BOOK}|confirmed|on the books)\b(?! up| solid| out)",
         _STANDS),
        (rf"{_IS}{_BOOK} for you\b", _STANDS),
        (rf"^(?:all |done and )?(?:{_BOOK}|confirmed)(?: for | on | at | in\b|$)", {BOOKED, MOVED}),
        (rf"^(?:the |your )?{_DEAL} (?:made|confirmed)(?: for | on |$)", {BOOKED, MOVED}),
        (r"\b(?:your|the) (?:booking|reservation) (?:is (?:complete|in|made|done)\b|went through)", _STANDS),
        (rf"\b(?:your|the) {_DEAL} (?:is|has been|was) (?:made|all set)\b", _STANDS),
        (rf"{_I}(?:got|put) (?:your|the) {_DEAL} (?:in|through)\b", {BOOKED}),
        (rf"\bconsider it {_BOOK}", {BOOKED}),
        (rf"{_I}(?:completed|processed|finished) (?:your|the) (?:booking|reservation)", {BOOKED}),
        (rf"{_I}(?:completed|processed|finished) (?:your|the) cancel", {CANCELLED}),
        (r"\b(?:your|the) cancell?ation (?:is (?:complete|done)\b|went through)", {CANCELLED}),
        (rf"{_I}(?:deleted|removed) {_VISIT}\b", {CANCELLED}),
        (rf"\b{_VISIT}{_IS}(?:deleted|removed)\b", {CANCELLED}),
        (rf"{_I}{_CANCEL}\b", {CANCELLED}),
        (rf"{_MANAGED}cancel\b", {CANCELLED}),
        (rf"{_GOT}{_YOURS} {_ADVERB}{_CANCEL}\b", {CANCELLED}),
        (rf"\b{_THING}{_IS}{_CANCEL}\b", {CANCELLED}),
        (rf"^(?:all )?{_CANCEL}(?: for | on |$)", {CANCELLED}),
        (rf"{_I}(?:taken|removed) (?:you|it|that|your [\w'-]+) off the books", {CANCELLED}),
        (rf"{_I}{_MOVE} {_OBJECT}\b", {MOVED}),
        (rf"{_YOU_ARE}{_ADVERB}(?:moved|rescheduled)\b", {MOVED}),
        (rf"{_MANAGED}(?:move|reschedule)\b", {MOVED}),
        (rf"\b{_THING} is now (?:at|for|on)\b", {MOVED, BOOKED}),
        (rf"{_GOT}{_YOURS} {_ADVERB}(?:moved|rescheduled)\b", {MOVED}),
        (rf"\b{_THING}{_IS}(?:moved|rescheduled|changed|switched) to\b", {MOVED}),
        (rf"{_I}(?:taken|took|noted|left|recorded|written|wrote) (?:down )?(?:a|your|the|that) message", {MESSAGE}),
        (rf"{_I}(?:passed|sent|forwarded|given) (?:it|that|this|(?:your|the) message) (?:on|along|to)\b", _PASSED),
        (rf"\b(?:your|the) message (?:has been|was|is) {_DELIVERED}", _PASSED),
        (rf"{_I}(?:sent|texted|e-?mailed)\b", {SENT}),
        (r"\b(?:confirmation|text|e-?mail|message|link|receipt)(?: [\w'-]+){0,4} (?:has been|was) sent\b", {SENT}),
        (r"\byou(?:'ve| have) been sent\b", {SENT}),
        (r"\b(?:confirmation|text|e-?mail|link)(?: [\w'-]+){0,3} is on (?:its|the) way\b", {SENT}),
    )
)  # fmt: skip
# "It isn't booked yet", "I couldn't get that cancelled"; not "you won't be charged for cancelling".
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
# Before the claim in its clause: then it is an offer, a plan, a wish or a denial.
_NOT_A_CLAIM: Final = re.compile(
    r"\b(?:would|shall|should|could|might|may|must|can(?! (?:see|confirm|tell))|cannot|not|never|no|nothing|without|"
    r"want|need|like|let|let's|going to|gonna|about to|try|trying|make sure|making sure|to (?:have|get|see|be)|"
    r"do you|did you|have you|wish|pretend|say|said|says|think|thought|looks like|seems?|unfortunately|sorry|afraid|"
    r"last (?:time|week|month|year)|according to|records|shows?|none|understand|hear|heard)\b|"
    r"n't\b|'ll\b|\bwill\b|'d\b|\b(?:after|while|hopefully)\s*$"
)
# Anywhere before the claim in its sentence; after it, in its clause.
_CONDITION_BEFORE: Final = re.compile(r"\b(?:if|unless|once|as soon as|until|whether|when|whenever|in case|before)\b")
_CONDITION_AFTER: Final = re.compile(
    r"\b(?:if|unless|once|as soon as|when|by (?:someone|somebody|another))\b|^ by (?!phone|text|e-?mail|now)"
)
# The sentence before such a question sums up what is to be done.
_OFFER: Final = r"\b(?:(?:shall|should|can|may|could) i|(?:would you like|do you want|want) me to)(?: \w+){0,3}? "
_OFFERED: Final = {
    BOOKED: re.compile(rf"{_OFFER}(?:book|reserve|schedule|confirm|put|go ahead\W*$)"),
    CANCELLED: re.compile(rf"{_OFFER}(?:cancel|go ahead\W*$)"),
    MOVED: re.compile(rf"{_OFFER}(?:move|reschedule|change|switch|update|book|go ahead\W*$)"),
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
_TAGS: Final = frozenset({"", "right", "correct", "yes", "is that right", "is that correct", "isn't it", "aren't you"})
_ENGLISH: Final = re.compile(r"\b(?:the|you|your|i'm|i've|it's|that|this|and|for|sorry|thanks?|what|how|we)\b")
_SENTENCES: Final = re.compile(r"(?<=[.!?;])\s+|\n+")
_CLAUSES: Final = re.compile(r"[,:;()\u2013\u2014]|\s-\s|\b(?:but|and|so|because|then)\b")


@dataclass(frozen=True)
class Verdict:
    """`unproved`: deeds claimed that no function did; `untold`: deeds done that these words do not tell either;
    `withdrawn`: deeds these words deny. `correction`: instructions for the turn to be forced, None when all is well.
    """

    unproved: frozenset[str] = frozenset()
    untold: frozenset[str] = frozenset()
    withdrawn: frozenset[str] = frozenset()
    correction: str | None = None


def deeds_of(function: str, ok: bool, output: Mapping[str, Any]) -> frozenset[str]:
    """What an outcome proves: its `done`, and "listed" when a look-up showed appointments."""
    if not ok:
        return frozenset()
    done = output.get("done")
    shown = {LISTED} if output.get("appointments") else set()
    return frozenset({str(done)} if done else set()) | shown


def claims(said: str) -> tuple[frozenset[str], ...]:
    """Each claim in the agent's words, as the deeds any of which would make it true."""
    found: list[frozenset[str]] = []
    sentences = _SENTENCES.split(_plain(said))
    for sentence, following in zip(sentences, [*sentences[1:], ""], strict=True):
        condition = _CONDITION_BEFORE.search(sentence)  # once a sentence: a model that counts has a thousand clauses
        offset = 0
        for clause in _clauses(sentence):
            start = sentence.index(clause, offset)
            offset = start + len(clause)
            if (condition is not None and condition.end() <= start) or _asks(sentence, offset):
                continue
            here = _claims_in(clause.strip(), sentence)
            found += [claim for claim in here if not _is_offered(claim, following)]
    return tuple(found)


def _is_offered(claim: frozenset[str], question: str) -> bool:
    """True when the question behind it asks whether to do that, or whether that is right."""
    tag = question.endswith("?") and question.strip(" ,?") in _TAGS
    return tag or any(_OFFERED[deed].search(question) for deed in claim & _OFFERED.keys())


def check(said: str, deeds: Collection[str], untold: Collection[str] = ()) -> Verdict:
    """The verdict on an agent's finished turn.

    `deeds`: all that was done in this call, by `deeds_of`. `untold`: those of them that were done before this turn and
    that no turn has told since; give () while the agent may still be about to.
    """
    claimed = claims(said)
    proved = set(deeds) | ({MOVED} if {BOOKED, CANCELLED} <= set(deeds) else set())  # one way to move
    unproved = frozenset(_first(claim) for claim in claimed if not claim & proved)
    silent = frozenset(deed for deed in untold if deed in TOLD_AS and not tells(said, deed))
    return Verdict(unproved, silent, withdrawn(said), _correction(unproved, silent))


def tells(said: str, deed: str) -> bool:
    """True if these words may tell the caller that a deed was done; in doubt they do."""
    plain = _plain(said)
    if deed not in _TELLS or (plain and not _ENGLISH.search(plain)):
        return True
    if any(deed in claim for claim in claims(said)):
        return True
    told = [each for each in _SENTENCES.split(plain) if not each.endswith("?") and not _TELLS_NOT.search(each)]
    return any(re.search(_TELLS[deed], each) for each in told)


def withdrawn(said: str) -> frozenset[str]:
    """Deeds that the words deny: "it is not booked yet", "I couldn't cancel it"."""
    sentences = [each for each in _SENTENCES.split(_plain(said)) if not each.endswith("?")]
    clauses = [clause for sentence in sentences for clause in _clauses(sentence)]
    return frozenset(deed for pattern, deed in _DENIALS for each in clauses if pattern.search(each))


def _plain(said: str) -> str:
    text = " ".join(said.replace("\u2019", "'").casefold().split())
    text = re.sub(r"\b(dr|mr|mrs|ms)\. ", r"\1 ", text)  # its point ends no sentence
    return re.sub(r"\b(?:gone|went) ahead and ", "", text)  # its "and" parts no clauses


def _clauses(sentence: str) -> list[str]:
    return [each for each in _CLAUSES.split(sentence) if each.strip(" .!?")]


def _asks(sentence: str, end: int) -> bool:
    """True when the clause that ends at `end` is the asking one: only the question mark is left, or "is that right"."""
    return sentence.endswith("?") and sentence[end:].strip(" ,?") in _TAGS


def _claims_in(clause: str, sentence: str) -> list[frozenset[str]]:
    clause = clause.strip(" .!?\"'")
    for pattern, deeds in _CLAIMS:
        match = pattern.search(clause)
        if match is None:
            continue
        head, tail = clause[: match.start()], clause[match.end() :]
        passive = LISTED in deeds
        if _NOT_A_CLAIM.search(head) or _CONDITION_BEFORE.search(head) or _CONDITION_AFTER.search(tail):
            continue
        already = "already" in match.group() or tail.startswith(" already")
        if passive and (already or _TAKEN.search(sentence)):
            continue  # "that one is already booked": by somebody else
        return [deeds]
    return []


def _first(claim: frozenset[str]) -> str:
    """The deed a claim is named by: the one that takes most to be true."""
    return next(deed for deed in (BOOKED, CANCELLED, MOVED, SENT, MESSAGE) if deed in claim)


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
