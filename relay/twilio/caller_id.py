"""Reads from a webhook who calls, and how far the number can be trusted. Pure.

The caller's network shows a number. The number identifies one caller only under two conditions: its country has such
numbers, and it is not a number that many callers show, such as our own number or a line that forwards to us.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from urllib.parse import unquote

import phonenumbers

# ANONYMOUS, RESTRICTED, UNAVAILABLE, UNKNOWN, BLOCKED in the digits of a phone's keys. Twilio writes hidden numbers in
# this way (its changelog of 2022-11-16), with or without the country code 1. Without this rule +17378742833 would be
# taken for a number of Austin, Texas.
_WITHHELD = re.compile(r"\+?1?(?:266696687|7378742833|86282452253|8656696|2562533)")
_E164 = re.compile(r"\+[1-9][0-9]{6,14}")
_SCHEME = re.compile(r"(?:sips?|tel|client|whatsapp|rcs):", re.IGNORECASE)
# The countries whose networks sign numbers (STIR/SHAKEN). A call from there without a signature is suspicious.
_SIGNING_COUNTRIES = frozenset({"US", "CA"})


class Attestation(enum.StrEnum):
    """What the caller's network says about the number (Twilio's StirVerstat)."""

    PASSED = "passed"
    FAILED = "failed"
    ABSENT = "absent"


@dataclass(frozen=True, slots=True)
class CallerId:
    """Who calls. Numbers are E.164. "" if there is none."""

    presented: str  # The number that the network showed. The rows keep it.
    number: str  # The same number if it identifies one caller, else "".
    attestation: Attestation
    is_attested: bool  # False if this number alone is not enough to tell or change anything.
    is_own: bool = False  # True if one of our own numbers calls: a human's phone forwards back to the agent.
    is_shared: bool = (
        False  # A number that many callers show: a forwarding line, or our own number in a call that we made.
    )

    @property
    def is_hidden(self) -> bool:
        """True if no number was shown, or one that cannot belong to anybody."""
        return not self.number and not self.is_shared and not self.is_own


def caller_id(
    fields: Mapping[str, str], *, country: str, own: Collection[str] = (), humans: Collection[str] = ()
) -> CallerId:
    """Read the fields of a webhook. A number without a country code is taken for a number of `country`.

    `own`: our numbers. `humans`: the numbers of the people whom callers are connected with. If one of these calls, it
    forwards its callers to us, or the owner tries the agent. Such a call is never taken for a loop.
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
    """Read Twilio's value: TN-Validation-Passed-A, TN-Validation-Failed-C-Diverted, No-TN-Validation, or ""."""
    told = verstat.strip().casefold()
    if told.startswith("tn-validation-passed"):
        return Attestation.PASSED
    return Attestation.FAILED if told.startswith("tn-validation-failed") else Attestation.ABSENT


def as_presented(text: str, country: str) -> str:
    """A number in E.164 from "+1…", "sip:+1…@host", "whatsapp:+1…", "client:…" or a national number; else ""."""
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
    """True if the country has such numbers. Nobody can have +10000000000."""
    found = _parsed(e164, None) if e164 else None
    return found is not None and phonenumbers.is_valid_number(found)


def region(e164: str) -> str:
    """The two letters of the number's country, or ""."""
    found = _parsed(e164, None) if e164 else None
    return (phonenumbers.region_code_for_number(found) or "") if found is not None else ""


def _parsed(text: str, country: str | None) -> phonenumbers.PhoneNumber | None:
    try:
        return phonenumbers.parse(text, country)
    except phonenumbers.NumberParseException:
        return None
