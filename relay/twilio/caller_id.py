"""Reads from a webhook who calls, and how far the caller's number can be trusted. Pure.

The number comes from the caller's network. A number identifies one caller only under two conditions: the numbering plan
of its country allows this number, and the number is not shared by many callers. Our own number, a human's number, and
the number of a line that forwards to us do not identify a caller.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from urllib.parse import unquote

import phonenumbers

# Twilio's values for a hidden number: the words ANONYMOUS, RESTRICTED, UNAVAILABLE, UNKNOWN and BLOCKED in the digits
# of a phone's keys (Twilio's changelog of 2022-11-16), with or without the country code 1. Without this rule
# +17378742833 would be taken for a number in Austin, Texas.
_WITHHELD = re.compile(r"\+?1?(?:266696687|7378742833|86282452253|8656696|2562533)")
_E164 = re.compile(r"\+[1-9][0-9]{6,14}")
_SCHEME = re.compile(r"(?:sips?|tel|client|whatsapp|rcs):", re.IGNORECASE)
# The countries whose networks sign numbers (STIR/SHAKEN). If a call from such a country has no signature, its number is
# not trusted.
_SIGNING_COUNTRIES = frozenset({"US", "CA"})


class Attestation(enum.StrEnum):
    """What the caller's network says about the number, read from Twilio's field StirVerstat."""

    PASSED = "passed"
    FAILED = "failed"
    ABSENT = "absent"


@dataclass(frozen=True, slots=True)
class CallerId:
    """Who calls. Each number is E.164, or "" if there is none."""

    presented: str  # The number that calls (in a call that we made: that we called). The rows in Postgres have it.
    number: str  # `presented` if it identifies one caller, otherwise "".
    attestation: Attestation
    # False if the number's signature is wrong, or is missing although the number is of a signing country. Then the
    # number alone is not enough to tell the caller about bookings, or to change them. If `number` is "", True says
    # nothing.
    is_attested: bool
    # True if one of our own numbers calls: a human's phone forwards our call back to the agent. Such a call is rejected
    # with a busy line (server/admission.py).
    is_own: bool = False
    # True if this number does not tell who calls: a line that forwards to us, a human's number, or the number that we
    # called (in a call that we made).
    is_shared: bool = False

    @property
    def is_hidden(self) -> bool:
        """True if the network gave no number, or a number that cannot belong to anybody."""
        return not self.number and not self.is_shared and not self.is_own


def caller_id(
    fields: Mapping[str, str], *, country: str, own: Collection[str] = (), humans: Collection[str] = ()
) -> CallerId:
    """Read the fields of a webhook. A number without a country code is taken for a number of `country`.

    `own` are our numbers. `humans` are the numbers of the people with whom callers are connected. `is_own` is false for
    a human's number, even if the number is also in `own`. So the agent takes such a call: the human's phone forwards
    its own callers to us, or the owner tries the agent.
    """
    by_us = fields.get("Direction", "inbound").startswith("outbound")
    attestation = attested(fields.get("StirVerstat", ""))
    presented = as_presented(fields.get("To" if by_us else "From", ""), country)
    forwards = {as_presented(fields.get(name, ""), country) for name in ("ForwardedFrom", "CalledVia")} - {""}
    is_own = not by_us and presented in own and presented not in humans
    is_shared = bool(presented) and (by_us or presented in forwards or presented in humans)
    number = presented if not (is_own or is_shared) and is_a_number(presented) else ""
    unsigned = attestation is Attestation.ABSENT and region(number) in _SIGNING_COUNTRIES
    is_attested = attestation is not Attestation.FAILED and not unsigned
    return CallerId(presented, number, attestation, is_attested, is_own, is_shared)


def attested(verstat: str) -> Attestation:
    """Read a value of StirVerstat.

    Values are TN-Validation-Passed-A, TN-Validation-Failed-C-Diverted, No-TN-Validation, "", and similar ones.
    """
    told = verstat.strip().casefold()
    if told.startswith("tn-validation-passed"):
        return Attestation.PASSED
    return Attestation.FAILED if told.startswith("tn-validation-failed") else Attestation.ABSENT


def as_presented(text: str, country: str) -> str:
    """The number in E.164. `text` is like "+1…", "sip:+1…@host", "whatsapp:+1…", "client:…", or a national number.

    Returns "" if `text` contains no number, or if the number is one of Twilio's values for a hidden number.
    """
    text = text.rpartition("<")[2].partition(">")[0]  # "Ann" <sip:+1…@host>
    user = _SCHEME.sub("", text.strip(), count=1).partition("@")[0].partition(";")[0]
    digits = re.sub(r"[\s().\-/]", "", unquote(user))
    digits = re.sub(r"\A00(?=[1-9])", "+", digits)
    if not re.fullmatch(r"\+?[0-9]{5,15}", digits) or _WITHHELD.fullmatch(digits):
        return ""
    if _E164.fullmatch(digits):
        return digits
    for written in (digits, f"+{digits}"):
        found = _parsed(written, country)
        if found is not None and phonenumbers.is_valid_number(found):
            return phonenumbers.format_number(found, phonenumbers.PhoneNumberFormat.E164)
    return ""


def is_a_number(e164: str) -> bool:
    """True if the numbering plan of its country allows this number. +10000000000, for example, cannot exist."""
    found = _parsed(e164, None) if e164 else None
    return found is not None and phonenumbers.is_valid_number(found)


def region(e164: str) -> str:
    """The two letters of the number's country. "" if it is not known."""
    found = _parsed(e164, None) if e164 else None
    return (phonenumbers.region_code_for_number(found) or "") if found is not None else ""


def _parsed(text: str, country: str | None) -> phonenumbers.PhoneNumber | None:
    try:
        return phonenumbers.parse(text, country)
    except phonenumbers.NumberParseException:
        return None
