"""The documents' shell blocks that are marked `sh run` are run here, in the order of their page.

They run in a folder that looks like a checkout, with the `.env` of docs/go-live.md and an embedded Postgres.
"""

from __future__ import annotations

import datetime as dt
import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
RUN = re.compile(r"^```sh run\n(.*?)^```", re.DOTALL | re.MULTILINE)
DATE = re.compile(r"\b20\d\d-\d\d-\d\d\b")
FIRST = "go-live"
COPY = "cp .env.example .env\n"
LIMIT_S = 120
# The barber shop with Maria is always open, so that a block that books her does not depend on today's date.
BUSINESS = """
name = "Fade & Sons"
timezone = "America/New_York"
country = "US"
[hours]
mon-sun = "00:00-24:00"
[[people]]
name = "Maria"
does = ["haircut"]
[[services]]
name = "haircut"
minutes = 30
"""


def blocks(page: Path) -> list[str]:
    """The blocks of the page that are marked as runnable."""
    return RUN.findall(page.read_text())


def with_coming_dates(text: str, today: dt.date) -> str:
    """Move all dates by the same number of weeks, so that the first one is after `today`. Weekdays stay."""
    dates = [dt.date.fromisoformat(each) for each in DATE.findall(text)]
    if not dates:
        return text
    weeks = max(0, -((min(dates) - today).days - 7) // 7)
    return DATE.sub(lambda m: str(dt.date.fromisoformat(m[0]) + dt.timedelta(weeks=weeks)), text)


def checkout(folder: Path) -> None:
    """Fill a folder with the parts of a checkout that the blocks use, and a business file."""
    for name in (".venv", ".env.example"):
        (folder / name).symlink_to(ROOT / name)
    (folder / "shop.toml").write_text(BUSINESS)


def filled_env() -> str:
    """The first `.env` block of docs/go-live.md, with values in place of the dots."""
    text: str = re.findall(r"```\n((?:[A-Z_]+=.*\n)+)```", (ROOT / "docs" / "go-live.md").read_text())[0]
    return (
        text.replace("AC...", "AC" + "0" * 32).replace("...", "x").replace("NAME.", "shop.")
        + "BUSINESS_FILE=shop.toml\n"
    )


def run(block: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run one block in bash. The first command that fails ends it."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "LANG": os.environ.get("LANG", "C.UTF-8")}
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block], cwd=folder, env=environment, timeout=LIMIT_S,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)], ids=lambda page: page.stem)
def test_the_marked_shell_blocks_of_a_page_run(page: Path, tmp_path: Path) -> None:
    checkout(tmp_path)
    if page.stem != FIRST:  # a reader of another page has done the steps of the first one
        (tmp_path / ".env").write_text(filled_env())
        if "relay " in "".join(blocks(page)):
            assert run(".venv/bin/relay migrate", tmp_path).returncode == 0
    for block in blocks(page):
        done = run(with_coming_dates(block, dt.datetime.now(dt.UTC).date()), tmp_path)
        assert done.returncode == 0, f"{block}\nprinted:\n{done.stdout}"
        if block == COPY:  # the page tells the reader to fill in `.env`
            assert (tmp_path / ".env").read_text() == (ROOT / ".env.example").read_text()
            (tmp_path / ".env").write_text(filled_env())


def test_these_pages_have_marked_shell_blocks() -> None:
    assert {"go-live", "business-toml", "recordings", "notify"} <= {page.stem for page in PAGES if blocks(page)}
    assert COPY in blocks(ROOT / "docs" / f"{FIRST}.md")


def test_a_shell_block_with_a_mistake_fails(tmp_path: Path) -> None:
    checkout(tmp_path)
    assert run(".venv/bin/relay no-such-command\ntrue\n", tmp_path).returncode != 0


def test_dates_are_moved_by_whole_weeks() -> None:
    text = "add '2026-11-24 14:00' 2026-12-01"
    assert with_coming_dates(text, dt.date(2026, 11, 1)) == text
    assert with_coming_dates(text, dt.date(2026, 11, 24)) == "add '2026-12-01 14:00' 2026-12-08"
    assert with_coming_dates(text, dt.date(2027, 1, 20)) == "add '2027-01-26 14:00' 2027-02-02"
