"""How the outputs of a run are named: after their scans, or as a BIDS derivative."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from medseg.pipelines.progress import say

from medseg.config import Config
from medseg.io.bids import check_dataset, is_raw_dataset, structural_scans
from medseg.io.scan import Scan


def is_bids(args: argparse.Namespace) -> bool:
    """Whether SCANS is worked on as a BIDS dataset: when asked, or by itself when it says that it is one.

    Raises:
        ConfigError: asked, and it is none.
    """
    layout = getattr(args, "layout", "plain")
    if layout == "bids":
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
