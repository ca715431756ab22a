"""Where the outputs of a scan lie, and how they are written."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from medseg.batch.formats import OUTPUTS_OF_LABELS, SUFFIXES, Origin, numbered, write_output
from medseg.errors import InputError
from medseg.io.atomic import remove_leftovers, scratch_folder
from medseg.io.bids import brain_mask_stem, derivative_stem, write_lookup, write_sidecar
from medseg.model.outputs import Output
from medseg.model.record import JobFacts
from medseg.model.segmentation import Segmentation
from medseg.report import brain_masks, slices, viewer_volumes
from medseg.runtime.disk import PROBE_BYTES, writing_to


@dataclass(frozen=True)
class Job:
    """What to do with every scan: where outputs go, which ones, inside which masks, how sure labels must be.

    Attributes:
        bids: ``desc`` of the names of a BIDS derivative, such as ``k6``; empty for the plain layout.
        min_confidence: least confidence of a label; 0: any.
        brain_mask: tool that makes brain masks of scans that `masks` has none of; empty for none.
    """

    out: Path
    outputs: frozenset[Output] = OUTPUTS_OF_LABELS
    masks: Path | None = None
    bids: str = ""
    min_confidence: float = 0.0
    brain_mask: str = ""

    @classmethod
    def of(cls, out: Path, facts: JobFacts | None) -> Job:
        """The job that a record of the folder `out` keeps, its masks forgotten; without facts the plain layout."""
        facts = facts or JobFacts("")
        return cls(out, frozenset(facts.outputs), None, facts.bids, facts.min_confidence, facts.brain_mask)

    def facts(self, model: str) -> JobFacts:
        """What a record keeps of the job; `model` is the `model_key`."""
        outputs = tuple(name for name in Output if name in self.outputs)
        return JobFacts(model, outputs, self.bids, self.min_confidence, self.masks is not None, self.brain_mask)

    def path(self, scan_id: str, name: Output) -> Path:
        """Where an output of a scan lies."""
        if not self.bids:
            return output_path(self.out, scan_id, SUFFIXES[name])
        ending = SUFFIXES[name].replace("_seg", "", 1)
        return output_path(self.out, derivative_stem(scan_id, self.bids), f"_dseg{ending}")

    def paths(self, scan_id: str, name: Output, labels: Iterable[int]) -> list[Path]:
        """Where the files of an output lie: one, or one for each of the `labels`."""
        path = self.path(scan_id, name)
        return [numbered(path, number) for number in labels] if name is Output.FRACTIONS else [path]

    def brain_mask_path(self, scan_id: str) -> Path:
        """Where the brain mask of a scan lies that a tool made."""
        if not self.bids:
            return output_path(self.out, scan_id, "_brainmask.nii.gz")
        return output_path(self.out, brain_mask_stem(scan_id), "_mask.nii.gz")

    def brain_mask_files(self, scan_id: str) -> list[Path]:
        """The mask, its picture, and what says of it in a BIDS derivative how it was made; none without a tool."""
        if not self.brain_mask:
            return []
        path = self.brain_mask_path(scan_id)
        facts = [path.with_name(path.name.replace(".nii.gz", ".json"))] if self.bids else []
        return [path, mask_picture_path(self.out, scan_id), *facts]

    def sidecars(self, scan_id: str) -> tuple[Path, Path] | None:
        """Where the lookup table and the facts of a label map lie in a BIDS derivative."""
        if not self.bids:
            return None
        stem = derivative_stem(scan_id, self.bids)
        return output_path(self.out, stem, "_dseg.tsv"), output_path(self.out, stem, "_dseg.json")


def check_writable(folder: Path) -> None:
    """Make the folder, and fail before any work when nothing can be written there.

    Raises:
        OutputError: why it cannot.
    """
    with writing_to(folder), scratch_folder(folder / "writable") as temporary:
        (temporary / "yes").write_bytes(b"\0" * PROBE_BYTES)


def output_path(out: Path, scan_id: str, suffix: str) -> Path:
    """Where an output of a scan lies; ids, and links that lie in OUT, never lead out of it."""
    path = out / f"{scan_id}{suffix}"
    if not path.resolve().is_relative_to(out.resolve()):
        raise InputError(f"{scan_id}: the name leads outside the output folder; rename the scan", code="bad_name")
    return path


def mosaic_path(out: Path, scan_id: str) -> Path:
    """Where the picture of a scan lies."""
    return output_path(out / "report", scan_id, ".png")


def mask_picture_path(out: Path, scan_id: str) -> Path:
    """Where the picture of a scan lies that shows its brain mask."""
    return output_path(out / "report" / brain_masks.FOLDER, scan_id, ".png")


def slices_path(out: Path, scan_id: str) -> Path:
    """Where the slices of a scan lie that its pictures are drawn from."""
    return output_path(out / "report" / slices.FOLDER, scan_id, ".npz")


def viewer_path(out: Path, scan_id: str) -> Path:
    """Where the volumes of a scan lie that the viewer of the page shows."""
    return output_path(out / "report" / viewer_volumes.FOLDER, scan_id, ".js")


def write_outputs(result: Segmentation, scan_id: str, job: Job, origin: Origin | None = None) -> None:
    """Write what was asked for but the anomaly, which is made of the image and the model, not of the labels."""
    for name in job.outputs - {Output.ANOMALY}:
        write_output(name, result, job.path(scan_id, name), origin)
    sidecars = job.sidecars(scan_id)
    if sidecars is not None:
        write_lookup(result.table, sidecars[0])
        if origin is not None:
            parts = (origin.scan, *origin.scan.more_channels)
            names = [f"{part.id}{''.join(part.path.suffixes[-2:])}" for part in parts]
            write_sidecar(names, sidecars[1], model=origin.model)


def _paths_of(scan_id: str, job: Job, labels: Iterable[int]) -> list[Path]:
    numbers = list(labels)
    found = [path for name in sorted(job.outputs) for path in job.paths(scan_id, name, numbers)]
    pictures = [where(job.out, scan_id) for where in (slices_path, mosaic_path, viewer_path)]
    return [*found, *(job.sidecars(scan_id) or ()), *job.brain_mask_files(scan_id), *pictures]


def sizes_of(scan_id: str, job: Job, labels: Iterable[int]) -> dict[str, int]:
    """Bytes of every output of a scan that is there, by its name relative to OUT; `labels` are their numbers."""
    found = [path for path in _paths_of(scan_id, job, labels) if path.is_file()]
    return {path.relative_to(job.out).as_posix(): path.stat().st_size for path in found}


def remove_halves(scan_id: str, job: Job, labels: Iterable[int]) -> None:
    """Remove what a killed process left of this scan's outputs."""
    for path in _paths_of(scan_id, job, labels):
        remove_leftovers(path.parent, path.name, whoever=True)
