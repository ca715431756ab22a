from __future__ import annotations

import ctypes
import json
import platform
import subprocess
import sys
from threading import Thread

import pytest

from medseg.runtime.memory import freed_memory_kept
from tests.support.paths import ROOT

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of malloc.h
KEPT = {MMAP_THRESHOLD: 2**27, TRIM_THRESHOLD: 2**31 - 1}
USUAL = {MMAP_THRESHOLD: 2**25, TRIM_THRESHOLD: 2**26}


class Glibc:
    """Keeps what it is told; `most` is the largest threshold of a mapped block that it takes."""

    def __init__(self, most: int = 2**31) -> None:
        self.most, self.now, self.n_trims = most, dict[int, int](), 0

    def mallopt(self, parameter: int, value: int) -> int:
        if parameter == MMAP_THRESHOLD and value > self.most:
            return 0
        self.now[parameter] = value
        return 1

    def malloc_trim(self, _kept: int) -> None:
        self.n_trims += 1


def installed(monkeypatch: pytest.MonkeyPatch, libc: object) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _name: libc)


def has_a_large_threshold() -> bool:
    """Whether this process has a glibc from 2.35 on, which keeps blocks of more than 32 MB when told to."""
    name, version = platform.libc_ver()
    return name == "glibc" and tuple(map(int, version.split(".")[:2])) >= (2, 35)


@pytest.mark.skipif(not has_a_large_threshold(), reason="no glibc from 2.35 on")
def test_a_freed_block_is_taken_again_and_given_back_at_the_end():
    command = [sys.executable, "-m", "tests.support.page_faults"]
    kept, usual = json.loads(subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout)
    assert usual > 200
    assert kept < usual / 10


def test_the_last_to_leave_gives_it_back(monkeypatch):
    libc = Glibc()
    installed(monkeypatch, libc)
    another = freed_memory_kept()
    with freed_memory_kept():
        other = Thread(target=another.__enter__)
        other.start()
        other.join()
        assert libc.now == KEPT
    assert (libc.now, libc.n_trims) == (KEPT, 0)
    another.__exit__(None, None, None)
    assert (libc.now, libc.n_trims) == (USUAL, 1)


def test_an_older_glibc_keeps_what_it_can(monkeypatch):
    libc = Glibc(most=2**25)
    installed(monkeypatch, libc)
    with freed_memory_kept():
        assert libc.now == {**KEPT, MMAP_THRESHOLD: 2**25}
    assert (libc.now, libc.n_trims) == (USUAL, 1)


def test_without_glibc_nothing_changes(monkeypatch):
    def absent(_name: None) -> None:
        raise OSError

    monkeypatch.setattr(ctypes, "CDLL", absent)
    with freed_memory_kept():
        pass
    installed(monkeypatch, object())  # a C library of another kind
    with freed_memory_kept():
        pass


def test_an_error_inside_leaves_no_user_behind(monkeypatch):
    libc = Glibc()
    installed(monkeypatch, libc)
    with pytest.raises(KeyError), freed_memory_kept():
        raise KeyError
    assert (libc.now, libc.n_trims) == (USUAL, 1)
