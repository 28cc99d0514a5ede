"""Dockerfile, fly.toml, .env.example and the locks fit the code that they start."""

from __future__ import annotations

import re
import subprocess
import tomllib
from dataclasses import fields
from pathlib import Path

from relay import settings
from relay.cli import _parser
from relay.console.live import MOST_WATCHERS
from relay.server import app
from relay.server.listening_in import MOST_LISTENERS
from relay.settings import Settings

ROOT = Path(__file__).parent.parent
FLY = tomllib.loads((ROOT / "fly.toml").read_text())
DOCKERFILE = (ROOT / "Dockerfile").read_text()


def test_fly_kills_a_machine_only_after_the_time_for_the_drain() -> None:
    assert FLY["kill_signal"] == "SIGTERM"
    assert app.DRAIN_S + 20 <= FLY["kill_timeout"] <= 300


def test_fly_never_stops_a_machine_with_calls() -> None:
    assert FLY["http_service"]["auto_stop_machines"] == "off"
    assert FLY["http_service"]["min_machines_running"] >= 1


def test_flys_limit_has_room_for_all_admitted_calls_and_for_webhooks() -> None:
    limits = FLY["http_service"]["concurrency"]
    assert limits["type"] == "connections"
    assert limits["hard_limit"] >= 1.2 * int(FLY["env"]["MAX_CALLS"])
    assert limits["soft_limit"] < limits["hard_limit"]
    room = limits["hard_limit"] - int(FLY["env"]["MAX_CALLS"])
    assert room - MOST_WATCHERS - MOST_LISTENERS >= 8  # left for webhooks, checks and metrics


def test_fly_waits_for_the_greeting() -> None:
    (check,) = FLY["http_service"]["checks"]
    assert int(check["grace_period"].rstrip("s")) > app.GREETING_WAIT_S


def test_fly_toml_sets_only_settings_of_the_relay_with_valid_values() -> None:
    known = {one.name.upper() for one in fields(Settings)}
    assert set(FLY["env"]) <= known
    settings.load(FLY["env"], serving=False)
    assert int(FLY["env"]["PORT"]) == FLY["http_service"]["internal_port"] == FLY["metrics"]["port"]


def test_the_image_runs_the_relay_as_pid_1_and_not_as_root() -> None:
    assert re.search(r'^CMD \["python", "-m", "relay", "serve"\]$', DOCKERFILE, re.M)
    assert re.search(r"^USER relay$", DOCKERFILE, re.M)
    assert DOCKERFILE.index("USER relay") > DOCKERFILE.index("useradd")


def test_the_image_has_every_folder_that_the_relay_reads() -> None:
    copied = set(re.findall(r"^COPY (\w+) \w+$", DOCKERFILE, re.M))
    assert {"relay", "dsp", "prompts", "sql"} <= copied


def test_the_image_has_the_functions_beside_the_relay_and_no_secrets() -> None:
    assert re.search(r"^COPY \. \.$", DOCKERFILE, re.M)
    left_out = (ROOT / ".dockerignore").read_text().split()
    assert {".env*", ".git*", "data", "out"} <= set(left_out)
    for name in (".env", ".env.production", "staging.env"):
        assert any(Path(name).match(pattern) for pattern in left_out), name
    for name in ("relay", "harbor_functions", "business.toml", "prompts"):
        assert not any(Path(name).match(pattern) for pattern in left_out), name


def test_the_deploy_page_sets_each_setting_that_the_relay_needs_on_fly() -> None:
    page = (ROOT / "docs" / "deploy.md").read_text()
    command = page[page.index("fly secrets set") : page.index("fly deploy ")]
    wanted = {name.upper() for name in settings.REQUIRED} | {
        "DATABASE_URL",
        "BUSINESS_NAME",
        "AGENT_NAME",
        "BUSINESS_TZ",
    }
    assert wanted - {"BUSINESS_API_BASE"} <= set(re.findall(r"([A-Z][A-Z_]+)=", command))


def test_the_image_listens_on_the_port_that_fly_uses() -> None:
    assert re.search(rf"^EXPOSE {FLY['http_service']['internal_port']}$", DOCKERFILE, re.M)


def test_the_env_example_has_every_setting_and_no_other() -> None:
    text = (ROOT / ".env.example").read_text()
    shown = set(re.findall(r"^#?([A-Z][A-Z0-9_]+)=", text, re.M))
    of_fly = {"FLY_APP_NAME", "FLY_MACHINE_ID", "FLY_REGION", "FLY_IMAGE_REF"}
    read = {one.name.upper() for one in fields(Settings) if not one.metadata.get("derived")}
    assert shown == read - of_fly


def test_the_env_example_shows_the_defaults() -> None:
    text = (ROOT / ".env.example").read_text()
    given = dict(re.findall(r"^#([A-Z0-9_]+)=(.*)$", text, re.M))
    read = settings.load({k: v for k, v in given.items() if v}, serving=False)
    default = Settings()
    for name in given:
        assert getattr(read, name.lower()) == getattr(default, name.lower()), name


def test_a_shell_can_read_the_env_example_with_every_line_active(tmp_path: Path) -> None:
    text = (ROOT / ".env.example").read_text()
    (tmp_path / ".env").write_text(re.sub(r"^#([A-Z_]+=)", r"\1", text, flags=re.M))
    command = 'set -a; . ./.env; printf %s "$BUSINESS_NAME"'
    done = subprocess.run(["/bin/sh", "-c", command], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr, done.stdout) == (0, "", Settings().business_name)


def test_the_locks_name_no_index_and_pin_everything_by_hash() -> None:
    for name in ("requirements.txt", "requirements-dev.txt"):
        text = (ROOT / name).read_text()
        assert "://" not in text
        for block in re.split(r"\n(?=\S)", text.strip()):
            assert "==" in block, block
            assert "--hash=sha256:" in block, block


def test_the_versions_in_the_lock_for_running_are_those_in_the_lock_for_tests() -> None:
    def pins(name: str) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for package, version in re.findall(r"^([\w.\-\[\]]+)==([\w.]+)", (ROOT / name).read_text(), re.M):
            found.setdefault(package, set()).add(version)
        return found

    tested = pins("requirements-dev.txt")
    for package, versions in pins("requirements.txt").items():
        assert versions <= tested[package], package


def test_every_installation_checks_the_hashes_of_the_lock() -> None:
    recipes = (ROOT / "Makefile").read_text() + DOCKERFILE
    installs = [line for line in recipes.splitlines() if re.search(r"pip (?:install|sync)\b.*requirements", line)]
    assert len(installs) == 2, "there are two installations: make setup and the image"
    for line in installs:
        assert "--require-hashes" in line
        assert "--only-binary :all:" in line


def test_a_release_migrates_before_it_takes_calls() -> None:
    command = FLY["deploy"]["release_command"].split()
    assert command == ["python", "-m", "relay", "migrate"]
    assert _parser().parse_args(command[3:]).command.__name__ == "_migrate"
