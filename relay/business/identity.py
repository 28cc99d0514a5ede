"""Decides the name, zone and country of the business (pure).

If both the environment and the business file set one of them, the environment's value is used.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from relay.business.rules import Business
from relay.settings import Settings


def settle(settings: Settings, business: Business) -> tuple[Settings, Business, list[str]]:
    """Return settings and business with the same name, zone and country, and a sentence for each difference."""
    said = {
        "business_name": business.name,
        "business_tz": business.tz.key,
        "business_country": business.country or settings.business_country,
    }
    taken: dict[str, Any] = {name: value for name, value in said.items() if name not in settings.given}
    settled = replace(settings, **taken)
    conflicts = [
        f"{name.upper()} is {getattr(settled, name)!r}, the file says {value!r}: the environment wins"
        for name, value in said.items()
        if getattr(settled, name) != value
    ]
    business = replace(business, name=settled.business_name, tz=settled.tz, country=settled.business_country)
    return settled, business, conflicts
