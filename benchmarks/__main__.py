"""`python -m benchmarks PART...`: medseg and its peers on the same scans in the same run, and one table of them.

Every part prints its rows while it runs; `table.md`, `table.csv`, `cases.csv` and `pictures/` appear below `--out`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks import ablation, baselines, general, ours, stability, table
from benchmarks.scoring import Row
from benchmarks.sets import BRAINS, SETS, Part


def rows_of(name: str, args: argparse.Namespace) -> Iterator[Row]:
    """All rows of one part: medseg by seed, peers, ablation."""
    make: Callable[[Path, Path], Part] = SETS[name]
    part = make(args.shared, args.out)
    for seed in args.seeds:
        row = ours.run(part, args.out, seed, args.set)
        if seed == args.seeds[0]:
            table.keep_pictures(row, args.out)
        yield row
    if args.peers:
        n_labels = row.n_labels
        for method in baselines.BASELINES if name in BRAINS else ("k-means",):
            yield baselines.run(part, method, n_labels)
        if name in BRAINS and args.peers_python is not None:
            yield from baselines.run_ants(part, n_labels, args.peers_python, args.out)
    if args.ablation:
        yield from ablation.run(part, args.out, args.seeds[0])
    if len(args.seeds) > 1:
        print(stability.compare(part, args.out, args.seeds), flush=True)


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", help=", ".join([*SETS, "general"]))
    parser.add_argument("--shared", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    parser.add_argument("--out", type=Path, default=Path("out/benchmarks"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="several: seed-to-seed stability as well")
    parser.add_argument("--set", action="append", default=[], help="a.b=value, on top of the config")
    parser.add_argument("--peers", action="store_true", help="k-means and EM with a bias field on the same images")
    parser.add_argument("--peers-python", type=Path, help="Python with antspyx, for Atropos and N4 + Atropos as well")
    parser.add_argument("--ablation", action="store_true", help="medseg with one piece taken out at a time")
    return parser.parse_args()


def main() -> None:
    """Run the parts that are named, or all; the table is written anew after every row."""
    args = parse()
    rows: list[Row] = []
    for name in args.parts or [*SETS, "general"]:
        if name == "general":
            general.run(general.Options.of(args))
            continue
        for row in rows_of(name, args):
            rows.append(row)
            print("| " + " | ".join(table.cells(row)) + " |", flush=True)
            table.write(rows, args.out)


if __name__ == "__main__":
    main()
