"""Reads named statements from a file: sql/statements.sql, or another file of SQL_DIR."""

from __future__ import annotations

import re
from pathlib import Path

from relay.settings.shipped import folder

SQL_DIR = folder("sql")

_NAME = re.compile(r"^-- name: (\w+)\n", re.MULTILINE)


def read(path: Path = SQL_DIR / "statements.sql") -> dict[str, bytes]:
    """The statements by name. The text before the first name is the file's own comment, and is left out."""
    _, *parts = _NAME.split(path.read_text())
    named = zip(parts[::2], parts[1::2], strict=True)
    statements = {name: text.strip().encode() for name, text in named}
    assert len(statements) == len(parts) // 2, f"{path} has a name twice"
    return statements
