"""The mask that a scan is worked on in: a given one, or the brain mask that a tool makes once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from monai.data.meta_tensor import MetaTensor

from medseg.batch.outputs import Job
from medseg.brain.keep import kept_mask, mask_digest
from medseg.brain.make import make_brain_mask, mask_volume_ml, source_channel
from medseg.brain.tools import TOOLS
from medseg.errors import InputError
from medseg.io.mask_files import NO_MASK, read_given_mask
from medseg.io.scan import Scan
from medseg.model.record import MaskFacts

GIVEN = "given"


class ScanMask(NamedTuple):
    """(1, I, J, K) of 0 and 1, or None, and what a record keeps of it."""

    inside: MetaTensor | None
    facts: MaskFacts


def mask_of(scan: Scan, image: MetaTensor, job: Job, device: torch.device, channels: Sequence[str] = ()) -> ScanMask:
    """The mask of a scan: given masks come first; who has none gets one from the job's tool.

    Args:
        image: (C, I, J, K), of the scan.
        channels: their names, where they have any.

    Raises:
        InputError: a given mask does not fit; there is none and no tool; or the tool makes none.
    """
    given = _given(scan, image, job)
    if given is not None:
        return ScanMask(given, MaskFacts(GIVEN, mask_volume_ml(given)))
    if not job.brain_mask:
        return ScanMask(None, MaskFacts())
    source, path = source_channel(image, channels), job.brain_mask_path(scan.id)
    tool = TOOLS[job.brain_mask]
    kept = kept_mask(source, path, tool.told, lambda: make_brain_mask(source, tool.name, device, path))
    return ScanMask(kept.inside, MaskFacts(kept.by, mask_volume_ml(kept.inside), mask_digest(path)))


def _given(scan: Scan, image: MetaTensor, job: Job) -> MetaTensor | None:
    if job.masks is None:
        return None
    try:
        return read_given_mask(job.masks, scan, image).inside
    except InputError as error:
        if error.code == NO_MASK and job.brain_mask:
            return None
        raise
