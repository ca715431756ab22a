"""Runs one program, and ends it with all that it started after its time, or as soon as whoever asked for it is gone.

A process of its own, because a worker that is killed can no longer end what it started. It imports nothing of medseg.

usage: guard.py SECONDS PROGRAM [ARGUMENT ...]    (exit code: the program's; 124 after its time, as of `timeout`)
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress

AFTER_ITS_TIME = 124
_BY_SIGNAL = 128


def main(seconds: str, *command: str) -> int:
    """Run the command; standard input of this process is open for as long as somebody waits."""
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    program = subprocess.Popen(command, start_new_session=True, **quiet)  # type: ignore[call-overload]
    threading.Thread(target=_end_with_the_caller, args=(program,), daemon=True).start()
    try:
        code = int(program.wait(float(seconds)))
    except subprocess.TimeoutExpired:
        _end(program)
        return AFTER_ITS_TIME
    return code if code >= 0 else _BY_SIGNAL - code


def _end_with_the_caller(program: subprocess.Popen[bytes]) -> None:
    while os.read(0, 1024):
        pass
    _end(program)


def _end(program: subprocess.Popen[bytes]) -> None:
    """End the program and, where systems know groups of processes, everything that it started."""
    with suppress(ProcessLookupError):
        if hasattr(os, "killpg"):
            os.killpg(program.pid, signal.SIGKILL)
        else:
            program.kill()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
