"""A whole text message as one WebSocket frame: made, and found in a stream of bytes (RFC 6455 5.2)."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

# `apply_mask` is the C function, or the Python one if there is no C.
from websockets.frames import apply_mask  # type: ignore[attr-defined]

# The first byte of a text message in one frame, and the bit of the second byte that says "masked" (RFC 6455 5.2).
WHOLE_TEXT, MASKED = 0x81, 0x80


def _fresh_masks() -> Iterator[bytes]:
    """Masks that nobody can predict (RFC 6455 5.3). The system's random numbers are read for 1,000 masks at a time."""
    while True:
        pool = os.urandom(4096)
        for at in range(0, 4096, 4):
            yield pool[at : at + 4]


masks = _fresh_masks()


def text_frames(messages: Iterable[bytes], *, masked: bool) -> list[bytes]:
    """Each message as a text frame. `masked` is for a client, which must mask."""
    return [text_frame(message, next(masks) if masked else b"") for message in messages]


def text_frame(message: bytes, mask: bytes) -> bytes:
    """One text frame. It is masked if a mask is given, which a client must do."""
    size, bit = len(message), MASKED if mask else 0
    if size < 126:
        head = bytes((WHOLE_TEXT, bit | size))
    elif size < 65_536:
        head = bytes((WHOLE_TEXT, bit | 126, size >> 8, size & 255))
    else:
        head = bytes((WHOLE_TEXT, bit | 127)) + size.to_bytes(8, "big")
    return head + mask + apply_mask(message, mask) if mask else head + message


def span(data: bytes, at: int) -> tuple[int, int]:
    """Where the payload of the frame at `at` begins (after its mask) and ends. (0, 0) if its head is not complete."""
    try:
        size = data[at + 1]
        begin = at + 6 if size & MASKED else at + 2
        size &= 127
        if size == 126:
            begin, size = begin + 2, data[at + 2] << 8 | data[at + 3]
        elif size == 127:
            begin, size = begin + 8, int.from_bytes(data[at + 2 : at + 10], "big")
            if at + 10 > len(data):
                return 0, 0
    except IndexError:
        return 0, 0
    return begin, begin + size
