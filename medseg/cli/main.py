"""The `medseg` command: parses arguments, calls one function, turns errors into sentences and exit codes."""

from __future__ import annotations

import argparse
import io
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from medseg.batch.fork_server import start_fork_server
from medseg.cli.slicer import PrintDescription
from medseg.errors import MedsegError
from medseg.version import __version__

EXAMPLES = """examples:
  medseg inspect scans/                      what is there, and what would be refused
  medseg run scans/ --out out/               train, segment, report
  medseg train scans/ --model model/ --config brain_t1 --set clustering.n_clusters=4
  medseg segment more_scans/ --model model/ --out out2/
  medseg label model/ --name 3="white matter" --color 3=230,230,230 --merge 4,5 --out out/
  medseg label model/ --cut 6 --out out/     six labels out of the same fit
"""


def build_parser() -> argparse.ArgumentParser:
    """All commands and flags; nothing heavy is imported here."""
    parser = argparse.ArgumentParser(
        prog="medseg",
        description="Label-free segmentation of 3D medical scans.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"medseg {__version__}")
    parser.add_argument("--xml", action=PrintDescription, help="print the description of the module for 3D Slicer")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_inspect(commands)
    _add_run(commands)
    _add_train(commands)
    _add_segment(commands)
    _add_label(commands)
    _add_describe(commands)
    _add_export(commands)
    _add_evaluate(commands)
    _add_report(commands)
    _add_pacs(commands)
    _add_slicer(commands)
    _add_configs(commands)
    return parser


Commands = "argparse._SubParsersAction[argparse.ArgumentParser]"


def _command(commands: Commands, name: str, text: str) -> argparse.ArgumentParser:  # type: ignore[valid-type]
    return commands.add_parser(name, help=text, description=text)  # type: ignore[attr-defined,no-any-return]


def _add_scans(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "scans", type=Path, metavar="SCANS", help="directory (searched), file, DICOMDIR, or .txt list of paths"
    )
    parser.add_argument("--keep-names", action="store_true", help="name DICOM scans after their folders too")
    parser.add_argument(
        "--regrid", action="store_true", help="resample tilted or uneven scans instead of refusing them"
    )
    parser.add_argument("--include", action="append", default=[], metavar="GLOB", help="only scans whose path or id "
                        "matches, and as scans even if they look like label maps; may be repeated")  # fmt: skip
    parser.add_argument("--exclude", action="append", default=[], metavar="GLOB", help="no scans whose path or id "
                        "matches; may be repeated")  # fmt: skip


def _add_layout(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--layout", choices=["auto", "plain", "bids"], default="auto", help="names and folders of the "
                        "outputs; auto: a BIDS derivative of a BIDS dataset (default: auto)")  # fmt: skip


def _add_masks(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--masks", type=Path, metavar="DIR", help="work only inside DIR/<same name as the scan>.nii.gz")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: auto)")


def _add_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config", default="generic", help="generic, brain_t1, body_ct, lung_mr, habitats, smoke, or a YAML file"
    )
    parser.add_argument("--set", action="append", default=[], metavar="a.b=value", help="change one setting")
    parser.add_argument("--tensorboard", type=Path, metavar="DIR", help="write event files of the training there")


def _add_outputs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, required=True, metavar="OUT", help="where label volumes go")
    parser.add_argument("--write", default="nifti,seg.nrrd", metavar="FORMATS",
                        help="some of nifti,seg.nrrd,mrb,dicomseg,dicomseg-binary,confidence,fractions,"
                        "finest,anomaly,disagreement (default: two)")  # fmt: skip
    told = "voxels whose label is less probable than P, such as 0.6, get no label (default: 0)"
    parser.add_argument("--min-confidence", type=_share, default=0.0, metavar="P", help=told)


def _add_batch(parser: argparse.ArgumentParser) -> None:
    workers = "processes that work on one scan each (default: as cores and memory allow; 0: none, nothing isolated)"
    timeout = "longest time for one scan (default: 3600; 0: no limit)"
    parser.add_argument("--workers", type=_count, metavar="N", help=workers)
    parser.add_argument("--timeout", type=_positive, default=3600.0, metavar="SECONDS", help=timeout)
    parser.add_argument("--max-memory", type=_positive, metavar="GB", help="most memory for one scan")
    _add_common(parser)


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--deterministic", action="store_true", help="same bytes on a second run on this machine")
    parser.add_argument("--log-json", action="store_true", help="say everything as JSON lines on stderr")


