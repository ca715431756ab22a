"""The `medseg` command: parses arguments, calls one function, turns errors into sentences and exit codes."""

from __future__ import annotations

import argparse
import io
import logging
import os
import signal
import sys
import warnings
from collections.abc import Sequence
from contextlib import suppress

from medseg.batch.fork_server import start_fork_server, use_temporary_folder
from medseg.batch.stopping import stoppable
from medseg.cli.commands import (
    bids,
    configs,
    convert,
    describe,
    doctor,
    evaluate,
    export,
    figure,
    inspect,
    label,
    pacs,
    report,
    run,
    segment,
    slicer,
    stats,
    train,
)
from medseg.cli.shortage import check_memory, told_of
from medseg.cli.slicer import PrintDescription
from medseg.errors import MedsegError, one_line
from medseg.runtime.monai_parts import import_monai_late
from medseg.version import __version__

EXAMPLES = """examples:
  medseg inspect scans/                      what is there, and what would be refused
  medseg run scans/ --out out/               train, segment, report
  medseg train scans/ --model model/ --config brain_t1 --set clustering.n_clusters=4
  medseg segment more_scans/ --model model/ --out out2/
  medseg label model/ --name 3="white matter" --color 3=230,230,230 --merge 4,5 --out out/
  medseg label model/ --cut 6 --out out/     six labels out of the same fit
"""

QUOTING = ("pydicom", "highdicom", "pynetdicom", "urllib3")
"""Libraries whose warnings quote elements of files, or addresses, and with them patients."""
COMMANDS = {
    "inspect": inspect,
    "convert": convert,
    "run": run,
    "train": train,
    "segment": segment,
    "label": label,
    "describe": describe,
    "stats": stats,
    "evaluate": evaluate,
    "report": report,
    "figure": figure,
    "bids": bids,
    "export": export,
    "pacs": pacs,
    "slicer": slicer,
    "configs": configs,
    "doctor": doctor,
}
"""Every command by its name, in the order of the help."""


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
    for module in COMMANDS.values():
        module.add(commands)
    return parser


def _print_anything() -> None:
    """Names of scans may hold letters that the terminal's encoding has not."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _quote_nothing() -> None:
    """Silence the warnings of libraries that quote what they read; what matters of it medseg says itself."""
    for library in QUOTING:
        logging.getLogger(library).setLevel(logging.CRITICAL + 1)
    warnings.filterwarnings("ignore", module=rf"({'|'.join(QUOTING)})(\.|$)")


def _wants_workers(args: argparse.Namespace) -> bool:
    """Whether this machine's own worker processes will be needed, unless all is done already."""
    if args.command == "pacs":
        return True
    is_batch = args.command in {"run", "segment", "bids"} and not args.dry_run
    return is_batch and args.workers != 0 and not getattr(args, "scheduler", None)


def _run(args: argparse.Namespace) -> int:
    """The command itself, once the machine can hold its libraries."""
    if args.command != "configs":
        check_memory()
    if getattr(args, "work_dir", None) is not None and not args.dry_run:
        use_temporary_folder(args.work_dir)
    from medseg.cli.words import check_words

    check_words(args)
    if _wants_workers(args):
        start_fork_server()
    import_monai_late()
    from medseg.batch.progress import say_held, speak_at, speak_json

    speak_json(getattr(args, "log_json", False))
    speak_at(-1 if getattr(args, "quiet", False) else getattr(args, "verbose", 0))
    code = int(COMMANDS[args.command].run(args))
    say_held()
    sys.stdout.flush()
    return code


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
    _quote_nothing()
    try:
        if args.command == "doctor":  # which may find that rich is missing
            return int(doctor.run(args))
        with stoppable():
            return _run(args)
    except BrokenPipeError:  # who read the output has gone, as `head` does
        _drop_output()
        return 128 + signal.SIGPIPE
    except MedsegError as error:
        return _refuse(str(error))
    except KeyboardInterrupt:
        print("medseg: stopped; the same command goes on from here", file=sys.stderr)
        return 130
    except Exception as error:
        told = told_of(error)
        if told is None:
            raise
    _drop_output()
    return _refuse(told)


def _refuse(sentence: str) -> int:
    with suppress(OSError):
        print(f"medseg: {one_line(sentence)}", file=sys.stderr)
    return 2


def _drop_output() -> None:
    """Keep Python from trying once more, as it ends, to write what could not be written."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())


def bids_app() -> int:
    """``medseg-bids``: `medseg bids` as a program of its own, as those expect that start BIDS Apps."""
    return main(["bids", *sys.argv[1:]])
