"""Prints how many pages a new process is given while a large block is allocated, used and freed: kept, and as usual.

In a process that has computed for long, the block may lie in a hole of the heap that is never given back.
"""

from __future__ import annotations

import json
import resource

import numpy as np

from medseg.runtime.memory import freed_memory_kept

BLOCK = 100_000_000


def faults(n: int = 20) -> int:
    """Pages that the system hands out in `n` turns after the first."""
    np.ones(BLOCK, dtype=np.uint8)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(n):
        np.ones(BLOCK, dtype=np.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


if __name__ == "__main__":
    with freed_memory_kept():
        kept = faults()
    print(json.dumps([kept, faults()]))
