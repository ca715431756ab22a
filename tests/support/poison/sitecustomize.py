"""Decoders that misbehave, by the name of the file; only tests put this folder on the path of a run."""

import ctypes
import time

import numpy as np
from nibabel.arrayproxy import ArrayProxy

from medseg.io import compressed

_REAL, _REAL_UNPACKED = ArrayProxy.__array__, compressed.unpacked


def _poisoned(name):
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


def _array(self, *args, **kwargs):
    _poisoned(str(self.file_like))
    return _REAL(self, *args, **kwargs)


def _unpacked(packed, n_bytes):
    _poisoned(str(packed.path))
    return _REAL_UNPACKED(packed, n_bytes)


ArrayProxy.__array__ = _array  # type: ignore[method-assign]
compressed.unpacked = _unpacked
