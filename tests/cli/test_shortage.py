"""A machine without memory or room is told in one sentence, never by a traceback."""

from __future__ import annotations

import errno
import io
import os

import pytest

from medseg.cli import main as command
from medseg.cli import shortage
from medseg.cli.main import main

HERE = "medseg.cli.shortage"


@pytest.mark.parametrize(("name", "limit"), [("ulimit -v", 1_000_000_000), ("ulimit -d", 500_000_000)])
def test_a_limit_that_the_libraries_alone_break(monkeypatch, capsys, name, limit):
    """OpenBLAS and the linker end the process without a word of ours, so it is refused before they are loaded."""
    monkeypatch.setattr(f"{HERE}.memory_limits", lambda: {name: limit})
    assert main(["inspect", "anything"]) == 2
    told, size = capsys.readouterr().err, "1.0 GB" if limit > 7e8 else "500 MB"
    assert told.startswith(f"medseg: memory: found a limit of {size} ({name}), expected at least ")
    assert told.count("\n") == 1
    assert main(["configs"]) == 0


def test_a_container_that_is_too_small(monkeypatch, capsys):
    monkeypatch.setattr(f"{HERE}.total_memory", lambda: 512_000_000)
    assert main(["inspect", "anything"]) == 2
    assert "found 512 MB for this machine, container or job, expected at least 700 MB" in capsys.readouterr().err
    monkeypatch.setattr(f"{HERE}.total_memory", lambda: 0)  # a platform that does not say
    shortage.check_memory()


ERRORS = {
    "memory": (MemoryError(), "memory: it is used up, found 8.0 GB in all; use a larger machine, or take smaller or"),
    "torch": (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "memory: it is used up"),
    "a file": (OSError(errno.ENOSPC, "No space", "somewhere/a"), "somewhere/a: cannot be written: the disk is full"),
    "print": (OSError(errno.ENOSPC, "No space"), "standard output: cannot be written: the disk is full; free space"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_what_ends_a_command_is_one_sentence(monkeypatch, capsys, name):
    error, words = ERRORS[name]

    def run(_args: object) -> int:
        raise error

    monkeypatch.setattr(f"{HERE}.total_memory", lambda: 8_000_000_000)
    monkeypatch.setattr(command.COMMANDS["configs"], "run", run)
    assert main(["configs"]) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"medseg: {words}")
    assert told.count("\n") == 1


def test_memory_under_a_limit_names_the_limit(monkeypatch):
    monkeypatch.setattr("medseg.runtime.limits.memory_limits", lambda: {"ulimit -v": 2_500_000_000})
    assert shortage.told_of(MemoryError()) == (
        "memory: it is used up, ulimit -v allows 2.5 GB; raise the limit, or take smaller or fewer scans, then "
        "give the same command again: what is whole stays"
    )


def test_a_bug_stays_a_bug(monkeypatch):
    def run(_args: object) -> int:
        raise KeyError("a bug")

    monkeypatch.setattr(command.COMMANDS["configs"], "run", run)
    with pytest.raises(KeyError):
        main(["configs"])


class Closed(io.StringIO):
    """Standard output that nobody reads any more, or that lies on a full disk."""

    def __init__(self, number: int, descriptor: int) -> None:
        super().__init__()
        self.number, self.descriptor = number, descriptor

    def flush(self) -> None:
        raise OSError(self.number, os.strerror(self.number))

    def fileno(self) -> int:
        return self.descriptor


@pytest.mark.parametrize(("number", "code", "words"), [
    (errno.EPIPE, 141, ""),
    (errno.ENOSPC, 2, "medseg: standard output: cannot be written: the disk is full"),
])  # fmt: skip
def test_output_that_cannot_be_written(monkeypatch, capsys, tmp_path, number, code, words):
    with (tmp_path / "stdout").open("w") as file:
        monkeypatch.setattr("sys.stdout", Closed(number, file.fileno()))
        assert main(["configs"]) == code
        os.write(file.fileno(), b"what Python would try once more")
    assert capsys.readouterr().err.startswith(words)
    assert (tmp_path / "stdout").read_text() == ""
