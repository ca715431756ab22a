"""Anomaly against the intensity itself: `python -m benchmarks.anomaly`.

Area under the precision-recall curve (average precision) over the foreground, on planted lesions in the MNI152
phantom at 2 mm, in brains of IBSR18, and on the glioma study. The baseline is the best of bright, dark and far
from the median: it may choose with the truth in hand, the anomaly may not. The glioma has no reference, so FLAIR
itself gives one: the largest bright component away from skull and skin. On FLAIR that favours the baseline by
construction; on T1, where the same lesion is to be found, it does not.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from monai.data.meta_tensor import MetaTensor
from PIL import Image
from scipy import ndimage
from sklearn.metrics import average_precision_score

from benchmarks.quality_control import coarse
from medseg import Model, find_scans, load_config
from medseg.model.segment import anomaly_of
from medseg.preprocessing.histogram import median_and_spread
from medseg.spatial.geometry import Geometry
from medseg.spatial.resample import resample
from sample_data.benchmark_phantoms import INTENSITIES, mni_phantom

Bools = npt.NDArray[np.bool_]
LESIONS = {"grey matter in white": INTENSITIES[1], "fluid in white": INTENSITIES[0], "bright": 300.0}
RADII_MM = (8.0, 12.0)
FITTED, TRIED = ("01", "03", "04"), ("05", "07", "16")
"""Brains of IBSR18."""
MIDLINE_MM = 15.0
"""Planted lesions have their centre at least this far from the middle."""


def planted(
    image: MetaTensor, truth: npt.NDArray[np.number], value: float, noise_sd: float, radius_mm: float
) -> tuple[MetaTensor, Bools]:
    """A noisy ball of one intensity where the white matter of a hemisphere is thickest, not in the brain stem."""
    deep = ndimage.distance_transform_edt(truth == 3)
    across = Geometry.of(image).ras_axes.index(0)
    middle = round(float(np.argwhere(truth > 0)[:, across].mean()))
    reach = round(MIDLINE_MM / Geometry.of(image).spacing_mm[across])
    np.moveaxis(deep, across, 0)[middle - reach : middle + reach + 1] = 0
    centre = np.unravel_index(deep.argmax(), deep.shape)
    axes = [np.arange(n) - c for n, c in zip(truth.shape, centre, strict=True)]
    distance = np.sqrt(sum(axis.reshape([-1 if a == b else 1 for b in range(3)]) ** 2 for a, axis in enumerate(axes)))
    lesion = (distance * Geometry.of(image).spacing_mm[0] <= radius_mm) & (truth > 0)
    voxels = image.as_tensor().clone()
    noise = noise_sd * np.random.default_rng(0).standard_normal(int(lesion.sum()))
    voxels[0][torch.from_numpy(lesion)] = torch.from_numpy(value + noise).float()
    return MetaTensor(voxels, affine=image.affine), lesion


def scored(model: Model, image: MetaTensor, lesion: Bools) -> tuple[float, float, float, npt.NDArray[np.float32]]:
    """Average precision of anomaly and baseline, share of the lesion, and the anomaly."""
    found = anomaly_of(model, image).as_tensor()[0].numpy()
    inside = model.plan.foreground_of(image).as_tensor()[0].numpy() > 0
    values = image.as_tensor()[0].numpy()[inside]
    truth = lesion[inside]
    middle = np.abs(values - np.median(values))
    base = max(average_precision_score(truth, guess) for guess in (values, -values, middle))
    return average_precision_score(truth, found[inside]), base, float(truth.mean()), found


def phantoms(out: Path) -> None:
    """Fitted on one phantom, tried on another one with lesions."""
    files = [mni_phantom(out / "phantoms", 5, 20, seed) for seed in (0, 1)]
    model = Model.fit([coarse(files[0][0])], load_config("brain_t1", ["training.max_steps=80"]), device="cpu")
    image, truth = coarse(files[1][0]), coarse(files[1][1]).as_tensor()[0].numpy()
    for name, value in LESIONS.items():
        for radius in RADII_MM:
            changed, lesion = planted(image, truth, value, 0.05 * INTENSITIES[2], radius)
            ours, base, share, found = scored(model, changed, lesion)
            print(f"| phantom | {name}, radius {radius:g} mm | {ours:.3f} | {base:.3f} | {share:.4f} |", flush=True)
            slab = int(np.flatnonzero(lesion.any(axis=(0, 1))).mean())
            save([changed.as_tensor()[0].numpy(), found, lesion], slab, out / f"anomaly_{name[:4]}_{radius:g}.png")


def brains(shared: Path, out: Path) -> None:
    """Fitted on three brains, tried on three others with lesions: means over these."""
    folder = shared / "brain_t1_ibsr18"
    scans = {name: coarse(folder / f"IBSR_{name}_T1w.nii.gz") for name in FITTED + TRIED}
    config = load_config("brain_t1", ["training.max_steps=80"])
    model = Model.fit([scans[name] for name in FITTED], config, device="cpu")
    rows: dict[tuple[str, float], list[tuple[float, float, float]]] = {}
    for name in TRIED:
        truth = coarse(folder / f"IBSR_{name}_truth.nii.gz").as_tensor()[0].numpy()
        values = scans[name].as_tensor()[0].numpy()
        fluid, grey, white = (float(np.median(values[truth == number])) for number in (1, 2, 3))
        noise = float(values[ndimage.binary_erosion(truth == 3, iterations=2)].std())
        for kind, value in zip(LESIONS, (grey, 0.8 * fluid, 1.4 * white), strict=True):
            for radius in RADII_MM:
                changed, lesion = planted(scans[name], truth, value, noise, radius)
                ours, base, share, found = scored(model, changed, lesion)
                rows.setdefault((kind, radius), []).append((ours, base, share))
                slab = int(np.flatnonzero(lesion.any(axis=(0, 1))).mean())
                picture = out / f"anomaly_ibsr{name}_{kind[:4]}_{radius:g}.png"
                save([changed.as_tensor()[0].numpy(), found, lesion], slab, picture)
    for (kind, radius), found_rows in rows.items():
        ours, base, share = np.mean(found_rows, axis=0)
        print(f"| 3 brains | {kind}, radius {radius:g} mm | {ours:.3f} | {base:.3f} | {share:.4f} |", flush=True)


def glioma(shared: Path, out: Path) -> None:
    """Each series alone, and both as one scan of two channels, fitted on itself: there is no other patient."""
    flair, t1 = (
        coarse(next(s for s in find_scans(shared / "dicom" / "study") if part in s.paths[0].parts[-2]), 1.4)
        for part in ("FLAIR", "T1")
    )
    both = torch.cat([flair.as_tensor(), resample(t1, Geometry.of(flair)).as_tensor()])
    images = {"FLAIR": flair, "T1": t1, "FLAIR and T1": MetaTensor(both, affine=flair.affine)}
    settings = ["training.max_steps=100", "clustering.n_clusters=3"]
    models = {
        name: Model.fit(
            [image],
            load_config("generic", [*settings, *(["channels.names=[FLAIR,T1]"] if len(image) > 1 else [])]),
            device="cpu",
        )
        for name, image in images.items()
    }
    inside = models["FLAIR"].plan.foreground_of(flair).as_tensor()[0].numpy() > 0
    lesion = bright_lesion(flair, inside)
    shown: list[npt.NDArray[np.generic]] = []
    for name, image in images.items():
        mask = MetaTensor(torch.from_numpy(lesion[None].astype(np.float32)), affine=flair.affine)
        there = resample(mask, Geometry.of(image), "nearest").as_tensor()[0].numpy() > 0.5
        ours, base, share, found = scored(models[name], image, there)
        print(f"| glioma | {name} | {ours:.3f} | {base:.3f} | {share:.4f} |", flush=True)
        for volume in (image.as_tensor()[0].numpy(), found, there):
            moved = MetaTensor(torch.from_numpy(volume[None].astype(np.float32)), affine=image.affine)
            shown.append(resample(moved, Geometry.of(flair)).as_tensor()[0].numpy())
    save(shown, int(lesion.sum(axis=(0, 1)).argmax()), out / "anomaly_glioma.png")


def bright_lesion(image: MetaTensor, inside: Bools, from_mm: float = 18.0) -> Bools:
    """The largest component brighter than the median by three robust standard deviations, away from skull and skin.

    Median and spread are those of the voxels at least `from_mm` inside the head, in the plane of the slices, and in the
    upper half of this study, where the brain is.
    """
    values, spacing = image.as_tensor()[0].numpy(), Geometry.of(image).spacing_mm
    padded = np.pad(inside, ((1, 1), (1, 1), (0, 0)))
    depth = np.stack([ndimage.distance_transform_edt(plane, sampling=spacing[:2]) for plane in padded.T]).T
    deep = depth[1:-1, 1:-1] > from_mm
    deep[..., : deep.shape[2] // 2] = False
    centre, spread = median_and_spread(values[deep])
    components, n = ndimage.label(ndimage.binary_opening((values > centre + 3 * spread) & deep))
    sizes = np.bincount(components.ravel())[1:]
    if not n:
        raise ValueError("no bright component inside the head, expected the lesion of the study")
    return np.asarray(components == 1 + int(sizes.argmax()))


def save(volumes: list[npt.NDArray[np.generic]], slab: int, path: Path) -> None:
    """The same axial slice of every volume side by side."""
    tiles = []
    for volume in volumes:
        values = volume.astype(np.float32)
        plane = np.rot90(values[..., slab])
        top = max(float(np.percentile(values, 99.5)), 1e-6)
        tiles.append(np.clip(255 * plane / top, 0, 255).astype(np.uint8))
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.concatenate(tiles, axis=1)).save(path)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shared", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    parser.add_argument("--out", type=Path, default=Path("out"), help="phantoms and pictures")
    parser.add_argument("--only", choices=["phantoms", "brains", "glioma"])
    args = parser.parse_args()
    print("| set | lesion | anomaly | intensity | share of the foreground |\n|---|---|---|---|---|", flush=True)
    if args.only in (None, "phantoms"):
        phantoms(args.out)
    if args.only in (None, "brains"):
        brains(args.shared, args.out)
    if args.only in (None, "glioma"):
        glioma(args.shared, args.out)


if __name__ == "__main__":
    main()
