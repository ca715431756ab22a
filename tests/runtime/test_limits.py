"""Errors that mean that memory is used up, whoever says so, and the limits that shells set."""

from __future__ import annotations

import errno

import pytest
import torch

from medseg.runtime.limits import is_out_of_memory, memory_limits

YES = (
    MemoryError(),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory"),
    RuntimeError("can't start new thread"),
    RuntimeError("ITK ERROR: Image: Failed to allocate memory for image."),
    RuntimeError("std::bad_alloc"),
    ImportError("libx.so: failed to map segment from shared object"),
    OSError(errno.ENOMEM, "Cannot allocate memory"),
    BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable"),
)
NO = (
    RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
    ImportError("No module named 'x'"),
    OSError(errno.ENOSPC, "No space left on device"),
    ValueError("unable to allocate a name"),
    KeyError("out of memory"),
)


@pytest.mark.parametrize("error", YES, ids=repr)
def test_memory_by_whatever_says_it(error):
    assert is_out_of_memory(error)
    outer = ValueError("cannot be decoded")
    outer.__context__ = error
    assert is_out_of_memory(outer)


@pytest.mark.parametrize("error", NO, ids=repr)
def test_other_errors_are_other_errors(error):
    error.__cause__ = error  # a circle ends
    assert not is_out_of_memory(error)


def test_limits_by_the_words_of_the_shell(monkeypatch):
    resource = pytest.importorskip("resource")
    limits = {resource.RLIMIT_AS: 2_000_000_000, resource.RLIMIT_DATA: resource.RLIM_INFINITY}
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (limits[kind], resource.RLIM_INFINITY))
    assert memory_limits() == {"ulimit -v": 2_000_000_000}
    limits[resource.RLIMIT_DATA] = 3
    assert memory_limits() == {"ulimit -v": 2_000_000_000, "ulimit -d": 3}
    monkeypatch.setattr("sys.platform", "win32")
    assert memory_limits() == {}
