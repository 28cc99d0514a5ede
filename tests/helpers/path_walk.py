"""Records which files a frame or an event goes through, and how often one file calls another on the way (the path).

A call is played on memory streams. Python's profiler reports each function call, and a trio instrument says which step
of which task runs. A step of a task is its work between two waits. So one step of the Twilio reader is the path of one
frame, and one step of the OpenAI reader is the path of one event. Every call from one of our files into another counts
once, with these rules:
- The wait for a message belongs to that message, and not to the message before.
- A coroutine that goes on after a wait does not count as a new call.
- If a step takes several messages, the work for each of them becomes a path of its own.
- An event that the path causes, such as a doubted claim, does not belong to the path.
`python -m tests.helpers.path_walk` prints the number of calls on each path. With parts of names of paths as arguments
(`hold function`) it also prints the calls on those paths.
"""

from __future__ import annotations

import inspect
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from types import FrameType
from typing import Any

import structlog
import trio
from trio.testing import MockClock

import relay
from relay.standin.model.script import Script
from relay.standin.scenario.run import run_scenario
from relay.standin.scenario.scenario_file import parse
from tests.helpers.browser_caller import LOCAL, browser_call, open_console
from tests.helpers.play import stage

ROOT = Path(relay.__file__).parent.parent
CALL = """
title = "t"
[caller]
steps = [
  { listen = true }, { say = "ask_booking" }, { listen = true }, { say = "yes_right" }, { listen = true },
  { say = "ask_hours" }, { silent_s = 6 }, { say = "stop_stop" }, { silent_s = 6 }, { hang_up = true },
]
"""


@dataclass
class Step:
    """One step of one task, and the files that it went through. In this file a "room" is one of our source files."""

    task: str
    rooms: list[str] = field(default_factory=list)  # the files in the order in which they ran, also after returns
    entered: list[str] = field(default_factory=list)  # the files that were called from another file
    ways: list[str] = field(default_factory=list)  # for each of `entered`: which function called which
    calls: set[str] = field(default_factory=set)  # all functions that ran in this step, as "file:function"

    @property
    def changes(self) -> int:
        """How often one file called another file."""
        return len(self.entered)

    def begun(self) -> Step:
        """A new step with the same beginning, for the next message that the same step of the task takes."""
        kept = [at for at, way in enumerate(self.ways) if at == 0 or way != self.ways[at - 1]]
        return Step(self.task, list(self.rooms), [self.entered[at] for at in kept], [self.ways[at] for at in kept])


def _short(room: str) -> str:
    return Path(room).name.removesuffix(".py")


# A step may take several messages. The work for one of them begins with this function.
BEGINS = ("_take_from_model",)
# The functions in SOCKETS that wait for a message. A call of one of them belongs to the path of the next message.
WAITS = ("receive", "read")
SOCKETS = "relay/transport/"


def _goes_on(frame: FrameType) -> bool:
    """True for a coroutine that was called before and goes on after a wait."""
    is_coroutine = frame.f_code.co_flags & inspect.CO_COROUTINE or frame.f_code.co_name == "__await__"
    return bool(is_coroutine) and frame.f_lineno != frame.f_code.co_firstlineno


