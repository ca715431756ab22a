"""Progress on the terminal: a live bar for people, plain lines when the output is a file, JSON lines for programs."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

console = Console(stderr=True, highlight=False)
LINE_S = 15.0
"""Seconds between two plain lines."""


class _Mode:
    json = False
    level = 0
    held = ""


def speak_json(wanted: bool) -> None:
    """Turn everything that is said into JSON objects, one a line, or back."""
    _Mode.json = wanted


def be_silent() -> None:
    """Say nothing more: another process of the same run speaks."""
    console.quiet = True
    _Mode.json = False


def speak_at(level: int) -> None:
    """Say as usual (0), also what was decided about each scan (1), or nothing but errors and the last line (-1).

    JSON lines are for programs and stay as they are.
    """
    _Mode.level, _Mode.held = level, ""


def say_held() -> None:
    """The last line of a quiet command."""
    if _Mode.held:
        console.print(_Mode.held, markup=False, soft_wrap=not console.is_terminal)
    _Mode.held = ""


def event(kind: str, **values: object) -> None:
    """One JSON line for programs; nothing for people."""
    if _Mode.json:
        line = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "event": kind, **values}
        with suppress(OSError):
            print(json.dumps(line), file=sys.stderr, flush=True)  # noqa: T201


def say(text: str, *, is_error: bool = False) -> None:
    """One line for the user; not part of any program's output.

    Args:
        is_error: it is said by a quiet command too.
    """
    if _Mode.json:
        event("message", text=text)
        return
    if _Mode.level < 0 and not is_error:
        _Mode.held = text
        return
    with suppress(OSError):  # a log that nobody can write is no reason to stop
        console.print(text, markup=False, soft_wrap=not console.is_terminal)


def say_more(text: str) -> None:
    """One line of what was decided about a scan, for who asked for more."""
    if _Mode.level > 0:
        say(text)


class Bar:
    """One running task; `advance` is cheap enough for every training step."""

    def __init__(self, title: str, total: int) -> None:
        self.title = title
        self.total = total
        self.done = 0
        self._said = time.monotonic()
        self._started = time.monotonic()
        self._live: Progress | None = None
        self._is_shown = _Mode.json or _Mode.level >= 0
        if console.is_terminal and self._is_shown and not _Mode.json:
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
        if not self._is_shown:
            return
        now = time.monotonic()
        if now - self._said > LINE_S or done == self.total:
            left = (now - self._started) / max(done, 1) * (self.total - done)
            if _Mode.json:
                event("progress", task=self.title, done=done, total=self.total, left_s=round(left, 1), note=note)
            else:
                say(f"{self.title}: {done}/{self.total}, {left:.0f} s left  {note}".rstrip())
            self._said = now

    def stop(self) -> None:
        """Leave the bar as it is."""
        if self._live is not None:
            self._live.stop()


class Tally:
    """Counts the scans of a batch: those done now, those done before, those refused or failed, and the pace."""

    def __init__(self, bar: Bar, n_before: int, n_bad: int) -> None:
        self._bar, self._n_before, self._n_bad = bar, n_before, n_bad
        self._n_now = 0
        self._started = time.monotonic()
        self._show()

    def count(self, scan: str, status: str, reason: str, seconds: float) -> None:
        """One more scan is through."""
        self._n_now += 1
        self._n_bad += status != "done"
        event("scan", scan=scan, status=status, reason=reason, seconds=round(seconds, 2),
              done=self._n_now + self._n_before, failed=self._n_bad, total=self._bar.total,
              per_minute=round(self._pace(), 2))  # fmt: skip
        self._show()

    def _pace(self) -> float:
        return 60 * self._n_now / max(time.monotonic() - self._started, 1e-3)

    def _show(self) -> None:
        notes = [f"{self._pace():.1f}/min"] if self._n_now else []
        notes += [f"{self._n_bad} refused or failed"] if self._n_bad else []
        self._bar.advance(self._n_before + self._n_now, ", ".join(notes))


@contextmanager
def bar(title: str, total: int) -> Iterator[Bar]:
    """A bar that ends with the block."""
    running = Bar(title, total)
    try:
        yield running
    finally:
        running.stop()
        sys.stderr.flush()
