"""The scans that a command works on, and what is said of those that it does not."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from medseg.batch.progress import say, say_more
from medseg.cli.kinds import say_mixed
from medseg.cli.layout import is_bids, only_structural, put_together
from medseg.config import Config
from medseg.errors import ConfigError
from medseg.io.discovery import find_scans
from medseg.io.scan import Scan
from medseg.io.selection import Selection


def found(args: argparse.Namespace) -> list[Scan]:
    """Everything found below SCANS, what lies below the output folder left out.

    Raises:
        ConfigError: nothing is.
    """
    selection = Selection(args.include, args.exclude, args.series)
    scans = find_scans(args.scans, keep_names=args.keep_names, regrid=args.regrid, selection=selection)
    if getattr(args, "out", None) is not None:
        inside = args.out.resolve()
        outside = [scan for scan in scans if not Path(os.path.realpath(scan.path)).is_relative_to(inside)]
        if scans and not outside:
            raise ConfigError(f"{args.scans}: all {len(scans)} scans lie in {args.out}, where results belong, expected "
                              "scans elsewhere; give another --out")  # fmt: skip
        scans = outside
    if not scans:
        flags = ["--include", "--exclude"] if args.include or args.exclude else []
        flags += ["--series"] if args.series else []
        advice = "medseg inspect --show-descriptions says what there is" if args.series else "check the path"
        matched = f" that {' and '.join(flags)} take" if flags else ""
        raise ConfigError(
            f"{args.scans}: found no DICOM series and no NIfTI file{matched}, expected at least one; {advice}"
        )
    return scans


def scans_of(args: argparse.Namespace, config: Config, choose: Callable[[list[Scan]], list[Scan]] = list) -> list[Scan]:
    """The scans to work on: what is no scan is counted, not failed, and what is odd is announced.

    Args:
        choose: those of the structural images of a BIDS dataset that are wanted.

    Raises:
        ConfigError: there is none.
    """
    every = found(args)
    if is_bids(args):
        every = choose(only_structural(every))
    scans = [scan for scan in every if not scan.is_bystander]
    _say_left_out(every)
    if not scans:
        raise ConfigError(f"{args.scans}: found no volume, expected at least one; medseg inspect says what there is")
    for scan in scans:
        for text in filter(None, (scan.regrid, scan.note)):
            say(f"{scan.id}: {text}")
    grouped: list[Scan] = put_together(scans, config.channels)
    say_mixed(grouped)
    for scan in grouped:
        say_more(_told(scan))
    return grouped


def _told(scan: Scan) -> str:
    """What was found of a scan, in one line."""
    if not scan.is_ok or scan.geometry is None:
        return f"{scan.id}: {scan.verdict}: {scan.reason}"
    channels = f", {1 + len(scan.more_channels)} channels" if scan.more_channels else ""
    return f"{scan.id}: ok: {scan.facts.label or scan.modality or scan.format}{channels}, {scan.geometry}"


def _say_left_out(scans: Sequence[Scan]) -> None:
    n_labels = sum(scan.is_label_map for scan in scans)
    n_others = sum(scan.is_bystander for scan in scans) - n_labels
    if n_others:
        what = f"{n_others} DICOM series {'is no volume' if n_others == 1 else 'are no volumes'}"
        say(f"{what} (reports, localisers, screenshots, single images), left out: medseg inspect lists such series")
    if n_labels:
        what = "1 file is a label map or mask" if n_labels == 1 else f"{n_labels} files are label maps or masks"
        say(f"{what}, left out: medseg inspect lists such files, --include GLOB takes one as a scan")
