"""The faults that can be ordered at the stand-in backend: which fault, at which request, how often."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

import msgspec
import trio
from quart import Response, request

from relay.standin.table_errors import in_words

Kind = Literal["slow", "500", "409", "garbage", "wrong_types", "redirect", "huge", "hang"]
HUGE_BYTES: Final = 1_000_000
ELSEWHERE: Final = "http://127.0.0.1:9"  # The redirect leads to a host where nobody answers.
_WRONG_TYPES: Final = {
    "open": 11, "close": ["22"], "closed": "maybe", "timezone": 5, "slots": "plenty", "appointments": {"id": 7},
    "id": [], "start": "soon", "alternatives": "later", "name": 7, "verified": "perhaps",
}  # fmt: skip

_RIGHT_TYPES: Final = {
    "open": "11:00", "close": "22:00", "closed": False, "slots": [], "appointments": [],
    "id": "apt_huge", "start": "2027-01-01T19:00:00-05:00", "name": "Dana Reed", "verified": False,
}  # fmt: skip


class Fault(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One fault.

    `ms` is the delay of "slow". `times` is the number of requests that get the fault. None means all. With `after`, the
    request is carried out, and only its answer gets the fault. A repeat of the request then must change nothing.
    """

    kind: Kind
    ms: Annotated[int, msgspec.Meta(ge=0)] = 0
    times: Annotated[int, msgspec.Meta(ge=1)] | None = None
    after: bool = False

    async def strike(self) -> Response | None:
        """Carry out the fault. Returns the broken answer, or None if the request goes on."""
        if self.kind == "slow":
            await trio.sleep(self.ms / 1000)
            return None
        if self.kind == "hang":
            await trio.sleep_forever()
        return _ANSWERS[self.kind]()


def _json(status: int, body: Any) -> Response:
    return Response(msgspec.json.encode(body), status, content_type="application/json")


_ANSWERS: Final = {
    "500": lambda: _json(500, {"error": "the stand-in fails on order"}),
    "409": lambda: _json(409, {"alternatives": []}),
    "garbage": lambda: Response(b'<html>{"open": "11:', 200, content_type="application/json"),
    "wrong_types": lambda: _json(200, _WRONG_TYPES),
    "redirect": lambda: Response(b"", 307, headers={"Location": ELSEWHERE + request.full_path}),
    "huge": lambda: _json(200, _RIGHT_TYPES | {"notes": "x" * HUGE_BYTES}),
}


class Faults:
    """The faults, by request: "METHOD /path", "/path" or "*". The most exact key is used.

    If a key has several faults, the next fault strikes when the `times` of the one before it are used up.
    """

    def __init__(self, places: Mapping[str, list[Fault]] | None = None) -> None:
        self._places = {place: list(faults) for place, faults in (places or {}).items()}

    @classmethod
    def from_table(cls, table: Mapping[str, Any]) -> Faults:
        """Read a table like `{"POST /appointments": {"kind": "slow", "ms": 2000}, "*": "hang"}`. A value may be a list.

        Raises ValueError, whose message names the mistake.
        """
        places: dict[str, list[Fault]] = {}
        for place, given in table.items():
            if place != "*" and "/" not in place:
                raise ValueError(f'{place!r}: a place is "POST /appointments", "/appointments" or "*"')
            listed = given if isinstance(given, list) else [given]
            try:
                shaped = [{"kind": each} if isinstance(each, str) else each for each in listed]
                places[place] = [msgspec.convert(each, Fault) for each in shaped]
            except msgspec.ValidationError as error:
                raise ValueError(f"{place}: {in_words(error, Fault)}") from None
        return cls(places)

    def replace(self, other: Faults) -> None:
        """Use the faults of `other` from now on."""
        self._places = other._places

    def next(self, method: str, path: str) -> Fault | None:
        """The fault for this request. None if there is none. Counts the request as one of the fault's `times`."""
        first_part = "/" + path.lstrip("/").split("/")[0]
        for place in (f"{method} {first_part}", first_part, "*"):
            faults = self._places.get(place)
            if not faults:
                continue
            fault = faults[0]
            if fault.times is None:
                return fault
            rest = msgspec.structs.replace(fault, times=fault.times - 1)
            self._places[place] = ([rest] if rest.times else []) + faults[1:]
            return fault
        return None
