"""Asks each part of the relay whether it works. For a part that does not work, the page says what to do."""

from __future__ import annotations

import shutil
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import trio

LOW_DISK_BYTES = 500_000_000
LIMIT_S = 3.0


@dataclass(frozen=True)
class Health:
    """The health of one part. `well` is the text for a part that works.

    `trouble` says what is wrong and what to do. It is empty if the part works.
    """

    part: str
    well: str
    trouble: str = ""


Check = Callable[[], Awaitable[Health]]


async def all_of(checks: Sequence[Check]) -> list[Health]:
    """Ask all parts at the same time. Each part has LIMIT_S to answer, so a part that hangs does not stop the page."""
    found: list[Health | None] = [None] * len(checks)

    async def ask(index: int, check: Check) -> None:
        with trio.move_on_after(LIMIT_S):
            found[index] = await check()

    async with trio.open_nursery() as nursery:
        for index, check in enumerate(checks):
            nursery.start_soon(ask, index, check)
    return [
        each
        or Health(
            "A part",
            "",
            f"did not answer within {LIMIT_S:g} s: the part that the list Health does not name. Look at the log.",
        )
        for each in found
    ]


async def disk(folder: Path) -> Health:
    """Whether the disk has room for recordings and for rows that wait for Postgres."""
    usage = await trio.to_thread.run_sync(shutil.disk_usage, _existing(folder))
    free = f"{usage.free / 1e9:.1f} GB free"
    if usage.free < LOW_DISK_BYTES:
        return Health("Disk", free, f"Only {free}: delete what is not needed, or give {folder} a larger disk.")
    return Health("Disk", free)


def _existing(folder: Path) -> Path:
    return next(each for each in (folder, *folder.absolute().parents) if each.exists())
