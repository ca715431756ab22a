"""Quality control against planted faults: `python -m benchmarks.quality_control`.

Scans are flagged against the scans that the model was fitted on, never against themselves: IBSR18 is fitted on five
brains and tried on the other five, both ways, at about 2 mm (every second voxel, so that it takes minutes);
phantoms are fitted on ten and tried on twenty others. The limits are those of `medseg.quality.reference`, for all.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from monai.data.meta_tensor import MetaTensor

from medseg import Model, load_config, read_scan
from medseg.errors import InputError
from medseg.io.scan import Scan
from medseg.spatial.geometry import Geometry
from sample_data.faults import FAULTS, another_body_part, person

STEPS = "training.max_steps=60"
_OTHERS = (
    "lung_mr_t1/0004_image.nii.gz",
    "mr_hippocampus/hippocampus_001_image.nii.gz",
    "mr_spine/t1/t1w.nii.gz",
    "mr_spine/t2s/t2s.nii.gz",
    "ct_trunk/example_ct.nii.gz",
    "lung_mr_t1/0006_image.nii.gz",
    "mr_hippocampus/hippocampus_003_image.nii.gz",
    "mr_spine/t2/t2.nii.gz",
    "ct_trunk/example_mr_sm.nii.gz",
    "lung_mr_t1/0007_image.nii.gz",
)
"""Scans that are no skull-stripped brains: five for each half of IBSR18."""


@dataclass
class Count:
    """How many scans were tried and flagged, and by which measures."""

    tried: int = 0
    flagged: int = 0
    refused: int = 0
    measures: Counter[str] = field(default_factory=Counter)


def coarse(path: Path | Scan, spacing_mm: float = 2.0) -> MetaTensor:
    """Every n-th voxel of a scan, so that they lie about `spacing_mm` apart; nothing is smoothed."""
    image = read_scan(path)
    steps = [max(1, round(spacing_mm / s)) for s in Geometry.of(image).spacing_mm]
    affine = image.affine.numpy().copy()
    affine[:3, :3] = affine[:3, :3] * steps
    kept = image.as_tensor()[:, :: steps[0], :: steps[1], :: steps[2]]
    return MetaTensor(kept.clone(), affine=torch.from_numpy(affine))


def try_scan(model: Model, image: MetaTensor, count: Count) -> None:
    """Segment, and count the flags; a refusal is told apart."""
    count.tried += 1
    try:
        flags = model.segment(image).flags
    except InputError:
        count.refused += 1
        return
    count.flagged += bool(flags)
    count.measures.update(flag.measure for flag in flags[:1])


def try_all(
    model: Model, scans: Sequence[MetaTensor], others: Iterator[MetaTensor], counts: dict[str, Count], n_faulty: int
) -> None:
    """Good scans, then every fault in the first `n_faulty` of them."""
    for image in scans:
        try_scan(model, image, counts.setdefault("none (good scan)", Count()))
    for seed, image in enumerate(scans[:n_faulty]):
        for name, fault in FAULTS.items():
            try_scan(model, fault(image, seed), counts.setdefault(name, Count()))
        try_scan(model, next(others), counts.setdefault("wrong body part", Count()))


def ibsr(shared: Path) -> dict[str, Count]:
    """Five brains fitted, the other five tried, both ways."""
    scans = [coarse(path) for path in sorted((shared / "brain_t1_ibsr18").glob("*_T1w.nii.gz"))]
    others = iter([coarse(shared / name) for name in _OTHERS])
    counts: dict[str, Count] = {}
    for fitted, tried in ((scans[:5], scans[5:]), (scans[5:], scans[:5])):
        model = Model.fit(fitted, load_config("brain_t1", [STEPS]), device="cpu")
        try_all(model, tried, others, counts, len(tried))
    return counts


def phantoms(n_fitted: int = 10, n_good: int = 20, n_faulty: int = 4) -> dict[str, Count]:
    """Phantoms that differ in size, noise, shading and scale of intensity."""
    model = Model.fit([person(seed) for seed in range(n_fitted)], load_config("smoke"), device="cpu")
    counts: dict[str, Count] = {}
    tried = [person(100 + seed) for seed in range(n_good)]
    try_all(model, tried, (another_body_part(seed) for seed in range(n_faulty)), counts, n_faulty)
    return counts


def table(name: str, counts: dict[str, Count]) -> str:
    """Markdown rows."""
    lines = []
    for fault, count in counts.items():
        often = ", ".join(f"{measure} ({n})" for measure, n in count.measures.most_common(2))
        refused = f", {count.refused} refused" if count.refused else ""
        lines.append(f"| {name} | {fault} | {count.flagged} of {count.tried}{refused} | {often} |")
    return "\n".join(lines)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shared", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    parser.add_argument("--only", choices=["phantoms", "ibsr"])
    args = parser.parse_args()
    print("| set | fault | flagged | the worst measure |\n|---|---|---|---|", flush=True)
    for name, run in (("phantoms", phantoms), ("ibsr", lambda: ibsr(args.shared))):
        if args.only in (None, name):
            started = time.monotonic()
            print(table(name, run()), flush=True)
            print(f"<!-- {name}: {time.monotonic() - started:.0f} s -->", flush=True)


if __name__ == "__main__":
    main()
