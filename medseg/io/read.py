"""Voxels of a scan: the one door through which images come in."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import torch
from monai.data.image_reader import ImageReader
from monai.data.meta_tensor import MetaTensor
from monai.transforms.io.array import LoadImage

from medseg.errors import ConfigError, InputError
from medseg.io.alignment import Alignment
from medseg.io.discovery import find_scans
from medseg.io.readers import NiftiReader, VolumeReader
from medseg.io.scan import Scan
from medseg.io.selection import Selection
from medseg.spatial.geometry import Geometry
from medseg.spatial.resample import resample
from medseg.wording import count_of

_NAMED = Selection(include=("*",))
"""What a person names is taken for a scan, even if it looks like labels."""
_FOUND: dict[tuple[tuple[Path, int, int], ...], tuple[Alignment, ...]] = {}
"""A fit reads each scan twice; a few numbers for each are kept, by name, size and time of its files."""
MASK_TOLERANCE_MM = 0.1
"""How far a mask may lie from its scan, as long as that is no more than a quarter of a voxel."""
NOT_A_MASK = "not_a_mask"
"""The verdict on what has a mask's name and is an image or a label map."""


def read_scan(source: Scan | Path | str) -> MetaTensor:
    """Read one scan as stored.

    Args:
        source: a scan found by `find_scans`, the path of a file of one volume or of one file or the folder of a DICOM
            series, or ``FOLDER/ID`` with an id that `find_scans(FOLDER)` gave.

    Returns:
        (1, I, J, K) float32 on the native grid with its affine to RAS+ mm; CT in Hounsfield units. A scan of C channels
        is (C, I, J, K) on the grid of the first one, beyond their own fields of view the others continue their border.

    Raises:
        InputError: the scan is refused; `code` says why.
        ConfigError: no scan, or more than one, answers to `source`.
    """
    return read_aligned(source)[0]


def read_aligned(source: Scan | Path | str) -> tuple[MetaTensor, tuple[Alignment, ...]]:
    """What `read_scan` reads, and how each further channel was brought onto the first one where that was asked for.

    Raises:
        InputError: as `read_scan`; ``not_aligned`` when a registration fails.
        ConfigError: as `read_scan`.
    """
    scan = source if isinstance(source, Scan) else _scan_named(Path(source))
    if not scan.is_ok:
        raise InputError(scan.reason, code=scan.verdict)
    loaded = _loader()(list(scan.paths), reader=_reader(scan))
    image = MetaTensor(loaded.as_tensor().float(), affine=torch.as_tensor(loaded.affine, dtype=torch.float64))
    check_voxels(image, scan.id)
    if not scan.more_channels:
        return image, ()
    onto = Geometry.of(image)
    others = [read_scan(other) for other in scan.more_channels]
    alignments = _aligned(scan, image, others) if scan.registration == "rigid" else ()
    if alignments:
        others = [alignment.apply(other) for alignment, other in zip(alignments, others, strict=True)]
    moved = [x if Geometry.of(x).is_close(onto) else resample(x, onto) for x in others]
    return MetaTensor(torch.cat([x.as_tensor() for x in (image, *moved)]), affine=image.affine), alignments


def _aligned(scan: Scan, first: MetaTensor, others: Sequence[MetaTensor]) -> tuple[Alignment, ...]:
    """How each further channel lies to the first one, from the memory of this process where it was found before."""
    key = tuple((path, path.stat().st_size, path.stat().st_mtime_ns) for path in scan.all_paths)
    if key not in _FOUND:
        from medseg.io.registration import align  # SimpleITK takes a while to import

        frames = [part.series.frame_of_reference if part.series else "" for part in (scan, *scan.more_channels)]
        _FOUND[key] = tuple(
            align(first, other, number, is_one_frame=frame == frames[0])
            for number, (other, frame) in enumerate(zip(others, frames[1:], strict=True), start=2)
        )
    return _FOUND[key]


def read_mask(path: Path, geometry: Geometry) -> MetaTensor:
    """Read a mask: (1, I, J, K) of 0 and 1 on `geometry`.

    A mask of the same places whose axes run in another order or direction is turned, not resampled.

    Raises:
        InputError: ``not_a_mask`` when it holds more than 0 and one other number, ``empty_mask`` when nothing is
            inside, ``mask_mismatch`` when it lies on another grid.
    """
    return mask_on(_loader()([path], reader=NiftiReader()), geometry, f"mask {path.name}")


