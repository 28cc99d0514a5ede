"""The benches take too long for the tests. So the tests check only that each bench can begin, and its pure parts."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from bench.profile.__main__ import by_file, shares

ROOT = Path(__file__).parents[1]
OUT = ROOT / "out"  # The benches make this folder.
# These run in an environment of their own, which the bench makes.
ELSEWHERE = {"bench.peers.pipecat_relay"}


def test_every_module_of_the_benches_can_be_imported_and_its_files_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")  # Otherwise bench/dsp sets it for all later tests.
    names = {".".join(path.relative_to(ROOT).with_suffix("").parts) for path in ROOT.glob("bench/**/*.py")}
    missing = []
    for name in sorted(names - ELSEWHERE):
        known = vars(importlib.import_module(name.removesuffix(".__init__")))
        paths = {key: value for key, value in known.items() if isinstance(value, Path)}
        missing += [
            f"{name}.{key} = {path}"
            for key, path in paths.items()
            if OUT not in (path, *path.parents) and not path.exists()
        ]
    assert missing == []


def test_the_profile_counts_work_in_tasks_and_work_in_the_loops_wait_and_leaves_other_threads_out() -> None:
    # Lines of py-spy 0.4. The loop's wait calls functions in the hub (relay/transport/hub.py).
    trio = "/v/lib/python3.11/site-packages/trio/_core/_run.py"
    loop = f"<module> (relay/__main__.py:5);serve (relay/cli.py:273);run ({trio}"
    hub = "_Seam.get_events (relay/transport/hub.py:178)"
    folded = [
        f"{loop}:2532);unrolled_run ({trio}:2866);tick (relay/call/x.py:7) 46",
        f"{loop}:2535);{hub};feed (dsp/line.py:12) 53",
        f"{loop}:2535);{hub};feed (dsp/line.py:14) 1",
        "Thread._bootstrap (threading.py:1002);Thread.run (threading.py:982);write (relay/ledger/batch.py:9) 157",
    ]
    own, within, total = shares("\n".join(folded))
    assert total == 100
    assert own == {"tick (relay/call/x.py": 46, "feed (dsp/line.py": 54}
    assert within["_Seam.get_events (relay/transport/hub.py"] == 54
    assert by_file(own) == {"relay/call/x.py": 46, "dsp/line.py": 54}
