"""Where the folders are that ship beside the code: prompts/ and sql/.

In a checkout and in the image they stand at the top, beside relay/. In a wheel they travel inside the package, in
relay/shipped/ (pyproject.toml, force-include).
"""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]


def folder(name: str) -> Path:
    """The folder `prompts` or `sql`, wherever this relay was installed."""
    inside = _PACKAGE / "shipped" / name
    return inside if inside.is_dir() else _PACKAGE.parent / name
