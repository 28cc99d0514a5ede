"""The steps of the Dockerfile run in a clean environment, by a user who is not root, until the relay answers.

There is no container engine where these tests run. So each RUN, COPY, ENV and CMD line is read from the file and
carried out below a folder of its own.
"""

from __future__ import annotations

import os
import pwd
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
START_LIMIT_S = 60.0


def _steps() -> list[tuple[str, str]]:
    text = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
    return re.findall(r"^(FROM|RUN|COPY|ENV|WORKDIR|USER|CMD) (.*)$", text, re.M)


def _as_nobody() -> dict[str, object]:
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def _python() -> str:
    """A Python that the unprivileged user can run, because they cannot enter root's home."""
    found = [getattr(sys, "_base_executable", sys.executable), "/usr/bin/python3", "/usr/local/bin/python3"]
    for python in found:
        try:
            command = [python, "-c", "import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))"]
            if subprocess.run(command, cwd="/", capture_output=True, **_as_nobody()).returncode == 0:  # type: ignore[call-overload]
                return python
        except OSError:
            continue
    raise AssertionError(f"none of {found} can be run by a user who is not root")


def _context(folder: Path) -> Path:
    """The folder of a build: the files of this repository, a package with an owner's functions, and an `.env`."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, text=True)
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    (folder / "harbor_functions").mkdir()
    (folder / "harbor_functions" / "__init__.py").touch()
    (folder / ".env").write_text("OPENAI_API_KEY=sk-of-the-business\n")
    return folder


@pytest.mark.real
@pytest.mark.deep
def test_the_images_own_steps_give_a_relay_that_answers_and_stops_without_root(open_folder: Path) -> None:
    app, data = open_folder / "app", open_folder / "data"
    for folder in (app, data):
        folder.mkdir(mode=0o755)
    environment = {"PATH": os.environ["PATH"], "HOME": str(data)}
    for name in ("SSL_CERT_FILE", "PIP_CERT", "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS"):
        if name in os.environ:
            environment[name] = os.environ[name]
    command: list[str] = []
    context = _context(open_folder / "context")
    left_out = shutil.ignore_patterns(
        *(line.removeprefix("**/") for line in (ROOT / ".dockerignore").read_text().split())
    )

    def here(text: str) -> str:
        return re.sub(r"(?<![\w./])/(app|opt|data)\b", rf"{open_folder}/\1", text)

    for kind, text in _steps():
        if kind == "RUN" and "useradd" not in text:
            step = here(text).replace("python -m venv", f"{_python()} -m venv")
            subprocess.run(["sh", "-ec", step], check=True, cwd=app, env=environment, stdout=subprocess.DEVNULL)
        elif kind == "COPY" and not text.startswith("--from"):
            source, target = text.split()
            if (context / source).is_dir():
                shutil.copytree(context / source, app / target, ignore=left_out, dirs_exist_ok=True)
            else:
                shutil.copy(context / source, app / target)
        elif kind == "ENV":
            pairs = dict(part.split("=", 1) for part in shlex.split(here(text)))
            environment |= {k: v.replace("$PATH", environment["PATH"]) for k, v in pairs.items()}
        elif kind == "CMD":
            command = [part.strip(' "') for part in text.strip("[]").split(",")]
    if os.geteuid() == 0:
        os.chown(data, pwd.getpwnam("nobody").pw_uid, -1)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment |= {
        "PORT": str(port),
        "PUBLIC_URL": f"http://127.0.0.1:{port}",
        "OPENAI_API_KEY": "sk-x",
        "OPENAI_REALTIME_URL": "ws://127.0.0.1:9/v1/realtime",
        "TWILIO_ACCOUNT_SID": "AC" + "0" * 32,
        "TWILIO_AUTH_TOKEN": "x",
        "TWILIO_PHONE_NUMBER": "+12125550100",
        "BUSINESS_API_BASE": "http://127.0.0.1:9",
        "HUMAN_TRANSFER_NUMBER": "+12125550102",
        "FUNCTIONS": "harbor_functions",
    }
    assert not [path.name for path in app.iterdir() if path.name.startswith((".env", ".git"))]
    relay = subprocess.Popen(command, cwd=app, env=environment, stderr=subprocess.PIPE, **_as_nobody())  # type: ignore[call-overload]
    try:
        assert _ready(port, relay), relay.communicate(timeout=5)[1].decode()[-2000:]
    finally:
        relay.terminate()
        _, log = relay.communicate(timeout=30)
    assert relay.returncode == 0, log.decode()[-2000:]


def _ready(port: int, relay: subprocess.Popen[bytes]) -> bool:
    end = time.monotonic() + START_LIMIT_S
    while time.monotonic() < end and relay.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    return False
