"""Which machine a request is for: Fly's proxy spreads requests over all machines, and a call is on one of them.

Pure.
"""

from __future__ import annotations

from relay.settings import Settings


def replay(settings: Settings, machine: str, failed: str | None) -> dict[str, str] | None:
    """The header that has the proxy bring a request to its machine; None where that is this one, or is none.

    500 ms, then it comes back here: `failed` is what it brings along then (`fly-replay-failed`).
    """
    ours = settings.fly_machine_id
    if not ours or failed or machine == ours or not machine.isalnum() or len(machine) > 64:
        return None
    return {"fly-replay": f"instance={machine};timeout=500ms;fallback=prefer_self"}
