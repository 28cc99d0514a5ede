"""Makes an app with the console alone, on a real Postgres. A test sets what else it shows: settings, calls, health."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from quart_trio import QuartTrio

from relay.call.vocabulary import Order, OrderAnswer
from relay.console.console import Console, Diary, File, Owner, Recordings
from relay.console.health import Health, disk
from relay.console.live import LiveCall, LiveCalls
from relay.console.reads import Reads
from relay.settings import Settings
from tests.helpers.owner_data import NOW

LOCAL = Settings(business_name="Harbor Table", business_tz="America/New_York")


class Calls:
    """Running calls that a test sets. Orders are kept for the test."""

    machine = "local"

    def __init__(self, *calls: LiveCall) -> None:
        self.calls = list(calls)
        self.ordered: list[tuple[str, Order]] = []

    def seen(self) -> list[LiveCall]:
        return [*self.calls]

    async def order(self, call_sid: str, order: Order) -> OrderAnswer | None:
        self.ordered.append((call_sid, order))
        return OrderAnswer.DONE if any(call.call_sid == call_sid for call in self.calls) else None


async def _well() -> Health:
    return Health("Greeting", "ready")


async def _away() -> Health:
    return Health("Database", "", "Postgres does not answer: look whether it runs.")


async def _disk() -> Health:
    return await disk(Path("data"))


def console_app(
    url: str,
    settings: Settings = LOCAL,
    *,
    live: LiveCalls | None = None,
    diary: Diary | None = None,
    recordings: Recordings | None = None,
    trouble: bool = False,
    files: Sequence[File] = (),
    now: dt.datetime = NOW,
    reads: Reads | None = None,
    send_news: Callable[[], None] | None = None,
) -> QuartTrio:
    """An app with the console in it."""
    app = QuartTrio("console")
    checks = (_well, _disk, _away) if trouble else (_well, _disk)
    shown = files or (File("prompts/system.md", "You are {AGENT_NAME}.", "f264db1e862c"),)
    owner = Owner(settings, lambda: now, checks, lambda: shown, live or Calls(), diary, recordings, send_news)
    Console(owner, reads or Reads(url)).add_to(app)
    return app


def public(settings: Settings = LOCAL, **changes: object) -> Settings:
    """The settings of a deployed relay."""
    return replace(settings, public_url="https://relay.example.com", **changes)  # type: ignore[arg-type]
