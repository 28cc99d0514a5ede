"""The relay sends the requests that docs/functions.md shows for the backend contract, and understands their answers."""

from __future__ import annotations

import datetime as dt
import json
import re
from pathlib import Path

import httpx
import pytest

from relay.functions import Backend
from relay.functions.backend.contract import Taken

PAGE = (Path(__file__).parents[2] / "docs" / "functions.md").read_text()
BLOCK = PAGE[PAGE.index("GET /hours?date=") : PAGE.index("`POST`, `PATCH` and `DELETE` have an")]
SEVEN = dt.datetime.fromisoformat("2026-11-24T19:00:00-05:00")
PHONE = "+12125550101"


def _examples() -> dict[str, tuple[str, dict[int, str]]]:
    """For each "METHOD target": the body that is sent, and the answers by status."""
    found: dict[str, tuple[str, dict[int, str]]] = {}
    for line in BLOCK.splitlines():
        if asked := re.fullmatch(r"((?:GET|POST|PATCH|DELETE) \S+) ?(.*)", line):
            answers: dict[int, str] = {}
            found[asked[1]] = (asked[2], answers)
        elif answer := re.fullmatch(r"(\d{3}) ?(.*)", line):
            answers[int(answer[1])] = answer[2]
    return found


class FromThePage:
    """A backend that answers only the documented requests, and only with the documented answers."""

    def __init__(self) -> None:
        self.worse = False  # if True, answer with the last example of the page instead of the first
        self.asked: set[str] = set()

    def answer(self, request: httpx.Request) -> httpx.Response:
        target = f"{request.method} {request.url.raw_path.decode()}"
        body, answers = _examples()[target]
        self.asked.add(target)
        assert json.loads(request.content or b"null") == json.loads(body or "null")
        assert ("Idempotency-Key" in request.headers) == (request.method != "GET")
        status = (max if self.worse else min)(answers)
        return httpx.Response(status, stream=httpx.ByteStream(answers[status].encode()))


async def test_the_relay_sends_the_documented_requests_and_understands_the_documented_answers() -> None:
    page = FromThePage()
    async with Backend("http://business", transport=httpx.MockTransport(page.answer)) as backend:
        assert (await backend.hours(SEVEN.date())).closed is False
        assert SEVEN in await backend.availability("table", SEVEN.date())
        wish = {"name": "Jane Doe", "phone": PHONE, "service": "table for two", "notes": ""}
        assert (await backend.book("k1", start=SEVEN, **wish)).id == "apt_1"
        assert [each.start for each in await backend.appointments(PHONE)] == [SEVEN]
        await backend.move("k2", "apt_1", SEVEN + dt.timedelta(hours=1))
        await backend.cancel("k3", "apt_1")
        known = await backend.caller(PHONE)
        assert known is not None
        assert known.name == "Jane Doe"
        await backend.message("k4", name="Jane Doe", phone=PHONE, message="Please call me back.")
        assert page.asked == set(_examples())
        page.worse = True
        assert await backend.caller(PHONE) is None
        with pytest.raises(Taken) as taken:
            await backend.book("k5", start=SEVEN, **wish)
        assert taken.value.alternatives == [SEVEN - dt.timedelta(hours=1)]
