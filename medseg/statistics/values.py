"""The intensities of one label, and sums over them in double precision that need no second copy of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from medseg.spatial.chunks import Place

Values = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
PIECE = 1_000_000
"""Values that are widened to double precision at once."""


def values_in(
    voxels: npt.NDArray[np.float32], labels: npt.NDArray[np.unsignedinteger], number: int, box: Place
) -> Values:
    """(V,) intensities of label `number`, plane by plane of the box that holds it."""
    parts = [plane[inside == number] for plane, inside in zip(voxels[box], labels[box], strict=True)]
    return np.concatenate(parts).astype(np.float32, copy=False)


def mean_of(values: Values, function: Callable[[Doubles], Doubles] = lambda x: x) -> float:
    """Mean of `function` over (V,) values, piece by piece in double precision."""
    pieces = (values[start : start + PIECE].astype(np.float64) for start in range(0, len(values), PIECE))
    return float(sum(function(piece).sum() for piece in pieces) / len(values))


def percentiles_of(values: Values, wanted: Sequence[float]) -> list[float]:
    """Percentiles (0 to 100) of (V,) values, which change their order; between two ranks by linear interpolation.

    Hyndman and Fan's seventh definition (Am Stat 50:361, 1996), the default of NumPy, R and Excel.
    """
    places = [share / 100 * (len(values) - 1) for share in wanted]
    ranks = sorted({rank for place in places for rank in (int(place), min(int(place) + 1, len(values) - 1))})
    values.partition(ranks)
    found = []
    for place in places:
        low = int(place)
        first, second = float(values[low]), float(values[min(low + 1, len(values) - 1)])
        found.append(first + (second - first) * (place - low))
    return found
