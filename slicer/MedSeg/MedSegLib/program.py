"""The installed program `medseg`, called by the panel: found, run with progress, cancelled; nothing of Slicer here."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

_PROGRESS = re.compile(r"<filter-progress>([0-9.]+)</filter-progress>")


class ProgramError(Exception):
    """`medseg` is missing, or said why it did not do what was asked; the message is what a person reads."""


@dataclass(frozen=True)
class Label:
    """One label of a model: number, name, colour 0 to 255, and code (value, meaning) of SNOMED CT or nothing."""

    number: int
    name: str
    color: tuple[int, int, int]
    code: tuple[str, str] | None = None


def find_program(wanted: str = "") -> Path:
    """The program at the path `wanted`, else the one that ``MEDSEG`` names, else the one on the search path.

    Raises:
        ProgramError: there is none.
    """
    for place in (wanted, os.environ.get("MEDSEG", ""), "medseg"):
        found = shutil.which(place) if place else None
        if found:
            return Path(found)
        if place and place == wanted:
            raise ProgramError(f"{wanted} is no program; choose the medseg of the environment that you installed it in")
    raise ProgramError("medseg was not found; install it (pip install medseg) and choose the program in this panel")


def clean_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Without Slicer's own Python and libraries, which must not leak into another Python."""
    leaking = ("PYTHON", "LD_LIBRARY_PATH", "DYLD_", "QT_", "SLICER")
    return {name: value for name, value in environment.items() if not name.startswith(leaking)}


def read_labels(model: Path) -> list[Label]:
    """The labels of a model folder, from its ``model.json``.

    Raises:
        ProgramError: it is no model folder.
    """
    try:
        labels = json.loads((model / "model.json").read_text("utf-8"))["labels"]["labels"]
        return [
            Label(
                int(x["number"]), str(x["name"]), (int(x["color"][0]), int(x["color"][1]), int(x["color"][2])),
                (x["code"]["value"], x["code"]["meaning"]) if x.get("code") else None,
            )
            for x in labels
        ]  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        raise ProgramError(
            f"{model} is no model folder; choose one that `medseg run` or `medseg train` wrote"
        ) from None


@dataclass
class Run:
    """One call of the program, in a process of its own, watched by a thread.

    Attributes:
        progress: 0 to 1, as the program tells it.
        kill_after_s: how long a cancelled program has to end by itself.
    """

    command: Sequence[str]
    progress: float = 0.0
    kill_after_s: float = 5.0
    _said: list[str] = field(default_factory=list)
    _process: subprocess.Popen[str] | None = None
    _is_cancelled: bool = False

    def start(self) -> Run:
        """Start; returns at once.

        Raises:
            ProgramError: the program cannot be started.
        """
        try:
            self._process = subprocess.Popen(
                list(self.command), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, encoding="utf-8",
                errors="replace", env=clean_environment(os.environ), start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            raise ProgramError(f"{self.command[0]} cannot be started ({error.strerror})") from None
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()
        return self

    @property
    def is_running(self) -> bool:
        """Whether it still works."""
        return self._thread.is_alive()

    def cancel(self) -> None:
        """End it and what it started; kill it where it does not end."""
        self._is_cancelled = True
        process = self._process
        if process is None or process.poll() is not None:
            return
        self._signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(self.kill_after_s)
        self._signal(getattr(signal, "SIGKILL", signal.SIGTERM))  # what it started may have outlived it

    def check(self) -> None:
        """After it ended.

        Raises:
            ProgramError: it was cancelled, or failed; the last line that it said is the reason.
        """
        self._thread.join()
        code = self._process.wait() if self._process else 1
        if self._is_cancelled:
            raise ProgramError("cancelled")
        if code:
            reasons = [line for line in self._said if line.startswith("medseg: ")] or self._said or ["no reason given"]
            raise ProgramError(reasons[-1].removeprefix("medseg: "))

    def _listen(self) -> None:
        if self._process is None or self._process.stdout is None:
            return
        for line in self._process.stdout:
            found = _PROGRESS.search(line)
            if found:
                self.progress = float(found[1])
            elif line.strip():
                self._said.append(line.strip())
        self._process.wait()

    def _signal(self, number: int) -> None:
        if self._process is None:
            return
        with contextlib.suppress(OSError):
            if hasattr(os, "killpg"):
                os.killpg(self._process.pid, number)
            else:
                self._process.send_signal(number)


def segment_command(
    program: Path, model: Path, scan: Path, segments: Path, confidence: Path | None, device: str
) -> list[str]:
    """What segments the volume file `scan` into `segments` (``.seg.nrrd``), and its confidence if that is wanted."""
    command = [str(program), "slicer", str(scan), str(segments), "--model", str(model), "--device", device]
    return command if confidence is None else [*command, "--confidence", str(confidence)]


def rename_command(program: Path, model: Path, labels: Sequence[Label], before: Sequence[Label]) -> list[str]:
    """What writes changed names, colours and codes into a model; empty when nothing changed."""
    old = {label.number: label for label in before}
    words: list[str] = []
    for label in labels:
        was = old.get(label.number)
        if was is None or was == label:
            continue
        if label.name != was.name:
            words += ["--name", f"{label.number}={label.name}"]
        if label.color != was.color:
            words += ["--color", f"{label.number}={','.join(map(str, label.color))}"]
        if label.code and label.code != was.code:
            words += ["--code", f"{label.number}={label.code[0]}:{label.code[1]}"]
    return [str(program), "label", str(model), *words] if words else []
