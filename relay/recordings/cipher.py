"""Encrypts a recording: AES-256-GCM in chunks, by the STREAM construction. Pure: bytes in, bytes out.

    file   = header, chunk 0, chunk 1, ... last chunk
    header = magic, key id, salt, nonce prefix, and the facts about the file (call, place on the call's time line)
    chunk  = 250 ms of both channels (left byte, right byte, ...; mu-law at 8 kHz) and a tag of 16 bytes
    nonce  = the file's prefix (7 bytes), the chunk's number (4 bytes), and 1 for the last chunk, otherwise 0 (1 byte)

Every chunk except the last is full, so the place of each chunk in the file is known. To play from any moment, only the
header, the last chunk and the chunk of this moment must be read. The last chunk is always shorter. The key of a file
comes from RECORDING_KEY, the salt and the whole header, by HKDF. So a file whose header was changed cannot be opened.
A chunk is refused if its tag does not fit. The chunk's number and the flag of the last chunk are parts of the nonce. So
the tag does not fit if the chunk was changed, cut or moved.

Rule: no chunk is ever encrypted twice with the same file key and nonce. To change a recording, write a new file with a
new header and delete the old one.
Source: Hoang, Reyhanitabar, Rogaway, Vizar, "Online Authenticated-Encryption and its Nonce-Reuse Misuse-Resistance",
2015 (STREAM).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import secrets
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from relay.recordings.timeline import CHUNK_SAMPLES, RATE_HZ

CHUNK_BYTES = 2 * CHUNK_SAMPLES  # Two channels, each with one byte a sample.
TAG_BYTES = 16
SEALED_BYTES = CHUNK_BYTES + TAG_BYTES
KEY_BYTES = 32

_MAGIC = b"RLYREC\x00\x01"
# Magic, key id, salt, nonce prefix, place of the first sample on the call's time line, the call's start (ms since
# 1970), CallSid.
_HEADER = struct.Struct(">8s8s32s7sQQ34s")
HEADER_BYTES = _HEADER.size
_INFO = b"relay recording, AES-256-GCM STREAM, version 1"


class RecordingRefused(Exception):
    """The file cannot be played. The message says why: it is no recording, or it was damaged, cut off or changed."""


class KeyMissing(Exception):
    """No key in RECORDING_KEY decrypts this file. The message says which key is needed."""


class KeyUnusable(ValueError):
    """This text is not a recording key. The message says what is wrong."""


def new_key() -> str:
    """A new key, in the form of RECORDING_KEY."""
    return base64.urlsafe_b64encode(secrets.token_bytes(KEY_BYTES)).decode().rstrip("=")


def _key_of(text: str) -> bytes:
    try:
        key = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise KeyUnusable(
            "a recording key is 43 characters (letters, digits, - and _), as `relay key` prints it"
        ) from None
    if len(key) != KEY_BYTES:
        raise KeyUnusable("a recording key is 43 characters (letters, digits, - and _), as `relay key` prints it")
    return key


def key_id(key: bytes) -> bytes:
    """The id of a key, as headers have it: eight bytes that do not reveal the key."""
    return hashlib.sha256(b"relay recording key id" + key).digest()[:8]


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys in RECORDING_KEY. The first key encrypts new recordings. All keys decrypt."""

    by_id: Mapping[bytes, bytes] = field(repr=False)
    first: bytes  # The id of the first key.

    @classmethod
    def parse(cls, text: str) -> Keys:
        """Read RECORDING_KEY: one key, or several with commas between them. Raises KeyUnusable."""
        keys = [_key_of(part.strip()) for part in text.split(",") if part.strip()]
        if not keys:
            raise KeyUnusable("there is no key in it")
        return cls({key_id(key): key for key in keys}, key_id(keys[0]))


@dataclass(frozen=True, slots=True)
class Header:
    """The facts about a file.

    The file's key is derived from all these facts, so a file with a changed header cannot be decrypted.
    """

    key_id: bytes
    salt: bytes = field(repr=False)
    nonce_prefix: bytes = field(repr=False)
    first_sample: int  # The place of the file's first sample on the call's time line.
    call_started_ms: int  # The call's start, in milliseconds since 1970.
    call_sid: str

    @classmethod
    def fresh(cls, keys: Keys, call_sid: str, first_sample: int, call_started_ms: int) -> Header:
        """The header of a new file, with a new salt and nonce prefix."""
        salt, prefix = secrets.token_bytes(32), secrets.token_bytes(7)
        return cls(keys.first, salt, prefix, first_sample, call_started_ms, call_sid)

    def encode(self) -> bytes:
        """The header's bytes."""
        sid = self.call_sid.encode("ascii")
        return _HEADER.pack(
            _MAGIC, self.key_id, self.salt, self.nonce_prefix, self.first_sample, self.call_started_ms, sid
        )

    @classmethod
    def decode(cls, data: bytes) -> Header:
        """Read a header. Raises RecordingRefused."""
        if len(data) < HEADER_BYTES or not data.startswith(_MAGIC):
            raise RecordingRefused("this is not a recording of a relay")
        _, kid, salt, prefix, first_sample, started_ms, sid = _HEADER.unpack_from(data)
        try:
            call_sid = sid.rstrip(b"\0").decode("ascii")
        except UnicodeDecodeError:
            raise RecordingRefused("the recording's header was changed") from None
        return cls(kid, salt, prefix, first_sample, started_ms, call_sid)


class ChunkCipher:
    """Encrypts and decrypts the chunks of one file."""

    def __init__(self, keys: Keys, header: Header) -> None:
        """Derive the file's key. Raises KeyMissing."""
        key = keys.by_id.get(header.key_id)
        if key is None:
            raise KeyMissing(
                f"the recording was encrypted with the key {header.key_id.hex()}, which RECORDING_KEY does not hold: "
                f"add the old key after the new one, with a comma between them"
            )
        derive = HKDF(SHA256(), KEY_BYTES, header.salt, _INFO + header.encode())
        self._aead = AESGCM(derive.derive(key))
        self._prefix = header.nonce_prefix

    def _nonce(self, number: int, last: bool) -> bytes:
        return self._prefix + number.to_bytes(4, "big") + (b"\1" if last else b"\0")

    def seal(self, number: int, stereo: bytes, *, last: bool) -> bytes:
        """Encrypt a chunk. No two chunks of a file may have the same number and the same `last`."""
        assert (len(stereo) < CHUNK_BYTES) if last else (len(stereo) == CHUNK_BYTES)
        return self._aead.encrypt(self._nonce(number, last), stereo, None)

    def open(self, number: int, sealed: bytes, *, last: bool) -> bytes:
        """Decrypt a chunk. Raises RecordingRefused."""
        try:
            return self._aead.decrypt(self._nonce(number, last), sealed, None)
        except (InvalidTag, ValueError):  # ValueError: the chunk is shorter than a tag.
            at_s = number * CHUNK_SAMPLES / RATE_HZ
            words = "the recording's end is missing, or was changed" if last else f"it was changed at {at_s:g} s"
            raise RecordingRefused(f"the recording is damaged: {words}") from None


def ids(keys: Keys) -> Sequence[str]:
    """The ids of all keys, as hexadecimal text."""
    return [kid.hex() for kid in keys.by_id]
