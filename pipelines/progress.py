"""Progress on the terminal: a live bar for people, plain lines when the output is a file."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

console = Console(stderr=True, highlight=False)


def say(text: str) -> None:
    """One line for the user; not part of any program's output."""
    console.print(text, markup=False)


class Bar:
    """One running task; `advance` is cheap enough for every training step."""

    def __init__(self, title: str, total: int) -> None:
        self.title = title
        self.total = total
        self.done = 0
        self._said = time.monotonic()
        self._started = time.monotonic()
        self._live: Progress | None = None
        if console.is_terminal:
            self._live = Progress(
                TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
                TextColumn("left"), TimeRemainingColumn(), TextColumn("{task.fields[note]}"), console=console,
            )  # fmt: skip
            self._task = self._live.add_task(title, total=total, note="")
            self._live.start()

    def advance(self, done: int, note: str = "") -> None:
        """Show that `done` of the total are done."""
        self.done = done
        if self._live is not None:
            self._live.update(self._task, completed=done, note=note)
            return
        now = time.monotonic()
        if now - self._said > 15 or done == self.total:
            left = (now - self._started) / max(done, 1) * (self.total - done)
            say(f"{self.title}: {done}/{self.total}, {left:.0f} s left  {note}".rstrip())
            self._said = now

    def stop(self) -> None:
        """Leave the bar as it is."""
        if self._live is not None:
            self._live.stop()


@contextmanager
def bar(title: str, total: int) -> Iterator[Bar]:
    """A bar that ends with the block."""
    running = Bar(title, total)
    try:
        yield running
    finally:
        running.stop()
        sys.stderr.flush()
