"""Where the outputs of a scan lie, in which formats, and how they are written."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from medseg.pipelines.writing import DEFAULT_FORMATS, MAPS, SUFFIXES, Origin, write_format

from medseg.errors import ConfigError, InputError
from medseg.io.atomic import remove_leftovers, scratch_folder
from medseg.io.scan import Scan
from medseg.model import Segmentation


@dataclass(frozen=True)
class Job:
    """What to do with every scan: where outputs go, in which formats, inside which masks."""

    out: Path
    formats: tuple[str, ...] = DEFAULT_FORMATS
    masks: Path | None = None


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


def write_outputs(result: Segmentation, scan_id: str, job: Job, origin: Origin | None = None) -> None:
    """Write the label volume in the formats asked for."""
    for name in job.formats:
        if name not in MAPS:
            write_format(name, result, output_path(job.out, scan_id, SUFFIXES[name]), origin)


def _paths_of(scan_id: str, job: Job) -> list[Path]:
    labels = [output_path(job.out, scan_id, SUFFIXES[name]) for name in job.formats]
    return [*labels, mosaic_path(job.out, scan_id)]


def sizes_of(scan_id: str, job: Job) -> dict[str, int]:
    """Bytes of every output of a scan that is there, by its name relative to OUT."""
    found = [path for path in _paths_of(scan_id, job) if path.is_file()]
    return {path.relative_to(job.out).as_posix(): path.stat().st_size for path in found}


def remove_halves(scan_id: str, job: Job) -> None:
    """Remove what a killed process left of this scan's outputs."""
    for path in _paths_of(scan_id, job):
        remove_leftovers(path.parent, path.name, whoever=True)
