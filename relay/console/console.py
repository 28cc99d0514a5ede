"""The routes of the console. Most read rows from Postgres and fill a page.

A request that shows a whole phone number, gets sound of a recording, or downloads data writes an audit row.
"""

from __future__ import annotations

import base64
import csv
import datetime as dt
import io
import json
import secrets
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import jinja2
import structlog
from quart import Blueprint, Response, g, request
from quart_trio import QuartTrio
from werkzeug.exceptions import HTTPException

from relay.console import health, story, wording
from relay.console.guard import Guard, harden
from relay.console.live import LiveCalls
from relay.console.live_pages import LIVE_ROUTES, LivePages
from relay.console.reads import Reads, Row
from relay.console.search import OUTCOME_WORDS, PAGE, Question, key_of
from relay.console.sound import Sound, asked_bytes, sound_response
from relay.console.talk import Calls, TalkPage
from relay.ledger.port import LedgerUnavailable
from relay.recordings.listening import NotHeard
from relay.settings import Settings

log = structlog.get_logger()

HERE = Path(__file__).parent
NOTE_LIMIT = 2_000
FORM_LIMIT_BYTES = 64 * 1024
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # A spreadsheet may take a text that begins like this for a formula.


class Recordings(Protocol):
    """Gives the console the recordings of calls."""

    async def has_sound(self, call_sid: str, tables: dict[str, list[Row]]) -> bool:
        """True if the call has a recording that was not deleted."""

    async def sound(self, call_sid: str, tables: dict[str, list[Row]]) -> Sound | None:
        """The recording of a call. None if the call has none. Raises NotHeard if it cannot be played."""


class Diary(Protocol):
    """What the diary page shows."""

    async def week(self, first: dt.date) -> list[Row]:
        """The appointments of seven days from `first`.

        Keys: start, minutes, service, who, name, phone, notes, call_sid.
        """


@dataclass(frozen=True)
class File:
    """One of the owner's files, as the calls use it. `trouble` says why a newer text of the file is not used."""

    name: str
    text: str
    version: str
    trouble: str = ""


@dataclass(frozen=True)
class Owner:
    """What the pages need in addition to Postgres."""

    settings: Settings
    utc_now: Callable[[], dt.datetime]
    checks: Sequence[health.Check]
    files: Callable[[], Sequence[File]]
    live: LiveCalls
    diary: Diary | None = None
    recordings: Recordings | None = None
    # Wakes the task that sends news. None if no mail address and no webhook is set.
    send_news: Callable[[], None] | None = None
    calls: Calls | None = None  # Runs the test calls of the page "Talk to it".

    @property
    def today(self) -> dt.date:
        """The date in the business's time zone."""
        return self.utc_now().astimezone(self.settings.tz).date()


