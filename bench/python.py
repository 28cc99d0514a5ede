"""The Python that the measured relay runs on: an optimised build, as in the image, wherever this machine has one.

The image's Python and a distribution's are built with profile-guided optimisation (PGO); pyenv's are not, unless one
asks for it, and are some 10 % slower: a figure taken on one of them is not that of the deployed relay.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

# CPython's own switch stands in its configuration. Debian's rules make a profiled build without it (debian/rules of
# python3.11: "build_all_use_profile"); its builds are known by an install scheme of their own.
_ASK = """
import platform, sysconfig
how = ""
if "--enable-optimizations" in (sysconfig.get_config_var("CONFIG_ARGS") or ""):
    how = "PGO"
elif "deb_system" in sysconfig.get_scheme_names():
    how = "PGO, Debian's build"
print(platform.python_version(), how)
"""


@dataclass(frozen=True, slots=True)
class Interpreter:
    """A Python: its program, its version, and how it is optimised; "" where it is not."""

    program: str
    version: str
    optimised: str

    @property
    def words(self) -> str:
        """In words, for the head of a table."""
        return f"Python {self.version} ({self.optimised or 'NOT optimised: figures are some 10 % too high'})"

    @property
    def path(self) -> str:
        """PYTHONPATH for this checkout: its code, and the packages of its .venv (of the same minor version)."""
        here = Path(__file__).parents[1]
        return ":".join([str(here), *(path for path in sys.path if path.endswith("site-packages"))])


def _ask(program: str) -> Interpreter | None:
    try:
        told = subprocess.run([program, "-c", _ASK], capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
    version, _, optimised = told.partition(" ")
    return Interpreter(program, version, optimised)


@cache
def interpreter() -> Interpreter:
    """Ours if it is optimised, else the system's of the same minor version if that is; else ours all the same."""
    own = _ask(sys.executable)
    assert own is not None, "this very Python does not answer"
    minor = f"{sys.version_info.major}.{sys.version_info.minor}"
    for other in (own, _ask(f"/usr/bin/python{minor}"), _ask(f"/usr/local/bin/python{minor}")):
        if other is not None and other.optimised and other.version.startswith(f"{minor}."):
            return other
    return own
