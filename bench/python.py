"""The Python that the measured relay runs on: an optimised build, as in the image, if this machine has one.

The image's Python and a distribution's are built with profile-guided optimisation (PGO). pyenv's builds have it only on
request. Without it Python is about 10 % slower, so a figure measured with it is not that of the deployed relay.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

# CPython's own option for PGO is in its configuration. Debian makes a profiled build without it (debian/rules of
# python3.11: "build_all_use_profile"). Its builds are recognised by their own install scheme.
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
    """A Python: its program, its version, and how it is optimised. `optimised` is empty if it is not."""

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
    """This Python if it is optimised. Otherwise the system's Python of the same minor version, if optimised."""
    own = _ask(sys.executable)
    assert own is not None, "this Python does not answer"
    minor = f"{sys.version_info.major}.{sys.version_info.minor}"
    for other in (own, _ask(f"/usr/bin/python{minor}"), _ask(f"/usr/local/bin/python{minor}")):
        if other is not None and other.optimised and other.version.startswith(f"{minor}."):
            return other
    return own
