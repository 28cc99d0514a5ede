"""The structure of the code: packages import in one direction, pure modules stay pure, a start imports no stand-in."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CONTRACTS = {
    c["id"]: c for c in tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
}
PURE = CONTRACTS["pure"]["source_modules"]


def _lint(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache", "--no-logo"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """A copy of the code for a test to break."""
    for name in ("relay", "dsp"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", "*.ulaw", "*.toml"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def _file_of(house: Path, module: str) -> Path:
    path = house / module.replace(".", "/")
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


@pytest.mark.real
def test_an_impure_import_in_any_pure_module_is_reported_with_the_modules_name(house: Path) -> None:
    for module in PURE:
        path = _file_of(house, module)
        path.write_text(path.read_text() + "\nimport time\n")
    found = _lint(house)
    assert found.returncode != 0
    told = [module for module in PURE if f"{module} is not allowed to import time" in found.stdout]
    assert told == list(PURE)


@pytest.mark.real
def test_an_import_in_the_wrong_direction_or_of_a_stand_in_is_reported(house: Path) -> None:
    for module, line in {
        "relay.call.machine": "from relay.session import call_session",
        "relay.ledger.rows": "from relay.server import webhooks",
        "relay.phrases.prompts": "from relay.standin.speech import voice",
    }.items():
        path = _file_of(house, module)
        path.write_text(path.read_text() + f"\n{line}\n")
    found = _lint(house)
    assert found.returncode != 0
    assert "relay.call is not allowed to import relay.session" in found.stdout
    assert "relay.ledger is not allowed to import relay.server" in found.stdout
    assert "relay.phrases is not allowed to import relay.standin" in found.stdout


def test_every_package_has_a_place_in_the_order_of_imports() -> None:
    lines = " ".join(CONTRACTS["line"]["layers"]).replace("|", " ").split()
    rooms = [
        f"relay.{path.stem}"
        for path in (ROOT / "relay").iterdir()
        if path.suffix == ".py" or (path / "__init__.py").exists()
    ]
    missing = {room for room in rooms if not any(f"{line}.".startswith(f"{room}.") for line in lines)}
    assert missing == {"relay.__init__"}


def test_every_package_and_file_says_in_its_first_line_what_it_does() -> None:
    for path in [*(ROOT / "relay").rglob("*.py"), *(ROOT / "dsp").rglob("*.py")]:
        assert ast.get_docstring(ast.parse(path.read_text())), path


@pytest.mark.real
def test_when_the_relay_starts_it_imports_no_stand_in() -> None:
    code = "import sys, relay.cli, relay.server.app; print([m for m in sys.modules if m.startswith('relay.standin')])"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert ran.stdout.strip() == "[]"


def test_no_test_file_imports_another() -> None:
    for path in (ROOT / "tests").rglob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom):
                names = [f"{node.module}.{each.name}" for each in node.names]
                assert not any(".test_" in name for name in names if name.startswith("tests.")), (path.name, names)
