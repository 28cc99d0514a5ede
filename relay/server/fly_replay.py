"""Sends a request to the Fly Machine that has its call (pure: without clock and I/O).

Fly's proxy spreads requests over all Machines, but a call is on one of them.
"""

from __future__ import annotations

from relay.settings import Settings


def replay(settings: Settings, machine: str, failed: str | None) -> dict[str, str] | None:
    """The header that makes the proxy send the request to `machine`. None if this Machine must answer.

    If the proxy cannot reach `machine` within 500 ms, the request comes back here with the header `fly-replay-failed`.
    `failed` is the value of this header. Source: docs/protocol/fly.md 5.
    """
    ours = settings.fly_machine_id
    if not ours or failed or machine == ours or not machine.isalnum() or len(machine) > 64:
        return None
    return {"fly-replay": f"instance={machine};timeout=500ms;fallback=prefer_self"}
