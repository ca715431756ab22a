"""Label maps and masks among scans: names are a hint, voxels decide, and only as many are read as it takes.

Scans are noisy, so that neighbouring voxels differ and their files do not shrink; label maps are whole numbers in
patches of one value.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from medseg.errors import InputError

LABEL_MAP = "label_map"
FOLDERS = re.compile(r"labels?(tr|ts|val)?|masks?|segs?|segmentations?|annotations?|ground_?truths?|gt", re.IGNORECASE)
WORDS = {
    "seg", "segs", "segmentation", "segmentations", "mask", "masks", "brainmask", "dseg", "label", "labels", "labelmap",
    "labelmaps",
    "truth", "gt", "groundtruth", "roi", "rois", "aseg", "aparc", "wmparc", "parcellation", "annotation", "annotations",
    "contour", "contours", "lesions",
}  # fmt: skip
"""Words of file names; brain-extracted images (``_bet``, ``_brain``, ``_masked``) are images."""
FEW = 8
"""Distinct values that no scan has as few as."""
MANY = 256
"""Distinct values beyond which a volume is no label map for certain."""
ENOUGH = 20_000
"""Voxels beside the commonest value after which patches of one value are trusted."""
BYTES_PER_VOXEL = 0.6
"""Size of a compressed file beyond which it holds no label map."""
SMALL = 2**16
"""Voxels of a file that is looked at whatever its size."""
WINDOW = 2**17
"""Neighbouring voxels that are looked at of each piece."""
MOST_BYTES = 2**28


class Stored(NamedTuple):
    """Voxels that are not read yet.

    Attributes:
        n_bytes: size of the file.
        is_compressed: whether noise would show in the size, or looking at a part costs as much as the whole.
        parts: reads them in flat pieces, slope and intercept applied, up to `MOST_BYTES`.
    """

    n_voxels: int
    dtype: np.dtype[Any]
    n_bytes: int
    is_compressed: bool
    parts: Callable[[], Iterator[npt.NDArray[Any]]]


class _Seen(NamedTuple):
    """What a part of the voxels is like.

    Attributes:
        values: distinct values.
        n: voxels.
        n_inside: voxels that do not have the commonest value.
        equal: share of them whose next voxel has the same value.
        ones: share of them that are 1.
        is_whole: whether all values are whole numbers.
        is_share: whether all values lie in 0..1.
    """

    values: npt.NDArray[np.generic]
    n: int
    n_inside: int
    equal: float
    ones: float
    is_whole: bool
    is_share: bool


def refuse_label_map(name: str) -> InputError:
    """The verdict on a label map."""
    return InputError(f"{name}: a label map or mask, expected a scan; nothing to do, or --include it if it is one",
                      code=LABEL_MAP)  # fmt: skip


def hints_at_labels(place: str) -> bool:
    """Whether a file name, or a folder in the path, is one that label maps have."""
    *folders, name = place.split("/")
    words = re.split(r"[^a-z]+", re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower())
    return any(FOLDERS.fullmatch(folder) for folder in folders) or not WORDS.isdisjoint(words)


def is_label_map(stored: Stored, place: str) -> bool:
    """Whether the voxels are those of a label map or a mask; False where they cannot be read.

    Args:
        place: the path below the folder searched, whose names hint at label maps.
    """
    if stored.dtype.kind not in "iuf" or stored.n_voxels < 2:
        return False
    hinted = hints_at_labels(place)
    is_large = stored.n_voxels > SMALL and stored.n_bytes > BYTES_PER_VOXEL * stored.n_voxels
    if stored.is_compressed and not hinted and is_large:
        return False
    try:
        return _decide(stored, hinted=hinted)
    except (OSError, EOFError, ValueError, zlib.error, InputError):
        return False


def _decide(stored: Stored, *, hinted: bool) -> bool:
    seen = None
    for part in stored.parts():
        seen = _joined(seen, _look(part))
        if not _may_be(seen, hinted=hinted):
            return False
        # Without a hint this might be the padding and the clipped air of a CT.
        if hinted and seen.n_inside > ENOUGH and seen.equal > 0.9 and seen.is_whole:
            return True
    if seen is None or seen.n < min(stored.n_voxels, MOST_BYTES // 8):
        return False  # ends early: damaged
    return _is_certain(seen, hinted=hinted, is_integer=stored.dtype.kind in "iu")


def _look(piece: npt.NDArray[np.generic]) -> _Seen:
    """What one piece is like, by its middle; one with more than `MANY` values is looked at no further."""
    begin = max(0, piece.size - WINDOW) // 2
    values = piece[begin : begin + WINDOW]
    numbers = np.unique(values[:: max(1, values.size // 4096)])
    is_whole = _are_whole(numbers)
    commonest = numbers[0]
    if is_whole and numbers.size <= MANY and (numbers.size > 1 or bool((values != numbers[0]).any())):
        numbers, counts = _counted(values)
        is_whole, commonest = _are_whole(numbers), numbers[np.argmax(counts)]
    if 0 in numbers:
        commonest = numbers.dtype.type(0)
    inside = values != commonest if numbers.size > 1 else np.zeros(values.size, dtype=bool)
    n_inside = int(inside.sum())
    same = int((inside[:-1] & (values[1:] == values[:-1])).sum())
    is_share = bool(values.min() >= 0 and values.max() <= 1)
    ones = int((values == 1).sum()) if is_share else 0
    return _Seen(numbers, piece.size, n_inside, same / max(n_inside, 1), ones / max(n_inside, 1), is_whole, is_share)


def _are_whole(numbers: npt.NDArray[np.generic]) -> bool:
    return numbers.dtype.kind in "iu" or bool(np.array_equal(numbers, np.rint(numbers)))


def _counted(values: npt.NDArray[np.generic]) -> tuple[npt.NDArray[np.generic], npt.NDArray[np.intp]]:
    """Distinct values and how often each occurs; small integers without sorting."""
    if values.dtype.kind not in "iu" or values.dtype.itemsize > 2:
        return np.unique(values, return_counts=True)
    wide = values.astype(np.int64)
    low = int(wide.min())
    counts = np.bincount(wide - low)
    return (np.flatnonzero(counts) + low).astype(values.dtype), counts[counts > 0]


def _joined(before: _Seen | None, part: _Seen) -> _Seen:
    if before is None:
        return part
    n = max(before.n_inside + part.n_inside, 1)
    equal, ones = ((a * before.n_inside + b * part.n_inside) / n
                   for a, b in ((before.equal, part.equal), (before.ones, part.ones)))  # fmt: skip
    values, n_inside = np.union1d(before.values, part.values), before.n_inside + part.n_inside
    return _Seen(values, before.n + part.n, n_inside, equal, ones,
                 before.is_whole and part.is_whole, before.is_share and part.is_share)  # fmt: skip


def _may_be(seen: _Seen, *, hinted: bool) -> bool:
    """Whether what was seen so far leaves open that it is a label map."""
    if hinted and seen.is_share:
        return True
    return seen.is_whole and seen.values.size <= MANY


def _count_up(values: npt.NDArray[Any]) -> bool:
    """Whether values are numbered as labels are, or two: floating point numbers may be a phantom without noise."""
    return values.size == 2 or bool(values.min() >= 0 and values.max() <= 2 * values.size)


def _is_certain(seen: _Seen, *, hinted: bool, is_integer: bool) -> bool:
    """Whether all voxels together are those of a label map."""
    if seen.is_whole and seen.values.size == 1:
        return hinted  # all the same: `read_scan` refuses it as a scan
    if seen.is_whole and seen.values.size <= FEW and (hinted or is_integer or _count_up(seen.values)):
        return seen.n >= 16 * seen.values.size
    if seen.is_whole and seen.equal > (0.5 if hinted else 0.8):
        return hinted or (is_integer and bool(seen.values.min() >= 0))
    return hinted and seen.is_share and seen.ones > 0.05  # a soft mask; of a scan brought to 0..1 few voxels are 1
