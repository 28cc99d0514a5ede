"""Each scenario tests one defence of the relay. Without this defence the scenario fails."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import trio

from tests.helpers.defences import DEFENCES, Patch
from tests.helpers.play import perform

pytestmark = pytest.mark.usefixtures("same_order")


@pytest.mark.parametrize(("name", "defence", "take_away"), DEFENCES, ids=[f"{d[0]}: {d[1]}" for d in DEFENCES])
async def test_a_scenario_fails_without_its_defence(
    name: str,
    defence: str,
    take_away: Callable[[Patch], None],
    monkeypatch: pytest.MonkeyPatch,
    autojump_clock: trio.testing.MockClock,
) -> None:
    take_away(monkeypatch)
    _, wrong, _ = await perform(name)
    assert wrong, f"{name} passes without its defence: {defence}"
