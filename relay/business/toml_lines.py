"""Finds the line of each key in a TOML file, so that a mistake can be reported with its line (pure).

It only gets text that tomllib could read, so the text is valid TOML.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

Path = tuple[str | int, ...]

_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_KEY = re.compile(r"""\s*("(?:\\.|[^"\\])*"|'[^']*'|[A-Za-z0-9_-]+)\s*(\.?)""")
_STRING = re.compile(r'"""(?:\\.|[^\\])*?"{3,5}|' + r"'''.*?'{3,5}|" + r'"(?:\\.|[^"\\])*"|' + r"'[^']*'", re.DOTALL)
_BARE = re.compile(r"[^,\]}\n#]*")


def lines_of(text: str) -> dict[Path, int]:
    """The line number, from 1, of each path like `("hours", "mon")` or `("services", 0, "minutes")`."""
    return _Walk(text).lines


def line_at(lines: Mapping[Path, int], path: Path) -> int:
    """The line of a path. If the key is not in the file, this is the line of its table, or 1 at the top level."""
    while path and path not in lines:
        path = path[:-1]
    return lines.get(path, 1)


class _Walk:
    def __init__(self, text: str) -> None:
        self._text, self._at = text, 0
        self.lines: dict[Path, int] = {}
        self._counts: dict[Path, int] = {}  # Path of a [[table]] -> the number of these tables so far.
        table: Path = ()
        self._blank()
        while self._at < len(text):
            if text.startswith("[", self._at):
                table = self._header()
            else:
                self._pair(table)
            self._blank()

    def _blank(self) -> None:
        found = _BLANK.match(self._text, self._at)
        assert found is not None
        self._at = found.end()

    def _mark(self, path: Path) -> None:
        self.lines.setdefault(path, self._text.count("\n", 0, self._at) + 1)

    def _key(self, around: Path) -> Path:
        path, more = around, "."
        while more:
            found = _KEY.match(self._text, self._at)
            assert found is not None, "tomllib has read this key"
            path, more, self._at = (*path, found[1].strip("\"'")), found[2], found.end()
            path = self._latest(path)
        return path

    def _latest(self, path: Path) -> Path:
        """The path with the indexes of [[tables]].

        A key or header below [[tables]] belongs to the last of these tables.
        """
        return (*path, self._counts[path] - 1) if path in self._counts else path

    def _header(self) -> Path:
        many = self._text.startswith("[[", self._at)
        start, self._at = self._at, self._at + (2 if many else 1)
        names = self._key(())
        if many:
            plain = names[:-1] if names and isinstance(names[-1], int) else names
            self._counts[plain] = self._counts.get(plain, 0) + 1
            names = (*plain, self._counts[plain] - 1)
        after, self._at = self._text.index("]", self._at) + (2 if many else 1), start
        self._mark(names)
        self._at = after
        return names

    def _pair(self, table: Path) -> None:
        start = self._at
        path = self._key(table)
        after, self._at = self._text.index("=", self._at) + 1, start
        self._mark(path)
        self._at = after
        self._value(path)

    def _value(self, path: Path) -> None:
        self._blank()
        self._mark(path)
        opened = self._text[self._at]
        if opened not in "[{":
            found = _STRING.match(self._text, self._at) or _BARE.match(self._text, self._at)
            assert found is not None
            self._at = found.end()
            return
        self._at += 1
        number = 0
        while True:
            self._blank()
            if self._text[self._at] in "]}":
                self._at += 1
                return
            if self._text[self._at] == ",":
                self._at += 1
            elif opened == "[":
                self._value((*path, number))
                number += 1
            else:
                self._pair(path)
