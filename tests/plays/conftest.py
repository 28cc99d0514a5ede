"""What the plays share."""

from __future__ import annotations

import random

import pytest
import trio._core._run as trio_run


@pytest.fixture
def same_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trio runs ready tasks in random order on purpose. A play runs them in the same order each time."""
    monkeypatch.setattr(trio_run, "_r", random.Random(1))
    monkeypatch.setattr(trio_run, "_ALLOW_DETERMINISTIC_SCHEDULING", True)
