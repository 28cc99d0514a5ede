"""Writes a scenario's own business file, and changes it during the call.

In the texts of the scenario's `[business]`, `{today}` and `{tomorrow}` become dates of the rehearsal's clock.
`{another_time}` becomes one hour of the day, but not the present one.
"""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Final

from relay.business.bookings import Bookings, Deed, Wish
from relay.business.diary import Appointment, Store
from relay.business.file import load
from relay.business.opening import minute_of
from relay.standin.scenario.scenario_file import BusinessTable, ScenarioError

FILE_NAME: Final = "business.toml"
BROKEN: Final = 'name = "broken'
OTHERS_NUMBER: Final = "+12125550111"


def settings_of(business: BusinessTable, folder: Path, zone: dt.tzinfo, utc_now: dt.datetime) -> dict[str, str]:
    """Write the business file, and return the settings that lead the relay to it.

    Raises ScenarioError if this file or the changed file has a mistake.
    """
    path = folder / FILE_NAME
    _write(path, _filled(business.file, zone, utc_now))
    try:
        load(path)
        if business.changed:
            _write(path.with_name("changed.toml"), _filled(business.changed, zone, utc_now))
            load(path.with_name("changed.toml"))
    except ValueError as error:
        raise ScenarioError(f"[business]: {error}") from None
    return {"BUSINESS_API_BASE": "embedded", "BUSINESS_FILE": str(path)}


def change(business: BusinessTable, path: Path, zone: dt.tzinfo, utc_now: dt.datetime) -> None:
    """Write the changed file, as if the owner had saved it during the call."""
    _write(path, _filled(business.changed, zone, utc_now))


def break_(path: Path) -> None:
    """Write a file with a mistake, as if the owner had saved it."""
    _write(path, BROKEN)


def take_slot(business: BusinessTable, path: Path, utc_now: dt.datetime, store: Store) -> Appointment:
    """Book the time that the scenario's caller wants (`taken`) for another caller."""
    own = load(path)
    start = dt.datetime.fromisoformat(_filled(business.taken, own.tz, utc_now)).replace(tzinfo=own.tz)
    wish = Wish(own.services[0].name, minute_of(start), "Another Caller", OTHERS_NUMBER)
    return Bookings(own).book(store, minute_of(utc_now), wish, Deed("", "CAanother"))


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")


def _filled(text: str, zone: dt.tzinfo, utc_now: dt.datetime) -> str:
    here = utc_now.astimezone(zone)
    away = (here.hour + 11) % 23  # At most 22, so that one hour later is on the same day.
    return (
        text.replace("{today}", here.date().isoformat())
        .replace("{tomorrow}", (here.date() + dt.timedelta(days=1)).isoformat())
        .replace("{another_time}", f"{away:02}:00-{away + 1:02}:00")
    )
