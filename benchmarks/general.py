"""Every set beyond T1 brains beside k-means and a Gaussian mixture: `python -m benchmarks.general [PART...]`.

`python -m benchmarks general` runs the same. The baseline is `structures.py` beside the data, run on the same scans
with the same number of labels in the same run; the better of its two methods is the one to beat. Settings are those of
the shipped configs, only the number of labels is set. `general.md`, `general.csv`, `labels/`, `baselines/`, `maps/` and
`pictures/` appear below `--out`.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import general_table
from benchmarks.general_ablation import ABLATION
from benchmarks.general_baselines import Baselines
from benchmarks.general_fits import Fits, Setting
from benchmarks.general_parts import PARTS
from benchmarks.general_rows import Row, Summary, summaries
from benchmarks.general_run import Run


@dataclass(frozen=True)
class Options:
    """The command line; see `parse`."""

    shared: Path
    out: Path
    seeds: tuple[int, ...] = (0,)
    changes: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()
    labels: tuple[int, ...] = ()
    cuts: bool = False
    ablation: bool = False

    @classmethod
    def of(cls, args: argparse.Namespace) -> Options:
        """All parts with the options that `python -m benchmarks` has."""
        return cls(args.shared, args.out, tuple(args.seeds), tuple(args.set), ablation=args.ablation)

    def settings(self) -> Iterator[Setting]:
        """Each seed, then each ablation with the first seed."""
        for seed in self.seeds:
            yield Setting("medseg", seed, self.changes, self.cuts)
        for variant, changes in ABLATION.items() if self.ablation else ():
            yield Setting(variant, self.seeds[0], (*self.changes, *changes), self.cuts)


def run(options: Options) -> list[Summary]:
    """Run the parts; rows are printed when a part is done and the table is written anew."""
    fits, baselines = Fits(options.out), Baselines(options.shared.parent / "tools" / "structures.py", options.out)
    notes, found = _notes(options, baselines), list[Summary]()
    print("\n".join([*notes, general_table.line(general_table.COLUMNS)]), flush=True)
    for name in options.parts or PARTS:
        part, folders = PARTS[name]
        if absent := [folder for folder in folders if not (options.shared / folder).is_dir()]:
            notes.append(f"{name}: left out, {' and '.join(absent)} not in {options.shared}.")
            print(notes[-1], flush=True)
            continue
        rows: list[Row] = []
        for setting in options.settings():
            one = Run(options.shared, options.out, setting, fits, baselines, options.labels)
            rows += part(one)
        new = summaries(rows)
        found += new
        for summary in new:
            print(general_table.line(general_table.cells(summary)), flush=True)
        general_table.write(found, notes, options.out)
    return found


def _notes(options: Options, baselines: Baselines) -> list[str]:
    """Lines above the table: settings, and why a baseline is missing."""
    changes = " ".join(options.changes) or "none"
    fit = "one fit of the config's number of labels, cut to K" if options.cuts else "one fit for each K"
    notes = [f"Seeds {' '.join(map(str, options.seeds))}; changed settings: {changes}; {fit}."]
    return [*notes, f"{baselines.missing}."] if baselines.missing else notes


def parse(arguments: Sequence[str] | None = None) -> Options:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.general", description=__doc__)
    parser.add_argument("parts", nargs="*", help=f"by default all: {', '.join(PARTS)}")
    parser.add_argument("--shared", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    parser.add_argument("--out", type=Path, default=Path("out/benchmarks"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="several: mean, worst, and their agreement")
    parser.add_argument("--labels", type=int, nargs="+", default=[], help="only rows with these numbers of labels")
    parser.add_argument("--cuts", action="store_true", help="one fit a set, cut to each K, instead of a fit for each K")
    parser.add_argument("--set", action="append", default=[], help="a.b=value, on top of the configs")
    parser.add_argument("--ablation", action="store_true", help="the rows of general_ablation.py as well")
    args = parser.parse_args(arguments)
    if unknown := set(args.parts) - set(PARTS):
        parser.error(f"unknown parts {', '.join(sorted(unknown))}; take some of {', '.join(PARTS)}")
    seeds, changes, parts, labels = (tuple(x) for x in (args.seeds, args.set, args.parts, args.labels))
    return Options(args.shared, args.out, seeds, changes, parts, labels, args.cuts, args.ablation)


if __name__ == "__main__":
    run(parse())
