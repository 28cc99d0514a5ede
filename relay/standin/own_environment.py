"""The environment of a process that a demo, a bench or a test starts: some variables of ours, and no `.env`.

Exported variables, and those in the folder's `.env`, belong to a relay that takes real calls. A rehearsal must not
use its database, its keys or its limits.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from relay.settings.env_file import CHOICE

# The variables by which a program is found, started and run. None of them says what it has to do.
_NAMES = frozenset(
    "PATH HOME USER LOGNAME SHELL LANG LANGUAGE TZ TERM TMPDIR TMP TEMP VIRTUAL_ENV SSL_CERT_FILE SSL_CERT_DIR "
    "LD_PRELOAD LD_LIBRARY_PATH OPENBLAS_NUM_THREADS".split()
)
_BEGINNINGS = ("LC_", "PYTHON", "NODE_", "FAKETIME")
# The variables for a call to OpenAI itself (`relay demo --live`).
OF_THE_MODEL = (
    "OPENAI_API_KEY",
    "OPENAI_REALTIME_URL",
    "OPENAI_MODEL",
    "OPENAI_MODEL_HARD",
    "OPENAI_VOICE",
    "OPENAI_TRANSCRIBE_MODEL",
)


def own_environment(environ: Mapping[str, str], also: tuple[str, ...] = ()) -> dict[str, str]:
    """The part of this environment that a rehearsal may see. `also` are more names."""
    kept = {
        name: value for name, value in environ.items() if name in _NAMES or name in also or name.startswith(_BEGINNINGS)
    }
    return kept | {CHOICE: ""}


@contextmanager
def only_own_environment(also: tuple[str, ...] = ()) -> Iterator[None]:
    """Let this process see no more than `own_environment` gives.

    Its libraries read the environment too (libpq reads the PG… names).
    """
    before = dict(os.environ)
    try:
        _become(own_environment(before, also))
        yield
    finally:
        _become(before)


def _become(wanted: Mapping[str, str]) -> None:
    for name in set(os.environ) - set(wanted):
        del os.environ[name]
    os.environ.update(wanted)
