"""Finds the folders that are installed together with the code: prompts/ and sql/.

In a checkout and in the image they are in the top folder, beside relay/. In a wheel they are inside the package, in
relay/shipped/ (pyproject.toml, force-include).
"""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]


def folder(name: str) -> Path:
    """The path of `prompts` or `sql`, however this relay was installed."""
    inside = _PACKAGE / "shipped" / name
    return inside if inside.is_dir() else _PACKAGE.parent / name
