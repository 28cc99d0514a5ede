"""What a session needs of the protocol on its caller's socket: a phone's (twilio) or a browser's. Both are modules."""

from __future__ import annotations

from typing import Protocol

from relay.twilio.media_protocol import Event, Frame


class CallerProtocol(Protocol):
    """Messages of the caller's socket to frames and events, and our words to messages."""

    @property
    def NAME(self) -> str:  # noqa: N802 -- a module's constant
        """Whose messages these are, in log lines and metrics."""

    @property
    def IS_A_PHONE_CALL(self) -> bool:  # noqa: N802
        """True if the caller's phone must be hung up too."""

    def parse(self, message: bytes) -> Frame | Event | None:
        """What a message says; None if we do not need it. Raises CallerProtocolError."""

    def play(self, stream_sid: str, mulaw: bytes, receipt: str | None) -> list[bytes]:
        """The messages that play this, and ask for a receipt of it by this name."""

    def mark(self, stream_sid: str, name: str) -> bytes:
        """The message that asks for a receipt of what was sent before it."""

    def clear(self, stream_sid: str) -> bytes:
        """The message that drops what was not played."""
