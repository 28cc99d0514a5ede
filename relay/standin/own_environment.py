"""Makes the environment of a process that a demo, a bench or a test starts: a few variables of this process, and no
`.env`.

The variables of the shell and the `.env` of the current folder may belong to a relay that takes real calls. A rehearsal
must not use the database, the keys or the limits of that relay.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from relay.settings.env_file import CHOICE

# Variables without which the system would not find a program, or the program would not run properly. None of them is a
# setting of the relay.
_NAMES = frozenset(
    "PATH HOME USER LOGNAME SHELL LANG LANGUAGE TZ TERM TMPDIR TMP TEMP VIRTUAL_ENV SSL_CERT_FILE SSL_CERT_DIR "
    "LD_PRELOAD LD_LIBRARY_PATH OPENBLAS_NUM_THREADS".split()
)
_BEGINNINGS = ("LC_", "PYTHON", "NODE_", "FAKETIME")
# Variables that `relay demo --live` needs, because it uses OpenAI's model and not the stand-in.
OF_THE_MODEL = (
    "OPENAI_API_KEY",
    "OPENAI_REALTIME_URL",
    "OPENAI_MODEL",
    "OPENAI_MODEL_HARD",
    "OPENAI_VOICE",
    "OPENAI_TRANSCRIBE_MODEL",
)


def own_environment(environ: Mapping[str, str], also: tuple[str, ...] = ()) -> dict[str, str]:
    """The variables that a rehearsal may see. `also` are names of further variables.

    The result has an empty `CHOICE`, so that no `.env` is read.
    """
    kept = {
        name: value for name, value in environ.items() if name in _NAMES or name in also or name.startswith(_BEGINNINGS)
    }
    return kept | {CHOICE: ""}


@contextmanager
def only_own_environment(also: tuple[str, ...] = ()) -> Iterator[None]:
    """Remove all variables from this process that `own_environment` does not return. Restore them at the end.

    Libraries read the environment too: libpq, for example, reads the PG… variables.
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