class Walk(trio.abc.Instrument):
    """Records the steps of the relay's tasks while it is on."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self._step: Step | None = None
        self._received: Step | None = None  # what the step did before it took its first message
        self._stack: list[str] = []
        self._other: FrameType | None = None  # another event that the step is handling now
        self._names: dict[str, str | None] = {}

    @contextmanager
    def on(self) -> Iterator[None]:
        """Watch calls of functions while the block runs."""
        sys.setprofile(self.profile)
        try:
            yield
        finally:
            sys.setprofile(None)

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self._step, self._stack, self._received, self._other = Step(task.name), [], None, None

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        step, self._step = self._step, None
        if step is not None and step.rooms:
            self.steps.append(step)

    def _room(self, code_file: str) -> str | None:
        if code_file not in self._names:
            try:
                name = str(Path(code_file).relative_to(ROOT))
            except ValueError:
                name = ""
            ours = name.startswith(("relay/", "dsp/")) and not name.startswith("relay/standin/")
            self._names[code_file] = name if ours else None
        return self._names[code_file]

    def _hides(self, frame: FrameType, event: str) -> bool:
        """True while the path handles another event that it has caused. The calls for that event do not count."""
        if self._other is None and event == "call" and frame.f_code.co_name == "_feed":
            caller = frame.f_back
            if caller is not None and caller.f_code.co_name in ("_write_down", "_obey"):
                self._other = frame
                return True
        if self._other is frame and event == "return":
            self._other = None
            return True
        return self._other is not None

    def _is_new(self, frame: FrameType, room: str) -> bool:
        """True for a call that counts in this step. A coroutine that goes on was counted when it was called."""
        is_wait, goes_on = room.startswith(SOCKETS) and frame.f_code.co_name in WAITS, _goes_on(frame)
        return goes_on if is_wait else not goes_on

    def _way(self, frame: FrameType, room: str) -> str:
        """A line of text: which function called which function. The deeper the call, the more it is indented."""
        caller = frame.f_back
        while caller is not None and self._room(caller.f_code.co_filename) is None:
            caller = caller.f_back
        by = f"{_short(self._stack[-1])}.{caller.f_code.co_name}:{caller.f_lineno}" if caller is not None else ""
        deep = sum(one != other for one, other in pairwise(self._stack))
        return f"{'  ' * deep}{_short(room)}.{frame.f_code.co_name}  <- {by}"

    def profile(self, frame: FrameType, event: str, _: Any) -> None:
        """Note a call or a return of our own files. `sys.setprofile` calls this function."""
        step = self._step
        if step is None or event not in ("call", "return"):
            return
        room = self._room(frame.f_code.co_filename)
        if room is None:
            return
        if self._hides(frame, event):
            return
        if event == "call" and frame.f_code.co_name in BEGINS and self._received is not None:
            self.steps.append(step)
            step = self._step = self._received.begun()
        elif event == "call" and frame.f_code.co_name in BEGINS and self._received is None:
            self._received = step.begun()
        if event == "call":
            if self._stack and self._stack[-1] != room and self._is_new(frame, room):
                step.entered.append(room)
                step.ways.append(self._way(frame, room))
            step.calls.add(f"{room}:{frame.f_code.co_name}")
            self._stack.append(room)
        elif self._stack:
            self._stack.pop()
            if not self._stack:
                return
            room = self._stack[-1]
        if not step.rooms or step.rooms[-1] != room:
            step.rooms.append(room)


async def _by_phone(walk: Walk) -> None:
    async with stage(script=Script(pace=1.0)) as play:
        with walk.on():
            await run_scenario(parse(CALL, "walk"), play.exchange)


async def _from_a_browser(walk: Walk) -> None:
    async with stage(script=Script(pace=1.0), settings=LOCAL) as play:
        open_console(play.daemon)
        with walk.on():
            async with browser_call(play, number="+12125550107") as caller:
                await caller.until_quiet()
                await trio.sleep_until(caller.say("ask_booking"))
                await caller.until_quiet()
                await trio.sleep_until(caller.say("yes_right"))
                await caller.until_quiet()
                await trio.sleep_until(caller.say("ask_hours"))
                await trio.sleep(6.0)
                await trio.sleep_until(caller.say("stop_stop"))
                await trio.sleep(6.0)
                await caller.send(kind="hang_up")
                await caller.is_over.wait()
                await trio.sleep(3.0)


def walked(*, by_phone: bool = True) -> list[Step]:
    """Play a call, by phone or from the console's page. Return all its steps."""
    walk = Walk()
    trio.run(
        _by_phone if by_phone else _from_a_browser, walk, clock=MockClock(autojump_threshold=0), instruments=[walk]
    )
    return walk.steps


def has(*calls: str) -> Callable[[Step], bool]:
    """A condition: the step called all of these functions. Each is the end of "file:function"."""
    return lambda step: all(any(done.endswith(call) for done in step.calls) for call in calls)


def without(*calls: str) -> Callable[[Step], bool]:
    """A condition: the step called none of these functions."""
    return lambda step: not any(done.endswith(call) for done in step.calls for call in calls)


def shortest(steps: list[Step], *conditions: Callable[[Step], bool]) -> Step:
    """The step that meets the conditions with the fewest changes of file. Longer steps also did other things."""
    found = [step for step in steps if all(condition(step) for condition in conditions)]
    assert found, "no step of this kind"
    return min(found, key=lambda step: step.changes)


QUIET = without(":handle", ":media", ":tick")
PATHS: dict[str, Callable[[list[Step]], Step]] = {
    "uplink frame": lambda steps: shortest(steps, has(":caller_audio", ":append_audio"), QUIET),
    "downlink delta": lambda steps: shortest(steps, has("downlink.py:spoke", ":media"), without(":learn_greeting")),
    "barge-in hold": lambda steps: shortest(steps, has("playout.py:hold", ":clear"), without("playout.py:cut")),
    "barge-in give up": lambda steps: shortest(steps, has("playout.py:cut", ":truncate_item")),
    "transcript row": lambda steps: shortest(
        steps, has("turns.py:transcribed", ":record"), without(":ask_for_response")
    ),
}


def function_steps(steps: list[Step]) -> list[Step]:
    """The steps for the first function that ran: the step that started it, and its steps until its output was sent."""
    at = next(at for at, step in enumerate(steps) if any(call.endswith(":_run_function") for call in step.calls))
    begin = next(step for step in reversed(steps[:at]) if any("_obey" in c or "_perform" in c for c in step.calls))
    own = [step for step in steps[at:] if step.task.endswith("_run_function")]
    found = [begin]
    for step in own:
        found.append(step)
        if any(call.endswith(":function_output") for call in step.calls):
            break
    return found


def main() -> None:
    """Print the number of calls on each path. Print all calls of the paths that the arguments name."""
    logging.disable()
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    steps = walked()
    paths = {name: [find(steps)] for name, find in PATHS.items()} | {"writing function": function_steps(steps)}
    for name, path in paths.items():
        print(f"{name}: {sum(step.changes for step in path)} changes of file")
        if any(asked in name for asked in sys.argv[1:]):
            print("\n".join(f"   {way}" for step in path for way in (step.task, *step.ways)))
        else:
            print("   " + " | ".join(" ".join(map(_short, step.entered)) for step in path))


if __name__ == "__main__":
    main()
