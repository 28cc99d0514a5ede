"""The recording of every shipped scenario: the left channel is the caller's audio, the right one is what they heard."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from relay.ledger import rows
from relay.recordings.cipher import Keys, new_key
from relay.recordings.files import open_file
from relay.recordings.stores import FolderStore
from relay.recordings.timeline import RATE_HZ
from relay.standin.scenario.scenario_file import shipped
from relay.standin.twilio.exchange import LiveCall
from relay.standin.twilio.media_stream import MediaStream
from relay.standin.twilio.playback import samples_at
from tests.helpers.play import perform

pytestmark = pytest.mark.usefixtures("same_order")

FRAME = 160  # samples
# Audio may be at most this many samples from its place: half a frame for the mark, and the rest for the network.
PLACE_LIMIT = 20 * 8
CUT_LIMIT = 150 * 8  # samples; the largest jitter of a shipped scenario is 120 ms
KEY = new_key()
KEYS = Keys.parse(KEY)
# Scenarios of each kind: talk, interruptions, transfers that come back, lost streams, muted lines, and bad networks.
CHOSEN = (
    "good_call", "barge_in_twice", "backchannel", "cough", "transfer_declined", "socket_cut", "muted_line",
    "network_delay", "network_bursts", "rough_network", "model_dies_in_answer", "goodbye", "emergency",
)  # fmt: skip
NO_SOUND = {"day_spend", "hangup_before_stream", "hangup_during_greeting", "key_zero", "relay_dead"}
NO_SOUND |= {"relay_dies_in_call", "relay_killed", "socket_cut_again_and_again", "too_often"}
# In these scenarios the network delays each message by another time, so the recording cannot be exact to the sample.
ROUGH = {"network_bursts", "network_jitter", "rough_network"}

Frames = dict[str, list[tuple[int, bytes]]]


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> Frames:
    """For each call: every frame that the stand-in sends, with the time of its beginning in samples."""
    found: Frames = {}
    media = MediaStream.media

    def listen(self: MediaStream, mulaw: bytes, timestamp_ms: int) -> str:
        began = samples_at(trio.current_time()) - FRAME
        found.setdefault(self._call_sid, []).append((began, mulaw))
        return media(self, mulaw, timestamp_ms)

    monkeypatch.setattr(MediaStream, "media", listen)
    return found


def _check_left(left: bytes, base: int, frames: list[tuple[int, bytes]]) -> None:
    """Check that everything sent since the beginning of the recording is in it, with gaps of the right length."""
    recorded = [(began, mulaw) for began, mulaw in frames if began >= base + PLACE_LIMIT]
    if not recorded:
        return
    first = recorded[0][0]
    whole = bytearray(b"\xff" * (recorded[-1][0] - first + FRAME))
    for began, mulaw in recorded:
        whole[began - first : began - first + FRAME] = mulaw
    shifts = range(first - base - PLACE_LIMIT, first - base + PLACE_LIMIT + 1)
    end = len(left) - len(whole)
    assert any(left[at : at + len(whole)] == whole[: len(left) - at] for at in shifts), (len(recorded), end)


def _check_right(right: bytes, base: int, call: LiveCall, *, rough: bool) -> None:
    heard = call.state.playback.read(base, len(right))
    if not rough:
        shifts = [at for at in range(-8, 9) if call.state.playback.read(base + at, len(right)) == right]
        assert shifts, "the right channel does not equal the heard audio to the sample"
        return
    assert _seams(right.replace(b"\xff", b""), heard.replace(b"\xff", b"")) <= len(call.state.playback.cuts)
    off = 0
    windows = [at for at in range(0, len(heard) - FRAME, FRAME) if b"\xff" not in heard[at : at + FRAME]]
    for at in windows:
        found = right.find(heard[at : at + FRAME], max(0, at - 10 * PLACE_LIMIT), at + 10 * PLACE_LIMIT)
        off += not abs(found - at) <= PLACE_LIMIT + 8
    assert off <= len(windows) // 20  # a few windows contain a seam, so they are not found


def _seams(recorded: bytes, heard: bytes) -> int:
    """Count the places where the recording or the heard audio has up to `CUT_LIMIT` samples more than the other.

    Everything else must be equal. Such a place (a seam) comes from a `clear`: the network delays the `clear`, so Twilio
    plays on for a time that the relay cannot know.
    """
    seams = 0
    while recorded != heard:
        same = next((at for at, pair in enumerate(zip(recorded, heard, strict=False)) if pair[0] != pair[1]), None)
        if same is None:  # one of the two ends here
            assert abs(len(recorded) - len(heard)) <= CUT_LIMIT
            return seams + 1
        recorded, heard = recorded[same:], heard[same:]
        more_heard = heard.find(recorded[:FRAME], 0, CUT_LIMIT + FRAME)
        more_recorded = recorded.find(heard[:FRAME], 0, CUT_LIMIT + FRAME)
        assert max(more_heard, more_recorded) > 0, f"the audio differs, {len(heard)} samples before its end"
        recorded, heard = recorded[max(more_recorded, 0) :], heard[max(more_heard, 0) :]
        seams += 1
    return seams


async def _check(name: str, folder: Path, sent: Frames) -> None:
    began_s = trio.current_time()
    _, _, play = await perform(name, settings={"RECORD": "on", "RECORDING_KEY": KEY, "DATA_DIR": str(folder)})
    store = FolderStore(folder / "recordings")
    names = list(store.names())
    assert not [path for path in store.folder.rglob("*") if path.suffix == ".part"]
    written = [row.name for row in play.ledger.of(rows.RecordingRow)]
    assert sorted(names) == written or "relay_" in name  # a dead relay writes no recording
    heard = 0
    for file in names:
        recording = open_file(store.folder / file, KEYS)
        call = play.exchange.calls[recording.header.call_sid]
        zero_s = began_s + recording.header.call_started_ms / 1000 - play.exchange.epoch.timestamp()
        base = samples_at(zero_s) + recording.first_sample
        stereo = b"".join(recording.chunks())
        _check_left(stereo[0::2], base, sent[call.state.sid])
        _check_right(stereo[1::2], base, call, rough=name in ROUGH)
        heard += len(stereo[1::2].strip(b"\xff"))
    assert (heard > RATE_HZ // 2) == (name not in NO_SOUND)


@pytest.mark.parametrize("name", CHOSEN)
async def test_the_recording_of_a_scenario_has_the_audio_that_both_sides_heard(
    name: str, tmp_path: Path, sent: Frames, autojump_clock: trio.testing.MockClock
) -> None:
    await _check(name, tmp_path, sent)


@pytest.mark.deep
@pytest.mark.parametrize("name", sorted(set(shipped()) - set(CHOSEN)))
async def test_the_recording_of_every_other_scenario_has_the_audio_that_both_sides_heard(
    name: str, tmp_path: Path, sent: Frames, autojump_clock: trio.testing.MockClock
) -> None:
    await _check(name, tmp_path, sent)
