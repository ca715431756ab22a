"""`medseg bids`: the command line of a BIDS App."""

from __future__ import annotations

import argparse
from pathlib import Path

from medseg.cli.flags import Commands, add_batch, add_choice, add_config, add_formats, add_masks, command, count

TEXT = "segment the structural images of a BIDS dataset, called as a BIDS App"
LEVELS = """`group` fits one model to the whole dataset (OUT/model) unless there is one, and writes the tables over all
participants; `participant` segments with it, and fits it first where there is none. See docs/bids.md."""
UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def add(commands: Commands) -> None:
    """Its flags, spelled as NiPreps spell them."""
    parser = command(commands, "bids", TEXT, LEVELS)
    parser.add_argument("scans", type=Path, metavar="BIDS_DIR", help="raw BIDS dataset")
    parser.add_argument("out", type=Path, metavar="OUT", help="folder of the derivative")
    parser.add_argument("levels", nargs="+", choices=["participant", "group"], help="level of the analysis")
    parser.add_argument("--participant-label", "--participant_label", "--participant-labels", nargs="+", default=[],
                        metavar="LABEL", help="only these participants, with or without sub-")  # fmt: skip
    parser.add_argument("--session-label", "--session_label", "--session-id", nargs="+", default=[], metavar="LABEL",
                        help="only these sessions, with or without ses-")  # fmt: skip
    parser.add_argument("-m", "--modalities", nargs="+", default=["T1w"], metavar="SUFFIX",
                        help="suffixes of the images, unless the config names channels (default: T1w)")  # fmt: skip
    parser.add_argument("--bids-filter-file", type=Path, metavar="FILE", help="JSON: values of entities for each "
                        'query, such as {"t1w": {"acquisition": "hi"}}')  # fmt: skip
    parser.add_argument("--skip-bids-validation", "--skip_bids_validation", action="store_true",
                        help="do without dataset_description.json (nothing else is validated here)")  # fmt: skip
    parser.add_argument("--model", type=Path, metavar="MODEL", help="model folder (default: OUT/model)")
    parser.add_argument("-w", "--work-dir", "--work_dir", type=Path, metavar="DIR", help="where temporary files go")
    parser.add_argument("--nthreads", "--nprocs", "--n-cpus", "--n_cpus", type=count, metavar="N", help="cores of all "
                        "processes together (default: all)")  # fmt: skip
    parser.add_argument("--omp-nthreads", type=count, metavar="N", help="cores of each process")
    parser.add_argument("--mem", "--mem-mb", "--mem_mb", dest="memory", type=memory, metavar="MB", help="memory of all "
                        "processes together, in MB or as 16G")  # fmt: skip
    parser.add_argument("--random-seed", type=count, metavar="N", help="the same as --set training.seed=N")
    parser.add_argument("--notrack", action="store_true", help="accepted: medseg sends nothing anywhere")
    add_choice(parser)
    add_config(parser)
    add_formats(parser)
    add_masks(parser)
    add_batch(parser)
    parser.set_defaults(config=None, layout="bids", keep_names=False, regrid=False)


def memory(text: str) -> int:
    """Bytes of ``8000``, which are MB, or ``8G``."""
    digits, unit = (text[:-1], text[-1].upper()) if text[-1:].upper() in UNITS else (text, "M")
    if not digits.isdigit() or int(digits) == 0:
        raise argparse.ArgumentTypeError(f"found {text}, expected MB such as 8000, or 8G")
    return int(digits) * UNITS[unit]


def run(args: argparse.Namespace) -> int:
    """Work on the dataset at each level that is asked for."""
    from medseg.cli.bids import run_levels

    return run_levels(args)
