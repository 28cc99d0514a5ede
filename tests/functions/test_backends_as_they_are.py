"""Backends in practice: error bodies of frameworks, odd lists, compression, private authorities, and Retry-After."""

from __future__ import annotations

import datetime as dt
import gzip
import json
import ssl
import subprocess
import sys
import zlib
from functools import partial
from pathlib import Path

import httpx
import pytest
import structlog.testing
import trio
import trustme

from relay.functions.backend.client import Backend, BackendFault
from relay.functions.backend.contract import clock, error_code, error_words
from relay.functions.registry import load, run
from tests.helpers.business_play import BOOK, CALLER, TZ, Answering, a_call, says

DAY = dt.date(2026, 11, 24)
REGISTRY = load()


def shop(body: object, status: int = 200, headers: dict[str, str] | None = None) -> Backend:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Backend("http://shop.test", transport=Answering(raw, status, headers))


@pytest.mark.parametrize(("body", "status"), [(b"null", 200), (b"", 204), (b"[]", 200), (b"{}", 200), (b"", 404)])
async def test_an_unknown_caller_is_not_a_fault_of_the_backend(body: bytes, status: int) -> None:
    async with shop(body, status) as backend:
        for _ in range(6):
            assert await backend.caller(CALLER) is None
            assert await backend.appointments(CALLER) == []
        assert backend.breaker.faults == 0


async def test_a_known_caller_is_recognised() -> None:
    async with shop({"name": "Dana", "verified": True, "id": 7}) as backend:
        caller = await backend.caller(CALLER)
    assert caller is not None
    assert (caller.name, caller.verified, caller.id) == ("Dana", True, 7)


GOOD = {"id": 1, "service": "cut", "start": "2026-11-24T19:00:00-05:00"}


@pytest.mark.parametrize(
    "odd",
    [
        {"id": 2, "start": "2026-11-25"},
        {"id": 2, "start": "2026-11-25T10:00:00"},
        {"id": 2, "start": None},
        {"start": "2026-11-25T10:00:00-05:00"},
        None,
        "2026-11-25",
        7,
    ],
)
async def test_if_one_element_of_a_list_is_invalid_the_others_are_still_used(odd: object) -> None:
    async with shop({"appointments": [odd, GOOD], "slots": [odd, GOOD["start"]]}) as backend:
        with structlog.testing.capture_logs() as lines:
            assert [each.id for each in await backend.appointments(CALLER)] == [1]
            assert len(await backend.availability("cut", DAY)) == 1
        assert [(line["event"], line["left_out"]) for line in lines] == [("backend.odd_elements", 1)] * 2


@pytest.mark.parametrize("body", [{"appointments": [{"id": 1}]}, {"appointments": 7}, "no", {"slots": [None]}])
async def test_a_list_with_only_invalid_elements_is_a_fault(body: object) -> None:
    async with shop(body) as backend:
        with pytest.raises(BackendFault, match="not as agreed"):
            await (backend.availability("cut", DAY) if "slots" in str(body) else backend.appointments(CALLER))


async def test_if_some_alternatives_are_invalid_the_others_are_still_used() -> None:
    async with shop({"alternatives": [None, "2026-11-24", "2026-11-24T20:00:00-05:00"]}, 409) as backend:
        outcome = await run(REGISTRY, a_call(backend), "book_appointment", says(BOOK))
    assert json.loads(outcome.output)["free"] == ["Tuesday, November 24 at 8 PM"]


ERRORS: list[tuple[object, str]] = [
    ({"error": "closed on Thursdays"}, "closed on Thursdays"),
    ({"detail": "closed on Thursdays"}, "closed on Thursdays"),
    (
        {"detail": [{"type": "missing", "loc": ["body", "name"], "msg": "Field required"}]},
        "name: Field required",
    ),
    (
        {"message": "The given data was invalid.", "errors": {"start": ["The start must be a date."]}},
        "The given data was invalid.; The start must be a date.",
    ),
    (
        {"status": "error", "error": {"code": "BadRequestException", "message": "no_available_users_found_error"}},
        "no_available_users_found_error",
    ),
    ({"type": "about:blank", "title": "Conflict", "detail": "The slot is gone."}, "The slot is gone.; Conflict"),
    ({"errors": [{"message": "Not bookable"}, {"message": "Too late"}]}, "Not bookable; Too late"),
    ({"error": {"message": "Invalid time zone"}}, "Invalid time zone"),
    ([], ""),
    ({"ok": False}, ""),
]


