"""`--masks` and `--brain-mask`: where masks are given, and which tool makes those that are not."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from medseg.batch.progress import say
from medseg.brain.tools import TOOLS, chosen_tool
from medseg.config import NO_BRAIN_MASK, Config
from medseg.errors import ConfigError

if TYPE_CHECKING:
    from medseg.model.record import Record


def masks_folder(args: argparse.Namespace) -> Path | None:
    """The folder of given masks.

    Raises:
        ConfigError: it is not there.
    """
    folder: Path | None = args.masks
    if folder is not None and not folder.is_dir():
        raise ConfigError(f"--masks {folder}: found no folder, expected one with masks; check the path")
    return folder


def with_brain_tool(config: Config, args: argparse.Namespace) -> Config:
    """The config to be fitted, its `preprocessing.brain_mask` a tool that is here, or none.

    Raises:
        ConfigError: the tool is not installed, or makes no masks for scans of this kind.
    """
    tool = _tool(args, config.preprocessing.brain_mask)
    if tool:
        _check_kind(config, config.preprocessing.modality)
    chosen = config.preprocessing.model_copy(update={"brain_mask": tool or NO_BRAIN_MASK})
    return config.model_copy(update={"preprocessing": chosen})


def brain_tool_for(config: Config, modality: str, args: argparse.Namespace) -> str:
    """The tool with which a fitted model segments: the one that it was fitted with, unless the flag names another.

    Says so where the masks are made in another way than those of the fit.

    Args:
        modality: of the model's plan.

    Raises:
        ConfigError: as `with_brain_tool`.
    """
    fitted = config.preprocessing.brain_mask
    tool = _tool(args, fitted)
    if tool:
        _check_kind(config, modality)
    if fitted not in (NO_BRAIN_MASK, tool) and (args.masks is None or args.brain_mask is not None):
        now = f"{tool} makes these" if tool else "now none are made"
        say(f"the model was fitted inside brain masks of {fitted}, and {now}: compare with care")
    return tool


def say_masks(records: Sequence[Record]) -> None:
    """Say who made the brain masks of a run, where a tool did."""
    from medseg.brain.keep import BY_HAND

    counts = Counter(record.mask.by for record in records if record.is_done and record.mask.digest)
    if counts:
        told = ", ".join(f"{n} {by if by == BY_HAND else f'by {by}'}" for by, n in counts.items())
        say(f"brain masks: {told}; look at them in the report")


def _tool(args: argparse.Namespace, otherwise: str) -> str:
    if args.brain_mask is None and args.masks is not None and otherwise in TOOLS and not TOOLS[otherwise].is_here:
        return ""  # masks are given for all of them, or the scans without one are refused by name
    return chosen_tool(args.brain_mask or otherwise)


def _check_kind(config: Config, modality: str) -> None:
    if modality == "CT":
        raise ConfigError("--brain-mask: found a config or model for CT, expected one for MR of heads; give masks with "
                          "--masks")  # fmt: skip
    if config.habitats.is_asked:
        raise ConfigError("--brain-mask: found a config of habitats, which lie inside given regions; leave the flag "
                          "out, give the regions with --masks")  # fmt: skip
