"""`python -m benchmarks.confidence [PART...]`: how far confidence, fractions and cuts can be trusted.

Parts: brainweb, mni_noisy, mni_clean (calibration; fractions where the truth has them), and cuts_brain, cuts_ct (a
picture of one scan at 3, 6, 12 and 24 labels). A fitted model is kept below `--out` and taken again. Writes table.md,
calibration.png and the pictures of the cuts.
"""

from __future__ import annotations

import argparse
import json
import subprocess
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import numpy.typing as npt
from monai.data.meta_tensor import MetaTensor
from PIL import Image, ImageDraw

from benchmarks.calibration import Curve, draw
from benchmarks.scoring import load, masks_of
from benchmarks.sets import SETS, Case, Part
from benchmarks.table import machine
from medseg import Model, load_config
from medseg.io.atomic import whole_file, write_text_whole
from medseg.labels.confidence import ONE
from medseg.model.segmentation import Segmentation
from medseg.report.render import label_colors, render
from medseg.report.slices import cut_slices

Array = npt.NDArray[np.float64]
CALIBRATED = ("brainweb", "mni_noisy", "mni_clean")
CUTS = (3, 6, 12, 24)
_CAPTION = 24
ANTS = Path(__file__).with_name("ants_posteriors.py")
COLUMNS = ("part", "right", "ECE", "MAE of fractions", "MAE of hard labels", "MAE of Atropos' posteriors")


@dataclass(frozen=True)
class Row:
    """Figures of one part; None where there is no truth for them, or no Python with antspyx."""

    part: str
    right: float
    error: float
    fractions: float | None = None
    hard: float | None = None
    atropos: float | None = None

    def cells(self) -> list[str]:
        """One line of the table."""
        numbers = (self.right, self.error, self.fractions, self.hard, self.atropos)
        return [self.part, *("-" if number is None else f"{number:.4f}" for number in numbers)]


def fitted(part: Part, name: str, out: Path, seed: int) -> tuple[Model, Case]:
    """The model of a part's first fold, and the first scan that it is scored on."""
    fit, scored = next(part.folds())
    folder = out / "models" / f"{name}_seed{seed}"
    if not (folder / "model.json").is_file():
        config = load_config(part.config, [f"training.seed={seed}", *part.changes])
        Model.fit([case.scan for case in fit], config, masks=masks_of(fit)).save(folder)
    return Model.load(folder), scored[0]


def calibrate(name: str, args: argparse.Namespace) -> tuple[Row, Curve]:
    """Segment one scan; labels in ascending intensity are cerebrospinal fluid, grey and white matter as they are."""
    model, case = fitted(SETS[name](args.shared, args.out), name, args.out, args.seed)
    image, mask = load(case)
    result = model.segment(image, mask, outputs={"confidence", "fractions"})
    truth = case.read_truth()
    inside = (truth > 0) & (result.labels > 0)
    is_right = (result.labels == truth)[inside]
    if result.confidence is None or result.fractions is None:
        raise ValueError("both were asked for")
    curve = Curve.of(result.confidence[inside] / ONE, is_right)
    shares = true_fractions(name, case)
    if shares is None:
        return Row(name, float(is_right.mean()), curve.error), curve
    wanted = np.stack([share[inside] for share in shares])
    wanted /= wanted.sum(axis=0)
    found = np.stack([result.fractions[number][inside] / ONE for number in (1, 2, 3)])
    hard = np.eye(3)[result.labels[inside] - 1].T
    peer = None
    if args.peers_python is not None and case.mask is not None:
        peer = mean_error(atropos(case, args.peers_python, args.out)[:, inside], wanted)
    errors = mean_error(found, wanted), mean_error(hard, wanted), peer
    return Row(name, float(is_right.mean()), curve.error, *errors), curve


def mean_error(found: Array, wanted: Array) -> float:
    """Mean absolute error over classes and voxels."""
    return float(np.abs(found - wanted).mean())


def true_fractions(name: str, case: Case) -> list[Array] | None:
    """Volumes of each class's fraction, where the truth has them."""
    if name != "brainweb":
        return None
    paths = [case.truth.with_name(f"truth_{tissue}_fuzzy.nii.gz") for tissue in ("csf", "gm", "wm")]
    return [nib.Nifti1Image.from_filename(path).get_fdata() / 255 for path in paths]


