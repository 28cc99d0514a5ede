"""Each source that the code cites is in the repository: its page and its section."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("relay", "dsp", "bench", "tests", "sql", "prompts", "docs")
KINDS = {".py", ".toml", ".sql", ".md", ".html", ".css", ".js", ".sh"}
OTHERS = [*ROOT.glob("*.md"), *ROOT.glob("*.toml"), *ROOT.glob("Makefile"), *ROOT.glob("Dockerfile")]
FILES = sorted(
    [path for folder in FOLDERS for path in (ROOT / folder).rglob("*") if path.suffix in KINDS and path.is_file()]
    + OTHERS
)
SECTION = r"\d+(?:\.\d+)*"
# `docs/protocol/twilio.md 3.1`, also with more sections: `docs/protocol/twilio.md 1.2 (limits), 2.1`.
CITATION = re.compile(rf"(docs/[\w/-]+\.md)((?:,? {SECTION}(?: \([^)]*\))?)*)")
LINKED = re.compile(rf"\]\(([\w/.-]+\.md)\), section ({SECTION})")
# Citations that lead to no page: [twilio 3.1], [CAP], DESIGN 4.4.
UNKNOWN = re.compile(r"\[[a-z]+ \d+(?:\.\d+)*(?:[,:][^\]\n]*)?\]|\[(?:CAP|MEM|AIM|STD|LOG)\b|\b(?:DESIGN|CAP) \d")
LINE_BREAK = re.compile(r"\s*\n\s*(?:#|--)?\s*")


def sections(page: Path) -> set[str]:
    """The numbers of a page's headings: `## 3. Media` is "3", `### 3.1 From Twilio` is "3.1"."""
    return set(re.findall(rf"^#+ ({SECTION})\.? ", page.read_text(), re.MULTILINE))


def dead_citations(text: str, folder: Path = ROOT) -> list[str]:
    """The citations in a text that lead to no page or no section. Links start from `folder`."""
    flat = LINE_BREAK.sub(" ", text)
    dead = []
    for name, numbers in CITATION.findall(flat):
        page = ROOT / name
        wanted = re.findall(SECTION, re.sub(r"\([^)]*\)", "", numbers))
        if not page.exists():
            dead.append(name)
        else:
            dead += [f"{name} {one}" for one in wanted if one not in sections(page)]
    for link, number in LINKED.findall(flat):
        page = folder / link
        if not page.exists() or number not in sections(page):
            dead.append(f"{link} {number}")
    return dead + UNKNOWN.findall(text)


def test_each_citation_leads_to_a_page_and_a_section() -> None:
    dead = {}
    for path in FILES:
        if path == Path(__file__):
            continue
        found = dead_citations(path.read_text(), path.parent)
        if found:
            dead[str(path.relative_to(ROOT))] = found
    assert dead == {}


def test_the_protocol_pages_are_cited() -> None:
    text = "\n".join(path.read_text() for path in FILES if path.suffix == ".py" and path != Path(__file__))
    pages = {str(path.relative_to(ROOT)) for path in (ROOT / "docs" / "protocol").glob("*.md")}
    assert len(CITATION.findall(text)) > 50
    assert {page for page, _ in CITATION.findall(text)} & pages


@pytest.mark.parametrize(
    ("text", "dead"),
    [
        ("# docs/protocol/twilio.md 3.1", []),
        ("# docs/protocol/twilio.md 1.2 (limits), 2.1\n# (both), 3", []),
        ("# a read\n    # (docs/protocol/twilio.md\n    # 3.1)", []),
        ("see docs/cost.md", []),
        ("# docs/protocol/twilio.md 3.17", ["docs/protocol/twilio.md 3.17"]),
        ("# docs/protocol/twilio.md 1.2 (limits),\n# 2.9", ["docs/protocol/twilio.md 2.9"]),
        ("# docs/protocol/nobody.md 1", ["docs/protocol/nobody.md"]),
        ("see [Twilio](docs/protocol/twilio.md), section 9", ["docs/protocol/twilio.md 9"]),
        ("as captured [twilio 3.1]", ["[twilio 3.1]"]),
        ("[openai 2.1, 2.2] and [CAP]", ["[openai 2.1, 2.2]", "[CAP"]),
        ("the ladder (DESIGN 4.4)", ["DESIGN 4"]),
    ],
)
def test_a_dead_citation_is_found(text: str, dead: list[str]) -> None:
    assert dead_citations(text) == dead
