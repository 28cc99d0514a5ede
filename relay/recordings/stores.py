"""Keeps closed recordings in a folder, or in an S3-compatible store (Tigris, R2, MinIO, AWS). These methods block.

A recording has the same name in the folder and in the store, like 2026-11-29/140512-CA...-4f2a9c1b.rec. So sorted names
are in the order of time.
"""

from __future__ import annotations

import glob
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

from relay.recordings.cipher import Keys
from relay.recordings.files import SUFFIX, Recording, is_of, open_file

if TYPE_CHECKING:
    from obstore.store import S3Store

# An upload that takes longer than this is tried again later. A recording of ten minutes has 10 MB.
REQUEST_LIMIT = timedelta(seconds=60)
CONNECT_LIMIT = timedelta(seconds=10)


class StoreFailed(Exception):
    """An operation of the store failed. The message says why. Another try may succeed."""


class StoreUnusable(Exception):
    """RECORDINGS_URL cannot be used at all. The message says what to do."""


class Store(Protocol):
    """Keeps closed recordings. All methods raise StoreFailed."""

    where: str  # The store's name in rows.

    def open(self, name: str, keys: Keys) -> Recording:
        """Open a recording.

        Also raises RecordingRefused, KeyMissing, and FileNotFoundError if there is no such recording.
        """

    def names(self, before: str = "") -> Iterator[str]:
        """The names of the recordings, oldest first if the store can sort.

        If `before` is given, only names that sort before `before` are returned.
        """

    def delete(self, names: Iterable[str]) -> None:
        """Delete these recordings. A recording that does not exist is no error."""


def begun_at(name: str) -> datetime | None:
    """When a recording began, as its name says. None if this is not the name of a recording."""
    with suppress(ValueError):
        return datetime.strptime(name[:17], "%Y-%m-%d/%H%M%S").replace(tzinfo=UTC)
    return None


class FolderStore:
    """A folder of this machine."""

    where = "disk"

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def open(self, name: str, keys: Keys) -> Recording:
        try:
            return open_file(self.folder / name, keys)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise StoreFailed(f"{name} cannot be read: {error.strerror}") from None

    def names(self, before: str = "") -> Iterator[str]:
        for day in sorted(self.folder.glob("????-??-??")):
            if before and day.name > before[:10]:
                return
            for path in sorted(day.glob(f"*{SUFFIX}")):
                name = f"{day.name}/{path.name}"
                if not before or name < before:
                    yield name

    def names_of(self, call_sid: str) -> list[str]:
        """The names of the recordings of one call."""
        found = self.folder.glob(f"????-??-??/*-{glob.escape(call_sid)}-*{SUFFIX}")
        return [f"{path.parent.name}/{path.name}" for path in found if is_of(path.name, call_sid)]

    def delete(self, names: Iterable[str]) -> None:
        for name in names:
            path = self.folder / name
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise StoreFailed(f"{name} cannot be deleted: {error.strerror}") from None
            with suppress(OSError):  # The folder of the day has other recordings.
                path.parent.rmdir()


@dataclass(frozen=True, slots=True)
class S3Access:
    """The access to an S3-compatible store. The fields have the usual AWS names."""

    url: str  # Like s3://bucket/prefix.
    endpoint: str = ""
    region: str = ""
    access_key_id: str = ""
    secret_access_key: str = field(default="", repr=False)
    session_token: str = field(default="", repr=False)


class ObjectStore:
    """A bucket of an S3-compatible store, by obstore's synchronous API."""

    def __init__(self, access: S3Access, request_limit: timedelta = REQUEST_LIMIT) -> None:
        """Raises StoreUnusable."""
        try:
            import obstore
            from obstore.store import S3Store
        except ImportError:
            raise StoreUnusable(
                "RECORDINGS_URL needs obstore, which is an extra of relay's: pip install 'relay[s3]'"
            ) from None
        parts = urlsplit(access.url)
        self.where = access.url.rstrip("/")
        self._api = obstore
        config = {
            "endpoint": access.endpoint,
            "region": access.region or "auto",
            "access_key_id": access.access_key_id,
            "secret_access_key": access.secret_access_key,
            "session_token": access.session_token,
        }
        self._store: S3Store = S3Store(
            parts.netloc,
            prefix=parts.path.strip("/") or None,
            config={name: value for name, value in config.items() if value},  # type: ignore[arg-type]
            client_options={
                "allow_http": access.endpoint.startswith("http://"),
                "timeout": request_limit,
                "connect_timeout": CONNECT_LIMIT,
            },
            retry_config={"max_retries": 2, "retry_timeout": request_limit},
        )

    def put(self, name: str, path: Path) -> None:
        """Upload a file. When this method returns, the store has confirmed that it has the whole file.

        Raises StoreFailed.
        """
        size = path.stat().st_size
        # The store may have the whole file already, if a process was killed after the upload and before it deleted the
        # file on disk.
        if self.size(name) == size:
            return
        try:
            self._api.put(self._store, name, path)
        except Exception as error:
            raise StoreFailed(_words(error)) from None
        kept = self.size(name)
        if kept != size:
            raise StoreFailed(f"the store says that it has {kept} bytes of {size}")

    def size(self, name: str) -> int | None:
        """How many bytes the store has under this name. None if the store has no such name. Raises StoreFailed."""
        try:
            return int(self._api.head(self._store, name)["size"])
        except FileNotFoundError:
            return None
        except Exception as error:
            raise StoreFailed(_words(error)) from None

    def open(self, name: str, keys: Keys) -> Recording:
        size = self.size(name)
        if size is None:
            raise FileNotFoundError(name)

        def read_at(offset: int, count: int) -> bytes:
            try:
                return bytes(self._api.get_range(self._store, name, start=offset, length=count))
            except Exception as error:
                raise StoreFailed(_words(error)) from None

        return Recording(size, read_at, keys)

    def names(self, before: str = "") -> Iterator[str]:
        try:
            for batch in self._api.list(self._store):
                for entry in batch:
                    name = str(entry["path"])
                    if name.endswith(SUFFIX) and (not before or name < before):
                        yield name
        except Exception as error:
            raise StoreFailed(_words(error)) from None

    def delete(self, names: Iterable[str]) -> None:
        wanted = list(names)
        if not wanted:
            return
        try:
            self._api.delete(self._store, wanted)
        except FileNotFoundError:
            pass  # The recordings are deleted already.
        except Exception as error:
            raise StoreFailed(_words(error)) from None


def _words(error: Exception) -> str:
    """The kind of the error, and at most 200 characters of the store's message in one line, up to the first "?".

    The message may quote a signed URL, which has its signature after the "?".
    """
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text.split('?', 1)[0][:200]}"
