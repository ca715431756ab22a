"""Pixels that stand for no measurement, by their own elements: padding brighter than everything would become tissue."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from medseg.io.dicom.elements import Texts, integer_of
from medseg.io.dicom.header import Header

log = logging.getLogger(__name__)
PADDING_KEYWORDS = ("PixelPaddingValue", "PixelPaddingRangeLimit", "PixelRepresentation")


def padding_of(texts: Texts) -> tuple[int, ...]:
    """The least and the largest stored value of padding; nothing where the file does not say it."""
    keywords = [keyword for keyword in PADDING_KEYWORDS[:2] if texts.get(keyword, ("",))[0]]
    if PADDING_KEYWORDS[0] not in keywords:
        return ()
    span = 2 ** (integer_of(texts, "BitsAllocated") or 16)
    is_signed = integer_of(texts, "PixelRepresentation") == 1
    ends = []
    for keyword in keywords:
        value = integer_of(texts, keyword) % span  # written as unsigned by some, whatever the pixels are
        ends.append(value - span if is_signed and value >= span // 2 else value)
    return min(ends), max(ends)


def darken_padding(voxels: npt.NDArray[np.float32], headers: Sequence[Header]) -> None:
    """Give padding that is brighter than all other (slices, rows, columns) rescaled voxels the least value of these.

    Padding below everything is told from tissue by its values already, and between them nobody knows what it is.
    """
    masks = [_is_padding(pixels, header) for pixels, header in zip(voxels, headers, strict=True)]
    if not any(mask is not None and mask.any() for mask in masks):
        return
    inside = np.stack([np.ones(voxels.shape[1:], dtype=bool) if mask is None else ~mask for mask in masks])
    if not inside.any() or voxels[inside].max() >= voxels[~inside].min():
        return
    log.info("%d voxels of padding brighter than the image are taken for its darkest value", int((~inside).sum()))
    voxels[~inside] = voxels[inside].min()


def _is_padding(pixels: npt.NDArray[np.float32], header: Header) -> npt.NDArray[np.bool_] | None:
    if not header.padding or header.rescale.is_table:
        return None
    low, high = np.sort(header.rescale.apply(np.array(header.padding))).astype(np.float32)
    return np.asarray((pixels >= low) & (pixels <= high))
