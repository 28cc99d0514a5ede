"""A scenario's own business: the file that the relay on the stage reads, and what happens to it during the call.

In its texts `{today}` and `{tomorrow}` are days of the stage's clock, and `{another_time}` is an hour other than now.
"""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Final

from relay.business.bookings import Deed, Reception, Wish
from relay.business.diary import Appointment, Store
from relay.business.file import load
from relay.business.opening import minute_of
from relay.standin.scenario.scenario_file import BusinessTable, ScenarioError

FILE_NAME: Final = "business.toml"
BROKEN: Final = 'name = "broken'
OTHERS_NUMBER: Final = "+12125550111"


def settings_of(business: BusinessTable, folder: Path, zone: dt.tzinfo, utc_now: dt.datetime) -> dict[str, str]:
    """Write the file. Returns the settings with which the relay finds it. Raises ScenarioError."""
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
    """Write the file that the owner saves during the call."""
    _write(path, _filled(business.changed, zone, utc_now))


def break_(path: Path) -> None:
    """Write the file with a mistake that the owner saves."""
    _write(path, BROKEN)


def take_slot(business: BusinessTable, path: Path, utc_now: dt.datetime, store: Store) -> Appointment:
    """Another caller books the time that the scenario wants."""
    own = load(path)
    start = dt.datetime.fromisoformat(_filled(business.taken, own.tz, utc_now)).replace(tzinfo=own.tz)
    wish = Wish(own.services[0].name, minute_of(start), "Another Caller", OTHERS_NUMBER)
    return Reception(own).book(store, minute_of(utc_now), wish, Deed("", "CAanother"))


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")


def _filled(text: str, zone: dt.tzinfo, utc_now: dt.datetime) -> str:
    here = utc_now.astimezone(zone)
    away = (here.hour + 11) % 23  # So that one hour later is the same day.
    return (
        text.replace("{today}", here.date().isoformat())
        .replace("{tomorrow}", (here.date() + dt.timedelta(days=1)).isoformat())
        .replace("{another_time}", f"{away:02}:00-{away + 1:02}:00")
    )
