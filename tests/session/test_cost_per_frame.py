"""The work for a caller's frame, counted and not timed: wake-ups of tasks, sends and reads.

The real daemon runs on real sockets in this process, and the benches' load runs in its own thread. A new queue, task or
lock between the caller's socket and the model's adds a step for each frame. The count shows this on any machine.
"""

from __future__ import annotations

from collections import Counter
from functools import partial
from pathlib import Path

import pytest
import trio

from relay import functions
from relay import settings as environment
from relay.ledger.memory import MemoryLedger
from relay.server.app import Daemon, open_desk, rest_of
from relay.standin.commands.bench import serve_command
from relay.standin.load.generator import Load
from relay.standin.load.loop import Loop
from relay.standin.load.model import Listener
from relay.standin.load.stage import Target
from relay.standin.ports import free_port
from relay.transport.wire import SocketWire

CALLS = 4
WARM_S, COUNTED_S = 3.0, 3.0


class Steps(trio.abc.Instrument):
    """Counts the steps of Trio's tasks."""

    def __init__(self, counts: Counter[str]) -> None:
        self._counts = counts

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self._counts["steps " + task.name.rpartition(".")[2]] += 1
        self._counts["steps"] += 1


def _load(port: int, listener_ready: list[str], counts: Counter[str]) -> Counter[str]:
    """Make a few calls in a thread. Return the counts of a period in which they speak.

    "frames" is the number of frames that the callers sent in this period.
    """
    loop = Loop()
    load = Load(Target(f"http://127.0.0.1:{port}"), loop, 1)
    listener = Listener(load, None)
    loop.watch(listener)
    listener_ready.append(listener.url)
    try:
        loop.run(lambda: "ready" in counts, 30.0)
        loop.run(lambda: False, 2.0)  # wait until the sessions in which phrases were rendered are closed
        load.ring_up_to(CALLS)
        loop.run(lambda: False, WARM_S)
        before, sent = Counter(counts), sum(caller._sent for caller in load.callers)
        loop.run(lambda: False, COUNTED_S)
        spent = Counter(counts)
        spent.subtract(before)
        spent["frames"] = sum(caller._sent for caller in load.callers) - sent
        assert not load.failures
        return spent
    finally:
        load.hang_up()
        loop.forget(listener)
        listener.close()


@pytest.mark.real
async def test_a_callers_frame_costs_one_read_and_one_send_and_wakes_no_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts: Counter[str] = Counter()
    push, recv = SocketWire._push, SocketWire._recv_now

    def counted_push(self: SocketWire, data: bytes) -> int:
        counts["sends"] += 1
        return push(self, data)

    def counted_recv(self: SocketWire) -> bytes | None:
        counts["reads"] += 1
        return recv(self)

    monkeypatch.setattr("relay.transport.overload.BEHIND_S", 1e9)  # else a slow machine sends frames in pairs
    monkeypatch.setattr(SocketWire, "_push", counted_push)
    monkeypatch.setattr(SocketWire, "_recv_now", counted_recv)
    port, listening, found = free_port(), list[str](), list[Counter[str]]()

    async def load() -> None:
        found.append(await trio.to_thread.run_sync(partial(_load, port, listening, counts)))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(load)
        while not listening:  # noqa: ASYNC110 -- the other side is a thread
            await trio.sleep(0.01)
        environ = serve_command("postgresql://unused", tmp_path).environ
        filled = {name: v.replace("{port}", str(port)) for name, v in environ.items()}
        loaded = environment.load(filled | {"OPENAI_REALTIME_URL": listening[0]}, serving=True)
        async with functions.Backend(loaded.business_api_base, None) as backend, rest_of(loaded) as rest:
            daemon = Daemon(open_desk(loaded, MemoryLedger(), backend=backend, rest=rest))
            await nursery.start(daemon.serve, f"127.0.0.1:{port}")
            trio.lowlevel.add_instrument(Steps(counts))
            await daemon.desk.phrases.complete.wait()
            counts["ready"] = 1
            while not found:  # noqa: ASYNC110 -- the other side is a thread
                await trio.sleep(0.1)
            nursery.cancel_scope.cancel()

    spent = found[0]
    frames = spent["frames"]
    assert frames > CALLS * 25, "the load itself was too slow"
    per_frame = {name: round(count / frames, 2) for name, count in spent.items() if count > 0}
    # Each frame is read once and sent once. The rest is for answers: deltas in, audio and marks out, marks back.
    assert spent["reads"] <= 1.35 * frames, per_frame
    assert spent["sends"] <= 1.35 * frames, per_frame
    # The hub hands frames over and wakes no reader. The watchdog takes 5 steps a second, which is 0.1 for each frame.
    assert spent["steps Twilio reader"] <= 0.02 * frames, per_frame
    assert spent["steps OpenAI reader"] <= 0.02 * frames, per_frame
    assert spent["steps"] <= 0.45 * frames, per_frame
