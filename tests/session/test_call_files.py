"""Files of old calls: an incoming call does not look at them, and they are dropped after a while."""

from __future__ import annotations

import trio
from trio.testing import MockClock

from relay.call.vocabulary import CallSid
from relay.session.call_file import CallFile
from relay.session.call_files import FILE_LIFE_S
from tests.helpers.play import stage
from tests.helpers.webhook import OpenStream, ask, caller


class Old(CallFile):
    """The file of a call of an hour ago. Looking at it fails the test."""

    __slots__ = ()

    @property
    def live(self) -> bool:
        raise AssertionError("a ring has looked at a call that is over")


async def test_an_incoming_call_does_not_look_at_ended_calls(autojump_clock: MockClock) -> None:
    async with stage() as play:
        files = play.daemon.desk.files
        for number in range(200):
            file = play.daemon.desk.open_file(CallSid(f"CA{number:032d}"), caller(f"+1212555{number:04d}"), "", 0.0)
            file.expects(10)
        assert play.daemon.desk.calls_in_hand == 200
        await trio.sleep(3600)
        assert play.daemon.desk.calls_in_hand == 0
        for file in files.values():
            file.__class__ = Old
        got = await ask(play, "/twilio/incoming")
        assert got.verbs == ["Connect", "Redirect"]
        assert play.daemon.desk.calls_in_hand == play.daemon.desk.lines_taken == 1


async def test_old_call_files_are_dropped_but_files_of_running_calls_are_not(autojump_clock: MockClock) -> None:
    async with stage() as play:
        desk = play.daemon.desk
        for number in range(20):
            desk.open_file(CallSid(f"CA{number:032d}"), caller(), "", trio.current_time())
        stream = OpenStream(desk.files[CallSid(f"CA{3:032d}")])
        for number in range(20, 40):
            await trio.sleep(FILE_LIFE_S / 10)
            desk.open_file(CallSid(f"CA{number:032d}"), caller(), "", trio.current_time())
        assert sorted(desk.files) == [CallSid(f"CA{n:032d}") for n in (3, *range(30, 40))]
        assert desk.files.rings(caller(), FILE_LIFE_S / 10 + 1, trio.current_time()) == 2
        assert stream is not None
