"""Channels that were moved on purpose, and how close rigid registration brings them back.

Run as ``python -m benchmarks.registration --data DIR`` with the real scans beside the project. Each second channel is
moved by known motions: ``header`` changes where its voxels are said to lie, ``voxels`` resamples it onto its old grid,
as a patient who moved does, so that the headers know nothing and the field of view cuts what left it. The error is the
mean distance over the foreground of the first channel between where its points belong and where they come to lie; the
channels were registered by those who published them, so some tenths of a millimetre are theirs. Then wrong pairs.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from monai.data.meta_tensor import MetaTensor
from scipy.spatial.transform import Rotation

from medseg.errors import InputError
from medseg.io.discovery import find_scans
from medseg.io.read import read_scan
from medseg.io.registration import align
from medseg.io.rigid import foreground_points
from medseg.spatial.geometry import FloatArray, Geometry
from medseg.spatial.resample import resample

GLIOMA = ("pat0001", "pat0003", "pat0005")
MOTIONS = (((0, 0, 0), (0, 0, 0), "header"), ((12, 0, 0), (0, 0, 8), "header"), ((12, 0, 0), (0, 0, 8), "voxels"),
           ((-10, 12, 14), (-8, 10, 8), "voxels"), ((20, -20, 15), (20, 10, -10), "voxels"))  # fmt: skip
"""Millimetres along R, A, S and degrees about them, around the centre of the foreground, and what is changed."""


def motion(shift_mm: tuple[float, ...], angles_deg: tuple[float, ...], centre: FloatArray) -> FloatArray:
    """(4, 4) in RAS+ mm."""
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", angles_deg, degrees=True).as_matrix()
    matrix[:3, 3] = centre + shift_mm - matrix[:3, :3] @ centre
    return matrix


def moved(image: MetaTensor, matrix: FloatArray, how: str) -> MetaTensor:
    """The image after the motion, its header or its voxels."""
    affine = matrix @ np.asarray(image.affine, dtype=np.float64)
    there = MetaTensor(image.as_tensor(), affine=torch.from_numpy(affine))
    if how == "header":
        return there
    low = float(image.as_tensor().min())
    padded = torch.nn.functional.pad(there.as_tensor(), (1,) * 6, value=low)  # what comes into view is background
    affine[:3, 3] -= affine[:3, :3].sum(axis=1)
    return resample(MetaTensor(padded, affine=torch.from_numpy(affine)), Geometry.of(image))


def pairs(data: Path) -> Iterator[tuple[str, MetaTensor, MetaTensor]]:
    """Channels of one patient."""
    for name in GLIOMA:
        images = [read_scan(data / f"brain_glioma/images/{name}_{kind}.nii.gz") for kind in ("T1c", "FLAIR")]
        yield f"glioma {name}, T1c and FLAIR", images[0], images[1]
    first, *others = (read_scan(data / f"brain_ms/images/patient07_{kind}.nii.gz") for kind in ("T1", "FLAIR", "T2"))
    for kind, other in zip(("FLAIR", "T2"), others, strict=True):
        yield f"MS, T1 and {kind}", first, other
    series = {scan.free_text.description: read_scan(scan) for scan in find_scans(data / "dicom/study")}
    yield "DICOM study, T1 and FLAIR, slices of 6.5 mm", series["T1pre_reg"], series["FLAIR_reg"]


def main() -> None:
    """Print a table of errors, and what becomes of wrong pairs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    data = parser.parse_args().data
    print("| pair | moved by | how | error mean, max (mm) | information before, after | runs apart (mm) | s |\n"
          "|---|---|---|---|---|---|---|")  # fmt: skip
    every = list(pairs(data))
    for name, first, other in every:
        points = foreground_points(first)
        for shift, angles, how in MOTIONS:
            matrix = motion(shift, angles, points.mean(axis=0))
            print(row(name, first, moved(other, matrix, how), matrix, points, (shift, angles), how), flush=True)
    print("\n| wrong pair | outcome |\n|---|---|")
    glioma = every[:3]
    for a, b in ((0, 1), (1, 2), (2, 0), (1, 0), (2, 1), (0, 2)):
        print(
            f"| first channel of {GLIOMA[a]}, second of {GLIOMA[b]} | {outcome(glioma[a][1], glioma[b][2])} |",
            flush=True,
        )
    print(f"| T1 of the MS patient, FLAIR of {GLIOMA[0]} | {outcome(every[3][1], glioma[0][2])} |")
    print(f"| T1 of the MS patient, T1 series of the DICOM study | {outcome(every[3][1], every[5][1])} |")


def row(
    name: str, first: MetaTensor, other: MetaTensor, matrix: FloatArray, points: FloatArray, by: object, how: str
) -> str:
    """One line of the table."""
    started = time.perf_counter()
    try:
        found = align(first, other, 2)
    except InputError as refusal:
        return f"| {name} | {by} | {how} | refused: {refusal} | | | {time.perf_counter() - started:.0f} |"
    belongs = points @ matrix[:3, :3].T + matrix[:3, 3]
    onto = np.linalg.inv(np.asarray(found.matrix))
    lies = points @ onto[:3, :3].T + onto[:3, 3]
    apart = np.linalg.norm(lies - belongs, axis=1)
    values = (f"{apart.mean():.2f}, {apart.max():.2f}", f"{found.information_before:.2f}, {found.information:.2f}",
              f"{found.disagreement_mm:.2f}", f"{time.perf_counter() - started:.0f}")  # fmt: skip
    return " | ".join((f"| {name}", str(by), how, *values, "")).rstrip()


def outcome(first: MetaTensor, other: MetaTensor) -> str:
    """What becomes of a pair."""
    try:
        found = align(first, other, 2)
    except InputError as error:
        return f"refused: {error}"
    return f"taken: {found.told}, information {found.information:.2f}, runs {found.disagreement_mm:.2f} mm apart"


if __name__ == "__main__":
    main()
