"""Speakerphones: the agent's own voice comes back 10 to 30 dB quieter and 50 to 300 ms late. It is not a turn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

import dsp
from relay.standin.model.script import Script
from relay.standin.scenario.run import run_scenario
from relay.standin.scenario.scenario_file import parse
from tests.helpers.long_answers import LONG, MODEL
from tests.helpers.play import Play, stage

CASES = [(loss_db, delay_ms) for loss_db in (10, 20, 30) for delay_ms in (50, 150, 300)]
FEW = [(10, 150), (20, 50), (20, 300), (30, 150)]


def echo_on(play: Play, loss_db: float, delay_ms: int) -> None:
    """Let every caller's telephone send back the sound that it plays."""
    observed = play.exchange.on_event
    gain, delay = 10 ** (-loss_db / 20), delay_ms * 8
    done: set[str] = set()

    def look(kind: str, fields: Mapping[str, Any]) -> None:
        observed(kind, dict(fields))
        call = play.exchange.calls[fields["call_sid"]]
        if call.state.sid in done:
            return
        done.add(call.state.sid)
        mouth, ear, speak = call.state.speech, call.state.playback, call.state.speech.read

        def read(first: int, count: int) -> bytes:
            own = dsp.decode(speak(first, count)).astype(np.float64)
            heard = dsp.decode(ear.read(first - delay, count)).astype(np.float64)
            return dsp.encode(np.clip(np.rint(own + gain * heard), -32_768, 32_767).astype(np.int16))

        mouth.read = read  # type: ignore[method-assign] # the telephone makes the echo, not the caller

    play.exchange.on_event = look


async def listen_with_echo(loss_db: float, delay_ms: int) -> None:
    """A caller on a speakerphone asks once, and hears the whole long answer and nothing else."""
    steps = '{ listen = true }, { say = "ask_hours" }, { listen = true }, { silent_s = 5 }, { hang_up = true }'
    text = f'title = "t"\n[caller]\nsteps = [{steps}]\n{MODEL}'
    async with stage(script=Script.from_table(dict(parse(text, "t").model))) as play:
        echo_on(play, loss_db, delay_ms)
        report = await run_scenario(parse(text, "t"), play.exchange)
        assert report.failures == []
        (session,) = play.model.sessions
        said = [item for item in session.history.items if item.role == "assistant" and item.audio_ms]
        assert [item.text for item in said] == [LONG], "the agent answered itself"
        assert not any(item.truncated for item in said), "the agent interrupted itself"
        assert session.report.errors == []


@pytest.mark.parametrize(("loss_db", "delay_ms"), FEW)
async def test_an_agent_on_a_speakerphone_does_not_interrupt_itself(
    loss_db: float, delay_ms: int, autojump_clock: object
) -> None:
    await listen_with_echo(loss_db, delay_ms)


@pytest.mark.deep
@pytest.mark.parametrize(("loss_db", "delay_ms"), CASES)
async def test_an_agent_does_not_interrupt_itself_on_any_speakerphone(
    loss_db: float, delay_ms: int, autojump_clock: object
) -> None:
    await listen_with_echo(loss_db, delay_ms)


@pytest.mark.parametrize(("loss_db", "delay_ms"), FEW)
async def test_a_caller_on_a_speakerphone_can_interrupt(loss_db: float, delay_ms: int, autojump_clock: object) -> None:
    await interrupt_with_echo(loss_db, delay_ms)


@pytest.mark.deep
@pytest.mark.parametrize(("loss_db", "delay_ms"), CASES)
async def test_a_caller_can_interrupt_on_any_speakerphone(
    loss_db: float, delay_ms: int, autojump_clock: object
) -> None:
    await interrupt_with_echo(loss_db, delay_ms)


async def interrupt_with_echo(loss_db: float, delay_ms: int) -> None:
    """A caller says stop 2.5 s after the beginning of a long answer. The answer is cut within 1.5 s after that."""
    steps = (
        '{ listen = true }, { say = "ask_hours" }, { interrupt_after_ms = 2500, say = "stop_stop" }, { silent_s = 3 }'
    )
    text = f'title = "t"\n[caller]\nsteps = [{steps}, {{ hang_up = true }}]\n{MODEL}'
    async with stage(script=Script.from_table(dict(parse(text, "t").model))) as play:
        echo_on(play, loss_db, delay_ms)
        await run_scenario(parse(text, "t"), play.exchange)
        (session,) = play.model.sessions
        said = [item for item in session.history.items if item.role == "assistant" and item.audio_ms]
        assert said[0].truncated
        assert said[0].audio_ms <= 4_000
