"""Defines the functions that a session needs from the protocol on the caller's socket.

twilio/media_protocol.py has them for a phone, and browser/browser_protocol.py for a browser.
"""

from __future__ import annotations

from typing import Protocol

from relay.twilio.media_protocol import Event, Frame


class CallerProtocol(Protocol):
    """Turns messages of the caller's socket into frames and events, and audio and marks into messages."""

    @property
    def NAME(self) -> str:  # noqa: N802 -- a module's constant
        """The protocol's name in log lines and metrics."""

    @property
    def IS_A_PHONE_CALL(self) -> bool:  # noqa: N802
        """True if a phone must be hung up when the call ends."""

    def parse(self, message: bytes) -> Frame | Event | None:
        """Parse a message into a frame or an event. None if the relay does not use it. Raises CallerProtocolError."""

    def play(self, stream_sid: str, mulaw: bytes, receipt: str | None) -> list[bytes]:
        """The messages that play this audio. If `receipt` is given, a mark with this name follows the audio."""

    def mark(self, stream_sid: str, name: str) -> bytes:
        """The message that sends a mark. It comes back when everything before it was played or dropped."""

    def clear(self, stream_sid: str) -> bytes:
        """The message that drops audio which was not played yet."""
