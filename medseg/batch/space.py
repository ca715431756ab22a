"""How much room the outputs of scans take on the disk, about: told before the work, and when there is none left."""

from __future__ import annotations

import errno
from collections.abc import Collection, Iterable, Sequence
from math import prod
from pathlib import Path

from medseg.batch.outputs import Job, check_writable
from medseg.batch.progress import say
from medseg.errors import OutputError
from medseg.io.scan import Scan
from medseg.model.outputs import Output
from medseg.model.record import read_record
from medseg.runtime.disk import Need, free_bytes, output_error, size_text

_BYTES = {
    Output.NIFTI: 0.05, Output.SEG_NRRD: 0.06, Output.MRB: 1.0, Output.DICOM_SEG: 0.1, Output.DICOM_SEG_BINARY: 0.1,
    Output.CONFIDENCE: 0.15, Output.FRACTIONS: 0.5, Output.FINEST: 0.06, Output.ANOMALY: 0.3,
    Output.DISAGREEMENT: 0.15,
}  # fmt: skip
"""Bytes a voxel of each output: twice those of the MNI152 template, whose labels are smooth."""
_PICTURE_BYTES = 0.6
"""And of the pictures and volumes of the report, up to `_MOST_PICTURED` voxels."""
_MOST_PICTURED = 7_000_000
_REPORT_BYTES = 6_000_000
"""Page and viewer."""


def needed_bytes(scans: Iterable[Scan], outputs: Collection[Output]) -> int:
    """About how many bytes these outputs of the scans and their pictures take; scans of unknown size count nothing."""
    sizes = [prod(scan.geometry.shape) for scan in scans if scan.geometry]
    of_voxel = sum(_BYTES[name] for name in outputs)
    return int(sum(of_voxel * n + _PICTURE_BYTES * min(n, _MOST_PICTURED) for n in sizes))


def warn_of_space(job: Job, scans: Sequence[Scan]) -> None:
    """Say when the disk of the output folder has less room than the outputs of the scans that are left will need.

    Raises:
        OutputError: nothing at all can be written there.
    """
    left = [scan for scan in scans if scan.is_ok and not _is_done(job.out, scan)]
    refuse_when_full(job, left)
    free, needed = free_bytes(job.out), needed_bytes(left, job.outputs) + _REPORT_BYTES
    if left and free < needed:
        say(f"{job.out}: {size_text(free)} are free on its disk, about {size_text(needed)} will be needed: free space "
            "there, or give another --out")  # fmt: skip


def _is_done(out: Path, scan: Scan) -> bool:
    record = read_record(out, scan.id)
    return record is not None and record.is_done


def refuse_when_full(job: Job, left: Sequence[Scan]) -> None:
    """End the run when nothing at all can be written any more.

    Args:
        left: the scans that are not done yet.

    Raises:
        OutputError: how much room they need.
    """
    try:
        check_writable(job.out)
    except OutputError as error:
        raise (full_disk(job, left) if error.code == "disk_full" else error) from None


def full_disk(job: Job, left: Sequence[Scan]) -> OutputError:
    """That the disk is too full for the outputs of these scans, and how much they need."""
    needed = needed_bytes(left, job.outputs) + _REPORT_BYTES
    return output_error(OSError(errno.ENOSPC, "full"), job.out, Need(needed))
