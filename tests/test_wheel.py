"""The wheel alone, in a clean environment, is a complete relay: version, tables, prompts, and ready for calls."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from relay.settings.version import VERSION
from relay.standin.ports import free_port

ROOT = Path(__file__).parents[1]
UV = ROOT / ".bootstrap" / "bin" / "uv"
LIMIT_S = 120.0


@pytest.fixture(scope="module")
def relay(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The installed command. Its dependencies are those of requirements.txt."""
    folder = tmp_path_factory.mktemp("wheel")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("VIRTUAL_ENV")}

    def run(*command: str | Path, cwd: Path = folder) -> None:
        done = subprocess.run([str(each) for each in command], cwd=cwd, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-2000:]

    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder, cwd=ROOT)
    (wheel,) = folder.glob("relay-*.whl")
    run(UV, "venv", "-q", "--no-python-downloads", "--python", sys.executable, folder / "env")
    python = folder / "env" / "bin" / "python"
    run(UV, "pip", "sync", "-q", "--require-hashes", "--python", python, ROOT / "requirements.txt")
    run(UV, "pip", "install", "-q", "--no-deps", "--python", python, wheel)
    return folder / "env" / "bin" / "relay"


def _environment(folder: Path, **more: str) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "HOME": str(folder), "DATA_DIR": str(folder / "data"), **more}


@pytest.mark.real
def test_the_wheel_alone_prints_its_version_and_creates_the_tables(
    relay: Path, tmp_path: Path, empty_database_url: str
) -> None:
    told = subprocess.run([relay, "--version"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert told.stdout == f"relay {VERSION}\n"
    environment = _environment(tmp_path, DATABASE_URL=empty_database_url)
    made = subprocess.run([relay, "migrate"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert made.stdout.startswith("applied: 0001_ledger.sql")


@pytest.mark.real
def test_a_relay_from_the_wheel_alone_starts_and_becomes_ready(relay: Path, tmp_path: Path, database_url: str) -> None:
    port = free_port()
    environment = _environment(
        tmp_path,
        DATABASE_URL=database_url,
        PORT=str(port),
        PUBLIC_URL=f"http://127.0.0.1:{port}",
        OPENAI_API_KEY="sk-x",
        OPENAI_REALTIME_URL="ws://127.0.0.1:9/v1/realtime",
        TWILIO_ACCOUNT_SID="AC" + "0" * 32,
        TWILIO_AUTH_TOKEN="x",
        TWILIO_PHONE_NUMBER="+12125550100",
        BUSINESS_API_BASE="http://127.0.0.1:9",
        HUMAN_TRANSFER_NUMBER="+12125550102",
    )
    daemon = subprocess.Popen([relay, "serve"], cwd=tmp_path, env=environment, stderr=subprocess.PIPE)
    try:
        assert _is_ready(port, daemon), daemon.communicate(timeout=5)[1].decode()[-2000:]
    finally:
        daemon.terminate()
        _, log = daemon.communicate(timeout=60)
    assert daemon.returncode == 0, log.decode()[-2000:]


def _is_ready(port: int, daemon: subprocess.Popen[bytes]) -> bool:
    end = time.monotonic() + LIMIT_S
    while time.monotonic() < end and daemon.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    return False
