"""Finds the machine for a request. Fly's proxy spreads requests over all machines, and a call is on one of them.

Pure.
"""

from __future__ import annotations

from relay.settings import Settings


def replay(settings: Settings, machine: str, failed: str | None) -> dict[str, str] | None:
    """The header with which the proxy sends a request to its machine. None if that is this machine, or no machine.

    If the proxy cannot do it within 500 ms, the request comes back here with `fly-replay-failed` (`failed`). Source:
    docs/protocol/fly.md 5.
    """
    ours = settings.fly_machine_id
    if not ours or failed or machine == ours or not machine.isalnum() or len(machine) > 64:
        return None
    return {"fly-replay": f"instance={machine};timeout=500ms;fallback=prefer_self"}
