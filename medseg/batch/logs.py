"""What is known of a failure, beside the manifest: ``log/<scan>.log``.

A manifest row has room for one sentence. The log says in which function it happened; it holds no message of other
libraries, because those quote paths, names and identifiers, and no path of this machine.
"""

from __future__ import annotations

import re
import traceback
from pathlib import Path

from medseg.batch.outputs import output_path
from medseg.errors import OutputError
from medseg.io.atomic import write_text_whole
from medseg.runtime.limits import is_out_of_memory, limits_text, memory_limits

_FRAME = re.compile(r'^\s*File "(?P<file>[^"]+)", line (?P<line>\d+) in (?P<function>\S+)')
_HEAD = re.compile(r"^(Fatal Python error: [\w ]+|(Current thread|Thread) 0x[0-9a-f]+)")


def log_path(out: Path, scan_id: str) -> Path:
    """Where the log of a scan lies."""
    path: Path = output_path(out / "log", scan_id, ".log")
    return path


def write_log(out: Path, scan_id: str, reason: str, details: list[str]) -> None:
    """Write the log of a scan that was not segmented."""
    write_text_whole(log_path(out, scan_id), "\n".join([reason, "", *details]) + "\n")


def remove_log(out: Path, scan_id: str) -> None:
    """Remove the log of a scan that was segmented after all."""
    log_path(out, scan_id).unlink(missing_ok=True)


def describe(error: BaseException) -> list[str]:
    """Kind of an exception and of those that led to it, with where they were raised; no message."""
    lines = []
    current: BaseException | None = error
    while current is not None:
        lines.append(type(current).__name__)
        frames = traceback.extract_tb(current.__traceback__)
        lines += [f"  {_short(frame.filename)}:{frame.lineno} in {frame.name}" for frame in frames]
        current = current.__cause__ or current.__context__
    return lines


def raised_in(error: BaseException) -> str:
    """Kind and place of an exception in a few words: the last line of medseg that it came through."""
    frames = list(traceback.extract_tb(error.__traceback__))
    own = [f for f in frames if re.search(r"/(medseg|pipelines)/", Path(f.filename).as_posix())] or frames
    return f"{type(error).__name__} in {_short(own[-1].filename)}:{own[-1].lineno}" if own else type(error).__name__


def explain(error: Exception, out: Path) -> tuple[str, str]:
    """A reason code and a sentence that quotes no message of another library and no path."""
    if isinstance(error, OutputError):
        is_here = error.place.resolve().is_relative_to(out.resolve())
        return error.code, error.reason if is_here else f"the folder for temporary files (TMPDIR): {error.reason}"
    if is_out_of_memory(error):
        limits = f" ({limits_text()})" if memory_limits() else ""
        return "out_of_memory", (
            f"not enough memory for this scan{limits}; use fewer workers, a higher limit or a larger machine and run "
            "again"
        )
    if isinstance(error, OSError):
        reason = error.strerror or type(error).__name__
        return "machine", f"{reason}; free space or memory and run again"
    return "error", f"{raised_in(error)}; see its log"


def frames_of_dump(text: str) -> list[str]:
    """What `faulthandler` wrote when a process crashed or was asked where it is, with short file names."""
    lines = []
    for line in text.splitlines():
        if match := _FRAME.match(line):
            lines.append(f"  {_short(match['file'])}:{match['line']} in {match['function']}")
        elif match := _HEAD.match(line):
            lines.append(re.sub(r" 0x[0-9a-f]+", "", match[0]))
    return lines


def _short(file: str) -> str:
    """The last parts of a source file's path: ``nibabel/loadsave.py``."""
    return "/".join(Path(file).parts[-2:])