class Console:
    """The pages, as a blueprint of the relay's app."""

    def __init__(self, owner: Owner, reads: Reads) -> None:
        self._owner, self._reads = owner, reads
        self.guard = Guard(owner.settings)
        self.live = LivePages(owner.live, reads, self._page, self.guard.address)
        self._pages = jinja2.Environment(
            loader=jinja2.FileSystemLoader(HERE / "templates"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        self._pages.globals.update(w=wording, clock=self._clock, business=owner.settings.business_name)
        self._pages.filters.update(
            usd=wording.usd,
            seconds=wording.seconds,
            place=wording.place,
            sentence=lambda text: text[:1].upper() + text[1:],
        )

    def add_to(self, app: QuartTrio) -> None:
        """Put the pages under /console."""
        pages = Blueprint("console", __name__, url_prefix="/console", static_folder=str(HERE / "static"))
        pages.before_request(self._before)
        pages.after_request(self._after)
        for path, name, methods in ROUTES:
            pages.add_url_rule(path, name, self._answering(getattr(self, f"_{name}")), methods=list(methods))
        for path, name, methods in LIVE_ROUTES:
            pages.add_url_rule(path, name, self._answering(getattr(self.live, name)), methods=list(methods))
        talk = TalkPage(self._owner.settings, self._owner.calls, self._page)
        for path, name, handler, method in (
            ("/talk", "talk", talk.show, "GET"),
            ("/talk/call", "talk_ring", talk.ring, "POST"),
            ("/talk/<call_sid>", "talk_ended", talk.ended, "GET"),
            ("/talk/clips/<name>", "talk_clip", talk.clip, "GET"),
        ):
            pages.add_url_rule(path, name, self._answering(handler), methods=[method])
        app.register_blueprint(pages)

    def _answering(self, handler: Callable[..., Awaitable[Response]]) -> Callable[..., Awaitable[Response]]:
        async def answer(**place: Any) -> Response:
            try:
                return await handler(**place)
            except LedgerUnavailable as error:
                return self._page("trouble.html", 503, words=f"Postgres cannot be asked: {error}")
            except NotHeard as error:
                return Response(f"{error}\n", 503, content_type="text/plain; charset=utf-8")
            except HTTPException:
                raise
            except Exception:
                log.exception("console.page_broke", page=request.path, caller_hears="no change", do="report it: a bug")
                return self._page("trouble.html", 500, words="This page has a bug. The log has the details.")

        return answer

    # This function is async, because Quart runs a function that is not async in a thread.
    async def _before(self) -> Response | None:
        g.nonce = secrets.token_urlsafe(16)
        request.max_content_length = FORM_LIMIT_BYTES
        return self.guard.refusal(request)

    async def _after(self, response: Response) -> Response:
        is_static = request.endpoint == "console.static" and response.status_code == 200
        harden(response, g.get("nonce", ""), is_static=is_static)
        return response

    def _page(self, template: str, status: int = 200, **values: Any) -> Response:
        text = self._pages.get_template(template).render(
            nonce=g.nonce, signed_in=self.guard.has_password, path=request.path, **values
        )
        return Response(text, status, content_type="text/html; charset=utf-8")

    def _clock(self, moment: dt.datetime | None) -> str:
        return wording.clock(moment, self._owner.settings.tz, self._owner.today)

    # Signing in

    async def _login(self) -> Response:
        if not self.guard.has_password:
            return Response("", 303, {"Location": "/console/"})
        if request.method == "GET":
            return self._page("login.html", words="", next=_own_path(request.args.get("next", "")))
        form = await request.form
        wanted = _own_path(form.get("next", ""))
        if words := await self.guard.sign_in(request, form.get("password", "")):
            log.warning("console.refused", words=words)
            return self._page("login.html", 403, words=words, next=wanted)
        response = Response("", 303, {"Location": wanted})
        self.guard.open_session(response)
        return response

    async def _logout(self) -> Response:
        response = Response("", 303, {"Location": "/console/login"})
        self.guard.close_session(response)
        return response

    # Pages

    async def _today(self) -> Response:
        settings = self._owner.settings
        found = await self._reads.today(self._owner.today, settings.tz)
        checks = await health.all_of(self._owner.checks)
        return self._page(
            "today.html",
            **found,
            health=checks,
            settings=settings,
            day=self._owner.today,
            month_cap=settings.max_day_usd * _days_in(self._owner.today),
        )

    async def _calls(self) -> Response:
        asked = Question.of(request.args)
        rows, count = await self._reads.calls(asked, self._owner.settings.tz)
        more = ""
        if len(rows) > PAGE:
            rows = rows[:PAGE]
            more = asked.link(after=key_of(rows[-1]["started_at"], rows[-1]["call_sid"]))
        if request.headers.get("HX-Request") and request.headers.get("HX-Target", "").endswith("more"):
            return self._page("_calls.html", asked=asked, rows=rows, more=more)
        functions = await self._reads.functions()
        return self._page(
            "calls.html",
            asked=asked,
            rows=rows,
            count=count,
            more=more,
            functions=functions,
            outcomes=OUTCOME_WORDS,
            endings=wording.ENDINGS,
        )

    async def _calls_csv(self) -> Response:
        asked = Question.of(request.args)
        rows = await self._reads.every_call(asked, self._owner.settings.tz)
        await self._reads.audit("took a list of calls along", "", self.guard.address(request))
        out = io.StringIO()
        names = list(rows[0]) if rows else ["call_sid"]
        table = csv.writer(out)
        table.writerow(names)
        for row in rows:
            table.writerow([_cell(row[name]) for name in names])
        return _download(out.getvalue(), "calls.csv", "text/csv; charset=utf-8")

    async def _call(self, call_sid: str) -> Response:
        tables = await self._reads.call(call_sid)
        if not tables["calls"] and not tables["call_outcomes"]:
            return self._page("trouble.html", 404, words="There is no such call.")
        return self._page("call.html", **await self._shown(call_sid, tables))

    async def _shown(self, call_sid: str, tables: dict[str, list[Row]]) -> dict[str, Any]:
        call, outcome = _first(tables["calls"]), _first(tables["call_outcomes"])
        rows = [row for row in tables["recordings"] if row.get("deleted_at") is None]
        recordings = self._owner.recordings
        return {
            "call_sid": call_sid,
            "call": call,
            "outcome": outcome,
            "wrong": wording.wrong(outcome),
            "lines": story.lines(tables, call.get("started_at")),
            "messages": tables["messages"],
            "review": _first(tables["reviews"]),
            "kept": False,
            "costs": _costs(outcome.get("cost")),
            "has_sound": recordings is not None and await recordings.has_sound(call_sid, tables),
            "peaks": json.dumps([_peaks(row) for row in rows if row.get("peaks")]),
            "seconds": outcome.get("seconds") or 0,
        }

    async def _number(self, call_sid: str) -> Response:
        number = await self._reads.number_of(call_sid)
        await self._reads.audit("looked at a number in full", call_sid, self.guard.address(request))
        return self._page("_number.html", number=number or "hidden number")

    async def _sound(self, call_sid: str) -> Response:
        tables = await self._reads.call(call_sid)
        sound = await self._owner.recordings.sound(call_sid, tables) if self._owner.recordings is not None else None
        if sound is None:
            return Response("there is no recording of this call\n", 404, content_type="text/plain; charset=utf-8")
        if request.method == "HEAD":
            head = Response("", 200, {"Accept-Ranges": "bytes"}, content_type="audio/wav")
            head.content_length = sound.n_bytes
            return head
        asked = asked_bytes(request.headers.get("Range", ""), sound.n_bytes)
        if asked is not None and not asked:
            return Response("", 416, {"Content-Range": f"bytes */{sound.n_bytes}"})
        await self._reads.audit_listening(call_sid, self.guard.address(request))
        return await sound_response(sound, asked, call_sid)

    async def _export(self, call_sid: str) -> Response:
        tables = await self._reads.call(call_sid)
        await self._reads.audit("took a call's data along", call_sid, self.guard.address(request))
        text = json.dumps(tables, default=_plain, ensure_ascii=False, indent=2)
        return _download(text, f"{call_sid}.json", "application/json")

    async def _review(self, call_sid: str) -> Response:
        form = await request.form
        verdict = form.get("verdict", "")
        note = form.get("note")
        await self._reads.review(
            call_sid, verdict if verdict in ("good", "bad") else None, note[:NOTE_LIMIT] if note is not None else None
        )
        if form.get("then") == "next":
            return Response("", 303, {"Location": "/console/listen"})
        tables = await self._reads.call(call_sid)
        return self._page("_review.html", call_sid=call_sid, review=_first(tables["reviews"]), kept=True)

    async def _listen(self) -> Response:
        row, listened = await self._reads.to_listen(request.args.get("skip", "")[:64])
        if row is None:
            return self._page("listen.html", listened=listened, call_sid="")
        tables = await self._reads.call(row["call_sid"])
        return self._page("listen.html", listened=listened, **await self._shown(row["call_sid"], tables))

    async def _messages(self) -> Response:
        done = request.args.get("show") == "done"
        return self._page("messages.html", rows=await self._reads.messages(done=done), done=done)

    async def _message_done(self, call_sid: str, seq: int) -> Response:
        form = await request.form
        done = form.get("done") != "no"
        found = await self._reads.set_done(call_sid, seq, done)
        words = ("Done." if done else "It waits again.") if found else "This message no longer exists."
        return self._page("_message_done.html", words=words, call_sid=call_sid, seq=seq, done=done)

    async def _outbox(self) -> Response:
        told = request.args.get("again", "")
        return self._page(
            "outbox.html",
            rows=await self._reads.dead_letters(),
            settings=self._owner.settings,
            again=told if told.isascii() and told.isdigit() else "",
        )

    async def _outbox_again(self) -> Response:
        form = await request.form
        count = await self._reads.send_again(form.get("news"), form.get("channel"))
        if self._owner.send_news is not None:
            self._owner.send_news()
        return Response("", 303, {"Location": f"/console/outbox?again={count}"})

    async def _diary(self) -> Response:
        try:
            first = dt.date.fromisoformat(request.args.get("week", ""))
        except ValueError:
            first = self._owner.today
        first -= dt.timedelta(days=first.weekday())
        rows = await self._owner.diary.week(first) if self._owner.diary is not None else None
        days = [first + dt.timedelta(days=n) for n in range(7)]
        return self._page(
            "diary.html",
            rows=rows,
            days=days,
            today=self._owner.today,
            before=first - dt.timedelta(days=7),
            after=first + dt.timedelta(days=7),
            tz=self._owner.settings.tz,
        )

    async def _words(self) -> Response:
        return self._page("words.html", files=self._owner.files())


ROUTES: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("/", "today", ("GET",)),
    ("/login", "login", ("GET", "POST")),
    ("/logout", "logout", ("POST",)),
    ("/calls", "calls", ("GET",)),
    ("/calls.csv", "calls_csv", ("GET",)),
    ("/calls/<call_sid>", "call", ("GET",)),
    ("/calls/<call_sid>/number", "number", ("POST",)),
    ("/calls/<call_sid>/sound.wav", "sound", ("GET",)),
    ("/calls/<call_sid>/export.json", "export", ("GET",)),
    ("/calls/<call_sid>/review", "review", ("POST",)),
    ("/listen", "listen", ("GET",)),
    ("/messages", "messages", ("GET",)),
    ("/messages/<call_sid>/<int:seq>", "message_done", ("POST",)),
    ("/outbox", "outbox", ("GET",)),
    ("/outbox/again", "outbox_again", ("POST",)),
    ("/diary", "diary", ("GET",)),
    ("/words", "words", ("GET",)),
)


def _first(rows: list[Row]) -> Row:
    """The first row of a list. If the list is empty, a row in which every column is None."""
    return defaultdict(lambda: None, rows[0] if rows else {})


def _own_path(path: str) -> str:
    """The path to open after signing in. If `path` is not a page of the console, the console's first page is opened."""
    parts = urlsplit(path)
    if parts.scheme or parts.netloc or not parts.path.startswith("/console/") or "\\" in path or "//" in path:
        return "/console/"
    return path


def _days_in(day: dt.date) -> int:
    first = day.replace(day=1)
    return ((first + dt.timedelta(days=32)).replace(day=1) - first).days


def _costs(cost: Any) -> list[tuple[str, float]]:
    usd = (cost or {}).get("usd") if isinstance(cost, dict) else None
    if not isinstance(usd, dict):
        return []
    return sorted(((str(name), float(value)) for name, value in usd.items()), key=lambda each: -each[1])


def _peaks(row: Row) -> dict[str, Any]:
    return {
        "from_ms": row["started_ms"] or 0,
        "step_ms": row["peaks_step_ms"],
        "pairs": base64.b64encode(row["peaks"]).decode(),
    }


def _cell(value: Any) -> str:
    """The text of a CSV cell. A text that a spreadsheet may take for a formula gets a ' at its beginning."""
    text = "" if value is None else str(value)
    return f"'{text}" if text.startswith(FORMULA) and not text.lstrip("+-").replace(".", "", 1).isdigit() else text


def _plain(value: Any) -> Any:
    if isinstance(value, bytes | memoryview):
        return bytes(value).hex()
    if isinstance(value, dt.datetime):
        return value.isoformat()
    return str(value)


def _download(text: str, name: str, kind: str) -> Response:
    return Response(text, 200, {"Content-Disposition": f'attachment; filename="{name}"'}, content_type=kind)
