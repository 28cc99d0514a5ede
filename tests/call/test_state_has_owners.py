"""The state of a call has owners: each attribute is written by one file. Exceptions are listed with their reasons."""

from __future__ import annotations

from pathlib import Path

from tests.helpers.state_writers import shared, state_writers

MOST_SHARED = 10
# Attributes that two or more files write, and why.
REASONS = {
    "Call.phase": "greeting.py begins the talk, and ending.py ends the call",
    "Call.ids": "each file names the items that it gives to a session: replayed, cut, generated, or of the caller",
    "Call.notice_item": "our phrase (greeting.py), the model's item (responses.py), or said again (voice_loss.py)",
    "Call.soundless_items": "words without sound, of a cut answer (interruption.py) or an ended one (responses.py)",
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


def test_each_attribute_of_a_calls_state_is_written_by_one_file_only_unless_a_reason_is_listed() -> None:
    several = shared()
    without = [f"{name}: {' '.join(sorted(files))}" for name, files in several.items() if name not in REASONS]
    assert not without, "\n".join(
        ["give each of these one owner, whose methods the others call, or add a reason", *without]
    )
    assert len(several) <= MOST_SHARED


def test_a_second_file_that_writes_an_attribute_is_found(tmp_path: Path) -> None:
    (tmp_path / "state.py").write_text(STATE)
    (tmp_path / "room.py").write_text(ROOM)
    assert shared(tmp_path) == {"Part.value": {"room.py", "state.py"}}
    assert state_writers(tmp_path)["Call.keys"] == {"room.py"}
