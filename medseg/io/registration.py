"""Channels of one patient brought onto each other by their content, with the proof that it worked, or refused.

Each channel is registered rigidly to the first one, from its place by the headers and from the places of both bodies
laid onto each other; the better one is registered again from a disturbed start with other samples. What does not end
at the same place twice, what hardly overlaps and what moves further than a patient can is refused with its numbers.
"""

from __future__ import annotations

import numpy as np
from monai.data.meta_tensor import MetaTensor
from scipy.spatial.transform import Rotation

from medseg.errors import InputError
from medseg.io.alignment import Alignment
from medseg.io.rigid import LEVELS_MM, Moved, Pair
from medseg.spatial.geometry import FloatArray, Geometry

CODE = "not_aligned"
MOST_ROTATION_DEG, MOST_SHIFT_MM = 45.0, 60.0
"""How far a patient may have moved between two series of one frame of reference."""
LEAST_OVERLAP = 0.5
"""Least share of the first channel's foreground that lies inside the field of view of the other."""
MOST_DISAGREEMENT = 0.25
"""How far the second run may end from the first, in voxels of the coarser channel."""
NOISE = 0.01
"""Mutual information in nats that sampling alone changes."""
LEAST_PEAK = 0.03
"""How much more of it, in nats, there must be than beside: of noise there is as much everywhere."""
_APART_MM = 15.0
FINER = range(1, len(LEVELS_MM))
"""Levels that start from what the coarsest found."""
_DISTURBED = (3.0, 3.0)
"""Millimetres and degrees of the start of the second run."""
_SEED = 1


def align(first: MetaTensor, other: MetaTensor, channel: int, *, is_one_frame: bool = True) -> Alignment:
    """Find the rigid motion that brings a (1, I, J, K) channel onto the first one.

    Args:
        channel: its number for messages, from 2.
        is_one_frame: whether the headers claim that both lie in one frame of reference, so that a large shift is odd.

    Raises:
        InputError: ``not_aligned``, with the numbers that say why.
    """
    pair = Pair(first, other)
    best = _best(pair)
    again = pair.register(_disturbed(best.matrix, pair.centres[0]), seed=_SEED + 100, levels=FINER)
    points = pair.inside[0]
    apart = _moved(points, best.matrix) - _moved(points, again.matrix)
    shift = _moved(points, best.matrix) - (points if is_one_frame else points + pair.centres[1] - pair.centres[0])
    found = Alignment(
        channel=channel,
        matrix=tuple(tuple(round(float(x), 9) for x in row) for row in np.linalg.inv(best.matrix)),
        shift_mm=float(np.linalg.norm(shift, axis=1).mean()),
        rotation_deg=float(np.degrees(Rotation.from_matrix(best.matrix[:3, :3]).magnitude())),
        information_before=pair.information(np.eye(4)),
        information=pair.information(best.matrix),
        information_apart=float(np.mean([pair.information(place) for place in _places_around(best.matrix)])),
        overlap=_overlap(points, best.matrix, Geometry.of(other)),
        disagreement_mm=float(np.linalg.norm(apart, axis=1).mean()),
    )
    coarser = max(*Geometry.of(first).spacing_mm, *Geometry.of(other).spacing_mm)
    check_alignment(found, best, MOST_DISAGREEMENT * coarser)
    return found


def _best(pair: Pair) -> Moved:
    """The better of two starts: where the headers put both, and one body laid onto the other."""
    centres = np.eye(4)
    centres[:3, 3] = pair.centres[1] - pair.centres[0]
    starts = [start for start in (np.eye(4), centres) if pair.information(start, level=0) > 0]
    if not starts:
        raise _refusal("two channels that nowhere overlap", "images of one part of the body")
    coarse = [pair.register(start, seed=_SEED, levels=(0,)).matrix for start in starts]
    return pair.register(max(coarse, key=pair.information), seed=_SEED, levels=FINER)


def check_alignment(found: Alignment, best: Moved, most_disagreement_mm: float) -> None:
    """Refuse what did not converge, or cannot be.

    Raises:
        InputError: ``not_aligned``, with the numbers that say why.
    """
    what = f"channel {found.channel} to the first one"
    if not best.is_converged:
        raise _refusal(f"registration of {what} still moving after {best.n_steps} steps", "one that comes to rest")
    if found.disagreement_mm > most_disagreement_mm:
        raise _refusal(f"registration of {what} ended {found.disagreement_mm:.1f} mm apart from two starts",
                       f"at most {most_disagreement_mm:.1f} mm")  # fmt: skip
    if found.information < found.information_before - NOISE:
        raise _refusal(f"mutual information of {found.information:.2f} after the registration of {what} and "
                       f"{found.information_before:.2f} before", "more than before")  # fmt: skip
    if found.information < found.information_apart + LEAST_PEAK:
        raise _refusal(f"mutual information of {found.information:.2f} after the registration of {what} and "
                       f"{found.information_apart:.2f} {_APART_MM:.0f} mm beside it",
                       f"a peak of at least {LEAST_PEAK:g}")  # fmt: skip
    if found.overlap < LEAST_OVERLAP:
        raise _refusal(f"{100 * found.overlap:.0f} % of the first channel's foreground inside channel {found.channel} "
                       "after their registration", f"at least {100 * LEAST_OVERLAP:.0f} %")  # fmt: skip
    if found.rotation_deg > MOST_ROTATION_DEG or found.shift_mm > MOST_SHIFT_MM:
        raise _refusal(f"a motion of {found.shift_mm:.0f} mm and {found.rotation_deg:.0f} degrees of {what}",
                       f"at most {MOST_SHIFT_MM:.0f} mm and {MOST_ROTATION_DEG:.0f} degrees")  # fmt: skip


def _refusal(found: str, expected: str) -> InputError:
    return InputError(f"found {found}, expected {expected}; check that both are of one patient, register them with "
                      "another tool, or leave the channel out", code=CODE)  # fmt: skip


def _moved(points: FloatArray, matrix: FloatArray) -> FloatArray:
    return np.asarray(points @ matrix[:3, :3].T + matrix[:3, 3], dtype=np.float64)


def _overlap(points: FloatArray, matrix: FloatArray, field: Geometry) -> float:
    places = field.to_index(_moved(points, matrix))
    return float(((places >= -0.5) & (places <= np.asarray(field.shape) - 0.5)).all(axis=1).mean())


def _places_around(matrix: FloatArray) -> list[FloatArray]:
    """A transform shifted to both sides along each axis."""
    places = []
    for axis in range(3):
        for shift_mm in (-_APART_MM, _APART_MM):
            place = matrix.copy()
            place[axis, 3] += shift_mm
            places.append(place)
    return places


def _disturbed(matrix: FloatArray, centre: FloatArray) -> FloatArray:
    """A start beside a transform: shifted, and turned about the centre of the fixed foreground."""
    shift_mm, angle_deg = _DISTURBED
    turn = np.eye(4)
    turn[:3, :3] = Rotation.from_rotvec(np.full(3, angle_deg / 3**0.5), degrees=True).as_matrix()
    turn[:3, 3] = centre - turn[:3, :3] @ centre + shift_mm / 3**0.5
    return np.asarray(matrix @ turn, dtype=np.float64)
