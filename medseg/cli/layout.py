"""How scans and the outputs of a run are named: after their scans, or as a BIDS derivative."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from medseg.batch.progress import say
from medseg.config import ChannelsConfig, Config
from medseg.errors import ConfigError
from medseg.io.bids import check_dataset, is_raw_dataset, structural_scans
from medseg.io.channels import group_channels
from medseg.io.scan import Scan


def is_bids(args: argparse.Namespace) -> bool:
    """Whether SCANS is worked on as a BIDS dataset: when asked, or by itself when it says that it is one.

    Raises:
        ConfigError: asked, and it is none.
    """
    layout = getattr(args, "layout", "plain")
    if layout == "bids" and not getattr(args, "skip_bids_validation", False):
        check_dataset(args.scans)
    return layout == "bids" or (layout == "auto" and is_raw_dataset(args.scans))


def bids_desc(args: argparse.Namespace, config: Config) -> str:
    """The entity ``desc`` of the outputs, by the number of clusters; empty for the plain layout."""
    return f"k{config.clustering.n_clusters}" if is_bids(args) else ""


def only_structural(scans: Sequence[Scan]) -> list[Scan]:
    """The structural images of a BIDS dataset; says how many files are left out."""
    chosen = structural_scans(scans)
    text = "a BIDS dataset: outputs become a BIDS derivative (--layout plain: they do not)"
    if len(chosen) < len(scans):
        text += f"; {len(scans) - len(chosen)} files that are no structural images of sub-*/anat are left out"
    say(text)
    return chosen


def put_together(scans: Sequence[Scan], channels: ChannelsConfig) -> list[Scan]:
    """The channels of each scan as one; says how many files are none of them.

    Raises:
        ConfigError: there is not one file of these channels.
    """
    if not channels.names:
        return list(scans)
    grouped = group_channels(scans, channels)
    names = ", ".join(channels.names)
    if not grouped:
        raise ConfigError(f"found no file of the channels {names} (by {channels.by}), expected some; check "
                          "channels.names and channels.by of the config, or the names of the files")  # fmt: skip
    n_used = sum(1 + len(scan.more_channels) for scan in grouped if scan.is_ok)
    say(f"channels {names}: {sum(scan.is_ok for scan in grouped)} complete scans out of {len(scans)} files or series"
        + (f"; {len(scans) - n_used} are not used" if n_used < len(scans) else ""))  # fmt: skip
    return grouped
