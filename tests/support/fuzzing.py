"""Inputs damaged at random, how many of them, and what may come of them.

`MEDSEG_TEST_FUZZ=20000` damages that many inputs of every kind together, and holds each of them to a deadline, too.
Without it work is counted in calls only, because a busy machine may take any time. `--hypothesis-seed=1` damages the
same ones again.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial, wraps
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.call_counts import n_calls

N_INPUTS = int(os.environ.get("MEDSEG_TEST_FUZZ", "160"))
DEADLINE = timedelta(seconds=20) if "MEDSEG_TEST_FUZZ" in os.environ else None
MOST_CALLS = 2_000_000
"""Calls of functions for one input; what needs more counts as a hang. The most of 160 inputs was 222,000."""
Bytes = st.binary(min_size=1, max_size=12)


def fuzzed(
    share: float, *, deadline: timedelta | None = DEADLINE, **inputs: st.SearchStrategy[Any]
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A test of this share of the inputs, each of which may cause a limited number of calls.

    Args:
        deadline: for one input; None where what is tested has its own.
    """
    checks = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large]
    bounds = settings(max_examples=max(1, int(share * N_INPUTS)), deadline=deadline, suppress_health_check=checks)

    def decorated(test: Callable[..., None]) -> Callable[..., None]:
        @wraps(test)
        def counted(**words: Any) -> None:
            assert n_calls(partial(test, **words)) < MOST_CALLS

        return bounds(given(**inputs)(counted))

    return decorated


@contextmanager
def refusing(*errors: type[Exception], secrets: Collection[str] = ()) -> Iterator[None]:
    """Nothing but these may be raised, in one line of words that quotes no secret."""
    message = "one line"
    try:
        yield
    except errors as error:
        message = str(error)
    assert message
    assert message.isprintable()
    assert "Traceback" not in message
    assert not [secret for secret in secrets if secret in message]


def overwritten(content: bytes, places: list[tuple[int, bytes]], length: int | None) -> bytes:
    """`content` with bytes put over it at some offsets, then cut to `length`."""
    mutated = bytearray(content)
    for offset, new in places:
        at = offset % len(content)
        mutated[at : at + len(new)] = new
    return bytes(mutated[:length])


# Header fields of NIfTI-1 that geometry depends on: offset, struct format, number.
FIELDS = [(0, "i", 1), (40, "h", 8), (70, "h", 2), (76, "f", 8), (108, "f", 3), (123, "B", 1), (252, "h", 2),
          (256, "f", 6), (280, "f", 12), (344, "B", 4)]  # fmt: skip
VALUES = {
    "i": st.integers(-(2**31), 2**31 - 1),
    "h": st.one_of(st.integers(-3, 30), st.integers(-(2**15), 2**15 - 1)),
    "f": st.one_of(st.sampled_from([0.0, -0.0, 1.0, -1.0, 1e-7, 0.5, 3.0]), st.floats(width=32)),
    "B": st.integers(0, 255),
}


@st.composite
def nifti_places(draw: st.DrawFn) -> list[tuple[int, bytes]]:
    """Whole fields of the header, and any bytes."""
    places = []
    for _ in range(draw(st.integers(1, 4))):
        offset, kind, number = draw(st.sampled_from(FIELDS))
        at = offset + struct.calcsize(kind) * draw(st.integers(0, number - 1))
        places.append((at, struct.pack(f"<{kind}", draw(VALUES[kind]))))
    return places + draw(st.lists(st.tuples(st.integers(0, 351), Bytes), max_size=1))