def _count(text: str) -> int:
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"found {text}, expected a whole number of at least 0")
    return int(text)


def _positive(text: str) -> float:
    value = float(text)
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"found {text}, expected a number of at least 0")
    return value


def _share(text: str) -> float:
    value = float(text)
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"found {text}, expected a probability of at least 0 and below 1")
    return value


def _add_inspect(commands: Commands) -> None:  # type: ignore[valid-type]
    parser = _command(commands, "inspect", "list every scan found and whether it can be used")
    _add_scans(parser)
    parser.add_argument("--json", action="store_true", help="print a list of objects for programs")


def _add_run(commands: Commands) -> None:  # type: ignore[valid-type]
    parser = _command(commands, "run", "train on the scans, segment them, write the report")
    _add_scans(parser)
    _add_layout(parser)
    _add_outputs(parser)
    _add_config(parser)
    _add_masks(parser)
    _add_batch(parser)
    parser.add_argument("--model", type=Path, help="model folder (default: OUT/model)")


def _add_train(commands: Commands) -> None:  # type: ignore[valid-type]
    parser = _command(commands, "train", "fit a model folder; the same command resumes after an interruption")
    _add_scans(parser)
    _add_layout(parser)
    parser.add_argument("--model", type=Path, required=True, metavar="MODEL", help="model folder to write")
    _add_config(parser)
    _add_masks(parser)
    _add_common(parser)


def _add_segment(commands: Commands) -> None:  # type: ignore[valid-type]
    parser = _command(commands, "segment", "write label volumes with a fitted model; done scans are skipped")
    _add_scans(parser)
    _add_layout(parser)
    parser.add_argument("--model", type=Path, required=True, metavar="MODEL", help="model folder")
    _add_outputs(parser)
    _add_masks(parser)
    _add_batch(parser)
    parser.add_argument("--shard", default="1/1", metavar="i/n", help="only the i-th of n parts, for job arrays")
    parser.add_argument("--scheduler", metavar="ADDRESS", help="hand the scans to the Dask workers of this scheduler")


def _add_label(commands: Commands) -> None:  # type: ignore[valid-type]
    parser = _command(commands, "label", "show the labels of a model; name, colour, merge them and rewrite its outputs")
    parser.add_argument("model", type=Path, metavar="MODEL", help="model folder")
    parser.add_argument("--name", action="append", default=[], metavar='3="white matter"')
    parser.add_argument("--color", action="append", default=[], metavar="3=R,G,B", help="0 to 255 each")
    parser.add_argument("--code", action="append", default=[], metavar="3=VALUE:MEANING", help="SNOMED CT code")
    parser.add_argument("--merge", action="append", default=[], metavar="4,5", help="5 becomes part of 4")
    parser.add_argument("--from", dest="source", type=Path, metavar="labels.yaml", help="all of these from a file, "
                        "such as the one that report.html saves")  # fmt: skip
    parser.add_argument("--save", type=Path, metavar="labels.yaml", help="keep names, colours, codes and merges")
    parser.add_argument("--cut", type=_count, metavar="N", help="labels that the hierarchy is cut to, 2 to 32")
    parser.add_argument("--out", type=Path, action="append", default=[], metavar="OUT",
                        help="outputs to rewrite (default: the folder that `run` made around MODEL)")  # fmt: skip


def _add_describe(commands: Commands) -> None:  # type: ignore[valid-type]
    parser = _command(commands, "describe", "print the labels of a model and the tree that --cut cuts")
    parser.add_argument("model", type=Path, metavar="MODEL", help="model folder")


def _add_export(commands: Commands) -> None:  # type: ignore[valid-type]
    parser = _command(commands, "export", "write the trained encoder as a MONAI bundle that runs without medseg")
    parser.add_argument("model", type=Path, metavar="MODEL", help="model folder")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="bundle folder to write")


def _add_evaluate(commands: Commands) -> None:  # type: ignore[valid-type]
    parser = _command(
        commands, "evaluate", "compare label maps with references: Dice, surface distance, HD95, NMI, ARI"
    )
    parser.add_argument("predictions", type=Path, metavar="PREDICTIONS")
    parser.add_argument("truths", type=Path, metavar="TRUTHS")
    parser.add_argument("--out", type=Path, required=True, metavar="METRICS.csv")
    parser.add_argument("--mapping", choices=["one", "many"], default="one", help="labels per class (default: one)")
    parser.add_argument("--per-case", action="store_true", help="a mapping for each scan instead of the cohort's")


