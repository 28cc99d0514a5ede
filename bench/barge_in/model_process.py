"""`python -m bench.barge_in.model_process`: a stand-in model that reports truncations and errors.

It prints its port, and then JSON lines {"who", "kind", "ms", "words"}. `kind` is truncated or error.
"""

from __future__ import annotations

import os
import re
from functools import partial
from typing import Any

import msgspec
import trio

from relay.standin.model import realtime_peer
from relay.standin.model.script import Reaction, Script
from relay.standin.model.server import StandInModel

NICENESS = 5  # the relay and the callers have precedence
LONG = (
    "We are open tomorrow from eleven in the morning until ten at night, and the kitchen takes its last orders at half "
    "past nine. Was there anything else you wanted to know about our opening hours, or shall I book a table for you?"
)
SCRIPT = Script(reactions=(Reaction(clip="oh_wait", say=LONG), Reaction(clip="ask_hours", say=LONG)))


class TellingPeer(realtime_peer.RealtimePeer):
    """A session that reports truncations and errors."""

    def emit(self, type_: str, **fields: Any) -> None:
        """See RealtimePeer."""
        super().emit(type_, **fields)
        if type_ == "conversation.item.truncated":
            self._tell("truncated", fields["audio_end_ms"])
        elif type_ == "error":
            self._tell("error", 0, fields["error"]["message"])

    def _tell(self, kind: str, ms: int, words: str = "") -> None:
        who = re.search(r"\+1\d{3}55501\d\d", self.session["instructions"])
        line = {"who": who[0] if who else "", "kind": kind, "ms": ms, "words": words}
        print(msgspec.json.encode(line).decode(), flush=True)


async def serve() -> None:
    """Serve until killed."""
    from relay.standin.model import server

    server.RealtimePeer = TellingPeer  # type: ignore[attr-defined] # every session of this process reports
    house = StandInModel(SCRIPT)
    async with trio.open_nursery() as nursery:
        print(await nursery.start(partial(house.serve, 0)), flush=True)


if __name__ == "__main__":
    os.nice(NICENESS)
    trio.run(serve)
