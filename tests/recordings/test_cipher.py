"""A recording that was damaged, cut, swapped, reordered or given another header is refused. So is a wrong key."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from relay.recordings.cipher import (
    CHUNK_BYTES,
    HEADER_BYTES,
    SEALED_BYTES,
    ChunkCipher,
    Header,
    KeyMissing,
    Keys,
    KeyUnusable,
    RecordingRefused,
    new_key,
)
from relay.recordings.files import FileInProgress, Recording, open_file

CHUNKS = 5
TAIL_BYTES = 1_234


def _written(folder: Path, keys: Keys, seed: int = 0, call_sid: str = "CA1") -> tuple[Path, bytes]:
    """Make a recording of five whole chunks and a shorter one. Return its file and its audio."""
    stereo = random.Random(seed).randbytes(CHUNKS * CHUNK_BYTES + TAIL_BYTES)
    file = FileInProgress(folder, f"2026-11-29/120000-{call_sid}-{seed}.rec", keys, Header.fresh(keys, call_sid, 0, 0))
    file.open()
    for at in range(0, CHUNKS * CHUNK_BYTES, CHUNK_BYTES):
        file.append(stereo[at : at + CHUNK_BYTES])
    finished = file.close(stereo[CHUNKS * CHUNK_BYTES :])
    return folder / finished.name, stereo


def _heard(data: bytes, keys: Keys) -> bytes:
    return b"".join(Recording(len(data), lambda offset, count: data[offset : offset + count], keys).chunks())


@pytest.fixture
def keys() -> Keys:
    return Keys.parse(new_key())


def test_a_recording_can_be_read_from_any_place(tmp_path: Path, keys: Keys) -> None:
    path, stereo = _written(tmp_path, keys)
    assert _heard(path.read_bytes(), keys) == stereo
    recording = open_file(path, keys)
    assert recording.samples == len(stereo) // 2
    for first, count in [(0, 1), (1_999, 2), (3_000, 5_000), (len(stereo) // 2 - 1, 100), (len(stereo) // 2, 5)]:
        assert recording.read(first, count) == stereo[2 * first : 2 * (first + count)]


def test_seeking_reads_one_chunk_and_the_end_and_not_the_whole_file(tmp_path: Path, keys: Keys) -> None:
    path, _ = _written(tmp_path, keys)
    data, asked = path.read_bytes(), []

    def read_at(offset: int, count: int) -> bytes:
        asked.append(count)
        return data[offset : offset + count]

    recording = Recording(len(data), read_at, keys)
    recording.read(4_100, 10)
    assert sum(asked) <= HEADER_BYTES + 2 * SEALED_BYTES


def _harms(data: bytes, rng: random.Random) -> list[bytes]:
    """One copy with each kind of damage, at a random place."""
    bit = rng.randrange(8 * len(data))
    flipped = bytearray(data)
    flipped[bit // 8] ^= 1 << bit % 8
    chunks = [data[at : at + SEALED_BYTES] for at in range(HEADER_BYTES, len(data), SEALED_BYTES)]
    head, one, other = data[:HEADER_BYTES], *rng.sample(range(CHUNKS), 2)
    swapped, without, doubled = list(chunks), list(chunks), list(chunks)
    swapped[one], swapped[other] = swapped[other], swapped[one]
    del without[one]
    doubled.insert(other, chunks[one])
    cut = rng.randrange(len(data))
    return [
        bytes(flipped),
        data[:cut],
        head + b"".join(swapped),
        head + b"".join(without),
        head + b"".join(doubled),
        head + b"".join(chunks[:-1]),
        data + rng.randbytes(rng.randrange(1, 2 * SEALED_BYTES)),
        data[:cut] + data[cut + rng.randrange(1, 100) :] if cut < len(data) - 100 else data[:-1],
    ]


@pytest.mark.parametrize("rounds", [130, pytest.param(2_000, marks=pytest.mark.deep)])
def test_a_recording_with_a_flipped_bit_or_a_cut_or_a_swap_or_a_missing_end_is_refused(
    tmp_path: Path, keys: Keys, rounds: int
) -> None:
    path, stereo = _written(tmp_path, keys)
    data, rng = path.read_bytes(), random.Random(rounds)
    for _ in range(rounds):
        for harmed in _harms(data, rng):
            assert harmed != data
            with pytest.raises((RecordingRefused, KeyMissing)):
                _heard(harmed, keys)
    assert _heard(data, keys) == stereo


def test_a_recording_with_a_changed_header_is_refused(tmp_path: Path, keys: Keys) -> None:
    data = _written(tmp_path, keys)[0].read_bytes()
    for at in range(HEADER_BYTES):
        changed = bytearray(data)
        changed[at] ^= 0x01
        with pytest.raises((RecordingRefused, KeyMissing)):
            _heard(bytes(changed), keys)


def test_a_file_with_a_wrong_end_is_refused_before_any_of_it_is_heard(tmp_path: Path, keys: Keys) -> None:
    data = bytearray(_written(tmp_path, keys)[0].read_bytes())
    data[-1] ^= 0x80
    with pytest.raises(RecordingRefused, match="end"):
        Recording(len(data), lambda offset, count: bytes(data[offset : offset + count]), keys)


def test_a_middle_chunk_cannot_replace_the_last_chunk_nor_the_other_way_round(keys: Keys) -> None:
    cipher = ChunkCipher(keys, Header.fresh(keys, "CA1", 0, 0))
    last, middle = cipher.seal(7, b"ab", last=True), cipher.seal(8, bytes(CHUNK_BYTES), last=False)
    for number, sealed, as_last in ((7, last, False), (8, middle, True)):
        with pytest.raises(RecordingRefused):
            cipher.open(number, sealed, last=as_last)
        assert cipher.open(number, sealed, last=not as_last)


def test_chunks_and_headers_of_two_recordings_with_the_same_key_cannot_be_mixed(tmp_path: Path, keys: Keys) -> None:
    ours, theirs = (_written(tmp_path, keys, seed)[0].read_bytes() for seed in (1, 2))
    at = HEADER_BYTES + SEALED_BYTES
    for mixed in (
        theirs[:HEADER_BYTES] + ours[HEADER_BYTES:],
        ours[:at] + theirs[at : at + SEALED_BYTES] + ours[at + SEALED_BYTES :],
    ):
        with pytest.raises(RecordingRefused):
            _heard(mixed, keys)


def test_without_the_key_there_is_one_sentence_and_an_older_key_still_opens_its_recordings(tmp_path: Path) -> None:
    old, new = new_key(), new_key()
    path, stereo = _written(tmp_path, Keys.parse(old))
    with pytest.raises(KeyMissing) as refused:
        open_file(path, Keys.parse(new))
    assert "\n" not in str(refused.value)
    assert "RECORDING_KEY" in str(refused.value)
    both = Keys.parse(f"{new},{old}")
    assert _heard(path.read_bytes(), both) == stereo
    fresh, _ = _written(tmp_path, both, seed=3)
    assert open_file(fresh, Keys.parse(new)).samples == len(stereo) // 2


@pytest.mark.parametrize("text", ["", ",", "short", "!" * 43, "A" * 44, "a,b"])
def test_a_text_that_is_not_a_key_is_refused(text: str) -> None:
    with pytest.raises(KeyUnusable):
        Keys.parse(text)


def test_neither_keys_nor_salts_are_shown(keys: Keys) -> None:
    header = Header.fresh(keys, "CA1", 0, 0)
    assert all(part.hex() not in repr(keys) + repr(header) for part in (*keys.by_id.values(), header.salt))
    assert all(repr(part) not in repr(keys) + repr(header) for part in (*keys.by_id.values(), header.salt))


def test_no_two_files_share_a_salt_or_a_first_chunk(tmp_path: Path, keys: Keys) -> None:
    files = []
    for seed in range(3):
        path, _ = _written(tmp_path, keys, seed=0, call_sid=f"CA{seed}")
        files.append(path.read_bytes())
    assert len({data[HEADER_BYTES : HEADER_BYTES + 64] for data in files}) == 3