def mask_on(image: MetaTensor, geometry: Geometry, name: str) -> MetaTensor:
    """The mask that a (1, I, J, K) image is: 0 and 1 on `geometry`, turned where its axes run otherwise.

    Raises:
        InputError: ``not_a_mask``, ``empty_mask`` or ``mask_mismatch``.
    """
    found, inside = Geometry.of(image), image.as_tensor() > 0
    if not bool((image.as_tensor() == inside * image.as_tensor().max()).all()):
        raise InputError(f"{name}: found more values than two, as images and label maps have, expected 0 outside and "
                         "one number inside; make a mask of it", code=NOT_A_MASK)  # fmt: skip
    if not bool(inside.any()):
        raise InputError(f"{name}: no voxel is inside; draw it again or leave it out", code="empty_mask")
    turned = turned_onto(inside[0], found, geometry)
    if turned is None:
        raise InputError(f"{name}: found {found}, expected the scan's {geometry}; resample the mask",
                         code="mask_mismatch")  # fmt: skip
    return MetaTensor(turned[None].float(), affine=torch.from_numpy(geometry.affine.copy()))


def turned_onto(voxels: torch.Tensor, found: Geometry, wanted: Geometry) -> torch.Tensor | None:
    """(I, J, K) voxels of the grid `found` with their axes as those of `wanted`; None unless both grids are one."""
    steps = np.linalg.inv(wanted.affine[:3, :3]) @ found.affine[:3, :3]
    if not np.abs(steps).max() < 2:  # not a number where an affine is beyond all numbers
        return None
    signs = np.rint(steps).astype(int)
    if not (np.abs(signs).sum(axis=0) == 1).all() or not (np.abs(signs).sum(axis=1) == 1).all():
        return None
    order = [int(axis) for axis in np.abs(signs).argmax(axis=1)]
    flips = [axis for axis in range(3) if signs[axis].sum() < 0]
    turned = voxels.permute(order).flip(flips) if flips else voxels.permute(order)
    turn = np.eye(4)
    turn[:3, :3] = signs.T
    for axis in flips:
        turn[:3, 3] -= turn[:3, axis] * (turned.shape[axis] - 1)
    grid = Geometry((turned.shape[0], turned.shape[1], turned.shape[2]), found.affine @ turn)
    is_same = grid.is_close(wanted, tolerance_mm=min(MASK_TOLERANCE_MM, min(wanted.spacing_mm) / 4))
    return turned.contiguous() if is_same else None


@cache
def _loader() -> LoadImage:
    """MONAI's loader; making one complains at length about an optional GPU decoder that is not used here."""
    plugin = logging.getLogger("monai.data.nvimgcodec_pydicom_plugin")
    level = plugin.level
    plugin.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loader = LoadImage(image_only=True, ensure_channel_first=True)
    plugin.setLevel(level)
    return loader


def _reader(scan: Scan) -> ImageReader:
    if scan.format == "nifti":
        return NiftiReader()
    if scan.format == "volume":
        return VolumeReader()
    from medseg.io.dicom.reader import DicomReader  # highdicom takes a second to import

    return DicomReader(frames=scan.frames, regrid=bool(scan.regrid))


def _scan_named(source: Path) -> Scan:
    """The one scan that a path, or a folder with an id below it, stands for."""
    folder = source
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if folder == source:
        scans = find_scans(source, selection=_NAMED)
    else:
        found = [scan for keep in (False, True) for scan in find_scans(folder, keep_names=keep, selection=_NAMED)]
        scans = list({scan.paths: scan for scan in found if folder / scan.id == source}.values())
    if len(scans) != 1:
        ids = ", ".join(scan.id for scan in scans[:5]) or "none"
        raise ConfigError(f"{source.name}: found {len(scans)} scans ({ids}), expected one; name a file or an id")
    return scans[0]


def check_voxels(image: MetaTensor, name: str) -> None:
    """Refuse what no method can work on: voxels that are not numbers, or all the same number."""
    voxels = image.as_tensor()
    n_bad = int((~torch.isfinite(voxels)).sum())
    if n_bad:
        verb = "is" if n_bad == 1 else "are"
        found = f"{count_of(n_bad, 'voxel')} ({_percent(n_bad, voxels.numel())}) {verb} NaN or infinite"
        raise InputError(f"{name}: {found}, expected numbers; replace them by the background value", code="not_finite")
    if float(voxels.max()) == float(voxels.min()):
        raise InputError(f"{name}: every voxel is {float(voxels.min()):g}, expected an image; export it again",
                         code="constant")  # fmt: skip


def _percent(part: int, whole: int) -> str:
    """A share for people: ``12 %``, ``0.83 %``, ``less than 0.01 %``; 100 % is all."""
    if part == whole:
        return "100 %"
    share = 100 * part / whole
    if share < 0.01:
        return "less than 0.01 %"
    return f"{min(share, 99.9):.1f} %" if share >= 99 else f"{share:.2g} %"
