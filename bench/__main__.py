"""`python -m bench [NAME…]` (`make bench`) runs the named benches one after the other, or all of them."""

import importlib.util
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def names() -> list[str]:
    """The names of all benches. A bench is a folder here with a `__main__`."""
    return sorted(path.parent.name for path in HERE.glob("*/__main__.py"))


def main() -> int:
    """Run each bench in its own process. Return 1 if one missed its goal or failed, 2 if a name is unknown."""
    wanted = sys.argv[1:] or names()
    missed = []
    for name in wanted:
        if importlib.util.find_spec(f"bench.{name}.__main__") is None:
            print(f"there is no bench {name}. The benches are {', '.join(names())}", file=sys.stderr)
            return 2
        print(f"\n== {name}", flush=True)
        if subprocess.run([sys.executable, "-m", f"bench.{name}"], check=False).returncode:
            missed.append(name)
    print(f"\nmissed a goal: {', '.join(missed)}" if missed else "\nall goals were met")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
