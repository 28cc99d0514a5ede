"""Makes the pictures of docs/images: `python -m tests.helpers.pictures`. This needs Chromium and takes two minutes.

The pages Today and Calls show the invented calls of owner_data.py. The page of one call comes from
`relay demo --console`. The picture of the sound shows the demo call, which is played on a fake clock.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import trio
from selenium.webdriver.common.by import By
from trio.testing import MockClock

import dsp
from relay.console.password import hashed
from relay.ledger.dev_postgres.embedded import embedded
from relay.ledger.migrate import migrate
from relay.standin.scenario.report import CallReport
from tests.helpers.chromium import PASSWORD, chromium, sign_in, wait
from tests.helpers.play import perform

ROOT = Path(__file__).parents[2]
IMAGES = ROOT / "docs" / "images"
SCENARIO = "good_call"
STEP_MS = 20
COLOURS = {"the caller": "#4a5899", "what the caller heard": "#0f6b5c"}


def draw_sound(report: CallReport, path: Path) -> None:
    """Draw the loudest sample of each frame: the caller above, and what the caller heard below."""
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(2, 1, figsize=(11, 2.8), dpi=100, sharex=True, layout="constrained")
    for axis, (name, colour), mulaw in zip(
        axes, COLOURS.items(), (report.caller_mulaw, report.heard_mulaw), strict=True
    ):
        samples = np.abs(dsp.decode(mulaw).astype(np.int32))
        frames = samples[: len(samples) // (STEP_MS * 8) * (STEP_MS * 8)].reshape(-1, STEP_MS * 8).max(axis=1)
        at_s = np.arange(len(frames)) * STEP_MS / 1000
        axis.fill_between(at_s, -frames, frames, color=colour, linewidth=0.4)
        axis.set_title(name, loc="left", color=colour, fontsize=10)
        axis.set_yticks([])
        axis.margins(x=0.005)
        axis.spines[["top", "right", "left", "bottom"]].set_visible(False)
    axes[1].xaxis.set_major_formatter(lambda seconds, _: f"{seconds:.0f} s")
    figure.savefig(path)
    pyplot.close(figure)


def demo_call() -> CallReport:
    """Play the demo's call on a fake clock."""
    got, wrong, _ = trio.run(perform, SCENARIO, clock=MockClock(autojump_threshold=0))
    assert wrong == [], wrong
    return got


@contextmanager
def running(command: list[str], until: str, end: signal.Signals) -> Iterator[str]:
    """Run a program, and yield the first line of its output that contains `until`. At the end send the signal `end`."""
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield next(line for line in process.stdout if until in line).strip()
        finally:
            process.send_signal(end)


def take(browser: Any, name: str) -> None:
    """Save a picture of the window in docs/images."""
    browser.set_window_size(1100, 850)
    browser.save_screenshot(str(IMAGES / f"{name}.png"))


def main() -> None:
    """Make all pictures."""
    draw_sound(demo_call(), IMAGES / "demo-call.png")
    with (
        tempfile.TemporaryDirectory() as folder,
        embedded(Path(folder), durable=False) as url,
        chromium("--hide-scrollbars") as browser,
    ):
        migrate(url)
        server = [sys.executable, "-m", "tests.helpers.console_server", url, folder, hashed(PASSWORD)]
        with running(server, "http", signal.SIGTERM) as address:
            sign_in(browser, address)
            take(browser, "console-today")
            browser.find_element(By.LINK_TEXT, "Calls").click()
            wait(browser, lambda: browser.title.startswith("Calls"))
            take(browser, "console-calls")
        demo = [sys.executable, "-m", "relay", "demo", "--console", "--out", os.path.join(folder, "demo.wav")]
        with running(demo, "the console is at ", signal.SIGINT) as line:
            browser.get(line.split("the console is at ")[1].split()[0] + "calls")
            wait(browser, lambda: browser.find_elements(By.CSS_SELECTOR, "td a"))[0].click()
            wait(browser, lambda: browser.find_elements(By.ID, "wave"))
            take(browser, "console-call")


if __name__ == "__main__":
    main()
