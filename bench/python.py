"""Finds the Python on which the measured relay runs: an optimised build, as in the image, if this machine has one.

The Pythons of the image and of Linux distributions are built with profile-guided optimisation (PGO). pyenv's builds
have PGO only on request. Without PGO Python is about 10 % slower than the Python of a deployed relay.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

# The option --enable-optimizations in CPython's configuration means PGO. Debian's builds have PGO without this option
# (debian/rules of python3.11: "build_all_use_profile"). They are recognised by the install scheme "deb_system".
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
    """A Python: its program, its version, and how it is optimised. `optimised` is empty for a build without PGO."""

    program: str
    version: str
    optimised: str

    @property
    def words(self) -> str:
        """A description for the head of a table."""
        return f"Python {self.version} ({self.optimised or 'NOT optimised: figures are some 10 % too high'})"

    @property
    def path(self) -> str:
        """PYTHONPATH for this checkout: its code and the packages of its .venv, which has the same minor version."""
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
    """Return this Python if it is optimised, or else an optimised Python of the system with the same minor version.

    If there is none, return this Python.
    """
    own = _ask(sys.executable)
    assert own is not None, "this Python does not answer"
    minor = f"{sys.version_info.major}.{sys.version_info.minor}"
    for other in (own, _ask(f"/usr/bin/python{minor}"), _ask(f"/usr/local/bin/python{minor}")):
        if other is not None and other.optimised and other.version.startswith(f"{minor}."):
            return other
    return own
