"""`python -m bench.pacing` compares leads with sending every delta at once ("pushed through").

The figures are the delay, the CPU time, the audio that is sent again after a hold, and the gaps. Writes out/pacing.txt
and .json. The exit code is 1 if the lead of 200 to 400 ms has a gap without trouble, or during stalls of 150 ms.
"""

from __future__ import annotations

import dataclasses
import json
import sys

from bench.pacing.simulation import TROUBLES, measure
from bench.relays import OUT, machine
from relay.call.playout import Lead

WAYS = (("lead 200-400 ms", Lead()), ("lead 100-200 ms", Lead(100, 200)), ("pushed through", Lead(10**9, 10**9)))


def main() -> int:
    """Run, print, and write the files."""
    rows = [measure(name, lead, trouble) for trouble in TROUBLES for name, lead in WAYS]
    lines = [machine(), f"{'':18}{'delay':>8} {'CPU us':>7} {'msgs':>6} {'at Twilio':>10} {'resent':>8} {'gaps':>5}"]
    for row in rows:
        if row.way == WAYS[0][0]:
            lines.append(f"{row.trouble}:")
        lines.append(
            f"  {row.way:16}{row.delay_ms:5.1f} ms {row.cpu_us_per_call_s:7.1f} {row.messages_per_call_s:6.1f} "
            f"{row.at_twilio_ms:7.0f} ms {row.resent_kb:5.0f} kB {row.gaps:5} ({row.gaps_ms:.0f} ms)"
        )
    text = "\n".join(lines)
    print(text)
    OUT.mkdir(exist_ok=True)
    (OUT / "pacing.txt").write_text(text + "\n")
    value = {"machine": lines[0], "rows": [dataclasses.asdict(row) for row in rows]}
    (OUT / "pacing.json").write_text(json.dumps(value, indent=1) + "\n")
    return int(any(row.gaps for row in rows if row.way == WAYS[0][0] and row.trouble in _HELD))


_HELD = {TROUBLES[0].name, TROUBLES[1].name}


if __name__ == "__main__":
    sys.exit(main())
