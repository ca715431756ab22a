"""Flags that several commands share, and the kinds of numbers that they take."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TypeAlias

SCANS = "directory (searched), file, DICOMDIR, or .txt list of paths"
Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def command(commands: Commands, name: str, text: str, more: str = "") -> argparse.ArgumentParser:
    """The parser of one command, `text` being its help, and `more` what its own help adds."""
    return commands.add_parser(name, help=text, description=f"{text}. {more}" if more else text)


def add_scans(parser: argparse.ArgumentParser) -> None:
    """SCANS and how they are found and named."""
    parser.add_argument("scans", type=Path, metavar="SCANS", help=SCANS)
    add_finding(parser)


def add_scans_again(parser: argparse.ArgumentParser) -> None:
    """--scans of a folder that `run` or `segment` wrote, found and named as they were then."""
    parser.add_argument("--scans", type=Path, required=True, metavar="SCANS", help=SCANS)
    add_finding(parser)


def add_finding(parser: argparse.ArgumentParser) -> None:
    """Which scans are taken, and how they are named."""
    parser.add_argument("--keep-names", action="store_true", help="name DICOM scans after their folders too")
    parser.add_argument(
        "--regrid", action="store_true", help="resample tilted or uneven scans instead of refusing them"
    )
    add_choice(parser)


def add_choice(parser: argparse.ArgumentParser) -> None:
    """Which of the scans found are taken."""
    parser.add_argument("--include", action="append", default=[], metavar="GLOB", help="only scans whose path or id "
                        "matches, and as scans even if they look like label maps; may be repeated")  # fmt: skip
    parser.add_argument("--exclude", action="append", default=[], metavar="GLOB", help="no scans whose path or id "
                        "matches; may be repeated")  # fmt: skip
    parser.add_argument("--series", action="append", default=[], metavar="GLOB", help="only series whose description "
                        "matches, such as '*t1*'; it is compared, not shown; may be repeated")  # fmt: skip


def add_layout(parser: argparse.ArgumentParser) -> None:
    """Plain or BIDS outputs."""
    parser.add_argument("--layout", choices=["auto", "plain", "bids"], default="auto", help="names and folders of the "
                        "outputs; auto: a BIDS derivative of a BIDS dataset (default: auto)")  # fmt: skip


def add_masks(parser: argparse.ArgumentParser) -> None:
    """Where to work, in space and on which device."""
    parser.add_argument("--masks", type=Path, metavar="DIR", help="work only inside the masks below DIR that are named "
                        "after their scans, as brain extraction tools and BIDS derivatives do")  # fmt: skip
    parser.add_argument("--brain-mask", choices=["auto", "deepbet", "hd-bet", "mri_synthstrip", "none"],
                        help="have the brain found in scans of whole heads that --masks has no mask of; auto: by the "
                        "first of these that is installed (default: as the config or the model says)")  # fmt: skip
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: auto)")


def add_config(parser: argparse.ArgumentParser) -> None:
    """What is fitted."""
    parser.add_argument(
        "--config",
        default="generic",
        help="generic, brain_t1, body_ct, lung_mr, texture, habitats, smoke, or a YAML file",
    )
    parser.add_argument("--set", action="append", default=[], metavar="a.b=value", help="change one setting")
    parser.add_argument("--tensorboard", type=Path, metavar="DIR", help="write event files of the training there")


def add_outputs(parser: argparse.ArgumentParser) -> None:
    """Where results go and which."""
    parser.add_argument("--out", type=Path, required=True, metavar="OUT", help="output folder")
    add_formats(parser)


def add_formats(parser: argparse.ArgumentParser) -> None:
    """Which results."""
    parser.add_argument("--write", default="nifti,seg.nrrd", metavar="FORMATS",
                        help="some of nifti,seg.nrrd,mrb,dicomseg,dicomseg-binary,confidence,fractions,"
                        "finest,anomaly,disagreement (default: two)")  # fmt: skip
    told = "voxels whose label is less probable than P, such as 0.6, get no label (default: 0)"
    parser.add_argument("--min-confidence", type=share, default=0.0, metavar="P", help=told)


def add_batch(parser: argparse.ArgumentParser) -> None:
    """How many scans at once, and what each may cost."""
    workers = "processes that work on one scan each (default: as cores and memory allow; 0: none, nothing isolated)"
    parser.add_argument("--workers", type=count, metavar="N", help=workers)
    add_limits(parser)
    add_common(parser)


def add_limits(parser: argparse.ArgumentParser) -> None:
    """What one scan may cost."""
    timeout = "longest time for one scan (default: 3600; 0: no limit)"
    parser.add_argument("--timeout", type=positive, default=3600.0, metavar="SECONDS", help=timeout)
    parser.add_argument("--max-memory", type=positive, metavar="GB", help="most memory for one scan")


def add_common(parser: argparse.ArgumentParser) -> None:
    """Flags of every long command."""
    parser.add_argument("--deterministic", action="store_true", help="same bytes on a second run on this machine")
    parser.add_argument("--log-json", action="store_true", help="report progress as JSON lines on stderr")
    loud = parser.add_mutually_exclusive_group()
    loud.add_argument("-v", "--verbose", action="count", default=0, help="also print the decisions about each scan")
    loud.add_argument("-q", "--quiet", action="store_true", help="print errors and the last line only")
    parser.add_argument("--dry-run", action="store_true", help="say what would be done with each scan, about how long "
                        "it takes and how much disk; write nothing")  # fmt: skip


def count(text: str) -> int:
    """A whole number of at least 0."""
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"found {text}, expected a whole number of at least 0")
    return int(text)


def positive(text: str) -> float:
    """A finite number of at least 0."""
    value = float(text)
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"found {text}, expected a number of at least 0")
    return value


def share(text: str) -> float:
    """A probability of at least 0 and below 1."""
    value = float(text)
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"found {text}, expected a probability of at least 0 and below 1")
    return value