def atropos(case: Case, python: Path, out: Path) -> Array:
    """(3, I, J, K) posteriors of Atropos, its classes in ascending intensity."""
    path = out / "atropos.nii.gz"
    subprocess.run([str(python), str(ANTS), str(case.scan), str(case.mask), str(path), "3"], check=True)
    posteriors = np.asarray(nib.Nifti1Image.from_filename(path).dataobj, dtype=np.float64)
    return np.moveaxis(posteriors.reshape(*posteriors.shape[:3], -1), -1, 0)  # ITK puts the channels on a fifth axis


def picture_of_cuts(name: str, args: argparse.Namespace) -> str:
    """One scan at each of `CUTS`, from one embedding: rows axial, coronal, sagittal; columns plain, then the cuts."""
    part = SETS[name](args.shared, args.out)
    model, case = fitted(part, name, args.out, args.seed)
    image, mask = load(case)
    finest = model.segment(image, mask, outputs={"finest"})
    if finest.finest is None:
        raise ValueError("the model has no hierarchy")
    columns = []
    for cut in CUTS:
        cutted = model.cut_to(cut)
        labels = model.scheme.hierarchy.numbers(cut)[finest.finest].astype(np.uint8)
        columns.append(_column(image, Segmentation(labels, finest.geometry, cutted.table)))
    pages = [columns[0][0], *(colored for _, colored in columns)]
    picture = _captioned(np.concatenate(pages, axis=1), ["the scan", *(f"{cut} labels" for cut in CUTS)])
    path = args.out / f"cuts_{name}.png"
    with whole_file(path) as temporary:
        picture.quantize(256).save(temporary, format="PNG", optimize=True)
    return str(path)


def _captioned(pixels: npt.NDArray[np.uint8], captions: list[str]) -> Image.Image:
    """Columns of one width with a word above each."""
    picture = Image.new("RGB", (pixels.shape[1], pixels.shape[0] + _CAPTION))
    picture.paste(Image.fromarray(pixels), (0, _CAPTION))
    for number, caption in enumerate(captions):
        place = (number * pixels.shape[1] // len(captions) + 6, 4)
        ImageDraw.Draw(picture).text(place, caption, fill=(230, 230, 230), font_size=14)
    return picture


def _column(image: MetaTensor, result: Segmentation) -> tuple[npt.NDArray[np.uint8], ...]:
    """The second slice of each plane, plain and with labels."""
    slices = cut_slices(image, result)
    grey, labels = slices.grey[:, 1], slices.labels[:, 1]
    return tuple(np.concatenate(x, axis=0) for x in (render(grey), render(grey, labels, label_colors(result.table))))


PICTURES: dict[str, str] = {"cuts_brain": "brainweb", "cuts_ct": "ct"}


def main() -> None:
    """Run the parts that are named, or all; figures of earlier runs below `--out` stay in the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", help=", ".join((*CALIBRATED, *PICTURES)))
    parser.add_argument("--shared", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    parser.add_argument("--out", type=Path, default=Path("out/confidence"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--peers-python", type=Path, help="Python with antspyx, for the posteriors of Atropos")
    args = parser.parse_args()
    say: Callable[..., None] = print
    for name in args.parts or (*CALIBRATED, *PICTURES):
        if name in PICTURES:
            say(picture_of_cuts(PICTURES[name], args), flush=True)
            continue
        row, curve = calibrate(name, args)
        say("| " + " | ".join(row.cells()) + " |", flush=True)
        kept = {"row": asdict(row), "curve": {key: value.tolist() for key, value in vars(curve).items()}}
        write_text_whole(args.out / "parts" / f"{name}.json", json.dumps(kept))
    write_results(args.out)


def write_results(out: Path) -> None:
    """table.md and calibration.png of all parts that were run."""
    kept = {name: out / "parts" / f"{name}.json" for name in CALIBRATED}
    found = {name: json.loads(path.read_text("utf-8")) for name, path in kept.items() if path.is_file()}
    if not found:
        return
    lines = [machine() + ".", "", "| " + " | ".join(COLUMNS) + " |", "|" + "---|" * len(COLUMNS)]
    lines += ["| " + " | ".join(Row(**values["row"]).cells()) + " |" for values in found.values()]
    write_text_whole(out / "table.md", "\n".join(lines) + "\n")
    curves = {name: Curve(*(np.asarray(values["curve"][key]) for key in ("said", "right", "shares")))
              for name, values in found.items()}  # fmt: skip
    draw(curves, out / "calibration.png")


if __name__ == "__main__":
    main()