@pytest.mark.parametrize(("body", "words"), ERRORS)
def test_the_reason_is_found_in_the_error_bodies_of_common_frameworks(body: object, words: str) -> None:
    assert error_words(json.dumps(body).encode()) == words


@pytest.mark.parametrize("body", [b"", b"<html>502 Bad Gateway</html>", b"\xff", b"[" * 9000, b'"no"'])
def test_no_error_body_makes_the_reader_fail(body: bytes) -> None:
    assert error_words(body) in ("", "no")
    assert error_code(body) == ""


@pytest.mark.parametrize("status", [422, 500])
async def test_the_reason_reaches_the_model_and_never_the_log(status: int) -> None:
    said = "Key (name)=(Dana Reed) exists, see dana@example.org, +1 212 555 0148, 4111111111111111"
    with structlog.testing.capture_logs() as lines:
        async with shop({"detail": said, "code": "unique_violation"}, status) as backend:
            outcome = await run(REGISTRY, a_call(backend), "lookup_hours", "{}")
    assert "Dana Reed" in json.loads(outcome.output)["reason"]
    assert "dana@example.org" not in outcome.output
    assert "0148" not in outcome.output
    assert outcome.error == f"GET /hours answered {status} (unique_violation)"
    for personal in ("Dana", "@", "0148", "4111"):
        assert personal not in str(lines) + str(outcome.error)


@pytest.mark.parametrize(
    "code",
    [
        *("Dana Reed", "Dana", "dana", "it is taken", "McDonald", "VanDyke", "DeLaCruz", "jean-luc", "Jean-Luc"),
        *("dana.reed", "O'Neil", "Dana_Reed", "Zoë_Reed", "dana\n_reed", "https://example.com/taken", "e_" * 40 + "e"),
        *("Missing.JohnSmith", "error.Maria", "invalid.Maria.Lopez", "missing-john-smith", "JohnSmithMissing"),
        *("errorMaria", "Day", "Key.Field", "NotFoundError.JohnSmith", "not-found", "Slot_Taken", "MARIA", "invalid"),
        *("Maria.Error", "maria/not-found", "Maria_Lopez_Error", "MISSING-JOHN"),
        *("+12125550148", "2125550148", "caller_2125550148", "call_212_555_0148", 2125550148, True, 4.5),
    ],
)  # fmt: skip
def test_a_code_that_could_be_a_callers_words_is_logged_as_other(code: object) -> None:
    assert error_code(json.dumps({"code": code}).encode()) == "other"


@pytest.mark.parametrize(
    "code",
    [
        *("slot_taken", "SLOT_TAKEN", "ERR_42", "validation_error", "no_available_users_found_error"),
        *("KitchenClosedException", "BadRequestException", "HTTPError", 404, "404", "23505"),
    ],
)  # fmt: skip
def test_a_usual_code_is_logged(code: object) -> None:
    assert error_code(json.dumps({"error": {"code": code}}).encode()) == str(code)


def test_a_code_is_found_beside_a_type_that_is_none() -> None:
    assert error_code(b'{"code": "McDonald", "type": "slot_taken"}') == "slot_taken"
    assert error_code(b'{"code": null, "type": ""}') == ""


async def test_an_answer_that_makes_no_sense_is_not_quoted_in_the_log() -> None:
    async with shop({"open": "ask Dana Reed", "close": "22:00"}) as backend:
        with pytest.raises(BackendFault, match=r"is no time of day") as fault:
            await backend.hours(DAY)
    assert "Dana" not in fault.value.words


