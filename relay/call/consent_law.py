"""Decides which callers must hear the notice that the call is written down or recorded.

This is no legal advice. With `RECORD_NOTICE=always`, the default, every caller hears the notice. With `by_state`, a
caller hears the notice in these cases: all parties must agree in the caller's state, in the business's state, or in the
state of the caller's area code; one of the first two states is not known; or the call comes from abroad.
"""

from __future__ import annotations

# The states in which all parties must agree to the recording of a phone call, each with its law. The first nine states
# are the usual list. In the other four the law is not clear. They are included to be safe. Ask your lawyer before you
# change this list.
TWO_PARTY_STATES: dict[str, str] = {
    "CA": "Cal. Penal Code § 632",
    "FL": "Fla. Stat. § 934.03",
    "IL": "720 ILCS 5/14",
    "MA": "Mass. Gen. Laws ch. 272 § 99",
    "MD": "Md. Code, Cts. & Jud. Proc. § 10-402",
    "MT": "Mont. Code § 45-8-213",
    "NH": "N.H. Rev. Stat. § 570-A:2",
    "PA": "18 Pa. Cons. Stat. § 5703",
    "WA": "Wash. Rev. Code § 9.73.030",
    "CT": "Conn. Gen. Stat. § 52-570d (civil)",
    "DE": "11 Del. Code § 1335",
    "NV": "Nev. Rev. Stat. § 200.620 (as read by its supreme court)",
    "OR": "Or. Rev. Stat. § 165.540 (in person; telephone one-party, listed for caution)",
}

# The area codes of these states (North American Numbering Plan, 2026). A phone may be used in another state than its
# area code says. So the area code and the state are both checked.
_AREA_CODES: dict[str, str] = {
    "CA": (
        "209 213 279 310 323 341 350 357 369 408 415 424 442 510 530 559 562 619 "
        "626 628 650 657 661 669 707 714 738 747 760 805 818 820 831 837 840 858 "
        "909 916 925 949 951 "
    ),
    "CT": "203 475 860 959",
    "DE": "302",
    "FL": ("239 305 321 324 352 386 407 448 561 645 656 689 727 728 754 772 786 813 850 863 904 941 954 "),
    "IL": "217 224 309 312 331 447 464 618 630 708 730 773 779 815 847 861 872",
    "MA": "339 351 413 508 617 774 781 857 978",
    "MD": "227 240 301 410 443 667",
    "MT": "406",
    "NH": "603",
    "NV": "702 725 775",
    "OR": "458 503 541 971",
    "PA": "215 223 267 272 412 445 484 570 582 610 717 724 814 835 878",
    "WA": "206 253 360 425 509 564",
}
_TWO_PARTY_CODES = frozenset(code for codes in _AREA_CODES.values() for code in codes.split())


def must_announce(rule: str, caller: str, caller_state: str, caller_country: str, business_state: str) -> bool:
    """True if this caller must hear the notice. `rule` is RECORD_NOTICE. States are two letters, "" if not known."""
    if rule == "always":
        return True
    states = {caller_state.upper(), business_state.upper()}
    if states & set(TWO_PARTY_STATES) or "" in states or caller_country.upper() not in ("US", ""):
        return True
    return not caller.startswith("+1") or caller[2:5] in _TWO_PARTY_CODES
