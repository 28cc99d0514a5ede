"""Reads from /proc what a process has used (CPU seconds, memory), and how busy a core was."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


def cpu_s(pid: int) -> float:
    """User and system seconds of a process, with all its threads."""
    parts = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(parts[11]) + int(parts[12])) * _TICK_S


def rss_mb(pid: int) -> float:
    """Resident memory in MB (10^6 bytes)."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE / 1e6


def core_busy_s(core: int) -> float:
    """How many seconds a core was not idle, for all programs. Time that the host took (steal) is included."""
    for line in Path("/proc/stat").read_text().splitlines():
        if line.startswith(f"cpu{core} "):
            user, nice, system, _idle, _wait, irq, softirq, steal = (int(part) for part in line.split()[1:9])
            return (user + nice + system + irq + softirq + steal) * _TICK_S
    return 0.0


@dataclass(frozen=True, slots=True)
class ProcessFigures:
    """The time, and the CPU seconds of the relay, of this process and of the relay's core.

    The CPU seconds are totals, or the difference between two moments.
    """

    seconds: float
    relay_s: float
    own_s: float
    core_s: float

    @classmethod
    def of(cls, pid: int, core: int | None) -> ProcessFigures:
        """The present figures of process `pid`, of this process, and of the core to which `pid` is bound."""
        core_s = core_busy_s(core) if core is not None else 0.0
        return cls(time.perf_counter(), cpu_s(pid), time.process_time(), core_s)

    def since(self, before: ProcessFigures) -> ProcessFigures:
        """What was used between two moments."""
        return ProcessFigures(
            self.seconds - before.seconds,
            self.relay_s - before.relay_s,
            self.own_s - before.own_s,
            self.core_s - before.core_s,
        )
