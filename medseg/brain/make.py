"""A brain mask of one scan, made by one of the tools and looked at before it is believed."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from monai.data.meta_tensor import MetaTensor

from medseg.brain.deepbet import deepbet_mask
from medseg.brain.programs import program_mask
from medseg.brain.tools import DEEPBET, chosen_tool
from medseg.config import Config
from medseg.errors import InputError
from medseg.preprocessing.fingerprint import is_hounsfield
from medseg.preprocessing.prepare import channels_of
from medseg.preprocessing.whole_head import MOST_BRAIN_ML
from medseg.spatial.geometry import Geometry

LEAST_BRAIN_ML = 250.0
"""Of a newborn, born weeks too early; an adult's has 0.8 l at least, but head and field of view may be small."""


def brain_mask(image: MetaTensor, config: Config, device: torch.device) -> MetaTensor | None:
    """The brain in a (C, I, J, K) image, (1, I, J, K) of 0 and 1, by the tool that the config names; None for none.

    Raises:
        ConfigError: the tool is not installed.
        InputError: as `make_brain_mask`.
    """
    tool = chosen_tool(config.preprocessing.brain_mask)
    return make_brain_mask(source_channel(image, config.channels.names), tool, device) if tool else None


def source_channel(image: MetaTensor, names: Sequence[str]) -> MetaTensor:
    """(1, I, J, K): the channel that a mask is made of, the first one called T1 (``T1w``, ``T1ce``), else the first."""
    channels = channels_of(image)
    if len(names) != len(channels):
        return channels[0]
    return next((x for x, name in zip(channels, names, strict=True) if name.casefold().startswith("t1")), channels[0])


def make_brain_mask(source: MetaTensor, tool: str, device: torch.device, beside: Path | None = None) -> MetaTensor:
    """(1, I, J, K) of 0 and 1 on the grid of `source`, a (1, I, J, K) MR of a head.

    Args:
        tool: name of one that is installed.
        beside: a path beside which a folder for the time of the call may lie; None: among the temporary files.

    Raises:
        InputError: ``other_modality`` for CT, ``no_brain``, ``brain_mask_failed``, or ``implausible_brain_mask`` when
            its volume is that of no brain.
    """
    if is_hounsfield(source):
        raise InputError(f"the scan is CT, expected MR for the brain mask of {tool}; give brain masks with --masks",
                         code="other_modality")  # fmt: skip
    beside = beside or Path(tempfile.gettempdir()) / "brain-mask"
    try:
        mask = deepbet_mask(source, device) if tool == DEEPBET else program_mask(tool, source, device, beside)
    except (RuntimeError, torch.jit.Error) as error:  # its message may hold paths
        if isinstance(error, torch.OutOfMemoryError) or "allocate memory" in str(error):
            raise
        raise InputError(f"{tool} cannot work on this scan; draw a mask and give it with --masks, or take another tool",
                         code="brain_mask_failed") from error  # fmt: skip
    volume_ml = mask_volume_ml(mask)
    if not LEAST_BRAIN_ML <= volume_ml <= MOST_BRAIN_ML:
        raise InputError(
            f"the brain mask of {tool} is {volume_ml / 1000:.2f} l large, expected {LEAST_BRAIN_ML / 1000:g} to "
            f"{MOST_BRAIN_ML / 1000:g} l; take another tool, or draw a mask and give it with --masks",
            code="implausible_brain_mask",
        )
    return mask


def mask_volume_ml(mask: MetaTensor) -> float:
    """Of a (1, I, J, K) mask of 0 and 1."""
    return float(mask.as_tensor().sum()) * Geometry.of(mask).voxel_volume_mm3 / 1000
