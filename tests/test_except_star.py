"""The relay has no `except*` with a `raise` in it. Such code fails on Python 3.11.2, the version of Debian 12."""

from __future__ import annotations

import ast
from pathlib import Path

import relay


def _raises_in(tree: ast.AST) -> list[int]:
    return [
        inner.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.TryStar)
        for handler in node.handlers
        for inner in ast.walk(handler)
        if isinstance(inner, ast.Raise)
    ]


def test_an_except_star_with_a_raise_is_found() -> None:
    code = "try:\n  f()\nexcept* OSError as e:\n  raise ValueError from None\n"
    assert _raises_in(ast.parse(code)) == [4]


def test_no_except_star_of_the_relay_has_a_raise() -> None:
    found = {
        path.name: lines
        for path in Path(relay.__file__).parent.rglob("*.py")
        if (lines := _raises_in(ast.parse(path.read_text())))
    }
    assert found == {}