HOURS = {"open": "9:00", "close": "22:00"}


@pytest.mark.parametrize(
    ("packed", "coding"),
    [
        (gzip.compress(json.dumps(HOURS).encode(), mtime=0), "gzip"),
        (gzip.compress(json.dumps(HOURS).encode(), mtime=0), "x-gzip"),
        (zlib.compress(json.dumps(HOURS).encode()), "deflate"),
        (zlib.compress(json.dumps(HOURS).encode(), wbits=-15), "deflate"),
        (b"\xef\xbb\xbf" + json.dumps(HOURS).encode(), "identity"),
        (gzip.compress(b"\xef\xbb\xbf" + json.dumps(HOURS).encode(), mtime=0), "GZIP"),
    ],
)
async def test_a_body_that_is_compressed_or_begins_with_a_byte_order_mark_is_read(packed: bytes, coding: str) -> None:
    async with shop(packed, headers={"content-encoding": coding}) as backend:
        assert (await backend.hours(DAY)).open == "9:00"


async def test_a_compressed_bomb_is_decompressed_only_up_to_the_limit() -> None:
    async with shop(gzip.compress(b" " * 60_000_000), headers={"content-encoding": "gzip"}) as backend:
        with pytest.raises(BackendFault, match="more than 65536 bytes"):
            await backend.hours(DAY)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("9:00", dt.time(9)),
        ("09:00", dt.time(9)),
        ("09:00:00", dt.time(9)),
        ("9 AM", dt.time(9)),
        ("9:30pm", dt.time(21, 30)),
        ("12 a.m.", dt.time(0)),
        ("12:00 PM", dt.time(12)),
        ("24:00", dt.time(0)),
        ("16:00Z", dt.time(11)),
        ("16:00+00:00", dt.time(11)),
        ("16:00:00+0000", dt.time(11)),
        ("03:00Z", dt.time(22)),
        ("2026-11-24T16:00:00Z", dt.time(11)),
        ("2026-11-24T11:00:00-05:00", dt.time(11)),
        ("2026-11-24T11:00", dt.time(11)),
        ("2026-11-24T24:00", dt.time(0)),
    ],
)
def test_an_hour_in_any_spelling_becomes_the_local_time_of_the_business(text: str, told: dt.time) -> None:
    assert clock(text, TZ, DAY) == told


def test_an_offset_without_a_date_is_taken_for_the_requested_day() -> None:
    assert clock("16:00Z", TZ, dt.date(2026, 7, 1)) == dt.time(12)


@pytest.mark.parametrize("text", ["", "25:00", "9", "9:60", "noonish", "13 PM", "0 am", "2026-13-01T10:00", "T10"])
def test_a_text_that_is_not_an_hour_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no time of day"):
        clock(text)


async def test_hours_in_another_time_zone_become_the_local_time_of_the_business() -> None:
    async with shop({"open": "16:00Z", "close": "03:00Z"}) as backend:
        outcome = await run(REGISTRY, a_call(backend), "lookup_hours", says({"date": "2026-11-24"}))
    told = json.loads(outcome.output)
    assert (told["open"], told["close"]) == ("11 AM", "10 PM")


class Patient(httpx.AsyncBaseTransport):
    """A backend that once asks the client to wait, and then answers if the client has waited."""

    def __init__(self, status: int, headers: dict[str, str]) -> None:
        self.status, self.headers, self.asked_at = status, headers, list[float]()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await trio.lowlevel.checkpoint()
        self.asked_at.append(trio.current_time())
        if len(self.asked_at) == 1:
            return httpx.Response(self.status, headers=self.headers, stream=httpx.ByteStream(b"{}"))
        return httpx.Response(200, stream=httpx.ByteStream(json.dumps(HOURS).encode()))


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(
    "headers",
    [
        {"Retry-After": "1"},
        {"Date": "Tue, 24 Nov 2026 12:00:00 GMT", "Retry-After": "Tue, 24 Nov 2026 12:00:01 GMT"},
    ],
)
async def test_a_request_is_repeated_after_the_wait_that_the_backend_asks_for(
    status: int, headers: dict[str, str], autojump_clock: trio.testing.MockClock
) -> None:
    patient = Patient(status, headers)
    async with Backend("http://shop.test", transport=patient) as backend:
        assert (await backend.hours(DAY)).open == "9:00"
    assert patient.asked_at[1] - patient.asked_at[0] == pytest.approx(1.0)


