"""The state of a call has owners: each attribute is written by one file, or there is a reason for more."""

from __future__ import annotations

from pathlib import Path

from tests.helpers.state_writers import shared, state_writers

MOST_SHARED = 10
# Attributes that two or more files write, and why.
REASONS = {
    "Call.phase": "a call begins to talk in greeting.py and comes to its end in ending.py",
    "Call.ids": "an item is named where the session gets it: replayed, cut off, generated, said by the caller",
    "Call.notice_item": "the notice is ours (greeting.py), the model says it (responses.py), anew (voice_loss.py)",
    "Call.soundless_items": "words without sound: of a cut answer (interruption.py) or an ended one (responses.py)",
}


STATE = """
class Part:
    value: int = 0
class Call:
    def __init__(self):
        self.part = Part()
        self.keys = set()
    def note(self):
        self.part.value = 1
"""
ROOM = """
def act(call: Call) -> None:
    part = call.part
    part.value += 1
    call.keys.add(1)
    call.other.go()
"""


def test_an_attribute_of_a_calls_state_is_written_by_one_file_or_there_is_a_reason() -> None:
    several = shared()
    without = [f"{name}: {' '.join(sorted(files))}" for name, files in several.items() if name not in REASONS]
    assert not without, "\n".join(["give it one owner whose methods the others call, or write the reason", *without])
    assert len(several) <= MOST_SHARED


def test_a_second_writer_is_found(tmp_path: Path) -> None:
    (tmp_path / "state.py").write_text(STATE)
    (tmp_path / "room.py").write_text(ROOM)
    assert shared(tmp_path) == {"Part.value": {"room.py", "state.py"}}
    assert state_writers(tmp_path)["Call.keys"] == {"room.py"}
