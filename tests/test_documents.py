"""The documents: all that they name exists, and the generated pages are up to date."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import pytest

from relay import settings
from relay.cli import _parser
from relay.settings.env_file import read
from tests.helpers import settings_page

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
LINK = re.compile(r"!?\[[^\]\n]*\]\(([^)\s]+)\)")
# A path of the repository in a document's text. It begins with one of the repository's top folders.
PATH = re.compile(r"(?<![\w./-])((?:relay|docs|tests|dsp|prompts|sql|bench)/[\w./-]*\w/?)")
CODE = re.compile(r"```.*?```|`[^`\n]+`", re.DOTALL)
COMMAND = re.compile(r"(?:\.venv/bin/|^|`)relay ([a-z][a-z-]+)", re.MULTILINE)
USE = re.compile(r"(?:\.venv/bin/|^|`)relay ([a-z][a-z-]+)([^\n`#]*)", re.MULTILINE)
OPTION = re.compile(r"(?<!\S)--[a-z][a-z-]*")
MAKE = re.compile(r"(?:^|`)make ((?:[a-z-]+ ?)+)", re.MULTILINE)
LARGEST_PICTURE_BYTES = 150_000


def anchors(page: Path) -> set[str]:
    """The anchors of a page, as GitHub makes them of its headings."""
    heads = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).strip().replace(" ", "-") for head in heads}


def dead_links(page: Path) -> list[str]:
    """Links of a page that lead to no file and to no heading."""
    dead = []
    for link in LINK.findall(page.read_text()):
        path, _, anchor = link.partition("#")
        if re.match(r"[a-z]+:", link):
            continue
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            dead.append(link)
    return dead


@pytest.mark.parametrize("page", DOCUMENTS, ids=lambda page: str(page.relative_to(ROOT)))
def test_each_link_of_a_document_leads_somewhere(page: Path) -> None:
    assert dead_links(page) == []


def test_a_link_to_a_missing_page_or_heading_is_found(tmp_path: Path) -> None:
    (tmp_path / "there.md").write_text("# One head, more\n")
    page = tmp_path / "page.md"
    page.write_text("[a](there.md#one-head-more) [b](there.md#two) ![c](none.png) [d](https://example.com/x)\n")
    assert dead_links(page) == ["there.md#two", "none.png"]


@pytest.mark.parametrize("page", DOCUMENTS, ids=lambda page: str(page.relative_to(ROOT)))
def test_each_file_that_a_document_names_exists(page: Path) -> None:
    if page.name == "CHANGELOG.md":
        return  # the changelog may name files of earlier versions
    text = re.sub(r"\]\([^)]*\)|https?://\S+", "", page.read_text())
    assert [path for path in PATH.findall(text) if not (ROOT / path).exists() and "NNNN" not in path] == []


@pytest.mark.parametrize("page", DOCUMENTS, ids=lambda page: str(page.relative_to(ROOT)))
def test_each_command_that_a_document_names_exists(page: Path) -> None:
    (commands,) = [action.choices for action in _parser()._actions if isinstance(action.choices, dict)]
    code = "\n".join(CODE.findall(page.read_text()))
    assert set(COMMAND.findall(code)) <= set(commands)


@pytest.mark.parametrize("page", DOCUMENTS, ids=lambda page: str(page.relative_to(ROOT)))
def test_each_option_that_a_document_gives_to_a_command_exists(page: Path) -> None:
    (commands,) = [action.choices for action in _parser()._actions if isinstance(action.choices, dict)]
    unknown = []
    for code in CODE.findall(page.read_text()):
        for command, rest in USE.findall(code):
            unknown += [f"{command} {each}" for each in OPTION.findall(rest) if each not in options(commands[command])]
    assert unknown == []


def options(parser: argparse.ArgumentParser) -> set[str]:
    """The options of a command and of the commands below it."""
    found = set(parser._option_string_actions)
    for action in parser._actions:
        if isinstance(action.choices, dict):
            found |= {each for below in action.choices.values() for each in options(below)}
    return found


@pytest.mark.parametrize("page", DOCUMENTS, ids=lambda page: str(page.relative_to(ROOT)))
def test_each_make_target_that_a_document_names_exists(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = MAKE.findall("\n".join(CODE.findall(page.read_text())))
    assert {target for targets_of_one in named for target in targets_of_one.split()} <= targets


def test_each_page_can_be_reached_by_links_from_the_readme() -> None:
    found, todo = set(), [ROOT / "README.md"]
    while todo:
        page = todo.pop()
        if page in found:
            continue
        found.add(page)
        links = [link.partition("#")[0] for link in LINK.findall(page.read_text()) if ":" not in link]
        todo += [(page.parent / link).resolve() for link in links if link.endswith(".md")]
    assert set((ROOT / "docs").rglob("*.md")) <= found


def test_the_page_of_the_settings_is_up_to_date() -> None:
    assert settings_page.PAGE.read_text() == settings_page.page(), "run `python -m tests.helpers.settings_page`"


@pytest.mark.parametrize("has_backend", [False, True], ids=["without a backend", "with one"])
def test_the_env_file_of_the_first_30_minutes_is_enough_to_serve(tmp_path: Path, has_backend: bool) -> None:
    page = (ROOT / "docs" / "go-live.md").read_text()
    needed, backend = re.findall(r"```\n((?:[A-Z_]+=.*\n)+)```", page)
    text = needed + (backend if has_backend else "")
    filled = (
        text.replace("AC...", "AC" + "0" * 32)
        .replace("https://...", "https://shop.example.com")
        .replace("...", "x")
        .replace("NAME.", "shop.")
    )
    (tmp_path / ".env").write_text(filled)
    loaded = settings.load(read({}, tmp_path).values, serving=True)
    assert loaded.business_is_embedded is not has_backend
    assert {name for name in loaded.given if name in settings.REQUIRED} == set(settings.REQUIRED)


def test_pictures_are_small() -> None:
    pictures = sorted((ROOT / "docs" / "images").iterdir())
    assert pictures
    assert [one.name for one in pictures if one.stat().st_size > LARGEST_PICTURE_BYTES] == []
