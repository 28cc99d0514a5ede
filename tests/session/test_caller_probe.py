"""A caller's socket without messages is asked for a mark, and is dead if none comes."""

from __future__ import annotations

from relay.session.caller_probe import NOTHING_HEARD_S, PROBE_LIMIT_S, CallerProbe


def test_a_socket_with_messages_is_not_asked_for_a_mark() -> None:
    probe = CallerProbe(heard_at=100.0)
    assert probe.due(100.0 + NOTHING_HEARD_S) == "nothing"


def test_a_socket_without_messages_is_asked_for_one_mark_and_is_dead_if_the_mark_does_not_come() -> None:
    probe, late = CallerProbe(heard_at=100.0), 100.1 + NOTHING_HEARD_S
    assert probe.due(late) == "ask"
    assert probe.due(late + PROBE_LIMIT_S) == "nothing"
    assert probe.due(late + PROBE_LIMIT_S + 0.1) == "dead"


def test_if_the_mark_comes_back_the_socket_is_alive_and_is_asked_again_later() -> None:
    probe, late = CallerProbe(heard_at=100.0), 100.1 + NOTHING_HEARD_S
    assert probe.due(late) == "ask"
    probe.heard_at = late + 1.0
    assert probe.due(late + PROBE_LIMIT_S + 0.1) == "nothing"
    assert probe.due(late + NOTHING_HEARD_S + 1.1) == "ask"
