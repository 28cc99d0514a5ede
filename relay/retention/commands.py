"""Does the work of `relay erase`: says what will be deleted, asks, deletes, and says what could not be deleted yet."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import tzinfo

import structlog

from relay.ledger.port import LedgerUnavailable
from relay.recordings.stores import StoreFailed
from relay.retention.erasure import Erasure, Places, Traces, Whom

log = structlog.get_logger()

NAMED = 10  # At most this many calls are named.
# For the tables whose rows stay: what is deleted in a row.
_CHANGED = {
    "calls": "the number",
    "function_calls": "what was asked for, and the result",
    "call_outcomes": "the summary",
    "recordings": "the waveform",
    "reviews": "your note",
    "notes_of_others": "the notes",
}
STAYS = "It stays that there were calls, when, how they ended, which functions ran, and what they cost."


class NotErased(Exception):
    """Nothing, or not everything, was deleted. The message says what to do. `code` is the command's exit code."""

    def __init__(self, words: str, code: int = 1) -> None:
        super().__init__(words)
        self.code = code


@dataclass(frozen=True, slots=True)
class Terminal:
    """How the command prints and asks. `ask` is None if nobody can answer."""

    say: Callable[[str], None]
    ask: Callable[[str], str] | None
    tz: tzinfo


def erase(places: Places, whom: Whom, read: Callable[[str], str], terminal: Terminal, *, yes: bool) -> None:
    """Erase a caller or a call. Raises NotErased.

    `read` converts what was typed (a number or a call SID) to the form that `whom` has.
    """
    erasure = Erasure(places, whom)
    shown = whom.number or whom.call_sid or ""
    try:
        traces = erasure.look()
    except (LedgerUnavailable, StoreFailed, OSError) as error:
        raise NotErased(f"{error}. Nothing was deleted") from None
    if traces.is_nothing:
        terminal.say(f"Nothing is known of {shown}.")
        return
    if not traces.can_be_deleted:
        raise NotErased("nothing is erased yet. " + " ".join(unfinished(traces, traces)))
    for line in plan(traces, shown, terminal.tz):
        terminal.say(line)
    if not yes:
        _ask(shown, read, terminal)
    try:
        done = erasure.erase()
        left = erasure.look()
    except (LedgerUnavailable, StoreFailed, OSError) as error:
        raise NotErased(f"{error}. Not everything was deleted. Run the command again") from None
    rows = sum(done.rows.values()) + done.refused
    may_come = unfinished(done, left)
    log.info("caller.erased", calls=len(done.calls), recordings=done.recordings, rows=rows, complete=not may_come)
    terminal.say(
        f"Erased: {_count(len(done.calls), 'call')}, {_count(done.recordings, 'recording')}, {_count(rows, 'row')}."
    )
    if may_come:
        raise NotErased("not everything is erased. " + " ".join(may_come))


def _ask(shown: str, read: Callable[[str], str], terminal: Terminal) -> None:
    what = "number" if shown.startswith("+") else "call"
    if terminal.ask is None:
        raise NotErased("nothing was deleted, because nobody can be asked here. Add --yes to delete", 2)
    try:
        typed = terminal.ask(f"Type the {what} again to delete: ")
    except EOFError:
        typed = ""
    if read(typed) != shown:
        raise NotErased(f"nothing was deleted: this is not the same {what}")


def plan(traces: Traces, shown: str, tz: tzinfo) -> list[str]:
    """What will be deleted, as lines for the terminal."""
    lines = [f"{shown}: {_count(len(traces.calls), 'call')}{_span(traces, tz)}. This will be deleted:"]
    lines.append(f"  {'recordings (sound)':<20}{traces.recordings:>6}")
    for table, number in sorted(traces.rows.items()):
        if number:
            name = "appointments" if table == "notes_of_others" else table
            only = f": only {_CHANGED[table]}" if table in _CHANGED else ""
            lines.append(f"  {name:<20}{number:>6} row{'' if number == 1 else 's'}{only}")
    if traces.refused:
        lines.append(f"  {'rows that Postgres refused':<26} {traces.refused}")
    if traces.coming:
        lines.append("These appointments are still to come. They are deleted too, and their times become free:")
        lines += [f"  {starts_at.astimezone(tz):%a %d %b %Y %H:%M}  {service}" for service, starts_at in traces.coming]
    if traces.of_others:
        lines.append(
            f"Calls of others name this number. Only the rows that name it are deleted: {_named(traces.of_others)}"
        )
        lines.append("If one of them is a call of this caller, run also: relay erase --call CALL")
    if traces.sounds:
        lines.append("Twilio has the sound of these spoken messages. Delete it there, in Twilio's console:")
        lines += [f"  {url}" for url in traces.sounds]
    if traces.running:
        lines.append(f"Nothing is deleted of calls that run, or have just ended: {_named(traces.running)}")
    return [*lines, STAYS]


def unfinished(done: Traces, left: Traces) -> list[str]:
    """Why rows or recordings may still come, or cannot be reached. Each reason is a text that also says what to do."""
    told = []
    if done.running or left.running:
        told.append("A call of this caller is running, or has just ended. Run the command again after it.")
    if done.waiting or left.waiting:
        told.append(
            "Rows of this caller wait in DATA_DIR/ledger-spill, because Postgres was away. A relay that runs writes "
            "them. Run the command again in a minute."
        )
    if done.uploading:
        told.append("A recording was perhaps just being uploaded. Run the command again in two minutes.")
    if done.elsewhere:
        told.append(
            f"Recordings of {_named((*{*done.elsewhere.values()},))} are not on this disk. Run the command on the "
            "machine that recorded them. Without it they count as gone after RETENTION_DAYS."
        )
    if done.endless:
        told.append(
            f"{_named((*done.endless,))} has no end in Postgres: rows may wait on the disk of machine "
            f"{', '.join(sorted({*done.endless.values()}))}. Run the command again when that machine has run."
        )
    if not told and not left.is_nothing:
        told.append("Something of this caller came meanwhile. Run the command again.")
    return told


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _named(sids: tuple[str, ...]) -> str:
    more = f" and {len(sids) - NAMED} more" if len(sids) > NAMED else ""
    return ", ".join(sids[:NAMED]) + more


def _span(traces: Traces, tz: tzinfo) -> str:
    if traces.first_at is None or traces.last_at is None:
        return ""
    first, last = (f"{at.astimezone(tz):%a %d %b %Y %H:%M}" for at in (traces.first_at, traces.last_at))
    return f", {first}" if first == last else f", from {first} to {last}"
