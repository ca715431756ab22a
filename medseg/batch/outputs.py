"""Where the outputs of a scan lie, in which formats, and how they are written."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from medseg.batch.formats import DEFAULT_FORMATS, MAPS, SUFFIXES, Origin, write_format
from medseg.errors import ConfigError, InputError
from medseg.io.atomic import remove_leftovers, scratch_folder
from medseg.io.bids import derivative_stem, write_lookup, write_sidecar
from medseg.io.scan import Scan
from medseg.model.segmentation import Segmentation
from medseg.report import slices, viewer_volumes


@dataclass(frozen=True)
class Job:
    """What to do with every scan: where outputs go, in which formats, inside which masks, how sure labels must be.

    Attributes:
        bids: ``desc`` of the names of a BIDS derivative, such as ``k6``; empty for the plain layout.
        min_confidence: least confidence of a label; 0: any.
    """

    out: Path
    formats: tuple[str, ...] = DEFAULT_FORMATS
    masks: Path | None = None
    bids: str = ""
    min_confidence: float = 0.0

    def path(self, scan_id: str, name: str) -> Path:
        """Where the output of a scan in the format `name` lies."""
        if not self.bids:
            return output_path(self.out, scan_id, SUFFIXES[name])
        ending = SUFFIXES[name].replace("_seg", "", 1)
        return output_path(self.out, derivative_stem(scan_id, self.bids), f"_dseg{ending}")

    def paths(self, scan_id: str, name: str) -> list[Path]:
        """Where a format of a scan lies; of a format with one file a label, the files that are there."""
        path = self.path(scan_id, name)
        if "{}" not in SUFFIXES[name]:
            return [path]
        before, after = map(re.escape, path.name.rsplit("{}", 1))
        there = path.parent.iterdir() if path.parent.is_dir() else iter(())
        return sorted(found for found in there if re.fullmatch(rf"{before}\d+{after}", found.name))

    def sidecars(self, scan_id: str) -> tuple[Path, Path] | None:
        """Where the lookup table and the facts of a label map lie in a BIDS derivative."""
        if not self.bids:
            return None
        stem = derivative_stem(scan_id, self.bids)
        return output_path(self.out, stem, "_dseg.tsv"), output_path(self.out, stem, "_dseg.json")


def job_of(out: Path, formats: tuple[str, ...], outputs: Iterable[str]) -> Job:
    """The job that wrote `outputs` (names relative to OUT), in `formats`: its layout is told by the names."""
    found = [hit[1] for name in outputs if (hit := re.search(r"_desc-([A-Za-z0-9]+)_dseg\.", name))]
    return Job(out, formats, bids=re.sub(r"^.*(?=k\d+$)", "", found[0]) if found else "")


def parse_formats(text: str) -> tuple[str, ...]:
    """``nifti,seg.nrrd`` as a tuple; unknown names are a `ConfigError`."""
    formats = tuple(part.strip() for part in text.split(",") if part.strip())
    unknown = [name for name in formats if name not in SUFFIXES]
    if unknown or not formats:
        raise ConfigError(f"--write {text}: found {unknown or 'nothing'}, expected some of {', '.join(SUFFIXES)}")
    return formats


def check_writable(folder: Path) -> None:
    """Make the folder, and fail before any work when nothing can be written there."""
    try:
        with scratch_folder(folder / "writable") as temporary:
            (temporary / "yes").touch()
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be written ({error.strerror}); give another --out") from None


def mask_path(masks: Path | None, scan: Scan) -> Path | None:
    """The mask of a scan under the same relative name.

    Raises:
        InputError: ``no_mask`` when masks are given but not for this scan.
    """
    if masks is None:
        return None
    for suffix in (".nii.gz", ".nii"):
        path = masks / f"{scan.id}{suffix}"
        if path.is_file():
            return path
    raise InputError(f"no mask {scan.id}.nii.gz below the mask folder; add it or leave the scan out", code="no_mask")


def output_path(out: Path, scan_id: str, suffix: str) -> Path:
    """Where an output of a scan lies; ids, and links that lie in OUT, never lead out of it."""
    path = out / f"{scan_id}{suffix}"
    if not path.resolve().is_relative_to(out.resolve()):
        raise InputError(f"{scan_id}: the name leads outside the output folder; rename the scan", code="bad_name")
    return path


def mosaic_path(out: Path, scan_id: str) -> Path:
    """Where the picture of a scan lies."""
    return output_path(out / "report", scan_id, ".png")


def slices_path(out: Path, scan_id: str) -> Path:
    """Where the slices of a scan lie that its pictures are drawn from."""
    return output_path(out / "report" / slices.FOLDER, scan_id, ".npz")


def viewer_path(out: Path, scan_id: str) -> Path:
    """Where the volumes of a scan lie that the viewer of the page shows."""
    return output_path(out / "report" / viewer_volumes.FOLDER, scan_id, ".js")


def write_outputs(result: Segmentation, scan_id: str, job: Job, origin: Origin | None = None) -> None:
    """Write the label volume in the formats asked for."""
    for name in job.formats:
        if name not in MAPS:
            write_format(name, result, job.path(scan_id, name), origin)
    sidecars = job.sidecars(scan_id)
    if sidecars is not None:
        write_lookup(result.table, sidecars[0])
        if origin is not None:
            parts = (origin.scan, *origin.scan.more_channels)
            names = [f"{part.id}{''.join(part.path.suffixes[-2:])}" for part in parts]
            write_sidecar(names, sidecars[1], model=origin.model)


def _paths_of(scan_id: str, job: Job) -> list[Path]:
    labels = [path for name in job.formats for path in job.paths(scan_id, name)]
    pictures = [where(job.out, scan_id) for where in (slices_path, mosaic_path, viewer_path)]
    return [*labels, *(job.sidecars(scan_id) or ()), *pictures]


def sizes_of(scan_id: str, job: Job) -> dict[str, int]:
    """Bytes of every output of a scan that is there, by its name relative to OUT."""
    found = [path for path in _paths_of(scan_id, job) if path.is_file()]
    return {path.relative_to(job.out).as_posix(): path.stat().st_size for path in found}


def remove_halves(scan_id: str, job: Job) -> None:
    """Remove what a killed process left of this scan's outputs."""
    for path in _paths_of(scan_id, job):
        remove_leftovers(path.parent, path.name, whoever=True)
