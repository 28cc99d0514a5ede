"""The process around the calls: what breaks beside them does not end them."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import httpx
import pytest
import trio

from relay import functions, settings
from relay.daemon import Daemon, open_desk, rest_of
from relay.ledger.memory import MemoryLedger
from relay.realtime.greeting import PhraseBook
from tests.play import ENVIRONMENT

pytestmark = pytest.mark.real


class BrokenLedger(MemoryLedger):
    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        raise RuntimeError("a bug of the ledger's")


async def test_a_bug_in_what_calls_can_do_without_does_not_end_the_process(
    nursery: trio.Nursery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def broken(*_: object) -> None:
        raise RuntimeError("a bug of the phrases")

    monkeypatch.setattr(PhraseBook, "keep", broken)
    loaded = settings.load({**ENVIRONMENT, "DATA_DIR": str(tmp_path)}, serving=True)
    async with functions.Backend("http://127.0.0.1:9") as backend, rest_of(loaded) as rest:
        daemon = Daemon(open_desk(loaded, BrokenLedger(), backend=backend, rest=rest))
        (url,) = await nursery.start(partial(daemon.serve, "127.0.0.1:0"))
        async with httpx.AsyncClient(trust_env=False) as client:
            assert (await client.get(f"{url}/healthz", timeout=30)).status_code == 200
        daemon.stop()
    said = capsys.readouterr()
    assert (said.out + said.err).count("relay.task_broke") == 2
