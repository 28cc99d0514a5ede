"""The stand-in business backend. It serves the HTTP contract of backends (docs/functions.md).

The booking code is that of the embedded backend.

Rule 1: each Idempotency-Key has one answer. A repeat gets the first answer again, even if it was a refusal. A repeat
        may differ in capitals, blanks and the order of keys. The same key with another route or another content is
        refused (422).
Rule 2: a request that meets an ordered fault does not change the diary. There are two exceptions: "slow" only delays
        the request, and if the fault has `after`, the diary changes and only the answer is lost.

Two routes are not in the contract: `POST /standin/faults` takes a table for `Faults.from_table`. `GET
/standin/bookings` returns all bookings and messages so far, and how often each route was asked.
"""

from __future__ import annotations

import datetime as dt
import re
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Final
from zoneinfo import ZoneInfo

import msgspec
import trio
from hypercorn.config import Config
from hypercorn.trio import serve
from quart import Response, g, request
from quart_trio import QuartTrio
from werkzeug.exceptions import HTTPException

from relay.business.bookings import NotOffered
from relay.business.rules import Business
from relay.standin.business.diary import Booking, Diary, Known, Message, NotFree
from relay.standin.business.faults import Fault, Faults

__all__ = ["BusinessApp", "Diary", "Fault", "Faults", "Known", "business_app", "serve_business", "stage_diary"]

KNOWN: Final = {"+12125550147": Known("Dana Reed", verified=True, notes="Likes the window.")}
Text = Annotated[str, msgspec.Meta(min_length=1, max_length=500)]
E164 = re.compile(r"\+[1-9][0-9]{6,14}")
Phone = Annotated[str, msgspec.Meta(pattern=f"^{E164.pattern}$")]
Start = Annotated[dt.datetime, msgspec.Meta(tz=True)]


class _NewBooking(msgspec.Struct):
    name: Text
    phone: Phone
    service: Text
    start: Start
    notes: str = ""
    who: str = msgspec.field(default="", name="with")


class _NewStart(msgspec.Struct):
    start: Start


class _NewMessage(msgspec.Struct):
    name: Text
    message: Text
    phone: str = ""


@dataclass(frozen=True)
class _Kept:
    """What was done for one Idempotency-Key."""

    route: str
    asked: Any
    status: int
    answer: Any


class BusinessApp(QuartTrio):
    """The app, with its diary and its faults for tests."""

    diary: Diary
    faults: Faults
    asked: Counter[str]


def business_app(
    diary: Diary | None = None, faults: Faults | None = None, *, api_key: str | None = None
) -> BusinessApp:
    """The stand-in as an ASGI app. If `api_key` is given, `Authorization: Bearer` is required."""
    app = BusinessApp(__name__)
    app.config["MAX_CONTENT_LENGTH"] = 16 * 1024
    app.diary = diary or Diary(callers=dict(KNOWN))
    app.faults = faults or Faults()
    app.asked = Counter()
    _add_checks(app, api_key)
    _add_lookups(app, app.diary)
    _add_writes(app, app.diary)
    _add_standin(app)
    return app


def stage_diary(
    zone: ZoneInfo,
    utc_now: Callable[[], dt.datetime] | None = None,
    *,
    capacity: int = 1,
    business: Business | None = None,
) -> Diary:
    """The diary for a rehearsal. It is the diary of `business`, or of a small restaurant that is open every day.

    `capacity` is the number of tables, rooms or chairs of each kind. Many callers at once need a large number.
    """
    diary = Diary(zone, capacity, closed_days=frozenset(), callers=dict(KNOWN), file=business)
    if utc_now is not None:
        diary.now = utc_now
    return diary


