"""Sends a request to another Fly Machine (pure: without clock and I/O).

Fly's proxy spreads requests over all Machines, but a call is on one of them. A Machine that drains takes no new calls.
If the proxy cannot reach the other Machine within 500 ms, the request comes back with the header `fly-replay-failed`.
Source: docs/protocol/fly.md 5.
"""

from __future__ import annotations

from relay.settings import Settings


def replay(settings: Settings, machine: str, failed: str | None) -> dict[str, str] | None:
    """The header that makes the proxy send the request to `machine`. None if this Machine must answer.

    `failed` is the value of the header `fly-replay-failed`.
    """
    ours = settings.fly_machine_id
    if not ours or failed or machine == ours or not machine.isalnum() or len(machine) > 64:
        return None
    return {"fly-replay": f"instance={machine};timeout=500ms;fallback=prefer_self"}


def elsewhere(settings: Settings, source: str | None, failed: str | None) -> dict[str, str] | None:
    """The header that makes the proxy send the request to any other Machine. None if this Machine must answer.

    `source` is the value of the header `fly-replay-src`. A request that has it comes from a Machine that drains too.
    """
    if not settings.fly_machine_id or source or failed:
        return None
    return {"fly-replay": "elsewhere=true;timeout=500ms;fallback=prefer_self"}
