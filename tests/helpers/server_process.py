"""Starts a test server for a browser in a process of its own.

The server is another module of tests/helpers. It prints its address when it is ready.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]


@dataclass
class Server:
    """The process, and where it listens."""

    address: str
    process: subprocess.Popen[str]

    def tell(self, line: str) -> None:
        """Write a line to the process's input."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    def told(self) -> str:
        """The next line of the process's output."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()


@contextmanager
def serving(module: str, *words: str | Path) -> Iterator[Server]:
    """Run tests/helpers/MODULE.py with these arguments while the block runs."""
    command = [sys.executable, "-m", f"tests.helpers.{module}", *map(str, words)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True, env=dict(os.environ)) as process:
        try:
            server = Server("", process)
            server.address = server.told()
            yield server
        finally:
            process.kill()