async def serve_business(
    port: int,
    app: BusinessApp | None = None,
    *,
    host: str = "127.0.0.1",
    shutdown: Callable[[], Awaitable[None]] | None = None,
    task_status: trio.TaskStatus[list[str]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve the backend until `shutdown` returns, or until cancelled. `task_status` is started with its URLs.

    Port 0 takes a free port.
    """
    config = Config()
    config.bind = [f"{host}:{port}"]
    config.graceful_timeout = 0.5
    config.loglevel = "WARNING"
    await serve(app or business_app(), config, shutdown_trigger=shutdown, task_status=task_status)


def _json(status: int, body: Any) -> Response:
    return Response(b"" if body is None else msgspec.json.encode(body), status, content_type="application/json")


def _refused(status: int, words: str) -> Response:
    return _json(status, {"error": words})


def _add_checks(app: BusinessApp, api_key: str | None) -> None:
    """Add what every route of the contract needs: counting, the check of the API key, faults, and the form of
    errors."""

    @app.errorhandler(HTTPException)
    async def in_words(error: HTTPException) -> Response:
        return _refused(error.code or 500, error.description or error.name)

    @app.before_request
    async def enter() -> Response | None:
        g.fault = None
        if request.path.startswith("/standin/"):
            return None
        app.asked[f"{request.method} /{request.path.split('/')[1]}"] += 1
        if api_key is not None and request.headers.get("Authorization") != f"Bearer {api_key}":
            return _refused(401, "the bearer token is missing or wrong: set BUSINESS_API_KEY")
        fault = app.faults.next(request.method, request.path)
        if fault is not None and not fault.after:
            return await fault.strike()
        g.fault = fault
        return None

    @app.after_request
    async def leave(response: Response) -> Response:
        fault: Fault | None = g.get("fault")
        return (fault and await fault.strike()) or response


def _add_lookups(app: BusinessApp, diary: Diary) -> None:
    @app.get("/hours")
    async def hours() -> Response:
        day = _day()
        if day is None:
            return _refused(422, "date must be ISO 8601, such as 2026-11-24")
        known = msgspec.to_builtins(diary.hours(day))
        return _json(200, {name: value for name, value in known.items() if value is not None})

    @app.get("/availability")
    async def availability() -> Response:
        day = _day()
        if day is None or not request.args.get("service"):
            return _refused(422, "service and date are required")
        until = _day("until") if "until" in request.args else day
        if until is None:
            return _refused(422, "until must be ISO 8601, such as 2026-11-24")
        try:
            free = diary.free(day, request.args["service"], until, request.args.get("with", ""))
        except NotOffered as no:
            return _json(*_not_offered(no))
        return _json(200, {"slots": [start.isoformat() for start in free]})

    @app.get("/appointments")
    async def appointments() -> Response:
        phone = request.args.get("phone", "")
        if not E164.fullmatch(phone):  # A plus sign that was not percent-encoded has become a blank.
            return _refused(422, "phone is required: E.164, percent-encoded, such as %2B12125550147")
        return _json(200, {"appointments": [_shown(booking) for booking in diary.of(phone)]})

    @app.get("/callers/<phone>")
    async def caller(phone: str) -> Response:
        known = diary.callers.get(phone)
        if known is None:
            return _refused(404, "no such caller")
        person = {"id": known.id} if known.id else {}
        return _json(200, {**person, "name": known.name, "verified": known.verified, "notes": known.notes})


def _add_writes(app: BusinessApp, diary: Diary) -> None:
    keys: dict[str, _Kept] = {}

    @app.post("/appointments")
    async def book() -> Response:
        return await _exactly_once(keys, partial(_book, diary))

    @app.patch("/appointments/<booking>")
    async def move(booking: str) -> Response:
        return await _exactly_once(keys, partial(_move, diary, booking))

    @app.delete("/appointments/<booking>")
    async def cancel(booking: str) -> Response:
        return await _exactly_once(keys, partial(_cancel, diary, booking))

    @app.post("/messages")
    async def message() -> Response:
        return await _exactly_once(keys, partial(_leave_message, diary))


def _add_standin(app: BusinessApp) -> None:
    @app.post("/standin/faults")
    async def set_faults() -> Response:
        try:
            table = msgspec.json.decode(await request.data, type=dict[str, Any])
            app.faults.replace(Faults.from_table(table))
        except (msgspec.MsgspecError, ValueError) as error:
            return _refused(400, str(error))
        return _json(200, table)

    @app.get("/standin/bookings")
    async def bookings() -> Response:
        made = list(app.diary.bookings.values())
        return _json(200, {"bookings": made, "messages": app.diary.messages, "asked": dict(app.asked)})


async def _exactly_once(keys: dict[str, _Kept], act: Callable[[bytes], tuple[int, Any]]) -> Response:
    body = await request.data
    key = request.headers.get("Idempotency-Key", "")
    if not key:
        return _refused(400, "a write needs an Idempotency-Key")
    route = f"{request.method} {request.path}"
    kept = keys.get(key)
    if kept is None:
        # There is no await between the search for the key and the booking. So of two simultaneous requests, the second
        # one sees what the first one did.
        kept = keys[key] = _Kept(route, _meant(body), *_carried_out(act, body))
    elif kept.route != route:
        return _refused(422, "this Idempotency-Key belongs to another route")
    elif kept.asked != _meant(body):
        return _refused(422, "this Idempotency-Key came before with another content")
    return _json(kept.status, kept.answer)


def _meant(body: bytes) -> Any:
    """The content of a body, to compare it with another body: the order of keys, capitals and blanks do not matter.

    A body that is not JSON is returned unchanged.
    """
    try:
        said = msgspec.json.decode(body)
    except msgspec.MsgspecError:
        return body
    if not isinstance(said, dict):
        return said
    return {key: " ".join(text.casefold().split()) if isinstance(text, str) else text for key, text in said.items()}


def _carried_out(act: Callable[[bytes], tuple[int, Any]], body: bytes) -> tuple[int, Any]:
    try:
        return act(body)
    except msgspec.MsgspecError as error:
        return 422, {"error": str(error)}
    except NotFree as taken:
        return 409, {"alternatives": [start.isoformat() for start in taken.alternatives], "why": taken.why}
    except NotOffered as no:
        return _not_offered(no)
    except KeyError:
        return 404, {"error": "no such appointment"}


def _not_offered(no: NotOffered) -> tuple[int, Any]:
    return 422, {"error": "not offered", "told": f"{no.why} There are: {', '.join(no.choices)}."}


def _book(diary: Diary, body: bytes) -> tuple[int, Any]:
    wanted = msgspec.json.decode(body, type=_NewBooking)
    if wanted.start <= diary.now():
        return 422, {"error": "start is in the past"}
    made = diary.book(wanted.name, wanted.phone, wanted.service, wanted.start, wanted.notes, wanted.who)
    return 201, _shown(made)


def _move(diary: Diary, booking: str, body: bytes) -> tuple[int, Any]:
    return 200, _shown(diary.move(booking, msgspec.json.decode(body, type=_NewStart).start))


def _cancel(diary: Diary, booking: str, body: bytes) -> tuple[int, Any]:
    diary.cancel(booking)
    return 204, None


def _leave_message(diary: Diary, body: bytes) -> tuple[int, Any]:
    left = msgspec.json.decode(body, type=_NewMessage)
    diary.messages.append(Message(left.name, left.phone, left.message))
    return 201, {"id": f"msg_{len(diary.messages)}"}


def _shown(booking: Booking) -> dict[str, str]:
    shown = {"id": booking.id, "service": booking.service, "start": booking.start.isoformat()}
    return shown | ({"with": booking.who} if booking.who else {})


def _day(name: str = "date") -> dt.date | None:
    try:
        return dt.date.fromisoformat(request.args.get(name, ""))
    except ValueError:
        return None
