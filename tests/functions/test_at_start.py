"""An owner's functions at the relay's start: the documented one runs. A broken one stops the start and is named."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from relay.functions.registry import load, run
from tests.helpers.business_play import a_call, business, standin
from tests.helpers.environment import GOOD

PAGE = Path(__file__).parents[2] / "docs" / "functions.md"
TEN_LINES = 10  # the documents promise that a function takes ten lines


def documented() -> str:
    """The one example of a function in docs/functions.md."""
    (example,) = re.findall(r"```python\n(.*?@function.*?)```", PAGE.read_text(), re.DOTALL)
    return str(example)


def package(folder: Path, name: str, source: str) -> str:
    (folder / name).mkdir()
    (folder / name / "__init__.py").write_text('"""Ours."""\n')
    (folder / name / "dish.py").write_text(source)
    return name


async def test_the_function_in_the_documents_has_ten_lines_and_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len([line for line in documented().splitlines() if line.strip()]) <= TEN_LINES
    monkeypatch.syspath_prepend(tmp_path)
    registry = load(package(tmp_path, "of_the_documents", documented()))
    (tool,) = [tool for tool in registry.tools() if tool["name"] == "dish_left"]
    assert tool["description"] == "Whether a dish is still available today."
    assert tool["parameters"]["properties"]["dish"]["maxLength"] == 60
    assert registry.holding()["dish_left"] == "Let me ask the kitchen."
    async with business(standin()) as (backend, _):
        outcome = await run(registry, a_call(backend), "dish_left", '{"dish": "crab"}')
    assert json.loads(outcome.output) == {"status": "ok", "dish": "crab", "left": 4}


@pytest.mark.real
def test_a_broken_function_stops_the_start_and_the_error_names_it(tmp_path: Path) -> None:
    name = package(tmp_path, "broken_ones", documented().replace("dish: Annotated", "dish, more: Annotated"))
    environ = {key: value for key, value in os.environ.items() if key not in GOOD}
    environ |= GOOD | {"FUNCTIONS": name, "DATA_DIR": str(tmp_path), "PYTHONPATH": str(tmp_path), "BUSINESS_NAME": "x"}
    done = subprocess.run(
        [sys.executable, "-m", "relay", "serve"], capture_output=True, text=True, timeout=60, env=environ
    )
    assert done.returncode == 1
    (words,) = [line for line in done.stderr.splitlines() if line.startswith("relay serve")]
    assert words.startswith("relay serve: function dish_left in broken_ones.dish: argument dish has no type")
