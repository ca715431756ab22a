"""Decoders that misbehave, by the name of the file; only tests put this folder on the path of a run."""

import ctypes
import time

import numpy as np
from nibabel.arrayproxy import ArrayProxy

_REAL = ArrayProxy.__array__


def _poisoned(self, *args, **kwargs):
    name = str(self.file_like)
    if "segfault" in name:
        ctypes.string_at(0)
    if "eater" in name:
        taken = []
        while True:
            taken.append(np.ones(10_000_000))
            time.sleep(0.01)
    if "sleeper" in name:
        time.sleep(10_000)
    if "raiser" in name:
        raise RuntimeError(f"patient of {name}")
    if "slow" in name:
        time.sleep(1.0)
    return _REAL(self, *args, **kwargs)


ArrayProxy.__array__ = _poisoned  # type: ignore[method-assign]
