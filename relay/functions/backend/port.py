"""Defines the interface of the business's backend: hours, callers, bookings and messages.

The backend is a server over HTTP (client.py), or it is embedded in this process (relay/business/).
"""

from __future__ import annotations

import datetime as dt
from typing import Protocol

from relay.functions.backend.contract import Appointment, Caller, Hours


class BackendPort(Protocol):
    """What functions can ask the backend.

    Each request raises BackendFault if there is no usable answer, and Refused or Taken if the business refuses.
    """

    def for_call(self, call_sid: str) -> BackendPort:
        """The port for one call. The embedded backend needs the call's SID: it writes the SID beside each change.

        A backend that does not need the SID returns itself.
        """

    async def hours(self, day: dt.date) -> Hours:
        """When the business is open on this day."""

    async def availability(
        self, service: str, day: dt.date, *, until: dt.date | None = None, who: str = ""
    ) -> list[dt.datetime]:
        """Free times on `day`, or from `day` to `until`. If `who` is given, only times with this person."""

    async def appointments(self, phone: str) -> list[Appointment]:
        """The coming appointments of a number."""

    async def caller(self, phone: str) -> Caller | None:
        """What the business knows about a number. None if it knows nothing."""

    async def book(
        self, key: str, *, name: str, phone: str, service: str, start: dt.datetime, notes: str, who: str = ""
    ) -> Appointment:
        """Book an appointment. Raises Taken if the time is not free."""

    async def move(self, key: str, appointment: str, start: dt.datetime) -> None:
        """Move an appointment. Raises Taken if the time is not free.

        Raises Refused with status 404 if there is no such appointment.
        """

    async def cancel(self, key: str, appointment: str) -> None:
        """Cancel an appointment. Raises Refused with status 404 if there is no such appointment."""

    async def message(self, key: str, *, name: str, phone: str, message: str) -> None:
        """Give the business a message. Raises Refused with status 404 or 405 if this backend takes no messages."""
