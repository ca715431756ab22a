from __future__ import annotations

import resource
import sys
from threading import Thread

import numpy as np
import pytest

from medseg.runtime import memory
from medseg.runtime.memory import freed_memory_kept

BLOCK = 100_000_000


def faults(n: int = 20) -> int:
    """Pages that the system hands out while a large block is allocated, used and freed some times."""
    np.ones(BLOCK, dtype=np.uint8)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(n):
        np.ones(BLOCK, dtype=np.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


@pytest.mark.skipif(not sys.platform.startswith("linux") or memory._glibc() is None, reason="no glibc here")
def test_a_freed_block_is_taken_again_and_given_back_at_the_end():
    if not memory._glibc().mallopt(memory._MMAP_THRESHOLD, memory._KEPT[1]):
        pytest.skip("a glibc before 2.35")
    with freed_memory_kept():
        kept = faults()
    usual = faults()
    assert usual > 200
    assert kept < usual / 10


def test_the_last_to_leave_gives_it_back(monkeypatch):
    seen = []
    monkeypatch.setattr(memory, "_users", 0)
    monkeypatch.setattr(memory, "_set", seen.append)
    another = freed_memory_kept()
    with freed_memory_kept():
        other = Thread(target=another.__enter__)
        other.start()
        other.join()
        assert seen == [memory._KEPT]
    assert seen == [memory._KEPT]
    another.__exit__(None, None, None)
    assert seen == [memory._KEPT, memory._USUAL]


def test_an_older_glibc_keeps_what_it_can(monkeypatch):
    class Older:
        def __init__(self):
            self.now = {}

        def mallopt(self, parameter, value):
            if parameter == memory._MMAP_THRESHOLD and value > 2**25:
                return 0
            self.now[parameter] = value
            return 1

        def malloc_trim(self, _kept):
            self.now["trimmed"] = True

    older = Older()
    monkeypatch.setattr(memory, "_glibc", lambda: older)
    with freed_memory_kept():
        assert older.now == {memory._MMAP_THRESHOLD: 2**25, memory._TRIM_THRESHOLD: 2**31 - 1}
    assert older.now == {memory._MMAP_THRESHOLD: 2**25, memory._TRIM_THRESHOLD: 2**26, "trimmed": True}


def test_without_glibc_nothing_changes(monkeypatch):
    def absent(_name: None) -> None:
        raise OSError

    monkeypatch.setattr(memory.ctypes, "CDLL", absent)
    with freed_memory_kept():
        assert memory._glibc() is None


def test_an_error_inside_leaves_no_user_behind():
    with pytest.raises(KeyError), freed_memory_kept():
        raise KeyError
    assert memory._users == 0