def _add_report(commands: Commands) -> None:  # type: ignore[valid-type]
    parser = _command(commands, "report", "write report.html and its pictures again")
    parser.add_argument("out", type=Path, metavar="OUT", help="folder that `run` or `segment` wrote")
    parser.add_argument("--single-file", action="store_true", help="viewer and volumes inside the page, to hand it on")
    parser.add_argument("--scans", type=Path, metavar="SCANS", help="give the viewer the scans that it lacks")
    parser.add_argument("--keep-names", action="store_true", help="as when the scans were segmented")
    parser.add_argument("--regrid", action="store_true", help="as when the scans were segmented")


def _add_pacs(commands: Commands) -> None:  # type: ignore[valid-type]
    parser = _command(commands, "pacs", "segment series of a PACS and store DICOM segmentations beside them")
    server = parser.add_mutually_exclusive_group(required=True)
    server.add_argument("--dicomweb", metavar="URL", help="DICOMweb service, such as https://pacs.example/dicom-web")
    server.add_argument("--dimse", metavar="TITLE@HOST:PORT", help="C-FIND, C-GET and C-STORE instead of DICOMweb")
    parser.add_argument("--patient", metavar="ID", help="series of this patient")
    parser.add_argument("--study", metavar="UID", help="series of this study")
    parser.add_argument("--modality", metavar="MR", help="series of this modality (default: CT, MR and PT)")
    parser.add_argument("--date", metavar="FROM-TO", help="series of studies of these days, YYYYMMDD-YYYYMMDD")
    parser.add_argument("--model", type=Path, required=True, metavar="MODEL", help="model folder")
    _add_outputs(parser)
    parser.add_argument("--credentials", type=Path, metavar="FILE", help="lines token=..., or user=... and "
                        "password=... (default: MEDSEG_PACS_TOKEN, _USER, _PASSWORD)")  # fmt: skip
    parser.add_argument("--ca", type=Path, metavar="PEM", help="authority that signed the server's certificate")
    parser.add_argument("--cert", type=Path, metavar="PEM", help="own certificate with its key")
    parser.add_argument("--tls", action="store_true", help="encrypt --dimse (https does without)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: auto)")
    parser.add_argument("--aet", default="MEDSEG", metavar="TITLE", help="own title for --dimse (default: MEDSEG)")


def _add_configs(commands: Commands) -> None:  # type: ignore[valid-type]
    parser = _command(
        commands, "configs", "list the configs; print every setting of one with its meaning, to be edited"
    )
    parser.add_argument("config", nargs="?", metavar="NAME", help="one of the names, or a YAML file")


def _add_slicer(commands: Commands) -> None:  # type: ignore[valid-type]
    parser = _command(commands, "slicer", "segment one NIfTI file as a module of 3D Slicer (see docs/slicer.md)")
    parser.add_argument("scan", type=Path, metavar="SCAN")
    parser.add_argument("labels", type=Path, metavar="LABELS")
    parser.add_argument("--model", type=Path, required=True, metavar="MODEL", help="model folder")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: auto)")


def _print_anything() -> None:
    """Names of scans may hold letters that the terminal's encoding has not."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _wants_workers(args: argparse.Namespace) -> bool:
    """Whether this machine's own worker processes will be needed, unless all is done already."""
    return args.command in {"run", "segment"} and args.workers != 0 and not getattr(args, "scheduler", None)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        0 all scans segmented, 1 some refused or failed (see manifest.csv), 2 wrong usage or configuration.
    """
    args = build_parser().parse_args(argv)
    # Large pages for PyTorch's tensors on a CPU: embedding takes a fifth less time.
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    _print_anything()
    logging.basicConfig(level=logging.WARNING, format="medseg: %(message)s", stream=sys.stderr)
    if _wants_workers(args):
        start_fork_server()
    from medseg.batch.progress import speak_json
    from medseg.cli.commands import COMMANDS

    speak_json(getattr(args, "log_json", False))
    try:
        return int(COMMANDS[args.command](args))
    except MedsegError as error:
        print(f"medseg: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("medseg: stopped; the same command goes on from here", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
