"""`python -m bench.profile [CALLS [SECONDS]]` prints in which files and functions a caller's frame needs CPU time.

It uses py-spy, which reads the stack of the real `relay serve` from outside, 400 times a second. py-spy is installed
into out/profile-venv. The time of a frame is the CPU time of the process divided by the number of the callers' frames.
So it includes the work for answers, marks and the ledger.
"""

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

from bench.relays import LOAD_CORE, OUT, RELAY_CORE, machine, ours, quieten
from bench.steps import HEAD, line
from relay.standin.load.generator import SETTLE_S, LoadFailed, running

RATE_HZ = 400
SHOWN, FILES_SHOWN = 45, 20
FRAMES_PER_S = 50
FOLDER = OUT / "profile-venv"
# All work of the event loop is below this stack frame of Trio: the tasks (`unrolled_run`), and the hub's functions,
# which `run` calls in its wait (relay/transport/hub.py). The ledger's threads are not below it.
LOOP = re.compile(r"(?:^|;)run \([^;]*trio/_core/_run\.py:")


def _spy() -> Path:
    spy = FOLDER / "bin" / "py-spy"
    if not spy.exists():
        subprocess.run([sys.executable, "-m", "venv", str(FOLDER)], check=True)
        pip = [str(FOLDER / "bin" / "python"), "-m", "pip", "install", "-q", "--disable-pip-version-check", "py-spy"]
        subprocess.run(pip, check=True)
    return spy


def shares(folded: str) -> tuple[Counter[str], Counter[str], int]:
    """Count the samples of the event loop in py-spy's raw format.

    Return the counts by the innermost function, the counts by every function on the stack, and the number of samples.
    """
    own, within, total = Counter[str](), Counter[str](), 0
    for row in folded.splitlines():
        stack, _, count = row.rpartition(" ")
        if LOOP.search(stack) is None:
            continue
        names = [name.rsplit(":", 1)[0].rpartition("site-packages/")[2] for name in stack.split(";")]
        total += int(count)
        own[names[-1]] += int(count)
        for name in set(names):
            within[name] += int(count)
    return own, within, total


def by_file(own: Counter[str]) -> Counter[str]:
    """The samples of each file, for example "dsp/line.py" or "trio/_core/_run.py"."""
    samples = Counter[str]()
    for name, count in own.items():
        samples[name.rpartition("(")[2]] += count
    return samples


def main() -> int:
    """Profile, print, write out/profile.txt and out/profile.raw (for a flame graph)."""
    calls = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 15.0
    spy, raw = _spy(), OUT / "profile.raw"
    quieten()
    print(machine())
    print(HEAD)
    with ours() as relay, running(relay, tls=True, core=RELAY_CORE, log=OUT / "relay.log") as (load, pid):
        load.ring_up_to(calls)
        load.loop.run(lambda: False, SETTLE_S)
        step = load.measure(relay.name, calls, 5.0, pid, RELAY_CORE)
        print(line(step))
        command = ["taskset", "-c", str(LOAD_CORE), str(spy), "record", "-p", str(pid), "-r", str(RATE_HZ)]
        command += ["-d", str(round(seconds)), "-f", "raw", "-o", str(raw)]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            load.loop.run(lambda: process.poll() is not None, seconds + 20)
            process.kill()  # This does nothing if py-spy has ended.
        if process.returncode:
            raise LoadFailed("py-spy could not look at the relay: it must run as root, or with ptrace_scope 0")
    own, within, total = shares(raw.read_text())
    frame_us = step.cpu_ms_per_call_s * 1000 / FRAMES_PER_S
    rows = [f"{frame_us:.0f} us of CPU a caller frame", "", f"{'us':>6} {'own %':>6}  file"]
    for file, count in by_file(own).most_common(FILES_SHOWN):
        rows.append(f"{frame_us * count / total:6.1f} {count / total:6.1%}  {file}")
    rows += ["", f"{'own %':>6} {'all %':>6}  function"]
    for name, count in own.most_common(SHOWN):
        rows.append(f"{count / total:6.1%} {within[name] / total:6.1%}  {name}")
    (OUT / "profile.txt").write_text("\n".join(rows) + "\n")
    print("\n".join(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
