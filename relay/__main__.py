"""Runs the command `relay`. `python -m relay` does the same."""

import sys

if sys.platform == "win32":  # This check comes before any import that does not work on Windows.
    sys.exit("relay: it runs on Linux and macOS; on Windows use it inside WSL (wsl --install)")

from relay.cli import main

if __name__ == "__main__":
    sys.exit(main())
