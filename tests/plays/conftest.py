"""Fixtures of the plays."""

from __future__ import annotations

import random

import pytest
import trio._core._run as trio_run


@pytest.fixture
def same_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a play run ready tasks in the same order each time. Trio's own order is random on purpose."""
    monkeypatch.setattr(trio_run, "_r", random.Random(1))
    monkeypatch.setattr(trio_run, "_ALLOW_DETERMINISTIC_SCHEDULING", True)