async def test_if_the_backend_asks_for_a_wait_that_is_too_long_the_client_gives_up_at_once(
    autojump_clock: trio.testing.MockClock,
) -> None:
    patient = Patient(503, {"Retry-After": "30"})
    async with Backend("http://shop.test", transport=patient) as backend:
        began = trio.current_time()
        with pytest.raises(BackendFault, match="answered 503"):
            await backend.hours(DAY)
    assert (len(patient.asked_at), trio.current_time()) == (1, began)


async def test_without_retry_after_the_request_is_repeated_at_once(autojump_clock: trio.testing.MockClock) -> None:
    patient = Patient(503, {"Retry-After": "soon"})
    async with Backend("http://shop.test", transport=patient) as backend:
        await backend.hours(DAY)
    assert patient.asked_at[1] - patient.asked_at[0] < 0.5


_ASK_HTTPS = """
import sys, trio, datetime
from relay.functions.backend.client import Backend, BackendFault
async def main():
    async with Backend(sys.argv[1]) as backend:
        try:
            print((await backend.hours(datetime.date(2026, 11, 24))).open)
        except BackendFault as fault:
            print(fault.words)
trio.run(main)
"""


@pytest.mark.real
async def test_with_ssl_cert_file_a_private_certificate_authority_is_trusted_and_without_it_the_fault_names_the_setting(
    tmp_path: Path, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    body = json.dumps(HOURS).encode()

    async def answer(stream: trio.SSLStream[trio.SocketStream]) -> None:
        try:
            await stream.receive_some(4096)
            head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(body)
            await stream.send_all(head + body)
        except trio.BrokenResourceError:
            pass  # the client does not trust this certificate

    listeners = await nursery.start(trio.serve_ssl_over_tcp, answer, 0, context)
    url = f"https://localhost:{listeners[0].transport_listener.socket.getsockname()[1]}"

    async def ask(**environ: str) -> str:
        command = [sys.executable, "-c", _ASK_HTTPS, url]
        clean = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(Path(__file__).parents[2])}
        done = await trio.run_process(command, env=clean | environ, capture_stdout=True, stderr=subprocess.DEVNULL)
        return done.stdout.decode().strip()

    refused = await ask()
    assert "no connection (its certificate is not trusted" in refused
    assert "SSL_CERT_FILE" in refused
    assert await ask(SSL_CERT_FILE=str(tmp_path / "ca.pem")) == "9:00"
    proxied = await ask(
        SSL_CERT_FILE=str(tmp_path / "ca.pem"), HTTPS_PROXY="http://127.0.0.1:9", https_proxy="http://127.0.0.1:9"
    )
    assert proxied == "9:00", "the request went through a proxy of the environment"
    nursery.cancel_scope.cancel()


async def test_a_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch, nursery: trio.Nursery) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")

    async def answer(stream: trio.SocketStream) -> None:
        await stream.receive_some(4096)
        await stream.send_all(b'HTTP/1.1 200 OK\r\nContent-Length: 36\r\n\r\n{"open": "9:00", "close": "22:00"  }')

    listeners = await nursery.start(partial(trio.serve_tcp, answer, 0, host="127.0.0.1"))
    async with Backend(f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}") as backend:
        assert (await backend.hours(DAY)).open == "9:00"
    nursery.cancel_scope.cancel()


async def test_the_fault_of_a_dead_port_names_the_reason() -> None:
    async with Backend("http://127.0.0.1:9") as backend:
        with pytest.raises(BackendFault, match=r"no connection \([^)]+\)") as fault:
            await backend.hours(DAY)
    assert "()" not in fault.value.words
