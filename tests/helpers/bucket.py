"""An S3-compatible store for the tests: moto's server in a process of its own, on loopback."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from relay.recordings.stores import S3Access

START_LIMIT_S = 60.0


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a running store."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log: Path = tmp_path_factory.mktemp("moto") / "log"
    with log.open("wb") as out:
        command = [sys.executable, "-W", "ignore", "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
        process = subprocess.Popen(command, stdout=out, stderr=out)
        try:
            url, until = f"http://127.0.0.1:{port}", time.monotonic() + START_LIMIT_S
            while time.monotonic() < until:
                assert process.poll() is None, log.read_text()
                try:
                    httpx.get(f"{url}/moto-api/", trust_env=False)
                    break
                except httpx.TransportError:
                    time.sleep(0.1)
            yield url
        finally:
            process.kill()
            process.wait()


@pytest.fixture
def bucket(s3_server: str) -> S3Access:
    """A new bucket."""
    name = f"calls-{uuid.uuid4().hex[:12]}"
    made = httpx.put(f"{s3_server}/{name}", trust_env=False)
    assert made.status_code == 200, made.text
    return S3Access(f"s3://{name}/recordings", s3_server, "us-east-1", "key-id", "key-secret")
