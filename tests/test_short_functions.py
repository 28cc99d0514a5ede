"""Functions on the path of a call are short and simple, or give their reason in a sentence."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "relay"
LONGEST_LINES = 40
MOST_COMPLEX = 15
# A longer or more complex function must have a comment, above it or in it, that begins with one of these texts.
EXCUSES = ("# Long because ", "# Complex because ")
_BRANCHES = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.ExceptHandler, ast.IfExp, ast.comprehension, ast.Assert)


def functions(source: str) -> Iterator[tuple[str, int, int, bool]]:
    """Each function of a file: its name, its lines, its complexity, and whether it gives a reason for its size."""
    lines = source.splitlines()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            about = "\n".join(lines[max(0, first - 4) : node.end_lineno])
            yield (
                node.name,
                (node.end_lineno or 0) - node.lineno + 1,
                complexity(node),
                any(e in about for e in EXCUSES),
            )


def complexity(function: ast.AST) -> int:
    """McCabe's number, as ruff counts it: one, and one more for each branch.

    The last case of a match, if it accepts everything, does not count.
    """
    count = 1
    for node in ast.walk(function):
        if isinstance(node, _BRANCHES):
            count += 1
        elif isinstance(node, ast.BoolOp):
            count += len(node.values) - 1
        elif isinstance(node, ast.match_case):
            count += not (isinstance(node.pattern, ast.MatchAs) and node.pattern.pattern is None)
    return count


@pytest.mark.parametrize("folder", ["call", "session", "server"])
def test_a_function_on_the_path_of_a_call_is_short_and_simple_or_gives_its_reason(folder: str) -> None:
    beyond = [
        f"{path.relative_to(ROOT)}: {name} has {lines} lines and complexity {complex_}"
        for path in sorted((ROOT / folder).glob("*.py"))
        for name, lines, complex_, is_excused in functions(path.read_text("utf-8"))
        if (lines > LONGEST_LINES or complex_ > MOST_COMPLEX) and not is_excused
    ]
    assert not beyond, "\n".join(["split the function, or write the reason after one of " + repr(EXCUSES), *beyond])


def test_a_long_function_is_found_and_its_reason_is_accepted() -> None:
    long = "def f():\n" + "    x = 1\n" * LONGEST_LINES
    assert list(functions(long)) == [("f", 41, 1, False)]
    assert next(functions("# Long because it is a table.\n" + long))[3]
    branchy = "def g(x):\n" + "    if x and x: pass\n" * 8
    assert [(name, complex_) for name, _, complex_, _ in functions(branchy)] == [("g", 17)]
